r"""Products of derivatives of one nonlinearity at a point, and their own derivatives, as functions of their own.

Every expectation at first order in 1/n is one of two such functions, :math:`E[∂^d(σ^{(i)}σ^{(j)}\cdots)(a)\; ∂^e(\cdots)(b)]`.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import sympy as sp

from kernelcalc.activations.activation import ONE, Activation
from kernelcalc.activations.features import Feature
from kernelcalc.activations.pieces import PiecewiseForm
from kernelcalc.errors import SmoothnessError
from kernelcalc.expressions.atoms import x

Orders = tuple[int, ...]


@lru_cache(maxsize=1024)
def product(act: Activation, orders: Orders, derivative: int = 0) -> Activation:
    r"""The derivative-th derivative of :math:`\prod_k σ^{(k)}` over ``orders``; 1 for no factors.

    Raises
    ------
    SmoothnessError
        If one of the factors is no function any more: δ of a kink, multiplied by other factors.

    Examples
    --------
    >>> from kernelcalc.activations.names import activation
    >>> round(float(product(activation("sin"), (0, 1), 1)(0.3)), 12), round(float(sp.cos(0.6)), 12)
    (0.82533561491, 0.82533561491)
    """
    if not orders:
        return ONE
    if len(orders) == 1:
        return act.derivative(orders[0] + derivative)
    factors = [act.derivative(k) for k in orders]
    name = "·".join(factor.name for factor in factors)
    for factor in factors:
        if factor.deltas:
            raise SmoothnessError(
                "a nonlinearity whose derivatives here are functions",
                f"{act.name}, in {name}",
                "ask for the kernels that exist (sigma, theta), or use a smooth nonlinearity",
            )
    if act.kinks:
        parts = [
            tuple(sp.Mul(*same) for same in zip(*(getattr(f.form, which) for f in factors), strict=True))
            for which in ("pieces", "stable")
        ]
        whole = Activation(PiecewiseForm(breaks=act.form.breaks, pieces=parts[0], stable=parts[1]), name=name)
        return whole.derivative(derivative) if derivative else whole
    pieces, stable = (_expanded(act, orders, derivative, which) for which in ("pieces", "stable"))
    return _Product(PiecewiseForm(breaks=(), pieces=(pieces,), stable=(stable,)), act, name=f"∂^{derivative}({name})")


@lru_cache(maxsize=1024)
def times_power(f: Activation, power: int) -> Activation:
    """x^power f(x), of a function without deltas.

    Examples
    --------
    >>> from kernelcalc.activations.names import activation
    >>> round(float(times_power(activation("relu"), 2)(3.0)), 12)
    27.0
    """
    assert not f.deltas
    pieces, stable = (tuple(x**power * one for one in parts) for parts in (f.form.pieces, f.form.stable))
    form = PiecewiseForm(breaks=f.form.breaks, pieces=pieces, stable=stable, reach=f.form.reach)
    return _Product(form, f, name=f"x^{power}·{f.name}")


class _Product(Activation):
    """A smooth product: it varies fast where its factors do."""

    def __init__(self, form: PiecewiseForm, factor: Activation, *, name: str) -> None:
        super().__init__(form, name=name)
        self._factor = factor

    @property
    def features(self) -> tuple[Feature, ...]:
        return self._factor.features


def leibniz(orders: Orders, derivative: int) -> Counter[Orders]:
    """The derivative of a product of σ^(k) as products, each with how often it occurs.

    Examples
    --------
    >>> sorted(leibniz((0, 0), 2).items())
    [((0, 2), 2), ((1, 1), 2)]
    """
    terms = Counter({tuple(sorted(orders)): 1})
    for _ in range(derivative):
        later: Counter[Orders] = Counter()
        for factors, count in terms.items():
            for place, order in enumerate(factors):
                later[tuple(sorted((*factors[:place], order + 1, *factors[place + 1 :])))] += count
        terms = later
    return terms


def _expanded(act: Activation, orders: Orders, derivative: int, which: str) -> sp.Expr:
    """The derivative of the product as a sum of products of known derivatives."""
    return sp.Add(
        *(
            sp.Mul(count, *(getattr(act.derivative(k).form, which)[0] for k in factors))
            for factors, count in leibniz(orders, derivative).items()
        )
    )
