"""The layers' formulas against the formulas typed out term by term, on several number types; compositions."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.activation import CallableActivation
from kernelcalc.errors import InputError
from kernelcalc.kernels.fold import plan
from kernelcalc.kernels.layer import ZERO
from kernelcalc.kernels.layers import (
    UNITY,
    Dense,
    LayerNorm,
    Nonlinearity,
    Residual,
    Scale,
    Scales,
    Serial,
    Sum,
    dense_layers,
)
from kernelcalc.kernels.needs import needs
from kernelcalc.kernels.state import KERNEL_NAMES, DiagonalKernels, PairKernels, with_transposes

ORDERS = [(0, 0), (1, 1), (2, 2), (2, 0), (0, 2), (3, 1), (1, 3)]
ALL = frozenset(with_transposes(KERNEL_NAMES))


def literal_step(k, row, column, e, s2, b2):
    """Every term as printed in the recursion, nothing gathered."""
    sigma = s2 * e[0, 0] + b2
    theta = s2 * k.theta * e[1, 1] + sigma
    phi = s2 * (k.phi * e[1, 1] + row.phi * e[2, 0] + row.theta * e[2, 0])
    phi_t = s2 * (k.phi_t * e[1, 1] + column.phi * e[0, 2] + column.theta * e[0, 2])
    lam = s2 * (
        k.lam * e[1, 1] + k.theta * k.phi * e[2, 2] + k.theta * row.phi * e[3, 1] + k.phi * e[1, 1]
        + row.phi * e[2, 0] + row.theta * k.theta * e[3, 1] + row.theta * e[2, 0]
    )  # fmt: skip
    upsilon = s2 * (k.upsilon * e[1, 1] + k.theta**2 * e[2, 2] + 2 * k.theta * e[1, 1])
    xi = s2 * (
        k.xi * e[1, 1] + k.phi * k.phi_t * e[2, 2] + row.phi * column.phi * e[2, 2] + k.phi * column.phi * e[1, 3]
        + row.phi * k.phi_t * e[3, 1] + column.theta * row.phi * e[2, 2] + column.theta * k.phi * e[1, 3]
        + row.theta * column.phi * e[2, 2] + row.theta * k.phi_t * e[3, 1] + row.theta * column.theta * e[2, 2]
    )  # fmt: skip
    return dict(sigma=sigma, theta=theta, phi=phi, phi_t=phi_t, lam=lam, upsilon=upsilon, xi=xi)


def step(k, row, column, e, s2, b2):
    """A nonlinearity followed by fresh weights."""
    features = Nonlinearity("tanh").apply(k, row, column, e, ALL)
    return Dense().apply(features, row, column, Scales(weight=s2, bias=b2, bias_gradient=b2), ALL)


def _random_state(make):
    values = iter([make(k) for k in range(1, 40)])
    k = PairKernels(
        **{name: next(values) for name in ("sigma", "theta", "phi", "phi_t", "lam", "lam_t", "upsilon", "xi")}
    )
    row = DiagonalKernels(sigma=next(values), theta=next(values), phi=next(values))
    column = DiagonalKernels(sigma=next(values), theta=next(values), phi=next(values))
    return k, row, column, {order: next(values) for order in ORDERS}, next(values), next(values)


@pytest.mark.parametrize(
    "make",
    [lambda k: Fraction(2 * k + 1, k + 7), lambda k: sp.Symbol(f"s{k}"), lambda k: np.full(2, 1.0 / k)],
    ids=["fractions", "symbols", "arrays"],
)
def test_two_layers_equal_the_literal_formulas_for_every_number_type(make):
    state = _random_state(make)
    got, expected = step(*state), literal_step(*state)
    for name, value in expected.items():
        difference = getattr(got, name) - value
        if isinstance(difference, sp.Expr):
            assert sp.expand(difference) == 0
        else:
            assert np.all(np.abs(difference) <= 1e-14 * np.abs(value))


def test_lambda_transposed_is_lambda_of_the_swapped_pair():
    k, row, column, e, s2, b2 = _random_state(lambda n: Fraction(2 * n + 1, n + 7))
    swapped = PairKernels(
        sigma=k.sigma, theta=k.theta, phi=k.phi_t, phi_t=k.phi, lam=k.lam_t, lam_t=k.lam, upsilon=k.upsilon, xi=k.xi
    )
    turned = step(swapped, column, row, {(j, i): v for (i, j), v in e.items()}, s2, b2)
    direct = step(k, row, column, e, s2, b2)
    assert (direct.lam_t, direct.phi_t, direct.xi) == (turned.lam, turned.phi, turned.xi)


def test_what_formulas_read():
    nonlinearity = Nonlinearity("tanh")
    assert needs(nonlinearity, "theta").orders == {(1, 1)}
    assert needs(nonlinearity, "xi").column == {"theta", "phi"}
    assert needs(nonlinearity, "phi_t").orders == {(1, 1), (0, 2)}
    assert needs(Dense(), "upsilon").pairs == {"upsilon", "theta"}
    assert needs(LayerNorm(), "lam").row == {"sigma", "theta", "phi"}
    assert needs(Scale(0.5), "phi_t").pairs == {"phi_t"}


def test_only_what_is_needed_is_carried():
    first, *hidden = plan(kc.MLP("tanh", 3).layers, {"theta"})
    assert first.after == {"sigma", "theta"}
    assert [one.orders for one in hidden if one.orders] == [((0, 0), (1, 1))] * 2
    assert not any(one.diagonal_before - {"sigma"} for one in hidden)
    _, *hidden = plan(kc.MLP("tanh", 3).layers, with_transposes(KERNEL_NAMES))
    assert set(hidden[0].orders) == set(ORDERS)


def test_layer_norm_keeps_a_constant_norm():
    """|z̃|² is constant, so on the diagonal E[g f] + ∇f·∇f = 0: Φ̃ = −Θ̃."""
    q, theta, phi = sp.Rational(7, 4), sp.Rational(3, 5), sp.Rational(2, 7)
    at = DiagonalKernels(sigma=q, theta=theta, phi=phi)
    k = PairKernels(sigma=q, theta=theta, phi=phi, phi_t=phi)
    out = LayerNorm().apply(k, at, at, sp.sqrt, frozenset(["sigma", "theta", "phi"]))
    assert out.sigma == 1
    assert out.phi == -out.theta


def test_branches_must_end_in_fresh_weights():
    with pytest.raises(InputError, match="fresh weights"):
        Residual(Dense(), "tanh")
    with pytest.raises(InputError, match="fresh weights"):
        Sum(Serial(), Serial())
    with pytest.raises(InputError, match="first layer is Dense"):
        kc.Sequential("tanh", Dense())
    with pytest.raises(InputError, match="last layer is Dense"):
        kc.Sequential(Dense(), "tanh")


def test_networks_are_values():
    assert kc.MLP("tanh", 2) == kc.MLP("tanh", 2)
    assert hash(kc.MLP("tanh", 2)) == hash(kc.MLP("tanh", 2))
    assert kc.MLP("tanh", 2) != kc.MLP("tanh", 3)
    block = Residual("tanh", Dense(), scale=0.5)
    assert block == Residual("tanh", Dense(), scale=0.5) != Residual("tanh", Dense())
    with pytest.raises(AttributeError):
        kc.MLP("tanh").n_out = 3


def test_a_composition_of_the_same_layers_is_the_mlp():
    x = np.random.default_rng(0).normal(size=(12, 3))
    plain = kc.MLP("tanh", 3, sigma_w=1.3, beta=0.2).kernels(x)
    composed = kc.Sequential(Dense(1.3, 0.2), "tanh", Dense(1.3, 0.2), "tanh", Dense(1.3, 0.2)).kernels(x)
    for name in KERNEL_NAMES:
        np.testing.assert_array_equal(getattr(plain, name), getattr(composed, name))


def test_a_branch_without_a_nonlinearity_by_hand():
    """x + a·Wx of a linear layer: kernels of the stream plus a² times those of two linear layers."""
    x = np.random.default_rng(1).normal(size=(4, 3))
    k = kc.Sequential(Dense(1.0, 0.0), Residual(Dense(1.5, 0.0), scale=0.5), Dense(2.0, 0.0)).kernels(x)
    gram = x @ x.T / 3
    # Σ: 1, 1 + a²w², times 4; Θ of one linear layer is Σ, of two 2 Σ
    share = 0.25 * 1.5**2
    np.testing.assert_allclose(k.sigma, 4 * (1 + share) * gram, rtol=1e-13)
    np.testing.assert_allclose(k.theta, 4 * ((1 + 2 * share) + (1 + share)) * gram, rtol=1e-13)
    # Υ: pairs of layers, twice their Σ: stream-last 2·1, branch-stream 2·share, branch-last 2·2·share
    np.testing.assert_allclose(k.upsilon, 4 * (2 * share + 2 * (1 + 2 * share)) * gram, rtol=1e-13)


def test_each_layer_has_its_own_expectation_of_slopes() -> None:
    """Σ̇ of every layer is what the next Θ is made of; before the first nonlinearity there is none."""
    x = np.random.default_rng(0).standard_normal((7, 3))
    for name in ("tanh", "relu"):
        net = kc.MLP(name, depth=4, sigma_w=1.3, beta=0.4)
        layers = net.kernels(x, only=("theta", "sigma", "sigma_dot")).layers
        assert layers[0].available == ("theta", "sigma")
        for before, after in pairwise(layers):
            np.testing.assert_allclose(after.theta - after.sigma, 1.3**2 * after.sigma_dot * before.theta, rtol=1e-11)


def test_a_rate_of_one_costs_no_pass_over_an_array():
    values = np.arange(3.0)
    assert Scales(weight=1.0, bias=0.0).weight_rate * values is values
    assert values * UNITY is values
    assert 2 * UNITY == 2


def test_before_there_are_weights_no_array_of_zeros_is_gone_through():
    values = np.arange(3.0)
    for total in (values + ZERO, ZERO + values, values - ZERO):
        assert total is values
    for product in (values * ZERO, ZERO * values, ZERO / values, 2 * UNITY * ZERO, -ZERO):
        assert product is ZERO
    np.testing.assert_array_equal(ZERO - values, -values)
    assert np.broadcast_to(ZERO, (2, 3)).tolist() == [[0.0] * 3] * 2
    assert np.asarray(ZERO, dtype=np.float32).dtype == np.float32


def test_a_network_of_one_layer_has_kernels_of_zeros():
    x = np.random.default_rng(0).standard_normal((12, 3))
    net = kc.MLP("tanh", depth=1, sigma_w=1.5, beta=0.5)
    for K in (net.kernels(x), net.kernels(x, x.copy())):
        np.testing.assert_allclose(K.theta, 1.5**2 * x @ x.T / 3 + 0.25, rtol=1e-12)
        for name in ("phi", "lam", "upsilon", "xi"):
            np.testing.assert_array_equal(getattr(K, name), np.zeros((12, 12)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Residual("tanh", Dense(), scale=float("nan")),
        lambda: Residual("tanh", Dense(), scale="x"),
        lambda: Residual("tanh", Dense(), scale=None),
        lambda: Scale(float("inf")),
        lambda: Scale(1j),
        lambda: Residual(3),
        lambda: Residual(),
    ],
)
def test_factors_and_branches_that_are_none(make):
    with pytest.raises(InputError, match=r"factor|layers such as|fresh weights"):
        make()


@pytest.mark.parametrize("options", [{}, {"dps": 20}, {"certified": True}])
def test_layernorm_of_a_point_of_zeros(options):
    net = kc.Sequential(Dense(beta=0.0), LayerNorm(), "erf", Dense())
    with pytest.raises(InputError, match="variance above 0"):
        net.kernels([[0.0, 0.0], [1.0, 2.0]], **options)


def test_a_negative_factor_counts_its_square():
    at = [[1.0, 0.5], [0.2, -1.0]]
    nets = [kc.Sequential(Dense(), Residual("erf", Dense(), scale=s), Dense()) for s in (0.5, -0.5)]
    np.testing.assert_array_equal(*(net.kernels(at).xi for net in nets))
    assert nets[0] != nets[1]


def test_layer_norm_of_explicit_outputs():
    """Each output over its norm, with the Laplacian's correction g̃ = (g - κ f/v)/√v, v = |f|²: all six as scalar products."""
    rng = np.random.default_rng(3)
    (f, g, f2, g2), (df, dg, df2, dg2) = rng.normal(size=(4, 6)), rng.normal(size=(4, 8))
    k = PairKernels(
        sigma=f @ f2, theta=df @ df2, phi=g @ f2, phi_t=f @ g2, lam=dg @ df2, lam_t=df @ dg2, upsilon=1.7, xi=g @ g2
    )
    row = DiagonalKernels(sigma=f @ f, theta=df @ df, phi=g @ f)
    column = DiagonalKernels(sigma=f2 @ f2, theta=df2 @ df2, phi=g2 @ f2)
    got = LayerNorm().apply(k, row, column, np.sqrt, ALL)

    def normalised(f, g, df, dg):
        v, kappa = f @ f, df @ df + g @ f
        return f / v**0.5, (g - kappa / v * f) / v**0.5, df / v**0.5, (dg - kappa / v * df) / v**0.5

    (f, g, df, dg), (f2, g2, df2, dg2) = normalised(f, g, df, dg), normalised(f2, g2, df2, dg2)
    expected = {
        "sigma": f @ f2, "theta": df @ df2, "phi": g @ f2, "phi_t": f @ g2, "lam": dg @ df2, "lam_t": df @ dg2, "xi": g @ g2,
        "upsilon": 1.7 / (row.sigma * column.sigma) ** 0.5,
    }  # fmt: skip
    for name, value in expected.items():
        assert getattr(got, name) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Dense(), "Dense(sigma_w=1, beta=0.1)"),
        (Dense(2.5, 0.0, weight_rate=3), "Dense(sigma_w=2.5, beta=0, weight_rate=3)"),
        (Dense(bias_gradient=1.0), "Dense(sigma_w=1, beta=0.1, bias_gradient=1)"),
        (Residual("tanh", Dense()), "Residual(Nonlinearity('tanh'), Dense(sigma_w=1, beta=0.1))"),
        (Residual(Dense(), scale=0.5), "Residual(Dense(sigma_w=1, beta=0.1), scale=0.5)"),
        (Serial("erf", Scale(2.0)), "Serial(Nonlinearity('erf'), Scale(factor=2.0))"),
    ],
)
def test_a_layer_is_written_as_it_was_made(layer, text):
    assert repr(layer) == text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(sigma_w=0.0), "expected sigma_w > 0, got 0.0"),
        (lambda: Dense(beta=-1.0), "expected beta ≥ 0, got -1.0"),
        (lambda: Dense(weight_rate=-2.0), "expected weight_rate ≥ 0, got -2.0"),
        (
            lambda: Nonlinearity(CallableActivation(np.sin)),
            "expected a nonlinearity with an expression, whose derivatives and kinks are known, got the function sin; "
            "write it as a text, for example 'tanh' or 'x*erf(x)', or as a SymPy expression",
        ),
        (
            lambda: Sum("tanh", "erf", Dense()),
            "expected two or more branches, all but one of which end in fresh weights, got 3 branches, of which 2 do not; "
            "end the branch with Dense()",
        ),
        (
            lambda: Serial(7),
            "expected layers such as Dense(), Residual('tanh', Dense()), or a nonlinearity, got 7",
        ),
        (lambda: Scale(float("inf")), "expected a finite factor below 1e30, got inf"),
        (lambda: Scale("x"), "expected a real number factor, got 'x'"),
    ],
)
def test_what_a_layer_refuses(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message


def test_zeros_that_layers_take():
    assert (Dense(beta=0).beta, Dense(weight_rate=0).weight_rate, Scale(0).factor) == (0.0, 0.0, 0.0)


def test_hashes_tell_compositions_apart():
    a, b, c = Serial("tanh", Dense()), Serial("erf", Dense()), Sum("tanh", Dense())
    assert len({hash(a), hash(b), hash(c), hash(Serial("tanh", Dense()))}) == 3
    assert a != c


def test_a_factor_of_one_is_no_layer():
    assert Residual("tanh", Dense(), scale=1).layers == (Serial(), Serial("tanh", Dense()))
    assert Residual("tanh", Dense(), scale=2).layers[1] == Serial("tanh", Dense(), Scale(2.0))


def test_dense_layers_stand_in_their_order():
    inner, last = Dense(3.0), Dense(4.0)
    assert dense_layers([Dense(2.0), Residual("tanh", inner, scale=0.5), last]) == [Dense(2.0), inner, last]


@pytest.mark.parametrize("layer", [Dense(), Nonlinearity("tanh"), LayerNorm(), Scale(2.0)])
def test_layers_do_not_change(layer):
    with pytest.raises(AttributeError):
        layer.beta = 0.5


def test_factors_are_floats_and_slopes_of_slopes_are_e22():
    assert (type(Scale(2).factor), repr(Scale(2))) == (float, "Scale(factor=2.0)")
    k, row, column, e, _, _ = _random_state(float)
    assert Nonlinearity("tanh").apply(k, row, column, e, frozenset({"sigma_ddot"})).sigma_ddot == e[2, 2]
