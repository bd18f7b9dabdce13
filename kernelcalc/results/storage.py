"""Results in files: a NumPy archive of their arrays, and one JSON text that says what they are. Nothing is ever pickled.

The text has the version of the package, the network, the digest of the data and the seed, where they are known, and the
result's fields; an array stands there by its name in the archive. Reading makes objects of this package's own classes only.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kernelcalc import errors
from kernelcalc.arguments import path_of
from kernelcalc.arrays import AnyArray
from kernelcalc.errors import DataFileError, InputError, KernelcalcError
from kernelcalc.output.files import write_npz
from kernelcalc.version import __version__

# The archive's member with the JSON text, and the version of its form.
MEMBER, FORM = "kernelcalc", 1
# Marks what JSON has no type for.
_KIND = "$"
_OURS = re.compile(r"kernelcalc(\.[a-z_][a-z_0-9]*)+")


def write_result(path: str | os.PathLike[str], result: Any, origin: Mapping[str, Any]) -> Path:
    """Write a result, whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.npz``.
    result : object
        A dataclass of this package, or an object of it with ``stored``.
    origin : mapping
        What it was computed from, as JSON values.

    Raises
    ------
    InputError
        Another ending, or a part that cannot be written: callables, balls, arrays that are not computed yet.
    OutputFileError
        The file cannot be written.
    """
    target = path_of(path)
    if target.suffix != ".npz":
        raise InputError("a file name that ends in .npz", str(path), f"for example {target.stem or 'result'}.npz")
    arrays: dict[str, AnyArray] = {}
    content = {
        "form": FORM,
        "version": __version__,
        "origin": dict(origin),
        "result": _encoded(result, "result", arrays),
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return write_npz(target, {MEMBER: np.frombuffer(text.encode(), dtype=np.uint8), **arrays})


def load(path: str | os.PathLike[str]) -> Any:
    """Read what a result's ``save`` has written.

    Raises
    ------
    DataFileError
        The file is missing, damaged, or of another origin or a newer form.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from kernelcalc.gaussian.expectation import ExpectationResult
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = ExpectationResult(value=0.5, error=1e-16, method="exact").save(pathlib.Path(folder, "half.npz"))
    ...     load(path).value
    0.5
    """
    wanted = "a file written by a result's save()"
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if MEMBER not in archive:
                raise DataFileError(wanted, f"another archive, {path}", "kc.datasets.load reads data")
            content = json.loads(archive[MEMBER].tobytes().decode())
            arrays = {name: archive[name] for name in archive.files if name != MEMBER}
        form, version, origin = content["form"], content["version"], content["origin"]
        if form != FORM:
            raise DataFileError(
                f"a file of form {FORM}", f"form {form} of version {version} in {path}", "update kernelcalc"
            )
        return _decoded(content["result"], arrays).with_origin(**origin)
    except DataFileError:
        raise
    except OSError as error:
        raise DataFileError(wanted, f"{path}: {error.strerror or error}") from error
    except Exception as error:  # a file can hold anything, and what reads it raises anything
        got = f"{path}, which is none, is damaged or of another version ({type(error).__name__}: {error})"
        raise DataFileError(wanted, got) from error


def _encoded(value: Any, where: str, arrays: dict[str, AnyArray]) -> Any:
    """The value as JSON; arrays are put aside under the name of their place."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else {_KIND: "float", "value": repr(float(value))}
    if _of_mpmath(value):
        return {_KIND: "mpf", "value": _digits(value)}
    if isinstance(value, KernelcalcError):
        return {_KIND: "error", "class": type(value).__name__, "message": str(value)}
    if isinstance(value, np.ndarray):
        return _encoded_array(value, where, arrays)
    if (isinstance(value, tuple) and hasattr(value, "_fields")) or _is_ours(value):
        names = value.stored() if hasattr(value, "stored") else _fields(value)
        parts = {name: _encoded(part, f"{where}.{name}", arrays) for name, part in names.items()}
        return {_KIND: "object", "module": type(value).__module__, "class": type(value).__qualname__, "fields": parts}
    if isinstance(value, list | tuple):
        items = [_encoded(part, f"{where}.{i}", arrays) for i, part in enumerate(value)]
        return items if isinstance(value, list) else {_KIND: "tuple", "items": items}
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {_KIND: "dict", "items": {n: _encoded(part, f"{where}.{n}", arrays) for n, part in value.items()}}
    hint = "compute them first, .compute(), or use .to_zarr(folder)" if hasattr(value, "dask") else ""
    raise InputError(
        "numbers, texts, arrays and results, which can be saved", f"{where}, a {type(value).__name__}", hint
    )


def _encoded_array(value: AnyArray, where: str, arrays: dict[str, AnyArray]) -> Any:
    if value.dtype.kind in "biufcU":
        arrays[where] = value
        return {_KIND: "array", "name": where}
    entries = value.ravel().tolist()
    if value.dtype.kind == "O" and all(isinstance(entry, str) for entry in entries):
        arrays[where] = value.astype(str)
        return {_KIND: "texts", "name": where}
    if value.dtype.kind != "O" or not all(_of_mpmath(entry) for entry in entries):
        kind = type(entries[0]).__name__ if entries else value.dtype
        raise InputError("arrays of numbers or of mpmath's, which can be saved", f"{where}, an array of {kind}")
    return {_KIND: "mpf array", "shape": list(value.shape), "values": list(map(_digits, entries))}


def _digits(value: Any) -> str:
    """An mpmath number exactly, as mantissa and exponent of 2; infinity and NaN by name."""
    import mpmath

    if not mpmath.isfinite(value):
        return str(value)
    sign, mantissa, exponent, _ = value._mpf_
    return f"{'-' * sign}{int(mantissa)}p{exponent}"


def _number(text: str) -> Any:
    import mpmath

    if "p" not in text:
        return mpmath.mpf(text)
    mantissa, exponent = text.split("p")
    return mpmath.mp.make_mpf(mpmath.libmp.from_man_exp(int(mantissa), int(exponent)))


def _is_ours(value: Any) -> bool:
    known = hasattr(value, "stored") or dataclasses.is_dataclass(value)
    return known and not isinstance(value, type) and _OURS.fullmatch(type(value).__module__) is not None


def _fields(value: Any) -> dict[str, Any]:
    names = (
        getattr(value, "_fields", ())
        if isinstance(value, tuple)
        else [f.name for f in dataclasses.fields(value) if f.init]
    )
    return {name: getattr(value, name) for name in names}


def _decoded(value: Any, arrays: Mapping[str, AnyArray]) -> Any:
    if isinstance(value, list):
        return [_decoded(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    kind = value[_KIND]
    if kind == "float":
        return float(value["value"])
    if kind == "mpf":
        return _number(value["value"])
    if kind == "array":
        return arrays[value["name"]]
    if kind == "texts":
        return arrays[value["name"]].astype(object)
    if kind == "mpf array":
        found = np.empty(len(value["values"]), dtype=object)
        found[:] = list(map(_number, value["values"]))
        return found.reshape(value["shape"])
    if kind == "error":
        return _error(value["class"], value["message"])
    if kind == "tuple":
        return tuple(_decoded(part, arrays) for part in value["items"])
    fields = {name: _decoded(part, arrays) for name, part in value["items" if kind == "dict" else "fields"].items()}
    if kind == "dict":
        return fields
    found_class = _class(value["module"], value["class"])
    return found_class.from_stored(fields) if hasattr(found_class, "from_stored") else found_class(**fields)


def _error(name: str, message: str) -> KernelcalcError:
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, KernelcalcError)):
        raise DataFileError("an error of kernelcalc", repr(name))
    return errors.rebuilt(kind, message)


def _class(module: str, name: str) -> Any:
    """A class of this package that holds fields, and nothing else that a file might name."""
    found = getattr(importlib.import_module(module), name, None) if _OURS.fullmatch(module) else None
    # one that has moved is still found where it was
    holds = isinstance(found, type) and _OURS.fullmatch(found.__module__) is not None
    if not holds or not (hasattr(found, "stored") or dataclasses.is_dataclass(found) or hasattr(found, "_fields")):
        raise DataFileError("results of kernelcalc", f"{module}.{name}", "the file is of another version")
    return found


def _of_mpmath(value: Any) -> bool:
    """Whether a number is mpmath's, which need not be imported to tell."""
    return type(value).__name__ == "mpf" and type(value).__module__.startswith("mpmath")
