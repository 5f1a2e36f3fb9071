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
    """Write the model of a run to one file, with a model card, to give to other people.

    The file has the weights, the declaration and what the columns mean; it has no rows. All
    commands that need the model only take it in place of a run folder, as in `pyrovae score
    digits.pyrovae new.csv`. The card has the model, the data, the settings, log p(x) if `pyrovae
    evaluate` was run, and how to load and cite it. --hub writes both to the Hugging Face Hub, with
    the token in HF_TOKEN.

    Arguments:
        run: the run folder, or a model file.
        out: the file, NAME.pyrovae by default; the card is NAME.md.
        license: the license of the model, as in mit or cc-by-4.0.
        author: who trained it.
        hub: the repository on the Hub, user/name, in place of a file.
        private: whether a new repository is private.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.
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
