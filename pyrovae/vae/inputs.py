"""What the encoder reads for an observation, and for its missing entries (NaN).

    zeros       zeros in the standardised input
    flags       zeros, and a flag for each entry that is 1 where the entry is missing
    constants   a learned number for each entry, initialised at zero

A likelihood with flags of its own (`Mixed`) keeps them in all cases. Networks that read missing
entries themselves (`reads_missing`) get NaN.

Reference:
    Mattei & Frellsen (2019), "MIWAE: deep generative modelling and imputation of incomplete data
    sets" (constants); Nazabal, Olmos, Ghahramani & Valera (2020), "Handling incomplete
    heterogeneous data using VAEs" (zeros).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pyrovae.checks import one_of
from pyrovae.errors import InputError

if TYPE_CHECKING:
    from pyrovae.likelihoods import Likelihood
    from pyrovae.networks import Network

__all__ = ["FILLINGS", "Constants", "EncoderInputs", "filling_of"]

FILLINGS = ("zeros", "flags", "constants")
# A larger number would overflow in a network in float32.
FARTHEST = 1e15


def filling_of(missing: Any) -> str:  # noqa: ANN401
    """The word for what the encoder reads; False is "zeros" and True is "flags".

    Raises:
        InputError: for another word.

    Example:
        >>> filling_of(True), filling_of("constants")
        ('flags', 'constants')
    """
    if isinstance(missing, bool):
        return "flags" if missing else "zeros"
    return one_of("missing", missing, FILLINGS)


class Constants(nn.Module):
    """One learned number for each entry of the encoder's input, in place of missing ones."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(shape))

    def forward(self, inputs: Tensor, missing: Tensor) -> Tensor:
        """Replace the missing entries of inputs (*, *shape)."""
        return torch.where(missing, self.values.to(inputs.dtype), inputs)


class EncoderInputs:
    """The encoder's input; a subclass has the parts as attributes, and a module's parameters."""

    event_shape: tuple[int, ...]
    missing: str
    constants: Constants | None
    likelihood: Likelihood
    encoder: Network
    input_noise: float = 0.0  # of a denoising autoencoder, while it trains

    def inputs(self, x: Tensor) -> Tensor:
        """The encoder's input for x (*, *event); NaN stays if the encoder reads missing entries."""
        inputs, missing = self._numbers(x), self.likelihood.missing_inputs(x)
        if self.encoder.reads_missing:
            values = self.likelihood.input_shape[0] - self._flags if self.event_shape else None
            if values is not None and self._flags:  # the values come first, then the flags
                inputs, missing = (t.narrow(-len(self.event_shape), 0, values) for t in (inputs, missing))
            return torch.where(missing, torch.nan, inputs)
        if self.constants is not None:
            return self.constants(inputs, missing)
        if self.likelihood.takes_missing:
            inputs = torch.where(missing, inputs.new_zeros(()), inputs)
        if self._adds_flags:
            inputs = torch.cat([inputs, x.isnan().to(inputs.dtype)], -len(self.event_shape))
        return inputs

    def _numbers(self, x: Tensor) -> Tensor:
        """The likelihood's input for the encoder, in the type of the networks."""
        inputs, dtype = self.likelihood.inputs(x), next(self.parameters()).dtype  # type: ignore[attr-defined]
        inputs = inputs if inputs.dtype == dtype else inputs.clamp(-FARTHEST, FARTHEST).to(dtype)
        return inputs + self.input_noise * torch.randn_like(inputs) if self.input_noise else inputs

    @property
    def _adds_flags(self) -> bool:
        """Whether the encoder reads flags of missing entries next to the likelihood's inputs."""
        return self.missing == "flags" and bool(self.event_shape) and not self.likelihood.flags_missing

    @property
    def _flags(self) -> int:
        """The number of flags in the likelihood's own inputs, along their first dimension."""
        return self.event_shape[0] if self.likelihood.flags_missing else 0

    def _input_shape(self, encoder: Network) -> tuple[int, ...]:
        """The shape of one row that the encoder reads.

        Raises:
            InputError: for a network of sequences and columns of classes, and for constants that
                the encoder would not read.
        """
        shape, event = self.likelihood.input_shape, self.event_shape
        if not encoder.reads_missing:
            return (shape[0] + event[0], *shape[1:]) if self._adds_flags else shape
        if self.missing == "constants":
            raise InputError(
                f"{encoder!r} reads missing entries itself, so it has no use for missing='constants': leave "
                "missing out"
            )
        if event:
            shape = (shape[0] - self._flags, *shape[1:])
        if encoder.reads_steps and shape != event:
            raise InputError(
                f"{encoder!r} reads sequences, and {self.likelihood!r} has columns of classes: use MLP"
            )
        return shape
