import gc
import linecache

import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.expressions.compiling import compile_expression
from kernelcalc.expressions.stable import mpmath_callable, numpy_callable

t = sp.Symbol("t", real=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: compile_expression(t, sp.sin(t), "math"),
        lambda: numpy_callable(sp.tanh(t) + t, t),
        lambda: mpmath_callable(sp.erf(t) * t, t),
        lambda: kc.convex_loss("log(cosh(y - t))"),
        lambda: kc.symbolic.to_numpy(t**3 + 1, (t,)),
    ],
)
def test_compiled_functions_leave_nothing_that_vanishes_under_a_traceback(make):
    before = set(linecache.cache)
    made = make()
    assert not [name for name in set(linecache.cache) - before if "lambdifygenerated" in name]
    del made
    gc.collect()
    linecache.checkcache()


def test_compiled_functions_compute():
    assert compile_expression((t,), t**2 + 3 * t, "math")(2.0) == 10.0
