"""How long the public functions take for every function of the catalogue: ``python benchmarks/waiting.py [NAMES]``.

Every call runs once, in the order of the table (later calls find what earlier ones keep), in CPU seconds of this process, and
is cut off at --limit. Printed are the slowest three of each call
and whether they warned of their time. A call over ten seconds that neither warns nor shows progress is named at the end, and
the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import mpmath
import numpy as np

import kernelcalc as kc

# Seconds a user waits without a word.
PATIENCE = 10.0
RNG = np.random.default_rng(0)
FEW, MANY = RNG.normal(size=(2, 5)), RNG.normal(size=(64, 5))
SPHERE = MANY / np.linalg.norm(MANY, axis=1, keepdims=True) * 5**0.5
TARGETS = RNG.normal(size=(64, 1))
CLASSES = np.eye(3)[RNG.integers(0, 3, 64)]
TIMES = [0.0, 1.0, 10.0]
KINKED = ("sigma", "theta")


class CutOffError(Exception):
    """The limit of CPU seconds is over."""


@dataclass(frozen=True)
class Wait:
    """One call: CPU seconds, whether it warned, how it ended."""

    call: str
    name: str
    seconds: float
    warned: bool
    end: str

    @property
    def silent(self) -> bool:
        """Too long, without a word."""
        return self.seconds > PATIENCE and not self.warned


def network(name: str, n_out: int = 1) -> Any:
    """Three layers."""
    return kc.MLP(name, depth=3, n_out=n_out)


def kernels(name: str, points: Any) -> Any:
    """All kernels, or Σ and Θ of functions with kinks."""
    smooth = kc.activation(name).smoothness >= 4
    return network(name).kernels(points) if smooth else network(name).kernels(points, only=KINKED)


CALLS: dict[str, Callable[[str], Any]] = {
    "expectation": lambda f: kc.gaussian_expectation(f, f, 1, 2, 0.5),
    "expectation, ρ = 0.999": lambda f: kc.gaussian_expectation(f, f, 1, 1, 0.999),
    "expectation, q = 25": lambda f: kc.gaussian_expectation(f, f, 25, 25, 0.5),
    "expectation, dps=50": lambda f: kc.gaussian_expectation(f, f, 1, 2, mpmath.mpf("0.5"), dps=50),
    "expectation, dps=50, ρ = 0.998": lambda f: kc.gaussian_expectation(f, f, 1, 1, mpmath.mpf("0.998"), dps=50),
    "expectation, certified": lambda f: kc.gaussian_expectation(f, f, 1, 2, "0.5", certified=True),
    "kernels of 2 points": lambda f: kernels(f, FEW),
    "kernels of 64 points": lambda f: kernels(f, MANY),
    "kernels of 64 points on a sphere": lambda f: kernels(f, SPHERE),
    "kernels of 64 points, 5 times as far": lambda f: kernels(f, 5 * MANY),
    "kernels of 2 points, dps=30": lambda f: network(f).kernels(FEW, dps=30, only=KINKED),
    "normalized": lambda f: kc.activation(f).normalized(),
    "kernels of normalized": lambda f: kc.MLP(kc.activation(f).normalized(), depth=2).kernels(FEW, only=KINKED),
    "phase_diagram": lambda f: kc.phase_diagram(f, [0.5, 1.0, 2.0], [0.0, 0.3]),
    "symbolic.kernel": lambda f: kc.symbolic.kernel("theta", kc.MLP(f, depth=2)),
    "mse_moments": lambda f: kc.mse_moments(network(f).kernels(SPHERE), TARGETS, TIMES),
    "hessian_moments": lambda f: kc.hessian_moments(
        network(f, 3).kernels(SPHERE[:16]), CLASSES[:16], TIMES, "softmax", samples=4
    ),
    "spectrum_of_i": lambda f: kc.spectrum.spectrum_of_i(kernels(f, SPHERE), np.zeros((64, 1)), TARGETS),
    "validate": lambda f: kc.validate(
        network(f), SPHERE[:4], TARGETS[:4], widths=(16, 32), trials=10, times=(0.0, 1.0)
    ),
    "finite_width": lambda f: kc.finite_width(kc.MLP(f, depth=2), FEW),
}


def measured(call: str, name: str, limit: float) -> Wait:
    """Run one call, at most ``limit`` CPU seconds."""

    def cut(signum: int, frame: FrameType | None) -> None:
        raise CutOffError

    signal.signal(signal.SIGPROF, cut)
    signal.setitimer(signal.ITIMER_PROF, limit)
    started, end = time.process_time(), "answered"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            CALLS[call](name)
        except CutOffError:
            end = f"cut off at {limit:g} s"
        except (ValueError, RuntimeError) as error:
            end = type(error).__name__
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - started
    return Wait(call, name, seconds, any(issubclass(w.category, kc.errors.SlowMethodWarning) for w in said), end)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(kc.catalogue.ACTIVATIONS))
    parser.add_argument("--calls", nargs="*", default=list(CALLS), help="Which calls, by the beginning of their names.")
    parser.add_argument("--limit", type=float, default=30.0, help="CPU seconds after which a call is cut off.")
    options = parser.parse_args()
    calls = [call for call in CALLS if call.startswith(tuple(options.calls))]
    waits: list[Wait] = []
    print("| call | median s | slowest |\n|---|---|---|")
    for call in calls:
        found = sorted((measured(call, name, options.limit) for name in options.names), key=lambda w: -w.seconds)
        waits += found
        worst = ", ".join(f"{w.name} {w.seconds:.2f}{' (warned)' if w.warned else ''} {w.end}" for w in found[:3])
        print(f"| {call} | {found[len(found) // 2].seconds:.2f} | {worst} |", flush=True)
    silent = [wait for wait in waits if wait.silent]
    for wait in silent:
        print(f"more than {PATIENCE:g} s without a word: {wait.call} of {wait.name}, {wait.seconds:.1f} s, {wait.end}")
    return bool(silent)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
