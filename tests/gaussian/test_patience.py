"""No expectation takes more than ten seconds without a word that says what is faster."""

import math
import warnings

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc import patience
from kernelcalc.activations.activation import Activation
from kernelcalc.errors import PrecisionWarning, SlowMethodWarning
from kernelcalc.gaussian.covariance import make_covariance
from kernelcalc.gaussian.floats.nested import nested


@pytest.fixture
def impatient(monkeypatch):
    """A limit of no seconds at all."""
    monkeypatch.setattr(patience, "PATIENCE", 0.0)


@pytest.mark.parametrize(
    ("f", "g", "q", "rho"),
    [
        ("max(tanh(x-1),0)", "max(tanh(x-1),0)", 1.0, 0.99),
        ("where(x>1,sin(x),0)", "abs(tanh(x)-0.5)", 4.0, -0.999),
        ("where(x>1,1/x,0)", "max(arctan(x),0.2)", 0.25, 0.998),
    ],
)
def test_nested_panels_say_how_long_they_take(impatient, f, g, q, rho):
    with pytest.warns(SlowMethodWarning, match=r"nested panels: some \d+ s on one core; wider features"):
        kc.gaussian_expectation(f, g, q, 1.0, rho * math.sqrt(q))


def test_a_short_wait_needs_no_word():
    kc.gaussian_expectation("max(tanh(x-1),0)", "max(tanh(x-1),0)", 1.0, 1.0, 0.99)


def test_the_word_comes_once_and_with_the_time_of_the_whole(monkeypatch):
    clock = iter([100.0, 100.9, 102.0, 130.0])
    monkeypatch.setattr(patience.time, "thread_time", lambda: next(clock))
    one = patience.Patience("all of it", "less is faster")
    one.done(0.01)
    with pytest.warns(SlowMethodWarning, match="all of it: some 20 s on one core; less is faster"):
        one.done(0.1)
    one.done(0.5)


def test_ten_seconds_need_no_word(monkeypatch):
    """Of the whole, a tenth or a fifth of which took a second or two; nothing is foretold within the first second."""
    for spent, part, said in ((1.9, 0.2, 0), (2.1, 0.2, 1), (1.05, 0.1, 1), (0.95, 0.01, 0)):
        clock = iter([100.0, 100.0 + spent])
        monkeypatch.setattr(patience.time, "thread_time", lambda clock=clock: next(clock))
        one = patience.Patience("all of it", "less is faster")
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            one.done(part)
        assert len(found) == said


def test_what_was_in_vain_foretells_nothing(monkeypatch):
    clock = iter([100.0, 104.0, 106.0, 108.5])
    monkeypatch.setattr(patience.time, "thread_time", lambda: next(clock))
    one = patience.Patience("all of it", "less is faster")
    one.again()
    one.done(0.4)
    with pytest.warns(SlowMethodWarning, match="some 13 s"):
        one.done(0.5)


def logistic(x):
    return np.exp(-np.logaddexp(0.0, -x))


def graded(places, width, low, high):
    """Twelve nodes a panel, panels halved towards the places down to the width."""
    steps = 2.0 ** np.arange(np.floor(np.log2(width)), 3)
    edges = np.concatenate([np.arange(low, high), [high], *[np.r_[p - steps, p, p + steps] for p in places]])
    edges = np.unique(np.clip(edges, low, high))
    at, weight = np.polynomial.legendre.leggauss(12)
    half = np.diff(edges)[:, None] / 2
    return ((edges[1:] + edges[:-1])[:, None] / 2 + half * at).ravel(), (half * weight).ravel()


def brute(f, g, q, qp, rho):
    """E[f(a)g(b)] on panels split at places given by hand, of unit variances."""
    (f, f_places, f_width), (g, g_places, g_width) = f, g
    (a, a_weight), (b, b_weight) = (
        graded(f_places, f_width, -16 * q**0.5, 16 * q**0.5),
        graded(g_places, g_width, -32, 32),
    )
    det = q * qp * (1 - rho**2)
    c, right, total = rho * (q * qp) ** 0.5, g(b) * b_weight, 0.0
    for part in np.array_split(np.arange(a.size), 64):
        one = a[part, None]
        density = np.exp(-((b - c / q * one) ** 2) * q / (2 * det) - one**2 / (2 * q)) / (2 * np.pi * det**0.5)
        total += float((f(a[part]) * a_weight[part]) @ (density @ right))
    return total


TURNS = [s * math.acos(0.852) / 2 + k * math.pi for k in range(-4, 5) for s in (-1, 1)]
STEP = lambda x: logistic(3418.9 * (x**2 - 23.8)), [-(23.8**0.5), 23.8**0.5], 1e-5
BEATS = lambda x: np.tanh(788.75 * (np.cos(2 * x) - 0.852)), TURNS, 1e-4
SPIKE = lambda x: 1 - np.tanh(2729.6 * (logistic(x) - 0.809)) ** 2, [math.log(0.809 / 0.191)], 1e-4
RAMP = lambda x: np.logaddexp(0.0, 693525 * (np.abs(x) - 1.153)), [-1.153, 1.153], 1e-8
BELL = lambda x: np.exp(-np.logaddexp(30 * (x - 1), -30 * (x - 1)) + math.log(2)), [1.0], 0.01
FAR = lambda x: np.where(x > 12, 1.0, 0.0), [12.0], 0.1


@pytest.mark.parametrize(
    ("texts", "f", "g", "q", "qp", "rho"),
    [
        (("sigmoid(3418.9*(x^2-23.8))", "tanh(788.75*(cos(2*x)-0.852))"), STEP, BEATS, 1.0, 1.0, 0.3),
        (("1-tanh(2729.6*(sigmoid(x)-0.809))^2", "softplus(693525*(abs(x)-1.153))"), SPIKE, RAMP, 1.0, 1.0, 0.3),
        (("where(x>12,1,0)", "1/cosh(30*(x-1))"), FAR, BELL, 1.0, 1.0, 0.1),
    ],
)
def test_the_features_of_both_functions_add_up(monkeypatch, texts, f, g, q, qp, rho):
    """Their products are from 10⁹ values on; the value is that of panels split by hand."""
    count, values = [0], Activation.__call__

    def counted(self, at, **options):
        count[0] += np.size(at)
        return values(self, at, **options)

    monkeypatch.setattr(Activation, "__call__", counted)
    cov = make_covariance(np.array([q]), np.array([qp]), np.array([rho * (q * qp) ** 0.5]))
    found = nested(kc.activation(texts[0]), kc.activation(texts[1]), cov)
    exact = brute(f, g, q, qp, rho)
    assert abs(found.value[0] - exact) <= found.error[0] + 1e-12 * abs(exact)
    assert found.error[0] < 1e-8 * found.magnitude[0]
    assert count[0] < 5e7


@pytest.mark.parametrize(("w", "a"), [(5126.0, 0.727), (22980.0, 0.367758), (900.0, 3.5)])
def test_exponentials_of_logarithms_are_no_sums_to_a_high_power(w, a):
    """e^{−w|softplus − a|} is (1 + e^x)^{±w} beside its kink, which no method multiplies out. By t = w (softplus − a)."""

    def height(t):
        value = a + t / w
        place = mpmath.log(mpmath.expm1(value))
        return mpmath.exp(-abs(t)) * mpmath.npdf(place) / (w * (1 - mpmath.exp(-value)))

    found = kc.gaussian_expectation(f"exp(-abs({w}*(softplus(x) - {a})))", "1", 1, 1, 0, full_output=True)
    with mpmath.workdps(25):
        right = float(mpmath.quad(height, [-60, -15, -4, 0, 4, 15, 60]))
    assert abs(found.value - right) <= found.error + 2e-16 * w * right
    assert found.error < 1e-10 * right


@pytest.mark.parametrize(("w", "a", "rho"), [(9000.0, 0.3, 0.5), (9000.0, 0.3, 0.0), (20000.0, 0.7, -0.7)])
def test_exponentials_of_logarithms_of_polynomials_are_no_huge_powers(w, a, rho):
    """e^{−w|log(1 + x²) − a|} is (1 + x²)^{±w} beside its kinks, which overflows. By t = w (log(1 + x²) − a) on each side."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.array([0.0, 1, 2, 4, 8, 16, 32, 64])
    edges = np.concatenate([-edges[:0:-1], edges])
    t = ((edges[1:] + edges[:-1])[:, None] + np.diff(edges)[:, None] * nodes).ravel() / 2
    place = np.sqrt(np.expm1(a + t / w))
    weight = (np.diff(edges)[:, None] / 2 * weights).ravel() * np.exp(-abs(t)) * (1 + place**2) / (2 * place * w)
    square, products = place**2, np.multiply.outer(place, place)
    right = sum(
        weight
        @ np.exp(-(np.add.outer(square, square) - 2 * sign * rho * products) / (2 * (1 - rho**2)))
        @ weight
        * (2 / (2 * np.pi * np.sqrt(1 - rho**2)))
        for sign in (1, -1)
    )
    text = f"exp(-abs({w}*(log(1 + x^2) - {a})))"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        found = kc.gaussian_expectation(text, text, 1, 1, rho, full_output=True)
    assert abs(found.value - right) <= found.error + 2e-16 * w * right
    assert found.error < 1e-5 * right
