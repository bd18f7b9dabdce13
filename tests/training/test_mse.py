"""Corollary 1 against literal matrix formulas, sampling, mpmath and its limits."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import mpmath as mp
import numpy as np
import pytest
from scipy.linalg import expm

from kernelcalc.errors import InputError, NotFiniteError, ShapeError, SmoothnessError
from kernelcalc.kernels.mlp import MLP
from kernelcalc.training.descent import Descent
from kernelcalc.training.mse import mse_moments, training_times


@dataclass(frozen=True)
class Kernels:
    sigma: np.ndarray
    theta: np.ndarray
    phi: np.ndarray
    lam: np.ndarray
    upsilon: np.ndarray
    xi: np.ndarray


def consistent_kernels(n: int, rng: np.random.Generator, spectrum: np.ndarray | None = None) -> Kernels:
    """Kernels of explicit features: Θ = JJᵀ, Λ = KJᵀ, (f, g) = F z, so that every inequality between them holds."""
    jacobian = rng.standard_normal((n, 2 * n)) / np.sqrt(n)
    if spectrum is not None:
        u, _, v = np.linalg.svd(jacobian, full_matrices=False)
        jacobian = u * np.sqrt(spectrum) @ v
    other = rng.standard_normal((n, 2 * n)) / np.sqrt(n)
    features = rng.standard_normal((2 * n, 3 * n)) / np.sqrt(n)
    joint = features @ features.T
    half = rng.standard_normal((n, n)) / np.sqrt(n)
    return Kernels(
        sigma=joint[:n, :n],
        xi=joint[n:, n:],
        phi=joint[n:, :n],
        theta=jacobian @ jacobian.T,
        lam=other @ jacobian.T,
        upsilon=half @ half.T,
    )


def literal(k: Kernels, y: np.ndarray, t: float) -> tuple[float, float, float]:
    """E Tr S, E Tr S², E C as printed in the corollary, with dense matrix functions."""
    n, n_out = y.shape
    e = expm(-t * k.theta / n)
    m = n_out * k.sigma + y @ y.T
    first = -np.trace((np.eye(n) - e) @ np.linalg.inv(k.theta) @ k.lam.T @ e @ m) + n_out * np.trace(e @ k.phi.T)
    second = np.trace(e @ k.upsilon @ e @ m)
    return first / n, second / n**2, np.trace(e @ e @ m) / (2 * n)


@pytest.mark.parametrize("n_out", [1, 3])
def test_means_equal_the_literal_formula(n_out: int) -> None:
    rng = np.random.default_rng(0)
    k = consistent_kernels(12, rng)
    y = rng.standard_normal((12, n_out))
    times = np.array([3.0, 0.0, 0.5, 40.0])
    traj = mse_moments(k, y, times)
    expected = np.array([literal(k, y, t) for t in times])
    np.testing.assert_allclose(traj.trace_s, expected[:, 0], rtol=1e-10)
    np.testing.assert_allclose(traj.trace_s2, expected[:, 1], rtol=1e-10)
    np.testing.assert_allclose(traj.loss, expected[:, 2], rtol=1e-10)
    for power in range(1, 5):
        trace = n_out * np.trace(np.linalg.matrix_power(k.theta / 12, power))
        np.testing.assert_allclose(traj.trace_i[power - 1], trace, rtol=1e-12)
    np.testing.assert_allclose(traj.trace_h[0], traj.trace_i[0] + expected[:, 0], rtol=1e-12)
    np.testing.assert_allclose(traj.trace_h[1], traj.trace_i[1] + expected[:, 1], rtol=1e-12)
    np.testing.assert_array_equal(traj.trace_h[2:], traj.trace_i[2:])


@pytest.mark.parametrize("n_out", [1, 2])
def test_standard_deviations_equal_dense_quadratic_forms(n_out: int) -> None:
    rng = np.random.default_rng(1)
    n = 9
    k = consistent_kernels(n, rng)
    y = rng.standard_normal((n, n_out))
    times = np.array([0.0, 1.0, 20.0])
    traj = mse_moments(k, y, times)
    cov = np.block([[k.sigma, k.phi.T], [k.phi, k.xi]])
    zero = np.zeros((n, n))
    for i, t in enumerate(times):
        e = expm(-t * k.theta / n)
        b = -k.lam @ np.linalg.inv(k.theta) @ (np.eye(n) - e)
        first = np.block([[b.T @ e, zero], [e, zero]]) / n
        second = np.block([[e @ k.upsilon @ e, zero], [zero, zero]]) / n**2
        third = np.block([[e @ e, zero], [zero, zero]]) / (2 * n)
        for form, std in ((first, traj.trace_s_std), (second, traj.trace_s2_std), (third, traj.loss_std)):
            a = (form + form.T) / 2
            ac = a @ cov
            variance = sum(
                2 * np.trace(ac @ ac) + 4 * mu @ ac @ a @ mu for mu in np.hstack([-y.T, np.zeros((n_out, n))])
            )
            np.testing.assert_allclose(std[i], np.sqrt(variance), rtol=1e-9)
    np.testing.assert_array_equal(traj.trace_h_std[0], traj.trace_s_std)
    np.testing.assert_array_equal(traj.trace_h_std[1], traj.trace_s2_std)
    np.testing.assert_array_equal(traj.trace_h_std[2:], 0.0)


def test_mean_and_deviation_agree_with_sampled_initialisations() -> None:
    # The path of (Y, G) is integrated as one linear system, without the closed form of G(t).
    rng = np.random.default_rng(2)
    n, n_out, draws = 6, 2, 100_000
    k = consistent_kernels(n, rng)
    y = rng.standard_normal((n, n_out))
    times = np.array([0.0, 2.0, 15.0])
    traj = mse_moments(k, y, times)
    root = np.linalg.cholesky(np.block([[k.sigma, k.phi.T], [k.phi, k.xi]]))
    start = root @ rng.standard_normal((draws, 2 * n, n_out))
    start[:, :n] -= y
    generator = -np.block([[k.theta, np.zeros((n, n))], [k.lam, np.zeros((n, n))]]) / n
    for i, t in enumerate(times):
        state = expm(t * generator) @ start
        gradient, g = state[:, :n] / n, state[:, n:]
        samples = {
            "trace_s": np.einsum("snk,snk->s", g, gradient),
            "trace_s2": np.einsum("snk,nm,smk->s", gradient, k.upsilon, gradient),
            "loss": n * np.einsum("snk,snk->s", gradient, gradient) / 2,
        }
        for name, values in samples.items():
            z = (values.mean() - getattr(traj, name)[i]) / (values.std() / np.sqrt(draws))
            assert abs(z) < 4, (name, t, z)
            spread = values.var()
            error = np.sqrt((((values - values.mean()) ** 2).var()) / draws)
            z = (spread - getattr(traj, name + "_std")[i] ** 2) / error
            assert abs(z) < 4, (name, t, z)


def test_outputs_add_up() -> None:
    rng = np.random.default_rng(3)
    k = consistent_kernels(10, rng)
    y = rng.standard_normal((10, 3))
    times = [0.0, 1.0, 10.0]
    together = mse_moments(k, y, times)
    single = [mse_moments(k, y[:, j], times) for j in range(3)]
    for name in ("trace_i", "trace_s", "trace_s2", "trace_h", "loss"):
        np.testing.assert_allclose(getattr(together, name), sum(getattr(s, name) for s in single), rtol=1e-11)
    for name in ("trace_s_std", "trace_s2_std", "loss_std"):
        np.testing.assert_allclose(getattr(together, name) ** 2, sum(getattr(s, name) ** 2 for s in single), rtol=1e-9)


def test_start_and_end() -> None:
    rng = np.random.default_rng(4)
    k = consistent_kernels(8, rng)
    y = rng.standard_normal((8, 2))
    traj = mse_moments(k, y, [0.0, np.inf])
    np.testing.assert_allclose(traj.trace_s[0], 2 * np.trace(k.phi) / 8, rtol=1e-12)
    np.testing.assert_allclose(traj.loss[0], (2 * np.trace(k.sigma) + np.sum(y**2)) / 16, rtol=1e-12)
    for name in ("trace_s", "trace_s2", "loss", "trace_s_std", "trace_s2_std", "loss_std"):
        assert getattr(traj, name)[1] == 0.0
    np.testing.assert_array_equal(traj.trace_h[:, 1], traj.trace_i[:, 1])


def duplicated(k: Kernels, pick: np.ndarray) -> Kernels:
    return Kernels(**{name: matrix[np.ix_(pick, pick)] for name, matrix in vars(k).items()})


def test_duplicate_points() -> None:
    # Reference: the distinct points obey their own linear system in the sums over copies; the differences between the
    # residuals of copies stay as they are.
    rng = np.random.default_rng(5)
    base = consistent_kernels(7, rng)
    pick = np.array([0, 1, 2, 3, 4, 5, 6, 0, 0, 3])
    k, n = duplicated(base, pick), pick.size
    assert np.linalg.matrix_rank(k.theta) == 7
    y = rng.standard_normal((n, 1))
    times = np.array([0.0, 1.0, 100.0, 1e6, 1e300, np.inf])
    traj = mse_moments(k, y, times)

    mp.mp.dps = 60
    try:
        copy = mp.zeros(n, 7)
        for i, j in enumerate(pick):
            copy[i, int(j)] = 1
        theta, lam, phi, ups, sig = (mp.matrix(getattr(base, s)) for s in ("theta", "lam", "phi", "upsilon", "sigma"))
        target = mp.matrix(y)
        m = copy * sig * copy.T + target * target.T
        # s = copyᵀ r obeys ∂_t s = -(copyᵀcopy) Θ s/N; f-space residual r(t) = r_0 - copy Θ ∫s/N.
        counts = copy.T * copy
        rate = counts * theta / n
        for i, t in enumerate(times[:3]):
            flow = mp.expm(-mp.mpf(float(t)) * rate)
            integral = rate**-1 * (mp.eye(7) - flow)  # ∫_0^t e^{-u rate} du
            to_r = mp.eye(n) - copy * theta * integral * copy.T / n
            to_s = flow * copy.T
            drift = lam * integral * copy.T / n
            trace = lambda a: sum(a[j, j] for j in range(a.rows))  # noqa: E731
            first = (trace(to_s * copy * phi.T) - trace(drift.T * to_s * m)) / n
            second = trace(to_s.T * ups * to_s * m) / n**2
            loss = trace(to_r.T * to_r * m) / (2 * n)
            np.testing.assert_allclose(
                [traj.trace_s[i], traj.trace_s2[i], traj.loss[i]], [float(first), float(second), float(loss)], rtol=1e-9
            )
    finally:
        mp.mp.dps = 15

    within = y[[0, 7, 8]] - y[[0, 7, 8]].mean(), y[[3, 9]] - y[[3, 9]].mean()
    leftover = sum(np.sum(w**2) for w in within) / (2 * n)
    np.testing.assert_allclose(traj.loss[3:], leftover, rtol=1e-10)
    # Υ and G see only sums over copies, so S dies although the loss does not.
    assert np.abs(traj.trace_s[3:]).max() < 1e-10
    assert np.abs(traj.trace_s2[3:]).max() < 1e-12
    for name in ("trace_s_std", "trace_s2_std", "loss_std"):
        assert np.isfinite(getattr(traj, name)).all()


def test_condition_number_1e12_against_mpmath() -> None:
    rng = np.random.default_rng(6)
    n = 10
    k = consistent_kernels(n, rng, spectrum=np.logspace(0, -12, n))
    y = rng.standard_normal((n, 1))
    times = np.array([0.0, 1.0, 1e4, 1e8, 1e12, 1e13, np.inf])
    traj = mse_moments(k, y, times)
    mp.mp.dps = 60
    try:
        values, q = mp.eigsy(mp.matrix((k.theta + k.theta.T) / 2))
        lam, phi, ups, sig, target = (mp.matrix(a) for a in (k.lam, k.phi, k.upsilon, k.sigma, y))
        m = q.T * (sig + target * target.T) * q
        lam, phi, ups = (q.T * a * q for a in (lam, phi, ups))
        for i, t in enumerate(times[:-1]):
            e = [mp.exp(-v * mp.mpf(float(t)) / n) for v in values]
            a = [-mp.expm1(-v * mp.mpf(float(t)) / n) / v for v in values]
            terms = [a[r] * lam[c, r] * e[c] * m[c, r] for r in range(n) for c in range(n)]
            first = mp.fsum(e[r] * phi[r, r] for r in range(n)) - mp.fsum(terms)
            second = mp.fsum(e[r] * ups[r, c] * e[c] * m[c, r] for r in range(n) for c in range(n))
            loss = mp.fsum(e[r] ** 2 * m[r, r] for r in range(n))
            # Θ known to eps‖Θ‖ determines e^{-tΘ/N} to eps‖Θ‖t/N, until the slowest mode is gone.
            rtol = n * np.finfo(float).eps * (10 + min(t / n, 1e12))
            np.testing.assert_allclose(
                [traj.trace_s[i], traj.trace_s2[i], traj.loss[i]],
                [float(first / n), float(second / n**2), float(loss / (2 * n))],
                rtol=rtol,
            )
    finally:
        mp.mp.dps = 15
    assert traj.trace_s[-1] == traj.trace_s2[-1] == traj.loss[-1] == 0.0


def test_null_direction_that_lam_does_not_share() -> None:
    # Θ = diag(1, 0), Λ[0, 1] = 1: A_t has the entry t/N, so Tr S gains -(t/N) e^{-t/N} M_01/N.
    eye = np.eye(2)
    k = Kernels(eye, np.diag([1.0, 0.0]), 0 * eye, np.array([[0.0, 1.0], [0.0, 0.0]]), eye, eye)
    y = np.array([2.0, 3.0])
    times = np.array([0.0, 1.0, 5.0, np.inf])
    expected = -(times[:3] / 2) * np.exp(-times[:3] / 2) * 6.0 / 2
    np.testing.assert_allclose(mse_moments(k, y, times).trace_s, [*expected, 0.0], rtol=1e-12)
    grows = replace(k, lam=np.diag([0.0, 1.0]))
    np.testing.assert_allclose(mse_moments(grows, y, [4.0]).trace_s, -(4 / 2) * (1 + 9.0) / 2)
    with pytest.raises(
        InputError, match=r"^expected a kernel lam that vanishes .* a component 1 there; .* use finite times$"
    ):
        mse_moments(grows, y, [np.inf])
    # Λ[1, 0] = 1: A_t has the entry 1 - e^{-t/N}, and the residual that it meets stays
    learns = replace(k, lam=np.array([[0.0, 0.0], [1.0, 0.0]]))
    np.testing.assert_allclose(mse_moments(learns, y, times).trace_s, np.expm1(-times / 2) * 6.0 / 2, rtol=1e-12)


def test_steps_and_moments_of_one_point() -> None:
    # All kernels 1, target 0, steps of 1/2: p = 1/4 and w = 3/4 after two; Tr S = Φp - Λwp, Tr S² = Υp², C = p²/2.
    one = np.ones((1, 1))
    traj = mse_moments(Kernels(*[one] * 6), [0.0], [1.1], descent=Descent(0.5))
    np.testing.assert_array_equal(traj.times, [1.0])
    np.testing.assert_allclose([traj.trace_s, traj.trace_s2, traj.loss], [[1 / 16], [1 / 16], [1 / 32]], rtol=1e-14)
    np.testing.assert_array_equal(traj.trace_i, np.ones((4, 1)))


def test_origin_tells_networks_and_targets_apart() -> None:
    cases = [("tanh", [0.0, 1.0]), ("tanh", [0.0, 2.0]), ("erf", [0.0, 1.0])]
    first, other, erf = (mse_moments(MLP(name).kernels(np.eye(2)), y, [0.0]).origin for name, y in cases)
    assert [key for key in first if first[key] != other[key]] == ["targets"]
    assert first != erf
    assert first["targets"] == erf["targets"]


@pytest.mark.parametrize(
    ("name", "changed", "times"),
    [
        ("trace_i", {"theta": 1e200}, [0.0]),
        ("trace_s", {"phi": 1.5e308, "lam": 1e308}, [0.3]),
        ("loss_std", {"sigma": 1e200}, [0.0]),
        ("loss_std", {"sigma": 1e200}, [np.inf]),
        ("trace_s2_std", {"sigma": 1e200}, [0.0]),
        ("trace_s_std", {"sigma": 1e200, "xi": 1e200}, [0.0]),
    ],
)
def test_overflow_is_a_named_error(name: str, changed: dict[str, float], times: list[float]) -> None:
    k = bad(**{"theta": np.eye(3)} | {kernel: size * (0.5 + np.eye(3) / 2) for kernel, size in changed.items()})
    with pytest.raises(NotFiniteError, match=f"whose {name} is below 1.8e308, got an overflow; scale points"):
        getattr(mse_moments(k, [1, 2, 3], times), name)


def bad(**changes: np.ndarray) -> Kernels:
    return replace(consistent_kernels(3, np.random.default_rng(0)), **changes)


SKEW = np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("kernels", "y", "times", "kmax", "error", "message"),
    [
        (bad(), [1, 2, 3], [-1.0], 4, InputError, "times ≥ 0"),
        (bad(), [1, 2, 3], [np.nan], 4, NotFiniteError, "NaN"),
        (bad(), [1, 2, 3], [[1.0]], 4, ShapeError, r"\(1, 1\)"),
        (bad(), [1, 2, 3], ["a"], 4, InputError, "numbers"),
        (bad(), [1, np.nan, 3], [0.0], 4, NotFiniteError, "finite Y"),
        (bad(), [1, 2], [0.0], 4, ShapeError, r"\(3,\) or \(3, n_out\)"),
        (bad(), np.zeros((3, 0)), [0.0], 4, ShapeError, "Y"),
        (bad(), [1, 2, 3], [0.0], 0, InputError, "^expected kmax, a whole number of at least 1, got 0$"),
        (bad(), [1, 2, 3], [0.0], 2.5, InputError, "kmax"),
        (bad(sigma=SKEW), [1, 2, 3], [0.0], 4, InputError, "symmetric kernel sigma"),
        (bad(theta=SKEW), [1, 2, 3], [0.0], 4, InputError, "symmetric kernel theta"),
        (bad(upsilon=SKEW), [1, 2, 3], [0.0], 4, InputError, "symmetric kernel upsilon"),
        (bad(theta=np.diag([1.0, 1.0, -0.1])), [1, 2, 3], [0.0], 4, InputError, "semidefinite"),
        (bad(phi=np.full((3, 3), np.nan)), [1, 2, 3], [0.0], 4, NotFiniteError, "phi"),
        (bad(lam=np.zeros((3, 2))), [1, 2, 3], [0.0], 4, ShapeError, "square kernel lam"),
        (bad(lam=np.zeros((2, 2))), [1, 2, 3], [0.0], 4, ShapeError, r"\(3, 3\), got"),
        (object(), [1, 2, 3], [0.0], 4, InputError, "array theta"),
    ],
)
def test_bad_input(kernels: object, y: object, times: object, kmax: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        mse_moments(kernels, y, times, kmax=kmax)  # type: ignore[arg-type]


def test_the_old_name_of_the_labels_is_refused() -> None:
    with pytest.raises(InputError, match=r"mse_moments\(Y=.*the argument targets is called Y now"):
        mse_moments(bad(), targets=[1, 2, 3], times=[0.0])  # type: ignore[call-arg]


def test_xi_is_needed_only_for_the_deviation_of_trace_s() -> None:
    traj = mse_moments(bad(xi=SKEW), [1, 2, 3], [0.0])
    assert traj.trace_s2_std.shape == traj.loss_std.shape == (1,)
    with pytest.raises(InputError, match="symmetric kernel xi"):
        _ = traj.trace_s_std


def test_smoothness_error_of_the_kernels_is_passed_on() -> None:
    class Rough:
        theta = sigma = np.eye(3)

        @property
        def phi(self) -> np.ndarray:
            raise SmoothnessError("a smooth nonlinearity", "relu")

    with pytest.raises(SmoothnessError, match="relu"):
        mse_moments(Rough(), [1, 2, 3], [0.0])


def test_many_times_cost_little_more_than_one() -> None:
    # One dense N³ product for each of the 500 times would make the ratio several hundred.
    k = consistent_kernels(160, np.random.default_rng(7))

    def fastest(count: int) -> float:
        durations = []
        for _ in range(3):
            start = time.perf_counter()
            mse_moments(k, np.ones(160), np.geomspace(1e-2, 1e4, count))
            durations.append(time.perf_counter() - start)
        return min(durations)

    assert fastest(500) < 20 * fastest(1)


def test_training_times_span_the_modes() -> None:
    theta = np.diag([8.0, 4.0, 2.0, 1.0, 0.5, 0.0])
    times = training_times(theta, 5)
    assert times[0] == 0.0
    assert times[1] == pytest.approx(6 / 8 / 30, rel=0.5)
    assert times[-1] == pytest.approx(6 / 1.0, rel=0.5)
    np.testing.assert_allclose(np.diff(np.log(times[1:])), np.log(times[-1] / times[1]) / 4)
    # beside -1, what is positive is rounding
    for nothing in (np.zeros((2, 2)), np.diag([-1.0, 1e-20])):
        with pytest.raises(InputError, match="positive eigenvalue"):
            training_times(nothing)
    with pytest.raises(InputError, match=r"^expected count, a whole number of at least 2, got 1$"):
        training_times(theta, 1)
    with pytest.raises(ShapeError, match="a square kernel theta"):
        training_times(np.ones((2, 3)))
