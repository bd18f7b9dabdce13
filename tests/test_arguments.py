"""One set of names for arguments, in one order; old names refused with the new one; the front door as it is written down."""

import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, PrecisionWarning, SlowMethodWarning, renamed, warn
from kernelcalc.kernels.parametrisation import pytorch_kernels, standard_theta
from kernelcalc.studies.regression import predict_outputs
from kernelcalc.training.moments import moments
from kernelcalc.training.progress import warn_if_long
from tests.public_api import functions, lines

X = np.eye(3)
Y = np.array([1.0, -1.0, 1.0])
NET = kc.MLP("tanh", 2)
K = NET.kernels(X)
MSE = kc.losses.resolve_loss("mse")

# Each function with arguments under their names, and the old names of some of them.
CALLS = [
    (kc.predict, {"net": NET, "X": X, "Y": Y, "width": 8}, {"X": "points", "Y": "labels"}),
    (
        kc.held_out,
        {"net": NET, "X": X, "Y": Y, "X_test": X, "Y_test": Y},
        {"X": "points", "Y": "labels", "X_test": "test_points", "Y_test": "test_labels"},
    ),
    (
        predict_outputs,
        {"net": NET, "X": X, "Y": Y, "X_test": X},
        {"X": "points", "Y": "targets", "X_test": "test_points"},
    ),
    (kc.mse_moments, {"kernels": K, "Y": Y, "times": [0.0]}, {"Y": "targets"}),
    (kc.hessian_moments, {"kernels": K, "Y": Y, "times": [0.0], "samples": 2}, {"Y": "labels"}),
    (moments, {"kernels": K, "Y": Y, "times": [0.0]}, {"Y": "labels"}),
    (kc.mse_law, {"kernels": K, "Y": Y, "time": 0.0}, {"Y": "targets"}),
    (kc.mse_quantiles, {"kernels": K, "Y": Y, "times": [0.0], "moment": "loss"}, {"Y": "targets"}),
    (kc.spectrum_of_i, {"kernels": K, "outputs": Y, "Y": Y}, {"Y": "labels"}),
    (kc.mean_field_moments, {"kernels": K, "Y": Y}, {"Y": "labels"}),
    (kc.largest_learning_rate, {"theta": K.theta, "outputs": Y, "Y": Y}, {"Y": "labels"}),
    (kc.phase.depth_profile, {"activation": "tanh", "X": X, "depths": [1, 2]}, {"X": "points"}),
    (standard_theta, {"net": NET, "X": X, "widths": [4]}, {"X": "points"}),
    (pytorch_kernels, {"net": NET, "X": X, "widths": [4]}, {"X": "points"}),
    (kc.distributed.initial_moments, {"kernels": NET.kernels(X, engine="dask"), "Y": Y}, {"Y": "targets"}),
    (MSE.value, {"outputs": Y, "Y": Y}, {"Y": "labels"}),
    (MSE.gradient, {"outputs": Y, "Y": Y}, {"Y": "labels"}),
    (MSE.hessian, {"outputs": Y, "Y": Y}, {"Y": "labels"}),
    (MSE.hessian_sqrt, {"outputs": Y, "Y": Y}, {"Y": "labels"}),
    (MSE.hessian_product, {"outputs": Y, "Y": Y, "vector": Y}, {"Y": "labels"}),
    (MSE.encode, {"Y": Y}, {"Y": "labels"}),
]


@pytest.mark.parametrize(("function", "arguments", "old"), CALLS, ids=lambda v: getattr(v, "__name__", None))
def test_old_names_are_refused_with_the_new_one(function, arguments, old):
    function(**arguments)
    for new, name in old.items():
        rest = {key: value for key, value in arguments.items() if key != new}
        with pytest.raises(InputError, match=rf"{function.__name__}\({new}=.*, got {name}=; .* {new} now"):
            function(**rest, **{name: arguments[new]})


def test_renamed_functions_stay_what_they_are():
    assert inspect.signature(kc.predict).parameters.keys() >= {"net", "X", "Y", "loss"}
    assert kc.predict.__name__ == "predict"
    assert kc.predict.__doc__.startswith("Learning rates")
    # where doctest looks
    assert kc.mse_moments.__globals__["__name__"] == "kernelcalc.training.mse"
    with pytest.raises(TypeError, match="nonsense"):
        kc.mse_moments(K, Y, [0.0], nonsense=1)

    @renamed(a="b")
    def twice(b):
        return 2 * b

    assert twice(3) == twice(b=3) == 6


FORBIDDEN = {"points", "labels", "targets", "test_points", "test_labels", "data", "inputs", "x", "t", "time_points"}
# What is no data of points and targets: columns of a file, a variable of a density, encoded targets of one batch.
OTHERS = {"kc.datasets.Data", "kc.datasets.load", "kc.spectrum.marchenko_pastur_density", "kc.plot.curves_figure"}
# data, targets, times, loss
ORDER = [("X",), ("X2",), ("Y", "y"), ("X_test",), ("Y_test",), ("times", "time"), ("loss",)]


def test_one_set_of_names_in_one_order():
    for name, function in functions():
        if name in OTHERS or not inspect.isroutine(function):
            continue
        parameters = inspect.signature(function).parameters
        assert not FORBIDDEN & parameters.keys(), name
        in_order = [one for one, about in parameters.items() if about.kind is not about.KEYWORD_ONLY]
        places = [in_order.index(one) for group in ORDER for one in group if one in in_order]
        assert places == sorted(places), (name, in_order)


def test_methods_have_the_same_names_in_the_same_order():
    """Of all classes of the front door; c(y, t) of a loss is a function of two numbers and no data."""
    seen = 0
    for name, cls in functions():
        if not isinstance(cls, type) or not cls.__module__.startswith("kernelcalc"):
            continue
        for part, raw in vars(cls).items():
            found = getattr(raw, "__func__", raw)
            if part.startswith("_") or not inspect.isfunction(found):
                continue
            parameters = inspect.signature(found).parameters
            assert not (FORBIDDEN - {"t"}) & parameters.keys(), (name, part)
            in_order = [one for one, about in parameters.items() if about.kind is not about.KEYWORD_ONLY]
            places = [in_order.index(one) for group in ORDER for one in group if one in in_order and one != "y"]
            assert places == sorted(places), (name, part, in_order)
            seen += 1
    assert seen > 100


def test_the_front_door_is_as_written_down():
    """A change of names or signatures shows in the diff of one file; ``python -m tests.public_api`` writes it anew."""
    written = Path(__file__).with_name("public_api.txt").read_text(encoding="utf-8").splitlines()
    found = list(lines())
    assert sorted(set(found) - set(written)) == [], "new or changed"
    assert sorted(set(written) - set(found)) == [], "gone"


def test_warnings_point_to_the_line_of_the_user():
    near = np.array([[1.0, 0.0], [1.0, 1e-9], [0.0, 1.0]])
    kernels = NET.kernels(near)
    for call, kind in (
        (lambda: kc.held_out(NET, near, Y, X[:1, :2], Y[:1]), PrecisionWarning),
        (lambda: kc.mse_moments(kernels, [1.0, -1.0, 0.0], [np.inf]), PrecisionWarning),
        (lambda: warn_if_long(1e15, "this", "less"), SlowMethodWarning),
        (lambda: warn("plain", UserWarning), UserWarning),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [Path(one.filename).name for one in caught if one.category is kind] == [Path(__file__).name], kind


NO_NETWORK = [
    lambda net: kc.symbolic.equations("theta", net),
    lambda net: kc.symbolic.on_sphere("sigma", net),
    lambda net: kc.symbolic.kernel("theta", net),
    lambda net: kc.symbolic.finite_width("theta", net),
    lambda net: kc.finite_width(net, X),
    lambda net: kc.hessian_moments_at_width(net, X, Y, 10),
    lambda net: kc.predict(net, X, Y, width=8),
    lambda net: kc.held_out(net, X, Y, X, Y),
    lambda net: kc.learning_curves(net, X, Y, X, Y, [0.0]),
    lambda net: kc.nngp_posterior(net, X, Y, X),
    lambda net: predict_outputs(net, X, Y, X),
    lambda net: kc.validate(net, X, Y),
    lambda net: kc.distributed.kernels(net, X),
]


@pytest.mark.parametrize("net", [None, "tanh", 3, [1, 2]], ids=repr)
def test_what_is_no_network_is_named(net):
    for call in NO_NETWORK:
        with pytest.raises(InputError, match=f"expected a network, such as MLP.*, got {type(net).__name__}"):
            call(net)
