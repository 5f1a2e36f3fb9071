"""A program with one shared variable, whose every density is known.

w ~ N(0, 1), z | w ~ N(w, 1), x | z ~ N(z, 1) in each of D elements, with q(w) normal.
p(x | w) = N(w, 2), log p(D) = log N(x; 0, 2 I + 1 1'), and the posterior of w is normal.
"""

import pyro
import pyro.distributions as dist
import torch
from torch import nn


class Conjugate(nn.Module):
    """The program; `guide_scale` widens q(z|x, w), which is exact for 1."""

    event_shape = (1,)

    def __init__(self, loc=0.3, scale=0.4, guide_scale=1.0):
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.tensor([loc])), scale
        self.guide_scale = guide_scale

    def model(self, x=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        with pyro.plate("data", 1 if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(w, 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        w = pyro.sample("w", dist.Normal(self.loc, self.scale).to_event(1))
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", dist.Normal((w + x) / 2, self.guide_scale * 0.5**0.5).to_event(1))

    def predictive(self, x):
        """log E_q(w) p(x|w) of rows (N, 1), (N,)."""
        return dist.Normal(self.loc.detach(), (2 + self.scale**2) ** 0.5).log_prob(x).sum(-1)


def exact(x):
    """The program with the exact q(w) given rows x (N, 1), and log p(x_1, ..., x_N)."""
    precision = 1 + len(x) / 2
    program = Conjugate(float(x.sum() / 2 / precision), precision**-0.5)
    covariance = 2 * torch.eye(len(x), dtype=torch.float64) + 1
    return program, dist.MultivariateNormal(torch.zeros(len(x)).double(), covariance).log_prob(
        x[:, 0].double()
    )
