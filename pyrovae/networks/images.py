r"""Convolutional networks for images with sides of any size, without batch normalisation.

    encoder   (C, H, W) -> (c_1, H/2, W/2) -> (c_2, H/4, W/4) -> ... -> features
    decoder   z -> (c_1, H/4, W/4) -> (c_2, H/2, W/2) -> (c_2, H, W) -> a convolution per parameter
    residual  with blocks h + W_2 * a(W_1 * a(h)) on each map, W_2 = 0 at first

Each stage of an encoder halves the sides, from n to ceil(n / 2), and the decoder has the same sides
in reverse order. A stage that doubles the sides repeats each pixel 2x2 times and applies a 3x3
convolution. Both are computed as one transposed convolution, with 16 products for each pixel and
pair of channels instead of 36. There is no batch normalisation, since log p(x) of a row would then
depend on the other rows. Branches that start at zero do not need it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, interpolate, pad

from pyrovae.checks import sizes_of
from pyrovae.errors import InputError
from pyrovae.networks.base import (
    Activation,
    LinearHead,
    Network,
    Shape,
    activation_of,
    joined,
    started,
)

__all__ = ["ConvDecoder", "ConvEncoder", "ResidualDecoder", "ResidualEncoder"]


def conv(n_in: int, n_out: int, stride: int = 1) -> nn.Module:
    """A 3x3 convolution that keeps the sides, or halves them with stride 2."""
    return started(nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1))


def enlarged(maps: Tensor, side: tuple[int, int], layer: nn.Module) -> Tensor:
    """Apply a layer of `conv` to maps that are enlarged to given sides by repeating pixels.

    Example:
        >>> import torch
        >>> maps, layer = torch.randn(2, 3, 5, 7), conv(3, 4)
        >>> repeated = interpolate(maps, size=(10, 14), mode="nearest")
        >>> torch.allclose(enlarged(maps, (10, 14), layer), layer(repeated), atol=1e-5)
        True
    """
    if side == (2 * maps.shape[-2], 2 * maps.shape[-1]) and _is_usual(layer):
        return conv_transpose2d(maps, _of_repeated(layer.weight), layer.bias, stride=2, padding=1)
    return layer(interpolate(maps, size=side, mode="nearest"))


def _is_usual(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a layer is as `conv` made it: no other class or options, and no hooks."""
    if type(layer) is not nn.Conv2d or any(hooks for name, hooks in vars(layer).items() if "_hooks" in name):
        return False
    options = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    return options == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and layer.padding_mode == "zeros"


def _of_repeated(weight: Tensor) -> Tensor:
    """The weights (n, m, 4, 4) of the transposed convolution, from those of `conv` (m, n, 3, 3)."""
    turned = weight.flip(-2, -1).transpose(0, 1)
    return sum(pad(turned, (left, 1 - left, up, 1 - up)) for left in (0, 1) for up in (0, 1))  # type: ignore[return-value]


def _channels_last(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) in the memory format in which a CPU convolves fastest."""
    # Under vmap tensors know only the usual memory formats.
    return maps.movedim(1, -1).contiguous().movedim(-1, 1) if maps.device.type == "cpu" else maps


class ConvHead(nn.Module):
    """A 3x3 convolution from a feature map (*, F, H, W) to a parameter (*, ..., H, W)."""

    def __init__(self, features: int, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.conv = conv(features, math.prod(shape[:-2]))

    def forward(self, features: Tensor) -> Tensor:
        out = self.conv(features.flatten(0, -4) if features.dim() > 4 else features)
        # Of the usual strides, as programs may expect.
        return out.reshape(*features.shape[:-3], *self.shape).contiguous()


class _Encoder(Network):
    """Base class: stages that halve an image, then one linear layer; subclasses add modules."""

    channels: tuple[int, ...]
    activation: Activation

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_sizes("channels", count=1)
        self.check_whole("features")
        check_image(self, input_shape)
        stages: list[nn.Module] = []
        for n_in, n_out in zip((input_shape[0], *self.channels), self.channels, strict=False):
            stages += [conv(n_in, n_out, stride=2), *self.after(n_out)]
        self.stages = nn.Sequential(*stages, *self.last_of_all())
        sides = sides_of(input_shape, len(self.channels))[-1]
        flat = self.channels[-1] * math.prod(sides) + context_dim
        self.last = nn.Sequential(started(nn.Linear(flat, self.features)), activation_of(self.activation))

    def after(self, channels: int) -> list[nn.Module]:
        """The modules after the convolution of a stage."""
        return [activation_of(self.activation)]

    def last_of_all(self) -> list[nn.Module]:
        """The modules after the last stage."""
        return []

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        images = _channels_last(value.reshape(-1, *value.shape[-3:]))
        maps = self.stages(images).reshape(*value.shape[:-3], -1)
        return self.last(joined(maps, context))


class _Decoder(Network):
    """Base class: a linear layer, upsampling and a convolution per stage, convolutional heads."""

    channels: tuple[int, ...]
    activation: Activation
    hidden: tuple[int, ...] = ()
    convs: nn.ModuleList
    once_per_row = True

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_sizes("channels", count=1)
        self.check_sizes("hidden")
        check_image(self, output_shape or ())
        assert output_shape is not None
        self.sides = sides_of(output_shape, len(self.channels))[::-1]
        flat = math.prod(input_shape) + context_dim
        widths = [flat, *self.hidden]
        dense = [
            module
            for n_in, n_out in zip(widths, widths[1:], strict=False)
            for module in (started(nn.Linear(n_in, n_out)), activation_of(self.activation))
        ]
        last = started(nn.Linear(widths[-1], self.channels[0] * math.prod(self.sides[0])))
        self.first = nn.Sequential(*dense, last) if dense else last
        self.attach_stages()
        pairs = zip((self.channels[0], *self.channels), self.channels, strict=False)
        self.convs = nn.ModuleList(conv(n_in, n_out) for n_in, n_out in pairs)
        self.act = activation_of(self.activation)
        self.features = self.channels[-1]

    def attach_stages(self) -> None:
        """Create the modules of each stage before upsampling."""

    def stage(self, i: int, maps: Tensor) -> Tensor:
        """The feature maps of a stage before upsampling."""
        return self.act(maps)

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        row = joined(value, context)
        maps = _channels_last(self.first(row).reshape(-1, self.channels[0], *self.sides[0]))
        for i, (side, layer) in enumerate(zip(self.sides[1:], self.convs, strict=True)):
            maps = enlarged(self.stage(i, maps), side, layer)
        return self.act(maps).reshape(*row.shape[:-1], *maps.shape[1:])

    def head(self, shape: Shape) -> nn.Module:
        """A convolution if the parameter has the sides of the maps, else a linear map."""
        if tuple(shape[-2:]) == self.sides[-1]:
            return ConvHead(self.features, shape)
        return nn.Sequential(nn.Flatten(-3), LinearHead(self.features * math.prod(self.sides[-1]), shape))


class ConvEncoder(_Encoder):
    """Convolutions that halve an image at each stage, then one linear layer.

    Every stage is a 3x3 convolution with stride 2 and padding 1, so a side n becomes ceil(n / 2).
    Any height and width are possible.

    Arguments:
        channels: the channels of each stage.
        features: the size of the output.
        activation: as for `MLP`.

    Raises:
        InputError: if the event is not an image (channels, height, width), or a size is below 1.

    Reference:
        LeCun, Bottou, Bengio & Haffner (1998), "Gradient-Based Learning Applied to Document
        Recognition".

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
        self.channels = sizes_of("channels", channels)
        self.features = features
        self.activation = activation


class ConvDecoder(_Decoder):
    """The mirror of `ConvEncoder`: a linear layer, then upsampling and convolutions.

    Its feature maps have the encoder's heights and widths, so odd ones are reproduced.
    Upsampling before a convolution avoids the chequerboard artifacts of transposed convolutions.
    The heads are convolutions, so each pixel's parameters come from the feature maps around it.

    Arguments:
        channels: the channels of each stage, from the smallest map to the largest.
        activation: as for `MLP`.
        hidden: the sizes of dense layers before the first map; none by default.

    Raises:
        InputError: if the event is not an image (channels, height, width), or a size is below 1.

    Reference:
        Odena, Dumoulin & Olah (2016), "Deconvolution and Checkerboard Artifacts".

    Example:
        >>> import torch
        >>> decoder = ConvDecoder(channels=(16, 8))
        >>> decoder.attach((2,), (3, 9, 13))
        >>> decoder.head((3, 9, 13))(decoder(torch.zeros(5, 4, 2))).shape
        torch.Size([5, 4, 3, 9, 13])
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 32),
        activation: Activation = "relu",
        hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.channels = sizes_of("channels", channels)
        self.activation = activation
        self.hidden = sizes_of("hidden", hidden)


class ResidualEncoder(_Encoder):
    r"""Stages that halve an image, each followed by residual blocks \(h + W_2 * a(W_1 * a(h))\).

    A stage begins with a 3x3 convolution with stride 2, as in `ConvEncoder`, so any height and
    width are possible. The second convolution of a block is initialised at zero.

    Arguments:
        channels: the channels of each stage.
        blocks: the number of residual blocks of each stage.
        features: the size of the output.
        activation: as for `MLP`; a smooth one is better for annealing by HMC (`method="ais"`).

    Raises:
        InputError: if the event is not an image (channels, height, width), a size is below 1, or
            `blocks` is below 0.

    Reference:
        He, Zhang, Ren & Sun (2016), "Identity Mappings in Deep Residual Networks"; Zhang, Dauphin &
        Ma (2019), "Fixup Initialization: Residual Learning Without Normalization".

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
        self.channels = sizes_of("channels", channels)
        self.blocks = blocks
        self.features = features
        self.activation = activation

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_whole("blocks", least=0)
        super().attach(input_shape, output_shape, context_dim)

    def after(self, channels: int) -> list[nn.Module]:
        return [_Block(channels, self.activation) for _ in range(self.blocks)]

    def last_of_all(self) -> list[nn.Module]:
        return [activation_of(self.activation)]


class ResidualDecoder(_Decoder):
    """The mirror of `ResidualEncoder`: residual blocks, then upsampling and a convolution.

    Sides and heads are as in `ConvDecoder`.

    Arguments:
        channels: the channels of each stage, from the smallest map to the largest.
        blocks: the number of residual blocks of each stage.
        activation: as for `MLP`.

    Raises:
        InputError: if the event is not an image (channels, height, width), a size is below 1, or
            `blocks` is below 0.

    Reference:
        He, Zhang, Ren & Sun (2016), "Identity Mappings in Deep Residual Networks"; Zhang, Dauphin &
        Ma (2019), "Fixup Initialization: Residual Learning Without Normalization".

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
        self.channels = sizes_of("channels", channels)
        self.blocks = blocks
        self.activation = activation

    def attach_stages(self) -> None:
        self.check_whole("blocks", least=0)
        self.stages = nn.ModuleList()
        for width in (self.channels[0], *self.channels[:-1]):
            blocks = (_Block(width, self.activation) for _ in range(self.blocks))
            self.stages.append(nn.Sequential(*blocks, activation_of(self.activation)))

    def stage(self, i: int, maps: Tensor) -> Tensor:
        return self.stages[i](maps)


class _Block(nn.Module):
    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)
        nn.init.zeros_(self.second.weight)  # type: ignore[arg-type]
        self.act = activation_of(activation)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.second(self.act(self.first(self.act(maps))))


def sides_of(shape: Shape, stages: int) -> list[tuple[int, int]]:
    """The sides of an image before the first and after each stage that halves it, n to ceil(n / 2).

    Example:
        >>> sides_of((1, 9, 13), 2)
        [(9, 13), (5, 7), (3, 4)]
    """
    halved = [tuple(math.ceil(n / 2**stage) for n in shape[-2:]) for stage in range(stages + 1)]
    return [(height, width) for height, width in halved]


def check_image(network: Any, shape: Shape) -> None:  # noqa: ANN401
    """Refuse events that are not images (channels, height, width).

    Raises:
        InputError: if the event is not an image; the message says what to use.
    """
    if len(shape) != 3:
        raise InputError(
            f"{type(network).__name__} needs images of shape (channels, height, width), not events of shape "
            f"{tuple(shape)}: use MLP for those"
        )
