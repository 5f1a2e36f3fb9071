"""The command line: the package's own functions, with their own signatures, by name.

    pyrovae fit --data mnist --prior GaussianMixture --prior.components 20 --out runs/mog
    pyrovae fit --out runs/mog --resume
    pyrovae evaluate runs/mog --particles 1000
    pyrovae sample runs/mog --count 100
    pyrovae reconstruct runs/mog
    pyrovae explore runs/mog
    pyrovae datasets
    pyrovae parts
    pyrovae parts GaussianMixture

Options are read from the signatures of `datasets.load`, `VAE` and `fit` by jsonargparse, and parts from the
subclasses of their base classes; a part of one's own is named by its import path, also from the working
folder. Bad input ends with one sentence and status 2, a failed computation with 1, Ctrl-C with 130.

    torchrun --nproc-per-node 2 -m pyrovae fit --data mnist --out runs/mog

`fit`, `evaluate` and `compare` share their work among the processes that `torchrun` starts; the first prints.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyrovae.cli.parsing import parse
from pyrovae.errors import InputError, NumericalError
from pyrovae.sharing import Lost, is_first, processes, rank, together

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 for bad input, 1 for a failed computation."""
    with _working_folder_importable(), processes():
        return _run(sys.argv[1:] if argv is None else argv)


def _run(argv: Sequence[str]) -> int:
    try:
        together(lambda: parse(argv))()
        sys.stdout.flush()
    except InputError as error:
        return _say(error, 2)
    except Lost as error:
        print(f"pyrovae: process {rank()}: {error}", file=sys.stderr)
        return 1
    except NumericalError as error:
        return _say(error, 1)
    except KeyboardInterrupt as stop:
        return _say(stop if stop.args else "stopped", 130)
    except BrokenPipeError:  # the reader of a pipe has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _say(message: object, status: int) -> int:
    if is_first():
        print(f"pyrovae: {message}", file=sys.stderr)
    return status


@contextmanager
def _working_folder_importable() -> Iterator[None]:
    """An installed script looks for modules beside itself and not, as `python -m` does, where one stands."""
    here = os.getcwd()
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
