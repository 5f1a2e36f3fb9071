r"""The FactorVAE: the total correlation of q(z), from a classifier trained with the VAE.

    TC(z) = KL(q(z) || prod_d q(z_d)) = E_q[log D(z) - log(1 - D(z))]

D distinguishes samples of q(z) from samples whose entries come from different rows. One step
updates both: the VAE by ELBO - gamma TC for a fixed D, and D by its own likelihood for fixed
samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyro
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from pyrovae.checks import number, sizes_of, whole
from pyrovae.errors import InputError
from pyrovae.objectives.base import LearningObjective, in_place_of
from pyrovae.objectives.batchwise import Batchwise
from pyrovae.terms import Latent, Terms, TracePair

if TYPE_CHECKING:
    from pyrovae.terms import Program

__all__ = ["Factor"]

_COUNT = itertools.count()


class Factor(LearningObjective, Batchwise):
    r"""The ELBO minus \(\gamma\) times the total correlation of the aggregated posterior.

    \[\mathrm{ELBO} - \gamma\, \mathrm{KL}\Big(q(z) \Big\| \prod_d q(z_d)\Big)\]

    Arguments:
        gamma: the weight of the total correlation.
        layers: the hidden layers of the classifier, with leaky rectifiers.
        particles: K, samples for each row.

    Raises:
        InputError: if `particles` or a layer is below 1, or `gamma` is negative; by `fit`, for a
            program with several latent sites. Outside `fit`, call `begin` first.

    Reference:
        Kim & Mnih (2018), "Disentangling by Factorising".

    Example:
        >>> ones = torch.ones(2, 3)
        >>> Factor().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    def __init__(self, gamma: float = 10.0, layers: Sequence[int] = (256, 256), particles: int = 1) -> None:
        super().__init__(particles)
        self.gamma = number("gamma", gamma, least=0)
        self.layers = tuple(whole("a size in layers", size) for size in sizes_of("layers", layers))

    def begin(self, rows: int, program: Program) -> None:
        """Create the classifier for the z of a program."""
        super().begin(rows, program)
        if not program.latent_size:
            raise InputError("Factor needs a program with one latent vector z, as a VAE has")
        widths = [program.latent_size, *self.layers]
        stages: list[nn.Module] = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            stages += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.2)]
        self.classifier = nn.Sequential(*stages, nn.Linear(widths[-1], 1))
        self.name = f"factor{next(_COUNT)}"  # Pyro's store is global: two classifiers need two names

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Minus what is maximised; `pyro.infer.SVI` then trains the classifier too.

        Raises:
            InputError: before `begin(rows, program)`, which creates the classifier.
        """
        if not hasattr(self, "classifier"):
            raise InputError(
                "Factor has no classifier yet: call its begin(rows, program) with the number of training "
                "rows and the VAE, or train with pv.fit"
            )
        pyro.module(self.name, self.classifier)
        return super().differentiable_loss(model, guide, *args, **kwargs)

    def penalty(self, latent: Latent, terms: Terms) -> Tensor:
        fixed = {name: p.detach() for name, p in self.classifier.named_parameters()}
        return self.gamma * functional_call(self.classifier, fixed, (latent.value,)).squeeze(-1).mean(0)

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        ascended = super().ascended(pair, kl_weight)
        return in_place_of(ascended, ascended + self.log_likelihood(pair.latent("Factor").value.detach()))

    def log_likelihood(self, z: Tensor) -> Tensor:
        """The classifier's mean log-likelihood on samples (K, B, D) and on shuffled ones, ()."""
        real, mixed = self.classifier(z), self.classifier(_shuffled(z))
        return -(softplus(-real) + softplus(mixed)).mean() / 2


def _shuffled(z: Tensor) -> Tensor:
    """Permute the rows of each entry, so that the entries of a sample come from different rows."""
    order = torch.rand_like(z).argsort(1)
    return z.gather(1, order)
