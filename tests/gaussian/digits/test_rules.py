"""Nodes of Gauss and Legendre, graded panels and the trapezoidal rule beside what they are defined by."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest

from kernelcalc.gaussian.digits import rules
from kernelcalc.gaussian.digits.rules import legendre, mesh, panel_nodes, whole_line


@pytest.mark.parametrize(("count", "bits"), [(1, 60), (2, 90), (7, 200), (40, 400)])
def test_polynomials_of_twice_the_degree_are_integrated(count, bits):
    """Σ w z^k = 2/(k + 1) for even k below 2·count, 0 for odd ones, to all bits; and for no more."""
    nodes, weights = legendre(count, bits)
    assert (len(nodes), len(weights)) == (count, count)
    assert all(a < b for a, b in pairwise(nodes))
    with mpmath.workprec(bits + 60):
        # of the power 2n what is missed is 2^(2n+1) (n!)^4/((2n + 1) (2n)!²)
        missed = mpmath.mpf(2) ** (2 * count + 1) * mpmath.factorial(count) ** 4
        missed /= (2 * count + 1) * mpmath.factorial(2 * count) ** 2
        for k in range(2 * count + 1):
            off = abs(mpmath.fdot(weights, (z**k for z in nodes)) - (0 if k % 2 else mpmath.mpf(2) / (k + 1)))
            assert abs(off - (missed if k == 2 * count else 0)) < 2.0**-bits


def test_panels_grow_with_their_distance_from_marks():
    """Each as long as its distance from every mark, or the mark's own width at most, and no shorter than half of that."""
    marks = [(mpmath.mpf("0.3"), 1e-6), (mpmath.mpf(-2), 0.5), (mpmath.mpf(50), 0.1)]
    panels = mesh(marks, [], 12.0)
    assert (panels[0][0], panels[-1][1]) == (-12, 12)
    assert all(before[1] == after[0] for before, after in pairwise(panels))
    ends = {left for left, *_ in panels}
    assert {marks[0][0], marks[1][0]} <= ends

    def allowed(left, right):
        return min(9.0, *(max(width, float(max(left - at, at - right))) for at, width in marks))

    for left, right, length in panels:
        assert length == float(right - left) <= allowed(left, right) * (1 + 1e-6)
    # a panel twice as long, from the same end, would be too long
    short = [panel for panel in panels if abs(panel[0] - marks[0][0]) < 1e-5]
    assert short
    assert min(float(right - left) for left, right, _ in short) > 0.2e-6
    assert len(panels) < 150


def test_layers_shorten_panels_and_their_unit():
    """Within eighteen widths panels are up to nine widths long, and their length counts in widths."""
    width = 0.01
    panels = mesh([], [(mpmath.mpf(1), width)], 10.0)
    near = [(float(left), float(right), length) for left, right, length in panels if right > 0.9 and left < 1.1]
    for left, right, length in near:
        assert length == pytest.approx((right - left) / width, rel=1e-12)
        assert right - left <= 9 * width * (1 + 1e-9)
    far = [(float(left), float(right), length) for left, right, length in panels if left > 1.2 or right < 0.8]
    for left, right, length in far:
        assert length == pytest.approx(right - left, rel=1e-12)
    assert max(length for *_, length in far) > 1
    assert mesh([], [], 4.0) == [(-4, 4, 8.0)]
    # beyond nine a panel is halved
    assert mesh([], [], 5.0) == [(-5, 0, 5.0), (0, 5, 5.0)]


def test_distances_that_floats_would_cancel():
    at = mpmath.mpf(1) / 3
    distances = rules._Distances([(at, 0.1), (mpmath.mpf(-2), 0.2)])
    np.testing.assert_array_equal(distances.widths, [0.1, 0.2])
    with mpmath.workprec(200):
        left = at + mpmath.mpf(2) ** -80
        np.testing.assert_allclose(distances.to(left, left + 1), [2.0**-80, 7 / 3], rtol=1e-12)
        np.testing.assert_allclose(distances.to(left - 1, at - mpmath.mpf(2) ** -90), [2.0**-90, 4 / 3], rtol=1e-12)
    assert distances.to(mpmath.mpf(-3), mpmath.mpf(0.5))[1] == -1


def test_nodes_of_panels():
    """digits·(½ + 0.085 ℓ) of them rounded up to fours, times the refinement; Σ w f(node) is the integral."""
    panels = [(mpmath.mpf(-1), mpmath.mpf(0.5), 1.5), (mpmath.mpf(0.5), mpmath.mpf(4), 7.0)]
    for refinement in (1.0, 1.25):
        with mpmath.workprec(120):
            found = panel_nodes(panels, 20, refinement, 120)
        counts = [math.ceil(refinement * n) for n in (16, 24)]
        middles = [middle for *_, middle in found]
        assert middles == [mpmath.mpf(-0.25)] * counts[0] + [mpmath.mpf(2.25)] * counts[1]
        assert sum(w * z**3 for z, w, _ in found) == pytest.approx((4**4 - 1) / 4, rel=1e-14)


def test_the_whole_line():
    """Steps of 0.8 · 2π/√(2 log 2 bits) · fineness/√refinement; Σ h φ(kh) z^(2m) = (2m − 1)!! where φ has ended."""
    for fineness, refinement in ((1.0, 1.0), (0.5, 1.5)):
        nodes = whole_line(14.0, fineness, refinement, 130)
        h = 0.8 * 2 * math.pi / math.sqrt(2 * 130 * math.log(2)) * fineness / math.sqrt(refinement)
        assert len(nodes) == 2 * int(14.0 / h) + 1
        assert [float(z) for z, _ in nodes] == pytest.approx(
            [h * k for k in range(-(len(nodes) // 2), len(nodes) // 2 + 1)]
        )
        with mpmath.workprec(130):
            for power, known in ((0, 1), (1, 0), (2, 1), (4, 3), (6, 15)):
                assert abs(mpmath.fsum(w * z**power for z, w in nodes) - known) < mpmath.mpf(10) ** -32
