"""What a column probably is: a count, a year, an identifier, a free text, a row number.

References:
    Fisher (1950), "The significance of deviations from expectation in a Poisson series" (the
    dispersion test: (n - 1) variance / mean is chi-square with n - 1 degrees of freedom for Poisson
    counts).
"""

from __future__ import annotations

import re
import shlex

import numpy as np

from pyrovae.cures import cure, option
from pyrovae.datasets.readers.cells import Cells, are_hexadecimal, number_of
from pyrovae.datasets.readers.options import dropping
from pyrovae.errors import InputError

__all__ = ["constant", "example", "kind_of_numbers", "refuse_unlikely", "remarks_on_numbers"]

FAR = 100  # the mean of whole numbers that are amounts, if they vary by less than a fifth of it
LONG_TAILS = 10  # the excess kurtosis above which a normal distribution fits badly; Laplace has 3
SOME = 5  # words among numbers that a message names
MANY = 500  # levels of a category that need ten rows each
ABSENT = frozenset({"missing", "unknown", "refused", "none", "nil", "null", "n.d.", "nd", "inf", "-inf"})
IDENTIFIER = re.compile(r"(^|[_ .])(id|uuid|guid|key|code|number|nr|no)$|[a-z]I[dD]$", re.IGNORECASE)


def constant(cells: Cells) -> str | None:
    """Why a column that never varies is left out, or None."""
    is_number = cells.sort in ("numbers", "dates") and cells.values is not None
    values = cells.values[~np.isnan(cells.values)] if is_number and cells.values is not None else None
    if values is not None and len(values) and values.min() != values.max():
        return None
    present = {word for word in cells.words if word is not None}
    if not present:
        return "it has no entry"
    if values is not None:
        present = {next(iter(present))}
    only = " ".join(next(iter(present)).split())
    return (
        f"its only value is {only if len(only) <= 40 else only[:37] + '...'}" if len(present) == 1 else None
    )


def kind_of_numbers(cells: Cells) -> tuple[str, list[str]]:
    """The kind of a column of numbers, and remarks on it."""
    assert cells.values is not None
    values = cells.values[~np.isnan(cells.values)]
    if cells.sort == "dates":
        return "normal", ["dates, read as days since 1970-01-01"]
    if len(values) and np.isin(values, (0, 1)).all():
        return "bernoulli", []
    some = values[:1000]  # most columns with fractions have one among these
    is_whole = cells.unit is None and bool((some % 1 == 0).all() and (values % 1 == 0).all())
    if is_whole and len(np.unique(values)) == 2:
        return "categorical", ["two values, read as classes"]
    if is_whole and len(values) and (values >= 0).all():
        mean, variance = values.mean(), values.var()
        if mean > FAR and variance < (mean / 5) ** 2:
            return "normal", ["whole numbers far from 0, read as real numbers"]
        if variance > mean:
            return "negativebinomial", []
        if variance < mean / 2 and _underdispersed(values):
            return "normal", ["whole numbers that vary less than counts, read as real numbers"]
        return "poisson", []
    if _excess_kurtosis(values) > LONG_TAILS:
        return "studentt", ["long tails"]
    return "normal", []


def _excess_kurtosis(values: np.ndarray) -> float:
    """The fourth standardised moment less that of the normal distribution; 0 for a constant."""
    if not len(values) or values.min() == values.max():
        return 0.0
    scaled = (values - values.mean()) / np.abs(values - values.mean()).max()  # no overflow
    squares = scaled**2
    return float((squares**2).mean() / squares.mean() ** 2 - 3)


def remarks_on_numbers(cells: Cells, name: str) -> list[str]:
    """What is suspicious about a column of numbers."""
    assert cells.values is not None
    notes = [f"read without its unit {cells.unit}"] if cells.unit and len(cells.unit) < 3 else []
    drop = f"{dropping(name)} leaves it out"
    values = cells.values
    if cells.sort != "numbers" or len(values) < 3 or np.isnan(values).any():
        return notes
    if (np.diff(values) == 1).all():
        return [*notes, f"looks like a row number, {drop}"]
    is_named = IDENTIFIER.search(name) is not None
    if is_named and (values % 1 == 0).all() and len(np.unique(values)) == len(values):
        return [*notes, f"looks like an identifier, {drop}"]
    return notes


def remarks_on_words(cells: Cells) -> list[str]:
    """What is suspicious about a column of words."""
    words = [word for word in cells.words if word is not None]
    levels = len(set(words))
    if levels == len(words):
        return ["every cell is its own level"]
    return (
        [f"{levels:,} levels of {len(words) / levels:.1f} rows each"] if levels > len(words) / 10 > 5 else []
    )


def refuse_unlikely(cells: Cells, name: str, where: object) -> None:
    """Refuse numbers next to words, identifiers, and columns in which every cell is unique.

    Raises:
        InputError: with the likely reading of the column and what to do.
    """
    drop = f"leave the column out with {dropping(name)}"
    categories = f"declare its cells as names with {option('kinds', {name: 'categorical'})}"
    if cells.sort == "identifiers":
        raise InputError(
            f"column {name!r} of {where} holds whole numbers of up to {_digits(cells)} digits "
            f"({example(cells)}), "
            f"which are identifiers and not amounts: {drop}, or {categories}"
        )
    is_mixed = cells.sort == "mixed" and not _are_words(cells)
    if is_mixed and _are_levels(cells):
        cells.notes.append("numbers and words, read as levels")
        return
    if is_mixed and not _mostly_own(cells):
        odd = _odd_words(cells)
        na = ",".join(odd)
        named = (
            f"or name what stands for a missing entry with {cure(f'na={na!r}', f'--na={shlex.quote(na)}')}, "
        )
        raise InputError(
            f"column {name!r} of {where} holds {odd[0]!r} next to numbers: leave such cells empty, "
            + named * (len(odd) <= SOME)
            + f"{drop}, or {categories}"
        )
    if _mostly_own(cells):
        words = [word for word in cells.words if word is not None]
        raise InputError(
            f"column {name!r} of {where} has {len(set(words)):,} different words in {len(words):,} rows "
            f"({words[0][:30]!r}, {words[1][:30]!r}, ...), which look like {likely(words)}: {drop}, or "
            f"{categories}"
        )


def likely(words: list[str]) -> str:
    """Guess what the words of a column are, when nearly all differ.

    Example:
        >>> likely(["5 kg", "7 kg"]), likely(["3f9a1c", "77b0e1"]), likely(["Ann Lee", "Bo Li"])
        ("numbers with the unit 'kg'", 'identifiers (hexadecimal)', 'names')
    """
    sample = words[:1000]
    units = {re.sub(r"^[-+]?[\d.,]+\s*", "", word) for word in sample}
    if len(units) == 1 and "" not in units and all(re.match(r"[-+]?\d", word) for word in sample):
        return f"numbers with the unit {next(iter(units))!r}"
    if are_hexadecimal(sample):
        return "identifiers (hexadecimal)"
    if sum(len(word.split()) for word in sample) > 4 * len(sample):
        return "free text"
    if all(re.search(r"\d", word) and re.search(r"[-/.:]", word) for word in sample):
        return "dates or identifiers"
    if all(re.search(r"\d", word) for word in sample):
        return "identifiers"
    return "names"


def example(cells: Cells) -> str:
    """The first cell that is not a number, for a message."""
    present = [word for word in cells.words if word is not None]
    return repr(next((word for word in present if number_of(word) is None), present[0] if present else ""))


def _odd_words(cells: Cells) -> list[str]:
    """The different words that are not numbers."""
    words = list(dict.fromkeys(word for word in cells.words if word is not None))
    odd = [word for word in words if number_of(word) is None]
    return odd or [word for word in words if not word.isdecimal()] or words


def _digits(cells: Cells) -> int:
    return max(len(word.lstrip("+-")) for word in cells.words if word is not None)


def _mostly_own(cells: Cells) -> bool:
    """Whether nearly every cell is unique."""
    words = [word for word in cells.words if word is not None]
    if cells.levels is not None or "its file declares categories" in cells.notes:
        return False
    levels = len(set(words))
    numbers = sum(number_of(word) is not None for word in set(words))
    if numbers > levels / 2 and cells.sort == "mixed":
        return False
    return (
        (len(words) >= 10 and levels > 0.9 * len(words))
        or (levels > 50 and levels > len(words) / 2)
        or (levels > MANY and levels > len(words) / 10)
    )


def _are_words(cells: Cells) -> bool:
    """Whether hardly any cell next to words is a number, as among titles of films."""
    rows = [word for word in cells.words if word is not None]
    words = {word for word in set(rows) if number_of(word) is None}
    return len(words) > 0.9 * len(set(rows)) and sum(word in words for word in rows) > 0.9 * len(rows)


def _are_levels(cells: Cells) -> bool:
    """Whether numbers next to words are a few levels, most of them words, as in 4, f, r."""
    rows = [word for word in cells.words if word is not None]
    levels = set(rows)
    words = {word for word in levels if number_of(word) is None}
    if len(levels) > 20 or 5 * len(levels) > len(rows) or any(word.lower() in ABSENT for word in words):
        return False
    return len(words) > len(levels) / 2 and sum(word in words for word in rows) > len(rows) / 2


def _underdispersed(values: np.ndarray) -> bool:
    """Whether the variance is far below Poisson's, by a dispersion test at level 1/1000."""
    from scipy.stats import chi2

    statistic = len(values) * values.var() / values.mean()
    return bool(chi2.cdf(statistic, len(values) - 1) < 1e-3)
