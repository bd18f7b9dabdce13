"""Random and odd arguments of the front door: finite numbers or a named refusal, never a warning from inside NumPy.

Every day some 700 calls, with ``--long`` some 15,000.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kernelcalc as kc
from kernelcalc.errors import KernelcalcError, PrecisionWarning, SlowMethodWarning

RNG = np.random.default_rng(0)
BASE = RNG.standard_normal((4, 3))
KERNELS = ("sigma", "theta", "phi", "lam", "upsilon", "xi")
SYMMETRIC = ("sigma", "theta", "upsilon", "xi")
NET = kc.MLP("erf", depth=3)
K = NET.kernels(BASE)
FINITE = kc.FiniteNetwork.random(NET, 4, 3, rng=0)
SETTINGS = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)


def called(function: Callable[[], Any]) -> Any:
    """What a call gives, or its named refusal; other exceptions, and other warnings than those with a name, are failures."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", PrecisionWarning)
        warnings.simplefilter("ignore", SlowMethodWarning)
        try:
            return function()
        except KernelcalcError as error:
            return error


def all_finite(value: Any) -> bool:
    return isinstance(value, KernelcalcError) or bool(np.isfinite(np.asarray(value, dtype=np.float64)).all())


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


# the numbers of BASE in other clothes: the answer must be that of BASE
SAME: dict[str, Any] = {
    "list": BASE.tolist(),
    "tuple of arrays": tuple(BASE),
    "fortran": np.asfortranarray(BASE),
    "strided": np.repeat(np.repeat(BASE, 2, 0), 3, 1)[::2, ::3],
    "reversed twice": BASE[::-1, ::-1].copy()[::-1, ::-1],
    "big endian": BASE.astype(">f8"),
    "object": BASE.astype(object),
    "long double": BASE.astype(np.longdouble),
    "read only": read_only(BASE),
    "nothing masked": np.ma.masked_array(BASE),
    "unaligned": np.frombuffer(b"\0" + BASE.tobytes(), np.uint8)[1:].view(np.float64).reshape(4, 3),
    "matrix subclass": BASE.view(type("Sub", (np.ndarray,), {})),
}
# what is no array of points of three inputs
WRONG: dict[str, Any] = {
    "no points": np.zeros((0, 3)),
    "no inputs": np.zeros((4, 0)),
    "a number": 2.0,
    "three axes": np.ones((4, 3, 2)),
    "nan": np.where(BASE > 1, np.nan, BASE),
    "infinity": np.where(BASE > 1, -np.inf, BASE),
    "masked": np.ma.masked_array(BASE, BASE > 0),
    "complex": BASE + 1j,
    "complex without imaginary part": BASE + 0j,
    "dates": np.full((4, 3), "2020-01-01", "M8[D]"),
    "durations": np.ones((4, 3), "m8[s]"),
    "ragged": [[1.0, 2.0, 3.0], [1.0, 2.0]],
    "words": np.array([["a", "b", "c"]] * 4),
    "objects": np.array([[object()] * 3] * 4),
    "a structure": np.zeros(4, [("a", "f8")]),
    "nothing": None,
    "a dictionary": {"X": BASE},
    "a set": {1.0, 2.0},
    "largest": np.full((4, 3), 1.7e308),
}
TAKERS: dict[str, Callable[[Any], Any]] = {
    "kernels": lambda x: NET.kernels(x).theta,
    "kernels of two": lambda x: NET.kernels(BASE, [] if x is None else x).sigma,
    "outputs": FINITE,
    "finite moments": lambda x: FINITE.hessian_moments(x, np.ones(4)).trace_h,
    "prediction": lambda x: kc.predict(NET, x, np.ones(4), times=[0.0]).learning_rates,
}
# one column each
COLUMNS: dict[str, Callable[[Any], Any]] = {
    "moments": lambda y: kc.mse_moments(K, y, [0.0, 1.0]).trace_h,
    "deviations": lambda y: kc.mse_moments(K, y, [0.0, 1.0]).trace_h_std,
    "law": lambda y: kc.mse_law(K, y, 1.0).mean,
    "mean field": lambda y: kc.mean_field_moments(K, y).at_width(64)["trace_h_mean"],
    "finite targets": lambda y: FINITE.hessian_moments(BASE, y).trace_h,
    "largest rate": lambda y: kc.largest_learning_rate(K.theta, np.zeros(4), y),
}


@pytest.mark.parametrize("clothes", SAME)
def test_other_clothes_of_the_same_numbers(clothes: str) -> None:
    for name, function in TAKERS.items():
        value = called(lambda f=function: f(SAME[clothes]))
        if clothes == "object" and isinstance(value, KernelcalcError):
            # finite networks take NumPy's own number types only
            continue
        np.testing.assert_array_equal(value, function(BASE), err_msg=name)


@pytest.mark.parametrize("wrong", WRONG)
def test_no_points_and_no_labels(wrong: str) -> None:
    for name, function in TAKERS.items():
        assert isinstance(called(lambda f=function: f(WRONG[wrong])), KernelcalcError), name
    for name, function in COLUMNS.items():
        assert isinstance(called(lambda f=function: f(WRONG[wrong])), KernelcalcError), name


@pytest.mark.parametrize(
    "wrong", ["complex", "complex without imaginary part", "dates", "ragged", "words", "nothing", "a set"]
)
def test_no_arguments_of_an_activation(wrong: str) -> None:
    assert isinstance(called(lambda: kc.activation("tanh")(WRONG[wrong])), KernelcalcError)


@pytest.mark.parametrize("size", [1e-300, 1e-150, 1e100, 1e155, 1e200, 1.7e308])
def test_labels_of_any_size(size: float) -> None:
    for name, function in COLUMNS.items():
        assert all_finite(called(lambda f=function: f(np.array([1.0, -0.5, 0.25, 0.0]) * size))), name


@pytest.mark.parametrize(
    "widths", [[[1, 2], [3]], [1.5, 2], "ab", None, [], [0, 4], [True, "x"], {}, [4, -1], 1e400, np.nan]
)
def test_widths_that_are_none(widths: Any) -> None:
    assert isinstance(called(lambda: kc.FiniteNetwork.random(NET, widths, 3)), KernelcalcError)


@st.composite
def points(draw: st.DrawFn) -> np.ndarray:
    """Up to five points: any size from 1e-150 to 1e150 together, some equal, opposite, nearly parallel or zero."""
    n, inputs = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.standard_normal((n, inputs)) * 10.0 ** draw(st.sampled_from([-150, -8, 0, 0, 0, 2, 6, 150]))
    for k in range(1, n):
        match draw(st.integers(0, 6)):
            case 0:
                x[k] = x[0]
            case 1:
                x[k] = -x[0]
            case 2:
                x[k] = x[0] * (1 + 1e-9) + 1e-9 * np.roll(x[0], 1)
            case 3:
                x[k] = 0
            case 4:
                x[k] *= 1e-5
    return x


def check_kernels(x: np.ndarray, net: Any) -> None:
    kernels = called(lambda: net.kernels(x))
    if isinstance(kernels, KernelcalcError):
        return
    for name in kernels.available:
        value = called(lambda n=name: getattr(kernels, n))
        if isinstance(value, KernelcalcError):
            continue
        assert value.shape == (len(x), len(x)), name
        assert np.isfinite(value).all(), name
        if name in SYMMETRIC:
            np.testing.assert_array_equal(value, value.T, err_msg=name)
        if name in ("sigma", "theta", "xi"):
            # Gram matrices; rounding in each entry may move an eigenvalue by n times as much
            scale = np.abs(value).max()
            assert np.linalg.eigvalsh(value / scale if scale else value).min() > -1e-9 * len(x), name


NETS = {
    (name, depth): kc.MLP(name, depth=depth, sigma_w=1.3, beta=0.1)
    for name, depths in {"erf": (1, 3, 100), "relu": (1, 3, 100), "gelu": (2, 3), "tanh": (1, 2)}.items()
    for depth in depths
}


def test_kernels_of_any_points(long: bool) -> None:
    @settings(SETTINGS, max_examples=1500 if long else 25)
    @given(points(), st.sampled_from([which for which in sorted(NETS) if long or which[0] != "tanh"]))
    def check(x: np.ndarray, which: tuple[str, int]) -> None:
        check_kernels(x, NETS[which])

    check()


def test_expectations_of_any_covariance(long: bool) -> None:
    numbers = st.sampled_from([0.0, 1e-300, 1e-8, 0.3, 1.0, 7.0, 1e4, 1e150, 1e300, -1.0, np.nan, np.inf])
    correlations = st.sampled_from([0.0, 0.5, -0.5, 1.0, -1.0, 1 - 1e-15, -1 + 1e-9, 1 + 1e-9, 2.0, np.nan])
    functions = st.sampled_from(["erf", "relu", "gelu", "step", "x**3", "sin", "linear", "exp(-x^2)"])

    @settings(SETTINGS, max_examples=5000 if long else 150)
    @given(functions, functions, numbers, numbers, correlations)
    def check(f: str, g: str, q: float, qp: float, rho: float) -> None:
        with np.errstate(all="ignore"):
            c = rho * np.sqrt(abs(q)) * np.sqrt(abs(qp))
        result = called(lambda: kc.gaussian_expectation(f, g, q, qp, c, full_output=True))
        if not isinstance(result, KernelcalcError):
            assert np.isfinite(result.value), (f, g, q, qp, c)
            assert result.error >= 0, (f, g, q, qp, c)
        if not (q >= 0 and qp >= 0 and np.isfinite(q + qp) and abs(rho) <= 1 + 1e-12):
            assert isinstance(result, KernelcalcError) or q * qp == 0, (f, g, q, qp, c)

    check()


def test_finite_networks_of_any_shape(long: bool) -> None:
    @settings(SETTINGS, max_examples=600 if long else 25)
    @given(points(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.sampled_from(["tanh", "relu", "gelu"]))
    def check(x: np.ndarray, width: int, depth: int, outputs: int, name: str) -> None:
        net = kc.MLP(name, depth=depth, n_out=outputs)
        fin = kc.FiniteNetwork.random(net, [width] * (depth - 1), n_in=x.shape[1], rng=0)
        assert all_finite(called(lambda: fin(x)))
        assert all_finite(called(lambda: fin.ntk(x)))
        assert all_finite(called(lambda: fin.hessian_moments(x, np.ones((len(x), outputs))).trace_h))

    check()
