"""What becomes of the claims about GD, SGD and the line between their solutions, from the tables of the experiment path."""

from __future__ import annotations

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.output.tables import Verdict
from kernelcalc.studies.experiment import Tables
from kernelcalc.studies.sagun.claims import ORDERS_SMALLER, SAME, untrained

Columns = dict[str, AnyArray]
# Of the loss at the start: what is lower is no barrier, and no slope of a flat profile.
FLAT = 0.02
# Losses that differ by less than this factor count as the same.
SAME_LOSS = 1.25


def claims_of_path(tables: Tables, tested: int) -> tuple[Verdict, ...]:
    """Verdicts from the columns of the tables; ``tested`` is the number of points of the test."""
    course = tables["path_training"]
    descent = course["loss"][course["run"] == "GD"]
    first = float(descent[0])
    early = untrained(first, float(descent[-1]))
    phase = {name: column[course["run"] == "large, then small"] for name, column in course.items()}
    return (
        *_about_lines(tables["path"], tables["path_lines"], first, early),
        *_about_solutions(tables["path_ends"], early),
        *_about_smaller_batches(phase, tested, early),
    )


def _about_lines(rows: Columns, lines: Columns, first: float, early: str) -> list[Verdict]:
    barriers = [
        Verdict(
            source=source,
            claim=f"no barrier on the line between {pair}",
            measured="largest barrier over the loss at the start",
            number=float(rows["barrier"][rows["pair"] == pair].max() / first),
            below=FLAT,
        )
        for source, pair in (("2016, Section 4", "GD and SGD"), ("2017, Figure 10", "large, then small batch"))
    ]
    middle = lines["loss"][(lines["pair"] == "two starts") & (np.abs(lines["s"] - 0.5) < 1e-9)]
    return [
        *barriers,
        Verdict(
            source="2016, Section 4, Figure 10",
            claim="the profile between GD and SGD is completely flat although the points diverge",
            measured="range of the loss on the line after all steps over the loss at the start",
            number=_range(lines, "GD and SGD") / first,
            below=FLAT,
            undecided=early,
        ),
        Verdict(
            source="2016, Section 4, Figure 10",
            claim="between two random starts the loss on the line decreases too, but is less flat",
            measured="loss in the middle after all steps over that after a tenth of them",
            number=float(middle[-1] / middle[0]),
            below=1.0,
            undecided=early,
        ),
    ]


def _about_solutions(ends: Columns, early: str) -> list[Verdict]:
    of = {name: {column: values[i] for column, values in ends.items()} for i, name in enumerate(ends["run"])}
    gd, sgd, large = of["GD"], of["SGD"], of["large batch"]
    counts = [
        Verdict(
            source="2017, Section 3.3, Figure 8",
            claim="large and small batches have the same number of large eigenvalues",
            measured=f"difference of their numbers by the largest {rule}, {large[rule]} and {sgd[rule]},",
            number=float(abs(large[rule] - sgd[rule])),
            below=0.0,
            undecided=early,
        )
        for rule in ("gap", "ratio")
    ]
    return [
        Verdict(
            source="2017, Section 4",
            claim="GD and SGD reach the same loss in the same number of steps",
            measured="loss of GD over that of SGD",
            number=float(gd["loss"] / sgd["loss"]),
            above=1 / SAME_LOSS,
            below=SAME_LOSS,
            undecided=early,
        ),
        *counts,
        Verdict(
            source="2017, Section 3.3, Figure 8",
            claim="the large-batch solution has larger eigenvalues",
            measured="λ_max of large batches over that of small ones",
            number=float(large["top"] / sgd["top"]),
            above=1.0,
            undecided=early,
        ),
        Verdict(
            source="2017, Section 3.3",
            claim="negative eigenvalues are orders of magnitude smaller than the large ones",
            measured="largest -λ_min/λ_max of the three solutions",
            number=float((-ends["bottom"] / ends["top"]).max()),
            below=ORDERS_SMALLER,
            undecided=early,
        ),
    ]


def _about_smaller_batches(phase: Columns, tested: int, early: str) -> list[Verdict]:
    jumps = [
        Verdict(
            source="2017, Section 4.1, Figure 9",
            claim=f"the {words} loss jumps when the batch is made smaller",
            measured="largest loss afterwards over that at the change",
            number=float(phase[name].max() / phase[name][0]),
            above=1 + SAME,
            undecided=early,
        )
        for words, name in (("training", "loss"), ("test", "loss_test"))
    ]
    return [
        *jumps,
        Verdict(
            source="2017, Section 4.1, Figure 10",
            claim="the small-batch solution generalises slightly better",
            measured="accuracy on other digits after small batches less that before them",
            number=float(phase["accuracy_test"][-1] - phase["accuracy_test"][0]),
            # one digit more
            above=1 / tested,
            undecided=early,
        ),
    ]


def _range(lines: dict[str, AnyArray], pair: str) -> float:
    """Of the loss between the ends of the last line of a pair."""
    own = (lines["pair"] == pair) & (lines["step"] == lines["step"].max())
    inside = (lines["s"] > -1e-9) & (lines["s"] < 1 + 1e-9)
    return float(np.ptp(lines["loss"][own & inside]))
