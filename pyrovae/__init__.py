r"""PyroVAE: variational autoencoders as probabilistic programs.

    z     ~ prior                      p(z)
    x | z ~ likelihood(decoder(z))     p(x|z)
    z | x ~ guide(encoder(x))          q(z|x)
    maximise objective(log p(x|z) + log p(z) - log q(z|x))

Declare these four lines as a `VAE`, train it with `fit`, and estimate log p(x) with `log_evidence`.

Names are imported at their first use, so `import pyrovae` itself is fast.
"""

from typing import TYPE_CHECKING

from pyrovae.errors import InputError, NumericalError
from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae import (
        callbacks,
        choices,
        datasets,
        evidence,
        exploring,
        exporting,
        factors,
        guides,
        likelihoods,
        measurements,
        mixtures,
        networks,
        objectives,
        oracles,
        plots,
        priors,
        searching,
        sklearn,
        tasks,
        testing,
    )
    from pyrovae.datasets import Rows
    from pyrovae.evidence import Evidence, data_evidence, elpd, iwae_bound, log_evidence, to_arviz
    from pyrovae.evidence.diagnose import diagnose
    from pyrovae.evidence.gaps import gaps
    from pyrovae.evidence.sandwich import sandwich
    from pyrovae.exploring import explore
    from pyrovae.exporting import export, push_to_hub, share
    from pyrovae.factors import Disentanglement, disentanglement
    from pyrovae.searching import Bandit, Space, Study, Sweep
    from pyrovae.searching.bandit import bandit
    from pyrovae.searching.search import search
    from pyrovae.searching.sweep import sweep
    from pyrovae.tasks import (
        Attributes,
        Completion,
        Imputation,
        Scores,
        Traversal,
        analogy,
        attributes,
        auroc,
        condition,
        fit_prior,
        impute,
        impute_file,
        interpolate,
        score,
        score_file,
        traverse,
    )
    from pyrovae.training.callbacks import Callback
    from pyrovae.training.fit import fit
    from pyrovae.training.loading import load
    from pyrovae.training.run import Run
    from pyrovae.vae import VAE

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "Attributes",
    "Bandit",
    "Callback",
    "Completion",
    "Disentanglement",
    "Evidence",
    "Imputation",
    "InputError",
    "NumericalError",
    "Rows",
    "Run",
    "Scores",
    "Space",
    "Study",
    "Sweep",
    "Traversal",
    "analogy",
    "attributes",
    "auroc",
    "bandit",
    "callbacks",
    "choices",
    "condition",
    "data_evidence",
    "datasets",
    "diagnose",
    "disentanglement",
    "elpd",
    "evidence",
    "explore",
    "exploring",
    "export",
    "exporting",
    "factors",
    "fit",
    "fit_prior",
    "gaps",
    "guides",
    "impute",
    "impute_file",
    "interpolate",
    "iwae_bound",
    "likelihoods",
    "load",
    "log_evidence",
    "measurements",
    "mixtures",
    "networks",
    "objectives",
    "oracles",
    "plots",
    "priors",
    "push_to_hub",
    "sandwich",
    "score",
    "score_file",
    "search",
    "searching",
    "share",
    "sklearn",
    "sweep",
    "tasks",
    "testing",
    "to_arviz",
    "traverse",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "datasets": ["Rows"],
            "evidence": [
                "Evidence",
                "data_evidence",
                "diagnose",
                "elpd",
                "gaps",
                "iwae_bound",
                "log_evidence",
                "sandwich",
                "to_arviz",
            ],
            "exploring": ["explore"],
            "exporting": ["export", "push_to_hub", "share"],
            "factors": ["Disentanglement", "disentanglement"],
            "searching": ["Bandit", "Space", "Study", "Sweep", "bandit", "search", "sweep"],
            "tasks": [
                "Attributes",
                "Completion",
                "Imputation",
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
                "score",
                "score_file",
                "traverse",
            ],
            "training": ["Callback", "Run", "fit", "load"],
            "vae": ["VAE"],
        },
    )
