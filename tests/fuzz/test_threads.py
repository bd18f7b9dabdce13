"""Eight threads at once: the same bits as alone, and nobody's digits reach another."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc

THREADS = 8
X = np.random.default_rng(0).standard_normal((12, 3))
Y = np.sign(X[:, 0])
NET = kc.MLP("tanh", depth=3, sigma_w=1.3)


def moments() -> np.ndarray:
    return kc.mse_moments(NET.kernels(X), Y, [0.0, 1.0, np.inf]).trace_h_std


def sampled() -> np.ndarray:
    return kc.hessian_moments(NET.kernels(X), Y, [0.0, 1.0], "binary", samples=3, rng=0).trace_h


def trained() -> np.ndarray:
    return kc.FiniteNetwork.random(NET, 6, n_in=3, rng=1).train(X, Y, [0.0, 2.0]).loss


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(kc.errors.KernelcalcError) as caught:
        call()
    return str(caught.value)


CALLS: dict[str, Callable[[], Any]] = {
    "six kernels": lambda: np.stack(
        [getattr(NET.kernels(X), name) for name in ("theta", "phi", "lam", "upsilon", "xi")]
    ),
    "fresh activation": lambda: kc.MLP(kc.Activation("x*tanh(x) + max(x, 0)"), depth=2).kernels(X[:3]).theta,
    "expectations": lambda: kc.gaussian_expectation("tanh", "softplus", [0.5, 1.0, 30.0], 2.0, 0.3),
    "normalised": lambda: kc.activation("gelu").normalized()(X),
    "moments": moments,
    "sampled moments": sampled,
    "training": trained,
    "digits": lambda: [mpmath.nstr(v, 25) for v in NET.kernels(X[:2], dps=25).sigma.ravel()],
    "symbols": lambda: sp.srepr(kc.symbolic.kernel("theta", kc.MLP("erf", depth=2))),
    "refusal": lambda: refused(lambda: kc.MLP("relu").kernels(X).phi),
    "wrong text": lambda: refused(lambda: kc.Activation("1if x else 2")),
}


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """The answers of calls that start at the same moment."""
    barrier = Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        barrier.wait(timeout=60)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


@pytest.mark.parametrize("name", CALLS)
def test_the_same_call_eight_times_at_once(name: str) -> None:
    at_once = together([CALLS[name]] * THREADS)
    alone = CALLS[name]()
    for answer in at_once:
        np.testing.assert_array_equal(answer, alone)


def test_different_calls_at_once(long: bool) -> None:
    names = [name for name in CALLS if name != "digits"]
    alone = {name: CALLS[name]() for name in names}
    rng = np.random.default_rng(0)
    for _ in range(40 if long else 3):
        chosen = rng.choice(names, THREADS)
        for name, answer in zip(chosen, together([CALLS[name] for name in chosen]), strict=True):
            np.testing.assert_array_equal(answer, alone[name], err_msg=name)


def test_digits_of_one_thread_do_not_reach_another() -> None:
    """mpmath has one precision for all threads: each answer must have its own digits all the same."""
    calls = [
        lambda dps=dps: kc.gaussian_expectation("tanh", "tanh", 1, 2, 0.5, dps=dps)
        for dps in (15, 20, 30, 40, 50, 60, 20, 50)
    ]
    alone = [call() for call in calls]
    for one, other in zip(together(calls), alone, strict=True):
        assert one == other


@pytest.mark.parametrize("digits", [7, 15, 60])
def test_the_callers_precision_is_left_alone(digits: int) -> None:
    filters = list(warnings.filters)
    states = np.geterr(), np.get_printoptions()
    with mpmath.workdps(digits):
        for name in ("six kernels", "expectations", "digits", "symbols", "normalised", "refusal", "wrong text"):
            CALLS[name]()
            assert mpmath.mp.dps == digits, name
        with pytest.raises(kc.errors.KernelcalcError):
            kc.gaussian_expectation("exp(x^2)", "exp(x^2)", 1, 1, 1, dps=20)
        assert mpmath.mp.dps == digits
    assert (np.geterr(), np.get_printoptions()) == states
    assert list(warnings.filters) == filters


def test_digits_do_not_depend_on_the_callers_precision() -> None:
    with mpmath.workdps(5):
        few = kc.gaussian_expectation("tanh", "tanh", 1, 2, 0.5, dps=30)
    with mpmath.workdps(80):
        many = kc.gaussian_expectation("tanh", "tanh", 1, 2, 0.5, dps=30)
        # README's value
        assert mpmath.nstr(many, 28) == "0.1467541154603874242875994228"
        assert few == many
