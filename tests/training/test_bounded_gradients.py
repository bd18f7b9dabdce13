"""Definition 1 and Proposition 2: bounds of ‖∇C‖ over sublevel sets, against maximisation by sampling and closed forms."""

import math
import warnings

import numpy as np
import pytest
from scipy.special import lambertw

import kernelcalc as kc
from kernelcalc.errors import AssumptionWarning, InputError
from kernelcalc.training.losses import (
    BinaryCrossEntropy,
    MeanSquaredError,
    SoftmaxCrossEntropy,
    convex_loss,
    resolve_loss,
)
from kernelcalc.training.losses.sublevel import bound, least, steepest

RNG = np.random.default_rng(0)


def test_the_mean_squared_error_attains_its_bound():
    law, t = resolve_loss("mse"), RNG.normal(size=(7, 2))
    for _ in range(5):
        y = RNG.normal(size=(7, 2)) * 3
        level = law.value(y, t)
        assert law.bounded_gradient(level, 7, 2) == pytest.approx(np.linalg.norm(law.gradient(y, t)), rel=1e-12)
    assert law.bounded_gradient(2.0) == pytest.approx(2.0)


@pytest.mark.parametrize(("name", "labels", "n_out"), [("binary", [1, -1, 1, 1], 1), ("softmax", [0, 2, 1, 0], 3)])
def test_proposition_2(name, labels, n_out):
    law = resolve_loss(name)
    bound = law.bounded_gradient(1e9, 4, n_out)
    assert bound == pytest.approx({"binary": 1, "softmax": np.sqrt(2)}[name] / np.sqrt(4))
    assert law.bounded_gradient(0.1, Y=labels) == pytest.approx(bound)
    shape = (4,) if n_out == 1 else (4, n_out)
    norms = [np.linalg.norm(law.gradient(RNG.normal(size=shape) * s, labels)) for s in (1, 10, 100) for _ in range(300)]
    # never above, and approached where every point is wrong
    assert max(norms) <= bound * (1 + 1e-12)
    wrong = -50.0 * np.array(labels) if n_out == 1 else 50.0 * np.eye(3)[(np.array(labels) + 1) % 3]
    assert np.linalg.norm(law.gradient(wrong, labels)) == pytest.approx(bound, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        # c = y⁴/4 of one of n points: |c'| = (4na)^¾
        ("y**4/4", lambda a, n: np.sqrt(n) * (4 * n * a) ** 0.75 / n),
        # c' = -c, so that one point has all of it
        ("exp(-y)", lambda a, n: np.sqrt(n) * a),
        ("exp(-t*y)", lambda a, n: np.sqrt(n) * a),
        ("log(1 + exp(-y))", lambda a, n: (1 - np.exp(-n * a)) / np.sqrt(n)),
        ("(y - t)**2/2", lambda a, n: np.sqrt(n) * np.sqrt(2 * n * a) / n),
    ],
)
@pytest.mark.parametrize("level", [0.3, 2.0])
def test_losses_from_expressions(text, exact, level):
    """Every point is bounded as if it had the whole level, √N above what ‖∇C‖ reaches at most."""
    law = kc.convex_loss(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = law.bounded_gradient(level, Y=[1.0, 1.0, 1.0])
    assert found == pytest.approx(exact(level, 3), rel=1e-6)
    seen = 0.0
    for y in RNG.normal(size=(4000, 3)) * 4:
        if law.value(y, [1.0, 1.0, 1.0]) <= level:
            seen = max(seen, np.linalg.norm(law.gradient(y, [1.0, 1.0, 1.0])))
    assert 0.3 * found / np.sqrt(3) < seen <= found


@pytest.mark.parametrize("text", ["exp(-y) - y", "exp(-t*y) - t*y", "-log(y)"])
def test_a_loss_that_sinks_has_none(text):
    """One point may climb without bound, which another repays."""
    law = kc.convex_loss(text)
    with pytest.warns(AssumptionWarning, match="bounded gradients"):
        assert law.bounded_gradient(1.0, Y=[1.0, 1.0]) == np.inf


def test_the_sinking_loss_is_a_counterexample():
    law = kc.convex_loss("exp(-y) - y")
    for k in (3.0, 6.0, 9.0):
        y = [-k, np.exp(k) + k]
        assert law.value(y, [1.0, 1.0]) < 1
        assert np.linalg.norm(law.gradient(y, [1.0, 1.0])) > np.exp(k) / 2


def test_training_with_it_is_warned_of():
    net = kc.MLP("erf", depth=2)
    kernels = net.kernels(RNG.normal(size=(3, 2)))
    with pytest.warns(AssumptionWarning):
        kc.hessian_moments(kernels, [1.0, 1.0, 1.0], [0.0, 0.1], loss="exp(-y) - y", samples=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kc.hessian_moments(kernels, [1.0, 1.0, 1.0], [0.0, 0.1], loss="exp(-y)", samples=2)


def test_empty_sets_and_wrong_levels():
    law = kc.convex_loss("(y - t)**2/2")
    assert law.bounded_gradient(-1.0, Y=[0.0]) == 0
    assert resolve_loss("mse").bounded_gradient(-1.0) == 0
    with pytest.raises(InputError):
        law.bounded_gradient("much")


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        # y e^(-y) = e^(-a) has the solutions -W(-e^(-a)); the left one is steeper
        ("y - log(y)", lambda a: -1 / lambertw(-np.exp(-a)).real - 1),
        ("y - t*log(y)", lambda a: -1 / lambertw(-np.exp(-a)).real - 1),
        ("-y - log(-y)", lambda a: -1 / lambertw(-np.exp(-a)).real - 1),
        ("-log(1 - y**2)", lambda a: 2 * np.exp(a) * np.sqrt(1 - np.exp(-a))),
        # u (3 - u) = e^(-a), u = y - 2
        ("-log(y - 2) - log(5 - y)", lambda a: np.exp(a) * np.sqrt(9 - 4 * np.exp(-a))),
        ("-log(-2 - y) - log(5 + y)", lambda a: np.exp(a) * np.sqrt(9 - 4 * np.exp(-a))),
        # nowhere below 2 + log(1000)
        ("1000*y - log(y - 1/1000)", lambda a: a > 8.9 and -1000 / lambertw(-np.exp(1 - a) * 1000).real - 1000),
    ],
)
@pytest.mark.parametrize("level", [1.5, 9.0])
def test_losses_with_a_domain(text, exact, level):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kc.convex_loss(text).bounded_gradient(level, Y=[1.0])
    assert found == pytest.approx(float(exact(level)), rel=1e-9)


def test_a_domain_that_is_not_seen():
    with pytest.warns(AssumptionWarning, match="bounded gradients"):
        assert kc.convex_loss("-log(y - 2.0001) - log(2.0002 - y)").bounded_gradient(1e3, Y=[1.0]) == np.inf


def test_the_least_value_of_a_function():
    # a kink that no float meets
    third = math.nextafter(1 / 3, 1)
    at, low = least(lambda y: abs(y - 1 / 3) + 2, lambda y: -1.0 if y < third else 1.0)
    assert (at, low) == pytest.approx((1 / 3, 2), rel=1e-15)
    for sign in (1.0, -1.0):
        # least at the end of the domain, on either side
        at, low = least(
            lambda y, s=sign: s * y if s * y >= 0.3 else math.inf, lambda y, s=sign: s if s * y >= 0.3 else math.nan
        )
        assert (at, low) == pytest.approx((sign * 0.3, 0.3), rel=1e-15)
        # flat far out
        at, low = least(lambda y, s=sign: max(s * y, -5.0), lambda y, s=sign: s * float(s * y > -5))
        assert low == -5
        assert sign * at <= -5
        # falling on for ever, of which less than a billionth of the size is not seen
        for height, rate, sinks in ((0.0, 1e-9, True), (0.0, 1e-11, False), (100.0, 1e-5, True), (1e6, 1e-5, False)):
            _, low = least(
                lambda y, s=sign, h=height, r=rate: h + r * (-math.log(s * y) if s * y > 1 else 1 - s * y),
                lambda y, s=sign, r=rate: -r * s / max(s * y, 1.0),
            )
            assert math.isinf(low) == sinks
        # falling to a limit
        at, low = least(
            lambda y, s=sign: 1 / (s * y) if s * y > 1 else 2 - s * y, lambda y, s=sign: -s / max(s * y, 1.0) ** 2
        )
        assert (abs(at), low) == (1e12, pytest.approx(0, abs=1e-9))
    # finite near 0 alone
    at, low = least(lambda y: y + 3 if abs(y) < 1e-13 else math.inf, lambda y: 1.0 if abs(y) < 1e-13 else math.nan)
    assert (at, low) == (pytest.approx(0, abs=1e-13), pytest.approx(3, abs=1e-12))
    at, low = least(lambda y: (y + 7) ** 2, lambda y: 2 * (y + 7))
    assert (at, low) == pytest.approx((-7, 0), abs=1e-12)


def test_the_steepest_slope_of_a_sublevel_set():
    """Of c = k (y − s)²/2 it is √(2ka), however narrow the set is and wherever it is."""
    for stiffness, at in ((1e12, 0.0), (1.0, 0.0), (1e-6, 0.0), (1.0, 1e6), (1.0, -300.0)):
        found = steepest(
            lambda y, k=stiffness, s=at: k * (y - s) ** 2 / 2, lambda y, k=stiffness, s=at: k * (y - s), at, 2.0
        )
        assert found == pytest.approx(2 * np.sqrt(stiffness), rel=1e-9)
    # only to one side
    for sign in (1.0, -1.0):
        found = steepest(lambda y, s=sign: math.exp(s * y), lambda y, s=sign: s * math.exp(s * y), -sign * 30, 5.0)
        assert found == pytest.approx(5.0, rel=1e-12)
    assert steepest(lambda y: 0.5 * y if y > 0 else 3 * -y, lambda y: 0.5 if y > 0 else -3.0, 0.0, 1.0) == 3.0


def test_targets_share_what_is_above_their_least_values():
    """c = (y − t)² + t, t = 1, 1, 3: an entry has (y − t)² ≤ 3a − 5."""
    targets = np.array([[1.0], [3.0], [1.0]])
    for level in (2.0, 7.0):
        found = bound(lambda y, t: (y - t) ** 2 + t, lambda y, t: 2 * (y - t), targets, level)
        assert found == pytest.approx(np.sqrt(3 * 4 * (3 * level - 5)) / 3, rel=1e-9)
    assert bound(lambda y, t: (y - t) ** 2 + t, lambda y, t: 2 * (y - t), targets, 1.6) == 0
    assert bound(lambda y, t: (y - t) ** 2, lambda y, t: 2 * (y - t), targets, 0.0) == pytest.approx(0, abs=1e-12)


def test_labels_of_a_bound_are_all_one():
    """c = t (y − 1)², whose slopes on {C ≤ a} are at most 2√(Na t)."""
    loss = convex_loss("t*(y - 1)**2")
    assert loss.bounded_gradient(0.5, 3) == pytest.approx(np.sqrt(3) * 2 * np.sqrt(1.5) / 3, rel=1e-9)
    assert loss.bounded_gradient(0.5, Y=[4.0]) == pytest.approx(2 * np.sqrt(0.5 * 4), rel=1e-9)
    with pytest.raises(InputError, match="level"):
        loss.bounded_gradient(np.nan)


def test_a_bound_and_a_value_are_numbers_of_labels_of_that_many_outputs():
    assert type(MeanSquaredError().value([1.0, 3.0], [0.0, 0.0])) is float
    # √(2/N) for the softmax; two outputs for three would be refused
    softmax = SoftmaxCrossEntropy()
    assert softmax.bounded_gradient(1.0, n_out=3, Y=[0, 1]) == pytest.approx(1.0)
    with pytest.raises(InputError, match="class labels below n_out=2"):
        softmax.bounded_gradient(1.0, n_out=2, Y=[0, 2])
    assert BinaryCrossEntropy().bounded_gradient(1.0, Y=[1, -1, 1, 1]) == pytest.approx(0.5)
