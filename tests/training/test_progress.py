"""Long calls say so before they begin."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from kernelcalc.errors import SlowMethodWarning
from kernelcalc.studies.spectrum import spectrum_of_i
from kernelcalc.training.flow import _warn_if_long, hessian_moments
from kernelcalc.training.law import mse_quantiles
from kernelcalc.training.losses import resolve_loss
from kernelcalc.training.mse import mse_moments
from kernelcalc.training.progress import _PATIENCE, _SPEED, warn_if_long, with_bar


def kernels(n):
    a = np.random.default_rng(0).normal(size=(n, n))
    a = a @ a.T
    return SimpleNamespace(sigma=a, theta=a, phi=a / 4, lam=a, upsilon=a, xi=a)


KERNELS = kernels(8)
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


@pytest.mark.parametrize(
    ("read", "what", "hint", "growth"),
    [
        (lambda n, count: mse_moments(kernels(n), np.ones(n), np.zeros(count)), "moments of {n} points", "points", 1),
        (
            lambda n, count: mse_moments(kernels(n), np.ones(n), np.zeros(count)).trace_s_std,
            "standard deviations at {count} times for {n} points",
            "times",
            3,
        ),
    ],
)
def test_seconds_grow_with_the_matrix_products(read, what, hint, growth, monkeypatch):
    """N³ each; means take one, deviations one for every time."""
    monkeypatch.setattr("kernelcalc.training.progress._SPEED", 1.0)
    seconds = []
    for n, count in ((8, 1), (16, 1), (8, 3)):
        with pytest.warns(SlowMethodWarning) as found:
            read(n, count)
        last = str(found[-1].message)
        matched = re.fullmatch(
            rf"{what.format(n=n, count=count)}: about (\d+) s on one core; fewer {hint} are faster", last
        )
        seconds.append(int(matched[1]))
    assert seconds[1:] == [8 * seconds[0], growth * seconds[0]]


def test_a_bar_replaces_the_warning(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("kernelcalc.training.progress._PATIENCE", 1e-12)
    hessian_moments(KERNELS, Y, [0.0], "softmax", samples=2, progress=True)


def test_short_ones_do_not():
    warn_if_long(1e10, "what", "hint")
    assert list(with_bar([1, 2], "steps", False)) == [1, 2]


def test_seconds_of_sampled_moments_grow_with_what_is_computed(monkeypatch):
    """A share for each initialisation, in it one for each time; products of blocks for each pair of outputs."""
    monkeypatch.setattr("kernelcalc.training.progress._SPEED", 1e-3)

    def seconds(loss, y, samples=2, count=1, kmax=1, workers=1):
        options = {"samples": samples, "kmax": kmax, "workers": workers}
        with pytest.warns(
            SlowMethodWarning, match=f"^moments of 8 points, {samples} initialisations at {count} "
        ) as found:
            hessian_moments(KERNELS, y, np.arange(float(count)), loss, **options)
        return int(re.search(r"about (\d+) s", str(found[-1].message))[1])

    one = seconds("binary", Y)
    assert [seconds("binary", Y, 6), 2 * seconds("binary", Y, workers=2)] == [3 * one, one]
    three, five = (seconds("binary", Y, 2, count) - one for count in (3, 5))
    assert five == 2 * three > 0
    three, four = (seconds("softmax", np.arange(8) % c, kmax=4) - seconds("softmax", np.arange(8) % c) for c in (3, 4))
    assert four > 1.5 * three > 0
    # the square of a matrix for each output; all of it at once for a loss that couples outputs
    assert seconds("binary", Y, kmax=3) - one == pytest.approx(2 * 8**3 / 1e-3)
    five, one = (seconds("softmax", np.arange(8) % 3, kmax=k) for k in (5, 7))
    assert one - five == pytest.approx(2 * 16**3 / 1e-3)
    # nothing of it where the Hessian stays what it is
    assert seconds("mse", Y, kmax=4) == seconds("mse", Y)


def test_the_moments_of_256_digits_are_not_called_long(monkeypatch):
    """Ten classes, 64 initialisations at 50 times: 8 to 13 processor seconds were measured."""
    found = []
    monkeypatch.setattr("kernelcalc.training.flow.warn_if_long", lambda work, *_: found.append(work / _SPEED))
    _warn_if_long(resolve_loss("softmax"), (64, 50, 256, 10, 4), True, 1)
    _warn_if_long(resolve_loss("softmax"), (64, 50, 256, 10, 4), True, 2)
    assert 6.5 < found[0] < 16
    assert found[1] < _PATIENCE
