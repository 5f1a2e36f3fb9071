"""Which rows are for learning, which for choosing, which for judging.

    order = randperm(N; split_seed)[:count];  test | validation | training = order

By default a fifth of the rows (rounded up) is for testing and a tenth for validation. A set that brings
its own test set keeps it, and gives up to 10,000 rows (at most a sixth) of the rest to validation.
"""

from __future__ import annotations

import math
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.errors import InputError

__all__ = ["Parts", "parts", "rows_or_share"]


class Parts(NamedTuple):
    """Row numbers of the three parts; `test` counts in the set's own test set when it has one."""

    train: Tensor
    validation: Tensor
    test: Tensor


def parts(
    rows: int,
    *,
    validation: int | float | None = None,
    test: int | float | None = None,
    seed: int = 0,
    count: int | None = None,
    own_test: int | None = None,
    held_out: int = 10_000,
    at_most: int | None = None,
) -> Parts:
    """Row numbers of training, validation and test set.

    Arguments:
        rows: number of rows, without the set's own test set.
        validation: rows (int) or share (float) for validation.
        test: rows (int) or share (float) for testing.
        seed: of the permutation.
        count: rows to keep in all; an own test set is cut in proportion.
        own_test: rows of the set's own test set.
        held_out: validation rows at most by default beside an own test set.
        at_most: rows that validation and test may have each.

    Raises:
        InputError: when a part would be empty.

    Example:
        >>> [len(part) for part in parts(1797)]
        [1257, 180, 360]
    """
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(whole("split_seed", seed, 0)))
    kept = rows if count is None else whole("count", count, 3)
    if kept > rows:
        raise InputError(f"count={count} rows were asked for and there are {rows}: ask for at most {rows}")
    order = order[:kept]
    if own_test is None:
        tests = _size("test", 0.2 if test is None else test, kept, at_most)
        test_rows, order = order[:tests], order[tests:]
    else:
        there = math.ceil(own_test * kept / rows) if test is None else own_test
        test_rows = torch.arange(_size("test", 1.0 if test is None else test, there, None))
    share: int | float = 0.1 if own_test is None else max(1, min(held_out, kept // 6))
    validations = _size("validation", share if validation is None else validation, kept, at_most)
    found = Parts(order[validations:], order[:validations], test_rows)
    if min(len(part) for part in found) == 0:
        raise InputError(
            f"{kept} row{'s' if kept != 1 else ''} cannot be split into three parts that are not empty "
            f"(validation {validations}, test {len(test_rows)}): give more rows or ask for smaller parts"
        )
    return found


def rows_or_share(name: str, value: int | float) -> int | float:
    """The size of a part: a number of rows as an int, or a share up to 1 as a float.

    Raises:
        InputError: when it is neither.
    """
    try:
        plain = number(name, value, above=0.0)
        return whole(name, value) if isinstance(value, Integral) or plain > 1 else plain
    except InputError:
        raise InputError(
            f"{name}={value!r} cannot be used: give a number of rows (1 or more) or a share between 0 and 1"
        ) from None


def _size(name: str, asked: int | float, rows: int, at_most: int | None) -> int:
    asked = rows_or_share(name, asked)
    if isinstance(asked, float):
        size = math.ceil(asked * rows - 1e-9)  # 0.07 * 100 is a little over 7
        return size if at_most is None else min(size, at_most)
    if asked > rows:
        raise InputError(f"{name}={asked} rows were asked for and there are {rows}: ask for fewer")
    if at_most is not None and asked > at_most:
        raise InputError(
            f"{name}={asked} rows of a streamed set are too many to hold: ask for at most {at_most}"
        )
    return asked
