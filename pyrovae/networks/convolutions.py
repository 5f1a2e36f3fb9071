r"""Convolutions along the steps of a sequence.

    encoder   (T, C) -> (T/2, c_1) -> (T/4, c_2) -> ... -> features
    decoder   z -> (T/4, c_1) -> (T/2, c_2) -> (T, c_2) -> one linear map per parameter of a step

Padding counts as zero, like the steps beyond both ends of a sequence: the encoder sets padded steps
to zero after each stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from pyrovae.checks import sizes_of
from pyrovae.errors import InputError
from pyrovae.networks.base import Activation, Shape, activation_of, started
from pyrovae.networks.sequences import SequenceNetwork

__all__ = ["Conv1dDecoder", "Conv1dEncoder"]


class _Conv1d(SequenceNetwork):
    """Stages that halve or double the number of steps, n to ceil(n / 2) and back."""

    channels: tuple[int, ...]
    kernel: int
    activation: Activation

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_sizes("channels", count=1)
        self.check_whole("kernel")
        if self.kernel % 2 == 0:
            raise InputError(
                f"kernel of {type(self).__name__} must be odd, not {self.kernel}: use {self.kernel + 1}"
            )
        super().attach(input_shape, output_shape, context_dim)

    def conv(self, n_in: int, n_out: int, stride: int = 1) -> nn.Module:
        """A convolution that keeps the number of steps, or with stride 2 halves it."""
        return started(nn.Conv1d(n_in, n_out, self.kernel, stride=stride, padding=self.kernel // 2))

    def lengths(self) -> list[int]:
        """The number of steps before, between and after the stages of an encoder."""
        return [math.ceil(self.steps / 2**stage) for stage in range(len(self.channels) + 1)]


class Conv1dEncoder(_Conv1d):
    """Convolutions that halve a sequence (T, C) at each stage, then one linear layer.

    A stage turns n steps into ceil(n / 2). A step whose values are all NaN is padding and changes
    nothing.

    Arguments:
        channels: the channels of each stage.
        features: the size of the output.
        kernel: the number of steps that a convolution reads, odd.
        activation: as for `MLP`.
        symbols: the number of symbols when a step is a code from 0 (text, clicks; events (T,)); 0
            reads numbers.

    Raises:
        InputError: for single numbers, a size below 1, an even kernel, or symbols of events with
            channels.

    Reference:
        LeCun, Bottou, Bengio & Haffner (1998), "Gradient-Based Learning Applied to Document
        Recognition"; Waibel, Hanazawa, Hinton, Shikano & Lang (1989), "Phoneme Recognition Using
        Time-Delay Neural Networks".

    Example:
        >>> import torch
        >>> encoder = Conv1dEncoder(channels=(8, 16), features=32)
        >>> encoder.attach((10, 3))
        >>> encoder(torch.zeros(5, 2, 10, 3)).shape
        torch.Size([5, 2, 32])
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64),
        features: int = 256,
        kernel: int = 5,
        activation: Activation = "relu",
        symbols: int = 0,
    ) -> None:
        super().__init__()
        self.channels = sizes_of("channels", channels)
        self.features = features
        self.kernel = kernel
        self.activation = activation
        self.symbols = symbols

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_whole("features")
        if output_shape is not None:
            raise InputError(f"{type(self).__name__} is an encoder: use Conv1dDecoder as decoder")
        super().attach(input_shape, None, context_dim)

    def attach_encoder(self, context_dim: int) -> None:
        self.read = self.reader(self.channels[0])
        pairs = zip((self.read.features, *self.channels), self.channels, strict=False)
        self.convs = nn.ModuleList(self.conv(n_in, n_out, stride=2) for n_in, n_out in pairs)
        self.act = activation_of(self.activation)
        flat = self.channels[-1] * self.lengths()[-1]
        self.attach_last(flat + context_dim, self.features, self.activation)

    def attach_decoder(self, inputs: int) -> None:
        raise NotImplementedError("an encoder")

    def pooled(self, steps: Tensor) -> Tensor:
        h, mask = self.read(steps)
        for layer in self.convs:
            mask = pad(mask, (0, mask.shape[1] % 2)).unflatten(1, (-1, 2)).any(-1)
            h = self.act(layer(h.mT).mT) * mask.unsqueeze(-1)
        return h.flatten(1)

    def unrolled(self, rows: Tensor) -> Tensor:
        raise NotImplementedError("an encoder")


class Conv1dDecoder(_Conv1d):
    """A linear layer, then nearest-neighbour upsampling and convolutions.

    It mirrors `Conv1dEncoder`, with the same numbers of steps, so odd numbers are restored exactly.

    Arguments:
        channels: the channels of each stage, from the shortest sequence to the longest.
        kernel: the number of steps that a convolution reads, odd.
        activation: as for `MLP`.

    Raises:
        InputError: for single numbers, a size below 1, or an even kernel.

    Reference:
        Odena, Dumoulin & Olah (2016), "Deconvolution and Checkerboard Artifacts".

    Example:
        >>> import torch
        >>> decoder = Conv1dDecoder(channels=(16, 8))
        >>> decoder.attach((2,), (10, 3))
        >>> decoder.head((10, 3))(decoder(torch.zeros(5, 4, 2))).shape
        torch.Size([5, 4, 10, 3])
    """

    def __init__(
        self, channels: Sequence[int] = (64, 32), kernel: int = 5, activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.channels = sizes_of("channels", channels)
        self.kernel = kernel
        self.activation = activation

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        if output_shape is None:
            raise InputError(f"{type(self).__name__} is a decoder: use Conv1dEncoder as encoder")
        super().attach(input_shape, output_shape, context_dim)

    def attach_encoder(self, context_dim: int) -> None:
        raise NotImplementedError("a decoder")

    def attach_decoder(self, inputs: int) -> None:
        self.first = started(nn.Linear(inputs, self.channels[0] * self.lengths()[-1]))
        pairs = zip((self.channels[0], *self.channels), self.channels, strict=False)
        self.convs = nn.ModuleList(self.conv(n_in, n_out) for n_in, n_out in pairs)
        self.act = activation_of(self.activation)
        self.features = self.channels[-1]

    def pooled(self, steps: Tensor) -> Tensor:
        raise NotImplementedError("a decoder")

    def unrolled(self, rows: Tensor) -> Tensor:
        h = self.first(rows).unflatten(-1, (self.channels[0], -1))
        for length, layer in zip(self.lengths()[-2::-1], self.convs, strict=True):
            twice = self.act(h).unsqueeze(-1).expand(-1, -1, -1, 2).flatten(2)
            h = layer(twice[..., :length])
        return self.act(h).mT
