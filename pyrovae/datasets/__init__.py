"""Data sets: tensors to learn from, tensors to judge by, and a record of how they were made.

    data = datasets.load("mnist", binarize="dynamic")
    data.train, data.validation, data.test, data.event_shape

Three parts are cut by one permutation, a function of `split_seed`. What is drawn at random (dynamic
binarisation, dequantisation) is drawn anew for each epoch of the training set from a generator that is
a function of the run's seed and the epoch's number; validation and test sets are drawn once and never
change, so that a bound computed today and one computed tomorrow are about the same numbers.

`load` takes the name of a known set (`known()` lists them), a file, a folder of images, an array, a
tensor or a torch `Dataset`. `toys` holds sets whose density is known exactly.
"""

from pyrovae.datasets import toys
from pyrovae.datasets.catalogue import known
from pyrovae.datasets.columns import Column
from pyrovae.datasets.data import Data, Splits
from pyrovae.datasets.loader import load

__all__ = ["Column", "Data", "Splits", "known", "load", "toys"]
