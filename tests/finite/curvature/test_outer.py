"""Products with S on sums of outer products against dense matrices."""

import numpy as np
import pytest
from conftest import CASES, make_problem

import kernelcalc.finite.curvature.moments as module
from kernelcalc.finite.curvature.hessian import HessianSplit, weighted_jacobian
from kernelcalc.finite.curvature.outer import Outer, OuterProducts, outer_products_pay
from kernelcalc.finite.derivatives import Problem

HIDDEN = [name for name in CASES if name not in ("linear", "relu")]


def dense(v):
    """The vectors as they are, (m, P)."""
    parts = []
    for left, right in zip(v.left, v.right, strict=True):
        both = np.einsum("mri,mrj->mij", left, right)
        # the bias comes last, with its factor β
        parts += [both[:, :-1].reshape(len(both), -1), both[:, -1]]
    return np.concatenate(parts, axis=1)


def unit_vectors(net):
    """All of them, as outer products of unit vectors."""
    eyes = [(np.eye(n + 1), np.eye(m)) for n, m in net.weight_shapes]
    blocks = []
    for at, (rows, columns) in enumerate(eyes):
        for i, j in np.ndindex(len(rows), len(columns)):
            own = [(np.zeros(len(a)), np.zeros(len(b))) for a, b in eyes]
            own[at] = rows[i], columns[j]
            blocks.append(own)
    return Outer(
        *([np.array([one[layer][side] for one in blocks])[:, None] for layer in range(len(eyes))] for side in (0, 1))
    )


def products(name):
    fin, X, Y, loss = make_problem(name, n=4)
    return fin, OuterProducts(HessianSplit.at(fin, Problem.of(fin, X, Y, loss)))


@pytest.mark.parametrize("name", HIDDEN)
def test_products_are_those_of_the_matrix(name):
    fin, outer = products(name)
    s, j = outer.split.s.dense(), outer.jacobian
    rows = dense(j)
    expected = weighted_jacobian(outer.split).reshape(4, -1, fin.n_parameters).swapaxes(0, 1).reshape(rows.shape)
    np.testing.assert_allclose(rows, expected, rtol=1e-12, atol=1e-14)
    once = outer.s(j)
    twice = outer.s(once)
    np.testing.assert_allclose(dense(once), rows @ s, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(dense(twice), rows @ s @ s, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(once.inner(twice), rows @ s @ s @ s @ rows.T, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(once.squares(twice), np.diagonal(rows @ s @ s @ s @ rows.T), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", HIDDEN)
def test_traces_from_all_unit_vectors_are_exact(name):
    fin, outer = products(name)
    h, gram = outer.split.h.dense(), module.gauss_newton_gram(outer.split)
    units = unit_vectors(fin)
    scale = np.sqrt(fin.n_parameters)
    # in the place of random vectors, of whose mean of v·Av the trace is the sum over an orthonormal basis
    basis = Outer([scale * one for one in units.left], units.right)
    trace_i = np.array([np.trace(np.linalg.matrix_power(gram, k)) for k in range(1, 5)])
    found, _ = outer.high_traces(gram, trace_i, basis)
    powers = h @ h @ h, h @ h @ h @ h
    np.testing.assert_allclose(found, [np.trace(one) for one in powers], rtol=1e-10)
    np.testing.assert_allclose(outer.high_traces(gram, trace_i[:3], basis)[0], found[:1])


@pytest.mark.parametrize("name", HIDDEN)
def test_gaussian_vectors_fill_the_range_of_s(name):
    fin, outer = products(name)
    v = dense(outer.gaussian(6 * fin.n_parameters, [np.random.default_rng(0)]))
    # no direction of S is missing: S is in the span of the vectors
    basis = np.linalg.svd(v, full_matrices=False)
    span = basis.Vh[: np.linalg.matrix_rank(v)]
    s = outer.split.s.dense()
    np.testing.assert_allclose(span.T @ (span @ s), s, atol=1e-11)
    # and every one counts as much: the covariance on the span is the identity, but for 1/√6
    spread = np.linalg.svd(v @ span.T, compute_uv=False) / np.sqrt(len(v))
    np.testing.assert_allclose(spread, 1, atol=6**-0.5 + 0.1)


def test_moments_are_unbiased_with_an_honest_error(monkeypatch):
    monkeypatch.setattr(module, "outer_products_pay", lambda split, kmax: True)
    fin, X, Y, loss = make_problem("two hidden", n=8)
    exact = fin.hessian_moments(X, Y, loss=loss).trace_h
    runs = [fin.hessian_moments(X, Y, loss=loss, dense=False, probes=10, rng=seed) for seed in range(400)]
    deviation = np.array([m.trace_h[2:] for m in runs]) - exact[2:]
    claimed = np.array([m.trace_h_error[2:] for m in runs]) ** 2
    assert np.all(np.abs(deviation.mean(axis=0)) < 4 * deviation.std(axis=0) / np.sqrt(len(runs)))
    gap = claimed - deviation**2
    assert np.all(np.abs(gap.mean(axis=0)) < 4 * gap.std(axis=0) / np.sqrt(len(runs)))


def test_float32_within_rounding():
    found = []
    for dtype in (np.float64, np.float32):
        fin, X, Y, loss = make_problem("two hidden", n=4, dtype=dtype)
        outer = OuterProducts(HessianSplit.at(fin, Problem.of(fin, X, Y, loss)))
        assert all(
            part.dtype == dtype
            for part in (*outer.s(outer.jacobian).left, *outer.gaussian(2, [np.random.default_rng(0)]).right)
        )
        gram = module.gauss_newton_gram(outer.split)
        trace_i = np.array([np.trace(np.linalg.matrix_power(gram.astype(float), k)) for k in range(1, 5)])
        found.append(outer.high_traces(gram, trace_i, outer.gaussian(8, [np.random.default_rng(0)]))[0])
    # four products of three passes each
    np.testing.assert_allclose(*found, rtol=10 * 12 * np.sqrt(6) * 2.0**-24)


def test_few_points_of_wide_networks_take_them():
    fin, X, Y, loss = make_problem("two hidden")
    split = HessianSplit.at(fin, Problem.of(fin, X, Y, loss))
    assert not outer_products_pay(split, 4)
    wide = fin.random(type("Net", (), {"activations": fin.activations, "sigma_w": 1.0, "beta": 0.1, "n_out": 1}), 64, 3)
    wide_split = HessianSplit.at(wide, Problem.of(wide, X, Y, loss))
    assert outer_products_pay(wide_split, 4)
    assert not any(outer_products_pay(wide_split, kmax) for kmax in (2, 5))
