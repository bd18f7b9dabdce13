"""Training against solved problems and SciPy's integrators."""

import sys

import numpy as np
import pytest
from conftest import make_problem
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from stand_ins import RELU, Architecture, alternating

from kernelcalc.errors import InputError, IntegrationError, MissingExtraError, NotFiniteError, UnknownNameError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.derivatives import Problem
from kernelcalc.finite.training import Schedule, largest_eigenvalue


def test_flow_of_a_linear_network_is_a_matrix_exponential():
    fin = FiniteNetwork.random(alternating(1, n_out=2), (), 3, rng=0)
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    theta = fin.ntk(X)[:, :, 0, 0]
    times = [0.0, 0.5, 3.0, 40.0]
    outputs = fin.train(X, Y, times, tol=1e-6, record=lambda t, now: now(X)).records
    for t, f in zip(times, outputs, strict=True):
        np.testing.assert_allclose(f, Y + expm(-t * theta / 5) @ (fin(X) - Y), atol=2e-5)


@pytest.mark.parametrize("name", ["two hidden", "two hidden, softmax", "four hidden"])
def test_flow_against_scipy(name):
    fin, X, Y, loss = make_problem(name)
    checked = Problem.of(fin, X, Y, loss)
    times = np.array([0.3, 2.0, 10.0])
    exact = solve_ivp(
        lambda t, theta: -checked.gradient(fin.with_parameters(theta)),
        (0, 10),
        fin.parameters,
        t_eval=times,
        rtol=1e-11,
        atol=1e-12,
        method="DOP853",
    ).y.T
    for tol in (1e-2, 1e-4, 1e-5):
        found = np.array(fin.train(X, Y, times, loss=loss, tol=tol, record=lambda t, now: now.parameters).records)
        assert np.linalg.norm(found - exact, axis=1).max() < 20 * tol


def test_gradient_descent_is_its_recursion():
    fin, X, Y, loss = make_problem("three hidden")
    theta = fin.parameters
    for _ in range(7):
        theta = theta - 0.05 * fin.with_parameters(theta).gradient(X, Y, loss)
    result = fin.train(X, Y, [0.0, 0.36], loss=loss, method="gd", step=0.05)
    # 0.36 / 0.05 rounds to 7 steps
    np.testing.assert_allclose(result.times, [0, 0.35])
    np.testing.assert_allclose(result.network.parameters, theta, rtol=1e-13)
    np.testing.assert_allclose(result.loss, [fin.loss(X, Y, loss), result.network.loss(X, Y, loss)])


def test_small_steps_approach_the_flow():
    fin, X, Y, loss = make_problem("two hidden")
    flow = fin.train(X, Y, [2.0], loss=loss, tol=1e-5).network.parameters
    errors = [
        np.linalg.norm(fin.train(X, Y, [2.0], loss=loss, method="gd", step=h).network.parameters - flow)
        for h in (0.02, 0.01)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)


def test_sgd_sees_every_point_once_an_epoch():
    fin, X, Y, _ = make_problem("linear")
    step = 1e-6
    one_epoch = fin.train(X, Y, [3 * step], method="sgd", step=step, batch_size=2, rng=0).network
    whole = fin.train(X, Y, [3 * step], method="gd", step=3 * step).network
    # three batches of 2 of the 6 points are, to first order, one step of length 3 with the whole mean
    np.testing.assert_allclose(one_epoch.parameters, whole.parameters, atol=1e-10)
    again = fin.train(X, Y, [3 * step], method="sgd", step=step, batch_size=2, rng=0).network
    np.testing.assert_array_equal(one_epoch.parameters, again.parameters)


def test_default_step_descends():
    fin, X, Y, loss = make_problem("relu")
    result = fin.train(X, Y, np.arange(5.0), loss=loss, method="gd")
    assert np.all(np.diff(result.loss) < 0)


def test_largest_eigenvalue(problem):
    fin, X, Y, loss = problem
    exact = np.abs(np.linalg.eigvalsh(fin.hessian(X, Y, loss))).max()
    assert largest_eigenvalue(fin, Problem.of(fin, X, Y, loss)) == pytest.approx(exact, rel=0.1)


def test_the_largest_eigenvalue_is_sought_from_the_gradient():
    fin, X, Y, loss = make_problem("two hidden, softmax")
    hessian, gradient = fin.hessian(X, Y, loss), fin.gradient(X, Y, loss)
    problem = Problem.of(fin, X, Y, loss)
    exact = np.abs(np.linalg.eigvalsh(hessian)).max()
    assert largest_eigenvalue(fin, problem, tol=1e-12, most=10_000) == pytest.approx(exact, rel=1e-6)
    # after one and two products
    start = gradient / np.linalg.norm(gradient)
    once = np.linalg.norm(hessian @ start)
    assert largest_eigenvalue(fin, problem, most=1) == pytest.approx(once, rel=1e-2)
    twice = np.linalg.norm(hessian @ hessian @ start) / once
    assert largest_eigenvalue(fin, problem, most=2) == pytest.approx(twice, rel=1e-2)
    # from a start without a gradient, where H = DᵀD/N
    fitted = Problem.of(fin, X, fin(X), "mse")
    exact = np.linalg.eigvalsh(fin.hessian(X, fin(X), "mse"))[-1]
    assert largest_eigenvalue(fin, fitted, tol=1e-12, most=10_000) == pytest.approx(exact, rel=1e-6)
    for bad in (1e200, 1e308):
        with pytest.raises(IntegrationError, match="not finite at the start"):
            largest_eigenvalue(fin, Problem.of(fin, X, bad * np.ones((6, 3)), "mse"))


def test_where_nothing_curves_nothing_moves():
    fin = FiniteNetwork(weights=[np.ones((2, 1))], biases=[np.zeros(1)], activations=[], beta=0.0)
    X, Y = np.zeros((3, 2)), np.ones(3)
    assert 0 < largest_eigenvalue(fin, Problem.of(fin, X, Y, "mse")) < 1e-300
    run = fin.train(X, Y, [0.0, 5.0], method="gd")
    assert run.loss.tolist() == [0.5, 0.5]
    np.testing.assert_array_equal(run.network.parameters, fin.parameters)


def test_the_default_step_is_one_over_the_largest_eigenvalue():
    fin, X, Y, loss = make_problem("two hidden, softmax")
    step = 1 / np.linalg.eigvalsh(fin.hessian(X, Y, loss)).max()
    # the nearest multiple of the step
    assert fin.train(X, Y, [step], loss=loss, method="gd").times == pytest.approx([step], rel=0.1)


def test_defaults_of_sgd():
    fin, X, Y, _ = make_problem("two hidden", n=70)
    orders, theta = np.random.default_rng(0), fin.parameters
    for _ in range(2):
        # two batches of 32 an epoch, six points are left out
        order = orders.permutation(70)
        for part in (order[:32], order[32:64]):
            theta = theta - 0.05 * fin.with_parameters(theta).gradient(X[part], Y[part])
    found = fin.train(X, Y, [0.2], method="sgd", step=0.05).network.parameters
    np.testing.assert_allclose(found, theta, rtol=1e-12)


def test_a_batch_of_all_points_is_an_epoch():
    fin, X, Y, _ = make_problem("two hidden")
    whole = fin.train(X, Y, [0.0, 1.0], method="gd", step=0.1)
    for size in (6, 100):
        found = fin.train(X, Y, [0.0, 1.0], method="sgd", step=0.1, batch_size=size)
        np.testing.assert_allclose(found.network.parameters, whole.network.parameters, rtol=1e-12)


def test_a_schedule_holds_numbers_and_times_of_its_own():
    given = np.array([0.0, 2.0])
    plan = Schedule(times=given, step=np.float32(0.5), batch_size=np.float64(8), gradient_norm=np.array(0.25), tol=1)
    given[1] = 7.0
    assert plan.times.tolist() == [0.0, 2.0]
    assert (plan.step, plan.batch_size, plan.gradient_norm, plan.tol) == (0.5, 8, 0.25, 1.0)
    assert [type(x) for x in (plan.step, plan.batch_size, plan.gradient_norm, plan.tol)] == [float, int, float, float]
    plan = Schedule(times=3)
    assert (plan.times.tolist(), plan.method, plan.step, plan.gradient_norm) == ([3.0], "flow", None, None)
    assert (plan.batch_size, plan.tol) == (32, 1e-4)
    for name in ("step", "tol", "gradient_norm"):
        for bad in (0.0, -0.5):
            with pytest.raises(InputError, match=f"expected a positive {name}, got {name}={bad}"):
                Schedule(times=[0.0], **{name: bad})
    with pytest.raises(InputError, match="expected tol: a real number, got None"):
        Schedule(times=[0.0], tol=None)
    with pytest.raises(NotFiniteError, match="expected times: finite numbers"):
        Schedule(times=[0.0, np.nan])
    with pytest.raises(InputError, match=r"a batch size of at least 1, got batch_size=-2"):
        Schedule(times=[0.0], batch_size=-2)
    with pytest.raises(InputError, match=r"times: non-negative, not decreasing numbers, got \[\[0.0\]\]"):
        Schedule(times=[[0.0]])


def test_the_flow_gives_up_after_many_steps(monkeypatch):
    fin, X, Y, _ = make_problem("two hidden")
    monkeypatch.setattr("kernelcalc.finite.flow._MAX_STEPS", 3)
    with pytest.raises(IntegrationError, match=r"past t=.*: no end after 3 steps; raise tol"):
        fin.train(X, Y, [50.0], tol=1e-6)
    assert fin.train(X, Y, [1e-3]).times.tolist() == [1e-3]


def test_a_bar_counts_times(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    fin, X, Y, _ = make_problem("two hidden")
    run = fin.train(X, Y, [0.0, 0.5], method="gd", step=0.1, progress=True)
    shown = capsys.readouterr().err
    assert "training: 100%" in shown
    assert "2/2" in shown
    plain = fin.train(X, Y, [0.0, 0.5], method="gd", step=0.1)
    np.testing.assert_array_equal(run.loss, plain.loss)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(MissingExtraError, match=r"a progress bar.*tqdm.*kernelcalc\[progress\]"):
        fin.train(X, Y, [0.0], progress=True)


def test_the_parameters_that_overflow_are_named():
    fin, X, Y, _ = make_problem("two hidden")
    with pytest.raises(IntegrationError, match=r"parameters overflow before step \d+; try a step below 1e\+100"):
        fin.train(X, Y, [1e102], method="gd", step=1e100)


def test_float32_flow():
    fin = FiniteNetwork.random(alternating(3), 10, 3, dtype=np.float32)
    X, Y = np.random.default_rng(0).standard_normal((6, 3)), np.zeros(6)
    result = fin.train(X, Y, [0.0, 1.0, 5.0])
    assert result.network.dtype == np.float32
    assert np.all(np.diff(result.loss) < 0)


def test_float32_stops_in_float32():
    fin = FiniteNetwork.random(alternating(3), 10, 3, dtype=np.float32)
    X, Y = np.random.default_rng(0).standard_normal((6, 3)), np.zeros(6)
    result = fin.train(X, Y, [0.0, 100.0], gradient_norm=0.1, record=lambda t, now: now.parameters.dtype)
    assert 0 < result.stopped < 100
    assert set(result.records) == {np.dtype(np.float32)}
    assert result.network(X).dtype == np.float32


def test_relu_flow_is_the_limit_of_small_steps():
    fin = FiniteNetwork.random(Architecture(activations=(RELU,)), 10, 3)
    X, Y = np.random.default_rng(0).standard_normal((6, 3)), np.zeros(6)
    flow = fin.train(X, Y, [0.5], tol=1e-2).network(X)
    steps = fin.train(X, Y, [0.5], method="gd", step=1e-4).network(X)
    np.testing.assert_allclose(flow, steps, atol=2e-2)


def test_bad_arguments():
    fin, X, Y, _ = make_problem("two hidden")
    for times in ([-1.0], [1.0, 0.5], [np.nan], []):
        with pytest.raises(InputError, match="times"):
            fin.train(X, Y, times)
    with pytest.raises(InputError, match="step"):
        fin.train(X, Y, [1.0], method="gd", step=0.0)
    with pytest.raises(InputError, match="tol"):
        fin.train(X, Y, [1.0], tol=0.0)
    with pytest.raises(InputError, match="batch"):
        fin.train(X, Y, [1.0], method="sgd", batch_size=0)
    with pytest.raises(UnknownNameError, match="flow"):
        fin.train(X, Y, [1.0], method="flo")
    with pytest.raises(IntegrationError, match="overflow"):
        fin.train(X, Y, [1e6], method="gd", step=1e3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", ["flow", "gd", "sgd"])
def test_numbers_are_finite(bad, method):
    fin, X, Y, _ = make_problem("two hidden")
    for options in ({"step": bad}, {"tol": bad}):
        with pytest.raises(NotFiniteError):
            fin.train(X, Y, [1.0], method=method, **options)
    with pytest.raises(NotFiniteError):
        fin.train(X, Y, [bad], method=method)
    with pytest.raises(NotFiniteError):
        fin.train(X, bad * np.ones_like(Y), [1.0], method=method)


@pytest.mark.parametrize("method", ["flow", "gd", "sgd"])
def test_an_overflow_is_named(method):
    fin, X, Y, _ = make_problem("two hidden")
    # the loss does not fit, then the gradient does not either
    for size in (1e200, 1e308):
        for times in ([0.0], [1.0]):
            with pytest.raises(IntegrationError):
                fin.train(X, size * Y, times, method=method, tol=1e190)
    with pytest.raises(InputError, match="fewer steps"):
        fin.train(X, Y, [1e300], method="gd")


def test_a_record_hears_the_warnings_of_its_own_numbers():
    fin, X, Y, _ = make_problem("two hidden")

    def record(t, now):
        with pytest.warns(RuntimeWarning, match="divide"):
            np.ones(1) / np.zeros(1)
        with pytest.warns(RuntimeWarning, match="invalid"):
            np.zeros(1) / np.zeros(1)

    for method in ("flow", "gd"):
        fin.train(X, Y, [0.0, 0.1], method=method, record=record)


def test_states_seen_stay_as_they_were():
    fin, X, Y, _ = make_problem("two hidden")
    for method in ("flow", "gd", "sgd"):
        seen = []
        records = fin.train(X, Y, [0.0, 0.3, 0.3, 1.0], method=method, step=0.1,
                            record=lambda t, now, seen=seen: seen.append(now.parameters) or now).records  # fmt: skip
        for network, theta in zip(records, seen, strict=True):
            np.testing.assert_array_equal(network.parameters, theta)
        np.testing.assert_array_equal(seen[0], fin.parameters)


@pytest.mark.parametrize("method", ["flow", "gd", "sgd"])
def test_a_stop_at_a_small_gradient(method):
    fin, X, Y, loss = make_problem("two hidden")
    options = {"loss": loss, "method": method, "step": 0.2, "batch_size": 3, "tol": 1e-6}
    record = {"record": lambda t, now: (t, np.linalg.norm(now.gradient(X, Y, loss)))}
    asked = [0.0, 1.0, 1e4]
    seen = fin.train(X, Y, asked, gradient_norm=1e-2, **options, **record)
    assert 1 < seen.stopped < 1e4
    np.testing.assert_array_equal(seen.times, [0.0, 1.0, seen.stopped])
    assert [t for t, _ in seen.records] == seen.times.tolist()
    assert len(seen.loss) == 3
    assert seen.loss[-1] == seen.network.loss(X, Y, loss)
    assert seen.records[1][1] > 1e-2 >= seen.records[2][1]
    # on the way that it takes anyhow
    whole = fin.train(X, Y, [0.0, 1.0, seen.stopped], **options)
    assert whole.stopped is None
    np.testing.assert_allclose(whole.network.parameters, seen.network.parameters, atol=1e-5)


def test_the_stop_of_gradient_descent_is_the_first_small_gradient():
    # f = w, C = w²/2: the gradient after k steps is 0.9^k, below 0.5 first at k = 7
    fin = FiniteNetwork(weights=[np.ones((1, 1))], biases=[np.zeros(1)], activations=[], beta=0.0)
    one, zero = np.array([[1.0]]), np.array([0.0])
    for asked in ([3.0], [0.4, 0.7, 0.7, 0.8], [0.7, 2.0], [0.6, 3.0]):
        seen = fin.train(one, zero, asked, method="gd", step=0.1, gradient_norm=0.5)
        assert seen.stopped == pytest.approx(0.7, abs=1e-12)
        np.testing.assert_allclose(seen.times, [t for t in asked if t < 0.69] + [0.7], atol=1e-12)
        assert seen.network.weights[0][0, 0] == pytest.approx(0.9**7, rel=1e-14)
    # e^{-t} = 0.5 at t = log 2; the flow looks after every step
    seen = fin.train(one, zero, [0.1, 50.0], gradient_norm=0.5, tol=1e-9)
    assert np.log(2) <= seen.stopped < np.log(2) + 0.3
    assert seen.network.weights[0][0, 0] == pytest.approx(np.exp(-seen.stopped), abs=1e-7)


@pytest.mark.parametrize("method", ["flow", "gd", "sgd"])
def test_no_step_from_a_minimum_and_no_stop_before_it(method):
    fin, X, _, _ = make_problem("two hidden")
    seen = fin.train(X, fin(X), [0.0, 0.5], method=method, step=0.1, gradient_norm=1e-12)
    assert (seen.stopped, seen.times.tolist(), seen.loss.tolist()) == (0.0, [0.0], [0.0])
    np.testing.assert_array_equal(seen.network.parameters, fin.parameters)
    seen = fin.train(X, fin(X) + 1.0, [0.0, 0.5], method=method, step=0.1, gradient_norm=1e-12)
    assert (seen.stopped, len(seen.times)) == (None, 2)
    for bad in (0.0, -1.0, np.nan, "small"):
        with pytest.raises(InputError, match="gradient_norm"):
            fin.train(X, fin(X), [0.5], method=method, gradient_norm=bad)
