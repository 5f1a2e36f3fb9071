r"""Attention: every step reads all others, weighted by how well they match.

    A = softmax(Q K^T / sqrt(d)) V       h + A(norm(h)), then h + MLP(norm(h))

In an encoder, padding gets no weight. In a decoder, a step reads only itself and the steps before
it, so its parameters do not depend on the number of steps that follow.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.networks.base import Shape, started
from pyrovae.networks.sequences import SequenceNetwork, sinusoids

__all__ = ["Transformer"]


class _Block(nn.Module):
    """Attention, then a perceptron; each normalises its input and adds its output to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        # Keys need no bias: it would change all scores of a step alike.
        self.match = started(nn.Linear(width, 3 * width, bias=False))
        self.mix = started(nn.Linear(width, width))
        wide = started(nn.Linear(width, 4 * width))
        self.dense = nn.Sequential(wide, nn.GELU(), started(nn.Linear(4 * width, width)))

    def forward(self, h: Tensor, allowed: Tensor) -> Tensor:
        """(N, T, width); `allowed` (N or 1, 1, T or 1, T) says which steps a step may read."""
        h = h + self.mix(self._attention(self.norms[0](h), allowed))
        return h + self.dense(self.norms[1](h))

    def _attention(self, h: Tensor, allowed: Tensor) -> Tensor:
        parts = self.match(h).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0)
        q, k, v = parts.transpose(-2, -3)  # each (N, heads, T, width / heads)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        # Not minus infinity: a row of padding alone would be 0 / 0.
        scores = torch.where(allowed, scores, torch.finfo(scores.dtype).min)
        return (scores.softmax(-1) @ v).transpose(-2, -3).flatten(-2)


class Transformer(SequenceNetwork):
    r"""A transformer for sequences, \(h + \mathrm{attention}(\mathrm{norm}(h))\).

    It serves as encoder and as decoder. The encoder reads events (T, C) of T steps with C channels
    and takes the mean over steps. The decoder adds the latents to each position, and a step reads
    the steps before it. A step whose values are all NaN is padding and changes nothing.

    Arguments:
        width: the size of a step's vector, and of the encoder's output.
        layers: the number of blocks.
        heads: of the attention; a divisor of the width.
        positions: "sinusoidal" or "learned".
        symbols: the number of symbols when a step is a code from 0 (text, clicks; events (T,)); 0
            reads numbers.

    Raises:
        InputError: for single numbers, a size below 1, a width that the heads do not divide, an
            unknown word, or symbols of events with channels.

    Reference:
        Vaswani et al. (2017), "Attention Is All You Need"; Xiong et al. (2020), "On Layer
        Normalization in the Transformer Architecture".

    Example:
        >>> encoder = Transformer(width=16, heads=2)
        >>> encoder.attach((10, 3))
        >>> encoder(torch.zeros(5, 2, 10, 3)).shape
        torch.Size([5, 2, 16])
    """

    def __init__(
        self,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        positions: Literal["sinusoidal", "learned"] = "sinusoidal",
        symbols: int = 0,
    ) -> None:
        super().__init__()
        self.width = width
        self.layers = layers
        self.heads = heads
        self.positions = positions
        self.symbols = symbols

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_whole("width", "layers", "heads")
        self.check_one_of("positions", ("sinusoidal", "learned"))
        if self.width % self.heads:
            raise InputError(
                f"width of Transformer must be a multiple of its {self.heads} heads, not {self.width}: use "
                f"{self.heads * max(1, round(self.width / self.heads))}"
            )
        super().attach(input_shape, output_shape, context_dim)

    def attach_encoder(self, context_dim: int) -> None:
        self.read = self.reader(self.width)
        self.first = started(nn.Linear(self.read.features, self.width))
        self._attach_blocks()
        self.attach_last(self.width + context_dim, self.width, "gelu")

    def attach_decoder(self, inputs: int) -> None:
        self.first = started(nn.Linear(inputs, self.width))
        self._attach_blocks()
        self.features = self.width

    def _attach_blocks(self) -> None:
        if self.positions == "learned":
            self.places = nn.Parameter(0.02 * torch.randn(self.steps, self.width))
        else:
            self.register_buffer("places", sinusoids(self.steps, self.width), persistent=False)
        self.blocks = nn.ModuleList(_Block(self.width, self.heads) for _ in range(self.layers))
        self.norm = nn.LayerNorm(self.width)

    def pooled(self, steps: Tensor) -> Tensor:
        numbers, mask = self.read(steps)
        h = self._through(self.first(numbers) + self.places, mask[:, None, None])
        weights = mask.unsqueeze(-1).to(h.dtype)
        return (h * weights).sum(1) / weights.sum(1).clamp(min=1)

    def unrolled(self, rows: Tensor) -> Tensor:
        h = self.first(rows).unsqueeze(1) + self.places
        earlier = torch.ones(self.steps, self.steps, dtype=torch.bool, device=rows.device).tril()
        return self._through(h, earlier[None, None])

    def _through(self, h: Tensor, allowed: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h, allowed)
        return self.norm(h)
