r"""One completion from those at several samples of variables w that all rows share.

    p(x | y, D) = sum_s pi_s p(x | y, w_s),      pi_s proportional to p(y | w_s),  for each row

The completions come one after the other. Each sample is replaced by a sample of completion s with
probability pi_s / (pi_1 + ... + pi_s). In the end it comes from completion s with probability pi_s,
and only two completions are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pyrovae.evidence.draws import KeyedNoise
from pyrovae.evidence.predictive import Draws
from pyrovae.evidence.run import Pieces
from pyrovae.tasks.completion import Completion

__all__ = ["mixed"]


def mixed(completions: Iterable[Completion], pieces: Pieces, shared: Draws) -> Completion:
    """The mixture of completions of the same rows; a single completion is returned as it is."""
    if shared.given != "posterior":
        return replace(next(iter(completions)), given=shared.given)
    result, each = None, []
    for number, one in enumerate(completions):
        each.append(replace(one, x=one.x[:0], values={}))
        if result is None:
            result = one
            continue
        log_p = torch.from_numpy(np.stack([other.log_py for other in each]))
        share = log_p.softmax(0)[-1].nan_to_num()
        uniform = KeyedNoise(pieces.keys, pieces.seed, f"draw {number} of shared variables")
        taken = uniform(torch.empty(len(one.x), len(one)), Tensor.uniform_) < share
        values = {name: _chosen(taken, value, result.values[name]) for name, value in one.values.items()}
        result = replace(result, x=_chosen(taken, one.x, result.x), values=values)
    assert result is not None
    return _with_moments(result, each, shared)


def _chosen(taken: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Samples (S, N, *shape): the new ones where `taken` (S, N) says so."""
    taken = taken.to(new.device)
    return torch.where(taken.reshape(*taken.shape, *[1] * (new.dim() - 2)), new, old)


def _with_moments(result: Completion, each: list[Completion], shared: Draws) -> Completion:
    """The samples with the moments and diagnostics of the mixture."""
    summaries = np.stack([np.stack([one.log_py, one.mc_stderr, one.ess, one.khat]) for one in each])
    found = shared.combined(summaries)
    pi = torch.from_numpy(summaries[:, 0]).softmax(0).nan_to_num()
    heaviest = pi.argmax(0).numpy()
    mean, sd, mode = _moments(each, pi)
    rows = np.arange(len(result))
    names = ("method", "particles")
    own = {name: np.stack([getattr(one, name) for one in each])[heaviest, rows] for name in names}
    trusted = (pi.numpy() * np.stack([one.trusted for one in each])).sum(0) > 0.5
    return replace(
        result,
        mean=mean,
        sd=sd,
        mode=mode,
        log_py=found["log_px"],
        mc_stderr=found["mc_stderr"],
        ess=found["ess"],
        khat=found["khat"],
        trusted=trusted,
        given="posterior",
        weights=found["weights"],
        weights_ess=found["weights_ess"],
        **own,
    )


def _moments(each: list[Completion], pi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, sd and mode of the mixture; if modes are not means, the mode with the most weight."""
    means, sds, modes = (torch.stack([getattr(one, name) for one in each]) for name in ("mean", "sd", "mode"))
    weight = pi.reshape(*pi.shape, *[1] * (means.dim() - 2)).to(means.device)

    def average(values: Tensor) -> Tensor:
        return torch.where(weight > 0, weight * values, 0.0).sum(0)

    nothing = (pi.sum(0) == 0).reshape(-1, *[1] * (means.dim() - 2)).to(means.device)
    # Where y determines x, all completions have its value: keep it free of rounding errors.
    mean = torch.where((means == means[0]).all(0), means[0].double(), average(means.double()))
    mean = mean.masked_fill(nothing, torch.nan)
    variance = average(sds.double().square() + (means.double() - mean).square())
    # Codes of classes have no mean: their variance is the mean of the variances.
    variance = torch.where(mean.isnan(), average(sds.double().square()), variance)
    votes = torch.stack([average((modes == mode).double()) for mode in modes])
    voted = modes.gather(0, votes.argmax(0, keepdim=True))[0]
    is_mean = (modes == means).all(0)
    mode = torch.where(is_mean, mean.to(modes), voted)
    return mean.to(means), variance.clamp(min=0).sqrt().masked_fill(nothing, torch.nan).to(sds), mode
