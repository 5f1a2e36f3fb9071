"""`load`: the VAE of a run folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from pyrovae.checks import one_of, path_of
from pyrovae.datasets import Schema
from pyrovae.errors import InputError
from pyrovae.part import Declared
from pyrovae.terms import Runner
from pyrovae.threads import alone
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.config import check_config
from pyrovae.training.marks import names_marked
from pyrovae.training.state import load_weights
from pyrovae.trust import check_paths, trusting
from pyrovae.vae import VAE

__all__ = ["holds_vae", "load"]


def load(
    folder: str | os.PathLike,
    *,
    which: Literal["best", "last"] = "best",
    trust: str | Sequence[str] | None = None,
) -> VAE:
    """Load the VAE of a run folder, with its best or last weights and the schema of its data.

    A run folder names the classes of its parts. Classes of the package, parts that the program has
    already imported, and all parts of a run fitted by the same user on the same machine are
    loaded. Other code runs only if it is trusted by name.

    Arguments:
        folder: the run folder.
        which: the best weights, or the last.
        trust: modules or packages outside PyroVAE whose code may run, as in ["mypackage"].

    Raises:
        InputError: if the folder has no run or the run is not of a VAE; if a checkpoint is damaged,
            has weights that are not finite or does not match config.yaml; or if it names code that
            is not trusted.
    """
    path = path_of("folder", folder) / f"{one_of('which', which, ('best', 'last'))}.ckpt"
    saved = Checkpoint.read(path)
    check_config(folder, saved)
    if not holds_vae(saved):
        raise InputError(
            f"{folder} holds a run of a hand-written program: build the program and load its weights yourself"
        )
    with trusting(trust), trusting(names_marked(saved.declarations(), saved.mark)):
        check_paths(saved.declaration, str(path), Declared)
        vae = _declared(saved, path)
    load_weights(Runner(vae), {}, saved.weights)
    return vae


def holds_vae(saved: Checkpoint) -> bool:
    """Whether a checkpoint is that of a VAE, not of a hand-written program."""
    return {"event_shape", "latent_dim", "prior"} <= (saved.declaration or {}).keys()


def _declared(saved: Checkpoint, path: Path) -> VAE:
    """The VAE that a checkpoint declares, with initial weights."""
    try:
        with alone, torch.random.fork_rng(devices=[]):  # initial weights are random
            vae = VAE.from_dict(saved.declaration or {})
        names = [name for name, _ in vae.named_parameters() if name in saved.weights]
        vae.to(saved.weights[names[0]].dtype if names else torch.get_default_dtype())
        vae.schema = None if saved.schema is None else Schema.from_dict(saved.schema)
    except InputError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, RuntimeError) as error:
        raise InputError(
            f"the VAE in {path} cannot be built by this version of PyroVAE "
            f"({str(error).splitlines()[0][:100]}): fit again"
        ) from error
    return vae
