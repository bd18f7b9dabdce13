r"""Networks as formulas: :math:`α^{(k)}` behind every layer from :math:`α^{(k-1)}`, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.expressions.atoms import x
from kernelcalc.kernels.layers import Dense, Layer, LayerNorm, Nonlinearity, Residual, Scale, Serial, Sum
from kernelcalc.kernels.texts import number


def network_latex(layers: Sequence[Layer], n_out: int) -> str:
    r"""The recursion of a network, one line a layer, and what its nonlinearities are.

    Examples
    --------
    >>> print(network_latex([Dense(1.5, 0.0)], 1))
    $\displaystyle \begin{aligned}
    \alpha^{(0)} &= x \\
    f(x) &= \frac{1.5}{\sqrt{n}}\, W^{(1)T} \alpha^{(0)} \in \mathbb{R}^{1} \\
    W_{ij}, b_i &\sim \mathcal{N}(0, 1)
    \end{aligned}$
    """
    writer = _Writer()
    lines = [r"\alpha^{(0)} &= x"]
    for k, layer in enumerate(layers, start=1):
        before, here = f"\\alpha^{{({k - 1})}}", f"\\alpha^{{({k})}}" if k < len(layers) else "f(x)"
        lines.append(f"{here} &= {writer.formula(layer, before)}")
    lines[-1] += f" \\in \\mathbb{{R}}^{{{n_out}}}"
    lines += [f"{name}(x) &= {sp.latex(act.expr.subs(x, sp.Symbol('x')))}" for act, name in writer.names.items()]
    lines.append(r"W_{ij}, b_i &\sim \mathcal{N}(0, 1)")
    return "$\\displaystyle \\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}$"


class _Writer:
    """Numbers the weights and names the nonlinearities on the way."""

    def __init__(self) -> None:
        self.weights = 0
        self.names: dict[Activation, str] = {}

    def formula(self, layer: Layer, of: str) -> str:
        """The layer applied to what ``of`` says."""
        if isinstance(layer, Dense):
            return self._dense(layer, of)
        if isinstance(layer, Nonlinearity):
            name = self.names.setdefault(layer.activation, f"\\sigma_{{{len(self.names) + 1}}}")
            return f"{name}\\left({of}\\right)"
        if isinstance(layer, LayerNorm):
            return f"\\frac{{\\sqrt{{n}}\\, {_whole(of)}}}{{\\lVert {of} \\rVert}}"
        if isinstance(layer, Scale):
            return f"{number(layer.factor)}\\, {_whole(of)}"
        if isinstance(layer, Residual):
            branch = self.formula(layer.branch, of)
            return f"{of} + {branch}" if layer.scale == 1 else f"{of} + {number(layer.scale)}\\, {_whole(branch)}"
        if isinstance(layer, Sum):
            return " + ".join(self.formula(branch, of) for branch in layer.layers)
        if isinstance(layer, Serial):
            for part in layer.layers:
                of = self.formula(part, of)
            return of
        return f"\\mathrm{{{type(layer).__name__}}}({of})"

    def _dense(self, layer: Dense, of: str) -> str:
        self.weights += 1
        text = f"\\frac{{{number(layer.sigma_w)}}}{{\\sqrt{{n}}}}\\, W^{{({self.weights})T}} {_whole(of)}"
        if layer.beta:
            text += f" + {number(layer.beta)}\\, b^{{({self.weights})}}"
        return text


def _whole(text: str) -> str:
    """In brackets where it is a sum."""
    return f"\\left({text}\\right)" if " + " in text else text
