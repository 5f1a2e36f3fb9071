"""Check that a program scores each row independently of the other rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.networks.coupling import Coupling, coupling, cure
from pyrovae.networks.modes import tried_in_mode
from pyrovae.terms.global_sites import values_of
from pyrovae.terms.runner import Runner
from pyrovae.terms.sites import DATA, plate_dim, sites_of
from pyrovae.threads import alone

__all__ = ["check_rows_apart"]


@alone
@torch.no_grad()
def check_rows_apart(runner: Runner, rows: Rows) -> None:
    """Refuse a program in which the terms of a row depend on the other rows of its batch.

    The terms of two rows are compared with those of batches in which one of the two is another row,
    with its own latents, in evaluation and in training mode. Random state, modes and buffers do not
    change.

    Arguments:
        runner: the runner of a checked program.
        rows: three rows, which should differ.

    Raises:
        InputError: with the term that changes, and by how much.
    """
    of_batch = getattr(getattr(runner.program, "likelihood", None), "of_batch", False)
    devices = [rows.x.device] if rows.x.is_cuda else []
    with runner.isolated(), torch.random.fork_rng(devices=devices):
        for training in (False, True):
            if training and (of_batch or runner.module is None):
                continue  # the program declares that it couples rows, or has no modes
            with tried_in_mode(runner.module, training=training):
                _compare(runner, rows, training=training)


def _compare(runner: Runner, rows: Rows, *, training: bool) -> None:
    pair = runner.run(rows)
    shared = values_of(pair.global_guide)
    drawn = {
        name: (site["value"], plate_dim(site, DATA) - len(site["fn"].event_shape))
        for name, site in sites_of(pair.guide)
    }

    def terms(chosen: list[int], relative: float = 0.0) -> dict[str, Tensor]:
        index = torch.tensor(chosen, device=rows.x.device)
        values = {name: value.index_select(dim, index) for name, (value, dim) in drawn.items()}
        if relative:
            values = {name: value * (1 + relative) for name, value in values.items()}
        at = runner.terms_at(shared | values, rows[index], particles=1)
        return {"log p(x|z)": at.log_px_z, "log p(z)": at.log_pz, "log q(z|x)": at.log_qz}

    def of_term(name: str) -> Coupling | None:
        return coupling(lambda chosen: [terms(chosen)[name].mT])  # rows first

    try:
        if coupling(lambda chosen: [term.mT for term in terms(chosen).values()]) is None:
            return
        ways = {name: of_term(name) for name in ("log p(x|z)", "log p(z)", "log q(z|x)")}
    except (ValueError, TypeError, RuntimeError, IndexError):
        return  # it needs particular rows together, such as a label of every class
    for name, way in ways.items():
        if way is not None and way.size > 10 * _rounding(partial(terms, [0, 1]), name):
            mode = " in training mode" if training else ""
            raise InputError(
                f"the program lets the rows of a batch influence each other{mode} ({name} of {way}): "
                f"{cure(runner.module, training=training)}"
            )


def _rounding(terms: Callable[[float], dict[str, Tensor]], name: str) -> float:
    """The change of a term if its latents change by a few units of rounding.

    A density far from its mode, in units of a narrow spread, changes by more than its own rounding.
    """
    with suppress(Exception):  # latents that cannot be scaled, such as states
        near = terms(4 * torch.finfo(torch.float32).eps)[name]
        return float(torch.nan_to_num(near - terms(0.0)[name]).abs().max())
    return 0.0
