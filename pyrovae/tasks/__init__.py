"""Tasks with a trained model: scores of new data, and what was not measured.

completion = condition(vae, y)              samples of x given missing, noisy or coarse values

scores = score(vae, frame)                  log p(x) of every row, with errors and percentiles
score_file("runs/a", "new.csv", "scores.csv")    the same for a file of any size
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.tasks.completion import Completion
    from pyrovae.tasks.condition import condition
    from pyrovae.tasks.in_memory import score
    from pyrovae.tasks.on_disk import score_file
    from pyrovae.tasks.result import Scores

__all__ = ["Completion", "Scores", "condition", "score", "score_file"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "completion": ["Completion"],
            "condition": ["condition"],
            "in_memory": ["score"],
            "on_disk": ["score_file"],
            "result": ["Scores"],
        },
    )
