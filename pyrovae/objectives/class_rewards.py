r"""The ELBO of a program with a class, with a reward for using all classes or matching labels.

Balanced          ELBO + w_t H(mean over the batch of q(c|x)),    w_t falls to zero
SemiSupervised    ELBO + alpha log q(y|x) where the label y is known
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.cures import cure, option
from pyrovae.distributions import ClassDistribution, log_shares
from pyrovae.errors import InputError
from pyrovae.objectives.base import LearningObjective
from pyrovae.objectives.elbo import ELBO
from pyrovae.terms import TracePair

if TYPE_CHECKING:
    from pyrovae.terms import Program

__all__ = ["Balanced", "SemiSupervised"]


class Balanced(LearningObjective, ELBO):
    r"""The ELBO and, in the first epochs, a reward for using all components.

    \[\mathcal L + w_t\, H\Big(\tfrac1B \sum_b q(c|x_b)\Big), \qquad
    w_t = w \max\big(0,\, 1 - (t - t_0) / E\big)\]

    in epochs \(t \ge t_0\), so that one component does not take all rows while the others are far
    from the data. q(c|x) comes from the guide, or from Bayes' rule at samples of z. `bound` is the
    plain ELBO.

    Arguments:
        weight: w, the initial weight of the entropy.
        epochs: E, the number of epochs over which the weight falls to zero.
        start: \(t_0\), the number of epochs before it starts (for example `start_epoch` of the
            prior).
        particles: K, samples for each row.

    Raises:
        InputError: if a number is out of range; by `fit`, for a program without components.

    Reference:
        Dilokthanakul et al. (2016), "Deep Unsupervised Clustering with Gaussian Mixture VAEs" (the
        collapse).

    Example:
        >>> from pyrovae.terms import Terms
        >>> ones = torch.ones(2, 3)
        >>> Balanced().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    now: Tensor
    chosen_by_bound = True  # the reward is for the first epochs only

    def __init__(self, weight: float = 10.0, epochs: int = 10, start: int = 0, particles: int = 1) -> None:
        super().__init__(particles)
        self.weight = number("weight", weight, least=0)
        self.epochs = whole("epochs", epochs)
        self.start = whole("start", start, 0)
        self.of_batch = True
        self.register_buffer("now", torch.tensor(self.weight))

    def begin(self, rows: int, program: Program) -> None:
        super().begin(rows, program)
        if program.components_wait > self.start:
            raise InputError(
                f"{self!r} starts before the prior has components: give the objective "
                f"start={program.components_wait}"
            )

    def begin_epoch(self, epoch: int) -> None:
        done = epoch - self.start
        share = 0.0 if done < 0 else max(0.0, 1 - done / self.epochs)
        self.now.fill_(self.weight * share)

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        mean = _mean(pair, class_log_probs(pair, "Balanced").exp()).mean(0)
        entropy = -(mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()
        return super().ascended(pair, kl_weight) + self.now.to(mean.dtype) * entropy


class SemiSupervised(ELBO):
    r"""The ELBO and, where labels are known, the log-probability of the label given x.

    \[\mathcal L(x) \;\text{or, with a label,}\; \mathcal L(x, y) + \alpha \log q(y|x)\]

    Without the second term q(c|x) learns nothing from a label, since a known class is not sampled
    from it. If the guide does not draw the class, q(c|x) is Bayes' rule at samples of z.

    Arguments:
        alpha: the weight of log q(y|x) for a row with a label. Kingma et al. use 0.1 N divided by
            the number of labelled rows.
        particles: K, samples for each row.

    Raises:
        InputError: if a number is out of range; by `fit`, for a program without labels.

    Reference:
        Kingma, Rezende, Mohamed & Welling (2014), "Semi-Supervised Learning with Deep Generative
        Models".

    Example:
        >>> from pyrovae.terms import Terms
        >>> ones = torch.ones(2, 3)
        >>> SemiSupervised().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    chosen_by_bound = True  # the validation set has no labels

    def __init__(self, alpha: float = 10.0, particles: int = 1) -> None:
        super().__init__(particles)
        self.alpha = number("alpha", alpha, least=0)

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        labels: Any = pair.model.nodes.get("y")
        if labels is None:
            raise InputError(
                f"SemiSupervised needs some labels: give the prior {option('labels', True, 'prior')}, and "
                f"load the data with {option('labels', True)} or {cure('known=', '--known')}"
            )
        score = (_mean(pair, class_log_probs(pair, "SemiSupervised")) * labels["value"]).sum(-1)
        return super().ascended(pair, kl_weight) + self.alpha * score


def class_log_probs(pair: TracePair, who: str) -> Tensor:
    """log q(c|x) without the label, or Bayes' rule at samples of z, (K or 1, B, C).

    Raises:
        InputError: for a program without components.
    """
    guide: Any = pair.guide.nodes.get("c")
    if guide is not None and isinstance(guide["fn"], ClassDistribution):
        return guide["fn"].free.reshape(-1, pair.shape[1], guide["fn"].strata)[:1]
    joint = _enumerated(pair)
    if joint is not None:
        return torch.log_softmax(joint, -1)
    site: Any = pair.model.nodes.get("z", {"fn": None})
    mixture = site["fn"]
    while hasattr(mixture, "base_dist"):
        mixture = mixture.base_dist
    if not hasattr(mixture, "mixture_distribution"):
        raise InputError(
            f"{who} needs a program with components or classes: use the prior GaussianMixture or Classes"
        )
    return log_shares(mixture, site["value"])


def _enumerated(pair: TracePair) -> Tensor | None:
    """log p(c, z) for a class that is summed out, (K, B, C)."""
    site: Any = pair.model.nodes.get("c")
    if site is None or site["infer"].get("enumerate") != "parallel":
        return None
    logs = pair.site_log_probs()
    return (logs["p(c)"] + logs["p(z)"]).movedim(0, -1)


def _mean(pair: TracePair, values: Tensor) -> Tensor:
    """The mean over particles, weighted if they are stratified: (K or 1, B, C) -> (B, C)."""
    log_v = pair.terms().log_v
    if log_v is None or len(values) == 1:
        return values.mean(0)
    return (values * log_v.exp().unsqueeze(-1)).mean(0)
