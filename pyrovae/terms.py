r"""Run any guide and model once and read the terms of every bound.

A guide draws K particles of the latent sites for each of B data; the model is replayed on them. What
an objective or an estimate of the evidence needs are three numbers for each particle and datum:

    log p(x|z)     the model's observed sites
    log p(z)       the model's latent sites
    log q(z|x)     the guide's sites
    log w = log p(x|z) + log p(z) - log q(z|x)

They are read from Pyro traces, site by site, and summed over everything but the particles and the plate
named "data". So they are right for any number of sites and for programs that PyroVAE did not build, and
never scaled: a scale inside a weight would raise it to a power.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.errors import InputError

__all__ = ["DATA", "PARTICLES", "Fixed", "Program", "Terms", "TracePair", "check_gradients", "run", "terms"]

DATA = "data"
PARTICLES = "particles"


class Terms(NamedTuple):
    """The log-density terms of K particles for each of B data, in nats, each of shape (K, B)."""

    log_px: Tensor
    log_pz: Tensor
    log_qz: Tensor

    @property
    def log_w(self) -> Tensor:
        """The logarithm of the importance weight p(x, z) / q(z|x), of shape (K, B)."""
        return self.log_px + self.log_pz - self.log_qz


class TracePair(NamedTuple):
    """The traces of a guide and of the model replayed on it, with the shape (K, B) of their terms."""

    guide: poutine.Trace
    model: poutine.Trace
    shape: tuple[int, int]

    def site_log_probs(self) -> dict[str, Tensor]:
        """For each site, keyed `p(name)` or `q(name)`, its log-density of shape (..., K, B).

        The dimensions to the left of (K, B) belong to enumerated sites.
        """
        found = {f"p({name})": self._log_prob(site) for name, site in _sites(self.model)}
        return found | {f"q({name})": self._log_prob(site) for name, site in _sites(self.guide)}

    def terms(self) -> Terms:
        """The sums over observed sites, latent sites and the guide's sites.

        Enumerated sites are summed out: log p(z) is a sum over them, log p(x|z) what is left of log p(x, z).
        """
        observed = [self._log_prob(s) for _, s in _sites(self.model) if s["is_observed"]]
        latent = [self._log_prob(s) for _, s in _sites(self.model) if not s["is_observed"]]
        guide = [self._log_prob(s) for _, s in _sites(self.guide)]
        log_pz, log_qz = (self._total(parts, observed[0]) for parts in (latent, guide))
        if any(log_p.dim() > 2 for log_p in observed):
            return Terms(self._total(observed + latent, observed[0]) - log_pz, log_pz, log_qz)
        return Terms(self._total(observed, observed[0]), log_pz, log_qz)

    def _total(self, parts: list[Tensor], like: Tensor) -> Tensor:
        flat = [log_p for log_p in parts if log_p.dim() == 2]
        summed_out = [log_p for log_p in parts if log_p.dim() > 2]
        if summed_out:
            joint = sum(summed_out[1:], summed_out[0])
            flat.append(torch.logsumexp(joint, list(range(joint.dim() - 2))))
        return sum(flat[1:], flat[0]) if flat else like.new_zeros(self.shape)

    def _log_prob(self, site: dict[str, Any]) -> Tensor:
        _check_enumerated(site)
        # Trace.compute_log_prob leaves poutine.mask out of "unscaled_log_prob", so it is applied here.
        log_p = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
        log_p = scale_and_mask(log_p, mask=site["mask"])
        # Left of the particles are enumerated sites, right of them the data and inner plates.
        particles, data = _plate_dim(site, PARTICLES), _plate_dim(site, DATA)
        others = [d for d in range(particles, 0) if d not in (particles, data)]
        log_p = log_p.sum(others) if others else log_p
        return log_p.expand(torch.broadcast_shapes(log_p.shape, self.shape))


class Fixed(Messenger):
    """Gives latent sites the values of a mapping instead of drawing them."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = True


class Program:
    """A model and a guide, with what must be known of them before they run under particles.

    Arguments:
        target: an object with `.model` and `.guide` (a VAE, an oracle), or a pair of Pyro callables
            whose local sites stand inside one plate named "data".

    Raises:
        InputError: when it is neither.
    """

    def __init__(self, target: Any) -> None:  # noqa: ANN401
        self.target = target
        self.max_plate_nesting = 1
        if isinstance(target, tuple) and len(target) == 2 and all(map(callable, target)):
            self.model, self.guide = target
        elif callable(getattr(target, "model", None)) and callable(getattr(target, "guide", None)):
            self.model, self.guide = target.model, target.guide
        else:
            raise InputError(
                f"{type(target).__name__} is no probabilistic program: give a VAE, or a pair (model, guide) "
                "of Pyro functions with their local sites in a plate named 'data'"
            )

    @property
    def module(self) -> torch.nn.Module | None:
        """The module that owns all parameters, or None when they live in Pyro's parameter store."""
        return self.target if isinstance(self.target, torch.nn.Module) else None

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Leave Pyro's parameter store as it was, when the program owns its parameters itself."""
        if self.module is None:
            yield
            return
        with pyro.get_param_store().scope():
            yield

    def check(self, x: Tensor, context: Tensor | None = None, *, gradients: bool = False) -> Program:
        """Run the program once on two data, refuse what cannot be weighed, and note its plates.

        Arguments:
            x: data (N, *event), of which two are looked at.
            context: theirs.
            gradients: refuse also what cannot be trained.

        Raises:
            InputError: for a local site outside the plate "data", a site that the guide lacks or that
                the model lacks, or, with `gradients`, learned draws of the guide that give no gradient;
                for a module, a parameter in Pyro's store that is not its own.
        """
        args = arguments(x[:2], None if context is None else context[:2])
        with self.isolated(), torch.random.fork_rng(devices=_devices(x)), torch.set_grad_enabled(gradients):
            try:
                guide = poutine.trace(self.guide).get_trace(*args)
                model = poutine.trace(poutine.replay(self.model, trace=guide)).get_trace(*args)
            except InputError as error:  # Pyro appends the shapes of a trace to it
                raise InputError(str(error).splitlines()[0]) from None
            _check_sites(model, guide)
            check_gradients(guide)
            self._check_owned()
        self.max_plate_nesting = max(1, *(_depth(site) for t in (model, guide) for _, site in _sites(t)))
        return self

    def _check_owned(self) -> None:
        """Refuse what a module keeps in the store of `isolated`, which is thrown away with it."""
        if self.module is None:
            return
        own = {id(p) for p in self.module.parameters()}
        # `items()` gives constrained values; the store's own tensors are the parameters themselves.
        for name, value in pyro.get_param_store()._params.items():
            if id(value) not in own:
                raise InputError(
                    f"the parameter {name!r} lives in Pyro's store, not in the {type(self.target).__name__} "
                    "and would be lost: register it as an nn.Parameter, or give a pair (model, guide)"
                )

    def run(self, x: Tensor, context: Tensor | None = None, *, particles: int = 1) -> TracePair:
        """`run` on this program's model and guide."""
        return run(
            self.model,
            self.guide,
            *arguments(x, context),
            particles=particles,
            max_plate_nesting=self.max_plate_nesting,
        )

    def terms(self, x: Tensor, context: Tensor | None = None, *, particles: int = 1) -> Terms:
        """`terms` of this program for data x of shape (B, *event)."""
        return self.run(x, context, particles=particles).terms()

    def terms_at(
        self, values: Mapping[str, Tensor], x: Tensor, context: Tensor | None = None, *, particles: int
    ) -> Terms:
        """The terms at given values of the latent sites, each (K, B, *shape)."""
        with Fixed(values):
            return self.terms(x, context, particles=particles)

    def joint_at(
        self, values: Mapping[str, Tensor], x: Tensor, context: Tensor | None = None, *, particles: int
    ) -> Terms:
        """The model's terms at given values; the guide does not run, and log q(z|x) is zero."""
        with Fixed(values):
            return run(
                self.model,
                _no_guide,
                *arguments(x, context),
                particles=particles,
                max_plate_nesting=self.max_plate_nesting,
            ).terms()

    def prior_draws(self, x: Tensor, context: Tensor | None = None, *, particles: int) -> dict[str, Tensor]:
        """Values of the guide's sites drawn from the model's prior, each (K, B, *shape)."""
        plate = pyro.plate(PARTICLES, particles, dim=-1 - self.max_plate_nesting)
        with plate:
            model = poutine.trace(self.model).get_trace(*arguments(x, context))
        return {
            name: site["value"]
            for name, site in _sites(model)
            if not site["is_observed"] and not _enumerated(site)
        }


def run(
    model: Callable,
    guide: Callable,
    *args: Any,  # noqa: ANN401
    particles: int = 1,
    max_plate_nesting: int = 1,
    **kwargs: Any,  # noqa: ANN401
) -> TracePair:
    """Trace the guide under a plate of K particles and replay the model on its draws.

    Arguments:
        model, guide: Pyro callables; `args` and `kwargs` are theirs.
        particles: K.
        max_plate_nesting: the depth of the program's own plates; particles go one dimension further left.
    """
    plate = pyro.plate(PARTICLES, particles, dim=-1 - max_plate_nesting)
    with plate:
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    enumerated = poutine.enum(poutine.replay(model, trace=guide_trace), -2 - max_plate_nesting)
    with plate:
        model_trace = poutine.trace(enumerated).get_trace(*args, **kwargs)
    return TracePair(guide_trace, model_trace, (particles, _data_size(model_trace)))


def terms(
    model: Callable,
    guide: Callable,
    *args: Any,  # noqa: ANN401
    particles: int = 1,
    max_plate_nesting: int = 1,
    **kwargs: Any,  # noqa: ANN401
) -> Terms:
    r"""The terms log p(x|z), log p(z), log q(z|x) of K draws z ~ q, each of shape (K, B).

    Example:
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


def arguments(x: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
    """The positional arguments of a model: (x,) or (x, context)."""
    return (x,) if context is None else (x, context)


def _no_guide(*_: Any) -> None:  # noqa: ANN401
    """The guide of a model whose latents are all given."""


def check_gradients(guide: poutine.Trace) -> None:
    """Refuse learned draws that are not reparameterised: the gradient of a bound would lack a term.

    Raises:
        InputError: for the first such site of the guide's trace.
    """
    for name, site in _sites(guide):
        fn, value = site["fn"], site["value"]
        if not fn.has_rsample and torch.is_grad_enabled() and fn.log_prob(value).requires_grad:
            raise InputError(
                f"the guide's site {name!r} is drawn from {_law(fn)} with learned parameters and gives no "
                "gradient: use a reparameterised distribution (has_rsample), or sum the site out in the model"
            )


def _law(fn: Any) -> str:  # noqa: ANN401
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return type(fn).__name__


def _sites(trace: poutine.Trace) -> Iterator[tuple[str, dict[str, Any]]]:
    site: Any
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or site_is_subsample(site) or site["infer"].get("_deterministic"):
            continue
        yield name, site


def _plate_dim(site: dict[str, Any], name: str) -> int:
    for frame in site["cond_indep_stack"]:
        if frame.name == name:
            return frame.dim
    raise InputError(
        f"the site {site['name']!r} stands outside the plate {name!r}: put every local site inside "
        f"`with pyro.plate('data', len(x))`"
    )


def _depth(site: dict[str, Any]) -> int:
    return max((-frame.dim for frame in site["cond_indep_stack"] if frame.vectorized), default=0)


def _data_size(trace: poutine.Trace) -> int:
    for _, site in _sites(trace):
        log_p_shape = site["fn"].batch_shape
        return log_p_shape[_plate_dim(site, DATA)]
    raise InputError("the model has no sample site: nothing to weigh")


def _check_sites(model: poutine.Trace, guide: poutine.Trace) -> None:
    for _, site in (*_sites(model), *_sites(guide)):
        _plate_dim(site, DATA)
        _check_enumerated(site)
    latent = {name for name, site in _sites(model) if not site["is_observed"] and not _enumerated(site)}
    drawn = {name for name, site in _sites(guide) if not site["infer"].get("is_auxiliary")}
    if latent - drawn:
        raise InputError(
            f"the guide has no site {min(latent - drawn)!r}: every latent site of the model needs one"
        )
    if drawn - latent:
        raise InputError(f"the model has no latent site {min(drawn - latent)!r}, which the guide draws")
    if not any(site["is_observed"] for _, site in _sites(model)):
        raise InputError("the model observes nothing: pass the data as `obs=` of a sample site")


def _check_enumerated(site: dict[str, Any]) -> None:
    # Terms are summed over inner plates first: a sum over c would then stand outside their product.
    inner = [f.name for f in site["cond_indep_stack"] if f.vectorized and f.name not in (DATA, PARTICLES)]
    if _enumerated(site) and inner:
        raise InputError(
            f"the enumerated site {site['name']!r} stands inside the plate {inner[0]!r}: sum it out in the "
            "distribution (MixtureSameFamily), or put it directly inside the plate 'data'"
        )


def _enumerated(site: dict[str, Any]) -> bool:
    return site["infer"].get("enumerate") == "parallel"


def _devices(x: Tensor) -> list[torch.device]:
    return [x.device] if x.device.type == "cuda" else []
