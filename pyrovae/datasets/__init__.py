"""Data sets: rows to train on, rows to evaluate on, and a record of how they were made.

    data = datasets.load("mnist", binarize="dynamic")
    data.train, data.validation, data.test, data.event_shape

Each part is a `Rows`: x, and with it a context, labels and row numbers. The three parts are cut by
one permutation, a function of `split_seed`. What is drawn at random (dynamic binarisation,
dequantisation) is drawn again for every epoch of the training set from a generator that is a
function of the run's seed and the epoch's number; validation and test sets are drawn once, so that
bounds computed on different days are comparable.

`load` takes the name of a known set (`known()` lists them), a file, a folder of images, an array, a
tensor or a torch `Dataset`. `toys` holds sets whose density is known exactly.
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.datasets import toys
    from pyrovae.datasets.catalogue import known
    from pyrovae.datasets.columns import Column
    from pyrovae.datasets.data import Data, Splits
    from pyrovae.datasets.loader import load
    from pyrovae.datasets.rows import Rows
    from pyrovae.datasets.schema import Schema

__all__ = ["Column", "Data", "Rows", "Schema", "Splits", "known", "load", "toys"]

if not TYPE_CHECKING:  # the list of known sets needs no torch
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "catalogue": ["known"],
            "columns": ["Column"],
            "data": ["Data", "Splits"],
            "loader": ["load"],
            "rows": ["Rows"],
            "schema": ["Schema"],
        },
    )
