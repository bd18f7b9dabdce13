"""One call for every loss."""

from types import SimpleNamespace

import numpy as np
import pytest

from kernelcalc.errors import InputError, ShapeError
from kernelcalc.kernels.mlp import MLP
from kernelcalc.training.flow import SampledTrajectory, hessian_moments
from kernelcalc.training.losses import NAMED_LOSSES, Loss, resolve_loss
from kernelcalc.training.moments import moments
from kernelcalc.training.mse import mse_moments

X = np.random.default_rng(0).normal(size=(6, 3))
KERNELS = MLP("erf", depth=3).kernels(X)
LABELS = np.arange(6) % 2
TIMES = [0.0, 3.0]


def test_the_closed_form_is_taken_where_there_is_one():
    exact, found = mse_moments(KERNELS, LABELS, TIMES), moments(KERNELS, LABELS, TIMES, samples=3)
    for name in ("trace_h", "loss", "trace_s_std"):
        np.testing.assert_array_equal(getattr(found, name), getattr(exact, name))
    assert not isinstance(found, SampledTrajectory)


@pytest.mark.parametrize("loss", ["binary", "softmax", "(y - t)^4/4"])
def test_other_losses_are_sampled(loss):
    drawn = hessian_moments(KERNELS, LABELS, TIMES, loss, samples=3, rng=1, kmax=2)
    found = moments(KERNELS, LABELS, TIMES, loss, samples=3, rng=1, kmax=2)
    np.testing.assert_array_equal(found.trace_h, drawn.trace_h)


def test_the_number_of_outputs_is_checked():
    with pytest.raises(ShapeError):
        moments(KERNELS, LABELS, TIMES, n_out=2)
    with pytest.raises(InputError):
        moments(KERNELS, LABELS, TIMES, kmax=0)


def test_a_loss_defined_elsewhere_is_known_by_its_name():
    class Cosh(Loss):
        name = "toy cosh"

        def point_values(self, y, t):
            return np.cosh(y - t).sum(axis=-1)

        def slope(self, y, t):
            return np.sinh(y - t)

        def curvature(self, y, t):
            return np.cosh(y - t)

    try:
        by_text = moments(KERNELS, LABELS, TIMES, "cosh(y - t)", samples=2)
        by_name = moments(KERNELS, LABELS, TIMES, "toy cosh", samples=2)
        np.testing.assert_allclose(by_name.trace_h, by_text.trace_h, rtol=1e-8)
        assert isinstance(resolve_loss("Toy Cosh"), Cosh)
    finally:
        del NAMED_LOSSES["toy cosh"]


def test_options_are_passed_on():
    """Four powers by default, as many as asked for otherwise, by both ways; three outputs though two classes occur."""
    for loss, options in (("mse", {}), ("binary", {"samples": 2})):
        assert len(moments(KERNELS, LABELS, TIMES, loss, **options).trace_h) == 4
        assert len(moments(KERNELS, LABELS, TIMES, loss, kmax=2, **options).trace_h) == 2
    # outputs that are 0 at first, and no S: Tr H(0) = Tr Θ Tr 𝓗 / N with 𝓗 = diag(p) − ppᵀ of trace 1 − 1/n, or the identity
    none, theta = np.zeros((6, 6)), KERNELS.theta
    still = SimpleNamespace(sigma=none, theta=theta, phi=none, lam=none, upsilon=none, xi=none)
    for n_out, trace in ((3, 2 / 3), (None, 1 / 2)):
        found = moments(still, LABELS, [0.0], "softmax", n_out=n_out, samples=2)
        assert found.trace_h[0, 0] == pytest.approx(trace * np.trace(theta) / 6, rel=1e-12)
    found = moments(still, np.eye(3)[LABELS], [0.0], n_out=3)
    assert found.trace_h[0, 0] == pytest.approx(3 * np.trace(theta) / 6, rel=1e-12)


def test_the_name_that_labels_had():
    with pytest.raises(
        InputError, match=r"^expected moments\(Y=\.\.\.\), got labels=; the argument labels is called Y now$"
    ):
        moments(KERNELS, labels=LABELS, times=TIMES)
