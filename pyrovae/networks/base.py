"""The base class of networks, the heads after them, activations, initial weights and contexts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from pyrovae.checks import one_of
from pyrovae.networks.precision import product_dtype
from pyrovae.part import Part

__all__ = [
    "Activation",
    "Headed",
    "Init",
    "LinearHead",
    "Network",
    "Shape",
    "activation_of",
    "joined",
    "started",
]

Activation = Literal["relu", "tanh", "silu", "gelu", "elu", "leaky_relu", "softplus", "sigmoid"]
Init = Literal["glorot", "he"]
Shape = tuple[int, ...]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
}


class Network(Part):
    """Base class of encoders and decoders.

    A subclass creates its layers in `attach`, and sets `self.features`, the size of its output. Its
    `forward` maps (*, *input_shape) and a context (*, context_dim) to (*, features).
    """

    features: int
    # Whether it reads NaN as a missing entry; others get zeros and which entries are missing.
    reads_missing: bool = False
    # Whether the first dimension of what it reads is time.
    reads_steps: bool = False
    # Whether each linear layer acts once on each row, including those of the heads.
    once_per_row: bool = False

    @abstractmethod
    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        """Create the layers.

        Arguments:
            input_shape: the shape of one input: `event_shape` for an encoder, (latent_dim,) for a
                decoder.
            output_shape: the event shape for the heads of a decoder; None for an encoder.
            context_dim: the size of the context, 0 without one.
        """

    def head(self, shape: Shape) -> nn.Module:
        """A module from this network's output to one parameter of the given shape."""
        return LinearHead(self.features, shape)


class LinearHead(nn.Module):
    """A linear map from features (*, F) to a parameter (*, *shape)."""

    def __init__(self, features: int, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.linear = started(nn.Linear(features, math.prod(shape)))

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features).reshape(*features.shape[:-1], *self.shape)


class Headed(nn.Module):
    """A network with a head for each named parameter: (*, *input_shape) -> {name: (*, *shape)}."""

    def __init__(self, network: Network, param_shapes: Mapping[str, Shape]) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleDict({name: network.head(shape) for name, shape in param_shapes.items()})

    def forward(self, value: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        dtype = product_dtype()
        on, where = dtype is not None, value.device.type
        # An exported program contains no autocast, which other programs do not know.
        with nullcontext() if torch.compiler.is_exporting() else torch.autocast(where, dtype, enabled=on):
            features = self.network(value, context)
            params = {name: head(features) for name, head in self.heads.items()}
        # A log-density is computed in the precision of the data.
        return {name: param.to(value.dtype) for name, param in params.items()}


def activation_of(name: str) -> nn.Module:
    """The activation of that name.

    Raises:
        InputError: for an unknown name.
    """
    return _ACTIVATIONS[one_of("activation", name, _ACTIVATIONS)]()


def started(layer: nn.Linear | nn.Conv1d | nn.Conv2d, init: str = "glorot") -> nn.Module:
    r"""Initialise a layer, with zero biases.

    For n inputs and m outputs, "glorot" is uniform with variance \(2 / (n + m)\), and "he" is
    normal with variance \(2 / n\).

    Raises:
        InputError: for an unknown `init`.

    Reference:
        Glorot & Bengio (2010), "Understanding the Difficulty of Training Deep Feedforward Neural
        Networks"; He, Zhang, Ren & Sun (2015), "Delving Deep into Rectifiers".
    """
    if one_of("init", init, ("glorot", "he")) == "he":
        nn.init.kaiming_normal_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def joined(value: Tensor, context: Tensor | None) -> Tensor:
    """Concatenate value and context: (*, V) and (*, C) to (*, V + C)."""
    if context is None:
        return value
    lead = torch.broadcast_shapes(value.shape[:-1], context.shape[:-1])
    return torch.cat([value.expand(*lead, -1), context.expand(*lead, -1)], dim=-1)
