"""Every function of training refuses the same kernels, labels and times with the same words."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from kernelcalc import arguments
from kernelcalc.errors import InputError, NotFiniteError, ShapeError, SmoothnessError
from kernelcalc.studies.fisher import fisher_spectrum
from kernelcalc.studies.meanfield import mean_field_moments
from kernelcalc.studies.sample_covariance import MarchenkoPastur
from kernelcalc.studies.spectrum import spectrum_of_i
from kernelcalc.training import checks
from kernelcalc.training.checks import gram, sorted_times
from kernelcalc.training.flow import hessian_moments
from kernelcalc.training.law import mse_law
from kernelcalc.training.mse import mse_moments

NAMES = ("sigma", "theta", "phi", "lam", "upsilon", "xi")
SKEW = np.eye(3) + np.eye(3, k=1) / 10


def kernels(**changed):
    return SimpleNamespace(
        **(dict.fromkeys(NAMES, np.eye(3)) | {"phi": SKEW, "lam": SKEW, "xi": 4 * np.eye(3)} | changed)
    )


CALLS = {
    "mse_moments": lambda k, y: mse_moments(k, y, [0.0]).trace_s_std,
    "hessian_moments": lambda k, y: hessian_moments(k, y, [0.0], "(y - t)^2/2", samples=2),
    "mse_law": lambda k, y: (mse_law(k, y, 0.0), mse_law(k, y, 0.0, "trace_s2")),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@every_call
@pytest.mark.parametrize("name", ["sigma", "theta", "upsilon", "xi"])
def test_a_kernel_that_should_be_symmetric(call, name):
    call(kernels(), np.ones(3))
    with pytest.raises(InputError, match=f"symmetric kernel {name}"):
        call(kernels(**{name: SKEW}), np.ones(3))


@every_call
@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (np.full((3, 3), np.nan), NotFiniteError, "finite kernel theta"),
        (np.ones((3, 2)), ShapeError, "square kernel theta"),
        (np.ones((0, 0)), ShapeError, "square kernel theta"),
        ([["a"]], InputError, "array of numbers"),
        (None, InputError, "the array theta"),
    ],
)
def test_a_kernel_that_is_none(call, matrix, error, message):
    with pytest.raises(error, match=message):
        call(kernels(theta=matrix), np.ones(3))


@every_call
@pytest.mark.parametrize(
    ("labels", "error"),
    [([1.0], ShapeError), ([1.0, np.inf, 0.0], NotFiniteError), (["a", "b", "c"], InputError), ([], ShapeError)],
)
def test_labels(call, labels, error):
    with pytest.raises(error):
        call(kernels(), labels)


def test_studies_check_symmetry_too():
    with pytest.raises(InputError, match="symmetric kernel theta"):
        spectrum_of_i(kernels(theta=SKEW), np.zeros(3), np.zeros(3))
    with pytest.raises(InputError, match="symmetric kernel upsilon"):
        mean_field_moments(kernels(upsilon=SKEW), np.zeros(3))


def test_rounding_is_no_asymmetry_and_is_removed():
    given = np.eye(3)
    given[0, 1] = 1e-12
    found = gram(kernels(theta=given), "theta")
    np.testing.assert_array_equal(found, found.T)
    assert found[0, 1] == 5e-13


LEVELS = {
    "samples": partial(hessian_moments(kernels(), np.ones(3), [0.0], samples=3).quantiles, "loss"),
    "a law": mse_law(kernels(), np.ones(3), 0.0, "loss").quantile,
    "fisher": fisher_spectrum("tanh", 2, 3, 2, quantiles=4).quantile,
    "eigenvalues": MarchenkoPastur.of([1.0], 0.5).positive_quantile,
}


@pytest.mark.parametrize("quantile", LEVELS.values(), ids=LEVELS.keys())
def test_levels_of_quantiles(quantile):
    low, high = quantile([0.2, 0.8])
    assert low < high
    for wrong in (1.5, [-0.1], np.nan):
        with pytest.raises(InputError, match=r"^expected levels between 0 and 1, got "):
            quantile(wrong)
    with pytest.raises(InputError, match="levels, numbers between 0 and 1, got str"):
        quantile("a")


def test_times_are_sorted_and_found_again():
    unique, where = sorted_times([3.0, 1.0, 3.0])
    np.testing.assert_array_equal(unique, [1.0, 3.0])
    np.testing.assert_array_equal(unique[where], [3.0, 1.0, 3.0])
    for times, error in (
        ([np.nan], NotFiniteError),
        ([np.inf], NotFiniteError),
        ([-1.0], InputError),
        ([], ShapeError),
    ):
        with pytest.raises(error):
            sorted_times(times)


# Every refusal as a whole: what was expected, what came, what to do
REFUSED = {
    "no kernel": (
        lambda: gram(SimpleNamespace(), "theta"),
        InputError,
        "expected kernels with the array theta, got SimpleNamespace without it; use net.kernels(X)",
    ),
    "no square": (
        lambda: checks.square(np.ones((2, 3)), "theta"),
        ShapeError,
        "expected a square kernel theta, got the shape (2, 3); use net.kernels(X) without X2",
    ),
    "no matrix": (
        lambda: checks.square(np.ones((2, 2, 2)), "theta"),
        ShapeError,
        "expected a square kernel theta, got the shape (2, 2, 2); use net.kernels(X) without X2",
    ),
    "other points": (
        lambda: checks.square(np.eye(2), "phi", 3),
        ShapeError,
        "expected a kernel phi of the shape (3, 3), got the shape (2, 2); one row a label, as in all kernels",
    ),
    "no numbers": (
        lambda: checks.square([["a"]], "phi"),
        InputError,
        "expected a kernel phi, an array of numbers, got list",
    ),
    "infinity": (
        lambda: checks.square([[np.inf]], "xi"),
        NotFiniteError,
        "expected a finite kernel xi, got NaN or infinity",
    ),
    "a mirror image": (
        lambda: checks.square([[1.0, 0.25], [0.0, 1.0]], "xi"),
        InputError,
        "expected a symmetric kernel xi, got entries that differ by 0.25 from their mirror image",
    ),
    "a jump": (
        lambda: checks.with_defined_kernels(SimpleNamespace(available=("sigma",))),
        SmoothnessError,
        "expected a continuous nonlinearity, got one that jumps; use erf or probit for a smooth step",
    ),
    "labels as text": (
        lambda: checks.columns(["a"]),
        InputError,
        "expected Y, numbers (of class names kernelcalc.datasets.one_hot makes them), got list",
    ),
    "labels in 3 axes": (
        lambda: checks.columns(np.ones((2, 2, 2))),
        ShapeError,
        "expected Y of the shape (N,) or (N, n_out), got the shape (2, 2, 2)",
    ),
    "a number": (
        lambda: checks.columns(3.0, 2),
        ShapeError,
        "expected Y of the shape (2,) or (2, n_out), got the shape ()",
    ),
    "other outputs": (
        lambda: checks.columns(np.ones((2, 3)), 2, 4, "D"),
        ShapeError,
        "expected D of the shape (2, 4), got the shape (2, 3)",
    ),
    "one output": (
        lambda: checks.columns(np.ones((2, 3)), None, 1),
        ShapeError,
        "expected Y of the shape (N,) or (N, 1), got the shape (2, 3)",
    ),
    "labels that are none": (
        lambda: checks.columns([np.nan]),
        NotFiniteError,
        "expected finite Y, got NaN or infinity",
    ),
    "huge labels": (
        lambda: checks.columns([1.0, -1e200]),
        NotFiniteError,
        "expected Y whose squares are finite numbers, got 1e+200; scale them down",
    ),
    "times in 2 axes": (
        lambda: checks.times_of([[1.0]], endless=True),
        ShapeError,
        "expected times of the shape (T,), T ≥ 1, got the shape (1, 1)",
    ),
    "times as text": (
        lambda: checks.times_of("now", endless=True),
        InputError,
        "expected times, a sequence of numbers, got str",
    ),
    "no time": (lambda: checks.times_of([1.0, np.nan], endless=True), NotFiniteError, "expected times ≥ 0, got NaN"),
    "before the start": (
        lambda: checks.times_of([1.0, -0.5], endless=True),
        InputError,
        "expected times ≥ 0, got -0.5; training starts at t = 0",
    ),
    "the end": (
        lambda: checks.times_of([np.inf], endless=False),
        NotFiniteError,
        "expected finite times, got infinity; the end of training exists in closed form for the MSE only",
    ),
    "a level at the end": (
        lambda: checks.levels_of([0.5, 1.0], ends=False),
        InputError,
        "expected levels between 0 and 1, got [0.5, 1.0]",
    ),
    "a level at the start": (
        lambda: checks.levels_of([0.0, 0.5], ends=False),
        InputError,
        "expected levels between 0 and 1, got [0.0, 0.5]",
    ),
    "a fraction": (
        lambda: arguments.check_count("copies", 1.5, 1),
        InputError,
        "expected copies, a whole number of at least 1, got 1.5",
    ),
    "a truth": (
        lambda: arguments.check_count("copies", True, 1),
        InputError,
        "expected copies, a whole number of at least 1, got True",
    ),
    "too few": (
        lambda: arguments.check_count("copies", np.int64(1), 2),
        InputError,
        "expected copies, a whole number of at least 2, got ",
    ),
    "a text": (
        lambda: arguments.check_number("rtol", "a", 2.0),
        InputError,
        "expected rtol, a finite number of at least 2, got 'a'",
    ),
    "too small": (
        lambda: arguments.check_number("rtol", 1.0, 2.0),
        InputError,
        "expected rtol, a finite number of at least 2, got 1.0",
    ),
    "infinite": (
        lambda: arguments.check_number("rtol", np.inf),
        InputError,
        "expected rtol, a finite number of at least 0, got inf",
    ),
    "nothing": (
        lambda: arguments.check_number("rtol", np.nan, finite=False),
        InputError,
        "expected rtol, a number of at least 0, got nan",
    ),
    "no seed": (
        lambda: arguments.random_generator(-1),
        InputError,
        "expected rng, a seed (a whole number ≥ 0) or a numpy.random.Generator, got -1",
    ),
    "no generator": (
        lambda: arguments.random_generator("a"),
        InputError,
        "expected rng, a seed (a whole number ≥ 0) or a numpy.random.Generator, got 'a'",
    ),
    "complex": (
        lambda: arguments.floats([1j], "X", "numbers"),
        InputError,
        "expected X: real numbers, got dtype complex128; pass numbers",
    ),
    "dates": (
        lambda: arguments.floats(np.array(["2020-01-01"], dtype="M8[D]"), "X", "numbers"),
        InputError,
        "expected X: real numbers, got dtype datetime64[D]; pass numbers",
    ),
    "not finite": (
        lambda: arguments.finite([np.nan], "X"),
        NotFiniteError,
        "expected X, finite numbers, got NaN or infinity",
    ),
    "finite text": (lambda: arguments.finite(["a"], "X"), InputError, "expected X, numbers, got list"),
}


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_words_of_refusals(call, error, message):
    with pytest.raises(error) as found:
        call()
    assert str(found.value).startswith(message)
    assert len(str(found.value)) == len(message) or message.endswith("got ")


def test_what_is_let_through():
    assert checks.columns([1, 2]).shape == (2, 1)
    assert checks.columns(np.ones((2, 3)), 2, 3).shape == (2, 3)
    assert checks.columns([[1.0, 2.0]], 1, 2).shape == (1, 2)
    assert checks.columns([1.0, 2.0], 2, 1).tolist() == [[1], [2]]
    assert checks.columns([1e150]).tolist() == [[1e150]]
    assert checks.times_of(2.0, endless=False).tolist() == [2.0]
    assert checks.times_of([0.0, np.inf], endless=True).tolist() == [0, np.inf]
    assert checks.levels_of([0.0, 1.0]).tolist() == [0, 1]
    assert checks.levels_of([0.1, 0.9], ends=False).tolist() == [0.1, 0.9]
    assert [arguments.check_count("n", value, 2) for value in (2, np.int32(3))] == [None, None]
    assert arguments.check_number("rtol", 2, 2.0) == 2.0
    assert arguments.check_number("rtol", np.inf, finite=False) == np.inf
    assert arguments.check_number("rtol", 0) == 0
    given = np.random.default_rng(3)
    assert arguments.random_generator(given) is given
    assert arguments.random_generator(3).random() == np.random.default_rng(3).random()
    assert arguments.finite([1, 2], "X").dtype == np.float64
    np.testing.assert_array_equal(checks.square(SKEW, "phi"), SKEW)
    np.testing.assert_array_equal(checks.square(SKEW, "lam"), SKEW)
    # exactly at the accuracy of kernels, relative to the largest entry
    near = 4 * np.eye(2)
    near[0, 1] = 4e-10
    assert checks.square(near, "xi")[0, 1] == 2e-10
    near[0, 1] = 4.1e-10
    with pytest.raises(InputError):
        checks.square(near, "xi")


def test_kernels_that_are_not_defined_are_zero():
    rough = SimpleNamespace(available=("sigma", "theta"), shape=(2, 2), sigma=np.eye(2), theta=2 * np.eye(2))
    found = checks.with_defined_kernels(rough)
    assert found.theta is rough.theta
    assert found.sigma is rough.sigma
    for name in ("phi", "lam", "upsilon", "xi"):
        np.testing.assert_array_equal(getattr(found, name), np.zeros((2, 2)))
    whole = SimpleNamespace(available=NAMES)
    assert checks.with_defined_kernels(whole) is whole
