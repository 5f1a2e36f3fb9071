"""`share`: a trained model in one file with a model card, also on the Hugging Face Hub."""

from __future__ import annotations

from pyrovae import exporting
from pyrovae.errors import InputError
from pyrovae.sharing import is_shared, print_first

__all__ = ["share"]


def share(
    run: str,
    *,
    out: str | None = None,
    license: str | None = None,
    author: str | None = None,
    hub: str | None = None,
    private: bool = False,
    trust: str | None = None,
) -> None:
    """Write a model to one file, with a model card, to give to others.

    The file has the weights, the declaration and what the columns mean, but no rows. It takes the
    place of a run folder in all commands that need only the model, as in `pyrovae score
    digits.pyrovae new.csv`. The card describes the model, the data and the settings, has log p(x)
    if `pyrovae evaluate` was run, and says how to load and cite the model. --hub writes both to the
    Hugging Face Hub, with the token in HF_TOKEN.

    Arguments:
        run: the run folder, or a model file.
        out: the file, NAME.pyrovae by default; the card is NAME.md.
        license: the license of the model, as in mit or cc-by-4.0.
        author: who trained it.
        hub: a repository on the Hub, user/name, to write to instead of a file.
        private: make a new repository private.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae share runs/digits --license cc-by-4.0
        pyrovae share runs/digits --hub user/digits --private
    """
    if is_shared():
        raise InputError("share runs in one process: start it without torchrun")
    if hub is not None and out is not None:
        raise InputError("--hub and --out exclude each other: give one of them")
    if private and hub is None:
        raise InputError("--private is for a repository of the Hub: name it with --hub")
    stated = {"license": license, "author": author, "trust": trust}
    if hub is not None:
        print_first(exporting.push_to_hub(run, hub, private=private, **stated))
        return
    shared = exporting.share(run, out, **stated)
    print_first(shared)
    print_first(f'load it: pv.load("{shared.model}")')
