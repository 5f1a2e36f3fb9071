r"""Latents as one real vector, and the annealing path between a start and the joint.

    log f_t(u) = (1 - t) log start(u) + t log p(x, u),      t from 0 to 1

The start is the guide q(z|x) or the prior p(z). Every latent site with a constrained support is mapped to
the real line, u = T^-1(z), and both densities carry the same Jacobian.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import biject_to, constraints

from pyrovae.errors import InputError
from pyrovae.evidence.draws import KeyedDraws
from pyrovae.terms import Program, Terms, arguments

__all__ = ["Latents", "Start"]

Start = Literal["guide", "prior"]


class _Site(NamedTuple):
    name: str
    support: constraints.Constraint
    shape: tuple[int, ...]  # of the event
    size: int  # on the real line


class Latents:
    """The latent sites of a program on B data, as vectors u (K, B, D).

    Arguments:
        program: checked.
        x, context: B data.
        keys: of the data, for draws that depend on nothing else.
        seed: of the draws.

    Raises:
        InputError: for a discrete latent site, which has no real line.
    """

    def __init__(
        self, program: Program, x: Tensor, context: Tensor | None, keys: list[int], seed: int
    ) -> None:
        self.program, self.x, self.context, self.keys, self.seed = program, x, context, keys, seed
        guide = poutine.trace(program.guide).get_trace(*arguments(x, context))
        self.sites = [self._site(name, site) for name, site in guide.nodes.items() if _is_latent(site)]
        self.dim = sum(site.size for site in self.sites)
        # A guide with one site has the same law whatever is drawn: its encoder need not run again.
        laws = [site["fn"] for site in guide.nodes.values() if _is_latent(site)]
        self.law = laws[0] if len(laws) == 1 and laws[0].batch_shape == (len(x),) else None

    def _site(self, name: str, site: dict) -> _Site:
        support = site["fn"].support
        if support.is_discrete:
            raise InputError(
                f"the latent site {name!r} is discrete: annealed importance sampling with HMC needs real latents; "
                "use method='importance', or sum the site out with infer={'enumerate': 'parallel'} in the model"
            )
        shape = tuple(site["fn"].event_shape)
        inner = tuple(biject_to(support).inverse_shape(torch.Size(shape)))
        return _Site(name, support, shape, int(torch.Size(inner).numel()))

    # ---------------------------------------------------------------- draws

    def from_guide(self, particles: int, first: int = 0) -> tuple[dict[str, Tensor], Terms]:
        """Values drawn from the guide, and the terms there."""
        with KeyedDraws(self.keys, self.seed, first):
            pair = self.program.run(self.x, self.context, particles=particles)
        return {site.name: pair.guide.nodes[site.name]["value"] for site in self.sites}, pair.terms()

    def from_prior(self, particles: int, first: int = 0) -> dict[str, Tensor]:
        """Values drawn from the prior."""
        with KeyedDraws(self.keys, self.seed, first):
            return self.program.prior_draws(self.x, self.context, particles=particles)

    # ---------------------------------------------------------------- densities

    def pack(self, values: dict[str, Tensor]) -> Tensor:
        """Site values (K, B, *shape) as one real vector u (K, B, D)."""
        inner = [biject_to(site.support).inv(values[site.name]) for site in self.sites]
        return torch.cat([u.reshape(*u.shape[:2], -1) for u in inner], -1)

    def unpack(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Site values of u, and the logarithm of the Jacobian of the map, (K, B)."""
        values, jacobian = {}, torch.zeros(u.shape[:2], dtype=u.dtype, device=u.device)
        for site, part in zip(self.sites, u.split([site.size for site in self.sites], -1), strict=True):
            transform = biject_to(site.support)
            inner = part.reshape(*u.shape[:2], *transform.inverse_shape(torch.Size(site.shape)))
            values[site.name] = transform(inner)
            log_det = transform.log_abs_det_jacobian(inner, values[site.name])
            jacobian = jacobian + log_det.reshape(*u.shape[:2], -1).sum(-1)
        return values, jacobian

    def log_start(self, u: Tensor, start: Start) -> Tensor:
        """log start(u) alone, (K, B), float64; the likelihood is not computed when the guide's law is known."""
        if start == "prior" or self.law is None:
            return self.log_densities(u, start)[0]
        values, jacobian = self.unpack(u)
        return self.law.log_prob(values[self.sites[0].name]).double() + jacobian.double()

    def log_densities(self, u: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        """log start(u) and log p(x, u), each (K, B), float64."""
        values, jacobian = self.unpack(u)
        terms = self._terms(values, len(u), start)
        log_start = terms.log_qz if start == "guide" else terms.log_pz
        joint = terms.log_px.double() + terms.log_pz.double()
        return log_start.double() + jacobian.double(), joint + jacobian.double()

    def _terms(self, values: dict[str, Tensor], particles: int, start: Start) -> Terms:
        if start == "guide" and self.law is None:
            return self.program.terms_at(values, self.x, self.context, particles=particles)
        terms = self.program.joint_at(values, self.x, self.context, particles=particles)
        if start == "prior" or self.law is None:
            return terms
        return terms._replace(log_qz=self.law.log_prob(values[self.sites[0].name]))

    def gradients(self, u: Tensor, start: Start) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log start(u) and log p(x, u), each (K, B), and their gradients in u, each (K, B, D).

        Raises:
            InputError: when the model is not differentiable in its latents.
        """
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            log_start, joint = self.log_densities(u, start)
            if not (joint.requires_grad and log_start.requires_grad):
                raise InputError(
                    "the model is not differentiable in its latents, which HMC needs; use method='importance'"
                )
            (of_start,) = torch.autograd.grad(log_start.sum(), u, retain_graph=True)
            (of_joint,) = torch.autograd.grad(joint.sum(), u)
        return log_start.detach(), joint.detach(), of_start, of_joint


def _is_latent(site: dict) -> bool:
    from pyro.poutine.util import site_is_subsample

    return site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)
