"""Reading and checking the sites of a trace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample

from pyrovae.errors import InputError

__all__ = [
    "DATA",
    "PARTICLES",
    "check_enumerated",
    "check_gradients",
    "check_sites",
    "data_size",
    "depth",
    "is_enumerated",
    "is_global",
    "plate_dim",
    "refuse_auxiliary",
    "distribution_name",
    "refuse_undeclared_event",
    "sites_of",
]

DATA = "data"
_MISMATCH = re.compile(r"Shape mismatch inside plate\('data'\) at site (\S+) dim -1, \d+ vs (\d+)")
PARTICLES = "particles"


def check_gradients(guide: poutine.Trace) -> None:
    """Refuse learned sites that are not reparameterised: the gradient would lack a term.

    Raises:
        InputError: for the first such site of the guide's trace.
    """
    for name, site in sites_of(guide):
        fn, value = site["fn"], site["value"]
        if "log_v" in site["infer"]:  # its gradient comes from the weights of its strata
            continue
        if not fn.has_rsample and torch.is_grad_enabled() and fn.log_prob(value).requires_grad:
            raise InputError(
                f"the guide's site {name!r} is drawn from {distribution_name(fn)} with learned parameters "
                "and gives no gradient: use a reparameterised distribution (has_rsample), an objective "
                "that needs none (ScoreFunction, ReweightedWakeSleep), or sum the site out in the model"
            )


def distribution_name(fn: Any) -> str:  # noqa: ANN401
    """The name of a site's distribution, without wrappers such as Independent."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return type(fn).__name__


def sites_of(trace: poutine.Trace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sample sites of a trace by name, without subsampling and deterministic ones."""
    site: Any
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or site_is_subsample(site) or site["infer"].get("_deterministic"):
            continue
        yield name, site


def plate_dim(site: dict[str, Any], name: str) -> int:
    """The dimension of a plate around a site, counted from the right.

    Raises:
        InputError: when the site is outside the plate.
    """
    for frame in site["cond_indep_stack"]:
        if frame.name == name:
            return frame.dim
    raise InputError(
        f"the site {site['name']!r} is outside the plate {name!r}: put every local site inside "
        f"`with pyro.plate('data', len(x))`, and declare a variable that all rows share as one event with "
        ".to_event()"
    )


def is_global(site: Any) -> bool:  # noqa: ANN401
    """Whether a site is outside the plate "data", so that all rows share it."""
    return all(frame.name != DATA for frame in site["cond_indep_stack"])


def depth(site: dict[str, Any]) -> int:
    """The number of batch dimensions of the plates around a site."""
    return max((-frame.dim for frame in site["cond_indep_stack"] if frame.vectorized), default=0)


def data_size(trace: poutine.Trace) -> int:
    """The size of the data plate."""
    for _, site in sites_of(trace):
        log_p_shape = site["fn"].batch_shape
        return log_p_shape[plate_dim(site, DATA)]
    raise InputError("the model has no sample site, so there is nothing to score")


def check_sites(model: poutine.Trace, guide: poutine.Trace) -> None:
    """Refuse sites that cannot be scored, and a guide whose sites do not match the model's.

    Raises:
        InputError: for the first such site.
        ValueError: for a site with several values for a row that are not declared as one event.
    """
    _check_same_plates(dict(sites_of(model)), dict(sites_of(guide)))
    for _, site in (*sites_of(model), *sites_of(guide)):
        if is_global(site):
            _check_global(site)
        check_enumerated(site)
        _check_whole(site)
    latent = {name for name, site in sites_of(model) if not site["is_observed"] and not is_enumerated(site)}
    drawn = {name for name, _ in sites_of(guide)}
    if latent - drawn:
        raise InputError(
            f"the guide has no site {min(latent - drawn)!r}: every latent site of the model needs one"
        )
    auxiliary = {name for name, site in sites_of(guide) if site["infer"].get("is_auxiliary")}
    if drawn - latent - auxiliary:
        name = min(drawn - latent - auxiliary)
        raise InputError(
            f"the model has no latent site {name!r}, which the guide draws: add it to the model or remove it"
        )
    for of_all in (False, True):
        at = {name: site for name, site in sites_of(guide) if is_global(site) is of_all}
        _check_auxiliary(at, latent, auxiliary - latent)
    if not any(site["is_observed"] and not is_global(site) for _, site in sites_of(model)):
        raise InputError("the model observes nothing: pass the data as `obs=` of a sample site")
    for _, site in (*sites_of(model), *sites_of(guide)):
        _check_event(site)


def _check_same_plates(model: dict[str, Any], guide: dict[str, Any]) -> None:
    """Refuse a site that is outside the plate "data" in only one of model and guide."""
    for name in model.keys() & guide.keys():
        pair = (model[name], guide[name])
        if is_global(pair[0]) != is_global(pair[1]):
            plate_dim(pair[0] if is_global(pair[0]) else pair[1], DATA)  # raises an error


def _check_global(site: dict[str, Any]) -> None:
    """Refuse a site outside the plate "data" that is not one latent variable for all rows."""
    is_factor = distribution_name(site["fn"]) == "Unit"
    shape = tuple(site["fn"].batch_shape)
    has_rows = not is_factor and max(shape[: len(shape) - depth(site)], default=1) > 1
    if (site["is_observed"] and not is_factor) or has_rows:
        plate_dim(site, DATA)  # raises an error
    if is_enumerated(site) or (not site["is_observed"] and _is_discrete(site["fn"])):
        raise InputError(
            f"the site {site['name']!r} is discrete and outside the plate 'data', and rows can share "
            "continuous variables only: put it inside the plate, or sum it out"
        )


def _check_whole(site: dict[str, Any]) -> None:
    """Refuse a site in a subsampled plate other than "data", since terms ignore its scale."""
    for frame in site["cond_indep_stack"]:
        if frame.name != DATA and frame.full_size != frame.size:
            raise InputError(
                f"the site {site['name']!r} is in the plate {frame.name!r}, which is subsampled, and terms "
                "are sums over whole plates: leave subsample_size out"
            )


def _is_discrete(fn: Any) -> bool:  # noqa: ANN401
    try:
        return bool(fn.support.is_discrete)
    except NotImplementedError:
        return False


def _check_auxiliary(sites: dict[str, Any], latent: set[str], alone: set[str]) -> None:
    """Refuse auxiliary sites without a counterpart, unless the latents are functions of them.

    The sites are either the guide's local sites or its global sites.

    A latent z = f(a) is a `Delta` whose log_density is the Jacobian, and q(z|x) is their product.
    Otherwise the numerator of the weight p(x, z) / q(z, a|x) would lack a density of a.
    """
    kinds = {distribution_name(site["fn"]) for name, site in sites.items() if name in latent}
    alone = alone & sites.keys()
    # For global sites, `check_global_sites` finds out which are functions of others.
    if alone and kinds != {"Delta"} and not ("Delta" in kinds and is_global(sites[min(alone)])):
        refuse_auxiliary(min(alone))


def refuse_auxiliary(name: str) -> NoReturn:
    """Refuse an auxiliary site of the guide.

    Raises:
        InputError: with what to do instead.
    """
    raise InputError(
        f"the guide's auxiliary site {name!r} has no counterpart in the model, so log p(x) would be too "
        "high: draw a site of this name in the model too, given z, or draw z in the guide as a Delta with "
        "the Jacobian as log_density"
    )


def refuse_undeclared_event(error: ValueError) -> None:
    """Name a forgotten `to_event`, if that is the reason for an error of Pyro's.

    Raises:
        ValueError: if it is.
    """
    place = _MISMATCH.match(str(error))
    if place is not None:
        raise ValueError(_undeclared(*place.groups())) from None


def _check_event(site: dict[str, Any]) -> None:
    """Refuse a site with a dimension that no plate and no event declares."""
    shape = tuple(site["fn"].batch_shape)
    if len(shape) > depth(site) and max(shape[: len(shape) - depth(site)]) > 1:
        raise ValueError(_undeclared(site["name"], shape[-1]))


def _undeclared(name: str, size: int | str) -> str:
    return (
        f"the site {name!r} has {size} values for a row, which are not one event: append .to_event(1) to "
        "its distribution, or give rows of single numbers"
    )


def check_enumerated(site: dict[str, Any]) -> None:
    """Refuse an enumerated site inside an inner plate."""
    # Terms are summed over inner plates first, which would put the sum over c outside their
    # product.
    inner = [f.name for f in site["cond_indep_stack"] if f.vectorized and f.name not in (DATA, PARTICLES)]
    if is_enumerated(site) and inner:
        raise InputError(
            f"the enumerated site {site['name']!r} is inside the plate {inner[0]!r}: sum it out in the "
            "distribution (MixtureSameFamily), or put it directly inside the plate 'data'"
        )


def is_enumerated(site: dict[str, Any]) -> bool:
    """Whether Pyro enumerates a site in parallel."""
    return site["infer"].get("enumerate") == "parallel"
