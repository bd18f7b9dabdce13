"""Logarithms and roots of what vanishes far out, beside panels of forms without underflow: none takes long or loses digits."""

import warnings

import numpy as np
import pytest
from scipy.special import erfc, expit, log_ndtr, ndtr

import kernelcalc as kc
from kernelcalc.errors import SlowMethodWarning


def log_softplus(x):
    return np.where(x < -30, x - np.exp(np.minimum(x, 0)) / 2, np.log(np.logaddexp(0, np.maximum(x, -31))))


def log_minus_log_ndtr(x):
    tail = log_ndtr(-x)
    return np.where(x > 6, tail + np.exp(tail) / 2, np.log(-log_ndtr(np.minimum(x, 7))))


FORMS = {
    "log(-log(Phi(x)))": log_minus_log_ndtr,
    "log(1 - Phi(x)^2)": lambda x: log_ndtr(-x) + np.log1p(ndtr(x)),
    "log(-log(sigmoid(x)))": lambda x: log_softplus(-x),
    "(1 - sigmoid(x)^2)^0.1": lambda x: (expit(-x) * (1 + expit(x))) ** 0.1,
    "1/(1 - log(1 - sigmoid(x)^2))": lambda x: 1 / (1 + np.logaddexp(0, x) - np.log1p(expit(x))),
    "log(1 + 1/erfc(x))": lambda x: np.logaddexp(0, -np.log(2) - log_ndtr(-np.sqrt(2) * x)),
    "1/(1 + 1/erfc(x))": lambda x: erfc(x) / (1 + erfc(x)),
    "log(2 - erf(x) - Phi(x))": lambda x: np.logaddexp(np.log(2) + log_ndtr(-np.sqrt(2) * x), log_ndtr(-x)),
    "log(exp(x) + x^2 + 1)": lambda x: np.logaddexp(x, np.log1p(x * x)),
}


def line(q, of):
    """E of(a), with E|of(a)|, by panels that are graded towards 0."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    near = 2.0 ** np.arange(-4, 8, 0.5) / np.sqrt(q)
    edges = np.unique(np.clip(np.concatenate([np.linspace(-12, 12, 49), near, -near, [0]]), -12, 12))
    z = ((edges[1:] + edges[:-1])[:, None] + np.diff(edges)[:, None] * nodes) / 2
    weight = np.diff(edges)[:, None] / 2 * weights * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    values = of(np.sqrt(q) * z)
    return (weight * values).sum(), (weight * np.abs(values)).sum()


@pytest.mark.parametrize("q", [1.0, 25.0, 400.0, 1e4])
@pytest.mark.parametrize("text", FORMS)
def test_logarithms_of_what_vanishes(text, q):
    of = FORMS[text]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowMethodWarning)
        mean = kc.gaussian_expectation(text, "1", q, 1, 0, full_output=True)
        opposite = kc.gaussian_expectation(text, text, q, q, -q, full_output=True)
    for found, (right, size) in ((mean, line(q, of)), (opposite, line(q, lambda x: of(x) * of(-x)))):
        assert abs(found.value - right) <= found.error + 2e-13 * size
        assert found.error <= 1e-10 * size
