"""Words before a long wait: how long a loop will take, as soon as that is seen; and after ten seconds of any public call."""

from __future__ import annotations

import inspect
import os
import threading
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from kernelcalc.errors import SLOW_SAID, SlowMethodWarning, at_home, warn

P = ParamSpec("P")
R = TypeVar("R")

# Seconds that need no word, and those after which a part of the work foretells the whole.
PATIENCE, FORETOLD_AFTER = 10.0, 1.0


class Patience:
    """A :class:`~kernelcalc.errors.SlowMethodWarning` as soon as the whole is seen to take more than ten seconds.

    Parameters
    ----------
    what : str
        What takes so long.
    hint : str
        What is faster.
    """

    what: str
    hint: str

    def __init__(self, what: str, hint: str) -> None:
        self.what, self.hint = what, hint
        self._started, self._lost, self._said = time.thread_time(), 0.0, False

    def again(self) -> None:
        """What was done so far is no part of the work, which begins anew."""
        self._lost = time.thread_time() - self._started

    def done(self, part: float) -> None:
        """So much of the work is over, from 0 to 1."""
        spent = time.thread_time() - self._started
        if self._said or part <= 0 or spent - self._lost < min(FORETOLD_AFTER, PATIENCE):
            return
        seconds = self._lost + (spent - self._lost) / part
        if seconds > PATIENCE:
            self._said = True
            warn(f"{self.what}: some {seconds:.0f} s on one core; {self.hint}", SlowMethodWarning)


# Seconds on the clock that a public call may take without a word, and between two looks at those that run.
SILENCE, _PAUSE = 10.0, 0.5


def watched(hint: str, name: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that says once, with a :class:`~kernelcalc.errors.SlowMethodWarning`, that it takes more than ten seconds.

    A thread looks at the clock, so that it does not matter where in the call the time goes. What was warned of before, and
    calls with ``progress=True``, need no word; of calls within each other the first one speaks.

    Parameters
    ----------
    hint : str
        What to do.
    name : str, optional
        What the user has called, if it is not this function.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        # kept here: the globals of what follows are those of the function's module
        watch, said = Watch, name or getattr(function, "__qualname__", "call")

        def call(*args: P.args, **options: P.kwargs) -> R:
            with watch(said, hint, speaks=options.get("progress") is not True):
                return function(*args, **options)

        return at_home(call, function)

    return decorate


class _Running(threading.local):
    """Whether this thread is in a public call already."""

    now = False


class Watch:
    """A public call while it runs.

    Parameters
    ----------
    name, hint : str
        What runs, and what to do if it is long.
    speaks : bool
        Whether to say it.
    """

    name: str
    hint: str

    def __init__(self, name: str, hint: str, *, speaks: bool = True) -> None:
        self.name, self.hint = name, hint
        self._speaks = speaks
        self._error: SlowMethodWarning | None = None

    def __enter__(self) -> Watch:
        self._outer = not _RUNNING.now
        if not self._outer:
            return self
        _RUNNING.now = True
        self._thread, self._started = threading.get_ident(), time.monotonic()
        if self._speaks:
            # the line of the caller, as errors.warn finds it; the frame before is that of the wrapper
            frame: Any = inspect.currentframe()
            frame = frame.f_back.f_back
            while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in ("kernelcalc", "numpy"):
                frame = frame.f_back
            registry = frame.f_globals.setdefault("__warningregistry__", {})
            self._line = (frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__", ""), registry)
            _WATCHER.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outer:
            _RUNNING.now = False
            _WATCHER.remove(self)
            # where warnings are errors, the thread that saw it cannot raise it here
            if self._error is not None and kind is None:
                raise self._error

    def look(self, now: float) -> bool:
        """Whether nothing more is to be said; says it when it is time."""
        if SLOW_SAID.get(self._thread, -1.0) >= self._started:
            return True
        if now - self._started < SILENCE:
            return False
        filename, line, module, registry = self._line
        text = f"{self.name} has been running for {now - self._started:.0f} s; {self.hint}"
        try:
            warnings.warn_explicit(text, SlowMethodWarning, filename, line, module, registry)
        except SlowMethodWarning as error:
            self._error = error
        return True


class _Watcher:
    """The thread that looks at running calls; it ends when there is none, and begins with the next."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing runs: so it is in a forked process, which has no thread and may have got the lock closed."""
        self._calls: dict[int, Watch] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, call: Watch) -> None:
        with self._lock:
            self._calls[id(call)] = call
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="kernelcalc watch", daemon=True)
                self._thread.start()

    def remove(self, call: Watch) -> None:
        with self._lock:
            self._calls.pop(id(call), None)

    def _run(self) -> None:
        while True:
            time.sleep(_PAUSE)
            with self._lock:
                if not self._calls:
                    self._thread = None
                    return
                calls = list(self._calls.values())
            for call in calls:
                if call.look(time.monotonic()):
                    self.remove(call)


def watched_elsewhere() -> None:
    """From now on this thread works for a call of another process, whose word is enough."""
    _RUNNING.now = True


_RUNNING, _WATCHER = _Running(), _Watcher()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_WATCHER.forget)
