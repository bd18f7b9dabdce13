"""The lattice against enclosures with more digits, closed forms and itself at other settings."""

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.errors import PrecisionError
from kernelcalc.expressions.exact import evaluate
from kernelcalc.gaussian.digits import lattice
from kernelcalc.gaussian.digits.fixed_point import fixed, fourier, gaussian_weights, number
from kernelcalc.gaussian.digits.lattice import lattice_expectations

ORDERS = ((0, 0), (1, 1), (2, 2), (2, 0), (0, 2), (3, 1), (1, 3))


def layer(name, q, qp, c, dps, pairs=ORDERS):
    act = kc.activation(name)
    expressions = tuple(act.derivative(k).form.pieces[0] for k in range(4))
    with mp.workdps(dps + 20):
        return lattice_expectations(expressions, expressions, mp.mpf(q), mp.mpf(qp), mp.mpf(c), pairs, dps)


@pytest.mark.parametrize(
    ("name", "q", "qp", "c"),
    [
        ("tanh", 1, 2, 0.5),
        ("tanh", 4, 2, -1),
        ("softplus", 1, 1, 1),
        ("silu", 0.001, 0.002, 0.0005),
        ("arctan", 1, 1, 1),
        ("sigmoid", 2, 2, -2),
        pytest.param("mish", 1, 2, 0.5, marks=pytest.mark.long),
    ],
)
def test_fifty_digits_of_all_orders_against_enclosures_with_sixty(name, q, qp, c):
    pytest.importorskip("flint")
    act = kc.activation(name)
    values = layer(name, q, qp, c, 50)
    for i, j in ((0, 0), (3, 1)):
        value = values[i, j]
        ball = kc.gaussian_expectation(act.derivative(i), act.derivative(j), q, qp, c, certified=True, dps=60)
        with mp.workdps(100):
            middle = mp.mpf(ball.mid().str(90, radius=False))
            assert abs(value - middle) < abs(middle) * mp.mpf(10) ** -50, (i, j)


@pytest.mark.parametrize("rho", ["0", "1e-30", "0.2", "0.31", "-0.9", "0.99999999999", "-1", "1"])
def test_closed_forms_at_every_correlation(rho):
    """Functions of the exact algebra through the lattice: all branches of the rule."""
    with mp.workdps(80):
        q, qp = mp.mpf("0.7"), mp.mpf("0.7")
        c = mp.mpf(rho) * q
        for name in ("gelu", "erf"):
            act = kc.activation(name)
            for (i, j), value in layer(name, q, qp, c, 40).items():
                exact = evaluate(act.expr, act.expr, q, qp, c, 50, orders=(i, j))
                assert abs(value - exact) <= abs(exact) * mp.mpf(10) ** -40, (name, i, j)


def test_more_digits():
    """E[sech² a] at q = 1 by the trapezoidal rule in plain mpmath numbers."""
    value = layer("tanh", 1, 1, 1, 120, ((1, 1),))[1, 1]
    with mp.workdps(140):
        h = mp.mpf(1) / 60
        exact = h * mp.fsum(mp.sech(k * h) ** 4 * mp.npdf(k * h) for k in range(-1600, 1601))
        assert abs(value - exact) < mp.mpf(10) ** -120


def test_fast_growth_wants_a_wider_box():
    """E[e^{a²/8} sinh(3a) e^{b²/8} sinh(3b)] at q = q' = c = 1: a tilted Gaussian of variance 2."""
    x = lattice.x
    grows = (sp.exp(x**2 / 8) * sp.sinh(3 * x),)
    with mp.workdps(60):
        value = lattice_expectations(grows, grows, mp.mpf(1), mp.mpf(1), mp.mpf(1), [(0, 0)], 40)[0, 0]
        # E[e^{Z²/4} sinh² 3Z] = √2 E[sinh²(3√2 Z)] = √2 (e^{36} − 1)/2.
        exact = mp.sqrt(2) * (mp.exp(36) - 1) / 2
        assert abs(value - exact) < exact * mp.mpf(10) ** -40


def test_digits_that_cancel_are_made_up():
    """E[x² x³ + tiny] with odd and even parts fifteen decades apart."""
    x = lattice.x
    f, g = (sp.tanh(x) + sp.Rational(1, 10**30),), (sp.sech(x),)
    with mp.workdps(80):
        value = lattice_expectations(f, g, mp.mpf(1), mp.mpf(1), mp.mpf("0.5"), [(0, 0)], 40)[0, 0]
        mean = lattice_expectations((sp.S.One,), g, mp.mpf(1), mp.mpf(1), mp.mpf("0.5"), [(0, 0)], 50)[0, 0]
        assert abs(value * 10**30 - mean) < mean * mp.mpf(10) ** -39
        odd = lattice_expectations((sp.tanh(x),), g, mp.mpf(1), mp.mpf(1), mp.mpf("0.5"), [(0, 0)], 40)[0, 0]
        assert odd == 0


@pytest.fixture
def calls(monkeypatch):
    """One entry for each place where functions are evaluated."""
    calls = []
    together = lattice._together

    def counted(expressions):
        inner = together(expressions)
        return lambda at: calls.append(1) or inner(at)

    monkeypatch.setattr(lattice, "_together", counted)
    return calls


def test_values_serve_every_covariance_of_a_variance(calls):
    lattice._samples.cache_clear()
    layer("tanh", 1, 1, 1, 30)
    once = len(calls)
    layer("tanh", 1, 1, 0.25, 30)
    layer("tanh", 1, 1, -0.9375, 30)
    assert len(calls) <= 2 * once
    lattice._samples.cache_clear()


def test_lattice_that_is_too_coarse_is_refused(monkeypatch):
    monkeypatch.setattr(lattice, "MAX_POINTS", 2**8)
    with pytest.raises(PrecisionError, match="lattice points"):
        layer("tanh", 400, 400, 100, 30)


def test_fixed_point_transform_and_weights():
    rng = np.random.default_rng(3)
    z = rng.normal(size=16) + 1j * rng.normal(size=16)
    real, imag = (np.array([fixed(mp.mpf(float(v)), 80) for v in part], dtype=object) for part in (z.real, z.imag))
    x, y = fourier(real, imag, 80)
    got = np.array([complex(number(a, 80), number(b, 80)) for a, b in zip(x, y, strict=True)])
    np.testing.assert_allclose(got, np.fft.fft(z), rtol=1e-14, atol=1e-14)
    with mp.workdps(40):
        weights = gaussian_weights(mp.mpf("0.01"), 60, 120)
        assert abs(number(weights[59], 120) - mp.exp(-mp.mpf("0.01") * 59**2)) < mp.mpf(2) ** -115


# The parts of the rule ----------------------------------------------------------------------------------------------------

X = lattice.x


def samples(expression, q, bits=120, reach=14.0):
    with mp.workprec(bits + 40):
        return lattice.Samples((expression,), mp.mpf(q), bits, reach)


def test_samples_are_the_functions_and_halving_keeps_what_is_there(calls):
    with mp.workprec(200):
        one = lattice.Samples((sp.tanh(X), sp.cos(X) + 1), mp.mpf(3) / 7, 120, 9.0)
        # the widest that a Gaussian allows: the next power of two leaves more than 2^−bits of it
        for bits in (60, 120, 300):
            h = samples(sp.tanh(X), 1, bits).spacing
            assert mp.exp(-2 * mp.pi**2 / h**2) <= mp.mpf(2) ** -bits < mp.exp(-2 * mp.pi**2 / (2 * h) ** 2)
        h = one.spacing
        coarse = one.at(h)
        n = int(9 / h)
        assert len(calls) == 2 * n + 1
        quarter = one.at(h / 4)
        m = int(9 / (h / 4))
        assert len(calls) == 2 * m + 1
        assert len(coarse[0]) == 2 * n + 1
        assert len(quarter[0]) == 2 * m + 1
        std = mp.sqrt(mp.mpf(3) / 7)
        for values, function in zip(quarter, (mp.tanh, lambda v: mp.cos(v) + 1), strict=True):
            for k in (-m, -m + 1, -7, 0, 1, 2, m - 1, m):
                assert abs(number(values[k + m], 120) - function(std * k * h / 4)) <= mp.mpf(2) ** -120
        assert (quarter[0][m - 4 * n : m + 4 * n + 1 : 4] == coarse[0]).all()
    assert one.at(h) is coarse


def double_sum(f, g, q, qp, rho, h, n):
    """The lattice sum term by term; a single one on |ρ| = 1."""
    if abs(rho) == 1:
        return h * mp.fsum(
            f(mp.sqrt(q) * k * h) * g(mp.sqrt(qp) * rho * k * h) * mp.npdf(k * h) for k in range(-n, n + 1)
        )
    t = 1 - rho**2
    left, right = ([function(mp.sqrt(v) * k * h) for k in range(-n, n + 1)] for function, v in ((f, q), (g, qp)))
    total = mp.fsum(
        left[k + n] * right[m + n] * mp.exp(-(h**2) * (k * k + m * m - 2 * rho * k * m) / (2 * t))
        for k in range(-n, n + 1)
        for m in range(-n, n + 1)
    )
    return h**2 * total / (2 * mp.pi * mp.sqrt(t))


@pytest.mark.parametrize("rho", ["0", "0.2", "-0.25", "0.3", "0.6", "-0.7", "1", "-1"])
def test_sums_norms_and_noise(rho):
    """By the transform as term by term; √E f² and √E g² of the noise are above 1 for one function and below for the other."""
    bits = 60
    with mp.workprec(120):
        q, qp, rho = mp.mpf(2), mp.mpf(1) / 2, mp.mpf(rho)
        c = rho * mp.sqrt(q * qp)
        first = samples(10 * sp.tanh(X) + 3, q, bits, 12.0)
        second = samples(sp.cos(X) / 4 + X / 9, qp, bits, 12.0)
        rule = lattice._Rule(first, second, q, qp, c, [(0, 0)])
        h = first.spacing
        assert h == 0.5 or h == 0.25
        found = rule.sums(h)[0, 0]
        f, g = (lambda v: 10 * mp.tanh(v) + 3), (lambda v: mp.cos(v) / 4 + v / 9)
        n = int(12 / h)
        wanted = double_sum(f, g, q, qp, rho, mp.mpf(h), n)
        sizes = [
            mp.sqrt(h * mp.fsum(function(mp.sqrt(v) * k * h) ** 2 * mp.npdf(k * h) for k in range(-n, n + 1)))
            for function, v in ((f, q), (g, qp))
        ]
        assert sizes[0] > 1 > sizes[1]
        assert abs(rule.sizes[0, 0] - sizes[0] * sizes[1]) < mp.mpf(2) ** -(bits - 10)
        assert abs(rule.noise[0, 0] - sizes[0] * mp.mpf(2) ** (lattice.LOST_BITS - bits)) < mp.mpf(2) ** (20 - 2 * bits)
        assert abs(found - wanted) <= rule.noise[0, 0]
        assert rule.enclosed(h)
        turned = lattice._Rule(second, first, qp, q, c, [(0, 0)])
        assert abs(turned.sums(h)[0, 0] - wanted) <= turned.noise[0, 0]
        assert abs(turned.noise[0, 0] - rule.noise[0, 0]) < mp.mpf(2) ** (20 - 2 * bits)


@pytest.mark.parametrize("growing", [0, 1])
def test_a_box_that_is_too_small_is_seen(growing):
    """e^{6u} φ at nine tenths of 12 is e^{64.8 − 58.3}, against e^{18} of its norm; at nine tenths of 24 it is e^{−104}."""
    with mp.workprec(120):
        one = mp.mpf(1)
        for reach, enclosed in ((12.0, False), (24.0, True)):
            pair = [samples(sp.tanh(X), 1, 60, reach), samples(sp.exp(6 * X), 1, 60, reach)]
            first, second = pair if growing else pair[::-1]
            assert lattice._Rule(first, second, one, one, one / 2, [(0, 0)]).enclosed(first.spacing) == enclosed


def test_what_grows_too_fast_is_refused():
    grows = (sp.exp(X**2),)
    with mp.workdps(60), pytest.raises(PrecisionError, match="grow too fast"):
        lattice_expectations(grows, grows, mp.mpf(1), mp.mpf(1), mp.mpf(1) / 2, [(0, 0)], 20)


@pytest.mark.parametrize(("name", "steps"), [("tanh", 0), ("grows", 1)])
def test_boxes_are_as_wide_as_digits_ask(monkeypatch, name, steps):
    """Nine tenths of the first leave 2^−bits of the density, a tenth or so more would do; then it grows by a quarter."""
    asked, made = [], lattice._samples

    def counted(expressions, q, bits, reach):
        asked.append((bits, reach))
        return made(expressions, q, bits, reach)

    monkeypatch.setattr(lattice, "_samples", counted)
    one, f = mp.mpf(1), sp.tanh(X) if name == "tanh" else sp.exp(X**2 / 8) * sp.sinh(3 * X)
    with mp.workdps(60):
        lattice_expectations((f,), (f,), one, one, one / 2, [(0, 0)], 25)
    bits = asked[0][0]
    reaches = list(dict.fromkeys(reach for now, reach in asked if now == bits))
    least = (2 * bits * np.log(2)) ** 0.5
    assert least <= 0.9 * reaches[0]
    assert reaches[0] <= 1.2 * least + 3
    assert len(reaches) > steps
    assert all(1.25 * small <= wide <= 1.25 * small + 1 for small, wide in zip(reaches[:-1], reaches[1:], strict=True))
    assert len(reaches) == 1 or name == "grows"


def attempts(monkeypatch):
    """Pairs and bits of each attempt."""
    asked, settled = [], lattice._settled

    def counted(*given):
        asked.append((list(given[5]), given[6]))
        return settled(*given)

    monkeypatch.setattr(lattice, "_settled", counted)
    return asked


def test_bits_that_cancel_are_added_once(monkeypatch):
    """E[(tanh(a) + 10⁻²⁵) sech(b)] wants 83 bits more, and not many beside."""
    asked = attempts(monkeypatch)
    f, g, one = (sp.tanh(X) + sp.Rational(1, 10**25),), (sp.sech(X),), mp.mpf(1)
    with mp.workdps(80):
        value = lattice_expectations(f, g, one, one, one / 2, [(0, 0)], 20)[0, 0]
        h = one / 16
        mean = h * mp.fsum(mp.sech(k * h) * mp.npdf(k * h) for k in range(-200, 201))
        assert abs(value * 10**25 - mean) < mean * mp.mpf(10) ** -20
    (_, first), (_, second) = asked
    assert 50 < second - first < 130
    monkeypatch.setattr(lattice, "MAX_CANCELLATION", 1)
    with mp.workdps(80), pytest.raises(PrecisionError, match="cancellation left fewer than 20 digits"):
        lattice_expectations(f, g, one, one, one / 2, [(0, 0)], 20)


def test_a_mean_that_vanishes_without_a_symmetry(monkeypatch):
    """E[(a² − 1)(b + 2)] = 0 at q = 1, beside another pair that settles at once and is not asked for again."""
    asked, one = attempts(monkeypatch), mp.mpf(1)
    with mp.workdps(80):
        found = lattice_expectations((X**2 - 1, X + 3), (X + 2,), one, one, one / 2, [(0, 0), (1, 0)], 20)
        assert found[0, 0] == 0
        assert abs(found[1, 0] - mp.mpf("6.5")) < mp.mpf(10) ** -19
    pairs = [one for one, _ in asked]
    assert pairs == [[(0, 0), (1, 0)]] + [[(0, 0)]] * (len(asked) - 1)
    assert 2 <= len(asked) <= 4


def test_zeros_in_the_middle():
    values = np.array([1, 2, 3, 4, 5], dtype=object)
    assert lattice._padded(values, 8).tolist() == [3, 4, 5, 0, 0, 0, 1, 2]
