"""Finite networks of any composition: each layer's rules, Hessians against differences and against complex steps."""

import pickle

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, NotFiniteError, ShapeError
from kernelcalc.finite import FiniteNetwork, NetworkBatch, layers
from kernelcalc.finite.composition import Architecture
from tests.kernels import finite_compositions as twin

L = kc.layers
CASES = {
    "residual": ((L.Dense(1.3, 0.4), L.Residual("tanh", L.Dense(1.1, 0.3), scale=0.6), "tanh", L.Dense(1.0, 0.2)), 3),
    "layer norm": ((L.Dense(1.3, 0.4), L.LayerNorm(), "tanh", L.Dense(1.0, 0.2)), 3),
    "pre-layer norm": ((L.Dense(1.3, 0.4), L.Residual(L.LayerNorm(), "tanh", L.Dense(1.1, 0.3)), L.Dense()), 3),
    "convolutions, flatten": (
        (L.Conv(3), "tanh", L.Conv(2, padding="zeros", stride=2), L.LayerNorm(), "sin", L.Flatten(), L.Dense()),
        (6, 2),
    ),
    "plane, pools": (
        (
            L.Conv((3, 2), padding="zeros"),
            "tanh",
            L.AveragePool(2, 1),
            L.Conv(2, padding="valid"),
            "tanh",
            L.GlobalAverage(),
            L.Dense(),
        ),
        (4, 4, 1),
    ),
}


def drawn(name, width=4, n_out=2):
    parts, shape = CASES[name]
    fin = FiniteNetwork.random(kc.Sequential(*parts, n_out=n_out), width, shape, rng=0)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, *np.atleast_1d(shape)))
    return fin, x, rng.standard_normal((3, n_out))


def differences(function, at, step=1e-5):
    return np.array([(function(at + step * e) - function(at - step * e)) / (2 * step) for e in np.eye(len(at))])


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_hessian_by_differences(name):
    fin, x, y = drawn(name)
    theta = fin.parameters
    gradient = differences(lambda at: fin.at(at).loss(x, y), theta)
    np.testing.assert_allclose(fin.gradient(x, y), gradient, atol=1e-9)
    jacobian = differences(lambda at: fin.at(at)(x), theta).transpose(1, 2, 0)
    np.testing.assert_allclose(fin.jacobian(x), jacobian, atol=1e-9)
    np.testing.assert_allclose(fin.ntk(x), np.einsum("sap,tbp->stab", jacobian, jacobian), atol=1e-8)
    hessian = differences(lambda at: fin.at(at).gradient(x, y), theta)
    split = fin.curvature(x, y)
    np.testing.assert_allclose(split.h.dense(), hessian, atol=1e-8)
    vectors = np.random.default_rng(2).standard_normal((len(theta), 2))
    np.testing.assert_allclose(split.h @ vectors, hessian @ vectors, atol=1e-7)
    # I from the Jacobian alone: the MSE is a mean over points
    np.testing.assert_allclose(split.i.dense(), np.einsum("sap,saq->pq", jacobian, jacobian) / len(x), atol=1e-8)
    whole = split.product(np.eye(len(theta)), "h")
    np.testing.assert_allclose(whole, whole.T, atol=1e-13)
    np.testing.assert_allclose(split.i.dense() + split.s.dense(), split.h.dense(), atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_laplacian_is_the_trace_of_output_hessians(name):
    fin, x, _ = drawn(name)
    slope = differences(lambda at: fin.at(at).jacobian(x), fin.parameters)
    np.testing.assert_allclose(fin.hessian_trace(x), np.einsum("psap->sa", slope), atol=1e-8)
    np.testing.assert_allclose(fin.hessian_trace(x), np.einsum("sapp->sa", fin.output_hessian(x)), atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_moments_with_and_without_the_matrix(name):
    fin, x, y = drawn(name)
    hessian, i_part = fin.hessian(x, y), fin.curvature(x, y).i.dense()
    s_part = hessian - i_part
    exact = fin.hessian_moments(x, y)
    powers = [np.trace(np.linalg.matrix_power(hessian, k)) for k in range(1, 5)]
    np.testing.assert_allclose(exact.trace_h, powers, rtol=1e-11)
    np.testing.assert_allclose(exact.trace_i[1], np.trace(i_part @ i_part), rtol=1e-11)
    np.testing.assert_allclose(exact.trace_s, np.trace(s_part), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(
        (exact.trace_s2, exact.trace_is), (np.sum(s_part**2), np.sum(s_part * i_part)), rtol=1e-9
    )
    sampled = fin.hessian_moments(x, y, dense=False, probes=400, rng=3)
    assert sampled.trace_s2_error > 0
    assert abs(sampled.trace_s2 - exact.trace_s2) < 4 * sampled.trace_s2_error
    assert np.all(np.abs(sampled.trace_h - exact.trace_h) <= 5 * sampled.trace_h_error + 1e-10)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        (
            "residual",
            twin.Chain(
                twin.DenseLayer(3, 4, 1.3, 0.4),
                twin.Skip(twin.Chain(twin.Tanh(), twin.DenseLayer(4, 4, 1.1, 0.3)), 0.6),
                twin.Tanh(),
                twin.DenseLayer(4, 1, 1.0, 0.2),
            ),
        ),
        (
            "layer norm",
            twin.Chain(twin.DenseLayer(3, 4, 1.3, 0.4), twin.Norm(), twin.Tanh(), twin.DenseLayer(4, 1, 1.0, 0.2)),
        ),
    ],
)
def test_kernels_of_complex_steps(name, network):
    fin, x, _ = drawn(name, n_out=1)
    found = twin.six_kernels(network, x, fin.parameters)
    np.testing.assert_allclose(fin(x) @ fin(x).T, found["sigma"], rtol=1e-12)
    np.testing.assert_allclose(fin.ntk(x), found["theta"], rtol=1e-12)
    np.testing.assert_allclose(fin.hessian_trace(x) @ fin.hessian_trace(x).T, found["xi"], rtol=1e-10)
    hessians = fin.output_hessian(x)[:, 0]
    np.testing.assert_allclose(np.einsum("ipq,jpq->ij", hessians, hessians), found["upsilon"], rtol=1e-11)


SINGLE = {
    "dense": layers.Dense(3, 2, 0.7, 0.3),
    "nonlinearity": layers.Nonlinearity(kc.activation("tanh")),
    "layer norm": layers.LayerNorm(),
    "scale": layers.Scale(0.4),
    "patches": layers.Patches(np.array([[0, 1, -1], [3, 2, 0]]), 4),
    "window mean": layers.WindowMean(3),
    "sum": layers.Sum([layers.Serial([]), layers.Serial([layers.LayerNorm(), layers.Dense(3, 3, 0.7, 0.3)])]),
}


@pytest.mark.parametrize("name", SINGLE)
def test_rules_of_one_layer(name):
    layer, rng, step = SINGLE[name], np.random.default_rng(4), 1e-5
    theta, x = rng.standard_normal(layer.size), rng.standard_normal((2, 4, 3))
    move, dx = rng.standard_normal((2, layer.size)), rng.standard_normal((2, *x.shape))
    y, kept = layer.forward(theta, x)
    dy, tape = layer.tangent(theta, kept, move, dx)
    eta, d_eta = rng.standard_normal(y.shape), rng.standard_normal(dy.shape)
    own, down = layer.cotangent(theta, kept, eta, each=False)
    each, _ = layer.cotangent(theta, kept, eta, each=True)
    np.testing.assert_allclose(each.sum(axis=0), own, atol=1e-13)
    change, same, d_down = layer.second(theta, kept, move, tape, eta, d_eta)
    np.testing.assert_allclose(same, down, atol=1e-14)
    for v in range(2):
        ahead, behind = ((theta + s * step * move[v], x + s * step * dx[v]) for s in (1, -1))
        slope = (layer.forward(*ahead)[0] - layer.forward(*behind)[0]) / (2 * step)
        np.testing.assert_allclose(dy[v], slope, atol=1e-8)
        np.testing.assert_allclose(np.vdot(dy[v], eta), move[v] @ own + np.vdot(dx[v], down), rtol=1e-11)
        moved = [
            layer.cotangent(at[0], layer.forward(*at)[1], eta + s * step * d_eta[v], each=False)
            for at, s in ((ahead, 1), (behind, -1))
        ]
        np.testing.assert_allclose(change[v], (moved[0][0] - moved[1][0]) / (2 * step), atol=1e-8)
        np.testing.assert_allclose(d_down[v], (moved[0][1] - moved[1][1]) / (2 * step), atol=1e-8)


@pytest.mark.parametrize("padding", ["circular", "zeros", "valid"])
def test_convolution_by_loops(padding):
    net = kc.Sequential(L.Conv((3, 2), 1.2, 0.4, padding), L.GlobalAverage(), L.Dense(0.9, 0.1))
    fin = FiniteNetwork.random(net, 3, (4, 3, 2), rng=5)
    x, (weight, last), (bias, end) = np.random.default_rng(6).standard_normal((1, 4, 3, 2)), fin.weights, fin.biases
    low = (0, 0) if padding == "valid" else (-1, 0)
    outputs = (2, 2) if padding == "valid" else (4, 3)
    blocks, total = weight.reshape(3, 2, 2, 3), np.zeros(3)
    for p, q in np.ndindex(outputs):
        for i, j in np.ndindex(3, 2):
            row, column = p + i + low[0], q + j + low[1]
            if padding == "circular":
                row, column = row % 4, column % 3
            if 0 <= row < 4 and 0 <= column < 3:
                total += 1.2 / np.sqrt(2 * 6) * blocks[i, j].T @ x[0, row, column]
        total += 0.4 * bias
    expected = 0.9 / np.sqrt(3) * last.T @ (total / np.prod(outputs)) + 0.1 * end
    np.testing.assert_allclose(fin(x)[0], expected, rtol=1e-12)


def test_a_plain_composition_is_the_fully_connected_network():
    net = kc.MLP("tanh", depth=3, sigma_w=1.2, beta=0.3, n_out=2)
    fin = FiniteNetwork.random(net, 5, 3, rng=7)
    other = FiniteNetwork.random(kc.Sequential(*net.layers, n_out=2), 5, 3, rng=7)
    x, y = np.random.default_rng(8).standard_normal((4, 3)), np.eye(2)[[0, 1, 1, 0]]
    assert np.array_equal(fin.parameters, other.parameters)
    np.testing.assert_allclose(other.hessian(x, y), fin.hessian(x, y), atol=1e-14)
    np.testing.assert_allclose(other.hessian_trace(x), fin.hessian_trace(x), atol=1e-14)
    softmax = fin.hessian_moments(x, y, "softmax")
    np.testing.assert_allclose(other.hessian_moments(x, y, "softmax").trace_h, softmax.trace_h, rtol=1e-11)
    np.testing.assert_allclose(other.train(x, y, [0, 2.0]).loss, fin.train(x, y, [0, 2.0]).loss, rtol=1e-5)


def test_single_precision_and_pickle():
    parts, shape = CASES["pre-layer norm"]
    small = FiniteNetwork.random(kc.Sequential(*parts), 6, shape, rng=0, dtype=np.float32)
    large = FiniteNetwork.random(kc.Sequential(*parts), 6, shape, rng=0)
    x = np.random.default_rng(1).standard_normal((3, 3))
    hessian = small.hessian(x, np.ones(3))
    assert hessian.dtype == np.float32
    np.testing.assert_allclose(hessian, large.hessian(x, np.ones(3)), atol=2e-5)
    assert np.array_equal(pickle.loads(pickle.dumps(large))(x), large(x))


class Unknown:
    layers = ()


TWO = (L.Dense(), "tanh", L.Dense())
ENDS = ("tanh", L.Flatten(), L.Dense())


@pytest.mark.parametrize(
    ("parts", "widths", "shape", "said"),
    [
        ((L.Dense(), L.Residual("tanh", L.Dense()), L.Dense()), (4, 5), 3, r"branches of one shape, got .*\(\(\), 5\)"),
        (TWO, (4, 5), 3, r"1 widths, one for each Dense and Conv but the last, got widths=\(4, 5\)$"),
        (TWO, 4.5, 3, "widths: a whole number, got 4.5$"),
        (TWO, 4, 2.5, "n_in: a whole number, got 2.5$"),
        (TWO, 0, 3, r"sizes of at least 1, got n_in=\(3,\), widths=\(0, 1\)$"),
        ((L.Dense(), L.LayerNorm(), L.Dense()), 1, 3, "at least two units for LayerNorm, got 1$"),
        (
            (L.Conv(3, stride=2), *ENDS),
            4,
            (5, 2),
            "strides that divide .*, windows within them, got 5 positions, 3, 2$",
        ),
        ((L.Conv(3, padding="valid"), *ENDS), 4, (2, 2), "windows that end .*, got 2 positions, window 3, stride 1$"),
        ((L.Conv((2, 2)), *ENDS), 4, (4, 2), r"one number an axis of positions, 1, got \(2, 2\)$"),
        ((L.Conv(3), *ENDS), 4, 5, "points with positions for Conv, got points without"),
        ((L.Dense(), "tanh", L.Dense(weight_rate=2.0)), 4, 5, "layers in NTK parametrisation, got Dense"),
    ],
)
def test_what_does_not_fit_is_refused(parts, widths, shape, said):
    with pytest.raises(InputError, match=f"^expected {said}"):
        FiniteNetwork.random(kc.Sequential(*parts), widths, shape)


def test_two_units_are_enough_for_a_norm():
    """They become ±1."""
    fin = FiniteNetwork.random(kc.Sequential(L.Dense(), L.LayerNorm(), L.Dense(1.0, 0.0)), 2, 3, rng=0)
    x = np.random.default_rng(0).standard_normal((5, 3))
    w = fin.weights[1][:, 0] / np.sqrt(2)
    np.testing.assert_allclose(np.abs(fin(x)[:, 0]), abs(w[0] - w[1]), rtol=1e-12)


def test_a_stride_beyond_the_window():
    """Of five positions 0, 1 and 3, 4 are read."""
    fin = FiniteNetwork.random(kc.Sequential(L.Conv(2, stride=3, padding="valid"), *ENDS), 4, (5, 2), rng=0)
    x = np.random.default_rng(0).standard_normal((1, 5, 2))
    moved = np.array([fin(x + np.eye(5)[k][:, None])[0, 0] for k in range(5)])
    assert ((moved != fin(x)[0, 0]) == [True, True, False, True, True]).all()


def test_other_layers_points_and_batches_are_refused():
    class Description:
        n_out = 1

        def __init__(self, *layers):
            self.layers = layers

    with pytest.raises(InputError, match="Unknown"):
        Architecture.of(Description(Unknown(), L.Dense()), (), 3)
    with pytest.raises(InputError, match="with a Dense"):
        Architecture.of(Description(), (), 3)
    fin, x, _ = drawn("convolutions, flatten")
    with pytest.raises(ShapeError, match=r"X of shape \('N', 6, 2\), got shape \(3, 5, 2\)$"):
        fin(x[:, :5])
    with pytest.raises(NotFiniteError, match=r"^expected X: finite numbers"):
        fin(np.full_like(x, np.nan))
    with pytest.raises(InputError, match="one by one"):
        NetworkBatch(first=fin, parameters=fin.parameters[None])


@pytest.mark.parametrize("name", ["residual", "layer norm", "plane, pools"])
def test_last_units_and_directions(name):
    """f = Wu + βb with the last Dense's W, b; Tr Hf = W Tr Hu; ∇f·v from the Jacobian."""
    fin, x = drawn(name)[:2]
    v = np.random.default_rng(3).normal(size=(2, fin.n_parameters))
    units, traces, beta = fin.last_units(x)
    np.testing.assert_allclose(units @ fin.weights[-1] + beta * fin.biases[-1], fin(x), rtol=1e-12)
    np.testing.assert_allclose(traces @ fin.weights[-1], fin.hessian_trace(x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        fin.directional(x, v), np.einsum("sap,vp->vsa", fin.jacobian(x), v), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize(
    "net", [kc.MLP("tanh", 2), kc.Sequential(*CASES["layer norm"][0])], ids=["layers", "composition"]
)
def test_seeds_and_what_results_remember(net):
    x, y = np.eye(3), np.arange(3.0)
    fin, same, other = (FiniteNetwork.random(net, 4, 3, rng=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(fin.parameters, same.parameters)
    assert (fin.parameters != other.parameters).all()
    known = {"network": repr(fin), "data": digest(x, y)}
    for found, seed in (
        (fin.hessian_moments(x, y, probes=2, rng=5), 5),
        (fin.hessian_moments(x, y, probes=2), 0),
        (fin.train(x, y, [0.1]), 0),
    ):
        assert found.origin == known | {"seed": seed}


def test_default_sizes():
    """Pictures of 14 × 14 pixels, two layers of 64 units; of a composition every layer."""
    plain = FiniteNetwork.random(kc.MLP("tanh", 3))
    made = type(drawn("residual")[0]).random(kc.Sequential(L.Dense(), "tanh", L.Dense()))
    assert [set(w.shape) for w in plain.weights] == [{64, 196}, {64}, {64, 1}]
    assert [set(w.shape) for w in made.weights] == [{64, 196}, {64, 1}]
