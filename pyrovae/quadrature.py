r"""log p(x) and p(z|x) of a model with one or two latents, by the trapezoidal rule.

    p(x) = integral p(z) p(x|z) dz,   p(z|x) = p(z) p(x|z) / p(x)
    KL(q || p(z|x)) = log p(x) - ELBO(q)

The integrand is smooth and vanishes at the ends of the grid, so the rule converges faster than any
power of the step: 4,001 points on [-8, 8] give ten digits if the posterior is wider than two steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import InputError

__all__ = [
    "GridPosterior",
    "LatentModel",
    "Nodes",
    "dtype_of",
    "even",
    "grid",
    "posterior_on_grid",
    "quadrature",
]

CHUNK = 2048  # number of nodes decoded at a time
OFF = 0.01  # the largest deviation from 1 of the mass on a grid


class Nodes(NamedTuple):
    """A rule of integration.

    Attributes:
        z: positions, (G, D), float64.
        weight: the length or area of each, (G,).
        shape: the shape of the grid, (P,) or (P, P).
    """

    z: Tensor
    weight: Tensor
    shape: tuple[int, ...]


class LatentModel(Protocol):
    """The argument of `quadrature`: a VAE, or any object with p(z) and p(x|z)."""

    def latents(self) -> dist.TorchDistribution:
        """p(z), event (D,)."""

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x|z), z (*, D)."""


@torch.no_grad()
def quadrature(vae: LatentModel, x: Tensor, *, limit: float = 8.0, points: int | None = None) -> Tensor:
    r"""log p(x) of a VAE with one or two latents, by the trapezoidal rule on \([-\ell, \ell]^D\).

    \[\log p(x) = \log \int p(z)\, p(x|z)\, dz\]

    Arguments:
        vae: a VAE whose z has one or two entries.
        x: observations (N, *event).
        limit: half the side of the grid.
        points: grid points along each axis; by default 4,001 for one latent and 401 for two.

    Returns:
        log p(x) in nats, (N,), float64.

    Raises:
        InputError: for more than two latents.
    """
    size = _latent_size(vae)
    points = points or (4001 if size == 1 else 401)
    nodes = grid(size, limit, points).to(x)
    total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    for log_joint in _log_joint(vae, x, nodes):
        total = torch.logaddexp(total, torch.logsumexp(log_joint, 0))
    return total + size * math.log(2 * limit / (points - 1))


@dataclass(frozen=True, eq=False)
class GridPosterior:
    r"""p(z|x) of B observations at the G nodes of a grid.

    Attributes:
        nodes: their positions and weights, float64.
        log_density: log p(z|x), (B, G), in nats.
        log_px: log p(x), (B,), the normalising constant of the density.
    """

    nodes: Nodes = field(repr=False)
    log_density: Tensor = field(repr=False)
    log_px: Tensor = field(repr=False)

    @property
    def z(self) -> Tensor:
        """The nodes as a grid: (P, 1) for one latent; (P, P, 2) for two, with z_1 first."""
        return self.nodes.z.unflatten(0, self.nodes.shape)

    @property
    def density(self) -> Tensor:
        """p(z|x) at `z`: (B, P) for one latent; (B, P, P) for two."""
        return self.log_density.exp().unflatten(1, self.nodes.shape)

    @property
    def mass(self) -> Tensor:
        """The integral of p(z|x) over the grid, (B,): 1 if the grid is wide and fine enough."""
        return self.log_density.exp() @ self.nodes.weight

    @property
    def mean(self) -> Tensor:
        """E[z|x], (B, D)."""
        return self._share() @ self.nodes.z

    @property
    def covariance(self) -> Tensor:
        """Cov[z|x], (B, D, D)."""
        second = torch.einsum("bg,gi,gj->bij", self._share(), self.nodes.z, self.nodes.z)
        return second - self.mean.unsqueeze(-1) * self.mean.unsqueeze(-2)

    @torch.no_grad()
    def kl(self, q: dist.TorchDistribution | GridPosterior) -> Tensor:
        r"""\(\mathrm{KL}(q(z|x) \,\|\, p(z|x))\) in nats, (B,): log p(x) minus the ELBO of q.

        Arguments:
            q: a distribution with batch (B,) and event (D,), as `vae.encode(x)` gives; or the
                posterior of another model on the same nodes.

        Raises:
            InputError: if q has a wrong shape, other nodes, a bounded support, or mass between or
                beyond the nodes.
        """
        log_q = self._log_density_of(q)
        _check_mass(log_q.exp() @ self.nodes.weight, "q")
        # Where q is 0, the log ratio is -inf, and 0 times -inf is nan.
        ratio = (log_q - self.log_density).clamp(min=-1e300)
        return (log_q.exp() * ratio) @ self.nodes.weight

    def _log_density_of(self, q: dist.TorchDistribution | GridPosterior) -> Tensor:
        """log q at the nodes, (B, G), float64."""
        if isinstance(q, GridPosterior):
            if q.log_density.shape != self.log_density.shape or not torch.equal(q.nodes.z, self.nodes.z):
                raise InputError("q is on another grid: compute both posteriors with equal rows and nodes")
            return q.log_density
        if not isinstance(q, torch.distributions.Distribution):
            raise InputError(f"q is a {type(q).__name__}; give a distribution, as `vae.encode(x)`")
        wanted, came = (self.log_px.shape, self.nodes.z.shape[1:]), (q.batch_shape, q.event_shape)
        if wanted != came:
            raise InputError(
                f"q must have batch {tuple(wanted[0])} and event {tuple(wanted[1])}, one distribution for "
                f"each row of the posterior, not batch {tuple(came[0])} and event {tuple(came[1])}"
            )
        nodes = self.nodes.z.to(dtype_of(q)).split(CHUNK)
        try:
            return torch.cat([q.log_prob(z.unsqueeze(1)).double() for z in nodes]).mT
        except ValueError:
            raise InputError("q is not a density on all real numbers: give one, as a normal") from None

    def elbo(self, q: dist.TorchDistribution | GridPosterior) -> Tensor:
        r"""\(\mathrm{E}_q[\log p(x, z) - \log q(z|x)]\) in nats, (B,), without sampling."""
        return self.log_px - self.kl(q)

    def _share(self) -> Tensor:
        """The share of the mass at each node, (B, G)."""
        return (self.log_density + self.nodes.weight.log()).softmax(1)


@torch.no_grad()
def posterior_on_grid(
    vae: LatentModel,
    x: Tensor,
    *,
    log_px: Tensor | None = None,
    limit: float = 6.0,
    points: int | None = None,
    nodes: Nodes | None = None,
) -> GridPosterior:
    r"""The true posterior p(z|x) of a VAE with one or two latents, on a grid.

    \[p(z|x) = \frac{p(z)\, p(x|z)}{p(x)}\]

    p(x) is computed separately (by `quadrature`, unless it is given), so the integral of the
    density over this grid checks both: it must be 1 to within a hundredth. Memory grows with the
    number of rows times the number of nodes.

    Arguments:
        vae: a VAE or an oracle whose z has one or two entries.
        x: observations (B, *event).
        log_px: log p(x), (B,), if known.
        limit: half the side of the grid.
        points: grid points along each axis; by default 2,001 for one latent and 401 for two.
        nodes: another integration rule, instead of limit and points.

    Raises:
        InputError: for more than two latents, or a posterior that extends beyond the grid or falls
            between its nodes.

    Example:
        >>> from pyrovae.oracles import Fold
        >>> posterior = posterior_on_grid(Fold(), torch.tensor([[4.0]]))
        >>> round(float(posterior.mass), 6), bool(posterior.mean.abs() < 1e-6)  # modes -2 and 2
        (1.0, True)
    """
    size = _latent_size(vae)
    rule = nodes or even(size, limit, points or (2001 if size == 1 else 401))
    rule = rule._replace(z=rule.z.to(x.device), weight=rule.weight.to(x.device))
    log_px = quadrature(vae, x) if log_px is None else log_px.double()
    log_joint = torch.cat(list(_log_joint(vae, x, rule.z.to(x)))).mT
    posterior = GridPosterior(rule, log_joint - log_px.unsqueeze(1), log_px)
    _check_mass(posterior.mass, "p(z|x)")
    return posterior


def even(latent_dim: int, limit: float, points: int) -> Nodes:
    """The trapezoidal rule on [-limit, limit]^D, with full weight at the ends (no mass there)."""
    z = grid(latent_dim, limit, points)
    cell = (2 * limit / (points - 1)) ** latent_dim
    return Nodes(z, torch.full_like(z[:, 0], cell), (points,) * latent_dim)


def grid(latent_dim: int, limit: float, points: int) -> Tensor:
    """The nodes of an even grid on [-limit, limit]^D, (points^D, D), float64."""
    axis = torch.linspace(-limit, limit, points, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * latent_dim).reshape(-1, latent_dim)


def _log_joint(vae: LatentModel, x: Tensor, nodes: Tensor) -> Iterator[Tensor]:
    """log p(x, z) at the nodes, in chunks (G', N), float64."""
    log_pz = vae.latents().log_prob(nodes).double()
    for z, log_p in zip(nodes.split(CHUNK), log_pz.split(CHUNK), strict=True):
        yield vae.decode(z.unsqueeze(1)).log_prob(x).double() + log_p.unsqueeze(1)


def _latent_size(vae: LatentModel) -> int:
    (size,) = vae.latents().event_shape
    if size > 2:
        raise InputError(f"quadrature needs a z of 1 or 2 entries, not {size}: use log_evidence")
    return size


def dtype_of(q: dist.TorchDistribution) -> torch.dtype:
    """The dtype of a distribution's samples, from its mean if that is known."""
    try:
        return q.mean.dtype
    except NotImplementedError:
        return torch.get_default_dtype()


def _check_mass(mass: Tensor, what: str) -> None:
    wrong = (~((mass - 1).abs() < OFF)).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise InputError(
            f"{what} of row {first} has mass {float(mass[first]):.3g} on this grid instead of 1: give a "
            "larger limit= if the density extends past the grid, or more points= if it is too narrow for it"
        )
