"""Products of derivatives of one nonlinearity, beside SymPy's derivatives of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from kernelcalc.activations.names import activation
from kernelcalc.errors import SmoothnessError
from kernelcalc.expressions.atoms import x
from kernelcalc.kernels.first_order.products import leibniz, product, times_power

POINTS = np.array([-1.7, -0.4, 0.3, 2.1])
WHOLE = {"sin": sp.sin(x), "tanh": sp.tanh(x), "elu": sp.exp(x) - 1}


def _right(expression: sp.Expr, points: np.ndarray) -> np.ndarray:
    return np.array([float(expression.subs(x, sp.Float(at, 40))) for at in points.tolist()])


@pytest.mark.parametrize("name", ["sin", "tanh"])
@pytest.mark.parametrize(("orders", "derivative"), [((), 0), ((2,), 1), ((0, 1), 0), ((0, 0, 2), 1), ((1, 1), 3)])
def test_smooth_products_are_derivatives_of_the_whole(name, orders, derivative):
    whole = sp.diff(sp.prod([sp.diff(WHOLE[name], x, order) for order in orders]), x, derivative)
    found = product(activation(name), orders, derivative)
    assert found(POINTS) * np.ones(4) == pytest.approx(_right(sp.sympify(whole), POINTS), rel=1e-13)
    if not derivative:
        assert product(activation(name), orders) is product(activation(name), orders)
        assert product(activation(name), orders)(POINTS) == pytest.approx(found(POINTS), rel=1e-15)


# elu is eˣ − 1 on the left and x on the right: the jump of elu'·elu' there is none, that of its derivative −2
@pytest.mark.parametrize(
    ("orders", "derivative", "right"), [((0, 0), 0, x**2), ((0, 1), 1, sp.Integer(1)), ((0, 0, 1), 2, sp.Integer(2))]
)
def test_products_with_kinks_are_those_of_the_pieces(orders, derivative, right):
    found = product(activation("elu"), orders, derivative)
    left = sp.diff(sp.prod([sp.diff(WHOLE["elu"], x, order) for order in orders]), x, derivative)
    at = np.concatenate([_right(left, POINTS[:2]), _right(right, POINTS[2:])])
    assert found(POINTS) == pytest.approx(at, rel=1e-13)


def test_names_say_what_is_multiplied():
    smooth, kinked = activation("tanh"), activation("elu")
    slopes = [one.derivative(1).name for one in (smooth, kinked)]
    assert product(smooth, (0, 1), 2).name == f"∂^2(tanh·{slopes[0]})"
    assert product(kinked, (0, 1)).name == f"elu·{slopes[1]}"
    assert times_power(smooth, 3).name == "x^3·tanh"


def test_a_delta_is_no_factor():
    with pytest.raises(SmoothnessError) as said:
        product(activation("relu"), (1, 2))
    for words in (
        "whose derivatives here are functions",
        "relu, in relu",
        "ask for the kernels that exist (sigma, theta), or use a smooth nonlinearity",
    ):
        assert words in str(said.value)
    assert "XX" not in str(said.value)


def test_powers_keep_pieces_and_where_functions_vary():
    found = times_power(activation("elu"), 2)
    assert found(POINTS) == pytest.approx(POINTS**2 * np.where(POINTS < 0, np.expm1(POINTS), POINTS), rel=1e-14)
    assert found.features == activation("elu").features
    endless = activation("abs(sin(x))")
    assert times_power(endless, 2).form.reach == endless.form.reach < np.inf


def test_derivatives_of_products_by_counting():
    # (σσ'')' = σ'σ'' + σσ'''; of n factors there are n^d ways
    assert leibniz((0, 2), 1) == {(1, 2): 1, (0, 3): 1}
    assert sum(leibniz((0, 1, 2), 4).values()) == 3**4
