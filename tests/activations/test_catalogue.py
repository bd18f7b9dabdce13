"""PyTorch's and JAX's activations under their names: values by their documented formulas, written down here in NumPy."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest
from scipy import special

import kernelcalc as kc
from kernelcalc.activations.catalogue import ACTIVATIONS, canonical
from kernelcalc.errors import InputError, UnknownNameError

X = np.array([-40.0, -6.0, -3.0, -1.0, -0.5, -0.3, 0.0, 0.2, 0.5, 1.0, 2.5, 3.0, 6.0, 40.0])


def _sigmoid(v):
    return special.expit(v)


FORMULAS = {
    # torch.nn, in the order of its documentation
    "ELU": lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))),
    "Hardshrink": lambda v: np.where(np.abs(v) > 0.5, v, 0),
    "Hardsigmoid": lambda v: np.clip(v / 6 + 0.5, 0, 1),
    "Hardtanh": lambda v: np.clip(v, -1, 1),
    "Hardswish": lambda v: v * np.clip(v + 3, 0, 6) / 6,
    "LeakyReLU": lambda v: np.maximum(v, 0) + 0.01 * np.minimum(v, 0),
    "LeakyReLU(0.2)": lambda v: np.maximum(v, 0) + 0.2 * np.minimum(v, 0),
    "LogSigmoid": lambda v: -np.logaddexp(0, -v),
    "PReLU": lambda v: np.maximum(v, 0) + 0.25 * np.minimum(v, 0),
    "ReLU": lambda v: np.maximum(v, 0),
    "ReLU6": lambda v: np.clip(v, 0, 6),
    "SELU": lambda v: 1.0507009873554805 * np.where(v > 0, v, 1.6732632423543772 * np.expm1(np.minimum(v, 0))),
    "CELU(alpha=2)": lambda v: np.maximum(v, 0) + np.minimum(0, 2 * np.expm1(np.minimum(v, 0) / 2)),
    "GELU": lambda v: v * special.ndtr(v),
    'gelu(approximate="tanh")': lambda v: 0.5 * v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3))),
    "Sigmoid": _sigmoid,
    "SiLU": lambda v: v * _sigmoid(v),
    "silu(beta=2)": lambda v: v * _sigmoid(2 * v),
    "Mish": lambda v: v * np.tanh(np.logaddexp(0, v)),
    "Softplus": lambda v: np.logaddexp(0, v),
    "softplus(beta=2)": lambda v: np.logaddexp(0, 2 * v) / 2,
    "softplus(2)": lambda v: np.logaddexp(0, 2 * v) / 2,
    "Softshrink": lambda v: np.where(v > 0.5, v - 0.5, np.where(v < -0.5, v + 0.5, 0)),
    "Softsign": lambda v: v / (1 + np.abs(v)),
    "Tanh": np.tanh,
    "Tanhshrink": lambda v: v - np.tanh(v),
    "Threshold(threshold=0.1, value=-2)": lambda v: np.where(v > 0.1, v, -2),
    # jax.nn
    "hard_silu": lambda v: v * np.clip(v + 3, 0, 6) / 6,
    "hard_tanh": lambda v: np.clip(v, -1, 1),
    "log_sigmoid": lambda v: -np.logaddexp(0, -v),
    "soft_sign": lambda v: v / (1 + np.abs(v)),
    "sparse_plus": lambda v: np.where(v <= -1, 0, np.where(v >= 1, v, (v + 1) ** 2 / 4)),
    "sparse_sigmoid": lambda v: 0.5 * np.clip(v + 1, 0, 2),
    "squareplus": lambda v: 0.5 * (v + np.sqrt(v**2 + 4)),
    "identity": lambda v: v,
    # what people type besides
    "quick_gelu": lambda v: v * _sigmoid(1.702 * v),
    "hardswish": lambda v: v * np.clip(v + 3, 0, 6) / 6,
    "hardsigmoid": lambda v: np.clip(v / 6 + 0.5, 0, 1),
    "squared_relu": lambda v: np.maximum(v, 0) ** 2,
    "relu2": lambda v: np.maximum(v, 0) ** 2,
    "snake(alpha=2)": lambda v: v + np.sin(2 * v) ** 2 / 2,
    "siren": lambda v: np.sin(30 * v),
    "sine(omega=3)": lambda v: np.sin(3 * v),
    "lisht": lambda v: v * np.tanh(v),
    "isru": lambda v: v / np.sqrt(1 + v**2),
    "sech": lambda v: 1 / np.cosh(v),
}


@pytest.mark.parametrize("text", FORMULAS)
def test_values(text):
    act = kc.activation(text)
    kinks = np.isin(X, act.kinks)  # jumps take their mean
    assert act(X)[~kinks] == pytest.approx(FORMULAS[text](X)[~kinks], rel=1e-13, abs=1e-15)
    assert act == kc.Activation(act.expr, name=act.name)


STORED = json.loads((Path(__file__).parent / "frameworks.json").read_text())


@pytest.mark.parametrize(
    ("library", "text"), [(library, text) for library in ("torch", "jax") for text in STORED[library]["values"]]
)
def test_values_of_pytorch_and_jax_themselves(library, text):
    """Theirs round terms that cancel: e^x - 1 near 0, x and √(x² + b) in squareplus; softplus is x beyond a threshold."""
    v, right = np.array(STORED["points"]), np.array(STORED[library]["values"][text])
    lost = 3e-15 + np.finfo(float).eps * np.abs(v) * ("squareplus" in text) + 2.1e-9 * ("Softplus" in text)
    assert (np.abs(kc.activation(text)(v) - right) <= 1e-13 * np.abs(right) + lost).all()


def test_parameters_by_position_and_by_other_libraries_names():
    assert kc.activation("ReLU()") == kc.activation("relu")  # as PyTorch prints its modules
    assert kc.activation("leaky_relu", 0.2).expr == kc.activation("leaky_relu", negative_slope=0.2).expr
    assert kc.activation("softplus", beta=3).expr == kc.activation("softplus", sharpness=3).expr
    assert kc.activation("Softshrink", lambd=0.25).kinks == (-0.25, 0.25)
    assert kc.MLP("LeakyReLU(0.2)").kernels([[1.0, 2.0]]).theta.shape == (1, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("softmax", "all units"),
        ("GLU", "all units"),
        ("RReLU", "random"),
        ("floor", "without end"),
        ("round", "without end"),
        ("LogSoftmax", "all units"),
    ],
)
def test_what_is_no_activation_is_refused_with_the_reason(name, words):
    with pytest.raises(InputError, match=words):
        kc.activation(name)


def test_mistakes_are_named():
    with pytest.raises(UnknownNameError, match="tanh"):
        kc.activation("tanhh")
    with pytest.raises(InputError, match="approximate"):
        kc.activation("gelu", approximate="quick")
    with pytest.raises(InputError, match="parameters of relu"):
        kc.activation("relu(2)")
    with pytest.raises(InputError, match="min_val"):
        kc.activation("hardtanh", min_val=1, max_val=0)
    with pytest.raises(InputError, match=r"scale=0\.5"):
        kc.activation("smooth_relu(scale=)")


def test_comparisons_are_numbers():
    act = kc.Activation("x*(x > 0) + 2*(x > 1)")
    assert act.kinks == (0, 1)
    v = np.array([-3.0, -0.5, 0.5, 2.0])
    assert act(v) == pytest.approx([0, 0, 0.5, 4])
    # E f(a)² = E a²/2 + E (4a + 4) 1(a > 1) = 1/2 + 4 φ(1) + 4 Φ(-1)
    expected = 0.5 + 4 * np.exp(-0.5) / np.sqrt(2 * np.pi) + 4 * special.ndtr(-1)
    assert kc.gaussian_expectation(act, act, 1.0, 1.0, 1.0) == pytest.approx(expected, rel=1e-12)


def test_every_name_is_its_own():
    assert all(canonical(name) == name for name in ACTIVATIONS)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (np.tanh, "tanh"),
        (np.sin, "sin"),
        (np.arctan, "arctan"),
        (np.absolute, "abs"),
        (np.exp, "exp"),
        (special.erf, "erf"),
        (special.expit, "sigmoid"),
        (special.ndtr, "probit"),
        (special.log_expit, "log_sigmoid"),
    ],
)
def test_functions_of_numpy_and_scipy_are_their_expressions(function, name):
    assert kc.MLP(function, depth=2) == kc.MLP(name, depth=2)
    v = np.array([-1.3, 0.4, 2.0])
    assert kc.MLP(function).activations[0](v) == pytest.approx(function(v), rel=1e-14)


@pytest.mark.parametrize(
    "function",
    [
        np.sinh,
        np.cosh,
        np.expm1,
        np.arcsinh,
        np.negative,
        np.sinc,
        special.erfc,
        special.log_ndtr,
        np.square,
        np.heaviside,
    ],
)
def test_functions_without_a_name_here_are_expressions(function):
    v = np.array([-2.3, -1e-3, 0.4, 2.0])
    right = function(v, 0.5) if function is np.heaviside else function(v)
    assert kc.MLP(function, depth=2).activations[0](v) == pytest.approx(right, rel=1e-13)


def _fake(library: str, name: str, **attributes):
    """An object as PyTorch's modules and JAX's functions look from outside."""
    if library == "torch":
        kind = type(name, (), {"forward": lambda self, v: v, "__call__": lambda self, v: v})
        kind.__module__ = "torch.nn.modules.activation"
        found = kind()
        for key, value in attributes.items():
            setattr(found, key, value)
        return found
    function = types.FunctionType((lambda v: v).__code__, {}, name)
    function.__module__ = "jax._src.nn.functions"
    return function


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (_fake("torch", "GELU", approximate="none"), "gelu"),
        (_fake("torch", "GELU", approximate="tanh"), "gelu(approximate=tanh)"),
        (_fake("torch", "LeakyReLU", negative_slope=0.2), "leaky_relu(0.2)"),
        (_fake("torch", "Softplus", beta=2.0, threshold=20), "softplus(2)"),
        (_fake("torch", "Hardtanh", min_val=-2.0, max_val=1.0), "hard_tanh(min_val=-2, max_val=1)"),
        (_fake("torch", "SiLU"), "silu"),
        (_fake("jax", "silu"), "silu"),
        (_fake("jax", "gelu"), "gelu(approximate=tanh)"),
    ],
)
def test_modules_and_functions_of_pytorch_and_jax(value, text):
    assert kc.MLP(value, depth=2).activations[0].expr == kc.activation(text).expr


def test_other_functions_are_refused_when_a_network_is_made():
    with pytest.raises(InputError, match="all units"):
        kc.MLP(_fake("torch", "Softmax"))
    with pytest.raises(InputError, match="threshold"):
        kc.MLP(_fake("torch", "Softplus", beta=1.0, threshold=3.0))
    with pytest.raises(InputError, match="Bilinear"):
        kc.MLP(_fake("torch", "Bilinear"))
    with pytest.raises(InputError, match="parentheses"):
        kc.MLP(type(_fake("torch", "GELU")))
    for value in (lambda v: v, len, np.arctan2):
        with pytest.raises(InputError, match=r"as a text, for example 'tanh'"):
            kc.MLP(value)


@pytest.mark.parametrize(
    ("function", "texts"),
    [
        (np.maximum, ("relu", "max(x, 0)")),
        (np.minimum, ("min(x, 0)",)),
        (np.clip, ("hard_tanh", "max(-1, min(x, 1))")),
        (np.logaddexp, ("softplus",)),
        (np.where, ("where(x > 0, x, 0.1*x)",)),
        (np.power, ("x^2",)),
        (max, ("relu",)),
    ],
)
def test_functions_of_two_arguments_are_refused_with_the_text(function, texts):
    with pytest.raises(InputError) as caught:
        kc.MLP(function, depth=2)
    for text in texts:
        assert repr(text) in str(caught.value)
        # what is suggested can be typed
        assert kc.MLP(text, depth=2).kernels([[1.0, 2.0]]).theta > 0


def test_levels_are_sums_of_steps_as_suggested():
    with pytest.raises(InputError, match=r"\(x > 0\) \+ \(x > 1\)"):
        kc.activation("floor(x)")
    # E f(a)² = P(a > 0) + 3 P(a > 1)
    expected = 0.5 + 3 * special.ndtr(-1)
    assert kc.gaussian_expectation("(x > 0) + (x > 1)", "(x > 0) + (x > 1)", 1, 1, 1) == pytest.approx(expected)


def test_real_modules():
    torch = pytest.importorskip("torch")
    assert kc.MLP(torch.special.expit) == kc.MLP("sigmoid")
    assert kc.MLP(torch.special.erf) == kc.MLP(torch.erf) == kc.MLP("erf")
    assert kc.MLP(torch.square).activations[0].expr == kc.Activation("x^2").expr
    for module in (torch.nn.GELU(), torch.nn.LeakyReLU(0.3), torch.nn.Hardswish(), torch.nn.Mish(), torch.nn.PReLU()):
        right = module.double()(torch.tensor(X)).detach().numpy()
        assert kc.MLP(module).activations[0](X) == pytest.approx(right, rel=1e-12, abs=1e-14)
    assert kc.MLP(torch.relu) == kc.MLP("relu")
    assert kc.MLP(torch.tanh) == kc.MLP("tanh")
