"""Problems of several depths, numbers of outputs and losses."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stand_ins import RELU, Architecture, alternating

from kernelcalc.finite import FiniteNetwork

# depth, widths, n_out, loss, options
CASES = {
    "linear": (1, (), 2, "mse", {}),
    "one hidden": (2, (5,), 2, "softmax", {}),
    "two hidden": (3, (5, 4), 1, "mse", {}),
    "two hidden, no bias": (3, (4, 6), 3, "mse", {"beta": 0.0}),
    "two hidden, softmax": (3, (4, 5), 3, "softmax", {}),
    "two hidden, binary": (3, (5, 4), 1, "binary", {"sigma_w": 0.7}),
    "three hidden": (4, (5, 4, 3), 2, "mse", {}),
    "four hidden": (5, (4, 5, 3, 4), 2, "binary", {}),
    "relu": (4, (5, 4, 3), 2, "softmax", {"activations": (RELU,) * 3}),
}


def make_problem(name, n=6, n_in=3, dtype=np.float64):
    depth, widths, n_out, loss, options = CASES[name]
    rng = np.random.default_rng(5)
    X = rng.standard_normal((n, n_in))
    Y = {
        "mse": rng.standard_normal((n, n_out)),
        "binary": np.where(rng.standard_normal((n, n_out)) > 0, 1, -1),
        "softmax": rng.integers(0, n_out, n),
    }[loss]
    net = (
        Architecture(n_out=n_out, **options) if "activations" in options else alternating(depth, n_out=n_out, **options)
    )
    return FiniteNetwork.random(net, widths, n_in, rng=2, dtype=dtype), X, Y, loss


@pytest.fixture(params=CASES)
def problem(request):
    """(network, X, Y, loss)."""
    return make_problem(request.param)
