"""Limiting kernels as dask arrays, computed or read when they are needed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kernelcalc.distributed.blocks import BlockSource
from kernelcalc.distributed.engine import require
from kernelcalc.errors import InputError
from kernelcalc.kernels import LimitingKernels

if TYPE_CHECKING:
    from kernelcalc.network import MLP


class LazyKernels(LimitingKernels):
    """Gram matrices as dask arrays: the attributes of :class:`~kernelcalc.kernels.LimitingKernels`, not yet computed.

    What reads a whole attribute as an array (:func:`kernelcalc.mse_moments` among others) computes it, each kernel by
    itself: call :meth:`compute` first if they fit in memory, :meth:`to_zarr` if they do not.
    """

    def __init__(
        self, arrays: dict[str, Any], *, refused: dict[str, str], title: str, source: BlockSource | None = None
    ) -> None:
        super().__init__({}, refused=refused, title=title)
        self._arrays = arrays
        self._source = source

    @property
    def layers(self) -> tuple[LimitingKernels, ...]:
        """Refused: the layers below are not kept.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError("kernels in memory for .layers", "dask arrays", "a network of smaller depth has them")

    def compute(self, **options: Any) -> LimitingKernels:
        """All kernels in memory, every pair of blocks computed once.

        Parameters
        ----------
        **options
            For ``dask.compute``, for example ``scheduler="processes"``.
        """
        values = require("dask", 'engine="dask"').compute(*self._arrays.values(), **options)
        return LimitingKernels(dict(zip(self._arrays, values, strict=True)), refused=self._refused, title=self._title)

    def to_zarr(self, path: str | os.PathLike[str], *, progress: bool = False, client: Any = None) -> LazyKernels:
        """Write block by block, resumably, and return the kernels as they are read from there.

        See :func:`kernelcalc.distributed.write_kernels`.

        Raises
        ------
        InputError
            The kernels come from a file already.
        DataFileError, OutputFileError
            As there.
        """
        from kernelcalc.distributed.store import write_source

        if self._source is None:
            raise InputError("kernels still to be computed", "kernels read from a store", "copy its folder")
        return write_source(self._source, path, progress=progress, client=client)


def lazy_kernels(
    net: MLP, x: Any, x2: Any, names: tuple[str, ...], *, refused: dict[str, str], chunks: int
) -> LazyKernels:
    """What ``net.kernels(X, X2, engine="dask", chunks=...)`` returns.

    Raises
    ------
    MissingExtraError
        dask is not installed.
    InputError, ShapeError, NotFiniteError
        See :meth:`kernelcalc.MLP.kernels`.
    """
    source = BlockSource.of(net, x, x2, names, chunks)
    return LazyKernels(source.arrays(), refused=refused, title=repr(net), source=source)
