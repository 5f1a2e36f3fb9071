r"""The variational autoencoder: four replaceable parts put together into a Pyro model and guide.

    z     ~ prior                      p(z)
    x | z ~ likelihood(decoder(z))     p(x|z)
    z | x ~ guide(encoder(x))          q(z|x)

`vae.model` and `vae.guide` are ordinary Pyro programs with the sites "z" and "x" inside the plate "data".
What is done with them (training, log p(x), sampling, pictures) is derived from these two functions and
written nowhere again.

Reference:
    Kingma & Welling (2014), "Auto-Encoding Variational Bayes"; Doersch (2016), "Tutorial on Variational
    Autoencoders"; Prince (2023), "Understanding Deep Learning", chapter 17.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import InputError, sizes
from pyrovae.guides import DiagonalNormal, Guide
from pyrovae.likelihoods import Bernoulli, Likelihood
from pyrovae.networks import MLP, Headed, Network
from pyrovae.part import Declared, Part, public_path
from pyrovae.priors import Prior, StandardNormal
from pyrovae.terms import DATA

__all__ = ["VAE"]

Shape = tuple[int, ...]

# Pyro's parameter store is global: two models under one name would share (and never train) parameters.
_NAMES: weakref.WeakKeyDictionary[VAE, str] = weakref.WeakKeyDictionary()
_COUNT = itertools.count()
_SPACES = {
    "Real": "the reals",
    "IntegerGreaterThan": "whole numbers",
    "Sphere": "the sphere",
    "OneHot": "one-hot vectors",
}


class VAE(Declared, nn.Module):
    r"""A variational autoencoder, declared by its parts.

    \[p(x, z) = p(z)\, p(x|z), \qquad q(z|x) \approx p(z|x)\]

    The parts are copied, so one declaration may be used for many models. The declaration is checked at
    once by a dry run on two data.

    Arguments:
        event_shape: the shape of one datum.
        latent_dim: the size D of z.
        prior: p(z); `StandardNormal()` unless given.
        likelihood: p(x|z); `Bernoulli()` unless given.
        guide: q(z|x); `DiagonalNormal()` unless given.
        encoder: the network that reads x; `MLP()` unless given.
        decoder: the network that reads z; `MLP()` unless given.
        context_shape: the shape of one context c (a label, half an image) for a conditional VAE, in which
            every part sees c: p(z|c), p(x|z, c), q(z|x, c).

    Raises:
        InputError: for a size below 1, or a part that cannot be combined with the others.

    Example:
        >>> vae = VAE((1, 8, 8), latent_dim=2, encoder=MLP(32), decoder=MLP(32))
        >>> print(vae)
        VAE of events (1, 8, 8) with latents (2,), 4,420 parameters
          z     ~ StandardNormal()                                    p(z)
          x | z ~ Bernoulli()       of MLP(32, activation='relu')(z)  p(x|z)
          z | x ~ DiagonalNormal()  of MLP(32, activation='relu')(x)  q(z|x)
        >>> vae == VAE.from_dict(vae.to_dict())
        True
    """

    def __init__(
        self,
        event_shape: Shape,
        latent_dim: int = 16,
        *,
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        guide: Guide | None = None,
        encoder: Network | None = None,
        decoder: Network | None = None,
        context_shape: Shape | None = None,
    ) -> None:
        super().__init__()
        self.event_shape = _shape("event_shape", event_shape)
        self.latent_dim = _size("latent_dim", latent_dim)
        self.context_shape = None if context_shape is None else _shape("context_shape", context_shape)
        self.prior = _part("prior", prior, StandardNormal, Prior)
        self.likelihood = _part("likelihood", likelihood, Bernoulli, Likelihood)
        self.q = _part("guide", guide, DiagonalNormal, Guide)
        encoder = _part("encoder", encoder, MLP, Network)
        decoder = _part("decoder", decoder, MLP, Network)
        self._attach(encoder, decoder)
        self._dry_run()

    def _attach(self, encoder: Network, decoder: Network) -> None:
        context_dim = 0 if self.context_shape is None else math.prod(self.context_shape)
        with _naming("prior", self.prior):
            self.prior.latent_dim = self.latent_dim  # also for an `attach` that forgets its base's
            self.prior.attach(self.latent_dim, context_dim)
        with _naming("likelihood", self.likelihood):
            self.likelihood.attach(self.event_shape)
        with _naming("encoder", encoder):
            encoder.attach(self.likelihood.input_shape, None, context_dim)
        with _naming("decoder", decoder):
            decoder.attach((self.prior.visible,), self.event_shape, context_dim)
        with _naming("encoder and guide", encoder, self.q):
            self.q.attach(self.prior.size, encoder.features)
            self.recognition = Headed(encoder, self.q.param_shapes)
        with _naming("decoder and likelihood", decoder, self.likelihood):
            self.generation = Headed(decoder, self.likelihood.param_shapes)
        with _naming("prior", self.prior):
            self.prior.connect(self.recognition, self.q, self.likelihood.input_shape)

    @property
    def encoder(self) -> Network:
        """The network that reads x."""
        return self.recognition.network

    @property
    def decoder(self) -> Network:
        """The network that reads z."""
        return self.generation.network

    # ---------------------------------------------------------------- distributions

    def encode(self, x: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """The distribution q(z|x): x (*, *event) -> batch (*), event (D,)."""
        return self.q(**self.recognition(self.likelihood.inputs(x), self._flat(context)))

    def decode(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """The distribution p(x|z): z (*, D) -> batch (*), event `event_shape`."""
        return self.likelihood(**self.generation(z[..., : self.prior.visible], self._flat(context)))

    def latents(self, context: Tensor | None = None) -> dist.TorchDistribution:
        """The distribution p(z), or p(z|c): event (D,)."""
        return self.prior(self._flat(context))

    def _flat(self, context: Tensor | None) -> Tensor | None:
        if self.context_shape is None:
            if context is not None:
                raise InputError("this VAE takes no context: declare it with context_shape=")
            return None
        dims = len(self.context_shape)
        if context is None or (dims and tuple(context.shape[-dims:]) != self.context_shape):
            came = "none" if context is None else f"shape {tuple(context.shape)}"
            raise InputError(
                f"this VAE needs a context of shape (*, {sizes(self.context_shape)}), not {came}"
            )
        return context.flatten(-dims) if dims else context.unsqueeze(-1)

    @torch.no_grad()
    def sample(self, count: int, context: Tensor | None = None, *, mean: bool = False) -> Tensor:
        """Data drawn from p(x), (count, *event); with `mean`, E[x|z] of each drawn z instead of a draw.

        A likelihood that knows no mean gives a draw also then.
        """
        z = self.latents(context).expand((count,)).sample()
        law = self.decode(z, context)
        return _mean_or_draw(law) if mean else law.sample()

    @torch.no_grad()
    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """E[x|z], or a draw where it is not known, at a draw z ~ q(z|x): x (B, *event) -> (B, *event)."""
        return _mean_or_draw(self.decode(self.encode(x, context).sample(), context))

    # ---------------------------------------------------------------- programs

    def model(self, x: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """The generative program p(z) p(x|z), a Pyro model; with x None it draws data.

        Arguments:
            x: data (B, *event), observed when given.
            context: (B, *context_shape) when the VAE has one; it sets B when x is None, else B is 1.

        Returns:
            x, observed or drawn, of shape (*, B, *event).
        """
        self._register("generative", self.prior, self.generation, self.likelihood)
        with pyro.plate(DATA, self._count(x, context), dim=-1):
            z = pyro.sample("z", self.latents(context))
            return pyro.sample("x", self.decode(z, context), obs=x)

    def guide(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The recognition program q(z|x), a Pyro guide; returns z of shape (*, B, D)."""
        self._register("recognition", self.recognition, self.q)
        with pyro.plate(DATA, self._count(x, context), dim=-1):
            return pyro.sample("z", self.encode(x, context))

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Let the parts that start from data look at training data (N, *event), before the first step.

        The likelihood sees the data, the other parts what the encoder reads of them.
        """
        self.likelihood.start_from(x)
        read = self.likelihood.inputs(x)
        for part in (self.prior, self.q, self.encoder, self.decoder):
            part.start_from(read)

    def _register(self, role: str, *modules: nn.Module) -> None:
        name = _NAMES.setdefault(self, f"vae{next(_COUNT)}")
        for i, module in enumerate(modules):
            pyro.module(f"{name}.{role}{i}", module)

    def _count(self, x: Tensor | None, context: Tensor | None) -> int:
        if x is None:
            return 1 if context is None else len(context)
        if tuple(x.shape[1:]) != self.event_shape:
            raise InputError(f"x must have shape (B, {sizes(self.event_shape)}), not {tuple(x.shape)}")
        return len(x)

    # ---------------------------------------------------------------- declaration

    def to_dict(self) -> dict[str, Any]:
        """The declaration as plain values: sizes, and `class_path` and `init_args` of each part."""
        parts: dict[str, Any] = {name: part.to_dict() for name, part in self._parts()}
        sizes = {"event_shape": list(self.event_shape), "latent_dim": self.latent_dim}
        context = None if self.context_shape is None else list(self.context_shape)
        return sizes | parts | {"context_shape": context}

    @classmethod
    def from_dict(cls, declaration: Mapping[str, Any]) -> Self:
        """A new VAE, with nothing learned, from what `to_dict` gave.

        Raises:
            InputError: for a part that cannot be imported or built.
        """
        bases = {
            "prior": Prior,
            "likelihood": Likelihood,
            "guide": Guide,
            "encoder": Network,
            "decoder": Network,
        }
        given = dict(declaration)
        parts = {name: base.from_dict(given[name]) for name, base in bases.items() if given.get(name)}
        return cls(**(given | parts))

    def hyperparameters(self) -> dict[str, Any]:
        """The keyword arguments that declare this VAE; its parts are the attached ones."""
        sizes = {"event_shape": self.event_shape, "latent_dim": self.latent_dim}
        return sizes | dict(self._parts()) | {"context_shape": self.context_shape}

    def clone(self) -> Self:
        """A new VAE with the same declaration and nothing learned."""
        return type(self)(**self.hyperparameters())

    def _parts(self) -> Iterator[tuple[str, Part]]:
        yield "prior", self.prior
        yield "likelihood", self.likelihood
        yield "guide", self.q
        yield "encoder", self.encoder
        yield "decoder", self.decoder

    def __repr__(self) -> str:
        c = "" if self.context_shape is None else ", c"
        given = "" if self.context_shape is None else " | c"
        context = "" if self.context_shape is None else f", contexts {self.context_shape}"
        count = sum(p.numel() for p in self.parameters())
        x_law, z_law = repr(self.likelihood), repr(self.q)
        width = max(len(x_law), len(z_law))
        rows = [
            (f"z{given}", repr(self.prior), f"p(z{given})"),
            (f"x | z{c}", f"{x_law:<{width}}  of {self.decoder!r}(z{c})", f"p(x|z{c})"),
            (f"z | x{c}", f"{z_law:<{width}}  of {self.encoder!r}(x{c})", f"q(z|x{c})"),
        ]
        left, middle = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = [f"  {a:<{left}} ~ {b:<{middle}}  {p}" for a, b, p in rows]
        what = f"events {self.event_shape} with latents ({self.latent_dim},){context}"
        head = f"VAE of {what}, {count:,} parameters"
        return "\n".join([head, *lines])

    __hash__ = object.__hash__

    # ---------------------------------------------------------------- checks

    @torch.no_grad()
    def _dry_run(self) -> None:
        """Draw two data through every part, so that a part that does not fit fails here and by name."""
        first = next(self.parameters())
        lead: dict[str, Any] = {"dtype": first.dtype, "device": first.device}
        context = None if self.context_shape is None else torch.zeros(2, *self.context_shape, **lead)
        with torch.random.fork_rng(devices=[]):
            with _naming("prior", self.prior):
                prior = self.latents(context)
                z = _draw(prior, (self.prior.size,))
            with _naming("decoder and likelihood", self.decoder, self.likelihood):
                x = _draw(self.decode(z, context), self.event_shape)
            with _naming("encoder and guide", self.encoder, self.q):
                q = self.encode(x.to(first.dtype), context)
                _draw(q, (self.prior.size,))
            if not (_covers(prior, q) and _covers(q, prior)):
                raise InputError(
                    f"the guide {self.q!r} and the prior {self.prior!r} live on different spaces "
                    f"({_space(q)} and {_space(prior)}): {self.prior.advice}"
                )


def _draw(law: dist.TorchDistribution, event_shape: Shape) -> Tensor:
    if tuple(law.event_shape) != event_shape:
        raise ValueError(f"its distribution has event shape {tuple(law.event_shape)}, expected {event_shape}")
    law = law if tuple(law.batch_shape) == (2,) else law.expand((2,))
    draw = law.sample()
    law.log_prob(draw)
    return draw


def _covers(law: dist.TorchDistribution, other: dist.TorchDistribution) -> bool:
    """Whether draws of the other law have a density under this one."""
    draws = (other if tuple(other.batch_shape) == (2,) else other.expand((2,))).sample()
    try:
        support = law.support
    except NotImplementedError:
        return True
    return support is None or bool(support.check(draws).all())


def _space(law: dist.TorchDistribution) -> str:
    """The space of a law in words, as far as its support says."""
    support = law.support
    name = type(getattr(support, "base_constraint", support)).__name__.strip("_")
    return _SPACES.get(name, name.lower())


def _mean_or_draw(law: dist.TorchDistribution) -> Tensor:
    try:
        return law.mean
    except NotImplementedError:
        return law.sample()


@contextmanager
def _naming(role: str, *parts: Part) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        shown = " with ".join(map(repr, parts))
        reason = " ".join(str(error).split())
        raise InputError(f"the {role} {shown} cannot be used here: {reason}") from error


def _part(role: str, given: Part | None, default: type[Part], base: type[Part]) -> Any:  # noqa: ANN401
    part = default() if given is None else given
    if not isinstance(part, base):
        raise InputError(f"{role} must be a {public_path(base)}, as in {default.__name__}(), not {part!r}")
    return part.clone()


def _shape(name: str, given: Any) -> Shape:  # noqa: ANN401
    if isinstance(given, str) or not isinstance(given, (int, Sequence)):
        raise InputError(f"{name} must be a shape, as in (1, 28, 28), not {given!r}")
    sizes = (given,) if isinstance(given, int) else given
    return tuple(_size(name, size) for size in sizes)


def _size(name: str, size: Any) -> int:  # noqa: ANN401
    try:
        whole = not isinstance(size, bool) and int(size) == size and size >= 1
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise InputError(f"{name} must be made of whole numbers of 1 or more, not {size!r}")
    return int(size)
