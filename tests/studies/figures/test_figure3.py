"""The loss surface around a minimum against its quadratic form."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, IntegrationError
from kernelcalc.studies.figures import figure3


@pytest.fixture(scope="module")
def result():
    return figure3.Figure3(width=128, points=16, grid=5, reach=0.2).run()


def test_points_fill_the_disk_evenly():
    x, y = figure3.disk(4000, 0)
    radius = np.linalg.norm(x, axis=1)
    assert radius.max() <= 1
    # |x|² is uniform on [0, 1]
    assert abs((radius**2).mean() - 0.5) < 4 / np.sqrt(12 * 4000)
    assert y.shape == (4000, 1)


def test_eigenvectors_are_those_of_the_dense_matrix():
    x, y = figure3.disk(6, 0)
    fin = kc.FiniteNetwork.random(kc.MLP("tanh", depth=4), 5, 2, rng=0)
    values, along = figure3.directions(fin, x, y)
    dense = fin.curvature(x, y).i.dense()
    np.testing.assert_allclose(values, np.linalg.eigvalsh(dense)[::-1][:6], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(dense @ along.T, along.T * values[[0, 3]], atol=1e-10)
    np.testing.assert_allclose(along @ along.T, np.eye(2), atol=1e-10)


def test_surface_is_the_loss(result):
    x, y = figure3.disk(6, 0)
    fin = kc.FiniteNetwork.random(kc.MLP("tanh", depth=4), 5, 2, rng=0)
    along = np.random.default_rng(0).standard_normal((2, fin.n_parameters))
    steps = np.array([-0.5, 0.0, 0.5])
    surface = figure3.surface(fin, x, y, along, steps)
    for i, j in ((0, 0), (0, 2), (1, 2)):
        moved = fin.with_parameters(fin.parameters + steps[i] * along[0] + steps[j] * along[1])
        np.testing.assert_allclose(surface[i, j], moved.loss(x, y), rtol=1e-13)


def test_close_to_the_minimum_the_loss_is_the_quadratic_form(result):
    # curvature of the surface against the network's own eigenvalues
    np.testing.assert_allclose(result["curvature"], result["network"], rtol=0.02)
    # against the limit: one network's spread
    ratio = (result["network"] / result["limit"]).reshape(2, 2)
    np.testing.assert_allclose(ratio[:, 0], 1, atol=0.3)
    # at this width reaching the minimum moves small eigenvalues of the smooth ReLU by their own size
    np.testing.assert_allclose(ratio[:, 1], 1, atol=1.5)


def test_normalising_widens_the_valley(result):
    limit = result["limit"].reshape(2, 2)
    network = result["network"].reshape(2, 2)
    for values in (limit, network):
        narrow, wide = values[:, 0] / values[:, 1]
        assert narrow > 10 * wide
    assert len(result.figure().axes) == 5


def test_between_the_points_of_the_grid_the_surface_is_smooth():
    steps, fine = np.linspace(-1, 1, 11), np.linspace(-1, 1, 41)
    values = np.array([4.0, 1.0, 1.0, 0.1])

    def loss(t):
        form = 0.5 * (values[0] * t[:, None] ** 2 + values[3] * t**2)
        return form + 0.05 * t[:, None] ** 3 + 0.02 * t[:, None] * t**2

    np.testing.assert_allclose(figure3.interpolated(loss(steps), values, steps, fine), loss(fine), atol=1e-12)


def test_ellipses_of_the_picture_are_those_of_the_form(result):
    axes = result.figure().axes[:2]
    for ax, values in zip(axes, result["limit"].reshape(2, 2), strict=True):
        for line in ax.lines:
            x, y = line.get_data()
            form = 0.5 * (values[0] * y**2 + values[1] * x**2)
            np.testing.assert_allclose(form, form[0], rtol=1e-10)
            # no corners: neighbouring points are close where the ellipse is in the picture
            assert np.hypot(np.diff(x / x.max()), np.diff(y / y.max())).max() < 0.1


def test_no_minimum_is_said():
    x, y = figure3.disk(40, 0)
    fin = kc.FiniteNetwork.random(kc.MLP("tanh", depth=4), 1, 2, rng=0)
    with pytest.raises(IntegrationError, match="larger width"):
        figure3.minimise(fin, x, y)


def test_too_little_is_refused():
    with pytest.raises(InputError, match="four points"):
        figure3.Figure3(points=3).run()


def test_verdicts_go_either_way(result):
    wider, around, along = result.verdicts
    narrow = (result["network"][0] / result["network"][1]) / (result["network"][2] / result["network"][3])
    assert wider.number == pytest.approx(narrow)
    assert wider.outcome == "reproduced"
    off = np.abs(result["curvature"] / result["limit"] - 1).reshape(2, 2)
    assert [around.number, along.number] == pytest.approx(off.max(axis=0).tolist())
    # at this width small eigenvalues move by their own size
    assert along.outcome == ("reproduced" if off[:, 1].max() <= 0.3 else "not reproduced")
    single = figure3.Figure3(width=64, points=8, grid=3, reach=0.2, activations=("smooth_relu",)).run()
    assert single.verdicts[0].outcome == "cannot be decided here"
