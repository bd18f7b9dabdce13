"""The list of experiments: what is in the folder, and what registers itself."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from kernelcalc.cli import main
from kernelcalc.errors import InputError, UnknownNameError
from kernelcalc.output.pictures import grid
from kernelcalc.studies.experiment import Experiment, Show, Tables, by_size
from kernelcalc.studies.sagun import experiments, registry, run


def test_the_folder_is_the_list() -> None:
    names = {
        "spectra",
        "heatmaps",
        "training",
        "initial",
        "separability",
        "outliers",
        "width",
        "path",
        "split",
        "risk",
        "batches",
    }
    assert set(experiments()) == names
    for name, kind in experiments().items():
        assert kind.name == name
        assert kind.summary
        assert {"full", "seed"} <= {setting.name for setting in fields(kind)}  # type: ignore[arg-type]


def test_unknown_experiments_and_settings() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'outliers'"):
        run("outlier")
    with pytest.raises(InputError, match=r"stds.*got widths"):
        run("separability", widths=(1,))


def test_sizes_small_the_papers_and_given() -> None:
    split = experiments()["split"]
    sizes = [(s.width, s.steps) for s in (split(), split(full=True), split(full=True, steps=7))]  # type: ignore[call-arg, attr-defined]
    assert sizes == [(10, 300), (20, 3000), (20, 7)]
    with pytest.raises(AttributeError):
        split().width = 3  # type: ignore[attr-defined]


def test_an_experiment_is_added_by_one_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))

    @registry.experiment
    @dataclass(frozen=True, kw_only=True)
    class Means(Experiment):
        name = "means"
        summary = "the mean of a few numbers"
        full: bool = False
        seed: int = 0
        points: int = by_size(10, 1000)

        def measure(self, show: Show) -> float:
            return float(np.mean(list(show(range(self.points), "numbers"))))

        def title(self, found: float) -> str:
            return f"Mean of {self.points} numbers"

        def table(self, found: float) -> Tables:
            return {"means": {"mean": np.array([found])}}

        def notes(self, found: float) -> tuple[str, ...]:
            return ("mean: as it is",)

        def draw(self, found: float) -> Any:
            return grid(1, 1)[0]

    assert run("means")["mean"].tolist() == [4.5]
    assert run("means", full=True)["mean"].tolist() == [499.5]
    assert "the mean of a few numbers" in CliRunner().invoke(main, ["sagun", "--help"]).output
    result = CliRunner().invoke(main, ["sagun", "means", "-n", "3", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "means.csv").read_text() == "mean\n1.0\n"
    assert (tmp_path / "means.png").exists()
