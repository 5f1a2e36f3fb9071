r"""Global sites: latent variables outside the plate "data", which all rows share.

    p(w) prod_n p(z_n) p(x_n | z_n, w)        q(w) prod_n q(z_n | x_n)

    log p(D) >= E_q(w)[ sum_n L(x_n | w) ] - KL(q(w) || p(w))

L(x_n | w) is any bound on log p(x_n | w). log p(w) - log q(w) counts once for the data set, so an
objective adds 1/N of it to each row. It is kept separate from the terms of the rows, so that it is
in no importance weight.

The particles of a row share one sample of w ("shared"), or each has a sample of its own ("own").
For "own", the program has to broadcast over a dimension of particles, as for Pyro's
`vectorize_particles`.

Reference:
    Kingma & Welling (2014), "Auto-Encoding Variational Bayes", appendix F; Hoffman et al. (2013),
    "Stochastic Variational Inference".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae.terms.sites import PARTICLES, is_global, sites_of

__all__ = ["Fixed", "ParticlePlate", "Weights", "apart", "global_names", "held", "log_ratio", "values_of"]

Weights = Literal["auto", "shared", "own"]


class Fixed(Messenger):
    """Sets latent sites to the values of a mapping."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = True


class ParticlePlate(pyro.plate):
    """The plate of particles; global sites that the particles share are outside of it.

    Arguments:
        count: K.
        dim: its dimension, left of the program's own plates.
        shared: whether a global site has one value for all particles.
    """

    def __init__(self, count: int, dim: int, *, shared: bool = True) -> None:
        super().__init__(PARTICLES, count, dim=dim)
        self.shared = shared

    def _process_message(self, msg: Any) -> None:  # noqa: ANN401
        # The program's own plates are inside this one and have already marked the message.
        if not (self.shared and msg["type"] == "sample" and is_global(msg)):
            super()._process_message(msg)


def apart(trace: poutine.Trace) -> tuple[poutine.Trace, poutine.Trace | None]:
    """Split a trace into one without global sites and one with only these, or None."""
    names = [name for name, site in sites_of(trace) if is_global(site)]
    if not names:
        return trace, None
    local, of_all = trace.copy(), trace.copy()
    for name in list(trace.nodes):
        (local if name in names else of_all).remove_node(name)
    return local, of_all


def values_of(trace: poutine.Trace | None) -> dict[str, Tensor]:
    """The values of the sites of a trace of global sites."""
    return {} if trace is None else {name: site["value"] for name, site in sites_of(trace)}


def global_names(*traces: poutine.Trace) -> list[str]:
    """The names of all global sites of these traces, in order."""
    names = [name for trace in traces for name, site in sites_of(trace) if is_global(site)]
    return list(dict.fromkeys(names))


def log_ratio(model: poutine.Trace | None, guide: poutine.Trace | None) -> Tensor | None:
    """log p(w) - log q(w) of all global sites, (K,) or (1,); None without such sites."""
    if model is None and guide is None:
        return None
    logs = [_log_prob(site) for _, site in sites_of(model)] if model is not None else []
    logs += [-_log_prob(site) for _, site in sites_of(guide)] if guide is not None else []
    return sum(logs[1:], logs[0])


def _log_prob(site: dict[str, Any]) -> Tensor:
    """The log-density of a site, summed over all plates except that of particles, (K,) or (1,)."""
    with _as_validated(site["fn"]):
        log_p = scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"])
    frame = next((f for f in site["cond_indep_stack"] if f.name == PARTICLES), None)
    if frame is None:
        return log_p.sum().reshape(1)
    others = [d for d in range(-log_p.dim(), 0) if d != frame.dim]
    return log_p.sum(others) if others else log_p


@contextmanager
def _as_validated(fn: Any) -> Iterator[None]:  # noqa: ANN401
    """Check values only if Pyro does so now; a `PyroSample` keeps the setting of its creation."""
    parts = [fn]
    while hasattr(parts[-1], "base_dist"):
        parts.append(parts[-1].base_dist)
    before = [part.__dict__.get("_validate_args") for part in parts]
    if not torch.distributions.Distribution._validate_args:
        for part in parts:
            part._validate_args = False
    try:
        yield
    finally:
        for part, old in zip(parts, before, strict=True):
            if old is None:
                part.__dict__.pop("_validate_args", None)
            else:
                part._validate_args = old


def held(program: Callable, values: Mapping[str, Tensor], names: Iterable[str]) -> Callable:
    """A model or guide whose global sites have given values and are no longer sites.

    Arguments:
        program: a Pyro callable.
        values: the values of latent global sites.
        names: all global sites, including auxiliary sites and factors.
    """
    names = list(names)

    @wraps(program)
    def fixed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with poutine.block(hide=names), Fixed(values):
            return program(*args, **kwargs)

    return fixed if names else program
