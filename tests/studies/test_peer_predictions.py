"""Kernel regression and posteriors against neural-tangents' predict functions, and the posterior against SciPy's densities."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import kernelcalc as kc

PEER = json.loads((Path(__file__).parent / "peer_predictions.json").read_text())
X, Y, NEW = (np.array(PEER[name]) for name in ("x", "y", "x_test"))
NET = kc.MLP("erf", depth=3, sigma_w=1.2, beta=0.3, n_out=2)


@pytest.mark.parametrize(
    "case", PEER["values"], ids=lambda c: f"{c['get']}-{c['time']}-{c['diag_reg']}-{c['absolute']}"
)
def test_ensembles_and_posteriors(case):
    predict = {"ntk": kc.predict_outputs, "nngp": kc.nngp_posterior}[case["get"]]
    ridge = {"ridge" if case["absolute"] else "diag_reg": case["diag_reg"]}
    found = predict(NET, X, Y, NEW, np.inf if case["time"] is None else case["time"], **ridge)
    np.testing.assert_allclose(found.mean, case["mean"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.covariance, case["covariance"], rtol=1e-9, atol=1e-12)


def test_the_marginal_likelihood_is_the_density_of_the_targets():
    sigma = NET.kernels(X, only="sigma").sigma
    found = kc.nngp_posterior(NET, X, Y, NEW, ridge=0.2)
    law = multivariate_normal(np.zeros(len(X)), sigma + 0.2 * np.eye(len(X)))
    np.testing.assert_allclose(found.log_marginal_likelihood, law.logpdf(Y.T).sum(), rtol=1e-12)


def test_a_singular_kernel_has_no_density():
    twice = np.concatenate([X, X[:1]])
    found = kc.nngp_posterior(NET, twice, np.concatenate([Y, Y[:1]]), NEW)
    assert found.log_marginal_likelihood == -np.inf
    np.testing.assert_allclose(found.mean, kc.nngp_posterior(NET, X, Y, NEW).mean, rtol=1e-9)
