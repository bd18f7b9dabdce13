"""First derivatives against complex steps, and the NTK and g against literal sums."""

import numpy as np
import pytest
from conftest import make_problem
from stand_ins import alternating

from kernelcalc.errors import NotFiniteError, ShapeError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.derivatives import Problem, forward
from kernelcalc.finite.losses import get_loss

STEP = 1e-30


def outputs_at(fin, theta, X):
    """Outputs for complex parameters, which the public ways to a network refuse."""
    return forward(fin.at(theta), X.astype(complex)).outputs


def test_outputs_follow_the_definition(problem):
    fin, X, *_ = problem
    a = X
    for layer, (w, b) in enumerate(zip(fin.weights, fin.biases, strict=True)):
        z = fin.sigma_w / np.sqrt(w.shape[0]) * np.einsum("si,ij->sj", a, w) + fin.beta * b
        a = fin.activations[layer](z) if layer < fin.depth - 1 else z
    np.testing.assert_allclose(fin(X), a, rtol=1e-14, atol=1e-15)


def test_jacobian_against_complex_steps(problem):
    fin, X, *_ = problem
    theta = fin.parameters
    expected = np.stack(
        [outputs_at(fin, theta + 1j * STEP * unit, X).imag / STEP for unit in np.eye(fin.n_parameters)], axis=-1
    )
    np.testing.assert_allclose(fin.jacobian(X), expected, rtol=1e-12, atol=1e-14)


def test_gradient_against_the_jacobian_and_central_differences(problem):
    fin, X, Y, loss = problem
    gradient = fin.gradient(X, Y, loss)
    chosen = get_loss(loss)
    residual = chosen.gradient(fin(X), chosen.prepare(Y, len(X), fin.n_out))
    np.testing.assert_allclose(gradient, np.einsum("sa,sap->p", residual, fin.jacobian(X)), rtol=1e-12, atol=1e-14)
    rng = np.random.default_rng(0)
    v = rng.standard_normal(fin.n_parameters)

    def along(h):
        return fin.with_parameters(fin.parameters + h * v).loss(X, Y, loss)

    # sixth-order central difference
    h = 3e-3
    slope = (45 * (along(h) - along(-h)) - 9 * (along(2 * h) - along(-2 * h)) + along(3 * h) - along(-3 * h)) / (60 * h)
    assert slope == pytest.approx(gradient @ v, rel=1e-9, abs=1e-10)


def test_ntk_is_the_jacobian_gram(problem):
    fin, X, *_ = problem
    jac, jac2 = fin.jacobian(X), fin.jacobian(2 * X[:4])
    whole, part = np.einsum("sap,tbp->stab", jac, jac), np.einsum("sap,tbp->stab", jac, jac2)
    if fin.n_out == 1:
        whole, part = whole[..., 0, 0], part[..., 0, 0]
    np.testing.assert_allclose(fin.ntk(X), whole, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(fin.ntk(X, 2 * X[:4]), part, rtol=1e-12, atol=1e-14)


def test_trace_of_output_hessians(problem):
    fin, X, *_ = problem
    dense = fin.output_hessian(X)
    np.testing.assert_allclose(fin.hessian_trace(X), np.trace(dense, axis1=2, axis2=3), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("depth", [4, 5])
def test_trace_does_not_depend_on_the_block(depth):
    from kernelcalc.finite.derivatives import unit_ntk_diagonals

    fin = FiniteNetwork.random(alternating(depth), 6, 3)
    run = forward(fin, np.random.default_rng(1).standard_normal((7, 3)))
    for one, other in zip(unit_ntk_diagonals(run, block=2)[1:], unit_ntk_diagonals(run)[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_float32_is_the_rounded_network():
    net = alternating(3, n_out=2)
    X = np.random.default_rng(1).standard_normal((5, 3))
    single = FiniteNetwork.random(net, 8, 3, rng=3, dtype=np.float32)
    double = FiniteNetwork.random(net, 8, 3, rng=3)
    assert single(X).dtype == single.ntk(X).dtype == single.gradient(X, np.zeros((5, 2))).dtype == np.float32
    np.testing.assert_allclose(single(X), double(X), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(single.ntk(X), double.ntk(X), rtol=1e-4, atol=1e-4)


def test_points_are_checked():
    fin = FiniteNetwork.random(alternating(2), 4, 3)
    with pytest.raises(ShapeError, match=r"\(N, 3\)"):
        fin(np.zeros((2, 4)))
    with pytest.raises(ShapeError):
        fin(np.zeros(3))
    with pytest.raises(NotFiniteError):
        fin(np.array([[0.0, np.nan, 1.0]]))


@pytest.mark.parametrize("name", ["two hidden, binary", "two hidden, softmax", "two hidden"])
def test_some_of_the_points(name):
    """The same loss, as a mean over these."""
    fin, X, Y, loss = make_problem(name)
    rows = np.array([4, 1, 2])
    part = Problem.of(fin, X, Y, loss).batch(rows)
    assert part.value(fin) == pytest.approx(fin.loss(X[rows], Y[rows], loss), rel=1e-14)
    np.testing.assert_allclose(part.gradient(fin), fin.gradient(X[rows], Y[rows], loss), rtol=1e-13)
