"""What has no meaning is refused with the sentence that docs/parts.md shows: each row of its table is run."""

import re
from pathlib import Path

import pytest

import pyrovae as pv
from tests.support import PROJECT

PAGE = (PROJECT / "docs/parts.md").read_text(encoding="utf-8")
REFUSED = PAGE[PAGE.index("## What is refused") :]


def rows() -> list[tuple[str, str]]:
    """Each row's code and sentence; a bar inside a cell is escaped."""
    cells = re.findall(r"^\| `(.+?)` \| (.+?) \|$", REFUSED, flags=re.MULTILINE)
    return [(code.replace(r"\|", "|"), sentence.replace(r"\|", "|")) for code, sentence in cells]


@pytest.fixture(scope="module")
def scope():
    """The names that the page sets up above its table."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", REFUSED, flags=re.DOTALL | re.MULTILINE)
    names = {"__name__": "page"}
    exec(compile(block, "parts.md", "exec"), names)
    return names


@pytest.mark.parametrize(("code", "sentence"), rows(), ids=[code for code, _ in rows()])
def test_what_is_refused_says_so_in_these_words(code, sentence, scope, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pv.InputError) as caught:
        eval(code, scope)
    assert str(caught.value) == sentence
    assert "\n" not in sentence
    assert not sentence.endswith(".")


def test_every_row_of_the_table_is_run():
    lines = [line for line in REFUSED.splitlines() if line.startswith("|")]
    assert len(rows()) == len(lines) - 2 > 25


def test_a_refused_fit_leaves_no_folder(scope, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pv.InputError):
        eval("fit(vae(**one_hot), objectives.DReG(), out='r')", scope)
    assert not Path("r").exists()
