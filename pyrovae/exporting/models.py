"""The VAE that is shared or exported: in memory, of a run folder, or of a model file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, cast

from pyrovae.checks import shown
from pyrovae.errors import InputError
from pyrovae.training import load
from pyrovae.vae import VAE

__all__ = ["is_stored", "vae_of"]


def is_stored(model: Any) -> bool:  # noqa: ANN401
    """Whether a model is the name of a run folder or a file."""
    return isinstance(model, (str, os.PathLike))


def vae_of(model: Any, trust: str | Sequence[str] | None) -> VAE:  # noqa: ANN401
    """The VAE of a run folder or a model file, or a VAE as it is.

    Raises:
        InputError: for another program, which has no encoder, decoder and declaration.
    """
    if is_stored(model):
        return load(model, trust=trust).eval()
    if not (hasattr(model, "recognition") and hasattr(model, "generation")):
        raise InputError(f"a VAE, a run folder or a model file is needed, not {shown(model)}: give one")
    return cast(VAE, model)
