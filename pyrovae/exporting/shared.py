"""Share a model: one file with a model card, on disk or on the Hugging Face Hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrovae.checks import path_of
from pyrovae.display import Displayed
from pyrovae.errors import InputError, visible
from pyrovae.exporting.card import model_card
from pyrovae.exporting.facts import facts_of_run, notes_on
from pyrovae.exporting.models import is_stored, vae_of
from pyrovae.files import write_whole
from pyrovae.training.hub import CARD, FILE, uploaded
from pyrovae.training.loading import model_file, saved_run
from pyrovae.vae import VAE
from pyrovae.vae.saving import Model

__all__ = ["SharedModel", "push_to_hub", "share"]


@dataclass(frozen=True, repr=False)
class SharedModel(Displayed):
    """A shared model.

    Attributes:
        model: the model file, or its repository on the Hub.
        card: the model card.
        notes: what to know before the file is given away.
    """

    model: Path | str
    card: Path | str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"written: {visible(self.model)} and its card {visible(self.card)}"]
        return "\n".join([*lines, *(f"  note: {visible(note)}" for note in self.notes)])


def share(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    license: str | None = None,
    author: str | None = None,
    trust: str | Sequence[str] | None = None,
) -> SharedModel:
    """Write the best model of a run to one file, with a model card next to it.

    The file has what `vae.save` writes, and facts: the name, fingerprint and split of the data, the
    settings of the training, and log p(x) from `pyrovae evaluate`. The card says the same for
    people. Both contain no rows, and no paths of your machine.

    Arguments:
        run: a run folder, or a model file whose license or author is to be stated.
        out: the file, NAME.pyrovae by default; the card is NAME.md.
        license: the license of the model, as in "mit" or "cc-by-4.0".
        author: who trained it.
        trust: trusted modules outside PyroVAE that the run may name; see `load`.

    Raises:
        InputError: for a run that cannot be loaded, or a file that cannot be written.
    """
    vae, model, notes = _model_of(run, license, author, trust)
    path = path_of("out", f"{_stem(run)}.pyrovae" if out is None else out)
    if path.suffix != ".pyrovae":
        raise InputError(f"{path} is not the name of a model file: let it end in .pyrovae")
    card = path.with_suffix(".md")
    text = model_card(vae, model, path.name).encode()
    model.write(path)
    write_whole(card, lambda file: file.write(text))
    return SharedModel(path, card, tuple(notes))


def push_to_hub(
    model: VAE | str | os.PathLike[str],
    repository: str,
    *,
    license: str | None = None,
    author: str | None = None,
    private: bool = False,
    trust: str | Sequence[str] | None = None,
) -> SharedModel:
    """Write a model and its card to a repository of the Hugging Face Hub (extra `hub`).

    The repository is created if needed. `pyrovae.load("hub:user/name")` loads the model.

    Arguments:
        model: a run folder, a model file or a VAE.
        repository: its name, "user/name".
        license, author, trust: as for `share`.
        private: whether a new repository is private.

    Raises:
        InputError: for a model that cannot be loaded, or if the Hub does not accept it.
    """
    vae, content, notes = _model_of(model, license, author, trust)
    card = model_card(vae, content, f"hub:{repository}")
    files = {FILE: content.to_bytes(), CARD: card.encode()}
    message = f"A model of PyroVAE {content.version}"
    address = uploaded(repository, files, private=private, message=message)
    return SharedModel(f"hub:{repository}", address, tuple(notes))


def _model_of(
    model: Any,  # noqa: ANN401
    license: str | None,
    author: str | None,
    trust: str | Sequence[str] | None,
) -> tuple[VAE, Model, list[str]]:
    """The VAE, the content of its file, and notes."""
    vae, stated = vae_of(model, trust), _stated(license, author)
    if not is_stored(model):
        return vae, Model.of(vae, stated), []
    path = model_file(model)
    if path is not None:
        return vae, Model.of(vae, Model.read(path).facts | stated), []
    saved, _ = saved_run(model)
    facts = facts_of_run(model, saved)
    return vae, Model.of(vae, facts | stated), notes_on(model, saved, facts)


def _stated(license: str | None, author: str | None) -> dict[str, Any]:
    stated = {"license": license, "author": author}
    for name, value in stated.items():
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise InputError(f"{name} must be words, not {value!r}: leave it out if it is unknown")
    return {name: value for name, value in stated.items() if value is not None}


def _stem(run: str | os.PathLike[str]) -> str:
    return Path(run).resolve().name.removesuffix(".pyrovae")
