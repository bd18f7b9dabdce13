"""Networks with positions on points whose windows are nearly parallel: as good as is said, beside plain ones."""

import re
import warnings

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import PrecisionWarning
from kernelcalc.kernels.layers import Conv, Dense, Flatten, GlobalAverage

X = np.random.default_rng(5).standard_normal((2, 4))
W = 1.4
NAMES = ("sigma", "theta")


def net(*names, end=None):
    hidden = [layer for name in names for layer in (Conv(1, W, 0.0), name)]
    return kc.Sequential(*hidden, end or Flatten(), Dense(W, 0.0))


def found(network, points, only=NAMES):
    """Kernels, and the error that is said of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kernels = network.kernels(*points, only=only)
    said = [str(one.message) for one in caught if one.category is PrecisionWarning]
    assert len(said) == len(caught) <= 1
    pattern = (
        r"points whose windows are nearly parallel: relative error of their kernels up to (\S+) behind a second nonlinearity "
        r"with kinks; leave out points that are nearly multiples of others"
    )
    return kernels, float(re.fullmatch(pattern, said[0])[1]) if said else 1e-10


@pytest.mark.parametrize("end", [Flatten(), GlobalAverage()], ids=["flatten", "average"])
@pytest.mark.parametrize("length", [1.0, 1.5])
def test_errors_are_those_that_are_said(end, length):
    """Two layers of relu, whose second one sees angles through rounding; none is said where none is."""
    for off in (0.0, 1e-10, 1e-9, 1e-8, 7e-8, 1e-6, 1e-4):
        points = X[:1], length * X[:1] + off * X[1:]
        kernels, error = found(net("relu", "relu", end=end), [p[:, None] for p in points])
        known = kc.MLP("relu", 3, sigma_w=W, beta=0.0).kernels(*points, only=NAMES, dps=25)
        for name in NAMES:
            assert abs(getattr(kernels, name)[0, 0] / float(getattr(known, name)[0, 0]) - 1) < error
        assert error == 1e-10 or 3e-10 < off < 1e-5


@pytest.mark.parametrize("off", [1e-8, 3e-7])
def test_errors_of_deeper_networks(off):
    points = X[:1], X[:1] + off * X[1:]
    kernels, error = found(net(*["relu"] * 5), [p[:, None] for p in points], "theta")
    known = kc.MLP("relu", 6, sigma_w=W, beta=0.0).kernels(*points, only="theta", dps=25)
    assert abs(kernels.theta[0, 0] / float(known.theta[0, 0]) - 1) < error < 1e-7


def test_where_no_angle_is_felt_nothing_is_said():
    """One nonlinearity sees the windows themselves; smooth ones need no angle, nor does Σ."""
    points = X[:1, None], X[:1, None] + 1e-7 * X[1:, None]
    for names, only, said in (
        (("relu",), NAMES, False),
        (("relu", "tanh"), NAMES, False),
        (("tanh", "relu"), NAMES, True),
        (("relu", "tanh", "relu"), NAMES, True),
        (("relu", "relu"), "sigma", False),
    ):
        assert (found(net(*names), points, only)[1] > 1e-10) is said


@pytest.mark.parametrize("end", [Flatten(), GlobalAverage()], ids=["flatten", "average"])
def test_few_windows_of_many_matter_less(end):
    """Of all pairs of windows (of positions that are the same with Flatten), whose errors are averaged; of the worst points."""
    many = np.random.default_rng(1).standard_normal((3, 50, 4))
    other = np.random.default_rng(2).standard_normal((4, 50, 4))
    other[2, 7] = many[1, 7] + 1e-7 * other[0, 0]
    angle = 1e-7 * np.linalg.norm(other[0, 0] - many[1, 7] * (other[0, 0] @ many[1, 7]) / (many[1, 7] @ many[1, 7]))
    angle /= np.linalg.norm(many[1, 7])
    share = 2 * np.finfo(float).eps / angle / np.pi / (50 if isinstance(end, Flatten) else 2500)
    _, error = found(net("relu", "relu", end=end), (many, other))
    assert error == (pytest.approx(share, rel=0.5) if share > 1e-10 else 1e-10)
    # rows and columns in turn, and one set
    assert found(net("relu", "relu", end=end), (other, many))[1] == error
    assert found(net("relu", "relu", end=end), (np.concatenate([many, other]),))[1] == error
