import math

import numpy as np
import pytest
import scipy.linalg

from kernelcalc.kernels.mlp import MLP
from kernelcalc.studies.spectrum import spectrum_of_i
from kernelcalc.training import sharpness as module
from kernelcalc.training.losses import resolve_loss
from kernelcalc.training.sharpness import condition_number, top_eigenvalue

RNG = np.random.default_rng(0)
X = np.random.default_rng(1).normal(size=(90, 5))


@pytest.mark.parametrize("n", [9, 90])  # 63 and 630 outputs that count: below and beyond the dense size
def test_softmax_against_the_whole_spectrum(n):
    kernels = MLP("erf", depth=3).kernels(X[:n])
    labels, outputs = np.arange(n) % 8, RNG.normal(size=(n, 8))
    h = resolve_loss("softmax").hessian(outputs, labels)
    values = spectrum_of_i(kernels, outputs, labels, "softmax").values
    assert top_eigenvalue(kernels.theta, h) == pytest.approx(values[0], rel=1e-10)
    # one zero for each point does not count
    assert condition_number(kernels.theta, h) == pytest.approx(values[0] / values[7 * n - 1], rel=1e-6)


def test_uncoupled_outputs():
    theta = np.diag([1.0, 2.0, 4.0])
    h = np.array([[1.0, 1.0], [1.0, 0.5], [1.0, 0.125]])
    assert top_eigenvalue(theta, h) == pytest.approx(4)
    assert condition_number(theta, h) == pytest.approx(8)


@pytest.mark.parametrize("dense", [600, 0])
def test_blocks_that_annihilate_nothing(monkeypatch, dense):
    """Beside the eigenvalues of Θ ⊗ 1 between roots of the blocks whose rows sum to as much as their entries or less."""
    monkeypatch.setattr(module, "_DENSE_OUTPUTS", dense)
    theta = MLP("erf", depth=2).kernels(X[:6]).theta
    h = np.array([[2.0, -1.0, 0.0], [-1.0, 2.0, -0.5], [0.0, -0.5, 1.0]]) * np.linspace(0.5, 2, 6)[:, None, None]
    whole = np.linalg.eigvals(scipy.linalg.block_diag(*h) @ np.kron(theta, np.eye(3))).real
    assert top_eigenvalue(theta, h) == pytest.approx(whole.max(), rel=1e-10)
    assert condition_number(theta, h) == pytest.approx(whole.max() / whole.min(), rel=1e-6)
    # outputs without blocks are each a matrix of their own, however many
    own = np.concatenate([np.linalg.eigvals(np.diag(column) @ theta).real for column in h[:, 0, :2].T ** 2])
    assert top_eigenvalue(theta, h[:, 0, :2] ** 2) == pytest.approx(own.max(), rel=1e-10)
    assert condition_number(theta, h[:, 0, :2] ** 2) == pytest.approx(own.max() / own.min(), rel=1e-6)


@pytest.mark.parametrize("n", [10, 80])
def test_a_singular_kernel_has_no_condition_number(n):
    points = X[:n].copy()
    points[-1] = points[0]
    theta = MLP("erf", depth=2).kernels(points).theta
    for loss, outputs in (("softmax", RNG.normal(size=(n, 9))), ("binary", RNG.normal(size=(n, 1)))):
        labels = np.arange(n) % (9 if loss == "softmax" else 2)
        assert condition_number(theta, resolve_loss(loss).hessian(outputs, labels)) == math.inf
