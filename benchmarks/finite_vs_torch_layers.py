"""Compare finite networks of any composition with PyTorch: outputs, gradients, Hessians and Tr Hf by double backward.

    python benchmarks/finite_vs_torch_layers.py

makes a virtual environment in a temporary folder, installs torch and the package there, runs both sides with the same
parameters, prints a table and exits with status 1 if anything differs by more than 1e-10 (relative to the largest entry).
``--keep FOLDER`` keeps the environment for the next run.
"""

from __future__ import annotations

import sys

from environment import ROOT, run_with
from record import Table

PACKAGES = ("torch==2.13.0", str(ROOT))
TOLERANCE = 1e-10


def cases():
    """Name, layers, shape of a point, outputs; and the same in torch as a function of (next weights, next biases, x)."""
    import kernelcalc as kc

    layers = kc.layers
    dense, conv, w, b = layers.Dense, layers.Conv, 1.2, 0.4
    return (
        ("residual", (dense(w, b), layers.Residual("tanh", dense(w, b), scale=0.6), "tanh", dense(w, b)), (5,), 2),
        ("LayerNorm", (dense(w, b), layers.LayerNorm(), "tanh", dense(w, b)), (5,), 1),
        (
            "pre-LN residual",
            (dense(w, b), layers.Residual(layers.LayerNorm(), "tanh", dense(w, b)), dense(w, b)),
            (5,),
            1,
        ),
        (
            "1-D circular, flatten",
            (conv(3, w, b), "tanh", conv(3, w, b), "tanh", layers.Flatten(), dense(w, b)),
            (6, 2),
            1,
        ),
        (
            "1-D valid, stride 2, pool",
            (conv(3, w, b, "valid", 2), "tanh", layers.AveragePool(2, 1), layers.Flatten(), dense(w, b)),
            (7, 2),
            2,
        ),
        (
            "2-D zeros, LayerNorm, global",
            (
                conv(3, w, b, "zeros"),
                layers.LayerNorm(),
                "tanh",
                conv(3, w, b, "zeros"),
                "tanh",
                layers.GlobalAverage(),
                dense(w, b),
            ),
            (4, 4, 1),
            1,
        ),
    )


def torch_layer(layer, x, parts):
    """One layer in torch, channels last outside and first inside its convolutions; ``parts`` yields weights and biases."""
    import torch
    from torch.nn import functional

    kind = type(layer).__name__
    if kind == "Nonlinearity":
        return torch.tanh(x)
    if kind == "LayerNorm":
        return functional.layer_norm(x, x.shape[-1:], eps=0.0)
    if kind == "Residual":
        y = x
        for one in layer.branch.layers:
            y = torch_layer(one, y, parts)
        return x + layer.scale * y
    if kind == "Flatten":
        return x.flatten(1)
    if kind == "GlobalAverage":
        return x.mean(dim=tuple(range(1, x.ndim - 1)))
    if kind == "AveragePool":
        return functional.avg_pool1d(x.movedim(-1, 1), layer.window, layer.stride).movedim(1, -1)
    weight, bias = next(parts), next(parts)
    c = layer.sigma_w / weight.shape[0] ** 0.5
    if kind == "Dense":
        return functional.linear(x, c * weight.T, layer.beta * bias)
    dims, window = x.ndim - 2, layer.window
    # (k n, m), offset by offset -> (m, n, window...)
    kernel = weight.reshape(*[window] * dims, x.shape[-1], -1)
    kernel = kernel.movedim(-1, 0).movedim(-1, 1)
    x = x.movedim(-1, 1)
    if layer.padding != "valid":
        mode = "circular" if layer.padding == "circular" else "constant"
        x = functional.pad(x, [(window - 1) // 2, window // 2] * dims, mode=mode)
    convolve = functional.conv1d if dims == 1 else functional.conv2d
    return convolve(x, c * kernel, layer.beta * bias, stride=layer.stride).movedim(1, -1)


def compare() -> int:
    """The table; 1 if anything differs."""
    import numpy as np
    import torch

    import kernelcalc as kc

    hessian = torch.autograd.functional.hessian
    torch.set_default_dtype(torch.float64)
    worst = 0.0
    names = ("f", "Df", "grad", "H", "Hv", "Tr Hf")
    columns = {"network": "", "parameters": "d"} | {f"{name} differs": ".0e" for name in names}
    table = Table("peer_torch_layers", columns, packages=("numpy", "torch"))
    for name, parts, shape, n_out in cases():
        net = kc.Sequential(*parts, n_out=n_out)
        fin = kc.FiniteNetwork.random(net, 4, shape, rng=0)
        rng = np.random.default_rng(1)
        x, y = rng.standard_normal((4, *shape)), rng.standard_normal((4, n_out))
        xt, yt = torch.tensor(x), torch.tensor(y)
        sizes = [array.shape for pair in zip(fin.weights, fin.biases, strict=True) for array in pair]

        def outputs(theta, net=net, sizes=sizes, xt=xt):
            cut = theta.split([int(np.prod(size)) for size in sizes])
            arrays, z = iter([part.reshape(size) for part, size in zip(cut, sizes, strict=True)]), xt
            for layer in net.layers:
                z = torch_layer(layer, z, arrays)
            return z

        def loss(theta, outputs=outputs, yt=yt):
            return ((outputs(theta) - yt) ** 2).sum() / (2 * len(yt))

        theta = torch.tensor(fin.parameters)
        traces = [
            [
                float(torch.autograd.functional.hessian(lambda t, s=s, a=a: outputs(t)[s, a], theta).trace())
                for a in range(n_out)
            ]
            for s in range(len(x))
        ]
        direction = rng.standard_normal(len(theta))
        pairs = {
            "f": (fin(x), outputs(theta).numpy()),
            "Df": (fin.jacobian(x), torch.autograd.functional.jacobian(outputs, theta).numpy()),
            "grad": (fin.gradient(x, y), torch.autograd.functional.jacobian(loss, theta).numpy()),
            "H": (fin.hessian(x, y), hessian(loss, theta).numpy()),
            "Hv": (
                fin.curvature(x, y).h @ direction,
                torch.autograd.functional.hvp(loss, theta, torch.tensor(direction))[1].numpy(),
            ),
            "Tr Hf": (fin.hessian_trace(x), np.array(traces)),
        }
        off = {what: float(np.abs(a - b).max() / np.abs(b).max()) for what, (a, b) in pairs.items()}
        worst = max(worst, *off.values())
        table.add(name, len(theta), *(off[what] for what in names))
    print(f"largest difference {worst:.1e} (limit {TOLERANCE:.0e})")
    return int(not worst <= TOLERANCE)


if __name__ == "__main__":
    sys.exit(run_with(__file__, PACKAGES, "finite networks of any composition against torch", compare))
