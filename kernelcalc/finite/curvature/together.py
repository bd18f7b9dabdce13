"""Hessian moments of several networks of one architecture, side by side: at few points calls cost more than arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernelcalc.arguments import random_generator
from kernelcalc.errors import NotFiniteError
from kernelcalc.finite.arrays import AnyArray
from kernelcalc.finite.curvature.hessian import HessianSplit, split_at, split_of_type
from kernelcalc.finite.curvature.moments import DEFLATION, moments_of, require_finite
from kernelcalc.finite.curvature.outer import outer_products_pay
from kernelcalc.finite.curvature.pairs import CurvaturePairs
from kernelcalc.finite.derivatives import Forward, Problem


def moments_of_networks(
    run: Forward,
    problem: Problem,
    seeds: Sequence[Any],
    *,
    kmax: int,
    probes: int,
    pairs: CurvaturePairs | None,
    single: bool = False,
) -> dict[str, AnyArray]:
    """The moments of fully connected networks side by side, without dense matrices: fields with the network as first axis.

    ``run`` is their pass at the problem's points.

    ``seeds`` are one a network, ``pairs`` :func:`~kernelcalc.finite.curvature.pairs.unit_pairs` of all of them. At more than a
    few points they are taken one by one. With ``single`` what S has part in of Tr H³ and Tr H⁴ is computed in float32 at few
    points, if all is of a moderate size: relative errors below 1e-5, far below those of the probes.
    """
    generators, sampling = [random_generator(seed) for seed in seeds], (probes, DEFLATION, 0, 0)
    with np.errstate(over="ignore", invalid="ignore"):
        loss, split = problem.values_at(run.outputs), split_at(run, problem)
        if kmax < 3 or outer_products_pay(split, kmax):
            high = split_of_type(split, np.float32) if single and problem.is_moderate(run.net) else None
            try:
                found = moments_of(split, kmax, sampling, generators, pairs=pairs, high=high)
            except NotFiniteError:
                if high is None:
                    raise
                generators = [random_generator(seed) for seed in seeds]
                found = moments_of(split, kmax, sampling, generators, pairs=pairs)
        else:
            known = [None] * len(loss) if pairs is None else pairs.each()
            each = [
                moments_of(HessianSplit.at(net, problem), kmax, sampling, [generator], pairs=own)
                for net, generator, own in zip(run.net.each(), generators, known, strict=True)
            ]
            found = {name: np.stack([one[name] for one in each]) for name in each[0]}
    require_finite(loss, "loss", run.net.dtype)
    return found | {"loss": loss}
