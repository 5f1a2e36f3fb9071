"""A VAE as a Pyro program: the model and guide of its parts, and the hooks of training.

model   p(z) p(x|z)    sites "z" and "x" in the plate "data"; with classes also "c", or "y";
                       with a mechanism of missing entries also "s"
guide   q(z|x)         site "z", or "c" and "z"

Variables that all rows share (the weights of a Bayesian decoder) are sites of both, outside the
plate (`global_variables`).
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import pyro
import torch
from torch import Tensor, nn

from pyrovae.cures import cure, option
from pyrovae.datasets import Rows
from pyrovae.errors import InputError, sizes
from pyrovae.networks.wrapped import is_custom
from pyrovae.part import Part
from pyrovae.terms import DATA
from pyrovae.threads import alone
from pyrovae.vae.global_variables import GlobalVariables
from pyrovae.vae.inputs import EncoderInputs

if TYPE_CHECKING:
    import pyro.distributions as dist

    from pyrovae.datasets import Data
    from pyrovae.guides import Guide
    from pyrovae.likelihoods import Likelihood, Mechanism
    from pyrovae.networks import Headed, Network
    from pyrovae.priors import Prior

__all__ = ["PartsProgram", "mean_or_draw"]

# Pyro's parameter store is global: models of the same name would share parameters.
_NAMES: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_COUNT = itertools.count()

PIECE_ROWS = 1000


class PartsProgram(EncoderInputs, GlobalVariables):
    """The program of a prior, a likelihood, a guide and networks.

    A subclass has them as attributes, and defines the distributions `encode`, `decode` and
    `latents`.
    """

    event_shape: tuple[int, ...]
    context_shape: tuple[int, ...] | None
    prior: Prior
    likelihood: Likelihood
    mechanism: Mechanism | None
    q: Guide
    encoder: Network
    decoder: Network
    recognition: Headed
    generation: Headed
    checks_support = True

    encode: Callable[..., dist.TorchDistribution]
    decode: Callable[..., dist.TorchDistribution]
    latents: Callable[..., dist.TorchDistribution]
    to_dict: Callable[[], dict[str, Any]]

    def model(
        self, x: Tensor | None = None, context: Tensor | None = None, y: Tensor | None = None
    ) -> Tensor:
        """The Pyro model p(z) p(x|z); it draws observations when x is None.

        A prior with classes has a site "c" before "z", which is enumerated unless the guide draws
        it, or a site "y" if it observes labels. With a mechanism there is a site "s" before "x",
        which says what is missing.

        Arguments:
            x: (B, *event), observed when given.
            context: (B, *context_shape) for a conditional VAE; without x, context or y, B is 1.
            y: (B,), class indices, -1 where unknown; observed with x, else the classes to draw
                from.

        Returns:
            x, observed or drawn, of shape (*, B, *event).
        """
        modules = (self.prior, self.generation, self.likelihood, self.mechanism)
        self._register("generative", *(module for module in modules if module is not None))
        with self._shared("model"), pyro.plate(DATA, self._count(x, context, y), dim=-1):
            z = self.prior.sites(
                self._flat(context),
                **self._known(y),
                observed=x is not None,
                enumerated=self.q.states is None,
            )
            return pyro.sample("x", self._of_x(z, x, context), obs=self._observed(x))

    def guide(self, x: Tensor, context: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        """The Pyro guide q(z|x); returns z of shape (*, B, size)."""
        modules = (self.recognition, self.q, self.constants)
        self._register("recognition", *(module for module in modules if module is not None))
        with self._shared("guide"), pyro.plate(DATA, self._count(x, context, y), dim=-1):
            return self.q.sites(**self._guide_params(x, context, y))

    def _of_x(self, z: Tensor, x: Tensor | None, context: Tensor | None) -> dist.TorchDistribution:
        """p(x|z); with a mechanism p(x|s, z), after the site "s" of which entries are missing."""
        p = self.decode(z, context)
        if self.mechanism is None:
            return p
        missing = None if x is None else x.isnan().to(z.dtype)
        return self.mechanism.given(p, pyro.sample("s", self.mechanism.marginal(p), obs=missing))

    @property
    def takes_doubles(self) -> bool:  # type: ignore[override]
        """Whether x may be in float64 when the parameters are in float32."""
        return self.likelihood.takes_doubles

    @property
    def has_custom_parts(self) -> bool:  # type: ignore[override]
        """Whether a part, or the module of a `Wrapped`, is not of this package."""
        parts = (self.prior, self.likelihood, self.q, self.encoder, self.decoder, self.mechanism)
        return any(is_custom(part) for part in parts if part is not None)

    @property
    def measure(self) -> str:  # type: ignore[override]
        """Whether p(x) is a probability ("mass"), a "density" in the units of x, or "mixed"."""
        return self.likelihood.measure

    @property
    def reads_missing(self) -> bool:  # type: ignore[override]
        """Whether the encoder was trained on rows with gaps, and reads which these are."""
        if self.schema is not None and not self.schema.gaps:
            return False
        flagged = self.missing != "zeros" or self.likelihood.flags_missing
        return flagged or self.encoder.reads_missing

    def _observed(self, x: Tensor | None) -> Tensor | None:
        """x in the type in which the likelihood takes it."""
        if x is None or self.likelihood.takes_doubles:
            return x
        return x.to(next(self.parameters()).dtype)  # type: ignore[attr-defined]

    def _guide_params(self, x: Tensor, context: Tensor | None, y: Tensor | None = None) -> dict[str, Any]:
        """The guide's parameters, and the known classes if the guide draws the class."""
        known = self._known(y) if self.q.states is not None else {}
        return self.recognition(self.inputs(x), self._flat(context)) | known

    def _known(self, y: Tensor | None) -> dict[str, Tensor]:
        """The labels as the argument `known`: one-hot rows (B, C), zeros where unknown."""
        if y is None:
            return {}
        if not self.prior.labels or self.prior.states is None:
            raise InputError(
                f"the prior {self.prior!r} observes no labels: declare it with "
                f"{option('labels', True, 'prior')}, or leave y out "
                "(rows.unlabelled())"
            )
        classes = torch.arange(self.prior.states, device=y.device)
        return {"known": (y.unsqueeze(-1) == classes).to(next(self.parameters()).dtype)}  # type: ignore[attr-defined]

    def _flat(self, context: Tensor | None) -> Tensor | None:
        """The context in the shape that networks read, (*, context_dim)."""
        if self.context_shape is None:
            if context is not None:
                raise InputError(
                    "this VAE takes no context: declare it with context_shape= (labels are given as y)"
                )
            return None
        dims = len(self.context_shape)
        if context is None or (dims and tuple(context.shape[-dims:]) != self.context_shape):
            actual = "none" if context is None else f"shape {tuple(context.shape)}"
            raise InputError(
                f"this VAE needs a context of shape (*, {sizes(self.context_shape)}), not {actual}: give "
                "context=, or Rows that have one"
            )
        return context.flatten(-dims) if dims else context.unsqueeze(-1)

    def _count(self, x: Tensor | None, context: Tensor | None, y: Tensor | None) -> int:
        if x is None:
            return next((len(part) for part in (context, y) if part is not None), 1)
        if tuple(x.shape[1:]) != self.event_shape:
            raise InputError(f"x must have shape (B, {sizes(self.event_shape)}), not {tuple(x.shape)}")
        return len(x)

    def _register(self, role: str, *modules: nn.Module) -> None:
        name = _NAMES.setdefault(self, f"vae{next(_COUNT)}")
        for i, module in enumerate(modules):
            pyro.module(f"{name}.{role}{i}", module)

    # ---------------------------------------------------------------- hooks of training

    @property
    def latent_size(self) -> int:  # type: ignore[override]
        """The number of entries of z."""
        return self.prior.size

    @property
    def waits_for(self) -> int:  # type: ignore[override]
        """The number of epochs before the prior starts from encodings."""
        return self.prior.waits_for

    @property
    def components_wait(self) -> int:  # type: ignore[override]
        """The number of epochs before the components start; 0 if the guide draws the class."""
        return self.prior.waits_for if self.q.states is None else 0

    def declaration(self) -> dict[str, Any]:
        return self.to_dict()

    def readable(self, x: Tensor) -> Tensor:
        inside = self.likelihood.contains(x)
        if inside.shape == x.shape:  # the encoder may read logarithms
            x = torch.where((x <= 0) & ~inside, torch.nan, x)
        return x if self.likelihood.takes_missing else super().readable(x)

    def check_rows(self, rows: Rows, what: str) -> None:
        if tuple(rows.x.shape[1:]) != self.event_shape:
            raise InputError(
                f"{what} must have shape (N, {sizes(self.event_shape)}), not {tuple(rows.x.shape)}"
            )
        if self.likelihood.column_names is None and self.schema is not None and self.schema.columns:
            self.likelihood.column_names = tuple(column.name for column in self.schema.columns)
        self.likelihood.check(rows.x, what)
        self._check_labels(rows.y)

    def check_range(self, rows: Rows, what: str) -> None:
        x = rows.x
        dtype = next(self.parameters()).dtype  # type: ignore[attr-defined]
        if x.dtype != torch.float64 or dtype == torch.float64 or not x.numel():
            return
        inputs = self.likelihood.inputs(x)
        largest = torch.where(inputs.isfinite(), inputs.abs(), 0.0).max().item()
        if largest > torch.finfo(dtype).max:
            raise InputError(
                f"{what} holds {x[x.isfinite()].abs().max().item():g}, which does not fit single precision: "
                "divide by a unit, or use a program in float64 (vae.double())"
            )

    def check_data(self, data: Data) -> None:
        if tuple(data.event_shape) != self.event_shape:
            raise InputError(
                f"the VAE was declared for events {self.event_shape}, and the data have {data.event_shape}: "
                f"declare it with event_shape={data.event_shape}"
            )
        self._check_context(data)
        self._check_has_labels(data)
        self._check_labels(data.train.y)  # those of a stream too, whose rows are checked batch by batch
        self.likelihood.check_columns(data.columns)
        if data.given is not None and self.mechanism is not None:
            raise InputError(
                f"context={data.derived.words!r} leaves pixels out of x, which {self.mechanism!r} would read "  # type: ignore[union-attr]
                "as missing because of their value: leave mechanism out"
            )
        if data.given is not None and not self.likelihood.takes_missing:
            raise InputError(
                f"context={data.derived.words!r} leaves pixels out of log p(x|z), which "  # type: ignore[union-attr]
                f"{self.likelihood!r} cannot: use a likelihood with independent elements, such as Bernoulli"
            )
        super().check_data(data)

    def _check_context(self, data: Data) -> None:
        if self.context_shape is not None and data.validation.context is None:
            raise InputError(
                "the VAE was declared with a context, and the data have none: load them with one, as in "
                f"{option('context', 'labels')}"
            )
        if self.context_shape is None and data.validation.context is not None:
            how = f"declare it with context_shape={data.context_shape}"
            how = f"load them with {option('labels', True)}" if self.prior.labels else how
            raise InputError(f"the data have a context, and the VAE takes none: {how}")

    def _check_labels(self, y: Tensor | None) -> None:
        states = self.prior.states or 0
        if y is not None and self.prior.labels and y.numel() and int(y.max()) >= states:
            raise InputError(
                f"y holds the class {int(y.max())}, but the prior {self.prior!r} has only the classes 0 to "
                f"{states - 1}: give the prior a class for every label"
            )

    def _check_has_labels(self, data: Data) -> None:
        if self.prior.labels and not data.has_labels:
            raise InputError(
                "the prior observes labels, and the data have none: load them with "
                f"{option('labels', True)} or {cure('known=', '--known')}, or declare it with "
                f"{option('labels', False, 'prior')}"
            )
        if data.has_labels and not self.prior.labels:
            observing = f"give it {option('labels', True, 'prior')}"
            if "labels" not in self.prior.hyperparameters():
                other = cure("GaussianMixture(labels=True)", "--prior GaussianMixture --prior.labels true")
                observing = f"use another, as in {other}"
            raise InputError(
                f"the data have labels to observe, and the prior {self.prior!r} observes none: {observing}, "
                f"or load them without {cure('labels= and known=', '--labels and --known')}"
            )

    def check_run(self, epochs: int, processes: int) -> None:
        if self.likelihood.of_batch and processes > 1:
            raise InputError(
                f"{self.likelihood!r} needs the whole batch, and several processes split it: train in one "
                "process, or use scale='learned'"
            )
        if self.prior.waits_for >= epochs:
            raise InputError(
                f"the prior {self.prior!r} would not start in {epochs} epochs: use more, or a smaller "
                "start_epoch"
            )

    @torch.no_grad()
    def start_from(self, x: Tensor | Rows) -> None:
        """Initialise the parts from training data (N, *event), before the first step.

        The likelihood gets the observations, the other parts the encoder's inputs.
        """
        x = x.x if isinstance(x, Rows) else x
        self.likelihood.start_from(x)
        if self.mechanism is not None:
            self.mechanism.start_from(x)
        parts = [self.prior, self.q, self.encoder, self.decoder]
        parts = [part for part in parts if type(part).start_from is not Part.start_from]
        inputs = self.inputs(x).nan_to_num() if parts else x  # one-hot levels of all rows need much memory
        for part in parts:
            part.start_from(inputs)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, some: Callable[[], Rows]) -> str | None:
        """Let the prior use encodings of training rows, before an epoch."""
        some = cache(some)
        changed = self.prior.begin_epoch(
            epoch, lambda: self._encodings(some()), lambda: self._labels_of(some())
        )
        return f"the encodings changed the prior, {self.prior!r}" if changed else None

    def _labels_of(self, rows: Rows) -> Tensor | None:
        if not self.prior.labels:
            return None
        if rows.y is None:
            raise InputError(
                f"the prior {self.prior!r} starts from encodings with their labels, and the data are "
                "streamed: use start='random' or 'spread', or data in memory"
            )
        return self._known(rows.y)["known"]

    def _encodings(self, rows: Rows) -> Tensor:
        """The means of q(z|x) without labels, or samples if the mean is not known."""
        pieces = rows.unlabelled().batches(PIECE_ROWS)
        return torch.cat([mean_or_draw(self.encode(piece)) for piece in pieces])

    @alone
    def simulate(self, count: int, context: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        like = next(self.parameters())  # type: ignore[attr-defined]
        if context is not None:
            context = context.to(like)
            rows = len(context) if context.dim() else 1
            if rows != count or not context.dim():
                raise InputError(f"context has {rows} rows for {count} observations: give one for each")
        z = self.latents(context).expand((count,)).sample()
        p = self.decode(z, context)
        x = p.sample() if self.mechanism is None else self.mechanism.sample(p)
        derived = None if self.schema is None else self.schema.derived
        given = None if derived is None else derived.given(self.event_shape)
        if given is not None:
            x = torch.where(given.to(x.device), torch.nan, x)  # as in the data
        return x if self.takes_doubles else x.to(like.dtype), {"z": z.unsqueeze(0)}


def mean_or_draw(distribution: dist.TorchDistribution) -> Tensor:
    """The mean, or a sample if the mean is not known."""
    try:
        return distribution.mean
    except NotImplementedError:
        return distribution.sample()
