"""Caveats of several estimates, each said once."""

from types import SimpleNamespace

import pytest

from pyrovae.cli.quoting import caveats


def joined(**sentences):
    return caveats({name: SimpleNamespace(verdict=text) for name, text in sentences.items()})


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        ({"a": "trust it for 98% of rows"}, "a: trust it for 98% of rows"),
        ({"a": "trust 98%", "b": "trust 98%"}, "all 2 runs: trust 98%"),
        ({"a": "trust 98%, 9", "b": "trust 100%, 9"}, "all 2 runs: trust 98 to 100%, 9"),
        ({"a": "K 1,000", "b": "K 500", "c": "K 20"}, "all 3 runs: K 20 to 1,000"),
        ({"a": "trust 98%", "b": "use 3", "c": "trust 7%"}, "a, c: trust 7 to 98%\nb: use 3"),
    ],
)
def test_one_sentence_with_the_range_of_its_numbers(sentences, expected):
    assert joined(**sentences) == expected


def test_long_sentences_are_wrapped():
    lines = joined(a="word " * 50).splitlines()
    assert max(map(len, lines)) <= 96
    assert all(line.startswith("  ") for line in lines[1:])
