"""VAEs with linear decoders, whose log p(x) and posterior are known, and rows drawn from any VAE.

z ~ N(0, I), x | z ~ N(W z + b, s^2 I). With orthogonal columns of W the posterior is a product over the
latents, so that `DiagonalNormal` holds it; with others only a full covariance does.
"""

import pyro.distributions as dist
import torch
from torch import nn

import pyrovae as pv
from pyrovae.networks import Network
from pyrovae.numerics import inverse_positive, positive
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

    Its guide has the posterior's means and the standard deviations of the best factorised distribution,
    moved by `shift` standard deviations and `widen` times as wide. If the columns are orthogonal, the best
    standard deviations are the exact ones.
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


@torch.no_grad()
def labelled_vae(context_shape=None):
    """A VAE over a mixture of three labelled classes, and its log p(x, y) or log p(x, y | c), (N, 3).

    x = W z + U c + b + noise, z | y ~ N(m_y, diag(s_y^2)), y ~ softmax(b + A c).
    """
    vae = pv.VAE(
        (4,),
        2,
        prior=pv.priors.GaussianMixture(3, labels=True),
        likelihood=pv.likelihoods.Normal(scale=SCALE),
        encoder=Same(),
        decoder=Same(),
        context_shape=context_shape,
    )
    for parameter in vae.parameters():
        parameter.copy_(0.7 * torch.randn_like(parameter))
    head, prior = vae.generation.heads["loc"].linear, vae.prior

    def joint(x, context=None):
        w, u = head.weight[:, :2], head.weight[:, 2:]
        shift = 0 if context is None else (context @ u.mT).unsqueeze(1)
        spread = w * positive(prior.raw_scale).square().unsqueeze(1)
        covariance = spread @ w.mT + SCALE**2 * torch.eye(4)
        distribution = dist.MultivariateNormal(prior.loc @ w.mT + head.bias + shift, covariance)
        logits = prior.logits if context is None else prior.logits + prior.gate(context)
        return (logits.log_softmax(-1) + distribution.log_prob(x.unsqueeze(1))).detach()

    return vae, joint


@torch.no_grad()
def rows_for(vae, count, *, seed=0):
    """Rows that a VAE draws, with a context and labels where it has them, every third unknown."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        context = None if vae.context_shape is None else torch.randn(count, *vae.context_shape)
        y = torch.randint(vae.prior.states, (count,)) if vae.prior.labels else None
        x = vae.sample(count, context)
        if y is not None:
            y[::3] = -1
        return pv.datasets.Rows.of(x, context, y, like=next(vae.parameters()))


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
