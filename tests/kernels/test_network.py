"""The description of a network: what it is made of, which kernels it has, and what is said of others."""

import pickle

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, SmoothnessError, UnknownNameError
from kernelcalc.kernels.layers import Conv, Dense, Flatten, Nonlinearity
from kernelcalc.kernels.network import Network, Refusal, check_network, positive_integer, refusals

TANH, RELU, STEP = (kc.activation(name) for name in ("tanh", "relu", "step"))
ALL = ("sigma", "theta", "phi", "lam", "upsilon", "xi")
HINT = "; use a smooth nonlinearity, for example smooth_relu(scale=...), erf, tanh or gelu"


def network(*activations, **options):
    layers = [layer for act in activations for layer in (Dense(1.5), Nonlinearity(act))]
    return Network((*layers, Dense(2.0, 0.3)), **options)


def said(error, call):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def test_what_a_network_knows_of_itself():
    net = network(TANH, RELU)
    assert (net.n_out, net.activations, net.has_positions) == (1, (TANH, RELU), False)
    assert net.record() == {
        "layers": [
            "Dense(sigma_w=1.5, beta=0.1)",
            "Nonlinearity('tanh')",
            "Dense(sigma_w=1.5, beta=0.1)",
            "Nonlinearity('relu')",
            "Dense(sigma_w=2, beta=0.3)",
        ],
        "activations": ["tanh(Symbol('x', real=True))", "Max(Integer(0), Symbol('x', real=True))"],
    }


def test_equal_networks_are_written_alike_whatever_they_were_asked():
    asked, new = network(TANH), network(TANH)
    assert asked.names(None) == ALL
    assert asked.activations == (TANH,)
    assert pickle.dumps(asked) == pickle.dumps(new)
    assert pickle.loads(pickle.dumps(asked)) == new
    assert new != network(TANH, n_out=2)


@pytest.mark.parametrize("value", [True, 1.0, 0, -1, "2", None])
def test_counts_that_are_none(value):
    assert said(InputError, lambda: positive_integer("depth", value)) == f"expected an integer depth ≥ 1, got {value!r}"
    assert said(InputError, lambda: network(n_out=value)) == f"expected an integer n_out ≥ 1, got {value!r}"


def test_counts():
    for value in (1, np.int8(1)):
        found = positive_integer("n_out", value)
        assert (type(found), found) == (int, 1)
    assert type(network(n_out=np.int64(3)).n_out) is int


def test_kernels_that_nonlinearities_leave_undefined():
    """A kink leaves Σ and Θ, a jump Σ alone; what is said names the first nonlinearity to do so."""
    assert refusals([TANH]) == {}
    kinked, jumping = refusals([TANH, RELU, STEP]), refusals([STEP, RELU])
    # Σ̇ and Σ̈, the factors of Θ and Λ, are kernels as well
    assert set(kinked) == {*ALL[1:], "sigma_dot", "sigma_ddot"} == set(jumping)
    assert kinked["phi"] == Refusal(
        "a nonlinearity in C⁴ for the kernel phi (Jacot, Gabriel, Hongler 2020)",
        "relu, whose derivative of order 1 jumps",
        HINT[2:],
    )
    jump = "expected a continuous nonlinearity for the kernel theta, got step, which jumps" + HINT
    assert str(kinked["theta"].error()) == str(jumping["theta"].error()) == jump
    assert jumping["xi"].got == "step, whose derivative of order 0 jumps"


def test_the_kernels_asked_for():
    net = network(RELU)
    assert net.names(None) == ("sigma", "theta")
    assert net.names("theta") == ("theta",)
    assert net.names(["theta", "sigma", "theta"]) == ("theta", "sigma")
    assert set(net.names({"theta", "sigma"})) == set(net.names(frozenset({"theta", "sigma"}))) == {"theta", "sigma"}
    assert said(InputError, lambda: net.names(3)) == "expected kernel names in only=, got 3"
    assert said(InputError, lambda: net.names([])) == "expected at least one kernel name in only=, got none"
    unknown = "expected the name of a kernel, got 'thet'; did you mean 'theta'?"
    assert said(UnknownNameError, lambda: net.names("thet")) == unknown
    text = (
        "expected a nonlinearity in C⁴ for the kernel xi (Jacot, Gabriel, Hongler 2020), got relu, whose derivative of "
    )
    assert said(SmoothnessError, lambda: net.names(["theta", "xi"])) == text + "order 1 jumps" + HINT


def test_networks_with_positions_are_refused_by_what_for():
    net = Network((Conv(3), Nonlinearity(TANH), Flatten(), Dense()))
    assert net.has_positions
    expected = "expected a network on points (N, n_0) for digits, got one with positions; its float64 kernels are "
    assert said(InputError, lambda: net.require_vectors("digits")) == expected + "net.kernels(X)"
    assert network(TANH).require_vectors("digits") is None


def test_what_is_no_network():
    assert check_network(network(TANH)) is None
    expected = "expected a network, such as MLP('tanh', depth=3), got str"
    assert said(InputError, lambda: check_network("tanh")) == expected
