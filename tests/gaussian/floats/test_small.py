"""Arctangents, hyperbolic sines and waves of many small arguments against mpmath."""

import itertools

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.arrays import EPS
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.floats import closed, small
from kernelcalc.gaussian.floats.kinds import recognise

SHAPE = 40, 60


def spread(largest: float, seed: int = 0) -> np.ndarray:
    """Numbers up to ``largest`` in size, dense near 0 and at the ends, and a few beyond."""
    rng = np.random.default_rng(seed)
    found = largest * np.sign(rng.normal(size=SHAPE)) * rng.uniform(size=SHAPE) ** rng.choice([0.1, 1.0, 6.0], SHAPE)
    found[0, :7] = [0.0, -0.0, 1e-300, 3 * largest, -50 * largest, 1e-9, -1e-9]
    return found


def exact(function, *arguments):
    """A function of mpmath's, correctly rounded, at arrays."""
    with mp.workdps(30):
        return np.vectorize(lambda *one: float(function(*map(mp.mpf, one))))(*arguments)


def turns(y, x):
    """The angle of (x, y) in turns."""
    return mp.atan2(y, x) / (2 * mp.pi)


@pytest.mark.parametrize("edge", [0.001, *small.ARCTANGENT_EDGES, 1.5])
def test_arctangents(edge):
    ratio = spread(0.999 * edge**0.5)
    r = np.random.default_rng(1).uniform(0.2, 3.0, SHAPE)
    c = ratio * r
    for given_c, given_r in ((c, r), (c.ravel(), r.ravel()), (c[:2], r[:2])):
        np.testing.assert_allclose(
            small.angle(given_c, given_r, given_c / given_r), exact(turns, given_c, given_r), rtol=4 * EPS
        )
    turned = small.angle(c, r, c / r, opening=True)
    np.testing.assert_allclose(turned, exact(turns, r, -c), rtol=4 * EPS)


def test_angles_of_parallel_points():
    """r = 0 is a quarter of a turn, or half of one and none from the other side; nothing is lost of a small opening."""
    c, r = spread(0.1), np.ones(SHAPE)
    r[0, :4], c[0, :4] = (0.0, 0.0, 1e-12, 0.0), (1.0, -1.0, -1.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle, opening = small.angle(c, r, c / r), small.angle(c, r, c / r, opening=True)
    np.testing.assert_allclose(angle[0, :4], [0.25, -0.25, 5e-13 / np.pi - 0.25, 0.0], rtol=4 * EPS)
    np.testing.assert_allclose(opening[0, :4], [0.5, 0.0, 5e-13 / np.pi, 0.0], rtol=4 * EPS)


@pytest.mark.parametrize("edge", [*small.SINE_EDGES, 30.0])
def test_hyperbolic_sines(edge):
    x = spread(0.999 * edge**0.5)
    np.testing.assert_allclose(small.hyperbolic_sine(x), exact(mp.sinh, x), rtol=4 * EPS)


def test_polynomials_have_no_more_terms_than_needed():
    """One term less of sinh x = x + x³/6 + … misses at least what the best one of that length does."""
    for edge in small.SINE_EDGES:
        terms = small._sine_terms(edge)
        with mp.workdps(30):
            _, missed = mp.chebyfit(
                lambda u: mp.sinh(mp.sqrt(u)) / mp.sqrt(u) if u else mp.mpf(1), [0, edge], len(terms) - 2, error=True
            )
        assert missed > EPS / 32


@pytest.mark.parametrize(("text", "rate"), [("sin(x)", 1.0), ("sin(x/2)", 0.5), ("cos(x) + sin(x)", 1.0)])
def test_waves_of_many_pairs(text, rate):
    """E[sin sin] = e^{−(q + q')/2} sinh c, E[cos cos] = e^{−(q + q')/2} cosh c at w = 1, with an honest error."""
    rng = np.random.default_rng(2)
    q, qp = rng.uniform(0.3, 2.0, (SHAPE[0], 1)), rng.uniform(0.3, 2.0, (1, SHAPE[1]))
    rho = rng.uniform(-0.3, 0.3, SHAPE)
    rho[3, :3] = 1.0, -0.999, 0.9
    c, act = rho * np.sqrt(q * qp), kc.Activation(text)
    cov = Covariance(q=q, qp=qp, c=c, det=q * qp * (1 - rho) * (1 + rho))

    def wanted(left, right, both, order):
        v = rate**2
        sine, cosine = mp.sinh(v * both), mp.cosh(v * both)
        value = sine + cosine if "cos" in text else (sine if order == 0 else cosine)
        return mp.exp(-v * (left + right) / 2) * value * v**order

    for order in (0, 1):
        f = recognise(act.derivative(order))
        found = closed.expectation(f, f, cov)
        truth = exact(lambda *one, n=order: wanted(*one, n), *np.broadcast_arrays(q, qp, c))
        error = np.broadcast_to(found.error, SHAPE)
        assert (np.abs(found.value - truth) <= error).all()
        assert (error <= 1e-12 * np.abs(truth)).all()
        assert found.relative == np.inf or (np.abs(found.value - truth) <= found.relative * np.abs(truth)).all()


@pytest.mark.parametrize("text", ["erf(x)", "max(x, 0)", "gelu"])
def test_arcs_of_many_pairs(text):
    """The same values one by one, which arctangents of NumPy's give."""
    act = kc.activation(text) if text == "gelu" else kc.Activation(text)
    rng = np.random.default_rng(3)
    q, qp = rng.uniform(0.3, 2.0, (SHAPE[0], 1)), rng.uniform(0.3, 2.0, (1, SHAPE[1]))
    rho = rng.uniform(-0.5, 0.5, SHAPE)
    rho[3, :4] = 1.0, -0.999, 0.9, -0.9999999
    c, det = rho * np.sqrt(q * qp), q * qp * (1 - rho) * (1 + rho)
    for order in (0, 1):
        f = recognise(act.derivative(order))
        together = closed.expectation(f, f, Covariance(q=q, qp=qp, c=c, det=det))
        assert together.value.shape == SHAPE
        for i in (0, 3, 17):
            alone = closed.expectation(f, f, Covariance(q=q[i], qp=qp[0], c=c[i], det=det[i]))
            error = np.broadcast_to(alone.error + np.broadcast_to(together.error, SHAPE)[i], SHAPE[1:])
            assert (np.abs(together.value[i] - alone.value) <= error).all()
            assert (error <= 1e-10 * np.abs(alone.value) + 1e-13).all()


def test_sums_of_groups_of_densities():
    """E[σ^(i)(a) σ^(j)(b)] of gelu and erf in one go and pair by pair; the bound of a block is no less than each one's."""
    rng = np.random.default_rng(4)
    q, qp = rng.uniform(0.3, 2.0, (SHAPE[0], 1)), rng.uniform(0.3, 2.0, (1, SHAPE[1]))
    rho = rng.uniform(-0.9, 0.9, SHAPE)
    rho[3, :3] = 1.0, -1.0, 0.9999
    c, det = rho * np.sqrt(q * qp), q * qp * (1 - rho) * (1 + rho)
    for name, (i, j) in itertools.product(
        ("gelu", "erf", "x^2*erf(x)"), ((0, 0), (1, 1), (2, 0), (2, 2), (3, 1), (1, 3))
    ):
        act = kc.activation(name) if name in kc.catalogue.ACTIVATIONS else kc.Activation(name)
        f, g = recognise(act.derivative(i)), recognise(act.derivative(j))
        together = closed.expectation(f, g, Covariance(q=q, qp=qp, c=c, det=det))
        every = np.broadcast_to(together.error, SHAPE)
        assert together.largest >= every.max() * (1 - 1e-12)
        for row in (0, 3, 17):
            alone = closed.expectation(f, g, Covariance(q=q[row], qp=qp[0], c=c[row], det=det[row]))
            value, error = np.broadcast_to(together.value, SHAPE)[row], alone.error + every[row]
            assert (np.abs(value - alone.value) <= error).all(), (name, i, j)
            assert error.max() < 1e-10
