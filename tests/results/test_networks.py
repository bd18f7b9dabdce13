"""Networks as values: equality, hash, replacement, formulas, text that can be typed in, files, other processes."""

import pickle

import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.errors import InputError, KernelcalcError
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.tree import from_tree, to_tree
from kernelcalc.gaussian.expectation import ExpectationResult

L = kc.layers
NETWORKS = [
    kc.MLP("tanh", depth=3),
    kc.MLP("smooth_relu", depth=4, sigma_w=1.25, beta=0.0, n_out=3),
    kc.MLP(["tanh", "gelu"], depth=3, sigma_w=0.1 + 0.2),
    kc.MLP("x*erf(x/3)", 2),
    kc.MLP(kc.activation("smooth_relu", scale=0.5), 2),
    kc.MLP(kc.Activation("tanh(x)").normalized(), 2),
    kc.MLP([], 1),
    kc.Sequential(L.Dense(1.3, 0.4), L.Residual(L.LayerNorm(), "tanh", L.Dense(), scale=0.5), L.Dense(), n_out=2),
    kc.Sequential(L.Dense(), L.Sum(L.Dense(), L.Serial(L.Nonlinearity("erf"), L.Dense(2.0))), L.Dense(weight_rate=3)),
    kc.Sequential(L.Conv((3, 2), 1.2, 0, "zeros", (2, 1)), "tanh", L.AveragePool(2, 1), L.Flatten(), L.Dense()),
    kc.Sequential(L.Conv(3), L.AveragePool((2, 3)), "erf", L.Conv(3, stride=2), L.GlobalAverage(), L.Dense(), n_out=3),
]


NAMED = kc.MLP([kc.Activation("x*erf(x)", name="mine"), "tanh"], 3, beta=1 / 3)
NAMESPACE = {
    name: getattr(kc.layers, name)
    for name in (
        *("Dense", "LayerNorm", "Nonlinearity", "Residual", "Serial", "Sum"),
        *("Conv", "AveragePool", "GlobalAverage", "Flatten"),
    )
}
NAMESPACE |= {"MLP": kc.MLP, "Sequential": kc.Sequential, "Activation": kc.Activation}


@pytest.mark.parametrize("net", [*NETWORKS, NAMED], ids=str)
def test_the_text_of_a_network_can_be_typed_in(net):
    again = eval(repr(net), NAMESPACE)
    assert again == net
    assert hash(again) == hash(net)
    assert repr(again) == repr(net)


def test_networks_are_values():
    net = kc.MLP("tanh", depth=3)
    assert net == kc.MLP("tanh") != kc.MLP("tanh", depth=4)
    assert len({net, kc.MLP("tanh"), net.replace(beta=0.2)}) == 2
    assert net.replace(depth=5) == kc.MLP("tanh", 5)
    for name, value in (("depth", 5), ("beta", -2), ("n_out", 2), ("layers", ())):
        with pytest.raises(AttributeError):
            setattr(net, name, value)
    assert net == kc.MLP("tanh")


def test_the_formula_of_a_network_is_its_recursion():
    assert kc.MLP("tanh", depth=2, sigma_w=1.5, beta=0.25, n_out=3)._repr_latex_().splitlines() == [
        r"$\displaystyle \begin{aligned}",
        r"\alpha^{(0)} &= x \\",
        r"\alpha^{(1)} &= \frac{1.5}{\sqrt{n}}\, W^{(1)T} \alpha^{(0)} + 0.25\, b^{(1)} \\",
        r"\alpha^{(2)} &= \sigma_{1}\left(\alpha^{(1)}\right) \\",
        r"f(x) &= \frac{1.5}{\sqrt{n}}\, W^{(2)T} \alpha^{(2)} + 0.25\, b^{(2)} \in \mathbb{R}^{3} \\",
        r"\sigma_{1}(x) &= \tanh{\left(x \right)} \\",
        r"W_{ij}, b_i &\sim \mathcal{N}(0, 1)",
        r"\end{aligned}$",
    ]


@pytest.mark.parametrize("net", [*NETWORKS, NAMED], ids=str)
def test_formulas_can_be_typeset(net):
    """By matplotlib's mathtext, line by line, but for the alignment."""
    parser = pytest.importorskip("matplotlib.mathtext").MathTextParser("path")
    for line in net._repr_latex_().splitlines()[1:-1]:
        text = line.removesuffix(r" \\").replace("&", "").replace(r"\lVert", "|").replace(r"\rVert", "|")
        if r"\begin" not in text:
            parser.parse(f"${text}$")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: kc.MLP(np.maximum),
        lambda: kc.MLP(print),
        lambda: kc.MLP([lambda u: u**2, "tanh"], 3),
        lambda: kc.MLP(3),
        lambda: kc.MLP(None),
        lambda: kc.MLP("tanhh"),
        lambda: kc.MLP(["tanh"], 3),
        lambda: kc.MLP("tanh", "3"),
        lambda: kc.MLP("tanh", True),
        lambda: kc.MLP("tanh", 0),
        lambda: kc.MLP("tanh", sigma_w=0),
        lambda: kc.MLP("tanh", sigma_w=float("nan")),
        lambda: kc.MLP("tanh", beta=-0.1),
        lambda: kc.MLP("tanh", beta=None),
        lambda: kc.MLP("tanh", n_out=1.5),
        lambda: kc.MLP("tanh").replace(beta=-2),
        lambda: kc.Sequential(),
        lambda: kc.Sequential(L.Dense(), print, L.Dense()),
        lambda: kc.Sequential("tanh", L.Dense()),
    ],
)
def test_wrong_networks_fail_when_they_are_made(wrong):
    with pytest.raises(InputError, match=r"expected .*, got "):
        wrong()


@pytest.mark.parametrize("net", NETWORKS, ids=str)
def test_networks_travel_and_are_kept_in_files(net, tmp_path):
    for _ in range(2):
        back = pickle.loads(pickle.dumps(net))
        assert back == net
        assert hash(back) == hash(net)
        assert repr(back) == repr(net)
        net.kernels(np.ones((1, 12, 12, 1)) if net.has_positions else [[1.0, 2.0]], only="sigma")
    # any place in a result
    path = ExpectationResult(value=net, error=0.0, method="test").save(tmp_path / "net.npz")
    assert kc.load(path).value == net


@pytest.mark.parametrize(
    "expr",
    [
        x**2 * sp.exp(-x) / 3,
        sp.Float("0.12345678901234567890123", 25) * x,
        sp.Piecewise((x, x > 0), (sp.exp(x) - 1, True)),
        sp.Max(x, sp.Rational(1, 10) * x) + sp.pi * sp.erf(x / sp.sqrt(2)),
        sp.Heaviside(x) + sp.sign(x) * sp.Abs(x),
    ],
    ids=str,
)
def test_expressions_are_kept_exactly(expr):
    assert from_tree(to_tree(expr)) == expr


@pytest.mark.parametrize("name", list(kc.catalogue.ACTIVATIONS))
def test_every_activation_of_the_catalogue_is_kept(name):
    expr = kc.activation(name).expr
    assert from_tree(to_tree(expr)) == expr


@pytest.mark.parametrize(
    "tree", [[], "x", ["os.system", ["x"]], ["lambdify"], ["Float", "1"], ["Integer", "a"], [["x"]]]
)
def test_other_trees_are_refused(tree):
    with pytest.raises((KernelcalcError, ValueError)):
        from_tree(tree)


def test_what_is_known_by_its_values_only_is_not_kept(tmp_path):
    from kernelcalc.activations.activation import CallableActivation

    with pytest.raises(InputError, match="known functions"):
        ExpectationResult(value=CallableActivation(abs), error=0.0, method="").save(tmp_path / "a.npz")
