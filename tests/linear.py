"""A VAE whose log p(x) and posterior are known: a linear decoder, and an encoder that can be set at will.

z ~ N(0, I), x | z ~ N(W z + b, s^2 I). With orthogonal columns of W the posterior is a product over the
latents, so that `DiagonalNormal` holds it; with others only a full covariance does.
"""

import torch
from torch import nn

import pyrovae as pv
from pyrovae.networks import Network
from pyrovae.numerics import inverse_positive
from pyrovae.oracles import LinearGaussian

SCALE = 0.7
WEIGHT = {
    "orthogonal": [[1.0, 0.0], [0.8, 0.0], [0.0, 1.2], [0.0, -0.4]],
    "correlated": [[1.0, 0.6], [0.8, 0.9], [0.3, 1.2], [-0.5, -0.4]],
}


class Same(Network):
    """A network without parameters that hands on its input."""

    def __init__(self) -> None:
        super().__init__()

    def attach(self, input_shape, output_shape=None, context_dim=0):
        self.features = input_shape[0] + context_dim

    def forward(self, value, context=None):
        return value if context is None else torch.cat([value, context.expand(*value.shape[:-1], -1)], -1)


@torch.no_grad()
def linear_vae(kind="orthogonal", *, shift=0.0, widen=1.0, **parts):
    """A VAE and the oracle with the same p(x, z).

    Its guide has the posterior's means and the standard deviations of the best factorised law (the exact
    ones when the columns are orthogonal), moved by `shift` standard deviations, `widen` times as wide.
    """
    weight, bias = torch.tensor(WEIGHT[kind]), torch.linspace(-1, 1, 4)
    oracle = LinearGaussian(weight, bias, torch.tensor(SCALE))
    vae = pv.VAE(
        (4,), 2, likelihood=pv.likelihoods.Normal(scale=SCALE), encoder=Same(), decoder=Same(), **parts
    )
    set_head(vae.generation.heads["loc"].linear, weight, bias)
    covariance = oracle.posterior(bias.unsqueeze(0)).covariance_matrix[0]
    sd = torch.linalg.inv(covariance).diagonal().rsqrt()
    reader = covariance @ weight.mT / SCALE**2
    set_head(vae.recognition.heads["loc"].linear, reader, -reader @ bias + shift * sd)
    raw = torch.tensor([inverse_positive(widen * float(s)) for s in sd])
    set_head(vae.recognition.heads["raw_scale"].linear, torch.zeros(2, 4), raw)
    return vae, oracle


def set_head(linear: nn.Linear, weight: torch.Tensor, bias: torch.Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


@torch.no_grad()
def collapse(vae):
    """Make q(z|x) the standard normal prior for every x."""
    for name, value in (("loc", 0.0), ("raw_scale", inverse_positive(1.0))):
        head = vae.recognition.heads[name].linear
        set_head(head, torch.zeros_like(head.weight), torch.full_like(head.bias, value))
    return vae


def state(vae):
    """All that an evaluation might touch."""
    import pyro

    modes = [m.training for m in vae.modules()]
    grads = [p.grad for p in vae.parameters()]
    values = [t.clone() for t in vae.state_dict().values()]
    return modes, grads, values, torch.get_rng_state(), sorted(pyro.get_param_store().keys())


def same_state(a, b):
    return a[:2] == b[:2] and a[4] == b[4] and torch.equal(a[3], b[3]) and all(map(torch.equal, a[2], b[2]))
