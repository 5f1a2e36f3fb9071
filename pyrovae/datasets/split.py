"""The split into training, validation and test rows.

    order = randperm(N; split_seed)[:count];  test | validation | training = order

By default a fifth of the rows (rounded up) is for testing and a tenth for validation. A set with
its own test set keeps it, and up to 10,000 other rows (at most a sixth) are for validation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.errors import InputError

__all__ = ["Parts", "own_parts", "parts", "rows_or_share"]


class Parts(NamedTuple):
    """Row numbers of the parts; `test` refers to the set's own test set if it has one."""

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
    """Split rows into training, validation and test set.

    Arguments:
        rows: the number of rows, without the set's own test set.
        validation: rows (int) or share (float) for validation.
        test: rows (int) or share (float) for testing.
        seed: seed of the permutation.
        count: rows to keep in total; the set's own test set shrinks in proportion.
        own_test: number of rows of the set's own test set.
        held_out: the largest default number of validation rows with such a test set.
        at_most: the largest number of validation rows and of test rows.

    Raises:
        InputError: when a part would be empty.

    Example:
        >>> [len(part) for part in parts(1797)]
        [1257, 180, 360]
    """
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(whole("split_seed", seed, 0)))
    total = rows if count is None else whole("count", count, 3)
    if total > rows:
        raise InputError(f"count={count} is more than the {rows} rows that there are: use {rows} or less")
    order = order[:total]
    if own_test is None:
        tests = _size("test", 0.2 if test is None else test, total, at_most)
        test_rows, order = order[:tests], order[tests:]
    else:
        available = math.ceil(own_test * total / rows) if test is None else own_test
        test_rows = torch.arange(_size("test", 1.0 if test is None else test, available, None))
    share: int | float = 0.1 if own_test is None else max(1, min(held_out, total // 6))
    validations = _size("validation", share if validation is None else validation, total, at_most)
    split = Parts(order[validations:], order[:validations], test_rows)
    if min(len(part) for part in split) == 0:
        raise InputError(
            f"{total} row{'s' if total != 1 else ''} cannot be split into three parts that are not empty "
            f"(validation {validations}, test {len(test_rows)}): give more rows or use smaller parts"
        )
    return split


def own_parts(
    names: Sequence[str],
    *,
    validation: int | float | None = None,
    test: int | float | None = None,
    seed: int = 0,
    count: int | None = None,
) -> Parts:
    """Split rows by the given part of each row: "train", "validation" or "test".

    A part without any row is taken from the training rows. `validation` and `test` shorten the
    parts of these names.

    Raises:
        InputError: when a part would be empty.

    Example:
        >>> names = ["train"] * 4 + ["test", "validation"]
        >>> [part.sort().values.tolist() for part in own_parts(names)]
        [[0, 1, 2, 3], [5], [4]]
    """
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(whole("split_seed", seed, 0)))
    total = len(names) if count is None else whole("count", count, 3)
    if total > len(names):
        raise InputError(
            f"count={count} is more than the {len(names)} rows that there are: use {len(names)} or less"
        )
    parts = {part: [i for i in order[:total].tolist() if names[i] == part] for part in Parts._fields}
    for part, size, share in (("test", test, 0.2), ("validation", validation, 0.1)):
        donor = part if parts[part] else "train"
        own = share if donor == "train" else 1.0
        some = _size(part, own if size is None else size, len(parts[donor]), None)
        chosen, rest = parts[donor][:some], parts[donor][some:]
        parts["train"] = rest if donor == "train" else parts["train"]
        parts[part] = chosen
    split = Parts(*(torch.tensor(parts[part], dtype=torch.long) for part in Parts._fields))
    if min(map(len, split)) == 0:
        raise InputError(
            f"{total} rows leave a part of the split empty: give more rows, or use smaller parts"
        )
    return split


def rows_or_share(name: str, value: int | float) -> int | float:
    """Check the size of a part: a number of rows as an int, or a share up to 1 as a float.

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


def _size(name: str, value: int | float, rows: int, at_most: int | None) -> int:
    size = rows_or_share(name, value)
    if isinstance(size, float):
        size = math.ceil(size * rows - 1e-9)  # 0.07 * 100 is a little over 7
        return size if at_most is None else min(size, at_most)
    if size > rows:
        raise InputError(f"{name}={size} is more than the {rows} rows that there are: use fewer")
    if at_most is not None and size > at_most:
        raise InputError(f"{name}={size} is too many rows of a streamed set: use {at_most} or less")
    return size
