"""qq' − c² of the next layer, by closed forms in sixty digits."""

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.arrays import EPS
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.kernels import parallel as module
from kernelcalc.kernels.layers import Scales
from kernelcalc.kernels.parallel import (
    difference_determinant,
    exact_determinant,
    homogeneous_determinant,
    refined,
    sine_residual,
)

SCALES = [(1.0, 0.0), (2.25, 0.49), (0.36, 4.0)]


def pairs(relative, sign=1, count=1):
    """Covariances of ratios up to 9 with qq' − c² = relative qq'."""
    q, qp = np.linspace(0.3, 2.7, count), np.linspace(1.3, 0.7, count)
    det = relative * q * qp
    return Covariance(q=q, qp=qp, c=sign * np.sqrt(q * qp - det), det=det)


def exact(mean, cov, weight, bias):
    """By E σ(a)σ(b) = mean(q, q', c) and the determinant of this layer that is given."""
    found = []
    with mpmath.workdps(60):
        for row in range(cov.c.size):
            q, qp, det = (mpmath.mpf(float(v[row])) for v in (cov.q, cov.qp, cov.det))
            c = mpmath.sign(cov.c[row]) * mpmath.sqrt(q * qp - det)
            first, second, mixed = (weight * mean(*of) + bias for of in ((q, q, q), (qp, qp, qp), (q, qp, c)))
            found.append(float(first * second - mixed**2))
    return np.array(found)


def later(mean, cov, weight, bias):
    with mpmath.workdps(30):
        sides = [[weight * float(mean(*[mpmath.mpf(float(v))] * 3)) + bias for v in side] for side in (cov.q, cov.qp)]
    return tuple(map(np.array, sides))


def bent(linear, absolute):
    """Of A x + B|x|: A² c + B² (2/π) √(qq') (√(1 − ρ²) + ρ arcsin ρ)."""

    def mean(q, qp, c):
        root = mpmath.sqrt(q * qp)
        rho = c / root
        angle = mpmath.sqrt(max(1 - rho * rho, 0)) + rho * mpmath.asin(min(max(rho, -1), 1))
        return linear**2 * c + absolute**2 * 2 / mpmath.pi * root * angle

    return mean


def test_sine_residual_to_rounding():
    theta = np.concatenate([np.logspace(-9, np.log10(np.pi), 60), [0.2499, 0.25, 0.2501, 0.0]])
    with mpmath.workdps(60):
        known = [float(mpmath.sin(t) - t * mpmath.cos(t)) for t in map(mpmath.mpf, theta.tolist())]
    np.testing.assert_allclose(sine_residual(theta), known, rtol=2e-14, atol=0)
    small = theta < 0.2
    np.testing.assert_allclose(sine_residual(theta)[small], np.array(known)[small], rtol=1e-15, atol=0)


@pytest.mark.parametrize(("weight", "bias"), SCALES)
@pytest.mark.parametrize(("linear", "absolute"), [(1.5, 0.0), (0.0, 0.7), (0.5, 0.5), (0.6, -0.4)])
def test_homogeneous_functions(linear, absolute, weight, bias):
    mean = bent(linear, absolute)
    for relative, sign in ((1e-20, 1), (1e-20, -1), (1e-9, 1), (1e-9, -1), (0.1, 1), (0.1, -1), (0.9, 1)):
        cov = pairs(relative, sign, 3)
        found = homogeneous_determinant((linear, absolute), cov, weight, bias)
        np.testing.assert_allclose(found, exact(mean, cov, weight, bias), rtol=4e-13, err_msg=f"{relative}, {sign}")


@pytest.mark.parametrize(("weight", "bias"), SCALES)
def test_exact_algebra(weight, bias):
    """relu, as an expression alone: A = B = 1/2."""
    relu = kc.activation("relu")
    for relative, sign in ((1e-20, 1), (1e-9, 1), (1e-9, -1), (0.3, -1)):
        cov = pairs(relative, sign, 3)
        known = exact(bent(0.5, 0.5), cov, weight, bias)
        np.testing.assert_allclose(exact_determinant(relu, cov, weight, bias)[0], known, rtol=1e-15)


def test_exact_algebra_of_points_on_one_line():
    """The root of q q' is none of forty digits: relu(3a) = 3 relu(a), relu(a) relu(−3a) = 0, and |−3a| = 3|a|."""
    q = np.array([0.3, 7 / 24576, 1.1])
    for sign in (1, -1):
        cov = Covariance(q=q, qp=9 * q, c=sign * 3 * q, det=np.zeros(3))
        found, _ = exact_determinant(kc.activation("abs"), cov, 2.25, 0.0)
        np.testing.assert_allclose(found, 0, atol=1e-38)
        known = (9 if sign < 0 else 0) * (2.25 * q / 2) ** 2
        np.testing.assert_allclose(
            exact_determinant(kc.activation("relu"), cov, 2.25, 0.0)[0], known, rtol=1e-15, atol=1e-38
        )


def sine(q, qp, c):
    return mpmath.exp(-(q + qp) / 2) * mpmath.sinh(c)


def cosine(q, qp, c):
    return mpmath.exp(-(q + qp) / 2) * mpmath.cosh(c)


def wave(q, qp, c):
    """sin(2x + 1)."""
    return (mpmath.exp(-2 * (q + qp - 2 * c)) - mpmath.cos(2) * mpmath.exp(-2 * (q + qp + 2 * c))) / 2


@pytest.mark.parametrize(("weight", "bias"), SCALES)
@pytest.mark.parametrize(
    ("text", "mean", "sign"),
    [("sin(x)", sine, 1), ("sin(x)", sine, -1), ("cos(x)", cosine, 1), ("cos(x)", cosine, -1), ("sin(2*x+1)", wave, 1)],
)
def test_differences_by_quadrature(text, mean, sign, weight, bias):
    """Of more pairs than are done at once; odd functions leave opposite points opposite, even ones make them equal.

    An angle that is wrong by a few ε: the difference goes like its square.
    """
    act = kc.Activation(text)
    for relative in (1e-22, 1e-12, 1e-9):
        cov = pairs(relative, sign, 2 * module.ROWS + 3)
        found, _ = difference_determinant(act, cov, later(mean, cov, weight, bias), weight, bias)
        np.testing.assert_allclose(found, exact(mean, cov, weight, bias), rtol=1e-12 + 20 * EPS / np.sqrt(relative))


def of_nearly_one_norm(mean, relative, side, bias):
    """Nearly (anti)parallel points with q - q' known, and qq' - c² and q - q' of the next layer, by 60 digits."""
    q = np.array([0.3, 1.0, 2.7])
    gap = np.sqrt(relative) * np.array([0.3, -1.0, 2.0])
    det = relative * q * q
    cov = Covariance(q=q, qp=q - gap, c=side * np.sqrt(q * (q - gap) - det), det=det, gap=gap)
    with mpmath.workdps(60):
        known = []
        for one, apart, value in zip(q, gap, det, strict=True):
            one, other, value = mpmath.mpf(one), mpmath.mpf(one) - mpmath.mpf(apart), mpmath.mpf(value)
            c = side * mpmath.sqrt(one * other - value)
            first, second, mixed = (2.25 * mean(*of) + bias for of in ((one,) * 3, (other,) * 3, (one, other, c)))
            known.append((float(first * second - mixed**2), float(first - second)))
    return cov, known


@pytest.mark.parametrize(("text", "mean"), [("sin(x)", sine), ("cos(x)", cosine), ("sin(2*x+1)", wave)])
@pytest.mark.parametrize("relative", [1e-24, 1e-12, 1e-6])
@pytest.mark.parametrize("side", [1, -1])
def test_differences_of_points_of_nearly_one_norm(text, mean, relative, side):
    """With q - q' as small as the angle, known beside its rounding, nothing is lost; nor of the next q - q'."""
    if side < 0 and mean is wave:
        pytest.skip("neither odd nor even: opposite points do not stay so")
    cov, known = of_nearly_one_norm(mean, relative, side, 0.49)
    det, after = difference_determinant(kc.Activation(text), cov, later(mean, cov, 2.25, 0.49), 2.25, 0.49)
    np.testing.assert_allclose(det, [one for one, _ in known], rtol=1e-12)
    assert (np.abs(after - [one for _, one in known]) < 1e-13 * np.abs(cov.gap)).all()


def signs(q, qp, c):
    return 2 / mpmath.pi * mpmath.asin(c / mpmath.sqrt(q * qp))


@pytest.mark.parametrize(
    ("text", "mean", "side"),
    [
        ("relu", bent(0.5, 0.5), 1),
        ("abs", bent(0.0, 1.0), 1),
        ("abs", bent(0.0, 1.0), -1),
        ("prelu(-0.5)", bent(0.25, 0.75), 1),
        ("sign", signs, 1),
        ("sign", signs, -1),
    ],
)
@pytest.mark.parametrize("relative", [1e-24, 1e-12, 1e-5])
def test_differences_of_functions_with_kinks(text, mean, side, relative):
    """a and b on two sides of a kink are no more than the angle of all, and of jumps everything."""
    cov, known = of_nearly_one_norm(mean, relative, side, 0.0)
    found, after = difference_determinant(kc.activation(text), cov, later(mean, cov, 2.25, 0.0), 2.25, 0.0)
    np.testing.assert_allclose(found, [one for one, _ in known], rtol=2e-14)
    assert (np.abs(after - [one for _, one in known]) < 1e-14 * np.abs(cov.gap) + 1e-15).all()


def test_differences_from_a_point_without_a_variance():
    """cos 0 = 1 beside cos b, b ~ N(0, 1e-6): σ_w⁴ Var cos b with no β."""
    cov = Covariance(q=np.zeros(1), qp=np.full(1, 1e-6), c=np.zeros(1), det=np.zeros(1))
    found, _ = difference_determinant(kc.Activation("cos(x)"), cov, later(cosine, cov, 1.5, 0.0), 1.5, 0.0)
    np.testing.assert_allclose(found, exact(cosine, cov, 1.5, 0.0), rtol=1e-8)


KINDS = [
    # |x| and its like: an eighth; all others, smooth, of the exact algebra or with other kinks: 1e-8
    ("relu(x)", 1 / 8),
    ("sin(x)", 1e-8),
    ("min(max(x,-1),1)", 1e-8),
    ("max(tanh(x)-tanh(1)/2,0)", 1e-8),
]


@pytest.mark.parametrize("least", [0.0, 1e-3])
@pytest.mark.parametrize(("text", "bound"), KINDS)
def test_which_pairs_are_refined(text, bound, least):
    """Those whose difference, as it was found, is below the bound times qq' of the next layer, and no equal points."""
    act = kc.Activation(text)
    cov = pairs(1e-14, 1, 3)
    square = Covariance(q=cov.q[:, None], qp=cov.qp[None, :], c=np.sqrt(np.outer(cov.q, cov.qp)), det=np.zeros((3, 3)))
    sides = {"q": np.full((3, 1), 2.0), "qp": np.full((1, 3), 0.5), "c": np.ones((3, 3))}
    limit = max(bound, least)
    before = np.full((3, 3), 1.01 * limit)
    before[0, 1] = before[2, 0] = before[1, 1] = 0.99 * limit
    same = np.array([1]), np.array([1])
    det = before.copy()
    found = refined(
        act, square, Covariance(**sides, det=det), same, Scales(weight=1.0, bias=0.0, bias_gradient=0.0), least
    )
    changed = det != before
    assert changed.tolist() == [[False, True, False], [False, False, False], [True, False, False]]
    # c, to the determinant, and q - q' of the same pairs
    assert (~np.isnan(found.gap)).tolist() == changed.tolist()
    assert (found.c[~changed] == 1).all()
    np.testing.assert_allclose((1 - found.c**2)[changed], found.det[changed], atol=1e-15)
    det = before.copy()
    refined(act, square, Covariance(**sides, det=det), None, Scales(weight=1.0, bias=0.0, bias_gradient=0.0), least)
    assert (det != before).sum() == 3


def test_each_pair_has_its_own_numbers():
    """Of a block, rows by columns: q of the row, q' of the column."""
    q, qp = np.array([0.5, 1.0]), np.array([2.0, 0.7, 1.1])
    det = 1e-10 * np.outer(q, qp)
    c = np.sqrt(np.outer(q, qp) - det)
    cov = Covariance(q=q[:, None], qp=qp[None, :], c=c, det=det)
    flat = Covariance(q=np.repeat(q, 3), qp=np.tile(qp, 2), c=c.ravel(), det=det.ravel())
    for text, mean in (("sin(x)", sine), ("relu(x)", bent(0.5, 0.5)), ("abs(x)", bent(0.0, 1.0))):
        rows, columns = later(mean, Covariance(q=q, qp=qp, c=c, det=det), 2.25, 0.49)
        found = np.zeros((2, 3))
        scales = Scales(weight=2.25, bias=0.49, bias_gradient=0.49)
        after = Covariance(q=rows[:, None], qp=columns[None, :], c=np.ones((2, 3)), det=found)
        refined(kc.Activation(text), cov, after, None, scales, 0.0)
        np.testing.assert_allclose(found.ravel(), exact(mean, flat, 2.25, 0.49), rtol=1e-8)
