"""Model files on the Hugging Face Hub, by the package huggingface-hub (extra `hub`).

A repository has the files `model.pyrovae` and `README.md`, the model card. HF_ENDPOINT, HF_TOKEN
and HF_HOME have the meaning that huggingface-hub gives them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyrovae.errors import InputError
from pyrovae.extras import require

__all__ = ["CARD", "FILE", "downloaded", "is_on_hub", "uploaded"]

PREFIX = "hub:"
FILE, CARD = "model.pyrovae", "README.md"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_on_hub(name: str | os.PathLike[str]) -> bool:
    """Whether a name is that of a model on the Hub, as in "hub:user/name"."""
    return isinstance(name, str) and name.startswith(PREFIX)


def downloaded(name: str) -> Path:
    """The model file of a repository, in the cache of huggingface-hub.

    Arguments:
        name: "hub:user/name", or "hub:user/name@revision".

    Raises:
        InputError: if there is no such file, or the Hub cannot be reached.
    """
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    hub = require("huggingface_hub", "hub", "loading a model from the Hub")
    _check(repository)
    where: dict[str, Any] = {"revision": revision or None, "endpoint": _endpoint()}
    return Path(_answered(repository, lambda: hub.hf_hub_download(repository, FILE, **where)))


def uploaded(repository: str, files: Mapping[str, bytes], *, private: bool, message: str) -> str:
    """Write files to a repository in one commit, and create it if needed; returns its address.

    Raises:
        InputError: if this is not possible.
    """
    hub = require("huggingface_hub", "hub", "pushing a model to the Hub")
    _check(repository)

    def upload() -> str:
        api = hub.HfApi(endpoint=_endpoint())
        api.create_repo(repository, private=private, exist_ok=True)
        operations = [hub.CommitOperationAdd(name, data) for name, data in files.items()]
        api.create_commit(repository, operations, commit_message=message)
        return f"{api.endpoint}/{repository}"

    return _answered(repository, upload)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _check(repository: str) -> None:
    if not _NAME.fullmatch(repository):
        raise InputError(f"{repository!r} is not a repository of the Hub: give one as in 'user/name'")


def _answered(repository: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401
    """The result of a call to the Hub.

    Raises:
        InputError: with the reason if it fails.
    """
    from huggingface_hub import errors

    try:
        return call()
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError):
        raise InputError(
            f"{repository} on the Hub has no file {FILE} in this revision: was it pushed by `pyrovae share`?"
        ) from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"there is no repository {repository} on the Hub that you can read: check the name, and set "
            "HF_TOKEN if it is private"
        ) from None
    except (errors.HTTPError, errors.LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200].rstrip(".")
        raise InputError(
            f"the Hub did not accept or give {repository} ({reason}): check the network, and HF_TOKEN"
        ) from error
