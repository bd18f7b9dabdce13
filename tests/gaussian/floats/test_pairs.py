"""Pairs of terms, one by one, with the bounds of their rounding: by an integral over one variable, or by hand."""

import dataclasses
import math

import mpmath
import numpy as np
import pytest
from scipy.special import ndtr

from kernelcalc.arrays import EPS
from kernelcalc.gaussian.covariance import make_covariance
from kernelcalc.gaussian.floats.closed import SharedPairs, expectation, never_cancels
from kernelcalc.gaussian.floats.kinds import Term
from kernelcalc.gaussian.floats.pairs import Pair

KINKS = (
    *(Term(kind=kind, order=order) for kind in "RK" for order in (0, 1)),
    *(Term(kind="R", order=order, variance=0.5) for order in range(6)),
    *(Term(kind="K", order=order, variance=2.0) for order in range(4)),
)
WAVES = tuple(Term(kind=kind, rate=rate) for kind in ("sin", "cos") for rate in (1.0, 2.5))
EXPONENTIALS = tuple(Term(kind="exp", rate=rate) for rate in (0.7, -1.2))
# q, q' and c: of both signs, equal, opposite, orthogonal, and points without variance
COVARIANCES = np.array(
    [
        (0.7, 0.4, 0.3),
        (0.7, 0.4, -0.5),
        (0.3, 0.8, 0.0),
        (0.5, 0.5, 0.5),
        (0.5, 0.5, -0.5),
        (2.0, 0.1, -0.2),
        (0.1, 3.0, 0.4),
        (0.0, 0.5, 0.0),
        (0.5, 0.0, 0.0),
        (0.0, 0.0, 0.0),
    ]
)


def pair(f, g, q, qp, c):
    return expectation({f: 1.0}, {g: 1.0}, make_covariance(q, qp, c))


def blurred(term, x, width):
    """E[F(x + √width Z)], by the definition of each kind."""
    if term.kind in ("R", "K"):
        v = term.variance + width
        u = np.divide(x, np.sqrt(v), out=np.where(x == 0, 0.0, np.copysign(np.inf, x)), where=v > 0)
        density = np.divide(np.exp(-(u**2) / 2), np.sqrt(2 * np.pi * v), out=np.zeros_like(u), where=v > 0)
        # dⁿ/dxⁿ of the density by Hermite polynomials
        hermite = np.polynomial.hermite_e.hermeval(u, [0] * max(term.order - 2, 0) + [1]) if term.order >= 2 else 0
        half = (x / 2, 0.5, 0.0)[min(term.order, 2)] if term.kind == "K" else 0.0
        if term.order == 0:
            return x * ndtr(u) + v * density - half
        if term.order == 1:
            return ndtr(u) - half
        return (-1) ** term.order * hermite * density / v ** ((term.order - 2) / 2)
    if term.kind == "one":
        return np.ones_like(x)
    if term.kind == "exp":
        return np.exp(term.rate * x + term.rate**2 * width / 2)
    return getattr(np, term.kind)(term.rate * x) * np.exp(-(term.rate**2) * width / 2)


def integral(f, g, q, qp, c):
    """E[f(a) E[g(b) | a]] on 16 panels of 40 nodes."""
    if q == 0:
        return float(blurred(f, np.zeros(1), 0.0)[0] * blurred(g, np.zeros(1), qp)[0])
    nodes, weights = np.polynomial.legendre.leggauss(40)
    edges = np.linspace(-12, 12, 17)
    z = ((nodes + 1) / 2 * 1.5 + edges[:-1, None]).ravel()
    weights = np.tile(weights * 0.75, 16) * np.exp(-z * z / 2) / math.sqrt(2 * np.pi)
    width = max(qp - c * c / q, 0.0)
    return float(np.sum(weights * blurred(f, math.sqrt(q) * z, 0.0) * blurred(g, c / math.sqrt(q) * z, width)))


def integrals(f, g, covariances, side=1):
    """At all covariances, with b → −b where ``side`` is −1."""
    return np.array([integral(f, g, q, qp, side * c) for q, qp, c in covariances])


def added(f, g, covariances, wanted):
    """What a formula adds up: K is the half difference of R and its mirror image, R₀R₀ may lose two digits."""
    right = f.kind == g.kind == "R"
    parts = [wanted]
    if f.kind != g.kind and max(f.order, g.order) < 2:
        f, g = (one._replace(kind="R") for one in (f, g))
        parts, right = [integrals(f, g, covariances) / 2, integrals(f, g, covariances, -1) / 2], True
    return sum(map(np.abs, parts)) * (50 if right and f.order == g.order == 0 else 1)


@pytest.mark.parametrize("g", KINKS, ids=lambda g: f"{g.kind}{g.order} of {g.variance}")
def test_kinks_against_an_integral(g):
    """Values, and errors that are a few dozen roundings of what is added, no more and no less."""
    for f in KINKS:
        # a step at a point without variance against relu is left to others
        step = any(one.order == 1 and one.variance == 0 for one in (f, g)) and f.order + g.order == 1
        given = COVARIANCES[:7] if step else COVARIANCES
        found, wanted = pair(f, g, *given.T), integrals(f, g, given)
        np.testing.assert_allclose(found.value, wanted, rtol=1e-13, atol=1e-14, err_msg=str(f))
        # derivatives of a density are those of R and of K alike
        apart = f.kind != g.kind and max(f.order, g.order) < 2
        # only these terms have both signs
        mixed = not apart and {f.order, g.order} == {0, 4}
        assert math.isinf(found.relative) == (apart or mixed)
        # the largest of several powers of r need not be at one place
        assert found.error.max() <= found.largest <= (1.5 if len(found.terms) > 1 else 1.1) * found.error.max()
        size = EPS * added(f, g, given, wanted)
        assert (found.error >= 20 * size - 1e-29).all()
        if {f.order, g.order} != {0, 4}:
            assert (found.error <= 40 * size + 1e-29).all()


def test_terms_of_both_signs():
    """E[R₀(a) R₄(b)] = (c²/r − r)/(2πQ'²), of which little is left where c² = r²."""
    f, g = Term(kind="R", variance=0.2), Term(kind="R", order=4, variance=0.1)
    q, qp = 0.8, 0.7
    c = np.array([math.sqrt(0.4) + k * 2.0**-53 for k in range(-20, 21)])
    found, turned = pair(f, g, q, qp, c), pair(g, f, qp, q, c)
    np.testing.assert_array_equal(found.value, turned.value)
    np.testing.assert_array_equal(found.error, turned.error)
    with mpmath.workdps(40):
        first, second = (mpmath.mpf(x) + mpmath.mpf(v) for x, v in ((q, 0.2), (qp, 0.1)))
        errors = []
        for value, at in zip(found.value, map(mpmath.mpf, c.tolist()), strict=True):
            r = mpmath.sqrt(first * second - at * at)
            errors.append(abs(mpmath.mpf(float(value)) - (at * at / r - r) / (2 * mpmath.pi * second**2)))
    assert max(errors) > 0.01 * EPS
    assert (np.array(errors, dtype=float) <= found.error).all()
    # each term is √0.4/(2π 0.8²)
    np.testing.assert_allclose(found.error / (2 * math.sqrt(0.4) / (2 * math.pi * 0.64)), 33 * EPS, rtol=0.2)
    assert found.error.max() <= found.largest <= 1.1 * found.error.max()


def delta(order=2):
    return Term(kind="R", order=order)


def test_deltas():
    """Derivatives of the density of (a, b) at 0, which end at points of a line; a step there is ½."""
    q, qp, c = 0.7, 0.4, 0.3
    r = math.sqrt(q * qp - c * c)
    cases = [
        (delta(), delta(), 1 / (2 * math.pi * r)),
        (delta(), delta(3), 0.0),
        (delta(3), delta(3), c / (2 * math.pi * r**3)),
        (delta(4), delta(), -qp / (2 * math.pi * r**3)),
        (delta(), delta(4), -q / (2 * math.pi * r**3)),
        (Term(kind="R", order=1), delta(), 0.5 / math.sqrt(2 * math.pi * qp)),
        (Term(kind="K", order=1), delta(), 0.0),
    ]
    for f, g, wanted in cases:
        assert pair(f, g, q, qp, c).value == pytest.approx(wanted, rel=1e-13, abs=1e-16)
    # at 0 and at c = ±√(qq') next to another pair
    line = pair(delta(), delta(), [0.5, 0.5, 0.7], [0.5, 0.5, 0.4], [0.5, -0.5, 0.3])
    assert np.isinf(line.value).tolist() == [True, True, False]
    assert line.largest == math.inf
    step, dipole = Term(kind="R", order=1), delta(3)
    np.testing.assert_allclose(
        pair(step, dipole, [0.0, 0.7], [0.4, 0.4], [0.0, 0.3]).value,
        [0.0, -1 / (2 * math.pi * 0.4 * r) * 0.3],
        rtol=1e-13,
    )


@pytest.mark.parametrize("swap", [False, True])
def test_powers_of_large_variances(swap):
    """E[R₂ R₄] = −q/(2πr³) by r⁻¹ and by c²r⁻³, whose factors are not trusted beyond 250 decades."""
    for q, qp, known in ((1e41, 1e41, True), (1e42, 1e42, False), (1e42, 1e10, False), (1e10, 1e42, False)):
        c = 0.5 * math.sqrt(q * qp)
        found = pair(delta(4), delta(), qp, q, c) if swap else pair(delta(), delta(4), q, qp, c)
        assert np.isfinite(found.error) == known
        if known:
            wanted = -q / (2 * math.pi * (math.sqrt(0.75 * q) * math.sqrt(qp)) ** 3)
            assert found.value == pytest.approx(wanted, rel=1e-13, abs=0)
            assert found.error < 1e-13 * abs(wanted)
        assert found.value.shape == found.error.shape == ()


@pytest.mark.parametrize("kind", ["sin", "cos"])
@pytest.mark.parametrize(("r", "s"), [(1.0, 1.0), (1.0, 2.5), (2.5, 1.0)])
def test_waves_against_their_exponentials(kind, r, s):
    """E[f(ra) f(sb)] = e^{−(r²q + s²q')/2} sinh or cosh of rsc; errors are those of the exponents, no more and no less."""
    f, g = (Term(kind=kind, rate=rate) for rate in (r, s))
    q, qp, c = np.array([*COVARIANCES, (30.0, 30.0, 29.0), (9.0, 4.0, -5.9), (2.0, 40.0, 8.9)]).T
    found = pair(f, g, q, qp, c)
    with mpmath.workdps(30):
        wave = mpmath.sinh if kind == "sin" else mpmath.cosh
        wanted = np.array(
            [
                float(mpmath.exp(-(r * r * a + s * s * b) / mpmath.mpf(2)) * wave(mpmath.mpf(r * s) * ab))
                for a, b, ab in zip(q, qp, c, strict=True)
            ]
        )
    np.testing.assert_allclose(found.value, wanted, rtol=1e-12, atol=0)
    # e^{−gap}, beside exponents that are added only where the rates differ
    gap = (r * r * q + s * s * qp) / 2 - r * s * np.abs(c)
    rounding = 33 * EPS * np.abs(wanted) * (2 + gap + (0 if r == s else r * r * q + s * s * qp))
    np.testing.assert_allclose(found.error, rounding, rtol=0.1, atol=0)
    # one bound for all
    loss = 2 + 2 * (r * r + s * s) * 40
    assert found.relative == pytest.approx(33 * EPS * loss, rel=0.1, abs=0)
    assert found.largest == pytest.approx(33 * EPS * loss * np.abs(wanted).max(), rel=0.1, abs=0)


def test_other_pairs_of_waves():
    q, qp, c = COVARIANCES.T
    sine, cosine, exponential = Term(kind="sin", rate=1.0), Term(kind="cos", rate=2.5), Term(kind="exp", rate=0.7)
    assert pair(sine, cosine, q, qp, c).value.tolist() == [0.0] * len(q)
    for other in (sine, cosine, exponential):
        for kink in KINKS:
            assert pair(kink, other, q, qp, c) is pair(other, kink, q, qp, c) is None


@pytest.mark.parametrize("g", [*WAVES, *EXPONENTIALS], ids=lambda g: f"{g.kind} {g.rate}")
@pytest.mark.parametrize("f", EXPONENTIALS, ids=lambda f: str(f.rate))
def test_exponentials(f, g):
    """Relative to the envelope of a wave, times the exponents."""
    given = np.array([*COVARIANCES, (2.0, 30.0, 7.0), (20.0, 3.0, -5.0)])
    q, qp, c = given.T
    left, right, cross = f.rate**2 * q / 2, g.rate**2 * qp / 2, f.rate * g.rate * c
    if g.kind == "exp":
        wanted = scale = np.exp(left + right + cross)
    else:
        scale = np.exp(left - right)
        wanted = scale * getattr(np, g.kind)(cross)
    rounding = 33 * EPS * scale * (1 + left + right + np.abs(cross))
    for found in (pair(f, g, q, qp, c), pair(g, f, qp, q, c)):
        assert (np.abs(found.value - wanted) <= 1e-13 * scale).all()
        np.testing.assert_allclose(found.error, rounding, rtol=0.1, atol=0)
        assert found.error.max() <= found.largest <= 1.1 * found.error.max()


@pytest.mark.parametrize("f", [*KINKS, *WAVES, *EXPONENTIALS, Term()], ids=lambda f: f"{f.kind}{f.order} {f.rate}")
def test_one_term_alone(f):
    """E[F(a) · 1], of a point without variance too."""
    q = np.array([0.7, 2.0, 0.1, 0.0])
    if f.variance == 0 and f.order >= 2:
        q = q[:3]
    nothing = np.zeros_like(q)
    wanted = [float(blurred(f, np.zeros(1), v)[0]) for v in q]
    for found in (pair(f, Term(), q, 1.0, nothing), pair(Term(), f, 1.0, q, nothing)):
        np.testing.assert_allclose(found.value, wanted, rtol=1e-13, atol=1e-16)
        assert (found.error <= 40 * EPS * (2 + 2 * f.rate**2 * q) * np.abs(wanted)).all()


# Sums ----------------------------------------------------------------------------------------------------------------

SUMS = [
    {Term(kind="R"): 1.0},
    {Term(kind="R"): -1.0, Term(): 1.0},
    {Term(kind="K", order=1, variance=2.0): 2.0, Term(): -1.0, Term(power=1): 0.5},
    {Term(power=1, kind="R", order=1, variance=0.05): -1.0},
    {Term(power=1, kind="K", order=1, variance=0.5): 1.0, Term(power=2): -0.3},
    {Term(power=2, kind="K", order=1): 1.0, Term(kind="R"): 1.0},
]


def panels(edges):
    """Nodes and weights between edges, along a last axis."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    width = np.diff(edges)[..., None]
    at = edges[..., :-1, None] + width * (nodes + 1) / 2
    return tuple(v.reshape(*v.shape[:-2], -1) for v in (at, width / 2 * weights))


def plane(f, g, q, qp, c):
    """E[f(a) g(b)] and E|f(a) g(b)| on the plane, with an edge where b = 0."""
    z, w = panels(np.linspace(-12, 12, 17))
    slope, spread = c / math.sqrt(q), math.sqrt(qp - c * c / q)
    kink = np.clip(-slope * z / spread, -12, 12)[:, None]
    lower, upper = (np.linspace(0, 1, 7) * (end - kink) + kink for end in (-12, 12))
    t, v = panels(np.concatenate([lower[:, ::-1], upper], axis=1))
    left, right = (
        sum(weight * x**term.power * blurred(term, x, 0.0) for term, weight in combination.items())
        for combination, x in ((f, math.sqrt(q) * z), (g, slope * z[:, None] + spread * t))
    )
    shares = w[:, None] * v * np.exp(-(z[:, None] ** 2 + t**2) / 2) / (2 * np.pi) * left[:, None] * right
    return float(shares.sum()), float(np.abs(shares).sum())


@pytest.mark.parametrize("f", SUMS, ids=range(len(SUMS)))
def test_sums_against_the_plane(f):
    """With what is computed once for all of them, which none of them changes."""
    covariances = np.array([(0.7, 0.4, 0.3), (0.3, 1.8, -0.5), (0.06, 0.9, 0.1)])
    cov = make_covariance(*covariances.T)
    shared = SharedPairs(cov)
    for g in SUMS:
        first = expectation(f, g, cov, shared)
        wanted, size = np.array([plane(f, g, *one) for one in covariances]).T
        np.testing.assert_allclose(first.value, wanted, rtol=0, atol=4e-14 * size.max())
        assert (first.error >= 20 * EPS * np.abs(wanted)).all()
        assert (first.error <= 4000 * EPS * size.max()).all()
        assert first.largest >= first.error.max()
    for g in SUMS:
        again, alone = expectation(f, g, cov, shared), expectation(f, g, cov)
        np.testing.assert_array_equal(again.value, alone.value)
        np.testing.assert_array_equal(again.error, alone.error)


def test_rows_and_columns():
    """q and q' may be a column and a row of the block."""
    q, qp = np.array([[0.7], [0.3], [2.0]]), np.array([0.4, 1.5])
    c = np.array([[0.3, -0.2], [0.1, 0.0], [-0.5, 0.9]])
    block = make_covariance(q, qp, c)
    thin = dataclasses.replace(block, q=q, qp=qp)
    for f in (*SUMS, {Term(): 2.0}, {Term(power=1): 1.0}, {Term(power=1): -1.0, Term(power=2): 1.0, Term(): 3.0}):
        for g in (SUMS[0], SUMS[4], {Term(): 1.0}):
            found, wanted = expectation(f, g, thin), expectation(f, g, block)
            # regrouped alike: both have the same least variance
            np.testing.assert_allclose(np.broadcast_to(found.value, c.shape), wanted.value, rtol=1e-15)
            np.testing.assert_allclose(np.broadcast_to(found.error, c.shape), wanted.error, rtol=1e-14)


def test_polynomials():
    """E[(a² + 1)(b² + 1)] = qq' + 2c² + q + q' + 1 and E[(a + 1)(b + 1)] = c + 1, errors by the sizes of the terms."""
    q, qp, c = np.array([0.7, 0.2, 0.5]), np.array([0.4, 1.5, 0.5]), np.array([0.3, -0.5, 0.1])
    square, line = {Term(power=2): 1.0, Term(): 1.0}, {Term(power=1): 1.0, Term(): 1.0}
    found = expectation(square, square, make_covariance(q, qp, c))
    np.testing.assert_allclose(found.value, q * qp + 2 * c**2 + q + qp + 1, rtol=1e-15)
    np.testing.assert_allclose(found.error, 33 * EPS * found.value, rtol=0.1)
    assert found.largest == pytest.approx(33 * EPS * (0.7 * 1.5 + 0.5 + 0.7 + 1.5 + 1), rel=0.1, abs=0)
    found = expectation(line, line, make_covariance(q, qp, c))
    np.testing.assert_allclose(found.value, c + 1, rtol=1e-15)
    np.testing.assert_allclose(found.error, 33 * EPS * (np.abs(c) + 1), rtol=0.1)
    assert found.largest == pytest.approx(33 * EPS * 1.5, rel=0.1, abs=0)
    assert math.isinf(found.relative)
    # a product alone is relative to itself, here of one sign
    found = expectation({Term(power=1): 2.0}, {Term(power=1): -1.0}, make_covariance(q, qp, c))
    np.testing.assert_array_equal(found.value, -2 * c)
    assert found.relative == pytest.approx(33 * EPS, rel=0.1, abs=0)
    np.testing.assert_allclose(found.error, 66 * EPS * np.abs(c), rtol=0.1)
    with np.errstate(all="raise"):
        high = {Term(power=6): 1.0}
        found = expectation(high, high, make_covariance(1e80, 1e80, [0.0, 1.0]))
        assert found.largest == math.inf
        assert not np.isfinite(found.error).any()


def test_no_terms():
    found = expectation({}, {Term(kind="R"): 1.0}, make_covariance([1.0, 2.0], 1.0, 0.5))
    assert found.value.tolist() == found.error.tolist() == [0.0, 0.0]
    assert found.largest == 0.0


def test_extremes_of_a_block():
    shared = SharedPairs(make_covariance([0.9, 0.25, 4.0], [0.5, 1.0, 3.0], [-0.6, -0.1, 0.2]))
    assert shared.least == 0.25
    assert shared.largest == (4.0, 3.0, 0.6)
    assert shared.reach == pytest.approx(0.6 / math.sqrt(0.45))
    turned = SharedPairs(make_covariance([0.9, 1.0], [0.1, 0.2], [0.2, -0.1]))
    assert turned.least == 0.1
    assert turned.largest[2] == 0.2
    assert turned.reach == pytest.approx(0.2 / 0.3)


def test_sums_that_never_cancel():
    """x R₁ is two terms with a power before a smoothed kink, at small variances."""
    relu, gelu = ((Term(kind="R"), 1.0),), ((Term(power=1, kind="R", order=1, variance=4.0), 1.0),)
    assert never_cancels(relu, ((Term(kind="R", order=2, variance=4.0), -3.0),))
    assert never_cancels(((Term(power=1), 1.0),), ((Term(power=1), 1.0),))
    assert not never_cancels(relu, gelu)
    assert not never_cancels(gelu, ((Term(), 1.0),))
    assert not never_cancels(((Term(power=1), 1.0), (Term(), 1.0)), ((Term(power=1), 1.0), (Term(), 1.0)))


@pytest.mark.parametrize(
    ("given", "sizes", "largest"),
    [
        ({}, [1, 3], 3),
        ({"loss": 2.0}, [2, 6], 6),
        # pair by pair, and a bound of all
        ({"loss": 4.0, "finer": lambda: np.array([1.0, 2.0])}, [1, 6], 12),
        ({"magnitude": np.array([7.0, 5.0])}, [7, 5], 7),
        ({"apart": lambda: np.array([9.0, 8.0])}, [9, 8], 9),
        ({"apart": lambda: np.array([9.0, 8.0]), "limit": 11.0}, [9, 8], 11),
        ({"apart": lambda: np.array([9.0, np.nan])}, [9, np.nan], math.inf),
        ({"magnitude": np.array([np.inf, 5.0])}, [np.inf, 5], math.inf),
    ],
)
def test_what_rounding_is_relative_to(given, sizes, largest):
    found = Pair(value=np.array([1.0, -3.0]), **given)
    np.testing.assert_array_equal(found.size, sizes)
    assert found.largest == largest
    assert not found.bounded
