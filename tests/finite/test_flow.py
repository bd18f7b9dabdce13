"""The flow of one vector field: solved ones, and fields that cannot be followed."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from conftest import make_problem
from scipy.integrate import RK45

from kernelcalc.errors import IntegrationError
from kernelcalc.finite import flow as module
from kernelcalc.finite.derivatives import Problem
from kernelcalc.finite.flow import State, flow, side_by_side

START = np.array([0.6, 0.8])


def decay(theta):
    return -theta


def test_decay():
    """e^(−t), at each of the times asked for and at no other; the start is what was given."""
    times = np.array([0.0, 0.0, 0.5, 0.5, 2.0, 3.0])
    found = list(flow(decay, START, times, 1e-9))
    assert [state.time for state in found] == times.tolist()
    assert [state.is_last for state in found] == [False] * 6
    assert found[0].theta is found[1].theta is START
    for state in found:
        np.testing.assert_allclose(state.theta, START * np.exp(-state.time), atol=1e-8)


def test_where_nothing_moves_nothing_is_asked():
    def never(theta):
        raise AssertionError

    assert [(state.time, state.theta) for state in flow(never, START, np.zeros(2), 1e-4)] == [(0.0, START)] * 2


def test_the_end_at_a_small_gradient():
    """|θ'| is e^(−t): 1 at the start, which is small enough where 1 is; a time that the last step ends at comes once."""
    (found,) = flow(decay, START, np.array([0.0, 1.0]), 1e-9, gradient_norm=np.linalg.norm(START))
    assert (found.time, found.is_last) == (0.0, True)
    assert found.theta is START
    for times, norm, seen in (([5.0], np.exp(-5) * 1.0001, []), ([0.0, 1.0, 5.0], np.exp(-2), [0.0, 1.0])):
        *before, last = flow(decay, START, np.array(times), 1e-9, gradient_norm=norm)
        assert [(state.time, state.is_last) for state in before] == [(time, False) for time in seen]
        assert last.is_last
        assert np.linalg.norm(last.theta) == pytest.approx(np.exp(-last.time), abs=1e-8)
        assert np.linalg.norm(last.theta) <= norm
        assert last.time == 5.0 if len(times) == 1 else 2 <= last.time < 3
    # never as small: the times as without a bound
    found = list(flow(decay, START, np.array([1.0, 5.0]), 1e-9, gradient_norm=1e-9))
    assert [(state.time, state.is_last) for state in found] == [(1.0, False), (5.0, False)]


def test_the_number_type_is_that_of_the_start():
    seen = set()

    def velocity(theta):
        seen.add(theta.dtype.name)
        return -theta

    found = list(flow(velocity, START.astype(np.float32), np.array([0.0, 1.0, 9.0]), 1e-4, gradient_norm=0.1))
    assert {state.theta.dtype.name for state in found} == seen == {"float32"}
    assert found[-1].is_last


def overflows(theta):
    return theta * 1e308 * 1e308


def no_number(theta):
    return np.inf * theta - np.inf * theta


@pytest.mark.parametrize("bad", [overflows, no_number])
def test_what_is_no_number_is_told_once_and_by_an_error(bad):
    """At the start and on the way, at θ = 3/2, with no warning of NumPy's."""
    for norm in (None, 1.0):
        with pytest.raises(IntegrationError, match=r"^the gradient is not finite at the start"):
            list(flow(bad, START, np.array([1.0]), 1e-4, gradient_norm=norm))
    one = np.zeros(1)
    with pytest.raises(IntegrationError, match=r"past t=1\.5: Required step size is less than spacing between numbers"):
        list(flow(lambda y: np.ones(1) if y[0] < 1.5 else bad(y), one, np.array([3.0]), 1e-4))


def test_it_gives_up_after_so_many_steps_and_not_before(monkeypatch):
    solver, steps = RK45(lambda t, y: -y, 0.0, START, 9.0, rtol=1e-13, atol=1e-6 / np.sqrt(2)), 0
    while solver.status == "running":
        solver.step()
        steps += 1
    monkeypatch.setattr(module, "_MAX_STEPS", steps)
    assert len(list(flow(decay, START, np.array([9.0]), 1e-6))) == 1
    monkeypatch.setattr(module, "_MAX_STEPS", steps - 1)
    with pytest.raises(IntegrationError, match=rf": no end after {steps - 1} steps; raise tol"):
        list(flow(decay, START, np.array([9.0]), 1e-6))


def test_networks_side_by_side_give_up_after_as_many(monkeypatch):
    fin, X, Y, loss = make_problem("two hidden")
    problem, kept = Problem.of(fin, X, Y, loss), []

    class Steps(module.FactoredSteps):
        def attempt(self):
            super().attempt()
            kept.append(int(self.steps.max()))

    def run():
        theta = np.stack([fin.parameters, 2 * fin.parameters])
        return list(side_by_side(fin, theta, problem, np.array([0.0, 3.0]), 1e-6))

    monkeypatch.setattr(module, "FactoredSteps", Steps)
    assert [time for time, _ in run()] == [0.0, 3.0]
    steps = max(kept)
    monkeypatch.setattr(module, "_MAX_STEPS", steps)
    assert len(run()) == 2
    monkeypatch.setattr(module, "_MAX_STEPS", steps - 1)
    with pytest.raises(IntegrationError, match=rf"past t=[0-9.]+: no end after {steps - 1} steps"):
        run()


def test_networks_side_by_side_flow_as_each_alone():
    """At 0 as they are, once for each time 0, then at each time asked for, before and after 1, as in its own flow."""
    fin, X, Y, loss = make_problem("two hidden")
    problem, times = Problem.of(fin, X, Y, loss), np.array([0.0, 0.0, 0.3, 0.9, 2.5])
    start = np.stack([fin.parameters, 1.5 * fin.parameters])
    found = list(side_by_side(fin, start, problem, times, 1e-9))
    assert [time for time, _ in found] == times.tolist()
    assert found[0][1] is found[1][1] is start
    for k, theta in enumerate(start):

        def velocity(parameters):
            return -fin.with_parameters(parameters).gradient(X, Y, loss)

        alone = flow(velocity, theta, times, 1e-9)
        for (_, both), one in zip(found, alone, strict=True):
            np.testing.assert_allclose(both[k], one.theta, atol=1e-7)


def test_states_are_kept_as_they_were():
    one = State(1.0, START)
    assert one != State(1.0, START)
    with pytest.raises(FrozenInstanceError):
        one.time = 2.0
