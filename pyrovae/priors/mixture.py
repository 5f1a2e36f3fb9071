r"""Mixtures of Gaussians as priors.

p(z) = sum_k pi_k N(z; mu_k, Sigma_k)

Either the sum is one law of z ("collapsed"), or the program has the component as a site of its own,
p(c) p(z|c), summed over by enumeration or drawn by a guide q(c|x) q(z|x, c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import LOWER, RegressedNormal, log_shares, pick, restricted
from pyrovae.errors import InputError
from pyrovae.numerics import SCALE_FLOOR, inverse_positive, inverse_softplus, positive
from pyrovae.part import at_least
from pyrovae.priors.base import Prior, class_site
from pyrovae.priors.starts import FROM_DATA, STARTS, Start, from_encodings, spread

__all__ = ["GaussianMixture"]

COVARIANCES = ("spherical", "diagonal", "full")
UNIT = inverse_positive(1.0)
PIECE = 1000


class GaussianMixture(Prior):
    r"""A mixture of Gaussians with learned weights, means and covariances.

    \[p(z) = \sum_{k=1}^{K} \pi_k \, \mathcal N(z; \mu_k, \Sigma_k), \qquad
    \Sigma_k = \sigma_k^2 I, \quad \mathrm{diag}\, \sigma_k^2 \quad\text{or any}\]

    Given a context c the weights depend on it, \(\pi(c) = \mathrm{softmax}(b + A c)\), with A zero at first.

    With `explicit` the program has the component as its site "c": \(p(c)\, p(z|c)\, p(x|z)\). A guide over z
    alone leaves it to be summed out (VaDE; q(c|x) is Bayes' rule from z); the guide `GaussianMixture` with
    `explicit` draws it (GMVAE). Both bounds count the same program.

    A start from the data looks at the encodings, the means of q(z|x), after `start_epoch` epochs; until then
    the prior is N(0, I).

    Arguments:
        components: the number K of components.
        covariance: "spherical", "diagonal" or "full".
        start: means at "random", or "spread", the closest two 4 standard deviations apart; or components on
            the clusters that "kmeans", a "fit" by EM or the communities of the neighbours' "graph" are
            among the encodings.
        learned: with False weights, means and scales stay as they start; A is learned all the same.
        explicit: whether the component is a site of the program.
        labels: whether the program observes labels y, each the index of a component. It makes the site
            explicit.
        start_epoch: the epochs before a start from the data.
        floor: the least weight of a component, in units of 1/K, so that none is given up.
        prune: at the start of an epoch components are switched off whose share of the encodings is below it.

    Raises:
        InputError: for a number out of its range, or an unknown `covariance` or `start`.

    Reference:
        Dilokthanakul et al. (2016), "Deep Unsupervised Clustering with Gaussian Mixture VAEs"; Jiang, Zheng,
        Tan, Tang & Zhou (2017), "Variational Deep Embedding".

    Example:
        >>> prior = GaussianMixture(components=10)
        >>> prior.attach(latent_dim=2)
        >>> prior().log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    logits: Tensor
    loc: Tensor
    raw_scale: Tensor
    regression: Tensor
    begun: Tensor
    alive: Tensor

    def __init__(
        self,
        components: int = 10,
        covariance: Literal["spherical", "diagonal", "full"] = "diagonal",
        start: Start = "random",
        *,
        learned: bool = True,
        explicit: bool = False,
        labels: bool = False,
        start_epoch: int = 0,
        floor: float = 0.0,
        prune: float = 0.0,
    ) -> None:
        super().__init__()
        self.components = components
        self.covariance = covariance
        self.start = start
        self.learned = learned
        self.explicit = explicit
        self.labels = labels
        self.start_epoch = start_epoch
        self.floor = floor
        self.prune = prune

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self._check()
        shape = (self.components, latent_dim)
        self._keep("logits", torch.zeros(self.components))
        self._keep("loc", spread(*shape) if self.start == "spread" else torch.randn(shape))
        width = 1 if self.covariance == "spherical" else latent_dim
        self._keep("raw_scale", torch.full((self.components, width), UNIT))
        if self.covariance == "full":
            self._keep("regression", torch.zeros(*shape, latent_dim))
        if self.start in FROM_DATA:
            self.register_buffer("begun", torch.tensor(False))
        if self.prune and context_dim:
            raise InputError(
                f"{self!r} has other weights for each context, and prune looks at none: leave prune out"
            )
        if self.prune:
            self.register_buffer("alive", torch.ones(self.components, dtype=torch.bool))
        self.gate = nn.Linear(context_dim, self.components, bias=False) if context_dim else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)

    def _check(self) -> None:
        at_least(self, 1, components=self.components)
        at_least(self, 0, start_epoch=self.start_epoch)
        for name, known in (("covariance", COVARIANCES), ("start", STARTS)):
            if getattr(self, name) not in known:
                options = f"{', '.join(known[:-1])} or {known[-1]}"
                raise InputError(f"unknown {name} {getattr(self, name)!r}: choose {options}")
        if self.start_epoch and self.start not in FROM_DATA:
            raise InputError(
                f"start_epoch={self.start_epoch} waits for encodings, which start={self.start!r} does not "
                "look at: use start='kmeans', 'fit' or 'graph', or leave start_epoch out"
            )
        if self.prune and self.labels:
            raise InputError(
                f"{self!r} would switch classes off that have labels: leave prune out, or labels"
            )
        for name, most in (("floor", 1.0), ("prune", 1.0 / self.components)):
            if not 0 <= getattr(self, name) < most:
                raise InputError(
                    f"GaussianMixture needs a {name} from 0 to below {most:g}, not {getattr(self, name)}"
                )

    def _keep(self, name: str, value: Tensor) -> None:
        if self.learned:
            setattr(self, name, nn.Parameter(value))
        else:  # what was drawn or seen must come back with the weights
            self.register_buffer(name, value, persistent=self.start != "spread")

    # ---------------------------------------------------------------- laws

    @property
    def states(self) -> int | None:  # type: ignore[override]
        """K, when the component is a site."""
        return self.components if self.explicit or self.labels else None

    def forward(self, context: Tensor | None = None, known: Tensor | None = None) -> dist.TorchDistribution:
        return self.mixture(context, known)

    def mixture(self, context: Tensor | None = None, known: Tensor | None = None) -> dist.MixtureSameFamily:
        logits = self._weights(context)
        if self.labels:
            logits = restricted(logits, known)
        return dist.MixtureSameFamily(
            dist.Categorical(logits=logits), self._law(*self._tables()).expand(logits.shape)
        )

    def sites(
        self,
        context: Tensor | None = None,
        known: Tensor | None = None,
        *,
        observed: bool = True,
        enumerated: bool = True,
    ) -> Tensor:
        if self.states is None:
            return super().sites(context)
        c = class_site(self._weights(context), known, observed=observed, enumerated=enumerated)
        return pyro.sample("z", self._law(*(pick(table, c) for table in self._tables())))

    def _weights(self, context: Tensor | None) -> Tensor:
        """The logarithms of the weights, (*, K)."""
        logits = self._begun(self.logits, 0.0)
        if self.gate is not None and context is not None:
            logits = logits + self.gate(context)
        if self.prune:
            logits = torch.where(self.alive, logits, LOWER)
        log_pi = torch.log_softmax(logits, -1)
        if self.floor:
            lifted = torch.log(log_pi.exp() * (1 - self.floor) + self.floor / self.components)
            log_pi = torch.where(self.alive, lifted, log_pi) if self.prune else lifted
        return log_pi

    def _tables(self) -> list[Tensor]:
        """The means (K, D), standard deviations (K, D or 1), and the regressions (K, D D) when full."""
        tables = [self._begun(self.loc, 0.0), positive(self._begun(self.raw_scale, UNIT))]
        if self.covariance == "full":
            tables.append(self._begun(self.regression, 0.0).flatten(1))
        return tables

    def _begun(self, value: Tensor, before: float) -> Tensor:
        return torch.where(self.begun, value, before) if self.start in FROM_DATA else value

    def _law(self, loc: Tensor, scale: Tensor, *regression: Tensor) -> dist.TorchDistribution:
        size = self.latent_dim
        return RegressedNormal(loc, scale, *(flat.unflatten(-1, (size, size)) for flat in regression))

    # ---------------------------------------------------------------- where the components are

    @property
    def waits_for(self) -> int:
        return self.start_epoch if self._waits() else 0

    def _waits(self) -> bool:
        return self.start in FROM_DATA and not bool(self.begun)

    @torch.no_grad()
    def begin_epoch(
        self,
        epoch: int,
        encodings: Callable[[], Tensor],
        known: Callable[[], Tensor | None] = lambda: None,
    ) -> bool:
        waits = self._waits()
        if waits and epoch >= self.start_epoch:
            labels = known() if self.labels else None
            self.put(*from_encodings(self.start, encodings(), self.components, labels))
            return True
        if waits or not self.prune or not epoch:
            return False
        return self._pruned(encodings())

    def _shares(self, z: Tensor) -> Tensor:
        """p(c|z), (N, K)."""
        law, pieces = self.mixture(), z.split(PIECE)  # (N, K, D) at once may be large
        return torch.cat([log_shares(law, piece).exp() for piece in pieces])

    def _pruned(self, z: Tensor) -> bool:
        """Switch components off whose share of the encodings is too small."""
        kept = self._shares(z).mean(0) >= self.prune  # below 1/K, so one stays; what is off has no share
        fewer = bool((kept != self.alive).any())
        self.alive.copy_(kept)
        return fewer

    @torch.no_grad()
    def put(self, weights: Tensor, loc: Tensor, covariance: Tensor) -> None:
        """Set the mixture's weights (K,), means (K, D) and covariances (K, D, D).

        What a narrower form of covariance does not hold is left out: of "diagonal" the correlations, of
        "spherical" the differences between variances too. All components are alive afterwards.

        Raises:
            InputError: for shapes of another mixture, numbers that are not finite, weights that are none, or
                a covariance that is not positive definite.
        """
        if not self.learned and self.start == "spread":
            raise InputError(f"the components of {self!r} stand where they are declared: use start='random'")
        expected = (self.components, self.latent_dim)
        fit = weights.shape == expected[:1] and bool((weights >= 0).all() and weights.isfinite().all())
        if not fit or not weights.any():
            raise InputError(
                f"weights must be {self.components} numbers of 0 or more, one at least above, not "
                f"{weights.tolist()}"
            )
        if tuple(loc.shape) != expected or tuple(covariance.shape) != (*expected, self.latent_dim):
            raise InputError(
                f"means of shape {tuple(loc.shape)} and covariances of shape {tuple(covariance.shape)} are "
                f"not those of {self.components} components of {self.latent_dim} latents"
            )
        if not loc.isfinite().all():
            raise InputError("the means are not all finite: give numbers")
        factor, failed = torch.linalg.cholesky_ex(covariance.double())
        if failed.any() or not factor.isfinite().all():
            raise InputError("a covariance is not positive definite: give one that is")
        self.logits.copy_(self._logits(weights.double()))
        self.loc.copy_(loc)
        variance = covariance.double().diagonal(dim1=-2, dim2=-1)
        scale = factor.diagonal(dim1=-2, dim2=-1) if self.covariance == "full" else variance.sqrt()
        if self.covariance == "spherical":
            scale = variance.mean(-1, keepdim=True).sqrt()
        self.raw_scale.copy_(inverse_softplus((scale - SCALE_FLOOR).clamp_min(1e-6)))
        if self.covariance == "full":
            unit = factor / factor.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)
            self.regression.copy_(torch.linalg.inv(unit).tril(-1))
        if self.start in FROM_DATA:
            self.begun.fill_(True)
        if self.prune:
            self.alive.fill_(True)

    def _logits(self, weights: Tensor) -> Tensor:
        """Those that give the weights, or the nearest that the floor lets be."""
        own = (weights / weights.sum() - self.floor / self.components).clamp_min(1e-12)
        log_pi = (own / own.sum()).log()
        return log_pi - log_pi.mean()
