"""Losses against finite differences and mpmath."""

import dataclasses

import mpmath
import numpy as np
import pytest
from conftest import make_problem

from kernelcalc.errors import InputError, NotFiniteError, ShapeError, UnknownNameError
from kernelcalc.finite.losses import LOSSES, get_loss

RNG = np.random.default_rng(3)
OUTPUTS = RNG.standard_normal((4, 3))
TARGETS = {
    "mse": RNG.standard_normal((4, 3)),
    "binary": np.where(RNG.standard_normal((4, 3)) > 0, 1.0, -1.0),
    "softmax": np.array([0, 2, 1, 2]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_and_hessian_by_complex_step(name):
    loss = get_loss(name)
    targets = loss.prepare(TARGETS[name], 4, 3)
    gradient, hessian = loss.gradient(OUTPUTS, targets), loss.hessian(OUTPUTS, targets)
    h = 1e-4
    for s in range(4):
        for a in range(3):
            unit = np.zeros((4, 3))
            unit[s, a] = 1.0
            up, down = loss.value(OUTPUTS + h * unit, targets), loss.value(OUTPUTS - h * unit, targets)
            assert (up - down) / (2 * h) == pytest.approx(gradient[s, a], abs=1e-8)
            column = loss.gradient(OUTPUTS + 1e-30j * unit, targets).imag / 1e-30
            np.testing.assert_allclose(hessian[s, :, a], column[s], rtol=1e-13, atol=1e-16)
            assert not np.delete(column, s, axis=0).any()


def test_values_against_mpmath():
    f, y = OUTPUTS, TARGETS["binary"]
    with mpmath.workdps(30):
        binary = sum(mpmath.log(1 + mpmath.exp(-mpmath.mpf(y[s, a]) * f[s, a])) for s in range(4) for a in range(3)) / 4
        softmax = (
            sum(
                mpmath.log(sum(mpmath.exp(v) for v in f[s])) - mpmath.mpf(f[s, k])
                for s, k in enumerate(TARGETS["softmax"])
            )
            / 4
        )
    assert LOSSES["binary"].value(f, y) == pytest.approx(float(binary), rel=1e-14)
    assert LOSSES["softmax"].value(f, LOSSES["softmax"].prepare(TARGETS["softmax"], 4, 3)) == pytest.approx(
        float(softmax), rel=1e-14
    )


def test_large_outputs_do_not_overflow():
    f = np.array([[1e3], [-1e3]])
    y = np.array([[1.0], [1.0]])
    assert LOSSES["binary"].value(f, y) == 500.0
    np.testing.assert_array_equal(LOSSES["binary"].gradient(f, y), [[0.0], [-0.5]])
    # e^{-1000} underflows to a weight of 0, as it must
    assert LOSSES["binary"].hessian(f, y).max() == 0.0
    logits = np.array([[1e3, 0.0, -1e3]])
    one = LOSSES["softmax"].prepare([2], 1, 3)
    assert LOSSES["softmax"].value(logits, one) == 2000.0
    np.testing.assert_array_equal(LOSSES["softmax"].gradient(logits, one), [[1.0, 0.0, -1.0]])
    # each point by its own largest output
    both = np.array([[1e3, 0.0, -1e3], [-2e3, -2e3, -2e3]])
    two = LOSSES["softmax"].prepare([0, 1], 2, 3)
    assert LOSSES["softmax"].value(both, two) == pytest.approx(np.log(3) / 2, rel=1e-13)


def test_targets_are_checked():
    with pytest.raises(ShapeError, match=r"Y of shape \(4, 1\), got shape \(3, 1\); one row a point, one column"):
        LOSSES["mse"].prepare(np.zeros(3), 4, 1)
    with pytest.raises(NotFiniteError):
        LOSSES["mse"].prepare([np.inf, 0.0], 2, 1)
    with pytest.raises(InputError, match=r"-1 and \+1"):
        LOSSES["binary"].prepare([0, 1], 2, 1)
    with pytest.raises(InputError, match="integer labels"):
        LOSSES["softmax"].prepare([0, 3], 2, 3)
    with pytest.raises(InputError, match="sum to 1"):
        LOSSES["softmax"].prepare(np.ones((2, 3)), 2, 3)
    with pytest.raises(ShapeError, match=r"Y of shape \(2,\) or one-hot rows \(2, 3\), got shape \(2, 2\)"):
        LOSSES["softmax"].prepare(np.zeros((2, 2)), 2, 3)
    with pytest.raises(UnknownNameError, match="a loss of finite networks, got 'sofmax'; did you mean 'softmax'"):
        get_loss("sofmax")


@pytest.mark.parametrize("name", LOSSES)
def test_targets_are_real_numbers(name):
    for bad in (["a", "b"], [None, 1], [1j, 1.0]):
        with pytest.raises(InputError):
            LOSSES[name].prepare(bad, 2, 1)
    for bad in ([np.nan, 1.0], [np.inf, 1.0]):
        with pytest.raises(NotFiniteError):
            LOSSES[name].prepare(bad, 2, 1)


def test_targets_fit_the_number_type():
    single, X, Y, _ = make_problem("two hidden", dtype=np.float32)
    with pytest.raises(NotFiniteError, match="float32"):
        single.loss(X, 1e300 * np.ones_like(Y))


def test_own_losses_are_checked_as_well():
    fin, X, Y, _ = make_problem("two hidden")
    own = dataclasses.replace(LOSSES["mse"], name="own", prepare=lambda Y, n, n_out: np.full((n, n_out), np.nan))
    with pytest.raises(NotFiniteError, match="Y"):
        fin.gradient(X, Y, own)


@pytest.mark.parametrize("name", LOSSES)
def test_single_precision_stays(name):
    f = OUTPUTS.astype(np.float32)
    loss = LOSSES[name]
    targets = loss.targets(TARGETS[name], 4, 3, np.float32)
    for part in (targets, loss.gradient(f, targets), loss.hessian_root(f, targets), loss.hessian(f, targets)):
        assert part.dtype == np.float32


def test_a_curvature_that_depends_on_the_targets():
    """C = Σ T²F²/2 has the Hessian T²."""
    own = dataclasses.replace(
        LOSSES["mse"],
        name="own",
        value=lambda f, y: float((y**2 * f**2).sum() / 2),
        gradient=lambda f, y: y**2 * f,
        hessian_root=lambda f, y: y[:, :, None] * np.eye(f.shape[1]),
    )
    y = TARGETS["mse"]
    np.testing.assert_allclose(own.hessian(OUTPUTS, y), y[:, :, None] ** 2 * np.eye(3), rtol=1e-15)
    fin, X, _, _ = make_problem("two hidden")
    Y = np.arange(1.0, 7.0)
    jac = fin.jacobian(X)
    wanted = np.einsum("sap,s,saq->pq", jac, Y**2, jac)
    np.testing.assert_allclose(fin.curvature(X, Y, own).i.dense(), wanted, rtol=1e-11, atol=1e-13)
