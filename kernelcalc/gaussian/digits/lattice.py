r"""Expectations of analytic functions to any number of digits: one lattice for both variables.

With u = a/√q, w = b/√q', ρ ≥ 0 (a negative ρ turns w round), t = 1 − ρ² and τ = t/ρ

.. math:: E[f(a) g(b)] = \frac{1}{2π\sqrt t} \iint f(\sqrt q u)\, g(\sqrt{q'} w)\,
          e^{-(u^2 + w^2)/2(1+ρ)}\, e^{-(u-w)^2/2τ}\, du\, dw,

so that F = f e^{−u²/2(1+ρ)} and G meet in a convolution, which the discrete Fourier transform makes a product with
e^{−τω²/2}. For functions analytic in a strip the lattice converges geometrically and evenly in ρ: as ρ → 1, τ → 0 and the
product turns into the trapezoidal rule of ∫ F G. Every function is evaluated once per lattice point, for all orders and all
pairs of one variance. Spacings are halved until the digits stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.errors import PrecisionError
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.compiling import compile_expression
from kernelcalc.expressions.functions import MPMATH_FUNCTIONS, plain
from kernelcalc.gaussian.digits.fixed_point import fixed, gaussian_weights, number, real_spectra
from kernelcalc.gaussian.digits.zeros import faintness, vanishing
from kernelcalc.machine import MULTIPRECISION

# Below this ρ the kernel is too wide for a periodic lattice of moderate length; the convolution is padded with zeros.
PADDED_BELOW = 0.3
MAX_POINTS = 2**17
# Bits that sums and weights may lose.
LOST_BITS = 16
# How often the box may grow by a quarter for functions that grow fast, and bits by what cancels.
MAX_GROWTH, MAX_CANCELLATION = 8, 6

Expressions = tuple[sp.Expr, ...]


class Samples:
    """Several functions at u = kh, |u| ≤ reach, as integers of units 2^−bits; halving h keeps what is there."""

    bits: int
    reach: float

    def __init__(self, expressions: Expressions, q: Any, bits: int, reach: float) -> None:
        self.bits, self.reach = bits, reach
        # Finest at first: resolves e^{−u²/2} alone, e^{−2π²/h²} = 2^{−bits}.
        self.spacing: float = 2.0 ** math.floor(math.log2(math.pi * math.sqrt(2 / (bits * math.log(2)))))
        with MULTIPRECISION, mpmath.workprec(bits + LOST_BITS):
            self._std = mpmath.sqrt(q)
        self._call = _together(expressions)
        self._levels: dict[float, list[np.ndarray]] = {}

    def at(self, h: float) -> list[np.ndarray]:
        """Values at kh, −n ≤ k ≤ n = ⌊reach/h⌋, one array a function; h is the first spacing over a power of two."""
        if h not in self._levels:
            n = int(self.reach / h)
            if h == self.spacing:
                self._levels[h] = self._evaluate(range(-n, n + 1), h)
            else:
                coarse, m = self.at(2 * h), int(self.reach / (2 * h))
                odd = [k for k in range(-n, n + 1) if k % 2]
                merged = []
                for old, new in zip(coarse, self._evaluate(odd, h), strict=True):
                    values = np.empty(2 * n + 1, dtype=object)
                    values[n - 2 * m : n + 2 * m + 1 : 2] = old
                    values[np.array(odd) + n] = new
                    merged.append(values)
                self._levels[h] = merged
        return self._levels[h]

    def _evaluate(self, indices: Any, h: float) -> list[np.ndarray]:
        with MULTIPRECISION, mpmath.workprec(self.bits + LOST_BITS):
            step = self._std * h
            rows = [[fixed(mpmath.mpf(v), self.bits) for v in self._call(step * k)] for k in indices]
        return [np.array(column, dtype=object) for column in zip(*rows, strict=True)]


@lru_cache(maxsize=64)
def _together(expressions: Expressions) -> Callable[[Any], Any]:
    """The functions as one, common parts evaluated once."""
    return compile_expression(x, [plain(e) for e in expressions], modules=MPMATH_FUNCTIONS, cse=True)


@lru_cache(maxsize=24)
def _samples(expressions: Expressions, q: Any, bits: int, reach: float) -> Samples:
    return Samples(expressions, q, bits, reach)


def lattice_expectations(
    f: Expressions, g: Expressions, q: Any, qp: Any, c: Any, pairs: Sequence[tuple[int, int]], dps: int
) -> dict[tuple[int, int], Any]:
    """E[f_i(a) g_j(b)] to ``dps`` digits each, for functions analytic on the line and mpmath numbers q, q' > 0, c.

    0 is what is below :func:`vanishing` of √(E f_i² E g_j²).

    Raises
    ------
    PrecisionError
        If the finest lattice does not settle the digits.
    """
    sides = [(_together(h), mpmath.sqrt(v)) for h, v in ((f, q), (g, qp))]
    faint = sum(faintness(*side) for side in sides)
    bits = int((dps + 4 + faint) * math.log2(10)) + 2 * LOST_BITS
    found: dict[tuple[int, int], Any] = {}
    open_pairs = list(pairs)
    for _ in range(MAX_CANCELLATION):
        if not open_pairs:
            break
        values, noise, sizes = _settled(f, g, q, qp, c, open_pairs, bits, dps)
        lost = 8
        for pair in open_pairs:
            size, rounding, least = abs(values[pair]), noise[pair], vanishing(dps) * sizes[pair]
            if size > rounding * mpmath.mpf(10) ** (dps + 2):
                found[pair] = values[pair]
            elif size > rounding:
                lost = max(lost, int(mpmath.log(rounding * mpmath.mpf(10) ** (dps + 2) / size, 2)) + 4)
            elif rounding <= least:
                found[pair] = mpmath.mpf(0)
            else:
                # Only a size above rounding says how far the next attempt must see.
                lost = max(lost, int(mpmath.log(rounding / least, 2)) + 1 if sizes[pair] > rounding else bits)
        open_pairs = [pair for pair in open_pairs if pair not in found]
        bits += lost
    if open_pairs:
        raise PrecisionError(f"cancellation left fewer than {dps} digits of E[f(a)g(b)] at q1={q}, q2={qp}, c={c}")
    return found


def _settled(
    f: Expressions, g: Expressions, q: Any, qp: Any, c: Any, pairs: Sequence[tuple[int, int]], bits: int, dps: int
) -> tuple[dict[tuple[int, int], Any], dict[tuple[int, int], Any], dict[tuple[int, int], Any]]:
    """Values that two spacings agree on, the size of their rounding errors, and √(E f² E g²)."""
    # φ is 2^{−bits} at the inner part of the box, nine tenths.
    reach = float(math.ceil(1.1 * math.sqrt(2 * bits * math.log(2)) + 2))
    for _ in range(MAX_GROWTH):
        first = _samples(f, q, bits, reach)
        second = _samples(g, qp, bits, reach)
        with MULTIPRECISION, mpmath.workprec(bits + LOST_BITS):
            rule = _Rule(first, second, q, qp, c, pairs)
            h = first.spacing
            if rule.enclosed(h):
                break
        reach = float(math.ceil(1.25 * reach))
    else:
        raise PrecisionError("the functions grow too fast for their Gaussian expectation to be computed")
    previous: dict[tuple[int, int], Any] | None = None
    with MULTIPRECISION, mpmath.workprec(bits + LOST_BITS):
        tolerance = mpmath.mpf(10) ** -(dps + 1)
        while reach / h <= MAX_POINTS:
            values, noise = rule.sums(h), rule.noise
            if previous is not None and all(
                abs(values[p] - previous[p]) <= tolerance * abs(values[p]) + noise[p] for p in pairs
            ):
                return values, noise, rule.sizes
            previous, h = values, h / 2
    raise PrecisionError(f"{MAX_POINTS} lattice points do not reach {dps} digits at q1={q}, q2={qp}, c={c}")


class _Rule:
    """The double sum at one covariance."""

    def __init__(
        self, first: Samples, second: Samples, q: Any, qp: Any, c: Any, pairs: Sequence[tuple[int, int]]
    ) -> None:
        self.first, self.second, self.pairs, self.bits = first, second, pairs, first.bits
        self.flip = c < 0
        geometric = mpmath.sqrt(q * qp)
        self.rho = min(abs(c) / geometric, mpmath.mpf(1))
        # (√(qq') − |c|)(√(qq') + |c|) keeps the digits of 1 − ρ².
        self.t = max((geometric - abs(c)) * (geometric + abs(c)) / geometric**2, mpmath.mpf(0))
        self.noise: dict[tuple[int, int], Any] = {}
        self.sizes: dict[tuple[int, int], Any] = {}

    def enclosed(self, h: float) -> bool:
        """Whether F and G decay and |f| |g| φ is below rounding at the box's end, nine tenths of it, beside the inner half."""
        edges = [
            max(int(np.abs(values[: len(values) // 20]).max()), int(np.abs(values[-len(values) // 20 :]).max()))
            for samples in (self.first, self.second)
            for values in samples.at(h)
        ]
        # Of a function that is not square integrable the whole box has a norm too, as large as its end.
        sides = (self._norms(samples, h, inner=True) for samples in (self.first, self.second))
        norms = [max(n, mpmath.mpf(1)) for side in sides for n in side]
        split = len(self.first.at(h))
        left, right = (
            max(max(number(e, self.bits), n) / n for e, n in zip(part, size, strict=True))
            for part, size in ((edges[:split], norms[:split]), (edges[split:], norms[split:]))
        )
        inner = 0.9 * self.first.reach
        faint = left * right * mpmath.exp(-(inner**2) / 2) <= mpmath.ldexp(1, LOST_BITS - self.bits)
        return bool(faint) and all(
            max(abs(int(v[0])), abs(int(v[-1]))) << LOST_BITS <= max(int(np.abs(v).max()), 1 << self.bits)
            for samples in (self.first, self.second)
            for v in self._weighted(samples, h, 1 + self.rho)
        )

    def _norms(self, samples: Samples, h: float, *, inner: bool = False) -> list[Any]:
        """√E f_i², or as much of it as the inner half of the box has."""
        roots = []
        for weighted in self._weighted(samples, h, mpmath.mpf(2)):
            if inner:
                weighted = weighted[len(weighted) // 4 : -(len(weighted) // 4)]
            roots.append(
                mpmath.sqrt(h * number((weighted * weighted).sum(), 2 * self.bits) / mpmath.sqrt(2 * mpmath.pi))
            )
        return roots

    def _weighted(self, samples: Samples, h: float, width: Any) -> list[np.ndarray]:
        """Values times e^{−u²/2·width}."""
        rows = samples.at(h)
        # Where a function is large the weight is small and wants digits of its own.
        extra = max(0, *(int(np.abs(v).max()).bit_length() - self.bits for v in rows))
        half = gaussian_weights(mpmath.mpf(h) ** 2 / (2 * width), int(samples.reach / h) + 1, self.bits + extra)
        weight = np.concatenate([half[:0:-1], half])
        return [(v * weight) >> (self.bits + extra) for v in rows]

    def sums(self, h: float) -> dict[tuple[int, int], Any]:
        """The double sum with spacing h, for all pairs."""
        rows, columns = sorted({i for i, _ in self.pairs}), sorted({j for _, j in self.pairs})
        unit = mpmath.ldexp(1, LOST_BITS - self.bits)
        norms = [self._norms(s, h) for s in (self.first, self.second)]
        self.sizes = {(i, j): norms[0][i] * norms[1][j] for i, j in self.pairs}
        self.noise = {(i, j): unit * max(norms[0][i], 1) * max(norms[1][j], 1) for i, j in self.pairs}
        n, bits = int(self.first.reach / h), self.bits
        weighted = self._weighted(self.first, h, 1 + self.rho)
        left = {i: weighted[i] for i in rows}
        same = self.first is self.second
        turned = weighted if same else self._weighted(self.second, h, 1 + self.rho)
        turn = slice(None, None, -1 if self.flip else 1)
        if self.t == 0:
            right = {j: turned[j][turn] for j in columns}
            factor = h / mpmath.sqrt(2 * mpmath.pi)
            return {(i, j): factor * number((left[i] * right[j]).sum(), 2 * bits) for i, j in self.pairs}
        symbol, size, factor = self._symbol(h, n)
        spectra = dict(zip(rows, real_spectra([_padded(left[i], size) for i in rows], bits), strict=True))
        missing = [j for j in columns if not (same and j in spectra)]
        others = dict(zip(missing, real_spectra([_padded(turned[j], size) for j in missing], bits), strict=True))
        sign = -1 if self.flip else 1
        result, through = {}, {}
        for j in columns:
            x_, y_ = others[j] if j in others else spectra[j]
            through[j] = (x_ * symbol) >> bits, (sign * y_ * symbol) >> bits
        for i, j in self.pairs:
            terms = spectra[i][0] * through[j][0] + spectra[i][1] * through[j][1]
            # All but the first and the last frequency stand for two.
            total = 2 * terms.sum() - terms[0] - terms[-1]
            result[i, j] = factor * number(total, 2 * bits)
        return result

    def _symbol(self, h: float, n: int) -> tuple[np.ndarray, int, Any]:
        """Transform of the kernel at the non-negative frequencies, number of lattice points, factor before the sum."""
        bits = self.bits
        if self.rho >= PADDED_BELOW:
            tau = self.t / self.rho
            # Images at the distance of the period meet |F| |G| at the box's ends: e^{−period²/2(τ+4)}.
            period = max(2 * self.first.reach + h, math.sqrt(2 * bits * math.log(2) * (float(tau) + 4)))
            size = 2 ** math.ceil(math.log2(period / h))
            symbol = gaussian_weights(2 * tau * (mpmath.pi / (size * mpmath.mpf(h))) ** 2, size // 2 + 1, bits)
            return symbol, size, h / (size * mpmath.sqrt(2 * mpmath.pi * self.rho))
        size = 2 ** math.ceil(math.log2(4 * n + 1))
        half = gaussian_weights(self.rho * mpmath.mpf(h) ** 2 / (2 * self.t), size // 2 + 1, bits)
        kernel = np.concatenate([half, half[-2:0:-1]])
        ((symbol, _),) = real_spectra([kernel], bits)
        return symbol, size, mpmath.mpf(h) ** 2 / (2 * mpmath.pi * mpmath.sqrt(self.t) * size)


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """Centre first, zeros in the middle."""
    n = len(values) // 2
    result = np.zeros(size, dtype=object)
    result[: n + 1] = values[n:]
    result[size - n :] = values[:n]
    return result
