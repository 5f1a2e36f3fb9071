"""Draws that depend on the seed and the datum alone, never on how the work was cut into pieces.

Every datum has a key, a hash of its own values, and its noise for a block of particles comes from a
generator seeded with (seed, site, key, block). So the estimate for a datum is the same to rounding
whatever the chunk sizes, the order of the data or the number of processes. Sites whose law is Normal,
is elementwise with an inverse distribution function, or is a transformation of these are drawn so; any
other is drawn from torch's own generator, seeded for the first datum of the piece.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

__all__ = ["BLOCK", "KeyedDraws", "KeyedNoise", "data_keys"]

# Particles of one generator: chunks of particles are cut at multiples of it.
BLOCK = 250


def data_keys(x: Tensor, context: Tensor | None = None) -> list[int]:
    """A key for each datum: a hash of its values and of its context's."""
    tables = [t.detach().cpu().reshape(len(t), -1).numpy() for t in (x, context) if t is not None]
    return [_hash(*(row.tobytes() for row in rows)) for rows in zip(*tables, strict=True)]


class KeyedDraws(Messenger):
    """Draws the latent sites of a program from generators keyed by datum and particle block.

    Arguments:
        keys: the keys of the data of this piece, one for each column.
        seed: the caller's.
        first: the number of this piece's first particle, a multiple of `BLOCK`.
    """

    def __init__(self, keys: Sequence[int], seed: int, first: int = 0) -> None:
        super().__init__()
        self.keys, self.seed, self.first = keys, seed, first

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        if msg["done"] or msg["is_observed"] or msg["value"] is not None or site_is_subsample(msg):
            return
        fn, name = msg["fn"], msg["name"]
        noise = _Noise(self, name)
        value = _draw(fn, noise) if fn.batch_shape[-1:] == (len(self.keys),) else None
        if value is None:
            torch.manual_seed(_hash(name.encode(), self.seed, self.first, self.keys[0]) % 2**63)
            return
        msg["value"] = value
        msg["done"] = True


class KeyedNoise:
    """A stream of noise for each datum, for steps that are taken one after another.

    Arguments:
        keys: of B data.
        seed: the caller's.
        name: of the stream.
    """

    def __init__(self, keys: Sequence[int], seed: int, name: str) -> None:
        seeds = (_hash(name.encode(), seed, key) % 2**63 for key in keys)
        self.generators = [torch.Generator().manual_seed(s) for s in seeds]

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal noise of the shape of `like`, (K, B, *rest)."""
        return self._drawn(like, torch.Tensor.normal_)

    def uniform(self, like: Tensor) -> Tensor:
        """Noise uniform on [0, 1) of the shape of `like`, (K, B, *rest)."""
        return self._drawn(like, torch.Tensor.uniform_)

    def _drawn(self, like: Tensor, fill: Callable[..., Tensor]) -> Tensor:
        out = torch.empty(like.shape[1], like.shape[0], *like.shape[2:], dtype=like.dtype)
        for column, generator in zip(out, self.generators, strict=True):
            fill(column, generator=generator)
        return out.transpose(0, 1).to(like.device)


class _Noise:
    def __init__(self, draws: KeyedDraws, name: str) -> None:
        self.draws, self.name, self.calls = draws, name, 0

    def __call__(self, like: Tensor, *, normal: bool) -> Tensor:
        """Standard normal or uniform noise of the shape of `like`, (..., K, B, *rest)."""
        self.calls += 1
        shape, keys = tuple(like.shape), self.draws.keys
        axis = self._data_axis(shape)
        particles = shape[0] if axis > 0 else 1
        rest = int(np.prod(shape)) // (particles * len(keys))
        out = torch.empty(len(keys), particles, rest, dtype=like.dtype)
        for column, key in zip(out, keys, strict=True):
            for block in range(0, particles, BLOCK):
                part = column[block : block + BLOCK]
                whole = torch.empty(BLOCK, rest, dtype=like.dtype)
                self._fill(whole, key, block, normal=normal)
                part.copy_(whole[: len(part)])
        return _arrange(out, shape, axis).to(like.device)

    def _data_axis(self, shape: tuple[int, ...]) -> int:
        # The batch is (K, B) or (B,): the first axis of the right length after the particles'.
        return 1 if len(shape) > 1 and shape[1] == len(self.draws.keys) else 0

    def _fill(self, out: Tensor, key: int, block: int, *, normal: bool) -> None:
        mark = f"{self.name}/{self.calls}".encode()
        seed = _hash(mark, self.draws.seed, key, self.draws.first + block)
        generator = torch.Generator().manual_seed(seed % 2**63)
        if normal:
            out.normal_(generator=generator)
        else:
            # Away from 0 and 1, where an inverse distribution function is infinite.
            tiny = torch.finfo(out.dtype).eps
            out.uniform_(tiny, 1 - tiny, generator=generator)


def _arrange(out: Tensor, shape: tuple[int, ...], axis: int) -> Tensor:
    if axis == 0:
        return out.reshape(shape)
    return out.transpose(0, 1).reshape(shape)


def _draw(fn: Any, noise: _Noise) -> Tensor | None:  # noqa: ANN401
    if isinstance(fn, (dist.Independent, torch.distributions.Independent, dist.MaskedDistribution)):
        return _draw(fn.base_dist, noise)
    if isinstance(fn, (dist.TransformedDistribution, torch.distributions.TransformedDistribution)):
        value = _draw(fn.base_dist, noise)
        for transform in fn.transforms if value is not None else ():
            value = transform(value)
        return value
    if isinstance(fn, torch.distributions.Normal):
        return fn.loc + fn.scale * noise(fn.loc, normal=True)
    if isinstance(fn, torch.distributions.MultivariateNormal):
        eps = noise(fn.loc, normal=True).unsqueeze(-1)
        return fn.loc + (fn._unbroadcasted_scale_tril @ eps).squeeze(-1)
    return _by_inversion(fn, noise)


def _by_inversion(fn: Any, noise: _Noise) -> Tensor | None:  # noqa: ANN401
    if len(fn.event_shape) or not fn.has_rsample:
        return None
    try:
        return fn.icdf(noise(torch.empty(fn.batch_shape, dtype=torch.get_default_dtype()), normal=False))
    except NotImplementedError:
        return None


def _hash(*parts: bytes | int) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else int(part).to_bytes(16, "little", signed=True))
    return int.from_bytes(digest.digest(), "little")
