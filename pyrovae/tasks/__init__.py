"""Tasks with a trained model: scores of new data.

scores = score(vae, frame)                  log p(x) of every row, with errors and percentiles
score_file("runs/a", "new.csv", "scores.csv")    the same for a file of any size
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.tasks.in_memory import score
    from pyrovae.tasks.on_disk import score_file
    from pyrovae.tasks.result import Scores

__all__ = ["Scores", "score", "score_file"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__, {"result": ["Scores"], "in_memory": ["score"], "on_disk": ["score_file"]}
    )
