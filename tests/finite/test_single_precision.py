"""float32 networks against float64, within a bound derived from the rounding of inner products."""

import numpy as np
import pytest
from conftest import CASES, make_problem
from stand_ins import SOFTPLUS, Architecture

from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.finite.curvature.pairs import curvature_pairs, unit_pairs
from kernelcalc.finite.derivatives import Problem

# Unit roundoff of float32.
UNIT = 2.0**-24


def close(single, double, steps, longest):
    """Normwise: ``steps`` products, each with a relative error of √(longest sum) u (Higham, Mary, 2019: rounding errors are
    as if independent), and as much again where numbers cancel (a factor of 10).
    """
    assert single.dtype == np.float32
    error = np.linalg.norm((single.astype(np.float64) - double).ravel())
    assert error <= 10 * steps * np.sqrt(longest) * UNIT * np.linalg.norm(double.ravel())


@pytest.mark.parametrize("name", CASES)
def test_every_quantity_keeps_its_type_and_its_digits(name):
    single, X, Y, loss = make_problem(name, dtype=np.float32)
    double = make_problem(name)[0]
    assert single.dtype == single.parameters.dtype == np.float32
    # a pass forwards and one back; the widest sum is over points or units
    steps, longest = 2 * single.depth, max(*single.sizes, len(X))
    close(single(X), double(X), steps, longest)
    close(single.jacobian(X), double.jacobian(X), steps, longest)
    close(single.ntk(X), double.ntk(X), 2 * steps, longest)
    close(single.gradient(X, Y, loss), double.gradient(X, Y, loss), steps, longest)
    v = np.random.default_rng(0).standard_normal(single.n_parameters)
    for part in "his":
        one, two = (getattr(fin.curvature(X, Y, loss), part) for fin in (single, double))
        close(one @ v.astype(np.float32), two @ v, 2 * steps, longest)
    close(single.hessian(X, Y, loss), double.hessian(X, Y, loss), 2 * steps, longest)
    if single.depth > 1:
        close(single.hessian_trace(X), double.hessian_trace(X), 2 * steps, longest)


@pytest.mark.parametrize("name", ["two hidden", "two hidden, binary"])
def test_pairs_of_one_output(name):
    """Those of ∇C = 1 in float32, weighted, are those of ∇C."""
    fin, X, Y, loss = make_problem(name)
    problem = Problem.of(fin, X, Y, loss)
    split = HessianSplit.at(fin, problem)
    found, expected = unit_pairs(fin, problem).weighted(split.residual[:, 0]), curvature_pairs(split)
    for field in ("s", "s_s", "s_i"):
        one, two = getattr(found, field), getattr(expected, field)
        assert one.dtype == np.float64
        # eight passes, sums over units
        assert np.linalg.norm(one - two) < 10 * 8 * np.sqrt(max(fin.sizes)) * UNIT * np.linalg.norm(two)
    # in its own type where float32 has no such numbers
    far = Problem.of(fin, 1e-30 * X, Y, loss)
    assert unit_pairs(fin, far).s_s.max() > 0
    given, own = (fin.hessian_moments(X, Y, loss=loss, pairs=pairs) for pairs in (unit_pairs(fin, problem), None))
    np.testing.assert_allclose(given.trace_s2, own.trace_s2, rtol=1e-4)
    np.testing.assert_allclose(given.trace_h, own.trace_h, rtol=1e-4)


def test_moments_of_a_wide_network():
    net, rng = Architecture(activations=(SOFTPLUS,) * 2, n_out=3), np.random.default_rng(1)
    X, Y = rng.standard_normal((32, 20)), rng.standard_normal((32, 3))
    one, two = (
        FiniteNetwork.random(net, 200, 20, rng=0, dtype=dtype).hessian_moments(X, Y, kmax=2)
        for dtype in (np.float32, np.float64)
    )
    # a moment of order k has k passes forwards and back; sums over 200 units and 32 · 32 pairs
    for order, names in ((1, ("trace_s",)), (2, ("trace_s2",)), (2, ("trace_i", "trace_h"))):
        bound = 10 * order * 6 * np.sqrt(32 * 32 + 200) * UNIT
        for name in names:
            np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=bound)
    # Tr IS is small beside ‖I‖‖S‖, of which it has the error
    scale = np.sqrt(two.trace_i[1] * two.trace_s2)
    np.testing.assert_allclose(one.trace_is, two.trace_is, atol=bound * scale)
