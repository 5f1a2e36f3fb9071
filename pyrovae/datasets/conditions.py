"""Labels as a context of one-hot vectors, or as classes that a program observes."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.cures import cure, option
from pyrovae.datasets.data import Splits
from pyrovae.datasets.options import Options
from pyrovae.datasets.preparation import generator_of
from pyrovae.datasets.source import Source
from pyrovae.errors import InputError

__all__ = ["conditions"]


def conditions(
    source: Source, labels: Splits | None, options: Options, context: Splits | None = None
) -> tuple[Splits | None, Tensor | None]:
    """The context, and the class indices (N,) observed in training.

    Raises:
        InputError: when labels are needed and there are none.
    """
    wants_labels = options.context == "labels"
    if not (wants_labels or options.labels):
        return context, None
    if labels is None or source.classes is None:
        asked = option("context", "labels") if wants_labels else option("labels", True)
        asked = asked if options.known is None else option("known", options.known)
        name = f"name their column with {cure('labels=', '--labels')}, or " if source.columns else ""
        raise InputError(f"{asked} needs labels, and {source.name} has no labels: {name}leave it out")
    classes = torch.tensor(source.classes)
    one_hot = labels.map(lambda part: (part[:, None] == classes).to(torch.float32))
    y = None
    is_observed = options.labels and not (wants_labels and isinstance(options.labels, str))
    if is_observed:  # a label that is not one of the classes is not known
        y = torch.where(one_hot.train.any(-1), one_hot.train.argmax(-1), -1)
    if y is not None and options.known is not None:
        y = _known_only(y, len(classes), options.known, options.split_seed, source.name)
    return one_hot if wants_labels else context, y


def _known_only(y: Tensor, classes: int, known: int, seed: int, name: str) -> Tensor:
    """Keep `known` class indices, balanced over classes, and set the others to -1."""
    count = len(y)
    if known > count:
        asked = option("known", known)
        raise InputError(f"{asked} is more than the {count} training rows of {name}: use fewer")
    shuffled = torch.randperm(count, generator=generator_of("known", seed))
    # The rank of a row in its class: the first row of each class comes first.
    one_hot = (y[shuffled, None] == torch.arange(classes)).to(torch.float32)
    order = one_hot.cumsum(0)[torch.arange(count), y[shuffled]]
    rows = shuffled[order.argsort(stable=True)[:known]]
    labels = torch.full_like(y, -1)
    labels[rows] = y[rows]
    return labels
