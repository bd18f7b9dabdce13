"""Files of results: kept exactly, never pickled, refused by name where they are foreign or damaged."""

import io
import json
import zipfile

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import DataFileError, InputError, OutputFileError
from kernelcalc.results.storage import MEMBER
from tests.results.cases import FINITE, NET, RNG, K, X, Y


def test_layers_are_not_in_files(tmp_path):
    back = kc.load(K.save(tmp_path / "K.npz"))
    with pytest.raises(InputError, match=r"net\.kernels\(X\)\.layers"):
        _ = back.layers
    # the rest is as before, refusals included
    np.testing.assert_array_equal(kc.mse_moments(back, Y, [1.0]).trace_h, kc.mse_moments(K, Y, [1.0]).trace_h)
    kinked = kc.load(kc.MLP("relu").kernels(X).save(tmp_path / "R.npz"))
    with pytest.raises(kc.errors.SmoothnessError, match="relu"):
        _ = kinked.phi


def test_files_of_finite_networks_compute_on(made, tmp_path):
    """Weights, nonlinearities and all: products with H after reading are those before."""
    back = kc.load(made("curvature").save(tmp_path / "split.npz"))
    vector = RNG.normal(size=FINITE.n_parameters)
    np.testing.assert_array_equal(back.h @ vector, made("curvature").h @ vector)
    run = kc.load(made("training").save(tmp_path / "run.npz"))
    np.testing.assert_array_equal(run.network(X), made("training").network(X))
    assert [one["norm"] for one in run.records] == [one["norm"] for one in made("training").records]


def test_digits_are_kept_exactly(made, tmp_path):
    with mpmath.workdps(25):
        want = made("kernels with digits").theta
    back = kc.load(made("kernels with digits").save(tmp_path / "d.npz")).theta
    assert [v._mpf_ for v in back.ravel()] == [v._mpf_ for v in want.ravel()]


@pytest.mark.parametrize("path", ["k.csv", "k", "k.npy", "k.pdf"])
def test_other_endings_are_refused(path, tmp_path):
    with pytest.raises(InputError, match=r"ends in \.npz"):
        K.save(tmp_path / path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_named_and_leaves_the_old_file(made, tmp_path):
    path = made("training").save(tmp_path / "a.npz")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"result\.records\.0"):
        FINITE.train(X, Y, [0.0], record=lambda t, net: print).save(path)
    with pytest.raises(InputError, match=r"\.compute\(\)"):
        NET.kernels(X, engine="dask").save(path)
    assert path.read_bytes() == before
    with pytest.raises(OutputFileError):
        K.save(tmp_path / "nowhere" / "a.npz")


def _archive(path, **members):
    np.savez(path, **members)
    return path


def test_foreign_files_are_refused_by_name(tmp_path):
    good = K.save(tmp_path / "good.npz")
    whole = good.read_bytes()
    (tmp_path / "text.npz").write_text("a,b\n1,2\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros(3))
    cases = [tmp_path / "text.npz", tmp_path / "empty.npz", tmp_path / "array.npy", tmp_path / "missing.npz", tmp_path]
    cases.append(_archive(tmp_path / "other.npz", X=np.zeros(3)))
    cases.append(_archive(tmp_path / "object.npz", **{MEMBER: np.array([print], dtype=object)}))
    cases.append(_archive(tmp_path / "junk.npz", **{MEMBER: np.frombuffer(b"[1, 2", dtype=np.uint8)}))
    cases.append(_archive(tmp_path / "list.npz", **{MEMBER: np.frombuffer(b"[1, 2]", dtype=np.uint8)}))
    for count in (1, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / f"cut{count}.npz").write_bytes(whole[:count])
        cases.append(tmp_path / f"cut{count}.npz")
    for path in cases:
        with pytest.raises(DataFileError) as caught:
            kc.load(path)
        assert path.name in str(caught.value)


def _changed(path, change):
    """A copy of the file whose text was changed."""
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files}
    content = json.loads(members[MEMBER].tobytes())
    change(content)
    members[MEMBER] = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    return _archive(path.with_name("changed.npz"), **members)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("subprocess", "Popen"),
        ("kernelcalc.output.files", "atomic_file"),
        ("kernelcalc.output.files", "Path"),
        ("kernelcalc.nowhere", "Result"),
        ("kernelcalc.errors", "InputError"),
    ],
)
def test_files_cannot_name_anything_but_results(tmp_path, module, name):
    def change(content):
        content["result"] |= {"module": module, "class": name}

    with pytest.raises(DataFileError):
        kc.load(_changed(K.save(tmp_path / "K.npz"), change))


@pytest.mark.parametrize("name", ["FixedPoint", "DepthProfile"])
def test_files_of_classes_that_have_moved(tmp_path, name):
    """Version 0.1 once had both in studies/phase.py, and its files say so."""
    result = kc.phase.fixed_points("erf", 1.5, 0.1)[0]
    if name == "DepthProfile":
        result = kc.phase.depth_profile("erf", [[1.0, 0.0], [0.0, 1.0]], [1, 2])

    def change(content):
        assert content["result"]["class"] == name
        content["result"]["module"] = "kernelcalc.studies.phase"

    read = kc.load(_changed(result.save(tmp_path / "a.npz"), change))
    assert type(read) is type(result)
    for field, value in result.stored().items():
        np.testing.assert_array_equal(getattr(read, field), value)


def test_damaged_files_are_read_or_refused(made, tmp_path):
    """Bytes changed at random, and pieces of the text left out, put in or nested without end."""
    path, changes = made("training").save(tmp_path / "a.npz"), np.random.default_rng(0)
    whole, damaged = path.read_bytes(), tmp_path / "b.npz"
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files}
    text, refused = members[MEMBER].tobytes().decode(), 0
    texts = ["[" * 100_000, '{"form": 1, "version": "", "origin": {}, "result": ' + "[" * 900 + "]" * 900 + "}", "3"]
    for _ in range(150):
        at, length = changes.integers(len(text)), changes.integers(0, 12)
        texts.append(text[:at] + changes.choice(["", "null", "1e999", "[]", '"a"', "$"]) + text[at + length :])
    for changed in texts:
        np.savez(damaged, **{**members, MEMBER: np.frombuffer(changed.encode(), dtype=np.uint8)})
        refused += _is_refused(damaged)
    for _ in range(150):
        content = bytearray(whole)
        content[changes.integers(len(whole))] = changes.integers(256)
        damaged.write_bytes(bytes(content))
        refused += _is_refused(damaged)
    assert refused > 200


def _is_refused(path):
    try:
        kc.load(path)
    except DataFileError:
        return True
    return False


def test_files_of_another_form_or_with_other_fields_are_refused(tmp_path):
    path = K.save(tmp_path / "K.npz")
    with pytest.raises(DataFileError, match="form 99"):
        kc.load(_changed(path, lambda content: content.update(form=99)))
    with pytest.raises(DataFileError, match="version"):
        kc.load(_changed(path, lambda content: content["result"]["fields"].update(more=1)))
    with pytest.raises(DataFileError):
        kc.load(
            _changed(path, lambda content: content["result"]["fields"]["arrays"]["items"]["theta"].update(name="x"))
        )


def test_nothing_is_pickled(made, tmp_path):
    path = made("training").save(tmp_path / "a.npz")
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            np.lib.format.read_array(io.BytesIO(archive.read(member)), allow_pickle=False)
