"""The checks of numbers and words that users give: values of every kind, and what refuses them."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from pyrovae.checks import number, one_of, whole
from pyrovae.errors import InputError
from tests.support.parts import raises_one_sentence

NOT_NUMBERS = [
    True,
    False,
    np.True_,
    torch.tensor(True),
    None,
    "3",
    b"3",
    [3],
    (3,),
    3j,
    np.ones(1),
    np.ones(2),
]
NOT_NUMBERS += [torch.ones(1), float("nan"), np.float64("nan"), Decimal(3), object(), {}]
ENDLESS = [math.inf, -math.inf, np.float32("inf"), torch.tensor(-math.inf)]


@pytest.mark.parametrize(
    "value",
    [
        3,
        3.0,
        np.int8(3),
        np.uint64(3),
        np.float16(3),
        np.float64(3),
        np.array(3),
        np.array(3.0),
        torch.tensor(3),
        torch.tensor(3.0),
        Fraction(6, 2),
    ],
    ids=repr,
)
def test_scalars_of_every_kind_are_numbers_and_come_back_plain(value):
    assert whole("n", value) == 3
    assert type(whole("n", value)) is int
    assert number("n", value) == 3.0
    assert type(number("n", value)) is float


def test_what_is_not_a_number_is_refused_by_name_and_value():
    for value in [*NOT_NUMBERS, *ENDLESS]:
        said = f"must be a whole number of 1 or more, not {value!r}"
        raises_one_sentence(lambda value=value: whole("epochs", value), "epochs", said)
        said = f"must be a finite number, not {value!r}"
        raises_one_sentence(lambda value=value: number("lr", value), "lr", said)


@pytest.mark.parametrize(
    ("least", "most", "good", "bad", "said"),
    [
        (1, None, [1, 2, 10**12, 2**63 - 1], [0, -1, 1.5, 0.999], "of 1 or more"),
        (1, None, [1], [2**63, 1e300], "from 1 to 9,223,372,036,854,775,807"),
        (0, None, [0, -0.0, 7], [-1, 0.5], "of 0 or more"),
        (-3, None, [-3, 0], [-4], "of -3 or more"),
        (2, 5, [2, 5, 5.0], [1, 6, 5.5, -(10**30)], "from 2 to 5"),
    ],
)
def test_whole_numbers_have_a_range(least, most, good, bad, said):
    bounds = {"least": least} | ({} if most is None else {"most": most})
    for value in good:
        assert whole("n", value, **bounds) == int(value)
    for value in bad:
        with pytest.raises(InputError) as caught:
            whole("n of Part", value, **bounds)
        assert str(caught.value) == f"n of Part must be a whole number {said}, not {value!r}"


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "said"),
    [
        ({}, [0, -1e300, 1e-300], [], ""),
        ({"least": 0}, [0, -0.0, 5], [-1e-9, -1], ", 0 or more"),
        ({"above": 0}, [1e-300, 5], [0, -0.0, -1], ", above 0"),
        ({"most": 1}, [1, -5], [1 + 1e-9], ", 1 or less"),
        ({"below": 1}, [0.999, -5], [1, 2], ", below 1"),
        ({"least": 0, "most": 1}, [0, 1, 0.5], [-0.1, 1.1], " from 0 to 1"),
        ({"least": 0, "below": 1}, [0, 0.99], [1, -0.1], ", 0 or more, below 1"),
        ({"above": 0, "most": 1}, [1, 0.01], [0, 1.01], ", above 0, 1 or less"),
        ({"above": 0, "below": 0.25}, [0.1], [0, 0.25], ", above 0, below 0.25"),
    ],
    ids=str,
)
def test_numbers_have_a_range(bounds, good, bad, said):
    for value in good:
        assert number("x", value, **bounds) == float(value)
    for value in [*bad, *ENDLESS]:
        with pytest.raises(InputError) as caught:
            number("x", value, **bounds)
        assert str(caught.value) == f"x must be a finite number{said}, not {value!r}"


def test_a_word_is_one_of_its_choices():
    for value in ("a", "b", None, True, 3):
        assert one_of("kind", value, ("a", "b", None, True, 3)) is value
    for value, choices, said in (
        ("A", ("a", "b", "c"), "'a', 'b' or 'c', not 'A'"),
        ("c", ("a", "b"), "'a' or 'b', not 'c'"),
        ("b", ("a",), "'a', not 'b'"),
        (1, (True, False, "auto"), "True, False or 'auto', not 1"),
        (0.0, (0, 1), "0 or 1, not 0.0"),
        (None, ("a", "b"), "'a' or 'b', not None"),
        (["a"], ("a", "b"), "'a' or 'b', not ['a']"),
        (np.zeros(2), ("a", "b"), "'a' or 'b', not array([0., 0.])"),
    ):
        with pytest.raises(InputError) as caught:
            one_of("kind", value, choices)
        assert str(caught.value) == f"kind must be {said}"
    assert one_of("kind", "b", {"a": 1, "b": 2}) == "b"
