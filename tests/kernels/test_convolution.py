"""Networks with positions: all six kernels against loops over positions, finite networks, and blocks of any size."""

import json
from pathlib import Path

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.kernels import convolution, gram
from kernelcalc.kernels.layers import AveragePool, Conv, Dense, Flatten, GlobalAverage, LayerNorm, Residual
from kernelcalc.kernels.parametrisation import standard_theta
from tests.kernels.positions_reference import NAMES, State

LINE = 0.7 * np.random.default_rng(1).standard_normal((2, 6, 2))
PLANE = 0.7 * np.random.default_rng(2).standard_normal((2, 3, 4, 1))
W, B = 1.1, 0.3


def residual(state):
    state = state.conv(2, W, B)
    state = state.plus(state.norm().tanh().conv(3, W, B, "zeros"), 0.6)
    return state.tanh().average().dense(W, B)


# network, points, the same by loops
CASES = {
    "circular, flatten": (
        (Conv(3, W, B), "tanh", Conv(2, W, B), "tanh", Flatten(), Dense(W, B)),
        LINE,
        lambda s: s.conv(3, W, B).tanh().conv(2, W, B).tanh().flatten().dense(W, B),
    ),
    "zeros, global": (
        (Conv(3, W, B, "zeros"), "tanh", Conv(2, W, B, "zeros", 2), "tanh", GlobalAverage(), Dense(W, B)),
        LINE,
        lambda s: s.conv(3, W, B, "zeros").tanh().conv(2, W, B, "zeros", 2).tanh().average().dense(W, B),
    ),
    "valid, pools within": (
        (Conv(2, W, B, "valid"), "tanh", AveragePool(2, 1), Conv(2, W, B, "valid"), "tanh", Flatten(), Dense(W, B)),
        LINE,
        lambda s: s.conv(2, W, B, "valid").tanh().pool(2, 1).conv(2, W, B, "valid").tanh().flatten().dense(W, B),
    ),
    "pool of pre-activations, twice": (
        (
            Conv(3, W, B),
            AveragePool(2),
            "tanh",
            Conv(2, W, B),
            "tanh",
            GlobalAverage(),
            Dense(W, B),
            "tanh",
            Dense(W, B),
        ),
        LINE,
        lambda s: s.conv(3, W, B).pool(2, 2).tanh().conv(2, W, B).tanh().average().dense(W, B).tanh().dense(W, B),
    ),
    "plane": (
        (Conv((3, 2), W, B, "zeros"), "tanh", Conv(2, W, B, "valid"), "tanh", Flatten(), Dense(W, B)),
        PLANE,
        lambda s: s.conv((3, 2), W, B, "zeros").tanh().conv(2, W, B, "valid").tanh().flatten().dense(W, B),
    ),
    "positions one by one": (
        (Dense(W, B), "tanh", Dense(W, B), "tanh", GlobalAverage(), Dense(W, B)),
        LINE,
        lambda s: s.dense(W, B).tanh().dense(W, B).tanh().average().dense(W, B),
    ),
    "residual": (
        (
            Conv(2, W, B),
            Residual(LayerNorm(), "tanh", Conv(3, W, B, "zeros"), scale=0.6),
            "tanh",
            GlobalAverage(),
            Dense(W, B),
        ),
        LINE[:, :4],
        residual,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_six_kernels_by_loops_over_positions(name):
    layers, x, literal = CASES[name]
    kernels = kc.Sequential(*layers).kernels(x)
    expected = literal(State.of(x)).arrays()
    for kernel in NAMES:
        np.testing.assert_allclose(kernels[kernel], expected[kernel], rtol=1e-11, atol=1e-13, err_msg=kernel)


@pytest.mark.parametrize("end", [Flatten(), GlobalAverage()])
@pytest.mark.parametrize("sides", [(2, 3), (128, 256)])
def test_one_position_of_two_sets_in_parts_of_blocks(monkeypatch, end, sides):
    """A network without positions; kernels of relu are homogeneous, and angles of 1e-9 are seen at the first one."""
    monkeypatch.setattr(convolution, "BLOCK_ROWS", sides[0])
    monkeypatch.setattr(convolution, "BLOCK_COLUMNS", sides[1])
    x = np.random.default_rng(5).standard_normal((7, 4))
    near = x.copy()
    near[3] = 1.5 * x[2] + 1e-9 * x[0]
    for hidden, points, size in ((1, near, 1.0), (2, x, 1e-4), (2, x, 1e5)):
        names = ("sigma", "theta")
        plain = kc.MLP("relu", hidden + 1, sigma_w=W, beta=0.0).kernels(points[:3], points[2:], only=names, dps=20)
        net = kc.Sequential(*(Conv(1, W, 0.0), "relu") * hidden, end, Dense(W, 0.0))
        found = net.kernels(size * points[:3, None], size * points[2:, None], only=names)
        for name in names:
            known = getattr(plain, name).astype(float) * size**2
            np.testing.assert_allclose(getattr(found, name), known, rtol=1e-12)


@pytest.mark.parametrize("end", [(Flatten(),), (AveragePool(2), GlobalAverage())])
def test_blocks_and_panels_of_any_size(monkeypatch, end):
    """Points of two sets, one by one in small panels, equal the matrix at once."""
    x = np.random.default_rng(3).standard_normal((9, 4, 2))
    net = kc.Sequential(Conv(3), Residual(LayerNorm(), "tanh", Conv(2)), "gelu", *end, Dense())
    whole = net.kernels(x)
    monkeypatch.setattr(convolution, "BLOCK_ENTRIES", 64)
    monkeypatch.setattr(convolution, "BYTES_PER_POSITION", 2**24)
    # and each block in parts
    monkeypatch.setattr(convolution, "BLOCK_ROWS", 3)
    monkeypatch.setattr(convolution, "BLOCK_COLUMNS", 5)
    small, other = net.kernels(x), net.kernels(x[:4], x[3:])
    for name in NAMES:
        scale = np.abs(whole[name]).max()
        np.testing.assert_allclose(small[name], whole[name], atol=3e-14 * scale)
        np.testing.assert_allclose(other[name], whole[name][:4, 3:], atol=3e-14 * scale)


@pytest.mark.parametrize("compiled", [None, True, False])
def test_machine_code_is_asked_for(monkeypatch, compiled):
    asked = []

    class Stop(Exception):
        pass

    def expectations(*_, compiled):
        asked.append(compiled)
        raise Stop

    monkeypatch.setattr(gram, "LayerExpectations", expectations)
    monkeypatch.setattr(gram, "compiling_pays", lambda *_: "pays")
    net = kc.Sequential(Conv(2), "tanh", Flatten(), Dense())
    with pytest.raises(Stop):
        convolution.PositionComputation(net, LINE, None, ("sigma",), compiled).run()
    assert asked == ["pays" if compiled is None else compiled]


@pytest.mark.parametrize("x", [LINE[:, :1, :], np.full((2, 5, 1), 0.8) * np.array([1.0, -0.4])[:, None, None]])
def test_one_position_or_equal_ones_are_a_network_without_positions(x):
    """Circular convolutions of a constant line are dense layers, pooled or flattened."""
    plain = kc.MLP("tanh", 3, sigma_w=W, beta=B).kernels(x[:, 0])
    for end in (Flatten(), GlobalAverage()):
        window = min(3, x.shape[1])
        net = kc.Sequential(Conv(window, W, B), "tanh", Conv(window, W, B), "tanh", end, Dense(W, B))
        for name, kernel in net.kernels(x).items():
            np.testing.assert_allclose(kernel, plain[name], rtol=1e-12, err_msg=name)


def test_kinked_nonlinearity_on_receptive_fields_that_are_equal():
    """Zero borders: windows that see the same numbers have angle 0, whose Θ a rounded angle would spoil by 1e-8."""
    x = np.zeros((2, 8, 1))
    x[:, 3:5, 0] = [[1.0, 0.3], [0.2, -0.9]]
    net = kc.Sequential(Conv(3, W, B), "relu", Conv(3, W, B), "relu", GlobalAverage(), Dense(W, B))
    assert net.kernels(x).available == ("sigma", "theta")
    expected = relu_theta(x)
    np.testing.assert_allclose(net.kernels(x, only="theta").theta, expected, rtol=1e-12)


def relu_theta(x):
    """Σ and Θ by arc-cosine kernels of pairs of positions; equal receptive fields are found by comparing them."""
    n, p = x.shape[:2]
    fields = np.stack([np.roll(x[..., 0], 1, 1), x[..., 0], np.roll(x[..., 0], -1, 1)], axis=-1).reshape(n * p, 3)
    same = (fields[:, None] == fields[None]).all(axis=-1)
    sigma = W**2 * fields @ fields.T / 3 + B**2
    theta = sigma.copy()
    for layer in range(2):
        q = np.sqrt(np.diag(sigma))
        angle = np.where(same, 0.0, np.arccos(np.clip(sigma / np.outer(q, q), -1, 1)))
        theta = theta * (np.pi - angle) / (2 * np.pi)
        sigma = np.outer(q, q) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        if layer == 0:
            moved = [np.roll(k.reshape(n, p, n, p), (d, d), (1, 3)) for k in (sigma, theta) for d in (-1, 0, 1)]
            sigma, theta = (W**2 * sum(part) / 3 for part in (moved[:3], moved[3:]))
            sigma, theta = sigma.reshape(n * p, n * p) + B**2, theta.reshape(n * p, n * p)
            theta = theta + sigma
            wide = np.concatenate([np.roll(fields.reshape(n, p, 3), d, 1) for d in (1, 0, -1)], -1).reshape(n * p, 9)
            same = (wide[:, None] == wide[None]).all(axis=-1)
    means = [W**2 * k.reshape(n, p, n, p).mean(axis=(1, 3)) for k in (sigma, theta)]
    return means[1] + means[0] + B**2


TANH = "tanh"
WRONG = [
    ((Dense(), TANH), "last layer is Dense"),
    ((TANH, Dense()), "first layer is Dense or Conv"),
    ((Dense(), TANH, LayerNorm(), Dense()), "LayerNorm of Gaussian pre-activations"),
    ((Dense(), TANH, TANH, Dense()), "Nonlinearity of Gaussian pre-activations"),
    ((Dense(), TANH, Conv(3), TANH, Dense()), "Flatten.* or GlobalAverage"),
    ((Conv(3), Flatten(), TANH, Dense()), "behind Flatten"),
    ((Conv(3), GlobalAverage(), Conv(3), Dense()), "points with positions before Conv"),
    ((Conv(3), Residual(TANH, Conv(3, padding="valid")), Flatten(), Dense()), "keeps its positions"),
    ((Conv(3), Residual(TANH, AveragePool(2), Conv(3)), Flatten(), Dense()), "keep their positions"),
]


@pytest.mark.parametrize(("layers", "message"), WRONG)
def test_compositions_that_are_no_network(layers, message):
    with pytest.raises(InputError, match=message):
        kc.Sequential(*layers)


def test_a_branch_without_fresh_weights():
    with pytest.raises(InputError, match="fresh weights"):
        Residual(Dense(), "tanh")


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ((Conv(9), Flatten()), (2, 6, 1), "at least 9 positions"),
        ((Conv(3, stride=4), Flatten()), (2, 6, 1), "leaves out 2"),
        ((Conv(3), AveragePool(4), Flatten()), (2, 6, 1), "leaves out 2"),
        ((Conv((3, 3)), Flatten()), (2, 6, 1), "windows and strides of 1 sides"),
        ((Conv(3), Flatten()), (2, 6), "positions, channels"),
        ((Conv(2), AveragePool(2), GlobalAverage()), (1, 200, 200, 1), "at most 8192 positions"),
    ],
)
def test_points_that_do_not_fit(layers, shape, message):
    with pytest.raises(InputError, match=message):
        kc.Sequential(*layers, Dense()).kernels(np.ones(shape))


def test_points_of_two_shapes_and_kernels_behind_layers():
    net = kc.Sequential(Conv(3), "tanh", Flatten(), Dense())
    with pytest.raises(ShapeError, match=r"X2 with points of shape \(6, 2\)"):
        net.kernels(LINE, LINE[:, :5])
    with pytest.raises(InputError, match="behind layers"):
        _ = net.kernels(LINE).layers


@pytest.mark.parametrize(
    "ask",
    [
        lambda net: net.kernels(LINE, dps=20),
        lambda net: net.kernels(LINE, certified=True),
        lambda net: net.kernels(LINE, engine="dask"),
        lambda net: kc.distributed.kernels(net, LINE),
        lambda net: kc.symbolic.kernel("theta", net),
        lambda net: kc.finite_width(net, LINE),
        lambda net: standard_theta(net, LINE, (4,)),
    ],
)
def test_what_is_not_known_of_networks_with_positions_says_so(ask):
    with pytest.raises(InputError, match=r"one with positions|fully connected network"):
        ask(kc.Sequential(Conv(3), "tanh", Flatten(), Dense()))


def test_training_and_held_out_points_of_a_convolution():
    """At one position it is a dense layer."""
    x, y = LINE[:, :1], [1.0, -1.0]
    net, plain = kc.Sequential(Conv(1, W, B), "erf", Flatten(), Dense(W, B)), kc.MLP("erf", 2, sigma_w=W, beta=B)
    found, expected = (kc.mse_moments(one.kernels(v), y, [0, 1]) for one, v in ((net, x), (plain, x[:, 0])))
    np.testing.assert_allclose(found.trace_h, expected.trace_h, rtol=1e-12)
    new = LINE[:, 1:2]
    found = kc.held_out(net, x, y, new, y)
    np.testing.assert_allclose(found.mean, kc.held_out(plain, x[:, 0], y, new[:, 0], y).mean, rtol=1e-10)


@pytest.mark.parametrize(
    "wrong", [{"window": 0}, {"window": 2.5}, {"window": (1, 2, 3)}, {"window": 3, "padding": "same"}]
)
def test_convolutions_that_are_none(wrong):
    with pytest.raises(InputError, match="expected"):
        Conv(**wrong)


PEER = json.loads(Path(__file__).with_name("neural_tangents.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", PEER["cases"], ids=lambda case: f"{case['kind']} {np.ndim(case['x']) - 2}")
def test_sigma_and_theta_of_neural_tangents(case):
    """Stored values; the file says how they were made."""
    w, b, name, x = PEER["W"], PEER["B"], case["nonlinearity"], np.array(case["x"])
    zeros = Conv(3, w, b, "zeros")
    parts = {
        "flatten": (Conv(3, w, b), name, Conv(3, w, b), name, Flatten()),
        "global": (zeros, name, zeros, name, GlobalAverage()),
        "pool": (Conv(3, w, b, "valid"), name, AveragePool(2), Conv(2, w, b, "valid"), name, Flatten()),
        "residual": (zeros, Residual(LayerNorm(), name, zeros), name, GlobalAverage()),
    }
    kernels = kc.Sequential(*parts[case["kind"]], Dense(w, b)).kernels(x, only=("sigma", "theta"))
    np.testing.assert_allclose(kernels.sigma, case["sigma"], rtol=1e-13)
    np.testing.assert_allclose(kernels.theta, case["theta"], rtol=1e-13)


@pytest.mark.parametrize(
    "layers", [(Conv(1, beta=0.0),), (Conv(1, beta=0.0), "erf", AveragePool(2), Conv(1, beta=0.0))]
)
def test_layernorm_of_a_window_of_zeros(layers):
    x = np.ones((2, 4, 1))
    x[1, :2] = 0
    with pytest.raises(InputError, match=r"variance above 0.*beta > 0"):
        kc.Sequential(*layers, LayerNorm(), "erf", GlobalAverage(), Dense()).kernels(x)
