"""Data sets: training, validation and test rows, with a record of how they were made.

    data = datasets.load("mnist", binarize="dynamic")
    data.train, data.validation, data.test, data.event_shape

Each part is a `Rows`: x with optional context, labels and row numbers. The three parts are split by
one permutation, which depends on `split_seed` only. Random preparation (dynamic binarisation,
dequantisation) of the training set is drawn again every epoch, from a generator that depends on the
run's seed and the epoch only. For validation and test sets it is drawn once, so their bounds can be
compared between runs.

`load` takes the name of a known set (`known()` lists them), a file, a folder of images, an array, a
tensor or a torch `Dataset`. `is_present(name)` says whether a known set needs no download, and
`describe(data)` what was read. `toys` has sets of known density,
and `sprites` and `faces` draw images of known factors.
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.datasets import toys
    from pyrovae.datasets.catalogue import is_present, known
    from pyrovae.datasets.columns import Column
    from pyrovae.datasets.data import Data, Splits
    from pyrovae.datasets.describing import describe
    from pyrovae.datasets.drawn import Drawn
    from pyrovae.datasets.drawn_faces import faces
    from pyrovae.datasets.drawn_sprites import sprites
    from pyrovae.datasets.factor_values import Factors, FactorSplits
    from pyrovae.datasets.loader import load
    from pyrovae.datasets.rows import Rows
    from pyrovae.datasets.schema import Schema

__all__ = [
    "Column",
    "Data",
    "Drawn",
    "FactorSplits",
    "Factors",
    "Rows",
    "Schema",
    "Splits",
    "describe",
    "faces",
    "is_present",
    "known",
    "load",
    "sprites",
    "toys",
]

if not TYPE_CHECKING:  # `known` works without importing torch
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "catalogue": ["is_present", "known"],
            "columns": ["Column"],
            "data": ["Data", "Splits"],
            "describing": ["describe"],
            "drawn": ["Drawn"],
            "drawn_faces": ["faces"],
            "drawn_sprites": ["sprites"],
            "factor_values": ["FactorSplits", "Factors"],
            "loader": ["load"],
            "rows": ["Rows"],
            "schema": ["Schema"],
        },
    )
