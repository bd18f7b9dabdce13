"""The moments' figure: theory and finite networks in one result, resumable."""

import json

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.studies.figures import figure1

SMALL = {"width": 24, "trials": 3, "points": 8, "times": (0.0, 1.0, 4.0), "dtype": "float64"}


@pytest.fixture(scope="module")
def result():
    return figure1.Figure1(**SMALL).run()


def test_the_columns_are_theory_and_networks(result):
    table = result.tables["figure1"]
    assert len(table["k"]) == 2 * 4 * 3
    x, labels = kc.datasets.mnist14(8)
    y = kc.datasets.one_hot(labels)
    net = kc.MLP("smooth_relu", depth=3, beta=0.1, n_out=y.shape[1])
    exact = kc.mse_moments(net.kernels(x), y, SMALL["times"])
    rows = table["activation"] == "smooth_relu"
    np.testing.assert_allclose(table["theory"][rows].reshape(4, 3), exact.trace_h, rtol=1e-10)
    np.testing.assert_allclose(table["z"], (table["mean"] - table["theory"]) / table["error"])


def test_networks_are_those_of_their_seeds():
    """Against all eigenvalues of dense Hessians, hence narrow ones."""
    table = figure1.Figure1(**SMALL | {"width": 6}).run().tables["figure1"]
    x, labels = kc.datasets.mnist14(8)
    y = kc.datasets.one_hot(labels)
    net = kc.MLP("smooth_relu", depth=3, beta=0.1, n_out=y.shape[1])
    moments = []
    for seed in np.random.SeedSequence(0).spawn(3):
        draw = seed.spawn(2)[0]
        fin = kc.FiniteNetwork.random(net, 6, 196, np.random.default_rng(draw))
        split = kc.finite.HessianSplit.of(fin, x, y)
        values = kc.finite.eigenvalues(split.h)
        moments.append([(values**k).sum() for k in (1, 2)])
    start = (table["activation"] == "smooth_relu") & (table["time"] == 0) & (table["k"] <= 2)
    np.testing.assert_allclose(table["mean"][start], np.mean(moments, axis=0), rtol=1e-10)


def test_finished_networks_are_kept_and_used_again(tmp_path, result):
    few = figure1.Figure1(**SMALL | {"trials": 2}, folder=tmp_path).run()
    path = min(tmp_path.iterdir())
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    # a mark in a stored value shows that it is read
    marked = json.loads(lines[1])
    marked["loss"] = [7.0] * 3
    path.write_text("\n".join([lines[0], json.dumps(marked), lines[2]]) + "\n" + lines[2][:40])
    more = figure1.Figure1(**SMALL, folder=tmp_path).run()
    assert len(path.read_text().splitlines()) == 4
    assert json.loads(path.read_text().splitlines()[1])["loss"] == [7.0] * 3
    for name, column in result.tables["figure1"].items():
        np.testing.assert_array_equal(more.tables["figure1"][name], column)
    assert len(few.tables["figure1"]["k"]) == len(more.tables["figure1"]["k"])
    figure1.Figure1(**SMALL | {"width": 25}, folder=tmp_path).run()
    assert len(path.read_text().splitlines()) == 4


def test_single_precision_is_the_same_picture(result):
    single = figure1.Figure1(**SMALL | {"dtype": "float32"}).run()
    np.testing.assert_allclose(single["mean"], result["mean"], rtol=2e-3)


def test_picture(result):
    axes = result.figure().axes
    assert [ax.get_title() for ax in axes] == ["smooth ReLU", "normalized smooth ReLU"]


def test_crosses_of_one_time_do_not_hide_each_other(result):
    ax = result.figure().axes[0]
    assert len(ax.containers) == 4
    columns = np.array([bars.lines[0].get_xdata() for bars in ax.containers])
    assert (np.diff(columns, axis=0) > 0).all()
    # near their own time, and the error bars with them
    np.testing.assert_allclose(columns[:, 1:], np.broadcast_to(SMALL["times"][1:], (4, 2)), rtol=0.5)
    for x, bars in zip(columns, ax.containers, strict=True):
        np.testing.assert_allclose([s[0, 0] for s in bars.lines[2][0].get_segments()], x)


def test_the_picture_says_that_crosses_are_moved(result):
    figure = result.figure()
    (legend,) = figure.legends
    assert legend.get_window_extent().width <= figure.bbox.width
    assert legend.get_texts()[-1].get_text() == "width 24, mean of 3; of one time, moved apart"


def test_verdicts_are_those_of_the_columns(result):
    table, verdicts = result.tables["figure1"], result.verdicts
    on_the_curve, higher, positive, negative, size = verdicts
    assert on_the_curve.number == pytest.approx(np.abs(table["mean"] / table["theory"] - 1).max())
    assert on_the_curve.outcome == "not reproduced"
    start = (table["k"] == 1) & (table["time"] == 0)
    z = (table["mean_s"] / table["error_s"])[start]
    assert [positive.number, negative.number] == pytest.approx(z.tolist())
    assert positive.outcome == ("reproduced" if z[0] >= 2 else "not reproduced")
    assert higher.outcome == "not reproduced"
    assert size.outcome == "cannot be decided here"
    assert "neither its smooth ReLU" in str(size)


def test_too_little_is_refused():
    with pytest.raises(InputError, match="two networks"):
        figure1.Figure1(trials=1, width=8, points=8).run()
