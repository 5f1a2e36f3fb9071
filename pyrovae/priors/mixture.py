r"""Mixtures of Gaussians as priors.

p(z) = sum_k pi_k N(z; mu_k, Sigma_k)

Either the sum is one distribution of z ("collapsed"), or the component is a separate site of the
program, p(c) p(z|c), which is enumerated or drawn by a guide q(c|x) q(z|x, c).

`moments` has the weights and covariances, and `starts` initialises the components.
"""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import RegressedNormal, log_shares
from pyrovae.distributions.class_distribution import pick, restricted
from pyrovae.errors import InputError
from pyrovae.numerics import UNIT, positive
from pyrovae.priors.base import Encodings, Labels, Prior, context_map, shifted
from pyrovae.priors.moments import Moments, log_weights
from pyrovae.priors.random_components import RandomMeans, RandomWeights
from pyrovae.priors.starts import FROM_DATA, STARTS, Start, from_encodings, spread

__all__ = ["GaussianMixture"]

PIECE = 1000


class GaussianMixture(Prior):
    r"""A mixture of Gaussians with learned weights, means and covariances.

    \[p(z) = \sum_{k=1}^{K} \pi_k \, \mathcal N(z; \mu_k, \Sigma_k), \qquad
    \Sigma_k = \sigma_k^2 I, \quad \mathrm{diag}\, \sigma_k^2 \quad\text{or any}\]

    With a context c, the weights depend on it, \(\pi(c) = \mathrm{softmax}(b + A c)\), with A
    initially zero.

    With `explicit`, the component is the site "c" of the program \(p(c)\, p(z|c)\, p(x|z)\). If the
    guide draws only z, the component is summed out (VaDE; q(c|x) follows from z by Bayes' rule).
    The guide `GaussianMixture` with `explicit` draws it (GMVAE). Both are bounds for the same
    model.

    A start from the data uses the encodings, which are the means of q(z|x), after `start_epoch`
    epochs. Until then the prior is N(0, I).

    With `weights="dirichlet"`, weights and means are random variables that all rows share,
    \(\pi \sim \mathrm{Dirichlet}(a, \ldots, a)\) and \(\mu_k \sim \mathcal N(0, r^2 I)\). Their
    posterior is a Dirichlet distribution and independent normal distributions. A component that the
    data do not need loses its weight.

    Arguments:
        components: the number K of components.
        covariance: "spherical", "diagonal" or "full".
        start: "random" means, means "spread" so that the closest two are 4 standard deviations
            apart, or components at clusters of the encodings, found by "kmeans", by a "fit" with
            EM, or as communities of the "graph" of neighbours.
        learned: whether weights, means and scales are learned; A is learned in any case.
        explicit: whether the component is a site of the program.
        labels: whether the program observes labels y, each the index of a component. The component
            is then a site.
        start_epoch: the number of epochs before a start from the data.
        floor: the smallest weight of a component, in units of 1/K, so that no component vanishes.
        prune: switch off components whose share of the encodings is below this, at the start of
            each epoch.
        weights: "learned", or "dirichlet" for random weights and means.
        concentration: a, for random weights; small values favour few components.
        reach: r, the standard deviation of random means.

    Raises:
        InputError: if a number is out of range, `covariance`, `start` or `weights` is unknown, or
            options exclude each other.

    Reference:
        Dilokthanakul et al. (2016), "Deep Unsupervised Clustering with Gaussian Mixture VAEs";
        Jiang, Zheng, Tan, Tang & Zhou (2017), "Variational Deep Embedding"; Attias (1999),
        "Inferring Parameters and Structure of Latent Variable Models by Variational Bayes" (random
        weights).

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
        weights: Literal["learned", "dirichlet"] = "learned",
        concentration: float = 0.01,
        reach: float = 3.0,
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
        self.weights = weights
        self.concentration = concentration
        self.reach = reach

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self._check(context_dim)
        shape = (self.components, latent_dim)
        means = spread(*shape) if self.start == "spread" else torch.randn(shape)
        if self.weights == "dirichlet":
            self.random_weights = RandomWeights(self.components, self.concentration)
            self.random_means = RandomMeans(means, self.reach)
        else:
            self._create("logits", torch.zeros(self.components))
            self._create("loc", means)
        width = 1 if self.covariance == "spherical" else latent_dim
        self._create("raw_scale", torch.full((self.components, width), UNIT))
        if self.covariance == "full":
            self._create("regression", torch.zeros(*shape, latent_dim))
        if self.start in FROM_DATA:
            self.register_buffer("begun", torch.tensor(False))
        if self.prune:
            self.register_buffer("alive", torch.ones(self.components, dtype=torch.bool))
        self.gate = context_map(context_dim, self.components)

    def _check(self, context_dim: int) -> None:
        self.check_whole("components")
        self.check_whole("start_epoch", least=0)
        self.check_one_of("covariance", ("spherical", "diagonal", "full"))
        self.check_one_of("start", STARTS)
        self.check_number("floor", least=0.0, below=1.0)
        self.check_number("prune", least=0.0, below=1.0 / self.components)
        self.check_one_of("weights", ("learned", "dirichlet"))
        self.check_number("concentration", above=0)
        self.check_number("reach", above=0)
        if self.start_epoch and self.start not in FROM_DATA:
            raise InputError(
                f"start_epoch={self.start_epoch} waits for encodings, which start={self.start!r} does not "
                "use: use start='kmeans', 'fit' or 'graph', or leave start_epoch out"
            )
        if self.prune and self.labels:
            raise InputError(
                f"{self!r} would switch off classes that have labels: leave prune out, or labels"
            )
        if self.prune and context_dim:
            raise InputError(
                f"{self!r} has weights that depend on the context, and prune uses none: leave prune out"
            )
        if self.weights == "dirichlet":
            self._check_random()

    def _check_random(self) -> None:
        if self.components == 1:
            raise InputError(
                f"{self!r} has one component, whose weight is 1: use more components, or leave "
                "weights='dirichlet' out"
            )
        if not self.learned:
            raise InputError(
                f"{self!r} would fix the means and weights whose posterior is learned: leave out "
                "learned=False or weights='dirichlet'"
            )
        name = "floor" if self.floor else "prune"
        if self.floor or self.prune:
            raise InputError(
                f"{self!r} has random weights, whose prior decides how many components are used: leave "
                f"{name} out, and set concentration (above 1 to keep components)"
            )

    def _create(self, name: str, value: Tensor) -> None:
        if self.learned:
            setattr(self, name, nn.Parameter(value))
        else:  # random values and values from data are stored with the weights
            self.register_buffer(name, value, persistent=self.start != "spread")

    # ---------------------------------------------------------------- distributions

    @property
    def states(self) -> int | None:  # type: ignore[override]
        """K, if the component is a site."""
        return self.components if self.explicit or self.labels else None

    def forward(self, context: Tensor | None = None, known: Tensor | None = None) -> dist.TorchDistribution:
        return self.mixture(context, known)

    def mixture(self, context: Tensor | None = None, known: Tensor | None = None) -> dist.MixtureSameFamily:
        logits = self.class_logits(context)
        if self.labels:
            logits = restricted(logits, known)
        components = self._normal(*self._tables()).expand(logits.shape)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)

    def class_logits(self, context: Tensor | None) -> Tensor:
        own = self.random_weights.logits() if self.weights == "dirichlet" else self.logits
        logits = shifted(self._once_started(own, 0.0), self.gate, context)
        return log_weights(logits, self.floor, self.alive if self.prune else None)

    def given_class(self, c: Tensor) -> dist.TorchDistribution:
        return self._normal(*(pick(table, c) for table in self._tables()))

    def _tables(self) -> list[Tensor]:
        """The means (K, D), standard deviations (K, D or 1), and regressions (K, D D) if full."""
        loc = self.random_means.value if self.weights == "dirichlet" else self.loc
        tables = [self._once_started(loc, 0.0), positive(self._once_started(self.raw_scale, UNIT))]
        if self.covariance == "full":
            tables.append(self._once_started(self.regression, 0.0).flatten(1))
        return tables

    def _once_started(self, value: Tensor, before: float) -> Tensor:
        return torch.where(self.begun, value, before) if self.start in FROM_DATA else value

    def _normal(self, loc: Tensor, scale: Tensor, *regression: Tensor) -> dist.TorchDistribution:
        size = self.latent_dim
        return RegressedNormal(loc, scale, *(flat.unflatten(-1, (size, size)) for flat in regression))

    # ---------------------------------------------------------------- changes of the components

    @property
    def waits_for(self) -> int:
        return self.start_epoch if self._waits() else 0

    def _waits(self) -> bool:
        return self.start in FROM_DATA and not bool(self.begun)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, encodings: Encodings, known: Labels = None) -> bool:
        if not self._waits():
            return bool(self.prune and epoch) and self._pruned(encodings())
        if epoch < self.start_epoch:
            return False
        labels = known() if known is not None and self.labels else None
        self.put(*from_encodings(self.start, encodings(), self.components, labels))
        return True

    def _pruned(self, z: Tensor) -> bool:
        """Switch off components with too few encodings; returns whether there were any."""
        pieces = z.split(PIECE)  # p(c|z) of all rows would take (N, K, D) numbers at once
        shares = torch.cat([log_shares(self.mixture(), piece).exp() for piece in pieces])
        alive = shares.mean(0) >= self.prune  # below 1/K, so that one component stays
        fewer = bool((alive != self.alive).any())
        self.alive.copy_(alive)
        return fewer

    @torch.no_grad()
    def put(self, weights: Tensor, loc: Tensor, covariance: Tensor) -> None:
        """Set the mixture's weights (K,), means (K, D) and covariances (K, D, D).

        Random weights and means get the posterior that about 100 rows would give, around these.

        "diagonal" leaves out the correlations, and "spherical" also the differences between
        variances. All components are in use afterwards.

        Raises:
            InputError: for wrong shapes, numbers that are not finite, weights that are negative or
                all zero, or a covariance that is not positive definite.
        """
        if not self.learned and self.start == "spread":
            raise InputError(f"the components of {self!r} stand where they are declared: use start='random'")
        moments = Moments(weights, loc, covariance).checked(self.components, self.latent_dim)
        values = moments.parameters(self.covariance, self.floor)
        if self.weights == "dirichlet":
            del values["logits"], values["loc"]
            self.random_weights.put(weights)
            self.random_means.put(loc, covariance.diagonal(dim1=-2, dim2=-1), weights)
        for name, value in values.items():
            getattr(self, name).copy_(value)
        if self.start in FROM_DATA:
            self.begun.fill_(True)
        if self.prune:
            self.alive.fill_(True)
