r"""Recurrent networks: a state that is updated with each step.

    encoder   h_t = f(h_(t-1), x_t), in both directions; features from the last states
    decoder   h_t = f(h_(t-1), [z, t]); step t reads h_t

Padding is skipped: the present steps are moved to the front in their order, and states after the
last present step are never used.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from pyrovae.errors import Uncapturable
from pyrovae.networks.base import Shape, started
from pyrovae.networks.sequences import SequenceNetwork, sinusoids

__all__ = ["Recurrent"]

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class _Layer(nn.Module):
    """A recurrent layer over the first steps of each row, forwards or in both directions."""

    def __init__(self, cell: str, inputs: int, hidden: int, directions: int) -> None:
        super().__init__()
        kind = _CELLS[cell]
        self.cells = nn.ModuleList(kind(inputs, hidden, batch_first=True) for _ in range(directions))

    def forward(self, steps: Tensor, count: Tensor) -> Tensor:
        """(N, T, C) -> (N, T, directions * hidden); `count` (N,) steps of each row are read."""
        out = [self._run(self.cells[0], steps)]
        if len(self.cells) > 1:
            places = torch.arange(steps.shape[1], device=steps.device)
            last = count.unsqueeze(-1) - 1
            turned = torch.where(places <= last, last - places, places)
            out.append(_at(self._run(self.cells[1], _at(steps, turned)), turned))
        return torch.cat(out, -1)

    def _run(self, cell: nn.Module, steps: Tensor) -> Tensor:
        if isinstance(steps, FakeTensor) and not torch.compiler.is_exporting():
            raise Uncapturable(
                "a recurrent layer is a loop over steps, and compiled code would repeat it T times"
            )
        if steps.is_cuda and not self.training and torch.is_grad_enabled():
            with torch.backends.cudnn.flags(enabled=False):  # cuDNN has no gradient in evaluation mode
                return cell(steps)[0]
        return cell(steps)[0]


class Recurrent(SequenceNetwork):
    r"""A recurrent network for sequences, \(h_t = f(h_{t-1}, x_t)\).

    It serves as encoder and as decoder. The encoder reads events (T, C) of T steps with C channels
    in both directions and takes the last states. The decoder reads the latents and the position at
    each step, forwards. A step whose values are all NaN is padding and changes nothing.

    Arguments:
        hidden: the size of the state, and of the encoder's output.
        layers: the number of layers.
        cell: "gru" or "lstm".
        bidirectional: whether the encoder reads both directions.
        symbols: the number of symbols when a step is a code from 0 (text, clicks; events (T,)); 0
            reads numbers.

    Raises:
        InputError: for single numbers, a size below 1, an unknown cell, or symbols of events with
            channels.

    Reference:
        Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder"; Hochreiter &
        Schmidhuber (1997), "Long Short-Term Memory"; Bowman et al. (2016), "Generating Sentences
        from a Continuous Space".

    Example:
        >>> encoder = Recurrent(hidden=16)
        >>> encoder.attach((10, 3))
        >>> encoder(torch.zeros(5, 2, 10, 3)).shape
        torch.Size([5, 2, 16])
    """

    def __init__(
        self,
        hidden: int = 128,
        layers: int = 1,
        cell: Literal["gru", "lstm"] = "gru",
        bidirectional: bool = True,  # noqa: FBT001, FBT002
        symbols: int = 0,
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.layers = layers
        self.cell = cell
        self.bidirectional = bidirectional
        self.symbols = symbols

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_whole("hidden", "layers")
        self.check_one_of("cell", tuple(_CELLS))
        super().attach(input_shape, output_shape, context_dim)

    def attach_encoder(self, context_dim: int) -> None:
        self.read = self.reader(self.hidden)
        size = self._attach_layers(self.read.features, 2 if self.bidirectional else 1)
        self.attach_last(size + context_dim, self.hidden, "silu")

    def attach_decoder(self, inputs: int) -> None:
        self.first = started(nn.Linear(inputs, self.hidden))
        self.register_buffer("positions", sinusoids(self.steps, self.hidden), persistent=False)
        self.features = self._attach_layers(self.hidden, 1)

    def _attach_layers(self, inputs: int, directions: int) -> int:
        size = directions * self.hidden
        sizes = [inputs] + [size] * (self.layers - 1)
        self.stack = nn.ModuleList(_Layer(self.cell, n, self.hidden, directions) for n in sizes)
        return size

    def pooled(self, steps: Tensor) -> Tensor:
        numbers, mask = self.read(steps)
        h = _at(numbers, (~mask).to(torch.uint8).argsort(dim=1, stable=True))
        count = mask.sum(1)
        for layer in self.stack:
            h = layer(h, count)
        last = _at(h, (count - 1).clamp(min=0).unsqueeze(-1)).squeeze(1)[:, : self.hidden]
        states = torch.cat([last, h[:, 0, self.hidden :]], -1)
        return torch.where(count.unsqueeze(-1) > 0, states, 0.0)

    def unrolled(self, rows: Tensor) -> Tensor:
        h = self.first(rows).unsqueeze(1) + self.positions
        count = torch.full(rows.shape[:1], self.steps, device=rows.device)
        for layer in self.stack:
            h = layer(h, count)
        return h


def _at(steps: Tensor, places: Tensor) -> Tensor:
    """The steps (N, T, C) at places (N, S) of each row."""
    return steps.gather(1, places.unsqueeze(-1).expand(-1, -1, steps.shape[-1]))
