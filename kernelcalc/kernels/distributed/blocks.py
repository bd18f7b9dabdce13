"""Blocks of Gram matrices: data in row blocks, one task for all kernels of a pair of blocks."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from kernelcalc.errors import InputError, NotFiniteError, ShapeError
from kernelcalc.kernels.distributed.engine import block_sides, check_compiler, require
from kernelcalc.kernels.gram import KernelComputation
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.points import check_points
from kernelcalc.kernels.state import turned

# A process computes one block at a time: mpmath, which single pairs may need, has one precision for all its threads, and
# compiled loops use the cores themselves. Parallel are the processes.
_ONE_AT_A_TIME = threading.Lock()


def kernel_block(
    net: Network,
    x: np.ndarray,
    x2: np.ndarray | None,
    names: tuple[str, ...],
    both: bool = False,
    compiled: bool = False,
) -> dict[str, np.ndarray]:
    """The kernels of one pair of blocks, by name.

    Parameters
    ----------
    net : Network
    x, x2 : ndarray
        Points of the rows and of the columns; without ``x2`` a block on the diagonal, computed symmetrically.
    names : tuple of str
        Kernels wanted.
    both : bool
        Add ``phi_t`` and ``lam_t``, that is Φ(x', x) and Λ(x', x) at the pairs (x, x'), from the same pass.
    compiled : bool
        Sum series in machine code (extra ``fast``).

    Raises
    ------
    NotFiniteError
        For NaN or infinity in data that were not in memory to be checked before.
    """
    if not all(np.isfinite(points).all() for points in (x, x2) if points is not None):
        raise NotFiniteError(
            "finite numbers in the points", "NaN or infinity in a block", "write_kernels says which row"
        )
    with _ONE_AT_A_TIME:
        others = tuple(turned(name) for name in names if turned(name) != name) if both and x2 is not None else ()
        return KernelComputation(net, x, x2, (*names, *others), compiled=bool(compiled)).run(layers=False)[0]


def lazy_points(points: Any, name: str, chunks: int) -> Any:
    """Data as a dask array of float64 in blocks of whole rows; arrays already in memory are checked at once.

    Raises
    ------
    ShapeError
        Not two-dimensional, empty or of unknown size.
    NotFiniteError
        For NaN or infinity; in dask and zarr arrays when the digest is taken or a block is computed.
    """
    da = require("dask.array", 'engine="dask"')
    if isinstance(points, da.Array):
        array = points
    elif hasattr(points, "chunks") and hasattr(points, "dtype") and hasattr(points, "ndim"):
        array = da.from_array(points, chunks=(chunks, -1)) if points.ndim == 2 else None
    else:
        return da.from_array(check_points(points, name), chunks=(chunks, -1))
    if array is None or array.ndim != 2 or 0 in array.shape or np.isnan(array.shape).any():
        raise ShapeError(f"{name} of shape (points, inputs)", f"shape {points.shape}")
    if array.dtype.kind not in "biuf":
        raise ShapeError(f"{name} as a real array of shape (points, inputs)", f"the type {array.dtype}")
    return array.rechunk((chunks, -1)).astype(np.float64)


def digest(points: Any, name: str = "X", client: Any = None) -> str:
    """A name of the contents of the points, whatever their blocks; every number is read once.

    Raises
    ------
    NotFiniteError
        For NaN or infinity.
    """
    # Rows are hashed one by one, so that blocks of any size give the same digest.
    where = {} if client is None else {"scheduler": client}
    rows = points.map_blocks(_row_digests, dtype="S16", chunks=(points.chunks[0], (1,))).compute(**where).ravel()
    if (rows == b"").any():
        row = int(np.flatnonzero(rows == b"")[0])
        raise NotFiniteError(f"finite numbers in {name}", f"NaN or infinity in row {row}")
    return hashlib.sha256(repr(points.shape).encode() + rows.tobytes()).hexdigest()[:32]


def _row_digests(block: np.ndarray) -> np.ndarray:
    finite = np.isfinite(block).all(axis=1)
    # Text, because bytes arrays drop trailing zeros.
    names = [hashlib.sha256(row.tobytes()).hexdigest()[:16].encode() for row in np.ascontiguousarray(block + 0.0)]
    return np.where(finite, np.array(names, dtype="S16"), b"")[:, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockSource:
    """All that is needed to compute any pair of blocks: network, points in blocks of rows, kernels wanted."""

    net: Network
    rows: Any
    columns: Any
    names: tuple[str, ...]
    compiled: bool = False

    @classmethod
    def of(
        cls, net: Network, x: Any, x2: Any, names: tuple[str, ...], chunks: Any, *, compiled: bool = False
    ) -> BlockSource:
        """From data of any kind.

        Raises
        ------
        InputError, ShapeError, NotFiniteError
            Sizes of blocks that are none; data that are not points of one dimension.
        MissingExtraError
            dask, or with ``compiled`` numba, is not installed.
        """
        sides = block_sides(chunks)
        if x2 is None and sides[0] != sides[1]:
            raise InputError("the same chunks for rows and columns of one data set", repr(chunks))
        if compiled:
            check_compiler()
        rows = lazy_points(x, "X", sides[0])
        columns = None if x2 is None else lazy_points(x2, "X2", sides[1])
        if columns is not None and columns.shape[1] != rows.shape[1]:
            raise ShapeError(f"X2 with {rows.shape[1]} inputs, as X has", f"{columns.shape[1]}")
        return cls(net=net, rows=rows, columns=columns, names=names, compiled=compiled)

    @property
    def symmetric(self) -> bool:
        """Whether rows and columns are the same points."""
        return self.columns is None

    @property
    def shape(self) -> tuple[int, int]:
        """(N, M)."""
        return self.rows.shape[0], self.rows.shape[0] if self.columns is None else self.columns.shape[0]

    @property
    def sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Sizes of the blocks of rows and of columns."""
        return self.rows.chunks[0], self.rows.chunks[0] if self.columns is None else self.columns.chunks[0]

    @property
    def chunks(self) -> tuple[int, int]:
        """Points in a block of rows and of columns; the last ones may be smaller."""
        return self.sizes[0][0], self.sizes[1][0]

    def only(self, *names: str) -> BlockSource:
        """The source of these kernels, whose tasks compute nothing that they do not need."""
        return replace(self, names=names)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Pairs of blocks to compute: for one data set only those with i ≤ j."""
        n, m = map(len, self.sizes)
        return ((i, j) for i in range(n) for j in range(i if self.symmetric else 0, m))

    @cached_property
    def token(self) -> str:
        """The same text for the same computation."""
        columns = "" if self.columns is None else self.columns.name
        tokenize = require("dask.base", 'engine="dask"').tokenize
        return tokenize(self.net.record(), self.rows.name, columns, self.names, self.compiled)

    @property
    def dependencies(self) -> list[Any]:
        """Dask collections that the tasks read."""
        return [self.rows] if self.columns is None else [self.rows, self.columns]

    def network_task(self) -> tuple[str, Any]:
        """Key and value of the network, which is sent to a worker once and not with every task."""
        return f"network-{self.token}", self.net

    def points_of(self, i: int, j: int) -> tuple[Any, Any]:
        """Graph keys of the points of a pair of blocks; the second is None on the diagonal."""
        if self.columns is not None:
            return (self.rows.name, i, 0), (self.columns.name, j, 0)
        return (self.rows.name, i, 0), None if i == j else (self.rows.name, j, 0)

    def arrays(self) -> dict[str, Any]:
        """Dask arrays of all kernels; the blocks (i, j) of all of them, and (j, i), come from one task."""
        da = require("dask.array", 'engine="dask"')
        graphs = require("dask.highlevelgraph", 'engine="dask"')
        network, net = self.network_task()
        task = f"kernels-{self.token}"
        layer: dict[Any, Any] = {network: net}
        for i, j in self.pairs():
            x, x2 = self.points_of(i, j)
            both = self.symmetric and i != j
            layer[task, i, j] = (kernel_block, network, x, x2, self.names, both, self.compiled)
        graph = graphs.HighLevelGraph.from_collections(task, layer, dependencies=self.dependencies)
        found = {}
        for name in self.names:
            key = f"{name}-{self.token}"
            picks: dict[Any, Any] = {(key, i, j): (_pick, (task, i, j), name) for i, j in self.pairs()}
            if self.symmetric:
                other = turned(name)
                picks |= {(key, j, i): (_pick_turned, (task, i, j), other) for i, j in self.pairs() if i != j}
            layers = {**graph.layers, key: picks}
            needs = {**graph.dependencies, key: {task}}
            found[name] = da.Array(graphs.HighLevelGraph(layers, needs), key, chunks=self.sizes, dtype=np.float64)
        return found


def _pick(blocks: dict[str, np.ndarray], name: str) -> np.ndarray:
    return blocks[name]


def _pick_turned(blocks: dict[str, np.ndarray], name: str) -> np.ndarray:
    return blocks[name].T
