r"""The VampPrior: the guide averaged over pseudo-inputs.

p(z) = (1/K) sum_k q(z | u_k)

The prior that maximises the ELBO is the mean of q(z|x) over all data. The K points u_k represent
the data.
"""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import Aggregate
from pyrovae.errors import InputError, sizes
from pyrovae.priors.base import Prior, Shape

__all__ = ["VampPrior"]


class VampPrior(Prior):
    r"""A variational mixture of posteriors, \(p(z) = \frac1K \sum_k q(z|u_k)\).

    The encoder and the guide are those of the VAE, and also get gradients through the prior. With a
    context, the pseudo-inputs are encoded with it: \(p(z|c) = \frac1K \sum_k q(z|u_k, c)\).

    This prior becomes wider with its guide at no cost, so a guide that starts too noisy may stay
    uninformative. The network `Gated` of the paper starts well; others may need `kl_warmup`.

    Arguments:
        components: the number K of pseudo-inputs.
        pseudo_inputs: "learned", and clamped to [0, 1] if the data are in [0, 1]; or "data", random
            rows of the training data (or of the validation set of a stream), which are not learned.
        start: the start of learned pseudo-inputs: "constant", all near 0.05, as in the paper; or
            "data", random rows of the training data (always used for data outside [0, 1]).

    Raises:
        InputError: if `components` is below 1, for an unknown word, or outside a VAE.

    Reference:
        Tomczak & Welling (2018), "VAE with a VampPrior".

    Example:
        >>> from pyrovae import VAE
        >>> vae = VAE((4,), latent_dim=2, prior=VampPrior(components=20))
        >>> vae.latents().log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    advice = "the VampPrior has the space of its guide, and this guide's samples leave it"
    u: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        components: int = 500,
        pseudo_inputs: Literal["learned", "data"] = "learned",
        start: Literal["constant", "data"] = "constant",
    ) -> None:
        super().__init__()
        self.components = components
        self.pseudo_inputs = pseudo_inputs
        self.start = start

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        super().attach(latent_dim, context_dim)
        self.check_whole("components")
        self.check_one_of("pseudo_inputs", ("learned", "data"))
        self.check_one_of("start", ("constant", "data"))
        self._sources: tuple[nn.Module, ...] = ()

    def connect(self, recognition: nn.Module, q: nn.Module, input_shape: Shape) -> None:
        self._sources = (recognition, q)
        u = 0.05 + 0.01 * torch.randn(self.components, *input_shape)  # as in the paper
        if self.pseudo_inputs == "learned":
            self.u = nn.Parameter(u)
        else:
            self.register_buffer("u", u)
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.ones(()))

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Use random rows of x (N, *input_shape) as pseudo-inputs, or keep the paper's start."""
        inside = bool((x >= 0).all() and (x <= 1).all())
        if not inside:
            everything = torch.finfo(self.low.dtype).max  # a checkpoint refuses infinite weights
            self.low.fill_(-everything)
            self.high.fill_(everything)
        if inside and self.pseudo_inputs == "learned" and self.start == "constant":
            return
        if x.shape[1:] != self.u.shape[1:]:
            raise InputError(
                f"the pseudo-inputs have shape ({sizes(self.u.shape[1:])}), what the encoder reads, and "
                f"cannot start at data of shape (N, {sizes(x.shape[1:])})"
            )
        # A separate generator, so that other random numbers do not change.
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        rows = order.repeat(1 + self.components // len(x))[: self.components]
        self.u.copy_(x[rows.to(x.device)])

    def forward(self, context: Tensor | None = None) -> dist.TorchDistribution:
        if not self._sources:
            raise InputError("VampPrior needs the guide of a VAE: use it as the prior of a VAE")
        recognition, q = self._sources
        u = torch.clamp(self.u, self.low, self.high)
        # All pseudo-inputs get the same row of the context.
        params = recognition(u, context.unsqueeze(-2) if context is not None else None)
        return Aggregate(lambda chosen: q(**chosen), params)
