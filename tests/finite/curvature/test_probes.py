"""Sampled moments, draw by draw: what the formulas make of the same signs and dense matrices."""

import numpy as np
import pytest
from conftest import make_problem
from stand_ins import RELU, Architecture

import kernelcalc as kc
import kernelcalc.finite.curvature.deflation as deflation_module
import kernelcalc.finite.curvature.moments as module
from kernelcalc.errors import NotFiniteError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.deflation import gauss_newton_gram, pull_back
from kernelcalc.finite.curvature.moments import hessian_moments
from kernelcalc.finite.curvature.outer import outer_products_pay
from kernelcalc.finite.curvature.pairs import CurvaturePairs, unit_pairs
from kernelcalc.finite.derivatives import Problem


def signs(count, p, seed):
    return np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(count, p))


def mean_and_error(values):
    """Of rows of independent values."""
    values = np.array(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def dense(fin, X, Y, loss="mse"):
    split = fin.curvature(X, Y, loss)
    return split.i.dense(), split.s.dense()


def leading(i, count):
    """Orthonormal rows: eigenvectors of I to its largest eigenvalues."""
    return np.linalg.eigh(i)[1][:, ::-1][:, :count].T


def powers(h, kmax):
    return np.array([np.linalg.matrix_power(h, k) for k in range(3, kmax + 1)])


@pytest.mark.parametrize("kmax", [3, 6])
@pytest.mark.parametrize("deflation", [0, 3])
@pytest.mark.parametrize("name", ["two hidden, softmax", "three hidden", "two hidden"])
def test_whole_probes(name, deflation, kmax):
    """Tr A = Tr QᵀAQ + E[vᵀΠAΠv] for S², IS and H^k − I^k; the same signs serve all."""
    fin, X, Y, loss = make_problem(name)
    i, s = dense(fin, X, Y, loss)
    h, q = i + s, leading(i, deflation)
    moments = fin.hessian_moments(
        X, Y, loss=loss, kmax=kmax, dense=False, whole_probes=5, probes=5, deflation=deflation, rng=11
    )
    v = signs(5, len(i), 11)
    v -= (v @ q.T) @ q
    pairs = np.array([s @ s, s @ i])
    sampled = np.einsum("vp,kpq,vq->vk", v, pairs, v)
    (s2, mixed), (s2_error, mixed_error) = mean_and_error(sampled)
    known = np.einsum("mp,kpq,mq->k", q, pairs, q)
    np.testing.assert_allclose((moments.trace_s2, moments.trace_is), known + np.array([s2, mixed]), rtol=1e-9)
    np.testing.assert_allclose((moments.trace_s2_error, moments.trace_is_error), (s2_error, mixed_error), rtol=1e-9)
    # Tr H² = Tr I² + 2 Tr IS + Tr S²
    np.testing.assert_allclose(
        moments.trace_h[:2], [np.trace(h), (i * i).sum() + 2 * moments.trace_is + moments.trace_s2], rtol=1e-11
    )
    assert moments.trace_h_error[0] == 0
    np.testing.assert_allclose(moments.trace_h_error[1], mean_and_error(sampled @ [1, 2])[1], rtol=1e-9)
    # the rest of I^k beside Q is exact
    high, of_i = powers(h, kmax), powers(i, kmax)
    mean, error = mean_and_error(np.einsum("vp,kpq,vq->vk", v, high - of_i, v))
    beside = np.trace(of_i, axis1=1, axis2=2) - np.einsum("mp,kpq,mq->k", q, of_i, q)
    np.testing.assert_allclose(moments.trace_h[2:], np.einsum("mp,kpq,mq->k", q, high, q) + beside + mean, rtol=1e-9)
    np.testing.assert_allclose(moments.trace_h_error[2:], error, rtol=1e-8)


@pytest.mark.parametrize(("whole", "probes"), [(6, 4), (3, 4), (0, 4)])
def test_vectors_serve_again_where_there_are_enough(whole, probes):
    fin, X, Y, loss = make_problem("two hidden")
    i, s = dense(fin, X, Y, loss)
    q = leading(i, 2)
    moments = fin.hessian_moments(
        X, Y, loss=loss, kmax=4, dense=False, whole_probes=whole, probes=probes, deflation=2, rng=7
    )
    generator = np.random.default_rng(7)
    drawn = [generator.choice(np.array([-1.0, 1.0]), size=(n, len(i))) for n in (whole, probes) if n]
    v = drawn[0][:probes] if whole >= probes else drawn[-1]
    v = v - (v @ q.T) @ q
    error = mean_and_error(np.einsum("vp,kpq,vq->vk", v, powers(i + s, 4) - powers(i, 4), v))[1]
    np.testing.assert_allclose(moments.trace_h_error[2:], error, rtol=1e-8)


@pytest.mark.parametrize("dense_ones", [True, False])
def test_compositions(dense_ones):
    """Tr S², Tr IS by signs in the whole space, or by all unit vectors."""
    parts = kc.Sequential(kc.layers.Dense(), "tanh", kc.layers.Dense(), "tanh", kc.layers.Dense(), n_out=2)
    fin = FiniteNetwork.random(parts, 4, 3, rng=0)
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((3, 3)), rng.standard_normal((3, 2))
    i, s = dense(fin, X, Y)
    moments = fin.hessian_moments(X, Y, dense=dense_ones, probes=6, rng=5, kmax=2)
    v = np.eye(len(i)) if dense_ones else signs(6, len(i), 5)
    sampled = np.array([[one @ s @ s @ one, one @ s @ i @ one] for one in v])
    mean, error = mean_and_error(sampled)
    if dense_ones:
        mean, error = sampled.sum(axis=0), np.zeros(2)
        assert moments.trace_h_error.tolist() == [0, 0]
    else:
        np.testing.assert_allclose(moments.trace_h_error[1], mean_and_error(sampled @ [1, 2])[1], rtol=1e-9)
    np.testing.assert_allclose((moments.trace_s2, moments.trace_is), mean, rtol=1e-10)
    np.testing.assert_allclose((moments.trace_s2_error, moments.trace_is_error), error, rtol=1e-9)
    np.testing.assert_allclose(moments.trace_s, np.trace(s), rtol=1e-10)


def test_pairs_that_are_known_are_taken():
    fin, X, Y, loss = make_problem("two hidden")
    known = unit_pairs(fin, Problem.of(fin, X, Y, loss))
    plain = fin.hessian_moments(X, Y, loss=loss)
    given = fin.hessian_moments(X, Y, loss=loss, pairs=known)
    for name in ("trace_s", "trace_s2", "trace_is"):
        # single precision
        np.testing.assert_allclose(getattr(given, name), getattr(plain, name), rtol=1e-4)
    other = CurvaturePairs(s=2 * known.s, s_s=3 * known.s_s, s_i=5 * known.s_i, batches=known.batches)
    changed = fin.hessian_moments(X, Y, loss=loss, pairs=other)
    np.testing.assert_allclose(changed.trace_s, 2 * given.trace_s, rtol=1e-12)
    np.testing.assert_allclose(changed.trace_s2, 3 * given.trace_s2, rtol=1e-12)
    np.testing.assert_allclose(changed.trace_is, 5 * given.trace_is, rtol=1e-12)


def test_orders_are_named():
    fin, X, Y, loss = make_problem("two hidden")
    assert fin.hessian_moments(X, Y, loss=loss, kmax=3).coordinates()["k"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["two hidden, softmax", "three hidden", "linear"])
def test_rows_of_the_range_of_i(name):
    """T = 𝓗C^{½} Θ 𝓗C^{½} = RRᵀ with RᵀR = I, and Rᵀu row by row."""
    fin, X, Y, loss = make_problem(name)
    split = fin.curvature(X, Y, loss)
    rows = pull_back(split, np.eye(len(X) * fin.n_out))
    np.testing.assert_allclose(rows.T @ rows, split.i.dense(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(rows @ rows.T, gauss_newton_gram(split), rtol=1e-10, atol=1e-13)


def test_outer_products_of_few_points():
    """Of a network so wide that they pay; the matrix has 1500 rows."""
    wide = kc.MLP("tanh", 3)
    fin = FiniteNetwork.random(wide, 34, 5, rng=0)
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((2, 5)), rng.standard_normal((2, 1))
    assert outer_products_pay(fin.curvature(X, Y), 4)
    exact, sampled = (fin.hessian_moments(X, Y, dense=one, probes=30, rng=3) for one in (True, False))
    assert (sampled.trace_h_error[2:] > 0).all()
    assert (np.abs(sampled.trace_h - exact.trace_h)[2:] < 4 * sampled.trace_h_error[2:]).all()
    np.testing.assert_allclose(sampled.trace_h[2:], exact.trace_h[2:], rtol=0.1)


@pytest.mark.parametrize("name", ["fully connected", "composition"])
def test_small_matrices_are_built(name, monkeypatch):
    net = kc.MLP("tanh", 2)
    if name == "composition":
        net = kc.Sequential(kc.layers.Dense(), kc.layers.LayerNorm(), "tanh", kc.layers.Dense())
    fin = FiniteNetwork.random(net, 4, 3, rng=0)
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((3, 3)), rng.standard_normal((3, 1))
    for most in (fin.n_parameters, fin.n_parameters - 1):
        monkeypatch.setattr(module, "DENSE_MOMENTS", most)
        error = fin.hessian_moments(X, Y, kmax=3, probes=2).trace_h_error
        assert (error[2] == 0) == (most == fin.n_parameters)
        assert fin.hessian_moments(X, Y, kmax=3, dense=True).trace_h_error.tolist() == [0, 0, 0]


def test_one_moment_and_its_number_alone():
    fin, X, Y, _ = make_problem("two hidden")
    whole = fin.hessian_moments(X, Y)
    for moments in (fin.hessian_moments(X, Y, kmax=1), hessian_moments(fin, X, Y, 1)):
        assert moments.trace_h.tolist() == whole.trace_h[:1].tolist()
    for moments in (hessian_moments(fin, X, Y, 3), hessian_moments(fin, X, Y, 2, "mse")):
        assert moments.trace_h.tolist() == whole.trace_h[: len(moments.trace_h)].tolist()
    fin, X, Y, loss = make_problem("two hidden, binary")
    wanted = fin.hessian_moments(X, Y, loss=loss, kmax=2)
    assert hessian_moments(fin, X, Y, 2, loss).trace_h.tolist() == wanted.trace_h.tolist()


@pytest.mark.parametrize("nearly", [1e-3, 1e-4])
def test_directions_that_rounding_turns(nearly, monkeypatch):
    """Rows of Q to small eigenvalues of I are orthonormal up to 3e-4 at first: by a Cholesky factor, and by QR."""
    monkeypatch.setattr(deflation_module, "_NEARLY", nearly)
    found = []
    for dtype in (np.float32, np.float64):
        fin, X, Y, loss = make_problem("two hidden", dtype=dtype)
        X, Y = np.concatenate([X, X[:3] + 0.1]), np.concatenate([Y, Y[:3]])
        found.append(fin.hessian_moments(X, Y, loss=loss, dense=False, deflation=9, rng=2).trace_h)
    np.testing.assert_allclose(*found, rtol=2e-6)


def test_which_moment_overflows():
    """Of parameters a: I grows with a⁴ and S² with a⁶."""
    fin = FiniteNetwork.random(Architecture(activations=(RELU, RELU)), (4, 4), 3, rng=0)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((3, 3)), rng.standard_normal((3, 1))
    for size, name in ((1e60, "trace_s2"), (1e80, "trace_i")):
        with pytest.raises(NotFiniteError, match=f"NaN in {name};"):
            fin.at(size * fin.parameters).hessian_moments(X, Y, kmax=1)
