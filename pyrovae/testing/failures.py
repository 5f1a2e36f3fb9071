"""How a check fails, and the settings of the process under which all checks run.

A failed check raises an `AssertionError`. Its one sentence says which property does not hold, gives
the numbers, and says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor

__all__ = ["performed", "refuse", "require", "same", "settings", "shown"]

SEED = 0


def refuse(sentence: str) -> None:
    """Fail with a sentence."""
    raise AssertionError(sentence)


def require(holds: Any, sentence: str) -> None:  # noqa: ANN401
    """Fail with a sentence unless something holds."""
    if not bool(holds):
        refuse(sentence)


def same(one: Tensor, other: Tensor, what: str, cure: str, *, rtol: float = 1e-8, atol: float = 1e-8) -> None:
    """Fail unless two tensors are equal up to rounding, and say by how much they differ."""
    if one.shape != other.shape:
        refuse(f"{what}: they have shapes {tuple(one.shape)} and {tuple(other.shape)}: {cure}")
    error = torch.where(one == other, torch.zeros_like(one), (one - other).abs())
    if not bool((error <= atol + rtol * other.abs()).all()):
        refuse(f"{what} by {error.max().item():.3g}: {cure}")


def shown(part: Any) -> str:  # noqa: ANN401
    """The repr of the part, or the name of its class if repr fails."""
    try:
        return repr(part)
    except Exception:
        return type(part).__name__


@contextmanager
def settings(dtype: torch.dtype = torch.float64, seed: int = SEED) -> Iterator[None]:
    """Use a default dtype and a seed in a `with` block, and restore the state afterwards."""
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope(), torch.enable_grad():
        torch.set_default_dtype(dtype)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def performed(check: Callable[[Any], None], subject: Any) -> None:  # noqa: ANN401
    """Run a check in double precision from a fixed seed.

    Raises:
        AssertionError: when the property does not hold, or the part raises an error.
    """
    with settings():
        try:
            check(subject)
        except AssertionError:
            raise
        except Exception as error:
            words, reason = check.__name__.replace("_", " "), " ".join(str(error).split())
            raise AssertionError(
                f"{shown(subject.part)} raises {type(error).__name__} in the check {words!r}: {reason}"
            ) from error
