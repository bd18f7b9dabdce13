"""What does not exist is refused from the expressions alone; what exists nearly not is not."""

import warnings

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.activations.activation import Activation
from kernelcalc.errors import DivergentExpectationError
from kernelcalc.gaussian.existence import surely_infinite


@pytest.mark.parametrize("dps", [None, 20])
@pytest.mark.parametrize(
    ("f", "g", "cov"),
    [
        ("tanh(x)*exp(x^2)", "1", (1.0, 1.0, 0.0)),
        ("tanh(x)*exp(x^2)", "cos(x)", (1.0, 1.0, 0.5)),
        ("exp(x^2/3)*tanh(x)", "exp(x^2/3)*tanh(x)", (1.0, 1.0, 0.9)),
        ("tanh(x)*sinh(x^2)", "sigmoid(x)", (1.0, 1.0, -0.7)),
        ("tanh(x)^2*cosh(x^2/3)", "exp(x^2/3)*arctan(x)", (1.0, 1.0, -1.0)),
        # log x is positive where that piece begins
        ("log(max(x,1))+exp(max(x,0)^2)", "1", (1.0, 1.0, 0.0)),
        # reciprocals of tails grow as e^{x²} and e^{x²/2}
        ("1/erfc(x)", "1", (0.6, 1.0, 0.0)),
        ("1/Phi(x)", "1/Phi(x)", (0.8, 0.8, 0.3)),
        ("1/log(Phi(x))", "tanh(x)", (25.0, 1.0, 0.0)),
    ],
)
def test_growth_is_refused_without_a_look_at_values(monkeypatch, f, g, cov, dps):
    first, second = kc.Activation(f), kc.Activation(g)
    monkeypatch.setattr(Activation, "__call__", None)
    with pytest.raises(DivergentExpectationError, match="a finite E"):
        kc.gaussian_expectation(first, second, *cov, dps=dps)


def plane(f, g, q, qp, c, exponents=(0.0, 0.0)):
    """E f(a)g(b) e^{αa² + α'b²} by sums over a lattice in the plane, exponents added up before they are taken."""
    # the density that is left decays with the smallest eigenvalue of what remains
    form = np.linalg.inv([[q, c], [c, qp]]) / 2 - np.diag(exponents)
    reach = np.sqrt(45 / np.linalg.eigvalsh(form)[0])
    at = np.linspace(-reach, reach, 1601)
    a, b = at[:, None], at[None, :]
    density = np.exp(-(form[0, 0] * a * a + 2 * form[0, 1] * a * b + form[1, 1] * b * b))
    total = (f(a) * g(b) * density).sum() * (at[1] - at[0]) ** 2
    return total / (2 * np.pi * np.sqrt(q * qp - c * c))


def squared(v):
    return np.tanh(v) ** 2


CASES = {
    ("tanh(x)^2*exp(0.4*x^2)", "tanh(x)^2", (1.0, 1.0, 0.5)): (squared, squared, (0.4, 0.0)),
    ("exp(x^2/3)*tanh(x)", "exp(x^2/3)*tanh(x)", (1.0, 1.0, 0.4)): (np.tanh, np.tanh, (1 / 3, 1 / 3)),
    ("exp(x^2/3)*tanh(x)", "tanh(x)", (1.2, 0.5, -0.6)): (np.tanh, np.tanh, (1 / 3, 0.0)),
    ("cos(x)", "exp(x^2/8)*arctan(x)^2", (0.3, 3.0, 0.7)): (np.cos, lambda v: np.arctan(v) ** 2, (0.0, 1 / 8)),
}


@pytest.mark.parametrize(("case", "known"), CASES.items(), ids=[f"{f}, {g}" for f, g, _ in CASES])
def test_digits_of_what_grows_nearly_as_the_density_falls(case, known):
    (f, g, cov), (first, second, exponents) = case, known
    exact = plane(first, second, *cov, exponents)
    assert float(kc.gaussian_expectation(f, g, *cov, dps=20)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("c", [0.0, 0.5, -0.8])
def test_what_nearly_does_not_exist_is_not_refused(c):
    """2αq = 0.98: E e^{0.49a²} tanh² a."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = kc.gaussian_expectation("tanh(x)^2*exp(0.49*x^2)", "1", 1.0, 1.0, c, dps=15)
    at = np.linspace(-70, 70, 20001)
    exact = (np.tanh(at) ** 2 * np.exp(-0.01 * at**2)).sum() * (at[1] - at[0]) / np.sqrt(2 * np.pi)
    assert float(value) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("dps", [None, 20])
@pytest.mark.parametrize(("i", "j"), [(3, 2), (2, 3), (3, 3), (4, 1), (1, 4), (5, 0)])
def test_deltas_that_meet_kinks_on_a_line_are_refused(i, j, dps):
    """δ'(a) δ(a), δ''(a) step(a), δ'''(a) relu(a) are no distributions; between them the limit ρ → 1 may be 0."""
    relu = kc.Activation("relu(x)")
    for q, c in ((1.0, 1.0), (4.0, -2.0)):
        with pytest.raises(DivergentExpectationError):
            kc.gaussian_expectation(relu.derivative(i), relu.derivative(j), 1.0, q, c, dps=dps)


def test_deltas_that_meet_elsewhere_on_a_line_are_refused():
    """a = 1 and b = 2a = 2, of functions with other pieces than polynomials too; beside it there is nothing, or a value."""
    for text in ("relu(x-2)", "max(tanh(x-2),0)"):
        bent, kink = kc.Activation(text), kc.Activation("relu(x-1)")
        for i, j in ((3, 2), (2, 3), (4, 2)):
            with pytest.raises(DivergentExpectationError):
                kc.gaussian_expectation(kink.derivative(i), bent.derivative(j), 1.0, 4.0, 2.0)
        assert kc.gaussian_expectation(kink.derivative(2), kc.Activation("relu(x-3)").derivative(2), 1.0, 4.0, 2.0) == 0
    # E δ(a − 1) step(2a − 1) = φ(1)
    found = kc.gaussian_expectation(kc.Activation("relu(x-1)").derivative(2), "step(x-1)", 1.0, 4.0, 2.0)
    assert found == pytest.approx(np.exp(-0.5) / np.sqrt(2 * np.pi), rel=1e-14)


def test_places_meet_to_their_rounding_and_no_further():
    """3 · 123.4 is not 370.2 in float64 by one ulp; 3 · 0.001 and 0.0030000000001 differ by far more, though by 10⁻¹³ alone."""
    assert 3 * 123.4 != 370.2
    at, far = kc.Activation("relu(x-123.4)"), kc.Activation("relu(x-370.2)")
    with pytest.raises(DivergentExpectationError):
        kc.gaussian_expectation(at.derivative(2), far.derivative(2), 1e4, 9e4, 3e4)
    near, beside = kc.Activation("relu(x-0.001)"), kc.Activation("relu(x-0.0030000000001)")
    assert kc.gaussian_expectation(near.derivative(2), beside.derivative(2), 1.0, 9.0, 3.0) == 0


@pytest.mark.parametrize("dps", [None, 20])
def test_what_is_refused_is_named_with_its_numbers(dps):
    words = r"^expected a finite E.* of f = exp\(x\^2/3\)\*tanh\(x\), g = exp\(x\^2/4\)\*arctan\(x\), got "
    numbers = r"q1=4(\.0)?, q2=3(\.0)?, c=2(\.0)?; on "
    with pytest.raises(DivergentExpectationError, match=words + numbers):
        kc.gaussian_expectation("exp(x^2/3)*tanh(x)", "exp(x^2/4)*arctan(x)", 4.0, 3.0, 2.0, dps=dps)


def outgrows(rates, q, qp, c):
    """Whether ½uᵀΣ⁻¹u − αu₁² − α'u₂² is negative for some u of the circle, α and α' those of the sides that u is on."""
    angle = np.arange(0.5, 4000) * 2 * np.pi / 4000
    u = np.stack([np.cos(angle), np.sin(angle)])
    if q * qp == c * c:
        u = np.array([[1.0, -1.0], [c / q, -c / q]])
        density = u[0] ** 2 / (2 * q)
    else:
        density = np.einsum("ia,ij,ja->a", u, np.linalg.inv([[q, c], [c, qp]]) / 2, u)
    growth = sum(np.where(one > 0, right, left) * one**2 for one, (left, right) in zip(u, rates, strict=True))
    return bool((density < growth).any())


# functions that are nowhere below A e^{αx² − B|x|} far out, and α on the left and on the right
GROWTHS = {
    "tanh(x)^2*exp(x^2/3)": (1 / 3, 1 / 3),
    "exp(max(x,0)^2/4)": (0.0, 1 / 4),
    "exp(min(x,0)^2/2)*arctan(x)": (1 / 2, 0.0),
    "cosh(x)": (0.0, 0.0),
}


@pytest.mark.parametrize("f", GROWTHS)
@pytest.mark.parametrize("g", GROWTHS)
def test_what_outgrows_the_density_along_a_ray(f, g):
    """Of the covariances the proof finds those, and no others, along whose circle the exponent is positive somewhere."""
    variances = [0.2, 0.7, 1.3, 2.2, 6.0]
    q, qp, rho = (part.ravel() for part in np.meshgrid(variances, variances, [-1, -0.95, -0.5, 0, 0.3, 0.8, 1]))
    square = np.sqrt(q) * np.sqrt(qp)
    # where |ρ| = 1 both have one size, whose square is known
    qp = np.where(np.abs(rho) == 1, q, qp)
    c = np.where(np.abs(rho) == 1, rho * q, rho * square)
    found = surely_infinite(kc.Activation(f), kc.Activation(g), q, qp, c, q * qp - c * c)
    rates = GROWTHS[f], GROWTHS[g]
    known = [outgrows(rates, *cov) for cov in zip(q.tolist(), qp.tolist(), c.tolist(), strict=True)]
    assert found.tolist() == known
    # a variance of 0 is that of a number
    for cov in ((0.0, 9.0), (9.0, 0.0), (0.0, 0.0)):
        one = np.array([cov[0]]), np.array([cov[1]]), np.zeros(1), np.zeros(1)
        assert not surely_infinite(kc.Activation(f), kc.Activation(g), *one).any()


def test_deltas_that_meet_off_the_line_have_their_density():
    """E δ(a) δ(b) = 1/(2π √det)."""
    bent = kc.Activation("relu(x)").derivative(2)
    assert kc.gaussian_expectation(bent, bent, 1.0, 4.0, 1.0) == pytest.approx(1 / (2 * np.pi * np.sqrt(3)), rel=1e-14)
