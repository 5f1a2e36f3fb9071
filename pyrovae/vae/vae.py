r"""The variational autoencoder: a Pyro model and guide made of replaceable parts.

    z     ~ prior                      p(z)
    x | z ~ likelihood(decoder(z))     p(x|z)
    z | x ~ guide(encoder(x))          q(z|x)

`vae.model` and `vae.guide` are ordinary Pyro programs with the sites "z" and "x" in the plate
"data". Training, log p(x), sampling and figures all use these two functions.

Reference:
    Kingma & Welling (2014), "Auto-Encoding Variational Bayes"; Doersch (2016), "Tutorial on
    Variational Autoencoders"; Prince (2023), "Understanding Deep Learning", chapter 17.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, Self

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.checks import check_flags, count_of, shown, whole
from pyrovae.datasets import Rows
from pyrovae.datasets.asked_labels import contexts_of, one_hot_of
from pyrovae.datasets.rows import class_indices, numbers
from pyrovae.display import Displayed
from pyrovae.distributions import ClassDistribution, log_shares
from pyrovae.errors import InputError, sizes
from pyrovae.guides import DiagonalNormal, Guide
from pyrovae.likelihoods import Bernoulli, Likelihood, Mechanism, SelfMasking
from pyrovae.memory import refuse_too_large
from pyrovae.networks import MLP, Headed, Network
from pyrovae.part import Declared, Part, public_path
from pyrovae.priors import Prior, StandardNormal
from pyrovae.seeds import Seed, check_seed, seeded
from pyrovae.vae.dry_run import dry_run, naming
from pyrovae.vae.inputs import Constants, filling_of
from pyrovae.vae.observations import Observations
from pyrovae.vae.saving import Saves
from pyrovae.vae.shared import Shares
from pyrovae.vae.suited import filling_for, latent_dim_for, likelihood_for, loaded, networks_for
from pyrovae.vae.view import view
from pyrovae.vae.words import in_words

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["ROLES", "VAE"]

# The arguments of a VAE that are parts, and their base classes.
ROLES: dict[str, type[Part]] = {
    "prior": Prior,
    "likelihood": Likelihood,
    "guide": Guide,
    "encoder": Network,
    "decoder": Network,
    "mechanism": Mechanism,
}

Shape = tuple[int, ...]
Missing = bool | Literal["zeros", "flags", "constants"]


class VAE(Observations, Shares, Saves, Displayed, Declared, nn.Module):
    r"""A variational autoencoder, declared by its parts.

    \[p(x, z) = p(z)\, p(x|z), \qquad q(z|x) \approx p(z|x)\]

    The parts are copied, so one part can be used in many models. A dry run on two observations
    checks the declaration at once. Every method takes `Rows`, a tensor or an array of any numeric
    type.

    Arguments:
        event_shape: the shape of one observation.
        latent_dim: the size D of z.
        prior: p(z); `StandardNormal()` by default.
        likelihood: p(x|z); `Bernoulli()` by default.
        guide: q(z|x); `DiagonalNormal()` by default.
        encoder: the network that reads x; `MLP()` by default.
        decoder: the network that reads z; `MLP()` by default.
        context_shape: the shape of one context c (a label, half an image) for a conditional VAE, in
            which every part depends on c: p(z|c), p(x|z, c), q(z|x, c).
        missing: what the encoder reads in place of missing entries (NaN): "zeros"; "flags", which
            are zeros and a flag for each entry; or "constants", a learned number for each entry of
            its input. log p(x) is that of the entries that are present.
        mechanism: p(s|x), if entries are missing not at random: log p(x) is then that of the
            entries that are present and of which are missing.
        seed: seed of the initial weights, or a `torch.Generator`; by default torch's random state.

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
        missing: Missing = "zeros",
        mechanism: Mechanism | None = None,
        seed: Seed = None,
    ) -> None:
        super().__init__()
        self.missing = filling_of(missing)
        self.event_shape = _shape("event_shape", event_shape)
        self.latent_dim = whole("latent_dim", latent_dim)
        self.prior = _part("prior", prior, StandardNormal, Prior)
        self.context_shape = None if context_shape is None else _shape("context_shape", context_shape)
        self.likelihood = _part("likelihood", likelihood, Bernoulli, Likelihood)
        self.mechanism = None if mechanism is None else _part("mechanism", mechanism, SelfMasking, Mechanism)
        self.q = _part("guide", guide, DiagonalNormal, Guide)
        encoder = _part("encoder", encoder, MLP, Network)
        decoder = _part("decoder", decoder, MLP, Network)
        with seeded(seed):  # the initial weights are drawn here
            self._attach(encoder, decoder)
            dry_run(self)

    @classmethod
    def suited(
        cls,
        data: Data,
        *,
        latent_dim: int | None = None,
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        guide: Guide | None = None,
        encoder: Network | None = None,
        decoder: Network | None = None,
        missing: Missing | None = None,
        mechanism: Mechanism | None = None,
    ) -> Self:
        """Declare a VAE for a data set, with the parts given here and others that suit the data.

        Arguments:
            data: the result of `datasets.load`.
            latent_dim: the size of z; by default half the elements of x, between 2 and 32.
            prior: p(z); `StandardNormal()` by default.
            likelihood: p(x|z); by default chosen from the values: `Mixed` for a table, `Bernoulli`
                for 0 and 1, `DiscretizedLogistic` for integer levels such as pixels,
                `ContinuousBernoulli` between 0 and 1, `NegativeBinomial` or `Poisson` for counts,
                and `Normal` otherwise.
            guide: q(z|x); `DiagonalNormal()` by default.
            encoder: the network that reads x; by default convolutions for colour or large images,
                `Gated` for other images, and `MLP` for other data.
            decoder: the network that reads z; by default the counterpart of the encoder.
            missing: what the encoder reads in place of missing entries: "zeros", "flags" or
                "constants"; by default flags if the data have missing entries.
            mechanism: p(s|x), if entries are missing not at random; by default at random.

        Raises:
            InputError: as from the constructor, for what is not a data set, or for unfit columns.

        Example:
            >>> from pyrovae import datasets
            >>> print(VAE.suited(datasets.load("digits", binarize="threshold"), latent_dim=2))
            VAE of events (1, 8, 8) with latents (2,), 422,468 parameters
              z     ~ StandardNormal()                         p(z)
              x | z ~ Bernoulli()       of Gated(300, 300)(z)  p(x|z)
              z | x ~ DiagonalNormal()  of Gated(300, 300)(x)  q(z|x)
        """
        encodes, decodes = networks_for(loaded(data).event_shape)
        return cls(
            data.event_shape,
            latent_dim_for(data.event_shape) if latent_dim is None else latent_dim,
            prior=prior,
            likelihood=(likelihood or likelihood_for(data).likelihood).suited(data),
            guide=guide,
            encoder=encoder or encodes,
            decoder=decoder or decodes,
            context_shape=data.context_shape,
            missing=filling_for(data) if missing is None else missing,
            mechanism=mechanism,
        )

    def _attach(self, encoder: Network, decoder: Network) -> None:
        context_dim = 0 if self.context_shape is None else math.prod(self.context_shape)
        with naming("prior", self.prior):
            self.prior.latent_dim = self.latent_dim  # even if `attach` does not call its base's
            self.prior.attach(self.latent_dim, context_dim)
        with naming("likelihood", self.likelihood):
            self.likelihood.attach(self.event_shape)
        if self.mechanism is not None:
            with naming("mechanism", self.mechanism):
                self.mechanism.attach(self.likelihood, self.event_shape)
        with naming("encoder", encoder):
            encoder.attach(self._input_shape(encoder), None, context_dim)
        with naming("decoder", decoder):
            decoder.attach((self.prior.visible,), self.event_shape, context_dim)
        with naming("encoder and guide", encoder, self.q):
            self.q.attach(self.prior.size, encoder.features)
            self.recognition = Headed(encoder, self.q.param_shapes)
            filled = self.missing == "constants"
            self.constants = Constants(self._input_shape(encoder)) if filled else None
        with naming("decoder and likelihood", decoder, self.likelihood):
            self.generation = Headed(decoder, self.likelihood.param_shapes)
        with naming("prior", self.prior):
            self.prior.connect(self.recognition, self.q, self._input_shape(encoder))
        self._collect_variables()

    @property
    def encoder(self) -> Network:  # type: ignore[override]
        """The network that reads x."""
        return self.recognition.network

    @property
    def decoder(self) -> Network:  # type: ignore[override]
        """The network that reads z."""
        return self.generation.network

    # ---------------------------------------------------------------- distributions

    def encode(self, x: Any, context: Any = None, y: Any = None) -> dist.TorchDistribution:  # type: ignore[override]  # noqa: ANN401
        """The distribution q(z|x): x (*, *event) -> batch (*), event (D,)."""
        return self.q(**self._guide_params(*self._tensors(x, context, y)))

    def decode(self, z: Any, context: Any = None) -> dist.TorchDistribution:  # type: ignore[override]  # noqa: ANN401
        """The distribution p(x|z): z (*, D) -> batch (*), event `event_shape`."""
        z = self._tensor(z, "z")
        if z is None or not z.dim() or z.shape[-1] not in (self.prior.size, self.prior.visible):
            shape = "None" if z is None else tuple(z.shape)
            raise InputError(f"z must have shape (*, {self.prior.size}), not {shape}")
        context = self._flat(self._context(context))
        return self.likelihood(**self.generation(z[..., : self.prior.visible], context))

    def latents(self, context: Any = None, y: Any = None) -> dist.TorchDistribution:  # type: ignore[override]  # noqa: ANN401
        """The distribution p(z), p(z|c) for a context, or p(z|y) for class indices: event (D,)."""
        return self.prior(self._flat(self._context(context)), **self._known(self._indices(y)))

    def responsibilities(
        self,
        x: Any,  # noqa: ANN401
        context: Any = None,  # noqa: ANN401
        y: Any = None,  # noqa: ANN401
        *,
        particles: int = 100,
        seed: Seed = None,
    ) -> Tensor:
        r"""The probabilities of the classes of each row, (K, B, C).

        For a mixture prior, \(p(c|z_k)\) at samples \(z_k \sim q(z|x)\), by Bayes' rule; their mean
        over K estimates \(E_q[p(c|z)]\). For a guide that draws the class, q(c|x) itself, with K =
        1.

        Arguments:
            x: rows (B, *event).
            context: the context of a conditional VAE.
            y: labels; a known class has probability 1.
            particles: K.
            seed: a seed or a `torch.Generator`; by default torch's random state.

        Raises:
            InputError: if the prior is not a mixture and the guide has no classes, and for more
                particles than fit into memory.
        """
        rows = self.rows(x, context, y)
        self._count(*rows.arguments, *[None] * (3 - len(rows.arguments)))
        particles = count_of("particles", particles)
        check_seed(seed)
        if self.q.states is not None:
            params = self._guide_params(rows.x, rows.context, rows.y)
            return ClassDistribution(params["logits"], params.get("known")).probs.unsqueeze(0)
        mixture = self.prior.mixture(self._flat(rows.context), **self._known(rows.y))
        if mixture is None:
            raise InputError(
                f"the prior {self.prior!r} has no components: declare a GaussianMixture, or Classes with the "
                "guide of the same name"
            )
        size = 2 * particles * len(rows) * (self.prior.states or 1) * next(self.parameters()).element_size()
        refuse_too_large(f"{particles:,} particles of {len(rows):,} rows", size)
        q = self.encode(rows)
        with seeded(seed):  # one sample at a time: (K, B, C, D) may be large
            return torch.stack([log_shares(mixture, q.sample()).exp() for _ in range(particles)])

    def rows(self, x: Any, context: Any = None, y: Any = None) -> Rows:  # noqa: ANN401
        """Convert rows, tensors or arrays to `Rows` in the type and on the device of this VAE."""
        like, doubles = next(self.parameters()), self.takes_doubles
        rows = Rows.of(self.read(x), None, y, like=like, doubles=doubles)
        rows = Rows.of(rows, contexts_of(self, context, rows), like=like, doubles=doubles)
        for name, part in (("context", rows.context), ("y", rows.y)):
            if part is not None and not part.dim() and rows.x.dim():
                raise InputError(f"{name} is one number, and x has {len(rows)} rows: give one for each row")
        self._check_labels(rows.y)
        return rows

    def _indices(self, y: Any) -> Tensor | None:  # noqa: ANN401
        if y is None:
            return None
        indices = class_indices(y).to(next(self.parameters()).device)
        self._check_labels(indices)
        return indices

    def _tensors(self, x: Any, context: Any, y: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:  # noqa: ANN401
        """The values x, context and y; those that are not `Rows` broadcast as tensors do."""
        x = self.read(x)
        if isinstance(x, Rows):
            rows = self.rows(x, context, y)
            x, context, y = rows.x, rows.context, rows.y
        else:
            x = numbers("x", x, next(self.parameters()), doubles=self.takes_doubles)
            context, y = self._context(context), self._indices(y)
        shape = tuple(x.shape) if x is not None else ()
        if shape[max(0, len(shape) - len(self.event_shape)) :] != self.event_shape:
            raise InputError(f"x must have shape (*, {sizes(self.event_shape)}), not {shape}")
        return x, context, y

    def _context(self, context: Any, count: int | None = None) -> Any:  # noqa: ANN401
        """A context as a tensor; labels as one-hot vectors, if it is conditioned on labels."""
        return self._tensor(one_hot_of(self.schema, context, count))

    def _tensor(self, values: Any, name: str = "context") -> Any:  # noqa: ANN401
        values = values.x if isinstance(values, Rows) else values
        return None if values is None else numbers(name, values, next(self.parameters()))

    # ---------------------------------------------------------------- declaration
    def to_dict(self) -> dict[str, Any]:
        """The declaration as plain values: sizes, and `class_path` and `init_args` of each part."""
        parts: dict[str, Any] = {name: part.to_dict() for name, part in self._parts()}
        sizes = {"event_shape": list(self.event_shape), "latent_dim": self.latent_dim}
        context = None if self.context_shape is None else list(self.context_shape)
        # As older versions stored it: flags are True, and zeros are left out.
        stored: dict[str, dict[str, Any]] = {"zeros": {}, "flags": {"missing": True}}
        missing = stored.get(self.missing, {"missing": self.missing})
        return sizes | parts | {"context_shape": context} | missing

    @classmethod
    def from_dict(cls, declaration: Mapping[str, Any]) -> Self:
        """A new VAE, with nothing learned, from the result of `to_dict`.

        Raises:
            InputError: for a part that cannot be imported or built.
        """
        options = dict(declaration)
        parts = {name: base.from_dict(options[name]) for name, base in ROLES.items() if options.get(name)}
        return cls(**(options | parts))

    def hyperparameters(self) -> dict[str, Any]:
        """The keyword arguments that declare this VAE, with the attached parts."""
        sizes = {"event_shape": self.event_shape, "latent_dim": self.latent_dim}
        options = {"context_shape": self.context_shape, "missing": self.missing}
        return sizes | dict(self._parts()) | options

    def clone(self) -> Self:
        """A new VAE with the same declaration and nothing learned."""
        return type(self)(**self.hyperparameters())

    def _parts(self) -> Iterator[tuple[str, Part]]:
        yield "prior", self.prior
        yield "likelihood", self.likelihood
        yield "guide", self.q
        yield "encoder", self.encoder
        yield "decoder", self.decoder
        if self.mechanism is not None:
            yield "mechanism", self.mechanism

    def __str__(self) -> str:
        return in_words(self)

    _html = view

    __hash__ = object.__hash__


def _part(role: str, part: Part | None, default: type[Part], base: type[Part]) -> Any:  # noqa: ANN401
    """A copy of a part, or the default one."""
    part = default() if part is None else part
    if not isinstance(part, base):
        raise InputError(
            f"{role} must be a {public_path(base)}, as in {default.__name__}(), not {shown(part)}"
        )
    check_flags(part)
    return part.clone()


def _shape(name: str, sizes: Any) -> Shape:  # noqa: ANN401
    """Check a shape: one or several sizes of 1 or more."""
    plain = sizes.tolist() if hasattr(sizes, "tolist") else sizes  # of numpy or torch
    plain = (plain,) if isinstance(plain, Real) else plain
    if isinstance(plain, str) or not isinstance(plain, Sequence):
        raise InputError(f"{name} must be a shape, as in (1, 28, 28), not {shown(sizes)}")
    return tuple(whole(f"a size in {name}", size) for size in plain)
