r"""Convolutional networks for images of any sides.

    ConvEncoder   (C, H, W) -> (c_1, H/2, W/2) -> (c_2, H/4, W/4) -> ... -> features
    ConvDecoder   z -> (c_1, H/4, W/4) -> (c_2, H/2, W/2) -> (c_2, H, W) -> one convolution a parameter

Sides are halved upwards, n to ceil(n / 2), and the decoder goes back through the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from pyrovae.networks.base import LinearHead, Network, Shape
from pyrovae.networks.layers import (
    Activation,
    activation_of,
    check_image,
    check_sizes,
    joined,
    sides_of,
    started,
)

__all__ = ["ConvDecoder", "ConvEncoder", "ConvHead", "conv", "head_of_map"]


def conv(n_in: int, n_out: int, stride: int = 1) -> nn.Module:
    """A 3x3 convolution that keeps the sides, or with stride 2 halves them."""
    return started(nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1))


class ConvHead(nn.Module):
    """A 3x3 convolution from a feature map (*, F, H, W) to a parameter (*, ..., H, W)."""

    def __init__(self, features: int, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.conv = conv(features, math.prod(shape[:-2]))

    def forward(self, features: Tensor) -> Tensor:
        out = self.conv(features.flatten(0, -4) if features.dim() > 4 else features)
        return out.reshape(*features.shape[:-3], *self.shape)


def head_of_map(channels: int, sides: tuple[int, int], shape: Shape) -> nn.Module:
    """A convolution where the parameter has the sides of the map, else a linear map of all of it."""
    if tuple(shape[-2:]) == sides:
        return ConvHead(channels, shape)
    return nn.Sequential(nn.Flatten(-3), LinearHead(channels * math.prod(sides), shape))


class ConvEncoder(Network):
    """Convolutions that halve an image at each stage, then one linear layer.

    Every stage is a 3x3 convolution with stride 2 and padding 1, so a side n becomes ceil(n / 2) and any
    height and width will do.

    Arguments:
        channels: the channels of each stage.
        features: the size of the output.
        activation: as for `MLP`.

    Raises:
        InputError: when the event is no image (channels, height, width), or a size is below 1.

    Reference:
        LeCun, Bottou, Bengio & Haffner (1998), "Gradient-Based Learning Applied to Document Recognition".

    Example:
        >>> import torch
        >>> encoder = ConvEncoder(channels=(8, 16), features=32)
        >>> encoder.attach((3, 9, 13))
        >>> encoder(torch.zeros(4, 3, 9, 13)).shape
        torch.Size([4, 32])
    """

    def __init__(
        self, channels: Sequence[int] = (32, 64), features: int = 256, activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.features = features
        self.activation = activation

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        check_sizes("ConvEncoder", self.channels)
        check_sizes("ConvEncoder", [self.features])
        check_image("ConvEncoder", input_shape)
        widths = [input_shape[0], *self.channels]
        stages: list[nn.Module] = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            stages += [conv(n_in, n_out, stride=2), activation_of(self.activation)]
        self.stages = nn.Sequential(*stages)
        height, width = sides_of(input_shape, len(self.channels))[-1]
        flat = self.channels[-1] * height * width + context_dim
        self.last = nn.Sequential(started(nn.Linear(flat, self.features)), activation_of(self.activation))

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        images = value.reshape(-1, *value.shape[-3:])
        maps = self.stages(images).reshape(*value.shape[:-3], -1)
        return self.last(joined(maps, context))


class ConvDecoder(Network):
    """The mirror of `ConvEncoder`: a linear layer, then nearest-neighbour upsampling and convolutions.

    The sides of each stage are those that the encoder went through, so odd heights and widths come back
    exactly. Upsampling before a convolution avoids the chequerboard of transposed ones. Its heads are
    convolutions: each pixel's parameters come from the feature map around it.

    Arguments:
        channels: the channels of each stage, from the smallest map to the largest.
        activation: as for `MLP`.

    Raises:
        InputError: when the event is no image (channels, height, width), or a size is below 1.

    Reference:
        Odena, Dumoulin & Olah (2016), "Deconvolution and Checkerboard Artifacts".

    Example:
        >>> import torch
        >>> decoder = ConvDecoder(channels=(16, 8))
        >>> decoder.attach((2,), (3, 9, 13))
        >>> decoder.head((3, 9, 13))(decoder(torch.zeros(5, 4, 2))).shape
        torch.Size([5, 4, 3, 9, 13])
    """

    def __init__(self, channels: Sequence[int] = (64, 32), activation: Activation = "relu") -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.activation = activation

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        check_sizes("ConvDecoder", self.channels)
        check_image("ConvDecoder", output_shape or ())
        assert output_shape is not None
        self.sides = sides_of(output_shape, len(self.channels))[::-1]
        flat = math.prod(input_shape) + context_dim
        self.first = started(nn.Linear(flat, self.channels[0] * math.prod(self.sides[0])))
        widths = [self.channels[0], *self.channels]
        self.convs = nn.ModuleList(conv(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.act = activation_of(self.activation)
        self.features = self.channels[-1]

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        row = joined(value, context)
        maps = self.act(self.first(row)).reshape(-1, self.channels[0], *self.sides[0])
        for side, layer in zip(self.sides[1:], self.convs, strict=True):
            maps = self.act(layer(interpolate(maps, size=side, mode="nearest")))
        return maps.reshape(*row.shape[:-1], *maps.shape[1:])

    def head(self, shape: Shape) -> nn.Module:
        return head_of_map(self.features, self.sides[-1], shape)
