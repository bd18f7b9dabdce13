"""Gram matrices in a Zarr folder, written block by block, resumable.

The folder is a plain Zarr group, one array a kernel, which any reader of Zarr understands. Beside them the array ``done``
has one cell for each pair of blocks. It is set after the blocks are on disk, so a run that was killed at any point
continues with what is missing; blocks without the mark are written again, whatever is left of them, and so are marked ones
whose files are missing or cut short, which names and sizes tell (4 µs a file on a local disk).
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kernelcalc.arguments import check_can, flag, path_of
from kernelcalc.errors import DataFileError, InputError, OutputFileError
from kernelcalc.kernels.distributed.blocks import BlockSource, digest, kernel_block
from kernelcalc.kernels.distributed.engine import CHUNKS, require, run_tasks
from kernelcalc.kernels.distributed.lazy_kernels import LazyKernels, SeparateKernels
from kernelcalc.kernels.network import Network, check_network
from kernelcalc.kernels.state import turned
from kernelcalc.patience import watched
from kernelcalc.version import __version__

FORMAT = "kernelcalc kernels 1"
# Tasks handed to the scheduler at once: bounds its memory, and the pause at the end of a batch is small beside it.
BATCH = 20_000
COMPLETE = "the same to_zarr call to this folder completes it: what is there is kept"


def kernels(
    net: Network,
    X: Any,
    X2: Any = None,
    *,
    only: Sequence[str] | str | None = None,
    chunks: Any = CHUNKS,
    compiled: bool = False,
) -> LazyKernels:
    """Gram matrices as dask arrays, not yet computed: ``net.kernels(X, X2, engine="dask")``.

    Parameters
    ----------
    net : Network
    X, X2 : array_like, dask or Zarr array
        Points of rows and columns.
    only : sequence of str, optional
        Kernels wanted, all defined ones by default.
    chunks : int, "auto", or a tuple of two of these
        Points in a block (of rows, of columns).
    compiled : bool
        Workers sum series in machine code (extra ``fast``).

    Raises
    ------
    MissingExtraError
        dask, or with ``compiled`` numba, is not installed.
    InputError, ShapeError, NotFiniteError
        See :meth:`kernelcalc.MLP.kernels`.
    """
    check_network(net)
    net.require_vectors("kernels as dask arrays")
    source = BlockSource.of(net, X, X2, net.names(only), chunks, compiled=flag("compiled", compiled))
    return LazyKernels(SeparateKernels(source), refused=net.refused, title=repr(net), source=source, write=write_source)


@watched("progress=True shows how far it is; fewer points are faster")
def write_kernels(
    net: Network,
    X: Any,
    path: str | os.PathLike[str],
    X2: Any = None,
    *,
    only: Sequence[str] | None = None,
    engine: str = "dask",
    chunks: Any = CHUNKS,
    progress: bool = False,
    client: Any = None,
) -> LazyKernels:
    """Compute Gram matrices and write them to a Zarr folder, block by block.

    Parameters
    ----------
    net : Network
    X, X2 : array_like, dask or Zarr array
        Points of rows and columns, as for :meth:`kernelcalc.MLP.kernels`.
    path : path
        The folder, on a disk that all workers see. If it holds an unfinished run of the same network, points, kernels and
        blocks, that run continues; blocks that are done are not computed again.
    only : sequence of str, optional
        Kernels wanted, all defined ones by default.
    engine : {"dask", "dask+numba"}
        Whether workers sum series in machine code; a run may be continued with the other one.
    chunks : int, "auto", or a tuple of two of these
        Points in a block (of rows, of columns): a block of one kernel has 8·chunks² bytes, and a task holds eight of them
        and some 70 kB a point; without a cluster two tasks take turns. Files are one a block and kernel: for a million points
        1.6 million with 2048, 98 thousand with 8192, where a task needs about 5 GiB.
    progress : bool
        Show a bar (needs tqdm).
    client : dask.distributed.Client, optional
        Where to compute; by default the current client, else dask's scheduler on this machine. A worker process uses all
        its cores for one pair of blocks at a time, so one worker of one thread a machine is enough.

    Returns
    -------
    LazyKernels
        Read lazily from the folder.

    Raises
    ------
    InputError
        Another engine, or what :meth:`kernelcalc.MLP.kernels` refuses.
    DataFileError
        The folder belongs to another run or is something else.
    OutputFileError
        It cannot be written.
    MissingExtraError
        dask or zarr is not installed, or numba with "dask+numba".

    Examples
    --------
    >>> import tempfile, kernelcalc as kc
    >>> X, _ = kc.datasets.mnist14(64)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     K = write_kernels(kc.MLP("erf"), X, folder + "/K.zarr", chunks=32, only=("theta",))
    ...     float(abs(K.theta - K.theta.T).max().compute())
    0.0
    """
    check_network(net)
    if not isinstance(engine, str) or engine not in ("dask", "dask+numba"):
        raise InputError('engine="dask" or "dask+numba"', repr(engine))
    lazy = kernels(net, X, X2, only=only, chunks=chunks, compiled=engine == "dask+numba")
    return lazy.to_zarr(path, progress=progress, client=client)


def write_source(
    source: BlockSource, path: str | os.PathLike[str], *, progress: bool = False, client: Any = None
) -> LazyKernels:
    """The work of :func:`write_kernels` on prepared blocks."""
    zarr = require("zarr", "a folder of kernels")
    folder = path_of(path).absolute()
    check_can("client", client, "get_executor", "a dask.distributed.Client")
    record = _record(source, client)
    if folder.exists():
        _check_same(folder, record)
    else:
        _create(zarr, folder, source, record)
    marked, whole = _inventory(folder, record)
    encode = zarr.open_group(folder, mode="r")["done"].metadata.encode_chunk_key
    # What is marked but lost since is computed again; a worker would take the mark's word.
    for pair in np.argwhere(marked & ~whole).tolist():
        Path(folder, "done", encode(tuple(pair))).unlink(missing_ok=True)
    missing = [pair for pair in source.pairs() if not whole[pair]]
    for start in range(0, len(missing), BATCH):
        tasks = _tasks(source, folder, missing[start : start + BATCH])
        run_tasks(tasks, label=f"blocks of {folder.name}", progress=progress, client=client)
    return open_kernels(folder)


def open_kernels(path: str | os.PathLike[str]) -> LazyKernels:
    """Kernels written by :func:`write_kernels`, read lazily.

    Raises
    ------
    DataFileError
        There is no such folder, or it is not finished, or files in it are missing or cut short; from the arrays when they
        are read, for files that were damaged since.
    MissingExtraError
        dask or zarr is not installed.
    """
    zarr = require("zarr", "a folder of kernels")
    da = require("dask.array", "a folder of kernels")
    record = _read_record(path_of(path))
    group = zarr.open_group(Path(path), mode="r")
    marked, whole = _inventory(Path(path), record)
    wanted = np.triu(np.ones_like(whole)) if record["points2"] is None else np.ones_like(whole)
    missing, lost = wanted & ~whole, wanted & marked & ~whole
    if missing.any():
        again = f", {lost.sum()} of them written once and now lost or cut short" if lost.any() else ""
        raise DataFileError(
            f"finished kernels in {path}", f"{missing.sum()} of {wanted.sum()} pairs of blocks missing{again}", COMPLETE
        )
    token = require("dask.base", "a folder of kernels").tokenize(str(Path(path).absolute()), record)
    arrays = {
        name: da.from_array(
            _Stored(group[name], f"{path}"), chunks=group[name].chunks, name=f"{name}-{token}", meta=np.empty((0, 0))
        )
        for name in record["names"]
    }
    return LazyKernels(arrays, refused={}, title=f"{record['title']}, from {path}")


class _Stored:
    """A Zarr array that is read as it was written, or not at all."""

    ndim = 2

    def __init__(self, array: Any, path: str) -> None:
        self.array, self.path = array, path
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        where = f"a block of {self.array.basename} in {self.path}"
        try:
            block = np.asarray(self.array[index])
        except (OSError, ValueError, RuntimeError) as error:
            raise DataFileError(where, f"a file that cannot be read ({error})", COMPLETE) from error
        # For a lost file Zarr gives NaN, which no kernel has.
        if np.isnan(block.min(initial=np.inf)):
            raise DataFileError(where, "no file", COMPLETE)
        return block


def _inventory(folder: Path, record: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs of blocks are marked, and which of them have all their files: by names and sizes, nothing is read."""
    marked, whole = _files(folder, "done")
    for name in record["names"]:
        there = _files(folder, name)[1]
        whole = whole & (there & there.T if record["points2"] is None else there)
    return marked, whole


def _files(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Which chunks of an array have a file, and which one of full length."""
    try:
        array = require("zarr", "a folder of kernels").open_array(folder / name, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise DataFileError(f"the array {name} in {folder}", "none that can be read", "choose another path") from error
    count = tuple(-(-size // step) for size, step in zip(array.shape, array.chunks, strict=True))
    exists, whole = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    full = array.dtype.itemsize * math.prod(array.chunks)
    for i in range(count[0]):
        row = (folder / name / array.metadata.encode_chunk_key((i, 0))).parent
        with contextlib.suppress(FileNotFoundError), os.scandir(row) as entries:
            for entry in entries:
                if entry.name.isdecimal() and int(entry.name) < count[1]:
                    j = int(entry.name)
                    exists[i, j], whole[i, j] = True, entry.stat().st_size == full
    return exists, whole


def _record(source: BlockSource, client: Any) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": __version__,
        "title": repr(source.net),
        "network": source.net.record(),
        "names": list(source.names),
        "chunks": list(source.chunks),
        "points": digest(source.rows, "X", client),
        "points2": None if source.columns is None else digest(source.columns, "X2", client),
    }


def _read_record(folder: Path) -> dict[str, Any]:
    zarr = require("zarr", "a folder of kernels")
    try:
        record = dict(zarr.open_group(folder, mode="r").attrs).get("kernelcalc")
    except (OSError, ValueError, KeyError) as error:
        raise DataFileError("a folder of kernels", f"{folder}", "choose another path") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DataFileError("a folder of kernels", f"{folder}", "choose another path")
    return record


def _check_same(folder: Path, record: dict[str, Any]) -> None:
    found = _read_record(folder)
    other = [name for name in record if name != "title" and found.get(name) != record[name]]
    if other:
        raise DataFileError(f"the same run in {folder}", f"another one ({', '.join(other)})", "choose another path")


def _create(zarr: Any, folder: Path, source: BlockSource, record: dict[str, Any]) -> None:
    """The empty folder, which appears with everything in it or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".unfinished", dir=folder.parent))
    except OSError as error:
        raise OutputFileError(f"cannot write {folder}: {error.strerror}") from error
    try:
        group = zarr.create_group(unfinished, attributes={"kernelcalc": record})
        for name in source.names:
            # Kernels are smooth numbers with random last digits: compression costs more than it saves.
            group.create_array(
                name, shape=source.shape, chunks=source.chunks, dtype="f8", fill_value=np.nan, compressors=None
            )
        blocks = tuple(map(len, source.sizes))
        group.create_array("done", shape=blocks, chunks=(1, 1), dtype="u1", fill_value=0, compressors=None)
        unfinished.chmod(0o755)
        unfinished.replace(folder)
    except OSError as error:
        raise OutputFileError(f"cannot write {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _tasks(source: BlockSource, folder: Path, pairs: list[tuple[int, int]]) -> list[Any]:
    delayed = require("dask.delayed", 'engine="dask"')
    graphs = require("dask.highlevelgraph", 'engine="dask"')
    network, net = source.network_task()
    # Blocks are marked on disk, so a later run must not meet the results of an earlier one in a scheduler's memory.
    key = f"write-{source.token}-{os.urandom(8).hex()}"
    layer: dict[Any, Any] = {network: net}
    for i, j in pairs:
        x, x2 = source.points_of(i, j)
        what = source.names, source.symmetric, source.compiled
        layer[key, i, j] = (write_block, str(folder), (i, j), network, x, x2, *what)
    graph = graphs.HighLevelGraph.from_collections(key, layer, dependencies=source.dependencies)
    return [delayed.Delayed((key, i, j), graph, layer=key) for i, j in pairs]


def write_block(
    folder: str,
    pair: tuple[int, int],
    net: Network,
    x: np.ndarray,
    x2: np.ndarray | None,
    names: tuple[str, ...],
    symmetric: bool,
    compiled: bool = False,
) -> bool:
    """Compute one pair of blocks, write it (and its mirror image), and only then mark it; False if it was done."""
    group = require("zarr", "a folder of kernels").open_group(folder, mode="r+")
    # A worker that is lost takes the knowledge of its finished tasks along, and dask runs them again.
    if group["done"][pair]:
        return False
    mirror = symmetric and x2 is not None
    blocks = kernel_block(net, x, x2, names, mirror, compiled)
    for name in names:
        _put(group[name], folder, pair, blocks[name])
        if mirror:
            _put(group[name], folder, pair[::-1], blocks[turned(name)].T)
    group["done"][pair] = 1
    return True


def _put(array: Any, folder: str, pair: tuple[int, int], block: np.ndarray) -> None:
    rows, columns = (
        slice(k * step, k * step + size) for k, step, size in zip(pair, array.chunks, block.shape, strict=True)
    )
    array[rows, columns] = block
    # The mark must not reach the disk before the block does.
    file = os.open(Path(folder, array.basename, array.metadata.encode_chunk_key(pair)), os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
