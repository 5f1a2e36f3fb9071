r"""The base class of networks for sequences: steps, padding, positions, and heads for each step.

    encoder   (T, C) -> a vector for each step -> features       T steps of C channels
    decoder   z -> a vector for each step -> one linear map for each parameter of a step

An event (T,) is a series of T numbers, and the last dimensions of (T, ...) are the channels. NaN is
a missing entry. An encoder reads zero in its place, and a flag for each entry that says whether the
entry is present. A step without any present entry is padding, whether it is at the end of a series
or a gap inside. Padding does not change the features of a series.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.networks.base import LinearHead, Network, Shape, activation_of, joined, started

__all__ = ["SequenceNetwork", "sinusoids"]


class StepHead(nn.Module):
    """A linear map of each step, from features (*, T, F) to a parameter (*, ..., T, *channels)."""

    def __init__(self, features: int, shape: Shape, event_shape: Shape) -> None:
        super().__init__()
        self.first = tuple(shape[: len(shape) - len(event_shape)])
        self.channels = tuple(event_shape[1:])
        self.linear = started(nn.Linear(features, math.prod((*self.first, *self.channels))))

    def forward(self, features: Tensor) -> Tensor:
        out = self.linear(features)
        out = out.reshape(*features.shape[:-1], *self.first, *self.channels)
        steps = features.dim() - 2
        return out.movedim(steps, steps + len(self.first))


class StepReader(nn.Module):
    """Convert steps (N, T, C), NaN where missing, to numbers (N, T, F) and a mask of non-padding.

    Arguments:
        channels: C.
        symbols: the number of codes, for steps that are codes; 0 reads numbers.
        size: the size of a code's vector.
    """

    def __init__(self, channels: int, symbols: int, size: int) -> None:
        super().__init__()
        self.symbols = nn.Embedding(symbols, size) if symbols else None
        self.features = size if symbols else 2 * channels

    def forward(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        present = ~steps.isnan()
        values, mask = torch.where(present, steps, 0.0), present.any(-1)
        if self.symbols is None:
            return torch.cat([values, present.to(steps.dtype)], -1), mask
        codes = values[..., 0].round().long().clamp(0, self.symbols.num_embeddings - 1)
        return self.symbols(codes) * mask.unsqueeze(-1), mask


class SequenceNetwork(Network):
    """Base class of encoders and decoders for sequences.

    A subclass creates layers in `attach_encoder` and `attach_decoder`, and computes `pooled` and
    `unrolled`.
    """

    reads_missing = True
    reads_steps = True
    symbols: int = 0

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_whole("symbols", least=0)
        self.event_shape = self._sequence(input_shape if output_shape is None else output_shape)
        self.is_encoder, self.input_dims = output_shape is None, len(input_shape)
        self.steps, self.step_channels = self.event_shape[0], math.prod(self.event_shape[1:])
        if self.is_encoder:
            self.attach_encoder(context_dim)
        else:
            self.attach_decoder(math.prod(input_shape) + context_dim)

    @abstractmethod
    def attach_encoder(self, context_dim: int) -> None:
        """Create the layers of an encoder."""

    @abstractmethod
    def attach_decoder(self, inputs: int) -> None:
        """Create the layers of a decoder that reads this number of inputs."""

    @abstractmethod
    def pooled(self, steps: Tensor) -> Tensor:
        """One vector for each row: steps (N, T, C), NaN where missing, -> (N, F)."""

    @abstractmethod
    def unrolled(self, rows: Tensor) -> Tensor:
        """One vector for each step: (N, inputs) -> (N, T, F)."""

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        lead = value.shape[: value.dim() - self.input_dims]
        if self.is_encoder:
            pooled = self.pooled(value.reshape(-1, self.steps, self.step_channels))
            return self.last(joined(pooled.reshape(*lead, -1), context))
        row = joined(value.flatten(-self.input_dims), context)
        out = self.unrolled(row.reshape(-1, row.shape[-1]))
        return out.reshape(*row.shape[:-1], *out.shape[1:])

    def head(self, shape: Shape) -> nn.Module:
        """A map of each step if the parameter has steps, else one linear map of all features."""
        if self.is_encoder:
            return LinearHead(self.features, shape)
        if tuple(shape[len(shape) - len(self.event_shape) :]) == self.event_shape:
            return StepHead(self.features, shape, self.event_shape)
        return nn.Sequential(nn.Flatten(-2), LinearHead(self.steps * self.features, shape))

    def reader(self, size: int) -> StepReader:
        """The reader of the steps; codes become vectors of this size."""
        if self.symbols and self.step_channels != 1:
            raise InputError(
                f"{type(self).__name__} reads symbols of events of shape (steps,), not {self.event_shape}: "
                "leave symbols out"
            )
        return StepReader(self.step_channels, self.symbols, size)

    def attach_last(self, inputs: int, features: int, activation: str) -> None:
        """Create the layer after pooling, which also reads the context."""
        self.features = features
        self.last = nn.Sequential(started(nn.Linear(inputs, features)), activation_of(activation))

    def _sequence(self, shape: Shape) -> Shape:
        if not shape:
            raise InputError(
                f"{type(self).__name__} needs sequences of shape (steps,) or (steps, channels), not single "
                "numbers: use MLP for those"
            )
        return tuple(shape)


def sinusoids(steps: int, size: int) -> Tensor:
    """Positions as sines and cosines of wavelengths from 2 pi to 20,000 pi, (steps, size).

    Reference:
        Vaswani et al. (2017), "Attention Is All You Need".

    Example:
        >>> sinusoids(3, 4).shape
        torch.Size([3, 4])
    """
    rates = torch.exp(-math.log(10_000) * torch.arange(0, size, 2) / size)
    angles = torch.arange(steps).unsqueeze(-1) * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :size]
