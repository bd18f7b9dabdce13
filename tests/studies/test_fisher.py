"""Fisher matrices of finite networks beside the formulas of Pennington and Worah, and of Karakida, Akaho and Amari."""

import numpy as np
import pytest
from scipy.integrate import quad

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.kernels.parametrisation import standard_theta
from kernelcalc.studies.fisher import fisher_spectrum, fisher_statistics


def sampled_fisher(activation, sizes, sigma_w, points, seed):
    """Eigenvalues of (1/N) Σ ∇f∇fᵀ over weights."""
    rng = np.random.default_rng(seed)
    n_in, n, n_out = sizes
    u, v = rng.normal(size=(n_in, n)), rng.normal(size=(n, n_out))
    slope = activation.derivative()
    total = 0.0
    for _ in range(points // 200):
        x = rng.normal(size=(200, n_in))
        z = x @ u * sigma_w / np.sqrt(n_in)
        first = sigma_w**2 / np.sqrt(n * n_in) * np.einsum("ni,na,ak->nkia", x, slope(z), v)
        last = np.zeros((200, n_out, n, n_out))
        last[:, np.arange(n_out), :, np.arange(n_out)] = sigma_w / np.sqrt(n) * activation(z)
        rows = np.concatenate([first.reshape(200 * n_out, -1), last.reshape(200 * n_out, -1)], axis=1)
        total = total + rows.T @ rows / points
    return np.linalg.eigvalsh(total)


def ratios(name, sizes, points, levels):
    act = kc.activation(name)
    values = sampled_fisher(act, sizes, 1.3, points, 0)
    return np.quantile(values, levels) / fisher_spectrum(act, *sizes, sigma_w=1.3).quantile(levels)


@pytest.mark.parametrize(("name", "sizes"), [("tanh", (20, 20, 20)), ("sin", (12, 20, 16)), ("identity", (12, 20, 16))])
def test_one_hidden_layer(name, sizes):
    """The upper part of the spectrum, where sizes of 20 are large enough."""
    np.testing.assert_allclose(ratios(name, sizes, 3000, [0.7, 0.85, 0.95]), 1, atol=0.16)


def test_small_eigenvalues_follow_as_networks_grow():
    """Those of the first layer carry |v_a|²/n_L, which spreads by √(2/n_L); at sizes of 32 the ratios are 0.81 and 0.88."""
    small, large = (np.abs(ratios("tanh", (n,) * 3, 3000, [0.1, 0.3]) - 1) for n in (8, 20))
    assert (large < 0.8 * small).all()


def test_a_linear_network_has_zeros():
    """Its parameters move the product of two matrices of rank 10."""
    found = fisher_spectrum("identity", 30, 10, 20)
    positive = found.weights[found.values > 1e-12].sum() * 10 * 50
    # rank of (U, V) -> UV is width (n_in + n_out - width)
    assert positive == pytest.approx(10 * (30 + 20 - 10))


def test_karakida_akaho_amari():
    """κ from the order parameters of their mean field theory, by quadrature: tanh, three hidden layers, σ_w² = 3."""
    w2, b2, n, m = 3.0, 0.64, 30, 1000
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, m))
    x *= np.sqrt(m) / np.linalg.norm(x, axis=1, keepdims=True)

    def gauss(f):
        return quad(lambda z: f(z) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi), -9, 9)[0]

    def pair(f, q, c):
        # inner integral over the rest of the second variable by Gauss–Hermite
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        rest = np.sqrt(max(q - c * c / q, 0))
        return gauss(
            lambda z: f(np.sqrt(q) * z) * (weights @ f(c / np.sqrt(q) * z + rest * nodes)) / np.sqrt(2 * np.pi)
        )

    def slope(u):
        return 1 / np.cosh(u) ** 2

    hats, lines, q, c = [(1.0, 0.0)], [], w2 + b2, b2
    for _ in range(3):
        hats.append((gauss(lambda z, q=q: np.tanh(np.sqrt(q) * z) ** 2), pair(np.tanh, q, c)))
        lines.append((gauss(lambda z, q=q: slope(np.sqrt(q) * z) ** 2), pair(slope, q, c)))
        q, c = w2 * hats[-1][0] + b2, w2 * hats[-1][1] + b2
    back = [(1.0, 1.0)]
    for on, off in reversed(lines):
        back.append((w2 * on * back[-1][0], w2 * off * back[-1][1]))
    kappa = [m * sum(a[i] * b[i] for a, b in zip(reversed(back), hats, strict=True)) for i in (0, 1)]

    net = kc.MLP("tanh", depth=4, sigma_w=np.sqrt(w2), beta=np.sqrt(b2))
    parameters = 3 * m * m + m
    found = fisher_statistics(standard_theta(net, x, [m] * 3), parameters)
    # biases, of order 1/M, and angles that differ by 1/√M are left out there
    assert found.mean == pytest.approx(kappa[0] / parameters, rel=0.01)
    assert found.mean_field_largest == pytest.approx((n - 1) / n * kappa[1] + kappa[0] / n, rel=0.01)
    assert found.largest == pytest.approx(found.mean_field_largest, rel=0.01)
    assert found.mean_field_second == pytest.approx(
        ((n - 1) / n * kappa[1] ** 2 + kappa[0] ** 2 / n) / parameters, rel=0.02
    )
    assert found.second == pytest.approx(found.mean_field_second, rel=0.01)


@pytest.mark.parametrize("wrong", [{"sigma_w": 0.0}, {"quantiles": 0}, {"sigma_w": -1.0}])
def test_what_is_refused(wrong):
    with pytest.raises(InputError):
        fisher_spectrum("tanh", 3, 3, 3, **wrong)
