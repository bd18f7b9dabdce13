"""Cost and accuracy of one expectation by each method, kept as results/methods.json: ``python benchmarks/methods.py``.

Each row evaluates E[f(a)g(b)] for many random covariances at once (q, q' up to 4, |ρ| < 0.99) and compares 20 of them with
30 digits; times are processor time for one expectation.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import mpmath
import numpy as np
from record import Table

import kernelcalc as kc
from kernelcalc.gaussian.covariance import Covariance, make_covariance
from kernelcalc.gaussian.floats import closed as closed_form
from kernelcalc.gaussian.floats import kinds as combination
from kernelcalc.gaussian.floats import quadrature
from kernelcalc.gaussian.floats.layer import LayerExpectations


def covariances(count: int) -> Covariance:
    """Random covariances of moderate size."""
    rng = np.random.default_rng(0)
    q, qp = rng.uniform(0.2, 4, size=(2, count))
    return make_covariance(q, qp, rng.uniform(-0.99, 0.99, count) * np.sqrt(q * qp))


def closed(name: str) -> Callable[[Covariance], np.ndarray]:
    """The closed form of a named activation."""
    atoms = combination.recognise(kc.activation(name))
    return lambda cov: closed_form.expectation(atoms, atoms, cov).value


def series(name: str) -> Callable[[Covariance], np.ndarray]:
    """Mehler series over a Gram matrix, coefficients included."""
    act = kc.activation(name)

    def run(cov: Covariance) -> np.ndarray:
        n = int(cov.q.size**0.5)
        square = Covariance(**{k: getattr(cov, k).reshape(n, n) for k in ("q", "qp", "c", "det")})
        layer = LayerExpectations(act, square.q[:, 0], square.qp[0], ((0, 0),))
        every = slice(0, n)
        return layer.block(every, every, square)[0, 0].ravel()

    return run


def main() -> None:
    """Measure and print."""
    tanh = kc.activation("tanh")
    rows: list[tuple[str, str, Callable[[Covariance], np.ndarray], int]] = [
        ("closed form", "relu", closed("relu"), 100_000),
        ("closed form", "erf", closed("erf"), 100_000),
        ("closed form", "gelu", closed("gelu"), 100_000),
        ("Mehler series, 300 × 300 Gram matrix", "tanh", series("tanh"), 90_000),
        ("polar quadrature", "tanh", lambda cov: quadrature.polar(tanh, tanh, cov, rtol=1e-12).value, 200),
        ("nested panels", "tanh", lambda cov: quadrature.nested(tanh, tanh, cov).value, 20),
    ]
    columns = {"method": "", "f = g": "", "µs each": ".2g", "largest relative error": ".1e"}
    table = Table("methods", columns, keys=2, packages=("numpy", "mpmath", "python-flint"))
    for method, name, run, count in rows:
        cov = covariances(count)
        if "Gram" in method:
            q = np.linspace(0.2, 4, 300)
            cov = make_covariance(q[:, None], q[None, :], cov.rho.reshape(300, 300) * np.sqrt(np.outer(q, q)))
            cov = Covariance(q=cov.q.ravel(), qp=cov.qp.ravel(), c=cov.c.ravel(), det=cov.det.ravel())
        start = time.process_time()
        values = run(cov)
        seconds = (time.process_time() - start) / count
        error = 0.0
        for k in range(0, count, max(1, count // 20)):
            exact = kc.gaussian_expectation(name, name, cov.q[k], cov.qp[k], cov.c[k], dps=30)
            error = max(error, float(abs(mpmath.mpf(float(values[k])) / exact - 1)))
        table.add(method, name, 1e6 * seconds, error)
    for name in ("erf", "tanh"):
        start = time.process_time()
        value = kc.gaussian_expectation(name, name, 1, 2, "0.5", dps=50)
        seconds = time.process_time() - start
        # The enclosure with 70 digits comes from another method (extra "certified").
        ball = kc.gaussian_expectation(name, name, 1, 2, "0.5", dps=70, certified=True)
        with mpmath.workdps(80):
            error = float(abs(value / mpmath.mpf(ball.mid().str(75, radius=False)) - 1))
        table.add("50 digits", name, 1e6 * seconds, error)


if __name__ == "__main__":
    main()
