"""From limiting kernels to moments of the Hessian through training.

``moments`` chooses between ``mse`` (closed form, Corollary 1) and ``flow`` (any loss, Theorem 1, by ``integrator``);
``start`` is the Gaussian law of (Y(0), G(0)), ``law`` that of Tr S, Tr S² and the loss under MSE (``quadratic``,
``inversion``); ``weighted`` and ``sharpness`` are traces and largest eigenvalue of I; ``trajectory`` is the result,
``losses`` the losses, ``checks`` what is asked of kernels, labels and times. Imports kernels and what stands below it, and
output to draw a trajectory.
"""
