r"""Export to ArviZ: samples, predictions, weights and log p(x) of a VAE.

    posterior              z ~ q(z|x), samples of the guide
    posterior_predictive   x ~ p(x|z) at these z
    prior                  z ~ p(z)
    prior_predictive       x ~ p(x|z) at these z
    observed_data          x
    importance             log w and its summary

There is no group "log_likelihood": log p(x|z) given a local latent is not a term of a leave-one-out
sum, and `az.loo` on it would report a number far above log p(x). Models are compared by log p(x_n)
itself. `elpd` gives it as the pointwise values of an `ELPDData`, which `az.compare` ranks and
`az.plot_khat` plots.

ArviZ 0.23 (`InferenceData`; Python 3.11) and 1.x (`xarray.DataTree`) are supported.

Reference:
    Kumar, Carroll, Hartikainen & Martin (2019), "ArviZ a unified library for exploratory analysis
    of Bayesian models in Python".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import count_of
from pyrovae.errors import InputError
from pyrovae.evidence.path import guide_samples
from pyrovae.evidence.predictive import STRIDE
from pyrovae.evidence.result import Evidence, about
from pyrovae.evidence.run import Pieces, checked
from pyrovae.evidence.weights import WeightSums
from pyrovae.extras import require
from pyrovae.numerics import as_array
from pyrovae.vae import VAE

__all__ = ["elpd", "to_arviz"]

# The largest number of values in a group (4 GB); larger ones are refused at once.
MOST = 2**30
Group = dict[str, tuple[tuple[str, ...], Tensor]]


def to_arviz(
    vae: VAE,
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    y: Any = None,  # noqa: ANN401
    *,
    draws: int = 500,
    chains: int = 2,
    seed: int = 0,
    chunk: int | None = None,
    shared: Sequence[str] = (),
) -> Any:  # noqa: ANN401
    """Samples and importance weights of a VAE, in ArviZ's form.

    The samples are independent. They are split into chains only because ArviZ expects chains. The
    group "posterior" holds samples from the guide; k-hat and ess in the group "importance" show how
    close the guide is to the posterior.

    If all rows share some variables w (the weights of a Bayesian decoder), w is sampled once for
    each sample of z, and all rows use the same w. The weights in the group "importance" are then
    p(x, z|w) / q(z|x). Shared variables can be large, so the group "shared" only has those that
    are named.

    Arguments:
        vae: a `VAE`.
        x: observations as for `log_evidence`; the predictive group holds chains * draws * N * event
            numbers, so pass only a few observations.
        context, y: as for `log_evidence`; prior samples are then made for each observation.
        draws: samples in each chain.
        chains: the number of chains.
        seed, chunk: as for `log_evidence`.
        shared: the names of the variables that all rows share whose samples are exported, as in
            `vae.global_variables`.

    Returns:
        An `arviz.InferenceData` (ArviZ 0.23) or `xarray.DataTree` (1.x) with the groups posterior
        (z), prior (z), posterior_predictive (x), prior_predictive (x), observed_data (x) and
        importance (log_w, ess, khat, log_px), and with `shared` also shared and shared_prior. The
        coordinate "datum" has the row numbers in the source, if they are known.

    Raises:
        InputError: if `vae` is not a VAE, draws or chains are below 1, the samples would not fit in
            memory, or a name in `shared` is unknown.

    Example:
        >>> from pyrovae.networks import MLP
        >>> vae = VAE((4,), latent_dim=2, encoder=MLP(8), decoder=MLP(8))
        >>> tree = to_arviz(vae, torch.eye(4), draws=50)
        >>> dict(tree["posterior"]["z"].sizes)
        {'chain': 2, 'draw': 50, 'datum': 4, 'latent': 2}
    """
    if not isinstance(vae, VAE):
        raise InputError(
            f"to_arviz reads p(z), p(x|z) and q(z|x) of a VAE, not of a {type(vae).__name__}: declare a "
            "pyrovae.VAE, or give elpd the result of log_evidence, which takes any program"
        )
    is_new, chains = _is_new(), count_of("chains", chains)
    count = count_of("draws", draws) * chains
    _check_names(vae, shared)
    with checked(vae, x, context, y, seed=seed, chunk=chunk) as pieces:
        numbers = count * max(
            len(pieces) * max(math.prod(vae.event_shape), vae.prior.size),
            *(vae.global_variables[name].centre().numel() for name in shared),
            0,
        )
        if numbers > MOST:
            raise InputError(
                f"the predictive samples would take {numbers * 4 / 2**30:.0f} GB of memory: give fewer "
                "observations, draws or chains"
            )
        groups = _over_draws(vae, pieces, count, shared)
    index = about(pieces.rows)["index"]
    sets = {name: _dataset(name, group, chains, index) for name, group in groups.items()}
    if not is_new:
        return _arviz().InferenceData(**sets)
    import xarray

    return xarray.DataTree.from_dict(sets)


def elpd(evidence: Evidence) -> Any:  # noqa: ANN401
    """An `arviz.ELPDData` of log p(x_n), with the k-hat of each observation.

    `az.compare({"normal": elpd(a), "mixture": elpd(b)})` ranks VAEs on the same rows, and
    `az.plot_khat` plots the k-hat. ArviZ 0.23 writes "loo" for log p(x) of held-out data. No row is
    left out, since test rows are not used in training, so the effective number of parameters is not
    defined (nan). Stacking, the default of `az.compare`, takes exp(log p(x_n)), which underflows
    below -745 nats: use `method="pseudo-BMA"` there.

    Arguments:
        evidence: from `log_evidence`.

    Returns:
        `ELPDData` of the installed ArviZ, with values in nats on the scale "log".

    Raises:
        InputError: if it is not an `Evidence`.

    Example:
        >>> from pyrovae.evidence import log_evidence
        >>> from pyrovae.oracles import LinearGaussian
        >>> oracle = LinearGaussian.random(event_dim=4, latent_dim=2)
        >>> x = oracle.sample(5)
        >>> data = elpd(log_evidence(oracle, x, particles=100))
        >>> bool(abs(data["se"] - 5**0.5 * oracle.log_px(x).std(correction=0)) < 1e-4)
        True
    """
    if not isinstance(evidence, Evidence):
        raise InputError(
            f"elpd takes what log_evidence returns, not a {type(evidence).__name__}: call log_evidence first"
        )
    is_new = _is_new()
    import xarray

    index = np.arange(len(evidence)) if evidence.index is None else evidence.index
    array_of = partial(xarray.DataArray, dims=["datum"], coords={"datum": index})
    values = {
        "elpd": float(evidence.log_px.sum()),
        "se": float(math.sqrt(len(evidence)) * evidence.log_px.std()),
        "p": math.nan,
        "n_samples": evidence.particles,
        "n_data_points": len(evidence),
        "warning": bool(evidence.doubtful > 0),
        "elpd_i": array_of(evidence.log_px, name="log_px"),
        "scale": "log",
        "pareto_k": None if np.isnan(evidence.khat).all() else array_of(evidence.khat, name="pareto_k"),
        "good_k": evidence.threshold,
    }
    return _new_elpd(values) if is_new else _old_elpd(values)


# -------------------------------------------------------------------- the groups


def _over_draws(vae: VAE, pieces: Pieces, count: int, names: Sequence[str]) -> dict[str, Group]:
    """The groups, with the shared variables sampled once for each sample of z."""
    torch.manual_seed(pieces.seed)
    if not pieces.runner.global_sites:
        return _with_weights(_groups(vae, pieces, count), pieces)
    parts, drawn = [], []
    for number, values in enumerate(pieces.draws(count)):
        drawn.append({name: values[name] for name in names})
        with pieces.at(values) as held:
            parts.append(_groups(vae, replace(held, seed=pieces.seed + STRIDE * number), 1))
    groups = {
        name: {key: _joined([part[name][key] for part in parts]) for key in group}
        for name, group in parts[0].items()
    }
    groups["observed_data"] = parts[0]["observed_data"]
    if names:
        prior = {name: vae.global_variables[name].prior().sample((count,)) for name in names}
        posterior = {name: torch.stack([values[name] for values in drawn]) for name in names}
        for name, group in (("shared", posterior), ("shared_prior", prior)):
            groups[name] = {key: (_dims(key, value), value) for key, value in group.items()}
    return _with_weights(groups, pieces)


def _joined(parts: list[tuple[tuple[str, ...], Tensor]]) -> tuple[tuple[str, ...], Tensor]:
    return parts[0][0], torch.cat([values for _, values in parts])


def _dims(name: str, value: Tensor) -> tuple[str, ...]:
    return tuple(f"{name}_dim_{i}" for i in range(value.dim() - 1))


def _check_names(vae: VAE, names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in vae.global_variables]
    if unknown:
        known = ", ".join(vae.global_variables) or "none"
        raise InputError(f"rows share no variable {unknown[0]!r}: give names in shared= from {known}")


def _with_weights(groups: dict[str, Group], pieces: Pieces) -> dict[str, Group]:
    """The groups, with a summary of the importance weights."""
    (_, log_w) = groups["importance"]["log_w"]
    sums = WeightSums(len(pieces), len(log_w), pieces.device)
    sums.add(log_w)
    log_px, _, ess, khat = sums.summary()
    groups["importance"] |= {
        name: (("datum",), values) for name, values in (("log_px", log_px), ("ess", ess), ("khat", khat))
    }
    return groups


def _groups(vae: VAE, pieces: Pieces, count: int) -> dict[str, Group]:
    """The variables of each group: the dimensions after the samples, and the values."""
    rows, event = pieces.rows, tuple(f"x_dim_{i}" for i in range(len(vae.event_shape)))
    z, terms = guide_samples(pieces, count)
    is_conditional = len(rows.arguments) > 1
    shape, lead = ((count, len(rows)), ("datum",)) if is_conditional else ((count,), ())
    prior = vae.latents(rows.context, rows.y).expand(shape).sample()
    return {
        "posterior": {"z": (("datum", "latent"), z)},
        "posterior_predictive": {"x": (("datum", *event), _decoded(vae, z, rows.context))},
        "prior": {"z": ((*lead, "latent"), prior)},
        "prior_predictive": {"x": ((*lead, *event), _decoded(vae, prior, rows.context))},
        "observed_data": {"x": (("datum", *event), rows.x)},
        "importance": {"log_w": (("datum",), terms.log_w.double())},
    }


def _decoded(vae: VAE, z: Tensor, context: Tensor | None) -> Tensor:
    """Samples from p(x|z), piece by piece: z (S, *, D) -> (S, *, *event)."""
    return torch.cat([vae.decode(some, context).sample().cpu() for some in z.split(50)])


# -------------------------------------------------------------------- ArviZ 0.23 and 1.x


def _arviz() -> Any:  # noqa: ANN401
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 0.23 announces 1.x at every import
        return require("arviz", "arviz", "what goes to ArviZ")


def _is_new() -> bool:
    return int(_arviz().__version__.split(".")[0]) >= 1


def _dataset(name: str, group: Group, chains: int, index: np.ndarray | None) -> Any:  # noqa: ANN401
    import xarray

    variables: dict[str, Any] = {}
    for variable, (dims, tensor) in group.items():
        values = as_array(tensor)
        if values.ndim > len(dims):  # samples in front
            values, dims = values.reshape(chains, -1, *values.shape[1:]), ("chain", "draw", *dims)
        variables[variable] = (dims, values)
    data = xarray.Dataset(variables, attrs={"inference_library": "pyrovae", **_NOTES.get(name, {})})
    coords = {dim: np.arange(size) for dim, size in data.sizes.items()}
    if index is not None and "datum" in coords:
        coords["datum"] = index
    return data.assign_coords(coords)


_NOTES = {
    "posterior": {"note": "independent samples from the guide q(z|x), not from the exact posterior"},
    "importance": {"note": "log_w = log p(x, z) - log q(z|x) at the posterior group's samples"},
}


def _new_elpd(values: dict[str, Any]) -> Any:  # noqa: ANN401
    cls = _arviz().ELPDData
    # The estimator was an argument before arviz-stats had a class for each.
    kind = {"kind": "loo"} if "kind" in {f.name for f in fields(cls)} else {}
    return cls(**values, **kind)


def _old_elpd(values: dict[str, Any]) -> Any:  # noqa: ANN401
    from arviz.stats.stats_utils import ELPDData

    # It knows only two kinds, and the first name selects one.
    names = {"elpd": "elpd_loo", "p": "p_loo", "elpd_i": "loo_i"}
    known = {names.get(name, name): value for name, value in values.items() if value is not None}
    return ELPDData(data=list(known.values()), index=list(known))
