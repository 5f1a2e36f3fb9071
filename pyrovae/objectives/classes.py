r"""The ELBO of a program with a class, helped: by entropy at first, by the labels that are known.

Balanced          ELBO + w_t H(mean over the batch of q(c|x)),    w_t falls to zero
SemiSupervised    ELBO + alpha log q(y|x) where the label y is known
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pyrovae.distributions import Classes, log_shares
from pyrovae.errors import InputError
from pyrovae.objectives.base import at_least_one, not_negative
from pyrovae.objectives.elbo import ELBO
from pyrovae.terms import TracePair

if TYPE_CHECKING:
    from pyrovae.terms import Program

__all__ = ["Balanced", "SemiSupervised"]


class Balanced(ELBO, nn.Module):  # in this order: called, it is Pyro's ELBO and no network
    r"""The ELBO and, in the first epochs, a reward for using all components.

    \[\mathcal L + w_t\, H\Big(\tfrac1B \sum_b q(c|x_b)\Big), \qquad
    w_t = w \max\big(0,\, 1 - (t - t_0) / E\big)\]

    in epochs \(t \ge t_0\), against one component taking all while the others are far from the data.
    q(c|x) is the guide's, or Bayes' rule at the draws of z. `bound` is the plain ELBO.

    Arguments:
        weight: w, the nats that a nat of entropy is worth at first.
        epochs: E, over which it falls to zero.
        start: \(t_0\), the epochs before it begins (`start_epoch` of the prior, say).
        particles: K, draws for each datum.

    Raises:
        InputError: for a number out of its range; by `fit`, for a program without components.

    Reference:
        Dilokthanakul et al. (2016), "Deep Unsupervised Clustering with Gaussian Mixture VAEs" (the collapse).

    Example:
        >>> from pyrovae.terms import Terms
        >>> ones = torch.ones(2, 3)
        >>> Balanced().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    of_batch = True
    now: Tensor

    def __init__(self, weight: float = 10.0, epochs: int = 10, start: int = 0, particles: int = 1) -> None:
        nn.Module.__init__(self)
        self.weight = not_negative("Balanced", "weight", weight)
        self.epochs = at_least_one(epochs, "epochs")
        self.start = int(not_negative("Balanced", "start", start))
        self.particles = at_least_one(particles)
        self.beta, self.free_bits, self.analytic_kl = 1.0, 0.0, False
        self.register_buffer("now", torch.tensor(float(weight)))

    def begin(self, rows: int, program: Program) -> None:
        super().begin(rows, program)
        if program.components_wait > self.start:
            raise InputError(
                f"{self!r} begins before the prior has components: give it start={program.components_wait}"
            )

    def begin_epoch(self, epoch: int) -> None:
        done = epoch - self.start
        share = 0.0 if done < 0 else max(0.0, 1 - done / self.epochs)
        self.now.fill_(self.weight * share)

    def check(self, pair: TracePair) -> None:
        super().check(pair)
        class_log_probs(pair, "Balanced")

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        mean = _mean(pair, class_log_probs(pair, "Balanced").exp()).mean(0)
        entropy = -(mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()
        return super().ascended(pair, kl_weight) + self.now.to(mean.dtype) * entropy


class SemiSupervised(ELBO):
    r"""The ELBO and, where labels are known, how well the class is told from x.

    \[\mathcal L(x) \;\text{or, with a label,}\; \mathcal L(x, y) + \alpha \log q(y|x)\]

    Without the second term q(c|x) learns nothing from a label, since a known class is not drawn from it.
    Where no guide draws the class it is Bayes' rule at the draws of z.

    Arguments:
        alpha: the nats that a nat of log q(y|x) is worth for a datum with a label. Kingma et al. have .1
            times the number of data for each that has a label.
        particles: K, draws for each datum.

    Raises:
        InputError: when a number is out of its range; by `fit`, for a program without labels.

    Reference:
        Kingma, Rezende, Mohamed & Welling (2014), "Semi-Supervised Learning with Deep Generative Models".

    Example:
        >>> from pyrovae.terms import Terms
        >>> ones = torch.ones(2, 3)
        >>> SemiSupervised().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    def __init__(self, alpha: float = 10.0, particles: int = 1) -> None:
        self.alpha = not_negative("SemiSupervised", "alpha", alpha)
        self.particles = at_least_one(particles)
        self.beta, self.free_bits, self.analytic_kl = 1.0, 0.0, False

    def check(self, pair: TracePair) -> None:
        super().check(pair)
        if "y" not in pair.model.nodes:
            raise InputError(
                "SemiSupervised needs some labels: give the prior labels=True, and load the data with "
                "context='labels' and known="
            )

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        site: Any = pair.model.nodes["y"]
        known = site["value"]
        score = (_mean(pair, class_log_probs(pair, "SemiSupervised")) * known).sum(-1)
        return super().ascended(pair, kl_weight) + self.alpha * score


def class_log_probs(pair: TracePair, who: str) -> Tensor:
    """log q(c|x) that knows of no label, or Bayes' rule at the draws of z, (K or 1, B, C).

    Raises:
        InputError: for a program without components.
    """
    guide: Any = pair.guide.nodes.get("c")
    if guide is not None and isinstance(guide["fn"], Classes):
        return guide["fn"].free.reshape(-1, pair.shape[1], guide["fn"].strata)[:1]
    joint = _enumerated(pair)
    if joint is None:
        law: Any = pair.model.nodes["z"]["fn"] if "z" in pair.model.nodes else None
        while hasattr(law, "base_dist"):
            law = law.base_dist
        if not hasattr(law, "mixture_distribution"):
            raise InputError(
                f"{who} needs a program with components or classes: use the prior GaussianMixture or Classes"
            )
        z: Any = pair.model.nodes["z"]["value"]
        return log_shares(law, z)
    return torch.log_softmax(joint, -1)


def _enumerated(pair: TracePair) -> Tensor | None:
    """log p(c, z) of a class that is summed out, (K, B, C)."""
    site: Any = pair.model.nodes.get("c")
    if site is None or site["infer"].get("enumerate") != "parallel":
        return None
    logs = pair.site_log_probs()
    return (logs["p(c)"] + logs["p(z)"]).movedim(0, -1)


def _mean(pair: TracePair, values: Tensor) -> Tensor:
    """The mean over particles, weighted where they are strata: (K or 1, B, C) -> (B, C)."""
    log_v = pair.terms().log_v
    if log_v is None or len(values) == 1:
        return values.mean(0)
    return (values * log_v.exp().unsqueeze(-1)).mean(0)
