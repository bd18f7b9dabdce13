"""Files that are written whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import path_of
from kernelcalc.errors import OutputFileError, ShapeError
from kernelcalc.output.recipe import metadata
from kernelcalc.output.style import finish, laid_out

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def writable_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, created if missing, after a test file was written to it.

    Raises
    ------
    OutputFileError
        It cannot be created or written to.
    """
    folder = path_of(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputFileError(f"expected a writable output folder, got {folder}: {error.strerror or error}") from error
    return folder


def check_writable(path: str | os.PathLike[str]) -> None:
    """As :func:`writable_folder`, for a folder that is to be made later: none is left that was not there.

    Raises
    ------
    OutputFileError
        It cannot be created or written to.
    """
    folder = path_of(path)
    missing = [one for one in (folder, *folder.parents) if not os.path.exists(one)]
    try:
        writable_folder(folder)
    finally:
        for one in missing:
            # another process may have put something there
            with suppress(OSError):
                one.rmdir()


def check_opens(path: str | os.PathLike[str]) -> None:
    """Refuse a device that takes nothing, such as /dev/full, by a line end; terminals, pipes and files are left alone.

    Raises
    ------
    OutputFileError
        It cannot be written to.
    """
    target = path_of(path)
    try:
        if not target.is_char_device():
            return
        with target.open("wb", buffering=0) as file:
            if not file.isatty():
                file.write(b"\n")
    except OSError as error:
        raise OutputFileError(f"cannot write {target}: {error.strerror or error}") from error


def same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two names are or would be of one file; devices take more than one output."""
    first, second = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    if first.exists() and second.exists():
        return not first.is_char_device() and not first.is_fifo() and first.samefile(second)
    return first == second


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that replaces ``path`` when the block ends without an error, and leaves no trace otherwise.

    Raises
    ------
    OutputFileError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_file(pathlib.Path(folder, "a.txt")) as file:
    ...         _ = file.write(b"whole")
    ...     pathlib.Path(folder, "a.txt").read_text()
    'whole'
    """
    target = path_of(path)
    if target.is_dir():
        raise OutputFileError(f"cannot write {target}: it is a folder")
    if target.exists() and not target.is_file():
        # a device or a pipe, such as /dev/stdout, is written to, not replaced
        yield from _written_to(target)
        return
    # where a link leads is replaced, not the link
    target = Path(os.path.realpath(target))
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
        os.replace(unfinished, target)
    except OSError as error:
        raise OutputFileError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _written_to(target: Path) -> Iterator[IO[bytes]]:
    whole = io.BytesIO()
    yield whole
    try:
        with target.open("wb") as file:
            file.write(whole.getvalue())
    except OSError as error:
        raise OutputFileError(f"cannot write {target}: {error.strerror or error}") from error


def write_csv(path: str | os.PathLike[str], columns: Mapping[str, ArrayLike]) -> Path:
    """Write columns of equal length under a header line.

    Floats are written with the fewest digits that read back to the same number; NaN becomes an empty cell.

    Raises
    ------
    ShapeError
        Columns of different lengths.
    OutputFileError
        The file cannot be written.
    """
    arrays = [np.asarray(column) for column in columns.values()]
    if len({array.shape for array in arrays}) > 1 or any(array.ndim != 1 for array in arrays):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(columns, arrays, strict=True))
        raise ShapeError("columns of equal length", shapes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*([_cell(value) for value in array.tolist()] for array in arrays), strict=True))
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())
    return Path(path)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, ArrayLike]) -> Path:
    """Write named arrays as a NumPy archive.

    Raises
    ------
    OutputFileError
        The file cannot be written.
    """
    with atomic_file(path) as file:
        np.savez(file, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    return Path(path)


def write_figure(path: str | os.PathLike[str], figure: Any, *, recipe: str = "") -> Path:
    """Save a matplotlib figure, as wide as it is, in the format of the path's ending, with its recipe in the metadata.

    The same figure gives the same bytes: no dates.

    Raises
    ------
    OutputFileError
        The file cannot be written.
    """
    ending = Path(path).suffix.lstrip(".").lower() or "png"
    finish(figure)
    with atomic_file(path) as file, laid_out(figure) if ending == "png" else nullcontext():
        figure.savefig(file, format=ending, metadata=metadata(ending, recipe))
    return Path(path)


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and value != value else value
