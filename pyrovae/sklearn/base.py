"""What the estimators of scikit-learn have in common: their parameters, `fit`, and log p(x).

Parameters are those of `VAE` and `fit` under the same names, with three exceptions that follow
scikit-learn: `random_state` is the seed, `verbose` shows progress, and rows are split into training
and validation rows by `validation_fraction`. Rows of scikit-learn have no context, so there is no
`context_shape`.

The class is a dataclass: its fields are the parameters, and a subclass adds its own.
"""
# ruff: noqa: ANN401, N803 - X is the name of rows in scikit-learn

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pyrovae.checks import whole
from pyrovae.compiling import Compile
from pyrovae.networks import Precision
from pyrovae.objectives import Objective
from pyrovae.part import Part
from pyrovae.searching.parts import ROLES, part_of
from pyrovae.seeds import seeded
from pyrovae.sklearn.parameters import nested_parameters, with_parameters
from pyrovae.sklearn.rows import log_scales, new_rows, training_data, weights_of
from pyrovae.tasks import score
from pyrovae.training.callbacks import Callback
from pyrovae.training.fit import fit
from pyrovae.training.schedules import KLSchedule, LRSchedule
from pyrovae.training.settings import Keep
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.evidence import Method
    from pyrovae.vae.vae import Missing, Shape

__all__ = ["VAEEstimator"]

LARGEST_SEED = 2**31 - 1
# Parameters that `fit` takes under the same name.
SETTINGS = (
    "optimizer",
    "lr",
    "epochs",
    "batch_size",
    "device",
    "lr_schedule",
    "kl_warmup",
    "clip",
    "patience",
    "out",
    "resume",
    "checkpoint_seconds",
    "figures",
    "compile",
    "precision",
    "kl_schedule",
    "keep",
    "global_warmup",
    "callbacks",
)

PartLike = Part | str | dict[str, Any] | None


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class VAEEstimator(BaseEstimator):
    r"""Base class of the estimators: a VAE that is declared, trained and scored.

    A part is an object or the name of its class, as in `prior="GaussianMixture"`. What is left out
    suits the data, as in `pyrovae.fit(None, X)`. Rows are an array (N, F), in which NaN is a
    missing entry, or a DataFrame, whose columns are numbers, counts or words (`likelihoods.Mixed`).
    Hyperparameters of a part are parameters too: `set_params(prior__components=5)`.

    Arguments:
        latent_dim: the size D of z; by default half the number of features, between 2 and 32.
        event_shape: the shape of one observation, as in (1, 28, 28), for networks that read images;
            by default (F,).
        prior: p(z); by default `StandardNormal()`.
        likelihood: p(x|z); by default chosen from the values, see `VAE.suited`.
        guide: q(z|x); by default `DiagonalNormal()`.
        encoder: the network that reads x.
        decoder: the network that reads z.
        missing: what the encoder reads in place of missing entries, see `VAE`.
        mechanism: p(s|x), if entries are missing not at random.
        kinds: kinds of some columns of a DataFrame, as in {"zip": "categorical"}.
        objective: `ELBO()` by default.
        optimizer, lr, epochs, batch_size, lr_schedule, kl_warmup, clip, patience, precision,
            kl_schedule, keep, global_warmup, callbacks: settings of the training, see `fit`.
        validation_fraction: the share of the rows that choose the weights and end the training, or
            their number.
        random_state: a seed, a `RandomState`, or None for numpy's random state. The seed decides
            the initial weights, the split, the training, and the samples of every later call.
        device: the device to train and compute on; by default "cuda" if available.
        compile: whether training and log p(x) run as compiled code, see `fit`.
        verbose: show progress.
        out: the run folder; by default nothing is written.
        resume, checkpoint_seconds, figures: options of a run folder, see `fit`.
        particles: the number K of samples of z for each row; by default that of the function of
            PyroVAE that is called.
        method: how log p(x) is estimated, see `log_evidence`.

    Attributes:
        vae_: the trained `VAE`; on a CPU in double precision, so that the results for a row do not
            depend on the other rows. Training is in single precision.
        history_: name -> array with one entry per epoch; bounds in nats per row, for levels divided
            by the largest.
        n_iter_: the number of epochs.
        best_epoch_: the epoch of the weights that were kept.
        n_features_in_: the number F of features.
        feature_names_in_: the names of the columns, if X was a DataFrame.
    """

    latent_dim: int | None = dataclasses.field(default=None, kw_only=False)
    event_shape: Shape | None = None
    prior: PartLike = None
    likelihood: PartLike = None
    guide: PartLike = None
    encoder: PartLike = None
    decoder: PartLike = None
    missing: Missing | None = None
    mechanism: PartLike = None
    kinds: dict[str, str] | None = None
    objective: Objective | str | dict[str, Any] | None = None
    optimizer: Literal["adam", "adamw", "adamax", "radam", "sgd"] = "adam"
    lr: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    validation_fraction: float | int = 0.1
    random_state: int | np.random.RandomState | None = None
    device: str | None = None
    lr_schedule: LRSchedule | None = None
    kl_warmup: float | None = None
    clip: float | None = None
    patience: int | Literal["auto"] | None = "auto"
    out: str | os.PathLike | None = None
    resume: bool = False
    checkpoint_seconds: float = 30.0
    figures: bool = True
    verbose: bool = False
    compile: Compile = "auto"
    precision: Precision = "float32"
    kl_schedule: KLSchedule = "linear"
    keep: Keep | None = None
    global_warmup: float | None = None
    callbacks: Sequence[Callback] = ()
    particles: int | None = None
    method: str | Method = "importance"

    # ---------------------------------------------------------------- training

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Declare a VAE for rows X, and train it.

        With weights, the objective is the weighted mean over the rows: a row of weight 2 counts as
        two equal rows. The rows of each epoch are chosen by their weights, so this holds in
        expectation.

        Arguments:
            X: rows (N, F), at least three.
            y: ignored.
            sample_weight: the weights of the rows, (N,), not negative; only their ratios matter.

        Raises:
            ValueError: for rows or weights that cannot be used, and for options that do not fit.
                Errors of PyroVAE are an `InputError`, which is a `ValueError`.
        """
        seed = seed_of(self.random_state)
        weights = weights_of(sample_weight, X)
        data = training_data(self, X, weights, seed)
        self._check(data)
        self._train(data, seed)
        self._complete(X, weights)
        return self

    def _train(self, data: Data, seed: int) -> None:
        options = self.get_params(deep=False)
        options |= {name: value for name, value in self._usual(data).items() if options[name] is None}
        parts = {name: _built(name, options[name]) for name in ROLES}
        objective = parts.pop("objective")
        with seeded(seed):  # initial weights are random
            vae = VAE.suited(data, latent_dim=self.latent_dim, missing=self.missing, **parts)
        settings = {name: options[name] for name in SETTINGS}
        run = fit(vae, data, objective, seed=seed, progress=bool(self.verbose), **settings)
        if run.stopped:
            warnings.warn(
                f"the fit of {type(self).__name__} was interrupted after {run.epochs} epochs, and it "
                "has the best weights until then: fit again to train to the end",
                ConvergenceWarning,
                stacklevel=3,
            )
        # Results in single precision would depend on the number of rows, in their last digits.
        self.vae_ = run.program.double() if _is_on_cpu(run.program) else run.program
        self.history_, self.best_epoch_ = run.history, run.best_epoch
        self.n_iter_, self._seed = len(run.history["epoch"]), seed

    def _check(self, data: Data) -> None:
        """Refuse data that the estimator has no use for."""

    def _usual(self, data: Data) -> dict[str, Any]:
        """Parameters in place of those that are None; others that are None suit the data."""
        return {}

    def _complete(self, X: Any, weights: NDArray | None) -> None:
        """Compute what an estimator derives from the training rows."""

    # ---------------------------------------------------------------- log p(x)

    def score_samples(self, X: Any) -> NDArray:
        r"""Estimate log p(x) of each row, in nats, (N,): smaller is more surprising.

        This is `pyrovae.score` with the parameters `particles` and `method`, and a density is that
        of x in its own units, also for 8-bit levels, which the model reads as numbers from 0 to 1.
        The estimate of a row does not depend on the other rows.

        Raises:
            ValueError: for rows that the model cannot score.
        """
        check_is_fitted(self)
        rows = new_rows(self, X)
        options: dict[str, Any] = {"particles": self.particles, "method": self.method}
        log_px = score(self.vae_, rows, seed=self._seed, compile=self.compile, **options).log_px
        return log_px - log_scales(self, rows)

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """The mean of log p(x) over the rows, in nats; larger is better.

        Arguments:
            X: rows (N, F).
            y: ignored.
            sample_weight: the weights of the rows in the mean, (N,).
        """
        log_px = self.score_samples(X)
        return float(np.average(log_px, weights=weights_of(sample_weight, X)))

    # ---------------------------------------------------------------- parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002
        """The parameters by name; if deep, also those of parts, as in prior__components."""
        parameters = super().get_params(deep=deep)
        return parameters | nested_parameters(parameters) if deep else parameters

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also those of parts, as in prior__components.

        Raises:
            ValueError: for an unknown parameter.
        """
        nested: dict[str, dict[str, Any]] = {}
        for name in [name for name in params if "__" in name]:
            role, _, rest = name.partition("__")
            nested.setdefault(role, {})[rest] = params.pop(name)
        super().set_params(**params)
        for role, changes in nested.items():
            own = self.get_params(deep=False)
            if role not in own:
                super().set_params(**{role: None})  # refuses the name
            setattr(self, role, with_parameters(role, _built(role, own[role]), changes))
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _built(role: str, part: Any) -> Any:
    """A part, built if it is a name or a declaration."""
    return part_of(part, ROLES[role], role) if role in ROLES and isinstance(part, str | dict) else part


def _is_on_cpu(vae: VAE) -> bool:
    return next(vae.parameters()).device.type == "cpu"


def seed_of(random_state: Any) -> int:
    """The seed that a `random_state` stands for: a number itself, else the next random one.

    Raises:
        ValueError: for anything that is neither a seed, a `RandomState` nor None.

    Example:
        >>> seed_of(3)
        3
    """
    if isinstance(random_state, Integral):
        return whole("random_state", random_state, 0)
    return int(check_random_state(random_state).randint(LARGEST_SEED))
