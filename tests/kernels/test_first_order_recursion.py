"""The recursion of the first order, equation by equation: quadrature, finite differences, and the formulas term by term.

Nothing here uses Stein's lemma or the expectations of the package: means over (z, g) are Gauss-Hermite sums, derivatives of
sin are shifted sines.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss

from kernelcalc.kernels.first_order.features import Monomial, averaged, entry
from tests.kernels.first_order_states import SCALES, layers_and_states, table

NAMES = ("sigma", "theta", "phi", "upsilon", "xi")
ENTRIES = [(k, i, j) for k in NAMES for i, j in product((0, 1), repeat=2) if k == "phi" or i <= j]
C, BETA2 = SCALES["sigma_w"] ** 2, SCALES["beta"] ** 2
Kernels = dict[str, np.ndarray]


def _derivative(order: int, z: np.ndarray) -> np.ndarray:
    """sin^(order): entire, so that the sums converge fast."""
    return np.sin(z + order * np.pi / 2)


def _gauss(covariance: np.ndarray, counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (d, M) and weights of a centred Gaussian, exact for polynomials of degree 2 count − 1 in each direction."""
    rules = [hermegauss(count) for count in counts]
    nodes = np.stack([axis.ravel() for axis in np.meshgrid(*(x for x, _ in rules), indexing="ij")])
    weights = np.prod(np.stack(np.meshgrid(*(w / w.sum() for _, w in rules), indexing="ij")), axis=0).ravel()
    return np.linalg.cholesky(covariance) @ nodes, weights


class OneNeuron:
    """A neuron's kernels on average, (z, g) Gaussian with covariances Σ, Φ, Ξ."""

    def __init__(self, k: Kernels) -> None:
        together = np.block([[k["sigma"], k["phi"].T], [k["phi"], k["xi"]]])
        (z0, z1, g0, g1), self.weights = _gauss(together, (26, 26, 3, 3))
        s = [_derivative(order, np.stack([z0, z1])) for order in range(3)]
        laplacian = s[1] * np.stack([g0, g1]) + s[2] * np.diagonal(k["theta"])[:, None]
        self.values = {
            "sigma": s[0][:, None] * s[0],
            "theta": k["theta"][..., None] * s[1][:, None] * s[1],
            "phi": laplacian[:, None] * s[0],
            "upsilon": k["upsilon"][..., None] * s[1][:, None] * s[1]
            + k["theta"][..., None] ** 2 * s[2][:, None] * s[2],
            "xi": laplacian[:, None] * laplacian,
        }

    def mean(self) -> np.ndarray:
        """m_K of all entries."""
        return np.array([self.values[k][i, j] @ self.weights for k, i, j in ENTRIES])

    def covariance(self, one: Any, other: Any) -> float:
        """Of two kernels."""
        a, b = (self.values[k][i, j] for k, i, j in (one, other))
        return float((a * b) @ self.weights - (a @ self.weights) * (b @ self.weights))


def _limits(state: Any) -> Kernels:
    return {key: table(lambda *at, key=key: state.limits[entry(key, *at)], 2) for key in NAMES}


def _moved(k: Kernels, *changes: tuple[Any, float]) -> np.ndarray:
    """m_K at changed slow variables."""
    now = {name: value.copy() for name, value in k.items()}
    for (name, i, j), change in changes:
        for at in {(i, j), (j, i)} if name != "phi" else {(i, j)}:
            now[name][at] += change
    return OneNeuron(now).mean()


@cache
def _by_differences() -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Layer and state behind two hidden layers of sin; slopes (entry, variable) and curvatures (entry, variable, variable)."""
    layers, states = layers_and_states("sin", 4)
    k, step = _limits(states[2]), 2e-3
    slopes = np.stack([(_moved(k, (u, step)) - _moved(k, (u, -step))) / (2 * step) for u in ENTRIES], axis=1)
    curved = np.zeros((len(ENTRIES), len(ENTRIES), len(ENTRIES)))
    middle = OneNeuron(k).mean()
    for a, u in enumerate(ENTRIES):
        curved[:, a, a] = (_moved(k, (u, step)) + _moved(k, (u, -step)) - 2 * middle) / step**2
        for b, v in enumerate(ENTRIES[:a]):
            both = _moved(k, (u, step), (v, step)) + _moved(k, (u, -step), (v, -step))
            across = _moved(k, (u, step), (v, -step)) + _moved(k, (u, -step), (v, step))
            curved[:, a, b] = curved[:, b, a] = (both - across) / (4 * step**2)
    return layers[2], states[2], slopes, curved


def _number(value: Any) -> float:
    return float(np.ravel(value)[0])


def test_limits_are_means_of_one_neuron() -> None:
    layer, state, _, _ = _by_differences()
    means = dict(zip(ENTRIES, C * OneNeuron(_limits(state)).mean(), strict=True))
    behind = layers_and_states("sin", 4)[1][3]
    for (name, i, j), mean in means.items():
        extra = (
            {"theta": means["sigma", i, j] + BETA2, "sigma": BETA2}.get(name, 0.0)
            if name in ("sigma", "theta")
            else 0.0
        )
        if name == "upsilon":
            extra = 2 * means["theta", i, j]
        assert _number(behind.limits[name, i, j]) == pytest.approx(mean + extra, rel=1e-7), (name, i, j)
    assert layer.weight == C


@pytest.mark.parametrize(
    "names",
    ["sigma sigma", "theta sigma", "theta theta", "phi sigma", "phi theta", "phi phi", "upsilon sigma", "xi sigma"],
)
def test_covariances_are_noise_and_slopes(names: str) -> None:
    layer, state, slopes, _ = _by_differences()
    first, second = names.split()
    before = np.array([[_number(state.covariance(u, v)) for v in ENTRIES] for u in ENTRIES])
    neuron = OneNeuron(_limits(state))
    for one in (e for e in ENTRIES if e[0] == first):
        for other in (e for e in ENTRIES if e[0] == second):
            left, right = slopes[ENTRIES.index(one)], slopes[ENTRIES.index(other)]
            used = np.abs(np.outer(left, right)) > 1e-9
            expected = neuron.covariance(one, other) + float((np.outer(left, right) * before)[used].sum())
            assert _number(layer.covariance(one, other)) == pytest.approx(expected, rel=2e-5, abs=2e-6), (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_means_move_by_slopes_and_curvatures(name: str) -> None:
    layer, state, slopes, curved = _by_differences()
    moved = np.array([_number(state.first[u]) for u in ENTRIES])
    for at, (_, i, j) in ((at, e) for at, e in enumerate(ENTRIES) if e[0] == name):
        expected = float(slopes[at] @ moved)
        for (a, u), (b, v) in product(enumerate(ENTRIES), repeat=2):
            if abs(curved[at, a, b]) > 1e-7:
                expected += curved[at, a, b] * _number(state.own_covariance(u, v)) / 2
        if name == "upsilon":
            expected += _number(layer._hessian_along_gradients(i, j))
        assert _number(layer.first((name, i, j))) == pytest.approx(expected, rel=2e-4, abs=1e-5), (name, i, j)


class Literal:
    """The equations of the documentation's derivation, as they stand there, from the first layer on."""

    def __init__(self, sigma: np.ndarray) -> None:
        self.sigma, self.theta, self.phi = sigma, sigma, np.zeros((2, 2))
        self.v = self.d = self.a = self.f = self.b = self.w = np.zeros((2,) * 4)
        self.g1 = self.theta1 = self.phi1 = np.zeros((2, 2))

    def e(self, orders: tuple[tuple[int, int], ...], by: tuple[int, ...] = ()) -> float:
        """E of a product of (order, point), differentiated at the points ``by``."""
        if by:
            at, later = by[0], by[1:]
            return sum(
                self.e((*orders[:n], (order + 1, point), *orders[n + 1 :]), later)
                for n, (order, point) in enumerate(orders)
                if point == at
            )
        return float(np.prod([_derivative(order, self.nodes[point]) for order, point in orders], axis=0) @ self.weights)

    def h(self, orders: Any, by: tuple[int, ...] = ()) -> np.ndarray:
        return np.array([[self.e(orders, (*by, c, d)) / 2 for d in (0, 1)] for c in (0, 1)])

    def half_fv(self, orders: Any, by: tuple[int, ...] = ()) -> float:
        return sum(self.v[at] * self.e(orders, (*by, *at)) for at in product((0, 1), repeat=4)) / 8

    def shift(self, orders: Any, by: tuple[int, ...] = ()) -> float:
        return float((self.h(orders, by) * self.g1).sum() + self.half_fv(orders, by))

    def covariances(self, p1: int, p2: int, p3: int, p4: int) -> dict[str, float]:
        """V, P, A of the parts that pass the weights, F, B, W."""
        dot, plain = ((1, p1), (1, p2)), ((0, p3), (0, p4))
        dot34, plain12 = ((1, p3), (1, p4)), ((0, p1), (0, p2))
        slope, bend = ((1, p1), (0, p2)), ((2, p1), (0, p2))

        def noise(one: Any, other: Any, by: tuple[int, ...] = ()) -> float:
            return self.e(one + other, by) - self.e(one, by) * self.e(other)

        def through(one: np.ndarray, other: np.ndarray) -> float:
            return float(np.einsum("ab,abcd,cd", one, self.v, other))

        t12, t34, t11 = self.theta[p1, p2], self.theta[p3, p4], self.theta[p1, p1]
        h = {"12": self.h(plain12), "34": self.h(plain), "d12": self.h(dot), "d34": self.h(dot34)}
        d12, d34, d11 = self.d[p1, p2], self.d[p3, p4], self.d[p1, p1]
        found = {"v": noise(plain12, plain) + through(h["12"], h["34"])}
        found["p"] = t12 * (noise(dot, plain) + through(h["d12"], h["34"])) + self.e(dot) * (h["34"] * d12).sum()
        found["a"] = (
            t12 * t34 * (noise(dot, dot34) + through(h["d12"], h["d34"]))
            + self.e(dot) * self.e(dot34) * self.a[p1, p2, p3, p4]
            + t12 * self.e(dot34) * (h["d12"] * d34).sum()
            + t34 * self.e(dot) * (h["d34"] * d12).sum()
        )
        w = t11 * noise(bend, plain) + t11 * through(self.h(bend), h["34"]) + self.e(bend) * (h["34"] * d11).sum()
        for c in (0, 1):
            w += self.phi[p1, c] * (self.e(slope + plain, (c,)) - self.e(slope, (c,)) * self.e(plain))
            w += self.phi[p1, c] * through(self.h(slope, (c,)), h["34"])
            w += self.e(slope, (c,)) * (h["34"] * self.w[p1, c]).sum()
        return found | {"w": float(w)}

    def coupled(self, p1: int, p3: int, p2: int, p4: int) -> dict[str, float]:
        """F and B, subscripts in this order."""
        one, other, dots, other_dots = ((1, p1), (0, p3)), ((1, p2), (0, p4)), ((1, p1), (1, p3)), ((1, p2), (1, p4))
        f = self.theta[p1, p2] * self.e(one + other)
        for c, d in product((0, 1), repeat=2):
            f += self.e(one, (c,)) * self.e(other, (d,)) * self.f[p1, c, p2, d]
        b = self.theta[p1, p2] * self.theta[p3, p4] * self.e(dots + other_dots)
        return {"f": f, "b": b + self.e(dots) * self.e(other_dots) * self.b[p1, p3, p2, p4]}

    def means(self, p1: int, p2: int) -> dict[str, float]:
        """Σ, Θ, Φ and their first orders, of features; D + F + Fᵀ by its indices."""
        dot, slope, bend = ((1, p1), (1, p2)), ((1, p1), (0, p2)), ((2, p1), (0, p2))
        own = self.d + self.f.transpose(0, 2, 1, 3) + self.f.transpose(0, 2, 3, 1)
        t11 = self.theta[p1, p1]
        theta1 = self.e(dot) * self.theta1[p1, p2] + self.theta[p1, p2] * self.shift(dot)
        theta1 += (self.h(dot) * own[p1, p2]).sum()
        phi1 = self.e(bend) * self.theta1[p1, p1] + t11 * self.shift(bend) + (self.h(bend) * own[p1, p1]).sum()
        phi = t11 * self.e(bend)
        for c in (0, 1):
            phi1 += self.e(slope, (c,)) * self.phi1[p1, c] + self.phi[p1, c] * self.shift(slope, (c,))
            phi1 += (self.h(slope, (c,)) * self.w[p1, c]).sum()
            phi += self.phi[p1, c] * self.e(slope, (c,))
        plain = ((0, p1), (0, p2))
        return {
            "sigma": self.e(plain),
            "theta": self.theta[p1, p2] * self.e(dot),
            "phi": phi,
            "g1": self.shift(plain),
            "theta1": theta1,
            "phi1": phi1,
        }

    def step(self) -> None:
        """Through one nonlinearity and the weights behind it."""
        self.nodes, self.weights = _gauss(self.sigma, (30, 30))
        fours, twos = list(product((0, 1), repeat=4)), list(product((0, 1), repeat=2))
        between = {at: self.covariances(*at) for at in fours}
        coupled, means = {at: self.coupled(*at) for at in fours}, {at: self.means(*at) for at in twos}
        four = {k: np.reshape([C**2 * between[at][k] for at in fours], (2,) * 4) for k in "vpaw"}
        two = {k: np.reshape([C * means[at][k] for at in twos], (2, 2)) for k in means[0, 0]}
        self.f, self.b = (np.reshape([C**2 * coupled[at][k] for at in fours], (2,) * 4) for k in "fb")
        self.v, self.w, self.d = four["v"], four["w"], four["v"] + four["p"]
        self.a = four["v"] + four["p"] + four["p"].transpose(2, 3, 0, 1) + four["a"]
        self.sigma, self.phi, self.g1, self.phi1 = two["sigma"] + BETA2, two["phi"], two["g1"], two["phi1"]
        self.theta, self.theta1 = two["theta"] + self.sigma, two["theta1"] + two["g1"]


def test_hessians_along_gradients_move_upsilon() -> None:
    """Σ_γ E[∂_γ(σ̇_1 σ̈_2)] (T + 2 Q)_122γ and its mirror image, expectations by quadrature."""
    layer, state = (made[2] for made in layers_and_states("sin", 4))
    literal = Literal(_limits(state)["sigma"])
    literal.nodes, literal.weights = _gauss(literal.sigma, (30, 30))
    for p1, p2 in product((0, 1), repeat=2):
        right = 0.0
        for (a, b), c in product(((p1, p2), (p2, p1)), (0, 1)):
            along = _number(state.t[a, b, b, c]) + 2 * _number(state.q[a, b, b, c])
            right += along * literal.e(((1, a), (2, b)), (c,))
        assert _number(layer._hessian_along_gradients(p1, p2)) == pytest.approx(right, rel=1e-7)


def test_the_formulas_as_they_are_written() -> None:
    _, states = layers_and_states("sin", 4)
    literal = Literal(_limits(states[0])["sigma"])
    for state in states[1:3]:
        literal.step()
        names = {"v": ("sigma", "sigma"), "d": ("theta", "sigma"), "a": ("theta", "theta"), "w": ("phi", "sigma")}
        for letter, (one, other) in names.items():
            found = table(lambda a, b, c, d: state.covariance(entry(one, a, b), entry(other, c, d)), 4)  # noqa: B023
            assert found == pytest.approx(getattr(literal, letter), rel=1e-6, abs=1e-8), letter
        for letter in "fb":
            found = table(lambda *at: getattr(state, letter)[at], 4)  # noqa: B023
            assert found == pytest.approx(getattr(literal, letter), rel=1e-6, abs=1e-8), letter
        for letter, name in (("g1", "sigma"), ("theta1", "theta"), ("phi1", "phi")):
            found = table(lambda *at: state.first[entry(name, *at)], 2)  # noqa: B023
            assert found == pytest.approx(getattr(literal, letter), rel=1e-6, abs=1e-8), letter


def test_a_residual_branch_has_the_covariance_that_is_written() -> None:
    """n Cov(z_i1 z_i2, z_j3 z_j4) of the stream behind two blocks z + s (σ_w/√n) Wᵀ sin(z)."""
    s, networks = 0.7, 6000
    sigma0 = _limits(layers_and_states("sin", 4)[1][0])["sigma"]
    v, sigma = np.zeros((2,) * 4), sigma0
    for _ in range(2):
        (z, weights) = _gauss(sigma, (30, 30))
        t = np.sin(z)
        parts = {"z": z[:, None] * z, "σ": t[:, None] * t}
        literal = Literal(sigma)
        literal.nodes, literal.weights = z, weights
        slopes = {
            "z": np.array(
                [[[[float((a, b) == (c, d)) for d in (0, 1)] for c in (0, 1)] for b in (0, 1)] for a in (0, 1)]
            ),
            "σ": np.array([[literal.h(((0, a), (0, b))) for b in (0, 1)] for a in (0, 1)]),
        }
        scale = {"z": 1.0, "σ": s**2 * C}
        new = np.zeros_like(v)
        for one, other in product(parts, repeat=2):
            both = np.einsum("abm,cdm,m->abcd", parts[one], parts[other], weights)
            noise = both - np.einsum("abm,m,cdk,k->abcd", parts[one], weights, parts[other], weights)
            carried = np.einsum("abef,efgh,cdgh->abcd", slopes[one], v, slopes[other])
            new += scale[one] * scale[other] * (carried + (0 if one == other == "z" else noise))
        v, sigma = new, sigma + s**2 * C * np.einsum("abm,m->ab", parts["σ"], weights)
    measured = {}
    for n in (16, 32):
        rng = np.random.default_rng(n)
        z = np.einsum("ab,nib->nia", np.linalg.cholesky(sigma0), rng.standard_normal((networks, n, 2)))
        for _ in range(2):
            w = rng.standard_normal((networks, n, n)) * (s * SCALES["sigma_w"] / n**0.5)
            z = z + w @ np.sin(z)
        own = z[..., :, None] * z[..., None, :] - sigma
        whole = own.sum(1)
        pairs = np.einsum("nab,ncd->nabcd", whole, whole) - np.einsum("niab,nicd->nabcd", own, own)
        pairs = pairs / (n - 1)
        measured[n] = pairs.mean(0), pairs.std(0) / networks**0.5
    value = 2 * measured[32][0] - measured[16][0]
    error = np.hypot(2 * measured[32][1], measured[16][1])
    assert np.abs((value - v) / error).max() < 4
    assert np.abs(v / error).max() > 8


def test_four_laplacians_meet_in_pairs():
    """Isserlis: E[g1 g2 g3 g4] = Ξ12 Ξ34 + Ξ13 Ξ24 + Ξ14 Ξ23 where nothing depends on z."""
    terms = averaged([Monomial((), (), (0, 0, 1, 1))], ())
    found = sorted(tuple(sorted(term.kernels)) for term in terms)
    own, mixed = (("xi", 0, 0), ("xi", 1, 1)), (("xi", 0, 1), ("xi", 0, 1))
    assert found == [own, mixed, mixed]
