"""Docstrings of the front door: what raises stands there, and is raised."""

import inspect
import re

import numpy as np
import pytest

import kernelcalc as kc

FUNCTIONS = sorted(name for name in kc.__all__ if inspect.isfunction(getattr(kc, name)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_say_what_they_raise(name):
    text = inspect.getdoc(getattr(kc, name)) or ""
    section = re.search(r"^Raises\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert section, f"{name} has no section Raises"
    named = re.findall(r"\b\w+Error\b", section[1])
    assert named
    for error in named:
        assert hasattr(kc.errors, error) or error in {"ImportError", "TypeError", "OSError"}, error


NET = kc.MLP("erf", depth=2)
X, Y = np.eye(3), np.array([1.0, -1.0, 1.0])
K = NET.kernels(X)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: kc.predict(NET, X, [1.0, 2.0]), "ShapeError"),
        (lambda: kc.predict(NET, X * np.nan, Y), "NotFiniteError"),
        (lambda: kc.predict(NET, X, Y, descents=3, probability=2), "InputError"),
        (lambda: kc.largest_learning_rate(K.theta, np.zeros(3), np.zeros(2)), "ShapeError"),
        (lambda: kc.largest_learning_rate(K.theta, np.zeros(3), [0, 0, np.nan]), "NotFiniteError"),
        (lambda: kc.mse_law(K, Y[:2], 1.0), "ShapeError"),
        (lambda: kc.mse_law(K, Y, -1.0), "InputError"),
        (lambda: kc.mse_quantiles(K, Y, [1.0], "loss", [2.0]), "InputError"),
        (lambda: kc.mean_field_moments(K, [1.0, np.nan, 1.0]), "NotFiniteError"),
        (lambda: kc.phase_diagram("tanh", [-1.0], [0.0]), "InputError"),
        (lambda: kc.phase_diagram("tahn"), "UnknownNameError"),
        (lambda: kc.spectrum_of_i(K, np.zeros(2), np.zeros(2)), "ShapeError"),
    ],
)
def test_they_raise_what_they_say(call, error):
    with pytest.raises(getattr(kc.errors, error)) as found:
        call()
    assert type(found.value).__name__ == error
