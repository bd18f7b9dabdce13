"""Finite networks, data and what the commands print and write."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from groups import GROUPS, Numbers, cloud, group, prefixed, read

import kernelcalc as kc


@group("finite networks")
def finite_networks() -> Numbers:
    """Derivatives, moments, spectra."""
    x, labels = cloud(8, 4), np.arange(8) % 3
    one = kc.FiniteNetwork.random(kc.MLP("smooth_relu"), (7, 6), n_in=4, rng=0)
    three = kc.FiniteNetwork.random(kc.MLP("tanh", 3, n_out=3), 12, n_in=4, rng=1)
    target, classes = np.sign(x[:, 0]), np.eye(3)[labels]
    moments = "trace_i trace_h trace_h_error trace_s trace_s2 trace_is loss"
    found = {
        "outputs": three(x),
        "jacobian": one.jacobian(x[:2]),
        "ntk": three.ntk(x),
        "cross": one.ntk(x[:3], x[3:]),
        "traces": three.hessian_trace(x),
        "gradient": three.gradient(x, labels, "softmax"),
        "hessian": one.hessian(x, target),
        "output_hessian": one.output_hessian(x[:1])[0, 0, ::5],
    }
    for name, net, y, loss in (
        ("one", one, target, "mse"),
        ("three", three, classes, "mse"),
        ("softmax", three, labels, "softmax"),
    ):
        found |= prefixed([(name, read(net.hessian_moments(x, y, loss=loss), moments))])
        sampled = net.hessian_moments(x, y, loss=loss, dense=False, deflation=6, probes=4)
        found |= prefixed([(f"{name} sampled", read(sampled, moments))])
    split = three.curvature(x, classes)
    vector = np.random.default_rng(8).standard_normal(three.n_parameters)
    found |= {f"product_{part}": getattr(split, part) @ vector for part in "his"}
    found["spectrum"] = kc.finite.eigenvalues(split.h)[-40:]
    found["ends"] = kc.finite.extreme_eigenvalues(split.h, 3)
    density = kc.finite.spectral_density(split.h, steps=12, probes=2)
    return found | {"density": density.density(np.linspace(-0.5, 2, 7), 0.1)}


@group("finite networks in training")
def finite_training() -> Numbers:
    """Flow, descent, batches, ensembles."""
    x = cloud(8, 4)
    target = np.sign(x[:, 0])
    net = kc.MLP("smooth_relu")
    start = kc.FiniteNetwork.random(net, (9, 8), n_in=4, rng=2)
    runs = {
        "flow": start.train(x, target, [0.0, 1.0, 5.0]),
        "binary": start.train(x, target, [0.0, 1.0], loss="binary"),
        "gd": start.train(x, target, [0.0, 2.0, 10.0], method="gd", step=0.2),
        "default step": start.train(x, target, [0.0, 10.0], method="gd"),
        "sgd": start.train(x, target, [0.0, 4.0], method="sgd", step=0.1, batch_size=3, rng=1),
    }
    found = prefixed(
        (name, read(run, "times loss") | {"parameters": run.network.parameters}) for name, run in runs.items()
    )
    ensemble = kc.finite.moments_through_training(net, x, target, [0.0, 1.0], width=10, trials=3, rng=4)
    names = "trace_i trace_h trace_h_std trace_s trace_s2 trace_is loss loss_std"
    single = kc.FiniteNetwork.random(net, 8, n_in=4, rng=3, dtype=np.float32)
    return found | prefixed([("ensemble", read(ensemble, names))]) | {"float32": single(x)}


@group("validation")
def validation() -> Numbers:
    """The table of theory beside finite networks."""
    report = kc.validate(
        kc.MLP("tanh", 2), cloud(3, 2), [1.0, -1.0, 0.5], widths=(6, 12), trials=6, times=(0.0, 1.0), rng=2
    )
    columns = {name: [row[name] for row in report.table] for name in report.table[0]}
    return columns | {"z_limit": report.z_limit, "resolution": report.resolution}


@group("data sets")
def datasets() -> Numbers:
    """Points and labels."""
    data = kc.datasets
    made = {
        "digits": data.mnist14(3),
        "raw": data.mnist14(2, scale="raw"),
        "clusters": data.gaussian_clusters(9, 3, 6, spread=0.4, rng=1),
        "blobs": data.two_blobs(6, rng=2),
        "patterns": data.random_patterns(4, 6, 3, rng=3),
        "balanced": data.balanced(*data.mnist14(30), 1, [0, 1, 4]),
    }
    found = prefixed((name, {"points": x, "labels": y}) for name, (x, y) in made.items())
    return found | {"one_hot": data.one_hot([3, 5, 3]), "parity": data.parity([3, 4])}


# The command line

COMMANDS = {
    "curves": "curves -n 12 -a 'normalized smooth_relu' --times 1e-2:1e1:4 --finite 6 --trials 2 --workers 1",
    "curves, quantiles": "curves -n 12 -a tanh -a erf --times 1:10:2 --band quantiles --average 4",
    "curves, softmax": "curves -n 16 -a 'x*erf(x)' --depth 2 --loss softmax --samples 3 --times 1:10:2",
    "phase": "phase --sigma-w-range 0.5:2:4 --beta-range 0:1:3",
    "spectrum": "spectrum -n 24 --loss softmax",
    "validate": "validate --depth 2 --widths 4,8 --trials 4 --times 0,1 --data digits -n 3 --workers 1",
    "sagun split": "sagun split -n 10 --width 3 --steps 2 -a tanh",
    "sagun outliers": "sagun outliers -n 12 --clusters 2,3 --width 3 --steps 2",
}


def run_command(folder: Path, *arguments: str) -> str:
    """What a command of the package that is compared prints, in a process of its own."""
    home = str(Path(kc.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": home, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "kernelcalc.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    # 1: a validation that did not pass, as with few networks
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()[-500:]}")
    return done.stdout


def columns_of(path: Path) -> Iterator[tuple[str, Any]]:
    """Columns of a CSV file by name, as numbers where they are."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    for name, column in zip(head, zip(*rows, strict=True), strict=True):
        try:
            yield name, [float(cell or "nan") for cell in column]
        except ValueError:
            yield name, list(column)


def files_of(line: str) -> Numbers:
    """All columns of the CSV files that a command writes."""
    with tempfile.TemporaryDirectory() as folder:
        run_command(Path(folder), *shlex.split(line), "--no-png", "-o", "out")
        paths = sorted(Path(folder, "out").glob("*.csv"))
        if not paths:
            raise RuntimeError(f"no CSV file from {line}")
        return prefixed((path.stem, dict(columns_of(path))) for path in paths)


GROUPS.update({f"command {name}": partial(files_of, line) for name, line in COMMANDS.items()})


@group("command kernels")
def command_kernels() -> Numbers:
    """Points from a CSV file, kernels in an .npz file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savetxt(folder / "points.csv", np.column_stack([cloud(12), np.arange(12)]), delimiter=",")
        run_command(
            folder,
            "kernels",
            "-a",
            "tanh",
            "--sigma-w",
            "1.3",
            "--data",
            "points.csv",
            "--labels",
            "-1",
            "-o",
            "out.npz",
        )
        with np.load(folder / "out.npz") as stored:
            return dict(stored)


@group("command predict")
def command_predict() -> Numbers:
    """All numbers of the report."""
    with tempfile.TemporaryDirectory() as name:
        run_command(Path(name), "predict", "-n", "20", "-a", "gelu", "--width", "50", "--json", "out.json")
        report = json.loads(Path(name, "out.json").read_text(encoding="utf-8"))
    tested = report.pop("held_out")
    return prefixed([("report", report), ("held out", tested)])


@group("command expect")
def command_expect() -> Numbers:
    """The printed line."""
    arguments = "expect --f tanh --g relu --q 1 --qp 2 --c 0.5"
    return {"line": run_command(Path.cwd(), *arguments.split()).strip()}
