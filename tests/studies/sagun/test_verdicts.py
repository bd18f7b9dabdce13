"""What becomes of the papers' claims: numbers that are those of the tables, and verdicts that can go either way."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from kernelcalc.output.tables import Verdict
from kernelcalc.results.experiment import ExperimentResult
from kernelcalc.studies.sagun import run
from kernelcalc.studies.sagun.claims import far_note, stopped, untrained
from kernelcalc.studies.sagun.path_claims import claims_of_path
from kernelcalc.studies.sagun.spectra_claims import claims_of_spectra

Columns = dict[str, np.ndarray]


def of(verdicts: tuple[Verdict, ...], words: str) -> Verdict:
    (found,) = [verdict for verdict in verdicts if words in verdict.claim]
    return found


def outcomes(verdicts: tuple[Verdict, ...], *words: str) -> list[str]:
    return [of(verdicts, one).outcome for one in words]


# ---------------------------------------------------------------------------------------------- spectra, made by hand
def spectra_table(gap: int, near: float, bottom: float, loss_after: float = 0.1, gradient: float = 1e-4) -> Columns:
    """Blobs and two kinds of patterns at two widths."""
    rows = [
        (data, loss, width, when)
        for data in ("digits", "random", "blobs")
        for loss in ("softmax", "mse")
        for width in (2, 6)
        for when in ("start", "end")
    ]
    data, loss, width, when = (np.array(column) for column in zip(*rows, strict=True))
    end = when == "end"
    return {
        "data": data,
        "loss": loss,
        "width": width,
        "time": when,
        "top": np.where(data == "digits", 10.0, 1.0),
        "bottom": np.where(data == "digits", 10.0, 1.0) * bottom,
        "near_zero": np.where(width == 2, 0.5, near),
        "gap": np.full(len(rows), gap),
        "gap_theory": np.full(len(rows), 1),
        "training_loss": np.where(end, loss_after, 1.0),
        "gradient": np.where(end, gradient, 1.0),
    }


SPECTRA = ("at a random point", "after training", "concentration", "two isolated", "same discrete", "digits or random")


def test_spectra_as_the_papers_have_them() -> None:
    verdicts = claims_of_spectra(spectra_table(2, 0.95, -0.01))
    assert [verdict.outcome for verdict in verdicts] == ["reproduced"] * len(verdicts)
    assert of(verdicts, "digits or random").number == 10
    assert "found 2, 2; limit 1, 1" in of(verdicts, "two isolated").measured


def test_spectra_that_are_otherwise() -> None:
    table = spectra_table(1, 0.4, -0.5, gradient=0.1)
    table["gap"][table["loss"] == "mse"] = 4
    table["top"][:] = 1.0
    verdicts = claims_of_spectra(table)
    assert (
        outcomes(verdicts, "‖∇C‖", "at a random point", "concentration", "two isolated", "same", "or random")
        == ["not reproduced"] * 6
    )
    assert of(verdicts, "concentration").number == pytest.approx(0.8)
    assert of(verdicts, "two isolated").number == 0
    assert outcomes(verdicts, "still negative", "small in magnitude") == ["reproduced", "not reproduced"]


def test_spectra_of_networks_that_were_not_trained_decide_little() -> None:
    verdicts = claims_of_spectra(spectra_table(2, 0.95, -0.01, loss_after=0.8))
    assert outcomes(verdicts, "at a random point", "two isolated") == ["reproduced", "cannot be decided here"]
    assert str(of(verdicts, "two isolated")).endswith("not in this run")
    # one trained network is enough for what is said of one
    table = spectra_table(2, 0.95, -0.01, loss_after=0.8)
    table["training_loss"][-1] = table["training_loss"][-5] = 0.1
    assert outcomes(claims_of_spectra(table), "still negative", "two isolated") == ["reproduced", "reproduced"]


def test_spectra_without_blobs_say_nothing_of_them() -> None:
    table = spectra_table(2, 0.95, -0.01)
    rest = {name: column[table["data"] != "blobs"] for name, column in table.items()}
    verdict = of(claims_of_spectra(rest), "two isolated")
    assert verdict.outcome == "cannot be decided here"
    assert str(verdict).endswith("not in this run")


# ------------------------------------------------------------------------------------------------- path, made by hand
def path_tables(jump: float, barrier: float, ratios: tuple[int, int], gain: float, middle: float) -> dict[str, Columns]:
    pairs = np.array(["GD and SGD", "large, then small batch", "two starts"])
    s = np.array([0.0, 0.5, 1.0])
    lines = {
        "pair": np.repeat(pairs, 6),
        "step": np.tile(np.repeat([1, 10], 3), 3),
        "s": np.tile(s, 6),
        "loss": np.full(18, 0.1),
    }
    own = (lines["pair"] == "two starts") & (lines["s"] == 0.5)
    lines["loss"][own] = [1.0, middle]
    names = np.array(["GD", "large, then small"])
    course = {
        "run": np.repeat(names, 3),
        "loss": np.array([1.0, 0.5, 0.1, 0.1, 0.1 * jump, 0.05]),
        "loss_test": np.array([1.0, 0.5, 0.4, 0.4, 0.4 * jump, 0.4]),
        "accuracy_test": np.array([0.1, 0.5, 0.8, 0.8, 0.7, 0.8 + gain]),
    }
    ends = {
        "run": np.array(["GD", "large batch", "SGD"]),
        "loss": np.array([0.1, 0.1, 0.11]),
        "top": np.array([2.0, 2.0, 1.0]),
        "bottom": np.array([-0.001, -0.001, -0.001]),
        "gap": np.array([1, *ratios]),
        "ratio": np.array([1, *ratios]),
    }
    rows = {"pair": pairs, "barrier": np.array([barrier, barrier, 1.0])}
    return {"path": rows, "path_lines": lines, "path_training": course, "path_ends": ends}


def test_path_as_the_papers_have_it() -> None:
    verdicts = claims_of_path(path_tables(2.0, 0.0, (3, 3), 0.05, 0.5), 50)
    assert [verdict.outcome for verdict in verdicts] == ["reproduced"] * 12


def test_path_that_is_otherwise() -> None:
    tables = path_tables(1.0, 0.1, (3, 1), 0.0, 2.0)
    tables["path_ends"]["top"][1] = 0.5
    tables["path_ends"]["bottom"][:] = -0.5
    verdicts = claims_of_path(tables, 50)
    left = [verdict.claim for verdict in verdicts if verdict.outcome == "reproduced"]
    assert left == [
        "the profile between GD and SGD is completely flat although the points diverge",
        "GD and SGD reach the same loss in the same number of steps",
    ]
    assert of(verdicts, "the training loss jumps").number == 1
    assert of(verdicts, "generalises").above == pytest.approx(1 / 50)


# ----------------------------------------------------------------------------------------------------------- real runs
TINY = {
    "batches": {"points": 8, "batches": (2,), "rates": (1.0,), "steps": 3},
    "heatmaps": {"points": 8, "widths": (2,), "width": 20, "steps": 2},
    "initial": {"points": 8, "widths": (3, 6, 9), "trials": 4, "steps": 2},
    "outliers": {"points": 20, "clusters": (3,), "width": 6, "steps": 150},
    "path": {"points": 16, "width": 6, "steps": 4},
    "separability": {"points": 20, "stds": (0.2, 1.5), "width": 40, "trials": 3, "steps": 60},
    "spectra": {"points": 12, "widths": (2, 3), "steps": 2, "data": ("blobs",)},
    "split": {"points": 20, "width": 5, "steps": 300},
    "training": {"points": 8, "widths": (3, 5), "steps": 4},
    "width": {"points": 10, "widths": (2, 4), "trials": 2, "steps": 60},
}


@cache
def tiny(name: str) -> ExperimentResult:
    return run(name, **TINY[name])


@pytest.mark.parametrize("name", list(TINY))
def test_every_experiment_ends_with_verdicts(name: str) -> None:
    found = tiny(name)
    assert found.verdicts
    table = found.tables[f"{name}_verdicts"]
    assert table["claim"].tolist() == [verdict.claim for verdict in found.verdicts]
    assert set(table["verdict"]) <= {"reproduced", "not reproduced", "cannot be decided here"}
    # no claim is without bounds unless it says why it cannot be decided
    assert all(verdict.wanted or verdict.undecided for verdict in found.verdicts)
    assert all(str(verdict) in str(found) for verdict in found.verdicts)


def test_separability_grows_only_if_the_blobs_merge() -> None:
    grown, same = tiny("separability"), run("separability", **TINY["separability"] | {"stds": (0.2, 0.2)})
    assert outcomes(grown.verdicts, "two largest", "norm", "error") == ["reproduced"] * 3
    assert of(same.verdicts, "two largest").number == 0
    assert of(same.verdicts, "two largest").outcome == "not reproduced"
    of_error = of(grown.verdicts, "error")
    assert of_error.number == pytest.approx(grown["loss"][1] / grown["loss"][0])


def test_separability_far_from_the_limit_is_said() -> None:
    far = run("separability", points=20, stds=(0.2, 1.5), width=2, trials=2, steps=60)
    assert "far from the limit after training" in str(far)


def test_outliers_exactly_as_many_as_classes_or_one_less() -> None:
    found = tiny("outliers")
    by_gap = of(found.verdicts, "by the largest gap")
    assert by_gap.number == float(found["gap"][0] == 3)
    assert by_gap.outcome == ("reproduced" if found["gap"][0] == 3 else "not reproduced")
    assert f"found {found['gap'][0]} for 3; limit {found['gap_theory'][0]} for 3" in by_gap.measured
    assert of(found.verdicts, "k - 1 outliers").outcome == "reproduced"
    squared = run("outliers", **TINY["outliers"], loss="mse")
    assert of(squared.verdicts, "k - 1 outliers").outcome == "cannot be decided here"


def test_split_numbers_are_those_of_the_table() -> None:
    found = tiny("split")
    h, i, s = ({c: found[c][3 + k] for c in ("top", "bottom", "square", "zero")} for k in range(3))
    assert of(found.verdicts, "can be ignored").number == pytest.approx(np.sqrt(s["square"] / i["square"]))
    assert of(found.verdicts, "orders of magnitude").number == pytest.approx(-h["bottom"] / h["top"])
    assert of(found.verdicts, "orders of magnitude").outcome == "not reproduced"
    # P less N (n_out - 1) gradients: 20 digits have 9 classes
    zeros = i["zero"] - (197 * 5 + 30 + 6 * 9 - 20 * 8)
    assert of(found.verdicts, "zero eigenvalues").number == zeros >= 0


def test_split_and_path_far_from_the_limit_are_said() -> None:
    assert "far from the limit after training (network/limit): width 5: " in str(tiny("split"))
    far = run("path", points=24, width=4, steps=80)
    assert "far from the limit after training (network/limit): GD: " in str(far)


def test_width_compares_shapes() -> None:
    found = tiny("width")
    edges = found.tables["width_edges"]
    right = [edges["right"][(edges["time"] == "end") & (edges["width"] == w)] for w in (2, 4)]
    expected = np.abs(right[0] / right[0][0] - right[1] / right[1][0]).max()
    assert of(found.verdicts, "shape of the right edge").number == pytest.approx(expected)
    alone = run("width", points=10, widths=(3,), trials=2, steps=60)
    assert of(alone.verdicts, "shape of the right edge").outcome == "cannot be decided here"


@pytest.mark.parametrize("name", ["spectra", "split"])
def test_a_stop_at_the_gradient(name: str) -> None:
    options = (
        TINY[name] | {"activation": "tanh", "loss": "mse"} if name == "split" else TINY[name] | {"losses": ("mse",)}
    )
    whole = run(name, **options | {"steps": 400})
    early = run(name, **options | {"steps": 400}, stop=0.05)
    assert of(early.verdicts, "‖∇C‖").number <= 0.05
    (said,) = [note for note in early.notes if note.startswith("steps until ‖∇C‖ ≤ 0.05, or all: ")]
    taken = [int(number) for number in re.findall(r": (\d+)", said)]
    assert taken
    assert all(0 < number < 400 for number in taken)
    assert "steps until" not in str(whole)


def test_trained_far_enough() -> None:
    assert stopped(np.array([1e-4, 2e-4])).outcome == "reproduced"
    assert stopped(np.array([1e-4, 2e-3])).outcome == "not reproduced"
    assert untrained(1.0, 0.5) == ""
    assert untrained(1.0, 0.51)


def test_far_is_a_factor_either_way() -> None:
    assert far_note([("a", {"loss": (1.4, 1.0)}), ("b", {"loss": (0.7, 1.0)})]) == ()
    (said,) = far_note([("a", {"loss": (1.6, 1.0)}), ("b", {"top": (0.5, 1.0)})], "n")
    assert "a: loss 1.6; b: top 0.5." in said
    assert "n^-½" in said
