"""The table of kernels, and the containers of their values."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from kernelcalc.kernels import state
from kernelcalc.kernels.state import (
    DIAGONAL,
    KERNEL_NAMES,
    KERNELS,
    TRANSPOSED,
    DiagonalKernels,
    Kernel,
    PairKernels,
    Spread,
    add_kernel,
    no_weights_yet,
    plain,
    turned,
    with_transposes,
)

# name, letter, what it is with g = Tr Hf at the row, symmetric, continuous derivatives that it needs, asked for by default
TABLE = [
    ("sigma", "Sigma", "E[f(x) f(x')]", True, -1, True),
    ("theta", "Theta", "∇f(x)·∇f(x')", True, 0, True),
    ("phi", "Phi", "E[g(x) f(x')]", False, 4, True),
    ("lam", "Lambda", "∇g(x)·∇f(x')", False, 4, True),
    ("upsilon", "Upsilon", "Tr(Hf(x) Hf(x'))", True, 4, True),
    ("xi", "Xi", "E[g(x) g(x')]", True, 4, True),
    ("sigma_dot", "dot Sigma", "E[σ'(a) σ'(b)]", True, 0, False),
    ("sigma_ddot", "ddot Sigma", "E[σ''(a) σ''(b)]", True, 0, False),
]


def test_the_table():
    assert [(k.name, k.letter, k.meaning, k.symmetric, k.smoothness, k.default) for k in KERNELS.values()] == TABLE
    assert list(KERNELS) == [row[0] for row in TABLE]
    assert KERNEL_NAMES == ("sigma", "theta", "phi", "lam", "upsilon", "xi")
    assert TRANSPOSED == {"phi": "phi_t", "lam": "lam_t"}


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_row_of_ones_own(monkeypatch, symmetric):
    for table in (KERNELS, TRANSPOSED, state._PLAIN):
        for name in ("own", "own_t"):
            # as it was, when the test ends
            monkeypatch.setitem(table, name, None)
            del table[name]
    row = Kernel(name="own", letter="O", meaning="one's own", symmetric=symmetric)
    assert (row.smoothness, row.default) == (4, True)
    add_kernel(row)
    assert KERNELS["own"] is row
    assert with_transposes(["own"]) == ({"own"} if symmetric else {"own", "own_t"})
    assert plain("own_t") == ("own_t" if symmetric else "own")


def test_names_of_transposes():
    for name, other in (("phi", "phi_t"), ("lam_t", "lam"), ("theta", "theta"), ("xi", "xi")):
        assert (turned(name), turned(other)) == (other, name)
    assert [plain(name) for name in ("phi", "phi_t", "lam_t", "sigma")] == ["phi", "phi", "lam", "sigma"]
    assert with_transposes(["phi", "xi"]) == {"phi", "phi_t", "xi"}
    assert with_transposes(iter(["lam_t"])) == {"lam", "lam_t"}
    assert with_transposes([]) == frozenset()


def test_values_on_the_diagonal():
    at = DiagonalKernels(sigma=np.arange(4.0), theta=np.arange(4.0) + 10, phi=np.arange(4.0) + 100)
    np.testing.assert_array_equal(at.kappa, [110.0, 112.0, 114.0, 116.0])
    some = at.take([2, 0])
    assert [getattr(some, name).tolist() for name in DIAGONAL] == [[2.0, 0.0], [12.0, 10.0], [102.0, 100.0]]
    # in the shape of the index where no other is asked for
    assert at.take(np.array([[0, 1], [3, 2]])).sigma.tolist() == [[0.0, 1.0], [3.0, 2.0]]
    column = DiagonalKernels(sigma=np.arange(4.0)).take(slice(1, 4), (-1, 1))
    assert (column.sigma.tolist(), column.theta, column.phi) == ([[1.0], [2.0], [3.0]], None, None)
    # of every pair its point
    many = Spread(at, lambda values: values[[3, 3, 1]])
    assert [getattr(many, name).tolist() for name in DIAGONAL] == [
        [3.0, 3.0, 1.0],
        [13.0, 13.0, 11.0],
        [103.0, 103.0, 101.0],
    ]
    # and the same again
    assert many.sigma.tolist() == [3.0, 3.0, 1.0]
    assert many.sigma is many.sigma


def test_values_stay_as_they_were_made():
    """By name, unchanged, and without room for other names; two of the same values are two, as arrays cannot be compared."""
    at, row = DiagonalKernels(sigma=1.0), Kernel(name="own", letter="O", meaning="one's own")
    for one, name in ((at, "sigma"), (at, "other"), (row, "default"), (row, "other")):
        with pytest.raises((FrozenInstanceError, TypeError)):
            setattr(one, name, 2.0)
    assert not hasattr(at, "__dict__")
    assert at != DiagonalKernels(sigma=1.0)
    for make in (lambda: DiagonalKernels(1.0), lambda: Kernel("own", "O", "one's own")):
        with pytest.raises(TypeError):
            make()


def test_values_at_pairs():
    origin = object()
    k = PairKernels(origin=origin, sigma=1.0, phi=2.0, phi_t=3.0)
    assert k.origin is origin
    assert k.values == {"sigma": 1.0, "phi": 2.0, "phi_t": 3.0}
    # not carried; the transposes and what is no default among them
    assert (k.theta, k.lam, k.lam_t, k.sigma_dot) == (None, None, None, None)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = k.nonsense
    other = k.transposed()
    assert other.values == {"sigma": 1.0, "phi": 3.0, "phi_t": 2.0}
    assert other.origin is None


def test_before_any_weights():
    zero = np.zeros(2)
    k = no_weights_yet(5.0, zero)
    assert k.sigma == 5.0
    names = ["theta", "phi", "lam", "upsilon", "xi", "phi_t", "lam_t"]
    assert sorted(k.values) == sorted(["sigma", *names])
    assert all(getattr(k, name) is zero for name in names)
