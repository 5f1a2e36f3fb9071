r"""Networks: from data to features, and from latents to features.

An encoder reads x and a decoder reads z; both end in features, not in parameters. Behind them the
program puts one head for each parameter that the guide or the likelihood declares:

    x (*, *event) -> encoder -> features -> head "loc", head "scale" -> q(z|x)
    z (*, D)      -> decoder -> features -> head "logits"            -> p(x|z)

A network with two readers therefore never has to know which distribution it feeds. Leading dimensions
(data, particles) pass through untouched; rows never see each other, so there is no batch normalisation:
it would make log p(x) depend on the other data. A context c is a second input, joined to the first.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pyrovae.errors import InputError
from pyrovae.part import Part

__all__ = [
    "MLP",
    "Activation",
    "ConvDecoder",
    "ConvEncoder",
    "Headed",
    "Network",
    "Precision",
    "networks_in",
    "products_in",
]

Activation = Literal["relu", "tanh", "silu", "gelu", "elu", "leaky_relu", "softplus", "sigmoid"]
Precision = Literal["float32", "tf32", "bf16"]
Shape = tuple[int, ...]

_PRODUCTS: ContextVar[torch.dtype | None] = ContextVar("products", default=None)

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

    A subclass creates its layers in `attach`, sets `self.features`, the size of its output, and maps
    (*, *input_shape) and a context (*, context_dim) to (*, features) in `forward`.
    """

    features: int

    @abstractmethod
    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        """Create the layers.

        Arguments:
            input_shape: the shape of one input, `event_shape` for an encoder, (latent_dim,) for a decoder.
            output_shape: the event that a decoder's heads will draw; None for an encoder.
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
        self.linear = _glorot(nn.Linear(features, math.prod(shape)))

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features).reshape(*features.shape[:-1], *self.shape)


class ConvHead(nn.Module):
    """A 3x3 convolution from a feature map (*, F, H, W) to a parameter (*, ..., H, W)."""

    def __init__(self, features: int, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.conv = _glorot(nn.Conv2d(features, math.prod(shape[:-2]), 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        out = self.conv(features.flatten(0, -4) if features.dim() > 4 else features)
        return out.reshape(*features.shape[:-3], *self.shape)


class Headed(nn.Module):
    """A network with one head for each named parameter: (*, *input_shape) -> {name: (*, *shape)}."""

    def __init__(self, network: Network, param_shapes: Mapping[str, Shape]) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleDict({name: network.head(shape) for name, shape in param_shapes.items()})

    def forward(self, value: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        dtype = _PRODUCTS.get()
        with torch.autocast(value.device.type, dtype, enabled=dtype is not None):
            features = self.network(value, context)
            found = {name: head(features) for name, head in self.heads.items()}
        # A log-density needs the precision of its data.
        return {name: param.to(value.dtype) for name, param in found.items()}


class MLP(Network):
    """A multilayer perceptron: every layer is a linear map and an activation.

    Weights are Glorot-uniform and biases zero (Glorot & Bengio, 2010).

    Arguments:
        layers: the sizes of the hidden layers; `MLP(200, 200)`.
        sizes: the same as a list, for YAML and the command line.
        activation: relu, tanh, silu, gelu, elu, leaky_relu, softplus or sigmoid.

    Raises:
        InputError: for a size below 1 or an unknown activation.

    Example:
        >>> mlp = MLP(200, 100, activation="tanh")
        >>> mlp.attach((1, 28, 28))
        >>> mlp(torch.zeros(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 100])
    """

    def __init__(
        self, *layers: int, sizes: Sequence[int] = (256, 256), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.sizes = tuple(layers or sizes)
        self.activation = activation

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        _check_sizes("MLP", self.sizes)
        self.input_dims = len(input_shape)
        widths = [math.prod(input_shape) + context_dim, *self.sizes]
        layers: list[nn.Module] = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [_glorot(nn.Linear(n_in, n_out)), _activation(self.activation)]
        self.layers = nn.Sequential(*layers)
        self.features = widths[-1]

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        return self.layers(_join(value.flatten(-self.input_dims), context))

    def __repr__(self) -> str:
        sizes = ", ".join(map(str, self.sizes))
        return f"MLP({sizes}, activation={self.activation!r})"


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

    Example:
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
        _check_sizes("ConvEncoder", self.channels)
        _check_sizes("ConvEncoder", [self.features])
        _check_image("ConvEncoder", input_shape)
        widths = [input_shape[0], *self.channels]
        stages: list[nn.Module] = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            conv = _glorot(nn.Conv2d(n_in, n_out, 3, stride=2, padding=1))
            stages += [conv, _activation(self.activation)]
        self.stages = nn.Sequential(*stages)
        height, width = _sides(input_shape, len(self.channels))[-1]
        flat = self.channels[-1] * height * width + context_dim
        self.last = nn.Sequential(_glorot(nn.Linear(flat, self.features)), _activation(self.activation))

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        images = value.reshape(-1, *value.shape[-3:])
        maps = self.stages(images).reshape(*value.shape[:-3], -1)
        return self.last(_join(maps, context))


class ConvDecoder(Network):
    """The mirror of `ConvEncoder`: a linear layer, then nearest-neighbour upsampling and convolutions.

    The sides of each stage are those that the encoder went through, so odd heights and widths come back
    exactly. Upsampling before a convolution avoids the chequerboard of transposed ones (Odena et al.,
    2016). Its heads are convolutions: each pixel's parameters come from the feature map around it.

    Arguments:
        channels: the channels of each stage, from the smallest map to the largest.
        activation: as for `MLP`.

    Raises:
        InputError: when the event is no image (channels, height, width), or a size is below 1.

    Example:
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
        _check_sizes("ConvDecoder", self.channels)
        _check_image("ConvDecoder", output_shape or ())
        assert output_shape is not None
        self.sides = _sides(output_shape, len(self.channels))[::-1]
        self.first = _glorot(
            nn.Linear(math.prod(input_shape) + context_dim, self.channels[0] * math.prod(self.sides[0]))
        )
        widths = [self.channels[0], *self.channels]
        self.convs = nn.ModuleList(
            _glorot(nn.Conv2d(a, b, 3, padding=1)) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.act = _activation(self.activation)
        self.features = self.channels[-1]

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        joined = _join(value, context)
        maps = self.act(self.first(joined)).reshape(-1, self.channels[0], *self.sides[0])
        for side, conv in zip(self.sides[1:], self.convs, strict=True):
            maps = self.act(conv(interpolate(maps, size=side, mode="nearest")))
        return maps.reshape(*joined.shape[:-1], *maps.shape[1:])

    def head(self, shape: Shape) -> nn.Module:
        if tuple(shape[-2:]) == self.sides[-1]:
            return ConvHead(self.features, shape)
        flatten = nn.Flatten(-3)
        return nn.Sequential(flatten, LinearHead(self.features * math.prod(self.sides[-1]), shape))


@contextmanager
def networks_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Run the products of all networks in fewer bits, and nothing else; None is their own precision."""
    token = _PRODUCTS.set(dtype)
    try:
        yield
    finally:
        _PRODUCTS.reset(token)


@contextmanager
def products_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run matrix products in a precision; the caller's settings come back.

    Raises:
        InputError: for an unknown precision, or tf32 without CUDA.
    """
    if precision not in ("float32", "tf32", "bf16"):
        raise InputError(f"unknown precision {precision!r}: choose float32, tf32 or bf16")
    if precision == "tf32" and device.type != "cuda":
        raise InputError("precision 'tf32' needs CUDA; use float32 or bf16 on a CPU")
    before = torch.get_float32_matmul_precision()
    try:
        if precision == "tf32":
            torch.set_float32_matmul_precision("high")
        with networks_in(torch.bfloat16 if precision == "bf16" else None):
            yield
    finally:
        if precision == "tf32":
            torch.set_float32_matmul_precision(before)


def _join(value: Tensor, context: Tensor | None) -> Tensor:
    if context is None:
        return value
    lead = torch.broadcast_shapes(value.shape[:-1], context.shape[:-1])
    return torch.cat([value.expand(*lead, -1), context.expand(*lead, -1)], dim=-1)


def _sides(shape: Shape, stages: int) -> list[tuple[int, int]]:
    sides = [(shape[-2], shape[-1])]
    for _ in range(stages):
        height, width = sides[-1]
        sides.append(((height + 1) // 2, (width + 1) // 2))
    return sides


def _glorot(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _activation(name: str) -> nn.Module:
    if name not in _ACTIVATIONS:
        raise InputError(f"unknown activation {name!r}: choose one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]()


def _check_sizes(who: str, sizes: Sequence[int]) -> None:
    if not sizes or any(int(size) != size or size < 1 for size in sizes):
        raise InputError(
            f"{who} needs at least one size, each a whole number of 1 or more, not {list(sizes)}"
        )


def _check_image(who: str, shape: Shape) -> None:
    if len(shape) != 3:
        raise InputError(
            f"{who} needs images of shape (channels, height, width), not events of shape {tuple(shape)}; "
            "use MLP for those"
        )
