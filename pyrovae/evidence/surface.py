r"""The surface log p(x, u) over the latents of each row: values, slopes and curvatures, in pieces.

u (K, B, D) are the latents of a program on the real line (`path`), and log p(x, u) includes the
Jacobian. Networks run in the precision of the program; what is returned is float64.

    A = -d^2 log p(x, u) / du du',   as |A| with eigenvalues made positive:  V diag(values) V'

Each is computed eagerly in pieces, or by compiled code where this saves time (`captured`).

With many latents only the directions in which the surface bends most are found, by subspace
iteration, and the others share one curvature: V diag(values) V' + rest (I - V V').
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.evidence.draws import BLOCK
from pyrovae.evidence.path import DENSITIES, HESSIANS, SLOPES, Latents
from pyrovae.evidence.run import Pieces

__all__ = ["Curvature", "Surface", "positive_eigenvalues"]

FULL = 400  # the largest number of latents with a full matrix
RANK = 128  # the number of directions with a curvature of their own, if there are more latents
STEP = 1e-3  # of finite differences, where second derivatives are not known


class Curvature(NamedTuple):
    """Positive definite matrices A = V diag(values) V' + rest (I - V V'), batch (*).

    Vectors have the shape (*, N, D).
    """

    vectors: Tensor
    values: Tensor
    rest: Tensor

    @classmethod
    def of(cls, matrix: Tensor, floor: Tensor) -> Curvature:
        """The curvature of symmetric matrices (*, D, D): absolute eigenvalues above a floor (*)."""
        values, vectors = torch.linalg.eigh(matrix)
        return cls(vectors, torch.maximum(values.abs(), floor.unsqueeze(-1)), torch.ones_like(floor))

    @property
    def is_full(self) -> bool:
        """Whether every direction has its own curvature."""
        return self.vectors.shape[-1] == self.vectors.shape[-2]

    def power(self, d: Tensor, exponent: float) -> Tensor:
        """A^exponent d, (*, N, D)."""
        values = self.values.unsqueeze(-2) ** exponent
        if self.is_full and d.shape[-2] > d.shape[-1]:  # one product with the larger matrix
            return d @ ((self.vectors * values) @ self.vectors.mT)
        y = d @ self.vectors
        out = (y * values) @ self.vectors.mT
        if self.is_full:
            return out
        return out + (d - y @ self.vectors.mT) * self.rest[..., None, None] ** exponent

    def energy(self, d: Tensor) -> Tensor:
        """d' A d, (*, N)."""
        y = d @ (self.vectors * self.values.sqrt().unsqueeze(-2))
        energy = _squared(y)
        if self.is_full:
            return energy
        outside = (_squared(d) - _squared(d @ self.vectors)).clamp(min=0)
        return energy + outside * self.rest.unsqueeze(-1)

    def log_det(self) -> Tensor:
        """log det A, (*)."""
        others = self.vectors.shape[-2] - self.vectors.shape[-1]
        return self.values.log().sum(-1) + others * self.rest.log()

    def put(self, index: Tensor, other: Curvature) -> None:
        """Replace some of the matrices, by the first axis of the batch."""
        for mine, theirs in zip(self, other, strict=True):
            mine[index] = theirs

    def take(self, index: Tensor | slice | int) -> Curvature:
        """Some of the matrices, by the first axis of the batch."""
        return Curvature(*(part[index] for part in self))

    def rows(self, index: Tensor) -> Curvature:
        """Some of the matrices, by the second axis of the batch."""
        return Curvature(*(part[:, index] for part in self))


def _squared(d: Tensor) -> Tensor:
    """The squared lengths of vectors (*, D), in one pass over memory."""
    return torch.linalg.vector_norm(d, dim=-1).square()


def positive_eigenvalues(covariance: Tensor) -> Curvature:
    """The inverse of covariance matrices (*, D, D) as a curvature."""
    values, vectors = torch.linalg.eigh(covariance)
    smallest = 1e-12 * values.amax(-1, keepdim=True).clamp(min=1e-300)
    return Curvature(vectors, 1 / torch.maximum(values, smallest), torch.ones_like(values[..., 0]))


class Surface:
    """log p(x, u) of B rows.

    Arguments:
        pieces: B rows, with a checked program.
        latents: their latents, if known.

    Raises:
        InputError: for a discrete latent site, which has no slope.
    """

    def __init__(self, pieces: Pieces, latents: Latents | None = None) -> None:
        self.pieces, self.latents = pieces, latents or Latents(pieces)
        self.size = max(1, max(pieces.pairs, BLOCK) // len(pieces))  # particles that run at once
        self.dim = self.latents.dim

    def of_model(self, rows: Tensor) -> Surface:
        """The surface of some rows, without the guide."""
        pieces = self.pieces.take(rows.cpu().numpy())
        return Surface(pieces, self.latents.of_model(pieces))

    def densities(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log p(u) and log p(x, u), each (K, B)."""
        log_prior, joint = self.latents.computed(DENSITIES, self._cast(u), self._densities)
        return log_prior, joint

    def _densities(self, u: Tensor) -> tuple[Tensor, ...]:
        return self._in_parts(lambda part: self.latents.log_densities(part, "prior"), u)

    def _in_parts(self, function: Callable[[Tensor], tuple[Tensor, ...]], u: Tensor) -> tuple[Tensor, ...]:
        parts = [function(part) for part in u.split(self.size)]
        return tuple(map(torch.cat, zip(*parts, strict=True)))

    def log_guide(self, u: Tensor) -> Tensor:
        """log q(u|x), (K, B)."""
        return torch.cat([self.latents.log_guide(part) for part in self._cast(u).split(self.size)])

    def slopes(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x, u), (K, B), and its gradient, (K, B, D)."""
        joint, gradient = self.latents.computed(SLOPES, self._cast(u), self._slopes)
        return joint, gradient.double()

    def _slopes(self, u: Tensor) -> tuple[Tensor, ...]:
        return self._in_parts(self.latents.slopes, u)

    def curvature(self, u: Tensor, floor: Tensor) -> Curvature:
        """The curvature at u (K, B, D); eigenvalues are at least `floor` (B,)."""
        floor = floor.expand(u.shape[:2])
        if self.dim <= FULL:
            hessian = -self._hessians(u)
            return Curvature.of((hessian + hessian.mT) / 2, floor)
        return self._low_rank(u, floor)

    def _hessians(self, u: Tensor) -> Tensor:
        """The second derivatives at u (K, B, D), (K, B, D, D)."""
        eye = torch.eye(self.dim, dtype=torch.float64, device=u.device).unsqueeze(1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # for operations that cannot be batched
                (hessian,) = self.latents.computed(HESSIANS, self._cast(u), self._matrices)
        except (RuntimeError, NotImplementedError):
            return self.products(u, eye)
        hessian = hessian.double()
        odd = (~hessian.isfinite()).flatten(2).any(-1).any(0).nonzero().flatten()
        if len(odd):  # the others do not depend on which rows are next to them
            hessian[:, odd] = self.of_model(odd).products(u[:, odd], eye)
        return hessian

    def _matrices(self, u: Tensor) -> tuple[Tensor, ...]:
        """The second derivatives in Python, in groups of rows whose D products fit into memory."""
        rows = max(1, self.pieces.pairs // (3 * self.dim))
        columns = torch.arange(u.shape[1], device=u.device).split(rows)
        parts = [self._of_rows(some).hessians(at[None, some])[0] for at in u for some in columns]
        return (torch.cat(parts, 1).unflatten(1, u.shape[:2]).squeeze(0),)

    def _of_rows(self, rows: Tensor) -> Latents:
        """The latents of some rows, without keys."""
        return self.latents.at_rows(self.pieces.rows[rows.cpu().numpy()])

    def _low_rank(self, u: Tensor, floor: Tensor) -> Curvature:
        rng = torch.Generator().manual_seed(0)
        probes = torch.randn(RANK + 16, 1, self.dim, generator=rng, dtype=torch.float64).to(u.device)
        image = -self.products(u, probes[:RANK])  # (K, B, r, D)
        for _ in range(2):
            basis = torch.linalg.qr(image.mT).Q.mT
            image = self._image(u, basis)
        small = basis @ image.mT
        values, turn = torch.linalg.eigh((small + small.mT) / 2)
        others = probes[RANK:, 0] - (probes[RANK:, 0] @ basis.mT) @ basis
        bend = (self._image(u, others) * others).sum(-1) / others.square().sum(-1)
        values = torch.maximum(values.abs(), floor.unsqueeze(-1))
        return Curvature(basis.mT @ turn, values, torch.maximum(bend.mean(-1), floor))

    def _image(self, u: Tensor, directions: Tensor) -> Tensor:
        """The matrix at each u (K, B, D) times directions of its own (K, B, r, D)."""
        pairs = zip(u, directions, strict=True)
        return -torch.cat([self.products(at.unsqueeze(0), some.transpose(0, 1)) for at, some in pairs])

    def products(self, u: Tensor, directions: Tensor) -> Tensor:
        """Second derivatives times directions (R, B or 1, D), at each u: (K, B, R, D)."""
        size = max(1, self.size // 3)
        directions = directions.expand(len(directions), u.shape[1], self.dim)
        found = [[self._product(at, some) for some in directions.split(size)] for at in self._cast(u)]
        return torch.stack([torch.cat(parts).transpose(0, 1) for parts in found])

    def _product(self, at: Tensor, directions: Tensor) -> Tensor:
        u = at.expand(directions.shape)
        try:
            with torch.enable_grad():
                u = u.detach().clone().requires_grad_()
                _, gradient = self._slope(u, create_graph=True)
                if not gradient.requires_grad:  # the surface is linear
                    return torch.zeros_like(directions)
                (product,) = torch.autograd.grad((gradient * directions.to(u)).sum(), u)
            if product.isfinite().all():
                return product.double()
        except (RuntimeError, NotImplementedError):
            pass
        return self._difference(at.double().expand(directions.shape), directions)

    def _difference(self, u: Tensor, directions: Tensor) -> Tensor:
        """Second derivatives times directions, by central differences of the gradient."""
        ahead, behind = (self.slopes(u + sign * STEP * directions)[1] for sign in (1, -1))
        return ((ahead - behind) / (2 * STEP)).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def _slope(self, u: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            u = u if u.requires_grad else u.detach().clone().requires_grad_()
            _, joint = self.latents.tracked(u, "prior")
            (gradient,) = torch.autograd.grad(joint.sum(), u, create_graph=create_graph)
        return joint, gradient

    def _cast(self, u: Tensor) -> Tensor:
        return u.to(self.latents.dtype)
