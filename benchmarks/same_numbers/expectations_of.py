"""Gaussian expectations."""

from __future__ import annotations

from typing import Any

import numpy as np
from groups import SMOOTH, Numbers, group, prefixed, read
from kernels_of import balls

import kernelcalc as kc


def covariances() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q, q', c: moderate ones, ρ near and at ±1, small and large variances, zero."""
    q = np.array([1.0, 0.3, 4.0, 1.0, 1.0, 1e-6, 25.0, 1.0, 2.0, 1e-6])
    qp = np.array([2.0, 0.7, 4.0, 1.0, 1.0, 2e-6, 30.0, 1.0, 0.01, 9.0])
    c = np.array([0.5, -0.2, 3.99999, 1.0, -1.0, 1e-6, 10.0, 0.0, 0.1, -1e-3])
    return q, qp, c


def expectations(f: Any, g: Any, zero: bool = True, **options: Any) -> Numbers:
    """Values, error bounds and methods of one pair of functions; ``zero``: at vanishing variances too."""
    q, qp, c = covariances()
    if zero:
        q, qp, c = np.append(q, [0.0, 0.0]), np.append(qp, [1.0, 0.0]), np.append(c, [0.0, 0.0])
    found = read(kc.gaussian_expectation(f, g, q, qp, c, full_output=True, **options), "value error method")
    return found | {"alone": [float(kc.gaussian_expectation(f, g, q[i], qp[i], c[i], **options)) for i in (0, 2)]}


@group("expectations of smooth functions")
def smooth_expectations() -> Numbers:
    """Closed forms, series and quadrature."""
    pairs = [(name, name) for name in SMOOTH]
    pairs += [("gelu", "softplus"), ("tanh", "erf"), ("exp(x/4)", "x**2"), ("hermite(degree=3)", "sigmoid")]
    pairs += [("tanh(x - 3)", "tanh(x + 2)"), ("1/(1 + x**2)", "arctan"), ("cos", "gaussian(scale=2)")]
    pairs += [("softplus(sharpness=20)", "softplus(sharpness=20)"), ("elu", "tanh(5*x)"), ("log_cosh", "mish")]
    return prefixed((f"{f}, {g}", expectations(f, g)) for f, g in pairs)


@group("expectations of functions with kinks and jumps")
def kinked_expectations() -> Numbers:
    """Closed forms, polar quadrature and nested panels."""
    pairs = [(name, name) for name in ("relu", "leaky_relu", "abs", "hard_tanh", "softsign", "elu", "selu", "step")]
    pairs += [("relu", "tanh"), ("relu6", "erf"), ("abs(x - 2)*tanh(x)", "sin(3*x)"), ("abs(x - 2)*tanh(x)", "tanh")]
    return prefixed((f"{f}, {g}", expectations(f, g)) for f, g in pairs)


@group("expectations of derivatives")
def derivative_expectations() -> Numbers:
    """Derivatives, those that are distributions among them."""

    def derived(name: str, k: int) -> Any:
        return kc.activation(name).derivative(k)

    found = prefixed(
        (f"{f}{i}, {g}{j}", expectations(derived(f, i), derived(g, j)))
        for f, i, g, j in (
            ("tanh", 3, "tanh", 1),
            ("gelu", 2, "gelu", 2),
            ("relu", 1, "relu", 1),
            ("elu", 1, "tanh", 2),
        )
    )
    q, qp, c = (part[[0, 1, 2, 6, 7, 8]] for part in covariances())
    for f, i, g, j in (("relu", 2, "tanh", 0), ("hard_tanh", 2, "relu", 1), ("relu", 2, "relu", 2)):
        result = kc.gaussian_expectation(derived(f, i), derived(g, j), q, qp, c, full_output=True)
        found |= prefixed([(f"{f}{i}, {g}{j}", read(result, "value error method"))])
    return found


@group("expectations of callables and to other tolerances")
def other_expectations() -> Numbers:
    """NumPy functions, normalised nonlinearities, tolerances."""
    mixed = kc.activation("smooth_relu", scale=0.3).normalized()
    return prefixed(
        [
            ("callable", expectations(np.tanh, np.cos)),
            ("normalized", expectations(mixed, mixed)),
            ("1e-6", expectations("softplus(sharpness=20)", "elu", rtol=1e-6)),
            ("1e-13", expectations("tanh", "softsign", zero=False, rtol=1e-13)),
        ]
    )


@group("expectations on random covariances")
def random_expectations() -> Numbers:
    """Arrays of 80 covariances."""
    rng = np.random.default_rng(6)
    q, qp = np.exp(rng.uniform(-6, 4, (2, 80)))
    c = np.sin(rng.uniform(-1.5, 1.5, 80)) * np.sqrt(q * qp)
    return prefixed(
        (f"{f}, {g}", read(kc.gaussian_expectation(f, g, q, qp, c, full_output=True), "value error method"))
        for f, g in (("tanh", "tanh"), ("relu", "relu"), ("gelu", "erf"), ("sin", "cos"), ("softsign", "tanh"))
    )


@group("expectations to 30 digits")
def precise_expectations() -> Numbers:
    """Exact algebra, lattice and panels in multiprecision."""
    pairs = (("tanh", "tanh"), ("erf", "gelu"), ("relu", "relu"), ("softsign", "elu"), ("hard_tanh", "tanh"))
    settings = ((1, 2, "0.5"), ("0.01", 3, "-0.1"), (1, 1, 1))
    return prefixed(
        (
            f"{f}, {g}, {numbers}",
            read(kc.gaussian_expectation(f, g, *numbers, dps=30, full_output=True), "value error method"),
        )
        for f, g in pairs
        for numbers in settings
    )


@group("certified expectations")
def certified_expectations() -> Numbers:
    """Balls for analytic functions and for kinked ones with closed forms."""
    pairs = (("tanh", "arctan"), ("erf", "erf"), ("relu", "relu"), ("gelu", "softplus"))
    return prefixed(
        (
            f"{f}, {g}, {dps}",
            balls({"value": kc.gaussian_expectation(f, g, 1, 2, "0.5", certified=True, dps=dps)}),
        )
        for f, g in pairs
        for dps in (None, 25)
    )
