"""Samples that depend on the seed and the row only, not on how the work is split into pieces.

Every row has a key, a hash of its own values, and its noise for a block of particles comes from a
generator seeded with (seed, site, key, block). So the estimate for a row is the same up to rounding
for any chunk size, order of rows or number of processes. Sites whose distribution is Normal, is
elementwise with an inverse distribution function, or is a transformation of these are drawn for all
rows at once. Other sites are drawn row by row. Only a distribution that cannot be split into rows
is drawn as a whole, with the seed of the first row of the piece.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.distributions import Columns, Composed, Rescaled
from pyrovae.terms import DATA, PARTICLES

__all__ = [
    "BLOCK",
    "GivenNoise",
    "KeyedDraws",
    "KeyedNoise",
    "NotedDraws",
    "SiteNoise",
    "data_keys",
    "draw_from",
    "fill_inside",
]

# The number of particles per generator; pieces of particles end at multiples of it.
BLOCK = 250


def data_keys(rows: Rows) -> np.ndarray:
    """A key for each row: a hash of its values, its context and its label.

    The number of equal rows before a row is hashed too, since equal rows would otherwise have the
    same samples. Values are hashed in float32, so that a row has one key in both types, and in
    float64 if rows are equal in float32 only.
    """
    parts = [part.detach().cpu() for part in (rows.x, rows.context, rows.y) if part is not None]
    hashes = _row_hashes([part.float() if part.dtype == torch.float64 else part for part in parts])
    if rows.x.dtype == torch.float64:
        hashes = _told_apart(hashes, _row_hashes(parts))
    keys, counts = [], Counter[int]()
    for key in hashes:
        keys.append(_hash(key, counts[key]))
        counts[key] += 1
    return np.array(keys, dtype=np.uint64)


def _row_hashes(parts: Sequence[Tensor]) -> list[int]:
    tables = [part.reshape(len(part), -1).numpy() for part in parts]
    return [_hash(*(values.tobytes() for values in row)) for row in zip(*tables, strict=True)]


def _told_apart(hashes: list[int], exact: list[int]) -> list[int]:
    """The exact hashes of rows that share a float32 hash with a different row."""
    kinds: dict[int, set[int]] = {}
    for key, full in zip(hashes, exact, strict=True):
        kinds.setdefault(key, set()).add(full)
    return [key if len(kinds[key]) == 1 else full for key, full in zip(hashes, exact, strict=True)]


class KeyedDraws(Messenger):
    """Draws the latent sites of a program from generators keyed by row and particle block.

    Arguments:
        keys: the keys of the rows of this piece, one for each column.
        seed: the seed of the evaluation.
        first: the number of this piece's first particle, a multiple of `BLOCK`.
    """

    def __init__(self, keys: Sequence[int] | np.ndarray, seed: int, first: int = 0) -> None:
        super().__init__()
        self.keys, self.seed, self.first = keys, seed, first

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        if msg["done"] or msg["is_observed"] or msg["value"] is not None or site_is_subsample(msg):
            return
        axes = {f.name: f.dim + len(msg["fn"].batch_shape) for f in msg["cond_indep_stack"] if f.vectorized}
        try:
            if not axes.keys() >= {DATA, PARTICLES}:
                raise _Uncut
            msg["value"] = self._drawn(msg["fn"], msg["name"], axes[DATA], axes[PARTICLES])
            msg["done"] = True
        except _Uncut:
            torch.manual_seed(_hash(msg["name"].encode(), self.seed, self.first, self.keys[0]) % 2**63)

    def _drawn(self, fn: Any, name: str, data: int, particles: int) -> Tensor:  # noqa: ANN401
        return draw_from(fn, _Noise(self, name, data, particles))


class NotedDraws(KeyedDraws):
    """Draws sites, and notes which noise they use.

    Attributes:
        noise: the noise of each site; None for a site that is not scaled and shifted noise.
    """

    def __init__(self, keys: Sequence[int] | np.ndarray, seed: int, first: int = 0) -> None:
        super().__init__(keys, seed, first)
        self.noise: dict[str, SiteNoise | None] = {}

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        if not (msg["done"] or msg["is_observed"] or site_is_subsample(msg)):
            self.noise[msg["name"]] = None
        super()._pyro_sample(msg)

    def _drawn(self, fn: Any, name: str, data: int, particles: int) -> Tensor:  # noqa: ANN401
        noise = _Noise(self, name, data, particles)
        value = draw_from(fn, noise)
        if noise.shapes and _is_affine(fn):
            self.noise[name] = SiteNoise(name, *noise.shapes)
        return value


class SiteNoise(NamedTuple):
    """The noise of a site, (K, B, *rest).

    Attributes:
        name: the name of the site.
        rest: the sizes of the other axes.
        dtype: the type of the noise.
    """

    name: str
    rest: torch.Size
    dtype: torch.dtype

    def drawn(self, keys: Sequence[int] | np.ndarray, seed: int, first: int, count: int) -> Tensor:
        """The noise of `count` particles of rows, from particle `first` on."""
        noise = _Noise(KeyedDraws(keys, seed, first), self.name, data=1, particles=0)
        like = torch.empty((), dtype=self.dtype).expand(count, len(keys), *self.rest)
        return noise(like, Tensor.normal_)


class GivenNoise(KeyedDraws):
    """Draws sites from given noise.

    Arguments:
        noise: the noise of each site, (K, B, *rest).
    """

    def __init__(self, noise: Mapping[str, Tensor]) -> None:
        super().__init__([], 0)
        self.noise = noise

    def _drawn(self, fn: Any, name: str, data: int, particles: int) -> Tensor:  # noqa: ANN401
        return draw_from(fn, lambda like, fill: self.noise[name].movedim((1, 0), (data, particles)))


def _is_affine(fn: Any) -> bool:  # noqa: ANN401
    """Whether a sample of a distribution is scaled and shifted normal noise."""
    while isinstance(fn, (dist.Independent, torch.distributions.Independent, dist.MaskedDistribution)):
        fn = fn.base_dist
    return isinstance(fn, (torch.distributions.Normal, torch.distributions.MultivariateNormal))


class KeyedNoise:
    """A stream of noise for each row, for steps that are taken one after another.

    Arguments:
        keys: the keys of B rows.
        seed: the seed of the evaluation.
        name: the name of the stream.
    """

    def __init__(self, keys: Sequence[int] | np.ndarray, seed: int, name: str) -> None:
        seeds = (_hash(name.encode(), seed, key) % 2**63 for key in keys)
        self.generators = [torch.Generator().manual_seed(s) for s in seeds]

    def __call__(self, like: Tensor, fill: Callable[..., Any]) -> Tensor:
        """Noise of the shape of `like`, (K, B, *rest); `fill` fills a tensor with noise."""
        out = torch.empty(like.shape[1], like.shape[0], *like.shape[2:], dtype=like.dtype)
        for column, generator in zip(out, self.generators, strict=True):
            fill(column, generator=generator)
        return out.transpose(0, 1).to(like.device)


class _Noise:
    """The noise of one site, from one generator for each row and block of particles.

    Arguments:
        draws: has the keys and the seed.
        name: the name of the site.
        data, particles: the axes of rows and particles in the batch shape of the site's
            distribution.
    """

    def __init__(self, draws: KeyedDraws, name: str, data: int, particles: int) -> None:
        self.draws, self.name, self.data, self.particles, self.calls = draws, name, data, particles, 0
        self.shapes: tuple[torch.Size, torch.dtype] | None = None

    def __call__(self, like: Tensor, fill: Callable[..., Any]) -> Tensor:
        """Noise of the shape of `like`; `fill` fills a tensor with noise from a generator."""
        in_front, is_far = like.movedim((self.data, self.particles), (0, 1)).shape, _is_far(like)
        self.shapes = in_front[2:], like.dtype
        shape = (*in_front[:2], math.prod(in_front[2:]))
        # The GPU copies from pinned memory while the CPU draws the noise of the next piece.
        out = torch.empty(shape, dtype=like.dtype, pin_memory=is_far and like.is_cuda)

        def draw(place: tuple[int, int, torch.Generator]) -> None:
            column, block, generator = place
            part = out[column, block : block + BLOCK]
            if len(part) == BLOCK:
                fill(part, generator=generator)
                return
            whole = torch.empty(BLOCK, out.shape[2], dtype=like.dtype)
            fill(whole, generator=generator)  # so that K particles are the first K of a larger number
            part.copy_(whole[: len(part)])

        places = self._generators(in_front[1])
        deque(_threads().map(draw, list(places)) if is_far else map(draw, places), maxlen=0)
        noise = out.reshape(in_front).to(like.device, non_blocking=True)
        return noise.movedim((0, 1), (self.data, self.particles))

    def each(self, fn: Any) -> Tensor:  # noqa: ANN401
        """A sample of a distribution, drawn for each row and block in turn."""
        columns: list[list[Tensor]] = [[] for _ in self.draws.keys]
        with torch.random.fork_rng(devices=[]):
            for column, block, generator in self._generators(fn.batch_shape[self.particles]):
                index = [slice(None)] * len(fn.batch_shape)
                index[self.data], index[self.particles] = (
                    slice(column, column + 1),
                    slice(block, block + BLOCK),
                )
                one = _cut(fn, tuple(index))
                _seed(generator.initial_seed(), out_of=fn)
                columns[column].append(one.rsample() if one.has_rsample else one.sample())
        return torch.cat([torch.cat(blocks, self.particles) for blocks in columns], self.data)

    def _generators(self, particles: int) -> Iterator[tuple[int, int, torch.Generator]]:
        self.calls += 1
        mark = f"{self.name}/{self.calls}".encode()
        for column, key in enumerate(self.draws.keys):
            for block in range(0, particles, BLOCK):
                seed = _hash(mark, self.draws.seed, key, self.draws.first + block)
                yield column, block, torch.Generator().manual_seed(seed % 2**63)


def _is_far(like: Tensor) -> bool:
    """Whether a GPU computes, so that all CPU threads may draw noise."""
    return like.is_cuda


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads that draw noise; they do not change the state of torch and Pyro."""
    return ThreadPoolExecutor(min(16, os.cpu_count() or 1), "pyrovae-noise")


def draw_from(fn: Any, noise: Any) -> Tensor:  # noqa: ANN401
    """A sample of a distribution.

    Raises:
        _Uncut: if it cannot be split into rows.
    """
    if isinstance(fn, (dist.Independent, torch.distributions.Independent, dist.MaskedDistribution)):
        return draw_from(fn.base_dist, noise)
    if isinstance(fn, (dist.TransformedDistribution, torch.distributions.TransformedDistribution)):
        value = draw_from(fn.base_dist, noise)
        for transform in fn.transforms:
            value = transform(value)
        return value
    if isinstance(fn, torch.distributions.Normal):
        return fn.loc + fn.scale * noise(fn.loc, torch.Tensor.normal_)
    if isinstance(fn, torch.distributions.MultivariateNormal):
        eps = noise(fn.loc, torch.Tensor.normal_).unsqueeze(-1)
        return fn.loc + (fn._unbroadcasted_scale_tril @ eps).squeeze(-1)
    if isinstance(fn, (Composed, Columns, Rescaled)):
        return fn.compose(lambda part: draw_from(part, noise))
    like = next((v for v in vars(fn).values() if isinstance(v, Tensor) and v.is_floating_point()), None)
    if not fn.event_shape and fn.has_rsample and like is not None:
        with suppress(NotImplementedError):
            return fn.icdf(noise(like.new_empty(()).expand(fn.batch_shape), fill_inside))
    return noise.each(fn)


def _seed(seed: int, *, out_of: Any) -> None:  # noqa: ANN401
    """Seed the generator of a distribution's device; seeding all devices takes milliseconds."""
    tensors = [value for value in vars(out_of).values() if isinstance(value, Tensor)]
    if tensors and all(value.device.type == "cpu" for value in tensors):
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def fill_inside(out: Tensor, generator: torch.Generator) -> None:
    """Uniform noise away from 0 and 1, where an inverse distribution function is infinite."""
    tiny = torch.finfo(out.dtype).eps
    out.uniform_(tiny, 1 - tiny, generator=generator)


class _Uncut(Exception):
    """Raised if a distribution cannot be split into rows."""


def _cut(fn: Any, index: tuple[slice, ...]) -> Any:  # noqa: ANN401
    """The distribution of one row and some particles, with all axes.

    Raises:
        _Uncut: if its parameters do not determine it.
    """
    if isinstance(fn, torch.distributions.Independent):
        return _cut(fn.base_dist, index).to_event(fn.reinterpreted_batch_ndims)
    names = set(inspect.signature(type(fn)).parameters) - {"validate_args"}
    for name, others in _SAME_PARAMETER.items():
        names -= others if name in names else set()
    parameters = {name: getattr(fn, name, _Uncut) for name in names}
    for name, value in parameters.items():
        if isinstance(value, torch.distributions.Distribution):
            parameters[name] = _cut(value, index)
        elif isinstance(value, Tensor) and value.dim():
            if value.shape[: len(fn.batch_shape)] != fn.batch_shape:
                raise _Uncut
            parameters[name] = value[index]
        elif value is _Uncut:
            raise _Uncut
    given = {name: value for name, value in parameters.items() if value is not None}
    return type(fn)(**given, validate_args=False)


# Alternative names of one parameter; a constructor takes one of them.
_SAME_PARAMETER = {
    "gate_logits": {"gate"},
    "logits": {"probs"},
    "scale_tril": {"covariance_matrix", "precision_matrix"},
}


def _hash(*parts: bytes | int) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else int(part).to_bytes(16, "little", signed=True))
    return int.from_bytes(digest.digest(), "little")
