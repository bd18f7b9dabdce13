"""Long calls say so before they begin."""

from types import SimpleNamespace

import numpy as np
import pytest

from kernelcalc.errors import SlowMethodWarning
from kernelcalc.studies.spectrum import spectrum_of_i
from kernelcalc.training.flow import hessian_moments
from kernelcalc.training.law import mse_quantiles
from kernelcalc.training.mse import mse_moments
from kernelcalc.training.progress import warn_if_long, with_bar

A = np.random.default_rng(0).normal(size=(8, 8))
A = A @ A.T
KERNELS = SimpleNamespace(sigma=A, theta=A, phi=A / 4, lam=A, upsilon=A, xi=A)
Y = np.arange(8) % 2

CALLS = {
    "moments under MSE": lambda: mse_moments(KERNELS, Y, [0.0]),
    "standard deviations": lambda: mse_moments(KERNELS, Y, [0.0]).trace_s_std,
    "moments": lambda: hessian_moments(KERNELS, Y, [0.0], "softmax", samples=2),
    "laws": lambda: mse_quantiles(KERNELS, Y, [0.0], "loss"),
    "the spectrum": lambda: spectrum_of_i(KERNELS, np.zeros(8), Y),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_each_says_so(call, monkeypatch):
    call()
    monkeypatch.setattr("kernelcalc.training.progress._PATIENCE", 1e-12)
    with pytest.warns(SlowMethodWarning, match="on one core; .* faster"):
        call()


def test_a_bar_replaces_the_warning(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("kernelcalc.training.progress._PATIENCE", 1e-12)
    hessian_moments(KERNELS, Y, [0.0], "softmax", samples=2, progress=True)


def test_short_ones_do_not():
    warn_if_long(1e10, "what", "hint")
    assert list(with_bar([1, 2], "steps", False)) == [1, 2]
