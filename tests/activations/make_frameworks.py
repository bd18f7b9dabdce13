"""Values of PyTorch's and JAX's activations, without kernelcalc: run in an environment with either to rewrite its half.

``python tests/activations/make_frameworks.py torch`` or ``... jax`` fills that half of frameworks.json: the text that is typed
here, and the library's float64 values at the points.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "frameworks.json"
# Kinks of the piecewise ones among them, but where they jump.
POINTS = [-700.0, -40.0, -6.0, -3.0, -2.0, -1.0, -0.3, -1e-8, 0.0, 1e-3, 0.2, 0.7, 1.0, 2.0, 3.0, 6.0, 25.0, 700.0]
TORCH = {
    **{name: (name, {}) for name in ("CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh")},
    **{name: (name, {}) for name in ("LeakyReLU", "LogSigmoid", "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU")},
    **{name: (name, {}) for name in ("Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink")},
    "CELU(alpha=2)": ("CELU", {"alpha": 2.0}),
    "ELU(alpha=0.5)": ("ELU", {"alpha": 0.5}),
    'gelu(approximate="tanh")': ("GELU", {"approximate": "tanh"}),
    "Hardshrink(lambd=0.25)": ("Hardshrink", {"lambd": 0.25}),
    "Hardtanh(min_val=-2, max_val=1)": ("Hardtanh", {"min_val": -2.0, "max_val": 1.0}),
    "LeakyReLU(negative_slope=0.25)": ("LeakyReLU", {"negative_slope": 0.25}),
    "Softplus(beta=2)": ("Softplus", {"beta": 2.0}),
    "Softshrink(lambd=0.25)": ("Softshrink", {"lambd": 0.25}),
    "Threshold(threshold=0.1, value=-2)": ("Threshold", {"threshold": 0.1, "value": -2.0}),
}
JAX = {
    **{
        name: (name, {})
        for name in ("celu", "elu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu")
    },
    **{
        name: (name, {})
        for name in ("log_sigmoid", "relu", "relu6", "selu", "sigmoid", "silu", "soft_sign", "softplus")
    },
    **{name: (name, {}) for name in ("squareplus", "swish", "tanh")},
    "gelu(approximate=tanh)": ("gelu", {"approximate": True}),
    "gelu": ("gelu", {"approximate": False}),
    "celu(alpha=2)": ("celu", {"alpha": 2.0}),
    "elu(alpha=0.5)": ("elu", {"alpha": 0.5}),
    "leaky_relu(negative_slope=0.25)": ("leaky_relu", {"negative_slope": 0.25}),
    "squareplus(b=1)": ("squareplus", {"b": 1.0}),
}


def of_torch() -> tuple[str, dict[str, list[float]]]:
    """Version, and the values of the modules."""
    import torch

    points = torch.tensor(POINTS, dtype=torch.float64)
    values = {
        text: getattr(torch.nn, name)(**options).double()(points).tolist() for text, (name, options) in TORCH.items()
    }
    return torch.__version__.split("+")[0], values


def of_jax() -> tuple[str, dict[str, list[float]]]:
    """Version, and the values of the functions."""
    import jax

    jax.config.update("jax_enable_x64", True)
    points = jax.numpy.array(POINTS)
    values = {
        text: np.array(getattr(jax.nn, name)(points, **options)).tolist() for text, (name, options) in JAX.items()
    }
    return jax.__version__, values


if __name__ == "__main__":
    library = sys.argv[1]
    version, values = {"torch": of_torch, "jax": of_jax}[library]()
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    kept["points"] = POINTS
    kept[library] = {"source": f"{library} {version}, float64", "values": values}
    FILE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
