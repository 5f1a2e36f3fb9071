"""Tasks with a trained model: scores of new data, what was not measured, and edits in latent space.

completion = condition(vae, y)              samples of x given missing, noisy or coarse values

imputation = impute(vae, frame)             the empty cells of a table, filled once and M times
impute_file("runs/a", "new.csv", "filled.csv")    the same for a file of any size

scores = score(vae, frame)                  log p(x) of every row, with errors and percentiles
score_file("runs/a", "new.csv", "scores.csv")    the same for a file of any size
auroc(normal, anomalous)                    how well scores separate two groups of rows
found = attributes(vae, rows, labels)       directions that change an attribute
fit_prior(vae, data, prior)                 the same VAE with a prior fitted to its codes
interpolate(vae, x1, x2), analogy(vae, a, b, c), traverse(vae, x)
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.tasks.attribute_fit import attributes
    from pyrovae.tasks.attribute_result import Attributes
    from pyrovae.tasks.completion import Completion
    from pyrovae.tasks.conditioning import condition
    from pyrovae.tasks.imputation import Imputation, impute
    from pyrovae.tasks.imputing_file import impute_file
    from pyrovae.tasks.in_memory import score
    from pyrovae.tasks.kinds import KindName
    from pyrovae.tasks.on_disk import score_file
    from pyrovae.tasks.paths import analogy, interpolate
    from pyrovae.tasks.pixel_measures import measure_images
    from pyrovae.tasks.prior_fit import fit_prior
    from pyrovae.tasks.result import Scores
    from pyrovae.tasks.separation import AUROC, auroc
    from pyrovae.tasks.traversal import Traversal, traverse

__all__ = [
    "AUROC",
    "Attributes",
    "Completion",
    "Imputation",
    "KindName",
    "Scores",
    "Traversal",
    "analogy",
    "attributes",
    "auroc",
    "condition",
    "fit_prior",
    "impute",
    "impute_file",
    "interpolate",
    "measure_images",
    "score",
    "score_file",
    "traverse",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "attribute_fit": ["attributes"],
            "attribute_result": ["Attributes"],
            "completion": ["Completion"],
            "conditioning": ["condition"],
            "prior_fit": ["fit_prior"],
            "imputation": ["Imputation", "impute"],
            "imputing_file": ["impute_file"],
            "in_memory": ["score"],
            "kinds": ["KindName"],
            "on_disk": ["score_file"],
            "paths": ["analogy", "interpolate"],
            "pixel_measures": ["measure_images"],
            "result": ["Scores"],
            "separation": ["AUROC", "auroc"],
            "traversal": ["Traversal", "traverse"],
        },
    )
