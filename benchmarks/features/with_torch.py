"""Cells of GPyTorch, scikit-learn, curvlinops and PyHessian, in an environment that has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import torch
from names import CERTIFICATES, FORMULAS, LIMITS, NONE, POSTERIOR, WIDTHS, X, Y, keeps, none_of

torch.set_default_dtype(torch.float64)


def network() -> tuple[torch.nn.Module, torch.nn.Module, np.ndarray]:
    """A small network, its loss, and the exact Hessian by torch's double backward."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    flat = torch.cat([p.detach().ravel() for p in model.parameters()])

    def loss(theta: torch.Tensor) -> torch.Tensor:
        parts = [part.view(shape) for part, shape in zip(theta.split([s.numel() for s in shapes]), shapes, strict=True)]
        outputs = torch.func.functional_call(model, dict(zip(names, parts, strict=True)), torch.tensor(X))
        return torch.nn.functional.mse_loss(outputs, torch.tensor(Y))

    return model, torch.nn.MSELoss(), torch.autograd.functional.hessian(loss, flat).numpy()


def on_meta(run: Callable[[torch.Tensor], torch.Tensor]) -> str:
    """Whether a computation goes where its tensors are, on torch's device without data; an accelerator is not tried."""
    assert run(torch.tensor(X).to("meta")).device.type == "meta"
    return "yes"


def without(package: str, *known: str) -> dict[str, Callable[[], str]]:
    """Dashes, each with the words that no public name contains; ``known`` names have another meaning."""
    words = {
        "Σ, Θ of wide networks (NNGP, NTK)": LIMITS,
        "Φ, Λ, Υ, Ξ, hence Tr H^k through training": LIMITS + "|upsilon",
        "nonlinearities without closed form": LIMITS + "|nonlinear",
        "certificates": CERTIFICATES,
        "kernels as formulas": FORMULAS,
        "corrections in 1/width": WIDTHS,
        "limits of convolutions, LayerNorm, skip connections": LIMITS + "|layernorm|skip",
        "limits of attention, dropout": LIMITS + "|attention",
        "outputs of wide networks in training": LIMITS + "|gradient_flow",
        "posterior of a Gaussian process": r"posterior|gaussian.?process|\bgp\b",
        "Hessian of a finite network": "hessian",
    }
    return {feature: lambda w=one: none_of(package, w, *known) for feature, one in words.items()}


def gpytorch() -> dict[str, Callable[[], str]]:
    """Its cells."""
    import gpytorch as gp

    class Model(gp.models.ExactGP):
        def __init__(self, likelihood: object) -> None:
            super().__init__(torch.tensor(X[:4]), torch.tensor(Y[:4, 0]), likelihood)
            self.mean, self.kernel = gp.means.ZeroMean(), gp.kernels.LinearKernel()

        def forward(self, x: torch.Tensor) -> object:
            return gp.distributions.MultivariateNormal(self.mean(x), self.kernel(x))

    def posterior() -> str:
        likelihood = gp.likelihoods.GaussianLikelihood()
        likelihood.noise = 0.1
        model = Model(likelihood)
        model.kernel.variance = 1.0
        model.eval()
        with torch.no_grad():
            np.testing.assert_allclose(model(torch.tensor(X[4:])).mean.numpy(), POSTERIOR, rtol=1e-6)
        return "yes"

    return without("gpytorch", "sgpr_diagonal_correction", r"^Interval\b", "skip_posterior_variances") | {
        "digits beyond float64": lambda: keeps(lambda x: gp.kernels.RBFKernel()(torch.tensor(x)).to_dense()),
        "posterior of a Gaussian process": posterior,
        "arrays on accelerators": lambda: on_meta(
            lambda x: gp.kernels.LinearKernel().to("meta").forward(x, x[:3]).to_dense()
        ),
    }


def scikit_learn() -> dict[str, Callable[[], str]]:
    """Cells of its Gaussian processes."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, DotProduct

    def posterior() -> str:
        fitted = GaussianProcessRegressor(DotProduct(1e-9, "fixed"), alpha=0.1, optimizer=None).fit(X[:4], Y[:4, 0])
        np.testing.assert_allclose(fitted.predict(X[4:]), POSTERIOR, rtol=1e-6)
        return "yes"

    def accelerators() -> str:
        try:
            return on_meta(lambda x: RBF()(x))
        except (TypeError, ValueError, NotImplementedError, RuntimeError):
            return NONE

    return without("sklearn.gaussian_process") | {
        "digits beyond float64": lambda: keeps(lambda x: RBF()(x)),
        "posterior of a Gaussian process": posterior,
        "arrays on accelerators": accelerators,
    }


def curvlinops() -> dict[str, Callable[[], str]]:
    """Its cells."""
    import curvlinops as package

    def finite_hessian() -> str:
        model, loss, exact = network()
        data = [(torch.tensor(X), torch.tensor(Y))]
        operator = package.HessianLinearOperator(model, loss, list(model.parameters()), data)
        found = operator @ torch.eye(len(exact))
        np.testing.assert_allclose(found.detach().numpy(), exact, rtol=1e-9, atol=1e-12)
        return "of PyTorch models, as products"

    def accelerators() -> str:
        assert "device" in package.HessianLinearOperator.__dict__ or hasattr(package.HessianLinearOperator, "device")
        return "yes"

    return without("curvlinops", "eigenvalue_correction") | {
        "digits beyond float64": lambda: keeps(lambda x: torch.tensor(x)),
        "Hessian of a finite network": finite_hessian,
        "arrays on accelerators": accelerators,
    }


def pyhessian() -> dict[str, Callable[[], str]]:
    """Its cells."""
    from pyhessian import hessian

    def finite_hessian() -> str:
        model, loss, exact = network()
        found = hessian(model, loss, data=(torch.tensor(X), torch.tensor(Y)), cuda=False)
        top = found.eigenvalues(maxIter=500, tol=1e-8)[0][0]
        values = np.linalg.eigvalsh(exact)
        np.testing.assert_allclose(top, values[np.abs(values).argmax()], rtol=1e-3)
        return "of PyTorch models: top eigenvalues, trace, density"

    def accelerators() -> str:
        assert "cuda" in inspect.signature(hessian.__init__).parameters
        return "yes"

    return without("pyhessian") | {
        "digits beyond float64": lambda: keeps(lambda x: torch.tensor(x)),
        "Hessian of a finite network": finite_hessian,
        "arrays on accelerators": accelerators,
    }


PACKAGES = {"GPyTorch": gpytorch, "scikit-learn": scikit_learn, "curvlinops": curvlinops, "PyHessian": pyhessian}
