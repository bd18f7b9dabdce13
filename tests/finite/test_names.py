"""What a user finds under ``kernelcalc.finite``, and that it costs nothing before it is used."""

import subprocess
import sys

import pytest

import kernelcalc as kc


@pytest.mark.parametrize(
    "name",
    [
        "FiniteNetwork",
        "NetworkBatch",
        "HessianSplit",
        "HessianMoments",
        "hessian_moments",
        "eigenvalues",
        "extreme_eigenvalues",
        "spectral_density",
        "train",
        "train_ensemble",
        "moments_through_training",
        "kernels_through_training",
        "MomentRecord",
        "EigenvalueRecord",
        "run_trials",
        "trial_file",
        "Loss",
        "LOSSES",
    ],
)
def test_names(name):
    assert name in kc.finite.__all__
    assert name in dir(kc.finite)
    assert getattr(kc.finite, name).__doc__


@pytest.mark.parametrize(
    "module",
    ["curvature.spectrum", "curvature.moments", "training", "ensembles.ensemble", "ensembles.trials", "losses"],
)
def test_modules(module):
    assert getattr(kc.finite, module.split(".")[-1]).__name__ == f"kernelcalc.finite.{module}"


def test_all_of_it_is_there():
    assert all(hasattr(kc.finite, name) for name in kc.finite.__all__)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import kernelcalc", ["numpy", "kernelcalc.finite"]),
        (
            "import kernelcalc; kernelcalc.finite.curvature.spectrum.eigenvalues",
            ["sympy", "scipy", "kernelcalc.kernels.gram", "mpmath"],
        ),
    ],
)
def test_imports_are_light(code, absent):
    code += f"; import sys; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
