"""Plain activations with hand-written derivatives, and architectures that are nothing but attributes."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Table:
    """An activation given as table of functions: the k-th entry is the k-th derivative."""

    functions: tuple
    order: int = 0

    def __call__(self, x):
        return self.functions[self.order](x)

    def derivative(self, k):
        return Table(self.functions, self.order + k)


def _sech2(x):
    return 1 - np.tanh(x) ** 2


def _tanh_second(x):
    return -2 * np.tanh(x) * _sech2(x)


# tanh instead of logaddexp and expit, as it also takes complex numbers
def _softplus(x):
    return np.log(1 + np.exp(x))


def _logistic(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def _logistic_slope(x):
    return 0.25 * _sech2(0.5 * x)


def _relu(x):
    return x * (x > 0)


def _step(x):
    return (x > 0) * 1.0


def _zero(x):
    return 0.0 * x


TANH = Table((np.tanh, _sech2, _tanh_second))
SOFTPLUS = Table((_softplus, _logistic, _logistic_slope))
RELU = Table((_relu, _step, _zero))


@dataclass(frozen=True)
class Architecture:
    """The attributes a finite network reads from an architecture."""

    activations: tuple = (TANH, SOFTPLUS)
    sigma_w: float = 1.3
    beta: float = 0.3
    n_out: int = 1
    depth: int = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "depth", len(self.activations) + 1)


def alternating(depth, **options):
    """Hidden layers with tanh and softplus in turn."""
    return Architecture(activations=(TANH, SOFTPLUS, TANH, SOFTPLUS, TANH)[: depth - 1], **options)
