r"""Latents as one real vector, and the annealing path between a start and the joint.

    log f_t(u) = (1 - t) log start(u) + t log p(x, u),      t from 0 to 1

The start is the guide q(z|x) or the prior p(z). A latent site with a constrained support is mapped
to the real line, u = T^-1(z), and both densities are multiplied by the same Jacobian.

Densities and derivatives are computed eagerly, or by compiled code where this saves time
(`captured`). The D rows of second derivatives come from one batched backward pass through the
gradient.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import biject_to, constraints

from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.evidence.captured import Kind
from pyrovae.evidence.draws import BLOCK, KeyedDraws
from pyrovae.evidence.run import Pieces
from pyrovae.terms import DATA, PARTICLES, Terms
from pyrovae.terms.sites import plate_dim, sites_of

__all__ = [
    "DENSITIES",
    "FROM_GUIDE",
    "FROM_PRIOR",
    "HESSIANS",
    "SLOPES",
    "Latents",
    "Start",
    "guide_samples",
    "latent_sites",
]

Start = Literal["guide", "prior"]
_NO_GRADIENT = "log p(x|z) is not differentiable in the latents, which HMC needs; use method='importance'"


class _Site(NamedTuple):
    name: str
    support: constraints.Constraint
    data: int  # the axis of the rows among the values (K, ...)
    inner: tuple[int, ...]  # the sizes of inner plates, then of the event on the real line

    @property
    def size(self) -> int:
        """The number of entries of the site on the real line."""
        return math.prod(self.inner)

    def to_real(self, value: Tensor) -> Tensor:
        """Values (K, ..., B, ..., *event) as real numbers (K, B, size)."""
        u = biject_to(self.support).inv(value.movedim(self.data, 1))
        return u.reshape(*u.shape[:2], self.size)

    def from_real(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The values for real numbers (K, B, size), and the logarithm of the Jacobian, (K, B)."""
        transform = biject_to(self.support)
        inner = u.reshape(*u.shape[:2], *self.inner)
        value = transform(inner)
        jacobian = transform.log_abs_det_jacobian(inner, value)
        return value.movedim(1, self.data), jacobian.reshape(*u.shape[:2], -1).sum(-1)


class Latents:
    """The latent sites of a program on B rows, as vectors u (K, B, D).

    Arguments:
        pieces: B rows, with a checked program.

    Raises:
        InputError: for a discrete latent site, which cannot be mapped to the real line.
    """

    def __init__(self, pieces: Pieces) -> None:
        self.pieces, self.runner, self.rows = pieces, pieces.runner, pieces.rows
        guide: Any = poutine.trace(self.runner.guide).get_trace(*self.rows.arguments)
        latent = latent_sites(guide)
        self.sites = [self._site(name, site) for name, site in latent.items()]
        self.dim = sum(site.size for site in self.sites)
        self.dtype: torch.dtype = next(iter(latent.values()))["value"].dtype
        # With one site, the guide's distribution does not depend on samples: the encoder runs once.
        fns = [site["fn"] for site in latent.values()]
        is_fixed = len(fns) == 1 and self.runner.max_plate_nesting == 1
        self.q = fns[0] if is_fixed and fns[0].batch_shape == (len(pieces),) else None

    def of_model(self, pieces: Pieces) -> Latents:
        """The same latents on other rows, for log p(x, u) only: the guide does not run."""
        other = self.at_rows(pieces.rows)
        other.pieces = pieces
        return other

    def at_rows(self, rows: Rows) -> Latents:
        """The same latents on other rows, without the keys from which noise is drawn."""
        other = copy.copy(self)
        other.rows, other.q = rows, None
        return other

    def computed(
        self, kind: Kind, u: Tensor, eager: Callable[[Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """A function of u, by compiled code if there is any."""
        codes = self.pieces.codes
        return eager(u) if codes is None else codes(kind, self, u, eager)

    def _site(self, name: str, site: dict[str, Any]) -> _Site:
        fn = site["fn"]
        support = fn.support
        if support.is_discrete:
            raise InputError(
                f"the latent site {name!r} is discrete and cannot be mapped to real vectors: use "
                "method='importance', or sum it out with infer={'enumerate': 'parallel'} in the model and "
                "leave it out of the guide"
            )
        # The support of a mixture is a different constraint, without a registered bijection.
        if isinstance(fn, torch.distributions.MixtureSameFamily):
            support = getattr(support, "base_constraint", support)
        try:
            transform = biject_to(support)
        except NotImplementedError:
            kind = support if isinstance(support, type) else type(support)
            raise InputError(
                f"the latent site {name!r} is on the {kind.__name__.strip('_').lower()}, which cannot "
                "be mapped to real vectors: use log_evidence with method='importance'"
            ) from None
        depth = self.runner.max_plate_nesting
        plates = [1] * (depth - len(fn.batch_shape)) + list(fn.batch_shape)
        data = depth + plate_dim(site, DATA)
        del plates[data]
        return _Site(name, support, 1 + data, (*plates, *transform.inverse_shape(fn.event_shape)))

    # ---------------------------------------------------------------- samples

    def from_guide(self, particles: int, first: int = 0) -> tuple[dict[str, Tensor], Terms]:
        """Values drawn from the guide, and the terms there."""
        with KeyedDraws(self.pieces.keys, self.pieces.seed, first):
            pair = self.runner.run(self.rows, particles=particles)
        drawn: Any = pair.guide.nodes
        return {site.name: drawn[site.name]["value"] for site in self.sites}, pair.terms()

    def guide_values(self, particles: int, first: int = 0) -> dict[str, Tensor]:
        """The values of `from_guide` without their terms: the model does not run."""
        plate = pyro.plate(PARTICLES, particles, dim=-1 - self.runner.max_plate_nesting)
        with KeyedDraws(self.pieces.keys, self.pieces.seed, first), plate:
            guide: Any = poutine.trace(self.runner.guide).get_trace(*self.rows.arguments)
        return {name: site["value"] for name, site in latent_sites(guide).items()}

    def from_prior(self, particles: int, first: int = 0) -> dict[str, Tensor]:
        """Values drawn from the prior."""
        with KeyedDraws(self.pieces.keys, self.pieces.seed, first):
            return self.runner.prior_draws(self.rows, particles=particles)

    # ---------------------------------------------------------------- densities

    def pack(self, values: dict[str, Tensor]) -> Tensor:
        """Site values (K, B, *shape) as one real vector u (K, B, D)."""
        return torch.cat([site.to_real(values[site.name]) for site in self.sites], -1)

    def unpack(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Site values of u, and the logarithm of the Jacobian of the map, (K, B)."""
        values, jacobian = {}, torch.zeros(u.shape[:2], dtype=u.dtype, device=u.device)
        for site, part in zip(self.sites, u.split([site.size for site in self.sites], -1), strict=True):
            values[site.name], log_det = site.from_real(part)
            jacobian = jacobian + log_det
        return values, jacobian

    def log_guide(self, u: Tensor) -> Tensor:
        """log q(u|x) only, (K, B), float64; the likelihood is not computed if q is known."""
        if self.q is None:
            return self.log_densities(u, "guide")[0]
        values, jacobian = self.unpack(u)
        return self._log_q(values).double() + jacobian.double()

    def log_densities(self, u: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        """log start(u) and log p(x, u), each (K, B), float64."""
        values, jacobian = self.unpack(u)
        terms = self._terms(values, len(u), start)
        if u.requires_grad and not terms.log_px_z.requires_grad:
            raise InputError(_NO_GRADIENT)
        log_start = terms.log_qz if start == "guide" else terms.log_pz
        joint = terms.log_px_z.double() + terms.log_pz.double()
        return log_start.double() + jacobian.double(), joint + jacobian.double()

    def _terms(self, values: dict[str, Tensor], particles: int, start: Start) -> Terms:
        if start == "guide" and self.q is None:
            return self.runner.terms_at(values, self.rows, particles=particles)
        terms = self.runner.joint_at(values, self.rows, particles=particles)
        return terms._replace(log_qz=self._log_q(values)) if start == "guide" else terms

    def _log_q(self, values: dict[str, Tensor]) -> Tensor:
        assert self.q is not None
        return self.q.log_prob(values[self.sites[0].name])

    def gradients(self, u: Tensor, start: Start) -> tuple[Tensor, ...]:
        """log start(u) and log p(x, u), each (K, B), and their gradients in u, each (K, B, D).

        Raises:
            InputError: if the model is not differentiable in its latents.
        """
        kind = self._kind(start)
        if kind is not SLOPES:
            return self.computed(kind, u, partial(self.slopes_of, start=start))
        joint, of_joint = self.computed(SLOPES, u, self.slopes)
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            log_start = self.log_guide(u)
            (of_start,) = torch.autograd.grad(log_start.sum(), u)
        return log_start.detach(), joint, of_start, of_joint

    def announce(self, start: Start, pairs: int) -> None:
        """Announce for how many pairs of particle and row `gradients` will be called."""
        if self.pieces.codes is not None:
            self.pieces.codes.expect(self._kind(start), pairs)

    def _kind(self, start: Start) -> Kind:
        """The kind that `gradients` computes; it leaves out log q(u|x) if `q` gives it."""
        if start == "prior":
            return FROM_PRIOR
        return FROM_GUIDE if self.q is None else SLOPES

    def slopes_of(self, u: Tensor, start: Start) -> tuple[Tensor, ...]:
        """`gradients`, computed in Python."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            log_start, joint = self.tracked(u, start)
            (of_start,) = torch.autograd.grad(log_start.sum(), u, retain_graph=True)
            (of_joint,) = torch.autograd.grad(joint.sum(), u)
        return log_start.detach(), joint.detach(), of_start, of_joint

    def slopes(self, u: Tensor) -> tuple[Tensor, ...]:
        """log p(x, u), (K, B), and its gradient, (K, B, D), computed in Python."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            _, joint = self.tracked(u, "prior")
            (gradient,) = torch.autograd.grad(joint.sum(), u)
        return joint.detach(), gradient

    def hessians(self, u: Tensor) -> tuple[Tensor, ...]:
        """The second derivatives of log p(x, u), (K, B, D, D), computed in Python.

        Raises:
            RuntimeError, NotImplementedError: if an operation has no second derivative.
        """
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            _, joint = self.tracked(u, "prior")
            (slope,) = torch.autograd.grad(joint.sum(), u, create_graph=True)
            if not slope.requires_grad:  # the surface is linear
                return (u.new_zeros(*u.shape, self.dim),)
            eye = torch.eye(self.dim, dtype=u.dtype, device=u.device)
            each = eye[:, None, None].expand(-1, *u.shape)
            (second,) = torch.autograd.grad(slope, u, each, is_grads_batched=True)
        return (second.movedim(0, -1),)

    def tracked(self, u: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        """`log_densities` at points u that require a gradient.

        Raises:
            InputError: if the model is not differentiable in its latents.
        """
        try:
            return self.log_densities(u, start)
        except RuntimeError as error:
            if "requires grad" not in str(error):  # raised for a model that leaves torch, as by .numpy()
                raise
            raise InputError(_NO_GRADIENT) from error


def latent_sites(trace: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """The latent sites of a trace by name, without subsamples of a plate."""
    return {name: site for name, site in sites_of(trace) if not site["is_observed"]}


def guide_samples(pieces: Pieces, particles: int) -> tuple[Tensor, Terms]:
    """Samples of the guide's site "z", (K, N, D), and the terms there, each (K, N)."""
    columns = []
    for some in pieces.parts(particles):
        latents, runs = Latents(some), []
        for first, count in some.cuts(particles):
            values, terms = latents.from_guide(count, first)
            runs.append((values["z"], *terms[:3]))
        columns.append([torch.cat(run) for run in zip(*runs, strict=True)])
    z, *log_densities = (torch.cat(column, 1) for column in zip(*columns, strict=True))
    return z, Terms(*log_densities)


def _blocks(pairs: int, dim: int) -> tuple[int, int]:
    return (min(pairs, BLOCK), max(1, pairs // BLOCK))


def _each(pairs: int, dim: int) -> tuple[int, int]:
    return (1, min(pairs, TOGETHER))


def _matrices(pairs: int, dim: int) -> tuple[int, int]:
    return (1, max(1, pairs // (6 * dim)))


TOGETHER = 128  # pairs of particle and row in a tile of gradients; more are not faster on a CPU
DENSITIES = Kind("densities", lambda latents, u: latents.log_densities(u, "prior"), _blocks)
SLOPES = Kind("slopes", Latents.slopes, _each)
FROM_PRIOR = Kind("slopes from prior", partial(Latents.slopes_of, start="prior"), _each)
FROM_GUIDE = Kind("slopes from guide", partial(Latents.slopes_of, start="guide"), _each)
HESSIANS = Kind("hessians", Latents.hessians, _matrices)
