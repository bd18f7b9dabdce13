"""The catalogue: every named activation with its parameters, under the names of PyTorch and JAX too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from kernelcalc.errors import InputError
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.parsing import IMPOSSIBLE
from kernelcalc.expressions.sinc import Sinc

# As of the numbers in texts.
LARGEST_PARAMETER = sp.Integer(10) ** 100


def _number(value: Any) -> sp.Expr:
    """Exact number of a parameter: a float is taken as the decimal it prints as."""
    if isinstance(value, sp.Expr):
        if not value.is_number or not value.is_finite or not value.is_real:
            raise InputError("a real number as parameter of an activation", str(value))
        return _of_moderate_size(value)
    try:
        number = float(value)
        if not abs(number) < float("inf"):
            raise ValueError
        exact = sp.Integer(value) if isinstance(value, int) else sp.Rational(repr(number))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("a finite number as parameter of an activation", repr(value)) from error
    return _of_moderate_size(exact)


def _of_moderate_size(number: sp.Expr) -> sp.Expr:
    if not (number == 0 or 1 / LARGEST_PARAMETER <= abs(number) <= LARGEST_PARAMETER):
        raise InputError(
            "0 or a parameter between 1e-100 and 1e100 in size",
            str(sp.N(number, 5)),
            "its square is a number of float64 too",
        )
    return number


def _positive(name: str, value: Any) -> sp.Expr:
    number = _number(value)
    if not number > 0:
        raise InputError(f"{name} > 0", str(value))
    return number


def _normal_cdf(u: sp.Expr) -> sp.Expr:
    return (1 + sp.erf(u / sp.sqrt(2))) / 2


def _smooth_relu(scale: Any = 1) -> sp.Expr:
    s = _positive("scale", scale)
    return x * _normal_cdf(x / s) + s * sp.exp(-(x**2) / (2 * s**2)) / sp.sqrt(2 * sp.pi)


def _softplus(sharpness: Any = 1) -> sp.Expr:
    b = _positive("sharpness", sharpness)
    return sp.log(1 + sp.exp(b * x)) / b


def _elu(alpha: Any = 1) -> sp.Expr:
    return sp.Piecewise((_number(alpha) * (sp.exp(x) - 1), x < 0), (x, True))


def _selu() -> sp.Expr:
    # Constants of Klambauer et al., "Self-normalizing neural networks" (2017), to the digits the paper gives.
    alpha, scale = sp.Rational("1.6732632423543772848170429916717"), sp.Rational("1.0507009873554804934193349852946")
    return scale * sp.Piecewise((alpha * (sp.exp(x) - 1), x < 0), (x, True))


def _celu(alpha: Any = 1) -> sp.Expr:
    a = _positive("alpha", alpha)
    return sp.Piecewise((a * (sp.exp(x / a) - 1), x < 0), (x, True))


def _polynomial(coefficients: Any = (0, 1)) -> sp.Expr:
    return sp.Add(*(_number(c) * x**n for n, c in enumerate(coefficients)))


def _gelu(approximate: Any = "none") -> sp.Expr:
    if str(approximate) not in ("none", "tanh"):
        raise InputError('approximate="none" or "tanh"', repr(approximate))
    if str(approximate) == "none":
        return x * _normal_cdf(x)
    # Hendrycks and Gimpel, "Gaussian error linear units" (2016)
    return x * (1 + sp.tanh(sp.sqrt(2 / sp.pi) * (x + sp.Rational("0.044715") * x**3))) / 2


def _between(low: Any, high: Any) -> tuple[sp.Expr, sp.Expr]:
    ends = _number(low), _number(high)
    if not ends[0] < ends[1]:
        raise InputError("min_val < max_val", f"{low}, {high}")
    return ends


def _hard_tanh(min_val: Any = -1, max_val: Any = 1) -> sp.Expr:
    low, high = _between(min_val, max_val)
    return sp.Piecewise((low, x < low), (x, x < high), (high, True))


def _relu6_of(u: sp.Expr) -> sp.Expr:
    """relu6(u), u = x + 3."""
    return sp.Piecewise((0, x < -3), (u, x < 3), (6, True))


def _hard_shrink(threshold: Any = 0.5) -> sp.Expr:
    t = _positive("lambd", threshold)
    return sp.Piecewise((x, x < -t), (0, x < t), (x, True))


def _soft_shrink(threshold: Any = 0.5) -> sp.Expr:
    t = _positive("lambd", threshold)
    return sp.Piecewise((x + t, x < -t), (0, x < t), (x - t, True))


def _threshold(threshold: Any = 0, value: Any = 0) -> sp.Expr:
    return sp.Piecewise((_number(value), x <= _number(threshold)), (x, True))


def _squareplus(b: Any = 4) -> sp.Expr:
    # (x + √(x² + b))/2, which would cancel for negative x
    root = sp.sqrt(_positive("b", b))
    return root / 2 * sp.exp(sp.asinh(x / root))


def _leaky_relu(slope: Any = 0.01) -> sp.Expr:
    return sp.Piecewise((_number(slope) * x, x < 0), (x, True))


def _hermite(degree: Any = 1) -> sp.Expr:
    n = _number(degree)
    if not n.is_Integer or n < 0 or n > 40:
        raise InputError("a degree between 0 and 40", str(degree))
    # SymPy's hermite is the physicists' H_n(x) = 2^{n/2} He_n(√2 x).
    return sp.expand(2 ** (-n / 2) * sp.hermite(n, x / sp.sqrt(2)))


Builder = Callable[..., sp.Expr]

ACTIVATIONS: dict[str, tuple[Builder, str]] = {
    "relu": (lambda: sp.Max(x, 0), "max(x, 0)"),
    "leaky_relu": (_leaky_relu, "x for x > 0, slope·x below"),
    "prelu": (lambda slope=0.25: _leaky_relu(slope), "leaky_relu with the slope 0.25 that PyTorch starts with"),
    "relu2": (lambda: sp.Max(x, 0) ** 2, "max(x, 0)²"),
    "threshold": (_threshold, "x for x > threshold, else value"),
    "abs": (lambda: sp.Abs(x), "|x|"),
    "step": (lambda: sp.Heaviside(x, sp.S.Half), "1 for x > 0, 0 below"),
    "sign": (lambda: sp.sign(x), "sign of x"),
    "hard_tanh": (_hard_tanh, "x clipped to [min_val, max_val], [-1, 1] by default"),
    "hard_sigmoid": (lambda: _relu6_of(x + 3) / 6, "relu6(x + 3)/6"),
    "hard_swish": (lambda: x * _relu6_of(x + 3) / 6, "x·relu6(x + 3)/6"),
    "hard_shrink": (_hard_shrink, "x for |x| > lambd, 0 between"),
    "soft_shrink": (_soft_shrink, "x moved towards 0 by lambd, 0 between"),
    "sparse_plus": (
        lambda: sp.Piecewise((0, x < -1), ((x + 1) ** 2 / 4, x < 1), (x, True)),
        "0 below -1, (x + 1)²/4, x above 1",
    ),
    "sparse_sigmoid": (
        lambda: sp.Piecewise((0, x < -1), ((x + 1) / 2, x < 1), (1, True)),
        "(x + 1)/2 clipped to [0, 1]",
    ),
    "relu6": (lambda: sp.Piecewise((0, x < 0), (x, x < 6), (6, True)), "x clipped to [0, 6]"),
    "elu": (_elu, "x for x > 0, alpha·(e^x - 1) below"),
    "selu": (_selu, "scaled elu of Klambauer et al. (2017)"),
    "celu": (_celu, "x for x > 0, alpha·(e^{x/alpha} - 1) below"),
    "erf": (lambda: sp.erf(x), "error function"),
    "probit": (lambda scale=1: _normal_cdf(x / _positive("scale", scale)), "normal distribution function Φ(x/scale)"),
    "smooth_relu": (_smooth_relu, "relu smoothed by N(0, scale²): x·Φ(x/scale) + scale·φ(x/scale)"),
    "gelu": (_gelu, 'x·Φ(x), or with approximate="tanh" its approximation by tanh'),
    "quick_gelu": (lambda: x / (1 + sp.exp(-sp.Rational("1.702") * x)), "x·sigmoid(1.702 x)"),
    "tanh": (lambda: sp.tanh(x), "hyperbolic tangent"),
    "sigmoid": (lambda: 1 / (1 + sp.exp(-x)), "1/(1 + e^{-x})"),
    "softplus": (_softplus, "log(1 + e^{sharpness·x})/sharpness"),
    "silu": (lambda beta=1: x / (1 + sp.exp(-_number(beta) * x)), "x/(1 + e^{-beta·x}), also called swish"),
    "log_sigmoid": (lambda: -sp.log(1 + sp.exp(-x)), "-log(1 + e^{-x})"),
    "squareplus": (_squareplus, "(x + √(x² + b))/2"),
    "tanhshrink": (lambda: x - sp.tanh(x), "x - tanh x"),
    "lisht": (lambda: x * sp.tanh(x), "x·tanh x"),
    "sech": (lambda: 1 / sp.cosh(x), "1/cosh x"),
    "isru": (lambda alpha=1: x / sp.sqrt(1 + _positive("alpha", alpha) * x**2), "x/√(1 + alpha·x²)"),
    "snake": (
        lambda alpha=1: x + (1 - sp.cos(2 * _positive("alpha", alpha) * x)) / (2 * _number(alpha)),
        "x + sin²(alpha·x)/alpha",
    ),
    "sine": (lambda omega=30: sp.sin(_number(omega) * x), "sin(omega·x), 30 as in SIREN"),
    "mish": (lambda: x * sp.tanh(sp.log(1 + sp.exp(x))), "x·tanh(softplus(x))"),
    "log_cosh": (lambda: sp.log(sp.cosh(x)), "log cosh x"),
    "arctan": (lambda: sp.atan(x), "inverse tangent"),
    "softsign": (lambda: x / (1 + sp.Abs(x)), "x/(1 + |x|)"),
    "sin": (lambda frequency=1, phase=0: sp.sin(_number(frequency) * x + _number(phase)), "sin(frequency·x + phase)"),
    "cos": (lambda frequency=1, phase=0: sp.cos(_number(frequency) * x + _number(phase)), "cos(frequency·x + phase)"),
    "sinc": (lambda: Sinc(x, 0), "sin(πx)/(πx), as in NumPy"),
    "exp": (lambda rate=1: sp.exp(_number(rate) * x), "e^{rate·x}"),
    "gaussian": (lambda scale=1: sp.exp(-(x**2) / (2 * _positive("scale", scale) ** 2)), "e^{-x²/(2·scale²)}"),
    "linear": (lambda: x, "x"),
    "polynomial": (_polynomial, "c0 + c1·x + c2·x² + ..., coefficients=(c0, c1, c2, ...)"),
    "hermite": (_hermite, "probabilists' Hermite polynomial He_degree(x)"),
}
ALIASES: dict[str, str] = {
    "swish": "silu",
    "logistic": "sigmoid",
    "atan": "arctan",
    "leakyrelu": "leaky_relu",
    "heaviside": "step",
    "identity": "linear",
    "rbf": "gaussian",
    "hardtanh": "hard_tanh",
    "smoothrelu": "smooth_relu",
    "normcdf": "probit",
    "ndtr": "probit",
    "squared_relu": "relu2",
    "siren": "sine",
    "hard_silu": "hard_swish",
    "soft_sign": "softsign",
    "logcosh": "log_cosh",
    "absolute": "abs",
    "expit": "sigmoid",
    "log_expit": "log_sigmoid",
}
# Other libraries' names of parameters.
PARAMETERS: dict[str, dict[str, str]] = {
    "leaky_relu": {"negative_slope": "slope"},
    "prelu": {"init": "slope", "weight": "slope"},
    "softplus": {"beta": "sharpness"},
    "hard_shrink": {"lambd": "threshold"},
    "soft_shrink": {"lambd": "threshold"},
    "sine": {"w0": "omega"},
}
_UNITS = "acts on all units of a layer at once, not on each alone"
# Names that people know and that are no activation of this theory, with the reason.
REFUSED: dict[str, str] = {
    "softmax": _UNITS,
    "softmin": _UNITS,
    "softmax2d": _UNITS,
    "log_softmax": _UNITS,
    "logsumexp": _UNITS,
    "standardize": _UNITS,
    "glu": _UNITS,
    "multihead_attention": _UNITS,
    "rrelu": "is random in training; leaky_relu(slope) is its mean",
    **IMPOSSIBLE,
    "log": "is not defined for x < 0",
    "sqrt": "is not defined for x < 0",
}


def canonical(name: str) -> str:
    """The catalogue's name of what PyTorch, JAX or a person calls so; the name itself if there is none.

    Examples
    --------
    >>> canonical("LeakyReLU"), canonical("SiLU"), canonical("hard_silu"), canonical("nosuch")
    ('leaky_relu', 'silu', 'hard_swish', 'nosuch')
    """
    return _PLAIN_NAMES.get(_plain(name), name)


def _plain(name: str) -> str:
    return name.strip().replace("_", "").lower()


_PLAIN_NAMES = {
    **{_plain(name): name for name in (*ACTIVATIONS, *REFUSED)},
    **{_plain(alias): name for alias, name in ALIASES.items()},
}
