import pickle

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kernelcalc.errors import (
    AssumptionWarning,
    ExpressionError,
    InputError,
    NotFiniteError,
    ShapeError,
    SmoothnessError,
    UnknownNameError,
)
from kernelcalc.training.losses import (
    BinaryCrossEntropy,
    MeanSquaredError,
    SoftmaxCrossEntropy,
    convex_loss,
    curvature_sqrt,
    resolve_loss,
)
from kernelcalc.training.losses.loss import NAMED_LOSSES, Loss

N, N_OUT = 5, 3
RNG = np.random.default_rng(1)
OUTPUTS = RNG.normal(size=(N, N_OUT)) * 2
CASES = {
    "mse": (MeanSquaredError(), RNG.normal(size=(N, N_OUT))),
    "binary": (BinaryCrossEntropy(), np.sign(RNG.normal(size=(N, N_OUT)))),
    "softmax": (SoftmaxCrossEntropy(), np.array([0, 2, 1, 1, 0])),
    "soft labels": (SoftmaxCrossEntropy(), RNG.dirichlet(np.ones(N_OUT), size=N)),
    "expression": (convex_loss("log(cosh(y - t))"), RNG.normal(size=(N, N_OUT))),
    "callables": (
        convex_loss(lambda y, t: np.cosh(y - t), lambda y, t: np.sinh(y - t), lambda y, t: np.cosh(y - t)),
        RNG.normal(size=(N, N_OUT)),
    ),
}
every_loss = pytest.mark.parametrize(("loss", "labels"), CASES.values(), ids=CASES.keys())


def dense_hessian(loss, outputs, labels):
    h = loss.hessian(outputs, labels)
    full = np.zeros((*outputs.shape, *outputs.shape))
    for i in range(len(outputs)):
        full[i, :, i, :] = h[i] if loss.has_blocks else np.diag(h[i])
    return full


@every_loss
def test_gradient_is_the_derivative_of_the_value(loss, labels):
    step = 1e-5
    for index in np.ndindex(OUTPUTS.shape):
        shift = np.zeros_like(OUTPUTS)
        shift[index] = step
        slope = (loss.value(OUTPUTS + shift, labels) - loss.value(OUTPUTS - shift, labels)) / (2 * step)
        assert loss.gradient(OUTPUTS, labels)[index] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@every_loss
def test_hessian_is_the_derivative_of_the_gradient(loss, labels):
    step, full = 1e-5, dense_hessian(loss, OUTPUTS, labels)
    for index in np.ndindex(OUTPUTS.shape):
        shift = np.zeros_like(OUTPUTS)
        shift[index] = step
        column = (loss.gradient(OUTPUTS + shift, labels) - loss.gradient(OUTPUTS - shift, labels)) / (2 * step)
        np.testing.assert_allclose(full[(..., *index)], column, rtol=1e-6, atol=1e-9)


@every_loss
def test_hessian_product_and_root_agree_with_the_dense_hessian(loss, labels):
    full = dense_hessian(loss, OUTPUTS, labels).reshape(N * N_OUT, -1)
    v = RNG.normal(size=OUTPUTS.shape)
    np.testing.assert_allclose(loss.hessian_product(OUTPUTS, labels, v).ravel(), full @ v.ravel(), atol=1e-14)
    product = loss.curvature_product(OUTPUTS, loss.encode(labels, N_OUT))
    np.testing.assert_allclose(product(v).ravel(), N * full @ v.ravel(), atol=1e-14)
    root = loss.hessian_sqrt(OUTPUTS, labels)
    squared = root @ root if loss.has_blocks else root**2
    np.testing.assert_allclose(squared, loss.hessian(OUTPUTS, labels), atol=1e-15)


@every_loss
def test_batches_give_what_each_of_them_gives(loss, labels):
    batch = np.stack([OUTPUTS, 2 * OUTPUTS])
    for method in (loss.value, loss.gradient, loss.hessian):
        expected = [method(batch[0], labels), method(batch[1], labels)]
        np.testing.assert_allclose(method(batch, labels), expected, rtol=1e-14)


@every_loss
def test_curvature_stays_within_its_bound(loss, labels):
    h = loss.hessian(OUTPUTS * 3, labels) * N
    largest = np.linalg.eigvalsh(h).max() if loss.has_blocks else h.max()
    assert largest <= loss.curvature_bound * (1 + 1e-14)


wide = arrays(np.float64, (4, 3), elements=st.floats(-1e4, 1e4))


@pytest.mark.parametrize(
    ("text", "slope", "curvature"),
    [
        (
            "max(0, 1 - t*y)^2",
            lambda y, t: np.where(t * y < 1, -2 * t * (1 - t * y), 0),
            lambda y, t: 2.0 * (t * y < 1),
        ),
        (
            "where(abs(y - t) < 1, (y - t)^2/2, abs(y - t) - 1/2)",
            lambda y, t: np.clip(y - t, -1, 1),
            lambda y, t: 1.0 * (abs(y - t) < 1),
        ),
        ("abs(y - t)^3/3", lambda y, t: (y - t) * abs(y - t), lambda y, t: 2 * abs(y - t)),
    ],
    ids=["squared hinge", "Huber", "cubic"],
)
def test_losses_whose_curvature_jumps(text, slope, curvature):
    loss = convex_loss(text)
    y, t = np.linspace(-3.03, 3.07, 40)[:, None], np.where(np.arange(40) % 2, 1.0, -1.0)[:, None]
    np.testing.assert_allclose(loss.slope(y, t), slope(y, t), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(loss.curvature(y, t), curvature(y, t), rtol=1e-12)


@pytest.mark.parametrize("text", ["max(0, 1 - t*y)", "y^2 + 0.1*abs(y)", "where(y < t, y^2, (y - t)^2)", "step(y)*y"])
def test_losses_whose_slope_or_value_jumps_are_refused(text):
    with pytest.raises(SmoothnessError, match="jumps by"):
        convex_loss(text)


@settings(deadline=None)
@given(wide, st.lists(st.sampled_from([-1, 1]), min_size=4, max_size=4))
def test_binary_gradient_bound_of_proposition_2(outputs, labels):
    gradient = BinaryCrossEntropy().gradient(outputs[:, 0], labels)
    assert np.linalg.norm(gradient) <= 1 / np.sqrt(4) * (1 + 1e-12)


@settings(deadline=None)
@given(wide, st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_softmax_gradient_bound_of_proposition_2(outputs, labels):
    gradient = SoftmaxCrossEntropy().gradient(outputs, labels)
    assert np.linalg.norm(gradient) <= np.sqrt(2 / 4) * (1 + 1e-12)


def test_softmax_gradient_bound_is_reached():
    assert np.linalg.norm(SoftmaxCrossEntropy().gradient([[1e4, 0]], [1])) == pytest.approx(np.sqrt(2), rel=1e-15)


@pytest.mark.parametrize("scale", [0.1, 30.0, 300.0])
def test_softmax_against_fifty_digits(scale):
    y, label = RNG.normal(size=4) * scale, 2
    with mpmath.workdps(50 + int(scale)):
        e = [mpmath.exp(mpmath.mpf(v)) for v in y]
        p = [v / mpmath.fsum(e) for v in e]
        value = -mpmath.log(p[label])
        gradient = [p[a] - (a == label) for a in range(4)]
        hessian = [[p[a] * (a == b) - p[a] * p[b] for b in range(4)] for a in range(4)]
        expected = [np.array(v, dtype=float) for v in ([float(value)], gradient, hessian)]
    loss = SoftmaxCrossEntropy()
    np.testing.assert_allclose(loss.value(y[None], [label]), expected[0][0], rtol=1e-13)
    np.testing.assert_allclose(loss.gradient(y[None], [label])[0], expected[1], rtol=1e-12)
    np.testing.assert_allclose(loss.hessian(y[None], [label])[0], expected[2], rtol=1e-12)


@pytest.mark.parametrize("name", ["mse", "binary", "softmax", "log(1 + exp(-t*y))", "(y - t)**2/2"])
def test_all_losses_are_finite_at_huge_outputs(name):
    loss = resolve_loss(name)
    labels = [1, 0] if name == "softmax" else [1, -1]
    outputs = np.array([[1e4, -1e4], [1e4, -1e4]])
    if name != "softmax":
        outputs = outputs[:, :1]
    for result in (loss.value(outputs, labels), loss.gradient(outputs, labels), loss.hessian(outputs, labels)):
        assert np.isfinite(result).all()


def test_softmax_with_equal_largest_outputs():
    loss = SoftmaxCrossEntropy()
    np.testing.assert_allclose(loss.gradient([[7.0, 7.0, -1e4]], [0]), [[-0.5, 0.5, 0]], atol=1e-16)
    assert loss.value([[7.0, 7.0, -1e4]], [0]) == pytest.approx(np.log(2))


def test_softmax_of_two_classes_is_the_binary_loss():
    y, labels = RNG.normal(size=(N, 2)), np.array([0, 1, 1, 0, 1])
    assert SoftmaxCrossEntropy().value(y, labels) == pytest.approx(
        BinaryCrossEntropy().value(y[:, 1] - y[:, 0], labels), rel=1e-14
    )


def test_binary_weight_is_a_quarter_at_the_boundary():
    np.testing.assert_array_equal(BinaryCrossEntropy().hessian(np.zeros(4), [1, 0, 0, 1]), 0.25 / 4)


def test_label_conventions_agree():
    y = RNG.normal(size=4)
    loss = BinaryCrossEntropy()
    assert loss.value(y, [0, 1, 1, 0]) == loss.value(y, [-1, 1, 1, -1])
    softmax = SoftmaxCrossEntropy()
    z = RNG.normal(size=(4, 3))
    assert softmax.value(z, [2, 0, 1, 1]) == softmax.value(z, np.eye(3)[[2, 0, 1, 1]])


def test_expressions_agree_with_the_built_in_losses():
    y, t = RNG.normal(size=6) * 3, np.sign(RNG.normal(size=6))
    for expression, name in (("log(1 + exp(-y*t))", "binary"), ("(y-t)^2/2", "mse")):
        for method in ("value", "gradient", "hessian"):
            ours, theirs = (getattr(resolve_loss(spec), method)(y, t) for spec in (expression, name))
            np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    by_sympy = resolve_loss((sp.Symbol("y") - sp.Symbol("t")) ** 2 / 2)
    assert by_sympy.value(y, t) == pytest.approx(resolve_loss("mse").value(y, t))


def test_overflowing_expression_is_recomputed():
    # (1 + e^y)^2 overflows from y = 355 on; its logarithm does not
    loss = convex_loss("log((1 + exp(y))**2 + exp(2*y))")
    assert loss.value([1000.0], [0.0]) == pytest.approx(2000 + np.log(2), rel=1e-15)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: resolve_loss("softmx"), UnknownNameError),
        (lambda: resolve_loss("z**2 + y"), UnknownNameError),
        (lambda: resolve_loss(sp.Symbol("z") ** 2), ExpressionError),
        (lambda: resolve_loss("t**2"), ExpressionError),
        (lambda: convex_loss("max(0, 1 - t*y)"), SmoothnessError),
        (lambda: convex_loss("abs(y - t)"), SmoothnessError),
        (lambda: convex_loss(np.cosh), InputError),
        (lambda: convex_loss("-y**2").hessian([1.0], [1.0]), InputError),
        (lambda: convex_loss("log(y)").value([-1.0], [1.0]), NotFiniteError),
        (lambda: BinaryCrossEntropy().encode([0, 1, 2]), InputError),
        (lambda: BinaryCrossEntropy().encode([0, -1]), InputError),
        (lambda: SoftmaxCrossEntropy().encode([0.5, 1]), InputError),
        (lambda: SoftmaxCrossEntropy().encode([0, 3], 3), InputError),
        (lambda: SoftmaxCrossEntropy().encode([[0.5, 0.6]]), InputError),
        (lambda: MeanSquaredError().encode([np.nan]), NotFiniteError),
        (lambda: MeanSquaredError().encode(["a"]), InputError),
        (lambda: MeanSquaredError().encode([]), ShapeError),
        (lambda: MeanSquaredError().value([np.inf], [0.0]), NotFiniteError),
        (lambda: MeanSquaredError().value([[1.0], [2.0]], [0.0]), ShapeError),
        (lambda: MeanSquaredError().hessian_product([1.0], [0.0], [1.0, 2.0]), ShapeError),
    ],
)
def test_named_errors(call, error):
    with pytest.raises(error):
        call()


def test_root_of_a_semidefinite_block():
    block = np.array([[1.0, -1.0], [-1.0, 1.0]])
    root = curvature_sqrt(block, True)
    np.testing.assert_allclose(root @ root, block, atol=1e-15)


def test_bounds_of_the_named_losses():
    assert MeanSquaredError().bounded_gradient(3.0, 2) == pytest.approx(np.sqrt(3.0))
    # the logistic curvature p (1 − p) is largest at p = 1/2
    y = np.linspace(-3, 3, 601)[:, None]
    assert BinaryCrossEntropy().curvature(y, np.ones((1, 1))).max() == BinaryCrossEntropy.curvature_bound


def test_entries_of_several_targets_are_bounded_together():
    """c = (y − t)²/2: on {C ≤ a} every |y − t| ≤ √(2Na), so ‖∇C‖ ≤ √(N · 2Na)/N."""
    found = convex_loss("(y - t)^2/2").bounded_gradient(0.7, Y=[1.0, 2.0, 2.0])
    assert found == pytest.approx(np.sqrt(3 * 2 * 3 * 0.7) / 3, rel=1e-6)


def quartic(y, t):
    return (y - t) ** 4 / 4


def cubed(y, t):
    return (y - t) ** 3


def three_squares(y, t):
    return 3 * (y - t) ** 2


def test_losses_travel_between_processes():
    y, t = RNG.normal(size=5), RNG.normal(size=5)
    for loss, name in (
        (convex_loss("(y - t)**4/4"), "(y - t)**4/4"),
        (convex_loss("(y - t)**4/4", name="mine"), "mine"),
        (convex_loss(quartic, cubed, three_squares), "quartic"),
        (convex_loss(quartic, cubed, three_squares, name="ours"), "ours"),
    ):
        again = pickle.loads(pickle.dumps(loss))
        assert again.name == loss.name == name
        assert repr(again) == f"<loss {name}>"
        assert again.value(y, t) == pytest.approx(np.mean((y - t) ** 4) / 4, rel=1e-12)
        np.testing.assert_allclose(again.gradient(y, t), (y - t) ** 3 / 5, rtol=1e-12)
        np.testing.assert_allclose(again.hessian(y, t), 3 * (y - t) ** 2 / 5, rtol=1e-12)
    assert convex_loss("y**2 + t").expression == sp.Symbol("y", real=True) ** 2 + sp.Symbol("t", real=True)


@pytest.mark.parametrize("target", [-1.0, 0.0, 0.37, 1.0, 2.3])
def test_a_slope_that_jumps_for_some_targets_only(target):
    at = f"where(abs(t - {target}) < 0.2, 1, 0)"
    with pytest.raises(
        SmoothnessError, match=rf"slope|derivative in y is continuous, got .*t = {target:g}; smooth its kinks"
    ):
        convex_loss(f"y**2 + {at}*abs(y - 3)")
    # -2 below the kink and 2 above it
    with pytest.raises(SmoothnessError, match=r"jumps by 4 at y = 3, t = "):
        convex_loss(f"y**2 + 2*{at}*abs(y - 3)")
    with pytest.raises(SmoothnessError, match=r"jumps by 1 at y = -1\.25"):
        convex_loss(f"y**2 + {at}*max(y, -1.25)")
    with pytest.raises(SmoothnessError, match=r"jumps by 2 at y = 0"):
        convex_loss(f"y**2 + {at}*y*sign(y)")


@pytest.mark.parametrize("method", ["value", "gradient", "hessian", "hessian_sqrt"])
def test_labels_are_called_y(method):
    with pytest.raises(InputError, match="the argument labels is called Y now"):
        getattr(MeanSquaredError(), method)([1.0], labels=[0.0])
    with pytest.raises(InputError, match="the argument labels is called Y now"):
        MeanSquaredError().hessian_product([1.0], labels=[0.0], vector=[1.0])
    with pytest.raises(InputError, match="the argument labels is called Y now"):
        MeanSquaredError().encode(labels=[0.0])


def test_shapes_are_named():
    loss = MeanSquaredError()
    for call, error, text in (
        (lambda: loss.value(1.0, [1.0]), ShapeError, r"outputs of shape \(N,\), \(N, n_out\) or \(..., N, n_out\), got \(\)"),
        (lambda: loss.value([[1.0], [2.0]], [0.0]), ShapeError, r"outputs for 1 points with 1 outputs, got \(2, 1\)"),
        (lambda: loss.value(np.ones((2, 3)), np.ones((4, 3))), ShapeError, r"for 4 points with 3 outputs, got \(2, 3\)"),
        (lambda: loss.value(["a"], [0.0]), InputError, r"^expected outputs, numbers, got list$"),
        (lambda: loss.value([1.0], ["a"]), InputError, r"^expected Y"),
        (lambda: loss.hessian_product([1.0], [0.0], ["a"]), InputError, r"^expected vector, numbers, got list$"),
        (lambda: curvature_sqrt([1.0], 3), InputError, r"^expected has_blocks, True or False, got 3$"),
        (lambda: curvature_sqrt([1.0], True), ShapeError, r"^expected h of shape \(\.\.\., n_out, n_out\), got \(1,\)$"),
        (lambda: curvature_sqrt(np.ones((2, 3)), True), ShapeError, r"n_out, n_out\), got \(2, 3\)$"),
        (lambda: curvature_sqrt(["a"], False), InputError, r"^expected h, numbers, got list$"),
        (lambda: loss.hessian_product([1.0], [0.0], [1.0, 2.0]), ShapeError,
         r"a vector in the shape of the outputs, \(1,\), got \(2,\)"),
        (lambda: loss.value([np.nan], [0.0]), NotFiniteError, "finite outputs, got NaN or infinity"),
        (lambda: convex_loss("t**2"), ExpressionError, r"an expression in y and t, got t\*\*2"),
        (lambda: convex_loss("3*y - t"), InputError, r"a loss that curves, got 3\*y - t, which is linear in y; without"),
        (lambda: convex_loss(np.cosh, np.sinh), InputError, "an expression in y and t, or three callables"),
        (lambda: convex_loss("-(y - 1)**2").hessian([4.0, 5.0], [1.0, 1.0]), InputError,
         r"a loss convex in y, got c'' = -2 at y = 4; the theory needs"),
        (lambda: convex_loss("log(y) + y**2").value([1.0, -2.0], [1.0, 3.0]), NotFiniteError,
         r"a finite c of the loss .*, got y = -2, t = 3"),
    ):  # fmt: skip
        with pytest.raises(error, match=text):
            call()


def test_a_loss_of_ones_own():
    class Own(Loss):
        name = "own blocks"
        has_blocks = True

        def point_values(self, y, t):
            return np.sum(y, axis=-1) ** 2 / 2

        def slope(self, y, t):
            return np.sum(y, axis=-1, keepdims=True) * np.ones(y.shape)

        def curvature(self, y, t):
            return np.ones((*y.shape, y.shape[-1]))

    try:
        assert isinstance(resolve_loss("own blocks"), Own)
    finally:
        del NAMED_LOSSES["own blocks"]
    y, v = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    expected = np.repeat(v.sum(axis=1)[:, None], 3, axis=1)
    np.testing.assert_allclose(Own().curvature_product(y, y)(v), expected, rtol=1e-13)
    np.testing.assert_allclose(Own().hessian_product(y, y, v), expected / 4, rtol=1e-13)
    with pytest.warns(AssumptionWarning, match="the loss own blocks is not known to have bounded gradients"):
        assert Own().bounded_gradient(1.0) == np.inf
    Own.slope_bound = 3.0
    # of coupled outputs together
    assert Own().bounded_gradient(1.0, 9, 4) == pytest.approx(1.0)
    Own.has_blocks = False
    assert Own().bounded_gradient(1.0, 9, 4) == pytest.approx(2.0)


@pytest.mark.parametrize(("shape", "whole"), [((1, 3), (5, 3)), ((4, 1, 3), (4, 5, 3)), ((5, 3), (5, 3))])
def test_the_curvature_has_the_shape_of_outputs_and_targets(shape, whole):
    """One row of outputs beside five of targets is that row five times."""
    y, t = RNG.normal(size=shape), np.eye(3)[[0, 2, 1, 0, 2]]
    np.testing.assert_array_equal(MeanSquaredError().curvature(y, t), np.ones(whole))
    p = np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True)
    blocks = p[..., None] * np.eye(3) - p[..., :, None] * p[..., None, :]
    found = SoftmaxCrossEntropy().curvature(y, t)
    assert found.shape == (*whole, 3)
    np.testing.assert_allclose(found, np.broadcast_to(blocks, found.shape), rtol=1e-12, atol=1e-15)
    slope = SoftmaxCrossEntropy().slope(y, t)
    assert slope.shape == whole
    np.testing.assert_allclose(slope, p - t, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("law", "outputs", "largest"),
    [
        (MeanSquaredError(), [[3.0, 0.0]], 1.0),
        # p (1 - p) where both classes are as likely
        (BinaryCrossEntropy(), [[0.0]], 0.25),
        # diag p - p p^T at p = (1/2, 1/2, 0), along (1, -1, 0)
        (SoftmaxCrossEntropy(), [[0.0, 0.0, -800.0]], 0.5),
    ],
)
def test_curvatures_reach_their_bound_and_no_more(law, outputs, largest):
    t = np.zeros((1, len(outputs[0])))

    def top(y):
        h = law.curvature(np.array(y), t)
        return np.linalg.eigvalsh(h).max() if law.has_blocks else h.max()

    assert law.curvature_bound == largest == pytest.approx(top(outputs), rel=1e-12)
    assert max(top([RNG.normal(size=len(t[0])) * scale]) for scale in (0.1, 1, 10) for _ in range(50)) <= largest * (
        1 + 1e-12
    )
