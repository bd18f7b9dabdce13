"""The named activations and their parameters, and whatever a caller may pass as one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import sympy as sp

from kernelcalc.activations.activation import Activation, CallableActivation
from kernelcalc.errors import InputError, UnknownNameError
from kernelcalc.expressions.atoms import x

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


def _hermite(degree: Any = 1) -> sp.Expr:
    n = _number(degree)
    if not n.is_Integer or n < 0 or n > 40:
        raise InputError("a degree between 0 and 40", str(degree))
    # SymPy's hermite is the physicists' H_n(x) = 2^{n/2} He_n(√2 x).
    return sp.expand(2 ** (-n / 2) * sp.hermite(n, x / sp.sqrt(2)))


Builder = Callable[..., sp.Expr]

ACTIVATIONS: dict[str, tuple[Builder, str]] = {
    "relu": (lambda: sp.Max(x, 0), "max(x, 0)"),
    "leaky_relu": (
        lambda slope=0.01: sp.Piecewise((_number(slope) * x, x < 0), (x, True)),
        "x for x > 0, slope·x below",
    ),
    "abs": (lambda: sp.Abs(x), "|x|"),
    "step": (lambda: sp.Heaviside(x, sp.S.Half), "1 for x > 0, 0 below"),
    "sign": (lambda: sp.sign(x), "sign of x"),
    "hard_tanh": (lambda: sp.Piecewise((-1, x < -1), (x, x < 1), (1, True)), "x clipped to [-1, 1]"),
    "relu6": (lambda: sp.Piecewise((0, x < 0), (x, x < 6), (6, True)), "x clipped to [0, 6]"),
    "elu": (_elu, "x for x > 0, alpha·(e^x - 1) below"),
    "selu": (_selu, "scaled elu of Klambauer et al. (2017)"),
    "celu": (_celu, "x for x > 0, alpha·(e^{x/alpha} - 1) below"),
    "erf": (lambda: sp.erf(x), "error function"),
    "probit": (lambda scale=1: _normal_cdf(x / _positive("scale", scale)), "normal distribution function Φ(x/scale)"),
    "smooth_relu": (_smooth_relu, "relu smoothed by N(0, scale²): x·Φ(x/scale) + scale·φ(x/scale)"),
    "gelu": (lambda: x * _normal_cdf(x), "x·Φ(x)"),
    "tanh": (lambda: sp.tanh(x), "hyperbolic tangent"),
    "sigmoid": (lambda: 1 / (1 + sp.exp(-x)), "1/(1 + e^{-x})"),
    "softplus": (_softplus, "log(1 + e^{sharpness·x})/sharpness"),
    "silu": (lambda: x / (1 + sp.exp(-x)), "x/(1 + e^{-x}), also called swish"),
    "mish": (lambda: x * sp.tanh(sp.log(1 + sp.exp(x))), "x·tanh(softplus(x))"),
    "log_cosh": (lambda: sp.log(sp.cosh(x)), "log cosh x"),
    "arctan": (lambda: sp.atan(x), "inverse tangent"),
    "softsign": (lambda: x / (1 + sp.Abs(x)), "x/(1 + |x|)"),
    "sin": (lambda frequency=1, phase=0: sp.sin(_number(frequency) * x + _number(phase)), "sin(frequency·x + phase)"),
    "cos": (lambda frequency=1, phase=0: sp.cos(_number(frequency) * x + _number(phase)), "cos(frequency·x + phase)"),
    "exp": (lambda rate=1: sp.exp(_number(rate) * x), "e^{rate·x}"),
    "gaussian": (lambda scale=1: sp.exp(-(x**2) / (2 * _positive("scale", scale) ** 2)), "e^{-x²/(2·scale²)}"),
    "linear": (lambda: x, "x"),
    "polynomial": (_polynomial, "c0 + c1·x + c2·x² + ..., coefficients=(c0, c1, c2, ...)"),
    "hermite": (_hermite, "probabilists' Hermite polynomial He_degree(x)"),
}
ALIASES = {
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
}


def activation(name: str, **parameters: Any) -> Activation:
    """A named activation.

    Parameters
    ----------
    name : str
        One of :data:`ACTIVATIONS` (or an alias such as "swish"); without parameters also what :func:`from_text` takes.
    **parameters
        For example ``scale=0.5`` for "smooth_relu", ``sharpness=2`` for "softplus", ``slope=0.1`` for "leaky_relu",
        ``degree=3`` for "hermite", ``coefficients=(0, 1, 2)`` for "polynomial".

    Raises
    ------
    UnknownNameError
        For an unknown name, with the nearest known ones.
    InputError
        For an unknown or impossible parameter.

    Examples
    --------
    >>> activation("smooth_relu", scale=0.5).expr
    x*(erf(sqrt(2)*x)/2 + 1/2) + sqrt(2)*exp(-2*x**2)/(4*sqrt(pi))
    >>> activation("rellu")
    Traceback (most recent call last):
        ...
    kernelcalc.errors.UnknownNameError: expected the name of an activation, got 'rellu'; did you mean 'relu' or ...?
    """
    if isinstance(name, str) and not parameters and not name.strip().isidentifier():
        return from_text(name)
    key = ALIASES.get(name, name) if isinstance(name, str) else ""
    if key not in ACTIVATIONS:
        raise UnknownNameError("an activation", name, [*ACTIVATIONS, *ALIASES])
    builder, description = ACTIVATIONS[key]
    try:
        expr = builder(**parameters)
    except TypeError as error:
        given = ", ".join(parameters) or "none"
        raise InputError(f"parameters of {key}: {description}", given) from error
    label = ", ".join(f"{k}={v}" for k, v in parameters.items())
    return Activation(expr, name=f"{key}({label})" if label else key)


_CALL = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*(?:\((?P<arguments>[^()]*)\))?")
# "=" that gives a parameter its value, and is no part of <=, >= or ==.
_GIVES = re.compile(r"(?<![<>=!])=(?!=)")
_PARAMETER = re.compile(r"\s*(?P<key>[A-Za-z_]\w*)\s*=\s*(?P<value>[-+0-9.eE/]+)\s*")


def from_text(text: str) -> Activation:
    """An activation from text: a name, a name with parameters, "normalized ...", or an expression in x.

    Examples
    --------
    >>> from_text("normalized smooth_relu(scale=0.5)").name
    'normalized smooth_relu(scale=0.5)'
    >>> from_text("x*tanh(x)").expr
    x*tanh(x)
    """
    text = text.strip()
    for prefix in ("normalized ", "normalised ", "normalized:", "normalised:"):
        if text.startswith(prefix):
            return from_text(text.removeprefix(prefix)).normalized()
    match = _CALL.fullmatch(text)
    if match is None or (match["arguments"] is not None and not _GIVES.search(match["arguments"])):
        return Activation(text)
    if text == "x":
        return Activation(x)
    parameters: dict[str, Any] = {}
    for part in filter(None, (match["arguments"] or "").split(",")):
        parameter = _PARAMETER.fullmatch(part)
        if parameter is None:
            raise InputError("parameters such as scale=0.5", repr(part.strip()))
        try:
            parameters[parameter["key"]] = sp.Rational(parameter["value"])
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise InputError("a number", repr(parameter["value"])) from error
    named = activation(match["name"], **parameters)
    # The label keeps the numbers as they were written.
    return Activation(named.expr, name="".join(text.split())) if parameters else named


def as_activation(value: Activation | str | sp.Expr | Callable[[Any], Any]) -> Activation:
    """An Activation from itself, a name with optional parameters, an expression, or a NumPy callable.

    Examples
    --------
    >>> as_activation("softplus(sharpness=2)").name
    'softplus(sharpness=2)'
    """
    if isinstance(value, Activation):
        return value
    if isinstance(value, sp.Expr):
        return Activation(value)
    if isinstance(value, str):
        return from_text(value)
    if callable(value):
        return CallableActivation(value)
    raise InputError("an Activation, a name, an expression or a callable", type(value).__name__)
