"""`load`: the VAE of a run folder or a model file, also from the Hugging Face Hub."""

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
from pyrovae.training.hub import downloaded, is_on_hub
from pyrovae.training.marks import names_marked
from pyrovae.training.state import load_weights
from pyrovae.trust import check_paths, trusting
from pyrovae.vae import VAE
from pyrovae.vae.saving import Model

__all__ = ["holds_vae", "load", "model_file", "saved_run"]

Which = Literal["best", "last"]


def load(
    folder: str | os.PathLike,
    *,
    which: Which = "best",
    trust: str | Sequence[str] | None = None,
) -> VAE:
    """Load the VAE of a run folder or of a model file, with the schema of its data.

    Both name the classes of the parts. Classes of the package, parts that the program has already
    imported, and all parts of a run folder fitted by the same user on the same machine are loaded.
    Other code runs only if it is trusted by name.

    Arguments:
        folder: a run folder, a file of `vae.save` or `pyrovae share`, or "hub:user/name" for such a
            file on the Hugging Face Hub (extra `hub`).
        which: the best weights of a run folder, or the last.
        trust: modules or packages outside PyroVAE whose code may run, as in ["mypackage"].

    Raises:
        InputError: if the folder has no run or the run is not of a VAE; if a file is damaged, is of
            a newer version, has weights that are not finite or does not match config.yaml; or if it
            names code that is not trusted.
    """
    saved, path = saved_run(folder, one_of("which", which, ("best", "last")))
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


def model_file(run: str | os.PathLike) -> Path | None:
    """The model file that a name stands for, which may be on the Hub; None for a folder."""
    if is_on_hub(run):
        return downloaded(str(run))
    path = path_of("run", run)
    return path if os.path.isfile(path) else None  # False also for a name that is too long


def saved_run(run: str | os.PathLike, which: Which = "best") -> tuple[Checkpoint, Path]:
    """What is known about the model of a run folder or a model file, and the file that was read.

    Raises:
        InputError: if it cannot be read, or config.yaml of a run does not match its checkpoint.
    """
    path = model_file(run)
    if path is None:
        path = path_of("run", run) / f"{which}.ckpt"
        saved = Checkpoint.read(path)
        check_config(run, saved)
        return saved, path
    if which != "best":
        raise InputError(f"{run} is a file with one set of weights: leave which={which!r} out")
    model = Model.read(path)
    facts = {name: model.facts.get(name) for name in ("source", "config")}
    identity = model.facts.get("identity") or {}
    return Checkpoint(model.declaration, identity, model.schema, model.weights, **facts), path


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
