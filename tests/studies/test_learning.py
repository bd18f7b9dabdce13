"""Learning curves against the law of the outputs, and bands against a large sample."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError

RNG = np.random.default_rng(2)
NET = kc.MLP("tanh", depth=3, sigma_w=1.2, beta=0.2)
X, NEW = RNG.normal(size=(8, 3)), RNG.normal(size=(6, 3))
Y, T = np.sign(X[:, 0]), np.sign(NEW[:, 0])


@pytest.mark.parametrize("descent", [None, kc.Descent(0.5, 0.8)])
def test_means_are_those_of_the_law(descent):
    found = kc.learning_curves(NET, X, Y, NEW, T, [0.0, 2.0, 50.0], diag_reg=0.1, samples=4000, descent=descent)
    for i, t in enumerate(found.times):
        exact = kc.predict_outputs(NET, X, Y, NEW, t, diag_reg=0.1, descent=descent)
        variance = np.diagonal(exact.covariance)
        miss = (exact.mean[:, 0] - T) ** 2
        assert found.loss[i] == pytest.approx((miss + variance).mean() / 2, rel=1e-10)
        assert found.ensemble_loss[i] == pytest.approx(miss.mean() / 2, rel=1e-10)
        # mean and variance of the loss over networks are those of a quadratic form
        c, shift = exact.covariance, exact.mean[:, 0] - T
        std = np.sqrt(2 * np.sum(c * c) + 4 * shift @ c @ shift) / 2 / len(T)
        low, high = found.loss_band[:, i]
        assert low < found.loss[i] < high
        assert 2.2 * std < high - low < 3.6 * std
    assert found.ensemble_accuracy.tolist() == [(np.sign(m) == T).mean() for m in means(found, descent)]


def means(found, descent):
    return [kc.predict_outputs(NET, X, Y, NEW, t, diag_reg=0.1, descent=descent).mean[:, 0] for t in found.times]


def test_training_loss_is_that_of_the_moments():
    found = kc.learning_curves(NET, X, Y, NEW, T, [0.0, 1.0, 9.0], samples=2000)
    moments = kc.mse_moments(NET.kernels(X), Y, [0.0, 1.0, 9.0])
    np.testing.assert_allclose(found.train_loss, moments.loss, rtol=1e-9)
    for i, t in enumerate((0.0, 1.0, 9.0)):
        law = kc.mse_law(NET.kernels(X), Y, t, "loss")
        # levels of the sampled band under the exact law, standard error 0.005
        np.testing.assert_allclose([law.cdf(v) for v in found.train_loss_band[:, i]], [0.05, 0.95], atol=0.02)


def test_softmax_is_the_report_of_held_out_points():
    classes, new = (np.digitize(v[:, 0], [-0.5, 0.5]) for v in (X, NEW))
    net = kc.MLP("erf", depth=2, n_out=3)
    found = kc.learning_curves(net, X, classes, NEW, new, [3.0, 0.0], "softmax", samples=3000)
    report = kc.held_out(net, X, classes, NEW, new, "softmax", time=3.0, samples=3000)
    # two samples of 3000: 4 standard errors of about 0.003
    assert found.loss[0] == pytest.approx(report.network_loss, abs=0.02)
    assert found.accuracy[0] == pytest.approx(report.network_accuracy, abs=0.02)
    assert found.times.tolist() == [3.0, 0.0]
    assert found.train_loss[0] < found.train_loss[1]


def test_targets_that_are_no_classes_have_no_accuracy():
    found = kc.learning_curves(NET, X, X[:, 0], NEW, NEW[:, 0], [1.0], samples=4)
    assert found.accuracy is found.accuracy_band is found.ensemble_accuracy is None


@pytest.mark.parametrize("options", [{"levels": (0.9, 0.1)}, {"samples": 1}, {"ridge": -1.0}])
def test_what_is_refused(options):
    with pytest.raises(InputError):
        kc.learning_curves(NET, X, Y, NEW, T, [1.0], **options)


def test_a_ridge_needs_the_mse():
    with pytest.raises(InputError, match="under MSE"):
        kc.learning_curves(NET, X, Y, NEW, T, [1.0], "binary", ridge=1.0)
