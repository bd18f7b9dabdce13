"""Arrays: .npz and .npy files, IDX files as MNIST comes in, mappings of arrays such as scikit-learn's Bunch."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import floats
from kernelcalc.arrays import AnyArray, plain
from kernelcalc.datasets.columns import Columns, names_count, words
from kernelcalc.datasets.data import Data, Request, finite, listed
from kernelcalc.datasets.labels import label_vector
from kernelcalc.errors import DataFileError, InputError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array

# Words in the names of arrays; what is left of a name (train, test) says which belong together.
_POINT_WORDS = ("images", "image", "data", "features", "inputs", "input", "points", "arr_0", "x")
_LABEL_WORDS = ("labels", "label", "targets", "target", "classes", "class", "arr_1", "y")
# One value a point each, and no label.
_NO_LABELS = frozenset(
    {"weight", "weights", "w", "mask", "masks", "name", "names", "filename", "filenames"}
    | {"index", "indices", "group", "groups", "fold", "folds"}
)
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(head: bytes) -> bool:
    r"""Whether a file that begins so is IDX: two zeros, a type, a number of axes.

    Examples
    --------
    >>> is_idx(bytes([0, 0, 8, 3])), is_idx(b"1,2\n")
    (True, False)
    """
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and head[3] > 0


def read_idx(content: bytes, source: str) -> AnyArray:
    """The array of an IDX file.

    Raises
    ------
    DataFileError
        Its length is not what its head says.

    Examples
    --------
    >>> read_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9]), "f").tolist()
    [[7, 9]]
    """
    axes, dtype = content[3], np.dtype(_IDX_TYPES[content[2]])
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataFileError(f"{axes} lengths of axes, then bytes of numbers", f"{len(content)} bytes in {source}")
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist())
    size = math.prod(shape) * dtype.itemsize
    if len(content) - start != size:
        raise DataFileError(f"{size} bytes of numbers for the shape {shape}", f"{len(content) - start} in {source}")
    return np.frombuffer(content, dtype=dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_numpy(content: bytes, source: str) -> AnyArray | dict[str, AnyArray]:
    """The array of an .npy file, or the arrays of an .npz file by their names; objects are refused.

    Raises
    ------
    DataFileError
        Not such a file.
    """
    if not content.startswith((b"\x93NUMPY", b"PK")):
        raise DataFileError("a NumPy file of plain arrays", f"{source}, which is neither .npy nor .npz within")
    try:
        stored = np.load(io.BytesIO(content), allow_pickle=False)
        return stored if isinstance(stored, np.ndarray) else {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        hint = "save numbers, and texts of one length" if "allow_pickle" in str(error) else ""
        why = "an array of Python objects" if hint else str(error)
        raise DataFileError("a NumPy file of plain arrays", f"{source}: {why}", hint) from error


def from_mapping(stored: Mapping[str, Any], source: str, request: Request) -> Data:
    """Points and labels from arrays that have names.

    Raises
    ------
    DataFileError
        No array, or several, that could be points.
    """
    arrays = {name: given_labels(a, name) for name, a in stored.items() if _is_array(a) or _are_numbers(name, a)}
    label_names = [name for name in request.named_labels if name in arrays]
    missing = [name for name in request.named_labels if name not in arrays and not name.removeprefix("-").isdecimal()]
    if missing:
        raise DataFileError(f"an array {missing[0]!r}", f"{listed(list(arrays)) or 'none'} in {source}")
    points = _points_name(arrays, label_names, source, request)
    if not label_names and request.labels is None:
        label_names = _label_name(arrays, points, source)
    chosen = [arrays[name] for name in label_names]
    y = chosen[0] if len(chosen) == 1 else np.stack([label_vector(a) for a in chosen], axis=1) if chosen else None
    # names of features and classes are neither
    rest = tuple(
        name
        for name, a in arrays.items()
        if name != points and name not in label_names and (a.dtype.kind not in "US" or len(a) == len(arrays[points]))
    )
    return from_array(
        arrays[points], y, source, replace(request, columns=()), points=f"array {points}",
        labels=f"array {listed(label_names)}", notes=(f"not used: {listed(rest)}",) if rest else (), candidates=rest,
    )  # fmt: skip


def given_labels(values: Any, name: str) -> AnyArray:
    """The values as an array, in which numbers beside texts in a list stay numbers."""
    array = plain(values, name)
    return np.array(values, dtype=object) if isinstance(values, list | tuple) and array.dtype.kind in "US" else array


def _is_array(value: Any) -> bool:
    return not isinstance(value, str | bytes | Mapping | list | tuple) and len(getattr(value, "shape", ())) > 0


def _are_numbers(name: str, value: Any) -> bool:
    """Whether a list may be points or labels; lists of text, such as names of features, only under a name of labels."""
    if not isinstance(value, list | tuple) or not len(value):
        return False
    kind = plain(value, name).dtype.kind
    return kind in "biuf" or (kind in "US" and _parts(name, _LABEL_WORDS)[0])


def _parts(name: str, words: Sequence[str]) -> tuple[bool, str]:
    """Whether a name has one of the words, and what is left of it."""
    for word in words:
        rest, found = re.subn(rf"(?<![a-z0-9]){word}(?![a-z0-9])|(?<=_){word}(?=_)", "", name.casefold())
        if not found and name.casefold() in (f"{word}train", f"{word}test"):
            rest, found = name.casefold().removeprefix(word), 1
        if found:
            return True, re.sub(r"[^a-z0-9]", "", rest)
    return False, ""


def _points_name(arrays: Mapping[str, AnyArray], labels: Sequence[str], source: str, request: Request) -> str:
    numeric = [name for name, a in arrays.items() if a.dtype.kind in "biuf" and name not in labels]
    if request.columns:
        if len(request.columns) > 1 or request.columns[0] not in arrays:
            names = listed(list(arrays))
            raise DataFileError(f"one array {', '.join(request.columns)}", f"{names or 'none'} in {source}")
        return request.columns[0]
    wanted = {_parts(name, _LABEL_WORDS)[1] for name in labels}
    named = {name: rest for name in numeric for known, rest in [_parts(name, _POINT_WORDS)] if known}
    for part in (*wanted, "", "train"):
        found = [name for name, rest in named.items() if rest == part]
        if len(found) > 1:
            # as rows, not as images
            found = [name for name in found if arrays[name].ndim == 2]
        if len(found) == 1:
            return found[0]
        if found:
            break
    shaped = [name for name in (named or numeric) if arrays[name].ndim > 1 and not _parts(name, _LABEL_WORDS)[0]]
    for least in (1, 2):
        if len(shaped := [name for name in shaped if math.prod(arrays[name].shape[1:]) >= least]) == 1:
            return shaped[0]
    raise DataFileError(
        "one array of points, by a name such as X, x_train, data or images",
        f"{listed(list(arrays)) or 'none'} in {source}",
        "say which: --columns NAME (columns= in Python)",
    )


def _label_name(arrays: Mapping[str, AnyArray], points: str, source: str) -> list[str]:
    """The array of labels that belongs to these points, if there is one."""
    n = len(arrays[points])
    part = _parts(points, _POINT_WORDS)[1]
    others = [name for name in arrays if name != points]
    named = [name for name in others if _parts(name, _LABEL_WORDS) == (True, part)]
    if not named and not any(_parts(name, _LABEL_WORDS)[0] or _parts(name, _POINT_WORDS)[0] for name in others):
        # Names that say nothing: one number or text for every point can be nothing else.
        named = [name for name in others if arrays[name].shape in ((n,), (n, 1)) and not _tells_rows_apart(name)]
        if len(named) > 1:
            named = []
    if len(named) > 1:
        raise DataFileError(
            "one array of labels", f"{listed(named)} in {source}", "say which: --labels NAME (labels= in Python)"
        )
    return named


def _tells_rows_apart(name: str) -> bool:
    """Whether an array of this name has one value a point that is no label: an index, a weight."""
    return names_count(name) or not _NO_LABELS.isdisjoint(words(name))


def from_array(
    x: AnyArray,
    y: AnyArray | None,
    source: str,
    request: Request,
    points: str = "one array",
    labels: str = "",
    notes: tuple[str, ...] = (),
    candidates: tuple[str, ...] = (),
) -> Data:
    """Points and labels from arrays; without labels of their own, they may be columns of the points.

    Raises
    ------
    DataFileError, NotFiniteError
        Shapes that do not fit, images without ``flatten``, other things than finite numbers.
    """
    if x.dtype.kind == "O" and x.ndim > 1:
        x = floats(x, "points", "numbers")
    if x.dtype.kind not in "biuf" or x.ndim < 2:
        hint = "one input for each point is the shape (N, 1): X[:, None]" if x.dtype.kind in "biuf" and x.ndim else ""
        raise DataFileError("points as numbers of the shape (N, n_0)", f"{x.dtype} {x.shape} in {source}", hint)
    if x.size == 0:
        raise DataFileError("at least one data point", f"the shape {x.shape} in {source}")
    if x.ndim > 2:
        if not request.flatten:
            inputs = math.prod(x.shape[1:])
            raise DataFileError(
                "points of the shape (N, n_0)",
                f"the shape {x.shape} in {source}",
                f"--flatten makes {inputs} inputs of each (flatten=True in Python)",
            )
        notes = (*notes, f"each flattened from {' × '.join(map(str, x.shape[1:]))}")
        x = x.reshape(len(x), -1)
    if y is None:
        x, y, points, labels, more = _columns(x, source, request, points)
        notes = (*notes, *more)
    elif len(y) != len(x):
        where = f" in {labels.removeprefix('file ')}" if labels.startswith("file ") else ""
        raise DataFileError("as many labels as points", f"{len(y)} labels{where} and {len(x)} points in {source}")
    with np.errstate(over="ignore"):  # of longer numbers than float64, which are infinite then
        x = np.array(x, dtype=np.float64)
    finite(x, "points", None, source)
    checked = None if y is None else _checked_labels(y, source)
    many = tuple(map(str, range(x.shape[1]))) if not candidates and x.shape[1] > 1 else candidates
    return Data(X=x, y=checked, source=source, points=points, labels=labels, notes=notes, candidates=many)


def _columns(
    x: AnyArray, source: str, request: Request, points: str
) -> tuple[AnyArray, AnyArray | None, str, str, tuple[str, ...]]:
    """Columns of one array as a table without names has them."""
    names = tuple(map(str, range(x.shape[1])))
    roles = Columns(names=names, named=False, source=source, text={}).roles(request)
    if len(roles.points) == len(names):
        return x, None, points, "", roles.notes
    y = x[:, roles.labels[0]] if len(roles.labels) == 1 else x[:, list(roles.labels)] if roles.labels else None
    of = f"columns {listed([names[i] for i in roles.points])} of {points}"
    return x[:, list(roles.points)], y, of, f"column {listed([names[i] for i in roles.labels])}", roles.notes


def _checked_labels(y: AnyArray, source: str) -> NDArray[Any]:
    if y.ndim not in (1, 2):
        raise DataFileError("labels of the shape (N,) or (N, n_out)", f"the shape {y.shape} in {source}")
    finite(y, "labels", None, source)
    if y.ndim == 1 or y.shape[1] == 1:
        try:
            vector = label_vector(y)
        except (InputError, ShapeError) as error:
            raise DataFileError("labels", f"{source}: {error}") from error
        return vector.astype(np.int64) if vector.dtype.kind in "biu" else vector
    if y.dtype.kind not in "biuf":
        raise DataFileError("numbers as labels of the shape (N, n_out)", f"{y.dtype} in {source}")
    numbers: Array = y.astype(np.float64)
    return numbers
