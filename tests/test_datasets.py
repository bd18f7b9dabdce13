"""The embedded digits, targets, and data files of the user."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from kernelcalc import datasets
from kernelcalc.errors import DataFileError, InputError, NotFiniteError, ShapeError, UnknownNameError


def test_digits_on_the_sphere_and_raw() -> None:
    x, labels = datasets.mnist14()
    assert x.shape == (256, 196)
    assert x.dtype == np.float64
    assert labels.shape == (256,)
    assert set(labels) == set(range(10))
    np.testing.assert_allclose([math.fsum(v * v for v in row) for row in x], 196.0, rtol=1e-14)
    raw, again = datasets.mnist14(256, scale="raw")
    np.testing.assert_array_equal(labels, again)
    assert raw.min() == 0.0
    assert raw.max() == 1.0
    np.testing.assert_array_equal(raw * 255, np.rint(raw * 255))
    np.testing.assert_allclose(x, raw * np.sqrt(196 / np.sum(raw**2, axis=1, keepdims=True)), rtol=1e-13)


def test_digits_are_all_different_and_look_like_digits() -> None:
    x, labels = datasets.mnist14(scale="raw")
    assert len(np.unique(x, axis=0)) == 256
    images = x.reshape(-1, 14, 14)
    # The mean zero has a hole where the mean one has its stroke.
    assert images[labels == 1].mean(axis=0)[7, 7] > 2 * images[labels == 0].mean(axis=0)[7, 7]


def test_first_n_digits() -> None:
    x, labels = datasets.mnist14(5)
    everything, all_labels = datasets.mnist14()
    np.testing.assert_array_equal(x, everything[:5])
    np.testing.assert_array_equal(labels, all_labels[:5])


@pytest.mark.parametrize("n", [0, 257, -1, 2.0, "3", True])
def test_bad_number_of_digits(n: object) -> None:
    with pytest.raises(InputError, match="from 1 to 256"):
        datasets.mnist14(n)  # type: ignore[arg-type]


def test_unknown_scale_suggests() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sphere'"):
        datasets.mnist14(scale="spere")


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_sphere_of_extreme_points(size: float) -> None:
    x = datasets.rescale(size * np.array([[1.0, 2.0, 2.0]]), "sphere")
    np.testing.assert_allclose(x, np.array([[1.0, 2.0, 2.0]]) / math.sqrt(3), rtol=1e-14)


def test_zero_point_has_no_direction() -> None:
    with pytest.raises(InputError, match="row 1"):
        datasets.rescale([[1.0, 0.0], [0.0, 0.0]], "sphere")
    np.testing.assert_array_equal(datasets.rescale([[0.0, 0.0]], "raw"), [[0.0, 0.0]])


def test_targets() -> None:
    np.testing.assert_array_equal(datasets.one_hot(["b", "a", "b"]), [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(datasets.parity([0, 1, 2, 7.0]), [1, -1, 1, -1])
    with pytest.raises(InputError, match="whole-number"):
        datasets.parity([0.5])
    with pytest.raises(InputError, match="whole-number"):
        datasets.parity(["a"])
    with pytest.raises(ShapeError, match="labels"):
        datasets.one_hot(np.zeros((2, 2)))


def test_npz(tmp_path: Path) -> None:
    images, labels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2), np.array([0, 1, 0])
    for names in (("images", "labels"), ("X", "y"), ("data", "target")):
        path = tmp_path / f"{names[0]}.npz"
        np.savez(path, **dict(zip(names, (images, labels), strict=True)))
        x, y = datasets.load(path)
        np.testing.assert_array_equal(x, images.reshape(3, 4))
        assert x.dtype == np.float64
        np.testing.assert_array_equal(y, labels)
    np.savez(tmp_path / "two.npz", X=images, y=labels, other=labels + 5)
    np.testing.assert_array_equal(datasets.load(tmp_path / "two.npz", labels="other")[1], labels + 5)


@pytest.mark.parametrize(
    ("text", "label", "points", "labels"),
    [
        ("1,2,0\n3,4,1\n", None, [[1, 2], [3, 4]], [0, 1]),
        ("a,b,c\n1,2,0\n\n3,4,1\n", None, [[1, 2], [3, 4]], [0, 1]),
        ("a,label,b\n1,0,2\n3,1,4\n", None, [[1, 2], [3, 4]], [0, 1]),
        ("a,b,c\n1,0,2\n3,1,4\n", "b", [[1, 2], [3, 4]], [0, 1]),
        ("0,1,2\n1,3,4\n", "0", [[1, 2], [3, 4]], [0, 1]),
        ("\ufeffa,b\r\n1, cat\r\n3e0,dog\r\n", None, [[1], [3]], ["cat", "dog"]),
    ],
)
def test_csv(tmp_path: Path, text: str, label: str | None, points: list, labels: list) -> None:
    path = tmp_path / "points.csv"
    path.write_bytes(text.encode())
    x, y = datasets.load(path, labels=label)
    np.testing.assert_array_equal(x, points)
    np.testing.assert_array_equal(y, labels)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.txt", b"1,2\n", DataFileError, r"\.npz or \.csv"),
        ("a.csv", b"", DataFileError, "empty file"),
        ("a.csv", b"a,b\n", DataFileError, "at least one data point"),
        ("a.csv", b"1\n2\n", DataFileError, "two columns"),
        ("a.csv", b"1,2,3\n1,2\n", DataFileError, "3 columns.*row 1"),
        ("a.csv", b"1,2,0\nx,4,1\n", DataFileError, "numbers"),
        ("a.csv", b"1,nan,0\n3,4,1\n", NotFiniteError, "row 0"),
        ("a.csv", b"1,2,0\n3,4,inf\n", NotFiniteError, "finite labels.*row 1"),
        ("a.csv", b"\xff\xfe\x00\n", DataFileError, "UTF-8"),
        ("a.npz", b"not a zip file", DataFileError, "plain arrays"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes, error: type, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        datasets.load(path)


def test_missing_file_and_missing_column(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="existing"):
        datasets.load(tmp_path / "nothing.csv")
    path = tmp_path / "points.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataFileError, match="'c' of labels, got a, b"):
        datasets.load(path, labels="c")
    with pytest.raises(DataFileError, match="'7' of labels"):
        datasets.load(path, labels="7")


def test_npz_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, X=np.array([{"code": 1}], dtype=object), y=np.zeros(1))
    with pytest.raises(DataFileError, match="plain arrays"):
        datasets.load(path)
    np.savez(path, points=np.zeros((2, 2)), y=np.zeros(2))
    with pytest.raises(DataFileError, match="points named X or x or images or data, got points, y"):
        datasets.load(path)
    np.savez(path, X=np.zeros((2, 2)), y=np.zeros(3))
    with pytest.raises(DataFileError, match="3 labels and 2 points"):
        datasets.load(path)
    np.savez(path, X=np.array([[1.0, np.nan]]), y=np.zeros(1))
    with pytest.raises(NotFiniteError, match="row 0"):
        datasets.load(path)
    np.savez(path, X=np.array([["a", "b"]]), y=np.zeros(1))
    with pytest.raises(DataFileError, match="numbers"):
        datasets.load(path)
    np.savez(path, X=np.zeros((0, 3)), y=np.zeros(0))
    with pytest.raises(DataFileError, match="at least one"):
        datasets.load(path)


def test_clusters_are_normalised_together_and_as_far_apart_as_their_centres() -> None:
    x, labels = datasets.gaussian_clusters(4000, 4, 50, spread=0.5, rng=3)
    assert x.shape == (4000, 50)
    assert abs(x.mean()) < 1e-12
    assert x.std() == pytest.approx(1)
    assert np.bincount(labels).tolist() == [1000] * 4
    inside = np.mean([x[labels == c].var(axis=0).mean() for c in range(4)])
    centres = np.array([x[labels == c].mean(axis=0) for c in range(4)])
    # 4 × 50 normal numbers: their variance is 1 to a relative standard deviation of 0.1
    assert inside / (centres - centres.mean()).var() == pytest.approx(0.25, rel=0.35)
    # the same centres, whatever the spread; the noise inside is isotropic
    assert np.linalg.norm(np.cov(x[labels == 0].T) / inside - np.eye(50), 2) < 4 * np.sqrt(50 / 1000)


def test_clusters_repeat_with_their_seed() -> None:
    one, other = (datasets.gaussian_clusters(6, 2, 3, rng=seed)[0] for seed in (1, 2))
    np.testing.assert_array_equal(one, datasets.gaussian_clusters(6, 2, 3, rng=1)[0])
    assert (one != other).all()


@pytest.mark.parametrize(
    "options",
    [{"n": 2, "clusters": 3}, {"n": 0}, {"n": 5, "n_in": 0}, {"n": 5, "spread": 0.0}, {"n": 5, "spread": math.nan}],
)
def test_bad_clusters(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        datasets.gaussian_clusters(**options)  # type: ignore[arg-type]


def test_two_blobs_are_where_the_paper_has_them() -> None:
    x, labels = datasets.two_blobs(2000, std=0.3, rng=0)
    for label, centre in ((0, 1.0), (1, -1.0)):
        own = x[labels == label]
        np.testing.assert_allclose(own.mean(axis=0), centre, atol=4 * 0.3 / np.sqrt(1000))
        np.testing.assert_allclose(own.std(axis=0), 0.3, rtol=4 / np.sqrt(2000))
    # one noise, scaled
    wide = datasets.two_blobs(2000, std=0.6, rng=0)[0]
    centres = 1.0 - 2.0 * labels[:, None]
    np.testing.assert_allclose(wide - centres, 2 * (x - centres), atol=1e-12)
    with pytest.raises(InputError, match="std"):
        datasets.two_blobs(4, std=-1.0)


def test_random_patterns_know_nothing_of_their_labels() -> None:
    x, labels = datasets.random_patterns(5000, 20, 4, rng=1)
    np.testing.assert_allclose((x**2).sum(axis=1), 20)
    assert set(labels.tolist()) == {0, 1, 2, 3}
    means = np.array([x[labels == c].mean(axis=0) for c in range(4)])
    assert np.abs(means).max() < 4.5 / np.sqrt(1000)
    raw = datasets.random_patterns(5000, 20, 4, scale="raw", rng=1)[0]
    assert raw.var() == pytest.approx(1, rel=4 * np.sqrt(2 / raw.size))
    np.testing.assert_allclose(datasets.rescale(raw, "sphere"), x)


def test_balanced_digits() -> None:
    x, labels = datasets.mnist14()
    some, theirs = datasets.balanced(x, labels, 3)
    assert np.bincount(theirs).tolist() == [3] * 10
    for label in range(10):
        np.testing.assert_array_equal(some[theirs == label], x[labels == label][:3])
    two, only = datasets.balanced(x, labels, 5, classes=[7, 1])
    assert sorted(set(only.tolist())) == [1, 7]
    assert len(two) == 10
    with pytest.raises(InputError, match="at least 200 points of every class"):
        datasets.balanced(x, labels, 200)
    with pytest.raises(InputError, match="labelled 11"):
        datasets.balanced(x, labels, 1, classes=[11])
    with pytest.raises(ShapeError):
        datasets.balanced(x, labels[:5], 1)
