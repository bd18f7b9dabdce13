"""Papyan's hierarchy against the vectors themselves, written out for a finite network, and the limit beside wide ones."""

from types import SimpleNamespace

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.studies.class_structure import class_hierarchy

RNG = np.random.default_rng(1)
C = 3
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 0, 1])
X = RNG.normal(size=(9, 4)) + 2 * np.eye(C, 4)[LABELS]
NET = kc.MLP("tanh", depth=3, sigma_w=1.4, beta=0.1, n_out=C)
FIN = kc.FiniteNetwork.random(NET, (7, 5), n_in=4, rng=0)


def literal():
    """The parts of I as P × P matrices, from every δ."""
    jacobian, f = FIN.jacobian(X), FIN(X)
    p = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
    delta = np.array(
        [[np.sqrt(p[i, a] / len(X)) * (np.eye(C)[a] - p[i]) @ jacobian[i] for a in range(C)] for i in range(len(X))]
    )
    mean = np.array([[delta[c == LABELS, a].mean(axis=0) for a in range(C)] for c in range(C)])
    away = np.array([np.mean([mean[c, a] for a in range(C) if a != c], axis=0) for c in range(C)])
    counts = np.bincount(LABELS)
    parts = {name: 0.0 for name in ("class", "cross", "own", "within")}
    for c in range(C):
        parts["class"] += counts[c] * (C - 1) * np.outer(away[c], away[c])
        parts["own"] += counts[c] * np.outer(mean[c, c], mean[c, c])
        for a in range(C):
            if a != c:
                parts["cross"] += counts[c] * np.outer(mean[c, a] - away[c], mean[c, a] - away[c])
            for i in np.flatnonzero(c == LABELS):
                parts["within"] += np.outer(delta[i, a] - mean[c, a], delta[i, a] - mean[c, a])
    return parts, away, mean


def test_a_finite_network_written_out():
    parts, away, mean = literal()
    found = class_hierarchy(FIN.ntk(X), FIN(X), LABELS)
    whole = FIN.curvature(X, LABELS, "softmax").i.dense()
    np.testing.assert_allclose(sum(parts.values()), whole, atol=1e-12 * np.abs(whole).max())
    values, vectors = np.linalg.eigh(whole)
    np.testing.assert_allclose(found.values[:18], values[::-1][:18], rtol=1e-7, atol=1e-11)
    for name, matrix in parts.items():
        own = getattr(found, f"{name}_values")
        count = min(own.size, len(whole))
        np.testing.assert_allclose(own[:count], np.linalg.eigvalsh(matrix)[::-1][:count], rtol=1e-7, atol=1e-11)
        assert found.traces[name] == pytest.approx(np.trace(matrix), rel=1e-9)
    means = parts["class"] + parts["cross"] + parts["own"]
    np.testing.assert_allclose(found.predicted, np.linalg.eigvalsh(means)[::-1][: C * C], rtol=1e-7, atol=1e-11)
    for share, span in ((found.class_share, away), (found.mean_share, mean.reshape(C * C, -1))):
        basis = np.linalg.svd(span.T, full_matrices=False)
        basis = basis.U[:, 1e-10 * basis.S[0] < basis.S]
        np.testing.assert_allclose(
            share[:5], np.sum((basis.T @ vectors[:, ::-1][:, :5]) ** 2, axis=0), rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize("loss", ["mse", "softmax"])
def test_parts_add_up(loss):
    y = RNG.normal(size=(9, C))
    targets = np.eye(C)[LABELS]
    kernels = NET.kernels(X)
    found = class_hierarchy(kernels, y, targets, loss)
    whole = kc.spectrum_of_i(kernels, y, targets, loss)
    np.testing.assert_allclose(found.values, whole.values, rtol=1e-8, atol=1e-12)
    assert sum(found.traces.values()) == pytest.approx(whole.moment(1), rel=1e-10)


def test_the_limit_is_that_of_wide_networks():
    """Width 1500: three groups of outliers within the fluctuation 1/√n of the kernel."""
    fin = kc.FiniteNetwork.random(NET, (1500, 1500), n_in=4, rng=2)
    measured = class_hierarchy(fin.ntk(X), fin(X), LABELS)
    limit = class_hierarchy(NET.kernels(X), fin(X), LABELS)
    for name in ("class_values", "own_values", "predicted", "within_values"):
        a, b = getattr(measured, name), getattr(limit, name)
        np.testing.assert_allclose(a[:3], b[:3], rtol=0.2)


def test_tight_clusters_have_c_and_c_squared_outliers():
    """The second group is below the first, above the bulk, and the means span both (Papyan's Figures 2 and 3)."""
    k, each = 4, 12
    labels = np.repeat(np.arange(k), each)
    x = (np.eye(k)[labels] + 0.02 * RNG.normal(size=(k * each, k))) * 2
    net = kc.MLP("erf", depth=3, sigma_w=1.3, beta=0.1, n_out=k)
    kernels = net.kernels(x)
    # halfway through training: right classes, not all alike
    y = 2.0 * np.eye(k)[labels] + 0.3 * np.array([[0, 1, 2, 3.0]])[:, RNG.permutation(k)]
    found = class_hierarchy(kernels, y, labels)
    rank = k * (k - 1)
    # softmax leaves k - 1 directions a class
    assert found.values[rank - 1] > 5 * found.values[rank]
    np.testing.assert_allclose(found.values[:rank], found.predicted[:rank], rtol=0.05)
    assert (found.mean_share[:rank] > 0.95).all()
    assert (found.mean_share[rank : 2 * rank] < 0.1).all()
    assert found.within_values[0] < found.predicted[rank - 1]
    assert found.traces["within"] < 0.1 * sum(found.traces.values())


def test_what_is_refused():
    theta = SimpleNamespace(theta=np.eye(9))
    with pytest.raises(InputError, match="two outputs"):
        class_hierarchy(theta, np.zeros(9), LABELS)
    with pytest.raises(InputError, match="every class"):
        class_hierarchy(theta, np.zeros((9, 4)), LABELS)
    with pytest.raises(ShapeError):
        class_hierarchy(np.zeros((9, 9)), np.zeros((9, 3)), LABELS)
    with pytest.raises(ShapeError, match="9 classes"):
        class_hierarchy(theta, np.zeros((9, 3)), LABELS, classes=[0, 1])
