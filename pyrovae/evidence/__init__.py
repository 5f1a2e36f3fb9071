r"""Evidence: log p(x) of each observation, with its errors.

    log p(x) = log E_q[w],   w = p(x, z) / q(z|x)        estimated by  log (1/K) sum_k w_k

All estimates use the importance weights from `pyrovae.terms`, the same terms as training, so the
bound that is trained and the log p(x) that is reported agree. An evaluation does not change
parameters, buffers, the training mode or the caller's random state.
"""

from pyrovae.evidence.arviz import elpd, to_arviz
from pyrovae.evidence.code_length import CodeLength, code_length
from pyrovae.evidence.compare import Comparison, Comparisons, compare
from pyrovae.evidence.curve import BoundCurve, iwae_bound
from pyrovae.evidence.diagnose import Diagnosis, diagnose
from pyrovae.evidence.estimate import log_evidence
from pyrovae.evidence.gaps import Gaps, gaps
from pyrovae.evidence.gradients import GradientNoise, gradient_noise
from pyrovae.evidence.laplace import Laplace
from pyrovae.evidence.methods import AIS, PSIS, Defensive, Importance, Method
from pyrovae.evidence.result import Evidence
from pyrovae.evidence.sandwich import Sandwich, sandwich
from pyrovae.evidence.units import Units
from pyrovae.evidence.whole import DataEvidence, data_evidence

__all__ = [
    "AIS",
    "PSIS",
    "BoundCurve",
    "CodeLength",
    "Comparison",
    "Comparisons",
    "DataEvidence",
    "Defensive",
    "Diagnosis",
    "Evidence",
    "Gaps",
    "GradientNoise",
    "Importance",
    "Laplace",
    "Method",
    "Sandwich",
    "Units",
    "code_length",
    "compare",
    "data_evidence",
    "diagnose",
    "elpd",
    "gaps",
    "gradient_noise",
    "iwae_bound",
    "log_evidence",
    "sandwich",
    "to_arviz",
]
