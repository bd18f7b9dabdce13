"""Windows and averages over positions by loops over offsets, and what is said of those that do not fit."""

from itertools import product

import numpy as np
import pytest

from kernelcalc.errors import InputError, ShapeError
from kernelcalc.kernels.layers import AveragePool, Conv, Flatten, GlobalAverage
from kernelcalc.kernels.positions import Average, Layout, PositionLayer, Window

RNG = np.random.default_rng(5)
# size, stride, padding, positions, where each window begins
WINDOWS = [
    (1, 1, "circular", 3, [0, 1, 2]),
    (2, 1, "circular", 4, [0, 1, 2, 3]),
    (3, 2, "circular", 6, [-1, 1, 3]),
    (4, 1, "circular", 4, [-1, 0, 1, 2]),
    (5, 1, "zeros", 3, [-2, -1, 0]),
    (2, 2, "zeros", 4, [0, 2]),
    (4, 3, "zeros", 6, [-1, 2]),
    (3, 1, "valid", 5, [0, 1, 2]),
    (2, 2, "valid", 6, [0, 2, 4]),
    (1, 2, "valid", 5, [0, 2, 4]),
    (4, 1, "valid", 4, [0]),
]


def offsets(size, padding, positions, begin):
    """Positions in a window; None outside."""
    for at in range(begin, begin + size):
        inside = 0 <= at < positions
        yield at if inside else at % positions if padding == "circular" else None


@pytest.mark.parametrize(("size", "stride", "padding", "positions", "begins"), WINDOWS)
def test_windows_by_loops(size, stride, padding, positions, begins):
    window, layer = Window(size, stride, padding), Conv(size)
    assert window.outputs(positions, layer) == len(begins)
    values = RNG.normal(size=(2, positions, 3))
    kept = values.copy()
    parts = [
        [np.zeros((2, 3)) if at is None else values[:, at] for at in offsets(size, padding, positions, begin)]
        for begin in begins
    ]
    mean = np.stack([sum(part) / size for part in parts], axis=1)
    np.testing.assert_allclose(window.mean(values, (1,)), mean, rtol=1e-13, atol=1e-15)
    side_by_side = np.stack([np.concatenate(part, axis=-1) for part in parts], axis=1)
    np.testing.assert_array_equal(window.gathered(values, 1), side_by_side)
    assert np.array_equal(values, kept)


def along(case):
    """A window's output, one of its offsets and the position there, of every window and offset that has one."""
    size, _, padding, positions, begins = case
    for out, begin in enumerate(begins):
        for offset, at in enumerate(offsets(size, padding, positions, begin)):
            if at is not None:
                yield out, offset, at


def everywhere(cases):
    """The same of several axes together: tuples."""
    for axes in product(*(along(case) for case in cases)):
        yield tuple(zip(*axes, strict=True))


CASES = [
    (Conv(3, stride=2), [WINDOWS[2]]),
    (Conv((5, 4), padding="zeros"), [WINDOWS[4], (4, 1, "zeros", 4, [-1, 0, 1, 2])]),
    (Conv((3, 2), padding="valid", stride=(1, 2)), [WINDOWS[7], WINDOWS[8]]),
    (AveragePool(2), [WINDOWS[8]]),
    (AveragePool((3, 1), stride=(1, 2)), [WINDOWS[7], WINDOWS[9]]),
]


def layouts(cases, before, after):
    counts, left = tuple(case[3] for case in cases), tuple(len(case[4]) for case in cases)
    return Layout(counts, before), Layout(left, after)


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize(("layer", "cases"), CASES)
def test_pairs_of_positions_by_loops(layer, cases, after):
    """Convolutions take the mean over equal offsets from two positions, pools over all pairs of offsets."""
    one, other = layouts(cases, True, after)
    b, bp, p = 2, 3, one.size
    values = RNG.normal(size=(b * p, bp * p))
    k = values.reshape(b, *one.counts, bp, *one.counts)
    expected = np.zeros((b, *other.counts, bp, *other.counts))
    size = np.prod([case[0] for case in cases])
    for (out, offset, at), (out2, offset2, at2) in product(everywhere(cases), repeat=2):
        if layer.reads_pairs or offset == offset2:
            index = np.ix_(range(b), *[[i] for i in out], range(bp), *[[j] for j in out2])
            expected[index] += k[np.ix_(range(b), *[[i] for i in at], range(bp), *[[j] for j in at2])]
    expected /= size**2 if layer.reads_pairs else size
    q = other.size
    expected = expected.reshape(b * q, bp * q)
    if not after:
        expected = np.einsum("bpcp->pbc", expected.reshape(b, q, bp, q))
    found = Average(layer, one, other).on_pairs(values)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert found.flags.c_contiguous


@pytest.mark.parametrize(("layer", "cases"), CASES[:3])
def test_equal_positions_by_loops(layer, cases):
    one, other = layouts(cases, False, False)
    values = RNG.normal(size=(one.size, 2, 3))
    expected = np.zeros((*other.counts, 2, 3))
    for out, _, at in everywhere(cases):
        expected[out] += values.reshape(*one.counts, 2, 3)[at]
    expected = expected.reshape(other.size, 2, 3) / np.prod([case[0] for case in cases])
    average = Average(layer, one, other)
    np.testing.assert_allclose(average.on_pairs(values), expected, rtol=1e-12, atol=1e-14)
    # of one point each a diagonal: in one row, by positions where these are equal, by points where all pairs are carried
    diagonal, known = values[:, :, 0], expected[:, :, 0]
    np.testing.assert_allclose(average.on_points(diagonal.ravel()), known.ravel(), rtol=1e-12, atol=1e-14)
    paired = Average(layer, Layout(one.counts, True), Layout(other.counts, True))
    np.testing.assert_allclose(paired.on_points(diagonal.T.ravel()), known.T.ravel(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("counts", [(5,), (3, 2)])
def test_all_positions_at_once(counts):
    p = int(np.prod(counts))
    pairs = RNG.normal(size=(2 * p, 3 * p))
    found = Average(GlobalAverage(), Layout(counts, True), Layout((), False)).on_pairs(pairs)
    np.testing.assert_allclose(found, pairs.reshape(2, p, 3, p).mean(axis=(1, 3))[None], rtol=1e-12)
    equal = RNG.normal(size=(p, 2, 3))
    flat = Average(Flatten(), Layout(counts, False), Layout((), False))
    np.testing.assert_allclose(flat.on_pairs(equal), equal.mean(axis=0)[None], rtol=1e-12)
    np.testing.assert_allclose(flat.on_points(equal[:, :, 0].ravel()), equal[:, :, 0].mean(axis=0), rtol=1e-12)
    by_point = Average(Flatten(), Layout(counts, True), Layout((), False))
    np.testing.assert_allclose(by_point.on_points(equal[:, :, 0].T.ravel()), equal[:, :, 0].mean(axis=0), rtol=1e-12)


def said(error, call):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("layer", "positions", "text"),
    [
        (Conv(4), 3, "expected at least 4 positions for {}, got 3; use a smaller window"),
        (AveragePool(4), 3, "expected at least 4 positions for {}, got 3; use a smaller window"),
        (
            Conv(3, stride=4),
            6,
            "expected a stride that reaches the last of 6 positions, got {}, which leaves out 2; use another stride, or 4 "
            "positions",
        ),
        (
            AveragePool(2, 3),
            7,
            "expected a stride that reaches the last of 7 positions, got {}, which leaves out 2; use another stride, or 5 "
            "positions",
        ),
    ],
)
def test_windows_that_do_not_fit(layer, positions, text):
    (window,) = layer.windows(1)
    assert said(ShapeError, lambda: window.outputs(positions, layer)) == text.format(repr(layer))


def test_windows_of_other_sides():
    for axes, shape, layer in (
        (1, "(N, positions, channels)", Conv((2, 3))),
        (1, "(N, positions, channels)", Conv(2, stride=(1, 1))),
        (2, "(N, height, width, channels)", AveragePool((2,))),
    ):
        text = f"expected windows and strides of {axes} sides for points of shape {shape}, got {layer!r}"
        assert said(ShapeError, lambda axes=axes, layer=layer: layer.windows(axes)) == text
    assert Conv(3, stride=(1, 2), padding="zeros").windows(2) == (Window(3, 1, "zeros"), Window(3, 2, "zeros"))
    assert AveragePool((2, 3)).windows(2) == (Window(2, 2, "valid"), Window(3, 3, "valid"))
    assert GlobalAverage().windows(2) == Flatten().windows(1) == PositionLayer().windows(1) == ()


@pytest.mark.parametrize("name", ["window", "stride"])
@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, "2", (1, 2, 3), (), (2, 0), [1, 2.5], None])
def test_counts_that_are_none(name, wrong):
    text = f"expected a positive integer {name}, or two of them for height and width, got {wrong!r}"
    assert said(InputError, lambda: Conv(**{"window": 2, name: wrong})) == text
    if wrong is not None or name == "window":
        assert said(InputError, lambda: AveragePool(**{"window": 2, name: wrong})) == text


def test_what_layers_are_and_are_written_as():
    layer = Conv([np.int64(3), 2], 1.5, padding="zeros")
    assert (layer.window, layer.stride, layer.sigma_w, layer.beta) == ((3, 2), 1, 1.5, 0.1)
    assert [type(side) for side in layer.window] == [int, int]
    assert repr(layer) == "Conv((3, 2), sigma_w=1.5, beta=0.1, padding='zeros')"
    assert repr(Conv(np.int8(3), 2, 0, stride=2)) == "Conv(3, sigma_w=2, beta=0, padding='circular', stride=2)"
    assert repr(AveragePool(2)) == repr(AveragePool(2, 2)) == "AveragePool(2)"
    assert repr(AveragePool(2, 1)) == "AveragePool(2, stride=1)"
    assert [type(layer).reads_pairs for layer in (Conv(2), AveragePool(2), GlobalAverage(), Flatten())] == [
        *(False, True, True, False),
    ]
    assert [type(layer).keeps_positions for layer in (Conv(2), AveragePool(2), GlobalAverage(), Flatten())] == [
        *(True, True, False, False),
    ]
    assert Conv(2).fresh
    text = "expected padding one of 'circular', 'zeros', 'valid', got "
    for wrong in ("same", None, 1):
        assert said(InputError, lambda wrong=wrong: Conv(2, padding=wrong)) == text + repr(wrong)
    with pytest.raises(InputError, match="sigma_w"):
        Conv(2, 0.0)
    with pytest.raises(InputError, match="beta"):
        Conv(2, 1.0, -0.1)
