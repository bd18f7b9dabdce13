import warnings
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from scipy import stats
from scipy.special import k0

from kernelcalc.errors import CovarianceError, InputError, NotFiniteError, PrecisionError, ShapeError
from kernelcalc.kernels.mlp import MLP
from kernelcalc.training.flow import gradient_flow, hessian_moments
from kernelcalc.training.inversion import Standard
from kernelcalc.training.law import QuadraticLaw, mse_law, mse_quantiles
from kernelcalc.training.losses import MeanSquaredError
from kernelcalc.training.mse import mse_moments
from kernelcalc.training.quadratic import Form
from kernelcalc.training.start import initial_draws


def law(weights, linear=None, constant=0.0):
    weights = np.asarray(weights, dtype=float)
    return QuadraticLaw(
        weights=weights,
        linear=np.zeros_like(weights) if linear is None else np.asarray(linear, float),
        constant=constant,
    )


# Laws with a distribution function of their own; x where it is compared.
KNOWN = {
    "chi squared, 1": (law([1.0]), stats.chi2(1)),
    "chi squared, 2": (law([1.0, 1.0]), stats.chi2(2)),
    "chi squared, 30": (law(np.ones(30)), stats.chi2(30)),
    "minus chi squared, 5, shifted": (law(-np.ones(5), constant=2.0), None),
    "gamma": (law([0.7] * 6), stats.gamma(3, scale=1.4)),
    "noncentral": (law([1.0] * 3, [2.0, 0.0, 4.0], 5.0), stats.ncx2(3, 5.0)),
    "laplace": (law([0.5, 0.5, -0.5, -0.5]), stats.laplace(scale=1.0)),
    "normal": (law([0.0, 0.0], [3.0, 4.0], 1.0), stats.norm(1, 5)),
    "nearly normal": (law([1e-9], [1.0]), stats.norm(0, 1)),
}


@pytest.mark.parametrize(("ours", "reference"), KNOWN.values(), ids=KNOWN.keys())
def test_distribution_functions_in_closed_form(ours, reference):
    reference = reference or MirroredChi()
    levels = np.array([1e-4, 0.01, 0.2, 0.5, 0.63, 0.9, 0.999])
    x = reference.ppf(levels)
    np.testing.assert_allclose(ours.cdf(x), levels, rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours.pdf(x), reference.pdf(x), rtol=2e-6, atol=1e-8)
    np.testing.assert_allclose(ours.quantile(levels), x, rtol=0, atol=1e-6 * ours.std)
    np.testing.assert_allclose([ours.mean, ours.variance, ours.skewness], reference.stats("mvs"), rtol=1e-7, atol=1e-7)


class MirroredChi:
    base = stats.chi2(5)

    def ppf(self, p):
        return 2 - self.base.ppf(1 - p)

    def pdf(self, x):
        return self.base.pdf(2 - x)

    def stats(self, _):
        mean, variance, skewness = self.base.stats("mvs")
        return 2 - mean, variance, -skewness


def test_product_of_two_gaussians():
    product = law([0.5, -0.5])
    x = np.array([0.3, 1.0, 2.5])
    np.testing.assert_allclose(product.pdf(x), k0(x) / np.pi, rtol=1e-6)
    assert product.cdf(0.0) == pytest.approx(0.5, abs=1e-9)
    with pytest.raises(PrecisionError, match="infinite"):
        product.pdf(0.0)


def test_outside_the_support():
    positive = law([1.0, 2.0], [2.0, 0.0])  # (ξ + 1)² - 1 + 2ξ'²
    np.testing.assert_array_equal(positive.cdf([-1.0, -1.5, -100.0]), 0)
    np.testing.assert_array_equal(positive.pdf([-1.5]), 0)
    assert positive.cdf(1e4) == 1


@pytest.mark.parametrize("copies", [1, 3])
def test_against_sampling(copies):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 6))
    c = rng.normal(size=(6, 4))
    mu = rng.normal(size=(6, 2))
    ours = QuadraticLaw.of(a + a.T, c @ c.T, mu).averaged(copies)
    z = mu + np.einsum("ij,tsjk->tsik", c, rng.normal(size=(copies, 40000, 4, 2)))
    q = np.einsum("tsik,ij,tsjk->ts", z, a + a.T, z, optimize=True).mean(axis=0)
    assert abs(q.mean() - ours.mean) < 4 * ours.std / 200
    assert q.std() == pytest.approx(ours.std, rel=0.04)
    x = ours.mean + ours.std * np.array([-2, -1, 0, 1, 3])
    p = ours.cdf(x)
    z_scores = ((q[:, None] <= x).mean(axis=0) - p) / np.sqrt(p * (1 - p) / 40000 + 1e-12)
    assert np.abs(z_scores).max() < 4
    own = ours.sample(40000, rng=1)
    z_scores = ((own[:, None] <= x).mean(axis=0) - p) / np.sqrt(p * (1 - p) / 40000 + 1e-12)
    assert np.abs(z_scores).max() < 4


def test_density_integrates_to_the_distribution_function():
    ours = law([1.0, -0.4, 0.2, 0.05] * 4, [0.3, 1.0, 0.0, -0.2] * 4, 0.7)
    x = np.linspace(ours.mean - 1, ours.mean + 1, 101)
    simpson = np.sum(np.diff(x)[0] / 3 * ours.pdf(x) * np.r_[1, np.tile([4, 2], 49), 4, 1])
    assert simpson == pytest.approx(ours.cdf(x[-1]) - ours.cdf(x[0]), abs=1e-8)


def test_cumulants_against_the_series_of_the_cumulant_function():
    w, v, copies = [0.3, -0.2, 0.1], [0.5, 0.0, -0.4], 4
    ours = law(w, v, 0.2).averaged(copies)
    with mpmath.workdps(40):

        def generating(s):
            u = s / copies
            terms = (
                -mpmath.log(1 - 2 * u * a) / 2 + u**2 * b**2 / (2 * (1 - 2 * u * a)) for a, b in zip(w, v, strict=True)
            )
            return copies * (mpmath.fsum(terms) + mpmath.mpf("0.2") * u)

        taylor = mpmath.taylor(generating, 0, 5)
    for order in range(1, 6):
        assert ours.cumulant(order) == pytest.approx(float(taylor[order] * mpmath.factorial(order)), rel=1e-8)


def test_saddle_point_is_close_to_the_exact_law():
    ours = law(1 / np.arange(1, 40) ** 1.0, 0.3 * np.ones(39))
    x = ours.mean + ours.std * np.array([-1.5, -0.5, 0.0, 1e-5, 1.0, 4.0])
    exact, approximate = ours.cdf(x), ours.cdf(x, method="saddlepoint")
    np.testing.assert_allclose(1 - approximate, 1 - exact, rtol=0.1)
    np.testing.assert_allclose(approximate, exact, rtol=0.1)


@pytest.mark.parametrize("copies", [1, 5])
def test_the_saddle_point_of_the_mean_is_the_term_of_edgeworth(copies):
    """P(Q ≤ mean) = 1/2 + κ₃/(6 √(2π) κ₂^{3/2}), the limit that formula of Lugannani and Rice has there."""
    w, v = np.array([0.3, -0.2]), np.array([1.0, 0.4])
    ours = law(w, v, 0.7).averaged(copies)
    second, third = np.sum(2 * w**2 + v**2), np.sum(8 * w**3 + 6 * w * v**2)
    expected = 0.5 + third / second**1.5 / copies**0.5 / (6 * np.sqrt(2 * np.pi))
    assert ours.cdf(ours.mean, method="saddlepoint") == pytest.approx(expected, rel=1e-12)
    near = ours.cdf(ours.mean + ours.std * np.array([-2e-4, -0.9e-4, 0.9e-4, 2e-4]), method="saddlepoint")
    np.testing.assert_allclose(np.diff(near), stats.norm.pdf(0) * np.array([1.1e-4, 1.8e-4, 1.1e-4]), atol=2e-5)


@pytest.mark.parametrize("level", [1e-9, 1e-4, 0.3, 1 - 1e-7])
def test_quantiles_far_out(level):
    ours, reference = law([0.7] * 6), stats.gamma(3, scale=1.4)
    assert ours.cdf(ours.quantile(level)) == pytest.approx(level, abs=2e-10)
    # to 1e-10 in the level
    assert reference.ppf(level - 1e-10) <= ours.quantile(level) <= reference.ppf(level + 1e-10)


@pytest.mark.parametrize("copies", [1, 3])
def test_the_first_guess_of_a_quantile(copies):
    """Cornish and Fisher: z + κ₃ (z² − 1)/6 of the standardised law."""
    w, v = np.array([0.3, -0.2]), np.array([1.0, 0.4])
    ours, z = law(w, v).averaged(copies), stats.norm.ppf(0.9)
    skewness = np.sum(8 * w**3 + 6 * w * v**2) / np.sum(2 * w**2 + v**2) ** 1.5 / copies**0.5
    standard = Standard.of(w, v, copies, ours.std)
    assert standard.upper.cornish_fisher(0.9) == pytest.approx(z + skewness * (z**2 - 1) / 6, rel=1e-12)


def test_a_law_is_a_table_of_its_terms():
    ours = law([0.3, -0.2, 0.1], [1.0, 0.4, 0.0], 0.7)
    pytest.importorskip("xarray")
    assert dict(ours.to_xarray().sizes) == {"term": 3}
    with pytest.raises(InputError, match="a cumulant's order"):
        ours.cumulant(0)


def test_an_inversion_that_does_not_converge_says_where(monkeypatch):
    monkeypatch.setattr("kernelcalc.training.inversion._HALVINGS", 1)
    ours = law([1.0, 0.5], [0.2, 0.0])
    with pytest.raises(PrecisionError, match=r"the law did not converge at 1\.5 standard deviations from the mean"):
        ours.cdf(ours.mean + 1.5 * ours.std)


def test_many_small_terms_are_summed_together():
    """Σ λ = 3 over 3000 equal terms, one large term beside them: the cumulant function as it is defined."""
    weights, linear = np.r_[np.full(30, 1e-3), np.linspace(1e-4, 2e-3, 20), 0.5], np.r_[np.full(50, 0.02), 0.3]
    ours = law(weights, linear)
    tail = Standard.of(weights, linear, 1, ours.std).upper
    assert tail.weights.size < 51
    with mpmath.workdps(30):
        for s in (0.3, 0.9 + 2j, -4j, 0.05j):
            terms = [
                -(mpmath.log(1 - 2 * u * w) + 2 * u * w) / 2 + (u * v) ** 2 / (2 - 4 * u * w)
                for u in [mpmath.mpmathify(s) / ours.std]
                for w, v in zip(map(mpmath.mpf, weights.tolist()), map(mpmath.mpf, linear.tolist()), strict=True)
            ]
            np.testing.assert_allclose(complex(tail.k(np.array(s))), complex(mpmath.fsum(terms)), rtol=1e-13)


def test_many_copies_become_normal():
    ours = law([1.0, 0.5, -0.2], [0.1, 0.2, 0.3]).averaged(10**6)
    x = ours.mean + ours.std * np.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(ours.cdf(x), stats.norm.cdf([-1, 0, 2]), atol=1e-3)


N = 10


@pytest.fixture(scope="module")
def kernels():
    return MLP("erf", depth=3).kernels(np.random.default_rng(0).normal(size=(N, 4)))


@pytest.mark.parametrize("name", ["trace_s", "trace_s2", "loss"])
@pytest.mark.parametrize("n_out", [1, 2])
def test_mean_and_deviation_are_those_of_corollary_1(kernels, name, n_out):
    y, times = np.random.default_rng(1).normal(size=(N, n_out)), np.array([0.0, 3.0, 200.0])
    moments = mse_moments(kernels, y, times)
    laws = [mse_law(kernels, y, t, name) for t in times]
    np.testing.assert_allclose([v.mean for v in laws], getattr(moments, name), rtol=1e-9)
    np.testing.assert_allclose([v.std for v in laws], moments.deviation(name), rtol=1e-7)


@pytest.mark.parametrize("time", [0.0, 30.0])
def test_laws_of_s_against_simulated_training(kernels, time):
    y = np.cos(np.arange(N))[:, None]
    y0, g0 = initial_draws(kernels, 1, 4000, rng=2)
    ((w, yt),) = gradient_flow(kernels.theta, y0, y, MeanSquaredError(), np.array([time]), rtol=1e-4)
    slope = (yt - y) / N
    g = g0 - kernels.lam @ w
    samples = {
        "trace_s": np.einsum("sna,sna->s", g, slope),
        "trace_s2": np.einsum("sna,nm,sma->s", slope, kernels.upsilon, slope, optimize=True),
    }
    for name, values in samples.items():
        ours = mse_law(kernels, y, time, name)
        levels = np.array([0.05, 0.5, 0.95])
        below = (values[:, None] <= ours.quantile(levels)).mean(axis=0)
        assert (np.abs(below - levels) / np.sqrt(levels * (1 - levels) / 4000)).max() < 4


def test_quantiles_over_time_hold_their_share_of_simulated_networks(kernels):
    y, times = np.cos(np.arange(kernels.theta.shape[0])), [0.0, 5.0]
    samples = hessian_moments(kernels, y, times, samples=4000, kmax=2, rng=2)
    for name in ("trace_s", "trace_s2", "loss"):
        values = getattr(samples, f"sample_{name}")
        one = mse_quantiles(kernels, y, times, name, [0.05, 0.95])
        four = mse_quantiles(kernels, y, times, name, [0.05, 0.95], copies=4)
        means = values.reshape(1000, 4, 2).mean(axis=1)
        for drawn, quantiles in ((values, one), (means, four)):
            for quantile, level in zip(quantiles, (0.05, 0.95), strict=True):
                share = (drawn < quantile).mean(axis=0)
                assert (np.abs(share - level) < 4 * np.sqrt(0.05 * 0.95 / len(drawn))).all()


def test_constant_law():
    point = law([0.0], constant=3.0)
    for method in ("inversion", "saddlepoint"):
        np.testing.assert_array_equal(point.cdf([2.9, 3.0, 3.1], method=method), [0, 1, 1])
    np.testing.assert_array_equal(point.pdf([2.9, 3.0, 3.1]), 0)
    assert point.quantile(0.3) == 3.0
    assert (point.sample(2).tolist(), point.sample(0).tolist()) == ([3.0, 3.0], [])
    assert point.skewness == 0


@pytest.mark.parametrize("copies", [1, 2])
def test_draws_are_those_of_a_seed(copies):
    """Σ λ ξ² + l ξ + c of the generator's own draws, one copy after the other; the seed is 0 by default."""
    w, v = np.array([0.3, -0.2]), np.array([1.0, 0.4])
    ours, xi = law(w, v, 0.7).averaged(copies), np.random.default_rng(0).standard_normal((copies, 3, 2))
    expected = 0.7 + np.mean(np.sum(w * xi**2 + v * xi, axis=2), axis=0)
    np.testing.assert_allclose(ours.sample(3), expected, rtol=1e-14)
    np.testing.assert_allclose(ours.sample(3, 0), expected, rtol=1e-14)
    assert (ours.sample(3, 1) != expected).all()


@pytest.mark.parametrize(
    ("sigma", "labels", "said"),
    [
        # a millionth of n_out Σ + y² in the mode that has not decayed
        ((1.0, 0.8e-6), (0.0, 0.0), False),
        ((1.0, 1.2e-6), (0.0, 0.0), True),
        ((0.25, 0.1e-6), (0.0, 0.5e-3), False),
        ((0.25, 0.2e-6), (0.0, 0.6e-3), True),
        ((0.25, 0.0), (1.0, 1.1e-3), False),
        ((0.25, 0.0), (1.0, 1.3e-3), True),
    ],
)
def test_a_late_law_warns_by_the_loss_of_each_mode(sigma, labels, said):
    """Θ of eigenvalues 1 and 1e-13 at time 1e13, two outputs of which the second has labels."""
    turn = np.array([[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]])
    theta, covariance = ((turn * np.array(v)) @ turn.T for v in ((1.0, 1e-13), sigma))
    kernels = SimpleNamespace(theta=theta, sigma=covariance)
    y = np.stack([np.zeros(2), turn @ np.array(labels)], axis=1)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        mse_law(kernels, y, 1e13, "loss")
    assert [str(one.message).startswith("moments under MSE at time 1e+13") for one in found] == [True] * said


def test_errors_say_what_was_expected(kernels):
    y = np.zeros(N)
    huge = np.full((1, 1), 1e200)
    for call, error, text in (
        (
            lambda: Form(inner=huge * np.inf, image=huge, constant=0.0),
            NotFiniteError,
            r"^expected kernels and labels whose quadratic form is below 1\.8e308, got an overflow; scale them down$",
        ),
        (lambda: Form(inner=huge, image=huge, constant=np.nan), NotFiniteError, "an overflow"),
        (lambda: QuadraticLaw.of(huge, huge, [[1e200]]), NotFiniteError, "an overflow"),
        (lambda: QuadraticLaw.of(np.tri(2), np.eye(2)), InputError, r"d a symmetric form, got .*; take \(A \+ A\.T\)/2$"),
        (lambda: QuadraticLaw.of(["a"], np.eye(2)), InputError, r"^expected form, an array \(d, d\), got"),
        (lambda: QuadraticLaw.of(np.eye(2), ["a"]), InputError, r"^expected covariance, an array \(d, d\), got"),
        (lambda: QuadraticLaw.of(np.eye(2), np.eye(2), ["a", "b"]), InputError, r"^expected means, an array \(d, copies\)"),
        (lambda: law([1.0]).averaged(0), InputError, "^expected copies, a whole number of at least 1"),
        (lambda: law([1.0]).cumulant(0), InputError, "^expected a cumulant's order, a whole number of at least 1"),
        (lambda: law([1.0]).sample(-1), InputError, "^expected a number of draws, a whole number of at least 0, got -1$"),
        (lambda: law([1.0]).sample(2.5), InputError, "a number of draws.* got 2.5$"),
        (lambda: law([1.0]).sample(2, rng="a"), InputError, "^expected rng, a seed"),
        (lambda: law([1.0]).cdf("a"), InputError, "^expected points, numbers, got"),
        (lambda: law([1.0]).cdf(0.0, method="magic"), InputError, "^expected method 'inversion' or 'saddlepoint', got 'magic'"),
        (lambda: law([0.5, -0.5]).pdf(0.0), PrecisionError, "^the density is infinite at one of the points, or nearly so$"),
        (lambda: QuadraticLaw.of(np.eye(2), np.eye(2), np.zeros(3)), ShapeError,
            r"^expected a form and a covariance \(d, d\) and means \(d, copies\), got .*, \(3, 1\)"),
        (lambda: mse_law(kernels, np.zeros(N + 1), 0.0), ShapeError, r"\bY\b"),
        (lambda: mse_law(kernels, targets=y, time=0.0), InputError, r"the argument targets is called Y now"),
        (lambda: mse_quantiles(kernels, targets=y, times=[0.0], moment="loss"), InputError, r"targets is called Y now"),
        (lambda: mse_law(kernels, y, 0.0, "trace_i"), InputError, "^expected moment 'trace_s', .* 'loss', got 'trace_i'"),
        (lambda: mse_quantiles(kernels, y, [0.0], "loss", copies=0), InputError, "^expected copies, a whole number"),
        (lambda: mse_quantiles(kernels, y, [0.0], "loss", tol=-1.0), InputError, "^expected a tolerance tol, .* got -1"),
        (lambda: mse_law(kernels, y, 0.0, descent="a"), InputError, "^expected descent, a kernelcalc.Descent, got 'a'"),
        (lambda: mse_quantiles(kernels, y, [np.inf], "loss"), InputError, "time"),
    ):  # fmt: skip
        with pytest.raises(error, match=text):
            call()


@pytest.mark.parametrize(
    ("name", "needed"),
    [("trace_s", ("sigma", "phi", "xi", "lam")), ("trace_s2", ("sigma", "upsilon")), ("loss", ("sigma",))],
)
def test_kernels_of_another_size_are_named(kernels, name, needed):
    """Those that the moment needs, and no other."""
    whole = {kernel: getattr(kernels, kernel) for kernel in ("sigma", "theta", "phi", "lam", "upsilon", "xi")}
    for kernel in whole.keys() - {"theta"}:
        fewer = SimpleNamespace(**whole | {kernel: whole[kernel][1:, 1:]})
        if kernel in needed:
            with pytest.raises(
                ShapeError, match=rf"^expected a kernel {kernel} of the shape \({N}, {N}\)|kernel phi .*9, 9"
            ):
                mse_law(fewer, np.zeros(N), 0.0, name)
        else:
            assert mse_law(fewer, np.zeros(N), 0.0, name).mean == mse_law(kernels, np.zeros(N), 0.0, name).mean


@pytest.mark.parametrize("name", ["trace_s", "trace_s2", "loss"])
def test_laws_where_numbers_overflow_are_refused(name):
    for size, label in ((1e160, 1e160), (1e120, 1e140), (1e200, 0.0)):
        one = np.full((1, 1), size)
        ones = SimpleNamespace(sigma=one, theta=one, phi=one, lam=one, upsilon=one, xi=one)
        # all kernels k, label y: E Tr S = k and E C = (k + y²)/2 at the start
        expected = {"trace_s": size, "trace_s2": np.inf, "loss": (size + label**2) / 2 if label < 1e150 else np.inf}[
            name
        ]
        if np.isinf(expected) or label > 1e150:
            with pytest.raises(NotFiniteError, match=r"below 1\.8e308, got an overflow|Y whose squares are finite"):
                mse_law(ones, [label], 0.0, name)
        else:
            assert mse_law(ones, [label], 0.0, name).mean == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["trace_s", "trace_s2", "loss"])
def test_points_that_are_there_twice_change_nothing(name):
    """A singular Θ, whose null space is no more than rounding in Λ."""
    points, y = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).normal(size=4)
    net = MLP("erf", depth=3)
    once, twice = net.kernels(points), net.kernels(np.repeat(points, 2, axis=0))
    for time, size in ((0.0, 0.0), (10.0, 0.0), (1e6, 1e-16)):
        one, two = mse_law(once, y, time, name), mse_law(twice, np.repeat(y, 2), time, name)
        assert (two.mean, two.std) == pytest.approx((one.mean, one.std), rel=1e-9, abs=size)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda k: QuadraticLaw.of(np.eye(2), np.eye(3)), ShapeError),
        (lambda k: QuadraticLaw.of([[1.0, 2.0], [0.0, 1.0]], np.eye(2)), InputError),
        (lambda k: QuadraticLaw.of(np.eye(2), [[1.0, 2.0], [2.0, 1.0]]), CovarianceError),
        (lambda k: law([1.0]).averaged(0), InputError),
        (lambda k: law([1.0]).cumulant(0), InputError),
        (lambda k: law([1.0]).quantile(1.0), InputError),
        (lambda k: law([1.0]).cdf(0.0, method="magic"), InputError),
        (lambda k: mse_law(k, np.zeros(N), -1.0), InputError),
        (lambda k: mse_law(k, np.zeros(N), 1.0, "trace_s3"), InputError),
    ],
)
def test_named_errors(kernels, call, error):
    with pytest.raises(error):
        call(kernels)
