"""Networks as values: equality, hash, replacement, formulas, text that can be typed in, files, other processes."""

import pickle

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
    kc.Sequential(
        L.Dense(), "relu", L.Sum(L.Dense(), L.Serial(L.Nonlinearity("erf"), L.Dense(2.0))), L.Dense(weight_rate=3)
    ),
]


@pytest.mark.parametrize("net", NETWORKS, ids=str)
def test_networks_travel_and_are_kept_in_files(net, tmp_path):
    for _ in range(2):
        back = pickle.loads(pickle.dumps(net))
        assert back == net
        assert hash(back) == hash(net)
        assert repr(back) == repr(net)
        net.kernels([[1.0, 2.0]], only="sigma")
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
