"""Finite kernels against dense output Hessians and complex-step derivatives."""

import json

import numpy as np
import pytest
from conftest import CASES, make_problem
from stand_ins import TANH, Architecture, alternating

import kernelcalc as kc
import kernelcalc.finite.ensembles.kernels as module
from kernelcalc.arrays import digest
from kernelcalc.errors import DataFileError, InputError, ShapeError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.ensembles.kernels import (
    centred_products,
    hessian_kernel,
    kernels_through_training,
    mean_ntk,
    readout_kernels,
    trace_gradient_kernel,
)


def dense_trace(fin, X):
    """g (N, n_out) as trace of the dense output Hessians."""
    return np.einsum("sapp->sa", fin.output_hessian(X))


def complex_step_gradient(fin, X, function, h=1e-30):
    """∂function/∂θ (N, n_out, P): Im function(θ + i h e_p)/h is exact to rounding."""
    theta = fin.parameters
    steps = 1j * h * np.eye(theta.size)
    return np.stack([function(fin.at(theta + step), X).imag / h for step in steps], axis=-1)


@pytest.mark.parametrize("name", [name for name in CASES if name != "relu"])
def test_trace_gradients_against_dense_hessians(name):
    fin, X, _, _ = make_problem(name, n=3)
    gradient = complex_step_gradient(fin, X, dense_trace)
    expected = np.einsum("sap,tap->st", gradient, fin.jacobian(X)) / fin.n_out
    found = trace_gradient_kernel(fin, X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * max(1, np.abs(expected).max()))


def test_trace_gradients_of_wide_networks():
    fin = FiniteNetwork.random(alternating(3), 40, 5, rng=0)
    X = 3 * np.random.default_rng(0).standard_normal((2, 5))
    gradient = complex_step_gradient(fin, X, lambda net, x: net.hessian_trace(x))
    expected = np.einsum("sap,tap->st", gradient, fin.jacobian(X))
    np.testing.assert_allclose(trace_gradient_kernel(fin, X), expected, rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_hessian_kernel_against_dense_hessians(name):
    fin, X, _, _ = make_problem(name)
    dense = fin.output_hessian(X)
    expected = np.einsum("sapq,tapq->st", dense, dense) / fin.n_out
    np.testing.assert_allclose(hessian_kernel(fin, X), expected, rtol=1e-12, atol=1e-13)


def test_mean_ntk_is_the_gram_matrix_of_gradients(problem):
    fin, X, _, _ = problem
    jac = fin.jacobian(X)
    np.testing.assert_allclose(mean_ntk(fin, X), np.einsum("sap,tap->st", jac, jac) / fin.n_out, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["one hidden", "two hidden, binary", "three hidden"])
def test_readout_kernels_are_sums_over_last_weights(name):
    """f and g are linear in the last layer: the second moments are sums over unit vectors (and the bias, for f)."""
    fin, X, _, _ = make_problem(name)
    n = fin.weights[-1].shape[0]
    f, g = [], []
    for i in range(n + 1):
        one = FiniteNetwork(
            weights=(*fin.weights[:-1], np.eye(n + 1)[i, :n, None]),
            biases=(*fin.biases[:-1], np.array([float(i == n)])),
            activations=fin.activations,
            sigma_w=fin.sigma_w,
            beta=fin.beta,
        )
        f.append(one(X)[:, 0])
        g.append(dense_trace(one, X)[:, 0])
    f, g = np.array(f), np.array(g)
    found = readout_kernels(fin, X)
    np.testing.assert_allclose(found.sigma, f.T @ f, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.phi, g.T @ f, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.xi, g.T @ g, rtol=1e-12, atol=1e-13)


def test_readout_kernels_are_means_over_last_layers():
    fin, X, _, _ = make_problem("two hidden", n=3)
    rng = np.random.default_rng(3)
    # many outputs are many last layers
    outputs = Architecture(activations=fin.activations, sigma_w=fin.sigma_w, beta=fin.beta, n_out=200)
    f, g = [], []
    for _ in range(40):
        last = FiniteNetwork.random(outputs, fin.sizes[1:-1], fin.sizes[0], rng=rng)
        wide = FiniteNetwork(
            weights=(*fin.weights[:-1], last.weights[-1]),
            biases=(*fin.biases[:-1], last.biases[-1]),
            activations=fin.activations,
            sigma_w=fin.sigma_w,
            beta=fin.beta,
        )
        f.append(wide(X))
        g.append(wide.hessian_trace(X))
    f, g = np.concatenate(f, axis=1), np.concatenate(g, axis=1)
    found = readout_kernels(fin, X)
    for left, right, exact in ((f, f, found.sigma), (g, f, found.phi), (g, g, found.xi)):
        samples = left[:, None, :] * right[None, :, :]
        error = samples.std(axis=2) / np.sqrt(f.shape[1])
        assert np.all(np.abs(samples.mean(axis=2) - exact) < 4 * error)


def test_centred_products_have_mean_zero_for_given_hidden_layers():
    rng = np.random.default_rng(7)
    architecture = Architecture(n_out=2)
    fin = FiniteNetwork.random(architecture, (5, 4), 3, rng=rng)
    X, Y = rng.standard_normal((3, 3)), rng.standard_normal((3, 2))
    readout, values = readout_kernels(fin, X), []
    for _ in range(3000):
        last = FiniteNetwork(
            weights=(*fin.weights[:-1], rng.standard_normal(fin.weights[-1].shape)),
            biases=(*fin.biases[:-1], rng.standard_normal(2)),
            activations=fin.activations,
            sigma_w=fin.sigma_w,
            beta=fin.beta,
        )
        values.append(centred_products(last, X, Y, readout))
    z = np.mean(values, axis=0) / (np.std(values, axis=0) / np.sqrt(len(values)))
    assert z.shape == (10,)
    assert np.all(np.abs(z) < 4)


NET = Architecture(activations=(TANH, TANH), n_out=2)
POINTS = np.random.default_rng(0).standard_normal((3, 2))
TARGETS = np.random.default_rng(1).standard_normal((3, 2))
SETTING = {"widths": (4, 7), "trials": 3, "rng": 5}


def test_ensemble_shapes_and_values(tmp_path):
    found = kernels_through_training(NET, POINTS, TARGETS, [0.0, 0.5], **SETTING)
    shapes = {name: values.shape for name, values in found.items()}
    assert shapes["sigma"] == shapes["phi"] == shapes["xi"] == shapes["upsilon"] == (3, 2, 3, 3)
    assert shapes["theta"] == shapes["lam"] == (3, 2, 2, 3, 3)
    assert shapes["trace_h"] == (3, 2, 2, 4)
    assert shapes["trace_s"] == shapes["loss"] == (3, 2, 2)
    # Tr I = Tr Θ/N a output, at all times and widths
    np.testing.assert_allclose(found["trace_i"][..., 0], 2 * np.einsum("...ss->...", found["theta"]) / 3, rtol=1e-12)
    # training changes Θ, and networks differ
    assert len({round(v, 12) for v in found["theta"][..., 0, 0].ravel()}) == 12


def test_ensemble_resumes_and_does_not_depend_on_workers(tmp_path):
    whole = kernels_through_training(NET, POINTS, TARGETS, [0.0, 0.5], **SETTING)
    path = tmp_path / "trials.jsonl"
    kernels_through_training(NET, POINTS, TARGETS, [0.0, 0.5], **SETTING | {"trials": 1}, path=path)
    resumed = kernels_through_training(NET, POINTS, TARGETS, [0.0, 0.5], **SETTING, path=path, workers=2)
    for name, values in whole.items():
        np.testing.assert_allclose(resumed[name], values, rtol=1e-10, atol=1e-12)
    with pytest.raises(DataFileError, match="widths"):
        kernels_through_training(NET, POINTS, TARGETS, [0.0, 0.5], **SETTING | {"widths": (4, 8)}, path=path)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"widths": ()}, InputError, "at least one of widths, got none"),
        ({"widths": (4, 0)}, InputError, "widths, a whole number of at least 1, got 0"),
        ({"X": POINTS[0]}, ShapeError, r"X of the shape \(N, n_in\), got the shape \(2,\)"),
    ],
)
def test_what_is_no_ensemble_leaves_no_file(tmp_path, wrong, error, text):
    with pytest.raises(error, match=text):
        kernels_through_training(
            **{"net": NET, "X": POINTS, "Y": TARGETS, "times": [0.0], **SETTING, **wrong, "path": tmp_path / "file"}
        )
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("numbers", {"kmax": 3}),
        ("numbers", {"tol": 1e-3}),
        ("numbers", {"probes": 9}),
        ("times", {"times": [0.1]}),
        ("data", {"Y": -TARGETS}),
        ("data", {"X": 2 * POINTS}),
        ("network", {"net": Architecture(activations=(TANH, TANH), n_out=2, beta=0.4)}),
        ("activations", {"net": Architecture(n_out=2)}),
        ("another seed", {"rng": 6}),
    ],
)
def test_a_file_of_other_trials_is_refused(tmp_path, name, change):
    given = {"net": NET, "X": POINTS, "Y": TARGETS, "times": [0.0], **SETTING, "trials": 1, "path": tmp_path / "file"}
    kernels_through_training(**given)
    with pytest.raises(DataFileError, match=rf"others \({name}\)"):
        kernels_through_training(**{**given, **change})


def test_progress_is_shown(capsys):
    kernels_through_training(NET, POINTS, TARGETS, [0.0], **SETTING, progress=True)
    assert "3/3" in capsys.readouterr().err


def test_a_trial_is_a_network_of_each_width():
    """Against dense Hessians of the network drawn from the trial's and the width's seed, trained alone."""
    times, tol = [0.0, 0.5], 1e-6
    found = kernels_through_training(NET, POINTS, TARGETS, times, widths=(4, 7), trials=2, rng=5, kmax=3, tol=tol)
    draw, _ = np.random.SeedSequence(5).spawn(2)[1].spawn(2)[1].spawn(2)
    fin = FiniteNetwork.random(NET, 7, 2, rng=np.random.default_rng(draw))
    networks = fin.train(POINTS, TARGETS, times, tol=tol, record=lambda t, now: now).records
    for i, now in enumerate(networks):
        whole, jac = now.hessian(POINTS, TARGETS), now.jacobian(POINTS)
        gauss_newton = np.einsum("sap,saq->pq", jac, jac) / 3
        rest = whole - gauss_newton
        expected = {
            "trace_i": [np.trace(np.linalg.matrix_power(gauss_newton, k)) for k in (1, 2, 3)],
            "trace_s": np.trace(rest),
            "trace_s2": np.sum(rest**2),
            "trace_is": np.sum(gauss_newton * rest),
            "loss": np.sum((now(POINTS) - TARGETS) ** 2) / 6,
            "theta": np.einsum("sap,tap->st", jac, jac) / 2,
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][1, 1, i], value, rtol=1e-5, atol=1e-7, err_msg=name)
        moments = [np.trace(np.linalg.matrix_power(whole, k)) for k in (1, 2, 3)]
        np.testing.assert_allclose(found["trace_h"][1, 1, i, :2], moments[:2], rtol=1e-5)
        # from probes
        off = abs(found["trace_h"][1, 1, i, 2] - moments[2])
        assert off <= 1e-6 * moments[2] + 6 * found["trace_h_error"][1, 1, i, 2]
    hessians = fin.output_hessian(POINTS)
    np.testing.assert_allclose(
        found["upsilon"][1, 1], np.einsum("sapq,tapq->st", hessians, hessians) / 2, rtol=1e-12, atol=1e-13
    )
    readout = readout_kernels(fin, POINTS)
    np.testing.assert_array_equal(found["controls"][1, 1], centred_products(fin, POINTS, TARGETS, readout))


def test_large_networks_are_not_kept_waiting_for_each_other(monkeypatch):
    """Trials that take long are written down one by one: their number together falls with that of parameters."""
    groups, train = [], module.train_together
    monkeypatch.setattr(
        module, "train_together", lambda nets, *a, **k: (groups.append(len(nets)), train(nets, *a, **k))[1]
    )
    one_hidden = Architecture(activations=(TANH,), n_out=2)
    for net, each in ((one_hidden, 4 * 4), (NET, 4**2 + 4 * 4)):
        # of one hidden layer, of two; inputs and outputs are two each
        for room, expected in ((2 * each, [2, 1]), (each - 1, [1, 1, 1]), (100 * each, [3])):
            groups.clear()
            monkeypatch.setattr(module, "_PARAMETERS_OF_TRIALS", room)
            kernels_through_training(net, POINTS, TARGETS, [0.0], widths=(4,), trials=3)
            assert groups == expected


def test_centred_products_written_out():
    """tr fᵀMY and tr gᵀMY for M = Id and X Xᵀ, then tr fᵀMf − n tr MΣ and tr gᵀMf − n tr MΦ, also for Y Yᵀ."""
    fin = FiniteNetwork.random(Architecture(n_out=2), (5, 4), 3, rng=1)
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((3, 3)), rng.standard_normal((3, 2))
    f, g, readout = fin(X), fin.hessian_trace(X), readout_kernels(fin, X)
    expected = [np.trace(left.T @ m @ Y) for m in (np.eye(3), X @ X.T) for left in (f, g)]
    for m in (np.eye(3), X @ X.T, Y @ Y.T):
        expected.append(np.trace(f.T @ m @ f) - 2 * np.trace(m @ readout.sigma))
        expected.append(np.trace(g.T @ m @ f) - 2 * np.trace(m @ readout.phi))
    np.testing.assert_allclose(centred_products(fin, X, Y, readout), expected, rtol=1e-11, atol=1e-12)


def test_refusals_say_what_came():
    for change, text in (
        ({"X": 1j * POINTS}, "X: real numbers, got dtype complex128"),
        ({"Y": 1j * TARGETS}, "Y: real numbers, got dtype complex128"),
        ({"kmax": 0}, "kmax, a whole number of at least 1, got 0"),
        ({"probes": 1}, "probes, a whole number of at least 2, got 1"),
        ({"tol": 0.0}, "a positive tol, got tol=0.0"),
        ({"widths": (3, 0)}, "widths, a whole number of at least 1, got 0"),
        ({"widths": ()}, "at least one of widths, got none"),
        ({"X": np.ones(2)}, "X of the shape (N, n_in), got the shape (2,)"),
    ):
        with pytest.raises(InputError) as caught:
            kernels_through_training(**{"net": NET, "X": POINTS, "Y": TARGETS, "times": [0.0], **SETTING, **change})
        assert str(caught.value) == f"expected {text}"
    fin = FiniteNetwork.random(NET, 4, 2)
    readout = readout_kernels(fin, POINTS)
    with pytest.raises(InputError, match=r"^expected Y: real numbers, got dtype complex128$"):
        centred_products(fin, POINTS, 1j * TARGETS, readout)


def test_what_a_file_says_of_its_run(tmp_path):
    """Every argument that its numbers depend on, in the header; by default seed 0, four moments, eight probes."""
    kernels_through_training(NET, POINTS, TARGETS, [0.0], widths=(4, 7), trials=1, path=tmp_path / "file")
    header = json.loads((tmp_path / "file").read_text().splitlines()[0])
    assert header["seed"] == "(0, (0,))"
    # a digest of their values
    assert len(header["settings"].pop("activations")) == 16
    assert header["settings"] == {
        "network": [2, 2, NET.sigma_w, NET.beta],
        "widths": [4, 7],
        "data": digest(POINTS, TARGETS),
        "times": [0.0],
        "numbers": [4, 1e-4, 8],
    }


def test_compositions_are_taken_one_by_one():
    """A network with a LayerNorm: each number that of the network drawn from the same seed, trained alone."""
    layers = kc.layers
    net = kc.Sequential(layers.Dense(1.2), layers.LayerNorm(), "tanh", layers.Dense(1.1, 0.2), n_out=2)
    times, options = [0.0, 0.3], {"widths": (4,), "trials": 2, "kmax": 3, "probes": 3, "tol": 1e-6}
    found = kernels_through_training(net, POINTS, TARGETS, times, **options)
    draw, sample = np.random.SeedSequence(0).spawn(2)[1].spawn(1)[0].spawn(2)
    state = sample.generate_state(1)[0]
    fin = FiniteNetwork.random(net, 4, 2, rng=np.random.default_rng(draw))
    for i, now in enumerate(fin.train(POINTS, TARGETS, times, tol=1e-6, record=lambda t, now: now).records):
        moments = now.hessian_moments(POINTS, TARGETS, kmax=3, probes=3, dense=False, rng=state)
        for name, value in (
            ("theta", mean_ntk(now, POINTS)),
            ("lam", trace_gradient_kernel(now, POINTS, rng=state)),
            ("trace_h", moments.trace_h),
            ("trace_s2", moments.trace_s2),
            ("loss", now.loss(POINTS, TARGETS)),
        ):
            np.testing.assert_allclose(found[name][1, 0, i], value, rtol=1e-9, atol=1e-12, err_msg=name)
    readout = readout_kernels(fin, POINTS)
    for name, value in (
        ("sigma", readout.sigma),
        ("phi", readout.phi),
        ("xi", readout.xi),
        ("upsilon", hessian_kernel(fin, POINTS, rng=np.random.default_rng([state]))),
        ("controls", centred_products(fin, POINTS, TARGETS, readout)),
    ):
        np.testing.assert_allclose(found[name][1, 0], value, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_type_is_that_of_the_network(dtype):
    """Of Θ, Λ, Υ and the kernels of the last layer: by hand, by differences along gradients, along signs."""
    layers = kc.layers
    normed = kc.Sequential(layers.Dense(1.2), layers.LayerNorm(), "tanh", layers.Dense(1.1, 0.2), n_out=2)
    for net in (Architecture(activations=(TANH,)), Architecture(activations=(TANH,) * 3), normed):
        fin = FiniteNetwork.random(net, 3, 2, rng=4, dtype=dtype)
        readout = readout_kernels(fin, POINTS)
        for found in (
            mean_ntk(fin, POINTS),
            trace_gradient_kernel(fin, POINTS),
            hessian_kernel(fin, POINTS),
            readout.sigma,
            readout.phi,
            readout.xi,
        ):
            assert found.dtype == dtype


def test_signs_are_those_of_the_seed():
    """Υ from v of independent signs is the mean of Hf(x)v · Hf(x')v, Λ that of v·∂²(∇f(x)·∇f(x'))v along them."""
    layers = kc.layers
    net = kc.Sequential(layers.Dense(1.2), layers.LayerNorm(), "tanh", layers.Dense(1.1, 0.2), n_out=2)
    fin = FiniteNetwork.random(net, 3, 2, rng=4)
    dense, p = fin.output_hessian(POINTS), fin.n_parameters
    for options, count, seed in (({}, 16, 0), ({"probes": 3, "rng": 5}, 3, 5)):
        signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(count, p))
        moved = np.einsum("sapq,vq->savp", dense, signs)
        expected = np.einsum("savp,tavp->st", moved, moved) / count / 2
        np.testing.assert_allclose(hessian_kernel(fin, POINTS, **options), expected, rtol=1e-9, atol=1e-11)
    jac = fin.jacobian(POINTS)
    for options, count, seed in (({}, 8, 0), ({"probes": 2, "rng": 5}, 2, 5)):
        rng, expected = np.random.default_rng(seed), np.zeros((3, 3))
        for _ in range(count):
            v = rng.choice(np.array([-1.0, 1.0]), size=p)
            # third derivatives along v twice, by second differences of the gradients
            h = 1e-3
            up, down = (fin.at(fin.parameters + s * h * v).jacobian(POINTS) for s in (1, -1))
            expected += np.einsum("sap,tap->st", (up - 2 * jac + down) / h**2, jac) / count / 2
        found = trace_gradient_kernel(fin, POINTS, **options)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
