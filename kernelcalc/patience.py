"""Words before a long wait: how long a loop will take, as soon as that is seen."""

from __future__ import annotations

import time

from kernelcalc.errors import SlowMethodWarning, warn

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
