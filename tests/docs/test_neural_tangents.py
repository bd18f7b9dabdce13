"""The right column of docs/neural_tangents.md runs, and gives what the left one does in neural-tangents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.kernels import layers
from kernelcalc.studies.regression import predict_outputs
from tests.docs.pages import rows

STORED = json.loads((Path(__file__).parent / "neural_tangents.json").read_text())
X, LINE, Y, Z = (np.array(STORED[name]) for name in ("vectors", "line", "y", "z"))
ROWS = rows("neural_tangents.md")


def dense():
    return layers.Dense(1.1, 0.3)


def conv(window, padding):
    return layers.Conv(window, 1.1, 0.3, padding)


NAMES = {name: getattr(layers, name) for name in layers.__all__} | {"D": dense, "C": conv, "kc": kc}
NAMES |= {"x": X, "y": Y, "z": Z, "net": kc.Sequential(dense(), "erf", dense()), "predict_outputs": predict_outputs}
# The peer's Gauss–Hermite quadrature of degree 100 differs by 5e-7 for tanh.
QUADRATURE = 1e-6


def test_every_row_has_values():
    assert len(ROWS) > 30
    assert {left for _, left, _ in ROWS} == STORED["values"].keys()


@pytest.mark.parametrize(("heading", "left", "right"), ROWS, ids=[left for _, left, _ in ROWS])
def test_row(heading, left, right):
    expected = STORED["values"][left]
    tolerance = QUADRATURE if "Numerical" in left else 1e-9
    if heading == "Predictions":
        np.testing.assert_allclose(eval(right, NAMES), np.array(expected), rtol=tolerance, atol=1e-12)
        return
    net = kc.Sequential(*eval(f"[{right}]", NAMES), dense(), n_out=1)
    found = net.kernels(LINE if heading == "Points with positions" else X, only=("sigma", "theta"))
    for value, other in zip((found.sigma, found.theta), np.array(expected, dtype=float), strict=True):
        known = np.isfinite(other)
        # the peer's NaN of equal points
        assert known.all() or ("RectifiedMonomial" in left and known[~np.eye(len(X), dtype=bool)].all())
        np.testing.assert_allclose(value[known], other[known], rtol=tolerance)
