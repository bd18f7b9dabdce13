"""Kernels as attributes, as a mapping, and where an array is expected of all of them."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, SmoothnessError, UnknownNameError

X = np.random.default_rng(0).normal(size=(4, 3))
SIX = ["sigma", "theta", "phi", "lam", "upsilon", "xi"]


@pytest.fixture(scope="module")
def smooth():
    return kc.MLP("tanh", 3).kernels(X)


def test_kernels_are_a_mapping(smooth):
    assert list(smooth) == list(smooth.keys()) == list(dict(smooth)) == SIX
    assert len(smooth) == 6
    for name, array in smooth.items():
        assert array is smooth[name] is getattr(smooth, name)
    assert {**smooth}.keys() == set(SIX)
    assert "sigma_dot" not in smooth
    same = smooth
    assert smooth == same
    assert smooth != kc.MLP("tanh", 3).kernels(X)
    assert {smooth: 1}[smooth] == 1


def test_dir_lists_what_is_there(smooth):
    assert set(SIX) <= set(dir(smooth))
    assert "sigma_dot" not in dir(smooth)
    kinked = kc.MLP("relu", 3).kernels(X)
    assert {"sigma", "theta"} <= set(dir(kinked))
    assert not {"phi", "lam", "upsilon", "xi"} & set(dir(kinked))


def test_missing_kernels_are_refused_alike_in_brackets_and_as_attributes():
    kinked = kc.MLP("relu", 3).kernels(X)
    with pytest.raises(SmoothnessError, match="relu"):
        kinked["phi"]
    with pytest.raises(SmoothnessError, match="relu"):
        _ = kinked.phi
    one = kc.MLP("tanh", 3).kernels(X, only="theta")
    with pytest.raises(InputError, match="only="):
        one["sigma"]
    with pytest.raises(UnknownNameError, match="did you mean 'theta'"):
        one["thetta"]
    with pytest.raises(AttributeError, match="thetta"):
        _ = one.thetta


@pytest.mark.parametrize("use", [np.asarray, np.linalg.eigvalsh, lambda K: np.zeros(4) + K, np.array])
def test_an_array_of_all_kernels_at_once_is_refused(smooth, use):
    with pytest.raises(InputError, match=r"choose one, for example K\.theta"):
        use(smooth)


def test_kernels_in_the_place_of_a_matrix_are_refused_by_name(smooth):
    with pytest.raises(InputError, match=r"K\['theta'\]"):
        kc.largest_learning_rate(smooth, np.zeros(4), np.zeros(4))
