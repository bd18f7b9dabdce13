"""Values of the left column of docs/neural_tangents.md: run in an environment with neural-tangents to rewrite the file.

``python tests/docs/make_neural_tangents.py`` needs neural-tangents 0.6.5 (and what ``benchmarks/layers_vs_neural_tangents.py``
installs beside it), and not kernelcalc.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def main() -> None:
    """Evaluate every left cell."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import neural_tangents as nt
    from neural_tangents import stax
    from pages import rows

    rng = np.random.default_rng(0)
    vectors, line = (np.round(0.8 * rng.standard_normal(shape), 3) for shape in ((5, 3), (3, 6, 2)))
    y, z = np.round(rng.standard_normal((5, 1)), 3), np.round(rng.standard_normal((2, 3)), 3)

    def dense():
        return stax.Dense(512, W_std=1.1, b_std=0.3)

    def conv(window, padding):
        return stax.Conv(512, (window,), padding=padding, W_std=1.1, b_std=0.3)

    names = {"stax": stax, "nt": nt, "jnp": jnp, "jax": jax, "D": dense, "C": conv}
    names |= {"x": vectors, "y": y, "z": z, "kernel_fn": stax.serial(dense(), stax.Erf(), dense())[2]}
    found = {}
    for heading, left, _ in rows("neural_tangents.md"):
        if heading == "Predictions":
            found[left] = np.array(eval(left, names)).tolist()
            continue
        points = line if heading == "Points with positions" else vectors
        kernel = stax.serial(*eval(f"[{left}]", names), dense())[2](points, None, ("nngp", "ntk"))
        # JSON has no NaN
        pair = (np.array(kernel.nngp).astype(object), np.array(kernel.ntk).astype(object))
        found[left] = [np.where(part != part, None, part).tolist() for part in pair]
    source = "neural-tangents 0.6.5, jax 0.4.23, float64: tests/docs/make_neural_tangents.py"
    data = {"source": source, "vectors": vectors.tolist(), "line": line.tolist(), "y": y.tolist(), "z": z.tolist()}
    (HERE / "neural_tangents.json").write_text(json.dumps(data | {"values": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
