"""Numbers of parameters beside those of the finite networks themselves, which count on their own."""

import numpy as np
import pytest

from kernelcalc.errors import InputError, ShapeError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.kernels.layers import AveragePool, Conv, Dense, Flatten, GlobalAverage, LayerNorm, Residual
from kernelcalc.kernels.mlp import Sequential
from kernelcalc.kernels.sizes import weight_sizes, weighted

NETWORKS = {
    "residual": (Sequential(Dense(), Residual(LayerNorm(), "tanh", Dense()), "tanh", Dense(), n_out=2), (5,)),
    "flatten": (Sequential(Conv(3), "tanh", Conv(2, padding="valid", stride=2), "tanh", Flatten(), Dense()), (8, 3)),
    "pool": (
        Sequential(Conv((3, 1)), "tanh", AveragePool(2), Conv(1), Residual("tanh", Conv(2)), GlobalAverage(), Dense()),
        (4, 6, 2),
    ),
}


@pytest.mark.parametrize(("net", "shape"), NETWORKS.values(), ids=NETWORKS)
def test_as_many_parameters_as_the_finite_network(net, shape):
    fin = FiniteNetwork.random(net, 7, shape, rng=0)
    sizes = weight_sizes(net.layers, shape, [7] * (len(weighted(net.layers)) - 1) + [net.n_out])
    assert [w.shape for w in fin.weights] == sizes
    assert sum((n + 1) * m for n, m in sizes) == fin.n_parameters == np.size(fin.parameters)


def test_named_errors():
    layers = NETWORKS["flatten"][0].layers
    with pytest.raises(InputError, match="2 positive hidden widths"):
        weight_sizes(layers, (8, 3), (4, 1))
    with pytest.raises(ShapeError, match="stride"):
        weight_sizes(layers, (7, 3), (4, 4, 1))
