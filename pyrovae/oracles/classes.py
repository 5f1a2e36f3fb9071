r"""The latent class model: one discrete latent and independent bits, summed exactly.

    c ~ Categorical(pi),   x_e | c ~ Bernoulli(theta_ce)
    p(x)   = sum_c pi_c prod_e theta_ce^x_e (1 - theta_ce)^(1 - x_e)
    p(c|x) = pi_c p(x|c) / p(x)

Reference:
    Lazarsfeld & Henry (1968), "Latent Structure Analysis".
"""

from __future__ import annotations

from typing import Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.seeds import generator_of
from pyrovae.terms import DATA

__all__ = ["LatentClass"]


class LatentClass(nn.Module):
    r"""Independent bits given a latent class, with the exact posterior as guide.

    Arguments:
        logits: logits of the classes, (C,).
        theta: the probability of each bit in each class, (C, E).
        temperature: T of the guide \(q(c|x) \propto p(c|x)^{1/T}\); 1 gives the exact posterior,
            larger values a flatter guide.

    Example:
        >>> oracle = LatentClass.random(event_dim=3, classes=2)
        >>> every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
        >>> round(float(oracle.log_px(every).exp().sum()), 5)  # the eight patterns
        1.0
    """

    logits: Tensor
    theta: Tensor

    def __init__(self, logits: Tensor, theta: Tensor, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("logits", logits.log_softmax(0))
        self.register_buffer("theta", theta)
        self.temperature = temperature

    @classmethod
    def random(cls, event_dim: int, classes: int, *, seed: int = 0, temperature: float = 1.0) -> Self:
        """A model with random classes, drawn from a seed."""
        rng = generator_of(seed)
        logits = torch.randn(classes, generator=rng)
        return cls(
            logits, 0.05 + 0.9 * torch.rand(classes, event_dim, generator=rng), temperature=temperature
        )

    def model(self, x: Tensor | None = None) -> Tensor:
        """The generative program; x (B, E) of zeros and ones is observed if given."""
        with pyro.plate(DATA, 1 if x is None else len(x), dim=-1):
            c = pyro.sample("c", dist.Categorical(logits=self.logits))
            return pyro.sample("x", dist.Bernoulli(self.theta[c]).to_event(1), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        """The posterior of the class, tempered by `temperature`."""
        with pyro.plate(DATA, len(x), dim=-1):
            return pyro.sample("c", dist.Categorical(logits=self._joint(x) / self.temperature))

    def posterior(self, x: Tensor) -> dist.Categorical:
        """p(c|x): x (B, E) -> batch (B,)."""
        return dist.Categorical(logits=self._joint(x))

    def log_px(self, x: Tensor) -> Tensor:
        """The exact log p(x) in nats: x (B, E) -> (B,)."""
        return self._joint(x).logsumexp(-1)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Observations (count, E) drawn from the model."""
        rng = generator_of(seed)
        c = torch.multinomial(self.logits.exp().cpu(), count, replacement=True, generator=rng)
        return torch.bernoulli(self.theta.cpu()[c], generator=rng)

    def _joint(self, x: Tensor) -> Tensor:
        """log p(x, c), (B, C)."""
        return self.logits + dist.Bernoulli(self.theta).to_event(1).log_prob(x.unsqueeze(1))
