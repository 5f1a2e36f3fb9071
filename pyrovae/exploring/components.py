r"""The components of a mixture: their sizes, places, shares of the data, and costs.

    hard_k  = #{n: k = argmax_c p(c|x_n)}          soft_k = sum_n p(k|x_n)
    kl_k    = sum_n p(k|x_n) KL(q(z|x_n) || N_k) / soft_k
    in use  = exp H(soft / N)                      the number of equal components with that entropy
    overlap = int sqrt(N_j N_k)                    the Bhattacharyya coefficient

Weights are those of the prior; counts and nats refer to the explored rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyrovae.display import Displayed
from pyrovae.exploring.gaussians import effective, overlaps
from pyrovae.exploring.mixture import Mixture
from pyrovae.exploring.reading import ByComponent
from pyrovae.numerics import Array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Components", "components_of"]


@dataclass(frozen=True, eq=False, repr=False)
class Components(Displayed):
    """K components as arrays; it prints as a table.

    Attributes:
        weight: pi_k, (K,).
        mean: (K, D).
        covariance: (K, D, D).
        hard: the number of rows for which it is the most probable component, (K,).
        soft: the sum of p(k|x) over the rows, (K,).
        kl: the mean KL(q(z|x) || N_k) of its rows in nats, (K,); nan if it has none.
        overlap: Bhattacharyya coefficients, (K, K): 1 for equal components, 0 for separate ones.
            For classes that share one p(z), as in M2, all are 1.
    """

    weight: Array
    mean: Array
    covariance: Array
    hard: NDArray[np.int64]
    soft: Array
    kl: Array
    overlap: Array

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def effective(self) -> float:
        """The number of equal components with the entropy of the weights, exp H(pi)."""
        return effective(self.weight)

    @property
    def in_use(self) -> float:
        """The number of equal components with the entropy of the row shares, exp H(soft / N)."""
        return effective(self.soft)

    @property
    def closest(self) -> NDArray[np.int64]:
        """The component with which each overlaps most, (K,); itself if it is the only one."""
        others = self.overlap - 2 * np.eye(len(self)) if len(self) > 1 else self.overlap
        return others.argmax(1)

    def table(self) -> pd.DataFrame:
        """A row for each component: weight, rows (hard and soft), nats, and closest neighbour."""
        import pandas as pd

        columns = {
            "weight": self.weight,
            "data": self.hard,
            "soft": self.soft,
            "kl": self.kl,
            "closest": self.closest,
            "overlap": self.overlap[np.arange(len(self)), self.closest],
        }
        return pd.DataFrame(columns, index=pd.RangeIndex(len(self), name="component"))

    def __str__(self) -> str:
        head = (
            f"{'component':>9} {'weight':>8} {'data':>7} {'soft':>9} {'KL':>7} {'closest':>8} {'overlap':>8}"
        )
        rows = [
            f"{k:9} {weight:8.4f} {hard:7,} {soft:9,.1f} {kl:7.2f} {closest:8} {overlap:8.3f}"
            for k, weight, hard, soft, kl, closest, overlap in self.table().itertuples()
        ]
        foot = f"{self.effective:.1f} of {len(self)} components by the weights, {self.in_use:.1f} by the data"
        return "\n".join([head, *rows, foot])


def components_of(mixture: Mixture, encoding: ByComponent) -> Components:
    """Describe the components of a mixture by encoded rows."""
    share = encoding.responsibilities
    count = len(mixture)
    soft = share.sum(0)
    cost = (share * encoding.kl).sum(0)
    return Components(
        weight=mixture.weight,
        mean=mixture.mean,
        covariance=mixture.covariance,
        hard=np.bincount(share.argmax(1), minlength=count),
        soft=soft,
        kl=np.divide(cost, soft, out=np.full(count, np.nan), where=soft > 0),
        overlap=np.ones((count, count)) if mixture.classed else overlaps(mixture.mean, mixture.covariance),
    )
