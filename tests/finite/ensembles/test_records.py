"""Ready hooks: what they look at, against dense matrices, and what they say of themselves."""

import numpy as np
import pytest
from stand_ins import TANH, Architecture

from kernelcalc.arrays import digest
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.ensembles.records import MOMENT_FIELDS, EigenvalueRecord, MomentRecord
from kernelcalc.finite.losses import get_loss

RNG = np.random.default_rng(4)
X, Y = RNG.standard_normal((7, 3)), np.where(RNG.standard_normal(7) > 0, 1, -1)
NET = Architecture(activations=(TANH, TANH))
FIN = FiniteNetwork.random(NET, 5, 3, rng=2)


@pytest.mark.parametrize("loss", ["mse", "binary"])
def test_moments_of_a_dense_hessian(loss):
    found = MomentRecord(X=X, Y=Y, loss=loss, kmax=3)(0.0, FIN)
    assert tuple(found) == MOMENT_FIELDS
    whole = FIN.hessian(X, Y, loss)
    moments = [np.trace(np.linalg.matrix_power(whole, k)) for k in (1, 2, 3)]
    np.testing.assert_allclose(found["trace_h"], moments, rtol=1e-10)
    assert len(found["trace_i"]) == 3
    values = {"mse": np.mean((FIN(X)[:, 0] - Y) ** 2) / 2, "binary": np.mean(np.log1p(np.exp(-Y * FIN(X)[:, 0])))}
    assert found["loss"] == pytest.approx(values[loss], rel=1e-12)


@pytest.mark.parametrize("part", ["h", "i", "s"])
@pytest.mark.parametrize(("which", "ends"), [("LA", slice(-1, -4, -1)), ("SA", slice(2, None, -1))])
def test_ends_of_a_dense_spectrum(part, which, ends):
    jac, whole = FIN.jacobian(X)[:, 0], FIN.hessian(X, Y)
    gauss_newton = jac.T @ jac / 7
    dense = {"h": whole, "i": gauss_newton, "s": whole - gauss_newton}[part]
    found = EigenvalueRecord(X=X, Y=Y, count=3, which=which, part=part)(0.0, FIN)["eigenvalues"]
    np.testing.assert_allclose(found, np.linalg.eigvalsh(dense)[ends], rtol=1e-9, atol=1e-10)


def test_eigenvalues_of_a_loss():
    found = EigenvalueRecord(X=X, Y=Y, count=2, loss="binary")(0.0, FIN)["eigenvalues"]
    np.testing.assert_allclose(found, np.linalg.eigvalsh(FIN.hessian(X, Y, "binary"))[:-3:-1], rtol=1e-9)


def test_what_defines_a_record():
    """All of it but points and targets, of which their digest, and the seed, which is the trial's."""
    numbers = {"kmax": 2, "probes": 3, "deflation": 4, "unit_probes": 5, "whole_probes": 6}
    assert MomentRecord(X=X, Y=Y, loss="binary", rng=9, **numbers).settings() == {
        **numbers,
        "loss": "binary",
        "data": digest(X, Y),
    }
    assert EigenvalueRecord(X=X, Y=Y, count=2, which="SA", part="i", loss=get_loss("binary"), tol=1e-3).settings() == {
        "count": 2,
        "which": "SA",
        "part": "i",
        "loss": "binary",
        "tol": 1e-3,
        "data": digest(X, Y),
    }
    assert MomentRecord(X=X, Y=Y).settings() != MomentRecord(X=X, Y=-Y).settings()


def test_a_trial_has_probes_of_its_own():
    # NumPy's own first number of this seed
    mine = MomentRecord(X=X, Y=Y, kmax=3, probes=5).for_trial(np.random.SeedSequence(0))
    assert (mine.rng, mine.kmax, mine.probes) == (2968811710, 3, 5)


def test_probes_are_those_asked_for():
    """At a number of parameters where Tr H³ is sampled, as the network's own moments with the same options."""
    points = np.random.default_rng(0).standard_normal((90, 3))
    wide = FiniteNetwork.random(NET, 50, 3, rng=0)
    options = {"probes": 3, "deflation": 4, "unit_probes": 0, "whole_probes": 0, "rng": 7}
    changes = [{}, {"probes": 4}, {"deflation": 2}, {"unit_probes": 9}, {"whole_probes": 5}, {"rng": 8}]
    seen = []
    for change in changes:
        now = options | change
        found = MomentRecord(X=points, Y=np.zeros(90), kmax=3, **now)(0.0, wide)
        expected = wide.hessian_moments(points, np.zeros(90), kmax=3, **now)
        for name in MOMENT_FIELDS:
            np.testing.assert_array_equal(found[name], getattr(expected, name))
        seen.append((*found["trace_h"].tolist(), *found["trace_h_error"].tolist()))
    # each of them matters
    assert len(set(seen)) == len(changes)
