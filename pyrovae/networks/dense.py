r"""Dense networks: every unit of a layer reads the whole previous layer.

MLP     h = act(W x + b)
Gated   h = (A x + a) sigmoid(B x + b)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyrovae.checks import sizes_of
from pyrovae.networks.base import Activation, Headed, Init, Network, Shape, activation_of, joined, started

__all__ = ["MLP", "Gated", "location_and_scale"]


class _Dense(Network):
    """Base class: layers in sequence, applied to the flattened input with its context."""

    sizes: tuple[int, ...]
    once_per_row = True

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_sizes("sizes", count=1)
        self.input_dims = len(input_shape)
        widths = [math.prod(input_shape) + context_dim, *self.sizes]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.layers = nn.Sequential(*(module for pair in pairs for module in self.layer(*pair)))
        self.features = widths[-1]

    def layer(self, n_in: int, n_out: int) -> list[nn.Module]:
        """The modules of one layer."""
        raise NotImplementedError

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        return self.layers(joined(value.flatten(-self.input_dims), context))


class MLP(_Dense):
    r"""A multilayer perceptron: every layer is a linear map and an activation, \(h = a(W x + b)\).

    Arguments:
        layers: the sizes of the hidden layers; `MLP(200, 200)`.
        sizes: the sizes as a list, for YAML and the command line.
        activation: relu, tanh, silu, gelu, elu, leaky_relu, softplus or sigmoid.
        init: the initial weights, "glorot" (uniform) or "he" (normal, for rectifiers); biases are
            zero.

    Raises:
        InputError: for a size below 1, an unknown activation or `init`.

    Reference:
        Rumelhart, Hinton & Williams (1986), "Learning Representations by Back-Propagating Errors";
        Glorot & Bengio (2010), "Understanding the Difficulty of Training Deep Feedforward Neural
        Networks".

    Example:
        >>> mlp = MLP(200, 100, activation="tanh")
        >>> mlp.attach((1, 28, 28))
        >>> mlp(torch.zeros(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 100])
    """

    def __init__(
        self,
        *layers: int,
        sizes: Sequence[int] = (256, 256),
        activation: Activation = "relu",
        init: Init = "glorot",
    ) -> None:
        super().__init__()
        self.sizes = sizes_of("sizes", layers or sizes)
        self.activation = activation
        self.init = init

    def layer(self, n_in: int, n_out: int) -> list[nn.Module]:
        return [started(nn.Linear(n_in, n_out), self.init), activation_of(self.activation)]

    def __repr__(self) -> str:
        sizes = ", ".join(map(str, self.sizes))
        init = "" if self.init == "glorot" else f", init={self.init!r}"
        return f"MLP({sizes}, activation={self.activation!r}{init})"


class Gated(_Dense):
    r"""Gated layers, \(h = (A x + a) \odot \sigma(B x + b)\): linear maps times gates in (0, 1).

    There is no other activation. The heads are initialised as for every network.

    Arguments:
        layers: the sizes of the hidden layers; `Gated(300, 300)`.
        sizes: the sizes as a list, for YAML and the command line.
        init: the initial weights, "he" (normal) or "glorot" (uniform); biases are zero.

    Raises:
        InputError: for a size below 1 or an unknown `init`.

    Reference:
        Tomczak & Welling (2018), "VAE with a VampPrior"; Dauphin, Fan, Auli & Grangier (2017),
        "Language Modeling with Gated Convolutional Networks".

    Example:
        >>> gated = Gated(300, 100)
        >>> gated.attach((1, 28, 28))
        >>> gated(torch.zeros(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 100])
    """

    def __init__(self, *layers: int, sizes: Sequence[int] = (300, 300), init: Init = "he") -> None:
        super().__init__()
        self.sizes = sizes_of("sizes", layers or sizes)
        self.init = init

    def layer(self, n_in: int, n_out: int) -> list[nn.Module]:
        return [_Gate(n_in, n_out, self.init)]

    def __repr__(self) -> str:
        init = "" if self.init == "he" else f", init={self.init!r}"
        return f"Gated({', '.join(map(str, self.sizes))}{init})"


class _Gate(nn.Module):
    def __init__(self, n_in: int, n_out: int, init: Init) -> None:
        super().__init__()
        self.linear = started(nn.Linear(n_in, n_out), init)
        self.gate = started(nn.Linear(n_in, n_out), init)

    def forward(self, value: Tensor) -> Tensor:
        return self.linear(value) * torch.sigmoid(self.gate(value))


def location_and_scale(inputs: int, outputs: int, hidden: Sequence[int], context_dim: int = 0) -> Headed:
    """A perceptron with the heads "loc" and "raw_scale", for a layer of a hierarchy."""
    mlp = MLP(sizes=hidden, activation="silu")
    mlp.attach((inputs,), None, context_dim)
    return Headed(mlp, {"loc": (outputs,), "raw_scale": (outputs,)})
