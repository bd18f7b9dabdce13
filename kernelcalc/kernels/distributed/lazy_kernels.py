"""Limiting kernels as dask arrays, computed or read when they are needed."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kernelcalc.errors import InputError, UnknownNameError
from kernelcalc.kernels.distributed.blocks import BlockSource
from kernelcalc.kernels.distributed.engine import require
from kernelcalc.kernels.limiting import LimitingKernels
from kernelcalc.kernels.network import Refusal
from kernelcalc.kernels.state import KERNELS


class LazyKernels(LimitingKernels):
    """Gram matrices as dask arrays: the attributes of :class:`~kernelcalc.kernels.limiting.LimitingKernels`, not yet computed.

    Each attribute is computed by itself, with what that kernel needs and no more, and again at every use; six one after
    another cost two to four times what they cost together. :meth:`compute`, :meth:`together` and :meth:`to_zarr` compute
    each block once for all kernels. What reads whole attributes as arrays (:func:`kernelcalc.mse_moments` among others), or
    reads them several times, should be given the result of :meth:`compute` if that fits in memory, of :meth:`to_zarr` if not.

    Values of the same pair of points in blocks of different shape may differ in the last digits (3e-15 of the largest entry
    has been seen): the order of sums in products of matrices depends on the shape.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        *,
        refused: Mapping[str, Refusal],
        title: str,
        source: BlockSource | None = None,
        write: Callable[..., LazyKernels] | None = None,
    ) -> None:
        super().__init__(arrays, refused=refused, title=title)
        self._source, self._write = source, write

    @property
    def shape(self) -> tuple[int, int]:
        """(N, M)."""
        return super().shape if self._source is None else self._source.shape

    @property
    def layers(self) -> tuple[LimitingKernels, ...]:
        """Refused: the layers below are not kept.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError("kernels in memory for .layers", "dask arrays", "a network of smaller depth has them")

    def _repr_html_(self) -> str:
        # a table or a picture would compute them
        return f"<code>{html.escape(repr(self))}</code>"

    def together(self, *names: str) -> dict[str, Any]:
        """Dask arrays of several kernels, each block of which one task computes for all of them.

        Parameters
        ----------
        *names : str
            Kernels, by default all that are there. They cost less than one by one if one ``dask.compute`` uses them all.

        Raises
        ------
        UnknownNameError, SmoothnessError, InputError
            For a kernel that is none, is not defined or was not asked for.
        """
        for name in names:
            if name not in KERNELS:
                raise UnknownNameError("a kernel", name, KERNELS)
            if name not in self.arrays:
                getattr(self, name)
        wanted = tuple(dict.fromkeys(names)) or self.available
        if self._source is None:
            return {name: self.arrays[name] for name in wanted}
        return self._source.only(*wanted).arrays()

    def compute(self, *names: str, **options: Any) -> LimitingKernels:
        """Kernels in memory, every pair of blocks computed once.

        Parameters
        ----------
        *names : str
            Which, by default all.
        **options
            For ``dask.compute``, for example ``scheduler="processes"``.

        Raises
        ------
        UnknownNameError, SmoothnessError, InputError
            As :meth:`together`.
        """
        arrays = self.together(*names)
        values = require("dask", 'engine="dask"').compute(*arrays.values(), **options)
        return LimitingKernels(dict(zip(arrays, values, strict=True)), refused=self.refused, title=self.title)

    def to_zarr(self, path: str | os.PathLike[str], *, progress: bool = False, client: Any = None) -> LazyKernels:
        """Write block by block, resumably, and return the kernels as they are read from there.

        See :func:`kernelcalc.kernels.distributed.write_kernels`.

        Raises
        ------
        InputError
            The kernels come from a file already.
        DataFileError, OutputFileError
            As there.
        """
        if self._source is None or self._write is None:
            raise InputError("kernels still to be computed", "kernels read from a store", "copy its folder")
        return self._write(self._source, path, progress=progress, client=client)


class SeparateKernels(Mapping[str, Any]):
    """Every kernel as a dask array of its own; graphs are made when they are asked for."""

    def __init__(self, source: BlockSource) -> None:
        self._source = source
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        if name not in self._made:
            self._made |= self._source.only(name).arrays()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._source.names

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.names)

    def __len__(self) -> int:
        return len(self._source.names)
