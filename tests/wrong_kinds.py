"""Every public callable with arguments that it takes, and each of them in turn of a wrong kind.

``python -m tests.wrong_kinds`` lists what answers otherwise than by a named error.
"""

import functools
import inspect
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import kernelcalc as kc
from kernelcalc.errors import KernelcalcError

WRONG = {
    "None": None,
    "3.5": 3.5,
    "text": "text",
    "[1, 2]": [1, 2],
    "object": object(),
    "empty": np.empty(0),
    "{}": {},
}

X = np.array([[1.0, 0.2], [0.3, -1.0], [-0.5, 0.8]])
Y = np.array([1.0, -1.0, 1.0])
NET = kc.MLP("tanh", 2)
RELU = kc.MLP("relu", 2)
_TEMPORARY = tempfile.TemporaryDirectory()
FOLDER = Path(_TEMPORARY.name)
# *layers, *branches, *block
GATHERED = ("layers", "branches", "branch", "block")


@functools.cache
def kernels():
    return NET.kernels(X)


@functools.cache
def dask_kernels():
    return NET.kernels(X, engine="dask")


@functools.cache
def network():
    return kc.FiniteNetwork.random(NET, widths=(3,), n_in=2, rng=0)


@functools.cache
def split():
    return kc.finite.HessianSplit.of(network(), X, Y)


@functools.cache
def trajectory():
    return kc.mse_moments(kernels(), Y, [0.0, 1.0])


@functools.cache
def batch():
    return kc.finite.NetworkBatch.random(NET, 2, widths=(3,), n_in=2)


@functools.cache
def moments():
    return kc.finite.moments_through_training(NET, X, Y, [0.0], width=3, trials=2)


@functools.cache
def spectrum():
    return kc.spectrum_of_i(kernels(), Y, Y)


@functools.cache
def matrix():
    return dask_kernels().theta


# What a parameter of this name takes, where the function below says nothing else.
BY_NAME = {
    "X": lambda: X,
    "Y": lambda: Y,
    "y": lambda: Y,
    "X_test": lambda: X[:2],
    "Y_test": lambda: Y[:2],
    "net": lambda: NET,
    "kernels": kernels,
    "times": lambda: [0.0, 1.0],
    "time": lambda: 1.0,
    "activation": lambda: "tanh",
    "theta": lambda: kernels().theta,
    "outputs": lambda: Y,
    "expr": lambda: kc.symbolic.q,
    "width": lambda: 4,
    "widths": lambda: (4,),
    "n": lambda: 12,
    "operator": lambda: split().operator("h"),
    "matrix": matrix,
}


class Lazy:
    """An argument that is made when the call is made."""

    def __init__(self, make):
        self.make = make


def call(name, /, **arguments):
    """Of the front door: its name as a user types it, and what its parameters take where BY_NAME says otherwise."""
    found = kc
    for part in name.split("."):
        found = getattr(found, part)
    return name, found, arguments


def method(make, name, /, **arguments):
    """A method of an object."""
    found = getattr(make(), name)
    return f"{type(make()).__name__}.{name}", found, arguments


class NoRecord:
    settings = dict

    def for_trial(self, seed):
        return self

    def __call__(self, net, time):
        return {}


def calls():
    """All of them."""
    figure_axes = axes()
    named = [
        call("Activation", expression="tanh(x)"),
        call("Descent", step=0.1),
        call("MLP", activation="tanh"),
        call("activation", name="tanh"),
        call("activations.as_activation", value="tanh"),
        call("catalogue.from_text", text="tanh(x)"),
        call("convex_loss", c="(y - t)**2"),
        call("datasets.are_classes", y=np.array([0, 1])),
        call("datasets.balanced", y=[0, 1, 1], per_class=1),
        call("datasets.choose", y=[0, 1, 1, 0], n=2),
        call("datasets.gaussian_clusters"),
        call("datasets.has_classes", y=[0, 1]),
        call("datasets.label_vector", y=[0, 1]),
        call("datasets.load", source="digits"),
        call("datasets.mnist14", n=4),
        call("datasets.mnist28", n=4),
        call("datasets.one_hot", y=[0, 1]),
        call("datasets.parity", y=[0, 1]),
        call("datasets.random_patterns"),
        call("datasets.rescale", scale="sphere"),
        call("datasets.split", y=[0, 1, 1, 0], n_test=2),
        call("datasets.two_blobs", n=4),
        call("distributed.initial_moments", kernels=dask_kernels),
        call("distributed.kernel_operator"),
        call("distributed.kernels"),
        call("distributed.open_kernels", path=FOLDER / "no kernels"),
        call("distributed.top_eigenvalues", count=1),
        call("distributed.trace_moments"),
        call("distributed.write_kernels", path=FOLDER / "kernels"),
        call("mse_law"),
        call("mse_quantiles", moment="loss"),
        call(
            "FiniteNetwork",
            weights=[np.ones((2, 3)), np.ones((3, 1))],
            biases=[np.ones(3), np.ones(1)],
            activations=NET.activations,
        ),
        call("FiniteNetwork.random", widths=(3,), n_in=2),
        call("finite.EigenvalueRecord"),
        call("finite.FiniteMoments.from_samples", times=[0.0], samples=lambda: moments().samples),
        call("finite.HessianSplit.of", net=network),
        call("finite.CurvatureOperator", split=split, part="h"),
        call("finite.MomentRecord"),
        call("finite.NetworkBatch.random", size=2, widths=(3,), n_in=2),
        call("finite.eigenvalues"),
        call("finite.extreme_eigenvalues", count=1),
        call("finite.hessian_moments", net=network),
        call("finite.kernels_through_training", trials=1),
        call("finite.moments_through_training", trials=1),
        call("finite.run_trials", trial=lambda: str, trials=1),
        call("finite.spectral_density"),
        call("finite.train", net=network),
        call("finite.train_ensemble", trials=1, record=NoRecord),
        call("finite.trial_file", folder=FOLDER, name="trials", settings={}, rng=0),
        call("finite_width"),
        call("gaussian_expectation", f="tanh", g="erf", q1=1.0, q2=1.0, c=0.5),
        call("held_out"),
        call("hessian_moments", samples=2),
        call("hessian_moments_at_width"),
        call("largest_learning_rate"),
        call("layers.AveragePool", window=2),
        call("layers.Conv", window=3),
        call("layers.Nonlinearity", activation="tanh"),
        call("layers.Residual", branch=("tanh", kc.layers.Dense())),
        call("layers.Scale", factor=2.0),
        call("layers.Serial", layers=("tanh",)),
        call("layers.Sum", branches=("tanh", kc.layers.Serial("tanh", kc.layers.Dense()))),
        call("layers.as_layer", layer="tanh"),
        call("Sequential", layers=(kc.layers.Dense(), "tanh", kc.layers.Dense())),
        call("learning_curves", samples=2),
        call("load", path=FOLDER / "nothing"),
        call("losses.curvature_sqrt", h=np.ones((3, 1)), has_blocks=False),
        call("losses.resolve_loss", loss="mse"),
        call("mean_field_moments"),
        call("mse_moments"),
        call("nngp_posterior"),
        call("phase.critical_line"),
        call("phase.critical_weights", beta=0.5),
        call("phase.depth_profile", depths=[1, 2]),
        call("phase.fixed_points"),
        call("phase.normalized_position"),
        call("phase_diagram", sigma_w=[1.0, 2.0], beta=[0.1]),
        call("plot.curves_figure", shown=lambda: [("tanh", trajectory(), None)]),
        call("plot.plot_finite", moments=moments, ax=figure_axes),
        call("plot.plot_moments", trajectory=trajectory, ax=figure_axes),
        call("plot.plot_start", moments=at_start, ax=figure_axes),
        call("predict", width=8),
        call("predict_outputs"),
        call("spectrum.bbp_outlier", spike=2.0, gamma=0.5),
        call("spectrum.bulk_scale", trace_s2=1.0),
        call("spectrum.cluster_spectrum", hessian=np.ones(3), clusters=[0, 0, 1]),
        call("spectrum.count_outliers", values=[3.0, 1.0, 1.0]),
        call("spectrum.marchenko_pastur_density", x=[1.0], gamma=0.5),
        call("spectrum.marchenko_pastur_edges", gamma=0.5),
        call("spectrum.rank_bound_i", n_out=1),
        call("spectrum.rank_bound_s"),
        call("spectrum.solution_dimension", parameters=100, n_out=1),
        call("spectrum_of_i"),
        call("stack_phase", block=("tanh", kc.layers.Dense())),
        call("stack_profile", block=("tanh", kc.layers.Dense()), depths=[1, 2]),
        ("symbolic.BinormalCDF", lambda h, k, rho: kc.symbolic.BinormalCDF(h, k, rho), {"h": 1, "k": 0, "rho": 0}),
        call("symbolic.GaussianExpectation", f="tanh", g="tanh"),
        ("symbolic.OwensT", lambda h, a: kc.symbolic.OwensT(h, a), {"h": 1, "a": 0}),
        call("symbolic.at_rho_one"),
        call("symbolic.equations", name="theta"),
        call("symbolic.exact_expectation", f="x", g="x"),
        call("symbolic.finite_width", name="sigma"),
        call("symbolic.hermite_coefficient", f="x", k=1),
        call("symbolic.kernel", name="theta"),
        call("symbolic.mercer", h=kc.symbolic.rho, dimension=3),
        call("symbolic.multiplicity", dimension=3, k=2),
        call("symbolic.on_sphere", name="theta", net=RELU),
        call("symbolic.source"),
        call("symbolic.taylor", symbol=kc.symbolic.q, order=2),
        call("symbolic.to_numpy"),
        call("tangent_drift", networks=2, time=1.0),
        call("torch.finite_network", model=None),
        call("torch.from_torch", model=None),
        call("torch.to_torch", fin=network),
        call("train_along", direction=lambda: direction),
        call("training_times"),
        call("validate", trials=2, times=(0.0,)),
    ]
    return named + methods(figure_axes)


def methods(figure_axes):
    """Those of objects that a function above makes, and of losses."""
    found = [method(lambda: NET, "replace"), method(lambda: NET, "kernels")]
    found += [
        method(network, name) for name in ("curvature", "gradient", "hessian", "hessian_moments", "hessian_trace")
    ]
    found += [method(network, name) for name in ("jacobian", "loss", "ntk", "output_hessian", "train")]
    found += [
        method(lambda: kc.activation("tanh"), "derivative", k=1),
        method(lambda: kc.Descent(0.1), "at", times=np.array([0.0, 1.0])),
        method(lambda: kc.Descent(0.1), "modes", values=np.array([1.0]), n=1, times=np.array([0.0, 1.0])),
        method(split, "images", vectors=lambda: np.ones((1, 13))),
        method(split, "operator", part="h"),
        method(split, "product", vectors=lambda: np.ones((1, 13))),
        method(batch, "descend", steps=1, step=0.1),
        method(batch, "flow"),
        method(batch, "gradient"),
        method(batch, "hessian_moments"),
        method(batch, "loss"),
        method(batch, "ntk"),
        method(density, "density", grid=[1.0], width=0.1),
        method(density, "moment", k=1),
        method(spectrum, "moment", k=1),
        method(spectrum, "outliers"),
        method(pairs, "others", squared_norm=10.0),
        method(traces, "trace_i"),
        method(trajectory, "plot", ax=figure_axes),
        method(lambda: kc.symbolic.GaussianExpectation("tanh", "tanh"), "hermite_series", n=1),
        method(kernels, "save", path=FOLDER / "kernels.npz"),
    ]
    for loss in ("mse", "softmax", "binary"):
        targets, outputs = ([0, 1, 2], np.eye(3)) if loss == "softmax" else ([1.0, 0.0, 1.0], Y)
        made = functools.partial(kc.losses.resolve_loss, loss)
        for name in ("value", "gradient", "hessian", "hessian_sqrt"):
            found.append(method(made, name, outputs=outputs, Y=targets))
        found.append(method(made, "hessian_product", outputs=outputs, Y=targets, vector=outputs))
        found.append(method(made, "encode", Y=targets))
    return found


def direction(t):
    return np.eye(3)[0]


def axes():
    from matplotlib.figure import Figure

    return Figure().add_subplot()


def at_start():
    return SimpleNamespace(width=8, trace_i=1.0, trace_h=1.0, trace_i2=1.0, trace_h2=1.0, trace_i_std=0.1)


@functools.cache
def density():
    return kc.finite.spectral_density(split().operator("h"), steps=4, probes=1)


@functools.cache
def pairs():
    return kc.distributed.top_eigenvalues(matrix(), count=1)


@functools.cache
def traces():
    return kc.distributed.trace_moments(matrix())


def required(function):
    """Names of the parameters without a default."""
    return [name for name, about in inspect.signature(function).parameters.items() if about.default is about.empty]


def outcome(function, arguments):
    """The exception of the call, or None."""
    arguments = {
        k: v() if type(v).__name__ in ("function", "_lru_cache_wrapper", "type") else v for k, v in arguments.items()
    }
    positional = []
    for name, about in inspect.signature(function).parameters.items():
        if about.kind is about.VAR_POSITIONAL and name in arguments:
            given = arguments.pop(name)
            positional += given if isinstance(given, tuple) else (given,)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            function(*positional, **arguments)
        except Exception as error:
            return error
    return None


def full(function, arguments):
    """The arguments, with those of BY_NAME."""
    missing = [name for name in required(function) if name not in arguments and name in BY_NAME]
    return {**arguments, **{name: BY_NAME[name] for name in missing}}


def swept(function):
    """Parameters and the wrong kinds for each; what gathers several is left to the functions that it is handed to.

    A default is no wrong kind.
    """
    gathers = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    for name, about in inspect.signature(function).parameters.items():
        if about.kind in gathers and name not in GATHERED:
            continue
        yield name, {kind: wrong for kind, wrong in WRONG.items() if wrong is not about.default}


def report():
    """Prints every call with an exception that is none of the package's own."""
    for name, function, given in calls():
        arguments = full(function, given)
        for parameter, kinds in swept(function):
            for kind, wrong in kinds.items():
                error = outcome(function, {**arguments, parameter: wrong})
                if error is not None and not isinstance(error, KernelcalcError):
                    print(f"{name}({parameter}={kind}): {error!r:.150}")


if __name__ == "__main__":
    report()
