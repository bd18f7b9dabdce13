"""Predictions of neural-tangents for ``peer_predictions.json``: run in an environment that has it to rewrite the file.

``python tests/studies/make_peer_predictions.py`` needs neural-tangents 0.6.5 (jax 0.4.23), and not kernelcalc.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
# (diag_reg, absolute?)
RIDGES = ((0.0, False), (0.03, False), (0.03, True))
TIMES = (0.5, 20.0, None)


def main() -> None:
    """Evaluate both predict functions."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import neural_tangents as nt
    from neural_tangents import stax

    rng = np.random.default_rng(3)
    x, new = (np.round(rng.standard_normal((n, 4)), 3) for n in (7, 3))
    y = np.round(rng.standard_normal((7, 2)), 3)
    layers = [stax.Dense(1, W_std=1.2, b_std=0.3), stax.Erf()]
    kernel_fn = stax.serial(*layers, *layers, stax.Dense(1, W_std=1.2, b_std=0.3))[2]
    found = []
    for reg, absolute in RIDGES:
        options = {"diag_reg": reg, "diag_reg_absolute_scale": absolute}
        ensemble = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x, y, **options)
        both = kernel_fn(x, None, ("nngp", "ntk"))
        gp = nt.predict.gp_inference(both, y, **options)
        k_test = kernel_fn(new, x, ("nngp", "ntk"))
        for get in ("ntk", "nngp"):
            posterior = gp(get, k_test, kernel_fn(new, None, "nngp"))
            for t in TIMES:
                # its loss is the mean over points and outputs
                out = ensemble(t=t if t is None else t * y.shape[1], x_test=new, get=get, compute_cov=True)
                if t is None:
                    assert np.allclose(out.mean, posterior.mean)
                    assert np.allclose(out.covariance, posterior.covariance)
                found.append(
                    {
                        "get": get,
                        "time": t,
                        "diag_reg": reg,
                        "absolute": absolute,
                        "mean": np.array(out.mean).tolist(),
                        "covariance": np.array(out.covariance).tolist(),
                    }
                )
    source = "neural-tangents 0.6.5, jax 0.4.23, float64: tests/studies/make_peer_predictions.py"
    data = {"source": source, "x": x.tolist(), "y": y.tolist(), "x_test": new.tolist(), "values": found}
    (HERE / "peer_predictions.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
