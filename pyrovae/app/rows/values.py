"""Values of rows as HTML and as Python code, and the row that is expected given its latents."""

from __future__ import annotations

import base64
import zlib
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyrovae.app.scene import number
from pyrovae.app.words import tip
from pyrovae.datasets import Rows
from pyrovae.exploring.space import Space
from pyrovae.numerics import as_array

if TYPE_CHECKING:
    from pyrovae.app.session import Session
    from pyrovae.tasks import Completion

__all__ = [
    "chosen_code",
    "completion_facts",
    "condition_code",
    "estimate",
    "line",
    "reconstruction",
    "reliability",
    "rows_code",
]

POOR = (
    "The samples come from few weights or from chains that disagree, and may miss a part of the posterior: "
    "give pv.condition more particles, or method='ais'."
)
FEW = 64  # values that are written out in code
WIDE = 88


def reconstruction(vae: Any, rows: Rows) -> NDArray:  # noqa: ANN401
    """E[x|z] at the mean of q(z|x), (N, *event); the most probable values of a table."""
    space = Space(vae)
    return space.decoded(space.encode(rows), rows.context)


# -------------------------------------------------------------------- HTML


def line(left: str, right: str) -> str:
    """Two parts of HTML at the ends of a line."""
    return f'<div class="row"><span>{left}</span><span>{right}</span></div>'


def estimate(value: float, error: float) -> str:
    """An estimate in nats with its Monte Carlo error, as HTML."""
    if value == -np.inf:
        return "<b>−∞</b> <small>no sample has any weight</small>"
    return f"<b>{number(value)}</b> ± {number(error)} nats"


def reliability(trusted: bool, ess: float, khat: float, particles: int, sentence: str) -> str:  # noqa: FBT001
    """How far an estimate can be trusted, in a word and in numbers, as HTML.

    Arguments:
        trusted: whether the stated error holds.
        ess, khat: the effective sample size and the Pareto index of the weights.
        particles: the number of weights.
        sentence: what to do if they are doubtful.
    """
    word = tip("reliable" if trusted else "doubtful")
    mark = "good" if trusted else "poor"
    size = "–" if np.isnan(ess) else f"{ess:,.0f} of {particles:,}"
    parts = [f'<span class="mark {mark}">{word}</span>', f"{tip('ESS')} {size}"]
    if not np.isnan(khat):
        parts.append(f"{tip('k-hat')} {number(khat)}")
    note = "" if trusted else f"<p><small>{escape(sentence)}</small></p>"
    return f'<div class="trust">{" · ".join(parts)}</div>{note}'


# -------------------------------------------------------------------- code


def rows_code(rows: Rows, name: str = "rows") -> list[str]:
    """Lines of Python that give the same rows; they use `np`, `pv` and, for long ones, `unpacked`.

    Example:
        >>> import torch
        >>> rows_code(Rows(torch.tensor([[0.5, 2.0]])))
        ['rows = pv.Rows(np.array([[0.5, 2.0]], "float32"))']
    """
    parts = [literal(as_array(rows.x))]
    if rows.context is not None:
        parts.append(literal(as_array(rows.context)))
    lines = [] if all(len(part) == 1 for part in parts) else [*UNPACK]
    flat = [part[0] if len(part) == 1 else "\n".join(part) for part in parts]
    return [*lines, f"{name} = pv.Rows({', '.join(flat)})"]


UNPACK = (
    "import base64, zlib",
    "",
    "def unpacked(text, kind, shape):",
    "    return np.frombuffer(zlib.decompress(base64.b85decode(text)), kind).reshape(shape).copy()",
    "",
)


def literal(array: NDArray, wide: int = WIDE) -> list[str]:
    """An array as lines of Python; a long one is compressed."""
    kind = array.dtype.name
    if array.size <= FEW:
        text = str(array.tolist()) if kind == "float64" else str(_shortest(array))
        return [f'np.array({text.replace("nan", "np.nan")}, "{kind}")']
    packed = base64.b85encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
    pieces = [packed[i : i + wide] for i in range(0, len(packed), wide)]
    lines = ["unpacked(", *(f'    "{piece}"' for piece in pieces)]
    lines[-1] += f', "{kind}", {array.shape})'
    return lines


def _shortest(array: NDArray) -> Any:  # noqa: ANN401
    """Nested lists of the shortest numbers that give the same values in the type of the array."""
    if array.ndim:
        return [_shortest(one) for one in array]
    return float(str(array)) if array.dtype.kind == "f" else array.item()


def chosen_code(session: Session, name: str) -> list[str]:
    """Lines of Python that give the chosen row: by its number, or with its values."""
    i = session.chosen.index
    if i is not None:
        return ["import numpy as np", f"{name} = ex.rows[{i} : {i + 1}]"]
    return ["import numpy as np", *rows_code(session.chosen.rows, name)]


def condition_code(session: Session, lines: list[str], y: str, draws: int, end: str) -> str:
    """A program that conditions on `y`, which lines of Python make, and ends with a line."""
    return session.scene.code(
        "",
        *lines,
        f"completion = pv.condition(vae, {y}, draws={draws}, seed={session.ex.seed})",
        "print(completion)",
        end,
    )


def completion_facts(completion: Completion) -> str:
    """log p(y) of one row with its error, and how far the samples can be trusted, as HTML."""
    log_py, error = float(completion.log_py[0]), float(completion.mc_stderr[0])
    ess, khat = float(completion.ess[0]), float(completion.khat[0])
    particles, trusted = int(completion.particles[0]), bool(completion.trusted[0])
    trust = reliability(trusted, ess, khat, particles, POOR)
    by = escape(str(completion.method[0]))
    return (
        f'<div class="evidence-y">{tip("log p(y)")}<br>{estimate(log_py, error)}</div>{trust}'
        f"<small>by {by}</small>"
    )
