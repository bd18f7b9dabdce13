"""Construction, flat parameters, seeds."""

import numpy as np
import pytest
from stand_ins import alternating

import kernelcalc as kc
from kernelcalc.errors import InputError, NotFiniteError, ShapeError
from kernelcalc.finite import FiniteNetwork, NetworkBatch


def linear(weight=1.0, bias=0.0, **options):
    """f = w x + b, of one number."""
    options = {"weights": [np.array([[weight]])], "biases": [np.array([bias])], "beta": 1.0} | options
    return FiniteNetwork(activations=[], **options)


def test_flat_order_is_weights_by_rows_then_biases():
    fin = FiniteNetwork.random(alternating(2, n_out=2), (3,), 4, rng=1)
    expected = np.concatenate([fin.weights[0].ravel(), fin.biases[0], fin.weights[1].ravel(), fin.biases[1]])
    assert fin.n_parameters == 4 * 3 + 3 + 3 * 2 + 2
    np.testing.assert_array_equal(fin.parameters, expected)
    again = fin.with_parameters(fin.parameters)
    for one, other in zip(fin.weights + fin.biases, again.weights + again.biases, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ShapeError):
        fin.with_parameters(np.zeros(3))


def test_a_seed_is_a_network():
    net = alternating(3)
    one, two = (
        FiniteNetwork.random(net, 5, 4, rng=7),
        FiniteNetwork.random(net, (5, 5), 4, rng=np.random.default_rng(7)),
    )
    np.testing.assert_array_equal(one.parameters, two.parameters)
    assert not np.array_equal(one.parameters, FiniteNetwork.random(net, 5, 4, rng=8).parameters)
    assert repr(one) == "FiniteNetwork(4-5-5-1, P=61, sigma_w=1.3, beta=0.3, float64)"


def test_parameters_are_standard_normal():
    theta = FiniteNetwork.random(alternating(3), 200, 100, rng=0).parameters
    n = theta.size
    assert abs(theta.mean()) * np.sqrt(n) < 4
    assert abs((theta**2).mean() - 1) * np.sqrt(n / 2) < 4


def test_arrays_are_read_only():
    fin = FiniteNetwork.random(alternating(2), 4, 3)
    with pytest.raises(ValueError, match="read-only"):
        fin.weights[0][0, 0] = 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (3,)}, "2 widths"),
        ({"widths": (3, 0)}, "at least 1"),
        ({"widths": (3, 3), "dtype": np.int64}, "float64 or float32"),
        ({"widths": 2.5}, "whole number, got 2.5"),
        ({"widths": [7.9, 5.5]}, "whole number, got 7.9"),
        ({"widths": np.nan}, "whole number"),
        ({"widths": "ab"}, "whole number"),
    ],
)
def test_bad_sizes(options, message):
    with pytest.raises(InputError, match=message):
        FiniteNetwork.random(alternating(3), n_in=4, **options)


def test_arrays_must_chain():
    with pytest.raises(ShapeError, match="chain"):
        FiniteNetwork(
            weights=[np.ones((2, 3)), np.ones((4, 1))],
            biases=[np.ones(3), np.ones(1)],
            activations=alternating(2).activations,
        )
    with pytest.raises(InputError, match="activations"):
        FiniteNetwork(weights=[np.ones((2, 3))], biases=[np.ones(3)], activations=alternating(2).activations)


def test_whole_floats_are_widths():
    assert FiniteNetwork.random(alternating(3), np.array([4.0, 5.0]), 3).sizes == (3, 4, 5, 1)


def test_later_changes_of_the_given_arrays_do_not_reach_a_network():
    weight, bias, theta = np.array([[2.0]]), np.array([1.0]), np.array([2.0, 1.0])
    networks = [linear(weights=[weight], biases=[bias]), linear().with_parameters(theta)]
    for array in (weight, bias, theta):
        array -= 5.0
    for fin in networks:
        np.testing.assert_array_equal(fin(np.array([[3.0]])), [[7.0]])
        for part in (*fin.weights, *fin.biases):
            assert not part.flags.writeable
    assert theta.flags.writeable


def test_later_changes_of_the_points_do_not_reach_a_hessian():
    x = np.array([[3.0]])
    split = linear().curvature(x, np.zeros(1))
    x *= 0
    # (∂f/∂w, ∂f/∂b) = (x, 1)
    np.testing.assert_array_equal(split.h.dense(), [[9.0, 3.0], [3.0, 1.0]])


@pytest.mark.parametrize("kind", [int, bool, np.uint8, np.int64, object])
def test_whole_parameters_are_float64(kind):
    fin = linear(weights=[np.ones((1, 1), kind)], biases=[np.zeros(1, kind)])
    assert fin.dtype == fin.with_parameters(np.array([1, 0], kind)).dtype == np.float64
    np.testing.assert_array_equal(fin(np.array([[0.5]])), [[0.5]])
    np.testing.assert_array_equal(fin.with_parameters(np.array([1, 0], kind))([[0.5]]), [[0.5]])


def test_the_widest_type_is_that_of_the_network():
    fin = linear(weights=[np.ones((1, 1), np.float32)])
    assert {part.dtype for part in (*fin.weights, *fin.biases)} == {np.dtype(np.float64)}
    assert linear(weights=[np.ones((1, 1), np.float32)], biases=[np.ones(1, np.float32)]).dtype == np.float32


@pytest.mark.parametrize("kind", [complex, str, np.float16])
def test_other_parameters_are_refused(kind):
    with pytest.raises(InputError):
        linear(weights=[np.ones((1, 1)).astype(kind)])
    with pytest.raises(InputError):
        linear().with_parameters(np.ones(2).astype(kind))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_parameters_are_finite(bad):
    for options in ({"weight": bad}, {"bias": bad}, {"sigma_w": bad}, {"beta": bad}):
        with pytest.raises(NotFiniteError):
            linear(**options)
    with pytest.raises(NotFiniteError):
        linear().with_parameters(np.array([0.0, bad]))


@pytest.mark.parametrize("options", [{"sigma_w": 0.0}, {"sigma_w": -1.0}, {"sigma_w": "a"}, {"beta": 1j}])
def test_scales_are_numbers(options):
    with pytest.raises(InputError):
        linear(**options)


@pytest.mark.parametrize("X", [[[1j]], [["a"]], [[None]], [[1.0], [2.0, 3.0]]], ids=str)
def test_points_are_real(X):
    with pytest.raises(InputError, match="X"):
        linear()(X)


def test_points_fit_the_number_type():
    fin = linear(weights=[np.ones((1, 1), np.float32)], biases=[np.ones(1, np.float32)])
    with pytest.raises(NotFiniteError, match="float32"):
        fin([[1e300]])


def test_an_activation_has_derivatives():
    with pytest.raises(InputError, match="derivative"):
        FiniteNetwork(weights=[np.ones((1, 1))] * 2, biases=[np.zeros(1)] * 2, activations=[np.tanh])


@pytest.mark.parametrize(
    ("weights", "biases", "where"),
    [
        ([np.ones((2, 3)), np.ones((4, 1))], [np.ones(3), np.ones(1)], r"\(4, 1\), \(1,\) at layer 1"),
        ([np.ones((2, 3)), np.ones((3, 1))], [np.ones(2), np.ones(1)], r"\(2, 3\), \(2,\) at layer 0"),
        ([np.ones((2, 3)), np.ones((3, 1))], [np.ones(3), np.ones((1, 1))], r"\(3, 1\), \(1, 1\) at layer 1"),
        ([np.ones((2, 0)), np.ones((0, 1))], [np.ones(0), np.ones(1)], r"\(2, 0\), \(0,\) at layer 0"),
        ([np.ones((1, 2, 3)), np.ones((3, 1))], [np.ones((2, 3)), np.ones(1)], r"\(1, 2, 3\), \(2, 3\) at layer 0"),
    ],
)
def test_what_does_not_chain_is_shown(weights, biases, where):
    with pytest.raises(ShapeError, match=f"weights .* and biases .* that chain, got {where}"):
        FiniteNetwork(weights=weights, biases=biases, activations=alternating(2).activations)


def test_sizes_and_the_work_of_a_pass():
    fin = FiniteNetwork.random(alternating(4, n_out=2), (5, 4, 6), 3, rng=0)
    assert fin.sizes == (3, 5, 4, 6, 2)
    assert fin.weight_shapes == ((3, 5), (5, 4), (4, 6), (6, 2))
    assert (fin.depth, fin.n_out, fin.n_parameters) == (4, 2, 4 * 5 + 6 * 4 + 5 * 6 + 7 * 2)
    # of 7 points through the layer of 4 × 6
    assert fin.work(7) == 7 * 24
    np.testing.assert_allclose(fin.scales, 1.3 / np.sqrt([3, 5, 4, 6]), rtol=1e-15)


def test_squares_of_points_do_not_overflow():
    fin = linear()
    largest = np.sqrt(np.finfo(np.float64).max / 4)
    assert fin.points(np.full((4, 1), 0.999 * largest)).shape == (4, 1)
    for bad in (1.001 * largest, 1e200, -1e200):
        with pytest.raises(
            NotFiniteError, match=r"points whose squares do not overflow, got .*e\+\d+; scale them down"
        ):
            fin.points(np.full((4, 1), bad))
    for shape in ((0, 1), (3, 2), (3,), (1, 1, 1)):
        with pytest.raises(ShapeError, match=r"X of shape \(N, 1\), got .*; one row a point"):
            fin.points(np.zeros(shape))


def test_what_is_wrong_has_a_name():
    net = alternating(3)
    for options, text in (
        ({"widths": (3.5, 3), "n_in": 4}, "widths: a whole number, got 3.5"),
        ({"widths": 3, "n_in": 4.5}, "n_in: a whole number, got 4.5"),
        ({"widths": 3, "n_in": 0}, r"widths of at least 1, got layer sizes \(0, 3, 3, 1\)"),
        ({"widths": (1, 2, 3), "n_in": 4}, r"2 widths, one per hidden layer, got widths=\(1, 2, 3\)"),
    ):
        with pytest.raises(InputError, match=text):
            FiniteNetwork.random(net, **options)
    for other in ("tanh", None, kc.layers.Dense(), kc.layers.Residual("tanh", kc.layers.Dense())):
        with pytest.raises(
            InputError, match=r"expected (a fully connected network, kc.MLP|net, a network.s description)"
        ):
            FiniteNetwork.random(other, 3, n_in=4)
        with pytest.raises(
            InputError, match=r"expected (a fully connected network, kc.MLP|net, a network.s description)"
        ):
            NetworkBatch.random(other, 2, 3, n_in=4)
    with pytest.raises(
        InputError, match=r"derivative\(k\), got .*; kernelcalc.activation makes such an object of a name"
    ):
        FiniteNetwork(weights=[np.ones((1, 1))] * 2, biases=[np.zeros(1)] * 2, activations=[np.tanh])
    with pytest.raises(InputError, match=r"L weights, L biases and L - 1 activations, L >= 1, got 0, 0 and 0"):
        FiniteNetwork(weights=[], biases=[], activations=[])
    with pytest.raises(InputError, match=r"sigma_w > 0, got sigma_w=-2"):
        linear(sigma_w=-2)
    with pytest.raises(ShapeError, match=r"a parameter vector of shape \(2,\), got shape \(3,\)"):
        linear().with_parameters(np.zeros(3))
    with pytest.raises(InputError, match="float64, float32 or integers, got dtype float16"):
        linear(weights=[np.ones((1, 1), np.float16)])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_outputs_that_share_nothing_have_zeros_without_a_sign(depth):
    net = kc.MLP("tanh", depth, n_out=3)
    fin = FiniteNetwork.random(net, widths=(4,) * (depth - 1), n_in=2, rng=0)
    found = fin.ntk([[1.0, 0.3], [-1.0, -0.3], [0.0, 0.0]])
    assert not np.signbit(found[found == 0]).any()
    if depth == 1:
        # x·x'/2 + β² for the same output
        np.testing.assert_allclose(found[0, 1], -0.535 * np.eye(3), rtol=1e-12)
