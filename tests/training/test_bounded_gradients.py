"""Definition 1 and Proposition 2: bounds of ‖∇C‖ over sublevel sets, against maximisation by sampling and closed forms."""

import warnings

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import AssumptionWarning, InputError
from kernelcalc.training.losses import resolve_loss

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
