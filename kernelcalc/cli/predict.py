"""``kernelcalc predict``: learning rates, time scales and expected curves for a network on a data set, as a report."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import click

from kernelcalc.cli.dataset import DataOptions, data_options, drawn, loss_option, network_options, positioned
from kernelcalc.cli.names import ACTIVATION, HIDDEN_WIDTH, Finite
from kernelcalc.cli.recipe import Remembered, recipe
from kernelcalc.cli.terminal import say, say_written, shows_progress

if TYPE_CHECKING:
    from kernelcalc.studies.heldout import HeldOut
    from kernelcalc.studies.prediction import Prediction
    from kernelcalc.studies.validation.descents import StableRates
    from kernelcalc.studies.validation.sharpness import MeasuredTop

# Networks drawn for the quantiles of a learning curve, at least.
_BAND_SAMPLES = 64


@click.command(
    cls=Remembered, epilog="Example: kernelcalc predict -a tanh --loss softmax --width 512 --json prediction.json"
)
@click.option(
    "-a",
    "--activation",
    type=ACTIVATION,
    default="smooth_relu",
    show_default=True,
    metavar="TEXT",
    help="Name or expression.",
)
@network_options
@data_options
@loss_option
@click.option(
    "--width", type=HIDDEN_WIDTH, default=1000, show_default=True,
    help="Hidden width for which rates are translated to the standard parametrisation and to PyTorch's default layers.",
)  # fmt: skip
@click.option(
    "--samples", type=click.IntRange(min=2), default=8, show_default=True,
    help="Number of initialisations drawn, for a loss other than the MSE.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all that is drawn.")
@click.option(
    "--networks", type=click.IntRange(min=0),
    help="Finite networks of that width whose λ_max(H) is measured beside the limit's, 0 for none.  [default: 3; 1 or none "
    "where they are large]",
)  # fmt: skip
@click.option(
    "--descents", type=click.IntRange(min=0), default=0, show_default=True,
    help="Finite networks of that width, at least 3, on which rates are tried: some 300 steps of each, in three "
    "parametrisations.",
)  # fmt: skip
@click.option(
    "--probability", type=Finite(0, 1, min_open=True, max_open=True), default=0.95, show_default=True,
    help="Part of all networks that a tried rate is to hold for.",
)  # fmt: skip
@click.option(
    "--held-out", type=click.IntRange(min=0), metavar="M",
    help="Keep M points for testing, drawn with --seed, each class in proportion; 0 for none.  [default: a fifth]",
)  # fmt: skip
@click.option(
    "--ridge", type=Finite(min=0), default=0.0, show_default=True,
    help="Added to the tangent kernel's diagonal for the held-out points, under MSE.",
)  # fmt: skip
@click.option(
    "--diag-reg", type=Finite(min=0), default=0.0, show_default=True,
    help="The same in units of the diagonal's mean.",
)  # fmt: skip
@click.option(
    "--learning-curve", is_flag=True,
    help="Loss and accuracy through training, on both parts, with the 5 to 95 % band over networks.",
)  # fmt: skip
def predict(
    activation: str,
    architecture: str | None,
    depth: int,
    sigma_w: float,
    beta: float,
    data: DataOptions,
    loss: str,
    width: int,
    samples: int,
    seed: int,
    networks: int | None,
    descents: int,
    probability: float,
    held_out: int | None,
    ridge: float,
    diag_reg: float,
    learning_curve: bool,
) -> None:
    """What a wide network will do on a data set: bounds of learning rates, time scales, expected loss.

    Full-batch gradient descent in the infinite-width limit, by default on 256 digits, a fifth of them held out for
    testing. Learning rates 2/λ_max(H) are for the NTK parametrisation, where a step of size η advances the
    gradient-flow time by η (divide times by the rate to get steps), and for the standard one at the width given. They bound
    stable rates from above: λ_max(H) of finite networks, measured on a few, is larger, and training moves it.

    The standard parametrisation trains the weights w = sigma_w W/√n and biases b' = beta b themselves, n being a
    layer's number of inputs: a step of w counts n/sigma_w² times one of W, a step of b' counts 1/beta² times one of b.
    PyTorch's layers do this too; a line of its own is for their default initialisation, uniform in ±1/√n, which is
    sigma_w = 1/√3 = 0.577 and beta = 1/√(3n) with each layer's own n, whatever --sigma-w and --beta say.

    Under MSE all numbers are exact, as far as rounding of the tangent kernel lets them: with points that nearly coincide
    no digit of the end of training is certain, which the report says and --ridge mends. For other losses --samples
    initialisations are followed.
    """
    from kernelcalc import datasets
    from kernelcalc.errors import InputError, PrecisionWarning
    from kernelcalc.kernels.architecture import network_from_text
    from kernelcalc.studies import heldout, learning, prediction
    from kernelcalc.training.losses import resolve_loss

    law = resolve_loss(loss)
    if (ridge or diag_reg) and not law.is_quadratic:
        raise InputError("--ridge and --diag-reg with --loss mse", f"--loss {loss}")
    x, y = data.read(law, seed)
    net = network_from_text(architecture, activation, depth=depth, sigma_w=sigma_w, beta=beta, n_out=y.shape[1])
    x = positioned(net, x)
    count = len(x) // 5 if held_out is None else held_out
    if count >= len(x):
        raise InputError(f"--held-out below the number of points, {len(x)}", str(count))
    if learning_curve and not count:
        raise InputError("held-out points for --learning-curve", "--held-out 0")
    train, test = datasets.split(y, count, rng=seed)
    if count:
        say(f"held out for testing: {count} of {len(x)} points, {drawn(y, seed)}")
    sampling: dict[str, Any] = {"samples": samples, "rng": seed, "networks": networks, "progress": shows_progress()}
    sampling |= {"descents": descents, "probability": probability}
    report = prediction.predict(net, x[train], y[train], law, width=width, n_out=y.shape[1], **sampling)
    say(str(report))
    tested = curve = None
    if count:
        parts = (x[train], y[train], x[test], y[test])
        options: dict[str, Any] = {"samples": samples, "rng": seed, "ridge": ridge, "diag_reg": diag_reg}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)  # the report says it
            end = math.inf if law.is_quadratic else float(report.moments.times[-1])
            tested = heldout.held_out(net, *parts, law, time=end, **options)
        say(f"\n{tested}")
        if learning_curve:
            if not law.is_quadratic:
                del options["ridge"], options["diag_reg"]
            options["samples"] = max(samples, _BAND_SAMPLES)
            curve = learning.learning_curves(net, *parts, report.moments.times, law, **options)
            say(f"\n{curve.text()}")
    numbers = as_numbers(report, tested, test.tolist())
    say_written([], recipe() | numbers | ({} if curve is None else {"learning_curve": curve.columns()}))


def as_numbers(report: Prediction, tested: HeldOut | None = None, rows: list[int] | None = None) -> dict[str, Any]:
    """The report as plain lists and numbers, with the rows that were held out; what is infinite or not known is None."""
    m, other = report.moments, report.standard
    return {
        "network": report.network,
        "loss": report.loss_name,
        "points": report.n,
        "inputs": report.n_in,
        "outputs": report.n_out,
        "width": report.width,
        "samples": report.samples,
        "smooth": report.smooth,
        "condition_number": report.condition_number if math.isfinite(report.condition_number) else None,
        "standard_learning_rate": None if other is None else report.standard_learning_rate,
        "pytorch_learning_rate": None if other is None else report.pytorch_learning_rate,
        "theta_eigenvalues": report.spectrum.tolist(),
        "time_constants": [t if t < 1e300 else None for t in report.time_constants.tolist()],
        "times": m.times.tolist(),
        "largest_eigenvalue": report.top.tolist(),
        "largest_eigenvalue_std": report.top_std.tolist(),
        "condition_number_of_i": [c if math.isfinite(c) else None for c in report.conditions.tolist()],
        "learning_rate": report.learning_rates.tolist(),
        "expected_loss": m.loss.tolist(),
        "loss_std": m.loss_std.tolist(),
        "trace_h": m.trace_h[0].tolist(),
        "trace_h_std": m.trace_h_std[0].tolist(),
        "standard_learning_rates": None if other is None else report.standard_learning_rates.tolist(),
        "standard_times": None if other is None else report.standard_times.tolist(),
        "pytorch_learning_rates": None if other is None else report.pytorch_learning_rates.tolist(),
        "pytorch_times": None if other is None else report.pytorch_times.tolist(),
        "measured_learning_rates": None if report.measured is None else _measured(report.measured),
        "stable_learning_rates": None if report.stable is None else _stable(report.stable),
        "held_out": None if tested is None else {"rows": rows, **_test_numbers(tested)},
    }


def _measured(found: MeasuredTop) -> dict[str, Any]:
    return {name: (2 / getattr(found, name)).tolist() for name in ("ntk", "standard", "pytorch")}


def _stable(found: StableRates) -> dict[str, Any]:
    rates = {name: found.rate(name) for name in ("ntk", "standard", "pytorch")}
    return {**rates, "probability": found.probability, "confidence": found.confidence, "steps": found.steps}


def _test_numbers(tested: HeldOut) -> dict[str, Any]:
    arrays = {name: getattr(tested, name) for name in ("targets", "mean", "std", "g_mean", "g_std")}
    return {
        "points": len(tested.mean),
        "time": tested.time if math.isfinite(tested.time) else None,
        "condition_number": tested.condition_number if math.isfinite(tested.condition_number or 0.0) else None,
        "digits": tested.digits,
        "loss": tested.loss,
        "accuracy": tested.accuracy,
        "network_loss": tested.network_loss,
        "network_accuracy": tested.network_accuracy,
        **{name: None if array is None else array.tolist() for name, array in arrays.items()},
    }
