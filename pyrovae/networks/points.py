r"""A network that reads a set of entries, whatever their number and order.

    h_d = tanh(A [x_d e_d, e_d])            for each present entry d, with a learned vector e_d
    s   = sum over the present d of h_d / sqrt(D)
    out = MLP(s, c)

A missing entry (NaN) is left out of the sum, so nothing is put in its place. At the start the h_d
have a mean near zero, so that s does not grow with the number of entries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyrovae.checks import sizes_of
from pyrovae.errors import InputError
from pyrovae.networks.base import Activation, Network, Shape, activation_of, joined, started

__all__ = ["PointEncoder"]


class PointEncoder(Network):
    r"""An encoder of the set of present entries, \(\sum_{d \text{ present}} h([x_d e_d, e_d])\).

    Each entry d has a learned vector \(e_d\) that says which entry it is. h is one layer that all
    entries share, and an MLP reads the sum. Entries may be of any shape; they are flattened.

    Arguments:
        layers: the sizes of the hidden layers after the sum; `PointEncoder(128, 128)`.
        sizes: the sizes as a list, for YAML and the command line.
        embedding: the size of \(e_d\).
        width: the size of h.
        activation: of the layers after the sum: relu, tanh, silu, gelu, elu, leaky_relu, softplus
            or sigmoid.

    Raises:
        InputError: for a size below 1, an unknown activation, and in place of a decoder.

    Reference:
        Ma, Tschiatschek, Palla, Hernandez-Lobato, Nowozin & Zhang (2019), "EDDI: efficient dynamic
        discovery of high-value information with partial VAE"; Qi, Su, Mo & Guibas (2017),
        "PointNet: deep learning on point sets for 3D classification and segmentation".

    Example:
        >>> encoder = PointEncoder(16)
        >>> encoder.attach((4,))
        >>> encoder(torch.tensor([[0.5, torch.nan, 2.0, torch.nan]])).shape
        torch.Size([1, 16])
    """

    reads_missing = True

    def __init__(
        self,
        *layers: int,
        sizes: Sequence[int] = (128, 128),
        embedding: int = 20,
        width: int = 128,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.sizes = sizes_of("sizes", layers or sizes)
        self.embedding = embedding
        self.width = width
        self.activation = activation

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        if output_shape is not None:
            raise InputError("PointEncoder is an encoder: use MLP for the decoder")
        self.check_sizes("sizes", count=1)
        self.check_whole("embedding", "width")
        self.input_dims, self.entries = len(input_shape), math.prod(input_shape)
        self.vectors = nn.Parameter(torch.randn(self.entries, self.embedding))
        self.of_value = started(nn.Linear(self.embedding, self.width, bias=False))
        self.of_entry = started(nn.Linear(self.embedding, self.width, bias=False))
        widths = [self.width + context_dim, *self.sizes]
        layers = [
            module
            for pair in zip(widths[:-1], widths[1:], strict=True)
            for module in (started(nn.Linear(*pair)), activation_of(self.activation))
        ]
        self.layers = nn.Sequential(*layers)
        self.features = widths[-1]

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Features (*, F) of entries (*, *input_shape), NaN where missing."""
        entries = value.flatten(-self.input_dims) if self.input_dims else value.unsqueeze(-1)
        return self.layers(joined(self.pooled(entries), context))

    def pooled(self, entries: Tensor) -> Tensor:
        """The sum over the present entries: (*, D) -> (*, width)."""
        present = ~entries.isnan()
        numbers = torch.where(present, entries, 0.0).unsqueeze(-1)
        # The layer A [x e, e] is x (A1 e) + A2 e.
        h = torch.tanh(numbers * self.of_value(self.vectors) + self.of_entry(self.vectors))
        return (h * present.unsqueeze(-1)).sum(-2) / math.sqrt(self.entries)

    def __repr__(self) -> str:
        sizes = ", ".join(map(str, self.sizes))
        named = {"embedding": (self.embedding, 20), "width": (self.width, 128)}
        more = "".join(f", {name}={value}" for name, (value, usual) in named.items() if value != usual)
        return f"PointEncoder({sizes}{more}, activation={self.activation!r})"
