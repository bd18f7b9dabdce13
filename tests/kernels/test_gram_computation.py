"""What a computation of Gram matrices prepares, asks for and hands on, seen by stand-ins."""

from types import SimpleNamespace

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import CovarianceError
from kernelcalc.kernels import gram as module
from kernelcalc.kernels.blocks import sides_for
from kernelcalc.kernels.gram import KernelComputation, compiling_pays

X = np.random.default_rng(2).standard_normal((12, 3))
Z = X[:10] + 1


def test_when_machine_code_pays(monkeypatch):
    """From 2²³ pairs on, of what has no closed form, where numba is."""
    for there in (True, False):
        monkeypatch.setattr(module, "find_spec", lambda name, there=there: there or None)
        for name, closed in (("tanh", False), ("relu", True)):
            for pairs in (2**23 - 1, 2**23):
                assert compiling_pays(kc.activation(name), pairs) is (there and not closed and pairs == 2**23)


@pytest.mark.parametrize("compiled", [None, True, False])
def test_machine_code_where_it_is_asked_for_or_pays(monkeypatch, compiled):
    asked, made = [], []
    monkeypatch.setattr(
        module, "compiling_pays", lambda act, pairs: asked.append((act.name, pairs)) or act.name == "tanh"
    )
    monkeypatch.setattr(
        module, "LayerExpectations", lambda *_, compiled: made.append(compiled) or SimpleNamespace(compiled=compiled)
    )
    net = kc.MLP(["tanh", "erf"], 3)
    # Σ, Θ, Φ of the diagonals alone are read there
    assert len(KernelComputation(net, X, Z, ("sigma",), compiled=compiled).fold().nonlinearities) == 2
    if compiled is None:
        # from the last one backwards
        assert asked == [("erf", 120), ("tanh", 120)]
        assert made == [False, True]
    else:
        assert asked == []
        assert made == [compiled] * 2


def test_angles_that_grow_through_the_layers(monkeypatch):
    """A nonlinearity is chaotic where its own growth times that of those behind it is beyond 4500."""
    seen = []

    def growth(act, q):
        seen.append(len(q))
        return 67.0 if act.name == "tanh" else 4499.0 / 67

    monkeypatch.setattr(module, "angle_growth", growth)
    net = kc.MLP(["tanh", "tanh", "erf", "tanh"], 5)
    for data, count in (((X, None), 12), ((X, Z), 22)):
        seen.clear()
        found = KernelComputation(net, *data, ("sigma",)).fold().nonlinearities
        assert [step.prepared.refined_below for step in found] == [1e-4, 1e-4, 0, 0]
        assert seen == [count] * 4
        assert not any(step.prepared.small_angles for step in found)
    # a kink, and what comes before it
    found = KernelComputation(kc.MLP(["erf", "relu", "erf"], 4), X, None, ("sigma",)).fold().nonlinearities
    assert [step.prepared.small_angles for step in found] == [True, True, False]
    # behind relu nothing feels an angle; before its angles, which are roots, half of the digits that 1 - ρ² has are wanted
    found = KernelComputation(kc.MLP(["erf", "relu"], 3), X, None, ("sigma",)).fold().nonlinearities
    assert [step.prepared.refined_below for step in found] == pytest.approx([1e-4, 1e-8 * 4499 / 67])


def test_the_diagonals_wait_is_told(monkeypatch):
    told, done = [], []

    def patience(*texts):
        told.append(texts)
        return SimpleNamespace(done=done.append)

    monkeypatch.setattr(module, "Patience", patience)
    assert len(KernelComputation(kc.MLP("erf", 3), X, None, ("sigma",)).fold().nonlinearities) == 2
    assert told == [
        ("Σ, Θ, Φ of points through 4 steps", "a smaller depth and activations with a closed form are faster")
    ]
    assert done == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("side", [0, 1])
def test_variances_are_those_of_the_first_layer(side):
    """σ_w²|x|²/n_0 of rows and of columns; the first one out of range is named with its value."""
    for weight, size, value in ((1e-3, 1.7e-48, 2.89e-102), (1e3, 1.7e67, 2.89e140)):
        data = [np.ones((2, 2)), np.ones((2, 2))]
        data[side] = np.full((2, 2), size)
        with pytest.raises(CovarianceError) as caught:
            KernelComputation(kc.MLP("erf", 2, sigma_w=weight, beta=0.0), *data, ("sigma",))
        assert str(caught.value).endswith(f", got {value:.3g} in row 0")


def test_sides_of_blocks_in_machine_code(monkeypatch):
    """Other ones where series are summed in machine code and there are pairs enough."""
    for pays, enough, other in ((True, True, True), (True, False, False), (False, True, False)):
        monkeypatch.setattr(module, "PAIRS_FOR_THEM", 120 if enough else 121)
        monkeypatch.setattr(module.Matrix, "every_block", lambda *_: None)
        computation = KernelComputation(kc.MLP("tanh", 2), X, Z, ("sigma",), compiled=pays)
        computation.run(False)
        assert computation.matrix.sides == (module.COMPILED_SIDES if other else sides_for(12))
    assert sides_for(12) != module.COMPILED_SIDES
