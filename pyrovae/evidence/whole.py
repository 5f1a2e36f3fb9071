r"""A lower bound on log p(D) of a whole data set whose rows share some variables w.

    log p(D) >= E_q(w)[ sum_n L(x_n | w) + log p(w) - log q(w) ]

L(x_n | w) is the bound L_K of a row. If KL(q(w) || p(w)) has a formula, it replaces the mean of
log q(w) - log p(w) over samples wherever this gives a smaller error. The divergence counts once for
the data set, so the bound compares models with different numbers of variables: more variables cost
more nats.

Reference:
    MacKay (1992), "Bayesian Interpolation"; Kingma & Welling (2014), "Auto-Encoding Variational
    Bayes", appendix F.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import count_of
from pyrovae.datasets import Data
from pyrovae.display import Displayed, Summary
from pyrovae.errors import InputError
from pyrovae.evidence.methods import Importance
from pyrovae.evidence.predictive import Draws, over_draws
from pyrovae.evidence.result import about
from pyrovae.evidence.run import Pieces, checked, refuse_undefined, shown
from pyrovae.networks.modes import in_mode
from pyrovae.sharing import gathered, is_first, is_shared, own_rows

__all__ = ["DataEvidence", "data_evidence"]


@dataclass(frozen=True, eq=False, repr=False)
class DataEvidence(Displayed):
    """A lower bound on log p(D) of N rows that share some variables w, in nats for the data set.

    Attributes:
        bounds: sum_n L(x_n|w_s) + log p(w_s) - log q(w_s) at each sample of w, or
            sum_n L(x_n|w_s) - KL(q(w) || p(w)), (S,).
        log_ratios: log q(w_s) - log p(w_s), whose mean estimates KL(q(w) || p(w)), (S,); the
            divergence itself if it has a formula.
        rows: N.
        particles: K, the number of samples of z for each row and sample of w.
        quantity: what is summed: "log p(x)", or with contexts or labels "log p(x | c)" etc.
    """

    bounds: np.ndarray
    log_ratios: np.ndarray
    rows: int
    particles: int
    quantity: str = "log p(x)"

    @property
    def bound(self) -> float:
        """The bound on log p(D), in nats for the whole data set."""
        return float(self.bounds.mean())

    @property
    def stderr(self) -> float:
        """Its Monte Carlo error; nan for one sample of w."""
        return _stderr(self.bounds)

    @property
    def kl(self) -> float:
        """KL(q(w) || p(w)) in nats, from its formula or estimated from the same samples."""
        return float(self.log_ratios.mean())

    @property
    def kl_stderr(self) -> float:
        """The Monte Carlo error of the divergence."""
        return _stderr(self.log_ratios)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values, for a file."""
        plain = {
            "bound": self.bound,
            "stderr": self.stderr,
            "kl": self.kl,
            "kl_stderr": self.kl_stderr,
            "rows": self.rows,
            "particles": self.particles,
            "weights": len(self.bounds),
            "quantity": self.quantity,
        }
        is_nan = lambda value: isinstance(value, float) and math.isnan(value)  # noqa: E731
        return {name: None if is_nan(value) else value for name, value in plain.items()}

    def _summary(self) -> Summary:
        error = "" if self.kl_stderr == 0 else f" +- {self.kl_stderr:.2f}"
        lines = [
            ("at least", f"{self.bound:,.2f} +- {self.stderr:.2f} nats for the data set"),
            ("divided by the rows", f"{self.bound / self.rows:.3f} nats"),
            ("KL(q(w) || p(w))", f"{self.kl:,.2f}{error} nats, which are subtracted once"),
        ]
        inner = self.quantity.removeprefix("log p(x").removesuffix(")")
        head = f"log p(D{inner}) of the {self.rows:,} rows together, from {len(self.bounds)} samples of the "
        return Summary(f"{head}variables w that they share, {self.particles:,} particles", lines)


def data_evidence(
    vae: Any,  # noqa: ANN401
    data: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    y: Any = None,  # noqa: ANN401
    *,
    particles: int = 10,
    weights: int = 20,
    seed: int = 0,
    chunk: int | None = None,
    progress: bool = False,
) -> DataEvidence:
    r"""Compute a lower bound on log p(D) of a data set, for a model whose rows share variables w.

    \[\log p(D) \ge \mathbb E_{q(w)}\Big[\sum_{n=1}^N \mathcal L_K(x_n|w)\Big] -
    \mathrm{KL}(q(w) \| p(w))\]

    The bound compares models by their marginal likelihood, without test rows. Use it on the rows to
    which q(w) was fitted; for new rows, `log_evidence` gives the predictive log p(x | D). It is a
    bound for any q(w), including that of "laplace", and exact if q(w) and q(z|x) are the exact
    posteriors. Fitted parameters of the model have no divergence, such as the layers below the
    heads for "lastlayer" and "laplace": compare models that have the same ones.

    Arguments:
        vae: a `VAE` with a Bayesian part, or a program with sites outside the plate "data".
        data: the result of `datasets.load`, whose training rows (without copies) are D; or D
            itself, as for `log_evidence`.
        context, y: as for `log_evidence`.
        particles: K, the number of samples of z for each row and sample of w; a larger K gives a
            tighter bound.
        weights: S, the number of samples of w.
        seed, chunk, progress: as for `log_evidence`.

    Returns:
        `DataEvidence`, in nats for the data set, with its Monte Carlo error.

    Raises:
        InputError: for a program without such variables or for streamed data, and as
            `log_evidence`.

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes", appendix F.

    Example:
        >>> import pyrovae as pv
        >>> decoder = pv.networks.Bayesian(pv.networks.MLP(4))
        >>> vae = pv.VAE((3,), 1, decoder=decoder, encoder=pv.networks.MLP(4), seed=0)
        >>> found = data_evidence(vae, torch.eye(3), weights=5)
        >>> bool(found.bound < 0 < found.kl)
        True
    """
    particles, weights = count_of("particles", particles), count_of("weights", weights)
    x = data.without_jitter(seed) if isinstance(data, Data) else data
    with checked(vae, x, context, y, seed=seed, chunk=chunk) as free:
        if not free.runner.global_sites:
            raise InputError(
                "data_evidence is for variables that all rows share, and the program has none: log p(D) is "
                "the sum of log_evidence(...).log_px"
            )
        with over_draws(free, weights=weights) as (every, draws):
            own = own_rows(len(every))
            pieces = every.take(own.numpy()) if is_shared() else every
            log_px = gathered(lambda: _bounds(pieces, particles, own, draws, progress=progress), len(every))
        ratios = torch.stack([free.log_ratio(values) for values in draws.values])
    bounds, known = log_px.sum(1) - ratios, _divergence(free.runner.program)
    if known is not None:
        bounds = min(bounds, log_px.sum(1) - known, key=lambda each: _stderr(each.numpy()))
        ratios = torch.full_like(ratios, known)
    quantity = about(free.rows)["quantity"]
    return DataEvidence(bounds.numpy(), ratios.numpy(), len(free), particles, quantity)


@torch.no_grad()
def _divergence(program: Any) -> float | None:  # noqa: ANN401
    """KL(q(w) || p(w)) from its formula, or None."""
    if not program.has_globals:
        return None
    with in_mode(program.module, training=False):
        known = program.global_divergence()
    return None if known is None else float(known)


def _bounds(pieces: Pieces, particles: int, own: Tensor, draws: Draws, *, progress: bool) -> Tensor:
    """L_K of each row at each sample of shared variables, (S, N)."""
    method, done = Importance(), [torch.empty(len(draws), 0, dtype=torch.float64)]
    with shown("log p(D)", len(pieces), show=is_first() and progress) as advance:
        for some in method.parts(pieces, particles):
            each = [method.summary(at, particles)[0].cpu() for at in draws.of(some)]
            for log_px in each:
                refuse_undefined(log_px, own[some.where])
            done.append(torch.stack(each))
            advance(len(some))
    return torch.cat(done, 1)


def _stderr(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
