r"""Predicted limits beside samples at several widths: extrapolation, z-scores, a table with a verdict.

Knows neither theory nor networks; what is compared are numbers under common names.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from kernelcalc.arrays import AnyArray, Array
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.output.comparison import plot_comparison
from kernelcalc.output.files import atomic_file, write_csv
from kernelcalc.results.result import Result

# |z| up to here always passes.
Z_LIMIT = 4.0
# Chance that a true theory fails in any row, which raises the limit when there are many rows or few trials.
FALSE_ALARM = 0.01
# A limit beyond this comes from few trials alone, and is said to.
FEW_TRIALS_LIMIT = 8.0
# Rounding and the finite differences in Λ, relative to the largest number of that name: no standard error counts as
# smaller (parts of a kernel that vanish by symmetry carry rounding only).
_LEAST_ERROR = 1e-9
# Υ comes from sums in float32.
_LEAST_ERROR_OF = {"upsilon": 1e-6}


LABELS = {
    "sigma": "Σ",
    "theta": "Θ",
    "phi": "Φ",
    "lam": "Λ",
    "upsilon": "Υ",
    "xi": "Ξ",
    "trace_s": "Tr S",
    "trace_s2": "Tr S²",
}


class Quantity(NamedTuple):
    """Name of a compared number: what, which scalar of it, at which time."""

    name: str
    part: str = ""
    time: float = 0.0

    @property
    def label(self) -> str:
        """The name as the formulas write it.

        Examples
        --------
        >>> Quantity("lam").label, Quantity("trace_i2").label, Quantity("loss").label
        ('Λ', 'Tr I²', 'loss')
        """
        if self.name[:7] in ("trace_i", "trace_h") and self.name[7:].isdigit():
            power = "" if self.name[7:] == "1" else self.name[7:].translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
            return f"Tr {self.name[6].upper()}{power}"
        return LABELS.get(self.name, self.name)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity: theory, ensembles, extrapolation; the first order in 1/n is NaN where it is not known."""

    quantity: Quantity
    theory: float
    means: tuple[float, ...]
    errors: tuple[float, ...]
    limit: float
    limit_error: float
    bias: float
    bias_error: float
    first_order: float
    first_order_z: float
    z: float
    passed: bool


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Validation(Result):
    """Theory beside ensembles of finite networks.

    Attributes
    ----------
    rows : tuple of Row
        One a quantity.
    widths : tuple of int
    trials : int
        Networks of each width.
    z_limit : float
        A row passes if |z| < z_limit, for its limit and, where the first order in 1/n is known, for its slope.
    title : str
        What was compared.
    """

    rows: tuple[Row, ...]
    widths: tuple[int, ...]
    trials: int
    z_limit: float
    title: str = ""

    @property
    def passed(self) -> bool:
        """Whether every row passed."""
        return all(row.passed for row in self.rows)

    @property
    def failures(self) -> tuple[Row, ...]:
        """Rows that did not pass, the worst first."""
        return tuple(sorted((row for row in self.rows if not row.passed), key=lambda row: -abs(row.z)))

    @property
    def table(self) -> list[dict[str, Any]]:
        """One dict a row.

        Keys: quantity, part, time, theory, mean_w and error_w for every width w, bias, bias_error, first_order, first_order_z,
        limit, limit_error, z, passed.
        """
        records = []
        for row in self.rows:
            name, part, time = row.quantity
            record: dict[str, Any] = {"quantity": name, "part": part, "time": time, "theory": row.theory}
            for width, mean, error in zip(self.widths, row.means, row.errors, strict=True):
                record |= {f"mean_{width}": mean, f"error_{width}": error}
            record |= {"bias": row.bias, "bias_error": row.bias_error}
            record |= {"first_order": row.first_order, "first_order_z": row.first_order_z}
            record |= {"limit": row.limit, "limit_error": row.limit_error}
            records.append(record | {"z": row.z, "passed": row.passed})
        return records

    def row(self, name: str, part: str = "", time: float = 0.0) -> Row:
        """The row of that quantity.

        Raises
        ------
        InputError
            There is none.
        """
        for row in self.rows:
            if row.quantity == (name, part, time):
                return row
        raise InputError("a quantity of this comparison", f"{name!r}, {part!r}, {time}", "see table")

    def columns(self) -> dict[str, AnyArray]:
        """:attr:`table` by columns."""
        table = self.table
        return {name: np.array([record[name] for record in table]) for name in (table[0] if table else ())}

    def dimensions(self) -> dict[str, tuple[str, ...]]:
        return {name: ("row",) for name in self.columns()}

    def array(self, name: str) -> Any:
        return self.columns()[name]

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write :attr:`table` as a CSV file, whole or not at all."""
        return write_csv(path, self.columns())

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write everything as a JSON file, whole or not at all; an infinite z is null."""
        table = [
            {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in record.items()}
            for record in self.table
        ]
        content = {
            "title": self.title,
            "widths": list(self.widths),
            "trials": self.trials,
            "z_limit": self.z_limit,
            "passed": self.passed,
            "table": table,
        }
        with atomic_file(path) as file:
            file.write(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
        return Path(path)

    def plot(self, ax: Any = None, row: Row | None = None) -> Any:
        """Values against 1/width; see :func:`kernelcalc.output.comparison.plot_comparison`. Returns the axes."""
        return plot_comparison(self, ax, row)

    @property
    def resolution(self) -> float:
        """Half of the rows would have failed for a theory that is off by this fraction of its value."""
        seen = [self.z_limit * row.limit_error / abs(row.theory) for row in self.rows if row.theory]
        return float(np.median(seen)) if seen else math.nan

    def text(self, rows: Sequence[Row] | None = None) -> str:
        """The verdict, then the table; in 1.234(56) the error of the last digits is in brackets."""
        return "\n".join([*([self.title] if self.title else []), self._verdict(), self.rows_text(rows)])

    def rows_text(self, rows: Sequence[Row] | None = None) -> str:
        """The table as text, all rows by default; 1st: the slope b that the first order in 1/n predicts."""
        head = ["what", "part", "t", "theory", *(f"n = {n}" for n in self.widths), "n = ∞", "z"]
        lines = [[*head, "bias · n", "1st", "z", ""]]
        for row in self.rows if rows is None else rows:
            label, part, time = row.quantity.label, row.quantity.part, f"{row.quantity.time:.4g}"
            part = part.replace("off-diagonal", "off-diag")
            means = [*zip(row.means, row.errors, strict=True), (row.limit, row.limit_error)]
            cells = [label, part, time, f"{row.theory:.4g}", *(with_error(*mean) for mean in means)]
            slope = [f"{row.bias:.2g}", "", ""]
            if not math.isnan(row.first_order):
                slope[1:] = [f"{row.first_order:.2g}", f"{row.first_order_z:.1f}"]
            lines.append([*cells, f"{row.z:.1f}", *slope, "" if row.passed else "FAILED"])
        return _apart(lines, left=(0, 1, len(lines[0]) - 1))

    def summary(self) -> str:
        """The verdict, a line for each quantity, and every row that failed."""
        lines = [["quantity", "numbers", "largest |z|", "first orders", "largest |z|", "failed"]]
        for label in dict.fromkeys(row.quantity.label for row in self.rows):
            own = [row for row in self.rows if row.quantity.label == label]
            worst, bad = max(abs(row.z) for row in own), sum(not row.passed for row in own)
            slopes = [abs(row.first_order_z) for row in own if not math.isnan(row.first_order)]
            first = [str(len(slopes)), f"{max(slopes):.1f}"] if slopes else ["", ""]
            lines.append([label, str(len(own)), f"{worst:.1f}", *first, str(bad or "none")])
        parts = [*([self.title] if self.title else []), self._verdict(), "", _apart(lines, left=(0,))]
        return "\n".join([*parts, *(["", self.rows_text(self.failures)] if self.failures else [])])

    def _verdict(self) -> str:
        bad, total = len(self.failures), len(self.rows)
        slopes = [abs(row.first_order_z) for row in self.rows if not math.isnan(row.first_order)]
        worst = max([*(abs(row.z) for row in self.rows), *slopes], default=0.0)
        head = f"passed: all {total} quantities" if not bad else f"FAILED: {bad} of {total} quantities"
        head += f" ({len(slopes)} slopes in 1/width)" if slopes else ""
        verdict = f"{head}, largest |z| = {worst:.1f} (limit {self.z_limit:.1f}), {self.trials} networks of each width"
        verdict += f"\na theory off by {100 * self.resolution:.2g} % would have been rejected by half of the quantities"
        if self.z_limit > FEW_TRIALS_LIMIT:
            verdict += (
                f"\nfew networks: up to |z| = {self.z_limit:.0f} passes, so this run can reject little; raise trials"
            )
        return verdict

    def __repr__(self) -> str:
        worst = sorted(self.rows, key=lambda row: -abs(row.z))[:8]
        return self.text(worst if len(self.rows) > 8 else None) + (
            "" if len(self.rows) <= 8 else "; .table has all rows"
        )


def _apart(lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Cells in columns two spaces apart, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = (
        [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    )
    return "\n".join("  ".join(row).rstrip() for row in rows)


def compare(
    theory: Mapping[Quantity, float],
    samples: Mapping[Quantity, Any],
    widths: Sequence[int],
    *,
    title: str = "",
    first_order: Mapping[Quantity, float] | None = None,
) -> Validation:
    r"""Extrapolate ensembles to infinite width and compare with predictions.

    The means of the widths n are fitted by :math:`a + b/n` (weighted least squares with their standard errors); a is the
    extrapolation and :math:`z = (a - theory)/\mathrm{se}(a)`. A row passes if |z| is below the larger of
    :data:`Z_LIMIT` and the quantile of Student's t (trials − 1 degrees of freedom) at which all rows together raise a
    false alarm with a chance of at most :data:`FALSE_ALARM` (Bonferroni).

    Parameters
    ----------
    theory : mapping from Quantity to float
        Predicted limits.
    samples : mapping from Quantity to array (trials, W)
        Independent values at each width.
    widths : sequence of W numbers
        At least two different ones.
    first_order : mapping from Quantity to float, optional
        Predicted coefficients of 1/n of some of them, to which the fitted b are compared.

    Raises
    ------
    InputError, ShapeError
        Quantities that differ, fewer than two widths or trials.

    Notes
    -----
    What is left of order 1/n² is not in the standard error: it grows in weight with the number of trials and is fought
    with larger widths.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> draws = 2 + 3 / np.array([10, 20, 40]) + 0.01 * rng.standard_normal((100, 3))
    >>> report = compare({Quantity("a"): 2.0, Quantity("b"): 2.1}, dict.fromkeys([Quantity("a"), Quantity("b")], draws),
    ...                  (10, 20, 40))
    >>> [row.passed for row in report.rows]
    [True, False]
    """
    sizes = np.asarray(widths, dtype=np.float64)
    if len(set(sizes.tolist())) < 2:
        raise InputError("at least two different widths", f"widths={tuple(widths)}", "the 1/width bias is fitted")
    if theory.keys() != samples.keys():
        odd = sorted(map(str, theory.keys() ^ samples.keys()))
        raise InputError("the same quantities in theory and samples", f"{odd[0]} in one of them only")
    arrays = {quantity: np.asarray(values, dtype=np.float64) for quantity, values in samples.items()}
    trials = len(next(iter(arrays.values())))
    for quantity, values in arrays.items():
        if values.shape != (trials, len(sizes)):
            raise ShapeError(f"samples of the shape ({trials}, {len(sizes)})", f"{values.shape} for {quantity}")
    if trials < 2:
        raise InputError("at least two trials", f"{trials}", "the standard error comes from their spread")
    slopes = {quantity: float(value) for quantity, value in (first_order or {}).items() if quantity in arrays}
    limit = z_limit(len(arrays) + len(slopes), trials)
    scales: dict[str, float] = {}
    for quantity, values in arrays.items():
        sizes_seen = [scales.get(quantity.name, 0.0), abs(theory[quantity]), *np.abs(values.mean(axis=0))]
        # NumPy's maximum, unlike max(), keeps a NaN
        scales[quantity.name] = float(np.max(sizes_seen))
    rows = tuple(
        _row(
            quantity,
            float(theory[quantity]),
            values,
            sizes,
            scales[quantity.name],
            limit,
            slopes.get(quantity, math.nan),
        )
        for quantity, values in arrays.items()
    )
    return Validation(rows=rows, widths=tuple(int(w) for w in widths), trials=trials, z_limit=limit, title=title)


def with_error(value: float, error: float) -> str:
    """Value and standard error, two digits of the error.

    Examples
    --------
    >>> with_error(1.23456, 0.00123), with_error(-250.0, 31.0), with_error(1e-7, 2e-9), with_error(2.0, 0.0)
    ('1.2346(12)', '-250(31)', '1.000(20)e-07', '2')
    """
    if not (math.isfinite(value) and math.isfinite(error)) or error <= 0:
        return f"{value:.4g}"
    power = math.floor(math.log10(max(abs(value), error)))
    shift = power if not -4 <= power < 6 else 0
    scaled, spread = value / 10.0**shift, error / 10.0**shift
    places = max(0, 1 - math.floor(math.log10(spread)))
    if places > 9:
        return f"{value:.4g}"
    shown = f"{scaled:.{places}f}({spread * 10**places:.0f})"
    return shown + (f"e{shift:+03d}" if shift else "")


def z_limit(rows: int, trials: int) -> float:
    """Largest |z| that passes.

    Examples
    --------
    >>> z_limit(1, 1000), round(z_limit(1000, 1000), 2)
    (4.0, 4.44)
    """
    return max(Z_LIMIT, -float(stdtrit(trials - 1, FALSE_ALARM / (2 * rows))))


def _row(
    quantity: Quantity, theory: float, values: Array, widths: Array, scale: float, limit: float, first_order: float
) -> Row:
    means = values.mean(axis=0)
    errors = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    if scale == 0:
        a = b = error = slope_error = z = slope_z = 0.0
    else:
        a, b, error, slope_error = _line(
            1 / widths, means, np.hypot(errors, _LEAST_ERROR_OF.get(quantity.name, _LEAST_ERROR) * scale)
        )
        z, slope_z = (a - theory) / error, (b - first_order) / slope_error
    # a NaN must not pass, unless it says that no first order is known
    passed = bool(abs(z) < limit) and (math.isnan(first_order) or bool(abs(slope_z) < limit))
    return Row(
        quantity=quantity,
        theory=theory,
        means=tuple(means.tolist()),
        errors=tuple(errors.tolist()),
        limit=a,
        limit_error=error,
        bias=b,
        bias_error=slope_error,
        first_order=first_order,
        first_order_z=slope_z if not math.isnan(first_order) else math.nan,
        z=z,
        passed=passed,
    )


def _line(x: Array, y: Array, errors: Array) -> tuple[float, float, float, float]:
    """Weighted least squares y = a + b x: a, b and their standard errors."""
    design = np.stack([np.ones_like(x), x], axis=1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    a, b = covariance @ (design.T @ (y / errors))
    return float(a), float(b), float(np.sqrt(covariance[0, 0])), float(np.sqrt(covariance[1, 1]))
