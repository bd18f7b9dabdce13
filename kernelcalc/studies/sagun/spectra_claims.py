"""What becomes of the claims about exact spectra, from the main table of the experiment spectra."""

from __future__ import annotations

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.output.tables import Verdict
from kernelcalc.studies.sagun.claims import ALMOST_ALL, TINY, stopped, untrained
from kernelcalc.studies.sagun.task import NEAR_ZERO, ROUNDED_ZERO

Columns = dict[str, AnyArray]


def claims_of_spectra(table: Columns) -> tuple[Verdict, ...]:
    """Verdicts from the columns of the table; what is said of trained networks is said of those that were trained."""
    start, end = ({name: column[table["time"] == when] for name, column in table.items()} for when in ("start", "end"))
    whys = list(map(untrained, start["training_loss"], end["training_loss"]))
    trained = np.array([not why for why in whys])
    return (
        stopped(end["gradient"]),
        _zeros("at a random point", start, np.ones(len(whys), dtype=bool)),
        _zeros("after training", end, trained),
        _concentration(end, trained),
        *_about_isolated_ones(end, trained),
        *_about_negative_ones(end, trained),
    )


def _families(table: Columns, rows: AnyArray) -> list[AnyArray]:
    """Of these rows, those of one data set and loss together, from narrow to wide."""
    pairs = dict.fromkeys(zip(table["data"].tolist(), table["loss"].tolist(), strict=True))
    found = [np.flatnonzero((table["data"] == data) & (table["loss"] == loss) & rows) for data, loss in pairs]
    return [own for own in found if own.size]


def _zeros(when: str, table: Columns, rows: AnyArray) -> Verdict:
    widest = [table["near_zero"][own[-1]] for own in _families(table, rows)]
    return Verdict(
        source="2017, Section 1.2",
        claim=f"almost all eigenvalues are at or near zero {when}",
        measured=f"part within {NEAR_ZERO:g} λ_max of zero, smallest of the widest networks",
        number=float(min(widest, default=np.nan)),
        above=ALMOST_ALL,
    )


def _concentration(end: Columns, trained: AnyArray) -> Verdict:
    near = end["near_zero"]
    growth = [near[own[-1]] / near[own[0]] for own in _families(end, trained) if own.size > 1]
    return Verdict(
        source="2016, Sections 2.1 and 3, Figures 1 and 4",
        claim="increasing the network only adds to the concentration at and around zero",
        measured="that part of the widest network over that of the narrowest, smallest over data and losses",
        number=float(min(growth, default=np.nan)),
        above=1.0,
    )


def _about_isolated_ones(end: Columns, trained: AnyArray) -> list[Verdict]:
    blobs = np.flatnonzero((end["data"] == "blobs") & (end["loss"] == "softmax") & trained)
    isolated, expected = (", ".join(map(str, end[name][blobs].tolist())) for name in ("gap", "gap_theory"))
    listed = f" (found {isolated}; limit {expected})" if blobs.size else ""
    under = [_counts_by(end, (end["loss"] == loss) & trained) for loss in ("softmax", "mse")]
    same = [under[0][key] == under[1][key] for key in under[0].keys() & under[1].keys()]
    tops = [end["top"][(end["data"] == data) & (end["loss"] == "softmax") & trained] for data in ("digits", "random")]
    factor = tops[0][-1] / tops[1][-1] if all(map(len, tops)) else np.nan
    return [
        Verdict(
            source="2016, Section 3, Figure 4",
            claim="two blobs give two isolated eigenvalues",
            measured=f"part of the networks with two, by the largest gap{listed},",
            number=float((end["gap"][blobs] == 2).mean()) if blobs.size else np.nan,
            above=1.0,
        ),
        Verdict(
            source="2016, Section 3, Figure 5",
            claim="the mean squared error gives the same discrete part as the log loss",
            measured="part of the networks with as many isolated eigenvalues under both, by the largest gap,",
            number=float(np.mean(same)) if same else np.nan,
            above=1.0,
        ),
        Verdict(
            source="2016, Section 2.2, Figure 2",
            claim="the large eigenvalues depend on the data: digits or random patterns",
            measured="factor between their λ_max after training, widest networks, softmax,",
            number=float(max(factor, 1 / factor)),
            above=2.0,
        ),
    ]


def _counts_by(table: Columns, rows: AnyArray) -> dict[tuple[str, int], int]:
    keys = zip(table["data"][rows].tolist(), table["width"][rows].tolist(), strict=True)
    return dict(zip(keys, table["gap"][rows].tolist(), strict=True))


def _about_negative_ones(end: Columns, trained: AnyArray) -> list[Verdict]:
    ratios = (-end["bottom"] / end["top"])[trained]
    return [
        Verdict(
            source="2016, Section 4",
            claim="there are still negative eigenvalues after training",
            measured="smallest -λ_min/λ_max over networks",
            number=float(ratios.min()) if ratios.size else np.nan,
            above=ROUNDED_ZERO,
        ),
        Verdict(
            source="2016, Section 4",
            claim="and they are small in magnitude",
            measured="largest -λ_min/λ_max over networks",
            number=float(ratios.max()) if ratios.size else np.nan,
            below=TINY,
        ),
    ]
