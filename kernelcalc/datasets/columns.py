"""Which columns of a table are points, which are labels, and which are neither."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kernelcalc.arguments import check_name
from kernelcalc.datasets.data import Request, listed
from kernelcalc.errors import DataFileError

# Words of which a name of labels has one, and those that may stand beside it.
_LABELS = frozenset(
    {"y", "label", "labels", "lbl", "class", "classes", "target", "targets", "truth", "ytrain", "ytest"}
    | {"species", "digit", "diagnosis", "outcome", "category", "response"}
)
_BESIDE_LABELS = frozenset(
    ["train", "test", "val", "true", "id", "ids", "index", "code", "name", "names", "value", "variable", "number", "no"]
)
# Words with which a name of an index begins or ends, and whole names that are one where the column counts the rows.
_INDICES = frozenset(["id", "ids", "uid", "uuid", "guid", "idx"])
_INDEX_NAMES = frozenset({"index", "row", "rownames", "level 0", "#"})
_COUNTER_NAMES = frozenset(
    {"no", "nr", "number", "num", "row number", "row no", "row nr", "rownum", "record", "obs", "observation", "serial"}
    | {"serial no", "serial number", "sl no", "s no", "case", "key", "sample", "seq"}
)
# Names of texts that tell rows apart.
_NAMES = frozenset({"name", "filename", "file", "file name", "path", "title", "comment", "url"})
_UNIT_OF_A_NAME = re.compile(r"\s*[\[(][^\])]*[\])]\s*$")
EMPTY = "nothing but empty cells"


def words(name: str) -> list[str]:
    """The words of a name in small letters, without a unit in brackets.

    Examples
    --------
    >>> words("PassengerId"), words("y_train"), words("class [1]")
    (['passenger', 'id'], ['y', 'train'], ['class'])
    """
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _UNIT_OF_A_NAME.sub("", name))
    return re.findall(r"[^\W\d_]+|\d+|#", plain.casefold())


def names_labels(name: str) -> bool:
    """Whether a column of this name has labels.

    Examples
    --------
    >>> [names_labels(name) for name in ("Label", "y_train", "class id", "y1", "class a", "price")]
    [True, True, True, False, False, False]
    """
    found = words(name)
    known = _LABELS & {*found}
    # y1 and y2 may be coordinates
    beside = {word for word in found if word.isdecimal()} if known - {"y"} else set()
    return bool(known) and {*found} <= known | _BESIDE_LABELS | beside


def names_rows(name: str) -> bool:
    """Whether a column of this name tells rows apart, as an index does.

    Examples
    --------
    >>> [names_rows(name) for name in ("id", "sample_id", "PassengerId", "#", "label id", "width")]
    [True, True, True, True, False, False]
    """
    found = words(name)
    ends = {*found[:1], *found[-1:]}
    return not names_labels(name) and (bool(ends & _INDICES) or " ".join(found) in _INDEX_NAMES)


def names_count(name: str) -> bool:
    """Whether a column of this name is an index if it counts the rows."""
    return names_rows(name) or " ".join(words(name)) in _COUNTER_NAMES


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Positions of points and labels, and what there is to say about the rest."""

    points: tuple[int, ...]
    labels: tuple[int, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What is known of a table's columns before their roles are.

    Attributes
    ----------
    names : tuple of str
        Names, or where ``named`` is False numbers from 0.
    text : dict of int to str
        Columns that are not numbers, with what they are instead.
    unique : frozenset of int
        Those of them with a different text in every row.
    measured : frozenset of int
        Those of them that are numbers or times in another form, such as 5 kg, 1,234,567 or 2020-01-31.
    counting : bool
        The first column counts the rows, from 0 or 1.
    numbering : frozenset of int
        Columns with the name of an index and a different whole number in every row.
    """

    names: tuple[str, ...]
    named: bool
    source: str
    text: dict[int, str]
    unique: frozenset[int] = frozenset()
    measured: frozenset[int] = frozenset()
    counting: bool = False
    numbering: frozenset[int] = frozenset()

    def find(self, name: str) -> int:
        """Position of a column, by its name or else by its number from 0, negative from the end.

        Raises
        ------
        DataFileError
            No such column, or several.
        """
        found = [i for i, known in enumerate(self.names) if known == name] if self.named else []
        if not found and self.named:
            found = [i for i, known in enumerate(self.names) if known.casefold() == name.strip().casefold()]
        if len(found) > 1:
            raise DataFileError(f"one column {name!r}", f"{len(found)} in {self.source}", "give its number, from 0")
        if found:
            return found[0]
        width = len(self.names)
        if name.removeprefix("-").isdecimal() and -width <= int(name) < width:
            return int(name) % width
        names = listed(self.names) if self.named else f"{width} columns without names"
        raise DataFileError(f"a column {name!r}", f"{names} in {self.source}")

    def roles(self, request: Request) -> Roles:
        """Roles of the columns; nothing is left out that was not asked to be, but an index without a name.

        Raises
        ------
        DataFileError
            The roles are not clear, and the message says what to try.
        """
        dropped, asked = self._all(request.drop), self._all(request.columns)
        notes = [f"left out: {listed([self.names[i] for i in dropped])}"] if dropped else []
        left = [i for i in range(len(self.names)) if i not in dropped]
        named_labels = self._all(request.named_labels)
        if len(request.named_labels) > len(named_labels):
            raise DataFileError(
                "names or numbers of columns as labels, each once",
                f"{listed(list(map(str, request.named_labels)))} for {self.source}",
                "labels themselves come as a pair (X, y)",
            )
        for i in {*dropped} & {*asked, *named_labels}:
            raise DataFileError("columns that are used or left out", f"{self.names[i]} as both in {self.source}")
        for i in self._without_names({*asked, *named_labels}):
            if i in left:
                left.remove(i)
                what = EMPTY if self.text.get(i) == EMPTY else "the index"
                notes.append(f"left out: {what}, column {i} without a name")
        if not asked:
            self._refuse_counters([i for i in left if i not in named_labels])
        labels = self._labels(request, left, asked, named_labels)
        points = asked or [i for i in left if i not in labels]
        points = [i for i in points if i not in labels]
        rest = sorted({*left} - {*points, *labels})
        if rest:
            notes.append(f"left out: {listed([self.names[i] for i in rest])}")
        for i in points:
            if i in self.text:
                plain = "write plain numbers, or " if i in self.measured else ""
                raise DataFileError(
                    "columns of numbers as points",
                    f"{self.text[i]} in column {self.names[i]} of {self.source}",
                    f"{plain}use --labels {self.names[i]} or --drop {self.names[i]} (labels=, drop= in Python)",
                )
        if not points:
            raise DataFileError("at least one column of points", f"{listed(self.names)} in {self.source}")
        if self.counting and 0 in points and len(points) > 1:
            name = self.names[0]
            notes.append(f"column {name} counts the rows: leave it out (--drop {name}) if it is an index")
        return Roles(points=tuple(points), labels=tuple(labels), notes=tuple(notes))

    def _all(self, names: Iterable[str]) -> list[int]:
        return list(dict.fromkeys(self.find(name) for name in names))

    def _without_names(self, asked: set[int]) -> list[int]:
        """Positions of columns to be left out: the index that comes first, twice written too, and empty ones."""
        if not self.named or len(self.names) < 2:
            return []
        names = [name.strip().casefold() for name in self.names]
        # what pandas calls the columns whose name it found empty
        nameless = [not name or name.startswith("unnamed:") for name in names]
        first = next((i for i, known in enumerate(nameless) if not known), 1)
        empty = [i for i, what in self.text.items() if what == EMPTY and nameless[i]]
        return sorted({*range(first), *empty} - asked)

    def _refuse_counters(self, left: list[int]) -> None:
        """Refuse a column with the name of an index that tells all rows apart: it may be one.

        Raises
        ------
        DataFileError
        """
        for i in left if self.named and len(self.names) > 1 else ():
            does = "counts the rows" if self.counting and i == 0 else "is another whole number in every row"
            if i in self.numbering:
                raise DataFileError(
                    "columns that are points or labels",
                    f"column {self.names[i]} of {self.source}, which {does}",
                    f"leave it out, --drop {self.names[i]}, or list all columns that are points, --columns",
                )

    def _labels(self, request: Request, left: list[int], asked: list[int], named: list[int]) -> list[int]:
        if named:
            return named
        if request.labels == "none":
            return []
        if request.labels == "last":
            if len(left) < 2:
                raise DataFileError("at least two columns, points and labels", f"{len(left)} in {self.source}")
            return left[-1:]
        free = sorted({*left} - {*asked})
        known = [i for i in free if self.named and names_labels(self.names[i])]
        coordinates = self.named and {"x", "y", "z"} <= {self.names[i].strip().casefold() for i in free}
        if len(known) > 1 or (known and coordinates):
            which = listed([self.names[i] for i in known])
            raise DataFileError(
                "one column of labels",
                f"{which}, beside x and z, in {self.source}" if coordinates else f"{which} in {self.source}",
                "say which: --labels NAME, or --labels none (labels= in Python)",
            )
        if known and known[0] in self.measured:
            name = self.names[known[0]]
            raise DataFileError(
                "labels that are plain numbers or names of classes",
                f"{self.text[known[0]]} in column {name} of {self.source}",
                f"write plain numbers; --labels {name} makes each text a class (labels= in Python)",
            )
        if known:
            return known
        text = [i for i in free if self.text.get(i, EMPTY) != EMPTY]
        if len(text) == 1 and text[0] not in self.measured and self._are_classes(text[0], text[0] == left[-1]):
            return text
        return []

    def _are_classes(self, i: int, last: bool) -> bool:
        """Whether the only column of text names classes, not rows."""
        if i not in self.unique:
            return True
        name = self.names[i] if self.named else ""
        return last and not names_rows(name) and " ".join(words(name)) not in _NAMES


def request_of(
    labels: object, columns: object, drop: object, header: bool | None, decimal: str, flatten: bool
) -> Request:
    """The request, from what a caller may write: names or numbers, one or several.

    Raises
    ------
    UnknownNameError
        A decimal sign other than point and comma.
    """
    check_name("a decimal sign", decimal, (".", ","))
    one = labels is None or isinstance(labels, str | int)
    wanted = labels if labels is None or isinstance(labels, str) else str(labels) if one else _names(labels)
    return Request(
        labels=wanted, columns=_names(columns), drop=_names(drop), header=header, decimal=decimal, flatten=flatten
    )


def _names(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str | int) or not isinstance(value, Iterable):
        return (str(value),)
    return tuple(str(name) for name in value)
