"""What is given to a public function in the place of something else is refused by a named error, or is of use to it."""

import inspect

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import KernelcalcError
from tests.public_api import functions
from tests.wrong_kinds import calls, full, outcome, required, swept

CALLS = {name: (function, full(function, arguments)) for name, function, arguments in calls()}
# Nothing but None is of no use to anyone; these keep it to the end, or have a meaning for it.
KEEPS_NONE = {
    "finite.EigenvalueRecord",
    "finite.FiniteMoments.from_samples",
    "finite.MomentRecord",
    "finite.trial_file",
}
# Their examples answer by an error at once: a file that is not there, a package that is not installed.
NOT_THERE = {
    "datasets.load",
    "distributed.open_kernels",
    "finite.run_trials",
    "finite.train_ensemble",
    "load",
    "torch.finite_network",
    "torch.from_torch",
    "torch.to_torch",
}
# Called by the recursion over layers, by pickles and pages, or made by a function that is called here.
OTHERS = {
    "catalogue.activation",
    "catalogue.as_activation",
    "distribution.mse_law",
    "distribution.mse_quantiles",
    "losses.convex_loss",
    "phase.phase_diagram",
    "spectrum.spectrum_of_i",
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_kinds_are_refused_by_name(name, tmp_path, monkeypatch):
    # one of the wrong kinds is a name of a folder
    monkeypatch.chdir(tmp_path)
    function, arguments = CALLS[name]
    if name not in NOT_THERE:
        assert outcome(function, arguments) is None
    needed = required(function)
    for parameter, kinds in swept(function):
        for kind, wrong in kinds.items():
            error = outcome(function, {**arguments, parameter: wrong})
            assert error is None or isinstance(error, KernelcalcError), (parameter, kind, error)
            if parameter in needed and kind in ("None", "object") and name not in KEEPS_NONE:
                assert error is not None, (parameter, kind)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("TraceMoments.trace_i", {"n_out": 3.5}, "n_out"),
        ("distributed.top_eigenvalues", {"max_passes": 3.5}, "max_passes"),
        ("distributed.top_eigenvalues", {"tol": 1.0}, "tol"),
        ("distributed.trace_moments", {"rank": 3.5}, "rank"),
        ("distributed.trace_moments", {"kmax": 3.5}, "kmax"),
        ("distributed.trace_moments", {"kmax": 5}, "kmax"),
        ("distributed.trace_moments", {"probes": 1}, "probes"),
        ("predict", {"samples": "text"}, "samples"),
        ("predict", {"width": 3.5}, "width"),
        ("predict", {"probability": 1.5}, "probability"),
        ("predict", {"rng": "text"}, "rng"),
        ("held_out", {"rng": "text"}, "rng"),
        ("distributed.trace_moments", {"exact": True, "rng": "text"}, "rng"),
        ("gaussian_expectation", {"certified": "no"}, "certified, True or False"),
        ("gaussian_expectation", {"full_output": np.array([True, False])}, "full_output, True or False"),
        ("datasets.load", {"header": "yes"}, "header, True or False"),
        ("finite.MomentRecord", {"kmax": 0}, "kmax"),
        ("finite.MomentRecord", {"probes": "text"}, "probes"),
        ("finite.MomentRecord", {"loss": "nothing"}, "loss"),
        ("finite.MomentRecord", {"X": [[np.nan]]}, "X"),
        ("finite.EigenvalueRecord", {"which": "text"}, "end of the spectrum"),
        ("finite.EigenvalueRecord", {"part": "text"}, "part of the Hessian"),
        ("finite.EigenvalueRecord", {"count": 0}, "count"),
        ("finite.EigenvalueRecord", {"tol": -1.0}, "tol"),
        ("spectrum.count_outliers", {"cutoff": "text"}, "cutoff"),
        ("Spectrum.outliers", {"cutoff": [1, 2]}, "cutoff"),
        ("held_out", {"samples": "text"}, "samples"),
        ("convex_loss", {"first": object()}, "first"),
        ("symbolic.BinormalCDF", {"rho": 2}, "rho"),
        ("symbolic.BinormalCDF", {"rho": -1.5}, "rho"),
        ("symbolic.exact_expectation", {"orders": (1, 2, 0)}, "orders"),
        ("plot.plot_moments", {"quantiles": [(np.zeros(2), np.ones(2))]}, "quantiles"),
        ("plot.curves_figure", {"at_width": [None, None]}, "at_width"),
    ],
)
def test_what_would_mean_nothing_is_refused(name, wrong, message):
    function, arguments = CALLS[name]
    with pytest.raises(KernelcalcError, match=message):
        raise outcome(function, {**arguments, **wrong})


def test_all_public_functions_are_called():
    """Those with a required argument; results, protocols and errors are not made by hand."""
    missing = set()
    for name, found in functions():
        part = name.removeprefix("kc.")
        if not inspect.isfunction(found) or part.startswith("errors."):
            continue
        needed = [one for one, about in inspect.signature(found).parameters.items() if about.default is about.empty]
        if needed and part not in CALLS | dict.fromkeys(OTHERS):
            missing.add(part)
    assert missing == set()


def test_text_is_never_evaluated(tmp_path):
    """SymPy's own reading of texts runs them as Python."""
    spoiled = tmp_path / "spoiled"
    text = f"open({str(spoiled)!r}, 'w')"
    for call in (
        lambda: kc.symbolic.BinormalCDF(text, 0, 0),
        lambda: kc.symbolic.OwensT(1, text),
        lambda: kc.symbolic.at_rho_one(text),
        lambda: kc.symbolic.taylor(text, kc.symbolic.c, 1),
        lambda: kc.symbolic.taylor(kc.symbolic.c, text, 1),
        lambda: kc.symbolic.source(text),
        lambda: kc.symbolic.to_numpy(text),
        lambda: kc.symbolic.mercer(text, 3),
    ):
        with pytest.raises(KernelcalcError):
            call()
    assert not spoiled.exists()
