"""`explore`: describe any VAE by rows of data, and a mixture also by its components."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike

from pyrovae.checks import count_of, one_of, whole
from pyrovae.datasets import Data, Rows
from pyrovae.errors import InputError
from pyrovae.evidence.run import inputs
from pyrovae.exploring.agreement import Integers, integers
from pyrovae.exploring.exploration import Exploration
from pyrovae.exploring.mixture import has_components
from pyrovae.exploring.mixture_exploration import MixtureExploration
from pyrovae.exploring.space import vae_of
from pyrovae.numerics import as_array
from pyrovae.terms import Runner
from pyrovae.vae import VAE

__all__ = ["explore"]

Split = Literal["test", "validation", "train"]


def explore(
    vae: VAE,
    data: Data | Rows | ArrayLike,
    *,
    split: Split = "test",
    rows: int = 2000,
    particles: int = 100,
    seed: int = 0,
    labels: ArrayLike | None = None,
) -> Exploration:
    """Describe the latent space of a VAE, using rows of data.

    The result is a `MixtureExploration` for a VAE with a mixture in its prior or with classes.

    Arguments:
        vae: a trained VAE.
        data: the result of `datasets.load`, rows, or observations (N, *event).
        split: the part of a data set to use; ignored for rows.
        rows: the maximum number of rows; chosen by the seed if there are more.
        particles: samples of z for each row, for p(c|x), KL and log p(x).
        seed: seed of the choice of rows and the samples.
        labels: labels (N,) of rows or observations, for colours and `agreement`.

    Raises:
        InputError: for another program than a VAE, data that it cannot take, or an invalid option.

    Example:
        >>> import pyrovae as pv
        >>> prior, likelihood = pv.priors.GaussianMixture(components=3), pv.likelihoods.Normal()
        >>> vae = pv.VAE((4,), latent_dim=2, prior=prior, likelihood=likelihood)
        >>> ex = explore(vae, torch.randn(50, 4))
        >>> ex.responsibilities.shape, int(ex.components.hard.sum())
        ((50, 3), 50)
    """
    vae = vae_of(vae, "explore")
    particles, most = count_of("particles", particles), whole("rows", rows)
    seed = whole("seed", seed, 0)
    given, truth = (data, labels) if not isinstance(data, Data) else _part(data, split, seed, labels)
    every = inputs(Runner(vae), given).unlabelled()
    if every.index is None:
        every = replace(every, index=torch.arange(len(every), device=every.x.device))
    y = None if truth is None else integers(truth, "labels", len(every))
    chosen = np.arange(len(every))
    if most < len(every):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(every))[:most])
    some = every[chosen]
    kind = MixtureExploration if has_components(vae) else Exploration
    kept = None if y is None else y[chosen]
    return kind.of(vae, some, kept, particles, seed, _names(vae, data, y))


def _names(vae: VAE, data: Any, labels: Integers | None) -> Integers | None:  # noqa: ANN401
    """The labels in the order of the classes, for a prior that observed labels."""
    if not vae.prior.labels or labels is None:
        return None
    values = np.unique(as_array(data.labels.train) if isinstance(data, Data) and data.labels else labels)
    return values if len(values) == vae.prior.states else None


def _part(data: Data, split: str, seed: int, labels: Any) -> tuple[Rows, Any]:  # noqa: ANN401
    """One part of a data set, and its labels."""
    if labels is not None:
        raise InputError("labels= is for rows or observations: a data set has its own labels")
    one_of("split", split, get_args(Split))
    labels = None if data.labels is None else getattr(data.labels, split)
    if split != "train":
        return getattr(data, split), labels
    rows = data.without_jitter(seed)  # without the copies, which come last
    return rows, None if labels is None else labels[: len(rows)]
