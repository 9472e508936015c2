"""Columns of two classes that are cut from a column of values: guesses of ``etab data init``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etab.datasets.own.columns import column_numbers, label_name, list_of, quoted
from etab.readers.table import is_blank

_IS_VALUE = 'kind = "value"'
_IS_CLASSES = 'kind = "classes"'
# With this many rows of each class, a value that divides them does not do so by chance.
_LEAST_ROWS = 5
# Powers of ten between which a round number is looked for.
_LARGEST_POWER = 6
_SMALLEST_POWER = -6


@dataclass(frozen=True, slots=True)
class ClassCut:
    """Two classes that lie on two sides of a number.

    Attributes:
        above: The class of values from the number on.
        below: The class of values below it.
        at: The number, as round as the values allow.
    """

    above: str
    below: str
    at: float


def class_cut(classes: Sequence[str], values: Sequence[float | None]) -> ClassCut | None:
    """Tell whether a number divides values into two classes.

    Args:
        classes: (n,) cells of a column of classes.
        values: (n,) values of the same rows; None where a row has none.

    Returns:
        The cut; None where there is none, a row has a class and no value, there are not two
        classes, or a class has fewer than five rows.

    Example:
        >>> classes = ["no", "yes"] * 5
        >>> class_cut(classes, [62, 41, 55, 30, 58, 49, 51, 38, 64, 45])
        ClassCut(above='no', below='yes', at=50.0)
    """
    of_class: dict[str, list[float]] = {}
    for name, value in zip(classes, values, strict=True):
        if is_blank(name):
            continue
        if value is None:
            return None
        of_class.setdefault(name, []).append(value)
    if len(of_class) != 2 or min(map(len, of_class.values())) < _LEAST_ROWS:
        return None
    below, above = sorted(of_class, key=lambda name: min(of_class[name]))
    highest_below = max(of_class[below])
    lowest_above = min(of_class[above])
    if highest_below >= lowest_above:
        return None
    return ClassCut(above, below, _roundest(highest_below, lowest_above))


def _roundest(low: float, high: float) -> float:
    """The roundest number above ``low`` and not above ``high``."""
    for power in range(_LARGEST_POWER, _SMALLEST_POWER - 1, -1):
        for half in (10, 5):  # 100, 50, 10, 5, ...
            step = half * 10.0 ** (power - 1)
            number = round(math.floor(high / step) * step, -_SMALLEST_POWER)
            if low < number <= high:
                return number
    return high


def unique_cuts(
    classes: Mapping[str, Sequence[str]], values: Mapping[str, Sequence[float | None]]
) -> tuple[dict[str, tuple[str, ClassCut]], list[str]]:
    """Find the value that each column of two classes is cut from.

    Args:
        classes: Cells of the columns of classes, by column.
        values: Values of the columns of values, by column.

    Returns:
        (cuts, remarks): the column of values and the cut by column of classes, and a sentence for
        each column of classes with a cut.
    """
    cuts: dict[str, tuple[str, ClassCut]] = {}
    remarks: list[str] = []
    for name, cells in classes.items():
        found = [(of, cut) for of, numbers in values.items() if (cut := class_cut(cells, numbers))]
        if len(found) == 1:
            ((of, cut),) = found
            cuts[name] = (of, cut)
            remarks.append(
                f"{name} was taken for {of} below {cut.at:g} ({cut.below!r}); remove value and "
                "below of its label if it is found in another way"
            )
        elif found:
            words = " and of ".join(of for of, _ in found)
            remarks.append(
                f"{name} equals a cut of {words}; write value and below into its label if one of "
                "them defines it"
            )
    return cuts, remarks


def with_cuts(
    sections: Mapping[str, list[str]], cells: Mapping[str, Sequence[str]]
) -> tuple[dict[str, list[str]], list[str]]:
    """Write into the sections of labels which classes are cut from which values.

    Args:
        sections: Lines of TOML of the label of each column.
        cells: Cells of each column.

    Returns:
        (sections, remarks): the sections, with the class of values below the cut last, and a
        sentence for each label that is cut from another one.
    """
    values = {
        column: column_numbers(column, cells[column])
        for column, lines in sections.items()
        if _IS_VALUE in lines
    }
    classes = {column: cells[column] for column, lines in sections.items() if _IS_CLASSES in lines}
    cuts, remarks = unique_cuts(classes, values)
    written = dict(sections)
    for column, (value, cut) in cuts.items():
        at = int(cut.at) if cut.at == int(cut.at) else cut.at
        written[column] = [
            *(line for line in sections[column] if not line.startswith("classes = ")),
            f"classes = {list_of([cut.above, cut.below])}",
            f"value = {quoted(label_name(value))}",
            f"below = {at!r}",
        ]
    return written, remarks
