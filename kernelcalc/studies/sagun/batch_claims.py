"""What becomes of the claims about large and small batches, from the runs of the experiment batches."""

from __future__ import annotations

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.output.tables import Verdict
from kernelcalc.studies.sagun.batch_runs import Part, Switch
from kernelcalc.studies.sagun.claims import ORDERS_SMALLER, SAME, untrained
from kernelcalc.studies.sagun.path_claims import FLAT


def claims_of_batches(
    switches: list[Switch], runs: tuple[Part, Part], ends: dict[str, AnyArray], tested: int
) -> tuple[Verdict, ...]:
    """Verdicts; ``tested`` is the number of pictures of the test, ``runs`` are those of large and small batches."""
    early = next(filter(None, (untrained(run.at.loss, run.last.loss) for run in runs)), "")
    return (*_about_the_jump(switches, tested), *_about_phases(runs, early), *_about_solutions(ends, early))


def _about_the_jump(switches: list[Switch], tested: int) -> list[Verdict]:
    trained = [one for one in switches if not untrained(one.large.at.loss, one.large.last.loss)]
    why = "" if trained else "no large batch has trained the network; take more steps"
    # the paper's jump: noise prevails, the loss rises, and the network settles below
    noisy = [one for one in trained if one.noise > 1 and one.settles]
    jumps = [one for one in noisy if one.small.worst > 1 + SAME]
    best = max(jumps or noisy or trained or switches, key=lambda one: one.small.worst)
    where = f"rate {best.rate:g}, batch {best.small.batch}, noise/gradient {best.noise:.3g}"
    tally = (
        f"of {len(switches)} settings {sum(one.small.worst > 1 + SAME for one in switches)} jump, {len(jumps)} of them settle "
        "below the loss at the switch;"
    )
    return [
        Verdict(
            source="2017, Section 4.1, Figure 9",
            claim="the training loss jumps when the batch is made smaller, then falls below what it was",
            measured=f"{tally} the largest jump of these ({where}) is by the factor",
            number=best.small.worst if noisy else np.nan,
            above=1 + SAME,
            undecided=why,
        ),
        Verdict(
            source="2017, Section 4.1, Figure 9",
            claim="and so does the test loss",
            measured="largest test loss afterwards over that at the switch, the same setting,",
            number=best.small.worst_test if noisy else np.nan,
            above=1 + SAME,
            undecided=why,
        ),
        Verdict(
            source="2017, Section 4.1, Figure 10",
            claim="the small-batch solution generalises slightly better",
            measured="test accuracy after small batches less that before them, mean over the settings that settle below",
            number=float(np.mean([_gained(one) for one in noisy])) if noisy else np.nan,
            above=1 / tested,
            undecided=why,
        ),
        Verdict(
            source="2017, Section 4.1, Figure 10",
            claim="no barrier on the line between large, then small batch, where the loss jumped",
            measured="largest barrier over the loss at the start, settings that jump and settle below",
            number=max((one.barrier for one in jumps), default=np.nan),
            below=FLAT,
            undecided=why,
        ),
    ]


def _gained(one: Switch) -> float:
    return one.small.last.accuracy_test - one.small.at.accuracy_test


def _about_phases(runs: tuple[Part, Part], early: str) -> list[Verdict]:
    small = runs[1]
    first, last = (m.noise_over_gradient(small.batch) for m in (small.at, small.last))
    return [
        Verdict(
            source="2017, Section 4.2",
            claim="training begins with gradients large beside their noise",
            measured=f"noise over gradient of a batch of {small.batch} at the start",
            number=first,
            below=1.0,
        ),
        Verdict(
            source="2017, Section 4.2",
            claim="and ends with noise larger than the gradient",
            measured="the same at the end",
            number=last,
            above=1.0,
            undecided=early,
        ),
        Verdict(
            source="2017, Section 4.2",
            claim="most of the gain is in the first part",
            measured="part of the fall of the loss until noise first exceeds the gradient",
            number=_gain_before_noise(small),
            above=0.5,
            undecided=early,
        ),
    ]


def _gain_before_noise(run: Part) -> float:
    noisy = [m.loss for m in run.moments if m.noise_over_gradient(run.batch) > 1]
    return (run.at.loss - noisy[0]) / (run.at.loss - run.last.loss) if noisy else np.nan


def _about_solutions(ends: dict[str, AnyArray], early: str) -> list[Verdict]:
    return [
        Verdict(
            source="2017, Section 3.3, Figure 8",
            claim="large and small batches have the same number of large eigenvalues",
            measured=f"difference of their numbers by the largest ratio, {ends['ratio'][0]} and {ends['ratio'][1]},",
            number=float(abs(ends["ratio"][0] - ends["ratio"][1])),
            below=0.0,
            undecided=early,
        ),
        Verdict(
            source="2017, Section 3.3, Figure 8",
            claim="the large-batch solution has larger eigenvalues",
            measured="λ_max of large batches over that of small ones",
            number=float(ends["top"][0] / ends["top"][1]),
            above=1.0,
            undecided=early,
        ),
        Verdict(
            source="2017, Section 3.3, Figure 7",
            claim="negative eigenvalues are orders of magnitude smaller than the large ones",
            measured="largest -λ_min/λ_max of both solutions",
            number=float((-ends["bottom"] / ends["top"]).max()),
            below=ORDERS_SMALLER,
            undecided=early,
        ),
    ]
