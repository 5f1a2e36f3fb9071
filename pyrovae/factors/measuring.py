r"""`disentanglement`: every metric of how the latents of a VAE stand for the factors of its data.

    codes = samples of q(z|x) for MIG and modularity, means of q(z|x) for the other metrics

Samples tell a latent that q(z|x) hardly fixes from one that it fixes; means do not, since a
histogram, a tree and a ratio of variances do not depend on the scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from pyrovae.checks import count_of, one_of, whole
from pyrovae.datasets import Data, Rows
from pyrovae.datasets.factor_values import Factors
from pyrovae.errors import InputError
from pyrovae.evidence.diagnose import diagnose
from pyrovae.exploring.space import Space
from pyrovae.factors.base import BINS, LEAST_ROWS, Coded, Metric, as_factors
from pyrovae.factors.importance import DCI
from pyrovae.factors.information import (
    MIG,
    Modularity,
    entropies,
    mutual_information,
    shuffled_information,
)
from pyrovae.factors.prediction import SAP, Explicitness
from pyrovae.factors.result import Disentanglement, Score
from pyrovae.factors.robustness import IRS
from pyrovae.factors.votes import BetaVAEScore, FactorVAEScore
from pyrovae.names import meant_by, named_classes
from pyrovae.numerics import as_array, stderr_of_mean
from pyrovae.vae import VAE

__all__ = ["disentanglement", "standard_metrics"]

SPLITS = ("train", "validation", "test")
PAIRS = 1000  # rows for the total correlation, whose cost grows with their square


def standard_metrics() -> list[Metric]:
    """The metrics that are computed by default, with their default options."""
    return [
        MIG(),
        DCI(),
        DCI("lasso"),
        SAP(),
        BetaVAEScore(),
        FactorVAEScore(),
        Modularity(),
        Explicitness(),
        IRS(),
    ]


def disentanglement(
    vae: VAE,
    data: Any,  # noqa: ANN401
    factors: Any = None,  # noqa: ANN401
    *,
    split: str = "test",
    rows: int = 10_000,
    metrics: Sequence[Metric | str] | None = None,
    errors: bool = True,
    seed: int = 0,
) -> Disentanglement:
    r"""Measure how well the latents of a VAE stand for the known factors of its data.

    The metrics compare codes with factors. The total correlation KL(q(z) || prod_j q(z_j)) and the
    dimension-wise KL(prod_j q(z_j) || p(z)) are those of `diagnose`, over at most 1,000 rows.

    Arguments:
        vae: a trained VAE with real latents.
        data: the result of `datasets.load`, of a data set with factors; or observations (N, *event)
            with `factors`.
        factors: `Factors` of the observations, or columns by name, or an array (N, F).
        split: the part of a data set to use.
        rows: the maximum number of observations, chosen by the seed.
        metrics: the metrics, as objects or class names; all by default.
        errors: estimate the error of each score (`Metric.errors`); without, they are nan.
        seed: seed of the rows and of all samples.

    Returns:
        `Disentanglement`, which prints a table and draws a figure.

    Raises:
        InputError: for data without factors, latents that are not real vectors, an unknown metric,
            or fewer than 20 rows, two latents, or two factors with several values.

    References:
        Those of the metrics; for the choice of settings, Locatello et al. (2019), "Challenging
        Common Assumptions in the Unsupervised Learning of Disentangled Representations".

    Example:
        >>> import pyrovae as pv
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> vae = pv.VAE((2,), 2, likelihood=pv.likelihoods.Normal(), seed=0)
        >>> result = disentanglement(vae, x, {"a": x[:, 0], "b": x[:, 1]}, metrics=["MIG", "SAP"])
        >>> list(result.table)
        ['MIG', 'SAP', 'total correlation', 'dimension-wise KL']
    """
    count_of("rows", rows, LEAST_ROWS)
    chosen = _metrics(metrics)
    one_of("errors", errors, (True, False))
    space = Space(vae, "disentanglement")
    observed, known = _rows(data, factors, one_of("split", split, SPLITS))
    if len(observed) != len(known):
        raise InputError(
            f"there are {len(observed):,} observations and factors of {len(known):,}: give both for the same "
            "rows"
        )
    index = np.random.default_rng(whole("seed", seed, 0)).permutation(len(observed))[:rows]
    observed, known = space.rows(observed[index]), known.take(index)
    known, left_out = _varying(known)
    # A code that the decoder does not read has no effect on x.
    size = min(space.dim, vae.prior.visible)
    codes = {
        "samples": Coded.of(space.sample(observed, seed)[:, :size], known),
        "means": Coded.of(space.encode(observed, seed)[:, :size], known),
    }
    samples = codes["samples"]
    each = (_scores(metric, codes[metric.reads], seed, errors=errors) for metric in chosen)
    return Disentanglement(
        scores=(*chain.from_iterable(each), *_dependence(vae, observed, seed)),
        mutual_information=mutual_information(samples.codes, samples.classes),
        shuffled_information=shuffled_information(samples, seed),
        entropy=entropies(samples.classes),
        factors=known.names,
        rows=len(observed),
        left_out=left_out,
    )


def _metrics(metrics: Sequence[Metric | str] | None) -> list[Metric]:
    """The metrics as objects; all with their default options by default."""
    if metrics is None:
        return standard_metrics()
    if isinstance(metrics, (str, Metric)):
        metrics = [metrics]
    classes = named_classes(Metric)
    chosen = [_metric(metric, classes) if isinstance(metric, str) else metric for metric in metrics]
    wrong = next((metric for metric in chosen if not isinstance(metric, Metric)), None)
    if wrong is not None:
        raise InputError(f"{wrong!r} is not a metric: give objects such as MIG(), or their names")
    return chosen


def _metric(name: str, classes: dict[str, type]) -> Metric:
    if name not in classes:
        meant = meant_by(name, list(classes))
        raise InputError(f"there is no metric {name!r}: {meant}the metrics are {', '.join(classes)}")
    return classes[name]()


def _rows(data: Any, factors: Any, split: str) -> tuple[Rows, Factors]:  # noqa: ANN401
    """The observations, without labels, and their factors; of copies of a row, the first."""
    if not isinstance(data, Data):
        if factors is None:
            raise InputError("observations alone have no factors: give them as the third argument, factors=")
        return Rows.of(data).unlabelled(), as_factors(factors)
    if data.streams and split == "train":
        raise InputError(f"the training rows of {data.name} are streamed: use another split")
    if factors is None and data.factors is None:
        raise InputError(
            f"{data.name} has no known factors: use a data set that has them, such as sprites, or give "
            "observations with factors="
        )
    rows = data.without_jitter() if split == "train" else getattr(data, split)
    known = getattr(data.factors, split).take(slice(len(rows))) if factors is None else as_factors(factors)
    return rows.unlabelled(), known


def _varying(factors: Factors) -> tuple[Factors, tuple[str, ...]]:
    """The factors with several values, and the names of the others."""
    classes = as_array(factors.classes(BINS))
    varies = (classes != classes[:1]).any(0)
    keep = np.flatnonzero(varies)
    if len(keep) == len(varies):
        return factors, ()
    left_out = tuple(name for name, kept in zip(factors.names, varies, strict=True) if not kept)
    parts: Any = (factors.names, factors.kinds, factors.domains, factors.words)
    return Factors(factors.values[:, keep], *(tuple(part[k] for k in keep) for part in parts)), left_out


def _scores(metric: Metric, codes: Coded, seed: int, *, errors: bool) -> Iterator[Score]:
    """The scores of one metric, with errors."""
    values = metric(codes, None, seed=seed)
    stderr = metric.errors(codes, None, seed=seed) if errors else dict.fromkeys(values, float("nan"))
    chance = metric.chance(codes.classes.shape[1])
    for name, value in values.items():
        yield Score(name, value, stderr[name], chance, "", metric.source, metric.choices)


def _dependence(vae: VAE, rows: Rows, seed: int) -> Iterator[Score]:
    """The total correlation and the dimension-wise KL, if they are known."""
    found = diagnose(vae, rows, rows=PAIRS, seed=seed)
    choices = f"diagnose of {len(found):,} rows, {found.particles} samples each"
    names = {"total correlation": found.total_correlation, "dimension-wise KL": found.dimension_kl}
    for name, values in names.items():
        if not np.isnan(values).any():
            mean, error = float(values.mean()), float(stderr_of_mean(values))
            yield Score(name, mean, error, unit="nats", source="Chen et al. (2018)", choices=choices)
