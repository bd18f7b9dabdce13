"""The file that keeps finished trials: JSON lines, a header and a line a trial, for one process at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from kernelcalc.arguments import path_of
from kernelcalc.errors import DataFileError, InputError, OutputFileError
from kernelcalc.finite.arrays import AnyArray, real_array

Result = dict[str, AnyArray]

_FORMAT = "kernelcalc trials 1"
_OTHER = "choose another path"


class TrialLog:
    """An open file of trials, locked where the system can (``flock``): no other process writes to it meanwhile.

    Parameters
    ----------
    path : path
        Made if it is missing. Nothing is changed in a file before its header is known to be this run's.
    seed : str
        What the trials' seeds are spawned from.
    settings : dict
        What defines a trial, as JSON values.

    Attributes
    ----------
    done : dict
        Results found in the file, by trial.

    Raises
    ------
    InputError
        Settings that JSON cannot hold; what is no path.
    DataFileError
        Another kind of file, trials of another run, or another process is writing.
    OutputFileError
        The file cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike[str], *, seed: str, settings: dict[str, Any]) -> None:
        self._path = path_of(path)
        header = json.loads(json.dumps({"format": _FORMAT, "seed": seed, "settings": settings}, default=_json))
        try:
            if self._path.is_char_device():
                raise OutputFileError(f"cannot keep trials in {self._path}: it is a device")
            self._file = self._open()
            try:
                _lock(self._file, self._path)
                self.done: dict[int, Result] = self._resume(header)
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> TrialLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unlock and close."""
        _unlock(self._file)
        self._file.close()

    def append(self, trial: int, result: Result) -> None:
        """Write down one trial, durably."""
        self.require_writable()
        try:
            self._write({"trial": trial} | {name: value.tolist() for name, value in result.items()})
        except OSError as error:
            raise self._unwritable(error) from error

    def require_writable(self) -> None:
        """OutputFileError if the file may only be read."""
        if not self._file.writable():
            raise OutputFileError(f"cannot write {self._path}: it may only be read")

    def _open(self) -> BinaryIO:
        # unbuffered: nothing is left to be written when the file is closed after an error
        try:
            return open(self._path, "a+b", buffering=0)
        except PermissionError:
            # enough for trials that are all there
            return open(self._path, "rb", buffering=0)

    def _resume(self, header: dict[str, Any]) -> dict[int, Result]:
        """Finished trials; afterwards the file has this header and ends at a line's end."""
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        if not whole:
            # a kill while the header was written leaves its beginning
            if not _line(header).startswith(text):
                raise self._foreign()
            self.require_writable()
            self._file.truncate(0)
            self._write(header)
            return {}
        first, *lines = whole.splitlines()
        self._compare(self._parsed(first), header)
        done = self._trials(lines)
        if len(whole) < len(text) and self._file.writable():
            self._file.truncate(len(whole))
        return done

    def _compare(self, first: Any, header: dict[str, Any]) -> None:
        fits = isinstance(first, dict) and first.keys() == header.keys() and first["format"] == _FORMAT
        if not fits or not isinstance(first["settings"], dict):
            raise self._foreign()
        old, new = first["settings"], header["settings"]
        other = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
        if first != header:
            got = f"others ({', '.join(other) or 'another seed'})"
            raise DataFileError(f"trials of this run in {self._path}", got, _OTHER)

    def _trials(self, lines: list[bytes]) -> dict[int, Result]:
        done: dict[int, Result] = {}
        for number, line in enumerate(lines, start=2):
            row = self._parsed(line)
            trial = row.pop("trial", None) if isinstance(row, dict) else None
            if type(trial) is not int or trial < 0:
                raise self._damaged(number)
            try:
                done[trial] = as_result(row)
            except InputError as error:
                raise self._damaged(number) from error
            if fields(done[trial]) != fields(next(iter(done.values()))):
                raise self._damaged(number)
        return done

    def _parsed(self, line: bytes) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._foreign() from error

    def _write(self, line: dict[str, Any]) -> None:
        # a kill can only cut the last line short, which reading drops
        rest, size = memoryview(_line(line)), os.fstat(self._file.fileno()).st_size
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
            os.fsync(self._file.fileno())
        except OSError:
            # a full disk has room for less
            self._file.truncate(size)
            raise

    def _foreign(self) -> DataFileError:
        return DataFileError("a JSON-lines file of trials", f"{self._path}", _OTHER)

    def _damaged(self, line: int) -> DataFileError:
        return DataFileError('lines {"trial": number, field: array, ...}', f"line {line} of {self._path}", _OTHER)

    def _unwritable(self, error: OSError) -> OutputFileError:
        return OutputFileError(f"cannot write {self._path}: {error.strerror or error}")


def as_result(values: Any) -> Result:
    """Numbers and arrays by name as float64 arrays; InputError for anything else."""
    if not isinstance(values, dict) or not values or "trial" in values:
        raise InputError("numbers and arrays by name (other than 'trial')", f"{values!r:.100}")
    return {name: real_array(value, name).astype(np.float64) for name, value in values.items()}


def fields(result: Result) -> dict[str, tuple[int, ...]]:
    """Shapes by name."""
    return {name: value.shape for name, value in result.items()}


def _json(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise InputError("settings of JSON values", repr(value))


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataFileError(f"no other process writing to {path}", "a locked file", "wait for it to end") from error
    except OSError:
        # a file system without locks
        return


def _unlock(file: BinaryIO) -> None:
    try:
        import fcntl

        # by itself the lock would last as long as a forked child has the file
        fcntl.flock(file, fcntl.LOCK_UN)
    except (ImportError, OSError):
        return
