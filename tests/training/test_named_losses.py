"""Losses that have a name: labels that they take and refuse, and shapes of what they give."""

import numpy as np
import pytest

from kernelcalc.errors import InputError, ShapeError
from kernelcalc.training.losses import (
    BinaryCrossEntropy,
    MeanSquaredError,
    SoftmaxCrossEntropy,
    curvature_sqrt,
    resolve_loss,
)
from kernelcalc.training.losses.loss import NAMED_LOSSES, Loss

RNG = np.random.default_rng(2)


def test_labels_of_classes_are_counted():
    softmax = SoftmaxCrossEntropy()
    assert softmax.encode([0, 0]).shape == (2, 2)
    assert softmax.encode([0, 1]).tolist() == [[1, 0], [0, 1]]
    assert softmax.encode([3, 1]).shape == (2, 4)
    assert softmax.encode([0, 1], 5).shape == (2, 5)
    assert softmax.encode([0, 0], 1).tolist() == [[1], [1]]
    assert softmax.encode([[0.5, 0.5 + 3e-10]]).tolist() == [[0.5, 0.5 + 3e-10]]
    with pytest.raises(InputError, match=r"expected class labels 0, 1, \.\.\., got 0\.5"):
        softmax.encode([0.5, 1])
    with pytest.raises(InputError, match=r"expected class labels 0, 1, \.\.\., got -1"):
        softmax.encode([1, -1])
    with pytest.raises(ShapeError, match=r"Y of the shape \(N,\) or \(N, n_out\), got the shape \(1, 1, 2\)"):
        softmax.encode(np.ones((1, 1, 2)))
    with pytest.raises(ShapeError, match=r"Y of shape \(N,\) or \(N, 3\), got \(1, 2\)"):
        softmax.encode(np.full((1, 2), 0.5), 3)


def test_labels_that_do_not_fit_are_shown():
    binary, softmax = BinaryCrossEntropy(), SoftmaxCrossEntropy()
    for call, error, text in (
        (lambda: binary.encode([0, 1, 2]), InputError, "±1 or 0/1, got 2; for more than two classes use loss='softmax'"),
        (lambda: binary.encode([0, -1]), InputError, "labels ±1 or 0/1, got -1 together with 0; for more"),
        (lambda: binary.encode([[1, -1]], 3), ShapeError, "3"),
        (lambda: softmax.encode([0, 1], 0), InputError, "^expected n_out, a whole number of at least 1, got 0$"),
        (lambda: softmax.encode([0, 3], 3), InputError, "class labels below n_out=3, got 3$"),
        (lambda: softmax.encode([[0.5, 0.6]]), InputError, r"class probabilities that sum to 1, got a row \[0.5 0.6\]$"),
        (lambda: softmax.encode([[1.5, -0.5]]), InputError, r"class probabilities that sum to 1, got a row \[ 1.5 -0.5\]$"),
        # the first that is wrong
        (lambda: softmax.encode([[1, 0], [2, 0], [3, 0]]), InputError, r"that sum to 1, got a row \[2. 0.\]$"),
        (lambda: softmax.encode([[0.5, 0.5 + 3e-9]]), InputError, r"that sum to 1, got a row \[0.5 0.5\]$"),
        (lambda: softmax.encode([0, 1, -1]), InputError, "class labels 0, 1, ..., got -1$"),
        (lambda: softmax.encode([0, 2.5, 1.5]), InputError, "class labels 0, 1, ..., got 2.5$"),
    ):  # fmt: skip
        with pytest.raises(error, match=text):
            call()


def test_points_of_other_sizes_do_not_matter():
    """Each point's own largest output is what softmax is scaled by: others that are far larger or smaller change nothing."""
    softmax, y, t = (
        SoftmaxCrossEntropy(),
        np.array([[0.0, 1.0], [900.0, 899.0], [-900.0, -901.0]]),
        np.eye(2)[[0, 0, 1]],
    )
    # 1/(1 + e)
    less = 1 / (1 + np.e)
    np.testing.assert_allclose(
        softmax.slope(y, t), [[less - 1, 1 - less], [-less, less], [1 - less, less - 1]], rtol=1e-13
    )
    v = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    weight = less * (1 - less)
    expected = weight * np.array([[1.0, -1.0], [1.0, -1.0], [2.0, -2.0]])
    for precision, rtol in ((np.float64, 1e-13), (np.float32, 1e-5)):
        found = softmax.curvature_product(y, t)(v.astype(precision))
        assert found.dtype == precision
        np.testing.assert_allclose(found, expected, rtol=rtol)
    np.testing.assert_allclose(softmax.curvature(y, t)[:, 0, 0], weight, rtol=1e-13)


def test_one_output_as_a_vector():
    """One class has probability 1, whatever its output: blocks stay blocks, all else is a vector as the outputs are."""
    softmax, binary = SoftmaxCrossEntropy(), BinaryCrossEntropy()
    assert softmax.hessian([3.0, -1.0], [0, 0]).tolist() == [[[0.0]], [[0.0]]]
    assert softmax.gradient([3.0, -1.0], [0, 0]).tolist() == [0.0, 0.0]
    assert binary.hessian([0.0, 0.0], [1, 0]).tolist() == [0.125, 0.125]
    assert binary.hessian([[0.0], [0.0]], [1, 0]).tolist() == [[0.125], [0.125]]
    assert binary.gradient([0.0, 0.0], [1, 0]).tolist() == [-0.25, 0.25]


def test_roots_of_blocks_of_any_leading_shape():
    half = RNG.normal(size=(2, 5, 3, 3))
    blocks = half @ half.swapaxes(-1, -2)
    root = curvature_sqrt(blocks, True)
    np.testing.assert_allclose(root @ root, blocks, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(root, root.swapaxes(-1, -2), atol=1e-12)
    assert curvature_sqrt([[4.0, 9.0]], np.bool_(False)).tolist() == [[2.0, 3.0]]


def test_slopes_where_some_points_have_classes_and_others_probabilities():
    """p − t of p = (1, 2, 1)/4 for each: of a class p as well, of which the label's own is minus the others' sum."""
    y = np.log(np.array([[1.0, 2.0, 1.0]] * 3)) + np.array([[0.0], [50.0], [-3.0]])
    t = np.array([[0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    known = np.array([[0.25, -0.5, 0.25], [0.05, 0.2, -0.25], [-0.75, 0.5, 0.25]])
    np.testing.assert_allclose(SoftmaxCrossEntropy().slope(y, t), known, rtol=1e-13)
    # of an output far ahead of the others, what is left of its own slope has all digits
    far = SoftmaxCrossEntropy().slope(np.array([[40.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), t[[2, 1]])
    assert far[0, 0] == pytest.approx(-2 * np.exp(-40), rel=1e-13)


def test_products_with_curvatures_of_points_far_apart():
    """Of several starts, points 1000 apart: each is scaled by its own largest output. (diag(p) − ppᵀ) v by hand for p = 1/2."""
    y = np.array([[[1000.0, 1000.0], [-1000.0, -1000.0]], [[0.0, 0.0], [500.0, 500.0]]])
    v = np.array([[[1.0, 3.0], [2.0, -2.0]]] * 2)
    found = SoftmaxCrossEntropy().curvature_product(y, np.zeros_like(y))(v)
    np.testing.assert_allclose(found, [[[-0.5, 0.5], [1.0, -1.0]]] * 2, rtol=1e-14)


def test_what_losses_say_of_themselves():
    mse = resolve_loss("mse")
    assert [law.is_quadratic for law in (mse, BinaryCrossEntropy(), SoftmaxCrossEntropy())] == [True, False, False]
    with pytest.raises(InputError, match="level"):
        mse.bounded_gradient("high", 3)


@pytest.mark.parametrize("law", [MeanSquaredError(), BinaryCrossEntropy(), SoftmaxCrossEntropy()])
def test_curvatures_change_no_faster_than_they_say(law):
    y, t = RNG.normal(size=(2000, 3)) * 3, np.eye(3)[RNG.integers(0, 3, 2000)]
    step = RNG.normal(size=y.shape) * 1e-4
    change = law.curvature(y + step, t) - law.curvature(y, t)
    if law.has_blocks:
        rates = np.linalg.norm(change, 2, axis=(1, 2)) / np.linalg.norm(step, axis=1)
    else:
        rates = np.abs(change / step).ravel()
    assert rates.max() <= law.curvature_slope * (1 + 1e-6)
    assert rates.max() >= 0.3 * law.curvature_slope
    assert Loss.curvature_slope == np.inf


def test_softmax_couples_outputs_in_pairs():
    y, t = RNG.normal(size=(5, 4)) * [[1.0], [30.0], [1e-3], [300.0], [3.0]], np.eye(4)[[0, 1, 2, 3, 0]]
    weights, blocks = SoftmaxCrossEntropy().couplings(y, t), SoftmaxCrossEntropy().curvature(y, t)
    np.testing.assert_allclose(weights, -blocks[:, *np.triu_indices(4, 1)], rtol=1e-13, atol=1e-320)

    class Half(SoftmaxCrossEntropy):
        name = "half softmax"

        def curvature(self, y, t):
            return super().curvature(y, t) / 2

    try:
        assert Half().couplings is None
        assert Half.curvature_slope == np.inf
        assert Half.curvature_bound == 0.5
    finally:
        del NAMED_LOSSES["half softmax"]
