"""Rayleigh quotients against dense matrices; the rates at which I and S become orthogonal."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.activations.names import from_text
from kernelcalc.errors import InputError
from kernelcalc.studies.figures import figure2


@pytest.fixture(scope="module")
def dense():
    """A split and its dense parts."""
    x, labels = kc.datasets.mnist14(8)
    y = kc.datasets.one_hot(labels)
    net = kc.MLP(from_text("normalized smooth_relu"), depth=3, n_out=y.shape[1])
    fin = kc.FiniteNetwork.random(net, 7, 10, rng=0)
    split = fin.curvature(x[:, 60:70], y)
    return split, split.i.dense(), split.s.dense()


def test_quotients_are_those_of_dense_eigenvectors(dense):
    split, i, s = dense
    found = figure2.rayleigh(split, 3)
    for name, matrix in (("I", i), ("S", s)):
        values, vectors = np.linalg.eigh(matrix)
        order = np.argsort(-np.abs(values))[:3]
        v = vectors[:, order]
        own, other = (0, 1) if name == "I" else (1, 0)
        np.testing.assert_allclose(np.sort(found[name][own]), np.sort(values[order]), rtol=1e-5)
        expected = [np.einsum("pv,pq,qv->v", v, part, v) for part in (i, s)]
        at, there = np.argsort(found[name][own]), np.argsort(expected[own])
        np.testing.assert_allclose(found[name][other][at], expected[other][there], rtol=0.05, atol=1e-3)


def test_angles_are_those_of_dense_matrices(dense):
    split, i, s = dense
    norms = np.linalg.norm(i) * np.linalg.norm(s)
    angle = figure2.angles(split)
    np.testing.assert_allclose(angle["cosine"], np.trace(i @ s) / norms, rtol=1e-9)
    np.testing.assert_allclose(angle["product"], np.linalg.norm(i @ s) / norms, rtol=1e-9)


def test_fitted_rate_of_an_exact_power_law():
    widths = (10, 20, 40)
    values = 3.0 * np.array(widths) ** -0.7
    slope, error = figure2.fitted_rate(widths, values, 0.1 * values)
    np.testing.assert_allclose(slope, -0.7, rtol=1e-12)
    # least squares with the three errors 0.1 in log: 0.1/√Σ(x − mean)²
    spread = np.log(widths) - np.mean(np.log(widths))
    np.testing.assert_allclose(error, 0.1 / np.sqrt((spread**2).sum()), rtol=1e-12)


def test_orthogonality_sets_in_at_the_derived_rates():
    result = figure2.Figure2(width=32, points=16, count=4, widths=(32, 64, 128, 256), trials=30).run()
    table = result.tables["figure2_angles"]
    for name, rate in figure2.RATES.items():
        rows = table["what"] == name
        slope, error = figure2.fitted_rate(table["width"][rows], table["rms"][rows], table["error"][rows])
        # 0.12 for the next order in 1/width at these widths
        assert abs(slope - rate) < 3 * error + 0.12
    assert len(result["vIv"]) == 8
    i, s = (
        np.sqrt(np.array([(result[c][rows] ** 2).mean() for c in ("vIv", "vSv")])) for rows in (slice(4), slice(4, 8))
    )
    shares, rates = result.verdicts[:2], result.verdicts[2:]
    assert [verdict.number for verdict in shares] == pytest.approx([i[1] / i[0], s[0] / s[1]])
    assert [verdict.outcome for verdict in rates] == ["reproduced", "reproduced"]
    assert len(result.figure().axes) == 2


def test_too_little_is_refused():
    with pytest.raises(InputError, match="two networks"):
        figure2.Figure2(trials=1).run()


def test_as_many_eigenvectors_as_the_rank_of_i():
    # 4 points of 4 classes
    with pytest.raises(InputError, match=r"1 to 16 eigenvectors.*count=17"):
        figure2.Figure2(width=16, points=4, count=17, widths=(4, 8), trials=2).run()
    result = figure2.Figure2(width=16, points=4, count=16, widths=(4, 8), trials=2).run()
    assert (result["vIv"][:16] > 0).all()
