"""The tour of the sources is complete: each figure and experiment has a call, and a picture or a page.

The calls themselves run once, with the blocks of the pages (test_docs.py): here each call of the table is
found in one of these blocks. A script of `benchmarks` is shown by the page of its row, and has a test that
runs the whole of it.
"""

import re

import pytest

from pyrovae.plots import textbook
from tests.support import PROJECT

TOUR = (PROJECT / "docs/tour.md").read_text(encoding="utf-8")
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]

# What the sources show: the first column of the table, and how many calls it needs at least.
SOURCES = {
    **{f"Prince 17.{k}": 1 for k in range(1, 12)},
    "Prince 17.12 to 17.14": 2,
    "Prince 17.15": 1,
    "Prince 17.16": 2,
    "Prince, reports: EM": 1,
    "Doersch: ring": 1,
    "Doersch: MNIST": 3,
    "Doersch: sigma": 1,
    "Doersch: information": 1,
    "Doersch: sparse": 1,
    "Doersch: conditional": 4,
    "reports: loss": 3,
    "reports: gradients": 2,
    "reports: latent space": 1,
    "reports: bandit": 2,
    "reports: extensions": 3,
    "reports: applications": 3,
    "reports: Bayesian": 1,
    "reports: GAN": 1,
}


def rows():
    """(source, what, call, picture or page) of each row of the table."""
    table = TOUR[TOUR.index("## The table") : TOUR.index("## Models with a hidden")]
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]


ROWS = rows()


def code(text):
    """The blocks of a page that the tests run, with each space once."""
    found = re.findall(r"^```(?:python|sh)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return " ".join("\n".join(found).replace("\\\n", " ").split())


EVERY = {page.name: code(page.read_text(encoding="utf-8")) for page in PAGES}


def test_every_figure_and_experiment_of_the_sources_has_its_rows():
    assert len(SOURCES) == 29
    for source, count in SOURCES.items():
        assert sum(row[0] == source for row in ROWS) >= count, f"the table lacks {source}"
    assert {row[0] for row in ROWS} - SOURCES.keys() == {"Prince 17.10, a run"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_a_row_has_a_call_that_runs_and_a_picture_or_a_page(row):
    assert len(row) == 4
    _, what, call, shown = row
    assert what
    assert re.search(r"images/\w+\.png|\]\([\w.#-]+\)|the same picture", shown), "neither picture nor page"
    assert re.fullmatch(r"`[^`]+`", call), "one call, in backticks"
    if call.startswith("`python "):
        assert script_runs(call.strip("`"), shown), f"no test runs {call}, or its page does not show it"
        return
    start = re.sub(r"(, )?\.\.\.\)$", "", call.strip("`"))  # "...)" stands for arguments
    parts = [re.escape(part) for part in start.split(" ... ")]
    pattern = r" (?:(?!pyrovae ).)*?".join(parts)  # "..." stands for options of the same command
    pages = [name for name, text in EVERY.items() if re.search(pattern, text)]
    assert pages, f"no block of a page runs {call}"


def script_runs(command, shown):
    """Whether the page of a row shows the command, and a test runs the main function of this script."""
    script = command.removeprefix("python ")
    pages = re.findall(r"\]\(([\w.]+)", shown)
    texts = [(PROJECT / "docs" / page).read_text(encoding="utf-8") for page in pages]
    if not any(re.search(rf"^ {{4}}.*{re.escape(command)}\b", text, flags=re.MULTILINE) for text in texts):
        return False
    tests = [path.read_text(encoding="utf-8") for path in (PROJECT / "tests").rglob("test_*.py")]
    runs = [text for text in tests if f'run_path(str(PROJECT / "{script}"))' in text]
    return any('script["main"]()' in text for text in runs)


def test_a_script_that_no_test_runs_is_seen():
    assert script_runs("python benchmarks/gan.py", "[a GAN](gan.md)")
    assert not script_runs("python benchmarks/gan.py", "[log p(x)](log_px.md)")
    assert not script_runs("python benchmarks/halves.py", "[half a digit](halves.md)")


def test_every_figure_of_the_textbook_is_in_the_table():
    calls = " ".join(row[2] for row in ROWS)
    for name in textbook.__all__:
        assert f"textbook.{name}(" in calls, name


def test_no_command_of_the_tour_runs_twice():
    """A command that another page shows runs there, and the table names it."""
    commands = re.findall(r"pyrovae \w+ .*?(?= pyrovae |$)", EVERY["tour.md"])
    assert commands
    others = [text for name, text in EVERY.items() if name != "tour.md"]
    for command in commands:
        assert not any(command in text for text in others), command


def test_the_pictures_are_those_of_the_script():
    script = (PROJECT / "benchmarks/tour.py").read_text(encoding="utf-8")
    pictures = set(re.findall(r"images/tour_(\w+)\.png", TOUR))
    drawn = set(re.findall(r'self\.save\(.*"(\w+)"\)', script)) | set(textbook.__all__)
    drawn |= {f"gradients_{name}" for name in ("start", "trained", "curve")}
    assert pictures <= drawn, pictures - drawn
