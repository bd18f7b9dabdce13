"""A public call that runs for long says so once, while it runs, at the line of its caller."""

import ast
import functools
import importlib.util
import inspect
import os
import signal
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc import patience
from kernelcalc.errors import SlowMethodWarning, warn
from kernelcalc.finite.ensembles import trials
from kernelcalc.patience import watched
from tests.public_api import functions


@pytest.fixture(autouse=True)
def impatient(patient, monkeypatch):
    monkeypatch.setattr(patience, "SILENCE", 0.2)
    monkeypatch.setattr(patience, "_PAUSE", 0.02)


@watched("try less")
def slow(seconds, *, progress=False, said=False):
    if said:
        warn("known", SlowMethodWarning)
    time.sleep(seconds)
    return seconds


@watched("never said")
def outer(seconds):
    return slow(seconds)


def caught(call):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [one for one in found if one.category is SlowMethodWarning]


def test_one_word_while_it_runs():
    (found,) = caught(lambda: slow(0.9))
    assert str(found.message) == "slow has been running for 0 s; try less"
    assert Path(found.filename).name == Path(__file__).name
    assert inspect.getsourcelines(test_one_word_while_it_runs)[1] + 1 == found.lineno


def test_no_word():
    assert caught(lambda: slow(0.0)) == []
    assert caught(lambda: slow(0.5, progress=True)) == []
    assert [str(one.message) for one in caught(lambda: slow(0.5, said=True))] == ["known"]


def test_the_outermost_call_speaks():
    assert [str(one.message).split()[0] for one in caught(lambda: outer(0.6))] == ["outer"]
    # and the next call is watched again
    assert len(caught(lambda: slow(0.6))) == 1


def test_warnings_as_errors_are_raised_where_the_call_is():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SlowMethodWarning, match="try less"):
            slow(0.6)
        assert slow(0.0) == 0.0


def test_threads_are_watched_by_themselves():
    others = [threading.Thread(target=slow, args=(seconds,)) for seconds in (0.0, 0.6)]

    def run():
        for one in others:
            one.start()
        for one in others:
            one.join()

    assert len(caught(run)) == 1


def test_the_call_that_waits_for_a_worker_speaks_for_it():
    def work():
        trials._begin_worker(None)  # no parent: this process goes on
        slow(0.6)

    worker = threading.Thread(target=work)
    assert caught(lambda: (worker.start(), worker.join())) == []


def test_what_is_said_of_a_function():
    """Its hint, and its own name or another that the user has called; not where it shows its progress."""

    def sleeps(seconds, progress=False):
        time.sleep(seconds)

    text = "has been running for 0 s"
    for name, said in (("", "test_what_is_said_of_a_function.<locals>.sleeps"), ("front", "front")):
        watched_now = watched("sleep less", name)(sleeps)
        assert [str(one.message) for one in caught(lambda now=watched_now: now(0.9))] == [f"{said} {text}; sleep less"]
        assert caught(lambda now=watched_now: now(0.6, progress=True)) == []
    # what has no name of its own
    nameless = watched("sleep less")(functools.partial(sleeps, 0.9))
    assert [str(one.message) for one in caught(nameless)] == [f"call {text}; sleep less"]


@pytest.mark.parametrize(("inside", "name"), [("kernelcalc.fake", "kernels.of_a_user"), ("numpy.fake", None)])
def test_the_line_is_that_of_the_first_frame_outside(inside, name):
    """Module and file are those of the caller, also where a module without a name has called."""
    within = {"__name__": inside, "slow": slow}
    exec(compile("def called():\n    slow(0.6)\n", "<within>", "exec"), within)
    outside = {"called": within["called"]} | ({} if name is None else {"__name__": name})
    with warnings.catch_warnings(record=True) as found:
        # of other modules: an error, which the recorded list would not have
        warnings.simplefilter("error")
        warnings.filterwarnings("always", category=SlowMethodWarning, module=f"^{name or ''}$")
        exec(compile("\n\ncalled()", "<outside>", "exec"), outside)
    assert [(one.filename, one.lineno) for one in found] == [("<outside>", 3)]


def test_one_line_of_a_loop_speaks_once():
    """As Python's own warnings: by default once for each line, which a module remembers."""
    globals().pop("__warningregistry__", None)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default", SlowMethodWarning)
        for _ in range(2):
            slow(0.9)
    assert [one.category for one in found] == [SlowMethodWarning]
    assert "__warningregistry__" in globals()
    assert None not in globals()


def test_one_watcher_for_all_calls():
    calls = [threading.Thread(target=slow, args=(0.3,), kwargs={"progress": False}) for _ in range(3)]

    def run():
        for one in calls:
            one.start()
        seen = set()
        while any(one.is_alive() for one in calls):
            watchers = [one for one in threading.enumerate() if one.name == "kernelcalc watch"]
            seen.add(len(watchers))
            # no program waits for it
            assert all(one.daemon for one in watchers)
            time.sleep(0.01)
        assert max(seen) == 1

    caught(run)


def test_the_watcher_ends_with_the_calls(monkeypatch):
    """Long before any of them would have been too long, and it begins again."""
    monkeypatch.setattr(patience, "SILENCE", 60.0)
    for seconds in (0.0, 0.1):
        assert caught(lambda seconds=seconds: slow(seconds)) == []
        time.sleep(0.3)
        assert not [one for one in threading.enumerate() if one.name == "kernelcalc watch"]


def test_ten_seconds_of_a_call(monkeypatch):
    """By the module's own numbers, which the other tests replace."""
    spec = importlib.util.find_spec("kernelcalc.patience")
    fresh = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None, raising=False)
    spec.loader.exec_module(fresh)
    with fresh.Watch("it", "try less") as watch:
        began = watch._started
        assert not watch.look(began + 9.9)
        (found,) = caught(lambda: watch.look(began + 10.4))
    assert str(found.message) == "it has been running for 10 s; try less"


def test_a_watcher_of_ones_own():
    """It looks at calls of any thread until it has nothing more to see."""
    seen, watcher = [], patience._Watcher()
    call = SimpleNamespace(look=lambda now: seen.append(now) or len(seen) == 3)
    watcher.add(call)
    watcher._thread.join(20)
    assert len(seen) == 3
    assert seen == sorted(seen)
    assert not watcher._calls
    watcher.add(call)
    watcher.remove(call)
    watcher.remove(call)
    assert not watcher._calls


def test_validation_and_kernels_speak(monkeypatch):
    """With a clock that runs out at once, whatever the machine."""
    monkeypatch.setattr(patience, "SILENCE", 0.0)
    monkeypatch.setattr(patience, "_PAUSE", 0.001)
    X, Y, norms = np.eye(3), np.array([1.0, -1.0, 0.5]), np.diag(np.arange(1.0, 16.0))
    net = kc.MLP("tanh", 2)
    for call, name in (
        (lambda: kc.validate(net, X, Y, widths=(8, 16), trials=40, times=(0.0, 1.0)), "validate"),
        (lambda: kc.finite.moments_through_training(net, X, Y, [0.0, 1.0], width=8, trials=20), "moments_through"),
        (lambda: kc.MLP("softplus(softplus(9*x))", 3).kernels(norms), "Sequential.kernels"),
        (lambda: kc.activation("softplus").normalized(), "Activation.normalized"),
        (lambda: kc.phase.fixed_points("sigmoid"), "fixed_points"),
    ):
        first, *more = caught(call) or [None]
        assert first is not None, name
        assert str(first.message).startswith(name)
        assert more == []


def test_what_shows_its_progress_is_watched():
    """Whoever has a bar to offer has a wait to fear."""
    seen = 0
    for name, function in functions():
        if inspect.isfunction(function) and "progress" in inspect.signature(function).parameters:
            tree = ast.parse(inspect.getsource(inspect.unwrap(function)))
            assert any("watched" in ast.unparse(one) for one in tree.body[0].decorator_list), name
            seen += 1
    assert seen > 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_not_wait_for_a_lock_of_its_parent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        with patience._WATCHER._lock:
            child = os.fork()
            if child == 0:
                os._exit(7 if slow(0.0) == 0.0 else 1)
    for _ in range(500):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        time.sleep(0.02)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("it waits")
    assert os.waitstatus_to_exitcode(status) == 7
