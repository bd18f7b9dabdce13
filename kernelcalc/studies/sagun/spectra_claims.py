"""What becomes of the claims about exact spectra, from the main table of the experiment spectra."""

from __future__ import annotations

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.output.result import Verdict
from kernelcalc.studies.sagun.claims import ALMOST_ALL, TINY, stopped, untrained
from kernelcalc.studies.sagun.task import NEAR_ZERO, ROUNDED_ZERO

Columns = dict[str, AnyArray]


def claims_of_spectra(table: Columns) -> tuple[Verdict, ...]:
    """Verdicts from the columns of the table."""
    start, end = ({name: column[table["time"] == when] for name, column in table.items()} for when in ("start", "end"))
    early = next(filter(None, map(untrained, start["training_loss"], end["training_loss"])), "")
    return (
        stopped(end["gradient"]),
        *_about_zeros(start, end, early),
        *_about_isolated_ones(end, early),
        *_about_negative_ones(end, early),
    )


def _about_zeros(start: Columns, end: Columns, early: str) -> list[Verdict]:
    families = [
        np.flatnonzero((end["data"] == data) & (end["loss"] == loss))
        for data, loss in dict.fromkeys(zip(end["data"].tolist(), end["loss"].tolist(), strict=True))
    ]
    widest = np.array([own[-1] for own in families])
    growth = [end["near_zero"][own[-1]] / end["near_zero"][own[0]] for own in families if own.size > 1]
    measured = f"part within {NEAR_ZERO:g} λ_max of zero, smallest of the widest networks"
    return [
        Verdict(
            source="2017, Section 1.2",
            claim="almost all eigenvalues are at or near zero at a random point",
            measured=measured,
            number=float(start["near_zero"][widest].min()),
            above=ALMOST_ALL,
        ),
        Verdict(
            source="2017, Section 1.2",
            claim="almost all eigenvalues are at or near zero after training",
            measured=measured,
            number=float(end["near_zero"][widest].min()),
            above=ALMOST_ALL,
            undecided=early,
        ),
        Verdict(
            source="2016, Sections 2.1 and 3, Figures 1 and 4",
            claim="increasing the network only adds to the concentration at and around zero",
            measured="that part of the widest network over that of the narrowest, smallest over data and losses",
            number=float(min(growth, default=np.nan)),
            above=1.0,
            undecided=early,
        ),
    ]


def _about_isolated_ones(end: Columns, early: str) -> list[Verdict]:
    blobs = np.flatnonzero((end["data"] == "blobs") & (end["loss"] == "softmax"))
    isolated, expected = (", ".join(map(str, end[name][blobs].tolist())) for name in ("gap", "gap_theory"))
    listed = f" (found {isolated}; limit {expected})" if blobs.size else ""
    under = [_counts_by(end, loss) for loss in ("softmax", "mse")]
    same = [under[0][key] == under[1][key] for key in under[0].keys() & under[1].keys()]
    tops = [end["top"][(end["data"] == data) & (end["loss"] == "softmax")] for data in ("digits", "random")]
    factor = tops[0][-1] / tops[1][-1] if all(map(len, tops)) else np.nan
    return [
        Verdict(
            source="2016, Section 3, Figure 4",
            claim="two blobs give two isolated eigenvalues",
            measured=f"part of the networks with two, by the largest gap{listed}",
            number=float((end["gap"][blobs] == 2).mean()) if blobs.size else np.nan,
            above=1.0,
            undecided=early,
        ),
        Verdict(
            source="2016, Section 3, Figure 5",
            claim="the mean squared error gives the same discrete part as the log loss",
            measured="part of the networks with as many isolated eigenvalues under both, by the largest gap",
            number=float(np.mean(same)) if same else np.nan,
            above=1.0,
            undecided=early,
        ),
        Verdict(
            source="2016, Section 2.2, Figure 2",
            claim="the large eigenvalues depend on the data: digits or random patterns",
            measured="factor between their λ_max after training, widest networks, softmax",
            number=float(max(factor, 1 / factor)),
            above=2.0,
            undecided=early,
        ),
    ]


def _counts_by(table: Columns, loss: str) -> dict[tuple[str, int], int]:
    own = table["loss"] == loss
    keys = zip(table["data"][own].tolist(), table["width"][own].tolist(), strict=True)
    return dict(zip(keys, table["gap"][own].tolist(), strict=True))


def _about_negative_ones(end: Columns, early: str) -> list[Verdict]:
    ratios = -end["bottom"] / end["top"]
    return [
        Verdict(
            source="2016, Section 4",
            claim="there are still negative eigenvalues after training",
            measured="smallest -λ_min/λ_max over networks",
            number=float(ratios.min()),
            above=ROUNDED_ZERO,
            undecided=early,
        ),
        Verdict(
            source="2016, Section 4",
            claim="and they are small in magnitude",
            measured="largest -λ_min/λ_max over networks",
            number=float(ratios.max()),
            below=TINY,
            undecided=early,
        ),
    ]
