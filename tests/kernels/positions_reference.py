"""Kernels of networks with positions, written as the theory has them: loops over pairs of positions, the trapezoidal rule.

States are dictionaries of kernels at ((x, p), (x', p')); p is a tuple. Nothing here is from the package.
"""

from __future__ import annotations

import itertools

import numpy as np

NAMES = ("sigma", "theta", "phi", "lam", "upsilon", "xi")
GRID = np.linspace(-8.4, 8.4, 85)
WEIGHTS = np.exp(-GRID * GRID / 2) * (GRID[1] - GRID[0]) / np.sqrt(2 * np.pi)


def tanh_derivatives(z):
    t = np.tanh(z)
    s = 1 - t * t
    return [t, s, -2 * t * s, s * (4 * t * t - 2 * s)]


def expectations(q, qp, c):
    """E[σ^(i)(a) σ^(j)(b)] of tanh by the trapezoidal rule in two standard normals."""
    left = tanh_derivatives(np.sqrt(q) * GRID)
    inner = c / np.sqrt(q) * GRID[:, None] + np.sqrt(max(qp - c * c / q, 0.0)) * GRID[None, :]
    right = [f @ WEIGHTS for f in tanh_derivatives(inner)]
    return {(i, j): float((WEIGHTS * left[i]) @ right[j]) for i in range(4) for j in range(4)}


class State:
    def __init__(self, points, positions, values):
        self.points, self.positions, self.values = points, positions, values

    @classmethod
    def of(cls, x):
        """Before any weights."""
        counts = x.shape[1:-1]
        positions = list(itertools.product(*map(range, counts)))
        values = {
            (a, p, b, r): {name: 0.0 for name in NAMES} | {"sigma": float(x[a][p] @ x[b][r]) / x.shape[-1]}
            for a in range(len(x))
            for p in positions
            for b in range(len(x))
            for r in positions
        }
        return cls(len(x), positions, values)

    def pairs(self, positions):
        return itertools.product(range(self.points), positions, range(self.points), positions)

    def mean(self, positions, sources):
        """``sources(p, p')`` are the pairs of positions averaged over (None: a zero)."""
        values = {}
        for a, p, b, r in self.pairs(positions):
            found = [None if one is None else self.values[a, one[0], b, one[1]] for one in sources(p, r)]
            values[a, p, b, r] = {
                name: sum(0.0 if one is None else one[name] for one in found) / len(found) for name in NAMES
            }
        return State(self.points, positions, values)

    def dense(self, w, beta):
        w2, out = w * w, {}
        for key, k in self.values.items():
            sigma = w2 * k["sigma"] + beta * beta
            out[key] = {
                "sigma": sigma,
                "theta": w2 * k["theta"] + sigma,
                "phi": w2 * k["phi"],
                "lam": w2 * (k["lam"] + k["phi"]),
                "upsilon": w2 * (k["upsilon"] + 2 * k["theta"]),
                "xi": w2 * k["xi"],
            }
        return State(self.points, self.positions, out)

    def tanh(self):
        out = {}
        for (a, p, b, r), k in self.values.items():
            row, column, turned = self.values[a, p, a, p], self.values[b, r, b, r], self.values[b, r, a, p]
            e = expectations(row["sigma"], column["sigma"], k["sigma"])
            left, right = row["theta"] + row["phi"], column["theta"] + column["phi"]
            theta, phi, back = k["theta"], k["phi"], turned["phi"]
            out[a, p, b, r] = {
                "sigma": e[0, 0],
                "theta": theta * e[1, 1],
                "phi": phi * e[1, 1] + left * e[2, 0],
                "lam": k["lam"] * e[1, 1] + theta * (phi * e[2, 2] + left * e[3, 1]),
                "upsilon": k["upsilon"] * e[1, 1] + theta**2 * e[2, 2],
                "xi": k["xi"] * e[1, 1]
                + (phi * back + left * right) * e[2, 2]
                + right * phi * e[1, 3]
                + left * back * e[3, 1],
            }
        return State(self.points, self.positions, out)

    def norm(self):
        out = {}
        for (a, p, b, r), k in self.values.items():
            row, column, turned = self.values[a, p, a, p], self.values[b, r, b, r], self.values[b, r, a, p]
            scale = 1 / np.sqrt(row["sigma"] * column["sigma"])
            left = (row["theta"] + row["phi"]) / row["sigma"]
            right = (column["theta"] + column["phi"]) / column["sigma"]
            out[a, p, b, r] = {
                "sigma": scale * k["sigma"],
                "theta": scale * k["theta"],
                "phi": scale * (k["phi"] - left * k["sigma"]),
                "lam": scale * (k["lam"] - left * k["theta"]),
                "upsilon": scale * k["upsilon"],
                "xi": scale * (k["xi"] - right * k["phi"] - left * turned["phi"] + left * right * k["sigma"]),
            }
        return State(self.points, self.positions, out)

    def conv(self, window, w, beta, padding="circular", stride=1):
        counts = [1 + max(p[axis] for p in self.positions) for axis in range(len(self.positions[0]))]
        windows = (window,) * len(counts) if isinstance(window, int) else window
        outputs = [
            (n - k) // stride + 1 if padding == "valid" else n // stride for n, k in zip(counts, windows, strict=True)
        ]
        offsets = list(
            itertools.product(
                *(range(k) if padding == "valid" else range(-((k - 1) // 2), k // 2 + 1) for k in windows)
            )
        )

        def at(p, o):
            moved = tuple(stride * i + d for i, d in zip(p, o, strict=True))
            if padding == "circular":
                return tuple(i % n for i, n in zip(moved, counts, strict=True))
            return moved if all(0 <= i < n for i, n in zip(moved, counts, strict=True)) else None

        def sources(p, r):
            ends = [(at(p, o), at(r, o)) for o in offsets]
            return [None if None in end else end for end in ends]

        return self.mean(list(itertools.product(*map(range, outputs))), sources).dense(w, beta)

    def pool(self, window, stride):
        counts = [1 + max(p[axis] for p in self.positions) for axis in range(len(self.positions[0]))]

        def around(p):
            return list(itertools.product(*(range(stride * i, stride * i + window) for i in p)))

        positions = list(itertools.product(*(range((n - window) // stride + 1) for n in counts)))
        return self.mean(positions, lambda p, r: list(itertools.product(around(p), around(r))))

    def average(self):
        return self.mean([()], lambda p, r: list(itertools.product(self.positions, self.positions)))

    def flatten(self):
        return self.mean([()], lambda p, r: [(one, one) for one in self.positions])

    def plus(self, other, scale=1.0):
        out = {
            key: {name: k[name] + scale**2 * other.values[key][name] for name in NAMES}
            for key, k in self.values.items()
        }
        return State(self.points, self.positions, out)

    def arrays(self):
        n = range(self.points)
        return {name: np.array([[self.values[a, (), b, ()][name] for b in n] for a in n]) for name in NAMES}
