"""What several experiments say of their runs: how far networks are from the limit, and whether they were trained at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kernelcalc.arrays import AnyArray
from kernelcalc.output.tables import Verdict

# A number of a network that differs by more than this factor from the limit's is pointed out.
FAR = 1.5
# A loss that fell by less than this factor says nothing of what is found after training.
TRAINED = 2.0
# The papers' networks were trained until ‖∇C‖ was "at the order of 1e-4": up to half a decade more.
PAPERS_GRADIENT = 10**-3.5
# Parts of a whole: "almost all" eigenvalues, "tiny" ones beside the largest, ones "orders of magnitude smaller".
ALMOST_ALL, TINY, ORDERS_SMALLER = 0.9, 0.1, 0.01
# Standard errors beyond which a difference is no fluctuation.
BEYOND_FLUCTUATION = 3.0
# What differs by less than this part counts as the same shape, or as no barrier.
SAME = 0.1


def far_note(runs: Iterable[tuple[str, Mapping[str, tuple[float, float]]]], width: str = "k") -> tuple[str, ...]:
    """Which runs end far from the limit, and why: nothing, or one sentence.

    Parameters
    ----------
    runs : iterable of (name, {what: (of the network, of the limit)})
    width : str
        What the experiment calls the width.

    Examples
    --------
    >>> far_note([("wide", {"loss": (1.1, 1.0)})])
    ()
    >>> far_note([("narrow", {"loss": (3.0, 1.0), "λ_max": (1.0, 1.0)})])[0][:67]
    'far from the limit after training (network/limit): narrow: loss 3. '
    """
    said = []
    for name, pairs in runs:
        ratios = {what: own / max(limit, 1e-300) for what, (own, limit) in pairs.items()}
        far = [f"{what} {ratio:.2g}" for what, ratio in ratios.items() if not 1 / FAR < ratio < FAR]
        if far:
            said.append(f"{name}: {', '.join(far)}")
    if not said:
        return ()
    return (
        f"far from the limit after training (network/limit): {'; '.join(said)}. At finite width Θ fluctuates from network to "
        f"network, of order {width}^-½, and moves as features are learned, of order 1/{width}; both vanish with growing "
        f"{width} at a given number of steps, and small losses, products of many steps, show them most",
    )


def stop_note(gradient_norm: float | None, taken: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """After how many steps descent ended, where it was to stop at a gradient: nothing, or one sentence."""
    if gradient_norm is None:
        return ()
    return (f"steps until ‖∇C‖ ≤ {gradient_norm:g}, or all: {'; '.join(f'{name}: {n}' for name, n in taken)}",)


def untrained(before: float, after: float) -> str:
    """Why losses before and after training say nothing of a trained network; empty if they do.

    Examples
    --------
    >>> untrained(1.0, 0.1), untrained(1.0, 0.9)
    ('', 'the loss has fallen to 0.9 of its start only; take more steps')
    """
    if after * TRAINED <= before:
        return ""
    return f"the loss has fallen to {after / before:.2g} of its start only; take more steps"


def stopped(gradients: AnyArray) -> Verdict:
    """Whether training went as far as the papers' did."""
    return Verdict(
        source="2016, Section 3",
        claim="training ends with ‖∇C‖ of the order of 1e-4",
        measured="largest ‖∇C‖ after training, in W and b of variance 1,",
        number=float(gradients.max()),
        below=PAPERS_GRADIENT,
    )
