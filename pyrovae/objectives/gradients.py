r"""The same bounds with other gradient estimators for the guide.

path and score   d/dphi E_q[log w] = E[ d log w / dz  dz/dphi ]  -  E[ d log q / dphi ]
                 (the last term is 0)

StickingTheLanding   the ELBO without the score: no variance at the exact posterior
DReG                 IWAE with the score term replaced by a path term: w^2 instead of w
ScoreFunction        the ELBO by the score only: for guides that are not reparameterised
ReweightedWakeSleep  the decoder maximises IWAE, the encoder moves towards the posterior
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from pyrovae.checks import number, one_of
from pyrovae.errors import InputError
from pyrovae.numerics import normalised
from pyrovae.objectives.base import Objective, in_place_of, weighted
from pyrovae.terms import Draws, Terms, TracePair

__all__ = ["DReG", "ReweightedWakeSleep", "ScoreFunction", "StickingTheLanding"]


class StickingTheLanding(Objective):
    r"""The ELBO with the path derivative only, without the score term.

    The score \(\nabla_\phi \log q_\phi(z|x)\) at a fixed z has mean zero and is left out. At the
    exact posterior the gradient of the guide is then zero for every sample, not only on average.

    Arguments:
        particles: K, samples for each row, averaged.

    Raises:
        InputError: if `particles` is below 1.

    Reference:
        Roeder, Wu & Duvenaud (2017), "Sticking the Landing".

    Example:
        >>> import torch
        >>> ones = torch.ones(2, 3)
        >>> StickingTheLanding(2).bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    chosen_by_bound = True  # only the gradient differs

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        terms, score = pair.terms(), pair.score()
        without = terms._replace(log_qz=terms.log_qz - score + score.detach())
        return weighted(without.mean(without.log_w), terms, kl_weight)


class DReG(Objective):
    r"""The importance-weighted bound with the doubly reparameterised gradient of the guide.

    \[\nabla_\phi \mathcal L_K = \mathbb E \Big[\sum_k \tilde w_k^2\,
    \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}\Big], \qquad
    \tilde w_k = w_k / \textstyle\sum_j w_j\]

    Its mean is IWAE's gradient, and its signal-to-noise ratio does not fall as K grows. The model's
    gradient is that of IWAE.

    Arguments:
        particles: K.

    Raises:
        InputError: if `particles` is below 1; by `fit`, with kl_warmup, which would need two
            gradients.

    Reference:
        Tucker, Lawson, Gu & Maddison (2019), "Doubly Reparameterized Gradient Estimators for Monte
        Carlo Objectives".

    Example:
        >>> import torch
        >>> zeros = torch.zeros(2, 1)
        >>> DReG(particles=2).bound(Terms(torch.tensor([[0.0], [-100.0]]), zeros, zeros))
        tensor([-0.6931])
    """

    draws: Draws = "routed"
    anneals = False
    chosen_by_bound = True  # only the gradient differs

    def __init__(self, particles: int = 5) -> None:
        super().__init__(particles)

    def bound(self, terms: Terms) -> Tensor:
        return terms.log_mean_w()

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        terms, score = pair.terms(), pair.score()
        weight = normalised(terms.log_weights()).detach()
        assert pair.routing is not None
        pair.routing.weight = weight  # once here, and once in the gradient from the model to z
        path = terms.log_qz - score
        surrogate = weight * (terms.log_px_z + terms.log_pz) - weight.square() * path
        return in_place_of(self.bound(terms), surrogate.sum(0))


class ScoreFunction(Objective):
    r"""The ELBO with the guide's gradient by the score function (REINFORCE), with a baseline.

    \[\nabla_\phi \mathcal L = \mathbb E_q\big[(\log w - b)\, \nabla_\phi \log q_\phi(z|x)\big]\]

    It needs no reparameterised samples, so it also trains discrete guides; for reparameterised
    samples, its variance is far above that of `ELBO`. The baseline is the mean of `log w` over
    other samples, which are independent.

    Arguments:
        particles: K, samples for each row, averaged.
        baseline: "particles", the row's other particles (2 or more); "batch", the other rows;
            "none".

    Raises:
        InputError: for an unknown baseline, or "particles" with one particle.

    Reference:
        Williams (1992), "Simple Statistical Gradient-Following Algorithms"; Kool, van Hoof &
        Welling (2019), "Buy 4 REINFORCE Samples, Get a Baseline for Free!"; Ranganath et al.
        (2014), "Black Box Variational Inference".

    Example:
        >>> import torch
        >>> ones = torch.ones(4, 3)
        >>> ScoreFunction().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    draws: Draws = "detached"
    chosen_by_bound = True  # only the gradient differs

    def __init__(
        self, particles: int = 4, baseline: Literal["particles", "batch", "none"] = "particles"
    ) -> None:
        super().__init__(particles)
        self.baseline = one_of("baseline", baseline, ("particles", "batch", "none"))
        if baseline == "particles" and particles < 2:
            raise InputError(
                "ScoreFunction needs 2 or more particles for the baseline 'particles': give "
                "particles=2, or baseline='batch'"
            )

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        terms = pair.terms()
        kl = terms.log_qz - terms.log_pz
        log_w = terms.log_px_z - (kl if kl_weight is None else kl_weight * kl)
        signal = (log_w - self._baseline(log_w)).detach()
        of_prior = terms.log_pz if kl_weight is None else kl_weight * terms.log_pz
        return in_place_of(log_w.mean(0), (terms.log_px_z + of_prior + signal * terms.log_qz).mean(0))

    def _baseline(self, log_w: Tensor) -> Tensor | float:
        count = log_w.shape[0] if self.baseline == "particles" else log_w.shape[1]
        if self.baseline == "none" or count == 1:
            return 0.0
        axis = 0 if self.baseline == "particles" else 1
        return (log_w.sum(axis, keepdim=True) - log_w) / (count - 1)


class ReweightedWakeSleep(Objective):
    r"""The decoder maximises IWAE's bound; the encoder moves towards the posterior.

    \[\text{wake}\quad \sum_k \tilde w_k\, \nabla_\phi \log q_\phi(z_k|x), \qquad
    \text{sleep}\quad \mathbb E_{p(x,z)} \nabla_\phi \log q_\phi(z|x)\]

    The weights are normalised for each row, as is needed for minibatches. Samples need not be
    reparameterised.

    Arguments:
        particles: K.
        insomnia: the share of the wake phase in the encoder's gradient; the rest is the sleep
            phase, on data sampled from the model.

    Raises:
        InputError: if `particles` is below 1 or `insomnia` is outside [0, 1]; by `fit`, for a sleep
            phase if the model does not sample the x that the guide reads.

    Reference:
        Bornschein & Bengio (2015), "Reweighted Wake-Sleep"; Le et al. (2019), "Revisiting
        Reweighted Wake-Sleep for Models with Stochastic Control Flow".

    Example:
        >>> import torch
        >>> zeros = torch.zeros(2, 1)
        >>> terms = Terms(torch.tensor([[0.0], [-100.0]]), zeros, zeros)
        >>> ReweightedWakeSleep(particles=2).bound(terms)
        tensor([-0.6931])
    """

    draws: Draws = "detached"
    anneals = False
    chosen_by_bound = True  # only the gradient differs

    def __init__(self, particles: int = 5, insomnia: float = 1.0) -> None:
        super().__init__(particles)
        self.insomnia = number("insomnia", insomnia, least=0, most=1)

    def bound(self, terms: Terms) -> Tensor:
        return terms.log_mean_w()

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        terms = pair.terms()
        weight = normalised(terms.log_weights()).detach()
        surrogate = (weight * (terms.log_px_z + terms.log_pz)).sum(0)
        if self.insomnia:
            surrogate = surrogate + self.insomnia * (weight * terms.log_qz).sum(0)
        if self.insomnia < 1:
            surrogate = surrogate + (1 - self.insomnia) * pair.dreamt().mean(0)
        return in_place_of(self.bound(terms), surrogate)
