"""The layer step against the formulas typed out term by term, on several number types."""

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from kernelcalc.kernels.state import (
    KERNEL_NAMES,
    DiagonalKernels,
    PairKernels,
    closure,
    expectation_orders,
    first_layer,
    layer_step,
)

ORDERS = [(0, 0), (1, 1), (2, 2), (2, 0), (0, 2), (3, 1), (1, 3)]


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
def test_step_equals_the_literal_formulas_for_every_number_type(make):
    state = _random_state(make)
    got, expected = layer_step(*state), literal_step(*state)
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
    turned = layer_step(swapped, column, row, {(j, i): v for (i, j), v in e.items()}, s2, b2)
    direct = layer_step(k, row, column, e, s2, b2)
    assert (direct.lam_t, direct.phi_t, direct.xi) == (turned.lam, turned.phi, turned.xi)


def test_only_what_is_needed_is_carried():
    assert closure(("theta",)) == {"sigma", "theta"}
    assert expectation_orders(closure(("sigma",))) == ((0, 0),)
    assert expectation_orders(closure(("theta",))) == ((0, 0), (1, 1))
    assert set(expectation_orders(closure(KERNEL_NAMES))) == set(ORDERS)
    start = first_layer(Fraction(1, 2), closure(("upsilon",)))
    assert start.phi is start.lam is start.xi is None
    assert start.theta == Fraction(1, 2)
