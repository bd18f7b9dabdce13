"""The tensors of Lemmas 1, 2 and 5 against their sums written out, Remark 1's union, and the run of a small setting."""

import itertools

import numpy as np
import pytest
from click.testing import CliRunner

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.errors import InputError
from kernelcalc.studies.figures.lemmas import Lemmas, asymmetry, tensors, union_distance

RNG = np.random.default_rng(0)


def test_tensors_are_their_sums():
    jacobian, hessians = RNG.normal(size=(2, 5)), RNG.normal(size=(2, 5, 5))
    hessians = hessians + hessians.transpose(0, 2, 1)
    two = range(2)
    omega = [jacobian[i] @ hessians[j] @ jacobian[k] for i, j, k in itertools.product(two, repeat=3)]
    gamma = [jacobian[i] @ hessians[j] @ hessians[k] @ jacobian[m] for i, j, k, m in itertools.product(two, repeat=4)]
    psi = [
        np.trace(hessians[i] @ hessians[j] @ hessians[k] @ hessians[m])
        for i, j, k, m in itertools.product(two, repeat=4)
    ]
    found = tensors(jacobian, hessians)
    for name, values in (("omega", omega), ("gamma", gamma), ("psi", psi)):
        assert found[name] == pytest.approx(np.sqrt(np.mean(np.square(values))), rel=1e-12)


def test_orthogonal_matrices_have_the_union_of_spectra():
    q = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    i, s = q[:, :2] @ np.diag([3.0, 1.0]) @ q[:, :2].T, q[:, 2:5] @ np.diag([-2.0, 0.5, 0.1]) @ q[:, 2:5].T
    assert union_distance(i + s, i, s) < 1e-12
    s = q[:, 1:4] @ np.diag([-2.0, 0.5, 0.1]) @ q[:, 1:4].T
    assert union_distance(i + s, i, s) > 0.1


def test_asymmetry():
    assert asymmetry(np.array([-2.0, 0.5, 2.0, -0.5])) == 0
    assert asymmetry(np.array([-2.0, 0.5, 1.0])) == pytest.approx(0.5)


def test_a_small_setting(tmp_path):
    result = CliRunner().invoke(main, ["figure", "lemmas", "--widths", "4,12", "--trials", "12", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "lemmas.png").exists()
    verdicts = [line for line in result.output.splitlines() if line.startswith("- ") and "ICLR" in line]
    assert len(verdicts) == 10
    for claim in ("ever more eigenvalues", "symmetric about 0", "smooth nonlinearity is not"):
        assert any(line.startswith("- reproduced") and claim in line for line in verdicts)
    powers = next(line for line in result.output.splitlines() if "fitted powers" in line)
    for name in ("omega", "gamma", "psi", "norm_s", "union", "fourth"):
        assert f"{name} -0." in powers or f"{name} -1." in powers


def test_numbers_are_those_of_the_network():
    drawn = Lemmas(widths=(4, 6), trials=2, activation="erf")
    found = drawn.measure(lambda items, label: items)
    fin = kc.FiniteNetwork.random(kc.MLP("erf", depth=3, sigma_w=1.3, beta=0.1), 6, 4, rng=[0, 6, 0])
    x = np.random.default_rng([0, 1]).normal(size=(3, 4))
    y = np.array([-1.0, 1.0, -1.0])
    np.testing.assert_allclose(found.spectra["H"], np.linalg.eigvalsh(fin.hessian(x, y)), atol=1e-12)
    start = np.linalg.eigvalsh(np.einsum("n,npq->pq", -y / 3, fin.output_hessian(x)[:, 0]))
    assert found.values["fourth"][1, 0] == pytest.approx(np.sum(start**4) / np.sum(start**2) ** 2, rel=1e-10)
    assert found.values["norm_s"][1, 0] == pytest.approx(np.abs(start).max() / np.sqrt(np.sum(start**2)), rel=1e-10)


def test_what_is_refused():
    with pytest.raises(InputError):
        Lemmas(widths=(8,))
    with pytest.raises(InputError):
        Lemmas(trials=1)
