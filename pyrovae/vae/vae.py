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
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import Classes as ClassLaw
from pyrovae.distributions import log_shares
from pyrovae.errors import InputError, sizes
from pyrovae.guides import DiagonalNormal, Guide
from pyrovae.likelihoods import Bernoulli, Likelihood
from pyrovae.networks import MLP, Headed, Network
from pyrovae.part import Declared, Part
from pyrovae.priors import Prior, StandardNormal
from pyrovae.terms import DATA
from pyrovae.vae.checks import Shape, covers, draw, naming, part_of, shape_of, size_of, space
from pyrovae.vae.words import in_words

__all__ = ["VAE"]

# Pyro's parameter store is global: two models under one name would share (and never train) parameters.
_NAMES: weakref.WeakKeyDictionary[VAE, str] = weakref.WeakKeyDictionary()
_COUNT = itertools.count()

PIECE = 1000


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
        self.event_shape = shape_of("event_shape", event_shape)
        self.latent_dim = size_of("latent_dim", latent_dim)
        self.prior = part_of("prior", prior, StandardNormal, Prior)
        self.context_shape = self._context_shape(context_shape)
        self.likelihood = part_of("likelihood", likelihood, Bernoulli, Likelihood)
        self.q = part_of("guide", guide, DiagonalNormal, Guide)
        encoder = part_of("encoder", encoder, MLP, Network)
        decoder = part_of("decoder", decoder, MLP, Network)
        self._attach(encoder, decoder)
        self._dry_run()

    def _context_shape(self, given: Shape | None) -> Shape | None:
        """As given; that of the labels for a prior that reads them."""
        shape = None if given is None else shape_of("context_shape", given)
        if not self.prior.labels:
            return shape
        labels = (int(self.prior.states or 0),)
        if shape not in (None, labels):
            raise InputError(
                f"the prior {self.prior!r} reads the context as labels of shape {labels}, not {shape}: leave "
                "context_shape out, or labels"
            )
        return labels

    def _attach(self, encoder: Network, decoder: Network) -> None:
        read = None if self.prior.labels else self.context_shape
        context_dim = 0 if read is None else math.prod(read)
        with naming("prior", self.prior):
            self.prior.latent_dim = self.latent_dim  # also for an `attach` that forgets its base's
            self.prior.attach(self.latent_dim, context_dim)
        with naming("likelihood", self.likelihood):
            self.likelihood.attach(self.event_shape)
        with naming("encoder", encoder):
            encoder.attach(self.likelihood.input_shape, None, context_dim)
        with naming("decoder", decoder):
            decoder.attach((self.prior.visible,), self.event_shape, context_dim)
        with naming("encoder and guide", encoder, self.q):
            self.q.attach(self.prior.size, encoder.features)
            self.recognition = Headed(encoder, self.q.param_shapes)
        with naming("decoder and likelihood", decoder, self.likelihood):
            self.generation = Headed(decoder, self.likelihood.param_shapes)
        with naming("prior", self.prior):
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
        return self.q(**self._params(x, context))

    def _params(self, x: Tensor, context: Tensor | None) -> dict[str, Any]:
        """The guide's parameters; with labels also the class where it is known."""
        params = self.recognition(self.likelihood.inputs(x), self._read(context))
        known = self.prior.labels and self.q.states is not None
        return params | {"known": self._flat(context)} if known else params

    def decode(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """The distribution p(x|z): z (*, D) -> batch (*), event `event_shape`."""
        return self.likelihood(**self.generation(z[..., : self.prior.visible], self._read(context)))

    def latents(self, context: Tensor | None = None) -> dist.TorchDistribution:
        """The distribution p(z), or p(z|c): event (D,)."""
        return self.prior(self._flat(context))

    def responsibilities(self, x: Tensor, context: Tensor | None = None, *, particles: int = 100) -> Tensor:
        r"""The probabilities of the classes of each datum, (K, B, C).

        \(p(c|z_k)\) at draws \(z_k \sim q(z|x)\), by Bayes' rule from a mixture prior; their mean over K
        estimates \(E_q[p(c|z)]\). A guide that draws the class gives q(c|x) itself, with K = 1.

        Arguments:
            x: data (B, *event).
            context: theirs; labels are looked at too.
            particles: K.

        Raises:
            InputError: for a prior that is no mixture, under a guide without classes.
        """
        self._count(x, context)
        if size_of("particles", particles) and self.q.states is not None:
            params = self._params(x, context)
            return ClassLaw(params["logits"], params.get("known")).probs.unsqueeze(0)
        law = self.prior.mixture(self._flat(context))
        if law is None:
            raise InputError(
                f"the prior {self.prior!r} has no components: declare a GaussianMixture, or Classes with the "
                "guide of the same name"
            )
        q = self.encode(x, context)
        # One draw at a time: (K, B, C, D) may be large.
        return torch.stack([log_shares(law, q.sample()).exp() for _ in range(particles)])

    def _read(self, context: Tensor | None) -> Tensor | None:
        """The context as the networks read it: labels are not for them."""
        flat = self._flat(context)
        return None if self.prior.labels else flat

    def _flat(self, context: Tensor | None) -> Tensor | None:
        if self.context_shape is None:
            if context is not None:
                raise InputError("this VAE takes no context: declare it with context_shape=")
            return None
        dims = len(self.context_shape)
        if context is None and self.prior.labels:
            return None  # nothing is known
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
        return mean_or_draw(law) if mean else law.sample()

    @torch.no_grad()
    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """E[x|z], or a draw where it is not known, at a draw z ~ q(z|x): x (B, *event) -> (B, *event)."""
        return mean_or_draw(self.decode(self.encode(x, context).sample(), context))

    # ---------------------------------------------------------------- programs

    def model(self, x: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """The generative program p(z) p(x|z), a Pyro model; with x None it draws data.

        A prior with classes has a site "c" before "z", enumerated unless the guide draws it, and observes
        what is known of the labels at the site "y".

        Arguments:
            x: data (B, *event), observed when given.
            context: (B, *context_shape) when the VAE has one; it sets B when x is None, else B is 1.

        Returns:
            x, observed or drawn, of shape (*, B, *event).
        """
        self._register("generative", self.prior, self.generation, self.likelihood)
        with pyro.plate(DATA, self._count(x, context), dim=-1):
            z = self.prior.sites(
                self._flat(context), observed=x is not None, enumerated=self.q.states is None
            )
            return pyro.sample("x", self.decode(z, context), obs=x)

    def guide(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The recognition program q(z|x), a Pyro guide; returns z of shape (*, B, size)."""
        self._register("recognition", self.recognition, self.q)
        with pyro.plate(DATA, self._count(x, context), dim=-1):
            return self.q.sites(**self._params(x, context))

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Let the parts that start from data look at training data (N, *event), before the first step.

        The likelihood sees the data, the other parts what the encoder reads of them.
        """
        self.likelihood.start_from(x)
        read = self.likelihood.inputs(x)
        for part in (self.prior, self.q, self.encoder, self.decoder):
            part.start_from(read)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, some: Callable[[], tuple[Tensor, Tensor | None]]) -> bool:
        """Let the prior look at the encodings of training data (N, *event) after `epoch` epochs.

        Arguments:
            epoch: how many are done.
            some: gives data and their context, if they are wanted.

        Returns:
            Whether it is now another law, so that earlier bounds no longer compare.
        """
        seen = cache(some)
        known = (lambda: seen()[1]) if self.prior.labels else (lambda: None)
        return self.prior.begin_epoch(epoch, lambda: self._encodings(*seen()), known)

    def _encodings(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The means of q(z|x) that know of no label, or draws where a law knows none."""
        read = None if self.prior.labels else context
        contexts = [None] * len(x) if read is None else read.split(PIECE)
        pieces = zip(x.split(PIECE), contexts, strict=False)
        return torch.cat([mean_or_draw(self.encode(*piece)) for piece in pieces])

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
        return in_words(self)

    __hash__ = object.__hash__

    # ---------------------------------------------------------------- checks

    @torch.no_grad()
    def _dry_run(self) -> None:
        """Draw two data through every part, so that a part that does not fit fails here and by name."""
        first = next(self.parameters())
        lead: dict[str, Any] = {"dtype": first.dtype, "device": first.device}
        context = None if self.context_shape is None else torch.zeros(2, *self.context_shape, **lead)
        with torch.random.fork_rng(devices=[]):
            with naming("prior", self.prior):
                prior = self.latents(context)
                z = draw(prior, (self.prior.size,))
            with naming("decoder and likelihood", self.decoder, self.likelihood):
                x = draw(self.decode(z, context), self.event_shape)
            self._check_classes()
            with naming("encoder and guide", self.encoder, self.q):
                q = self.encode(x.to(first.dtype), context)
                draw(q, (self.prior.size,))
            if not (covers(prior, q) and covers(q, prior)):
                raise InputError(
                    f"the guide {self.q!r} and the prior {self.prior!r} live on different spaces "
                    f"({space(q)} and {space(prior)}): {self.prior.advice}"
                )

    def _check_classes(self) -> None:
        if self.q.states is not None and getattr(self.prior, "prune", False):
            raise InputError(
                f"the prior {self.prior!r} is pruned by p(c|z), and the guide {self.q!r} would still draw "
                "what is gone: leave prune out, or use a guide over z alone"
            )
        if self.q.states is not None and self.q.states != self.prior.states:
            raise InputError(
                f"the guide {self.q!r} draws {self.q.states} classes and the prior {self.prior!r} has "
                f"{self.prior.states or 'none'}: use GaussianMixture(explicit=True), or Classes, for both"
            )


def mean_or_draw(law: dist.TorchDistribution) -> Tensor:
    try:
        return law.mean
    except NotImplementedError:
        return law.sample()
