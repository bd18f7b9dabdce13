"""What a user may write, with four mistakes that a type checker has to find; everything else it has to accept.

Read by test_types.py, never run.
"""

import numpy as np

import kernelcalc as kc


def script() -> None:
    """One session."""
    X, labels = kc.datasets.mnist14()
    net = kc.MLP("tanh", depth=3, sigma_w=1.2, beta=0.1)
    K = net.kernels(X)
    theta: np.ndarray = K.theta
    names: list[str] = list(K)
    theta = K["theta"]
    traj = kc.mse_moments(K, kc.datasets.parity(labels), times=[0, 1, 10])
    first: float = float(traj.trace_h[0, 0])
    fin = kc.FiniteNetwork.random(net, (64, 64), n_in=196, rng=0)
    same: bool = net == net.replace(depth=4)
    law = kc.distribution.mse_law(K, labels, 1.0, "loss")
    median: float = law.mean
    print(theta, names, first, fin, same, median)

    kc.nosuch()  # mistake: no such name
    kc.MLP("tanh", dept=3)  # mistake: a misspelt keyword
    kc.MLP("tanh", depth="three")  # mistake: a wrong type
    print(K.thetta)  # mistake: a misspelt kernel
