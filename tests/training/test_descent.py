"""Steps of gradient descent under MSE against the loop over steps written out, and against a finite network."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError

RNG = np.random.default_rng(5)
N = 5
NET = kc.MLP("tanh", depth=3, sigma_w=1.3, beta=0.2)
X = RNG.normal(size=(N, 3))
Y = RNG.normal(size=N)
K = NET.kernels(X)
RULES = [kc.Descent(0.4), kc.Descent(0.4, 0.9), kc.Descent(0.4, 0.9, nesterov=True)]


def literal(descent, y, g, steps):
    """Y and G after steps, as an optimiser makes them: gradients of the linearised network act on both."""
    v = np.zeros(N)  # velocity of the parameters is ∇f · v
    for _ in range(steps):
        ahead = y - descent.momentum * K.theta @ v if descent.nesterov else y
        v = descent.momentum * v + descent.step * (ahead - Y) / N
        y, g = y - K.theta @ v, g - K.lam @ v
    return y, g


@pytest.mark.parametrize("descent", RULES, ids=str)
@pytest.mark.parametrize("steps", [0, 1, 7, 60])
def test_moments_are_those_of_the_loop(descent, steps):
    # The map of (Y, G) is affine: its matrix from unit vectors, then the expectations over the Gaussian start.
    unit = np.eye(2 * N)
    zero = np.concatenate(literal(descent, np.zeros(N), np.zeros(N), steps))
    linear = np.array([np.concatenate(literal(descent, e[:N], e[N:], steps)) - zero for e in unit]).T
    start = np.block([[K.sigma, K.phi.T], [K.phi, K.xi]])
    mean, second = zero, linear @ start @ linear.T
    residual = mean[:N] - Y
    found = kc.mse_moments(K, Y, [steps * descent.step], descent=descent)
    yy = second[:N, :N] + np.outer(residual, residual)
    gy = second[N:, :N] + np.outer(mean[N:], residual)
    np.testing.assert_allclose(found.trace_s[0], np.trace(gy) / N, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.trace_s2[0], np.trace(K.upsilon @ yy) / N**2, rtol=1e-9)
    np.testing.assert_allclose(found.loss[0], np.trace(yy) / 2 / N, rtol=1e-9)
    law = kc.mse_law(K, Y, steps * descent.step, "loss", descent=descent)
    np.testing.assert_allclose(law.mean, found.loss[0], rtol=1e-9)
    np.testing.assert_allclose(law.std, found.loss_std[0], rtol=1e-8)


def test_small_steps_are_the_flow_and_momentum_its_rescaled_time():
    flow = kc.mse_moments(K, Y, [2.0])
    steps = kc.mse_moments(K, Y, [2.0], descent=kc.Descent(1e-5))
    np.testing.assert_allclose(steps.loss, flow.loss, rtol=1e-4)
    fast = kc.mse_moments(K, Y, [0.2], descent=kc.Descent(1e-6, 0.9))
    np.testing.assert_allclose(fast.trace_s, flow.trace_s, rtol=1e-3)


def test_the_end_and_its_threshold():
    top = np.linalg.eigvalsh(K.theta)[-1] / N
    for momentum, nesterov, bound in ((0.0, False, 2.0), (0.5, False, 3.0), (0.5, True, 1.5)):
        below, above = (kc.Descent(f * bound / top, momentum, nesterov) for f in (0.999, 1.001))
        assert kc.mse_moments(K, Y, [np.inf], descent=below).loss[0] == pytest.approx(0, abs=1e-12)
        with pytest.raises(InputError, match=f"a step below {bound / top:.6g}"):
            kc.mse_moments(K, Y, [np.inf], descent=above)
        # it is the threshold of the loop too
        grown = [abs(kc.mse_moments(K, Y, [d.step * 20_000], descent=d).loss[0]) for d in (below, above)]
        assert grown[0] < 1e-3 < 1e3 < grown[1]


def test_directions_that_do_not_train_stay():
    one = np.ones((2, 2))
    kernels = SimpleNamespace(sigma=np.eye(2), theta=one, phi=one, lam=one, upsilon=one, xi=4 * np.eye(2))
    found = kc.mse_moments(kernels, [0.0, 0.0], [np.inf], descent=kc.Descent(0.3, 0.5))
    # (1, -1) keeps its variance 1, of two: C = 1/(2N)
    np.testing.assert_allclose(found.loss, [0.25], rtol=1e-12)


def test_a_finite_network_takes_these_steps():
    """One network of width 2048 and its own tangent kernel at the start, which drifts by about 1/width (measured: 0.2 %)."""
    fin = kc.FiniteNetwork.random(NET, (2048,) * 2, n_in=3, rng=1)
    run = fin.train(X, Y, [0.0, 4.0], method="gd", step=0.4)
    values, vectors = np.linalg.eigh(fin.ntk(X))
    decay, _ = kc.Descent(0.4).modes(values, N, np.array([4.0]))
    expected = np.sum((decay[0] * (vectors.T @ (fin(X)[:, 0] - Y))) ** 2) / 2 / N
    np.testing.assert_allclose(run.loss[1], expected, rtol=0.02)


@pytest.mark.parametrize("descent", [kc.Descent(0.5), kc.Descent(0.5, 0.75), kc.Descent(0.5, 0.75, True)], ids=str)
def test_modes_are_the_recursion_in_exact_fractions(descent):
    values, n, times = [0.0, 0.25, 3.0, 8.0], 3, np.array([4.4, 0.0, np.inf, 20.0, 0.5])
    decay, ramp = descent.modes(np.array(values), n, times)
    eta, mu = Fraction(descent.step), Fraction(descent.momentum)
    for j, eigenvalue in enumerate(map(Fraction, values)):
        p, v, w = Fraction(1), Fraction(0), Fraction(0)
        seen = [(p, w)]
        for _ in range(40):
            felt = p - eigenvalue * mu * v if descent.nesterov else p
            v = mu * v + eta / n * felt
            p, w = p - eigenvalue * v, w + v
            seen.append((p, w))
        # 4.4 is nearest to 9 steps of 0.5
        for i, steps in ((0, 9), (1, 0), (3, 40), (4, 1)):
            np.testing.assert_allclose([decay[i, j], ramp[i, j]], np.array(seen[steps], float), rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(decay[2], [1, 0, 0, 0])
    np.testing.assert_allclose(ramp[2], [0, 4, 1 / 3, 1 / 8], rtol=1e-15)


def test_times_are_whole_numbers_of_steps():
    descent = kc.Descent(0.5)
    assert descent.at(np.array([0.0, 0.3, 1.2, np.inf])).tolist() == [0.0, 0.5, 1.0, np.inf]
    # from 2^53 on float64 has no odd numbers
    assert kc.Descent(1.0).at(np.array([2.0**53 - 1])).tolist() == [2.0**53 - 1]
    with pytest.raises(InputError, match=r"expected fewer steps, got a time of 9\.0072e\+15 in steps of 1$"):
        kc.Descent(1.0).at(np.array([1.0, 2.0**53]))


def test_a_mode_on_the_threshold_does_not_end():
    for descent in (kc.Descent(2.0), kc.Descent(3.0, 0.5), kc.Descent(1.5, 0.5, True)):
        assert descent.largest_step_times_curvature == descent.step
        with pytest.raises(InputError, match=r"a step below .*, got .*; the fastest mode diverges"):
            descent.modes(np.array([0.5, 4.0]), 4, np.array([np.inf]))
        decay, ramp = descent.modes(np.array([0.5, 3.9]), 4, np.array([np.inf]))
        assert decay.tolist() == [[0.0, 0.0]]
        np.testing.assert_allclose(ramp, [[2.0, 1 / 3.9]], rtol=1e-15)


def test_what_is_refused():
    for bad in ({"step": 0.0}, {"step": 0.1, "momentum": 1.0}):
        with pytest.raises(InputError, match=r"expected step > 0 and 0 ≤ momentum < 1, got step=0.*, momentum=[01].0"):
            kc.Descent(**bad)
    for bad, name in (({"step": -1.0}, "step"), ({"step": 1.0, "momentum": -0.1}, "momentum")):
        with pytest.raises(InputError, match=f"expected {name}"):
            kc.Descent(**bad)
    with pytest.raises(InputError, match="fewer steps"):
        kc.mse_moments(K, Y, [1e9], descent=kc.Descent(1e-9))
    with pytest.raises(InputError, match="a step below"):
        kc.mse_moments(K, Y, [1e6], descent=kc.Descent(100.0))
