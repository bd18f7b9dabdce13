"""What several networks of one architecture are asked at once, against each of them alone."""

from dataclasses import fields

import numpy as np
import pytest
from conftest import CASES, make_problem

import kernelcalc.finite.curvature.moments as moments
import kernelcalc.finite.curvature.together as module
from kernelcalc.errors import NotFiniteError
from kernelcalc.finite.curvature.pairs import curvature_pairs, unit_pairs
from kernelcalc.finite.derivatives import Problem, forward
from kernelcalc.finite.ensembles.kernels import (
    centred_products,
    hessian_kernel,
    mean_ntk,
    readout_kernels,
    trace_gradient_kernel,
)

SMOOTH = [name for name in CASES if name != "relu"]


def several(name, n=3):
    """Three networks one by one and side by side, and their problem."""
    fin, X, Y, loss = make_problem(name, n=n)
    rng = np.random.default_rng(4)
    nets = [fin, *(fin.with_parameters(rng.standard_normal(fin.n_parameters)) for _ in range(2))]
    return nets, fin.at(np.stack([net.parameters for net in nets])), X, Y, loss


def agree(found, expected):
    expected = np.array(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("kernel", [mean_ntk, trace_gradient_kernel, hessian_kernel])
def test_kernels(name, kernel):
    nets, beside, X, _, _ = several(name)
    agree(kernel(beside, X), [kernel(net, X) for net in nets])


@pytest.mark.parametrize("name", SMOOTH)
def test_readout_kernels_and_centred_products(name):
    nets, beside, X, _, _ = several(name)
    targets = np.random.default_rng(5).standard_normal((len(X), nets[0].n_out))
    readout, each = readout_kernels(beside, X), [readout_kernels(net, X) for net in nets]
    for part in ("sigma", "phi", "xi"):
        agree(getattr(readout, part), [getattr(one, part) for one in each])
    expected = [centred_products(net, X, targets, one) for net, one in zip(nets, each, strict=True)]
    agree(centred_products(beside, X, targets, readout), expected)


@pytest.mark.parametrize("name", SMOOTH)
def test_curvature_pairs(name):
    nets, beside, X, Y, loss = several(name)
    found, each = (
        curvature_pairs(beside.curvature(X, Y, loss)),
        [curvature_pairs(net.curvature(X, Y, loss)) for net in nets],
    )
    for part in ("s", "s_s", "s_i"):
        agree(getattr(found, part), [getattr(one, part) for one in each])
        agree([getattr(one, part) for one in found.each()], [getattr(one, part) for one in each])


@pytest.mark.parametrize(("name", "pays"), [(n, p) for n in SMOOTH for p in (True, False) if n != "linear" or not p])
def test_moments(monkeypatch, name, pays):
    """By outer products, which take them at once, and by deflation, which takes one after the other."""
    for place in (module, moments):
        monkeypatch.setattr(place, "outer_products_pay", lambda *_: pays)
    nets, beside, X, Y, loss = several(name)
    problem, seeds = Problem.of(nets[0], X, Y, loss), [3, 1, 4]
    pairs = unit_pairs(beside, problem) if nets[0].n_out == 1 else None
    found = module.moments_of_networks(forward(beside, problem.x), problem, seeds, kmax=4, probes=5, pairs=pairs)
    each = [
        net.hessian_moments(X, Y, loss, dense=False, probes=5, rng=seed, pairs=own)
        for net, seed, own in zip(nets, seeds, pairs.each() if pairs else [None] * 3, strict=True)
    ]
    assert set(found) == {field.name for field in fields(each[0])}
    for part, values in found.items():
        agree(values, [getattr(one, part) for one in each])


def test_an_overflow_of_one_of_them():
    nets, _, X, Y, loss = several("two hidden")
    beside = nets[0].at(np.stack([nets[1].parameters, 1e200 * nets[2].parameters]))
    problem = Problem.of(nets[0], X, Y, loss)
    with pytest.raises(NotFiniteError), np.errstate(over="ignore", invalid="ignore"):
        module.moments_of_networks(forward(beside, problem.x), problem, [0, 1], kmax=4, probes=5, pairs=None)
