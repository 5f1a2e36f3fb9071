r"""Two sets of forty models for which log p(x) is hard to estimate, with exact values.

    blocks of latents, z = (z_1, z_2, ...), each with its own part of x
    p(x) = prod_b p(x_b),   every factor in closed form or by quadrature

The blocks are linear models with correlated latents, curves with one or two modes, a ring, a
funnel and latents with heavy tails. The guide is a normal distribution with the moments of the
posterior, made narrow, wide, shifted or factorised on purpose.

Reference:
    Neal (2003), "Slice sampling", section 8, for the funnel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.oracles.curved import Banana, Curved, Fold
from pyrovae.oracles.linear import LinearGaussian
from pyrovae.oracles.ring import Ring
from pyrovae.seeds import generator_of
from pyrovae.terms import DATA

__all__ = ["Blocks", "Funnel", "HeavyTails", "correlated", "hard_models"]

Guide = Literal["exact", "narrow", "wide", "shifted", "factorised"]
NODES, LIMIT = 4001, 12.0


class Moments(NamedTuple):
    """A normal distribution for each row: loc (B, D) and a factor of the covariance (B, D, D)."""

    loc: Tensor
    tril: Tensor


class Funnel(nn.Module):
    """v and u of d entries are standard normal, and x = exp(v / 2) u + noise.

    Given v, x is normal with variance exp(v) + s^2, so p(x) is an integral over v.

    Arguments:
        dim: d.
        scale: s.

    Example:
        >>> funnel = Funnel(2)
        >>> funnel.log_px(funnel.sample(3)).shape
        torch.Size([3])
    """

    def __init__(self, dim: int, scale: float = 0.5) -> None:
        super().__init__()
        self.dim, self.scale, self.latent_dim = dim, scale, dim + 1

    def mean(self, z: Tensor) -> Tensor:
        """E[x|z]: (*, d + 1) -> (*, d)."""
        return (z[..., :1] / 2).exp() * z[..., 1:]

    def _over_v(self, x: Tensor) -> tuple[Tensor, Tensor]:
        v = torch.linspace(-LIMIT, LIMIT, NODES, dtype=torch.float64, device=x.device)
        spread = (v.exp() + self.scale**2).sqrt()
        log_p = dist.Normal(0.0, spread).log_prob(x.double().unsqueeze(-1)).sum(1)  # (B, G)
        return v, log_p + dist.Normal(0.0, 1.0).log_prob(v) + math.log(2 * LIMIT / (NODES - 1))

    def log_px(self, x: Tensor) -> Tensor:
        """log p(x) in nats: x (B, d) -> (B,), float64."""
        return self._over_v(x)[1].logsumexp(1)

    def moments(self, x: Tensor) -> Moments:
        """The mean and the variance of v, and those of u at the mean of v."""
        v, log_p = self._over_v(x)
        share = log_p.softmax(1)
        mean = share @ v
        variance = share @ v.square() - mean.square()
        total = mean.exp() + self.scale**2
        u = x * ((mean / 2).exp() / total).unsqueeze(1)
        spread = (self.scale**2 / total).unsqueeze(1).expand_as(u)
        sd = torch.cat([variance.unsqueeze(1), spread], 1).sqrt()
        return Moments(torch.cat([mean.unsqueeze(1), u], 1).to(x), sd.diag_embed().to(x))

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Observations (count, d) drawn from the model."""
        rng = generator_of(seed)
        z = torch.randn(count, self.latent_dim, generator=rng)
        return self.mean(z) + self.scale * torch.randn(count, self.dim, generator=rng)


class HeavyTails(nn.Module):
    """Latents with Student-t distributions, x = z + noise; p(x) is an integral for each entry.

    Arguments:
        dim: the number of latents.
        df: degrees of freedom.
        scale: the standard deviation of the noise.

    Example:
        >>> heavy = HeavyTails(2)
        >>> heavy.log_px(heavy.sample(3)).shape
        torch.Size([3])
    """

    def __init__(self, dim: int, df: float = 3.0, scale: float = 1.0) -> None:
        super().__init__()
        self.dim, self.df, self.scale, self.latent_dim = dim, df, scale, dim

    def mean(self, z: Tensor) -> Tensor:
        """E[x|z] = z."""
        return z

    def _grid(self, x: Tensor) -> tuple[Tensor, Tensor]:
        noise = torch.linspace(-LIMIT, LIMIT, NODES, dtype=torch.float64, device=x.device) * self.scale
        z = x.double().unsqueeze(-1) + noise  # (B, D, G)
        log_p = dist.StudentT(self.df, 0.0, 1.0).log_prob(z) + dist.Normal(0.0, self.scale).log_prob(noise)
        return z, log_p + math.log(2 * LIMIT * self.scale / (NODES - 1))

    def log_px(self, x: Tensor) -> Tensor:
        """log p(x) in nats: x (B, D) -> (B,), float64."""
        return self._grid(x)[1].logsumexp(-1).sum(-1)

    def moments(self, x: Tensor) -> Moments:
        """The exact mean and variance of each latent."""
        z, log_p = self._grid(x)
        share = log_p.softmax(-1)
        mean = (share * z).sum(-1)
        sd = ((share * z.square()).sum(-1) - mean.square()).sqrt()
        return Moments(mean.to(x), sd.diag_embed().to(x))

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Observations (count, D) drawn from the model."""
        rng = generator_of(seed)
        normal = torch.randn(count, self.dim, generator=rng)
        chi = torch.randn(count, self.dim, int(self.df), generator=rng).square().sum(-1)
        return normal * (self.df / chi).sqrt() + self.scale * torch.randn(count, self.dim, generator=rng)


def correlated(dim: int, condition: float, *, seed: int = 0) -> LinearGaussian:
    """A linear model whose posterior covariance has a condition number.

    Example:
        >>> spread = correlated(4, 100.0).posterior(torch.zeros(1, 4)).covariance_matrix[0]
        >>> values = torch.linalg.eigvalsh(spread)
        >>> round(float(values[-1] / values[0]))
        100
    """
    rng = generator_of(seed)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=rng)).Q
    # 1 + root^2 runs from 1 to the condition number on a logarithmic scale.
    root = (torch.linspace(0.0, math.log(condition), dim).exp() - 1).clamp(min=1e-12).sqrt()
    return LinearGaussian(root.unsqueeze(1) * turn, torch.zeros(dim), torch.tensor(1.0))


class Blocks(nn.Module):
    """A model of independent blocks, with one latent site "z".

    Arguments:
        blocks: the blocks; each has `moments`, `log_px`, `sample` and E[x|z].
        guide: what was done to the moments of the posterior.
        both: whether the guide also covers the mirror image of the first latent.

    Example:
        >>> model = Blocks([Fold(), correlated(3, 10.0)], "wide")
        >>> model.log_px(model.sample(4)).shape
        torch.Size([4])
    """

    def __init__(self, blocks: Sequence[nn.Module], guide: Guide = "exact", *, both: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.kind, self.both = guide, both
        self.latents = [_latents(block) for block in blocks]
        self.widths = [block.sample(1).shape[1] for block in blocks]  # type: ignore[operator]

    def model(self, x: Tensor | None = None) -> Tensor:
        """The generative program; x (B, E) is observed if given."""
        with pyro.plate(DATA, 1 if x is None else len(x), dim=-1):
            z = pyro.sample("z", self.prior())
            parts = zip(self.blocks, z.split(self.latents, -1), strict=True)
            loc, scale = zip(*(_decoded(block, part) for block, part in parts), strict=True)
            spread = torch.cat([s.expand(m.shape[-1]) for s, m in zip(scale, loc, strict=True)])
            return pyro.sample("x", dist.Normal(torch.cat(loc, -1), spread).to_event(1), obs=x)

    def prior(self) -> dist.TorchDistribution:
        """p(z), event (D,)."""
        zero = torch.zeros(sum(self.latents))
        heavy = next((block for block in self.blocks if isinstance(block, HeavyTails)), None)
        return (dist.Normal(zero, 1.0) if heavy is None else dist.StudentT(heavy.df, zero, 1.0)).to_event(1)

    def guide(self, x: Tensor) -> Tensor:
        """A normal distribution, or with `both` a mixture of it and its mirror image."""
        loc, tril = self._moments(x)
        with pyro.plate(DATA, len(x), dim=-1):
            if not self.both:
                return pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=tril))
            mirror = torch.ones_like(loc[:1])
            mirror[:, 0] = -1
            locs = torch.stack([loc, mirror * loc], 1)
            trils = torch.stack([tril, mirror.unsqueeze(-1) * tril * mirror.unsqueeze(-2)], 1)
            components = dist.MultivariateNormal(locs, scale_tril=trils)
            even = dist.Categorical(logits=torch.zeros_like(locs[..., 0]))
            return pyro.sample("z", dist.MixtureSameFamily(even, components))

    @torch.no_grad()
    def _moments(self, x: Tensor) -> Moments:
        pairs = zip(self.blocks, x.split(self.widths, -1), strict=True)
        loc, tril = zip(*(_moments(block, part) for block, part in pairs), strict=True)
        joined = torch.stack([torch.block_diag(*row) for row in zip(*tril, strict=True)])
        return _spoilt(Moments(torch.cat(loc, -1), joined), self.kind)

    def log_px(self, x: Tensor) -> Tensor:
        """log p(x) in nats, exact to 1e-6: x (B, E) -> (B,)."""
        pairs = zip(self.blocks, x.split(self.widths, -1), strict=True)
        return torch.stack([block.log_px(part).double() for block, part in pairs]).sum(0)  # type: ignore[operator]

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Observations (count, E) drawn from the model."""
        parts = [b.sample(count, seed=seed + i) for i, b in enumerate(self.blocks)]  # type: ignore[operator]
        return torch.cat(parts, -1)


def _latents(block: nn.Module) -> int:
    return int(block.weight.shape[1]) if isinstance(block, LinearGaussian) else int(block.latent_dim)  # type: ignore[arg-type]


def _decoded(block: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """E[x|z] and the standard deviation of the noise."""
    if isinstance(block, LinearGaussian):
        return z @ block.weight.mT + block.bias, block.scale
    return block.mean(z), torch.as_tensor(block.scale).reshape(1).to(z)  # type: ignore[operator]


def _moments(block: nn.Module, x: Tensor) -> Moments:
    if isinstance(block, LinearGaussian):
        exact = block.posterior(x)
        return Moments(exact.loc, exact.scale_tril)
    if isinstance(block, Curved):
        loc, covariance = block.moments(x)
        return Moments(loc, torch.linalg.cholesky(covariance))
    return block.moments(x)  # type: ignore[operator]


def _spoilt(moments: Moments, kind: Guide) -> Moments:
    loc, tril = moments
    if kind == "factorised":
        precision = torch.cholesky_inverse(tril)
        tril = precision.diagonal(dim1=-2, dim2=-1).rsqrt().diag_embed()
    if kind == "shifted":
        loc = loc + (tril @ tril.mT).diagonal(dim1=-2, dim2=-1).sqrt()
    return Moments(loc, tril * {"narrow": 0.5, "wide": 2.0}.get(kind, 1.0))


class _Sizes(NamedTuple):
    """What distinguishes one set of forty models from another."""

    normal: tuple[int, ...]
    condition: tuple[float, ...]
    factorised: tuple[int, float]
    modes: tuple[int, ...]
    banana: int
    funnel: tuple[int, int, int]
    ring: tuple[float, int]
    heavy: tuple[int, int, int]
    scale: float
    df: float
    seed: int


CALIBRATION = _Sizes(
    (2, 10, 30, 100),
    (1.0, 100.0, 1e4),
    (20, 1100.0),
    (2, 10, 50),
    20,
    (2, 10, 30),
    (0.1, 12),
    (2, 10, 30),
    0.25,
    3,
    0,
)
HELD_OUT = _Sizes(
    (3, 7, 20, 60),
    (10.0, 1000.0, 3e3),
    (40, 5000.0),
    (3, 8, 30),
    12,
    (3, 7, 20),
    (0.2, 8),
    (3, 6, 20),
    0.4,
    5,
    1,
)


def hard_models(*, held_out: bool = False) -> Iterator[tuple[str, Blocks]]:
    """The forty models, with names.

    Arguments:
        held_out: forty other models of the same kinds, with other sizes, scales, bases and guides,
            which were not used to choose any setting.

    Example:
        >>> len(list(hard_models())), len(list(hard_models(held_out=True)))
        (40, 40)
    """
    sizes = HELD_OUT if held_out else CALIBRATION
    shift = int(held_out)
    yield from _normal(sizes, shift)
    yield from _with_modes(sizes, shift)
    yield from _curved(sizes, shift)


def _kind(*kinds: Guide, shift: int) -> Iterator[Guide]:
    """The kinds of guides, each moved to the next in a list of all when there is a shift."""
    order: tuple[Guide, ...] = get_args(Guide)
    return (order[(order.index(kind) + shift) % len(order)] for kind in kinds)


def _normal(sizes: _Sizes, shift: int) -> Iterator[tuple[str, Blocks]]:
    kinds: tuple[Guide, ...] = get_args(Guide)
    for i, dim in enumerate(sizes.normal):
        for j, condition in enumerate(sizes.condition):
            kind = kinds[(i + 2 * j + shift) % len(kinds)]
            block = correlated(dim, condition, seed=sizes.seed)
            yield f"normal, {dim} latents, condition {condition:g}, {kind}", Blocks([block], kind)
    dim, condition = sizes.factorised
    block = correlated(dim, condition, seed=sizes.seed)
    yield f"normal, {dim} latents, condition {condition:g}, factorised", Blocks([block], "factorised")


def _with_modes(sizes: _Sizes, shift: int) -> Iterator[tuple[str, Blocks]]:
    for dim in sizes.modes:
        for both in (False, True):
            for kind in _kind("exact", "narrow", shift=shift):
                name = f"two modes, {dim} latents, guide with {'both' if both else 'one'}, {kind}"
                blocks = [Fold(sizes.scale), correlated(dim - 1, 10.0, seed=sizes.seed)]
                yield name, Blocks(blocks, kind, both=both)


def _curved(sizes: _Sizes, shift: int) -> Iterator[tuple[str, Blocks]]:
    seed = sizes.seed
    for kind in _kind("exact", "wide", "factorised", shift=shift):
        yield f"banana, {kind}", Blocks([Banana(sizes.scale)], kind)
    for kind in _kind("narrow", shift=shift):
        blocks = [Banana(sizes.scale), correlated(sizes.banana - 2, 10.0, seed=seed)]
        yield f"banana, {sizes.banana} latents, {kind}", Blocks(blocks, kind)
    small, middle, large = sizes.funnel
    kinds = _kind("exact", "exact", "narrow", "factorised", shift=shift)
    for dim, kind in zip((small, middle, middle, large), kinds, strict=True):
        yield f"funnel, {dim} latents, {kind}", Blocks([Funnel(dim - 1)], kind)
    scale, dim = sizes.ring
    for kind in _kind("exact", "narrow", "shifted", shift=shift):
        yield f"ring, {kind}", Blocks([Ring(scale=scale)], kind)
    for kind in _kind("wide", shift=shift):
        block = correlated(dim - 2, 100.0, seed=seed)
        yield f"ring, {dim} latents, {kind}", Blocks([Ring(scale=scale), block], kind)
    for dim, kind in zip(sizes.heavy, _kind("exact", "narrow", "shifted", shift=shift), strict=True):
        yield f"heavy tails, {dim} latents, {kind}", Blocks([HeavyTails(dim, sizes.df)], kind)
