r"""Agreement of the components with labels that were not used in training.

    accuracy   max over one-to-one matchings m of (1/N) #{n: m(c_n) = y_n}   (Hungarian method)
    purity     (1/N) sum_k max_y #{n: c_n = k, y_n = y}           one label for each component
    NMI, ARI   mutual information over the mean entropy; the Rand index corrected for chance

One run is not enough: the accuracy of one model on MNIST varies by thirty points between seeds.
`agreements` summarises several runs.

References:
    Kuhn (1955), "The Hungarian Method for the Assignment Problem"; Hubert & Arabie (1985),
    "Comparing Partitions"; Vinh, Epps & Bailey (2010), "Information Theoretic Measures for
    Clusterings Comparison".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.display import Displayed
from pyrovae.errors import InputError
from pyrovae.numerics import Array, as_array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Agreement", "Agreements", "Integers", "agreement", "agreements", "integers"]

Integers = NDArray[np.int64]
MEASURES = ("accuracy", "nmi", "ari", "purity")


@dataclass(frozen=True, eq=False, repr=False)
class Agreement(Displayed):
    """Components compared with labels.

    Attributes:
        accuracy: accuracy by the best one-to-one matching; rows of components without a label count
            as wrong.
        nmi: normalised mutual information.
        ari: adjusted Rand index.
        purity: accuracy when each component stands for its most frequent label.
        confusion: number of rows by component and label, (K, classes).
        matching: the label of each component, (K,); -1 for none.
        classes: the labels, ascending, (classes,).
        plain: the share of rows whose component is their label, if training observed labels; else
            None.
    """

    accuracy: float
    nmi: float
    ari: float
    purity: float
    confusion: Integers
    matching: Integers
    classes: Integers
    plain: float | None = None

    def table(self) -> pd.DataFrame:
        """The confusion table, components by labels."""
        import pandas as pd

        labels = pd.Index(self.classes, name="label")
        return pd.DataFrame(self.confusion, columns=labels).rename_axis("component")

    def __str__(self) -> str:
        plain = "" if self.plain is None else f", {self.plain:.1%} as the classes that they are"
        return (
            f"accuracy {self.accuracy:.1%} by the best matching{plain}, purity {self.purity:.1%}, "
            f"NMI {self.nmi:.3f}, ARI {self.ari:.3f}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Agreements(Displayed):
    """Agreement of several runs with labels, one entry each, (S,); prints median and range."""

    accuracy: Array
    nmi: Array
    ari: Array
    purity: Array

    def __len__(self) -> int:
        return len(self.accuracy)

    def table(self) -> pd.DataFrame:
        """A row for each run."""
        import pandas as pd

        return pd.DataFrame({name: getattr(self, name) for name in MEASURES}).rename_axis("run")

    def __str__(self) -> str:
        runs = f"{len(self)} run{'s' if len(self) > 1 else ''}"
        rows = [f"{runs:<10} {'median':>8} {'lowest':>8} {'highest':>8}"]
        for name in MEASURES:
            values = getattr(self, name)
            rows.append(f"{name:<10} {np.median(values):8.3f} {values.min():8.3f} {values.max():8.3f}")
        return "\n".join(rows)


def agreement(
    assignment: ArrayLike, labels: ArrayLike, components: int, *, names: ArrayLike | None = None
) -> Agreement:
    """Compare hard assignments with labels.

    Arguments:
        assignment: component indices from 0, (N,).
        labels: whole numbers, (N,).
        components: K.
        names: the label that each component stands for, (K,), if training observed labels.

    Raises:
        InputError: if lengths differ, there are no rows, or indices are outside the components.

    Example:
        >>> agreement([0, 0, 1, 1], [7, 7, 3, 3], components=3).matching.tolist()
        [7, 3, -1]
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    c = integers(assignment, "assignment")
    y = integers(labels, "labels", len(c))
    if c.min() < 0 or c.max() >= components:
        raise InputError(f"assignment has indices outside the {components} components 0 to {components - 1}")
    classes, index = np.unique(y, return_inverse=True)
    confusion = np.zeros((components, len(classes)), dtype=np.int64)
    np.add.at(confusion, (c, index), 1)
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    matching = np.full(components, -1)
    matching[rows] = classes[columns]
    return Agreement(
        accuracy=float(confusion[rows, columns].sum() / len(c)),
        nmi=float(normalized_mutual_info_score(y, c)),
        ari=float(adjusted_rand_score(y, c)),
        purity=float(confusion.max(1).sum() / len(c)),
        confusion=confusion,
        matching=matching,
        classes=classes,
        plain=None if names is None else float((np.asarray(names)[c] == y).mean()),
    )


def agreements(explorations: Sequence[Any]) -> Agreements:
    """Summarise several runs, for example of one declaration with several seeds.

    Arguments:
        explorations: the results of `explore`, or their agreements.

    Raises:
        InputError: if there are none, or one has no labels.

    Example:
        >>> runs = [agreement(c, [0, 0, 1, 1], 2) for c in ([0, 0, 1, 1], [0, 1, 1, 1])]
        >>> print(agreements(runs))
        2 runs       median   lowest  highest
        accuracy      0.875    0.750    1.000
        nmi           0.672    0.344    1.000
        ari           0.500    0.000    1.000
        purity        0.875    0.750    1.000
    """
    each = [one if isinstance(one, Agreement) else one.agreement for one in explorations]
    if not each:
        raise InputError("there is nothing to compare: give at least one exploration of data with labels")
    if None in each:
        raise InputError(f"exploration {each.index(None)} has no labels: explore data that have some")
    return Agreements(*(np.array([getattr(one, name) for one in each]) for name in MEASURES))


def integers(value: Any, name: str, count: int | None = None) -> Integers:  # noqa: ANN401
    """Convert a value to whole numbers, one for each row.

    Raises:
        InputError: for a wrong type or shape.
    """
    array = as_array(value)
    expected = (max(array.size, 1),) if count is None else (count,)
    if array.dtype.kind not in "biu" or array.shape != expected:
        raise InputError(
            f"{name} must be whole numbers of shape {expected}, one for each row, not {array.dtype} of shape "
            f"{array.shape}"
        )
    return array.astype(np.int64)
