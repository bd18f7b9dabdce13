"""One rule of nested panels by itself: moments of polynomials, of which everything is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.activations.names import as_activation
from kernelcalc.errors import DivergentExpectationError, NotFiniteError
from kernelcalc.gaussian.covariance import make_covariance
from kernelcalc.gaussian.floats import nested as module
from kernelcalc.gaussian.floats.mesh import PLACING_STEPS

EPS = np.finfo(float).eps
Q, QP, RHO = 4.0, 2.25, 0.6
C = RHO * math.sqrt(Q * QP)
PAIR = (Q, QP, C, Q * QP - C * C)
SHARE = SimpleNamespace(done=lambda part: None, again=lambda: None)
ONE, SQUARE, CUBE, TANH = (kc.Activation(text) for text in ("1+0*x", "x**2", "x**3", "tanh(x)"))


def rule(f, g, pair=PAIR, reads=False, count=20):
    return module._Rule(f, g, pair, 10.0, count, reads=reads)


@pytest.mark.parametrize("reads", [True, False])
def test_moments_and_what_they_change_by(reads):
    """E a²b² = qq' + 2c², E a³b = 3qc; with far features E (a²/q + b²/q')|fg| as well."""
    for f, g, value in ((ONE, ONE, 1.0), (SQUARE, SQUARE, Q * QP + 2 * C**2), (SQUARE, ONE, Q)):
        found = rule(f, g, reads=reads).sums(SHARE)
        assert found[:2] == pytest.approx((value, value), rel=1e-13)
        # nothing is left ten deviations away, and nothing lies far out
        assert found[2] < 1e-17
        assert found[4] == 0
    for f, g, value in (
        (ONE, ONE, 2.0),
        (SQUARE, ONE, 3 * Q + Q + 2 * C**2 / QP),
        (ONE, SQUARE, 3 * QP + QP + 2 * C**2 / Q),
    ):
        far = rule(f, g, reads=reads)
        far.far = True
        assert far.sums(SHARE)[4] == pytest.approx(value, rel=1e-13)
    linear = kc.Activation("x")
    assert rule(CUBE, linear, reads=reads).sums(SHARE)[0] == pytest.approx(3 * Q * C, rel=1e-12)
    opposite = (Q, QP, -C, PAIR[3])
    assert rule(CUBE, linear, opposite, reads=reads).sums(SHARE)[0] == pytest.approx(-3 * Q * C, rel=1e-12)


def test_what_is_known_of_the_inner_function():
    """Given its mean m, b = m + sz: E b² = m² + s², E b⁴ = m⁴ + 6m²s² + 3s⁴."""
    one, m = rule(TANH, SQUARE), np.array([-3.0, -0.2, 0.0, 1.0, 4.0])
    s2 = PAIR[3] / Q
    one.far = one.close = True
    found = one._conditional(m, SHARE)
    assert found.shape == (7, 5)
    np.testing.assert_allclose(found[0], m**2 + s2, rtol=1e-13)
    np.testing.assert_allclose(found[1], m**2 + s2, rtol=1e-13)
    assert (found[2] == 0).all()
    np.testing.assert_allclose(found[5], (m**4 + 6 * m**2 * s2 + 3 * s2**2) / QP, rtol=1e-13)
    z = np.linspace(-12, 12, 20001)
    b = m[:, None] + math.sqrt(s2) * z
    weight = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    np.testing.assert_allclose(found[6], (np.abs(b) ** 3 * np.abs(z)) @ weight / math.sqrt(s2), rtol=1e-5)
    # |g| e^(-z²/2) at either end
    for row, sign in ((3, -1), (4, 1)):
        assert (found[row] < (np.abs(m) + 10 * math.sqrt(s2)) ** 2 * math.exp(-(9.9**2) / 2)).all()
        assert (found[row] > (math.sqrt(s2) * 10 * 0.99 + sign * m) ** 2 * math.exp(-50) * 0.99).all()
    # in blocks of one row each
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "VALUES_AT_ONCE", 1)
        parts = []
        again = one._conditional(m, SimpleNamespace(done=parts.append))
    np.testing.assert_allclose(again, found, rtol=1e-13)
    assert parts == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_means_that_share_values_of_the_inner_function():
    """The same where nothing is close or far: E b² and E b⁴; a kink between, E |b − 1|; the doubt of a sum that cancels."""
    s2, m = PAIR[3] / Q, np.array([-3.0, -0.2, 0.0, 1.0, 4.0])
    s, calls = math.sqrt(s2), []
    fourth, kinked = kc.Activation("x**4"), kc.Activation("abs(x-1)")
    edge = np.array([math.erf(d / s / math.sqrt(2)) for d in m - 1])
    folded = s * math.sqrt(2 / math.pi) * np.exp(-((m - 1) ** 2) / (2 * s2)) + (m - 1) * edge
    for g, wanted in ((SQUARE, m**2 + s2), (fourth, m**4 + 6 * m**2 * s2 + 3 * s2**2), (kinked, folded)):
        found = rule(TANH, g)._conditional(m, SimpleNamespace(done=calls.append))
        np.testing.assert_allclose(found[:2], [wanted, wanted], rtol=1e-13)
        assert (found[[2, 5, 6]] == 0).all()
        ends = np.abs(g(m + np.array([[-10 * s], [10 * s]]))) * math.exp(-50)
        np.testing.assert_allclose(found[3:5], ends, rtol=1e-12)
    assert calls == [1.0, 1.0, 1.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "VALUES_AT_ONCE", 1)
        np.testing.assert_allclose(rule(TANH, kinked)._conditional(m, SHARE), found, rtol=1e-13)
    narrow = rule(TANH, kc.Activation("tanh(1e5*(x-1))"))
    assert narrow.felt[1]
    # an ulp of x and of the difference, magnified by 1e5/cosh², whose integral is 2
    density = np.exp(-((m - 1) ** 2) / (2 * s2)) / (s * math.sqrt(2 * math.pi))
    lost = narrow._conditional(m, SHARE)[2]
    assert (lost > 2 * EPS * density).all()
    assert (lost < 10 * EPS * (density + 1)).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_where_b_is_its_mean(sign):
    pair = (Q, QP, sign * math.sqrt(Q * QP), 0.0)
    one, m = rule(ONE, CUBE, pair), np.array([-2.0, 0.0, 3.0])
    found = one._conditional(m, SHARE)
    np.testing.assert_array_equal(found[:2], [m**3, np.abs(m) ** 3])
    assert (found[[2, 3, 4, 6]] == 0).all()
    np.testing.assert_allclose(found[5], np.abs(m) ** 5 / QP, rtol=1e-14)
    # E a³ b³ = 15 (qq')^(3/2)
    assert rule(CUBE, CUBE, pair).sums(SHARE)[0] == pytest.approx(sign * 15 * (Q * QP) ** 1.5, rel=1e-12)


def test_how_many_smooth_panels():
    """Two a conditional deviation seen from a, and one a deviation of a at least; none where b is its mean."""
    spread = math.sqrt(PAIR[3] / Q)
    assert rule(TANH, TANH, reads=True)._smooth_panels() == math.ceil(20 * 2 * (C / Q) * 2 / spread)
    assert rule(TANH, TANH, (Q, QP, -C, PAIR[3]), reads=True)._smooth_panels() == math.ceil(
        20 * 2 * (C / Q) * 2 / spread
    )
    assert rule(TANH, TANH, (Q, QP, 0.01, Q * QP - 1e-4), reads=True)._smooth_panels() == 20
    assert rule(TANH, TANH, reads=False)._smooth_panels() == math.inf
    assert rule(TANH, TANH, (Q, QP, 3.0, 0.0), reads=True)._smooth_panels() == math.inf


def test_what_is_read_off_is_what_was_computed():
    one = rule(TANH, kc.Activation("sin(x)+x**2+2"), reads=True)
    one.far = True
    a = np.linspace(-20, 20, 57)
    edges = np.linspace(-20, 20, 25)
    found, wanted = one._read(edges, a, SHARE), one._conditional(one.slope * a, SHARE)
    scale = np.abs(wanted).max(axis=1, keepdims=True)
    for row in (0, 1, 5):
        assert (np.abs(found[row] - wanted[row]) <= 1e-12 * scale[row]).all()
    # rounding of what is read: sixteen ulp of the largest size in the panel
    panel = np.minimum(np.searchsorted(edges[1:-1], a, side="right"), 23)
    for at, noise in zip(panel, found[2], strict=True):
        inside = np.abs(one._conditional(one.slope * np.linspace(edges[at], edges[at + 1], 201), SHARE)[1]).max()
        assert 0.9 * 16 * EPS * inside <= noise <= 16 * EPS * inside * (1 + 1e-9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "VALUES_AT_ONCE", 7 * 20 * 3)
        np.testing.assert_allclose(one._read(edges, a, SHARE), found, rtol=1e-12, atol=1e-13)


def test_norms_that_bound_the_rounding_of_places():
    """√(E f² E g²) with E g² = E b⁴ = 3q'² of g = x², where that is less than what single places may do."""
    one = rule(ONE, SQUARE)
    assert one._norms(9.0) == pytest.approx(3 * math.sqrt(3) * QP, rel=1e-13)
    # a step met by a mean: E |b z g|/s
    q, close = 1.0, 1 - 2.0**-12
    pair = (q, q, close, 1 - close**2)
    sharp = rule(kc.Activation("Heaviside(x)"), kc.Activation("Heaviside(x)"), pair)
    assert sharp.close
    noise = sharp.sums(SHARE)[3]
    assert noise == pytest.approx(PLACING_STEPS * EPS * 0.5, rel=1e-3)
    assert not rule(TANH, TANH).close


def test_the_largest_product_within_the_last_reach():
    bump = kc.Activation("1+exp(60-50*(x-12)**2)")
    for pair, size in (((bump, ONE), 1), ((ONE, bump), 1), ((bump, bump), 2)):
        found = module._largest(*pair, (1.0, 1.0, 0.3, 0.91))
        assert 0.7**size < found / math.exp(60 * size) < 1.4**size
    # 38 deviations of two
    assert module._largest(SQUARE, ONE, (4.0, 1.0, 0.0, 4.0)) == pytest.approx(76**2, rel=0.02)


def test_edges_towards_short_panels_beside_long_ones():
    """From the end of a long panel beside a short one 2^k spreads into it, k = −1, 0, …, up to its middle."""
    steps = 0.05 * 2.0 ** np.arange(-1, 7)
    for edges, known in (
        ([0.0, 0.1, 10.1, 20.1], 0.1 + steps),
        ([-20.1, -10.1, -0.1, 0.0], -0.1 - steps),
        ([0.0, 10.0, 10.1, 20.1], np.concatenate([10 - steps, 10.1 + steps])),
        # none is long beside the other, or all are shorter than the spread
        ([0.0, 10.0, 20.0], []),
        ([0.0, 0.0001, 0.04], []),
    ):
        stand_in = SimpleNamespace(g_mesh=SimpleNamespace(edges=np.array(edges)), spread=0.05)
        assert sorted(module._Rule._graded(stand_in)) == pytest.approx(sorted(known), abs=1e-12)


class Sums:
    """In the place of a rule: value, E|fg|, what is left, noise and what far features change, by reach and nodes."""

    seen, known = [], {}

    def __init__(self, f, g, pair, reach, count, *, reads):
        self.felt = None
        self.at = reach, count, reads

    def sums(self, share):
        self.seen.append((*self.at, self.felt))
        found = self.known.get(self.at[:2], self.known.get(self.at[0], self.known.get(None)))
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def stand_in(monkeypatch):
    Sums.seen, Sums.known = [], {}
    monkeypatch.setattr(module, "_Rule", Sums)
    return Sums


def by_rules(f=TANH, g=TANH):
    return module._by_rules(f, g, PAIR, module._Share(SHARE, 0, 1), reads=True)


def test_reaches_are_tried_until_nothing_is_left(stand_in):
    """The fine rule after the coarse one alone where that leaves nothing at the ends; the error: their difference and more."""
    rounding = module.ROUNDING_STEPS * EPS
    stand_in.known = {
        10.0: (1.0, 2.0, 3e-15, 0.0, 0.0),
        16.0: (1.0, 0.0, 0.0, 0.0, 0.0),
        (26.0, 12): (1.25, 2.0, 1e-15, 0.5, 0.0),
        (26.0, 20): (1.0, 3.0, 1e-3, 0.125, 7.0),
    }
    value, rough, error, magnitude = by_rules()
    assert (value, rough, magnitude) == (1.0, 1.25, 3.0)
    assert error == pytest.approx(0.25 + 0.125 + (3 * rounding + 7 * PLACING_STEPS * EPS), rel=1e-15)
    # of 26 deviations the coarser one, whose changes are small, asks nothing of the other's
    assert [row[:2] for row in stand_in.seen] == [(10.0, 12), (16.0, 12), (26.0, 12), (26.0, 20)]
    assert all(reads and felt is None for *_, reads, felt in stand_in.seen)


@pytest.mark.parametrize(("spread", "felt"), [(1.01, True), (0.99, False)])
def test_far_features_feel_the_rounding_of_places(stand_in, spread, felt):
    """Where E (a²/q + b²/q')|fg| is large beside E|fg| so are the places of features; of functions that are known as such."""
    stand_in.known = {None: (1.0, 2.0, 0.0, 0.0, 2 * module.FAR_SQUARE * spread)}
    by_rules(TANH, as_activation(lambda v: np.tanh(v)))
    assert stand_in.seen[-1] == (10.0, 20, True, (True, False) if felt else None)


def test_at_the_end_of_float64_what_is_left_is_faint(stand_in, monkeypatch):
    """Else f(a)g(b) grows too fast. What is left there comes to the error, over all of the range."""
    stand_in.known = {None: (1.0, 2.0, 1e-3, 0.0, 0.0)}
    with pytest.raises(DivergentExpectationError) as caught:
        by_rules()
    assert str(caught.value) == (
        "expected f(a)g(b) that a Gaussian can integrate, within 38 standard deviations, got tanh(x), tanh(x) at "
        f"q1={Q}, q2={QP}, c={C}; use smaller variances, or dps=20 if it is finite and lies further out"
    )
    assert [row[:2] for row in stand_in.seen] == [(reach, 12) for reach in (10.0, 16.0, 26.0, 38.0)]
    monkeypatch.setattr(module, "FAINT", 1e-2)
    assert by_rules()[2] == pytest.approx(2 * 38 * 1e-3, rel=1e-10)
    # what overflows ends it at once
    stand_in.seen.clear()
    stand_in.known = {10.0: (1.0, 2.0, 1.0, 0.0, 0.0), 16.0: NotFiniteError("numbers", "infinity")}
    with pytest.raises(DivergentExpectationError):
        by_rules()
    assert [row[:2] for row in stand_in.seen] == [(10.0, 12), (16.0, 12)]


def test_what_is_not_smooth_after_all_takes_all_panels(monkeypatch):
    """Read off first; again without where both rules differ by more than 1e-11 of E|fg| beside the rest of the error."""
    again = []
    share = SimpleNamespace(again=lambda: again.append(1))
    for rough, reading in ((1 + 5.9e-10, [True]), (1 + 6.1e-10, [True, False])):
        seen = []

        def rules(f, g, pair, share, *, reads, rough=rough, seen=seen):
            seen.append(reads)
            return 1.0, rough if reads else 1.0, 0.5e-9 + (rough - 1 if reads else 0.0), 10.0

        monkeypatch.setattr(module, "_by_rules", rules)
        found = module._pair(TANH, TANH, PAIR, share)
        assert seen == reading
        assert found == (1.0, pytest.approx(0.5e-9 + (rough - 1 if len(seen) == 1 else 0), rel=1e-6), 10.0)
    assert again == [1]


def test_how_far_all_pairs_are(monkeypatch):
    """To the end of each pair in its place; of each the coarser rule takes 27 %. What is slow, and what is faster, is said."""
    told, parts = [], []

    def patience(*texts):
        told.append(texts)
        return SimpleNamespace(done=parts.append, again=lambda: parts.append(None))

    monkeypatch.setattr(module, "Patience", patience)
    cov = make_covariance(np.full(2, Q), np.full(2, QP), np.array([C, -C]))
    found = module.nested(TANH, CUBE, cov)
    assert found.value[0] == pytest.approx(-found.value[1], rel=1e-12)
    what, faster = (
        "2 of E[tanh(x)(a) x**3(b)] by nested panels",
        "wider features (smaller factors within the functions)",
    )
    assert told == [(what, f"{faster}, |ρ| further from 1 and fewer pairs are faster")]
    assert parts == sorted(parts)
    ends = [part for part in parts if any(part == pytest.approx(end) for end in (0.135, 0.5, 0.635, 1.0))]
    assert len(ends) == 4
    assert parts[-1] == ends[-1]


def test_what_is_too_narrow_for_means_far_out_is_not_read_off():
    """Panels below 2⁻⁴² of the range that g is seen in."""
    for width, reads in ((1e-9, True), (1e-13, False)):
        narrow = kc.Activation(f"tanh(x/{width})")
        one = rule(TANH, narrow, reads=True)
        finest = np.diff(one.g_mesh.edges).min() / one.g_mesh.edges[-1]
        assert bool(finest > 2.0**-42) is reads
        assert bool(one.reads) is reads
        assert not rule(TANH, narrow).reads
