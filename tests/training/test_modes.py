"""What is known of moments where eigenvalues of Θ are zero to rounding."""

import numpy as np
import pytest

from kernelcalc.errors import InputError, PrecisionWarning
from kernelcalc.kernels.mlp import MLP
from kernelcalc.training.law import mse_law
from kernelcalc.training.modes import Modes
from kernelcalc.training.mse import mse_moments

X = np.random.default_rng(0).normal(size=(6, 3))
NET = MLP("erf", depth=3)
Y = np.sin(np.arange(8.0))


def kernels(shift):
    return NET.kernels(np.concatenate([X, X[:2] + shift]))


def test_points_that_nearly_coincide_with_other_labels():
    """The exact end of training fits both labels: loss 0. In float64 it is that of points that are one."""
    for call in (lambda k: mse_moments(k, Y, [0.0, np.inf]), lambda k: mse_law(k, Y, 1e17, "loss")):
        with pytest.warns(PrecisionWarning, match="no digit; use earlier times"):
            call(kernels(1e-9))
    # points that are one have no such end, and what is left of the loss is certain
    found = mse_moments(kernels(0.0), Y, [np.inf])
    sigma = NET.kernels(X[:2]).sigma
    # of each pair the mean is learnt: |difference|²/4 a pair stays, over 2N; outputs of equal points are equal
    assert found.loss[0] == pytest.approx(((Y[0] - Y[6]) ** 2 + (Y[1] - Y[7]) ** 2) / 2 / 16, rel=1e-6)
    assert sigma.shape == (2, 2)


def test_early_times_and_equal_labels_need_no_warning():
    mse_moments(kernels(1e-9), Y, [0.0, 1.0, 1e3])
    same = np.concatenate([Y[:6], Y[:2]])
    mse_moments(kernels(1e-12), same, [0.0, np.inf])
    mse_moments(kernels(1e-3), Y, [0.0, 1e4])


def test_digits_follow_the_condition_number():
    modes = Modes.of(np.diag([1.0, 1e-3, 1e-6]))
    assert modes.condition_number == pytest.approx(1e6)
    assert modes.digits(np.inf) == pytest.approx(8, abs=0.01)
    assert modes.digits(3.0) == pytest.approx(14, abs=0.3)
    assert modes.digits(3e4) == pytest.approx(10, abs=0.1)
    assert Modes.of(np.diag([1.0, 1e-3, 1e-6]), ridge=1e-3).digits(np.inf) == pytest.approx(11, abs=0.01)


@pytest.mark.parametrize(
    ("theta", "hidden"),
    [
        (np.ones((3, 3)), False),  # equal points
        (np.diag([1.0, 1.0, 0.0]), False),
        (np.diag([1.0, 1e-6, 1e-12, 1e-14, 1e-16, 1e-18]), True),  # a spectrum that goes on below rounding
        (
            np.diag([1.0, 1.0, 2e-13, 1e-17]),
            True,
        ),  # the last one above rounding, 9e-16, is not a thousand times above it
        # features (1, 0), (1, 1e-9) and (0, 1): two points nearly one, which the third tells apart
        (np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1e-9], [0.0, 1e-9, 1.0]]), True),
        (np.eye(3), False),
        (np.outer([1, -1], [1, -1]) * 2.0, False),  # an odd network at x and -x
    ],
)
def test_which_zeros_are_certain(theta, hidden):
    for scale in (1e-9, 1.0, 1e9):
        modes = Modes.of(scale * theta)
        assert modes.hidden == hidden
        assert (modes.digits(np.inf) == 0) == hidden
        assert np.isinf(modes.condition_number) == (np.linalg.matrix_rank(theta) < len(theta))


def test_a_decay_is_unsure_from_a_thousandth_on():
    """λ t/N = 1e-13 · 1e11 hardly decays yet; the rounding 1e-14 of λ makes 1e-3 of it."""
    modes = Modes.of(np.diag([1.0, 1e-13]))
    assert modes.unsure(2 * 0.98e11).tolist() == [False, False]
    assert modes.unsure(2 * 1.05e11).tolist() == [True, False]


def test_linear_networks_are_singular_and_certain():
    theta = np.asarray(MLP([], depth=1).kernels(np.random.default_rng(1).normal(size=(9, 2))).theta)
    assert not Modes.of(theta).hidden


def test_named_errors():
    with pytest.raises(
        InputError, match=r"^expected a positive semidefinite kernel theta, .* -0.1; is it a Gram matrix of ∇f\?$"
    ):
        Modes.of(np.diag([1.0, -0.1]))
    for ridge in (-1.0, np.inf, np.nan):
        with pytest.raises(InputError, match=f"a ridge ≥ 0, got {ridge}"):
            Modes.of(np.eye(2), ridge=ridge)


@pytest.mark.parametrize(
    ("least", "words"), [(3e-14, "no digit"), (3e-13, "about one digit"), (3e-12, "about two digits")]
)
def test_the_warning_says_what_is_left(least, words):
    """The condition number 1/least, times the rounding 1e-14 of Θ."""
    modes = Modes.of(np.diag([1.0, least]))
    message = (
        f"^a sum at time inf: rounding of theta, whose condition number is {1 / least:.3g}, leaves {words}; use less$"
    )
    with pytest.warns(PrecisionWarning, match=message.replace("+", r"\+")):
        modes.warn(np.inf, "a sum", "use less")
    Modes.of(np.diag([1.0, 2e-11])).warn(np.inf, "a sum", "use less")


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_labels_in_other_units_need_the_same_warning(scale):
    """Which part of the loss is in a mode that rounding hides counts: a millionth."""
    modes = Modes.of(np.diag([1.0, 1e-13]))
    modes.warn_of_decays(np.array([1e13]), scale * np.array([1.0, 5e-7])[::-1])
    with pytest.warns(PrecisionWarning, match="^moments under MSE at time 1e.13"):
        modes.warn_of_decays(np.array([1e13]), scale * np.array([1.0, 2e-6])[::-1])
