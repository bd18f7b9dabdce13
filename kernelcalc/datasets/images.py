"""Pictures as points: one file, or a folder with one folder of pictures a class."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets.data import listed
from kernelcalc.errors import DataFileError, MissingExtraError

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp"})


def read_image(path: Path) -> AnyArray:
    """Pixels (height, width) or (height, width, channels), from 0 to 1.

    Raises
    ------
    MissingExtraError
        matplotlib, which brings the reader, is not installed.
    DataFileError
        Not a picture.
    """
    try:
        reader: Any = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot", "reading pictures") from error
    try:
        with reader.open(path) as picture:
            if (frames := getattr(picture, "n_frames", 1)) > 1:
                raise DataFileError("one picture in a file", f"{frames} in {path}")
            mode = picture.mode
            # one bit and palettes: as what they show
            kept = picture.convert({"1": "L", "P": "RGB"}[mode]) if mode in ("1", "P") else picture.copy()
    except DataFileError:
        raise
    except (OSError, ValueError, SyntaxError) as error:
        raise DataFileError("a picture", f"{path}: {error}") from error
    pixels = np.asarray(kept)
    scale = 1.0 if pixels.dtype.kind == "f" else 255.0 if pixels.dtype == np.uint8 else 65535.0
    return pixels / scale


def read_folder(folder: Path) -> tuple[AnyArray, AnyArray | None, tuple[str, ...]]:
    """Pictures of a folder; where it has a folder for each class, the names of these as labels; what is left out.

    Raises
    ------
    DataFileError
        No pictures; pictures of different shapes; pictures beside folders.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [(path, label.name) for label in classes for path in _pictures(label)]
    loose = [(path, "") for path in _pictures(folder)]
    if found and loose:
        raise DataFileError("pictures in folders, one a class, or in none", f"both in {folder}")
    if not found and not loose:
        raise DataFileError("pictures, or folders of pictures, one a class", f"none in {folder}")
    first: tuple[int, ...] | None = None
    pixels = []
    for path, _ in found or loose:
        pixels.append(read_image(path))
        first = first or pixels[0].shape
        if pixels[-1].shape != first:
            raise DataFileError(f"pictures of one shape, {first}", f"{pixels[-1].shape} in {path}")
    rest = [one for part in (classes if found else [folder]) for one in _others(part)]
    rest += [path for path in classes if not _pictures(path)]
    notes = (f"left out: {listed([str(path.relative_to(folder)) for path in rest])}",) if rest else ()
    return np.stack(pixels), np.array([label for _, label in found]) if found else None, notes


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)


def _others(folder: Path) -> list[Path]:
    """What is no picture, but for hidden files."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() not in ENDINGS and path.name[0] != ".")
