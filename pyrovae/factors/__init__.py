"""How well the latents of a trained model stand for the known factors of its data.

result = disentanglement(vae, data)         all metrics, with errors; a table and a figure
MIG()(codes, factors)                       one metric of any codes (N, D) and factors (N, F)
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.factors.base import Coded, Metric
    from pyrovae.factors.importance import DCI
    from pyrovae.factors.information import MIG, Modularity, mutual_information
    from pyrovae.factors.measuring import disentanglement
    from pyrovae.factors.prediction import SAP, Explicitness
    from pyrovae.factors.result import Disentanglement
    from pyrovae.factors.robustness import IRS
    from pyrovae.factors.votes import BetaVAEScore, FactorVAEScore

__all__ = [
    "DCI",
    "IRS",
    "MIG",
    "SAP",
    "BetaVAEScore",
    "Coded",
    "Disentanglement",
    "Explicitness",
    "FactorVAEScore",
    "Metric",
    "Modularity",
    "disentanglement",
    "mutual_information",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "base": ["Coded", "Metric"],
            "importance": ["DCI"],
            "information": ["MIG", "Modularity", "mutual_information"],
            "measuring": ["disentanglement"],
            "prediction": ["SAP", "Explicitness"],
            "result": ["Disentanglement"],
            "robustness": ["IRS"],
            "votes": ["BetaVAEScore", "FactorVAEScore"],
        },
    )
