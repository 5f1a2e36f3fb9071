"""Check that the global sites of a program are the same for all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.terms.global_sites import Fixed, apart, values_of
from pyrovae.terms.sites import distribution_name, refuse_auxiliary, sites_of

__all__ = ["check_global_sites", "check_own_weights"]


@torch.no_grad()
def check_global_sites(model: Callable, guide: Callable, rows: Rows) -> None:
    """Refuse global sites whose shape, p(w) or q(w) depends on the rows of the batch.

    Such a site is a local one that was left outside the plate "data", or its guide reads the batch.
    An auxiliary site a of the guide may only be used to compute the values of others, as in
    w = f(a).

    Raises:
        InputError: with the name of the first such site.
    """
    with torch.random.fork_rng(devices=[rows.x.device] if rows.x.is_cuda else []):
        _, drawn = apart(poutine.trace(guide).get_trace(*rows.arguments))
        values = values_of(drawn)
        _check_auxiliary(model, guide, values, rows)
        few = [_at(model, guide, values, some) for some in (rows, rows[:1], rows[len(rows) - 1 :])]
    for other in few[1:]:
        for name in few[0]:
            if name not in other or not _same(few[0][name], other[name]):
                raise InputError(
                    f"the site {name!r} is outside the plate 'data', so all rows share it, and its "
                    "distribution depends on the rows of the batch: put every local site inside "
                    "`with pyro.plate('data', len(x))`, and do not read rows in the guide of a shared one"
                )


def _check_auxiliary(model: Callable, guide: Callable, values: dict[str, Tensor], rows: Rows) -> None:
    """Refuse an auxiliary site on which another density depends, or on which no value depends."""
    sites = _at(model, guide, values, rows)
    for name, value in values.items():
        if len(sites.get(name, "")) == 1 and sites[name][0]["infer"].get("is_auxiliary"):
            free = [n for n in values if n != name and not _is_delta(sites[n][0])]
            moved = {n: values[n] for n in free} | {name: value + 0.1}
            with Fixed(moved):
                trace: Any = poutine.trace(guide).get_trace(*rows.arguments)
            changed = {n for n in values if not torch.equal(trace.nodes[n]["value"], values[n])}
            densities = all(_same([sites[n][0]], [trace.nodes[n]]) for n in free)
            if changed == {name} or not densities:
                refuse_auxiliary(name)


def _is_delta(site: dict[str, Any]) -> bool:
    return distribution_name(site["fn"]) == "Delta"


def _at(model: Callable, guide: Callable, values: dict[str, Tensor], rows: Rows) -> dict[str, Any]:
    """The site of the guide and the model of each global variable, at given values."""
    with Fixed(values):
        try:
            traces = [poutine.trace(guide).get_trace(*rows.arguments)]
            traces.append(poutine.trace(poutine.replay(model, trace=traces[0])).get_trace(*rows.arguments))
        except (ValueError, RuntimeError):  # the values have the shape of other rows
            return {}
    found: dict[str, Any] = {}
    for trace in traces:
        _, of_all = apart(trace)
        for name, site in sites_of(of_all) if of_all is not None else ():
            found.setdefault(name, []).append(site)
    return found


def _same(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> bool:
    if len(one) != len(two):
        return False
    for a, b in zip(one, two, strict=True):
        if a["fn"].event_shape != b["fn"].event_shape or a["fn"].batch_shape != b["fn"].batch_shape:
            return False
        if a["infer"].get("is_auxiliary") and not a["is_observed"]:
            continue  # sampled again, since other sites are functions of it
        first, second = (site["fn"].log_prob(site["value"]) for site in (a, b))
        if not torch.allclose(first, second, rtol=1e-4, atol=1e-4, equal_nan=True):
            return False
    return True


@torch.no_grad()
def check_own_weights(runner: Any, rows: Rows) -> None:  # noqa: ANN401
    """Refuse a program that does not broadcast over particles with global sites of their own.

    The terms of two particles are compared with the terms of each particle alone.

    Raises:
        InputError: with what to use instead.
    """
    cure = "its global sites do not broadcast over particles: use weights='shared'"
    with torch.random.fork_rng(devices=[rows.x.device] if rows.x.is_cuda else []):
        try:
            together = runner.run(rows, particles=2, weights="own")
            values = {**values_of(together.guide), **values_of(together.global_guide)}
            if not torch.isfinite(together.terms().log_w).all():
                return
            for k in range(2):
                alone = {name: value[k : k + 1] for name, value in values.items()}
                with Fixed(alone):
                    one = runner.run(rows, particles=1, weights="own").terms().log_w
                if not torch.allclose(one[0], together.terms().log_w[k], rtol=1e-3, atol=1e-3):
                    raise InputError(cure)
        except (ValueError, RuntimeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{cure} ({str(error).splitlines()[0]})") from None
