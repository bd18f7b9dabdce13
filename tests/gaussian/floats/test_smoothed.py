"""What pairs of terms share, beside its formulas: powers, products, factors, angles and bounds of smoothed covariances."""

import math

import mpmath
import numpy as np
import pytest

from kernelcalc.gaussian.covariance import Covariance, determinant, make_covariance
from kernelcalc.gaussian.floats.smoothed import Smoothed
from kernelcalc.gaussian.floats.waves import SlowWaves, Waves

RNG = np.random.default_rng(6)
Q, QP = RNG.uniform(0.5, 3, size=(4, 1)), RNG.uniform(0.2, 2, size=(1, 5))
C = np.sqrt(Q * QP) * RNG.uniform(-0.95, 0.95, size=(4, 5))
COV = Covariance(q=Q, qp=QP, c=C, det=determinant(Q, QP, C))


def close(found, known):
    np.testing.assert_allclose(found, known, rtol=1e-13)


@pytest.mark.parametrize(("v", "vp", "sign"), [(0.0, 0.0, 1), (0.7, 0.3, 1), (0.0, 0.5, -1)])
def test_powers_and_products(v, vp, sign):
    """c^k r^p of Q = q + v, Q' = q' + v', r² = QQ' − c², in whatever order they are asked for."""
    q, qp, c = Q + v, QP + vp, sign * C
    r = np.sqrt(q * qp - c * c)
    asked = [
        (k, p) for k in range(5) for p in range(1, -8, -1) if (k, p) != (0, 0) and (p % 2 or k == 0 or p < 0 or p == 0)
    ]
    for order in (asked, asked[::-1]):
        one = Smoothed(COV, v, vp, sign)
        close(one.q, np.broadcast_to(q, one.q.shape))
        close(one.qp, qp)
        close(one.square, r * r)
        close(one.r, r)
        close(one.ratio, c / r)
        close(one.ratio_square, (c / r) ** 2)
        for k, p in order:
            if p < 0 and p % 2 == 0 and k == 0 and p != -2:
                continue
            close(one.product(k, p), c**k * r ** float(p))
        for exponent in (1, -1, -3, -7):
            close(one.power(exponent), r ** float(exponent))
        for exponent in (1, 2, 3, 6):
            close(one.c_power(exponent), c**exponent)
        assert one.product(0, 0) == 1.0
        core = ((1.0, 1, -1), (1.0, 3, -3), (-2.5, 0, 1))
        close(one.core(core), c / r + (c / r) ** 3 - 2.5 * r)
        close(one.core(((3.0, 2, -1),)), c**2 / r)


def test_factors_of_rows_and_columns():
    one = Smoothed(COV, 0.7, 0.3)
    for e, i, weight in (
        (0, 1, 1),
        (0, 2, -2.0),
        (1, 0, 1),
        (-1, 0, 3.0),
        (2, 0, 1),
        (-2, 3, 1),
        (-3, 2, 0.5),
        (4, 1, 2),
    ):
        for found, q, v in ((one.row_factor, Q, 0.7), (one.column_factor, QP, 0.3)):
            close(found(e, i, weight), weight * np.sqrt(q + v) ** e * q**i)
    factors = ((2.0, (1, 2), (-1, 0)), (-3.0, (0, 1), (3, 1)))
    known = 2 * np.sqrt(Q + 0.7) * Q**2 / np.sqrt(QP + 0.3) - 3 * Q * np.sqrt(QP + 0.3) ** 3 * QP
    close(one.factors(factors), known)


@pytest.mark.parametrize(("v", "vp"), [(0.0, 0.0), (0.7, 0.0), (0.7, 0.3)])
def test_bounds(v, vp):
    """Nothing lies outside of them; r² is at least vq' + v'q + vv', and where neither is smoothed its least."""
    one = Smoothed(COV, v, vp)
    (q, qp, square), (high, high_p, high_square, c) = one.ends
    close([q, qp, high, high_p, c], [Q.min() + v, QP.min() + vp, Q.max() + v, QP.max() + vp, np.abs(C).max()])
    r2 = (Q + v) * (QP + vp) - C * C
    close(square, v * QP.min() + vp * Q.min() + v * vp if v or vp else r2.min())
    assert square <= r2.min() * (1 + 1e-14)
    close(high_square, (Q.max() + v) * (QP.max() + vp))
    assert not one.degenerate
    assert one.scale == pytest.approx(math.log10(max(1, Q.max() + v, QP.max() + vp)), rel=1e-14)
    assert Smoothed(make_covariance(0.25, 0.5, 0.1), 0.0, 0.25).scale == 0
    line = make_covariance(np.array([1.0, 2.0]), 1.0, np.array([1.0, 0.5]))
    assert Smoothed(line, 0.0, 0.0).degenerate
    assert not Smoothed(line, 0.1, 0.0).degenerate


@np.errstate(invalid="ignore")
def test_angles():
    """atan2(c, r)/2π and what a quarter more is; r/2π + c times that, of angles down to 1e-7, by fifty digits."""
    q = np.array([1.0, 2.0, 1.0, 3.0, 0.0, 1.0])
    c = np.array([0.5, -1.2, 0.0, -3 * (1 - 1e-8), 0.0, -1 + 1e-14])
    qp = np.array([1.0, 1.5, 2.0, 3.0, 1.0, 1.0])
    one = Smoothed(make_covariance(q, qp, c), 0.0, 0.0)
    with mpmath.workdps(50):
        for i, (a, b, e) in enumerate(zip(q.tolist(), qp.tolist(), c.tolist(), strict=True)):
            e = mpmath.mpf(e)
            r = mpmath.sqrt(mpmath.mpf(a) * b - e**2)
            turn, opening = mpmath.atan2(e, r) / (2 * mpmath.pi), mpmath.atan2(r, -e) / (2 * mpmath.pi)
            if a == 0:
                turn, opening = mpmath.mpf(0), mpmath.mpf(1) / 4
            assert one.turn[i] == pytest.approx(float(turn), rel=2e-15, abs=0)
            assert one.opening[i] == pytest.approx(float(opening), rel=2e-15, abs=0)
            assert one.arch[i] == pytest.approx(float(r / (2 * mpmath.pi) + e * opening), rel=1e-13, abs=0)


@pytest.mark.parametrize("rates", [(1.0, 1.0), (0.5, 1.5), (1.5, 0.5), (12.0, 12.0), (12.0, 11.0)])
@pytest.mark.parametrize("kind", ["sin", "cos"])
def test_waves(rates, kind):
    """e^{−(w²q + w'²q')/2} sinh(ww'c), with cosh for cosines, by thirty digits; slow ones with one exponential a point too."""
    w, wp = rates
    with mpmath.workdps(30):
        known = np.empty(C.shape)
        for i, j in np.ndindex(C.shape):
            q, qp, c = (mpmath.mpf(float(value)) for value in (Q[i, 0], QP[0, j], C[i, j]))
            hyperbolic = (mpmath.sinh if kind == "sin" else mpmath.cosh)(w * wp * c)
            known[i, j] = float(mpmath.exp(-(w**2 * q + wp**2 * qp) / 2) * hyperbolic)
    largest = float(max(Q.max(), QP.max()))
    kinds = [Waves, SlowWaves] if max(rates) < 2 else [Waves]
    for waves in kinds:
        pair = waves.of(COV, rates, largest).pair(kind)
        assert pair.loss == 2 + 2 * (w**2 + wp**2) * largest
        assert pair.bounded == (waves is SlowWaves)
        off = np.abs(pair.value - known)
        sizes = np.abs(known) * pair.loss if waves is SlowWaves else pair.size
        assert (off <= 4 * np.finfo(float).eps * sizes).all()
        assert (off <= 2e-14 * np.abs(known) * max(1.0, w**2)).all()


def test_where_one_exponential_suffices():
    """Of many pairs, and of exponents up to four."""
    many = Covariance(q=np.ones((50, 1)), qp=np.ones((1, 50)), c=np.zeros((50, 50)), det=np.ones((50, 50)))
    for rates, largest, enough in (((1.0, 2.0), 1.0, True), ((2.0, 1.0), 1.01, False), ((1.0, 1.0), 4.0, True)):
        assert SlowWaves.suffice(many, rates, largest) is enough
        assert not SlowWaves.suffice(COV, rates, largest)


@pytest.mark.parametrize("rates", [(1.0, 1.0), (30.0, 30.0), (30.0, 20.0)])
def test_waves_of_points_without_a_variance(rates):
    """E[cos(wa) cos(w'b)] is e^{−w'²q'/2} where a is 0, and 1 where both are; sines vanish."""
    cov = make_covariance(np.zeros(2), np.array([0.0, 0.01]), np.zeros(2))
    waves = Waves.of(cov, rates, 0.01)
    close(waves.pair("cos").value, [1.0, math.exp(-(rates[1] ** 2) * 0.005)])
    assert (waves.pair("sin").value == 0).all()
