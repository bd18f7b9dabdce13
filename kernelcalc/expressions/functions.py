"""SymPy functions whose floats neither overflow nor cancel: logistic sigmoid, softplus, log cosh, exp(x) − 1, tails of erf.

Derivatives stay products without cancellation; what NumPy and mpmath compute them by stands beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from kernelcalc.expressions.sinc import sinc_digits, sinc_floats


class _Positive(sp.Function):
    """A function that is positive on the real line."""

    def _eval_is_positive(self) -> bool | None:
        return True if self.args[0].is_extended_real else None


class LogisticSigmoid(_Positive):
    """1/(1 + e^{−u}); derivative :class:`LogisticDensity`."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        return LogisticDensity(self.args[0])

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return 1 / (1 + sp.exp(-u))


class LogisticDensity(_Positive):
    """e^{−u}/(1 + e^{−u})² = sech²(u/2)/4; derivative −tanh(u/2) times itself."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        u = self.args[0]
        return -LogisticDensity(u) * StableTanh(u / 2)

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return 1 / (2 + sp.exp(-u) + sp.exp(u))


class StableTanh(sp.Function):
    """tanh u, with the derivative written as 4 LogisticDensity(2u) instead of 1 − tanh² u."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        return 4 * LogisticDensity(2 * self.args[0])

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return sp.tanh(u)


class Softplus(_Positive):
    """log(1 + e^u)."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        return LogisticSigmoid(self.args[0])

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return sp.log(1 + sp.exp(u))


class LogCosh(sp.Function):
    """log cosh u."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        return StableTanh(self.args[0])

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return sp.log(sp.cosh(u))


class ErrorComplement(_Positive):
    """erfc u, which SymPy would turn into 2 − erfc(−u) for negative arguments."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        return -2 * sp.exp(-(self.args[0] ** 2)) / sp.sqrt(sp.pi)

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return sp.erfc(u)


class LogHalfErrorComplement(sp.Function):
    """log(½ erfc u), which vanishes at the far left; derivative −2/√π times :class:`ErrorRatio`."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        return -2 * ErrorRatio(self.args[0]) / sp.sqrt(sp.pi)

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return sp.log(sp.erfc(u) / 2)


class ErrorRatio(sp.Function):
    """e^{−u²}/erfc u, Mills' ratio turned over; derivative 2 ErrorRatio (ErrorRatio/√π − u)."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        u = self.args[0]
        return 2 * ErrorRatio(u) * (ErrorRatio(u) / sp.sqrt(sp.pi) - u)

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return sp.exp(-(u**2)) / sp.erfc(u)


class Logarithm(sp.Function):
    """log u, of whose multiples in an exponential SymPy makes no powers."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        return 1 / self.args[0]

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return sp.log(u)


class LogSoftplus(sp.Function):
    """log log(1 + e^u); derivative e^{log LogisticSigmoid − this}, a quotient of two that vanish at the far left."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        u = self.args[0]
        return sp.exp(-Softplus(-u) - LogSoftplus(u))

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return sp.log(sp.log(1 + sp.exp(u)))


class LogMinusLogHalfErrorComplement(sp.Function):
    """log(−log(½ erfc u)); derivative 2/√π e^{log ErrorRatio − this}, a quotient of two that vanish at the far left."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        u = self.args[0]
        return sp.exp(-(u**2) - LogHalfErrorComplement(u) - LogMinusLogHalfErrorComplement(u)) / sp.sqrt(sp.pi)

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return sp.log(-sp.log(sp.erfc(u) / 2))


class ExpMinusOne(sp.Function):
    """e^u − 1."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        return sp.exp(self.args[0])

    def _eval_rewrite_as_exp(self, u: Any, **_: Any) -> Any:
        return sp.exp(u) - 1


def _with_special(name: str) -> Callable[..., Any]:
    """Function of scipy.special by name, imported at the first call: the import costs a quarter of a second."""

    def call(*args: Any) -> Any:
        from scipy import special

        return getattr(special, name)(*args)

    return call


def _logistic_density(u: Any) -> Any:
    e = np.exp(-np.abs(u))
    return e / (1 + e) ** 2


def _log_cosh(u: Any) -> Any:
    # For small |u| the sum below cancels; log1p(2 sinh²(u/2)) does not. A plain float keeps single precision single.
    magnitude = np.abs(u)
    small = np.log1p(2 * np.sinh(np.minimum(magnitude, 1) / 2) ** 2)
    return np.where(magnitude < 1, small, magnitude + np.log1p(np.exp(-2 * magnitude)) - float(np.log(2)))


def _sigmoid(u: Any) -> Any:
    e = np.exp(-np.abs(u))
    return np.where(u >= 0, 1, e) / (1 + e)


def _log_half_erfc(u: Any) -> Any:
    from scipy import special

    return special.log_ndtr(-float(np.sqrt(2)) * u)


def _log_softplus(u: Any) -> Any:
    # log(1 + t) = t (1 − t/2 + …): below −40 the rest is beyond the digits
    with np.errstate(divide="ignore"):
        return np.where(u < -40, u, np.log(np.maximum(u, 0) + np.log1p(np.exp(-np.abs(u)))))


def _log_minus_log_half_erfc(u: Any) -> Any:
    # −log(1 − t) = t (1 + t/2 + …) where t = ½ erfc(−u) is small: the same
    with np.errstate(divide="ignore"):
        return np.where(u < -7, _log_half_erfc(-u), np.log(-_log_half_erfc(u)))


def _error_ratio(u: Any) -> Any:
    from scipy import special

    # erfcx overflows to the left of −26, where the ratio is below 1e-307
    return 1 / special.erfcx(u)


NUMPY_FUNCTIONS: dict[str, Any] = {
    "LogisticSigmoid": _sigmoid,
    "LogisticDensity": _logistic_density,
    "StableTanh": np.tanh,
    "Softplus": lambda u: np.maximum(u, 0) + np.log1p(np.exp(-np.abs(u))),
    "LogCosh": _log_cosh,
    "Logarithm": np.log,
    "ExpMinusOne": np.expm1,
    "ErrorComplement": _with_special("erfc"),
    "LogHalfErrorComplement": _log_half_erfc,
    "LogSoftplus": _log_softplus,
    "LogMinusLogHalfErrorComplement": _log_minus_log_half_erfc,
    "ErrorRatio": _error_ratio,
    "erf": _with_special("erf"),
    "erfc": _with_special("erfc"),
    "Sinc": sinc_floats,
    "DiracDelta": np.zeros_like,
}
# What compiled expressions of mpmath's numbers look names up in.
MPMATH_FUNCTIONS: list[Any] = [{"Sinc": sinc_digits}, "mpmath"]


def plain(expr: sp.Expr) -> sp.Expr:
    """The same expression in SymPy's own elementary functions."""
    # of all classes of this module
    return expr.replace(lambda e: type(e).__module__ == __name__, lambda e: e._eval_rewrite_as_exp(*e.args))
