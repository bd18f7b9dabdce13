"""Claims of the paper, each against finite networks, whose code knows nothing of the limit."""

import mpmath
import numpy as np
import pytest

from kernelcalc.activations.names import activation
from kernelcalc.finite.ensembles.ensemble import moments_through_training
from kernelcalc.kernels.mlp import MLP
from kernelcalc.training.flow import hessian_moments
from kernelcalc.training.losses import resolve_loss

N = 8
X = np.random.default_rng(0).normal(size=(N, 4))
X *= 2 / np.linalg.norm(X, axis=1, keepdims=True)
LABELS = np.where(np.arange(N) % 3 > 0, 1.0, -1.0)


@pytest.mark.parametrize(
    ("name", "normalized", "sign"), [("smooth_relu", False, 1), ("smooth_relu", True, -1), ("arctan", False, -1)]
)
def test_sign_of_the_expected_trace_of_s_at_the_start(name, normalized, sign):
    # Section 3.4: E Tr S(0) = Tr Φ/N, positive for smooth ReLU, negative for its normalised form and for arctan
    act = activation(name).normalized() if normalized else activation(name)
    net = MLP(act, depth=3)
    finite = moments_through_training(net, X, np.zeros(N), [0.0], width=64, trials=300, kmax=1)
    error = finite.trace_s_std[0] / np.sqrt(300)
    assert sign * finite.trace_s[0] > 3 * error
    expected = np.trace(net.kernels(X).phi) / N
    # 1/width bias apart: 5 percent
    assert abs(finite.trace_s[0] - expected) < 4 * error + 0.05 * abs(expected)


@pytest.mark.parametrize("loss", ["mse", "binary"])
def test_s_dies_while_the_loss_does(loss):
    # Section 3.4: ‖S‖_F decays with ∇C
    net, times = MLP("erf", depth=3), np.array([0.0, 30.0, 300.0])
    finite = moments_through_training(net, X, LABELS, times, width=128, trials=6, kmax=2, loss=loss)
    limit = hessian_moments(net.kernels(X), LABELS, times, loss, samples=400)
    for found in (finite, limit):
        assert found.trace_s2[2] < found.trace_s2[1] < 0.3 * found.trace_s2[0]
    assert (np.diff(finite.samples["trace_s2"], axis=1) < 0).all()


def test_spectrum_of_i_stays_under_the_mse_and_drifts_under_cross_entropy():
    # Section 3.3: 𝓗C is constant under the MSE, so that I is once the network is wide
    net, times = MLP("erf", depth=3), np.array([0.0, 100.0])

    def change(width, loss):
        finite = moments_through_training(net, X, LABELS, times, width=width, trials=6, kmax=3, loss=loss)
        trace_i = finite.samples["trace_i"]
        return trace_i[:, :, 1] / trace_i[:, :, 0] - 1

    narrow, wide = (np.sqrt(np.mean(change(width, "mse") ** 2, axis=0)) for width in (32, 256))
    assert (wide < 0.17).all()
    assert (wide < 0.6 * narrow).all()
    drift = change(256, "binary")
    assert (drift < -0.3).all()
    limit = hessian_moments(net.kernels(X), LABELS, times, "binary", samples=400, kmax=3).sample_trace_i
    expected = limit[:, :, 1] / limit[:, :, 0] - 1
    error = drift.std(axis=0, ddof=1) / np.sqrt(6)
    assert (np.abs(drift.mean(axis=0) - expected.mean(axis=0)) < 4 * error + 0.05).all()


def test_weight_of_a_point_on_the_decision_boundary_is_a_quarter():
    # Section 3.1 prints 1/(1 + e^{-Y} + e^Y), which is a third at Y = 0
    with mpmath.workdps(30):
        weight = mpmath.diff(lambda y: mpmath.log(1 + mpmath.exp(-y)), 0, 2)
    assert float(resolve_loss("binary").curvature(np.zeros((1, 1)), np.ones((1, 1)))[0, 0]) == pytest.approx(
        float(weight)
    )
    assert float(weight) == pytest.approx(0.25)
