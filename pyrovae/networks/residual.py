r"""Residual networks for images of any sides, without batch normalisation.

    block   h + W_2 * a(W_1 * a(h))         W_2 = 0 at first: a deep network begins as a shallow one

Batch normalisation would make log p(x) of a datum depend on the others; with branches that begin at zero it
is not missed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from pyrovae.errors import InputError
from pyrovae.networks.base import Network, Shape
from pyrovae.networks.images import conv, head_of_map
from pyrovae.networks.layers import (
    Activation,
    activation_of,
    check_image,
    check_sizes,
    joined,
    sides_of,
    started,
)

__all__ = ["ResidualDecoder", "ResidualEncoder"]


class ResidualEncoder(Network):
    r"""Stages that halve an image, each followed by residual blocks \(h + W_2 * a(W_1 * a(h))\).

    A stage begins with a 3x3 convolution of stride 2, as those of `ConvEncoder`, so that any height and
    width will do. The second convolution of a block is zero at first.

    Arguments:
        channels: the channels of each stage.
        blocks: the residual blocks of each stage.
        features: the size of the output.
        activation: as for `MLP`; a smooth one suits annealing by gradients (`method="ais"`).

    Raises:
        InputError: when the event is no image (channels, height, width), a size is below 1, or `blocks` below
            0.

    Reference:
        He, Zhang, Ren & Sun (2016), "Identity Mappings in Deep Residual Networks"; Zhang, Dauphin & Ma
        (2019), "Fixup Initialization: Residual Learning Without Normalization".

    Example:
        >>> import torch
        >>> encoder = ResidualEncoder(channels=(8, 16), blocks=1, features=32)
        >>> encoder.attach((3, 9, 13))
        >>> encoder(torch.zeros(4, 3, 9, 13)).shape
        torch.Size([4, 32])
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64),
        blocks: int = 2,
        features: int = 256,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.blocks = blocks
        self.features = features
        self.activation = activation

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        check_sizes("ResidualEncoder", self.channels)
        check_sizes("ResidualEncoder", [self.features])
        _check_blocks("ResidualEncoder", self.blocks)
        check_image("ResidualEncoder", input_shape)
        widths = [input_shape[0], *self.channels]
        stages: list[nn.Module] = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            stages += [conv(n_in, n_out, stride=2), *_blocks(n_out, self.blocks, self.activation)]
        self.stages = nn.Sequential(*stages, activation_of(self.activation))
        sides = sides_of(input_shape, len(self.channels))[-1]
        flat = self.channels[-1] * math.prod(sides) + context_dim
        self.last = nn.Sequential(started(nn.Linear(flat, self.features)), activation_of(self.activation))

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        images = value.reshape(-1, *value.shape[-3:])
        maps = self.stages(images).reshape(*value.shape[:-3], -1)
        return self.last(joined(maps, context))


class ResidualDecoder(Network):
    """The mirror of `ResidualEncoder`: residual blocks on each map, then upsampling and a convolution.

    Sides and heads are those of `ConvDecoder`.

    Arguments:
        channels: the channels of each stage, from the smallest map to the largest.
        blocks: the residual blocks of each stage.
        activation: as for `MLP`.

    Raises:
        InputError: when the event is no image (channels, height, width), a size is below 1, or `blocks` below
            0.

    Reference:
        He, Zhang, Ren & Sun (2016), "Identity Mappings in Deep Residual Networks"; Zhang, Dauphin & Ma
        (2019), "Fixup Initialization: Residual Learning Without Normalization".

    Example:
        >>> import torch
        >>> decoder = ResidualDecoder(channels=(16, 8), blocks=1)
        >>> decoder.attach((2,), (3, 9, 13))
        >>> decoder.head((3, 9, 13))(decoder(torch.zeros(5, 4, 2))).shape
        torch.Size([5, 4, 3, 9, 13])
    """

    def __init__(
        self, channels: Sequence[int] = (64, 32), blocks: int = 2, activation: Activation = "silu"
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.blocks = blocks
        self.activation = activation

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        check_sizes("ResidualDecoder", self.channels)
        _check_blocks("ResidualDecoder", self.blocks)
        check_image("ResidualDecoder", output_shape or ())
        assert output_shape is not None
        self.sides = sides_of(output_shape, len(self.channels))[::-1]
        flat = math.prod(input_shape) + context_dim
        self.first = started(nn.Linear(flat, self.channels[0] * math.prod(self.sides[0])))
        widths = [self.channels[0], *self.channels]
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.stages = nn.ModuleList(
            nn.Sequential(*_blocks(n_in, self.blocks, self.activation), activation_of(self.activation))
            for n_in, _ in pairs
        )
        self.convs = nn.ModuleList(conv(n_in, n_out) for n_in, n_out in pairs)
        self.act = activation_of(self.activation)
        self.features = self.channels[-1]

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        row = joined(value, context)
        maps = self.first(row).reshape(-1, self.channels[0], *self.sides[0])
        for side, stage, layer in zip(self.sides[1:], self.stages, self.convs, strict=True):
            maps = layer(interpolate(stage(maps), size=side, mode="nearest"))
        return self.act(maps).reshape(*row.shape[:-1], *maps.shape[1:])

    def head(self, shape: Shape) -> nn.Module:
        return head_of_map(self.features, self.sides[-1], shape)


class _Block(nn.Module):
    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)
        nn.init.zeros_(self.second.weight)  # type: ignore[arg-type]
        self.act = activation_of(activation)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.second(self.act(self.first(self.act(maps))))


def _blocks(channels: int, count: int, activation: str) -> list[nn.Module]:
    return [_Block(channels, activation) for _ in range(count)]


def _check_blocks(who: str, blocks: int) -> None:
    if isinstance(blocks, bool) or int(blocks) != blocks or blocks < 0:
        raise InputError(f"{who} needs blocks of 0 or more, not {blocks}")
