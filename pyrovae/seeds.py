"""A seed for one call, whose samples then do not depend on torch's random state.

seed = None               torch's global generator
seed = 0, 1, ...          the same samples in every call
seed = torch.Generator()  the next samples of the generator
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.threads import alone

__all__ = ["Seed", "check_seed", "generator_of", "random_kept", "seeded"]

Seed = int | torch.Generator | None


def check_seed(seed: Seed) -> None:
    """Check that a seed is None, a whole number or a generator.

    Raises:
        InputError: for anything else.
    """
    if seed is not None and not isinstance(seed, torch.Generator):
        try:
            whole("seed", seed, 0)
        except InputError as error:
            raise InputError(f"{error}; or give a torch.Generator") from None


def generator_of(seed: int) -> torch.Generator:
    """A new generator with a seed.

    Raises:
        InputError: for a seed that is not a whole number of 0 or more.
    """
    return torch.Generator().manual_seed(whole("seed", seed, 0))


@contextmanager
def seeded(seed: Seed) -> Iterator[None]:
    """Run a block alone, with the random numbers of a seed; torch's global state does not change.

    Raises:
        InputError: for a seed that is neither None, a whole number nor a generator.

    Example:
        >>> with seeded(3):
        ...     first = torch.rand(2)
        >>> with seeded(3):
        ...     second = torch.rand(2)
        >>> bool((first == second).all())
        True
    """
    check_seed(seed)
    with alone:
        if seed is None:
            yield
            return
        with random_kept():
            torch.manual_seed(_number(seed))
            yield


@contextmanager
def random_kept() -> Iterator[None]:
    """Restore torch's random state after a block, on the CPU and on all GPUs that are in use.

    `torch.manual_seed` seeds all of them, so restoring one is not enough.

    Example:
        >>> state = torch.get_rng_state()
        >>> with random_kept():
        ...     _ = torch.manual_seed(3)
        >>> bool((torch.get_rng_state() == state).all())
        True
    """
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=cuda):
        yield


def _number(seed: int | torch.Generator) -> int:
    if isinstance(seed, torch.Generator):  # the generator may be on another device
        return int(torch.randint(2**62, (), generator=seed, device=seed.device))
    return whole("seed", seed, 0)
