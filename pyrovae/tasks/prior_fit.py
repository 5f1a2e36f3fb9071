r"""A prior fitted after training: the samples of the aggregated posterior are its data.

    p  <-  argmax_p  (1/N) sum_n E_q(z|x_n)[log p(z)]

The ELBO of all data depends on the prior through this term only, so the ELBO rises with it, and
encoder and decoder stay as they are. The optimum is the aggregated posterior q(z). A prior that was
trained with the encoder is often far from it, and an autoencoder has none at all.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyro
import torch
from torch import Tensor, nn

from pyrovae import datasets
from pyrovae.checks import flags, number, whole
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.networks.modes import in_mode
from pyrovae.part import Part
from pyrovae.priors import GaussianMixture, Prior
from pyrovae.priors.starts import from_encodings
from pyrovae.seeds import seeded
from pyrovae.sharing import print_first
from pyrovae.tasks.runs import training_rows
from pyrovae.terms import DATA, Program, Runner
from pyrovae.training import fit_to_end as fit
from pyrovae.training.preparing import as_data
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyrovae.datasets import Data

__all__ = ["fit_prior"]

CODES = 50_000  # at least this number of samples of q(z), if the data have fewer rows
ROWS = 200_000  # of a streamed data set
PIECE = 1000
SOME = 10_000


def fit_prior(
    vae: VAE,
    data: Any,  # noqa: ANN401
    prior: Prior,
    *,
    epochs: int = 20,
    batch_size: int = 500,
    lr: float = 5e-3,
    seed: int = 0,
    progress: bool = True,
) -> VAE:
    r"""Fit a prior to samples of the aggregated posterior of a trained VAE, by maximum likelihood.

    \[\max_p\; \frac1N \sum_n \mathbb E_{q(z|x_n)}[\log p(z)]\]

    over the training rows, in nats per observation. The prior kept is that of the epoch with the
    best value on the validation rows. Encoder, guide and decoder are copied and do not change, so
    log p(x|z) stays the same, and the ELBO rises by as much as the value. A `GaussianMixture` with
    the default start begins at the clusters that k-means finds in the codes.

    Arguments:
        vae: the trained VAE, also one trained as an `Autoencoder`.
        data: the result of `datasets.load`, or rows, a tensor or an array (N, *event), of which a
            tenth is used for validation.
        prior: any prior on the space of the guide.
        epochs: passes over the samples; there are 50,000 samples or one for each row, if these are
            more.
        batch_size: samples in a step.
        lr: the learning rate of the first step; it falls to zero along a cosine.
        seed: seed of the samples, the first weights and the order.
        progress: show progress, and the value with the old prior and the new one.

    Returns:
        A new VAE with this prior, on the same device and with the same schema.

    Raises:
        InputError: for a program that is not a VAE, a prior that cannot be combined with the guide
            or the decoder, has nothing to fit, or observes labels.

    Reference:
        Ghosh, Sajjadi, Vergari, Black & Scholkopf (2020), "From Variational to Deterministic
        Autoencoders" (ex-post density estimation); Dai & Wipf (2019), "Diagnosing and Enhancing VAE
        Models" (two stages); Hoffman & Johnson (2016), "ELBO Surgery".

    Example:
        >>> import pyrovae as pv
        >>> x = torch.bernoulli(torch.full((60, 4), 0.5))
        >>> vae = pv.VAE((4,), latent_dim=2, seed=0)
        >>> prior = pv.priors.GaussianMixture(3)
        >>> mixed = fit_prior(vae, x, prior, epochs=1, progress=False)
        >>> z = torch.zeros(5, 2)
        >>> bool((mixed.decode(z).mean == vae.decode(z).mean).all()), mixed.prior == prior
        (True, True)
    """
    flags(progress=progress)
    if not isinstance(vae, VAE):
        raise InputError(f"fit_prior needs a VAE, not {type(vae).__name__}: give the result of fit or load")
    data = as_data(data, Runner(vae))
    settings: dict[str, Any] = {"epochs": whole("epochs", epochs), "lr": number("lr", lr, above=0)}
    settings |= {"seed": whole("seed", seed, 0), "patience": None, "kl_warmup": 0.0, "progress": progress}
    settings["global_warmup"] = 0.0
    new = _with_prior(vae, prior, seed)
    with seeded(seed), in_mode(new, training=False), _only_prior_learns(new):
        codes = _codes(new, data)
        _start(new, data, codes)
        program = _Codes(new)
        before = _value(vae, codes.validation)
        batch = min(whole("batch_size", batch_size), len(codes.train))
        fit(program, codes, batch_size=batch, figures=False, device=str(_like(new).device), **settings)
        after = _value(new, codes.validation)
    if progress:
        print_first(_compared(vae, new, before, after))
    return new.train(vae.training)


def _with_prior(vae: VAE, prior: Prior, seed: int) -> VAE:
    """A copy of a VAE with another prior, which has not learned anything."""
    if not isinstance(prior, Prior):
        raise InputError(f"prior must be a prior, as in GaussianMixture(20), not {type(prior).__name__}")
    if prior.labels:
        raise InputError(f"fit_prior observes no labels: declare {type(prior).__name__} without labels=True")
    new = type(vae)(**(vae.hyperparameters() | {"prior": prior}), seed=seed)
    if not any(p.requires_grad for p in new.prior.parameters()):
        raise InputError(f"{prior!r} has nothing to fit: choose another, as in GaussianMixture(20)")
    old, target = vae.state_dict(), new.state_dict()
    own = {name for name in target if name.startswith("prior.")}
    for name in target.keys() - own:
        if name not in old or old[name].shape != target[name].shape:
            size, visible = vae.prior.size, vae.prior.visible
            other = f"one vector of {size} real numbers, such as GaussianMixture(20)"
            raise InputError(
                f"the decoder of this VAE does not read the z of {prior!r}: choose a prior "
                + (f"of {other}" if size == visible else f"with the same layers as {vae.prior!r}")
            )
    like = _like(vae)
    new.to(device=like.device, dtype=like.dtype)
    new.load_state_dict({name: old[name] for name in target.keys() - own}, strict=False)
    new.schema = vae.schema
    return new


class _only_prior_learns:  # noqa: N801
    """Stops the gradients of everything else inside the context."""

    def __init__(self, vae: VAE) -> None:
        own = {id(p) for p in vae.prior.parameters()}
        self.others = [p for p in vae.parameters() if p.requires_grad and id(p) not in own]

    def __enter__(self) -> None:
        for p in self.others:
            p.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for p in self.others:
            p.requires_grad_(True)


class _Codes(Program, nn.Module):
    """The prior as a program whose observations are samples of z.

    Its only parameters are those of the prior, since a module in a tuple is not a part.
    """

    has_custom_parts = False

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.prior = vae.prior
        self.event_shape = (vae.prior.size,)
        self._vae = (vae,)
        self._variables = {n: v for n, v in vae.global_variables.items() if n.startswith("prior.")}

    def model(self, z: Tensor, context: Tensor | None = None) -> None:
        with self._shared("model"), pyro.plate(DATA, len(z), dim=-1):
            pyro.sample("codes", self.prior(self._vae[0]._flat(context)), obs=z)

    def guide(self, z: Tensor, context: Tensor | None = None) -> None:
        with self._shared("guide"), pyro.plate(DATA, len(z), dim=-1):
            pass

    @contextmanager
    def _shared(self, of: str) -> Iterator[None]:
        """Draw the prior's variables that all codes share, and not those of the decoder."""
        vae = self._vae[0]
        others = {n: v.centre() for n, v in vae.global_variables.items() if n not in self._variables}
        with vae.holding(others), vae._shared(of):
            yield

    @property
    def has_globals(self) -> bool:  # type: ignore[override]
        """Whether the prior has variables that all codes share."""
        return bool(self._variables)

    def central_globals(self) -> dict[str, Tensor] | None:
        return {name: variable.centre().detach() for name, variable in self._variables.items()}

    def global_divergence(self) -> Tensor | None:
        return sum(v.divergence() for v in self._variables.values()) if self._variables else None  # type: ignore[return-value]

    @property
    def waits_for(self) -> int:  # type: ignore[override]
        return self.prior.waits_for

    @torch.no_grad()
    def begin_epoch(self, epoch: int, some: Callable[[], Rows]) -> str | None:
        changed = self.prior.begin_epoch(epoch, lambda: some().x)
        return "the codes changed the prior" if changed else None


@torch.no_grad()
def _start(vae: VAE, data: Data, codes: Data) -> None:
    """Initialise the prior from data, and a mixture with random components from the codes."""
    prior = vae.prior
    if type(prior).start_from is not Part.start_from:  # it reads what the encoder reads
        rows = vae.rows(training_rows(data, SOME))
        prior.start_from(vae.inputs(rows.x).nan_to_num())
    if isinstance(prior, GaussianMixture) and prior.start == "random":
        assert isinstance(codes.train, Rows)
        prior.put(*from_encodings("kmeans", codes.train.x[:SOME], prior.components))


@torch.no_grad()
def _codes(vae: VAE, data: Data) -> Data:
    """Samples of q(z|x) as a data set with the split of the data."""
    rows = ROWS if data.streams else data.distinct
    copies = 1 if data.streams else max(1, -(-CODES // rows))
    parts = [_sampled(vae, part) for part in _training(data, rows, copies)]
    train = Rows(torch.cat([z for z, _ in parts]), _joined([c for _, c in parts]))
    order = torch.randperm(len(train))
    more = max(1, -(-SOME // len(data.validation)))
    held = [_sampled(vae, data.validation) for _ in range(more)]
    validation = Rows(torch.cat([z for z, _ in held]), _joined([c for _, c in held]))
    if not train.x.isfinite().all():
        raise InputError("some codes are not finite: fit the VAE again with a lower lr")
    return _as_data(train[order], validation, rows)


def _training(data: Data, rows: int, copies: int) -> list[Rows]:
    if data.streams:
        return [training_rows(data, rows)]
    return [data.epoch(number, 0)[:rows] for number in range(copies)]


def _sampled(vae: VAE, rows: Rows) -> tuple[Tensor, Tensor | None]:
    rows = vae.rows(rows.unlabelled())
    return torch.cat([vae.encode(piece).sample() for piece in rows.batches(PIECE)]), rows.context


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    return None if parts[0] is None else torch.cat(parts)  # type: ignore[arg-type]


def _as_data(train: Rows, validation: Rows, distinct: int) -> Data:
    """Codes as a data set, in which several codes of an observation count as copies."""
    from dataclasses import replace

    few = torch.cat([train.x[:3], validation.x[:3]])[:3]
    plain = datasets.load(few.cpu(), validation=1, test=1)
    index = torch.arange(len(train) + len(validation))
    train = replace(train, index=index[: len(train)])
    validation = replace(validation, index=index[len(train) :])
    record = plain.record | {"repeated": len(train) - distinct}
    return replace(
        plain, name="codes", train=train, validation=validation, test=validation[:1], record=record
    )


@torch.no_grad()
def _value(vae: VAE, codes: Rows) -> float:
    """The mean log p(z) of codes, nats per observation."""
    with in_mode(vae, training=False):
        total = sum(
            vae.prior(vae._flat(piece.context)).log_prob(piece.x).sum(dtype=torch.float64).item()
            for piece in codes.batches(PIECE)
        )
    return total / len(codes)


def _compared(vae: VAE, new: VAE, before: float, after: float) -> str:
    end = "" if after >= before else ": the old prior is better, keep it"
    values = f"{after:.3f} with {new.prior!r}, {before:.3f} with {vae.prior!r}"
    return f"validation E_q[log p(z)]: {values}, nats per observation{end}"


def _like(vae: VAE) -> Tensor:
    return next(vae.parameters())
