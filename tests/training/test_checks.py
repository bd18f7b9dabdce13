"""Every function of training refuses the same kernels, labels and times with the same words."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from kernelcalc.errors import InputError, NotFiniteError, ShapeError
from kernelcalc.studies.fisher import fisher_spectrum
from kernelcalc.studies.meanfield import mean_field_moments
from kernelcalc.studies.sample_covariance import MarchenkoPastur
from kernelcalc.studies.spectrum import spectrum_of_i
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
