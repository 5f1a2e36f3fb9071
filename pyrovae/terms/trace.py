"""Traces of a guide and of the model replayed on it, and their terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.errors import InputError, deprecated
from pyrovae.numerics import log_mean_exp, log_sum_exp, without_negligible
from pyrovae.terms.draws import Detached, Draws, Routing, Stratified
from pyrovae.terms.global_sites import (
    Fixed,
    ParticlePlate,
    Weights,
    apart,
    global_names,
    held,
    log_ratio,
    values_of,
)
from pyrovae.terms.sites import (
    DATA,
    PARTICLES,
    check_enumerated,
    data_size,
    distribution_name,
    is_enumerated,
    plate_dim,
    sites_of,
)
from pyrovae.threads import alone

__all__ = ["Fixed", "Latent", "Terms", "TracePair", "run", "terms"]


class Terms(NamedTuple):
    """The log-density terms of K particles for each of B observations, in nats, of shape (K, B).

    `log_v` is the logarithm of the weight of a stratified particle in a mean; None is 0.
    `log_global` is log p(w) - log q(w) of global sites w, (K,) or (1,), once for the data set; None
    without such sites. It is not included in `log_w`.
    """

    log_px_z: Tensor
    log_pz: Tensor
    log_qz: Tensor
    log_v: Tensor | None = None
    log_global: Tensor | None = None

    @property
    def log_px(self) -> Tensor:
        """Deprecated name of `log_px_z`."""
        deprecated("Terms.log_px", "Terms.log_px_z, log p(x|z)")
        return self.log_px_z

    @property
    def log_w(self) -> Tensor:
        """The logarithm of the importance weight p(x, z) / q(z|x), of shape (K, B)."""
        return self.log_px_z + self.log_pz - self.log_qz

    def mean(self, values: Tensor) -> Tensor:
        """The mean over particles, (K, ..., B) -> (..., B)."""
        return (values if self.log_v is None else values * without_negligible(self.log_v).exp()).mean(0)

    def log_weights(self) -> Tensor:
        """`log_w` with the weights of the strata; its log-mean-exp estimates log p(x)."""
        return self.log_w if self.log_v is None else self.log_w + self.log_v

    def log_mean_w(self) -> Tensor:
        """The logarithm of the mean importance weight, (B,)."""
        return log_mean_exp(self.log_weights(), 0)


class Latent(NamedTuple):
    """The only latent site of a program: its name, its values (K, B, *event), q(z|x) and p(z)."""

    name: str
    value: Tensor
    q: Any
    p: Any


class _Call(NamedTuple):
    """The arguments of `run`, to run model or guide again."""

    model: Callable
    guide: Callable
    args: tuple
    kwargs: dict
    particles: int
    max_plate_nesting: int
    shared: bool = True

    def plate(self) -> ParticlePlate:
        return ParticlePlate(self.particles, -1 - self.max_plate_nesting, shared=self.shared)


@dataclass(frozen=True, eq=False)
class TracePair:
    """The traces of a guide and of the model replayed on it.

    Attributes:
        guide, model: the traces, without global sites.
        shape: (K, B), of the terms.
        routing: receives the weights of "routed" samples.
        global_guide, global_model: the traces of the global sites, or None.
    """

    guide: poutine.Trace
    model: poutine.Trace
    shape: tuple[int, int]
    call: _Call
    routing: Routing | None = None
    global_guide: poutine.Trace | None = None
    global_model: poutine.Trace | None = None

    def site_log_probs(self) -> dict[str, Tensor]:
        """For each site, keyed `p(name)` or `q(name)`, its log-density of shape (..., K, B).

        The dimensions to the left of (K, B) belong to enumerated sites.
        """
        of_model = {f"p({name})": self._log_prob(site) for name, site in sites_of(self.model)}
        return of_model | {f"q({name})": self._log_prob(site) for name, site in sites_of(self.guide)}

    @property
    def globals(self) -> list[poutine.Trace]:
        """The traces of the global sites, of the guide and the model, where there are any."""
        return [trace for trace in (self.global_guide, self.global_model) if trace is not None]

    @cached_property
    def log_global(self) -> Tensor | None:
        """log p(w) - log q(w) of the global sites, (K,) or (1,); None without such sites."""
        return log_ratio(self.global_model, self.global_guide)

    def terms(self) -> Terms:
        """The sums over observed sites, latent sites and the guide's sites.

        Enumerated sites are summed out of log p(x, z) and log p(z); log p(x|z) is their difference.
        """
        return self._terms

    @cached_property
    def _terms(self) -> Terms:
        log_px_z, log_pz = self._of_model(self.model)
        log_qz = self._of_guide(self.guide, log_px_z)
        return Terms(log_px_z, log_pz, log_qz, self._log_v(), self.log_global)

    def score(self) -> Tensor:
        """log q(z|x) at detached samples, (K, B): its gradient is the score of the guide."""
        drawn = {name: site["value"].detach() for name, site in sites_of(self.guide)}
        sites = list(sites_of(self.guide))
        if len(sites) == 1:
            return self._log_prob(sites[0][1] | {"value": drawn[sites[0][0]]})
        with alone, Fixed(drawn), self.call.plate():
            guide = poutine.trace(self.call.guide).get_trace(*self.call.args, **self.call.kwargs)
        return self._of_guide(guide, next(iter(drawn.values())))

    def joint_apart(self) -> Tensor:
        """log p(x, z) at detached samples, (K, B): its gradient is the model's only."""
        drawn = {name: site["value"].detach() for name, site in sites_of(self.guide)}
        return sum(self._of_model(self._model_at(drawn)))  # type: ignore[return-value]

    def means(self, x: Tensor | None = None) -> dict[str, Tensor]:
        """The mean of each latent of the guide, by site, each (K, B, *event).

        Arguments:
            x: what the guide reads; by default it has read the data.

        Raises:
            InputError: for a guide whose mean is not known, or whose latents are discrete.
        """
        sites = dict(sites_of(self.guide))
        if x is None and len(sites) == 1:
            return {name: mean_of(site["fn"]) for name, site in sites.items()}
        args = self.call.args if x is None else (x, *self.call.args[1:])
        with alone, AtMeans(), self.call.plate():
            guide = poutine.trace(self.call.guide).get_trace(*args, **self.call.kwargs)
        return {name: site["value"] for name, site in sites_of(guide)}

    def log_px_at(self, values: Mapping[str, Tensor]) -> Tensor:
        """log p(x|z) at values of the guide's latents, (K, B)."""
        return self._of_model(self._model_at(values))[0]

    def _model_at(self, values: Mapping[str, Tensor]) -> poutine.Trace:
        model = poutine.enum(self.call.model, -2 - self.call.max_plate_nesting)
        with alone, Fixed(values), self.call.plate():
            return poutine.trace(model).get_trace(*self.call.args, **self.call.kwargs)

    def dreamt(self) -> Tensor:
        """log q(z|x) of pairs (z, x) drawn from the model, (K, B): the objective of a sleep phase.

        Raises:
            InputError: when the model does not draw the x that the guide reads.
        """
        x, *others = self.call.args
        with alone, torch.no_grad(), self.call.plate():
            free = poutine.uncondition(self.call.model)
            dream = poutine.trace(free).get_trace(x, *others, **self.call.kwargs)
        observed = {name for name, site in sites_of(self.model) if site["is_observed"]}
        latent = {name: site["value"] for name, site in sites_of(dream) if name not in observed}
        drawn = [site["value"] for name, site in sites_of(dream) if name in observed]
        if len(drawn) != 1 or drawn[0].shape[2:] != x.shape[1:]:
            raise InputError(
                "a sleep phase needs a model with one observed site, of the shape of the data that the guide "
                "reads: leave it out with insomnia=1"
            )
        # A guide reads one x per observation, so the particles become rows of a longer batch.
        rows = drawn[0].flatten(0, 1).to(x.dtype)
        count = len(rows) // len(x)
        flat = {name: z.reshape(1, len(rows), *z.shape[2:]) for name, z in latent.items()}
        context = [c.repeat(count, *[1] * (c.dim() - 1)) if isinstance(c, Tensor) else c for c in others]
        with alone, Fixed(flat), ParticlePlate(1, -1 - self.call.max_plate_nesting):
            guide = poutine.trace(self.call.guide).get_trace(rows, *context, **self.call.kwargs)
        logs = [self._log_prob(site, (1, len(rows))) for _, site in sites_of(guide)]
        return sum(logs[1:], logs[0]).reshape(count, len(x))

    def latent(self, who: str) -> Latent:
        """The one latent site, for an objective that needs p(z) and q(z|x) as distributions.

        Raises:
            InputError: when there are several, it is not a vector, or the model sums a site out.
        """
        sites = list(sites_of(self.guide))
        if len(sites) != 1 or len(sites[0][1]["fn"].event_shape) != 1:
            raise InputError(f"{who} needs a program with one latent vector z, as a VAE has")
        summed = next((n for n, s in sites_of(self.model) if is_enumerated(s)), None)
        if summed is not None:
            raise InputError(
                f"{who} needs the distribution of z, and this program sums out the site {summed!r}: "
                "declare the prior without explicit= and labels="
            )
        name, site = sites[0]
        q: Any = site["fn"]
        p: Any = self.model.nodes[name]["fn"]  # a replayed site is not broadcast to the particles
        return Latent(name, site["value"], q, p.expand(q.batch_shape))

    # ---------------------------------------------------------------- sums

    def _of_model(self, model: poutine.Trace) -> tuple[Tensor, Tensor]:
        """log p(x|z) and log p(z)."""
        observed = [self._log_prob(s) for _, s in sites_of(model) if s["is_observed"]]
        latent = [self._log_prob(s) for _, s in sites_of(model) if not s["is_observed"]]
        log_pz = self._total(latent, observed[0])
        if any(log_p.dim() > 2 for log_p in observed):
            return self._total(observed + latent, observed[0]) - log_pz, log_pz
        return self._total(observed, observed[0]), log_pz

    def _of_guide(self, guide: poutine.Trace, like: Tensor) -> Tensor:
        return self._total([self._log_prob(s) for _, s in sites_of(guide)], like)

    def _log_v(self) -> Tensor | None:
        log_v = [site["infer"]["log_v"] for _, site in sites_of(self.guide) if "log_v" in site["infer"]]
        return log_v[0].reshape(self.shape) if log_v else None

    def _total(self, parts: list[Tensor], like: Tensor) -> Tensor:
        flat = [log_p for log_p in parts if log_p.dim() == 2]
        summed_out = [log_p for log_p in parts if log_p.dim() > 2]
        if summed_out:
            joint = sum(summed_out[1:], summed_out[0])
            flat.append(log_sum_exp(joint, list(range(joint.dim() - 2))))
        return sum(flat[1:], flat[0]) if flat else like.new_zeros(self.shape)

    def _log_prob(self, site: dict[str, Any], shape: tuple[int, int] | None = None) -> Tensor:
        check_enumerated(site)
        # "unscaled_log_prob" of Trace.compute_log_prob ignores poutine.mask, which is applied here.
        log_p = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
        log_p = scale_and_mask(log_p, mask=site["mask"])
        # Dimensions from the left: enumerated sites, particles, then the data and inner plates.
        particles, data = plate_dim(site, PARTICLES), plate_dim(site, DATA)
        others = [d for d in range(particles, 0) if d not in (particles, data)]
        log_p = log_p.sum(others) if others else log_p
        return log_p.expand(torch.broadcast_shapes(log_p.shape, shape or self.shape))


class AtMeans(Messenger):
    """Sets latent sites to their means; it must be outside the plates."""

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        if not (msg["is_observed"] or msg["done"] or site_is_subsample(msg)):
            msg["value"] = mean_of(msg["fn"])
            msg["done"] = True


def mean_of(latent: Any) -> Tensor:  # noqa: ANN401
    """The mean of the distribution of a latent.

    Raises:
        InputError: if it is not known, or not a value of the latent.
    """
    try:
        if latent.has_rsample:
            return latent.mean
    except NotImplementedError:
        pass
    raise InputError(
        f"an autoencoder needs the mean of q(z|x), and that of {distribution_name(latent)} is not known: use "
        "a guide such as DiagonalNormal"
    )


@alone
def run(
    model: Callable,
    guide: Callable,
    *args: Any,  # noqa: ANN401
    particles: int = 1,
    max_plate_nesting: int = 1,
    draws: Draws = "reparameterised",
    stratified: bool = False,
    weights: Weights = "shared",
    **kwargs: Any,  # noqa: ANN401
) -> TracePair:
    """Trace the guide under a plate of K particles and replay the model on its samples.

    Arguments:
        model, guide: Pyro callables; `args` and `kwargs` are theirs.
        particles: K.
        max_plate_nesting: the depth of the program's own plates; the plate of particles is left of
            them.
        draws: how gradients pass through samples (see `pyrovae.terms.draws`).
        stratified: draw from each stratum in turn, where K is a multiple of the number of strata.
        weights: whether the particles share one sample of the global sites, or each has its "own".
    """
    call = _Call(model, guide, args, kwargs, particles, max_plate_nesting, weights != "own")
    plate = call.plate()
    with ExitStack() as stack:  # outermost, to see distributions that the plates have expanded
        if draws == "detached":
            stack.enter_context(Detached())
        if stratified and draws == "reparameterised":
            stack.enter_context(Stratified())
        with plate:
            drawn = poutine.trace(guide).get_trace(*args, **kwargs)
    routing = Routing() if draws == "routed" else None
    routed = drawn if routing is None else routing(drawn)
    enumerated = poutine.enum(poutine.replay(model, trace=routed), -2 - max_plate_nesting)
    with plate:
        replayed = poutine.trace(enumerated).get_trace(*args, **kwargs)
    return _pair(drawn, replayed, call, routing)


def _pair(guide: poutine.Trace, model: poutine.Trace, call: _Call, routing: Routing | None) -> TracePair:
    """The traces without their global sites, whose values are kept if a program runs again."""
    (local_guide, global_guide), (local_model, global_model) = apart(guide), apart(model)
    if global_guide is not None or global_model is not None:
        names, values = global_names(guide, model), values_of(global_guide)
        call = call._replace(model=held(call.model, values, names), guide=held(call.guide, values, names))
    shape = (call.particles, data_size(local_model))
    return TracePair(local_guide, local_model, shape, call, routing, global_guide, global_model)


def terms(
    model: Callable,
    guide: Callable,
    *args: Any,  # noqa: ANN401
    particles: int = 1,
    max_plate_nesting: int = 1,
    **kwargs: Any,  # noqa: ANN401
) -> Terms:
    """The terms log p(x|z), log p(z), log q(z|x) of K samples z ~ q, each of shape (K, B).

    Example:
        >>> import pyro
        >>> import pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> log_w = terms(model, guide, torch.zeros(3), particles=2).log_w  # the guide is exact
        >>> torch.allclose(log_w, dist.Normal(0.0, 2**0.5).log_prob(torch.zeros(3)).expand(2, 3))
        True
    """
    return run(
        model, guide, *args, particles=particles, max_plate_nesting=max_plate_nesting, **kwargs
    ).terms()
