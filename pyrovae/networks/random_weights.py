r"""Layers whose weights are random variables.

    a = W h + b,    W_ij ~ N(m_ij, s_ij^2),   b_i ~ N(m_i, s_i^2)
    a_i | h ~ N(m_i. h + m_i, s_i.^2 h^2 + s_i^2)         independent for each row and unit

A linear layer samples its weights, or (`layerwise`) its activations. The activations of a single
row have the same distribution in both cases. Sampled activations give a gradient with less
variance, since rows do not share the noise. A convolution always samples its weights.

Reference:
    Kingma, Salimans & Welling (2015), "Variational Dropout and the Local Reparameterization Trick".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from pyrovae.errors import InputError
from pyrovae.variables import Variable, is_layerwise

__all__ = ["NormalVariable", "RandomConv", "RandomLinear", "randomised"]

_CONVOLUTIONS: dict[type[nn.Module], Any] = {nn.Conv1d: functional.conv1d, nn.Conv2d: functional.conv2d}
# Layers that apply a weight in several places, or not as a linear map.
_REFUSED = (nn.RNNBase, nn.MultiheadAttention, nn.Embedding, nn.modules.conv._ConvTransposeNd)
_FIXED = (Variable, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
START = 0.1  # the initial standard deviation of q(w), in units of that of p(w)
TINY = 1e-20


class _Weights(Variable):
    """Weights with the prior N(0, scale^2 / fan_in).

    Arguments:
        start: the initial weights, the centre of q(w).
        fan_in: the number of inputs of a unit.
        scale: a number, or None for a learned one.
    """

    width: Tensor

    def __init__(self, start: Tensor, fan_in: int, scale: float | None) -> None:
        super().__init__()
        self.fan_in, self.scale = fan_in, scale
        self.loc = nn.Parameter(start.detach().clone())
        if scale is None:
            self.log_scale = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("width", torch.tensor(scale / math.sqrt(fan_in)), persistent=False)

    @property
    def prior_scale(self) -> Tensor:
        """The standard deviation of p(w), ()."""
        return self.width if self.scale is not None else self.log_scale.exp() / math.sqrt(self.fan_in)

    def prior(self) -> dist.TorchDistribution:
        shape = self.loc.shape
        return dist.Normal(torch.zeros_like(self.loc), self.prior_scale.expand(shape)).to_event(len(shape))

    def centre(self) -> Tensor:
        return self.loc

    def words(self) -> str:
        top = "s^2" if self.scale is None else f"{self.scale**2:g}"
        return f"N(0, {top}/{self.fan_in})" if self.fan_in > 1 else f"N(0, {top})"


class NormalVariable(_Weights):
    """Weights with independent normal posteriors.

    Arguments:
        rank: the number of directions in which all weights of a network vary together; these
            weights are then sampled jointly (`Bayesian`).
    """

    def __init__(self, start: Tensor, fan_in: int, scale: float | None, rank: int = 0) -> None:
        super().__init__(start, fan_in, scale)
        width = (1.0 if scale is None else scale) * START / math.sqrt(fan_in)
        self.log_width = nn.Parameter(torch.full_like(start, math.log(width)))
        if rank:
            self.factor = nn.Parameter(torch.randn(start.numel(), rank) * width / math.sqrt(10 * rank))

    @property
    def scales(self) -> Tensor:
        """The standard deviations of q(w), without the part of the common directions."""
        return self.log_width.exp()

    def posterior(self) -> dist.TorchDistribution:
        return dist.Normal(self.loc, self.scales).to_event(self.loc.dim())


class RandomLinear(nn.Module):
    """A linear layer with random weights: h (*, n) -> (*, m).

    Attributes:
        once_per_row: whether it is used once for each row.
    """

    once_per_row = True

    def __init__(self, weight: Variable, bias: Variable | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, h: Tensor) -> Tensor:
        if is_layerwise() and self.weight.is_layerwise and not self.weight.is_held:
            return self._activations(h)
        weight = self.weight.value
        bias = None if self.bias is None else self.bias.value
        if weight.dim() == 2:
            return functional.linear(h, weight, bias)
        if not self.once_per_row:
            raise InputError(
                "a layer that is used several times for a row cannot have weights of its own for each "
                "particle: use weights='shared'"
            )
        # (K, 1, m, n) and (K, 1, m): each particle has its own weights, and h is (K, B, n)
        product = h @ weight.squeeze(-3).mT
        return product if bias is None else product + bias

    def _activations(self, h: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        assert isinstance(weight, NormalVariable)
        assert bias is None or isinstance(bias, NormalVariable)
        mean = functional.linear(h, weight.loc, None if bias is None else bias.loc)
        squares = None if bias is None else bias.scales.square()
        variance = functional.linear(h.square(), weight.scales.square(), squares)
        return mean + variance.clamp_min(TINY).sqrt() * torch.randn_like(mean)


class RandomConv(nn.Module):
    """A convolution with random weights, which all particles share."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d, weight: Variable, bias: Variable | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self.convolve = _CONVOLUTIONS[type(layer)]
        self.mode, self.around = layer.padding_mode, layer._reversed_padding_repeated_twice
        padding = layer.padding if self.mode == "zeros" else 0
        self.options = (layer.stride, padding, layer.dilation, layer.groups)

    def forward(self, maps: Tensor) -> Tensor:
        weight = self.weight.value
        if weight.dim() > maps.dim():
            raise InputError(
                "a convolution cannot have weights of its own for each particle: use weights='shared'"
            )
        if self.mode != "zeros":
            maps = functional.pad(maps, self.around, mode=self.mode)
        return self.convolve(maps, weight, None if self.bias is None else self.bias.value, *self.options)


def randomised(module: nn.Module, make: Any, who: str) -> nn.Module:  # noqa: ANN401
    """The module with random weights in all of its linear layers and convolutions.

    Arguments:
        module: a network or a head, which is changed.
        make: returns the variable for weights, from (weights, fan_in, is_linear).
        who: the network's name, for messages.

    Raises:
        InputError: for a layer whose weights cannot be random, or are those of another layer.
    """
    owners = Counter(id(p) for part in module.modules() for p in part._parameters.values() if p is not None)
    if any(count > 1 for count in owners.values()):
        raise InputError(
            f"{who} has two layers with the same parameter, whose draws would differ: use one layer twice"
        )
    return _randomised(module, make, who, {})


def _randomised(module: nn.Module, make: Any, who: str, done: dict[nn.Module, nn.Module]) -> nn.Module:  # noqa: ANN401
    """`randomised`, where a layer that is used twice stays one layer."""
    if module in done:
        return done[module]
    done[module] = module
    if type(module) is nn.Linear or type(module) in _CONVOLUTIONS:
        done[module] = _random_layer(module, make)
    elif _is_refused(module):
        raise InputError(
            f"{who} has a layer {type(module).__name__}, whose weights cannot be random: use a network of "
            "linear layers and convolutions, such as MLP, Gated or ConvDecoder"
        )
    else:
        for name, child in list(module._modules.items()):
            if child is not None:
                setattr(module, name, _randomised(child, make, who, done))
    return done[module]


def _is_refused(module: nn.Module) -> bool:
    """Whether a module has weights that cannot be made random here."""
    weight = module._parameters.get("weight")
    is_known = isinstance(module, _FIXED) or weight is None or weight.dim() < 2
    return isinstance(module, _REFUSED) or hasattr(module, "parametrizations") or not is_known


def _random_layer(layer: Any, make: Any) -> nn.Module:  # noqa: ANN401
    fan_in, is_linear = layer.weight[0].numel(), type(layer) is nn.Linear
    weight = make(layer.weight, fan_in, is_linear)
    bias = None if layer.bias is None else make(layer.bias, 1, is_linear)
    return RandomLinear(weight, bias) if is_linear else RandomConv(layer, weight, bias)


def layers_of(module: nn.Module) -> Iterator[RandomLinear | RandomConv]:
    """The layers with random weights."""
    for layer in module.modules():
        if isinstance(layer, RandomLinear | RandomConv):
            yield layer
