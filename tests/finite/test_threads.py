"""How many threads of BLAS finite networks take: one for the small products they are made of, whatever the caller has set."""

import numpy as np
import pytest
import scipy.linalg  # noqa: F401  SciPy has a BLAS of its own, which has to be there before threads are counted
from threadpoolctl import threadpool_info, threadpool_limits

import kernelcalc as kc

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(64, 196)), RNG.normal(size=64)


class Watching:
    """tanh, which notes how many threads BLAS has when it is called."""

    def __init__(self, seen):
        self.seen = seen

    def __call__(self, values):
        self.seen.add(max(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"))
        return np.tanh(values)

    def derivative(self, k):
        functions = {1: lambda z: 1 - np.tanh(z) ** 2, 2: lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2)}
        return functions[k]


@pytest.mark.parametrize("options", [{"method": "gd", "step": 0.1}, {"method": "sgd", "step": 0.1}, {"method": "flow"}])
def test_training_takes_one_thread(options):
    seen = set()
    widths = (196, 256, 256, 1)
    fin = kc.FiniteNetwork(
        weights=[RNG.normal(size=(n, m)) for n, m in zip(widths, widths[1:], strict=False)],
        biases=[RNG.normal(size=m) for m in widths[1:]],
        activations=[Watching(seen), Watching(seen)],
    )
    with threadpool_limits(2, user_api="blas"):
        fin.train(X, Y, [0.2] if options["method"] != "flow" else [1e-3], **options)
        after = {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}
    assert seen == {1}
    assert after == {2}
