"""Reference values of E[f⁽ⁱ⁾(a) g⁽ʲ⁾(b)] by brute-force quadrature, for test_algebra.py.

    python tests/gaussian/exact_reference.py     writes exact_reference.json (about ten minutes)

Nothing of kernelcalc is used: nested Gauss-Legendre rules in mpmath, split at the kinks, on the functions below.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import sympy as sp
from mpmath import mp

x = sp.Symbol("x", real=True)
PATH = Path(__file__).with_name("exact_reference.json")
S, R = sp.sqrt, sp.Rational


def piecewise(negative: sp.Expr, positive: sp.Expr) -> sp.Expr:
    return sp.Piecewise((negative, x < 0), (positive, True))


# name: (expression, kinks)
FUNCTIONS: dict[str, tuple[sp.Expr, tuple[int, ...]]] = {
    "relu": (sp.Max(x, 0), (0,)),
    "leaky_relu": (piecewise(x / 10, x), (0,)),
    "abs": (sp.Abs(x), (0,)),
    "hard_tanh": (sp.Piecewise((-1, x < -1), (1, x > 1), (x, True)), (-1, 1)),
    "relu6": (sp.Piecewise((0, x < 0), (6, x > 6), (x, True)), (0, 6)),
    "step": (piecewise(sp.S.Zero, sp.S.One), (0,)),
    "sign": (sp.sign(x), (0,)),
    "elu": (piecewise(sp.exp(x) - 1, x), (0,)),
    "selu": (
        R("1.0507009873554805") * piecewise(R("1.6732632423543772") * (sp.exp(x) - 1), x),
        (0,),
    ),
    "celu": (piecewise(2 * (sp.exp(x / 2) - 1), x), (0,)),
    "gelu": (x * (1 + sp.erf(x / S(2))) / 2, ()),
    "erf": (sp.erf(x), ()),
    "shifted_erf": (sp.erf(2 * x - R(1, 2)), ()),
    "erfc": (sp.erfc(x / 2), ()),
    "probit": ((1 + sp.erf(x / S(2) / R(3, 2))) / 2, ()),
    "smooth_relu": (x * (1 + sp.erf(S(2) * x)) / 2 + sp.exp(-2 * x**2) / (2 * S(2 * sp.pi)), ()),
    "gaussian": (sp.exp(-(x**2)), ()),
    "bump": (x**2 * sp.exp(-(x**2) / 2 + x), ()),
    "growing": (sp.exp(x**2 / 8), ()),
    "sin": (sp.sin(x), ()),
    "cos": (sp.cos(2 * x), ()),
    "wave": (x * sp.sin(x) + sp.cos(3 * x) * sp.exp(-(x**2) / 4), ()),
    "exp": (sp.exp(x / 2), ()),
    "sinh": (sp.sinh(x), ()),
    "hermite4": (x**4 - 6 * x**2 + 3, ()),
    "cubic": (x**3 - 2 * x + 1, ()),
    "relu2": (piecewise(sp.S.Zero, x**2), (0,)),
    "window": (sp.Piecewise((0, x < -1), (0, x > 2), (x * sp.exp(-x), True)), (-1, 2)),
    "damped_relu": (piecewise(sp.S.Zero, x * sp.exp(-(x**2) / 2)), (0,)),
    "x_erf": (x * sp.erf(x), ()),
}

# f, g, i, j, q, q', c
CASES: list[tuple[str, str, int, int, str, str, str]] = [
    ("relu", "relu", 0, 0, "1", "2", "1/2"),
    ("relu", "relu", 1, 1, "3", "1/2", "-1"),
    ("relu", "erf", 0, 0, "1", "1", "2/3"),
    ("relu", "gelu", 1, 0, "2", "1", "-1/3"),
    ("relu", "sin", 0, 0, "1", "2", "1"),
    ("relu", "hermite4", 0, 0, "1", "1", "4/5"),
    ("relu", "growing", 0, 0, "1", "1", "1/2"),
    ("leaky_relu", "leaky_relu", 0, 0, "1", "1", "9/10"),
    ("leaky_relu", "step", 0, 0, "1/2", "1", "1/4"),
    ("abs", "abs", 0, 0, "1", "3", "-3/2"),
    ("abs", "elu", 0, 1, "1", "1", "1/2"),
    ("hard_tanh", "hard_tanh", 0, 0, "1", "1", "1/2"),
    ("hard_tanh", "hard_tanh", 1, 1, "2", "1", "1"),
    ("hard_tanh", "relu", 0, 1, "1", "4", "-1"),
    ("hard_tanh", "x_erf", 0, 1, "1", "1", "1/3"),
    ("relu6", "relu6", 0, 0, "9", "16", "8"),
    ("relu6", "sin", 1, 1, "9", "2", "2"),
    ("step", "step", 0, 0, "1", "1", "-9/10"),
    ("step", "shifted_erf", 0, 0, "1", "1", "1/2"),
    ("sign", "wave", 0, 0, "1", "1", "1/2"),
    ("elu", "elu", 0, 0, "1", "1", "1/2"),
    ("elu", "elu", 1, 1, "1", "2", "-6/5"),
    ("elu", "smooth_relu", 0, 2, "1", "1", "1/2"),
    ("elu", "window", 0, 0, "1", "1", "-1/2"),
    ("selu", "selu", 0, 0, "1", "1", "3/10"),
    ("selu", "celu", 1, 0, "1", "2", "1"),
    ("celu", "celu", 0, 0, "2", "2", "-1"),
    ("gelu", "gelu", 0, 0, "1", "1", "1/2"),
    ("gelu", "gelu", 2, 2, "1", "2", "-1"),
    ("gelu", "gelu", 3, 1, "2", "1", "4/5"),
    ("gelu", "probit", 0, 1, "1", "1", "1/5"),
    ("erf", "erf", 0, 0, "1", "2", "1"),
    ("erf", "erf", 1, 3, "1", "2", "-1"),
    ("erf", "shifted_erf", 0, 0, "1", "1", "-3/5"),
    ("shifted_erf", "shifted_erf", 0, 0, "1", "1", "9/10"),
    ("erfc", "gaussian", 0, 1, "1", "1", "1/2"),
    ("probit", "probit", 0, 0, "1", "4", "1"),
    ("probit", "hermite4", 0, 2, "1", "1", "1/2"),
    ("smooth_relu", "smooth_relu", 0, 0, "1", "1", "1/2"),
    ("smooth_relu", "smooth_relu", 2, 0, "1", "2", "-1/2"),
    ("gaussian", "gaussian", 2, 2, "1", "1", "1/2"),
    ("gaussian", "cos", 0, 2, "1", "1/2", "1/4"),
    ("bump", "sin", 0, 1, "1", "1", "1/2"),
    ("bump", "growing", 0, 0, "1", "1", "-1/2"),
    ("bump", "shifted_erf", 0, 0, "1", "1", "2/3"),
    ("sin", "sin", 0, 0, "1", "1", "9/10"),
    ("sin", "cos", 1, 1, "1", "1", "1/2"),
    ("wave", "wave", 0, 0, "1", "1", "1/2"),
    ("wave", "x_erf", 2, 0, "1", "1", "1/2"),
    ("exp", "sinh", 0, 0, "1", "1", "-1/2"),
    ("exp", "window", 0, 0, "1", "1", "1/2"),
    ("cubic", "hermite4", 0, 0, "1", "2", "1"),
    ("cubic", "relu2", 0, 1, "1", "1", "1/2"),
    ("relu2", "relu2", 0, 0, "1", "2", "-1"),
    ("relu2", "relu2", 2, 1, "1", "2", "1"),
    ("window", "window", 0, 0, "1", "1", "1/2"),
    ("damped_relu", "damped_relu", 0, 0, "1", "1", "1/2"),
    ("damped_relu", "gelu", 1, 2, "1", "1", "-1/2"),
]


def derivative(name: str, order: int) -> sp.Expr:
    """The ordinary derivative between the kinks; the cases keep it free of deltas."""
    return sp.diff(FUNCTIONS[name][0], x, order)


def _rule(cuts: list[mp.mpf], nodes: list[tuple[mp.mpf, mp.mpf]], width: float) -> list[tuple[mp.mpf, mp.mpf]]:
    out = []
    for lo, hi in pairwise(cuts):
        panels = max(1, int(mp.ceil((hi - lo) / width)))
        half = (hi - lo) / (2 * panels)
        for k in range(panels):
            centre = lo + (2 * k + 1) * half
            out += [(centre + half * t, half * w) for t, w in nodes]
    return out


def reference(f: str, g: str, i: int, j: int, q: str, qp: str, c: str, dps: int = 38, width: float = 2.0) -> mp.mpf:
    """E[f⁽ⁱ⁾(a) g⁽ʲ⁾(b)] = ∫ f⁽ⁱ⁾(√q u) φ(u) (∫ g⁽ʲ⁾(cu/√q + √v w) φ(w) dw) du, v = q' − c²/q."""
    with mp.workdps(dps + 4):
        one, two = (sp.lambdify(x, derivative(n, k), modules="mpmath") for n, k in ((f, i), (g, j)))
        q, qp, c = (mp.mpf(R(v).p) / R(v).q for v in (q, qp, c))
        legendre = [(mp.mpf(t), mp.mpf(w)) for t, w in mp_legendre(44)]
        slope, spread = c / mp.sqrt(q), mp.sqrt(qp - c * c / q)
        edge = mp.mpf(15)

        def inside(values: list[mp.mpf]) -> list[mp.mpf]:
            return [-edge, *sorted(v for v in values if -edge < v < edge), edge]

        outer = _rule(inside([k / mp.sqrt(q) for k in FUNCTIONS[f][1]]), legendre, width)
        smooth = _rule([-edge, edge], legendre, width)
        smooth = [(w, weight * mp.npdf(w)) for w, weight in smooth]
        total = mp.mpf(0)
        for u, weight in outer:
            mean = slope * u
            kinks = FUNCTIONS[g][1]
            if kinks:
                rule = _rule(inside([(k - mean) / spread for k in kinks]), legendre, width)
                value = mp.fsum(v * mp.npdf(w) * two(mean + spread * w) for w, v in rule)
            else:
                value = mp.fsum(v * two(mean + spread * w) for w, v in smooth)
            total += weight * mp.npdf(u) * one(mp.sqrt(q) * u) * value
        return +total


def mp_legendre(n: int) -> list[tuple[mp.mpf, mp.mpf]]:
    """Gauss-Legendre nodes and weights by Newton's method."""
    out = []
    for k in range(1, n + 1):
        t = mp.cos(mp.pi * (k - mp.mpf(1) / 4) / (n + mp.mpf(1) / 2))
        for _ in range(8):
            p0, p1 = mp.mpf(1), t
            for m in range(2, n + 1):
                p0, p1 = p1, ((2 * m - 1) * t * p1 - (m - 1) * p0) / m
            slope = n * (t * p1 - p0) / (t * t - 1)
            t -= p1 / slope
        out.append((t, 2 / ((1 - t * t) * slope**2)))
    return out


if __name__ == "__main__":
    from multiprocessing import Pool

    with Pool(2) as pool:
        values = pool.starmap(reference, CASES, chunksize=1)
    rows = [[*case, mp.nstr(value, 36)] for case, value in zip(CASES, values, strict=True)]
    PATH.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
