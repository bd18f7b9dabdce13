r"""Predictions for a person who trains networks: learning rates, time scales, loss curves.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1; Jacot, Gabriel, Hongler (NeurIPS 2018), Section 5 (time constants).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_count, check_number, random_generator
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, renamed
from kernelcalc.kernels.layers import Dense, Nonlinearity, dense_layers
from kernelcalc.kernels.mlp import Sequential
from kernelcalc.kernels.network import check_network
from kernelcalc.kernels.parametrisation import pytorch_kernels, standard_theta
from kernelcalc.kernels.points import check_points
from kernelcalc.patience import watched
from kernelcalc.results.result import seed_of
from kernelcalc.studies.rates import LimitRates, through_training
from kernelcalc.studies.report import Prediction, finite_curvature
from kernelcalc.studies.validation.descents import LEAST_DESCENTS, stable_rates
from kernelcalc.studies.validation.sharpness import affordable_networks, measure_top
from kernelcalc.training.checks import gram, with_defined_kernels
from kernelcalc.training.losses import Loss, resolve_loss
from kernelcalc.training.modes import Modes
from kernelcalc.training.moments import moments
from kernelcalc.training.sharpness import condition_number, top_eigenvalue
from kernelcalc.training.start import covariance_root, initial_draws

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array


@watched("progress=True shows how far it is; fewer points, samples and networks are faster")
@renamed(points="X", labels="Y")
def predict(
    net: Sequential,
    X: ArrayLike,
    Y: ArrayLike,
    loss: Any = "mse",
    *,
    times: ArrayLike | None = None,
    width: int = 1000,
    samples: int = 8,
    rng: Any = 0,
    n_out: int | None = None,
    networks: int | None = 0,
    descents: int = 0,
    probability: float = 0.95,
    progress: bool = False,
) -> Prediction:
    """Learning rates, time scales and expected curves of the limit for a network on a data set.

    The limit's rates are upper bounds; with ``descents`` rates are found that finite networks of this width were seen to
    stand.

    Parameters
    ----------
    net : MLP or Sequential
        Of any layers. With positions, rates are those of the NTK parametrisation only.
    X : array_like, (N, n_0)
        Training data; with positions (N, positions, channels) or (N, height, width, channels).
    Y : array_like
        As the loss takes them.
    loss : str, Loss or expression
        See :func:`kernelcalc.training.losses.resolve_loss`. Under MSE everything is exact (Corollary 1).
    times : array_like, optional
        Gradient-flow times; by default 0 and six from the fastest mode's to a thousand times it.
    width : int
        Hidden width, for the standard parametrisation and PyTorch's.
    samples, rng
        Initialisations and seed, for a loss other than the MSE.
    n_out : int, optional
        Number of outputs; by default the network's, or where that is 1 what the labels show.
    networks : int, optional
        Finite networks of this width whose λ_max(H) is measured at the start, beside the limit's: by Lanczos, ten products
        with the Hessian for each of three parametrisations. None: 3, or where they are large 1 or none; none of other
        compositions than fully connected ones.
    descents : int
        Finite networks of this width, at least 3, on which rates are tried, 50 steps each: ``stable.rate("pytorch")`` is one
        at which, with ``probability`` and 90 % confidence, descent does not diverge
        (:func:`kernelcalc.studies.validation.descents.stable_rates`).
    probability : float
        Part of all networks that the rate is to hold for.
    progress : bool
        Show bars (needs tqdm) for a loss other than the MSE, and for networks.

    Returns
    -------
    Prediction

    Raises
    ------
    ShapeError, NotFiniteError
        If X and Y do not fit together, or hold what is no finite number.
    InputError
        If the loss, the labels, a number or ``probability`` are none that it takes.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1, Corollary 1.

    Examples
    --------
    >>> from kernelcalc.kernels.mlp import MLP
    >>> report = predict(MLP("erf", depth=2), [[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], width=100)
    >>> print(report)
    MLP(...
    2 points of 2 inputs, 1 output, loss mse
    ...
    """
    probability = _checked_probability(net, width, samples, networks, descents, probability, rng)
    law, x = resolve_loss(loss), check_points(X, "X", positions=net.has_positions)
    targets = law.encode(Y, net.n_out if n_out is None and net.n_out > 1 else n_out)
    held = net.kernels(x)
    kernels = with_defined_kernels(held)
    theta = gram(kernels, "theta", len(targets))
    spectrum = np.asarray(np.linalg.eigvalsh(theta)[::-1], dtype=np.float64)
    if times is None:
        fastest = len(targets) / (finite_curvature(law.curvature_bound) * spectrum[0])
        times = np.concatenate([[0.0], fastest * np.geomspace(1, 1000, 6)])
    found = moments(kernels, targets, times, law, kmax=2, samples=samples, rng=rng, progress=progress)
    draws = None if law.is_quadratic else initial_draws(kernels, targets.shape[1], samples, rng)[0]
    top, conditions = through_training(theta, draws, targets, law, found.times, (top_eigenvalue, condition_number))
    standard = pytorch = measured = stable = None
    if not net.has_positions:
        standard, pytorch = _other_parametrisations(net, x, width, spectrum[0], draws, targets, law, found.times, rng)
    if networks is None:
        plain = all(isinstance(layer, Dense | Nonlinearity) for layer in net.layers)
        networks = affordable_networks(net, x, width) if plain else 0
    drawn: dict[str, Any] = {"rng": rng, "progress": progress}
    if networks:
        measured = measure_top(net, x, targets, law, width, networks=networks, **drawn)
    if descents:
        stable = stable_rates(net, x, targets, law, width, networks=descents, probability=probability, **drawn)
    return Prediction(
        network=repr(net),
        loss_name=law.name,
        n=len(targets),
        n_in=x[0].size,
        n_out=targets.shape[1],
        width=width,
        samples=None if law.is_quadratic else samples,
        spectrum=spectrum,
        curvature=law.curvature_bound,
        moments=found,
        sample_condition=conditions,
        ntk=LimitRates(times=found.times, sample_top=top),
        standard=standard,
        pytorch=pytorch,
        measured=measured,
        stable=stable,
        digits=Modes.of(theta).digits(float(found.times.max())),
        smooth="xi" in held.available,
    ).with_origin(**held.origin, targets=digest(targets), seed=seed_of(rng))


def _checked_probability(
    net: Any, width: Any, samples: Any, networks: Any, descents: Any, probability: Any, rng: Any
) -> float:
    """The probability as a number; refuses what the others may not be."""
    check_network(net)
    random_generator(rng)
    for name, value, least in (("width", width, 1), ("samples", samples, 2), ("descents", descents, 0)):
        check_count(name, value, least)
    if 0 < descents < LEAST_DESCENTS:
        raise InputError(f"descents, 0 or at least {LEAST_DESCENTS}", str(descents))
    if networks is not None:
        check_count("networks", networks, 0)
    share = check_number("probability", probability)
    if not 0 < share < 1:
        raise InputError("probability between 0 and 1", repr(probability))
    return share


def _other_parametrisations(
    net: Sequential,
    x: Array,
    width: int,
    fastest: float,
    draws: Array | None,
    targets: Array,
    law: Loss,
    times: Array,
    rng: Any,
) -> tuple[LimitRates, LimitRates]:
    """The standard parametrisation and PyTorch's layers; ``fastest``: λ_max(Θ), whose steps the times count."""
    widths = [width] * (len(dense_layers(net.layers)) - 1)
    theta = standard_theta(net, x, widths)
    pytorch_sigma, pytorch_theta = pytorch_kernels(net, x, widths)
    pytorch_draws = None
    if draws is not None:
        noise = random_generator(rng).standard_normal(draws.shape)
        pytorch_draws = covariance_root(pytorch_sigma) @ noise
    found = []
    for matrix, start in ((theta, draws), (pytorch_theta, pytorch_draws)):
        own = times * fastest / float(np.linalg.eigvalsh(matrix)[-1])
        (top,) = through_training(matrix, start, targets, law, own, (top_eigenvalue,))
        found.append(LimitRates(times=own, sample_top=top))
    return found[0], found[1]
