"""A law by its leading eigenvalues and four cumulants, beside that of all eigenvalues."""

import numpy as np
import pytest
from scipy import stats

from kernelcalc.kernels.mlp import MLP
from kernelcalc.training.law import mse_law, mse_quantiles
from kernelcalc.training.quadratic import Form, Leading, nodes_of


@pytest.mark.parametrize("name", ["trace_s", "trace_s2", "loss"])
def test_leading_eigenvalues_and_four_cumulants_are_enough(name):
    rng = np.random.default_rng(3)
    points, times = rng.standard_normal((140, 12)), [0.0, 3.0, 300.0, 3e4]
    kernels, y = MLP("tanh", depth=2).kernels(points), rng.standard_normal((140, 2))
    for copies in (1, 5):
        whole = mse_quantiles(kernels, y, times, name, [0.05, 0.5, 0.95], copies=copies)
        few = mse_quantiles(kernels, y, times, name, [0.05, 0.5, 0.95], copies=copies, tol=1e-4)
        assert (few != whole).all()
        for i, time in enumerate(times):
            levels = mse_law(kernels, y, time, name).averaged(copies).cdf(few[:, i])
            np.testing.assert_allclose(levels, [0.05, 0.5, 0.95], atol=1e-4)


def test_no_more_error_than_is_allowed():
    form = Form(inner=np.diag(np.linspace(-1, 1, 150) ** 3), image=np.ones((150, 1)), constant=0.5)
    leading, law = Leading.of(form, 1), form.law()
    assert (leading.mean, leading.std) == pytest.approx((law.mean, law.std), rel=1e-12)
    assert 0 < leading.error < 1e-2
    found = np.array([form.quantiles(np.array([0.1]), tol=tol)[0] for tol in (0.0, leading.error / 2, leading.error)])
    assert found[0] == found[1] != found[2]
    assert abs(law.cdf(found[2]) - 0.1) < leading.error
    constant = Leading.of(Form(inner=np.zeros((2, 2)), image=np.zeros((2, 1)), constant=3.0), 1)
    assert constant.quantile(np.array([0.1, 0.9])).tolist() == [3.0, 3.0]


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_left_has_a_skewness(sign):
    """All weights of one sign, the last 134 of 150 summed up: the exact law at quantiles of the leading one."""
    form = Form(inner=sign * np.diag(np.linspace(1, 2, 150)), image=np.full((150, 1), 0.1), constant=0.5)
    leading, levels = Leading.of(form, 1), np.array([0.02, 0.5, 0.98])
    away = np.abs(form.law().cdf(leading.quantile(levels)) - levels)
    assert away.max() < leading.error < 1e-3


def test_the_error_is_that_of_the_fifth_cumulant():
    """A fifth cumulant κ moves a distribution function by at most max|φ⁗| κ/5! = 3 φ(0) κ/5!."""
    rng = np.random.default_rng(4)
    weights, image = np.r_[np.linspace(3, 2, 15), np.full(135, 0.5)], 0.3 * rng.standard_normal((150, 2))
    form = Form(inner=np.diag(weights), image=image, constant=1.0)
    variance, linear = 4 * np.sum(weights**2) + 4 * np.sum(image**2), np.sum(4 * image[15:] ** 2)
    fifth = (2 * 384 * 135 * 0.5**5 + 480 * linear * 0.5**3) / variance**2.5
    error = Leading.of(form, 1).error
    # by the last eigenvalue that was found, at least 0.5
    assert 0.98 < error / (3 * stats.norm.pdf(0) * fifth / 120) < 1.2
    # κ₅ of a mean of four is κ₅/4⁴, of its standardised law κ₅/4^{3/2}
    assert Leading.of(form, 4).error == pytest.approx(error / 8, rel=1e-12)
    point = Leading.of(Form(inner=np.zeros((2, 2)), image=np.zeros((2, 1)), constant=3.0), 2)
    assert (point.mean, point.std, point.error) == (3.0, 0.0, 0.0)


def test_leading_eigenvalues_where_there_are_many():
    for size, few in ((127, False), (128, True)):
        form = Form(inner=np.diag(np.arange(1.0, size + 1) ** -2), image=np.zeros((size, 1)), constant=0.0)
        found = [form.quantiles(np.array([0.3]), tol=tol)[0] for tol in (0.0, 1e-3)]
        assert (found[0] != found[1]) == few
        assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_few_terms_have_the_moments_of_many():
    rng = np.random.default_rng(0)
    for weights in (rng.uniform(0, 1, 30), rng.uniform(-1, 1, 30)):
        shares = rng.uniform(0, 1, 30)
        moments = [np.sum(shares * weights**n) for n in range(3)]
        nodes = np.array(nodes_of(moments, 1.0))
        np.testing.assert_allclose([np.sum(nodes[:, 1] * nodes[:, 0] ** n) for n in range(3)], moments)
        assert np.abs(nodes[:, 0]).max() <= 1
        assert nodes[:, 1].min() >= 0
    # rounding alone
    assert nodes_of([1e-9, 1e-8, 1e-8], 1.0) == [(0.0, 1e-9)]
    assert nodes_of([-1e-9, 0.0, 0.0], 1.0) == [(0.0, 0.0)]
