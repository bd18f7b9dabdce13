"""Powers removed by Stein's lemma beside double sums of Gauss and Hermite."""

import math

import numpy as np
import pytest

from kernelcalc.gaussian.floats.kinds import Term
from kernelcalc.gaussian.floats.stein import evaluate, reduced, regrouped, sizes

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / math.sqrt(2 * math.pi)
Q, QP, C = 0.7, 1.3, -0.4


def values(term, x):
    """x^p times e^{γx}, sin, cos or a derivative of relu smoothed by N(0, v)."""
    if term.kind == "R":
        std = math.sqrt(term.variance)
        density = np.exp(-(x**2) / (2 * term.variance)) / (std * math.sqrt(2 * math.pi))
        step = (1 + np.array([math.erf(v / std / math.sqrt(2)) for v in np.ravel(x)]).reshape(np.shape(x))) / 2
        if term.order < 2:
            return x**term.power * (step if term.order else x * step + term.variance * density)
        hermite = np.polynomial.hermite_e.hermeval(x / std, [0] * (term.order - 2) + [1])
        return x**term.power * (-1 / std) ** (term.order - 2) * hermite * density
    inner = {"one": np.ones_like, "exp": np.exp, "sin": np.sin, "cos": np.cos}[term.kind]
    return x**term.power * inner(term.rate * x)


def brute(f, g):
    """E of two sums of terms."""
    a = math.sqrt(Q) * NODES[:, None] + 0 * NODES
    b = C / Q * a + math.sqrt(QP - C**2 / Q) * NODES
    first, second = (sum(weight * values(term, v) for term, weight in one) for one, v in ((f, a), (g, b)))
    return float(WEIGHTS @ (first * second) @ WEIGHTS)


WIDE = {"kind": "R", "variance": 4.0}
SUMS = {
    "polynomials": (((Term(power=3), 2.0), (Term(power=1), -1.0)), ((Term(power=4), 0.5), (Term(power=1), 3.0))),
    "waves": (
        ((Term(power=2, kind="sin", rate=0.8), 1.5), (Term(kind="cos", rate=0.8), -1.0)),
        ((Term(power=1, kind="exp", rate=0.5), 2.0), (Term(power=3), 1.0)),
    ),
    "gates": (((Term(power=2, order=1, **WIDE), 1.0),), ((Term(power=1, order=0, **WIDE), -2.0), (Term(), 1.0))),
}


@pytest.mark.parametrize("name", SUMS)
def test_what_is_left_has_no_powers_and_the_same_mean(name):
    f, g = SUMS[name]
    found = reduced(f, g)
    assert all(a.power == b.power == 0 for a, b, _ in found)
    total = sum(evaluate(polynomial, Q, QP, C) * brute([(a, 1.0)], [(b, 1.0)]) for a, b, polynomial in found)
    assert total == pytest.approx(brute(f, g), rel=1e-10)
    turned = reduced(g, f)
    assert all(a.power == b.power == 0 for a, b, _ in turned)
    total = sum(evaluate(polynomial, QP, Q, C) * brute([(a, 1.0)], [(b, 1.0)]) for b, a, polynomial in turned)
    assert total == pytest.approx(brute(f, g), rel=1e-10)


def test_moments_are_polynomials_by_isserlis():
    """E[a³ b] = 3 q c, E[a² b²] = q q' + 2 c²; what cancels is left out."""
    assert reduced(((Term(power=3), 1.0),), ((Term(power=1), 1.0),)) == ((Term(), Term(), {(1, 0, 1): 3.0}),)
    ((_, _, square),) = reduced(((Term(power=2), 1.0),), ((Term(power=2), 1.0),))
    assert square == {(1, 1, 0): 1.0, (0, 0, 2): 2.0}
    assert reduced(((Term(power=1), 1.0), (Term(power=1), -1.0)), ((Term(power=1), 1.0),)) == ()
    assert reduced(((Term(power=1), 1.0),), ((Term(), 1.0),)) == ()


def test_regrouping_where_no_variance_is_below():
    """x R_1 = R_0 − v R_2, and what is no such term stays as it is."""
    gate, rest = Term(power=1, order=1, **WIDE), Term(power=2, order=1, **WIDE)
    found = regrouped({gate: 3.0, rest: 5.0, Term(order=0, **WIDE): 1.0}, 4.0)
    assert dict(found) == {Term(order=0, **WIDE): 4.0, Term(order=2, **WIDE): -12.0, rest: 5.0}
    x = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(sum(w * values(t, x) for t, w in regrouped({gate: 3.0}, 4.0)), 3 * values(gate, x))
    assert dict(regrouped({gate: 3.0}, 3.9)) == {gate: 3.0}
    kink = Term(power=1, kind="R", order=1)
    assert dict(regrouped({kink: 3.0}, 4.0)) == {kink: 3.0}
    absolute = Term(power=1, kind="K", order=1, variance=2.0)
    assert set(dict(regrouped({absolute: 1.0}, 4.0))) == {
        absolute._replace(power=0, order=0),
        absolute._replace(power=0, order=2),
    }
    wave = Term(power=1, kind="sin", order=1, rate=2.0, variance=1.0)
    assert dict(regrouped({wave: 1.0, gate._replace(order=2): 2.0}, 4.0)) == {wave: 1.0, gate._replace(order=2): 2.0}


def test_polynomials_of_numbers_and_arrays():
    polynomial = {(0, 0, 0): 2.0, (1, 2, 0): -3.0, (2, 0, 1): 0.5, (0, 0, 3): 4.0, (0, 1, 3): -1.0}

    def term_by_term(q, qp, c):
        return sum(w * q**i * qp**j * c**k for (i, j, k), w in polynomial.items())

    assert evaluate(polynomial, 1.5, 0.7, -0.3) == pytest.approx(term_by_term(1.5, 0.7, -0.3))
    q, qp = np.array([[0.5], [2.0]]), np.array([[1.0, 3.0, 0.2]])
    c = np.linspace(-1, 1, 6).reshape(2, 3)
    np.testing.assert_allclose(evaluate(polynomial, q, qp, c), term_by_term(q, qp, c))
    # no array where there is nothing to multiply
    assert isinstance(evaluate({(0, 0, 0): 2.0}, q, qp, c), float)
    assert evaluate({(1, 0, 0): 2.0}, q, qp, c).shape == (2, 1)
    np.testing.assert_allclose(evaluate({(0, 0, 1): 1.0, (0, 0, 0): -1.0}, q, qp, c), c - 1)
    assert sizes(polynomial) == {key: abs(weight) for key, weight in polynomial.items()}
