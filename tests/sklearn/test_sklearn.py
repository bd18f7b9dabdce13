"""The kernel and the estimators inside scikit-learn's own tools, and its own checks."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelcalc.sklearn import NetworkKernel, WideNetworkClassifier, WideNetworkRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(25, 3))
Y = np.sin(X[:, 0]) + 0.1 * RNG.normal(size=25)
NET = kc.MLP("erf", depth=2, sigma_w=1.2, beta=0.3)


@parametrize_with_checks(
    [WideNetworkRegressor("erf", depth=2, diag_reg=1e-6), WideNetworkClassifier("erf", depth=2, diag_reg=1e-6)]
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_the_kernel_is_the_networks():
    kernel = NetworkKernel(NET, noise=0.1)
    assert kernel(X) == pytest.approx(NET.kernels(X).theta + 0.1 * np.eye(25), rel=1e-12)
    assert kernel(X, X[:4]) == pytest.approx(NET.kernels(X, X[:4]).theta, rel=1e-12)
    assert kernel.diag(X) == pytest.approx(np.diagonal(kernel(X)), rel=1e-12)
    sigma = NetworkKernel(NET, "sigma", sigma_w=2.0)
    assert sigma(X) == pytest.approx(NET.replace(sigma_w=2.0).kernels(X).sigma, rel=1e-12)


@pytest.mark.parametrize("options", [{"activation": NET}, {"net": NET}], ids=["first", "net"])
def test_networks_in_place_of_an_activation(options):
    model = clone(WideNetworkRegressor(**options)).fit(X, Y)
    assert model.network_ == NET
    right = WideNetworkRegressor("erf", depth=2, sigma_w=1.2, beta=0.3).fit(X, Y).predict(X[:3])
    np.testing.assert_array_equal(model.predict(X[:3]), right)
    residual = kc.Sequential(kc.layers.Dense(), kc.layers.Residual("erf", kc.layers.Dense()), kc.layers.Dense())
    assert WideNetworkClassifier(residual).fit(X, Y > 0).score(X, Y > 0) == 1


def test_gradients_in_the_logarithms_are_differences():
    kernel = NetworkKernel(NET, noise=0.1)
    _, gradient = kernel(X, eval_gradient=True)
    h = 1e-5
    for place in range(3):
        step = np.zeros(3)
        step[place] = h
        up, down = (kernel.clone_with_theta(kernel.theta + sign * step)(X) for sign in (1, -1))
        assert gradient[..., place] == pytest.approx((up - down) / (2 * h), rel=1e-7, abs=1e-9)


# how near to a bound the optimum is, is not what is tested
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_gaussian_process_fits_the_hyperparameters():
    fixed = GaussianProcessRegressor(NetworkKernel(NET, noise=0.3), optimizer=None).fit(X, Y + 3)
    fitted = GaussianProcessRegressor(NetworkKernel(NET, noise=0.3)).fit(X, Y + 3)
    assert fitted.log_marginal_likelihood_value_ > fixed.log_marginal_likelihood_value_ + 1
    # at an optimum inside the bounds the gradient vanishes
    _, slope = fitted.log_marginal_likelihood(fitted.kernel_.theta, eval_gradient=True)
    inside = np.abs(fitted.kernel_.theta[:, None] - fitted.kernel_.bounds).min(axis=1) > 1e-3
    assert np.abs(slope[inside]).max() < 0.05
    mean, std = fitted.predict(X[:3], return_std=True)
    assert mean.shape == std.shape == (3,)


def test_zero_scales_are_fixed():
    kernel = NetworkKernel(NET, beta=0.0)
    assert [one.name for one in kernel.hyperparameters if not one.fixed] == ["sigma_w"]
    assert kernel(X, eval_gradient=True)[1].shape == (25, 25, 1)


def test_kernel_machines_pipelines_grids_and_clones():
    data, labels = load_iris(return_X_y=True)
    svc = make_pipeline(StandardScaler(), SVC(kernel=NetworkKernel(NET)))
    assert cross_val_score(svc, data, labels, cv=3).mean() > 0.9
    ridge = GridSearchCV(
        KernelRidge(kernel=NetworkKernel(NET)), {"kernel__sigma_w": [0.5, 1.5], "alpha": [0.01, 1.0]}, cv=3
    ).fit(X, Y)
    assert ridge.best_params_["kernel__sigma_w"] in (0.5, 1.5)
    kernel = NetworkKernel(NET, noise=0.2)
    assert clone(kernel) == kernel
    assert pickle.loads(pickle.dumps(kernel)) == kernel


def test_the_regressor_is_kernel_regression():
    theta = NET.kernels(X).theta
    model = WideNetworkRegressor(net=NET, ridge=0.1).fit(X, Y)
    expected = NET.kernels(X[:5] + 0.1, X).theta @ np.linalg.solve(theta + 0.1 * np.eye(25), Y)
    assert model.predict(X[:5] + 0.1) == pytest.approx(expected, rel=1e-9)
    mean, std = WideNetworkRegressor(net=NET, time=0.0).fit(X, Y).predict(X[:2], return_std=True)
    assert np.abs(mean).max() == 0
    assert std == pytest.approx(np.sqrt(np.diagonal(NET.kernels(X[:2]).sigma)), rel=1e-12)


def test_many_points_cost_no_matrix_of_theirs():
    many = np.random.default_rng(1).normal(size=(3000, 3))
    model = WideNetworkRegressor(net=NET, diag_reg=0.1).fit(X, Y)
    tracemalloc.start()
    mean, std = model.predict(many, return_std=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000**2 * 8 / 3
    # a few of them, by all their kernels
    few, inner = many[:4], NET.kernels(X)
    weights = NET.kernels(few, X).theta @ np.linalg.inv(inner.theta + 0.1 * inner.theta.trace() / 25 * np.eye(25))
    mixed = NET.kernels(few, X).sigma @ weights.T
    law = NET.kernels(few).sigma - mixed - mixed.T + weights @ inner.sigma @ weights.T
    assert mean[:4] == pytest.approx(weights @ Y, rel=1e-9)
    assert std[:4] == pytest.approx(np.sqrt(np.diagonal(law)), rel=1e-9)


def test_the_classifier_on_iris():
    data, labels = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[labels]
    model = make_pipeline(StandardScaler(), WideNetworkClassifier("erf", depth=2, ridge=0.1))
    assert cross_val_score(model, data, names, cv=5).mean() > 0.93
    shares = model.fit(data, names).predict_proba(data[:4])
    assert shares.sum(axis=1) == pytest.approx(1)
    soft = make_pipeline(StandardScaler(), WideNetworkClassifier("erf", depth=2, loss="softmax", time=50.0, samples=4))
    assert soft.fit(data[::5], names[::5]).score(data, names) > 0.85


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: NetworkKernel(NET, "phi"), "theta"),
        (lambda: NetworkKernel("tanh"), "network"),
        (lambda: NetworkKernel(NET, noise=-1.0)(X), "noise"),
        (lambda: WideNetworkClassifier(loss="hinge").fit(X, Y > 0), "softmax"),
        (lambda: WideNetworkClassifier(loss="softmax").fit(X, Y > 0), "finite time"),
        (lambda: WideNetworkClassifier(loss="softmax", time=-1.0).fit(X, Y > 0), "time, a number of at least 0"),
        (lambda: WideNetworkClassifier(loss="softmax", time=1.0, ridge=0.1).fit(X, Y > 0), "a ridge under MSE"),
        (lambda: WideNetworkClassifier(loss="softmax", time=1.0, diag_reg=0.1).fit(X, Y > 0), "a ridge under MSE"),
    ],
)
def test_wrong_calls_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a", 1, "a"], "all numbers or all text, got 'a' in row 0 and 1 in row 1"),
        (np.array([1, "a", 1], dtype=object), "all numbers or all text, got 1 in row 0 and 'a' in row 1"),
        (["a", float("nan"), "b"], "got 'a' in row 0 and nan in row 1"),
        ([True, "a", "b"], "got True in row 0 and 'a' in row 1"),
        (["a", None, "b"], "got None in row 1"),
        (np.array([{}, 1, 2], dtype=object), "got {} in row 0"),
        (np.array([b"a", b"b", b"a"]), "got bytes; decode them"),
        ([(1, 2), (1,), 3], "inhomogeneous"),
    ],
)
def test_labels_of_several_kinds_have_a_named_error(labels, said):
    with pytest.raises(InputError, match=said):
        WideNetworkClassifier("erf", depth=2).fit(X[:3], labels)


@pytest.mark.parametrize("labels", [["a", "b", "a"], [2, 0, 2], [True, False, True], [1, 2.0, 1]], ids=str)
@pytest.mark.parametrize("dtype", [None, object])
def test_labels_of_one_kind_come_back_as_they_are(labels, dtype):
    model = WideNetworkClassifier("erf", depth=2, ridge=1e-3).fit(X[:3], np.array(labels, dtype=dtype))
    assert model.predict(X[:3]).tolist() == labels


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["a", 1.0, 2.0], "y, numbers"),
        (np.array([{}, 1, 2], dtype=object), "y, numbers"),
        ([1.0, None, 2.0], "got None"),
        ([10**400, 1, 2], "numbers below 1.8e308"),
        (np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="M8[D]"), "datetime64"),
    ],
)
def test_targets_that_are_no_numbers_have_a_named_error(targets, said):
    with pytest.raises(InputError, match=said):
        WideNetworkRegressor("erf", depth=2).fit(X[:3], targets)


@pytest.mark.parametrize(
    "model", [WideNetworkRegressor("erf", depth=2), WideNetworkClassifier("erf", depth=2)], ids=["r", "c"]
)
def test_what_is_masked_is_no_number(model):
    masked = np.ma.array(X, mask=np.abs(X) > 1.5)
    with pytest.raises(InputError, match="masked"):
        model.fit(masked, Y > 0)
    with pytest.raises(InputError, match="numbers"):
        model.fit(X.astype("datetime64[s]"), Y > 0)
    fitted = model.fit(np.ma.array(X), Y > 0)
    np.testing.assert_array_equal(fitted.predict(X), clone(model).fit(X, Y > 0).predict(X))
    with pytest.raises(InputError, match="masked"):
        fitted.predict(masked)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ridge": -1}, "ridge"),
        ({"diag_reg": np.nan}, "diag_reg"),
        ({"time": -1}, "time"),
        ({"net": 3}, "a network"),
        ({"samples": 1}, "samples"),
        ({"random_state": "q"}, "a seed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_parameters_are_refused_where_they_are_fitted(wrong, said):
    with pytest.raises(InputError, match=said):
        WideNetworkClassifier("erf", depth=2, **wrong).fit(X, Y > 0)
    if wrong.keys() <= WideNetworkRegressor().get_params().keys():
        with pytest.raises(InputError, match=said):
            WideNetworkRegressor("erf", depth=2, **wrong).fit(X, Y)
