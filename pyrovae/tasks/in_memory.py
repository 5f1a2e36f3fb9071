"""`score`: log p(x) of every row of new data, how anomalous it is, and percentiles."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pyrovae.compiling import Compile
from pyrovae.datasets import Data, Rows
from pyrovae.datasets.incoming import Asked, Incoming, Piece, incoming
from pyrovae.datasets.matching import Unknown
from pyrovae.errors import InputError
from pyrovae.evidence import Method
from pyrovae.evidence.result import about
from pyrovae.evidence.run import shown
from pyrovae.sharing import is_first
from pyrovae.tasks.kinds import Kind, KindName, kind_of
from pyrovae.tasks.reference import Reference, reference_of_rows, reference_of_run, run_key
from pyrovae.tasks.result import ANOMALY, Scores
from pyrovae.tasks.runs import loaded
from pyrovae.tasks.scoring import COLUMNS, Scorer
from pyrovae.terms import Runner

__all__ = ["Task", "score", "task_of"]

RESERVED = ("row", *COLUMNS, *ANOMALY, "percentile")


def score(
    run: Any,  # noqa: ANN401
    data: Any,  # noqa: ANN401
    *,
    kind: KindName = "log_px",
    background: Any = None,  # noqa: ANN401
    particles: int | None = None,
    method: str | Method = "importance",
    seed: int = 0,
    id: str | None = None,
    unknown: Unknown = "refuse",
    labels: str | None = None,
    percentiles: bool | None = None,
    reference: Any = None,  # noqa: ANN401
    compile: Compile = "auto",
    device: str | None = None,
    progress: bool = False,
    trust: str | Sequence[str] | None = None,
) -> Scores:
    r"""Estimate log p(x) of every row of new data, and compare it with the training rows.

    \[\log p(x) \approx \log \frac1K \sum_{k=1}^K \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}, \quad
    z_k \sim q(z|x)\]

    Columns of a table are matched by name, and words to the stored levels, whatever their order.
    The estimate of a row depends on the seed and its own values only. `log_evidence` gives the same
    numbers for rows that occur once.

    `kind` is how anomalous a row is, in nats; a higher score is more anomalous, for every kind:

    - "log_px": -log p(x).
    - "typicality": |log p(x) - m|, with m the mean of log p(x) over the training rows.
    - "complexity": -log p(x) - L log 2, with L bits of the row after compression; for integer
      levels. L comes from PNG for images and from zlib for other rows.
    - "ratio": log p_0(x) - log p(x), with a background model p_0.

    The percentile of a row is the percentage of training rows that are more anomalous, by the same
    method and kind; a row below the first percentile is an anomaly.

    Arguments:
        run: a run folder, or a VAE in memory (or any program that `log_evidence` takes).
        data: a DataFrame, a dict of columns, the name of a file, an array or `Rows`.
        kind: how anomalous a row is.
        background: for "ratio", a run folder or a VAE of the same kind of rows, trained on noisier
            or more general data.
        particles: K; by default 100, or 16 chains for AIS.
        method: how log p(x) is estimated, see `log_evidence`.
        seed: seed of the samples.
        id: the name of a column that is copied to the result.
        unknown: "refuse" words that have no number or level, or read them as "missing" entries.
        labels: the column of the labels, for a model that is conditioned on labels.
        percentiles: whether percentiles are needed; by default they are given if the training rows
            of a run can be read. They are computed once, from up to 2,000 training rows.
        reference: training rows for the percentiles of a VAE in memory.
        compile: see `log_evidence`.
        device: the device to compute on; by default that of the VAE, or CUDA for a run folder.
        progress: show a bar.
        trust: trusted modules outside PyroVAE that a run folder may name; see `load`.

    Raises:
        InputError: for data that the model cannot read or score, with the row.

    Reference:
        Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders"; Nalisnick et al.
        (2019), "Do Deep Generative Models Know What They Don't Know?", on likelihoods of anomalies,
        and "Detecting Out-of-Distribution Inputs to Deep Generative Models Using Typicality"; Serra
        et al. (2020), "Input complexity and out-of-distribution detection with likelihood-based
        generative models"; Ren et al. (2019), "Likelihood Ratios for Out-of-Distribution
        Detection".

    Example:
        >>> import numpy as np, pandas, pyrovae as pv
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> vae = pv.VAE((2,), 1, likelihood=pv.likelihoods.Normal(), encoder=pv.networks.MLP(8))
        >>> scores = score(vae, [[0.0, 0.0], [9.0, 9.0]], reference=x)
        >>> bool(scores.log_px[0] > scores.log_px[1]), scores.percentile[1]
        (True, np.float64(0.0))
        >>> scores = score(vae, [[0.0, 0.0], [9.0, 9.0]], reference=x, kind="typicality")
        >>> bool(scores.anomaly[0] < scores.anomaly[1])
        True
    """
    asked = Asked(unknown, id, labels, seed)
    options: dict[str, Any] = {"particles": particles, "method": method, "seed": seed, "compile": compile}
    of_run: dict[str, Any] = {"percentiles": percentiles, "device": device, "trust": trust}
    of_run |= {"kind": kind, "background": background}
    task = task_of(run, data, asked, reference=reference, **of_run, **options)
    with shown("scoring", task.data.rows, show=progress and is_first()) as advance:
        parts = []
        for part in task.scores():
            parts.append(part)
            advance(len(part))
    return _joined(parts, task)


@dataclass
class Task:
    """Rows to score, and the model and reference to score them with.

    Attributes:
        vae: the program.
        data: the new data.
        scorer: estimates log p(x).
        kind: how anomalous a row is.
        reference: scores of training rows, or None.
        id_name: the name of the id column in results, or None.
        labelled: whether log p(x, y) of given labels is estimated.
        notes: remarks.
    """

    vae: Any
    data: Incoming
    scorer: Scorer
    kind: Kind
    reference: Reference | None
    id_name: str | None
    notes: list[str] = field(default_factory=list)

    def scores(self, skip: int = 0, size: int | None = None) -> Iterator[Scores]:
        """The scores of one piece after another, in all processes."""
        numbers = int(np.prod(self.vae.event_shape or (1,))) if hasattr(self.vae, "event_shape") else 64
        for piece in self.data.pieces(size or self.scorer.piece_rows(numbers), skip):
            yield self._scores(piece, skip)
            skip += len(piece)

    def _scores(self, piece: Piece, first: int) -> Scores:
        values = self.scorer(piece.rows, first)
        facts, index = about(piece.rows), piece.rows.index
        log_px, mc_stderr, ess, khat = values
        background = self.kind.background(piece.rows, first)
        mean = np.nan if self.reference is None else self.reference.mean
        anomaly = self.kind.anomaly(log_px, None if background is None else background[0], mean)
        return Scores(
            np.arange(first, first + len(piece)) if index is None else index.cpu().numpy(),
            log_px,
            mc_stderr,
            ess,
            khat,
            percentile=None if self.reference is None else self.reference.percentiles(anomaly),
            kind=self.kind.name,
            anomaly=anomaly,
            anomaly_stderr=mc_stderr if background is None else np.hypot(mc_stderr, background[1]),
            background=None if background is None else background[0],
            id=piece.ids,
            id_name=self.id_name or "id",
            particles=self.scorer.particles,
            method=self.scorer.method.name,
            quantity=self.scorer.meaning(facts["quantity"]),
            reference_rows=0 if self.reference is None else len(self.reference),
            notes=tuple(self.notes),
        )


def task_of(
    run: Any,  # noqa: ANN401
    data: Any,  # noqa: ANN401
    asked: Asked,
    *,
    kind: KindName = "log_px",
    background: Any = None,  # noqa: ANN401
    percentiles: bool | None = None,
    reference: Any = None,  # noqa: ANN401
    device: str | None = None,
    trust: str | Sequence[str] | None = None,
    **options: Any,  # noqa: ANN401
) -> Task:
    """Everything that is needed to score data.

    Arguments:
        run, data, kind, background, percentiles, reference, device, trust: as for `score`.
        asked: how the data are read.
        options: arguments of `Scorer`.

    Raises:
        InputError: as from `score`.
    """
    vae = loaded(run, device, trust)
    program = Runner(vae).program
    if isinstance(data, Data):
        raise InputError("score needs rows, not a whole data set: give one part of it, as in data.test")
    behind = None if background is None else loaded(background, device, trust)
    new = incoming(program.schema, data, asked)
    scorer = Scorer(vae, **options, rows=new.rows)
    score_of = kind_of(
        kind, program, behind, lambda: Scorer(behind, **options, rows=new.rows), _key(background)
    )
    notes = [*new.notes, *score_of.notes]
    found: Reference | None
    if reference is not None:
        rows = _reference_rows(program.schema, reference, asked)
        found = reference_of_rows(rows, scorer, score_of)
    else:
        labelled = asked.labels is not None and getattr(program.schema, "context", None) != "labels"
        found = _of_run(
            run, scorer, score_of, program.schema, notes, labelled=labelled, percentiles=percentiles
        )
    return Task(vae, new, scorer, score_of, found, _id_name(asked.id), notes)


def _key(background: Any) -> str | None:  # noqa: ANN401
    return run_key(background) if isinstance(background, (str, os.PathLike)) else None


def _of_run(
    run: Any,  # noqa: ANN401
    scorer: Scorer,
    kind: Kind,
    schema: Any,  # noqa: ANN401
    notes: list[str],
    *,
    labelled: bool,
    percentiles: bool | None,
) -> Reference | None:
    """The reference of a run folder, or None if it is not needed or cannot be had."""
    is_run, is_needed = isinstance(run, (str, os.PathLike)), percentiles or kind.needs_training_rows
    if kind.needs_training_rows and percentiles is False:
        raise InputError(f"kind={kind.name!r} needs the training rows: leave percentiles=False out")
    if is_needed and not is_run:
        what = f"kind={kind.name!r} and its percentiles" if kind.needs_training_rows else "percentiles"
        raise InputError(f"{what} of a VAE in memory need its training rows: give reference=")
    if not is_run or percentiles is False:
        return None
    try:
        return reference_of_run(run, scorer, kind, schema, labelled=labelled)
    except InputError as error:
        if is_needed:
            raise
        notes.append(f"no percentiles, as the training rows cannot be read: {error}")
        return None


def _reference_rows(schema: Any, reference: Any, asked: Asked) -> Rows:  # noqa: ANN401
    """Training rows that were given."""
    if isinstance(reference, Data):
        raise InputError("reference must be rows, not a whole data set: give data.train")
    rows = incoming(schema, reference, replace(asked, id=None)).all_rows()
    return rows if asked.labels else rows.unlabelled()


def _id_name(id: str | None) -> str | None:
    return None if id is None else f"{id} (given)" if id in RESERVED else id


def _joined(parts: list[Scores], task: Task) -> Scores:
    if not parts:
        raise InputError("there is nothing to score: the data have no rows")
    names = [name for name, value in vars(parts[0]).items() if isinstance(value, np.ndarray)]
    joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **joined)
