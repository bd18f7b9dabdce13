"""Every entry of the list of methods is there for a reason: what happens to some expectation when it is taken out."""

import warnings

import numpy as np
import pytest

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.errors import DivergentExpectationError
from kernelcalc.gaussian.covariance import make_covariance
from kernelcalc.gaussian.floats import closed, jumps, mesh, methods, quadrature, series
from kernelcalc.gaussian.floats.methods import GUARANTEE, METHODS, pair_results

RTOL = 1e-11
# Its mean vanishes, all but, and not by a symmetry.
NARROW = "tanh(1e6*(log(1+x^2)-1))-1+2*erf(sqrt((e-1)/2))"
# One near-parallel pair among moderate ones.
MIXED = [0.1, 0.2, 0.3, 0.4, 0.5, 0.999]


def measured(monkeypatch, f, g, q, rho, without=None):
    """Error relative to E|fg| (infinite where nothing is found) and number of function values, from cold caches."""
    for module in (closed, jumps, mesh, quadrature, series):
        for entry in vars(module).values():
            getattr(entry, "cache_clear", lambda: None)()
    count = [0]
    values = Activation.__call__

    def counted(self, at, **options):
        count[0] += np.size(at)
        return values(self, at, **options)

    rho = np.atleast_1d(np.asarray(rho, dtype=float))
    cov = make_covariance(np.full(rho.shape, q[0]), np.full(rho.shape, q[1]), rho * np.sqrt(q[0] * q[1]))
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(Activation, "__call__", counted)
        patch.setattr(methods, "METHODS", tuple(m for k, m in enumerate(METHODS) if k != without))
        try:
            found = pair_results(f, g, cov, rtol=RTOL)
        except (ArithmeticError, DivergentExpectationError):
            return np.inf, count[0]
    return float((found.error / np.maximum(found.scale, 1e-300)).max()), count[0]


# position in the list: (f, its derivative, g, its derivative, variances, correlations)
LOST = {
    "a variance of 0": (0, ("elu", 0), ("elu", 0), (0, 1), 0.0),
    "two delta functions": (4, ("hard_tanh", 2), ("hard_tanh", 2), (1, 1), 0.5),
    "a kink away from 0, nearly parallel": (12, ("max(tanh(x-1),0)", 0), ("max(tanh(x-1),0)", 0), (1, 1), 0.999),
}
SLOWER = {
    "an even and an odd function": (2, ("abs(tanh(x))", 0), ("tanh(x)", 0), (1, 2), 0.999),
    "a closed form": (3, ("erf(100*x)", 0), ("erf(100*x)", 0), (1, 1), 0.995),
    "a kink on a line": (6, ("max(tanh(x),0)", 0), ("max(tanh(x),0)", 0), (1, 1), 1.0),
    "the mean of a narrow feature": (7, (NARROW, 0), ("1", 0), (1, 1), 0.9999),
    "a smooth function": (8, ("tanh", 0), ("tanh", 0), (1, 1), MIXED),
    "one pair nearly parallel": (9, ("tanh", 0), ("tanh", 0), (1, 1), MIXED),
    "a kink at 0, nearly parallel": (10, ("softsign", 0), ("softsign", 0), (1, 1), 0.9999),
    "kinks in the exact algebra": (11, ("hard_swish", 0), ("hard_swish", 0), (1, 1), 0.999),
}


def both(monkeypatch, case):
    index, (f, k), (g, m), q, rho = case
    pair = as_activation(f).derivative(k), as_activation(g).derivative(m)
    return measured(monkeypatch, *pair, q, rho), measured(monkeypatch, *pair, q, rho, without=index)


@pytest.mark.parametrize("case", LOST.values(), ids=LOST)
def test_without_the_method_the_guarantee_is_lost(monkeypatch, case):
    (error, _), (worse, _) = both(monkeypatch, case)
    assert error < GUARANTEE < worse


@pytest.mark.parametrize("case", SLOWER.values(), ids=SLOWER)
def test_without_the_method_five_times_as_many_values_are_taken(monkeypatch, case):
    (error, count), (_, more) = both(monkeypatch, case)
    assert error < GUARANTEE
    assert more > 5 * count


def test_without_the_expansion_a_small_mean_has_no_digits_of_itself(monkeypatch):
    """E[silu''(a) silu(b)] is q/8 + O(q²), while E|fg| is of order √q: silu = x/2 + x²/4 − x⁴/48 + …"""
    silu, q = as_activation("silu"), 1e-14
    cov = make_covariance(np.array([q]), np.array([q]), np.array([-0.4 * q]))
    whole = pair_results(silu.derivative(2), silu, cov, rtol=RTOL)
    monkeypatch.setattr(methods, "METHODS", METHODS[:5] + METHODS[6:])
    rest = pair_results(silu.derivative(2), silu, cov, rtol=RTOL)
    assert abs(whole.value[0] - q / 8) < 1e-12 * q
    assert whole.error[0] < 1e-13 * q / 8
    assert rest.error[0] > GUARANTEE * q / 8


def test_without_a_proof_what_does_not_exist_has_a_value(monkeypatch):
    """E[δ'(a) δ(b)] = 0 for every |ρ| < 1, and formulas go on to |ρ| = 1."""
    relu, cov = as_activation("relu"), make_covariance(np.ones(1), np.ones(1), np.ones(1))
    with pytest.raises(DivergentExpectationError):
        pair_results(relu.derivative(3), relu.derivative(2), cov, rtol=RTOL)
    monkeypatch.setattr(methods, "METHODS", METHODS[:1] + METHODS[2:])
    assert pair_results(relu.derivative(3), relu.derivative(2), cov, rtol=RTOL).value[0] == 0


def test_every_entry_has_its_reason():
    tested = {case[0] for case in (LOST | SLOWER).values()} | {1, 5}
    assert tested == set(range(len(METHODS)))
