r"""A VAE as three functions of tensors, which other programs can run.

encoder   x -> the parameters of q(z|x)
decoder   z -> the parameters of p(x|z), and E[x|z]
score     x and normal noise e -> log w_k = log p(x|z_k) + log p(z_k) - log q(z_k|x), and L_K

z_k = g(x, e_k) is the sample of the guide: location plus scale times noise, or a flow of it.
Uniform noise is \(\Phi(e)\). The functions contain the standardisation, so x is in the user's
units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import Uncapturable
from pyrovae.evidence.draws import draw_from, fill_inside
from pyrovae.vae import VAE

__all__ = ["FUNCTIONS", "Decoder", "Encoder", "Function", "Normals", "Scorer"]

# Parameters that say the same as another one.
_SAME = {"probs": "logits", "covariance_matrix": "scale_tril", "precision_matrix": "scale_tril"}


class Function(nn.Module):
    """A function of a VAE: tensors in, a tuple of tensors out.

    Arguments:
        vae: the VAE, in evaluation mode.

    Attributes:
        inputs: the names of the inputs, without the context.
    """

    inputs: tuple[str, ...]

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def named(self, *tensors: Any) -> dict[str, Tensor]:  # noqa: ANN401
        """The outputs by name."""
        raise NotImplementedError

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.named(*tensors).values())


class Encoder(Function):
    """x (B, *event) -> the parameters of q(z|x), each (B, *)."""

    inputs = ("x",)

    def named(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        vae = self.vae
        q = vae.encode(x, context)
        return _described(q, lambda: vae.recognition(vae.inputs(x), vae._flat(context)))


class Decoder(Function):
    """z (B, D) -> E[x|z] and the parameters of p(x|z), each (B, *)."""

    inputs = ("z",)

    def named(self, z: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        vae = self.vae
        p = vae.decode(z, context)
        seen = z[..., : vae.prior.visible]
        return _described(p, lambda: vae.generation(seen, vae._flat(context)))


class Scorer(Function):
    """x (B, *event) and noise (K, B, N) -> log_w (K, B) and log_px (B,), the bound L_K."""

    inputs = ("x", "noise")

    def named(self, x: Tensor, noise: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        log_w = log_weights(self.vae, x, Normals(noise), noise.shape[:2], context)
        # log K without K, which some programs fix when they trace
        return {"log_w": log_w, "log_px": log_w.logsumexp(0) - torch.ones_like(log_w).sum(0).log()}


FUNCTIONS: dict[str, type[Function]] = {"encoder": Encoder, "decoder": Decoder, "score": Scorer}


def log_weights(
    vae: VAE, x: Tensor, normals: Normals, shape: tuple[int, ...], context: Tensor | None
) -> Tensor:
    """log w = log p(x, s|z) + log p(z) - log q(z|x) at samples made of noise, (K, B)."""
    q = vae.encode(x, context).expand(shape)
    z = draw_from(q, normals)
    p = vae.decode(z, context)
    if vae.mechanism is None:
        log_px = p.log_prob(x)
    else:
        missing = x.isnan().to(z.dtype)
        log_px = vae.mechanism.given(p, missing).log_prob(x) + vae.mechanism.marginal(p).log_prob(missing)
    return log_px + vae.latents(context).log_prob(z) - q.log_prob(z)


class Normals:
    """Standard normal numbers as the noise of a sample, used in turn.

    Arguments:
        noise: (K, B, N); None draws them, to count how many are needed.

    Attributes:
        used: the number for each particle and row, so far.
    """

    def __init__(self, noise: Tensor | None = None) -> None:
        self.noise, self.used = noise, 0

    def __call__(self, like: Tensor, fill: Callable[..., Any]) -> Tensor:
        """Noise of the shape (K, B, *rest), as `fill` would fill it."""
        rest = like.shape[2:]
        part = self._next(like, math.prod(rest)).reshape(*like.shape[:2], *rest)
        if fill is fill_inside:
            tiny = torch.finfo(like.dtype).eps
            return torch.special.ndtr(part).clamp(tiny, 1 - tiny)
        return part

    def each(self, fn: Any) -> Tensor:  # noqa: ANN401
        """A sample of a distribution that is not made of noise for each element.

        Raises:
            Uncapturable: if the sample is not a function of normal noise.
        """
        if not isinstance(
            fn, (dist.LowRankMultivariateNormal, torch.distributions.LowRankMultivariateNormal)
        ):
            raise Uncapturable(f"a sample of {type(fn).__name__} is not a function of normal noise")
        factor, root = fn._unbroadcasted_cov_factor, fn._unbroadcasted_cov_diag.sqrt()
        common = self(fn.loc[..., : factor.shape[-1]], Tensor.normal_)
        return fn.loc + (factor @ common.unsqueeze(-1)).squeeze(-1) + root * self(fn.loc, Tensor.normal_)

    def _next(self, like: Tensor, count: int) -> Tensor:
        first, self.used = self.used, self.used + count
        if self.noise is None:
            return torch.randn(*like.shape[:2], count, dtype=like.dtype)
        return self.noise[..., first : self.used].to(like.dtype)


def noise_size(vae: VAE, x: Tensor, context: Tensor | None) -> int:
    """N, the number of normal numbers that a sample of the guide needs.

    Raises:
        Uncapturable: if a sample is not a function of normal noise.
    """
    normals = Normals()
    log_weights(vae, x, normals, (1, len(x)), context)
    return normals.used


def _described(fn: Any, heads: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:  # noqa: ANN401
    """Mean, standard deviation and parameters of a distribution, or else the network's outputs."""
    moments = {name: _known(fn, name) for name in ("mean", "stddev")}
    base = fn
    while isinstance(base, (dist.Independent, torch.distributions.Independent, dist.MaskedDistribution)):
        base = base.base_dist
    names = list(base.arg_constraints or ("loc", "scale"))
    named = {name: _known(base, name) for name in names if _SAME.get(name) not in names}
    named = {name: value for name, value in named.items() if value is not None}
    if not named:
        named = {f"head_{name}": value for name, value in heads().items()}
    return {name: value for name, value in (moments | named).items() if value is not None}


def _known(fn: Any, name: str) -> Tensor | None:  # noqa: ANN401
    """A tensor that a distribution has; None if it has none of this name."""
    try:
        value = getattr(fn, name, None)
    except NotImplementedError:
        return None
    return value if isinstance(value, Tensor) else None
