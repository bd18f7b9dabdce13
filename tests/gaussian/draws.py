r"""Adversarial draws: E[f(a)g(b)] of f = outer(w (inner(x) − a)), w to 10⁶, against panels that know nothing of the package.

``python -m tests.gaussian.draws 1000 --seed 3`` makes draws and names each whose true error exceeds the stated one, or 1e-10
of √(E f² E g²) without a warning; interrupted, it says what came so far. A draw is a mean, a square, a pair with ρ = ±1, 0 or
anything, a mean in 20 or 30 digits, an enclosure, or a callable.

The truth: panels in long double, graded towards the zeros and turns of inner − a and halved until the integral stays;
inner − a is in long double, so that w does not magnify rounding.
"""

from __future__ import annotations

import argparse
import math
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
from numpy.polynomial.legendre import legder, leggauss, legval, legvander

import kernelcalc as kc
from kernelcalc.errors import KernelcalcError, PrecisionWarning, ResolutionWarning, SlowMethodWarning
from tests.fuzz.limits import Slow, limited
from tests.gaussian.drawn import (
    DIGITS,
    KINDS,
    LD,
    LONG,
    MOST_PAIRS,
    MOST_PANELS,
    NEAR,
    PI,
    PLAIN,
    REACH,
    SECONDS,
    Drawn,
    NoTruth,
    drawn,
    function,
    marks,
)

# Nodes of a piece, where panels have these.
PIECE = {10: 16, 14: 20}


def legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss, in long double by one step of Newton's."""
    basis = np.eye(count + 1, dtype=LD)[count]
    z = leggauss(count)[0].astype(LD)
    for _ in range(2):
        z = z - legval(z, basis) / legval(z, legder(basis))
    return z, 2 / ((1 - z**2) * legval(z, legder(basis)) ** 2)


LEGENDRE = {n: legendre(n) for n in (*PIECE, *PIECE.values())}


def nodes(edges: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Along the last axis."""
    z, weight = LEGENDRE[count]
    half, centre = np.diff(edges)[..., None] / 2, (edges[..., 1:] + edges[..., :-1])[..., None] / 2
    return (centre + half * z).reshape(*edges.shape[:-1], -1), (half * weight).reshape(*edges.shape[:-1], -1)


class Panels(NamedTuple):
    """Between these edges f φ is a polynomial; E f, E |f| and E f² for x ~ N(0, std²); what f and f² may be off by."""

    call: Callable[[np.ndarray], np.ndarray]
    edges: np.ndarray
    places: np.ndarray
    mean: float
    size: float
    square: float
    own: float
    square_own: float
    rms_own: float


def resolved(f: Drawn, q: float) -> Panels:
    """Halved until the integrals of f φ and f² φ stay."""
    if not re.search(r"\bx\b", f.inner):
        # In long double a difference of constants is not known to its own last digits.
        raise NoTruth
    found = [_resolved(f, q, pieces) for pieces in (2, 2.71)]
    # Kinks that are not known may hide beside an edge, but not beside one of both.
    apart = [abs(one - two) for one, two in zip(found[0][3:6], found[1][3:6], strict=True)]
    if apart[0] > 1e-12 * found[0].size or apart[2] > 1e-12 * found[0].square:
        raise NoTruth
    return found[0]._replace(own=found[0].own + apart[0], square_own=found[0].square_own + apart[2])


def _resolved(f: Drawn, q: float, pieces: float) -> Panels:
    std = np.sqrt(LD(q))
    call, reach = function(f.truth), REACH * std
    places = marks(f, float(std))
    scales = np.minimum(std, 1) * LD(pieces) * LD(2) ** -np.arange(1, 53)
    inner = function(f.inner)
    edges = [np.linspace(-reach, reach, int(min(2 * max(2 * REACH, float(reach)), 2000) * pieces) + 1), places]
    for place in places[np.abs(places) < reach]:
        change = LD(f.scale) * np.maximum(*(np.abs(inner(place + s * scales) - inner(place)) for s in (-1, 1)))
        near = scales[: int(np.argmax(change < 0.25)) + 1 or None]
        edges += [place + near, place - near]
    edges = np.unique(np.clip(np.concatenate(edges), -reach, reach))

    def parts(edges: np.ndarray) -> np.ndarray:
        at, weight = nodes(edges, 14)
        values, density = call(at), weight * np.exp(-(at**2) / (2 * std**2)) / (std * np.sqrt(2 * PI))
        table = np.stack([values, np.abs(values), values**2]) * density
        return table.reshape(3, *edges.shape[:-1], -1, 14).sum(axis=-1)

    todo = np.stack([edges[:-1], edges[1:]], axis=1)
    done: list[np.ndarray] = []
    coarse = parts(todo)[..., 0]
    kept = np.zeros((3, 0), LD)
    for _ in range(60):
        total = np.concatenate([kept, coarse], axis=1).sum(axis=1)
        if not np.isfinite(total).all() or sum(len(d) for d in done) + len(todo) > MOST_PANELS:
            raise NoTruth
        middle = todo.mean(axis=1)
        fine = parts(np.stack([todo[:, 0], middle, todo[:, 1]], axis=1))
        miss = np.abs(fine.sum(axis=-1) - coarse)[[0, 2]]
        rough = (miss > 1e-18 * total[[1, 2], None]).any(axis=0)
        done.append(todo[~rough])
        kept = np.concatenate([kept, coarse[:, ~rough]], axis=1)
        left, right = np.stack([todo[:, 0], middle], axis=1)[rough], np.stack([middle, todo[:, 1]], axis=1)[rough]
        todo, coarse = np.concatenate([left, right]), np.concatenate([fine[:, rough, 0], fine[:, rough, 1]], axis=1)
        if not len(todo):
            break
    else:
        raise NoTruth
    edges = np.unique(np.concatenate(done))
    return Panels(call, edges, places, *map(float, kept.sum(axis=1)), *_lost(f, call, edges, std))


def _lost(f: Drawn, call: Callable[[np.ndarray], np.ndarray], edges: np.ndarray, std: np.ndarray) -> list[float]:
    """What E f, E f² and √E f² are off by: rounding of inner − a, of which nothing is left in a touch, and the ends."""
    at, weight = nodes(edges, 10)
    density = np.exp(-(at**2) / (2 * std**2)) / (std * np.sqrt(2 * PI))
    here = call(at)
    ends = [float((np.abs(here[[0, -1]]) ** k * density[[0, -1]]).max() * std) for k in (1, 2)]
    lost = np.zeros(3, LD)
    level = re.search(r"\(([-+\d.e]+)\)\)$", f.inner)
    for sign in "+-" if level else "":
        # In inner − a both are rounded, and a is the larger one where they cancel.
        shifted = f"({f.inner}{sign}2e-19*(abs({level[1]})+abs({f.inner})))"  # type: ignore[index]
        near = function(f.truth.replace(f.inner, shifted))(at)
        change = np.abs([near - here, near**2 - here**2, (near - here) ** 2])
        lost += (np.where(np.isfinite(change), change, 0) * density * weight).sum(axis=1)
    return [float(lost[0]) + ends[0], float(lost[1]) + ends[1], math.sqrt(float(lost[2]) + ends[1])]


def on_a_line(f: Panels, g: Panels, q: float, qp: float, sign: int) -> tuple[float, float, float]:
    """E f(a) g(±a√(q'/q)), E |…| and the difference of two rules."""
    std, ratio = np.sqrt(LD(q)), sign * np.sqrt(LD(qp) / LD(q))
    edges = np.unique(np.concatenate([f.edges, np.clip(g.edges / ratio, f.edges[0], f.edges[-1])]))
    found = []
    for count in (10, 14):
        at, weight = nodes(edges, count)
        terms = f.call(at) * g.call(ratio * at) * weight * np.exp(-(at**2) / (2 * std**2)) / (std * np.sqrt(2 * PI))
        found.append((float(terms.sum()), float(np.abs(terms).sum())))
    return *found[1], abs(found[1][0] - found[0][0])


def of_a_pair(f: Panels, g: Panels, q: float, qp: float, c: float) -> tuple[float, float, float]:
    """E f(a) g(b), E |…| and the difference of two rules: a table of the density, or near ±1 g's mean given a."""
    det = LD(q) * LD(qp) - LD(c) ** 2
    share = float(det / (LD(q) * LD(qp)))
    for reach, least in ((NEAR, 1e-3), (REACH, 0.1)):
        rule = _table if share > least else _given
        coarse, fine = (rule(f, g, LD(q), LD(qp), LD(c), det, reach, count) for count in (10, 14))
        lost = math.erfc(reach / 2) if reach == NEAR else 0.0
        if lost * math.sqrt(f.square * g.square) < 1e-17 * fine[1]:
            break
    return *fine, abs(fine[0] - coarse[0])


def _within(edges: np.ndarray, reach: Any) -> np.ndarray:
    return np.unique(np.clip(edges, -reach, reach))


def pieces(f: Panels, length: LD, reach: LD, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places in pieces of this length, with weights: ∫ f k and ∫ |f| k, panel by panel, of a k interpolated at the places."""
    many = math.ceil(2 * reach / length)
    ends = np.linspace(-reach, reach, many + 1)
    a, wa = nodes(_within(np.concatenate([f.edges, ends]), reach), count)
    order = PIECE[count]
    z, weight = LEGENDRE[order]
    at = np.clip(np.searchsorted(ends, a, side="right") - 1, 0, many - 1)
    half, centre = np.diff(ends) / 2, (ends[1:] + ends[:-1]) / 2
    powers = legvander((a - centre[at]) / half[at], order - 1)
    values = f.call(a) * wa
    back = legvander(z, order - 1) * (np.arange(order) + LD(0.5)) * weight[:, None]
    starts = np.searchsorted(at, np.arange(many))
    moved = [np.add.reduceat(v[:, None] * powers, starts, axis=0) @ back.T for v in (values, np.abs(values))]
    seen = np.add.reduceat(np.abs(values), starts) > 0
    places = centre[seen, None] + half[seen, None] * z
    return places, np.float64(moved[0][seen]), np.float64(moved[1][seen])


def _table(f: Panels, g: Panels, q: Any, qp: Any, c: Any, det: Any, reach: int, count: int) -> tuple[float, float]:
    share = LD(0.75) * np.sqrt(det / (q * qp))
    a, left, left_size = pieces(f, share * np.sqrt(q), reach * np.sqrt(q), count)
    b, right, right_size = (v.ravel() for v in pieces(g, share * np.sqrt(qp), reach * np.sqrt(qp), count))
    value = size = work = 0.0
    given, slope = reach * np.sqrt(det / q), c / q
    for at, weight, weight_size in zip(a, left, left_size, strict=True):
        middle = slope * at[len(at) // 2]
        first, last = np.searchsorted(
            b, [middle - given - abs(slope) * np.ptp(at), middle + given + abs(slope) * np.ptp(at)]
        )
        work += at.size * (last - first)
        if work > MOST_PAIRS:
            raise NoTruth
        near = b[first:last]
        exponent = -((at[:, None] - c / qp * near) ** 2) * (qp / (2 * det)) - near * near / (2 * qp)
        high = np.float64(exponent)
        density = np.exp(high) * (1 + np.float64(exponent - high))
        value += weight @ (density @ right[first:last])
        size += weight_size @ (density @ right_size[first:last])
    scale = 1 / (2 * math.pi * float(np.sqrt(det)))
    return value * scale, size * scale


def _given(f: Panels, g: Panels, q: Any, qp: Any, c: Any, det: Any, reach: int, count: int) -> tuple[float, float]:
    std, spread, slope = np.sqrt(q), np.sqrt(det / q), c / q
    coarse = g.edges[:-1][np.diff(g.edges) > spread / 2]
    grades = spread * LD(2) ** np.arange(-2, 40)
    smooth = np.concatenate([coarse, g.places, *((p + s * grades) for p in g.places for s in (-1, 1))]) / slope
    a, wa = nodes(_within(np.concatenate([f.edges, smooth]), reach * std), count)
    left = f.call(a) * wa * np.exp(-(a**2) / (2 * q)) / (std * np.sqrt(2 * PI))
    even = np.linspace(-NEAR, NEAR, 14).astype(LD)
    value = size = LD(0)
    work = 0.0
    for rows in np.array_split(np.arange(a.size), a.size // 16 + 1):
        mean = slope * a[rows, None]
        near = g.edges[(g.edges > mean.min() - NEAR * spread) & (g.edges < mean.max() + NEAR * spread)]
        inside = np.clip((near - mean) / spread, -NEAR, NEAR)
        z, wz = nodes(np.sort(np.concatenate([inside, np.broadcast_to(even, (rows.size, 14))], axis=1), axis=1), count)
        work += z.size
        if work > MOST_PAIRS / 4:
            raise NoTruth
        terms = g.call(mean + spread * z) * wz * np.exp(-(z**2) / 2) / np.sqrt(2 * PI)
        value += left[rows] @ terms.sum(axis=1)
        size += np.abs(left[rows]) @ np.abs(terms).sum(axis=1)
    return float(value), float(size)


def in_digits(f: Drawn, panels: Panels, q: float, power: int, dps: int) -> tuple[Any, Any]:
    """E f^power with mpmath on the panels that reach its digits, and the difference of two rules."""
    with mp.workdps(dps + 15):
        inner, outer = function(f.inner, DIGITS), function(f.truth, DIGITS)
        at, weight = nodes(panels.edges, 10)
        sizes = (np.abs(panels.call(at)) ** power * weight * np.exp(-(at**2) / (2 * LD(q)))).reshape(-1, 10).sum(axis=1)
        keep = np.flatnonzero(sizes > LD(10) ** -(dps + 8) * sizes.sum())
        edges = {k: _exact(panels.edges[k]) for k in np.union1d(keep, keep + 1)}
        for level in f.kinks:
            for k, edge in edges.items():
                if abs(inner(edge) - mp.mpf(level) / f.scale) < mp.mpf(10) ** -14:
                    edges[k] = mp.findroot(lambda x, k=level: inner(x) - mp.mpf(k) / f.scale, edge)
        rule, found = mp.calculus.quadrature.GaussLegendre(mp.mp), []
        std = mp.sqrt(mp.mpf(q))
        for degree in (4, 5):
            table = rule.calc_nodes(degree, mp.mp.prec)
            total = mp.mpf(0)
            for k in keep:
                half, middle = (edges[k + 1] - edges[k]) / 2, (edges[k + 1] + edges[k]) / 2
                at = [(middle + half * z, half * w) for z, w in table]
                total += mp.fsum(w * outer(z) ** power * mp.npdf(z, 0, std) for z, w in at)
            found.append(total)
        size = mp.mpf(float(panels.size if power == 1 else panels.square))
        return found[1], abs(found[1] - found[0]) + size * mp.mpf(10) ** -(dps + 5)


def _exact(value: Any) -> Any:
    high = float(value)
    return mp.mpf(high) + mp.mpf(float(value - LD(high)))


class Draw(NamedTuple):
    """One question to the package: the kind, f, g or None for 1, the covariance and options."""

    kind: str
    f: Drawn
    g: Drawn | None
    cov: tuple[float, float, float]
    options: dict[str, Any]

    def ask(self, warned: list[Any]) -> Any:
        """The package's answer; the kinds of its warnings go to ``warned``, though it may take too long."""
        text = function(self.f.truth, FLOATS) if self.kind == "callable" else self.f.text
        other = "1" if self.g is None else text if self.g is self.f else self.g.text
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with limited(SECONDS):
                    return kc.gaussian_expectation(text, other, *self.cov, full_output=True, **self.options)
            finally:
                warned += [w.category for w in caught]


FLOATS = {**LONG, "number": np.float64, "pi": math.pi, "e": math.e, "E": math.e}


def draw(rng: np.random.Generator, kinds: dict[str, float] = KINDS) -> Draw:
    """Variances from 1e-3 to 100, ρ anywhere or within 1e-1 to 1e-11 of ±1."""
    kind = str(rng.choice(list(kinds), p=np.array(list(kinds.values())) / sum(kinds.values())))
    q, qp = (float(10 ** rng.uniform(-3, 2)) for _ in range(2))
    options: dict[str, Any] = {}
    f = drawn(rng, math.sqrt(q), 300.0 if kind == "callable" else 1e6)
    if kind == "digits":
        options = {"dps": int(rng.choice([20, 30]))}
    if kind == "certified":
        options = {"certified": True}
    if kind in ("mean", "digits", "certified", "callable") and rng.random() < 0.6:
        return Draw(kind, f, None, (q, 1.0, 0.0), options)
    if kind in ("mean", "square", "digits", "certified", "callable"):
        return Draw(kind, f, f, (q, q, q), options)
    if kind == "line":
        qp = q * 4.0 ** int(rng.integers(-2, 3))
    plain = str(rng.choice(PLAIN))
    g = drawn(rng, math.sqrt(qp)) if rng.random() < 0.5 else Drawn(plain, plain, "x", 1.0, (0.0,))
    if kind == "line":
        return Draw(kind, f, g, (q, qp, float(rng.choice([-1, 1])) * math.sqrt(qp / q) * q), options)
    if kind == "apart":
        return Draw(kind, f, g, (q, qp, 0.0), options)
    rho = rng.uniform(-1, 1) if rng.random() < 0.7 else rng.choice([-1, 1]) * (1 - 10 ** rng.uniform(-11, -1))
    return Draw(kind, f, g, (q, qp, float(rho * math.sqrt(q) * math.sqrt(qp))), options)


def truth(d: Draw) -> tuple[Any, Any, float]:
    """The value, a bound of its own error, and √(E f² E g²)."""
    q, qp, c = d.cov
    f = resolved(d.f, q)
    if d.options.get("dps"):
        value, own = in_digits(d.f, f, q, 1 if d.g is None else 2, d.options["dps"])
        return value, own, math.sqrt(f.square) if d.g is None else f.square
    if d.g is None:
        return f.mean, 2e-15 * f.size + f.own, math.sqrt(f.square)
    if d.g is d.f and c == q:
        return f.square, 2e-15 * f.square + f.square_own, f.square
    g = resolved(d.g, qp)
    norm = math.sqrt(f.square) * math.sqrt(g.square)
    if c == 0:
        return f.mean * g.mean, 4e-15 * f.size * g.size + f.own * g.size + g.own * (f.size + f.own), norm
    value, size, own = on_a_line(f, g, q, qp, int(np.sign(c))) if d.kind == "line" else of_a_pair(f, g, q, qp, c)
    if own > 1e-12 * size:
        raise NoTruth
    # By Cauchy and Schwarz, and what is beyond the reach of g given a.
    lost = f.rms_own * math.sqrt(g.square) + g.rms_own * math.sqrt(f.square)
    return value, own + 5e-15 * size + lost + math.erfc(NEAR / math.sqrt(2)) * norm, norm


def judge(d: Draw) -> tuple[str, str]:
    """What came of a draw, in a word, and what there is to say of it."""
    try:
        with np.errstate(all="ignore"), limited(SECONDS):
            value, own, norm = truth(d)
    except (NoTruth, Slow, ArithmeticError, TypeError, ValueError, NameError):
        # the last few: what a formula of the grammar is outside of its domain, or for mpmath
        return "no truth", ""
    if not own < math.inf or norm < 1e-150:
        return "no truth", ""
    warned: list[Any] = []
    try:
        answer = d.ask(warned)
    except Slow:
        return "slow" if SlowMethodWarning in warned else "SLOW WITHOUT A WORD", repr(d)
    except KernelcalcError as error:
        return type(error).__name__, repr(d)
    except Exception as error:
        return "RAW EXCEPTION", f"{d!r} {error!r}"
    if d.kind == "certified":
        found, stated = mp.mpf(answer.value.mid().str(25, radius=False)), float(answer.error)
    else:
        found, stated = answer.value, answer.error
    error = float(abs(found - value))
    said = (
        f"{d!r} got {found} ± {float(stated):.3g}, not {value} ± {float(own):.3g}: {error:.3g} of {norm:.3g} {warned}"
    )
    if d.kind == "callable":
        if not d.f.smooth or answer.resolution > 0.25 / d.f.scale:
            return "unseen", ""
        # what its own arithmetic rounds is the callable
        own += 1e-13 * norm
    if not error <= stated + own + 1e-300:
        return "LIE", said
    quiet = not any(issubclass(w, PrecisionWarning) and w is not ResolutionWarning for w in warned)
    if quiet and not error <= 1e-10 * norm + own + 1e-300:
        return "BROKEN PROMISE", said
    return "held" if quiet else "warned", ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    options = parser.parse_args()
    rng = np.random.default_rng([77, options.seed])
    came: Counter[tuple[str, str]] = Counter()
    with suppress(KeyboardInterrupt):
        for k in range(options.count):
            d = draw(rng, {kind: KINDS[kind] for kind in options.kinds})
            started = time.process_time()
            word, said = judge(d)
            came[d.kind, word] += 1
            if said and word not in ("ExpressionError", "NotCertifiableError", "no truth"):
                print(f"{k} {word} {time.process_time() - started:.1f} s: {said}", flush=True)
    for (kind, word), count in sorted(came.items()):
        print(f"{kind:10} {word:30} {count}")
    return sum(count for (_, word), count in came.items() if word.isupper())


if __name__ == "__main__":
    raise SystemExit(bool(main()))
