r"""How far the components agree with labels that training never saw.

    accuracy   max over one-to-one matchings m of (1/N) #{n: m(c_n) = y_n}     (Kuhn's Hungarian method)
    purity     (1/N) sum_k max_y #{n: c_n = k, y_n = y}                         each component for one label
    NMI, ARI   mutual information over the mean entropy; the Rand index corrected for chance

One run says little: accuracies of one model on MNIST range over thirty points between seeds, so
`agreements` puts several runs beside each other.

References:
    Kuhn (1955), "The Hungarian Method for the Assignment Problem"; Hubert & Arabie (1985), "Comparing
    Partitions"; Vinh, Epps & Bailey (2010), "Information Theoretic Measures for Clusterings Comparison".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Agreement", "Agreements", "agreement", "agreements"]

Integers = NDArray[np.int64]
MEASURES = ("accuracy", "nmi", "ari", "purity")


@dataclass(frozen=True, eq=False)
class Agreement:
    """Components against labels.

    Attributes:
        accuracy: by the best one-to-one matching; data of components without a label count as wrong.
        nmi: normalised mutual information.
        ari: adjusted Rand index.
        purity: accuracy when each component stands for its most frequent label.
        confusion: data by component and label, (K, classes).
        matching: the label of each component, (K,); -1 for none.
        classes: the labels, ascending, (classes,).
        plain: the share whose component is the label itself, where training was told labels; else None.
    """

    accuracy: float
    nmi: float
    ari: float
    purity: float
    confusion: Integers = field(repr=False)
    matching: Integers = field(repr=False)
    classes: Integers = field(repr=False)
    plain: float | None = None

    def table(self) -> pd.DataFrame:
        """The confusion table, components by labels."""
        import pandas as pd

        return pd.DataFrame(self.confusion, columns=pd.Index(self.classes, name="label")).rename_axis(
            "component"
        )

    def __str__(self) -> str:
        plain = "" if self.plain is None else f", {self.plain:.1%} as the classes that they are"
        return (
            f"accuracy {self.accuracy:.1%} by the best matching{plain}, purity {self.purity:.1%}, "
            f"NMI {self.nmi:.3f}, ARI {self.ari:.3f}"
        )


@dataclass(frozen=True, eq=False)
class Agreements:
    """Several runs against labels, an entry for each; it prints the median and the range.

    Attributes:
        accuracy, nmi, ari, purity: (S,).
    """

    accuracy: NDArray[np.float64]
    nmi: NDArray[np.float64]
    ari: NDArray[np.float64]
    purity: NDArray[np.float64]

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
        assignment: component numbers from 0, (N,).
        labels: whole numbers, (N,).
        components: K.
        names: the label that each component is meant to be, (K,), where training was told labels.

    Raises:
        InputError: for lengths that differ, no data, or numbers outside the components.

    Example:
        >>> agreement([0, 0, 1, 1], [7, 7, 3, 3], components=3).matching.tolist()
        [7, 3, -1]
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    c, y = _whole(assignment, "assignment"), _whole(labels, "labels")
    if c.shape != y.shape or c.ndim != 1 or not len(c):
        raise InputError(
            f"assignment has shape {c.shape} and labels {y.shape}: give one of each for each datum, (N,)"
        )
    if c.min() < 0 or c.max() >= components:
        raise InputError(f"assignment has numbers outside the {components} components 0 to {components - 1}")
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
    """Several runs beside each other, say of one declaration from several seeds.

    Arguments:
        explorations: what `explore` gave for each, or their agreements.

    Raises:
        InputError: when there are none, or one has no labels.

    Example:
        >>> runs = [agreement([0, 0, 1, 1], [0, 0, 1, 1], 2), agreement([0, 1, 1, 1], [0, 0, 1, 1], 2)]
        >>> print(agreements(runs))
        2 runs       median   lowest  highest
        accuracy      0.875    0.750    1.000
        nmi           0.672    0.344    1.000
        ari           0.500    0.000    1.000
        purity        0.875    0.750    1.000
    """
    found = [one if isinstance(one, Agreement) else one.agreement for one in explorations]
    if not found:
        raise InputError("there is nothing to compare: give at least one exploration of data with labels")
    missing = [i for i, one in enumerate(found) if one is None]
    if missing:
        raise InputError(f"exploration {missing[0]} has no labels: explore data that have some")
    return Agreements(*(np.array([getattr(one, name) for one in found]) for name in MEASURES))


def _whole(given: Any, name: str) -> Integers:  # noqa: ANN401
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    if array.dtype.kind not in "biu":
        raise InputError(f"{name} are of type {array.dtype}: give whole numbers")
    return array.astype(np.int64)
