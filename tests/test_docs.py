"""What README.md and docs/ say is so: code runs, commands exist, what they print looks that way.

Everything runs in a folder of its own, in a short form: few epochs and particles, digits for
MNIST.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyrovae import cli

pytestmark = pytest.mark.filterwarnings("ignore:Named tensors")

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")

SHORTER_CODE = [
    (r'load\("mnist", binarize="dynamic"\)', 'load("digits", binarize="threshold")'),
    (r"epochs=\d+", "epochs=1"),
    (r"particles=\d{2,}", "particles=10"),
    (r"start_epoch=\d+", "start_epoch=0"),
]
SHORTER_COMMAND = [
    (r"--data mnist", "--data digits"),
    (r"--epochs \d+", ""),
    (r"--prior.start_epoch \d+", ""),
    (r"--particles \d+", ""),
    (r"(pyrovae (fit|demo)\b.*)", r"\1 --epochs 1"),
    (r"(pyrovae evaluate\b.*)", r"\1 --particles 10 --rows 20 --bounds [1,5]"),
]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def own_files() -> dict[str, str]:
    """The modules that a reader writes: blocks that open with a comment of the file's name."""
    found = [block for page in PAGES for block in blocks(page.read_text(encoding="utf-8"), "python")]
    return {named[1]: block for block in found if (named := re.match(r"# (\w+\.py)\n", block))}


def shorter(text: str, table: list[tuple[str, str]]) -> str:
    for pattern, replacement in table:
        text = re.sub(pattern, replacement, text)
    return text


def commands(text: str) -> list[list[str]]:
    """The lines of the shell blocks, each as a list of words."""
    lines = "".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def look(printed: str) -> list[str]:
    """The lines with every number as one sign and every stretch of blanks as one."""
    lines = (re.sub(r"-?\d[\d,.]*", "#", line).split() for line in printed.splitlines())
    return [" ".join(words) for words in lines]


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
    np.savetxt(folder / "table.csv", rng.normal(size=(300, 3)), delimiter=",", header="a,b,c", comments="")
    for name, block in own_files().items():
        (folder / name).write_text(block, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def demo(workplace):
    """The short form of `make demo`; returns what it printed."""
    command = [sys.executable, "-m", "pyrovae", "demo", "--epochs", "1"]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def inside(workplace, demo, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.syspath_prepend(workplace)
    return workplace


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, inside):
    scope = {"__name__": "page"}
    for block in blocks(page.read_text(encoding="utf-8"), "python"):
        exec(compile(shorter(block, SHORTER_CODE), page.name, "exec"), scope)


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in SHORTER_CODE])
def test_each_shortening_is_needed(pattern):
    assert re.search(pattern, "".join(blocks(README, "python")))


def test_the_commands_of_the_readme_do_what_they_say(inside, capsys):
    ran = 0
    for words in commands(README):
        if words[0] != "pyrovae":
            continue
        short = shorter(shlex.join(words), SHORTER_COMMAND).replace("'", "")
        assert cli.main(shlex.split(short)[1:]) == 0, f"{short}: {capsys.readouterr().err}"
        ran += 1
    assert ran > 10
    assert (inside / "runs/mog/samples.npy").exists()
    tree = next(block for block in blocks(README, "text") if "last.ckpt" in block)
    for line in tree.splitlines():
        assert (inside / line.split()[0]).exists(), f"the README promises {line.split()[0]}"


def test_the_commands_of_the_other_pages_run(inside, capsys):
    for page in PAGES[1:]:
        for words in commands(page.read_text(encoding="utf-8")):
            if words[0] == "pyrovae":
                short = shorter(shlex.join(words), SHORTER_COMMAND).replace("'", "")
                assert cli.main(shlex.split(short)[1:]) == 0, f"{short}: {capsys.readouterr().err}"


def test_a_readers_files_are_more_than_one():
    assert {"myparts.py", "mymore.py", "mynets.py"} <= own_files().keys()


def test_the_page_of_parts_is_what_the_code_says(capsys):
    page = (ROOT / "docs/parts.md").read_text(encoding="utf-8")
    written = page[page.index("## prior") : page.index("## What goes with what")].splitlines()
    assert cli.main(["parts", "--markdown"]) == 0
    for row in capsys.readouterr().out.splitlines():
        assert row in written, f"docs/parts.md lacks {row!r}: `pyrovae parts --markdown` prints its tables"
        written.remove(row)
    assert not any(written), f"docs/parts.md has {max(written)!r}, which is no longer so"


def test_the_readme_names_no_other_programs_than_these():
    assert {words[0] for words in commands(README)} == {"make", "pyrovae"}


def test_the_targets_that_the_readme_names_are_in_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {word for words in commands(README) if words[0] == "make" for word in words[1:]}
    assert named == {"demo", "test"}
    assert named <= targets


def test_the_demo_prints_what_the_readme_shows(demo):
    """Each line of the README's blocks, its numbers aside, in the same order.

    The verdict in words depends on the fit, so a short one need not give it.
    """
    shown = [block for block in blocks(README, "text") if "by importance sampling" in block]
    assert len(shown) == 2
    for block in shown:
        printed = iter(look(demo))
        tables = [line for line in block.splitlines() if re.search(r"^\S|\S {2}", line)]
        for line in look("\n".join(tables)):
            assert line in printed, (
                f"the demo no longer prints {line!r}: run it and bring README.md up to date"
            )


def test_the_readme_shows_what_the_declaration_prints():
    import pyrovae as pv

    (code,) = (block for block in blocks(README, "python") if "pv.fit(vae, data, objective" in block)
    declaration = code[code.index("vae = ") : code.index("run = ")].replace("data.event_shape", "(1, 28, 28)")
    scope = {"pv": pv, "print": lambda vae: None}
    exec(declaration, scope)
    assert f"{scope['vae']}\n" in blocks(README, "text")


def test_the_table_of_parts_is_complete():
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if "://" not in target:
            assert (page.parent / target).is_file(), f"{page.name} points to {target}"


def test_pictures_stay_small():
    for picture in (ROOT / "docs/images").iterdir():
        assert picture.stat().st_size < 150_000, picture.name


def test_the_design_names_every_module_on_its_floor(project):
    from test_architecture import FLOORS, MODULES, noun

    text = (project / "docs/design.md").read_text(encoding="utf-8")
    table = text[text.index("## The floors") : text.index("## One part")].splitlines()
    rows = {cells[1].strip(): cells[2] for line in table if len(cells := line.split("|")) == 5}
    present = {noun(module) for module in MODULES}
    for floor, nouns in FLOORS.items():
        for name in nouns & present:
            assert f"`{name}`" in rows.get(floor, ""), f"docs/design.md: floor {floor!r} lacks {name}"
