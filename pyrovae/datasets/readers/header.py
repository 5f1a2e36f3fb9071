"""Whether the first line of a CSV file is a header.

words above a column of numbers or dates     a header
an empty cell above row names                a header
0, 1, 2, ... above cells of another sort     a header
numbers above every column of numbers        a row, even if other columns hold words
words above words                            a row if a word occurs again below, in a column where
                                             words repeat; else a header
"""

from __future__ import annotations

from collections.abc import Sequence

from pyrovae.cures import cure
from pyrovae.datasets.readers.cells import is_missing, number_of
from pyrovae.datasets.readers.dates import AmbiguousDates, days_of
from pyrovae.errors import InputError

__all__ = ["has_header"]


def has_header(first: Sequence[str], body: Sequence[Sequence[str]], where: object) -> bool:
    """Whether the fields `first` are names of the columns of `body`.

    Raises:
        InputError: if the line may be either.

    Example:
        >>> has_header(["a", "b"], [["1", "x"], ["2", "y"]], "t.csv")
        True
        >>> has_header(["5.1", "setosa"], [["4.9", "setosa"], ["6.2", "virginica"]], "t.csv")
        False
    """
    if not body:
        return not all(_is_number(cell) for cell in first)
    columns = [[row[i] for row in body if not is_missing(row[i])] for i in range(len(first))]
    if len(first) > 1 and first[0] == "" and any(first) and all(row[0] for row in body):
        return True  # row names have no name
    sorts = [_sort(cells) for cells in columns]
    if any(
        sort not in ("words", "") and _is_word(cell, sort) for cell, sort in zip(first, sorts, strict=True)
    ):
        return True
    places = [i for i, cell in enumerate(first) if cell and _is_number(cell)]
    if _is_running([first[i] for i in places]) and _unlike(
        [first[i] for i in places], [columns[i] for i in places], where, whole=len(places) == len(first)
    ):
        return True
    if any(cell and sort in ("numbers", "dates") for cell, sort in zip(first, sorts, strict=True)):
        return False
    if all(_is_number(cell) or is_missing(cell) for cell in first):
        return False
    return not any(cell and _occurs(cell, cells) for cell, cells in zip(first, columns, strict=True))


def _occurs(cell: str, cells: Sequence[str]) -> bool:
    """Whether a cell occurs again below, other than once among ten or more unique cells."""
    return cell in cells and not (len(cells) >= 10 and len(set(cells)) == len(cells))


def _sort(cells: Sequence[str]) -> str:
    """What most cells hold: "numbers", "dates" or "words"; "" if there are no cells."""
    if not cells:
        return ""
    if sum(map(_is_number, cells)) > len(cells) / 2:
        return "numbers"
    return "dates" if _are_dates(list(dict.fromkeys(cells))) else "words"


def _is_word(cell: str, sort: str) -> bool:
    """Whether a cell of the first line is of another sort than its column of numbers or dates."""
    if not cell or is_missing(cell):
        return False
    return not _are_dates([cell]) if sort == "dates" else not _is_number(cell)


def _is_number(cell: str) -> bool:
    return number_of(cell) is not None or number_of(cell, ",") is not None


def _are_dates(words: list[str]) -> bool:
    try:
        return days_of(words) is not None
    except AmbiguousDates:
        return True


def _is_running(cells: Sequence[str]) -> bool:
    """Whether cells are consecutive whole numbers (two or more), or a single 0."""
    if not cells or not all(cell.isdecimal() for cell in cells):
        return False
    numbers = [int(cell) for cell in cells]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers))) and (
        len(cells) > 1 or numbers == [0]
    )


def _unlike(first: Sequence[str], columns: Sequence[Sequence[str]], where: object, *, whole: bool) -> bool:
    """Whether consecutive numbers differ in kind from the cells below.

    Raises:
        InputError: if the numbers may also be a row.
    """
    rows = [list(row) for row in zip(*columns, strict=False)]
    if whole and len(first) > 3 and any(_is_running(row) for row in rows):
        raise _unclear(first, where)
    pairs = list(zip(map(int, first), columns, strict=True))
    if any(len(cells) > 1 and _is_running([str(start), *cells]) for start, cells in pairs):
        return False
    if any(sum(not cell.lstrip("+-").isdecimal() for cell in cells) > len(cells) / 2 for _, cells in pairs):
        return True
    outside, far = [], []
    for cell, cells in pairs:
        numbers = [number for number in map(number_of, cells) if number is not None]
        low, high = min(numbers, default=cell), max(numbers, default=cell)
        outside.append(not low <= cell <= high)
        far.append(not 2 * low - high <= cell <= 2 * high - low)
    if len(first) > 3:
        return any(outside) or (whole and int(first[0]) <= 1)
    if any(outside) and not all(far):
        raise _unclear(first, where)
    return all(far)


def _unclear(first: Sequence[str], where: object) -> InputError:
    shown = ", ".join(first[:4]) + (", ..." if len(first) > 4 else "")
    how = cure("header=True or header=False", "--header true or --header false")
    return InputError(f"the first line of {where} ({shown}) may be a header or a row: say which with {how}")
