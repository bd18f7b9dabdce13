"""How a text is a table: comments, separator, names in the first row."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from kernelcalc.datasets.columns import names_labels, names_rows
from kernelcalc.errors import DataFileError

# Characters of a line in a message.
_SHOWN_OF_A_LINE = 40
# Lines looked at for the separator and for names; all are checked when they are read.
_SAMPLE = 200
# Up to here whole numbers 0, 1, 2, ... above whole numbers may well be a point.
_FEW_COLUMNS = 7
# Cells that stand for no value; the last ones may be names of classes.
NO_LABEL = frozenset(
    {"", "na", "n/a", "n.a.", "nan", "null", "(null)", "\\n", "nil", "?", "<na>", "nat", "nan(ind)", "not available"}
    | {"#n/a", "#na", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!"}
    | {"1.#ind", "-1.#ind", "1.#inf", "-1.#inf", "1.#qnan", "-1.#qnan"}
)
MISSING = NO_LABEL | {"none", "-", "--", "---", ".", "..", "...", "*", "missing", "unknown", "undefined", "tbd"}
# The separator of a text without one.
ONE_COLUMN = "\t"
_WHOLE = re.compile(r"\d+")
# Numbers that are not written as such: 1,500.5, 1_000, 1/2, 50%, 1+2j, 0x10, a typographic minus.
_BROKEN_NUMBER = re.compile(
    r"[-+\u2212]?\.?\d[\d.,_']*(?:[eEdD][-+\u2212]?\d+)?\s*(?:%|(?:[-+][\d.]+)?[jJ]|/\d+)?|0[xX][\da-fA-F]+"
)
_WRITTEN_NUMBER = r"[-+\u2212]?\s?\.?\d[\d.,'\u2019_\s]*(?:[eE][-+\u2212]?\d+)?"
# Numbers with signs of money, of parts or of inequality, in brackets, with an imaginary part; dates and times of day.
_OTHER_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        _BROKEN_NUMBER.pattern,
        rf"[<>\u2264\u2265~\u2248]?\s*[$\u20ac\xa3\xa5\u20b9]?\s*{_WRITTEN_NUMBER}\s*[$\u20ac\xa3\xa5\u20b9%\u2030\xb0]?",
        rf"\({_WRITTEN_NUMBER}\)",
        r"[-+]?[\d.]*[-+][\d.]+\s?[ij]",
        r"\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2})?(?:[T ].*)?",
        r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}(?:[T ].*)?",
        r"\d{1,2}:\d{2}(?::\d{2}.*)?\s*(?:[ap]m)?",
        r"(?:\d{1,2}[ .-]+)?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ .,-]+\d{1,4}.*",
    )
)
_WITH_UNIT = re.compile(
    rf"{_WRITTEN_NUMBER}(?:(?<=\s)([^\W\d].*)|(kg|mg|cm|mm|km|ms|[kmg]?hz|[km]v|usd|eur|lbs?|ft|px|db|ev|mol|ml|min|sec|days?|years?))",
    re.IGNORECASE,
)
# Behind white space, but for what Excel writes instead of a number.
_COMMENT = re.compile(r"\s#(?!(?:N/A|DIV/0!|VALUE!|REF!|NAME\?|NUM!|NULL!)).*$")
_COMMENT_LINE = re.compile(r"\s*(?:#(?!(?:N/A|DIV/0!|VALUE!|REF!|NAME\?|NUM!|NULL!))|%|//)")
_TRUTH = frozenset({"true", "false"})
# Excel's line that names the separator.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?')
# A cell in quotes between commas.
_QUOTED_CELL = re.compile(r'(?:^|,)\s*"[^"]*"\s*(?:,|$)')


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A text as rows of cells.

    Attributes
    ----------
    lines : list of str
        The rows, without names, comments and empty lines.
    separator : str
        One character; a space stands for any white space.
    names : tuple of str, or None
        Names of the columns.
    notes : tuple of str
        Where the names come from, if not plainly from the first row.
    """

    lines: list[str]
    separator: str
    names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


def layout(
    text: str, source: str, header: bool | None = None, decimal: str = ".", separator: str | None = None
) -> Layout:
    r"""Find comments, separator and names.

    Parameters
    ----------
    text : str
    source : str
        File, for messages.
    header : bool, optional
        Whether the first row has names; by default as it looks.
    decimal : {".", ","}
    separator : str, optional
        By default the one that fits best.

    Raises
    ------
    DataFileError
        No row, or a first row that may be names or a point.

    Examples
    --------
    >>> found = layout("# a comment\nu;v;kind\n1;2;cat\n", "f.csv")
    >>> found.separator, found.names, found.lines
    (';', ('u', 'v', 'kind'), ['1;2;cat'])
    """
    lines, comments, doubtful = _rows(text)
    named = _SEPARATOR_LINE.fullmatch(lines[0].rstrip()) if lines else None
    if named is not None:
        separator, lines = separator or named[1], lines[1:]
    if not lines:
        what = f"comments alone, {comments[0].text[:_SHOWN_OF_A_LINE]}, in" if comments else "an empty file"
        raise DataFileError("at least one data point", f"{what} {source}")
    separator = separator or _separator(lines[:_SAMPLE], decimal)
    cells = [split_line(line, separator) for line in lines[:_SAMPLE]]
    found = is_header(cells, source) if header is None else header
    notes = _said_of_comments(comments, separator, len(cells[0]), source)
    for line in doubtful:
        if line is not lines[0] or not found:
            cell = split_line(line, separator)[-1].strip()
            raise DataFileError(
                "a text or a comment, plainly",
                f"{cell} in row {lines.index(line) - found} of {source}",
                "put a text in quotes, take a comment out",
            )
    if found:
        names = tuple(cell.strip() for cell in cells[0])
        if not (header or len(lines) > 1):
            if "\n" in lines[0]:
                raise DataFileError("quotes that close", f"{lines[0].splitlines()[0][:_SHOWN_OF_A_LINE]} in {source}")
            raise DataFileError("at least one data point", f"names alone, {', '.join(names)}, in {source}")
        plain = all(is_number(name, decimal) for name in names if name)
        taken = (f"first row taken as names: {', '.join(names[:3])}, ...",) if plain else ()
        return Layout(lines=lines[1:], separator=separator, names=names, notes=(*taken, *notes))
    if header is None and comments and comments[0].above:
        last = [one for one in comments if one.above][-1]
        names = tuple(cell.strip() for cell in split_line(last.body, separator))
        if len(names) == len(cells[0]) and not any(is_number(name, decimal) for name in names):
            taken = ("names from the comment above",)
            return Layout(lines=lines, separator=separator, names=names, notes=(*taken, *notes))
    doubt = header is None and _counts_from_one(cells)
    taken = (f"first row {', '.join(cells[0])} taken as a point (--header if these are names)",) if doubt else ()
    return Layout(lines=lines, separator=separator, names=None, notes=(*taken, *notes))


@dataclass(frozen=True, kw_only=True)
class _Comment:
    """A line that is one, and whether it stands above all rows."""

    text: str
    above: bool

    @property
    def body(self) -> str:
        """What it says."""
        return self.text.lstrip("#%/").strip()


def _rows(text: str) -> tuple[list[str], list[_Comment], list[str]]:
    """Lines that are rows, with the line ends within quotes; comments; the rows whose end may be a comment or a text."""
    lines: list[str] = []
    comments: list[_Comment] = []
    doubtful: list[str] = []
    quoted = False
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if quoted:
            lines[-1] += f"\n{line}"
        elif not line.strip():
            continue
        elif _COMMENT_LINE.match(line):
            comments.append(_Comment(text=line.strip(), above=not lines))
            continue
        else:
            end = _COMMENT.search(line) if "#" in line and '"' not in line else None
            before = "" if end is None else line[: end.start()]
            number = looks_like_number(re.split(r"[\s,;|]", before.rstrip())[-1] or "0")
            lines.append(before if end is not None and number else line)
            doubtful += [] if end is None or number else [line]
        quoted ^= line.count('"') % 2 == 1
    return lines, comments, doubtful


def _said_of_comments(comments: Sequence[_Comment], separator: str, width: int, source: str) -> tuple[str, ...]:
    """How many comments look like rows that are left out.

    Raises
    ------
    DataFileError
        A line that may be a row whose first cell begins with the sign of a comment, such as #python,1,2.
    """
    rows = 0
    for one in comments:
        cells = [cell.strip() for cell in split_line(one.body, separator)]
        if len(cells) != width or not any(map(looks_like_number, cells)):
            continue
        if looks_like_number(cells[0]):
            rows += 1
        elif separator != " " and width > 1 and not one.text.lstrip("#%/")[:1].isspace():
            raise DataFileError(
                "comments that are plainly none of the rows",
                f"{one.text[:_SHOWN_OF_A_LINE]} in {source}",
                "take the line out, or put its first cell in quotes",
            )
    return (f"left out: {rows} comment{'s'[: rows - 1]} that look{'s'[rows - 1 :]} like a row",) if rows else ()


def split_line(line: str, separator: str) -> list[str]:
    """Cells of one line.

    Examples
    --------
    >>> split_line('1, "a, b"', ","), split_line(" 1   2", " ")
    (['1', 'a, b'], ['1', '2'])
    """
    if '"' not in line:
        return line.split() if separator == " " else [cell.lstrip(" ") for cell in line.split(separator)]
    try:
        return next(
            csv.reader([line.strip() if separator == " " else line], delimiter=separator, skipinitialspace=True)
        )
    except csv.Error:
        # quotes within a cell, as under a separator that is not the right one
        return [line]


def _separator(lines: Sequence[str], decimal: str) -> str:
    """The separator under which most rows have one number of cells, at least two, then most cells are numbers."""
    best, found = (0.5, 0.0), ONE_COLUMN
    quoted = any(_QUOTED_CELL.search(line) for line in lines)
    for separator in (ONE_COLUMN, ";", ",", "|", " "):
        # a decimal comma within quotes leaves those between quoted cells to separate
        if separator == decimal and not quoted:
            continue
        # A row of names does not tell how many columns there are.
        rows = [split_line(line, separator) for line in lines[1:] or lines]
        widths = Counter(len(row) for row in rows if len(row) > 1)
        cells = [cell for row in rows for cell in row]
        if widths:
            share = max(widths.values()) / len(rows)
            # A decimal comma that was not asked for shows the separator all the same.
            best, found = max(
                (best, found), ((share, sum(map(looks_like_number, cells)) / len(cells)), separator), key=_first
            )
    return found


def _first(scored: tuple[tuple[float, float], str]) -> tuple[float, float]:
    return scored[0]


def is_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell is a number, or says that it is none (nan)."""
    cell = cell.strip()
    if decimal == ",":
        cell = cell.replace(",", ".", 1)
    try:
        float(cell)
    except ValueError:
        return False
    # Python reads digits of all scripts
    return "_" not in cell and cell.isascii()


def _is_value(cell: str) -> bool:
    return looks_like_number(cell) or cell.casefold() in _TRUTH


def looks_like_number(cell: str) -> bool:
    """Whether a cell is a number with a decimal point or a decimal comma."""
    return is_number(cell) or is_number(cell, ",")


def is_measured(cells: Iterable[str]) -> bool:
    """Whether texts are numbers in another form or with one unit, dates or times: measurements, not names of classes.

    Examples
    --------
    >>> [is_measured(cells) for cells in (["1,234,567", "2"], ["5 kg", "6 kg"], ["2020-01-31"], ["1st", "2nd"], ["a"])]
    [True, True, True, False, False]
    """
    units = set()
    for cell in cells:
        if any(form.fullmatch(cell) for form in _OTHER_FORMS):
            continue
        found = _WITH_UNIT.fullmatch(cell)
        if found is None:
            return False
        units.add(found[1] or found[2])
    return len(units) <= 1


def is_header(rows: Sequence[Sequence[str]], source: str) -> bool:
    """Whether the first of some rows has names instead of values.

    It has where a column of numbers begins with a text; where an index without a name, a known name of labels or the
    numbers 0, 1, 2, ... show it, or 1, 2, 3, ... above decimal numbers or above many columns.

    Raises
    ------
    DataFileError
        Whole numbers, numbers that are not written as such, or a text that occurs once in a column of classes: names or
        a point.
    """
    first, rest = [cell.strip() for cell in rows[0]], rows[1:]
    columns = [[row[i].strip() for row in rest if i < len(row)] for i in range(len(first))]
    while len(first) > 1 and not first[-1]:
        first, columns = first[:-1], columns[:-1]
    text = [i for i, cell in enumerate(first) if cell.casefold() not in MISSING and not _is_value(cell)]
    numbers = [cell for i, cell in enumerate(first) if i not in text and cell]
    whole = all(_WHOLE.fullmatch(cell) for cell in numbers)
    counted = [str(i) for i in range(len(numbers))]
    if text and not numbers and not any(map(looks_like_number, chain(*columns))):
        return True
    if text:
        known = any((names_labels(first[i]) or names_rows(first[i])) and first[i] not in columns[i] for i in text)
        above = any(sum(map(looks_like_number, columns[i])) > len(columns[i]) / 2 for i in text)
        if (known and not numbers) or (above and (whole or known)):
            if all(_BROKEN_NUMBER.fullmatch(first[i]) for i in text) or (numbers and not known):
                _unclear(", ".join(first), source)
            return True
        if known and numbers == counted:
            numeric = [column for i, column in enumerate(columns) if i not in text]
            return _numbers_are_names(numbers, counted, numeric, source)
        for i in text if whole else ():
            _refuse_unless_recurring(first[i], columns[i], source)
        return False
    if not rest or len(numbers) < 2 or not whole:
        return False
    if not first[0] and numbers == counted:
        return True
    return len(numbers) == len(first) and _numbers_are_names(numbers, counted, columns, source)


def _refuse_unless_recurring(cell: str, column: Sequence[str], source: str) -> None:
    """A text above classes that each occur again may be the name of the column."""
    counts = Counter(column)
    if len(counts) > 1 and cell not in counts and min(counts.values()) > 1:
        _unclear(cell, source)


def _numbers_are_names(
    numbers: Sequence[str], counted: Sequence[str], columns: Sequence[Sequence[str]], source: str
) -> bool:
    """Whether whole numbers above the columns are names: 0, 1, 2, ... or 1, 2, 3, ..., or different ones above decimals."""
    full = [[cell for cell in column if cell.casefold() not in MISSING] for column in columns]
    decimals = [[not _WHOLE.fullmatch(cell.removeprefix("-")) for cell in column] for column in full]
    if numbers == counted:
        if any(map(any, decimals)) or len(numbers) > _FEW_COLUMNS:
            return True
        _unclear(", ".join(numbers), source)
    if numbers == [*counted[1:], str(len(numbers))]:
        # Columns of decimals, and perhaps of classes, none of both.
        measured = any(column and all(column) for column in decimals) and all(any(c) == all(c) for c in decimals if c)
        if len(numbers) > _FEW_COLUMNS or (measured and len(numbers) > 2):
            return True
    if all(map(all, decimals)) and any(decimals) and len(set(numbers)) == len(numbers) and len(columns[0]) > 2:
        _unclear(", ".join(numbers), source)
    return False


def _counts_from_one(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of several rows is 1, 2, 3, ..., which may be names."""
    first = [cell.strip() for cell in rows[0]]
    return len(rows) > 1 and len(first) > 2 and first == [str(i) for i in range(1, len(first) + 1)]


def _unclear(what: str, source: str) -> None:
    raise DataFileError(
        "a first row that is plainly names or plainly a point",
        f"{what} in {source}",
        "say --header or --no-header (header=True or False in Python)",
    )
