r"""A mixture as a guide: q(z|x) = sum_k pi_k(x) N(z; mu_k(x), diag sigma_k(x)^2)."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import ClassDistribution, DiagonalMixture
from pyrovae.distributions.class_distribution import restricted
from pyrovae.guides.base import Guide, Shape
from pyrovae.guides.discrete import style_of_class
from pyrovae.numerics import positive

__all__ = ["GaussianMixture"]


class GaussianMixture(Guide):
    r"""A mixture of normals.

    \[q(z|x) = \sum_k \pi_k\, \mathcal N(z; \mu_k, \mathrm{diag}\,\sigma_k^2)\]

    It is for posteriors with several modes. Samples are differentiable in the weights too. If the
    number of particles is a multiple of K, they are stratified over the components.

    With `explicit`, the component is the site "c", \(q(c|x)\, q(z|x, c)\). The prior must then be
    `GaussianMixture` with `explicit` and the same number of components.

    Arguments:
        components: K.
        explicit: whether the component is a site of the program.

    Raises:
        InputError: if `components` is below 1.

    Reference:
        Morningstar, Vikram, Ham, Gallagher & Dillon (2021), "Automatic Differentiation Variational
        Inference with Mixtures"; Figurnov, Mohamed & Mnih (2018), "Implicit Reparameterization
        Gradients"; Dilokthanakul et al. (2016), "Deep Unsupervised Clustering with Gaussian Mixture
        VAEs" (explicit).

    Example:
        >>> import torch
        >>> guide = GaussianMixture(components=3)
        >>> guide.attach(latent_dim=2)
        >>> guide(torch.zeros(5, 3), torch.zeros(5, 3, 2), torch.zeros(5, 3, 2)).rsample().shape
        torch.Size([5, 2])
    """

    def __init__(self, components: int = 3, *, explicit: bool = False) -> None:
        super().__init__()
        self.components = components
        self.explicit = explicit

    def attach(self, latent_dim: int, feature_dim: int = 0) -> None:
        super().attach(latent_dim, feature_dim)
        self.check_whole("components")

    @property
    def param_shapes(self) -> dict[str, Shape]:
        each = (self.components, self.latent_dim)
        return {"logits": (self.components,), "loc": each, "raw_scale": each}

    @property
    def states(self) -> int | None:  # type: ignore[override]
        """K, if the component is a site."""
        return self.components if self.explicit else None

    def forward(
        self, logits: Tensor, loc: Tensor, raw_scale: Tensor, known: Tensor | None = None
    ) -> dist.TorchDistribution:
        return DiagonalMixture(restricted(logits, known), loc, positive(raw_scale))

    def sites(self, logits: Tensor, loc: Tensor, raw_scale: Tensor, known: Tensor | None = None) -> Tensor:
        if not self.explicit:
            return super().sites(logits, loc, raw_scale)
        c = pyro.sample("c", ClassDistribution(logits, known))
        return pyro.sample("z", style_of_class(loc, positive(raw_scale), c))
