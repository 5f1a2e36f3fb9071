"""Tasks with a trained model: scores of new data.

    scores = score(vae, frame)                  log p(x) of every row, with errors and percentiles
    score_file("runs/a", "new.csv", "scores.csv")    the same for a file of any size
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.tasks.result import Scores
    from pyrovae.tasks.score import score
    from pyrovae.tasks.score_file import score_file

__all__ = ["Scores", "score", "score_file"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__, {"result": ["Scores"], "score": ["score"], "score_file": ["score_file"]}
    )
