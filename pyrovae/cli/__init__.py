"""The command line: one command for each file in `commands`.

    pyrovae fit --data mnist --prior GaussianMixture --prior.components 20 --out runs/mog
    pyrovae fit --out runs/mog --resume
    pyrovae evaluate runs/mog --method AIS --method.temperatures 200
    pyrovae compare runs/mog runs/normal
    pyrovae parts GaussianMixture

The options of a command are the signature of its function, read by jsonargparse. Parts and
evaluation methods are found as subclasses of their base classes. A custom one is found by its
import path, also in the working folder, if you name it on the command line; one named in a file
needs `--trust`. Only the module of the given command is imported, so commands that do not need
torch answer at once.

Bad input ends with a one-sentence message and status 2, a failed computation with 1, Ctrl-C (or
SIGTERM, or SIGHUP) with 130.

    torchrun --nproc-per-node 2 -m pyrovae fit --data mnist --out runs/mog

`fit`, `evaluate`, `compare`, `score` and `impute` share their work among the processes that
`torchrun` starts; only the first prints.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType

from pyrovae.checks import shown
from pyrovae.cures import typed
from pyrovae.errors import InputError, Lost, NumericalError, visible
from pyrovae.interrupts import STATUS, ending, running, starting
from pyrovae.memory import is_exhausted
from pyrovae.trust import importable_folder

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, 2 for bad input, or 1 for a failed computation."""
    if argv is not None:
        return _main(argv)
    starting()
    try:
        return _main(sys.argv[1:])
    except KeyboardInterrupt:
        return _say("stopped", STATUS)
    finally:
        ending()


def _main(words: Sequence[str]) -> int:
    try:
        os.getcwd()
    except OSError:
        return _say("the working folder no longer exists: change to another folder", 2)
    with _working_folder_importable(), _processes(), typed(words):
        return _run(words)


def _run(words: Sequence[str]) -> int:
    try:
        command = _parsed(words)
        running()
        command()
        sys.stdout.flush()
    except InputError as error:
        return _say(error, 2)
    except Lost as error:
        print(f"pyrovae: process {visible(os.environ.get('RANK', 0))}: {error}", file=sys.stderr)
        return 1
    except NumericalError as error:
        return _say(error, 1)
    except KeyboardInterrupt as stop:
        return _say(stop if stop.args else "stopped", STATUS)
    except BrokenPipeError:  # the reader of the pipe has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _say(_of_system(error), 2)
    except (MemoryError, RuntimeError, ValueError) as error:
        if not is_exhausted(error):
            raise
        return _say(
            "this needs more memory than the machine has free: ask for fewer rows, particles or samples", 2
        )
    return 0


def _of_system(error: OSError) -> str:
    """A sentence for an unexpected error of the operating system."""
    reason = (error.strerror or str(error) or type(error).__name__).rstrip(".").lower()
    if error.filename is None:
        return f"the operating system reports an error ({reason}): check the disk space and the files in use"
    return f"{shown(error.filename)} cannot be used ({reason}): give another name, or check its permissions"


def _parsed(words: Sequence[str]) -> Callable[[], None]:
    """The call that the words describe; fails in all processes if it fails in one."""
    from pyrovae.cli.parsing import parse

    sharing = _sharing()
    return sharing.together(lambda: parse(words)) if sharing else parse(words)


def _say(message: object, status: int) -> int:
    ending()  # signals no longer interrupt the last line
    sharing = _sharing()
    if sharing is None or sharing.is_first():
        print(f"pyrovae: {visible(message)}", file=sys.stderr)
    return status


def _processes() -> AbstractContextManager[None]:
    sharing = _sharing()
    return sharing.processes() if sharing else nullcontext()


def _sharing() -> ModuleType | None:
    """`pyrovae.sharing`, which imports torch, if there may be several processes."""
    if "torch" not in sys.modules and "WORLD_SIZE" not in os.environ:
        return None
    from pyrovae import sharing

    return sharing


@contextmanager
def _working_folder_importable() -> Iterator[None]:
    """Let a command import modules from the working folder, as `python -m` does."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was deleted
        yield
        return
    with importable_folder(here):
        yield
