"""Functions and modules of NumPy, SciPy, PyTorch and JAX that are activations, told by their names, without importing any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernelcalc.activations.catalogue import ACTIVATIONS, REFUSED, canonical
from kernelcalc.errors import InputError

# Attributes of PyTorch's modules that are parameters here.
_ATTRIBUTES = {
    "GELU": ("approximate",),
    "LeakyReLU": ("negative_slope",),
    "ELU": ("alpha",),
    "CELU": ("alpha",),
    "Softplus": ("beta",),
    "Hardtanh": ("min_val", "max_val"),
    "Hardshrink": ("lambd",),
    "Softshrink": ("lambd",),
    "Threshold": ("threshold", "value"),
    "PReLU": ("weight",),
}
# PyTorch's softplus is x beyond beta·x = threshold: with its default 20 that is softplus to 2e-9.
_SOFTPLUS_THRESHOLD = 20
# What NumPy and SciPy call a function, where it is not its name here.
_UFUNCS: dict[str, tuple[str, dict[str, Any]]] = {
    "square": ("polynomial", {"coefficients": (0, 0, 1)}),
    **dict.fromkeys(("negative", "neg"), ("polynomial", {"coefficients": (0, -1)})),
    "positive": ("linear", {}),
    "fabs": ("abs", {}),
}
# The same as expressions in x: functions without a name in the catalogue.
_EXPRESSIONS = {
    **{name: f"{name}(x)" for name in ("sinh", "cosh", "expm1", "erfc", "arcsinh", "asinh")},
    **dict.fromkeys(("log_ndtr", "logndtr"), "log(Phi(x))"),
}
# What to write instead of a function of two or more arguments, and of one that has no expectations.
_INSTEAD = {
    **dict.fromkeys(("maximum", "max", "fmax"), "'relu' or 'max(x, 0)'"),
    **dict.fromkeys(("minimum", "min", "fmin"), "'min(x, 0)'"),
    **dict.fromkeys(("clip", "clamp"), "'hard_tanh' or 'max(-1, min(x, 1))'"),
    **dict.fromkeys(("logaddexp", "logaddexp2"), "'softplus'"),
    **dict.fromkeys(("power", "pow", "float_power"), "'x^2'"),
    **dict.fromkeys(("where", "select", "piecewise"), "'where(x > 0, x, 0.1*x)'"),
    **dict.fromkeys(("add", "multiply", "mul", "subtract", "divide"), "'x + x^2' and the like"),
}
# JAX's gelu is the approximation unless told otherwise.
_JAX_DEFAULTS: dict[str, dict[str, Any]] = {"gelu": {"approximate": "tanh"}}
_FRAMEWORKS = ("torch", "jax", "numpy", "scipy", "math")


def known_function(value: Callable[[Any], Any]) -> tuple[str, dict[str, Any]] | None:
    """Name (or expression) and parameters of an activation for a function or module of another library, or None.

    Raises
    ------
    InputError
        A function of these libraries that is no activation, as softmax; PyTorch's class in place of an object of it.

    Examples
    --------
    >>> known_function(np.tanh), known_function(lambda v: v)
    (('tanh', {}), None)
    """
    if isinstance(value, np.ufunc):
        return _in_catalogue(value.__name__)
    if isinstance(value, type):
        if _library(value) == "torch":
            raise InputError(
                "an object of a module", f"the class {value.__name__}", f"{value.__name__}() with parentheses"
            )
        return None
    if _library(type(value)) == "torch" and hasattr(value, "forward"):
        return _of_module(value)
    # torch.special's functions are called special_erf and so on
    library, name = _library(value), getattr(value, "__name__", "").removeprefix("special_")
    if library == "jax" and name in _JAX_DEFAULTS:
        return name, dict(_JAX_DEFAULTS[name])
    return _in_catalogue(name) if library in _FRAMEWORKS else None


def written_instead(name: str) -> str:
    """How a function that takes more than a unit's pre-activation is written as a text of x; nothing for others.

    Examples
    --------
    >>> written_instead("maximum"), written_instead("f")
    ("'relu' or 'max(x, 0)'", '')
    """
    return _INSTEAD.get(name, "")


def _library(value: Any) -> str:
    """The top level name of where something was defined; PyTorch's builtin functions say nothing but their type."""
    module = getattr(value, "__module__", None) or ""
    if not module:
        owner = getattr(value, "__self__", None)
        module = getattr(owner, "__name__", "") or type(owner).__module__
    return str(module).split(".")[0].lstrip("_").removesuffix("lib")


def _in_catalogue(name: str) -> tuple[str, dict[str, Any]] | None:
    if name in _UFUNCS:
        return _UFUNCS[name]
    if name in _EXPRESSIONS:
        return _EXPRESSIONS[name], {}
    found = canonical(name)
    if found in REFUSED:
        raise InputError("a function of one unit's pre-activation", f"{name}, which {REFUSED[found]}")
    return (found, {}) if found in ACTIVATIONS else None


def _of_module(module: Any) -> tuple[str, dict[str, Any]]:
    kind = type(module).__name__
    found = _in_catalogue(kind)
    if found is None:
        raise InputError(
            "a module of PyTorch that is an activation", kind, "write its expression: kc.Activation('x*tanh(x)')"
        )
    if kind == "Softplus" and getattr(module, "threshold", _SOFTPLUS_THRESHOLD) < _SOFTPLUS_THRESHOLD:
        raise InputError(f"Softplus with a threshold of at least {_SOFTPLUS_THRESHOLD}", f"{module.threshold}")
    parameters = {}
    for attribute in _ATTRIBUTES.get(kind, ()):
        value = getattr(module, attribute)
        if attribute == "weight":
            if value.numel() != 1:
                raise InputError("a PReLU with one slope for all units", f"{value.numel()} slopes")
            value = float(value.detach())
        parameters[attribute] = value
    return found[0], parameters
