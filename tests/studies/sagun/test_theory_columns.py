"""Every column of theory, computed again from the library's spectrum, losses written out and the limit's outputs.

The outputs are those of :meth:`Limit.descend`, which tests/experiments/test_limit.py checks against solvers and networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.finite import FiniteNetwork
from kernelcalc.studies.sagun import run
from kernelcalc.studies.sagun.heatmaps import block_squares, residual_squares
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.path_runs import LINE, barrier
from kernelcalc.studies.sagun.task import Task, descend
from kernelcalc.studies.spectrum import count_outliers, spectrum_of_i

Pair = tuple[str, np.ndarray, np.ndarray]


def softmax(y: np.ndarray) -> np.ndarray:
    e = np.exp(y - y.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def gradient(task: Task, y: np.ndarray) -> np.ndarray:
    return np.asarray(((softmax(y) if task.loss == "softmax" else y) - task.y) / task.n)


def loss(task: Task, y: np.ndarray) -> float:
    if task.loss == "softmax":
        return float(-np.log((softmax(y) * task.y).sum(axis=1)).mean())
    return float(((y - task.y) ** 2).sum() / (2 * task.n))


def curvature(task: Task, y: np.ndarray) -> np.ndarray:
    """N blocks of the Hessian of C, (N, n_out, n_out)."""
    if task.loss == "mse":
        return np.tile(np.eye(task.n_out), (task.n, 1, 1)) / task.n
    p = softmax(y)
    return np.asarray((p[:, :, None] * np.eye(task.n_out) - p[:, :, None] * p[:, None, :]) / task.n)


def spectrum(limit: Limit, y: np.ndarray) -> np.ndarray:
    return spectrum_of_i(limit.kernels, y, limit.task.y, limit.task.loss).values


def square_of_s(limit: Limit, y: np.ndarray) -> float:
    """∇CᵀΥ∇C with the library's Υ."""
    upsilon = limit.task.net.kernels(limit.task.x, only=("upsilon",)).upsilon
    slope = gradient(limit.task, y)
    return float(np.trace(slope.T @ upsilon @ slope))


def blobs(n: int, std: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return kc.datasets.two_blobs(n, std=std, rng=seed)


def started(task: Task, starts: list[FiniteNetwork]) -> tuple[Limit, float]:
    """The limit and the step: a quarter of the stability bound of the limit and of every start."""
    limit = Limit.of(task)
    bound = 0.5 if task.loss == "softmax" else 1.0
    flat = 0.5 * task.n / (bound * np.linalg.eigvalsh(limit.theta)[-1])
    return limit, min([flat, *(0.5 / np.linalg.eigvalsh(task.split(s).h.dense())[-1] for s in starts)])


def split_columns(law: str) -> Iterator[Pair]:
    found = run("split", points=12, width=4, steps=7, activation="tanh", loss=law)
    task = Task.of(*kc.datasets.mnist14(12), activation="tanh", loss=law)
    start = task.draw(4, 0)
    limit, step = started(task, [start])
    y = limit.descend(start(task.x), step, 7, at=(0, 7))
    own = {matrix: found["matrix"] == matrix for matrix in "HIS"}
    values = [spectrum(limit, o) for o in y]
    yield "top_theory", found["top_theory"][own["I"]], np.array([v[0] for v in values])
    yield "Tr I²", found["square_theory"][own["I"]], np.array([v @ v for v in values])
    yield "Tr S²", found["square_theory"][own["S"]], np.array([square_of_s(limit, o) for o in y])
    end = descend(task, start, step, 7)[0]
    square = np.sum(task.split(end).h.dense() ** 2)
    yield "network", found["square"][own["H"]][1:], np.array([square])


def width_columns(law: str) -> Iterator[Pair]:
    found = run("width", points=10, widths=(3, 6), trials=2, steps=5, activation="tanh", loss=law)
    task = Task.of(*kc.datasets.mnist14(10), activation="tanh", loss=law)
    starts = {w: [task.draw(w, [0, w, k]) for k in range(2)] for w in (3, 6)}
    limit, step = started(task, starts[3] + starts[6])
    edges = found.tables["width_edges"]
    for width in (3, 6):
        outputs = [limit.descend(s(task.x), step, 5, at=(0, 5)) for s in starts[width]]
        for i, when in enumerate(("start", "end")):
            row = (found["width"] == width) & (found["time"] == when)
            values = np.mean([spectrum(limit, o[i])[:10] for o in outputs], axis=0)
            square = np.mean([square_of_s(limit, o[i]) for o in outputs])
            p = np.array([task.parameters(width)])
            yield "top_theory", found["top_theory"][row], values[:1]
            yield "trace_s2_theory", found["trace_s2_theory"][row], np.array([square])
            yield "bulk_theory", found["bulk_theory"][row], np.sqrt(square / p)
            yield "bulk", found["bulk"][row], np.sqrt(found["trace_s2"][row] / p)
            yield "bottom_root_width", found["bottom_root_width"][row], found["bottom"][row] * width**0.5
            own = (edges["width"] == width) & (edges["time"] == when)
            yield "right_theory", edges["right_theory"][own], values


def spectra_columns(law: str) -> Iterator[Pair]:
    found = run("spectra", points=10, widths=(2, 4), steps=6, data=("blobs",), losses=(law,), activation="tanh")
    task = Task.of(*blobs(10), activation="tanh", loss=law)
    for width in (2, 4):
        start = task.draw(width, [0, width])
        limit, step = started(task, [start])
        y = limit.descend(start(task.x), step, 6, at=(0, 6))
        row = found["width"] == width
        values = [spectrum(limit, o)[:10] for o in y]
        yield "step", found["step"][row], np.full(2, step)
        yield "top_theory", found["top_theory"][row], np.array([v[0] for v in values])
        yield "gap_theory", found["gap_theory"][row], np.array([1 + np.argmax(v[:-1] - v[1:]) for v in values])
        yield "loss_theory", found["loss_theory"][row], np.array([loss(task, o) for o in y])
        yield "rank_bound_i", found["rank_bound_i"][row], np.full(2, 10 if law == "softmax" else 20)
        yield "rank_bound_s", found["rank_bound_s"][row], np.full(2, 2 * 10 * 2 * width)


def training_columns(law: str) -> Iterator[Pair]:
    found = run("training", points=10, widths=(3, 5), steps=4, activation="tanh", loss=law)
    task = Task.of(*blobs(10), activation="tanh", loss=law)
    starts = [task.draw(w, [0, w]) for w in (3, 5)]
    limit, step = started(task, starts)
    for width, start in zip((3, 5), starts, strict=True):
        row = found["width"] == width
        y = limit.descend(start(task.x), step, 4, at=found["step"][row].tolist())
        values = np.array([spectrum(limit, o)[:4] for o in y])
        for j in range(4):
            yield f"theory_{j + 1}", found[f"theory_{j + 1}"][row], values[:, j]
        yield "loss_theory", found["loss_theory"][row], np.array([loss(task, o) for o in y])


def initial_columns(law: str) -> Iterator[Pair]:
    found = run("initial", points=8, widths=(3, 5, 8), trials=3, steps=6, activation="tanh", loss=law)
    values = found.tables["initial_values"]
    task = Task.of(*blobs(8), activation="tanh", loss=law)
    seeds = [sequence.spawn(3) for sequence in np.random.SeedSequence(0).spawn(3)]
    drawn = [task.draw(w, np.random.default_rng(s)) for w, own in zip((3, 5, 8), seeds, strict=True) for s in own[:3]]
    limit, step = started(task, drawn)
    begin = limit.starts(400, 0)
    (end,) = limit.descend(begin, step, 6)
    for when, outputs in (("start", begin), ("end", end)):
        tops = np.array([spectrum(limit, y)[0] for y in outputs])
        row = {name: (found["time"] == when) & (found["width"] == name) for name in ("theory", "extrapolated")}
        yield "theory values", values[f"theory_{when}"], tops
        yield "theory mean", found["mean"][row["theory"]], tops.mean(keepdims=True)
        yield "theory std", found["std"][row["theory"]] + 1, tops.std(ddof=1, keepdims=True) + 1
        mean, error = (found[name][row["extrapolated"]] for name in ("mean", "error"))
        noise = tops.std(ddof=1) / 20
        yield "z", found["z"][row["extrapolated"]], (mean - tops.mean()) / np.sqrt(error**2 + noise**2)


def separability_columns(law: str) -> Iterator[Pair]:
    found = run("separability", points=10, stds=(0.3, 1.2), width=5, trials=2, steps=6, activation="tanh", loss=law)
    tasks = [Task.of(*blobs(10, std), activation="tanh", loss=law) for std in (0.3, 1.2)]
    limits, steps = zip(*(started(task, [task.draw(5, [0, k]) for k in range(2)]) for task in tasks), strict=True)
    for i, (task, limit) in enumerate(zip(tasks, limits, strict=True)):
        (outputs,) = limit.descend(limit.starts(32, 0), min(steps), 6)
        values = np.array([spectrum(limit, y)[:2] for y in outputs])
        row = slice(i, i + 1)
        yield "top_theory", found["top_theory"][row], values[:, 0].mean(keepdims=True)
        yield "top_theory_std", found["top_theory_std"][row] + 1, values[:, 0].std(ddof=1, keepdims=True) + 1
        yield "second_theory", found["second_theory"][row], values[:, 1].mean(keepdims=True)
        yield "loss_theory", found["loss_theory"][row], np.mean([loss(task, y) for y in outputs], keepdims=True)


def outliers_columns(law: str) -> Iterator[Pair]:
    found = run("outliers", clusters=(2, 4), points=16, width=4, steps=9, activation="tanh", loss=law)
    scree = found.tables["outliers_scree"]
    for i, k in enumerate((2, 4)):
        task = Task.of(*kc.datasets.gaussian_clusters(16, k, 100, rng=[0, k]), activation="tanh", loss=law)
        start = task.draw(4, [0, k, 1])
        limit, step = started(task, [start])
        (y,) = limit.descend(start(task.x), step, 9)
        values = spectrum(limit, y)
        values = values[: 16 * (k - 1)]
        values = values[values > 1e-9 * values[0]]
        row, own = slice(i, i + 1), scree["clusters"] == k
        shown = scree["theory"][own]
        yield "step", found["step"][row], np.array([step])
        yield "scree", shown[~np.isnan(shown)], values
        yield "top_theory", found["top_theory"][row], values[:1]
        yield "loss_theory", found["loss_theory"][row], np.array([loss(task, y)])
        for rule, name in (("gap", "gap"), ("ratio", "ratio"), ("cutoff", "elbow")):
            yield f"{name}_theory", found[f"{name}_theory"][row], np.array([count_outliers(values, rule)])


def path_columns(law: str) -> Iterator[Pair]:
    found = run("path", points=16, width=5, steps=10, activation="tanh", loss=law)
    both = Task.of(*kc.datasets.mnist14(32), activation="tanh", loss=law)
    task, test = both.subset(slice(16)), both.subset(slice(16, None))
    start = task.draw(5, [0, 0])
    limit, step = started(task, [start, task.draw(5, [0, 7])])
    at = (1, 3, 10)
    small = {"batch": 1, "rng": [0, 1]}
    networks = descend(task, start, step, 10, at=at), descend(task, start, step, 10, at=at, **small)
    first = start(task.x)
    outputs = limit.descend(first, step, 10, at=at), limit.descend(first, step, 10, at=at, **small)
    row = found["pair"] == "GD and SGD"
    for side, nets, ys in zip("ab", networks, outputs, strict=True):
        # accuracy on the digits that were not trained on, counted one by one
        right = [np.mean([f.argmax() == y.argmax() for f, y in zip(n(test.x), test.y, strict=True)]) for n in nets]
        yield f"accuracy_{side}", found[f"accuracy_{side}"][row], np.array(right)
        yield f"loss_{side}", found[f"loss_{side}"][row], np.array([loss(task, n(task.x)) for n in nets])
        yield f"loss_{side}_theory", found[f"loss_{side}_theory"][row], np.array([loss(task, y) for y in ys])
        yield f"top_{side}_theory", found[f"top_{side}_theory"][row], np.array([spectrum(limit, y)[0] for y in ys])
    lines = found.tables["path_lines"]
    for i, step_ in enumerate(at):
        own = (lines["pair"] == "GD and SGD") & (lines["step"] == step_)
        profile = np.array([loss(task, (1 - s) * outputs[0][i] + s * outputs[1][i]) for s in LINE])
        yield "line", lines["loss_theory"][own], profile
        yield "barrier", found["barrier_theory"][row][i : i + 1] + 1, np.array([barrier(profile)]) + 1
    (large,) = limit.descend(first, step, 10, batch=8, rng=[0, 3])
    ends = limit.descend(large, step, 10, at=at, **small)
    row = found["pair"] == "large, then small batch"
    yield "top_a_theory", found["top_a_theory"][row], np.full(3, spectrum(limit, large)[0])
    yield "top_b_theory", found["top_b_theory"][row], np.array([spectrum(limit, y)[0] for y in ends])


def heatmaps_columns(law: str) -> Iterator[Pair]:
    found = run("heatmaps", points=8, widths=(2,), width=12, steps=5, loss=law)
    task = Task.of(*blobs(8), loss=law)
    starts = {k: task.draw(k, [0, k]) for k in (2, 10, 12)}
    limit, step = started(task, list(starts.values()))
    y = limit.descend(starts[12](task.x), step, 5, at=(0, 5))
    networks = {k: descend(task, starts[k], step, 5, at=(0, 5)) for k in (10, 12)}
    parts, pairs = limit.layer_kernels, [(a, b) for a in range(3) for b in range(a, 3)]
    for i, when in enumerate(("start", "end")):
        row = found["time"] == when
        blocks = curvature(task, y[i])
        # 𝓗C ⊗ as one matrix on points and outputs
        whole = np.einsum("ij,iab->iajb", np.eye(task.n), blocks).reshape(2 * task.n, -1)
        full = [whole @ np.kron(part, np.eye(2)) for part in parts]
        slope = gradient(task, y[i])
        theory = np.array([np.sqrt(np.trace(full[a] @ full[b])) for a, b in pairs])
        of_s = np.array([np.sqrt(np.trace(slope.T @ parts[a] @ slope)) if a < b else 0.0 for a, b in pairs])
        yield "norm_theory", found["norm_theory"][row], theory
        yield "norm_s_theory", found["norm_s_theory"][row], of_s
        sizes = {k: np.sqrt([block_squares(task, networks[k][i])[p] for p in pairs]) for k in (10, 12)}
        yield "norm_i", found["norm_i_12"][row], sizes[12]
        yield "norm_10", found["norm_10"][row], sizes[10]
        yield "ratio", found["ratio"][row], sizes[12] / theory
        of_network = residual_squares(task, networks[12][i], 0)
        yield "norm_s", found["norm_s_12"][row], np.sqrt([of_network[p] for p in pairs])


COLUMNS: dict[str, Callable[[str], Iterator[Pair]]] = {
    "split": split_columns,
    "width": width_columns,
    "spectra": spectra_columns,
    "training": training_columns,
    "initial": initial_columns,
    "separability": separability_columns,
    "outliers": outliers_columns,
    "path": path_columns,
    "heatmaps": heatmaps_columns,
}


@pytest.mark.parametrize("law", ["softmax", "mse"])
@pytest.mark.parametrize("name", list(COLUMNS))
def test_columns_of_theory(name: str, law: str) -> None:
    compared = 0
    for column, found, direct in COLUMNS[name](law):
        np.testing.assert_allclose(found, direct, rtol=1e-8, err_msg=column)
        compared += 1
    assert compared


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("width", {"points": 40, "widths": (8, 16), "trials": 2, "loss": "mse"}),
        ("initial", {"points": 20, "widths": (4, 8, 16), "trials": 6, "loss": "mse"}),
        ("training", {"points": 20, "widths": (4, 8), "loss": "mse"}),
    ],
)
def test_narrow_networks_under_mse_take_a_smaller_step_and_it_is_said(name: str, options: dict[str, object]) -> None:
    assert "the step is ½/λ_max(H) of the sharpest start" in str(run(name, steps=3, **options))
