"""The page of layers: every layer is there, with names of the peer that are checked elsewhere, and knows what is said of it."""

from __future__ import annotations

import re

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.kernels import layers
from kernelcalc.kernels.layers import AveragePool, Conv, Dense, Flatten, GlobalAverage, Layer, Nonlinearity
from kernelcalc.kernels.layouts import MOST_PAIRED, laid_out
from kernelcalc.kernels.positions import Average
from kernelcalc.kernels.state import KERNEL_NAMES
from tests.docs.blocks import DOCS

PAGE = (DOCS / "lookup" / "layers.md").read_text(encoding="utf-8")
PEER = (DOCS / "neural_tangents.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")][
    :11
]
X = np.random.default_rng(0).normal(size=(2, 3))
P = np.random.default_rng(1).normal(size=(2, 4, 2))
WAYS = {
    "float64": lambda net, x: net.kernels(x).xi,
    "digits": lambda net, x: net.kernels(x, dps=20, only="theta").theta,
    "certified": lambda net, x: net.kernels(x, certified=True, only="theta").theta,
    "dask": lambda net, x: net.kernels(x, engine="dask", only="theta").theta.compute(),
    "formulas": lambda net, x: kc.symbolic.kernel("theta", net),
}


def made(text: str) -> Layer:
    """The layer of a cell."""
    return eval(text, {name: getattr(layers, name) for name in layers.__all__})


def network(layer: Layer) -> kc.Sequential:
    """The smallest network around a layer."""
    if isinstance(layer, Conv):
        return kc.Sequential(layer, "erf", Flatten(), Dense())
    if isinstance(layer, AveragePool):
        return kc.Sequential(Conv(3), "erf", layer, Flatten(), Dense())
    if isinstance(layer, GlobalAverage | Flatten):
        return kc.Sequential(Conv(3), "erf", layer, Dense())
    return kc.Sequential(Dense(), layer, Dense())


def test_every_layer_has_a_row() -> None:
    names = [re.match(r"`(\w+)", row[0])[1] for row in ROWS]
    known = [name for name in layers.__all__ if isinstance(getattr(layers, name), type)]
    assert sorted(names) == sorted(name for name in known if name not in ("Layer", "Scales"))


def test_the_peers_names_are_those_that_are_compared() -> None:
    named = {name for row in ROWS for name in re.findall(r"stax\.\w+", row[1])}
    assert len(named) == 12
    assert all(name in PEER for name in named)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_number_types(row: list[str]) -> None:
    layer = made(row[0].strip("`"))
    net = network(layer)
    x = P if net.has_positions else X
    assert net.kernels(x).available == KERNEL_NAMES
    said = row[3].split(", ")
    assert set(said) <= set(WAYS)
    for name, way in WAYS.items():
        if name in said:
            assert np.size(way(net, x)) in (1, 4)
        else:
            with pytest.raises(InputError, match="one with positions"):
                way(net, x)


def test_kinks_leave_two_kernels() -> None:
    assert network(Nonlinearity("relu")).kernels(X).available == ("sigma", "theta")


@pytest.mark.parametrize(("end", "numbers"), [((Flatten(),), 196), ((GlobalAverage(),), 196**2)])
def test_numbers_a_pair_of_points(end: tuple[Layer, ...], numbers: int) -> None:
    steps = laid_out([Conv(3), Nonlinearity("erf"), *end, Dense()], (14, 14))
    first = next(step for step in steps if isinstance(step, Average))
    assert first.after.size ** (2 if first.after.paired else 1) == numbers
    assert re.search(rf"digits: {numbers}\b", PAGE)


def test_most_positions() -> None:
    assert f"more than {MOST_PAIRED} positions" in PAGE
    assert f"({8 * MOST_PAIRED**2 // 2**20} MiB" in PAGE
