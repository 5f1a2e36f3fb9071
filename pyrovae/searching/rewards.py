r"""Rewards of a pull, on validation rows with the same noise every time, in nats per observation.

    log_px           the bound L_K, the mean of log (1/K) sum_k p(x, z_k) / q(z_k|x)
    reconstruction   E_q[log p(x|z)], which is higher for a better reconstruction
    bound            the objective's bound on the validation set, as in the history of `fit`

If all rows share some variables (the weights of a Bayesian decoder), log_px is the posterior
predictive log p(x | D), and the reconstruction uses their mean.

Arms with different objectives or guides compare in log_px. The reconstruction ignores the KL
divergence, so it prefers a VAE that stores more of x in z.

Reference:
    Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders".
"""

from __future__ import annotations

from typing import Literal

import torch

from pyrovae.datasets import Data, Rows
from pyrovae.errors import NumericalError
from pyrovae.evidence import log_evidence
from pyrovae.networks.modes import in_mode
from pyrovae.seeds import seeded
from pyrovae.terms import Runner
from pyrovae.training import Run
from pyrovae.vae import VAE

__all__ = ["REWARDS", "Reward", "reward_of"]

Reward = Literal["log_px", "reconstruction", "bound"]
REWARDS = {
    "log_px": "log p(x), the bound L_{particles}",
    "reconstruction": "E_q log p(x|z)",
    "bound": "bound",
}
SEED = 20140416
PIECE = 1024


def reward_of(kind: Reward, run: Run, data: Data, *, rows: int | None, particles: int) -> float:
    """The reward of an arm after a pull.

    Raises:
        NumericalError: if it is not finite.
        KeyboardInterrupt: on Ctrl-C.
    """
    vae, some = run.program, data.validation[:rows].unlabelled()
    if kind == "bound":
        value = float(run.history["validation"][-1])
    elif kind == "log_px":
        evidence = log_evidence(vae, some, particles=particles, seed=SEED)
        if evidence.partial:  # Ctrl-C: the mean of some rows is another reward
            raise KeyboardInterrupt
        value = float(evidence.log_px.mean())
    else:
        value = _reconstruction(vae, some)
    if not torch.isfinite(torch.tensor(value)):
        raise NumericalError(f"the reward ({REWARDS[kind].partition(',')[0]}) is {value}")
    return value


@torch.no_grad()
def _reconstruction(vae: VAE, rows: Rows) -> float:
    runner, total = Runner(vae), 0.0
    rows = vae.rows(rows)
    at_means = vae.holding(vae.central_globals() or {})
    with in_mode(vae, training=False), runner.isolated(), at_means:
        for number, piece in enumerate(rows.batches(PIECE)):
            with seeded(SEED + number):
                terms = runner.terms(piece)
                total += terms.mean(terms.log_px_z).sum(dtype=torch.float64).item()
    return total / len(rows)
