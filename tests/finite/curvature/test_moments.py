"""Moments against dense matrices."""

import numpy as np
import pytest
from conftest import CASES, make_problem
from stand_ins import SOFTPLUS, Architecture

from kernelcalc.errors import InputError, NotFiniteError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.pairs import curvature_pairs


def dense_traces(matrix, kmax):
    values = np.linalg.eigvalsh(matrix)
    return np.array([(values**k).sum() for k in range(1, kmax + 1)])


def test_second_order_moments_are_exact(problem):
    fin, X, Y, loss = problem
    split = fin.curvature(X, Y, loss)
    i, s = split.i.dense(), split.s.dense()
    moments = fin.hessian_moments(X, Y, loss=loss, kmax=5)
    scale = np.abs(np.linalg.eigvalsh(i + s)).max()
    np.testing.assert_allclose(moments.trace_s, np.trace(s), rtol=1e-12, atol=1e-14 * scale)
    np.testing.assert_allclose(moments.trace_s2, (s * s).sum(), rtol=1e-12, atol=1e-14 * scale**2)
    # Tr IS and the trace of H may cancel; their scale is that of their terms
    np.testing.assert_allclose(moments.trace_is, (i * s).sum(), rtol=1e-12, atol=1e-14 * scale**2)
    np.testing.assert_allclose(moments.trace_i, dense_traces(i, 5), rtol=1e-12)
    np.testing.assert_allclose(moments.trace_h, dense_traces(i + s, 5), rtol=1e-12)
    np.testing.assert_array_equal(moments.trace_h_error, 0)
    assert moments.loss == fin.loss(X, Y, loss)


def test_pairs_are_the_inner_products_of_single_points(problem):
    fin, X, Y, loss = problem
    pairs = curvature_pairs(fin.curvature(X, Y, loss))
    n = len(X)
    # the loss of one point alone is n times its part of the mean
    singles = [fin.curvature(X[s : s + 1], np.asarray(Y)[s : s + 1], loss) for s in range(n)]
    s = [one.s.dense() / n for one in singles]
    i = [one.i.dense() / n for one in singles]
    np.testing.assert_allclose(pairs.s, [np.trace(m) for m in s], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(pairs.s_s, [[(a * b).sum() for b in s] for a in s], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(pairs.s_i, [[(a * b).sum() for b in i] for a in s], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["two hidden", "three hidden", "four hidden"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_pairs_do_not_depend_on_the_block(name, block):
    fin, X, Y, loss = make_problem(name)
    split = fin.curvature(X, Y, loss)
    one, whole = curvature_pairs(split, block), curvature_pairs(split, 100)
    np.testing.assert_allclose(one.s_s, whole.s_s, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(one.s_i, whole.s_i, rtol=1e-12, atol=1e-15)


def test_every_case_is_a_case():
    assert {CASES[name][0] for name in CASES} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("deflation", [0, pytest.param(3, marks=pytest.mark.long), 40])
def test_sampled_moments_are_unbiased_with_an_honest_error(deflation):
    fin, X, Y, loss = make_problem("two hidden", n=8)
    exact = fin.hessian_moments(X, Y, loss=loss).trace_h
    runs = [
        fin.hessian_moments(X, Y, loss=loss, dense=False, probes=10, deflation=deflation, rng=seed)
        for seed in range(400)
    ]
    deviation = np.array([m.trace_h[2:] for m in runs]) - exact[2:]
    claimed = np.array([m.trace_h_error[2:] for m in runs]) ** 2
    assert np.all(np.abs(deviation.mean(axis=0)) < 4 * deviation.std(axis=0) / np.sqrt(len(runs)))
    # the square of the standard error is an unbiased estimate of the variance
    gap = claimed - deviation**2
    assert np.all(np.abs(gap.mean(axis=0)) < 4 * gap.std(axis=0) / np.sqrt(len(runs)))
    np.testing.assert_allclose(runs[0].trace_h[:2], exact[:2], rtol=1e-13)


@pytest.mark.parametrize(
    "name", ["two hidden, softmax", pytest.param("three hidden", marks=pytest.mark.long), "four hidden"]
)
def test_unit_probes_are_unbiased_with_an_honest_error(name):
    fin, X, Y, loss = make_problem(name)
    exact = fin.hessian_moments(X, Y, loss=loss, kmax=2)
    runs = [fin.hessian_moments(X, Y, loss=loss, kmax=2, unit_probes=16, rng=seed) for seed in range(300)]
    # Tr IS is sampled with three outputs and more only
    sampled = [("trace_s2", "trace_s2_error"), ("trace_is", "trace_is_error")][: 2 if fin.n_out > 2 else 1]
    for value, error in sampled:
        deviation = np.array([getattr(m, value) for m in runs]) - getattr(exact, value)
        gap = np.array([getattr(m, error) for m in runs]) ** 2 - deviation**2
        assert abs(deviation.mean()) < 4 * deviation.std() / np.sqrt(len(runs))
        assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(runs))
    if fin.n_out <= 2:
        np.testing.assert_allclose([m.trace_is for m in runs], exact.trace_is, rtol=1e-12)
        assert {m.trace_is_error for m in runs} == {0.0}
    z = [(m.trace_h[1] - exact.trace_h[1]) / m.trace_h_error[1] for m in runs]
    # a t-distribution of 7 degrees of freedom has standard deviation 1.18
    assert np.std(z) < 1.6
    assert (exact.trace_s2_error, exact.trace_is_error) == (0, 0)


@pytest.mark.parametrize("probes", [6, 10])
def test_high_moments_with_whole_probes_are_unbiased(probes):
    """Six of the eight vectors serve again, ten are drawn anew."""
    fin, X, Y, loss = make_problem("two hidden", n=8)
    exact = fin.hessian_moments(X, Y, loss=loss).trace_h[2:]
    options = {"loss": loss, "dense": False, "probes": probes, "whole_probes": 8, "deflation": 3}
    deviation = np.array([fin.hessian_moments(X, Y, **options, rng=seed).trace_h[2:] for seed in range(300)]) - exact
    assert np.all(np.abs(deviation.mean(axis=0)) < 4 * deviation.std(axis=0) / np.sqrt(300))


@pytest.mark.parametrize("deflation", [0, 3])
@pytest.mark.parametrize("name", ["two hidden, softmax", "three hidden"])
def test_whole_probes_are_unbiased_with_an_honest_error(name, deflation):
    fin, X, Y, loss = make_problem(name)
    exact = fin.hessian_moments(X, Y, loss=loss, kmax=2)
    runs = [
        fin.hessian_moments(X, Y, loss=loss, kmax=2, whole_probes=8, deflation=deflation, rng=seed)
        for seed in range(300)
    ]
    for value, error in (("trace_s2", "trace_s2_error"), ("trace_is", "trace_is_error")):
        deviation = np.array([getattr(m, value) for m in runs]) - getattr(exact, value)
        gap = np.array([getattr(m, error) for m in runs]) ** 2 - deviation**2
        assert deviation.std() > 0
        assert abs(deviation.mean()) < 4 * deviation.std() / np.sqrt(len(runs))
        assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(runs))
    np.testing.assert_allclose(runs[0].trace_s, exact.trace_s, rtol=1e-12)
    with pytest.raises(InputError, match="whole_probes"):
        fin.hessian_moments(X, Y, loss=loss, whole_probes=1)


def test_both_ways_to_the_mixed_trace_agree(problem, monkeypatch):
    import kernelcalc.finite.curvature.pairs as module

    fin, X, Y, loss = problem
    split = fin.curvature(X, Y, loss)
    found = []
    for few in (0, 100):
        monkeypatch.setattr(module, "_FEW_ROWS", few)
        found.append(module.curvature_pairs(split))
    scale = np.abs(found[0].s_i).max()
    np.testing.assert_allclose(found[0].s_i, found[1].s_i, rtol=1e-11, atol=1e-14 * max(scale, 1e-300))
    # with two hidden layers by other formulas too
    np.testing.assert_allclose(found[0].s_s, found[1].s_s, rtol=0, atol=1e-14 * max(np.abs(found[0].s_s).max(), 1e-300))


def test_deflation_leaves_little_to_the_probes():
    fin = FiniteNetwork.random(Architecture(activations=(SOFTPLUS,) * 2, n_out=2), 40, 10, rng=0)
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((20, 10)), rng.standard_normal((20, 2))
    dense = fin.hessian_moments(X, Y, dense=True)
    with_q = fin.hessian_moments(X, Y, dense=False, deflation=40)
    without = fin.hessian_moments(X, Y, dense=False, deflation=0)
    assert np.all(with_q.trace_h_error[2:] < 0.05 * without.trace_h_error[2:])
    assert np.all(np.abs(with_q.trace_h - dense.trace_h)[2:] < 5 * with_q.trace_h_error[2:])


def test_leading_vectors_of_a_large_gram_matrix(monkeypatch):
    import kernelcalc.finite.curvature.deflation as module

    fin, X, Y, loss = make_problem("two hidden", n=8)
    whole = fin.hessian_moments(X, Y, loss=loss, dense=False, deflation=2)
    monkeypatch.setattr(module, "_WHOLE_GRAM", 1)
    iterated = fin.hessian_moments(X, Y, loss=loss, dense=False, deflation=2)
    np.testing.assert_allclose(iterated.trace_h, whole.trace_h, rtol=1e-10)
    # a span that is not invariant: no longer the same estimate, but still an unbiased one
    fin, X, Y, loss = make_problem("two hidden", n=24)
    exact = fin.hessian_moments(X, Y, loss=loss).trace_h
    monkeypatch.setattr(module, "_SUBSPACE_ITERATIONS", 1)
    runs = [fin.hessian_moments(X, Y, loss=loss, dense=False, deflation=2, rng=seed).trace_h for seed in range(300)]
    deviation = (np.array(runs) - exact)[:, 2:]
    assert np.all(np.abs(deviation.mean(axis=0)) < 4 * deviation.std(axis=0) / np.sqrt(len(runs)))


def test_a_fitted_network_has_no_residual_part():
    fin, X, _, _ = make_problem("two hidden")
    moments = fin.hessian_moments(X, fin(X), dense=False)
    assert moments.trace_s == moments.trace_s2 == moments.trace_is == 0
    np.testing.assert_allclose(moments.trace_h, moments.trace_i, rtol=1e-12)


def test_float32_moments():
    double, X, Y, loss = make_problem("two hidden")
    single, *_ = make_problem("two hidden", dtype=np.float32)
    one, two = (fin.hessian_moments(X, Y, loss=loss) for fin in (single, double))
    for name in ("trace_i", "trace_h", "trace_s", "trace_s2"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [{"kmax": 0}, {"probes": 1}, {"deflation": -1}, {"unit_probes": -1}, {"whole_probes": -1}, {"whole_probes": 1}],
)
def test_bad_numbers(wrong):
    fin, X, Y, _ = make_problem("two hidden")
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=rf"^expected kmax >= 1, probes >= 2, .*, got .*\b{name}={value}\b"):
        fin.hessian_moments(X, Y, **wrong)


def test_rows_are_the_powers():
    fin, X, Y, _ = make_problem("two hidden")
    assert fin.hessian_moments(X, Y).dimensions() == dict.fromkeys(("trace_h", "trace_h_error", "trace_i"), ("k",))


@pytest.mark.parametrize("dense", [True, False])
def test_an_overflow_is_named(dense):
    fin, X, Y, _ = make_problem("two hidden")
    with pytest.raises(NotFiniteError, match="overflow"):
        fin.hessian_moments(X, 1e200 * Y, dense=dense)
    with pytest.raises(NotFiniteError, match="overflow"):
        fin.hessian_moments(1e200 * X, Y, dense=dense)
    # Tr I does not depend on the targets, and S grows with them
    np.testing.assert_allclose(fin.hessian_moments(X, 1e70 * Y).trace_i, fin.hessian_moments(X, Y).trace_i, rtol=1e-12)
