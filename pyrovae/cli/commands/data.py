"""`data`: show what would be read from a file, a folder or a known data set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyrovae import datasets
from pyrovae.cli.helping import Section
from pyrovae.cli.runs import options_of
from pyrovae.errors import InputError
from pyrovae.sharing import print_first

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["SECTIONS", "add_options", "data"]

SECTIONS = (
    Section("table", "kinds drop na labels context", "separator decimal header"),
    Section("images", "resize jitter binarize dequantize"),
    Section("rows", "count validation test split_seed", "known copies stream"),
    Section("output", "json", "root"),
)


def data(**options: Any) -> None:  # noqa: ANN401
    """Show what would be read from data: columns, kinds and split.

    It also shows the format and the missing entries. Give its options after the name.

    Example:
        pyrovae data mnist
        pyrovae data people.csv --drop id --labels species
    """
    if options["data"] is None:
        raise InputError("which data? give a known name, a file or a folder, as in `pyrovae data table.csv`")
    loaded = datasets.load(options["data"], **options_of(datasets.load, options))
    if options["json"]:
        print_first(json.dumps(loaded.record, indent=2))
    else:
        print_first(datasets.describe(loaded))


def add_options(parser: ArgumentParser) -> None:
    """Add the name of the data and the options of `datasets.load`."""
    about = "a known name, a file or a folder of images; `pyrovae datasets` lists the names"
    parser.add_argument("data", type=str | None, nargs="?", default=None, help=about)
    parser.add_argument("--json", type=bool, default=False, help="print the full record as JSON")
    parser.add_function_arguments(datasets.load, skip={"layer", "name", "schema", "workers"})
