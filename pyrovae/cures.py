"""What a message tells the user to do, in the words of the interface in use.

Python                resume it with resume=True in runs/mog
the command line      resume it with pyrovae fit --out runs/mog --resume

A cure that is a command can be pasted into a shell: names are quoted, and under torchrun it starts
the same number of processes. The command line calls `typed` with its words. A message is worded
when it is made, so one that quotes another keeps its words.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["again", "command", "cure", "option", "resuming", "scoring", "typed"]

SHARED = {"fit", "evaluate", "compare", "score", "impute"}  # commands for several processes
_typed: Sequence[str] | None = None  # the words after `pyrovae`; None in Python


@contextmanager
def typed(words: Sequence[str]) -> Iterator[None]:
    """Word cures for a user who has typed these words after `pyrovae`."""
    global _typed
    before, _typed = _typed, tuple(words)
    try:
        yield
    finally:
        _typed = before


def cure(python: str, typed: str) -> str:
    """The words for Python, or those for the command line.

    Example:
        >>> cure("overwrite=True", "--overwrite")
        'overwrite=True'
    """
    return python if _typed is None else typed


def option(name: str, value: object, part: str = "") -> str:
    """An option with a value, of a part if one is named.

    Example:
        >>> option("kinds", {"zip": "categorical"})
        "kinds={'zip': 'categorical'}"
        >>> with typed(["fit"]):
        ...     print(option("kinds", {"zip": "categorical"}), option("labels", True, "prior"))
        --kinds '{"zip": "categorical"}' --prior.labels true
    """
    text = value if isinstance(value, str) else json.dumps(value)
    role = f"{part}." if part else ""
    return cure(f"{name}={value!r}", f"--{role}{name} {shlex.quote(text)}")


def command(*words: object) -> str:
    """A command of PyroVAE as it can be pasted into a shell.

    Example:
        >>> command("evaluate", "runs/my model")
        "pyrovae evaluate 'runs/my model'"
    """
    count = os.environ.get("WORLD_SIZE", "1")
    is_shared = count != "1" and count == os.environ.get("LOCAL_WORLD_SIZE") and words[0] in SHARED
    program = f"torchrun --nproc-per-node {count} -m pyrovae" if is_shared else "pyrovae"
    return " ".join([program, *(shlex.quote(str(word)) for word in words)])


def again(**options: object) -> str:
    """The command that runs, with other values of these options; True stands for a flag.

    In Python there is none, and the result is empty.

    Example:
        >>> with typed(["sweep", "--grid", "latent_dim=2,5", "--seeds", "3"]):
        ...     print(again(out="sweeps/digits-1"))
        pyrovae sweep --grid latent_dim=2,5 --seeds 3 --out sweeps/digits-1
    """
    if _typed is None:
        return ""
    words = list(_typed)
    for name, value in options.items():
        if not any(_name(word) == name for word in words):
            words += [f"--{name}", *([] if value is True else [str(value)])]
    return command(*words)


def resuming(folder: object) -> str:
    """How to resume the run in a folder.

    Example:
        >>> resuming("runs/mog")
        'resume=True in runs/mog'
        >>> with typed(["fit", "--data", "mnist"]):
        ...     print(resuming("runs/mog"))
        pyrovae fit --out runs/mog --resume
    """
    name = "demo" if _typed and _typed[0] == "demo" else "fit"
    line = command(name, "--out", folder, "--resume", *_kept("trust"))
    return cure(f"resume=True in {folder}", line)


def scoring(run: object) -> str:
    """How to score all rows of a file with a run.

    Example:
        >>> scoring("runs/mog")
        "pv.score('runs/mog', FILE)"
    """
    return cure(f"pv.score({str(run)!r}, FILE)", f"{command('score', run)} FILE --out scores.csv")


def _kept(name: str) -> list[str]:
    """An option of the command that runs, with its value; nothing if it was not given."""
    words = list(_typed or ())
    for i, word in enumerate(words):
        if _name(word) == name:
            return [word] if "=" in word else words[i : i + 2]
    return []


def _name(word: str) -> str:
    """The name of an option, as in `--batch-size=20`; empty for another word."""
    return word[2:].partition("=")[0].replace("-", "_") if word.startswith("--") else ""
