r"""Expectations of piecewise analytic functions to any number of digits: Gauss–Legendre panels between the kinks.

With u = a/√q, w = b/√q', ρ ≥ 0 (a negative ρ turns w round), t = 1 − ρ², τ = t/ρ, F = f e^{−u²/2(1+ρ)}, G likewise and
hats for Fourier transforms,

.. math:: E[f(a) g(b)] = \frac{1}{(2π)^{3/2} \sqrt ρ} \int \overline{\hat F(ω)}\, \hat G(ω)\, e^{-τω^2/2}\, dω,

an integral of an entire function for the trapezoidal rule; F̂ and Ĝ come from one value of f or g per node. Near |ρ| = 1 it
reaches too far in ω, and E[g(b)|a], smooth on the scale √t, is integrated instead. Delta functions are nodes of their own.
Rules are refined until the digits stay.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import PrecisionError, SlowMethodWarning
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.compiling import compile_expression
from kernelcalc.expressions.functions import MPMATH_FUNCTIONS, plain
from kernelcalc.gaussian.digits.fixed_point import fixed, gaussian_weights, number
from kernelcalc.gaussian.digits.lattice import LOST_BITS, MAX_GROWTH
from kernelcalc.gaussian.digits.rules import Mark, mesh, panel_nodes, whole_line
from kernelcalc.gaussian.digits.zeros import faintness, vanishing
from kernelcalc.machine import MULTIPRECISION

# Above this ρ the panels of E[g(b)|a] cost less than the frequencies (measured for softsign at q = 1 and 25).
NARROW = 0.993
REFINEMENT, MAX_REFINEMENTS = 1.4, 6
# Nodes of the first rule near |ρ| = 1, where 0.9 of those above give the digits (measured: elu, softsign).
COARSE = 0.64
GUARD_BITS = 48
# Values of a function on either side of 0 that say how large it is up to the reach.
LOOKED_AT = 8
# One of so many values of E[g(b)|a] foretells the time of all, and seconds of one rule from which on a warning says so.
STRIDE, SLOW = 20, 3.0

Values = dict[tuple[int, int], Any]


class Pieces:
    """Derivatives of one function as they are between the kinks, with their delta functions."""

    def __init__(self, functions: Sequence[Activation]) -> None:
        root = functions[0].root
        self.breaks: list[Any] = [mpmath.mpmathify(sp.N(b, mpmath.mp.dps + 10)) for b in root.form.breaks]
        self.features: list[tuple[Any, float]] = [(mpmath.mpf(f.at), f.width) for f in root.features]
        self._calls = [
            compile_expression(x, [plain(f.form.pieces[k]) for f in functions], modules=MPMATH_FUNCTIONS, cse=True)
            for k in range(len(self.breaks) + 1)
        ]
        # (place, order, weight of each function)
        self.deltas: list[tuple[Any, list[Any]]] = []
        for at, expr in zip(self.breaks, root.form.breaks, strict=True):
            weights = []
            for f in functions:
                here = [d for d in f.deltas if d.at == expr]
                if any(d.order for d in here):
                    raise PrecisionError(f"no method gives many digits for derivatives of delta functions ({f.name})")
                weights.append(mpmath.fsum(mpmath.mpmathify(sp.N(d.weight, mpmath.mp.dps + 10)) for d in here))
            if any(weights):
                self.deltas.append((at, weights))
        self.count: int = len(functions)

    def __call__(self, at: Any, middle: Any) -> list[Any]:
        """Values at a point of the piece that holds ``middle``."""
        return self._calls[sum(1 for b in self.breaks if middle > b)](at)

    def faintness(self, std: Any) -> int:
        """Decimal places before the first digit of f φ."""
        return faintness(lambda at: self(at, at), std, [at for at, _ in self.features])


class _Job:
    def __init__(self, f: Pieces, g: Pieces, cov: Sequence[Any], pairs: Sequence[tuple[int, int]], dps: int) -> None:
        q, qp, c, det = cov
        self.f, self.g, self.pairs, self.dps = f, g, pairs, dps
        self.bits = int((dps + 4) * math.log2(10)) + GUARD_BITS
        self.std, self.stdp = mpmath.sqrt(q), mpmath.sqrt(qp)
        self.sign = -1 if c < 0 else 1
        self.rho = min(abs(c) / (self.std * self.stdp), mpmath.mpf(1))
        self.t = det / (q * qp)
        self.reach = float(math.ceil(1.05 * math.sqrt(2 * self.bits * math.log(2)) + 1))

    def _marks(self, pieces: Pieces, std: Any) -> list[Mark]:
        places = [*((b, 1.0) for b in pieces.breaks), *pieces.features]
        return [(p / std, min(1.0, 0.5 * width / float(std))) for p, width in places]

    # |ρ| = 1

    def line(self, refinement: float) -> Values:
        """One integral, split at the kinks of both."""
        ratio = self.sign * self.stdp
        marks = [*self._marks(self.f, self.std), *((self.sign * p, s) for p, s in self._marks(self.g, self.stdp))]
        totals = dict.fromkeys(self.pairs, mpmath.mpf(0))
        if any(self.f.deltas) or any(self.g.deltas):
            raise PrecisionError("no method gives many digits for delta functions on |ρ| = 1")
        for u, weight, middle in panel_nodes(mesh(marks, [], self.reach), self.dps, refinement, self.bits):
            density = weight * mpmath.npdf(u)
            left, right = self.f(self.std * u, self.std * middle), self.g(ratio * u, ratio * middle)
            for i, j in self.pairs:
                totals[i, j] += density * left[i] * right[j]
        return totals

    # Frequencies

    def frequencies(self, refinement: float) -> Values:
        """The integral over ω by the trapezoidal rule."""
        bits = self.bits
        room = 2 * bits * math.log(2)
        if self.rho == 0:
            step, count = mpmath.mpf(1), 1
        else:
            tau = self.t / self.rho
            step = 2 * mpmath.pi / mpmath.sqrt(room * (tau + 4))
            count = int(mpmath.sqrt(room / tau) / step) + 2
        highest = float(step) * count
        same = self.f is self.g and self.std == self.stdp
        first = self._spectra(
            self.f,
            self.std,
            {i for i, _ in self.pairs} | ({j for _, j in self.pairs} if same else set()),
            step,
            count,
            highest,
            refinement,
        )
        second = (
            first
            if same
            else self._spectra(self.g, self.stdp, {j for _, j in self.pairs}, step, count, highest, refinement)
        )
        if self.rho == 0:
            factor = 1 / (2 * mpmath.pi)
            symbol = np.array([1 << bits], dtype=object)
        else:
            symbol = gaussian_weights(tau * step**2 / 2, count, bits)
            factor = step / ((2 * mpmath.pi) ** mpmath.mpf(1.5) * mpmath.sqrt(self.rho))
        result = {}
        for i, j in self.pairs:
            terms = first[i][0] * second[j][0] + self.sign * first[i][1] * second[j][1]
            total = 2 * terms.dot(symbol) - terms[0] * symbol[0]
            result[i, j] = factor * number(total, 3 * bits)
        return result

    def _spectra(
        self, pieces: Pieces, std: Any, wanted: set[int], step: Any, count: int, highest: float, refinement: float
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """∫ F cos ωu and ∫ F sin ωu at ω = m·step; the second with the sign of e^{iωu}."""
        bits = self.bits
        marks = self._marks(pieces, std)
        # e^{iωu} over a panel of this length wants no more nodes than the density does.
        longest = max(2.0, 0.5 * self.dps / max(highest, 1e-9))
        panels = []
        for left, right, length in mesh(marks, [], self.reach):
            parts = math.ceil(length / longest)
            width = (right - left) / parts
            panels += [(left + k * width, left + (k + 1) * width, length / parts) for k in range(parts)]
        order = sorted(wanted)
        at, rows = [], []
        for u, weight, middle in panel_nodes(panels, self.dps, refinement, bits):
            values = pieces(std * u, std * middle)
            scale = weight * mpmath.exp(-(u**2) / (2 * (1 + self.rho)))
            at.append(u)
            rows.append([fixed(scale * values[k], bits) for k in order])
        for place, weights in pieces.deltas:
            u = place / std
            scale = mpmath.exp(-(u**2) / (2 * (1 + self.rho))) / std
            at.append(u)
            rows.append([fixed(scale * weights[k], bits) for k in order])
        columns = [np.array(column, dtype=object) for column in zip(*rows, strict=True)]
        extra = bits + 2 * max(count, 2).bit_length()
        pairs = [mpmath.cos_sin(step * u) for u in at]
        twice = np.array([2 * fixed(p[0], extra) for p in pairs], dtype=object)
        cos_before = np.array([1 << extra] * len(at), dtype=object)
        cos = twice >> 1
        sin_before = np.zeros(len(at), dtype=object)
        sin = np.array([fixed(p[1], extra) for p in pairs], dtype=object)
        real = [np.empty(count, dtype=object) for _ in order]
        imag = [np.empty(count, dtype=object) for _ in order]
        for m in range(count):
            for k, column in enumerate(columns):
                real[k][m] = int(column.dot(cos_before)) >> extra
                imag[k][m] = int(column.dot(sin_before)) >> extra
            cos_before, cos = cos, ((twice * cos) >> extra) - cos_before
            sin_before, sin = sin, ((twice * sin) >> extra) - sin_before
        return {k: (real[n], imag[n]) for n, k in enumerate(order)}

    # Near |ρ| = 1

    def nested(self, refinement: float) -> Values:
        """∫ f φ E[g(b)|a] over panels: the scale of E[g(b)|a] near g's kinks is √t."""
        spread = mpmath.sqrt(self.t)
        slope = self.sign * self.rho
        width = float(spread)
        layers = [(b / (self.stdp * slope), width) for b in self.g.breaks]
        marks = [*self._marks(self.f, self.std), *((p / slope, s) for p, s in self._marks(self.g, self.stdp))]
        # Within the layers the marks of g are blurred.
        totals = dict.fromkeys(self.pairs, mpmath.mpf(0))
        outer = [
            (u, weight * mpmath.npdf(u), self.f(self.std * u, self.std * middle))
            for u, weight, middle in panel_nodes(mesh(marks, layers, self.reach), self.dps, refinement, self.bits)
        ]
        outer += [
            (place / self.std, mpmath.npdf(place / self.std) / self.std, weights) for place, weights in self.f.deltas
        ]
        started = time.thread_time()
        # Every STRIDE-th first, which makes the tables, and every STRIDE-th again, whose time foretells that of all.
        order = [one for start in range(STRIDE) for one in outer[start::STRIDE]]
        for place, (u, density, left) in enumerate(order):
            if place == len(order) // STRIDE:
                started = time.thread_time()
            if place == 2 * (len(order) // STRIDE):
                self.warn((time.thread_time() - started) * STRIDE)
            right = self._conditional(slope * u, spread, refinement)
            for i, j in self.pairs:
                totals[i, j] += density * left[i] * right[j]
        return totals

    def warn(self, seconds: float) -> None:
        """Say how long a rule takes, where that is long."""
        if seconds > SLOW:
            warnings.warn(
                f"{self.dps} digits of an expectation at ρ = {float(self.sign * self.rho):.4g} with kinks and without a closed "
                f"form take some {seconds:.0f} s a rule, and two or more rules; fewer digits, wider features, "
                f"features less far out, and |ρ| below {NARROW} are faster",
                SlowMethodWarning,
                stacklevel=2,
            )

    def _conditional(self, mean: Any, spread: Any, refinement: float) -> list[Any]:
        """E[g(√q'(mean + spread·V))]."""
        std = self.stdp
        first = 0.5 / float(std * spread)
        kinks = [(b / std - mean) / spread for b in self.g.breaks]
        features = [((p / std - mean) / spread, first * width) for p, width in self.g.features]
        narrow = [k for k, width in features if width < first / 2]
        if not any(abs(k) < self.reach for k in (*kinks, *narrow)):
            places = [*kinks, *(k for k, _ in features)]
            near = max(2 * first, min(map(abs, places), default=mpmath.inf) - self.reach)
            rule = whole_line(self.reach, min(1.0, float(near) / self._strip), round(refinement, 6), self.bits)
            points = [(v, w, mpmath.mpf(0)) for v, w in rule]
        else:
            marks = [*((k, first) for k in kinks), *features]
            points = [
                (v, w * mpmath.npdf(v), middle)
                for v, w, middle in panel_nodes(mesh(marks, [], self.reach), self.dps, refinement, self.bits)
            ]
        base, scale = std * mean, std * spread
        totals = [mpmath.mpf(0)] * self.g.count
        for v, weight, middle in points:
            values = self.g(base + scale * v, base + scale * middle)
            totals = [s + weight * value for s, value in zip(totals, values, strict=True)]
        for place, weights in self.g.deltas:
            density = mpmath.npdf((place - base) / scale) / scale
            totals = [s + density * weight for s, weight in zip(totals, weights, strict=True)]
        return totals

    @property
    def _strip(self) -> float:
        """Half-width of the strip that the Gaussian density alone asks for."""
        return math.sqrt(2 * self.bits * math.log(2))


def _noise(job: _Job) -> Any:
    """The size of rounding errors; infinite unless at the reach's end F and G have decayed and |f| |g| φ is below them."""
    places = [job.reach * k / LOOKED_AT for k in range(-LOOKED_AT, LOOKED_AT + 1)]
    raw, weighted = [], []
    for side, std in ((job.f, job.std), (job.g, job.stdp)):
        raw.append([max(map(abs, side(std * u, std * u))) for u in places])
        decay = [mpmath.exp(-(mpmath.mpf(u) ** 2) / (2 * (1 + job.rho))) for u in places]
        weighted.append([v * w for v, w in zip(raw[-1], decay, strict=True)])
    found = mpmath.ldexp(1, LOST_BITS - job.bits)
    for values in weighted:
        if max(values[0], values[-1]) > mpmath.ldexp(max(*values, 1), -LOST_BITS):
            return mpmath.inf
        found *= max(*values, 1)
    ends = [max(values[0], values[-1]) for values in raw]
    most = max(ends[0] * max(raw[1]), ends[1] * max(raw[0]))
    return found if most * mpmath.exp(-(mpmath.mpf(job.reach) ** 2) / 2) <= found else mpmath.inf


def determinant(q: Any, qp: Any, c: Any) -> Any:
    """qq' − c² without cancellation; 0 where the rounding of the arguments at the working precision leaves it open."""
    dps = mpmath.mp.dps
    with MULTIPRECISION, mpmath.workdps(3 * dps):
        det = q * qp - c * c
        return det if det > q * qp * mpmath.mpf(10) ** (8 - dps) else mpmath.mpf(0)


def panel_expectations(
    f: Sequence[Activation],
    g: Sequence[Activation],
    q: Any,
    qp: Any,
    c: Any,
    pairs: Sequence[tuple[int, int]],
    dps: int,
) -> Values:
    """E[f_i(a) g_j(b)] to ``dps`` digits, for derivatives f_i of one piecewise analytic function and g_j of another.

    0 is what is below :func:`vanishing` of √(E f_i² E g_j²).

    Raises
    ------
    PrecisionError
        If refined rules do not settle the digits, and for singular functions on |ρ| = 1.
    """
    sides = [(Pieces(h), mpmath.sqrt(v)) for h, v in ((f, q), (g, qp))]
    found: Values = {}
    open_pairs = list(pairs)
    work = dps + sum(side.faintness(std) for side, std in sides)
    det = determinant(q, qp, c)
    for _ in range(MAX_REFINEMENTS):
        if not open_pairs:
            break
        values, noise = _settled(f, g, (q, qp, c, det), open_pairs, work)
        lost = 8
        for pair in open_pairs:
            size = abs(values[pair])
            if size >= noise * mpmath.mpf(10) ** (dps + 2):
                found[pair] = values[pair]
            elif size > noise:
                lost = max(lost, int(mpmath.log10(noise / size)) + dps + 2 + dps - work)
            else:
                norm = _norm(f, pair[0], q, work) * _norm(g, pair[1], qp, work)
                least = vanishing(dps) * norm
                if noise <= least:
                    found[pair] = mpmath.mpf(0)
                else:
                    lost = max(lost, int(mpmath.log10(noise / least)) + 1 if norm > noise else work)
        open_pairs = [pair for pair in open_pairs if pair not in found]
        work += lost
    if open_pairs:
        raise PrecisionError(f"cancellation left fewer than {dps} digits of E[f(a)g(b)] at q1={q}, q2={qp}, c={c}")
    return found


def _norm(f: Sequence[Activation], order: int, q: Any, dps: int) -> Any:
    """√E f_i², and 1 for delta functions, which have none."""
    if f[order].deltas:
        return mpmath.mpf(1)
    values, _ = _settled(f[order : order + 1], f[order : order + 1], (q, q, q, mpmath.mpf(0)), [(0, 0)], dps)
    return mpmath.sqrt(max(values[0, 0], 0))


def _settled(
    f: Sequence[Activation], g: Sequence[Activation], cov: Sequence[Any], pairs: Sequence[tuple[int, int]], dps: int
) -> tuple[Values, Any]:
    """Values that two rules agree on, and the size of their rounding errors."""
    with MULTIPRECISION, mpmath.workprec(int((dps + 4) * math.log2(10)) + GUARD_BITS + 20):
        first = Pieces(f)
        second = first if tuple(f) == tuple(g) else Pieces(g)
        job = _Job(first, second, cov, pairs, dps)
        for _ in range(MAX_GROWTH):
            if (noise := _noise(job)) < mpmath.inf:
                break
            job.reach = float(math.ceil(1.25 * job.reach))
        else:
            raise PrecisionError("the functions grow too fast for their Gaussian expectation to be computed")
        nested = job.t != 0 and job.rho > NARROW
        method = job.line if job.t == 0 else job.nested if nested else job.frequencies
        # Digits grow like the number of nodes: where values are dear, the coarser rule need not have all of them.
        digits = (dps + 2) / (REFINEMENT + 0.1) if nested else dps + 1
        refinement = COARSE if nested else 1.0
        previous: Values | None = None
        started = time.thread_time()
        for _ in range(MAX_REFINEMENTS):
            values = method(refinement)
            if previous is None and not nested:
                job.warn(time.thread_time() - started)
            if previous is not None and all(
                abs(values[p] - previous[p]) <= mpmath.mpf(10) ** -digits * abs(values[p]) + noise for p in pairs
            ):
                return values, noise
            previous, refinement = values, refinement * REFINEMENT
    raise PrecisionError(f"panels do not reach {dps} digits at q1={cov[0]}, q2={cov[1]}, c={cov[2]}")
