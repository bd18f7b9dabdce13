"""Large and small batches with a convolutional network: noise, curvature and courses against plain loops and dense matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernelcalc.errors import InputError
from kernelcalc.studies.sagun import run
from kernelcalc.studies.sagun.batch_claims import claims_of_batches
from kernelcalc.studies.sagun.batch_runs import BETWEEN, OUTER, Moment, Part, Pictures, Switch


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures.of(0, (rng.standard_normal((20, 25)), np.arange(20) % 3), (2, 3), "tanh", "softmax", 0)


def test_noise_is_the_covariance_of_single_gradients(pictures: Pictures) -> None:
    moment = Moment.of(pictures, pictures.start, 0, True)
    rows = np.array([pictures.train.batch(np.array([k])).gradient(pictures.start) for k in range(10)], dtype=float)
    mean = rows.mean(axis=0)
    assert moment.square == pytest.approx(mean @ mean, rel=1e-4)
    assert moment.covariance == pytest.approx(((rows - mean) ** 2).sum() / 10, rel=1e-4)
    # the mean over batches of 2 drawn with replacement deviates by Tr Cov/2
    drawn = np.random.default_rng(1).integers(10, size=(20_000, 2))
    spread = ((rows[drawn].mean(axis=1) - mean) ** 2).sum(axis=1)
    ratio = moment.noise_over_gradient(2) ** 2 * moment.square / spread.mean()
    assert abs(ratio - 1) < 5 * spread.std() / spread.mean() / np.sqrt(20_000)


def test_edges_are_those_of_the_dense_hessian(pictures: Pictures) -> None:
    values = np.linalg.eigvalsh(pictures.curvature(pictures.start).h.dense())
    right, left = pictures.edges(pictures.start)
    np.testing.assert_allclose(right, values[::-1][:OUTER], atol=0.01 * values[-1])
    np.testing.assert_allclose(left, values[:OUTER], atol=0.01 * values[-1])
    assert pictures.sharpness(pictures.start) == pytest.approx(values[-1], rel=1e-3)


def test_the_whole_batch_is_gradient_descent(pictures: Pictures) -> None:
    part = Part.of(pictures, pictures.start, 0.5, 3, 10, 0)
    trained = pictures.start.train(
        pictures.train.x, pictures.train.targets, [0, 0.5, 1.0, 1.5], loss="softmax", method="gd", step=0.5
    )
    assert [m.step for m in part.moments] == [0, 1, 2, 3]
    np.testing.assert_allclose([m.loss for m in part.moments], trained.loss, rtol=1e-5)
    np.testing.assert_allclose(part.end.parameters, trained.network.parameters, atol=1e-5)
    assert part.last.accuracy == (part.end(pictures.train.x).argmax(axis=1) == np.arange(10) % 3).mean()


def test_a_part_that_diverges_ends_early(pictures: Pictures) -> None:
    part = Part.of(pictures, pictures.start, 1e39, 9, 2, 0)
    assert len(part.moments) == 2
    assert not np.isfinite(part.last.loss)


def moment(step: int, loss: float, noise: float = 1.0) -> Moment:
    return Moment(
        step=step, loss=loss, loss_test=2 * loss, accuracy=0.5, accuracy_test=0.5 + step / 100, square=1.0,
        covariance=16 * noise**2,
    )  # fmt: skip


def part(*losses: float, noise: tuple[float, ...] = (2.0,)) -> Part:
    noises = (noise * len(losses))[: len(losses)] if len(noise) == 1 else noise
    return Part(
        batch=16, moments=[moment(10 * k, v, w) for k, (v, w) in enumerate(zip(losses, noises, strict=True))], end=None
    )


def switch(large: Part, small: Part, line: Any) -> Switch:
    return Switch(rate=1.0, step=0.1, sharpness=1.0, large=large, small=small, line=np.asarray(line))


ENDS = {"ratio": np.array([9, 9]), "top": np.array([2.0, 1.0]), "bottom": np.array([-0.001, -0.002])}
FALLING = part(2.0, 0.5, 0.4, noise=(0.5, 1.5, 2.0))


def test_jump_and_return() -> None:
    one = part(0.4, 1.2, 0.5, 0.3)
    assert (one.worst, one.worst_test, one.back) == (pytest.approx(3), pytest.approx(3), 30)
    assert np.isnan(part(0.4, 0.3).back)
    assert np.isnan(part(0.4, 0.8, 0.5).back)
    line = switch(FALLING, one, np.where(BETWEEN == 0.5, 1.0, 0.4))
    assert line.barrier == pytest.approx(0.6 / 2)
    assert line.noise == 2
    assert line.settles


def test_claims_as_the_paper_has_them_and_otherwise() -> None:
    jumped, flat = switch(FALLING, part(0.4, 1.2, 0.3), [0.4, 0.35, 0.3]), switch(FALLING, part(0.4, 0.3), [0.4, 0.3])
    lost = switch(FALLING, part(0.4, 9.0, 8.0), [0.4, 9.0, 8.0])
    found = claims_of_batches([jumped, flat, lost], (FALLING, FALLING), ENDS, 50)
    assert [verdict.outcome for verdict in found] == ["reproduced"] * 10
    assert found[0].number == pytest.approx(3)
    assert "of 3 settings 2 jump, 1 of them settle below" in found[0].measured
    assert found[6].number == pytest.approx((2.0 - 0.5) / (2.0 - 0.4))
    # settings that blow up are no jump of the paper's kind; gradients without noise, equal spectra
    quiet = part(2.0, 0.5, noise=(1.5, 0.5))
    equal = {"ratio": np.array([9, 1]), "top": np.array([1.0, 2.0]), "bottom": np.array([-0.5, -0.5])}
    others = claims_of_batches([flat, lost], (quiet, quiet), equal, 50)
    assert [verdict.outcome for verdict in others] == [
        "not reproduced", "not reproduced", "reproduced", "cannot be decided here", "not reproduced", "not reproduced",
        "not reproduced", "not reproduced", "not reproduced", "not reproduced",
    ]  # fmt: skip


def test_untrained_decides_nothing() -> None:
    still = part(2.0, 1.9)
    found = claims_of_batches([switch(still, part(1.9, 3.0, 1.0), [1.9, 1.0])], (still, still), ENDS, 50)
    assert {verdict.outcome for verdict in found[:4]} == {"cannot be decided here"}


def test_pictures_must_be_square() -> None:
    with pytest.raises(InputError, match=r"square pictures of at least 5 × 5.*got points of 12 numbers"):
        run("batches", sample=(np.zeros((8, 12)), np.arange(8) % 2))
    with pytest.raises(InputError, match="at least four pictures"):
        run("batches", sample=(np.zeros((3, 25)), np.arange(3) % 2))


def test_large_pictures_and_odd_ones() -> None:
    rng = np.random.default_rng(3)
    for side, stride_out in ((5, 5), (6, 3)):
        made = Pictures.of(0, (rng.standard_normal((6, side**2)), np.arange(6) % 2), (2, 3), "relu", "mse", 0)
        # two 3 × 3 convolutions and a dense layer on what the stride leaves
        assert made.start.n_parameters == (9 + 1) * 2 + (18 + 1) * 3 + (3 * stride_out**2 + 1) * 2
