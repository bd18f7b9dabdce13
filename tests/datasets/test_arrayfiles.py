"""Arrays in files and objects: .npz, .npy, IDX, Bunch, DataFrame."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kernelcalc import datasets
from kernelcalc.errors import DataFileError, InputError, NotFiniteError

X = np.array([[1.5, 2.0], [3.0, 4.0], [5.0, -6.25]])
LABELS = np.array([3, 4, 3])


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        ("X", "y"),
        ("x", "Y"),
        ("images", "labels"),
        ("data", "target"),
        ("x_train", "y_train"),
        ("X_train", "Y_train"),
        ("train_images", "train_labels"),
        ("xtrain", "ytrain"),
        ("features", "classes"),
        ("arr_0", "arr_1"),
        ("measured", "kinds"),
        ("inputs", "outputs"),
        ("digits", "labels"),
        ("X", "digits"),
        ("Points", "Label"),
    ],
)
def test_names_of_arrays(tmp_path: Path, points: str, labels: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **{labels: LABELS[:, None], points: X})
    data = datasets.load(path)
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, LABELS)
    assert f"array {points}; labels: array {labels}, 2 classes" in str(data)


def test_keras_files_are_read_in_pairs(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=X, y_train=LABELS, x_test=X[:2] + 1, y_test=LABELS[:2])
    data = datasets.load(path)
    np.testing.assert_array_equal(data.X, X)
    assert str(data).endswith("not used: x_test, y_test")
    x, y = datasets.load(path, labels="y_test")
    np.testing.assert_array_equal(x, X[:2] + 1)
    np.testing.assert_array_equal(y, LABELS[:2])
    x, y = datasets.load(path, columns="x_test")
    np.testing.assert_array_equal(x, X[:2] + 1)
    np.testing.assert_array_equal(y, LABELS[:2])


def test_points_alone_and_columns_of_an_array(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, X=X)
    assert datasets.load(path).y is None
    np.savez(path, X=X, y=LABELS)
    assert datasets.load(path, labels="none").y is None
    table = np.column_stack([X, LABELS])
    np.save(tmp_path / "a.npy", table)
    np.testing.assert_array_equal(datasets.load(tmp_path / "a.npy").X, table)
    x, y = data = datasets.load(tmp_path / "a.npy", labels="last")
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, LABELS)
    assert "columns 0, 1 of one array; labels: column 2" in str(data)


def test_named_columns_of_a_numpy_table(tmp_path: Path) -> None:
    rows = np.array([(1.5, 2.0, 3), (3.0, 4.0, 4), (5.0, -6.25, 3)], dtype=[("a", "f8"), ("b", "f8"), ("label", "i4")])
    np.save(tmp_path / "a.npy", rows)
    x, y = datasets.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, LABELS)


@pytest.mark.parametrize("shape", [(4, 3, 2), (4, 3, 2, 1), (4, 1, 3, 2)])
def test_images_are_flattened_on_request(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(shape)
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 1, 1, 0])
    np.save(tmp_path / "a.npy", images)
    for path in (tmp_path / "a.npz", tmp_path / "a.npy"):
        with pytest.raises(DataFileError, match=r"--flatten makes 6 inputs of each"):
            datasets.load(path)
        data = datasets.load(path, flatten=True)
        np.testing.assert_array_equal(data.X, np.arange(24.0).reshape(4, 6))
        assert f"each flattened from {' × '.join(map(str, shape[1:]))}" in str(data)


def idx(array: np.ndarray, code: int) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("dtype", "code"), [("u1", 8), (">i2", 0xB), (">f4", 0xD), (">f8", 0xE)])
def test_idx_as_mnist_comes(tmp_path: Path, packed: bool, dtype: str, code: int) -> None:
    images = np.arange(18).reshape(3, 3, 2).astype(dtype)
    ending, pack = (".gz", gzip.compress) if packed else ("", bytes)
    path = tmp_path / f"train-images-idx3-ubyte{ending}"
    path.write_bytes(pack(idx(images, code)))
    alone = datasets.load(path, flatten=True)
    np.testing.assert_array_equal(alone.X, np.arange(18.0).reshape(3, 6))
    assert alone.y is None
    labels = tmp_path / f"train-labels-idx1-ubyte{ending}"
    labels.write_bytes(pack(idx(LABELS.astype("u1"), 8)))
    data = datasets.load(path, flatten=True)
    np.testing.assert_array_equal(data.y, LABELS)
    assert f"labels: file {labels.name}, 2 classes" in str(data)
    np.testing.assert_array_equal(datasets.load(path, flatten=True, labels=str(labels)).y, LABELS)
    assert datasets.load(path, flatten=True, labels="none").y is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.array([{"code": 1}], dtype=object)}, "plain arrays"),
        ({"X": X, "y": np.zeros(2)}, "2 labels and 3 points"),
        ({"X": X, "y": np.zeros((3, 2, 2))}, r"labels of the shape \(N,\) or \(N, n_out\)"),
        ({"X": np.array([["a", "b"]]), "y": np.zeros(1)}, "points"),
        ({"X": X + 1j}, "points"),
        ({"X": np.zeros((0, 3))}, "at least one"),
        ({"X": np.zeros(3)}, r"numbers of the shape \(N, n_0\)"),
        ({"first": X, "second": X}, "one array of points.*got first, second"),
        ({"X": X, "y": LABELS, "labels": LABELS}, "one array of labels, got y, labels"),
        ({}, "one array of points.*got none"),
    ],
)
def test_refused_arrays(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataFileError, match=message):
        datasets.load(tmp_path / "a.npz")


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, X=np.array([[1.0, 2.0], [3.0, np.nan]]))
    with pytest.raises(NotFiniteError, match="points, got nan in row 1, column 1"):
        datasets.load(path)
    np.savez(path, X=X, y=np.array([0.0, np.nan, 1.0]))
    with pytest.raises(NotFiniteError, match="labels, got nan in row 1"):
        datasets.load(path)
    np.savez(path, X=X, y=np.array([[0.0, 1], [1, 0], [np.inf, 0]]))
    with pytest.raises(NotFiniteError, match="labels, got inf in row 2"):
        datasets.load(path)


def test_objects_at_hand() -> None:
    class Bunch(dict):
        """Like scikit-learn's."""

        def __getattr__(self, name: str) -> object:
            try:
                return self[name]
            except KeyError as error:
                raise AttributeError(name) from error

    names = {"feature_names": ["a", "b"], "target_names": np.array(["p", "q"]), "DESCR": "text", "frame": None}
    data = datasets.load(Bunch(data=X, target=LABELS, **names))
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, LABELS)
    frame = pd.DataFrame(X, columns=["a", "b"])
    data = datasets.load(Bunch(data=frame, target=pd.Series(LABELS, name="diagnosis"), **names))
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, LABELS)
    assert "labels: column diagnosis, 2 classes" in str(data)
    digits = datasets.load(Bunch(data=X, images=X.reshape(3, 2, 1), target=LABELS, **names))
    np.testing.assert_array_equal(digits.X, X)
    assert str(digits).endswith("array data; labels: array target, 2 classes; not used: images")
    data = datasets.load((X, LABELS))
    np.testing.assert_array_equal(data.y, LABELS)
    assert datasets.load(X).y is None
    np.testing.assert_array_equal(datasets.load(X.tolist()).X, X)


def test_lists_under_names_and_pairs() -> None:
    names = {"feature_names": ["a", "b"], "target_names": ["p", "q"]}
    data = datasets.load({"X": X.tolist(), "y": ["p", "q", "p"], **names})
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, ["p", "q", "p"])
    data = datasets.load({"data": pd.DataFrame(X), "target": pd.Series(LABELS)})
    np.testing.assert_array_equal(data.y, LABELS)
    assert datasets.load((X, None)).y is None
    np.testing.assert_array_equal(datasets.load(X.astype(object)).X, X)
    with pytest.raises(InputError, match="None"):
        datasets.load(np.array([[1.0, None]], dtype=object))


def test_numbers_that_are_too_long_or_in_no_matrix(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match="inf in row 0, column 1"):
        datasets.load(np.array([[1, np.longdouble("1e400")]]))
    with pytest.raises(DataFileError, match=r"\(N, 1\): X\[:, None\]"):
        datasets.load(np.arange(3.0))
    np.save(tmp_path / "a.npy", np.array([([1.5, 2.0], 0)], dtype=[("x", "f8", 2), ("label", "i4")]))
    with pytest.raises(DataFileError, match=r"one number in every column.* in x of"):
        datasets.load(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["ids", "row_id", "index", "sample_weight", "w", "mask", "filenames", "groups"])
def test_one_value_a_point_that_is_no_label(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "a.npz", **{"X": X, name: np.arange(3)})
    data = datasets.load(tmp_path / "a.npz")
    assert data.y is None
    assert str(data).endswith(f"not used: {name}")


def test_texts_as_bytes_and_numbers_among_texts(tmp_path: Path) -> None:
    rows = [(1.5, 2.0, b"p"), (3.0, 4.0, b"q"), (5.0, -6.25, b"p")]
    table = np.array(rows, dtype=[("a", "f8"), ("b", "f8"), ("label", "S3")])
    np.save(tmp_path / "a.npy", table)
    for source in (tmp_path / "a.npy", table, table.view(np.recarray), pd.DataFrame(rows, columns=["a", "b", "label"])):
        data = datasets.load(source)
        np.testing.assert_array_equal(data.X, X)
        np.testing.assert_array_equal(data.y, ["p", "q", "p"])
    for source in ((X, ["p", 1, "p"]), {"X": X, "y": ["p", 1, "p"]}):
        with pytest.raises(DataFileError, match="'p' in row 0 and 1 in row 1"):
            datasets.load(source)


@pytest.mark.parametrize(
    "column",
    [
        pd.to_datetime(["2020-01-01", "2020-01-01", "2020-01-02"]),
        pd.to_timedelta([1, 1, 2], unit="s"),
        pd.period_range("2020", periods=3),
        pd.Series([[1], [2], [1]]),
        pd.Series([{}, {}, {"a": 1}]),
        pd.Series([1j, 2, 1j]),
    ],
    ids=["dates", "durations", "periods", "lists", "dicts", "complex"],
)
def test_columns_of_other_things_are_no_classes(column: pd.Series) -> None:
    with pytest.raises(DataFileError, match="in column when of DataFrame"):
        datasets.load(pd.DataFrame({"a": [1.0, 2.0, 3.0], "when": column}))


def test_an_index_of_texts_is_said() -> None:
    frame = pd.DataFrame(X, columns=["a", "b"])
    assert "left out: the index" in str(datasets.load(frame.set_index(pd.Index(["p", "q", "r"]))))
    assert str(datasets.load(frame.set_index([[1, 2, 3], [4, 5, 6]]))).endswith("left out: the index")
    # rows that were chosen
    assert "left out" not in str(datasets.load(frame[frame.a > 2]))


def test_labels_beside_idx_images(tmp_path: Path) -> None:
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 2, 2), "u1"), 8))
    for content, message in (
        (b"junk", "an IDX file of labels, got .*a-labels-idx1"),
        (idx(np.zeros(2, "u1"), 8), "2 labels in a-labels"),
    ):
        (tmp_path / "a-labels-idx1-ubyte").write_bytes(content)
        with pytest.raises(DataFileError, match=message):
            datasets.load(tmp_path / "a-images-idx3-ubyte", flatten=True)
    assert datasets.load(tmp_path / "a-images-idx3-ubyte", flatten=True, labels="none").y is None


def test_masked_arrays_are_refused() -> None:
    masked = np.ma.masked_greater(X, 4.5)
    with pytest.raises(InputError, match="1 masked"):
        datasets.load([[1.0, np.ma.masked], [3.0, 4.0]])
    for source in (masked, (masked, LABELS), {"X": masked}, (X, np.ma.masked_equal(LABELS, 4))):
        with pytest.raises(InputError, match="1 masked"):
            datasets.load(source)


def test_data_frames() -> None:
    frame = pd.DataFrame(
        {"a": [1.5, 3, 5], "b": [2, 4, -6.25], "kind": pd.Categorical(["x", "y", "x"])}, index=[7, 7, 2]
    )
    x, y = datasets.load(frame)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, ["x", "y", "x"])
    whole = pd.DataFrame({0: [1, 2, 3], 1: [4, 6, 6], "Label": pd.array([1, 0, 1], dtype="Int64")})
    x, y = datasets.load(whole)
    np.testing.assert_array_equal(x, [[1, 4], [2, 6], [3, 6]])
    np.testing.assert_array_equal(y, [1, 0, 1])
    assert y.dtype == np.int64
    for missing, error in ((pd.NA, DataFileError), (None, NotFiniteError)):
        holed = whole.assign(Label=pd.array([1, missing, 1], dtype="Int64" if missing is pd.NA else "float"))
        with pytest.raises(error, match="row 1, column 'Label'"):
            datasets.load(holed)
    with pytest.raises(DataFileError, match=r"datetime64.* in column when"):
        datasets.load(pd.DataFrame({"a": [1.0], "when": pd.to_datetime(["2020-01-01"]), "kind": ["x"]}))
    with pytest.raises(DataFileError, match="--drop index"):
        datasets.load(frame.reset_index(drop=True).reset_index())


def test_pictures(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    for i, kind in enumerate(["cat", "dog", "cat", "dog"]):
        (tmp_path / "all" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i]).save(tmp_path / "all" / kind / f"{i}.png")
    data = datasets.load(tmp_path / "all", flatten=True)
    np.testing.assert_allclose(data.X * 255, pixels[[0, 2, 1, 3]].reshape(4, 6), atol=1e-12)
    np.testing.assert_array_equal(data.y, ["cat", "cat", "dog", "dog"])
    alone = datasets.load(tmp_path / "all" / "cat", flatten=True)
    assert alone.y is None
    one = datasets.load(tmp_path / "all" / "dog" / "3.png", flatten=True)
    np.testing.assert_allclose(one.X * 255, pixels[3:].reshape(1, 6), atol=1e-12)
    Image.fromarray(pixels[0][:2]).save(tmp_path / "all" / "cat" / "small.png")
    with pytest.raises(DataFileError, match=r"small\.png"):
        datasets.load(tmp_path / "all", flatten=True)
    Image.fromarray(pixels[0]).save(tmp_path / "all" / "loose.png")
    with pytest.raises(DataFileError, match="both"):
        datasets.load(tmp_path / "all", flatten=True)


def test_what_is_beside_pictures_is_said(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / kind / "0.png")
    (tmp_path / "cat" / ".hidden").write_text("")
    assert "left out" not in str(datasets.load(tmp_path, flatten=True))
    (tmp_path / "bird").mkdir()
    (tmp_path / "cat" / "1.heic").write_text("")
    data = datasets.load(tmp_path, flatten=True)
    assert "left out: cat/1.heic, bird" in str(data)
    assert data.y.tolist() == ["cat", "dog"]
    frames = [Image.fromarray(np.full((2, 3), i, np.uint8)) for i in range(3)]
    for name in ("a.gif", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(DataFileError, match=f"one picture in a file, got 3 in .*{name}"):
            datasets.load(tmp_path / name, flatten=True)
