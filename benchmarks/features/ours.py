"""Cells of this package: each is done, and its value compared with another way to it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import requires

import numpy as np
from names import X, Y, none_of, trained

import kernelcalc as kc


def kernels() -> str:
    """Σ and Θ of one hidden layer of erf in closed form (Williams 1997)."""
    k = kc.MLP("erf", depth=2, sigma_w=1.0, beta=0.0).kernels(X)
    c = X @ X.T / 4
    q = 1 + 2 * np.diag(c)
    scaled = 2 * c / np.sqrt(np.outer(q, q))
    sigma = 2 / np.pi * np.arcsin(scaled)
    np.testing.assert_allclose(k.sigma, sigma, rtol=1e-12)
    slope = 4 / np.pi / np.sqrt(np.outer(q, q) - 4 * c**2)
    np.testing.assert_allclose(k.theta, sigma + c * slope, rtol=1e-11)
    return "yes"


def six() -> str:
    """E Tr S at the start is Tr Φ/N, E Tr S² is Tr(Υ (Σ + YYᵀ))/N²."""
    k = kc.MLP("tanh", depth=3).kernels(X)
    moments = kc.mse_moments(k, Y, [0.0, 1.0])
    found = moments.trace_s[0], moments.trace_s2[0]
    expected = np.trace(k.phi) / 6, np.trace(k.upsilon @ (k.sigma + np.outer(Y, Y))) / 36
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    return "yes"


def any_nonlinearity() -> str:
    """A function without closed form, its stated error beside forty digits."""
    f = "sin(x)*tanh(x)"
    found = kc.gaussian_expectation(f, f, 1.0, 2.0, 0.5, full_output=True)
    exact = kc.gaussian_expectation(f, f, 1, 2, "0.5", dps=40)
    assert abs(found.value - exact) <= max(found.error, 1e-15) < 1e-10
    return "any expression, error stated"


def digits() -> str:
    """Fifty digits of a kernel of relu's, against the arc-cosine formula in mpmath."""
    import mpmath

    with mpmath.workdps(60):
        found = kc.gaussian_expectation("relu", "relu", 1, 1, "0.5", dps=50)
        exact = (mpmath.sqrt(3) / 2 + (mpmath.pi - mpmath.pi / 3) / 2) / (2 * mpmath.pi)
        assert abs(found - exact) < mpmath.mpf(10) ** -49
    return "any number"


def certificates() -> str:
    """A ball that holds the fifty digits."""
    ball = kc.gaussian_expectation("tanh", "tanh", 1, 2, "0.5", certified=True)
    assert abs(float(ball.mid()) - float(kc.gaussian_expectation("tanh", "tanh", 1, 2, "0.5", dps=50))) < 1e-14
    return "yes"


def formulas() -> str:
    """The formula of Θ, evaluated at two points, is Θ."""
    net = kc.MLP("erf", depth=2, sigma_w=1.0, beta=0.1)
    first = X @ X.T / 4 + 0.01
    values = {kc.symbolic.q: first[0, 0], kc.symbolic.qp: first[1, 1], kc.symbolic.c: first[0, 1]}
    assert abs(float(kc.symbolic.kernel("theta", net).subs(values)) / net.kernels(X).theta[0, 1] - 1) < 1e-12
    return "yes"


def width() -> str:
    """The first order is the difference to the limit, times the width."""
    found = kc.finite_width(kc.MLP("tanh", depth=3), X[:2])
    limit = kc.MLP("tanh", depth=3).kernels(X[:2]).theta
    np.testing.assert_allclose(found.at(100).theta, limit + found.theta / 100, rtol=1e-12)
    return "first order"


def finite_hessian() -> str:
    """Of a small network; its moments from products, against its eigenvalues."""
    fin = kc.FiniteNetwork.random(kc.MLP("tanh", depth=2), 3, 4, rng=0)
    moments = fin.hessian_moments(X, Y)
    values = np.linalg.eigvalsh(fin.hessian(X, Y))
    np.testing.assert_allclose(moments.trace_h, [(values**k).sum() for k in (1, 2, 3, 4)], rtol=1e-9)
    return "exact"


def layers() -> str:
    """A convolutional network with skip connection and LayerNorm has kernels of images."""
    L = kc.layers
    net = kc.Sequential(L.Conv(3), L.Residual(L.LayerNorm(), "erf", L.Conv(3)), "erf", L.GlobalAverage(), L.Dense())
    assert (np.linalg.eigvalsh(net.kernels(np.random.default_rng(0).normal(size=(3, 5, 5, 1))).theta) > 0).all()
    return "yes"


def posterior() -> str:
    """The mean that NumPy finds."""
    k = kc.MLP("tanh").kernels(X)
    found = kc.nngp_posterior(kc.MLP("tanh"), X[:4], Y[:4], X[4:], ridge=0.1)
    expected = k.sigma[4:, :4] @ np.linalg.solve(k.sigma[:4, :4] + 0.1 * np.eye(4), Y[:4])
    np.testing.assert_allclose(found.mean, expected, rtol=1e-9)
    return "yes"


def training() -> str:
    """The mean output after a time, against exp of the kernel."""
    found = kc.predict_outputs(kc.MLP("tanh"), X, Y, X, 2.0)
    np.testing.assert_allclose(found.mean, trained(kc.MLP("tanh").kernels(X).theta, 2.0), rtol=1e-8)
    return "yes"


def attention() -> str:
    """No such layer; a composition with one is refused by name."""
    return none_of("kernelcalc", r"attention|dropout")


def accelerators() -> str:
    """Arrays are NumPy's."""
    assert not {"jax", "torch"} & {one.split(">")[0] for one in requires("kernelcalc") or () if "extra" not in one}
    return none_of("kernelcalc", r"cuda|gpu|device")


CELLS: dict[str, Callable[[], str]] = {
    "Σ, Θ of wide networks (NNGP, NTK)": kernels,
    "Φ, Λ, Υ, Ξ, hence Tr H^k through training": six,
    "nonlinearities without closed form": any_nonlinearity,
    "digits beyond float64": digits,
    "certificates": certificates,
    "kernels as formulas": formulas,
    "corrections in 1/width": width,
    "limits of convolutions, LayerNorm, skip connections": layers,
    "limits of attention, dropout": attention,
    "outputs of wide networks in training": training,
    "posterior of a Gaussian process": posterior,
    "Hessian of a finite network": finite_hessian,
    "arrays on accelerators": accelerators,
}
PACKAGES = {"kernelcalc": CELLS}
