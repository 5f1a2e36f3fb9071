r"""A decoder whose weights are random variables.

W_ij ~ N(0, scale^2 / fan_in)        p(W)
W    ~ q(W)                          one posterior for the data set
x | z, W ~ likelihood(network_W(z))

log p(x | D) = log E_q(W)[ p(x | W) ]      the predictive density of a new row
"""

from __future__ import annotations

from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.networks.base import Network, Shape
from pyrovae.networks.dense import MLP
from pyrovae.networks.laplace_head import LaplaceHead
from pyrovae.networks.random_weights import NormalVariable, RandomLinear, layers_of, randomised
from pyrovae.variables import Variable

__all__ = ["Bayesian"]

POSTERIORS = ("normal", "lowrank", "lastlayer", "laplace")


class Bayesian(Network):
    r"""A network whose weights have a prior and a posterior, as decoder: the fully Bayesian VAE.

    \[W_{ij} \sim \mathcal N(0, s^2 / n), \qquad p(x|D) = \mathbb E_{q(W)}\,[p(x|W)]\]

    with n inputs of a unit, and n = 1 for a bias. q(W) starts near the initial weights of the
    network. Training maximises \(\sum_n \mathbb E_{q(W)} \mathcal L(x_n|W) - \mathrm{KL}(q(W) \|
    p(W))\), a bound on the log-probability log p(D) of all training rows, divided by their number.

    With the posterior "normal" or "lastlayer", linear layers sample activations instead of weights
    during training (local reparameterisation). Only the weights of linear layers and convolutions
    are random, not those of normalisation layers or other parameters of a custom module.

    Arguments:
        network: the network; `MLP()` by default.
        scale: s; or "learned", one for the weights and one for the biases of each layer, which
            maximise the bound on log p(D).
        posterior: "normal", independent normal distributions; "lowrank", a joint normal
            distribution whose covariance is a diagonal plus a matrix of low rank; "lastlayer", as
            "normal" for the heads only, without a distribution for the layers below; or "laplace",
            heads that are trained to a mode of p(W|D), also without a distribution below. After
            training it is the normal distribution with the curvature at the mode (the Fisher
            information, as a Kronecker product).
        rank: the rank of that matrix.

    Raises:
        InputError: if `scale` is not positive, for an unknown `posterior`, a rank below 1, a
            network with layers of other kinds (such as recurrent ones), and for "laplace" with a
            learned scale or convolutions as heads.

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes", appendix F; Blundell, Cornebise,
        Kavukcuoglu & Wierstra (2015), "Weight Uncertainty in Neural Networks"; Kingma, Salimans &
        Welling (2015), "Variational Dropout and the Local Reparameterization Trick"; MacKay (1992),
        "A Practical Bayesian Framework for Backpropagation Networks" (laplace).

    Example:
        >>> decoder = Bayesian(MLP(200, 200))
        >>> decoder.attach((2,), (1, 28, 28))
        >>> decoder(torch.zeros(5, 2)).shape
        torch.Size([5, 200])
    """

    def __init__(
        self,
        network: Network | None = None,
        scale: float | Literal["learned"] = 1.0,
        posterior: Literal["normal", "lowrank", "lastlayer", "laplace"] = "normal",
        rank: int = 10,
    ) -> None:
        super().__init__()
        self.network = MLP() if network is None else network.clone()
        self.scale = scale
        self.posterior = posterior
        self.rank = rank

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_number("scale", ("learned",), above=0)
        self.check_one_of("posterior", POSTERIORS)
        self.check_whole("rank")
        if output_shape is None:
            raise InputError(
                "Bayesian is for decoders, since the weights of an encoder are fitted: use its network as "
                "encoder"
            )
        if isinstance(self.network, Bayesian):
            raise InputError(
                f"the weights of {self.network!r} are random already: use {self.network.network!r}"
            )
        if self.posterior == "laplace" and self.scale == "learned":
            raise InputError(
                "posterior='laplace' needs a fixed scale, since p(W|D) has no mode if the scale is learned: "
                "give a number, or use posterior='normal'"
            )
        self.network.attach(input_shape, output_shape, context_dim)
        self.features = self.network.features
        if self.posterior in ("normal", "lowrank"):
            self._randomise(self.network)

    @property
    def once_per_row(self) -> bool:  # type: ignore[override]
        """Whether each linear layer acts once on each row."""
        return self.network.once_per_row

    def head(self, shape: Shape) -> nn.Module:
        head = self.network.head(shape)
        return self._with_curvature(head) if self.posterior == "laplace" else self._randomise(head)

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        return self.network(value, context)

    def _randomise(self, module: nn.Module) -> nn.Module:
        module = randomised(module, self._variable, repr(self.network))
        for layer in layers_of(module):
            if isinstance(layer, RandomLinear):
                layer.once_per_row = self.once_per_row
        return module

    def _variable(self, start: Tensor, fan_in: int, is_linear: bool) -> Variable:  # noqa: FBT001
        scale = None if isinstance(self.scale, str) else self.scale
        variable = NormalVariable(start, fan_in, scale, self.rank if self.posterior == "lowrank" else 0)
        is_independent = self.posterior in ("normal", "lastlayer")
        variable.is_layerwise = is_independent and is_linear and self.once_per_row
        return variable

    def _with_curvature(self, module: nn.Module) -> nn.Module:
        assert not isinstance(self.scale, str)
        if type(module) is nn.Linear and module.bias is not None:
            return LaplaceHead(module, self.scale)
        if not self.once_per_row or isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            raise InputError(
                "posterior='laplace' needs heads that are linear layers with a bias, each used once per row, "
                f"and {self.network!r} has others: use posterior='normal' or 'lastlayer'"
            )
        for name, child in module.named_children():
            setattr(module, name, self._with_curvature(child))
        return module


def joint_posterior(variables: list[NormalVariable]) -> dist.LowRankMultivariateNormal:
    """q(W) of all weights of a network with the posterior "lowrank", as one vector."""
    return dist.LowRankMultivariateNormal(
        torch.cat([v.loc.flatten() for v in variables]),
        torch.cat([v.factor for v in variables]),
        torch.cat([v.scales.square().flatten() for v in variables]),
    )


def split(flat: Tensor, variables: list[Any]) -> list[Tensor]:
    """The weights of each variable in a vector (*, P), each (*, *shape)."""
    pieces = flat.split([v.loc.numel() for v in variables], -1)
    return [p.unflatten(-1, v.loc.shape) for p, v in zip(pieces, variables, strict=True)]
