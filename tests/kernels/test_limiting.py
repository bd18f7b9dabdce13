"""Kernels as attributes, as a mapping, and where an array is expected of all of them."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, SmoothnessError, UnknownNameError
from kernelcalc.kernels.state import KERNELS

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
    for array in smooth.values():
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1.0


def test_what_is_known_of_them():
    net = kc.MLP("tanh", 3)
    K = net.kernels(X, X[:2], only=("theta", "sigma_ddot"))
    assert K.sigma_ddot is K["sigma_ddot"]
    assert (K.shape, K.available) == ((4, 2), ("theta", "sigma_ddot"))
    assert repr(K) == f"LimitingKernels(theta, sigma_ddot; 4 × 2; {net!r})"
    assert K.scalars() == {"title": repr(net)}
    assert K.dimensions() == dict.fromkeys(K, ("row", "column"))
    assert K.meanings() == {"theta": "∇f(x)·∇f(x')", "sigma_ddot": KERNELS["sigma_ddot"].meaning}
    assert K.origin == {"network": repr(net), "data": digest(X, X[:2])}


def test_layers_are_kernels_of_shorter_networks(smooth, tmp_path):
    assert smooth.layers[-1] is smooth
    for depth, K in enumerate(smooth.layers, 1):
        shorter = kc.MLP("tanh" if depth > 1 else [], depth).kernels(X)
        np.testing.assert_allclose(K.theta, shorter.theta, rtol=1e-12)
    read = kc.load(smooth.save(tmp_path / "a.npz"))
    np.testing.assert_array_equal(read.xi, smooth.xi)
    with pytest.raises(InputError, match=r"for \.layers, got kernels read from a file; net\.kernels\(X\)\.layers$"):
        _ = read.layers


def test_refusals_are_kept_in_files(tmp_path):
    read = kc.load(kc.MLP("relu", 2).kernels(X).save(tmp_path / "a.npz"))
    with pytest.raises(SmoothnessError, match="relu"):
        _ = read.phi


def test_small_pictures_leave_out_rows_that_no_pixel_shows():
    ax = pytest.importorskip("matplotlib.figure").Figure().subplots()
    points = np.random.default_rng(1).normal(size=(725, 2))
    K = kc.MLP([], 1).kernels(points, points[:3], only="theta")
    K.plot_small(ax)
    (drawn,) = ax.collections
    np.testing.assert_array_equal(drawn.get_array(), K.theta[::3, ::3])
    np.testing.assert_array_equal(drawn.get_coordinates()[:2, 0, 1], [-1.5, 1.5])


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
    with pytest.raises(
        InputError, match=r"^expected one of the kernels asked for \(theta\), got sigma; add it to only=$"
    ):
        one["sigma"]
    with pytest.raises(UnknownNameError, match="the name of a kernel, got 'thetta'; did you mean 'theta'"):
        one["thetta"]
    with pytest.raises(AttributeError, match="'LimitingKernels' object has no attribute 'thetta'"):
        _ = one.thetta


@pytest.mark.parametrize("use", [np.asarray, np.linalg.eigvalsh, lambda K: np.zeros(4) + K, np.array])
def test_an_array_of_all_kernels_at_once_is_refused(smooth, use):
    with pytest.raises(
        InputError,
        match=r"^expected one kernel where .*, got all of them, sigma, theta, phi, .*; choose one, for example K\.theta",
    ):
        use(smooth)


def test_kernels_in_the_place_of_a_matrix_are_refused_by_name(smooth):
    with pytest.raises(InputError, match=r"K\['theta'\]"):
        kc.largest_learning_rate(smooth, np.zeros(4), np.zeros(4))
