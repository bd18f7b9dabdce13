"""What counts as an array, wherever one is taken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse

import kernelcalc as kc
from kernelcalc.arrays import plain
from kernelcalc.errors import InputError, ShapeError

X = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 1.0]])
NET = kc.MLP("erf", depth=2)

TAKERS: list[Callable[[object], object]] = [
    lambda x: NET.kernels(x).theta,
    lambda x: NET.kernels(X, x).theta,
    lambda x: kc.FiniteNetwork.random(NET, widths=(4,), n_in=2, rng=0)(x),
    lambda x: kc.datasets.balanced(x, [0, 0, 0], 3)[0],
    lambda x: kc.mse_moments(NET.kernels(X), x, [0.0, 1.0]).trace_h,
    lambda x: kc.convex_loss("(y - t)^2").encode(x),
    lambda x: kc.predict(NET, x, [1.0, -1.0, 1.0], times=[0.0, 1.0]).spectrum,
    lambda x: kc.held_out(NET, x, [1.0, -1.0, 1.0], X, [1.0, 1.0, 1.0]).mean,
    lambda x: kc.held_out(NET, X[1:], [1.0, -1.0], x, [1.0, 1.0, 1.0]).mean,
    lambda x: kc.datasets.rescale(x, "sphere"),
    lambda x: kc.datasets.load(x).X,
]


class Tensor:
    """Behaves as torch.Tensor does where NumPy asks it for numbers."""

    def __init__(self, values: np.ndarray, requires_grad: bool) -> None:
        self.values, self.requires_grad = values, requires_grad

    def detach(self) -> Tensor:
        return Tensor(self.values, False)

    def cpu(self) -> Tensor:
        return self

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self.values.astype(dtype) if dtype else self.values


@pytest.mark.parametrize("take", TAKERS)
def test_masked_entries_are_refused(take: Callable[[object], object]) -> None:
    with pytest.raises(InputError, match="without masked entries, got 2 masked"):
        take(np.ma.array(X, mask=[[1, 0], [0, 0], [0, 1]]))
    np.testing.assert_array_equal(take(np.ma.array(X)), take(X))


@pytest.mark.parametrize("take", TAKERS)
def test_tensors_are_detached(take: Callable[[object], object]) -> None:
    np.testing.assert_array_equal(take(Tensor(X, True)), take(X))


@pytest.mark.parametrize("take", TAKERS)
def test_sparse_matrices_are_named(take: Callable[[object], object]) -> None:
    with pytest.raises(InputError, match=r"toarray\(\)"):
        take(scipy.sparse.csr_array(X))


def test_lists() -> None:
    with pytest.raises(InputError, match="1 masked"):
        plain([np.ma.array([1.0, 2.0], mask=[True, False]), [3.0, 4.0]], "X")
    with pytest.raises(InputError, match="1 masked"):
        plain([1.0, np.ma.masked], "y")
    np.testing.assert_array_equal(plain([Tensor(X[0], True), Tensor(X[1], True)], "X"), X[:2])
    np.testing.assert_array_equal(plain([Tensor(X[0], False), X[1]], "X"), X[:2])


def test_images_are_refused_with_the_way_to_flatten_them() -> None:
    for shape in ((3, 4, 4), (3, 4, 4, 1), (1, 2, 3)):
        with pytest.raises(ShapeError, match=r"X\.reshape\(len\(X\), -1\)"):
            NET.kernels(np.ones(shape))
    with pytest.raises(ShapeError, match=r"x\[None, :\]"):
        NET.kernels(np.ones(3))


class OnNoDevice(Tensor):
    def cpu(self) -> Tensor:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")

    def detach(self) -> Tensor:
        return self


class Half(Tensor):
    """Of a type that NumPy does not have."""

    dtype = "torch.bfloat16"

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise TypeError("Got unsupported ScalarType BFloat16")

    def detach(self) -> Half:
        return self

    def float(self) -> Tensor:
        return Tensor(self.values, False)


class OfOneDevice:
    """A tensor of a library without devices."""

    def detach(self) -> np.ndarray:
        return X


def test_tensors_of_other_types_and_places() -> None:
    np.testing.assert_array_equal(plain(OfOneDevice(), "X"), X)
    half = Half(np.array([1.0, 2.0]), True)
    np.testing.assert_array_equal(plain(half, "X"), [1, 2])
    np.testing.assert_array_equal(plain([half, half], "X"), [[1, 2], [1, 2]])
    with pytest.raises(ShapeError, match="meta tensor"):
        plain(OnNoDevice(np.ones(2), True), "X")


def test_variances_are_tensors_or_masked() -> None:
    # E Z² = 1, whatever the numbers come in
    for one in (Tensor(np.array(1.0), True), Half(np.array(1.0), False)):
        assert kc.gaussian_expectation("x", "x", one, one, one) == pytest.approx(1.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 masked"):
        kc.gaussian_expectation("x", "x", np.ma.masked_equal([1.0, 2.0], 2.0), 1.0, 0.0)
