"""Plain arguments: what passes and with which value, what is refused and with which words."""

import math
from pathlib import Path

import numpy as np
import pytest

from kernelcalc import arguments
from kernelcalc.errors import InputError, NotFiniteError, ShapeError, UnknownNameError


def test_counts_of_one():
    for value in (2, 7, np.int64(2), np.uint8(200)):
        arguments.check_count("width", value, 2)
    for wrong, shown in (
        (1, "1"),
        (2.0, r"2\.0"),
        (True, "True"),
        ("3", "'3'"),
        (None, "None"),
        (-4, "-4"),
        (-(10**5000), "int"),
    ):
        with pytest.raises(InputError, match=f"^expected width, a whole number of at least 2, got {shown}$"):
            arguments.check_count("width", wrong, 2)
    with pytest.raises(InputError, match="got True"):
        arguments.check_count("width", True, 1)


class Single:
    """Like an array of one number, which some versions of NumPy turn into that number."""

    ndim = 1

    def __float__(self):
        return 0.5


def test_counts_of_many():
    for given in ((3, 4), [3, 4], np.array([3, 4]), range(3, 5), iter([3, 4])):
        found = arguments.counts("widths", given, 3)
        assert found == (3, 4)
        assert {type(one) for one in found} == {int}
    assert arguments.counts("widths", (), 3) == ()
    for wrong, shown in (("34", "'34'"), (b"34", "b'34'"), ({3: 4}, r"\{3: 4\}"), (7, "7"), (None, "None")):
        with pytest.raises(
            InputError, match=f"^expected widths, a sequence of whole numbers of at least 3, got {shown}$"
        ):
            arguments.counts("widths", wrong, 3)
    with pytest.raises(InputError, match=r"a sequence of whole numbers of at least 3, got ndarray of shape \(\)$"):
        arguments.counts("widths", np.array(5), 3)
    with pytest.raises(InputError, match=r"^expected widths, a whole number of at least 3, got 2$"):
        arguments.counts("widths", (3, 2), 3)


def test_numbers():
    for value in (0, 0.0, 2.5, np.float32(2.5), np.array(2.5), True):
        found = arguments.check_number("step", value)
        assert type(found) is float
        assert found == value
    assert arguments.check_number("time", math.inf, finite=False) == math.inf
    assert arguments.check_number("level", -3.0, -math.inf) == -3.0
    assert arguments.check_number("correlation", -1.0, -1.0) == -1.0
    for wrong, options, text in (
        (-1e-9, {}, "step, a finite number of at least 0, got -1e-09"),
        (math.nan, {}, "step, a finite number of at least 0, got nan"),
        (math.inf, {}, "step, a finite number of at least 0, got inf"),
        (math.nan, {"finite": False}, "step, a number of at least 0, got nan"),
        (-1, {"finite": False}, "step, a number of at least 0, got -1"),
        (-1.5, {"least": -1.0}, "step, a finite number of at least -1, got -1.5"),
        (math.nan, {"least": -math.inf}, "step, a finite number, got nan"),
        (-math.inf, {"least": -math.inf}, "step, a finite number, got -inf"),
        ("a", {"least": -math.inf}, "step, a finite number, got 'a'"),
        ("a", {}, "step, a finite number of at least 0, got 'a'"),
        (None, {"finite": False}, "step, a number of at least 0, got None"),
        # float() reads these, numbers they are not
        ("0.1", {}, "step, a finite number of at least 0, got '0.1'"),
        (b"0.1", {}, "step, a finite number of at least 0, got b'0.1'"),
        (np.array([0.1]), {}, "step, a finite number of at least 0, got ndarray of shape (1,)"),
        (Single(), {}, "step, a finite number of at least 0, got Single"),
        ([0.1], {}, "step, a finite number of at least 0, got [0.1]"),
        (10**400, {}, "step, a finite number of at least 0, got int"),
        (1j, {}, "step, a finite number of at least 0, got 1j"),
    ):
        with pytest.raises(InputError) as caught:
            arguments.check_number("step", wrong, **options)
        assert str(caught.value) == f"expected {text}"


def test_generators():
    own = np.random.default_rng(3)
    assert arguments.random_generator(own) is own
    assert arguments.random_generator(3).integers(10**9) == np.random.default_rng(3).integers(10**9)
    for wrong, shown in ((-1, "-1"), ("a", "'a'"), (1.5, r"1\.5"), ([2.5] * 99, "list")):
        with pytest.raises(
            InputError, match=rf"^expected rng, a seed \(a .* ≥ 0\) or a numpy.random.Generator, got {shown}$"
        ):
            arguments.random_generator(wrong)


def test_what_an_object_can():
    arguments.check_can("executor", None, "submit", "an Executor")
    arguments.check_can("text", "abc", "upper", "a text")
    with pytest.raises(InputError, match=r"^expected executor, an Executor, got 3\.5$"):
        arguments.check_can("executor", 3.5, "submit", "an Executor")
    with pytest.raises(InputError, match=r"an Executor, got str$"):
        # not callable
        arguments.check_can("executor", "x" * 100, "__doc__", "an Executor")


def test_real_numbers():
    found = arguments.floats([[1, 2], [3, 4]], "X", "numbers")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[1.0, 2.0], [3.0, 4.0]])
    for wrong, error, text in (
        ([1j], InputError, "X: real numbers, got dtype complex128; pass numbers"),
        (np.array(["2020-01-01"], "M8[D]"), InputError, r"X: real numbers, got dtype datetime64\[D\]; pass numbers"),
        (np.array([3], "m8[s]"), InputError, r"X: real numbers, got dtype timedelta64\[s\]; pass numbers"),
        (np.zeros(2, "V4"), InputError, r"X: real numbers, got dtype \|V4; pass numbers"),
        ([1.0, None], InputError, "X, points, got None"),
        ([["a"]], InputError, "X, points, got list"),
        (np.array([1.0, object()]), InputError, "X, points, got ndarray"),
        ([[1.0], [1.0, 2.0]], ShapeError, "X as an array, got list: "),
    ):
        with pytest.raises(error, match=f"^expected {text}"):
            arguments.floats(wrong, "X", "points")


def test_finite_numbers():
    np.testing.assert_array_equal(arguments.finite([1, 2], "Y"), [1.0, 2.0])
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(NotFiniteError, match=r"^expected Y, finite numbers, got NaN or infinity$"):
            arguments.finite([0.0, bad], "Y")
    with pytest.raises(InputError, match=r"^expected Y, numbers, got str$"):
        arguments.finite("many", "Y")


def test_names():
    arguments.check_name("a loss", "mse", ("mse", "binary"))
    with pytest.raises(UnknownNameError, match=r"^expected the name of a loss, got 'mes'; did you mean 'mse'\?$"):
        arguments.check_name("a loss", "mes", ("mse", "binary"))
    with pytest.raises(UnknownNameError, match=r"the name of a loss, got \['mse'\]"):
        arguments.check_name("a loss", ["mse"], ("mse", "binary"))


def test_paths(tmp_path):
    assert arguments.path_of("a/b") == Path("a/b")
    assert arguments.path_of(tmp_path) == tmp_path
    for wrong, shown in ((3, "3"), (None, "None"), (b"a", "b'a'")):
        with pytest.raises(InputError, match=f"^expected path, the name of a file or folder, got {shown}$"):
            arguments.path_of(wrong)
    with pytest.raises(InputError, match=r"^expected folder, the name of a file or folder, got 3$"):
        arguments.path_of(3, "folder")


def test_values_in_messages():
    # 40 characters are shown, the quotes among them
    assert arguments.shown("x" * 38) == repr("x" * 38)
    assert arguments.shown("x" * 39) == "str"
    # more digits than Python writes
    assert arguments.shown(10**5000) == "int"
    # no address of memory
    assert arguments.shown(object()) == "object"
    assert arguments.shown(np.zeros((2, 3))) == "ndarray of shape (2, 3)"
    assert arguments.shown({"a": 1}) == "{'a': 1}"
