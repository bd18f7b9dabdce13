"""Population risk, covariance of gradients and negative eigenvalues, and Table 1, against sums written out."""

import re

import numpy as np
import pytest

from kernelcalc.datasets import gaussian_clusters
from kernelcalc.studies.sagun import run
from kernelcalc.studies.sagun.paper_table import TABLE_1
from kernelcalc.studies.sagun.risk import Stage, point_gradients
from kernelcalc.studies.sagun.task import Task

SMALL = {"classes": 3, "inputs": 12, "points": 24, "width": 5, "steps": 120}


def task(n=9):
    x, labels = gaussian_clusters(n, 3, 6, rng=0)
    return Task.of(x, labels)


def test_gradients_are_those_of_single_points():
    own = task()
    network = own.draw(4, 1)
    rows = point_gradients(own, network)
    np.testing.assert_allclose(rows.mean(axis=0), own.problem.gradient(network), atol=1e-13)
    for i in range(3):
        np.testing.assert_allclose(rows[i], own.subset(slice(i, i + 1)).problem.gradient(network), atol=1e-12)


def test_a_stage_written_out():
    own = task(24)
    fresh = own.subset(slice(9, None))
    seen = own.subset(slice(9))
    network = own.draw(4, 1)
    stage = Stage.of(0, network, seen, fresh)
    h = np.linalg.eigvalsh(network.hessian(fresh.x, fresh.labels, "softmax"))
    np.testing.assert_allclose(stage.spectra["H, fresh samples"][:5], h[::-1][:5], rtol=1e-9)
    gradients = point_gradients(seen, network)
    covariance = np.cov(gradients.T, bias=True)
    np.testing.assert_allclose(
        stage.spectra["covariance of gradients"][:5], np.linalg.eigvalsh(covariance)[::-1][:5], rtol=1e-9
    )
    leading = np.linalg.eigh(network.curvature(seen.x, seen.labels, "softmax").i.dense())[1][:, -2:]
    assert stage.share == pytest.approx(np.trace(leading.T @ covariance @ leading) / np.trace(covariance), rel=1e-9)


def test_the_experiment():
    result = run("risk", **SMALL)
    assert result["steps"][0] == 0
    assert result["steps"][-1] == 120
    assert (result["negative"] > 0).all()
    assert (np.diff(result["loss"]) < 0).all()
    # noise is not spread evenly: three directions of a hundred have most of it
    assert result["share"][0] > 0.2
    assert len(result.verdicts) == 4
    assert all(re.search("reproduced|decided", v.outcome) for v in result.verdicts)


def test_table_1_has_nineteen_rows_and_stands_beside_ours():
    assert len(TABLE_1) == 19
    result = run("outliers", clusters=(2, 5), points=20, steps=10, width=4)
    assert result["ratio_paper"].tolist() == [4, 7]
    assert result["elbow_paper"].tolist() == [2, 5]
    assert np.isnan(run("outliers", clusters=(3,), points=20, steps=2, width=4)["gap_paper"]).all()
