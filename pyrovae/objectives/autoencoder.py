r"""Autoencoders: the code of x is the mean m(x) of q(z|x), without noise and without a divergence.

    plain         log p(x | z = m(x))
    sparse        minus a penalty on the entries of m(x), or with the k largest entries only
    denoising     m reads x with noise, and p(x|z) scores x without
    contractive   minus lambda ||dm/dx||^2

They are what a VAE is compared with. They need no prior, so samples of p(z) are not codes, until a
prior is fitted to the codes afterwards (`pyrovae.fit_prior`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from pyrovae.checks import number, one_of
from pyrovae.errors import InputError
from pyrovae.networks.modes import in_mode
from pyrovae.numerics import inverse_positive
from pyrovae.objectives.base import Objective
from pyrovae.terms import TracePair

if TYPE_CHECKING:
    from pyrovae.terms import Program

__all__ = ["Autoencoder"]

SCALE = 0.01  # of q(z|x), which nothing trains: so its samples are the codes, nearly
STEP = 0.01  # in the encoder's input, of the difference that estimates ||dm/dx||^2
SHARE = 0.05  # of the time in which a code of kind "kl" is active


class Autoencoder(Objective):
    r"""The reconstruction from the mean of the guide, minus a penalty on the code.

    \[\log p(x | z = m(x)) - \lambda\, \Omega(m(x)) - c\, \|\partial m / \partial x\|^2\]

    With the code m(x), the mean of q(z|x), in nats per observation. The penalty \(\Omega\) is

    - "l1": \(\sum_d |m_d|\);
    - "kl": \(\sum_d \mathrm{KL}(0.05 \| a_d)\), with the mean \(a_d\) over the batch of
      \(1 / (1 + e^{-m_d})\), the activation;
    - "topk": none. The decoder reads the k entries farthest from zero, and zeros instead of the
      others, which are pulled towards zero by \(\tfrac12 m_d^2\).

    The scale of q(z|x) has no gradient. A new run of a VAE sets it to 0.01 for all x, so that
    samples of q(z|x) are the codes, nearly. The prior is not trained either. `bound` is the ELBO of
    this q(z|x), a true bound on log p(x), and usually a low one; the weights to keep are chosen by
    the objective.

    Arguments:
        sparsity: \(\lambda\), the weight of the penalty. For "topk" the share of entries that are
            zero, at least 0 and below 1.
        kind: the penalty, "l1", "kl" or "topk". Larger weights of the decoder make up for a smaller
            code, so "l1" is best combined with the optimiser adamw.
        noise: the standard deviation of the noise in the encoder's input (pixels between 0 and 1;
            standardised numbers of tables), for a denoising autoencoder.
        contraction: c, estimated by the difference of codes at a random small step of the input.

    Raises:
        InputError: for a number out of range or an unknown kind; by `fit`, for a guide without a
            known mean (flows, discrete latents), and with kl_warmup.

    Reference:
        Vincent, Larochelle, Bengio & Manzagol (2008), "Extracting and Composing Robust Features
        with Denoising Autoencoders"; Rifai, Vincent, Muller, Glorot & Bengio (2011), "Contractive
        Auto-Encoders"; Makhzani & Frey (2014), "k-Sparse Autoencoders"; Ng (2011), "Sparse
        Autoencoder", CS294A lecture notes.

    Example:
        >>> from pyrovae import VAE, terms
        >>> vae = VAE((4,), latent_dim=2)
        >>> x = torch.ones(3, 4)
        >>> pair = terms.run(vae.model, vae.guide, x)
        >>> wanted = vae.decode(vae.encode(x).mean).log_prob(x)
        >>> torch.allclose(Autoencoder().ascended(pair), wanted)
        True
    """

    stratified = False
    anneals = False
    _program: tuple[Any, ...] = ()

    def __init__(
        self,
        sparsity: float = 0.0,
        kind: Literal["l1", "kl", "topk"] = "l1",
        noise: float = 0.0,
        contraction: float = 0.0,
    ) -> None:
        super().__init__()
        self.kind = one_of("kind", kind, ("l1", "kl", "topk"))
        self.sparsity = number("sparsity", sparsity, least=0)
        if kind == "topk" and not sparsity < 1:
            raise InputError(
                f"sparsity of kind 'topk' is the share of entries that are zero, not {sparsity}: give a "
                "number below 1"
            )
        self.noise = number("noise", noise, least=0)
        self.contraction = number("contraction", contraction, least=0)
        self.of_batch = kind == "kl" and sparsity > 0

    def begin(self, rows: int, program: Program) -> None:
        super().begin(rows, program)
        self._program = (program,)

    @torch.no_grad()
    def prepare(self, program: Program) -> None:
        heads = getattr(getattr(program, "recognition", None), "heads", {})
        for name, value in (("raw_scale", inverse_positive(SCALE)), ("lower", 0.0), ("factors", 0.0)):
            if name in heads:
                _fix(heads[name], value)

    def check(self, pair: TracePair) -> None:
        pair.means()  # a guide without a mean needs another guide, not another objective
        super().check(pair)

    def note(self, strata: int) -> str:
        return "an autoencoder does not maximise the bound, and the objective chooses the weights"

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        codes = pair.means() if not self.noise else self._codes_with(pair, self.noise)
        penalty: Tensor | float = 0.0
        if self.sparsity:
            name = _only_vector(codes, pair)
            codes, penalty = self._sparse(codes, name)
        if self.contraction:
            penalty = penalty + self.contraction * self._slope(pair)
        return (pair.log_px_at(codes) - penalty).mean(0)

    def _sparse(self, codes: dict[str, Tensor], name: str) -> tuple[dict[str, Tensor], Tensor]:
        """The codes that the decoder reads, and the penalty, (K, B) or ()."""
        z = codes[name]
        if self.kind == "l1":
            return codes, self.sparsity * z.abs().sum(-1)
        if self.kind == "kl":
            active = z.sigmoid().mean((0, 1)).clamp(1e-6, 1 - 1e-6)
            kl = SHARE * (SHARE / active).log() + (1 - SHARE) * ((1 - SHARE) / (1 - active)).log()
            return codes, self.sparsity * kl.sum()
        kept = torch.zeros_like(z).scatter(-1, z.abs().topk(self.count(z.shape[-1]), -1).indices, 1.0)
        return codes | {name: z * kept}, 0.5 * ((1 - kept) * z).square().sum(-1)

    def count(self, size: int) -> int:
        """The number of entries that "topk" keeps of a code of this size.

        Example:
            >>> Autoencoder(sparsity=0.8, kind="topk").count(20)
            4
        """
        return max(1, math.ceil(round((1 - self.sparsity) * size, 6)))

    def _slope(self, pair: TracePair) -> Tensor:
        """An unbiased estimate of ||dm/dx||^2, up to the size of the step, (K, B).

        Both codes are those of evaluation mode: dropout would differ between them.
        """
        program = self._program[0] if self._program else None
        with in_mode(getattr(program, "module", None), training=False):
            near, far = self._codes_with(pair, 0.0), self._codes_with(pair, STEP)
        return ((far[_only_vector(far, pair)] - near[_only_vector(near, pair)]) / STEP).square().sum(-1)

    def _codes_with(self, pair: TracePair, noise: float) -> dict[str, Tensor]:
        """The codes of x with noise in the encoder's input."""
        program = self._program[0] if self._program else None
        if hasattr(program, "input_noise"):
            with _noisy(program, noise):
                return pair.means(pair.call.args[0])
        x = pair.call.args[0]
        return pair.means(x + noise * torch.randn_like(x))


@contextmanager
def _noisy(program: Any, noise: float) -> Iterator[None]:  # noqa: ANN401
    program.input_noise = noise
    try:
        yield
    finally:
        program.input_noise = 0.0


def _only_vector(codes: dict[str, Tensor], pair: TracePair) -> str:
    sites: dict[str, Any] = {name: pair.guide.nodes[name] for name in codes}
    names = [name for name, site in sites.items() if len(site["fn"].event_shape) == 1]
    if len(codes) != 1 or len(names) != 1:
        raise InputError(
            "sparsity and contraction of Autoencoder need a guide with one latent vector z, as a VAE has"
        )
    return names[0]


def _fix(head: nn.Module, value: float) -> None:
    """Let a head give a constant; without a gradient it stays there."""
    for layer in head.modules():
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            layer.weight.zero_()
            layer.bias.fill_(value)
