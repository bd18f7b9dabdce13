"""Cells of neural-tangents and tinygp, in an environment that has them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from names import CERTIFICATES, FORMULAS, LIMITS, NONE, POSTERIOR, WIDTHS, X, Y, keeps, none_of, trained

jax.config.update("jax_enable_x64", True)


def on_cuda(run: Callable[[object], object]) -> str:
    """Whether a computation is translated for such a device; that it runs there is not tried."""
    from jax.experimental.export import export

    text = export.export(run, lowering_platforms=["cuda"])(jnp.asarray(X)).mlir_module()
    assert "dot_general" in text
    return "yes"


def neural_tangents() -> dict[str, Callable[[], str]]:
    """Its cells."""
    import neural_tangents as nt
    from neural_tangents import stax

    init, apply, kernel = stax.serial(stax.Dense(64, b_std=0.0), stax.Erf(), stax.Dense(1, b_std=0.0))

    def kernels() -> str:
        c = X @ X.T / 4
        q = 1 + 2 * np.diag(c)
        sigma = 2 / np.pi * np.arcsin(2 * c / np.sqrt(np.outer(q, q)))
        np.testing.assert_allclose(kernel(X, None, "nngp"), sigma, rtol=1e-9)
        return "yes"

    def any_nonlinearity() -> str:
        parts = stax.Dense(1), stax.ElementwiseNumerical(jnp.tanh, deg=25), stax.Dense(1)
        assert np.isfinite(stax.serial(*parts)[2](X, None, "ntk")).all()
        return "quadrature of a degree you choose"

    def width() -> str:
        sampled = nt.monte_carlo_kernel_fn(init, apply, jax.random.PRNGKey(0), 20)
        assert np.abs(sampled(X, None, "ntk") / kernel(X, None, "ntk") - 1).mean() < 0.5
        return "by sampling finite networks"

    def layers() -> str:
        branch = stax.serial(stax.LayerNorm(), stax.Erf(), stax.Conv(1, (3, 3), padding="SAME"))
        parts = stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum(), stax.GlobalAvgPool()
        images = np.random.default_rng(0).normal(size=(3, 5, 5, 1))
        ntk = stax.serial(stax.Conv(1, (3, 3), padding="SAME"), *parts, stax.Dense(1))[2](images, None, "ntk")
        assert (np.linalg.eigvalsh(ntk) > 0).all()
        return "yes"

    def attention() -> str:
        words = np.random.default_rng(0).normal(size=(2, 5, 4))
        one = stax.GlobalSelfAttention(8, 8, 8, 2), stax.Flatten(), stax.Dense(1)
        assert np.isfinite(stax.serial(*one)[2](words, None, "nngp")).all()
        dropped = stax.serial(stax.Dense(1), stax.Relu(), stax.Dropout(0.5, mode="train"), stax.Dense(1))
        assert np.isfinite(dropped[2](X, None, "ntk")).all()
        return "yes"

    def training() -> str:
        found = nt.predict.gradient_descent_mse_ensemble(kernel, X, Y)(2.0, X, "ntk")
        np.testing.assert_allclose(found, trained(np.asarray(kernel(X, None, "ntk")), 2.0), rtol=1e-6)
        return "yes"

    def posterior() -> str:
        found = nt.predict.gradient_descent_mse_ensemble(kernel, X[:4], Y[:4], diag_reg=0.1)(None, X[4:], "nngp")
        assert found.shape == (2, 1)
        return "yes"

    def finite_hessian() -> str:
        none_left = none_of("neural_tangents", r"hessian")
        assert none_left == NONE
        _, parameters = init(jax.random.PRNGKey(0), (-1, 4))
        blocks = jax.hessian(lambda p: ((apply(p, X) - Y) ** 2).mean())(parameters)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree_util.tree_leaves(blocks))
        return "of its networks, by JAX"

    return {
        "Σ, Θ of wide networks (NNGP, NTK)": kernels,
        "Φ, Λ, Υ, Ξ, hence Tr H^k through training": lambda: none_of("neural_tangents", r"hessian|upsilon|curvature"),
        "nonlinearities without closed form": any_nonlinearity,
        "digits beyond float64": lambda: keeps(lambda x: kernel(x, None, "nngp")),
        "certificates": lambda: none_of("neural_tangents", CERTIFICATES),
        "kernels as formulas": lambda: none_of("neural_tangents", FORMULAS),
        "corrections in 1/width": width,
        "limits of convolutions, LayerNorm, skip connections": layers,
        "limits of attention, dropout": attention,
        "outputs of wide networks in training": training,
        "posterior of a Gaussian process": posterior,
        "Hessian of a finite network": finite_hessian,
        "arrays on accelerators": lambda: on_cuda(jax.jit(lambda x: kernel(x, None, "nngp"))),
    }


def tinygp() -> dict[str, Callable[[], str]]:
    """Its cells."""
    from tinygp import GaussianProcess, kernels

    def posterior() -> str:
        gp = GaussianProcess(kernels.DotProduct(), jnp.asarray(X[:4]), diag=0.1)
        found = gp.condition(jnp.asarray(Y[:4, 0]), jnp.asarray(X[4:])).gp.loc
        np.testing.assert_allclose(found, POSTERIOR, rtol=1e-8)
        return "yes"

    def nothing(words: str) -> Callable[[], str]:
        return lambda: none_of("tinygp", words)

    return {
        "Σ, Θ of wide networks (NNGP, NTK)": nothing(LIMITS),
        "Φ, Λ, Υ, Ξ, hence Tr H^k through training": nothing(r"hessian|upsilon|curvature"),
        "nonlinearities without closed form": nothing(r"activation|nonlinear"),
        "digits beyond float64": lambda: keeps(lambda x: kernels.ExpSquared()(x, x)),
        "certificates": nothing(CERTIFICATES),
        "kernels as formulas": nothing(FORMULAS),
        "corrections in 1/width": nothing(WIDTHS),
        "limits of convolutions, LayerNorm, skip connections": nothing(r"conv(?!ert)|layernorm|residual"),
        "limits of attention, dropout": nothing(r"attention|dropout"),
        "outputs of wide networks in training": nothing(r"descent|gradient_flow"),
        "posterior of a Gaussian process": posterior,
        "Hessian of a finite network": nothing(r"hessian"),
        "arrays on accelerators": lambda: on_cuda(jax.jit(lambda x: kernels.DotProduct()(x, x) @ x)),
    }


PACKAGES = {"neural-tangents": neural_tangents, "tinygp": tinygp}
