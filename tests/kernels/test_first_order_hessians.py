"""Second derivatives at first order in 1/n beside those of finite networks, which are exact and need no autodiff."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, SmoothnessError
from kernelcalc.kernels.first_order.coupled import Coupled
from kernelcalc.kernels.first_order.features import entry, feature
from tests.kernels import finite_hessians, finite_propagation
from tests.kernels.first_order_states import FUNCTIONS, SCALES, X, layers_and_states, table

Measured = dict[str, tuple[np.ndarray, np.ndarray]]


def _coefficients(samples: Callable[[int, int], Iterator[dict[str, np.ndarray]]], sizes: dict[int, int]) -> Measured:
    """2 m(2n) − m(n), free of the next order, and its error, of samples that are n times a difference from the limit."""
    (n, few), (twice, many) = sizes.items()
    assert twice == 2 * n
    found = {}
    for width, networks in ((n, few), (twice, many)):
        parts = list(samples(width, networks))
        whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        found[width] = {key: (v.mean(0), v.std(0) / len(v) ** 0.5) for key, v in whole.items()}
    return {
        key: (2 * found[twice][key][0] - found[n][key][0], np.hypot(2 * found[twice][key][1], found[n][key][1]))
        for key in found[n]
    }


def _coupled_samples(name: str, depth: int) -> Callable[[int, int], Iterator[dict[str, np.ndarray]]]:
    """n times products of what couples two different neurons behind depth − 1 hidden layers, all pairs of neurons."""

    def samples(n: int, networks: int) -> Iterator[dict[str, np.ndarray]]:
        rng = np.random.default_rng(n)
        others, pairs = 1 - np.eye(n), n * (n - 1) / n
        for _ in range(networks // 50):
            f = finite_hessians.features(X, FUNCTIONS[name], (n,) * (depth - 1), 50, rng, **SCALES)
            o = finite_hessians.weighted(f, n, rng, **SCALES)
            theta, upsilon = o.theta * others, o.upsilon * others
            to_other = np.einsum("bstuijj->bstuij", o.q) * others
            to_own = np.einsum("bstuiij->bstuij", o.q) * others
            products = {
                "f": np.einsum("bstij,bip,bjq->bsptq", theta, o.z, o.z, optimize=True),
                "b": np.einsum("bstij,bpqij->bsptq", theta, theta),
                "e": np.einsum("bstij,bip,bjq->bsptq", theta, o.g, o.z, optimize=True),
                "r": np.einsum("bstij,bip,bjq->bsptq", upsilon, o.z, o.z, optimize=True),
                "t": np.einsum("bstuij,biv->bstuv", to_other, o.z, optimize=True),
                "q": np.einsum("bstuij,bjv->bstuv", to_own, o.z, optimize=True),
            }
            yield {key: value / pairs for key, value in products.items()}

    return samples


@pytest.mark.parametrize(
    ("name", "depth"), [pytest.param("softplus", 3, marks=pytest.mark.long), ("sin", 3), ("tanh", 4)]
)
def test_what_couples_two_neurons(name: str, depth: int, long: bool) -> None:
    sizes = {8: 8000, 16: 4000} if long else {8: 600, 16: 300 if depth < 4 else 200}
    last = layers_and_states(name, depth)[1][-1]
    for key, (value, error) in _coefficients(_coupled_samples(name, depth), sizes).items():
        predicted = table(lambda *at, key=key: getattr(last, key)[at], 4)
        assert np.abs((value - predicted) / error).max() < 4.0, key
        # nothing in its place would be seen
        assert np.abs(predicted / error).max() > 5.0, key


def _limits(layer: Coupled, name: str) -> np.ndarray:
    return table(lambda *at: layer.mean(feature(name, *at)), 2)


def _predicted_means(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Limits and first orders of the second layer's features' kernels."""
    layer = layers_and_states(name, 3)[0][1]
    limits = {key: _limits(layer, key) for key in ("sigma", "theta", "phi", "upsilon", "xi")}
    first = {key: table(lambda *at, key=key: layer.first(entry(key, *at)), 2) for key in limits}
    first["mixed"] = table(layer._hessian_along_gradients, 2)
    return limits | {"mixed": np.zeros((2, 2))}, first


def _measured_means(name: str, limits: dict[str, np.ndarray], networks: int) -> Measured:
    """n times the deviations of means behind two layers.

    What is linear in the first layer's fluctuations, whose mean is exactly zero, is taken out by regression.
    """
    before, kernels = layers_and_states(name, 3)[0][0], ("sigma", "theta", "phi", "upsilon", "xi")
    known = {key: before.weight * _limits(before, key) for key in kernels}
    known["sigma"] = known["sigma"] + SCALES["beta"] ** 2
    found = {}
    for n in (8, 16, 32):
        rng = np.random.default_rng(n)
        parts = [
            finite_hessians.means_behind_two_layers(X, FUNCTIONS[name], n, 32, 500, rng, **SCALES)
            for _ in range(networks // 500)
        ]
        first, second = ({k: np.concatenate([p[w][k] for p in parts]) for k in parts[0][w]} for w in (0, 1))
        second["upsilon"] = second["carried"] + second["bent"] + second["mixed"]
        moved = [(first[key] - known[key]).reshape(networks, 4)[:, [0, 1, 3]] for key in known]
        design = np.concatenate([np.ones((networks, 1)), *moved, first["phi"][:, 1, :1] - known["phi"][1, 0]], axis=1)
        # Σ, Θ and Φ of tanh's features are linearly dependent
        inverse = np.linalg.pinv(design.T @ design, hermitian=True)[0, 0]
        found[n] = {}
        for key, limit in limits.items():
            values = (second[key] - limit).reshape(networks, 4)
            fit = np.linalg.lstsq(design, values, rcond=None)[0]
            error = (values - design @ fit).std(0) * inverse**0.5
            found[n][key] = n * fit[0].reshape(2, 2), n * error.reshape(2, 2)
    # free of the next two orders
    a, b, c = found.values()
    return {
        key: (
            (8 * c[key][0] - 6 * b[key][0] + a[key][0]) / 3,
            np.sqrt(64 * c[key][1] ** 2 + 36 * b[key][1] ** 2 + a[key][1] ** 2) / 3,
        )
        for key in limits
    }


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) if n == "softplus" else n for n in FUNCTIONS])
def test_means_of_second_derivatives(name: str, long: bool) -> None:
    limits, first = _predicted_means(name)
    measured = _measured_means(name, limits, 100_000 if long else 8000)

    def z(predicted: dict[str, np.ndarray]) -> dict[str, float]:
        return {key: float(np.abs((value - predicted[key]) / e).max()) for key, (value, e) in measured.items()}

    assert max(z(first).values()) < 4.0, z(first)
    nothing = {key: np.abs(first[key] / e).max() for key, (_, e) in measured.items()}
    assert nothing["upsilon"] > 4.0
    assert nothing["xi"] > 3.0
    assert nothing["mixed"] > 20.0
    if name == "sin":
        for tensor in ("t", "q", "b", *(("f", "r") if long else ())):
            assert max(z(_predicted_without(name, tensor)).values()) > 4.0, tensor


def _predicted_without(name: str, tensor: str) -> dict[str, np.ndarray]:
    """First orders with one tensor left out."""
    state = layers_and_states(name, 3)[0][1].state
    kept = state.__dict__[tensor]
    state.__dict__[tensor] = defaultdict(int)
    try:
        return _predicted_means(name)[1]
    finally:
        state.__dict__[tensor] = kept


def _hessian_samples(name: str, depth: int) -> Callable[[int, int], Iterator[dict[str, np.ndarray]]]:
    """n times products of Υ̂ of one output with Σ̂, both averaged over its own weights, and of two outputs' Υ̂ with them."""

    def samples(n: int, networks: int) -> Iterator[dict[str, np.ndarray]]:
        rng = np.random.default_rng(n + depth)
        parts = []
        for _ in range(networks // 100):
            f = finite_hessians.features(X, FUNCTIONS[name], (n,) * (depth - 1), 100, rng, **SCALES)
            parts.append(finite_hessians.output_means(f, **SCALES))
        whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        upsilon, sigma = (whole[key] - whole[key].mean(0) for key in ("upsilon", "sigma"))
        yield {
            "upsilon_with_outputs": n * (upsilon * sigma + whole["r"] + whole["r_crossed"]),
            "upsilon_between_outputs": n * whole["r"],
        }

    return samples


def _kernel_samples(name: str, depth: int) -> Callable[[int, int], Iterator[dict[str, np.ndarray]]]:
    """n times products of fluctuations of one output's kernels, averaged over its own weights."""

    def samples(n: int, networks: int) -> Iterator[dict[str, np.ndarray]]:
        rng, widths = np.random.default_rng(n + depth), (n,) * (depth - 1)
        parts = [
            finite_propagation.propagate(X, FUNCTIONS[name], widths, 1, 250, rng, **SCALES)
            for _ in range(networks // 250)
        ]
        off = {}
        for key in ("sigma", "phi", "xi", "theta_mean"):
            values = np.concatenate([part[key] for part in parts])
            off[key] = values - values.mean(0)
        phi, theta = (np.einsum("bss->bs", off[key]) for key in ("phi", "theta_mean"))
        yield {
            "xi_with_sigma": n * off["xi"] * off["sigma"],
            "phi_with_transpose": n * off["phi"] * off["phi"].transpose(0, 2, 1),
            "phi_between_points": n * phi[:, :, None] * phi[:, None],
            "theta_with_other_phi": n * theta[:, :, None] * phi[:, None],
        }

    return samples


@pytest.mark.parametrize(
    ("name", "depth"), [("tanh", 2), ("sin", 3), pytest.param("softplus", 3, marks=pytest.mark.long), ("tanh", 4)]
)
def test_covariances_with_second_derivatives(name: str, depth: int, long: bool) -> None:
    predicted = kc.finite_width(kc.MLP(name, depth=depth, **SCALES), X, hessian=True)
    sizes = {12: 80_000, 24: 40_000} if long else {12: 8000, 24: 4000}
    measured = _coefficients(_kernel_samples(name, depth), sizes)
    if depth < 4 or long:
        sizes = {8: 16_000, 16: 8000} if long else {8: 1200, 16: 600}
        measured |= _coefficients(_hessian_samples(name, depth), sizes)
    for key, (value, error) in measured.items():
        off = np.abs(value - predicted.array(key))
        assert (off / np.where(error > 1e-9, error, 1e-9)).max() < 4.0, key
        if key != "upsilon_with_outputs":
            assert np.abs(predicted.array(key) / error).max() > 6.0, key


def test_one_hidden_layer_has_no_correction_of_means() -> None:
    fw = kc.finite_width(kc.MLP("tanh", depth=2, **SCALES), X, hessian=True)
    for name in ("sigma", "theta", "phi", "upsilon", "xi"):
        assert np.abs(fw.array(name)).max() == 0
    at = fw.at(10)
    assert at.upsilon == pytest.approx(fw.upsilon_limit, rel=1e-15)
    assert at.xi == pytest.approx(fw.xi_limit, rel=1e-15)


def test_limits_are_those_of_the_kernels() -> None:
    net = kc.MLP(["tanh", "sin"], depth=3, **SCALES)
    fw, K = kc.finite_width(net, X, hessian=True), net.kernels(X)
    for name in ("upsilon", "xi"):
        assert fw.array(f"{name}_limit") == pytest.approx(getattr(K, name), rel=1e-12)


@pytest.mark.parametrize(
    "name", ["sin", *(pytest.param(one, marks=pytest.mark.long) for one in ("tanh", "erf", "gelu"))]
)
def test_digits_and_floats_agree(name: str) -> None:
    net = kc.MLP(name, depth=3, **SCALES)
    fw, precise = kc.finite_width(net, X, hessian=True), kc.finite_width(net, X, hessian=True, dps=20)
    for key, value in precise.arrays.items():
        assert fw.array(key) == pytest.approx(value.astype(float), rel=1e-10), key


@pytest.mark.parametrize("name", ["sin", "x^2 + x"])
def test_symbols_and_floats_agree(name: str) -> None:
    net = kc.MLP(name, depth=3, beta=0.1)
    fw = kc.finite_width(net, [[1.2]], hessian=True)
    for key in ("upsilon", "xi", "upsilon_with_outputs", "phi_between_points"):
        value = kc.symbolic.finite_width(key, net).subs(kc.symbolic.q, 1.44 + 0.01).evalf(15)
        assert float(value) == pytest.approx(fw.array(key)[0, 0], rel=1e-9)


def test_kinks_and_what_was_not_asked_for_are_refused_by_name() -> None:
    rough = kc.finite_width(kc.MLP("relu", depth=3), X, hessian=True)
    with pytest.raises(SmoothnessError, match="relu"):
        _ = rough.upsilon
    assert rough.at(10).xi is None
    with pytest.raises(InputError, match="hessian=True"):
        _ = kc.finite_width(kc.MLP("erf", depth=2), X).xi
    with pytest.raises(InputError, match="theta"):
        kc.finite_width(kc.MLP("erf", depth=2), X).array("theta_")
