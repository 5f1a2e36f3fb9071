"""The site of the documentation: `make site` builds it, into build/docs.

The folder of the sources is that of the repository, so the links of the pages, which are made for
reading in the repository, are those of the site too.
"""

import os
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
PROJECT = DOCS.parent
sys.path[:0] = [str(PROJECT), str(DOCS / "_ext")]
os.environ.setdefault("MPLBACKEND", "agg")

import inventories  # noqa: E402
import mathml  # noqa: E402
from docstrings import restructured  # noqa: E402
from reference import Reference  # noqa: E402

import pyrovae  # noqa: E402

project = "PyroVAE"
author = "The PyroVAE authors"
copyright = author  # noqa: A001
release = version = pyrovae.__version__

root_doc = "docs/index"
include_patterns = ["docs/**", "notebooks/*.ipynb", "README.md", "C*.md", "SECURITY.md"]
exclude_patterns = [".*", "build", "dist", "runs", "pyrovae", "tests", "benchmarks", "**.ipynb_checkpoints"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.intersphinx"]

# Pages
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 4
nb_execution_mode = "off"
highlight_language = "python"
smartquotes = False  # "learned" is a word to type

# Reference
TABLE = DOCS / "elsewhere.txt"
ELSEWHERE = inventories.names(TABLE)
intersphinx_mapping = inventories.inventories(TABLE, PROJECT / "build/inventories")
autodoc_type_aliases = {  # names that are shown as such, not as what they stand for
    "ArrayLike": "numpy.typing.ArrayLike",
    "LogDensity": "collections.abc.Callable",
    "Rows": "pyrovae.Rows",
}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

# Look
html_theme = "furo"
html_title = f"PyroVAE {release}"
html_static_path = ["_static"]
html_extra_path = ["_extra"]  # the root leads to docs/index.html
html_css_files = ["site.css"]
pygments_dark_style = "github-dark"
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the parts of the site to Sphinx."""
    reference = Reference()
    reference.write(DOCS / "api")

    def document(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
        def link(code: str) -> str | None:
            return code if code in ELSEWHERE else reference.link(code, inside)

        if what == "data":  # the docstring of a value is that of its type
            lines.clear()
        inside = max((module for module in reference.modules if f"{name}.".startswith(f"{module}.")), key=len)
        lines[:] = restructured("\n".join(lines), link).split("\n")

    def sign(
        app: Sphinx, what: str, name: str, obj: object, options: object, *signature: str | None
    ) -> tuple[str | None, ...]:
        """Write arrays without the type of their elements, and aliases as names, in a signature."""
        array = re.compile(r"ndarray\[.*?dtype\[[\w.~]+\]\]")
        alias = re.compile(r"TypeAliasForwardRef\('([\w.]+)'\)")
        return tuple(part and alias.sub(r"\1", array.sub("ndarray", part)) for part in signature)

    def name_bases(app: Sphinx, name: str, obj: type, options: object, bases: list[type]) -> None:
        bases[:] = reference.public_bases(obj)

    def skip(app: Sphinx, what: str, name: str, obj: object, skipped: object, options: object) -> bool | None:
        """Leave out what scikit-learn adds to its estimators, and the fields of named tuples."""
        own = str(getattr(obj, "__module__", None) or "pyrovae").startswith("pyrovae")
        return None if own and not str(obj.__doc__).startswith("Alias for field") else True

    def hide_from_search(app: Sphinx, doctree: object) -> None:
        """Keep pages out of the search that mention everything."""
        if app.env.docname in ("CHANGELOG", "README"):
            app.env.metadata[app.env.docname]["nosearch"] = "true"

    app.connect("doctree-read", hide_from_search)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", document)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-process-bases", name_bases)
    app.add_html_math_renderer("mathml", (mathml.inline, None), (mathml.block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
