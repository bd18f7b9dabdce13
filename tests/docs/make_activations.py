"""The page docs/activations.md; ``python -m tests.docs.make_activations > docs/activations.md`` writes it."""

from __future__ import annotations

import kernelcalc as kc
from kernelcalc.activations.catalogue import ACTIVATIONS, REFUSED, canonical
from kernelcalc.kernels.state import KERNEL_NAMES

# ``torch.nn.modules.activation.__all__`` of PyTorch 2.13.0, in its order.
TORCH = [
    "Threshold",
    "ReLU",
    "RReLU",
    "Hardtanh",
    "ReLU6",
    "Sigmoid",
    "Hardsigmoid",
    "Tanh",
    "SiLU",
    "Mish",
    "Hardswish",
    "ELU",
    "CELU",
    "SELU",
    "GLU",
    "GELU",
    "Hardshrink",
    "LeakyReLU",
    "LogSigmoid",
    "Softplus",
    "Softshrink",
    "MultiheadAttention",
    "PReLU",
    "Softsign",
    "Tanhshrink",
    "Softmin",
    "Softmax",
    "Softmax2d",
    "LogSoftmax",
]
# ``dir(jax.nn)`` of JAX 0.4.23 without one_hot and initializers, and the activations that later versions have besides.
JAX = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_sign",
    "softmax",
    "softplus",
    "squareplus",
    "standardize",
    "swish",
    "tanh",
    "identity",
    "mish",
    "sparse_plus",
    "sparse_sigmoid",
]
SYMBOLS = dict(zip(KERNEL_NAMES, "ΣΘΦΛΥΞ", strict=True))
HEAD = "| name | here | function | expectations | kernels |\n|---|---|---|---|---|"
TEXT = """# Activations

<!-- written by python -m tests.docs.make_activations > docs/activations.md; a test fails where it is not current -->

Names are read without regard to case and `_`; parameters go by position or by their names in PyTorch and JAX,
`LeakyReLU(0.2)`, `leaky_relu(negative_slope=0.2)`, `softplus(beta=2)`. A closed form is one of E[σ(a)σ(b)] and E[σ'(a)σ'(b)]
for any covariance; without one they are series with an error bound, or quadratures near ρ = ±1. A nonlinearity with kinks has
Σ and Θ, one that jumps has Σ. What is no activation of this theory is refused with the reason given.
"""


def row(name: str, defaults: str = "") -> str:
    """One line of a table."""
    key = canonical(name)
    if key in REFUSED:
        return f"| `{name}` | – | refused: {REFUSED[key]} | – | – |"
    act = kc.activation(name + defaults)
    closed = all(
        kc.gaussian_expectation(f, f, 1.3, 0.7, 0.4, full_output=True).method == "exact"
        for f in (act, act.derivative())
    )
    kernels = " ".join(SYMBOLS[one] for one in kc.MLP(act, depth=2).names(None))
    text = ACTIVATIONS[key][1].replace("|", r"\|")
    return f"| `{name}{defaults}` | `{key}` | {text} | {'closed form' if closed else 'series'} | {kernels} |"


def page() -> str:
    """The whole page."""
    jax_gelu = ["gelu(approximate=tanh)" if name == "gelu" else name for name in JAX]
    others = [name for name in ACTIVATIONS if name not in {canonical(one) for one in (*TORCH, *JAX)}]
    parts = [TEXT]
    for title, names in (("torch.nn", TORCH), ("jax.nn", jax_gelu), ("Others", others)):
        rows = [row(*(name.replace("(", " (").split(" ", 1))) for name in names]
        parts.append("\n".join([f"## {title}\n", HEAD, *rows]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
