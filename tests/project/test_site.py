"""The site: every public name is described, every link leads somewhere, nothing is loaded from elsewhere.

`make test` builds the site first. If it is missing or older than its sources, it is built here.
"""

import importlib
import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support import PROJECT

pytestmark = [pytest.mark.xdist_group("site"), pytest.mark.timeout(600)]

SITE = PROJECT / "build/docs"
OPTIONS = ["-c", "docs", "-d", "build/doctrees", "-E", "-W", "--keep-going", "-q"]
PLACEHOLDER = re.compile(r"example\.(com|org|net)|localhost|127\.0\.0\.1|TODO|USER/|OWNER/|//[^./]+(/|$)")
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """What a page of the site has: identifiers, links, and files that it loads."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors, self.links, self.loaded = {""}, set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("id", "name"):
                self.anchors.add(value)
            elif (tag, name) in LOADED:
                self.loaded.add(value)
            elif (tag, name) == ("a", "href"):
                self.links.add(value)


def sources() -> list[Path]:
    folders = [path for name in ("docs", "notebooks", "pyrovae") for path in (PROJECT / name).rglob("*")]
    kinds = {".py", ".md", ".txt", ".ipynb", ".css", ".png"}
    return [path for path in [*folders, *PROJECT.glob("*.md")] if path.suffix in kinds]


@pytest.fixture(scope="module")
def site() -> Path:
    home = SITE / "docs/index.html"
    if not home.exists() or home.stat().st_mtime < max(path.stat().st_mtime for path in sources()):
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", *OPTIONS, ".", str(SITE)],
            cwd=PROJECT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    return SITE


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


@pytest.fixture(scope="module")
def described(site) -> set[str]:
    from sphinx.util.inventory import InventoryFile

    with (site / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, uri: uri)
    return {name for kind, entries in inventory.items() if kind.startswith("py:") for name in entries}


def broken(pages: dict[Path, Page]) -> list[str]:
    """Links, pictures and other files that are not there."""
    found = []
    for path, page in pages.items():
        for target in page.links | page.loaded:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = file.is_file() and (file not in pages or unquote(parts.fragment) in pages[file].anchors)
            if not there:
                found.append(f"{path.name}: {target}")
    return found


def public_names(package: str = "pyrovae") -> set[str]:
    """Every name of each public `__all__`, in full."""
    module = importlib.import_module(package)
    names = {f"{package}.{name}" for name in module.__all__}
    modules = [name for name in names if inspect.ismodule(getattr(module, name.rpartition(".")[2]))]
    return names.union(*map(public_names, modules))


def test_every_public_name_is_described(described):
    names = public_names()
    assert len(names) > 300
    assert names <= described, f"the reference lacks {sorted(names - described)[:5]}"


def test_what_parts_are_built_from_is_described(described):
    """Names in `__all__` of modules that authors of parts use."""
    for package in ("pyrovae.distributions", "pyrovae.terms", "pyrovae.variables"):
        assert public_names(package) <= described


def test_every_page_and_notebook_is_in_the_site(site):
    for source in [*(PROJECT / "docs").rglob("*.md"), *(PROJECT / "notebooks").glob("*.ipynb")]:
        assert (site / source.relative_to(PROJECT)).with_suffix(".html").is_file(), source


def test_every_link_and_picture_is_there(pages):
    assert len(pages) > 60
    assert not broken(pages)


def test_a_broken_link_is_seen(tmp_path):
    texts = {"a.html": '<h1 id="top"></h1><a href="b.html#b"></a><img src="x.png"><a href="#top"></a>'}
    texts |= {"b.html": '<a href="a.html#gone"></a><a href="https://pyro.ai"></a><a href="c.html"></a>'}
    pages = {(tmp_path / name).resolve(): Page(text) for name, text in texts.items()}
    for path in pages:
        path.touch()
    assert sorted(broken(pages)) == [
        "a.html: b.html#b",
        "a.html: x.png",
        "b.html: a.html#gone",
        "b.html: c.html",
    ]


def test_links_to_other_sites_are_well_formed(pages):
    links = {link for page in pages.values() for link in page.links if urlsplit(link).netloc}
    assert links
    bad = [link for link in links if not link.startswith("https://") or PLACEHOLDER.search(link)]
    assert not bad, bad


def test_a_page_loads_nothing_from_elsewhere(pages):
    """No fonts, scripts or formulas of another server: the site works without a network."""
    for path, page in pages.items():
        assert not [file for file in page.loaded if urlsplit(file).netloc], path.name


def test_no_docstring_is_half_converted(site):
    """Formulas, code and sections have become what they are; none of their signs is left in the text."""
    for path in (site / "docs/api").glob("*.html"):
        page = path.read_text(encoding="utf-8")
        text = re.sub(r"<(pre|code|script|style).*?</\1>|<[^>]*>", "", page, flags=re.S)
        left = re.findall(r".*(?:\\\(|\\\[|\\[a-z]{3,}|`|:math:|::).*", text, flags=re.M)
        assert not left, f"{path.name}: {left[:3]}"


# -------------------------------------------------------------------- how it is made


@pytest.fixture
def extension(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "docs/_ext")
    return importlib.import_module


def test_signs_of_a_docstring_stand_for_themselves(extension):
    restructured = extension("docstrings").restructured
    text = restructured("Rows (N, *event) with |y| and x_.", lambda code: None)
    assert text == "Rows (N, \\*event) with \\|y\\| and x\\_.\n"


def test_sections_formulas_and_code_of_a_docstring(extension):
    docstring = r"""A sum \(s = a|b\) of `Rows` and `x`.

    \[s = \sum_n
    x_n\]

    Blocks are shown as they are:

        f(x) *

        z

    - one item
      in two lines
    - another

    Arguments:
        x: the rows,
            all of them.

    Raises:
        Bad: never.

    Example:
        >>> print("a\\n  b")
        a
          b
    """
    links = {"Rows": "pyrovae.Rows", "Bad": "pyrovae.Bad"}
    text = extension("docstrings").restructured(docstring, links.get)
    assert "A sum \\ :math:`s = a|b`\\  of \\ :py:obj:`Rows <pyrovae.Rows>`\\  and \\ ``x``\\ ." in text
    assert ".. math::\n\n    s = \\sum_n x_n\n" in text
    assert ".. code-block:: text\n\n    f(x) *\n\n    z\n" in text
    assert "- one item in two lines\n- another\n" in text
    assert ":Arguments:\n    * \\ ``x``\\  – the rows, all of them.\n" in text
    assert ":Raises:\n    * \\ :py:obj:`Bad <pyrovae.Bad>`\\  – never.\n" in text
    assert '.. rubric:: Example\n\n>>> print("a\\\\n  b")\na\n  b\n' in text


def test_every_formula_becomes_mathml(extension):
    """Commands that the converter does not know would be shown as they are written."""
    mathml = extension("mathml").mathml
    for path in (PROJECT / "pyrovae").rglob("*.py"):
        for formula in re.findall(r"\\\[(.+?)\\\]", path.read_text(encoding="utf-8"), flags=re.S):
            if path.parts[-2:] != ("cli", "docstrings.py"):
                assert "\\" not in mathml(" ".join(formula.split()), display=True), formula


def test_what_the_converter_lacks_is_replaced(extension):
    mathml = extension("mathml").mathml
    assert "<mi>log</mi><mspace" in mathml(r"\log p(x)", display=False)
    assert "mspace" not in mathml(r"\log(x) \logit", display=False)
    assert "&#x1D4A9;" in mathml(r"\mathcal N", display=False)
    assert ">‖<" in mathml(r"p \Big\| q", display=False)


def test_links_lead_to_the_name_of_the_module_at_hand(extension):
    reference = extension("reference").Reference()
    assert reference.link("Flow", "pyrovae.guides") == "pyrovae.guides.Flow"
    assert reference.link("Flow", "pyrovae.priors") == "pyrovae.priors.Flow"
    assert reference.link("impute", "pyrovae.tasks") == "pyrovae.impute"
    assert reference.link("pv.priors.Normal(learned=True)", "pyrovae.tasks") == "pyrovae.priors.Normal"
    assert reference.link("Run.stopped", "pyrovae") == "pyrovae.Run.stopped"
    assert reference.link("x", "pyrovae") is None
    assert reference.link("a < b", "pyrovae") is None
