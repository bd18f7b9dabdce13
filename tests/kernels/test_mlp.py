"""Networks as objects: what they are made of, what they say, what they refuse."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, ShapeError, SmoothnessError
from kernelcalc.kernels import mlp
from kernelcalc.kernels.formulas import network_latex
from kernelcalc.kernels.mlp import require_plain

Conv, Dense, Flatten, Residual = kc.layers.Conv, kc.layers.Dense, kc.layers.Flatten, kc.layers.Residual
X = np.array([[1.0, 0.5], [-0.3, 2.0]])
IMAGES = X.reshape(2, 2, 1)


def refused(call):
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value).removeprefix("expected ")


def test_layers_of_a_perceptron():
    net = kc.MLP(["tanh", "erf"], 3, sigma_w=1.5, beta=0.2, n_out=4)
    dense = Dense(1.5, 0.2)
    assert net.layers == kc.Sequential(dense, "tanh", dense, "erf", dense).layers
    assert (net.depth, net.sigma_w, net.beta, net.n_out) == (3, 1.5, 0.2, 4)
    assert kc.MLP("tanh").layers == kc.Sequential(Dense(1, 0.1), "tanh", Dense(1, 0.1), "tanh", Dense(1, 0.1)).layers
    # a residual branch is one, whatever is in it
    for branch in (("tanh", dense), ("tanh", dense, "tanh", dense)):
        assert kc.Sequential(dense, Residual(*branch), "tanh", dense).depth == 3


def test_what_is_written_can_be_typed_in():
    for net, text in (
        (kc.MLP("tanh", 3), "MLP('tanh', depth=3, sigma_w=1, beta=0.1, n_out=1)"),
        (kc.MLP(["tanh", "erf"], 3, sigma_w=0.3), "MLP(['tanh', 'erf'], depth=3, sigma_w=0.3, beta=0.1, n_out=1)"),
        (kc.MLP(["erf", "erf"], 3, n_out=2), "MLP('erf', depth=3, sigma_w=1, beta=0.1, n_out=2)"),
        (kc.MLP("tanh", 1), "MLP('linear', depth=1, sigma_w=1, beta=0.1, n_out=1)"),
        (
            kc.Sequential(Dense(), "tanh", Dense(1.5, 0)),
            "Sequential(Dense(sigma_w=1, beta=0.1), Nonlinearity('tanh'), Dense(sigma_w=1.5, beta=0))",
        ),
        (kc.Sequential(Dense(), n_out=3), "Sequential(Dense(sigma_w=1, beta=0.1), n_out=3)"),
    ):
        assert repr(net) == text


def test_the_same_network_but_for_one_thing():
    net = kc.MLP("tanh", 3, sigma_w=1.5, beta=0.2, n_out=4)
    assert net.replace() == net
    for change, expected in (
        ({"activation": "erf"}, kc.MLP("erf", 3, sigma_w=1.5, beta=0.2, n_out=4)),
        ({"depth": 5}, kc.MLP("tanh", 5, sigma_w=1.5, beta=0.2, n_out=4)),
        ({"sigma_w": 1.0}, kc.MLP("tanh", 3, sigma_w=1.0, beta=0.2, n_out=4)),
        ({"beta": 0.0}, kc.MLP("tanh", 3, sigma_w=1.5, beta=0.0, n_out=4)),
        ({"n_out": 1}, kc.MLP("tanh", 3, sigma_w=1.5, beta=0.2, n_out=1)),
    ):
        assert net.replace(**change) == expected
    two = kc.MLP(["tanh", "erf"], 3)
    assert two.replace(beta=0.5) == kc.MLP(["tanh", "erf"], 3, beta=0.5)
    assert refused(lambda: two.replace(depth=4)) == "3 activations for depth=4, got 2"
    assert kc.MLP("tanh", 1).replace(activation="erf", depth=2) == kc.MLP("erf", 2)
    # one hidden layer has no second nonlinearity
    assert kc.MLP("erf", 2).replace(depth=3) == kc.MLP("erf", 3)


def test_what_a_file_keeps():
    net = kc.MLP(["tanh", "erf"], 3, sigma_w=1.5, beta=0.2, n_out=4)
    kept = net.stored()
    assert kept == {"activation": list(net.activations), "depth": 3, "sigma_w": 1.5, "beta": 0.2, "n_out": 4}
    assert kc.MLP.from_stored(kept) == net
    layers = kc.Sequential(Dense(), "tanh", Dense(), n_out=2)
    assert layers.stored() == {"layers": layers.layers, "n_out": 2}
    assert kc.Sequential.from_stored(layers.stored()) == layers
    # what kernels depend on: not the number of outputs
    assert net.record() == net.replace(n_out=1).record()
    assert {name: net.record()[name] for name in ("depth", "sigma_w", "beta")} == {
        "depth": 3,
        "sigma_w": 1.5,
        "beta": 0.2,
    }
    assert len(net.record()["activations"]) == 2
    assert net.record() != kc.MLP(["erf", "tanh"], 3, sigma_w=1.5, beta=0.2).record()


def test_refusals_say_what_came():
    net, images = kc.MLP("tanh", 2), kc.Sequential(Conv(2), Flatten(), Dense())
    for call, text in (
        (lambda: kc.MLP(["tanh"], 3), "2 activations for depth=3, got 1"),
        (lambda: kc.MLP("tanh", 0), "an integer depth ≥ 1, got 0"),
        (lambda: net.kernels(X, X[:, :1]), "X2 with 2 inputs, as X has, got 1 inputs"),
        (
            lambda: images.kernels(IMAGES, IMAGES[:, :1]),
            "X2 with points of shape (2, 1), as X has, got points of shape (1, 1)",
        ),
        (
            lambda: images.kernels(IMAGES, dps=20),
            "a network on points (N, n_0) for kernels in other numbers than float64, got one with positions; "
            "its float64 kernels are net.kernels(X)",
        ),
        (
            lambda: images.kernels(IMAGES).layers,
            "kernels behind layers without positions, got a network with positions; "
            "ask a shorter network, closed by Dense()",
        ),
        (
            lambda: require_plain(images, "this"),
            f"a fully connected network, kc.MLP, for this, got {images!r}; net.kernels(X) knows its limit",
        ),
    ):
        assert refused(call) == text
    with pytest.raises(ShapeError):
        net.kernels(X, X[:, :1])
    for other in (
        kc.Sequential(Dense(), Dense()),
        kc.Sequential(Dense(), kc.layers.LayerNorm(), Dense()),
        kc.Sequential(Dense(), "tanh", Dense(), Dense()),
    ):
        with pytest.raises(InputError, match="a fully connected network"):
            require_plain(other, "this")
    assert require_plain(kc.Sequential(Dense(2), "tanh", Dense(3)), "this") == (Dense(2), Dense(3))


def test_kernels_say_whose_they_are():
    net = kc.MLP("erf", 2, beta=0)
    for options, more in (({}, ""), ({"dps": 20}, ", 20 digits"), ({"certified": True}, ", certified")):
        if options.get("certified"):
            pytest.importorskip("flint")
        found = net.kernels(X[:1], only="theta", **options)
        assert repr(found) == f"LimitingKernels(theta; 1 × 1; {net!r}{more})"
        assert repr(found.layers[0]) == f"LimitingKernels(theta; 1 × 1; layer 1 of {net!r})"
        assert found.layers[1] is found
    # the last layer's are those of the network
    both = net.kernels(X, X[:1])
    np.testing.assert_allclose(both.layers[-1].theta, both.theta, rtol=1e-14)
    assert both.layers[0].sigma.shape == (2, 1)
    np.testing.assert_allclose(both.layers[0].sigma, X @ X[:1].T / 2, rtol=1e-15)
    images = kc.Sequential(Conv(2), Flatten(), Dense())
    assert repr(images.kernels(IMAGES, only="sigma")) == f"LimitingKernels(sigma; 2 × 2; {images!r})"


def test_what_is_not_there_is_refused_by_name():
    for net, points in ((kc.MLP("relu", 2), X), (kc.Sequential(Conv(2), "relu", Flatten(), Dense()), IMAGES)):
        for options in ({}, {"dps": 20}) if points is X else ({},):
            with pytest.raises(SmoothnessError, match=r"for the kernel phi .*, got relu"):
                _ = net.kernels(points, **options).phi


def test_formulas_and_lazy_kernels_are_those_of_the_network():
    net = kc.Sequential(Dense(1.5, 0.2), "tanh", Dense(), n_out=2)
    assert net._repr_latex_() == network_latex(net.layers, 2) != network_latex(net.layers, 1)
    pytest.importorskip("dask")
    for other in (None, X[:1]):
        lazy = net.kernels(X, other, engine="dask", only="theta")
        np.testing.assert_allclose(np.asarray(lazy.theta), net.kernels(X, other).theta, rtol=1e-12)


@pytest.mark.parametrize(("engine", "compiled"), [("dask", False), ("dask+numba", True)])
def test_what_lazy_kernels_are_given(monkeypatch, engine, compiled):
    seen, net = [], kc.MLP("tanh", 2)
    monkeypatch.setattr(mlp, "lazy_kernels", lambda *given, **options: seen.append((given, options)) or "lazy")
    assert net.kernels(X, X[:1], engine=engine, only="theta", chunks=7) == "lazy"
    ((given, options),) = seen
    assert given[0] is net
    np.testing.assert_array_equal(given[1], X)
    np.testing.assert_array_equal(given[2], X[:1])
    assert options == {"only": "theta", "chunks": 7, "compiled": compiled}


def test_kernels_remember_their_points():
    from kernelcalc.arrays import digest

    net, images = kc.MLP("tanh", 2), kc.Sequential(Conv(2), Flatten(), Dense())
    assert net.kernels(X).origin["data"] == digest(X)
    assert net.kernels(X, X[:1]).origin["data"] == digest(X, X[:1])
    assert images.kernels(IMAGES).origin["data"] == digest(IMAGES)
    assert images.kernels(IMAGES, IMAGES[:1]).origin["data"] == digest(IMAGES, IMAGES[:1])
    assert net.kernels(X[:1], dps=20).origin["network"] == f"{net!r}, 20 digits"
