"""Which layers may follow each other, and what is said of those that may not."""

import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.kernels.construction import has_positions

L = kc.layers
D, C = L.Dense(), L.Conv(2)


@pytest.mark.parametrize(
    "parts",
    [
        (D,),
        (D, "tanh", D),
        (D, D),
        (D, L.LayerNorm(), "tanh", D),
        (D, L.LayerNorm(), L.LayerNorm(), D),
        (D, L.Residual(L.LayerNorm(), "tanh", D), L.LayerNorm(), D),
        (C, "tanh", L.Flatten(), D),
        (C, L.AveragePool(2), "tanh", L.GlobalAverage(), D),
        (C, "tanh", L.AveragePool(2), C, "tanh", L.Flatten(), D, "tanh", D),
        (C, L.Residual("tanh", C), "tanh", L.GlobalAverage(), D),
        (C, L.Residual("tanh", L.Conv(2, padding="zeros")), "tanh", L.Flatten(), D),
        (C, L.Residual("tanh", L.Conv(2, stride=(1, 1))), "tanh", L.Flatten(), D),
    ],
    ids=repr,
)
def test_networks(parts):
    net = kc.Sequential(*parts)
    assert net.has_positions == has_positions(net.layers) == any(isinstance(one, L.Conv) for one in parts)


def test_positions_within_branches_are_found():
    assert has_positions((D, L.Residual("tanh", C)))
    assert not has_positions((D, L.Residual("tanh", D)))
    assert not has_positions(())


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((), "a network whose first layer is Dense or Conv, got none"),
        (("tanh", D), "a network whose first layer is Dense or Conv, got Nonlinearity('tanh')"),
        ((D, "tanh"), "a network whose last layer is Dense, got Nonlinearity('tanh'); end it with Dense()"),
        ((C, L.Flatten()), "a network whose last layer is Dense, got Flatten(); end it with Dense()"),
        (
            (C, "tanh", D),
            "a network that ends without positions, got positions before its last Dense(); "
            "put Flatten() or GlobalAverage() before it",
        ),
        (
            (C, L.Flatten(), "tanh", D),
            "Dense() behind Flatten(), got Nonlinearity('tanh'); put Nonlinearity('tanh') before it",
        ),
        (
            (D, "tanh", "erf", D),
            "Nonlinearity of Gaussian pre-activations, got Nonlinearity('erf') behind a nonlinearity; "
            "put Dense() or Conv() before it",
        ),
        (
            (D, "tanh", L.LayerNorm(), D),
            "LayerNorm of Gaussian pre-activations, got LayerNorm() behind a nonlinearity; put it before the nonlinearity",
        ),
        (
            (C, L.GlobalAverage(), L.AveragePool(2), D),
            "points with positions before AveragePool(2), got Flatten() or GlobalAverage() before it; "
            "put it before these",
        ),
        (
            (C, L.AveragePool(2), L.Residual(L.AveragePool(1), D), L.Flatten(), D),
            "branches of Residual that keep their positions, got AveragePool(1) in one; put it behind the sum",
        ),
        (
            (C, L.Residual("tanh", L.Conv(2, padding="valid")), L.Flatten(), D),
            f"a residual branch that keeps its positions, got {L.Conv(2, padding='valid')!r}; "
            "padding='circular' or 'zeros' and stride 1",
        ),
        (
            (C, L.Residual("tanh", L.Conv(2, stride=(1, 2))), L.Flatten(), D),
            f"a residual branch that keeps its positions, got {L.Conv(2, stride=(1, 2))!r}; "
            "padding='circular' or 'zeros' and stride 1",
        ),
        (
            (C, L.Residual("tanh", L.Conv(2, stride=2)), L.Flatten(), D),
            f"a residual branch that keeps its positions, got {L.Conv(2, stride=2)!r}; "
            "padding='circular' or 'zeros' and stride 1",
        ),
    ],
)
def test_whole_texts_of_refusals(parts, text):
    with pytest.raises(InputError) as caught:
        kc.Sequential(*parts)
    assert str(caught.value) == f"expected {text}"


def test_what_follows_a_sum():
    """Behind a residual whose branch ends in weights a nonlinearity may follow, behind one without it may not."""
    kc.Sequential(D, L.Residual("tanh", D), "tanh", D)
    with pytest.raises(InputError, match="behind a nonlinearity"):
        kc.Sequential(D, "tanh", L.Residual(L.LayerNorm(), D), D)
