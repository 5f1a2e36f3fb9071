"""Tasks with a trained model: scores of new data, and what was not measured.

completion = condition(vae, y)              samples of x given missing, noisy or coarse values

imputation = impute(vae, frame)             the empty cells of a table, filled once and M times
impute_file("runs/a", "new.csv", "filled.csv")    the same for a file of any size

scores = score(vae, frame)                  log p(x) of every row, with errors and percentiles
score_file("runs/a", "new.csv", "scores.csv")    the same for a file of any size
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.tasks.completion import Completion
    from pyrovae.tasks.condition import condition
    from pyrovae.tasks.imputation import Imputation, impute
    from pyrovae.tasks.imputing_file import impute_file
    from pyrovae.tasks.in_memory import score
    from pyrovae.tasks.on_disk import score_file
    from pyrovae.tasks.result import Scores

__all__ = [
    "Completion",
    "Imputation",
    "Scores",
    "condition",
    "impute",
    "impute_file",
    "score",
    "score_file",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "completion": ["Completion"],
            "condition": ["condition"],
            "imputation": ["Imputation", "impute"],
            "imputing_file": ["impute_file"],
            "in_memory": ["score"],
            "on_disk": ["score_file"],
            "result": ["Scores"],
        },
    )
