from types import SimpleNamespace

import numpy as np
import pytest

from kernelcalc.errors import InputError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.kernels.mlp import MLP
from kernelcalc.studies.meanfield import mean_field_moments
from kernelcalc.training.losses import resolve_loss
from kernelcalc.training.start import initial_draws

N = 12


@pytest.fixture(scope="module")
def kernels():
    return MLP("erf", depth=3).kernels(np.random.default_rng(0).normal(size=(N, 4)))


@pytest.mark.parametrize(("loss", "n_out"), [("mse", 2), ("binary", 1), ("softmax", 3)])
def test_trace_is_g_times_the_gradient_at_zero_output(kernels, loss, n_out):
    labels = np.arange(N) % 3 if loss == "softmax" else np.arange(N * n_out).reshape(N, n_out) % 2
    law = mean_field_moments(kernels, labels, loss)
    zero = np.zeros((N, n_out))
    slope = resolve_loss(loss).gradient(zero, labels)
    _, g = initial_draws(kernels, n_out, 4000, rng=1)
    traces = np.einsum("sna,na->s", g, slope)
    # relative standard error of a standard deviation: 1/√(2·4000)
    assert abs(traces.std() / law.trace_h_std - 1) < 4 / np.sqrt(8000)
    assert abs(traces.mean()) < 4 * law.trace_h_std / np.sqrt(4000)
    assert law.trace_h2 == pytest.approx(np.trace(slope.T @ kernels.upsilon @ slope), rel=1e-12)


def test_mse_gradient_is_minus_the_targets(kernels):
    y = np.sin(np.arange(N))
    law = mean_field_moments(kernels, y)
    assert law.trace_h2 == pytest.approx(y @ kernels.upsilon @ y / N**2, rel=1e-12)
    assert law.trace_i == pytest.approx(np.trace(kernels.theta) / N, rel=1e-12)


def test_softmax_weight_at_zero_output(kernels):
    law = mean_field_moments(kernels, np.arange(N) % 3, "softmax")
    assert law.trace_i == pytest.approx(np.trace(kernels.theta) / N * (1 - 1 / 3), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "loss", "n_out"),
    [
        ("tanh", "mse", 1),
        ("smooth_relu", "mse", 1),
        ("smooth_relu", "mse", 3),
        ("tanh", "softmax", 3),
        ("erf", "binary", 1),
    ],
)
def test_mean_trace_of_h_of_finite_networks(name, loss, n_out):
    """The literal w·Tr of the Hessian of C(f/√w), f of finite networks with both signs of the last layer."""
    x, width, count = np.random.default_rng(3).normal(size=(8, 6)), 64, 500
    x *= np.sqrt(6) / np.linalg.norm(x, axis=1, keepdims=True)
    labels = np.arange(8) % 3 if loss == "softmax" else np.sin(np.arange(8 * n_out)).reshape(8, n_out)
    labels = labels > 0 if loss == "binary" else labels
    net, law = MLP(name, depth=3, n_out=n_out), resolve_loss(loss)
    traces = []
    for seed in range(count):
        one = FiniteNetwork.random(net, width, n_in=6, rng=seed)
        own = np.einsum("iiab->iab", one.ntk(x).reshape(8, 8, n_out, n_out))
        for outputs, g in ((one(x), one.hessian_trace(x)), (-one(x), -one.hessian_trace(x))):
            scaled = outputs / np.sqrt(width)
            h = law.hessian(scaled, labels)
            blocks = h if law.has_blocks else h[:, :, None] * np.eye(n_out)
            trace_i = np.einsum("iab,iba->", blocks, own)
            traces.append(trace_i + np.sqrt(width) * np.sum(g * law.gradient(scaled, labels)))
    pairs = np.reshape(traces, (count, 2)).mean(axis=1)
    found = mean_field_moments(net.kernels(x), labels, loss)
    expected = found.at_width(width)["trace_h_mean"]
    # 1/width bias apart: 3/64 of either part
    allowed = 4 * pairs.std(ddof=1) / np.sqrt(count) + 3 / width * (found.trace_i + abs(found.trace_s))
    assert abs(pairs.mean() - expected) < allowed
    assert abs(pairs.mean() - found.trace_i) > allowed


@pytest.mark.parametrize(("loss", "n_out"), [("mse", 3), ("softmax", 3), ("binary", 1)])
def test_part_of_order_one_of_the_trace_of_finite_networks(loss, n_out):
    """Σ G·𝓗C(0) f over initialisations, beside its limiting mean and deviation."""
    x, width, count = np.random.default_rng(3).normal(size=(4, 6)), 128, 600
    labels = np.arange(4) % 3 if loss == "softmax" else np.arange(4 * n_out).reshape(4, n_out) % 2
    net, law = MLP("smooth_relu", depth=3, n_out=n_out), resolve_loss(loss)
    h = law.hessian(np.zeros((4, n_out)), labels)
    blocks = h if law.has_blocks else h[:, :, None] * np.eye(n_out)
    nets = (FiniteNetwork.random(net, width, n_in=6, rng=seed) for seed in range(count))
    parts = np.array([np.einsum("ia,iab,ib->", one.hessian_trace(x), blocks, one(x)) for one in nets])
    found = mean_field_moments(net.kernels(x), labels, loss)
    deviation = parts.std(ddof=1)
    # of a variance: √((m_4 - m_2²)/count), of its root half of it over the deviation; 3/width for the bias
    fourth = ((parts - parts.mean()) ** 4).mean()
    allowed = 4 * np.sqrt((fourth - deviation**4) / count) / (2 * deviation) + 3 / width * deviation
    assert allowed < 0.3 * deviation
    assert abs(deviation - found.trace_s_std) < allowed
    assert abs(parts.mean() - found.trace_s) < (4 / np.sqrt(count) + 3 / width) * deviation


def test_deviation_of_order_one_needs_sigma(kernels):
    known = {name: getattr(kernels, name) for name in ("theta", "phi", "xi", "upsilon")}
    law = mean_field_moments(SimpleNamespace(**known), np.ones(N))
    assert np.isnan(law.trace_s_std)
    assert law.trace_h_std == mean_field_moments(kernels, np.ones(N)).trace_h_std


def test_scaling_with_width(kernels):
    law = mean_field_moments(kernels, np.ones(N))
    at = law.at_width(100)
    assert at["trace_h2"] == 100 * law.trace_h2
    assert at["trace_h_std"] == 10 * law.trace_h_std
    assert at["trace_h_mean"] == law.trace_i + law.trace_s
    with pytest.raises(InputError):
        law.at_width(0)
