"""A network's kernels, layer by layer: one fold for every number type.

:func:`plan` walks a composition of layers backwards and notes what each must carry; then ``diagonal`` takes Σ, Θ, Φ of all
points through the layers, once, and ``pairs`` all kernels of some pairs of points. A number type (:class:`Numbers`) says
what E_ij and σ_w² are, a set of pairs (:class:`Pairs`) where the diagonals of its points stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Self

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import InputError
from kernelcalc.kernels.layers import UNITY, Dense, Layer, LayerNorm, Nonlinearity, Scale, Scales, Serial, Sum
from kernelcalc.kernels.needs import needs
from kernelcalc.kernels.positions import Average
from kernelcalc.kernels.state import DIAGONAL, DiagonalKernels, PairKernels, no_weights_yet

Orders = tuple[tuple[int, int], ...]
# The origin of the first layer's Σ.
INPUT = "input"
# Formulas of fresh weights read no diagonals.
_NOTHING = DiagonalKernels()


class Numbers:
    """A number type: what the formulas of the layers are given.

    Subclasses give ``expectations`` at pairs and ``on_diagonal``, both as ``{(i, j): E_ij}``, exact numbers of floats,
    and a root.
    """

    def zeros(self, like: Any) -> Any:
        """Zeros in the shape of an array."""
        return np.zeros_like(like)

    def nothing(self, like: Any) -> Any:
        """What kernels at pairs are before there are weights, in the shape of an array."""
        return self.zeros(like)

    def number(self, value: float) -> Any:
        """A float as a number of this type, exactly."""
        return value

    def square(self, value: float) -> Any:
        """Its square."""
        return self.number(value) * self.number(value)

    def root(self, value: Any) -> Any:
        """√, for arrays and single numbers."""
        return value**0.5

    def scales(self, dense: Dense) -> Scales:
        """The numbers of a dense layer."""
        bias = self.square(dense.beta)
        return Scales(
            weight=self.square(dense.sigma_w),
            bias=bias,
            weight_rate=UNITY if dense.weight_rate == 1 else self.number(dense.weight_rate),
            bias_gradient=bias if dense.bias_gradient is None else self.number(dense.bias_gradient),
        )

    def on_diagonal(self, step: Step, at: DiagonalKernels, orders: Orders) -> dict[tuple[int, int], Any]:
        """E_ij at (x, x) of one nonlinearity."""
        raise NotImplementedError

    def expectations(self, step: Step, k: PairKernels, pairs: Pairs) -> tuple[dict[tuple[int, int], Any], Any]:
        """E_ij of one nonlinearity at pairs, and what the next layers should know of where Σ came from."""
        raise NotImplementedError


class Pairs:
    """Pairs of points by their numbers: ``rows`` and ``columns`` index what each step keeps of the diagonals.

    Arrays of indices of one length, or a slice of rows and one of columns for all pairs of these.
    """

    rows: Any
    columns: Any

    def __init__(self, rows: Any, columns: Any) -> None:
        self.rows, self.columns = rows, columns
        block = isinstance(rows, slice)
        self._shapes: tuple[Any, Any] = ((-1, 1), (1, -1)) if block else (None, None)

    def sides(self, step: Step, k: PairKernels) -> tuple[DiagonalKernels, DiagonalKernels]:
        """Σ, Θ, Φ before this step at the rows' and at the columns' points."""
        at_rows, at_columns = step.diagonals
        return at_rows.take(self.rows, self._shapes[0]), at_columns.take(self.columns, self._shapes[1])


class Step:
    """One layer within one computation: what is wanted behind it, what that needs before it.

    Attributes
    ----------
    after, before : set of str
        Kernels carried behind and before the layer at pairs.
    diagonal_after, diagonal_before : set of str
        The same of Σ, Θ, Φ at (x, x).
    orders, diagonal_orders : tuple of (i, j)
        Expectations that the layer costs.
    diagonals : pair of DiagonalKernels
        Before the layer, at all rows and at all columns; put here by :func:`take_diagonals`.
    """

    layer: Layer
    own_diagonal: bool
    after: frozenset[str]
    diagonal_after: frozenset[str]
    before: frozenset[str]
    diagonal_before: frozenset[str]

    def __init__(
        self, layer: Layer, after: Iterable[str], diagonal_after: Iterable[str], own_diagonal: bool = False
    ) -> None:
        self.layer, self.own_diagonal = layer, own_diagonal
        self.after, self.diagonal_after = frozenset(after), frozenset(diagonal_after)
        self.diagonals: tuple[DiagonalKernels, DiagonalKernels] = _NOTHING, _NOTHING
        self.prepared: Any = None
        self._read()

    def _read(self) -> None:
        found = [needs(self.layer, name) for name in self.after]
        own = [needs(self.layer, name) for name in self.diagonal_after]
        self.before = frozenset().union(*(one.pairs for one in found))
        # on the diagonal a kernel and its transpose are one
        self.diagonal_before = frozenset().union(
            *(one.row | one.column for one in found), *(one.pairs | one.row | one.column for one in own)
        ) & set(DIAGONAL)
        self.orders: Orders = tuple(sorted({order for one in found for order in one.orders}))
        self.diagonal_orders: Orders = tuple(sorted({order for one in own for order in one.orders}))
        if isinstance(self.layer, Nonlinearity | LayerNorm):
            self.before |= {"sigma"}
            self.diagonal_before |= {"sigma"}
        if self.own_diagonal:
            # the diagonals are read off the pairs
            self.before |= self.diagonal_before

    def fresh(self) -> Self:
        """The same step for other points."""
        new = object.__new__(type(self))
        vars(new).update(vars(self))
        new.prepared, new.diagonals = None, (_NOTHING, _NOTHING)
        return new

    def keep(self, rows: DiagonalKernels, columns: DiagonalKernels) -> None:
        """Keep the diagonals before the layer."""
        self.check_spread(rows, columns)
        self.diagonals = rows, columns

    def check_spread(self, *sides: DiagonalKernels) -> None:
        """Refuse to divide by the norm of units that are all 0.

        Raises
        ------
        InputError
        """
        if isinstance(self.layer, LayerNorm) and any(np.any(np.asarray(side.sigma) == 0) for side in sides):
            raise InputError(
                "pre-activations of LayerNorm with a variance above 0",
                "a variance of 0: a point, or a window of a convolution, of zeros only",
                "beta > 0 before LayerNorm, or leave such points out",
            )

    @property
    def activation(self) -> Activation:
        """The nonlinearity of a step that costs expectations."""
        assert isinstance(self.layer, Nonlinearity)
        return self.layer.activation

    @property
    def nonlinearities(self) -> list[Step]:
        """The steps inside that cost expectations."""
        return [self] if isinstance(self.layer, Nonlinearity) else []

    def given(self, numbers: Numbers) -> Any:
        """What the number type gives to a layer other than a nonlinearity."""
        if isinstance(self.layer, Dense):
            return numbers.scales(self.layer)
        if isinstance(self.layer, Average):
            return self.layer.on_pairs
        return numbers.square(self.layer.factor) if isinstance(self.layer, Scale) else numbers.root

    def diagonal(self, at: DiagonalKernels, numbers: Numbers) -> DiagonalKernels:
        """Σ, Θ, Φ at (x, x) behind the layer: its formulas with x' = x."""
        if not self.diagonal_after:
            return DiagonalKernels()
        if isinstance(self.layer, Nonlinearity):
            given: Any = numbers.on_diagonal(self, at, self.diagonal_orders)
        else:
            given = self.layer.on_points if isinstance(self.layer, Average) else self.given(numbers)
        k = PairKernels(sigma=at.sigma, theta=at.theta, phi=at.phi, phi_t=at.phi)
        out = self.layer.apply(k, at, at, given, self.diagonal_after)
        return DiagonalKernels(sigma=out.sigma, theta=out.theta, phi=out.phi)

    def pairs(self, k: PairKernels, numbers: Numbers, pairs: Pairs) -> PairKernels:
        """All kernels behind the layer."""
        if isinstance(self.layer, Dense):
            given = self.given(numbers)
            return self.layer.apply(k, _NOTHING, _NOTHING, given, self.after, (k.origin, given))
        row, column = pairs.sides(self, k)
        self.check_spread(row, column)
        if isinstance(self.layer, Nonlinearity):
            given, origin = numbers.expectations(self, k, pairs)
        else:
            given, origin = self.given(numbers), None
        return self.layer.apply(k, row, column, given, self.after, origin)


class SerialStep(Step):
    """Steps one after the other."""

    def _read(self) -> None:
        assert isinstance(self.layer, Serial)
        self.steps: list[Step] = []
        after, diagonal_after = self.after, self.diagonal_after
        for layer in reversed(self.layer.layers):
            step = make_step(layer, after, diagonal_after, self.own_diagonal)
            self.steps.insert(0, step)
            after, diagonal_after = step.before, step.diagonal_before
        self.before: frozenset[str] = after
        self.diagonal_before: frozenset[str] = diagonal_after

    def fresh(self) -> Self:
        """The same steps for other points."""
        new = super().fresh()
        new.steps = [step.fresh() for step in self.steps]
        return new

    @property
    def nonlinearities(self) -> list[Step]:
        """The steps inside that cost expectations."""
        return [one for step in self.steps for one in step.nonlinearities]

    def pairs(self, k: PairKernels, numbers: Numbers, pairs: Pairs) -> PairKernels:
        """All kernels behind the last step."""
        for step in self.steps:
            k = step.pairs(k, numbers, pairs)
        return k


class SumStep(SerialStep):
    """Branches side by side: their kernels add."""

    def _read(self) -> None:
        assert isinstance(self.layer, Sum)
        self.steps: list[Step] = [
            make_step(branch, self.after, self.diagonal_after, self.own_diagonal) for branch in self.layer.layers
        ]
        self.before: frozenset[str] = frozenset().union(*(step.before for step in self.steps))
        self.diagonal_before: frozenset[str] = frozenset().union(*(step.diagonal_before for step in self.steps))

    def pairs(self, k: PairKernels, numbers: Numbers, pairs: Pairs) -> PairKernels:
        """Sums of the branches' kernels."""
        return PairKernels(**_added([step.pairs(k, numbers, pairs) for step in self.steps], self.after))


def _added(parts: list[Any], wanted: frozenset[str]) -> dict[str, Any]:
    out = {}
    for name in sorted(wanted):
        first, *others = (getattr(part, name) for part in parts)
        for other in others:
            first = first + other
        out[name] = first
    return out


def make_step(layer: Layer, after: Iterable[str], diagonal_after: Iterable[str], own_diagonal: bool) -> Step:
    """The step of any layer."""
    kind = SumStep if isinstance(layer, Sum) else SerialStep if isinstance(layer, Serial) else Step
    return kind(layer, after, diagonal_after, own_diagonal)


def take_diagonals(
    steps: Iterable[Step], rows: DiagonalKernels, columns: DiagonalKernels, numbers: Numbers
) -> tuple[DiagonalKernels, DiagonalKernels]:
    """Take Σ, Θ, Φ of all points through the steps, each of which keeps what it was given; ``columns is rows`` costs once."""
    for step in steps:
        rows, columns = _one(step, rows, columns, numbers)
    return rows, columns


def _one(
    step: Step, rows: DiagonalKernels, columns: DiagonalKernels, numbers: Numbers
) -> tuple[DiagonalKernels, DiagonalKernels]:
    step.keep(rows, columns)
    if isinstance(step, SumStep):
        ends = [_one(branch, rows, columns, numbers) for branch in step.steps]
        both = [DiagonalKernels(**_added(list(side), step.diagonal_after)) for side in zip(*ends, strict=True)]
        return both[0], both[0] if columns is rows else both[1]
    if isinstance(step, SerialStep):
        return take_diagonals(step.steps, rows, columns, numbers)
    out = step.diagonal(rows, numbers)
    return out, out if columns is rows else step.diagonal(columns, numbers)


def ends_a_layer(layer: Layer) -> bool:
    """Whether a network's layers are counted behind it: fresh weights, or a sum of branches."""
    return layer.fresh or isinstance(layer, Sum)


def plan(
    layers: Iterable[Layer], names: Iterable[str], *, every_layer: bool = False, own_diagonal: bool = False
) -> list[Step]:
    """The steps of a network for these kernels at its end, or behind each of its layers.

    With ``own_diagonal`` every point's pair with itself is among the pairs, which then carry what the diagonals need.
    """
    return [step.fresh() for step in _patterns(tuple(layers), frozenset(names), every_layer, own_diagonal)]


def _patterns(layers: tuple[Layer, ...], names: frozenset[str], every_layer: bool, own_diagonal: bool) -> list[Step]:
    """One step for all layers that are alike, as deep networks repeat few."""
    steps: list[Step] = []
    after, diagonal_after = names, frozenset[str]()
    made: dict[tuple[int, frozenset[str], frozenset[str]], Step] = {}
    for layer in reversed(layers):
        wanted = after | names if every_layer and ends_a_layer(layer) else after
        key = id(layer), wanted, diagonal_after
        step = made.get(key)
        if step is None:
            step = made[key] = make_step(layer, wanted, diagonal_after, own_diagonal)
        steps.append(step)
        after, diagonal_after = step.before, step.diagonal_before
    return steps[::-1]


@lru_cache(maxsize=64)
def _planned(layers: tuple[Layer, ...], names: frozenset[str], every_layer: bool) -> list[Step]:
    return _patterns(layers, names, every_layer, False)


def planned(layers: Iterable[Layer], names: Iterable[str], *, every_layer: bool = False) -> list[Step]:
    """As :func:`plan`; what does not depend on points is kept from call to call."""
    return [step.fresh() for step in _planned(tuple(layers), frozenset(names), every_layer)]


def first_diagonal(step: Step, gram: Any, numbers: Numbers) -> DiagonalKernels:
    """Σ, Θ, Φ behind the first layer of weights, from x·x/n_0 of every point; Σ even if nothing needs it."""
    zeros = numbers.zeros(gram)
    wanted = _of_points(step.layer, step.diagonal_after | {"sigma"})
    return wanted.diagonal(DiagonalKernels(sigma=gram, theta=zeros, phi=zeros), numbers)


@lru_cache(maxsize=64)
def _of_points(layer: Layer, diagonal_after: frozenset[str]) -> Step:
    return Step(layer, (), diagonal_after)


def first_kernels(step: Step, gram: Any, numbers: Numbers) -> PairKernels:
    """All kernels behind the first layer of weights, from x·x'/n_0 of the pairs."""
    k, scales = no_weights_yet(gram, numbers.nothing(gram)), step.given(numbers)
    return step.layer.apply(k, _NOTHING, _NOTHING, scales, step.after, (INPUT, scales))


def through(steps: Iterable[Step], k: PairKernels, numbers: Numbers, pairs: Pairs) -> Iterator[PairKernels]:
    """The kernels at pairs behind every layer, from those behind the first, which come along."""
    yield k
    for step in steps:
        k = step.pairs(k, numbers, pairs)
        if ends_a_layer(step.layer):
            yield k
