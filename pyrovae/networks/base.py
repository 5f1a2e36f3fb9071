"""What every network is, and the heads after it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pyrovae.networks.layers import Shape, started
from pyrovae.networks.precision import product_dtype
from pyrovae.part import Part

__all__ = ["Headed", "LinearHead", "Network", "Shape"]


class Network(Part):
    """Base class of encoders and decoders.

    A subclass creates its layers in `attach`, sets `self.features`, the size of its output, and maps
    (*, *input_shape) and a context (*, context_dim) to (*, features) in `forward`.
    """

    features: int

    @abstractmethod
    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        """Create the layers.

        Arguments:
            input_shape: the shape of one input, `event_shape` for an encoder, (latent_dim,) for a decoder.
            output_shape: the event whose parameters a decoder's heads give; None for an encoder.
            context_dim: the size of the context, 0 when there is none.
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
    """A network with one head for each named parameter: (*, *input_shape) -> {name: (*, *shape)}."""

    def __init__(self, network: Network, param_shapes: Mapping[str, Shape]) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleDict({name: network.head(shape) for name, shape in param_shapes.items()})

    def forward(self, value: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        dtype = product_dtype()
        with torch.autocast(value.device.type, dtype, enabled=dtype is not None):
            features = self.network(value, context)
            params = {name: head(features) for name, head in self.heads.items()}
        # A log-density needs the precision of its data.
        return {name: param.to(value.dtype) for name, param in params.items()}
