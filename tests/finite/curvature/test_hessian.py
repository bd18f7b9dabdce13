"""H = I + S against complex steps of the gradient, and products against matrices."""

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator
from stand_ins import alternating

import kernelcalc.finite.curvature.hessian as module
from kernelcalc.errors import InputError, ShapeError, UnknownNameError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.deflation import Images, pull_back
from kernelcalc.finite.derivatives import Problem
from kernelcalc.finite.losses import get_loss

STEP = 1e-30


def test_dense_hessian_against_complex_steps(problem):
    fin, X, Y, loss = problem
    checked = Problem.of(fin, X, Y, loss)
    theta = fin.parameters
    expected = np.stack(
        [checked.gradient(fin.at(theta + 1j * STEP * unit)).imag / STEP for unit in np.eye(fin.n_parameters)]
    )
    np.testing.assert_allclose(fin.hessian(X, Y, loss), expected, rtol=1e-11, atol=1e-13)


def test_split_is_the_definition(problem):
    fin, X, Y, loss = problem
    split = fin.curvature(X, Y, loss)
    chosen = get_loss(loss)
    targets = chosen.prepare(Y, len(X), fin.n_out)
    jac = fin.jacobian(X)
    gauss_newton = np.einsum("sap,sab,sbq->pq", jac, chosen.hessian(fin(X), targets), jac)
    residual = np.einsum("sa,sapq->pq", chosen.gradient(fin(X), targets), fin.output_hessian(X))
    np.testing.assert_allclose(split.i.dense(), gauss_newton, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(split.s.dense(), residual, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(split.h.dense(), gauss_newton + residual, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("part", ["h", "i", "s"])
def test_products_are_those_of_the_matrix(problem, part, monkeypatch):
    fin, X, Y, loss = problem
    operator = getattr(fin.curvature(X, Y, loss), part)
    v = np.random.default_rng(4).standard_normal((fin.n_parameters, 5))
    expected = operator.dense() @ v
    np.testing.assert_allclose(operator @ v, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(operator @ v[:, 0], expected[:, 0], rtol=1e-11, atol=1e-12)
    linear = operator.linear_operator()
    np.testing.assert_allclose(linear @ v, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(linear.H @ v[:, :1], expected[:, :1], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(linear @ v[:, :2], expected[:, :2], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(linear.matvec(v[:, 0]), expected[:, 0], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(linear.matvec(v[:, :1]), expected[:, :1], rtol=1e-11, atol=1e-12)
    assert aslinearoperator(linear).shape == operator.shape
    # batches of one vector
    monkeypatch.setattr(module, "_BATCH", 1)
    np.testing.assert_allclose(operator @ v, expected, rtol=1e-11, atol=1e-12)


def test_images_are_the_products_with_both_parts(problem, monkeypatch):
    fin, X, Y, loss = problem
    split = fin.curvature(X, Y, loss)
    v = np.random.default_rng(5).standard_normal((4, fin.n_parameters))
    for batch in (module._BATCH, 1):
        monkeypatch.setattr(module, "_BATCH", batch)
        for image, operator in zip(split.images(v), (split.s, split.i), strict=True):
            np.testing.assert_allclose(image, v @ operator.dense(), rtol=1e-11, atol=1e-12)
        roots = Images.of(split, v).roots
        np.testing.assert_allclose(roots @ roots.T, v @ split.i.dense() @ v.T, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(roots, v @ pull_back(split, np.eye(roots.shape[1])).T, rtol=1e-11, atol=1e-12)
    assert Images.of(split, v[:0]).roots.shape == (0, roots.shape[1])
    with pytest.raises(ShapeError):
        split.images(v[0])


def test_ranks_of_proposition_3():
    fin = FiniteNetwork.random(alternating(3, n_out=3), (12, 10), 3, rng=1)
    X, Y = np.random.default_rng(0).standard_normal((2, 3)), np.zeros((2, 3))
    split = fin.curvature(X, Y)
    assert np.linalg.matrix_rank(split.i.dense()) <= 2 * 3
    assert np.linalg.matrix_rank(split.s.dense()) <= 2 * (12 + 10) * 2


def test_float32_products():
    X, Y = np.random.default_rng(0).standard_normal((4, 3)), np.zeros((4, 2))
    net = alternating(3, n_out=2)
    single, double = (FiniteNetwork.random(net, 6, 3, rng=1, dtype=t) for t in (np.float32, np.float64))
    assert single.hessian(X, Y).dtype == np.float32
    assert single.output_hessian(X).dtype == np.float32
    assert single.curvature(X, Y).s.linear_operator().dtype == np.float32
    np.testing.assert_allclose(single.hessian(X, Y), double.hessian(X, Y), rtol=1e-3, atol=1e-5)


def test_too_large_and_wrong_shapes(monkeypatch):
    fin = FiniteNetwork.random(alternating(2), 4, 3)
    split = fin.curvature(np.ones((2, 3)), np.zeros(2))
    p = fin.n_parameters
    with pytest.raises(ShapeError, match=rf"vectors of shape \({p},\) or \({p}, m\), got shape \(3,\)"):
        split.h @ np.zeros(3)
    with pytest.raises(UnknownNameError, match="a part of the Hessian, got 'k'"):
        split.product(np.zeros((1, p)), "k")
    with pytest.raises(InputError, match="expected vectors: real numbers"):
        split.h @ np.array(["a"] * p)
    with pytest.raises(ShapeError, match=rf"vectors of shape \(m, {p}\), got shape \(3,\); one row a vector"):
        split.product(np.zeros(3), "h")
    monkeypatch.setattr(module, "DENSE_LIMIT", 10)
    with pytest.raises(InputError, match="at most 10 parameters"):
        split.h.dense()
