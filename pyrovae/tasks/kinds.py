r"""How anomalous a row is: four scores in nats, of which a higher one is more anomalous.

    log_px        -log p(x)
    typicality    |log p(x) - m|         m is the mean of log p(x) over training rows
    complexity    log p_0(x) - log p(x)  log p_0(x) = -L(x) log 2, for L(x) bits after compression
    ratio         log p_0(x) - log p(x)  p_0 is a second, more general model

log p(x) is high for any simple row, such as a plain image, whether it is like the training rows or
not. The last three scores allow for this in different ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from pyrovae.checks import one_of
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.evidence import Method
from pyrovae.likelihoods import Bernoulli
from pyrovae.numerics import as_array
from pyrovae.tasks.compression import compressed_bits
from pyrovae.tasks.scoring import Scorer
from pyrovae.terms import Runner

__all__ = ["Complexity", "Kind", "KindName", "Ratio", "Typicality", "kind_of", "of_likelihood"]

KindName = Literal["log_px", "typicality", "complexity", "ratio"]
MOST_LEVELS = 2**16
AS_GIVEN = "values as given"


class Kind:
    r"""The score \(-\log p(x)\), in nats.

    Reference:
        Bishop (1994), "Novelty detection and neural network validation".
    """

    name: ClassVar[str] = "log_px"
    has_background: ClassVar[bool] = False
    needs_training_rows: ClassVar[bool] = False
    scorer: Scorer | None = None  # of the background model
    is_known = True  # whether `identity` says what the background is
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, Any]:
        """The name, and what the background depends on, in plain values."""
        return {"kind": self.name}

    def background(self, rows: Rows, first: int = 0) -> np.ndarray | None:
        """log p_0(x) of rows in nats and its Monte Carlo standard error, (2, N), or None.

        Arguments:
            rows: rows of the model.
            first: the number of the first row in messages.

        Raises:
            InputError: for rows that cannot be compressed, or that the background cannot score.
        """
        return None

    def used(self, scorer: Scorer) -> dict[str, Any]:
        """The method of a scorer, with the options that were chosen, and that of the background."""
        methods = scorer.method.to_dict()
        return (
            methods if self.scorer is None else {"model": methods, "background": self.scorer.method.to_dict()}
        )

    def prepare(self, scorer: Scorer, used: dict[str, Any]) -> None:
        """Use the methods that `used` gave."""
        if self.scorer is None:
            scorer.prepare(Method.from_dict(used))
            return
        scorer.prepare(Method.from_dict(used["model"]))
        self.scorer.prepare(Method.from_dict(used["background"]))

    def anomaly(self, log_px: np.ndarray, background: np.ndarray | None, mean: float) -> np.ndarray:
        """The score of each row in nats, (N,); higher is more anomalous, inf without probability.

        Arguments:
            log_px: log p(x), (N,).
            background: log p_0(x), (N,), if there is one.
            mean: the mean of log p(x) over training rows; nan if it is not known.
        """
        reference = 0.0 if background is None else background
        return np.where(log_px == -np.inf, np.inf, reference - np.where(log_px == -np.inf, 0.0, log_px))


class Typicality(Kind):
    r"""The distance \(|\log p(x) - m|\) from the mean m of the training rows, in nats.

    A row whose log p(x) is far above that of the training rows is as anomalous as one far below.
    Samples of p(x) have a log p(x) near -H, the negative entropy, and m estimates it.

    Reference:
        Nalisnick, Matsukawa, Teh & Lakshminarayanan (2019), "Detecting Out-of-Distribution Inputs
        to Deep Generative Models Using Typicality", for a batch of one row.

    Example:
        >>> Typicality().anomaly(np.array([-9.0, -4.0, 1.0]), None, -4.0)
        array([5., 0., 5.])
    """

    name = "typicality"
    needs_training_rows = True

    def anomaly(self, log_px: np.ndarray, background: np.ndarray | None, mean: float) -> np.ndarray:
        return np.abs(log_px - mean)


class Complexity(Kind):
    r"""The score \(-\log p(x) - L(x) \log 2\) in nats, for L(x) bits of the compressed row.

    In bits it is \(-\log_2 p(x) - L(x)\): by how much the code of the model is longer than that of
    a general compressor (`compressed_bits`). log p(x) is that of integer levels. A density of
    dequantised levels is converted to the lower bound on their probability.

    Reference:
        Serra, Alvarez, Gomez, Slizovskaia, Nunez & Luque (2020), "Input complexity and
        out-of-distribution detection with likelihood-based generative models".

    Arguments:
        program: the model whose rows are scored.

    Raises:
        InputError: for a model of values without a known number of levels.
    """

    name = "complexity"
    has_background = True

    def __init__(self, program: Any) -> None:  # noqa: ANN401
        self.count, self.top, self.is_density = _levels(program)

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"levels": self.count}

    def background(self, rows: Rows, first: int = 0) -> np.ndarray:
        x = as_array(rows.x, np.float64)
        missing = np.isnan(x.reshape(len(x), -1)).any(1)
        if missing.any():
            row = first + int(missing.argmax())
            raise InputError(
                f"row {row} has missing entries, and only whole rows can be compressed: use another kind, "
                "or leave such rows out"
            )
        levels = np.floor(x * self.count) if self.is_density else np.rint(x * self.top)
        log_p0 = -math.log(2) * compressed_bits(levels.astype(np.int64), self.count)
        if self.is_density:  # a density of 1 / width of a cell
            log_p0 += math.log(self.count) * (x.size // max(1, len(x)))
        return np.stack([log_p0, np.zeros_like(log_p0)])


def _levels(program: Any) -> tuple[int, int, bool]:  # noqa: ANN401
    """The number of levels, what x is multiplied by to get them, and whether x has noise on it."""
    likelihood, schema = getattr(program, "likelihood", None), getattr(program, "schema", None)
    if schema is not None and schema.dequantize and program.measure == "density":
        return schema.levels, schema.levels, True
    if isinstance(likelihood, Bernoulli):
        return 2, 1, False
    count = of_likelihood(program, "levels", "classes")
    if not isinstance(count, int) or program.measure != "mass" or count > MOST_LEVELS:
        raise InputError(
            "kind='complexity' needs a model of integer levels, and this one has "
            f"{likelihood if likelihood is not None else 'no declared likelihood'}: use a likelihood such as "
            "DiscretizedLogistic or Bernoulli, data with dequantize=True, or another kind"
        )
    return count, count - 1 if getattr(likelihood, "grey", True) else 1, False


class Ratio(Kind):
    r"""The log-likelihood ratio \(\log p_0(x) - \log p(x)\) with a background model, in nats.

    What makes every row of this kind of data likely, such as a dark border of images, raises both
    terms and cancels. The background model is trained on rows that have lost what is typical of the
    training data, for instance on images of which a fifth of the pixels were replaced at random.

    Reference:
        Ren, Liu, Fertig, Snoek, Poplin, DePristo, Dillon & Lakshminarayanan (2019), "Likelihood
        Ratios for Out-of-Distribution Detection".

    Arguments:
        scorer: estimates log p_0(x).
        key: a hash of the weights of the background model, if it is a run; else None.
        notes: remarks on the background model.
    """

    name = "ratio"
    has_background = True

    def __init__(self, scorer: Scorer, key: str | None = None, notes: Sequence[str] = ()) -> None:
        self.scorer: Scorer = scorer
        self.notes = tuple(notes)
        self.key, self.is_known = key, key is not None

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"background": self.key}

    def background(self, rows: Rows, first: int = 0) -> np.ndarray:
        try:
            return self.scorer(rows, first)[:2]
        except InputError as error:
            raise InputError(f"the background model cannot score the rows ({error})") from None


def check_alike(program: Any, background: Any) -> list[str]:  # noqa: ANN401
    """Refuse a background model whose log p_0(x) cannot be subtracted from log p(x).

    Returns:
        Remarks on what cannot be checked.

    Raises:
        InputError: for another shape, context, measure or scaling, or other columns.
    """
    for name, words in (("event_shape", "rows of shape"), ("context_shape", "a context of shape")):
        mine, theirs = getattr(program, name, None), getattr(background, name, None)
        if mine != theirs and (name == "context_shape" or None not in (mine, theirs)):
            raise InputError(
                f"the background model has {words} {theirs}, and the model has {mine}: train both on rows of "
                "the same shape"
            )
    mine, theirs = program.schema, background.schema
    if mine is not None and theirs is not None:
        mine.check_same(theirs, "the background model")
    for what, of in _MEANING.items():
        one, two = of(program), of(background)
        if one != two and None not in (one, two):
            raise InputError(
                f"the background model has {what} {two}, and the model has {one}, so their log p(x) cannot "
                "be subtracted: train both on the same kind of values"
            )
    scalings = [schema.scaling for schema in (mine, theirs) if schema is not None]
    if len(set(scalings)) < 2:
        return []
    return [
        f"the model was trained on {scalings[0]}, and the background model on {scalings[1]}: make sure that "
        "both mean the same values"
    ]


def _scaling(program: Any) -> str | None:  # noqa: ANN401
    """How values were scaled; None where they may have been scaled before they were read."""
    scaling = None if program.schema is None else program.schema.scaling
    return None if scaling == AS_GIVEN else scaling


def of_likelihood(program: Any, *names: str) -> Any:  # noqa: ANN401
    """The first of some attributes that the likelihood of a program has; None without any."""
    likelihood = getattr(program, "likelihood", None)
    return next((value for name in names if (value := getattr(likelihood, name, None)) is not None), None)


def _units(schema: Any) -> str | None:  # noqa: ANN401
    columns = None if schema is None else schema.columns
    return None if columns is None else ", ".join(str(column.unit) for column in columns)


_MEANING: dict[str, Any] = {
    "the measure": lambda program: program.measure,
    "probabilities for the columns": lambda program: of_likelihood(program, "discrete_places"),
    "the number of levels": lambda program: of_likelihood(program, "levels", "classes"),
    "the scaling": _scaling,
    "columns in the units": lambda program: _units(program.schema),
}


def kind_of(
    name: str,
    program: Any,  # noqa: ANN401
    background: Any = None,  # noqa: ANN401
    scorer: Callable[[], Scorer] | None = None,
    key: str | None = None,
) -> Kind:
    """The kind of score with this name.

    Arguments:
        name: one of `KindName`.
        program: the model whose rows are scored.
        background: the background model, or None.
        scorer: makes the scorer of the background model.
        key: as for `Ratio`.

    Raises:
        InputError: for an unknown name, or a background without use for it.
    """
    one_of("kind", name, get_args(KindName))
    if (name == "ratio") != (background is not None):
        raise InputError(
            "kind='ratio' needs a background model: give background="
            if background is None
            else f"a background model is for kind='ratio', not for {name!r}: leave background out"
        )
    if background is not None:
        assert scorer is not None
        notes = check_alike(program, Runner(background).program)
        return Ratio(scorer(), key, notes)
    if name == "complexity":
        return Complexity(program)
    return Typicality() if name == "typicality" else Kind()
