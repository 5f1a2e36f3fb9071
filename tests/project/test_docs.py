"""The pages say what is true: their code and commands run, and print what the pages show.

Everything runs in a folder of its own, in a short form: few epochs and particles, digits for MNIST.
"""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyrovae import cli
from tests.support import PROJECT
from tests.support.architecture import FLOORS, MODULES, noun

pytestmark = pytest.mark.filterwarnings("ignore:Named tensors")

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
PROSE = [
    *PAGES,
    PROJECT / "CONTRIBUTING.md",
    PROJECT / "SECURITY.md",
    PROJECT / "CHANGELOG.md",
    *sorted((PROJECT / ".github").rglob("*.md")),
]
README = PAGES[0].read_text(encoding="utf-8")
RUNS = (PROJECT / "docs/runs.md").read_text(encoding="utf-8")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
each_text = pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)

SHORTER_CODE = [
    (r'load\("mnist", binarize="dynamic"\)', 'load("digits", binarize="threshold")'),
    (r"epochs=\d+", "epochs=1"),
    (r"particles=\d{2,}", "particles=10"),
    (r'test\[:50\], method="laplace"', 'test[:2], method="laplace"'),
    (r"start_epoch=\d+", "start_epoch=0"),
]
SHORTER_COMMAND = [
    (r"--data mnist", "--data digits"),
    (r"--epochs \d+", ""),
    (r"--prior.start_epoch \d+", ""),
    (r"--particles \d+", "--particles 10"),
    (r"--rows \d+", "--rows 20"),
    (r"--method.temperatures \d+", "--method.temperatures 2"),
    (r"(pyrovae bandit\b.*)--data \w+(.*?)--pulls \d+", r"\1--data digits\2--pulls 2"),
    (r"(pyrovae sweep\b.*)", r"\1 --count 200 --epochs 1 --seeds 1 --particles 10 --rows 20"),
    (r"(pyrovae search\b.*)--trials \d+", r"\1--trials 2 --count 200 --epochs 1 --finalists 1 --seeds 1"),
    (r"(pyrovae search\b.*) --jobs \d+", r"\1"),
    (r"(pyrovae fit\b.*)", r"\1 --epochs 1"),
    (r"(pyrovae evaluate\b.*)", r"\1 --particles 10 --rows 20 --bounds [1,5]"),
    (r"(pyrovae evaluate runs/bayes\b.*)", r"\1 --weights 2"),
    (r"(pyrovae compare\b(?!.*--rows ).*)", r"\1 --particles 10 --rows 20"),
    (r"(pyrovae score\b(?!.*--particles ).*)", r"\1 --particles 10"),
    (r"(pyrovae disentangle\b.*)", r"\1 --rows 300 --errors false"),
    (
        r"(pyrovae evaluate\b(?!.*--method ).*)",
        r"\1 --method AIS --method.temperatures 10 --method.start guide",
    ),
]

# The first table of the project's guide to plain English: words that have a better one.
WORDS = [
    r"laws?\b(?! of large numbers)",
    r"datum",
    r"beside",
    r"so (many|often)",
    r"anew",
    r"shall",
    r"told",
    r"begun",
    r"begins? at",
    r"mend(s|ed)?",
    r"weigh(s|ed|ing)?",
    r"looks at",
    r"all about one",
    r"(of one's own|a part of your own)",
    r"(sights|doors|bedrock)",
    r"(?<!there )is no (?!longer|more)",
]


BLOCK = r"^```{}\n(.*?)^```$"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in one language."""
    return re.findall(BLOCK.format(language), text, flags=re.DOTALL | re.MULTILINE)


def own_files() -> dict[str, str]:
    """The modules that a reader writes: blocks that open with a comment of the file's name."""
    code = [block for page in PAGES for block in blocks(page.read_text(encoding="utf-8"), "python")]
    return {named[1]: block for block in code if (named := re.match(r"# (\w+\.py)\n", block))}


def shorter(text: str, table: list[tuple[str, str]]) -> str:
    for pattern, replacement in table:
        text = re.sub(pattern, replacement, text)
    return text


def commands(text: str) -> list[list[str]]:
    """The lines of the shell blocks of a page, each as a list of words."""
    return lines_of("".join(blocks(text, "sh")))


def lines_of(block: str) -> list[list[str]]:
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_commands(block: str, capsys) -> int:
    """Run the commands of a block in their short form; returns their number."""
    count = 0
    for words in lines_of(block):
        if words[0] != "pyrovae" or words == ["pyrovae", "demo"]:  # the demo is a fixture
            continue
        short = shorter(shlex.join(words), SHORTER_COMMAND).replace("'", "")
        assert cli.main(shlex.split(short)[1:]) == 0, f"{short}: {capsys.readouterr().err}"
        count += 1
    return count


def look(printed: str) -> list[str]:
    """The lines with every number as one sign and every stretch of blanks as one."""
    lines = (re.sub(r"[-+]?\d[\d,.]*", "#", line).split() for line in printed.splitlines())
    return [" ".join(words) for words in lines]


def labels(printed: str) -> list[str]:
    """What does not depend on a fit: headlines without their numbers, and the names of indented lines."""
    lines = (
        re.split(r"(?<=\S) {2}", line)[0] if line.startswith(" ") else line for line in printed.splitlines()
    )
    return [line for line in look("\n".join(lines)) if line]


def prose(text: str) -> str:
    """A page without its code: no fenced or indented blocks, code in a line, targets of links, comments."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^ {4}.*$|`[^`]*`|\]\([^)]*\)|<[^>]*>", "", text, flags=re.MULTILINE)


# -------------------------------------------------------------------- what runs


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the files that the pages speak of."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("reader")
    rng = np.random.default_rng(0)
    (folder / "my_images").mkdir()
    for i in range(150):
        pixels = rng.integers(0, 256, size=(9, 12), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "my_images" / f"{i}.png")
    for name, rows in (("table.csv", 300), ("new.csv", 20)):
        np.savetxt(folder / name, rng.normal(size=(rows, 3)), delimiter=",", header="a,b,c", comments="")
    for name, block in own_files().items():
        (folder / name).write_text(block, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def demo(workplace):
    """The short form of `pyrovae demo`; returns what it printed."""
    command = [sys.executable, "-m", "pyrovae", "demo", "--epochs", "1"]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def inside(workplace, demo, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.syspath_prepend(workplace)
    return workplace


@each_page
def test_a_page_runs_and_prints_what_it_shows(page, inside, demo, capsys):
    """Blocks run in the order of the page, as commands may read files that its Python wrote.

    Outputs are compared without numbers; those of the demo and of benchmarks have their own tests.
    """
    text, scope = page.read_text(encoding="utf-8"), {"__name__": "page"}
    printed, ran = io.StringIO(), 0
    for language, block in re.findall(BLOCK.format("(python|sh)"), text, flags=re.DOTALL | re.MULTILINE):
        if language == "sh":
            ran += run_commands(block, capsys)
            continue
        with contextlib.redirect_stdout(printed):
            exec(compile(shorter(block, SHORTER_CODE), page.name, "exec"), scope)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    if page == PAGES[0]:
        assert ran > 10
        assert (inside / "runs/mog/samples.npy").exists()
    lines = set(labels(printed.getvalue()))
    for block in blocks(text, "text"):
        if re.search(r"^(runs/|VAE of events|.*ms  ours)|importance sampling", block, flags=re.MULTILINE):
            continue
        for line in labels(block):
            assert line in lines, f"{page.name} shows {line!r}, which its code does not print"


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in SHORTER_CODE])
def test_each_shortening_is_needed(pattern):
    assert re.search(pattern, "".join(blocks(README, "python")))


def test_a_run_folder_holds_what_the_page_on_runs_lists(inside, capsys):
    (tree,) = (block for block in blocks(RUNS, "text") if "last.ckpt" in block)
    names = [Path(line.split()[0]).name for line in tree.splitlines()]
    command = "fit --data digits --binarize threshold --latent_dim 2 --epochs 1 --out runs/tree"
    assert cli.main(command.split()) == 0
    assert {path.name for path in (inside / "runs/tree").iterdir() if path.name[0] != "."} == set(names)


def test_a_readers_files_are_more_than_one():
    assert {"myparts.py", "mymore.py", "mynets.py"} <= own_files().keys()


# -------------------------------------------------------------------- what is shown


def test_the_page_of_parts_is_what_the_code_says(capsys):
    page = (PROJECT / "docs/parts.md").read_text(encoding="utf-8")
    written = page[page.index("## prior") : page.index("## What goes with what")].splitlines()
    assert cli.main(["parts", "--markdown"]) == 0
    for row in capsys.readouterr().out.splitlines():
        assert row in written, f"docs/parts.md lacks {row!r}: `pyrovae parts --markdown` prints its tables"
        written.remove(row)
    assert not any(written), f"docs/parts.md has {max(written)!r}, which the code no longer says"


def test_the_demo_prints_what_the_pages_show(demo):
    """Each line of the blocks, its numbers aside, in the same order.

    The verdict in words depends on the fit, so a short one need not give it.
    """
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    shown = [b for text in texts for b in blocks(text, "text") if "importance sampling" in b]
    assert len(shown) >= 3
    for block in shown:
        printed = iter(look(demo))
        tables = [line for line in block.splitlines() if re.search(r"^\S|\S {2}", line)]
        for line in look("\n".join(tables)):
            assert line in printed, f"the demo no longer prints {line!r}: run it and update the pages"


def test_the_readme_shows_what_the_declaration_prints():
    import pyrovae as pv

    (code,) = (block for block in blocks(README, "python") if "GaussianMixture(components=10)," in block)
    declaration = code[code.index("vae = ") : code.index("print(vae)")]
    scope = {"pv": pv}
    exec(declaration.replace("data.event_shape", "(1, 28, 28)"), scope)
    assert f"{scope['vae']}\n" in blocks(README, "text")


def test_the_rows_of_the_timings_are_those_of_the_benchmark():
    page = (PROJECT / "docs/performance.md").read_text(encoding="utf-8")
    script = (PROJECT / "benchmarks/train_step.py").read_text(encoding="utf-8")
    rows = [line for block in blocks(page, "text") for line in block.splitlines()]
    names = {re.split(r" {2}", line)[0] for line in rows if re.match(r"\S.* {2}", line) and "," not in line}
    assert len(names) == 7
    for name in names:
        assert f'"{name}"' in script, f"benchmarks/train_step.py has no row {name!r}"


def test_the_readme_names_every_part():
    from pyrovae import guides, likelihoods, networks, objectives, priors

    for module, base in [
        (priors, priors.Prior),
        (likelihoods, likelihoods.Likelihood),
        (guides, guides.Guide),
        (networks, networks.Network),
        (objectives, objectives.Objective),
    ]:
        for name in module.__all__:
            part = getattr(module, name)
            if isinstance(part, type) and issubclass(part, base) and part is not base:
                assert f"`{name}`" in README, f"README.md does not name {name}"


def test_the_readme_names_no_other_programs_than_these():
    assert {words[0] for words in commands(README)} == {"make", "pip", "pyrovae"}


def test_the_targets_that_the_pages_name_are_in_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PROSE:
        every = commands(page.read_text(encoding="utf-8"))
        named = {word for words in every if words[0] == "make" for word in words[1:] if "=" not in word}
        assert named <= targets, page.name
    readme = {word for words in commands(README) if words[0] == "make" for word in words[1:]}
    assert readme == {"demo", "test"}


def test_the_extras_that_the_readme_names_exist():
    import tomllib

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cells = re.findall(r"^\| (`[^|]*`) \|", README, flags=re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == project["optional-dependencies"].keys() - {"all", "bench"}
    installed = {words[-1] for words in commands(README) if words[:2] == ["pip", "install"]}
    assert installed == {".", ".[all]"}


# -------------------------------------------------------------------- how it is written


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 250


@each_text
def test_lines_fit_100_characters(page):
    """Outputs of commands and rows of tables cannot be broken; in the README they must fit too."""
    text = page.read_text(encoding="utf-8")
    if page != PAGES[0]:
        text = re.sub(r"^```text\n.*?^```$|^\|.*$", "", text, flags=re.DOTALL | re.MULTILINE)
    long = [line for line in text.splitlines() if len(line) > 100]
    assert not long, f"{page.name} has lines of more than 100 characters, such as {long[0]!r}"


@each_text
def test_prose_is_plain(page):
    text = " ".join(prose(page.read_text(encoding="utf-8")).split())
    for word in WORDS:
        found = re.search(rf".{{0,40}}\b{word}\b.{{0,40}}", text, flags=re.IGNORECASE)
        assert found is None, f"{page.name}: {found[0]!r} has a plainer word"


def test_a_word_that_is_not_plain_is_seen():
    text = "The law of a datum, `law` aside.\n\n```python\nlaw = 1\n```\n"
    assert prose(text).split() == ["The", "law", "of", "a", "datum,", "aside."]
    assert any(re.search(rf"\b{word}\b", prose(text)) for word in WORDS)


@each_page
def test_a_page_opens_with_what_it_is_for(page):
    """A title, then prose; every page but the design shows a command or code near its top."""
    title, blank, first = page.read_text(encoding="utf-8").splitlines()[:3]
    assert title.startswith("# ")
    assert not blank
    assert first[:1].isalpha()


@each_text
def test_links_and_pictures_are_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        name, _, anchor = target.partition("#")
        if "://" in name:
            continue
        path = page.parent / name if name else page
        assert path.is_file(), f"{page.name} points to {target}"
        if anchor:
            assert anchor in anchors(path), f"{path.name} has no heading for {target}"


def anchors(page: Path) -> set[str]:
    """The names of a page's headings as links have them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pictures_are_small_and_shown():
    texts = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (PROJECT / "docs/images").iterdir():
        assert picture.stat().st_size < 150_000, picture.name
        assert f"images/{picture.name}" in texts, f"no page shows {picture.name}"


def test_the_design_names_every_module_on_its_floor(project):

    text = (project / "docs/design.md").read_text(encoding="utf-8")
    table = text[text.index("## The floors") : text.index("## Rows")].splitlines()
    rows = {cells[1].strip(): cells[2] for line in table if len(cells := line.split("|")) == 5}
    present = {noun(module) for module in MODULES}
    for floor, nouns in FLOORS.items():
        for name in nouns & present:
            assert f"`{name}`" in rows.get(floor, ""), f"docs/design.md: floor {floor!r} lacks {name}"
