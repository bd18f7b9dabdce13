"""Activations by name, and whatever a caller may pass as one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import sympy as sp

from kernelcalc.activations.activation import Activation, CallableActivation
from kernelcalc.activations.catalogue import ACTIVATIONS, ALIASES, PARAMETERS, REFUSED, canonical
from kernelcalc.activations.frameworks import known_function
from kernelcalc.arguments import shown
from kernelcalc.errors import ExpressionError, InputError, UnknownNameError
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.parsing import FUNCTIONS, TWO_OR_MORE, plain_text


def activation(name: str, *values: Any, **parameters: Any) -> Activation:
    """A named activation.

    Parameters
    ----------
    name : str
        One of :data:`~kernelcalc.activations.catalogue.ACTIVATIONS`, or what PyTorch and JAX call it ("LeakyReLU", "SiLU",
        "hard_silu", "swish"); without parameters also what :func:`from_text` takes.
    *values, **parameters
        For example ``scale=0.5`` for "smooth_relu", ``sharpness=2`` (or ``beta=2``) for "softplus", ``0.1``, ``slope=0.1`` or
        ``negative_slope=0.1`` for "leaky_relu", ``approximate="tanh"`` for "gelu", ``degree=3`` for "hermite",
        ``coefficients=(0, 1, 2)`` for "polynomial".

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
    name = plain_text(name) if isinstance(name, str) else name
    if isinstance(name, str) and not parameters and not values and (name == "x" or not name.isidentifier()):
        return from_text(name)
    key = canonical(name) if isinstance(name, str) else ""
    if key in REFUSED:
        raise InputError("a function of one unit's pre-activation", f"{name}, which {REFUSED[key]}")
    if key not in ACTIVATIONS:
        raise UnknownNameError("an activation", name, [*ACTIVATIONS, *ALIASES])
    builder, description = ACTIVATIONS[key]
    known = {PARAMETERS.get(key, {}).get(name, name): value for name, value in parameters.items()}
    try:
        expr = builder(*values, **known)
    except TypeError as error:
        given = ", ".join([*map(str, values), *parameters]) or "none"
        raise InputError(f"parameters of {key}: {description}", given) from error
    label = ", ".join([*map(str, values), *(f"{k}={v}" for k, v in parameters.items())])
    return Activation(expr, name=f"{key}({label})" if label else key)


_CALL = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*(?:\((?P<arguments>[^()]*)\))?", re.ASCII)
# "=" that gives a parameter its value, and is no part of <=, >= or ==.
_GIVES = re.compile(r"(?<![<>=!])=(?!=)")
_PARAMETER = re.compile(
    r"""\s*(?P<key>[A-Za-z_]\w*)\s*=\s*(?:(?P<value>[-+0-9.eE/]+)|['"]?(?P<word>none|tanh)['"]?)\s*"""
)
_NUMBER = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*")


def from_text(text: str) -> Activation:
    """An activation from text: a name, a name with parameters, "normalized ...", or an expression in x.

    Raises
    ------
    UnknownNameError
        An unknown name.
    InputError
        A parameter that the activation has not.
    ExpressionError
        No function of one real variable.

    Examples
    --------
    >>> from_text("normalized smooth_relu(scale=0.5)").name
    'normalized smooth_relu(scale=0.5)'
    >>> from_text("x*tanh(x)").expr
    x*tanh(x)
    """
    if not isinstance(text, str):
        raise InputError("text, a name or an expression in x", shown(text))
    text = plain_text(text)
    for prefix in ("normalized ", "normalised ", "normalized:", "normalised:"):
        if text.casefold().startswith(prefix):
            return from_text(text[len(prefix) :]).normalized()
    match = _CALL.fullmatch(text)
    given = [] if match is None else [part for part in (match["arguments"] or "").split(",") if part.strip()]
    numbers = bool(given) and all(_NUMBER.fullmatch(part) for part in given) and not _has_two_arguments(text)
    if match is None or (match["arguments"] is not None and not numbers and not _GIVES.search(match["arguments"])):
        if match is not None and (not given or _is_in_catalogue_alone(match)):
            return activation(match["name"])
        return Activation(text)
    if text == "x":
        return Activation(x)
    values = [sp.Rational(part.strip()) for part in given] if numbers else []
    parameters: dict[str, Any] = {} if numbers else dict(_parameter(part) for part in given)
    named = activation(match["name"], *values, **parameters)
    # The label keeps the numbers as they were written.
    return Activation(named.expr, name="".join(text.split())) if given else named


def _is_in_catalogue_alone(match: re.Match[str]) -> bool:
    """Whether this is f(x) of a function that has a name as an activation, but none in expressions."""
    return (
        match["arguments"].strip() == "x" and match["name"] not in FUNCTIONS and canonical(match["name"]) in ACTIVATIONS
    )


def _has_two_arguments(text: str) -> bool:
    """Whether a call with numbers is an expression, max(1, 2), and no name with parameters."""
    return text.split("(")[0].strip() in TWO_OR_MORE


def _parameter(part: str) -> tuple[str, Any]:
    found = _PARAMETER.fullmatch(part)
    if found is None:
        raise InputError("parameters such as scale=0.5", repr(part.strip()))
    if found["word"]:
        return found["key"], found["word"]
    try:
        return found["key"], sp.Rational(found["value"])
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError("a number", repr(found["value"])) from error


def as_activation(value: Activation | str | sp.Expr | Callable[[Any], Any]) -> Activation:
    """An Activation from itself, a name with optional parameters, an expression, or a NumPy callable.

    Raises
    ------
    InputError
        Something else, or a parameter that the activation has not.
    UnknownNameError
        An unknown name.
    ExpressionError
        No function of one real variable.

    Examples
    --------
    >>> as_activation("softplus(sharpness=2)").name
    'softplus(sharpness=2)'
    """
    if isinstance(value, Activation):
        return value
    if isinstance(value, sp.Lambda):
        return Activation(_of_one_variable(value, len(value.variables)))
    if isinstance(value, sp.FunctionClass):
        return Activation(_of_one_variable(value, 1))
    if isinstance(value, sp.Expr):
        return Activation(value)
    if isinstance(value, str):
        return from_text(value)
    if callable(value):
        known = known_function(value)
        return CallableActivation(value) if known is None else activation(known[0], **known[1])
    raise InputError("an Activation, a name, an expression or a callable", type(value).__name__)


def _of_one_variable(function: Any, variables: int) -> sp.Expr:
    """The value of one of SymPy's functions at x."""
    taken = getattr(function, "nargs", None)
    found = function(x) if variables == 1 and isinstance(taken, sp.FiniteSet) and 1 in taken else None
    if not isinstance(found, sp.Expr):
        raise ExpressionError("a function of one variable", shown(function))
    return found
