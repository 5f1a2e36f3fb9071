r"""To ArviZ: what it can use of a VAE, and no more than is true.

    posterior              z ~ q(z|x), the guide's draws       prior              z ~ p(z)
    posterior_predictive   x ~ p(x|z) at these                 prior_predictive   x ~ p(x|z) at these
    observed_data          x                                   importance         log w, ess, k-hat, log p(x)

There is no group "log_likelihood": log p(x|z) given a local latent is no term of a leave-one-out sum, and
`az.loo` on it would report a number far above log p(x). What can be compared between models is
log p(x_n) itself; `elpd` hands it over as the pointwise values of an `ELPDData`, which `az.compare` ranks
and `az.plot_khat` draws.

Both generations of ArviZ serve: 0.23 (`InferenceData`; Python 3.11) and 1.x (`xarray.DataTree`).

Reference:
    Kumar, Carroll, Hartikainen & Martin (2019), "ArviZ a unified library for exploratory analysis of Bayesian
    models in Python".
"""

from __future__ import annotations

import math
import warnings
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.evidence.result import Evidence
from pyrovae.evidence.run import Pieces, evaluating, inputs, whole_number
from pyrovae.evidence.weights import WeightSums
from pyrovae.terms import Program, Terms
from pyrovae.vae import VAE

__all__ = ["elpd", "to_arviz"]

# Numbers of one group beyond which it is refused (4 GB), rather than run out of memory after an hour.
MOST = 2**30
SAMPLES = ("chain", "draw")


def to_arviz(
    vae: VAE,
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    *,
    draws: int = 500,
    chains: int = 2,
    seed: int = 0,
    chunk: int | None = None,
) -> Any:  # noqa: ANN401
    """Draws and importance weights of a VAE, in ArviZ's form.

    The draws are independent; they are cut into chains since ArviZ expects some. The group "posterior" holds
    draws from the guide, which is the posterior only as far as "importance" says (its k-hat and ess).

    Arguments:
        vae: a `VAE`.
        x: data (N, *event); the predictive group holds chains * draws * N * event numbers, so give a few.
        context: (N, *context_shape) for a conditional VAE; prior draws are then made for each datum.
        draws: in each chain.
        chains: how many.
        seed: of the draws.
        chunk: how many (particle, datum) pairs run at once; None chooses.

    Returns:
        An `arviz.InferenceData` (ArviZ 0.23) or `xarray.DataTree` (1.x) with the groups posterior (z), prior
        (z), posterior_predictive (x), prior_predictive (x), observed_data (x) and importance (log_w, ess,
        khat, log_px).

    Raises:
        InputError: for anything but a VAE, draws or chains below 1, or draws that would not fit in memory.

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
    count = whole_number("draws", draws) * whole_number("chains", chains)
    program = Program(vae)
    x, context = inputs(program, x, context)
    _check_size(count * len(x) * max(math.prod(vae.event_shape), vae.prior.size))
    with evaluating(program):
        program.check(x, context)
        groups = _groups(vae, Pieces(program, x, context, seed=seed, chunk=chunk), count)
    return _tree({name: _dataset(name, group, chains) for name, group in groups.items()})


def elpd(evidence: Evidence) -> Any:  # noqa: ANN401
    """An `arviz.ELPDData` whose pointwise values are log p(x_n), with each datum's k-hat.

    `az.compare({"normal": elpd(a), "mixture": elpd(b)})` ranks VAEs on the same data, and `az.plot_khat`
    draws the k-hat. Where ArviZ 0.23 writes "loo" read "log p(x) of held-out data": nothing is left out,
    since test data were never in, so the effective number of parameters is not defined (nan). Stacking, the
    default of `az.compare`, takes exp(log p(x_n)), which underflows below -745 nats: use
    `method="pseudo-BMA"` there.

    Arguments:
        evidence: from `log_evidence`.

    Returns:
        `ELPDData` of the ArviZ that is installed; values in nats on the scale "log".

    Raises:
        InputError: for anything but an `Evidence`.

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
    khat = None if np.isnan(evidence.khat).all() else _by_datum(evidence.khat, "pareto_k")
    values = {
        "elpd": float(evidence.log_px.sum()),
        "se": float(math.sqrt(len(evidence)) * evidence.log_px.std()),
        "p": math.nan,
        "n_samples": evidence.particles,
        "n_data_points": len(evidence),
        "warning": bool(evidence.doubtful > 0),
        "elpd_i": _by_datum(evidence.log_px, "log_px"),
        "scale": "log",
        "pareto_k": khat,
        "good_k": evidence.threshold,
    }
    return _new_elpd(values) if _is_new() else _old_elpd(values)


def _by_datum(values: np.ndarray, name: str) -> Any:  # noqa: ANN401
    import xarray

    return xarray.DataArray(values, dims=["datum"], coords={"datum": np.arange(len(values))}, name=name)


# -------------------------------------------------------------------- the groups


def _groups(vae: VAE, pieces: Pieces, count: int) -> dict[str, dict[str, tuple[tuple[str, ...], Tensor]]]:
    """Each group's variables by name: the names of the dimensions behind the draws, and the values."""
    torch.manual_seed(pieces.seed)
    event = tuple(f"x_dim_{i}" for i in range(len(vae.event_shape)))
    given, datum = pieces.context, ("datum",)
    z, log_w, summary = _drawn(pieces, count)
    shape = (count,) if given is None else (count, len(given))
    prior, lead = vae.latents(given).expand(shape).sample(), () if given is None else datum
    return {
        "posterior": {"z": ((*datum, "latent"), z)},
        "posterior_predictive": {"x": ((*datum, *event), _decoded(vae, z, given))},
        "prior": {"z": ((*lead, "latent"), prior)},
        "prior_predictive": {"x": ((*lead, *event), _decoded(vae, prior, given))},
        "observed_data": {"x": ((*datum, *event), pieces.x)},
        "importance": {
            "log_w": (datum, log_w),
            **{
                name: (datum, row) for name, row in zip(_SUMMARY, summary, strict=True) if name != "mc_stderr"
            },
        },
    }


_SUMMARY = ("log_px", "mc_stderr", "ess", "khat")


def _drawn(pieces: Pieces, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """z (count, N, D), log w (count, N) and the rows of `_SUMMARY`, (4, N)."""
    columns, summaries = [], []
    for rows in pieces.rows(count):
        latents, parts = pieces.latents(rows), []
        for first, some in pieces.cuts(rows, count):
            values, terms = latents.from_guide(some, first)
            parts.append((values["z"], _log_w(terms)))
        z, log_w = (torch.cat(part) for part in zip(*parts, strict=True))
        sums = WeightSums(log_w.shape[1], count, log_w.device)
        sums.add(log_w)
        columns.append((z, log_w))
        summaries.append(sums.summary())
    z, log_w = (torch.cat(column, 1) for column in zip(*columns, strict=True))
    return z, log_w, torch.cat(summaries, 1)


def _log_w(terms: Terms) -> Tensor:
    return terms.log_w.double()


def _decoded(vae: VAE, z: Tensor, context: Tensor | None) -> Tensor:
    """Draws from p(x|z), piece by piece: z (S, *, D) -> (S, *, *event)."""
    return torch.cat([vae.decode(some, context).sample().cpu() for some in z.split(50)])


def _check_size(numbers: int) -> None:
    if numbers > MOST:
        raise InputError(
            f"the predictive draws would take {numbers * 4 / 2**30:.0f} GB of memory: give fewer data, draws "
            "or chains"
        )


# -------------------------------------------------------------------- the two generations


def _arviz() -> Any:  # noqa: ANN401
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 0.23 announces 1.x at every import
        import arviz
    return arviz


def _is_new() -> bool:
    return int(_arviz().__version__.split(".")[0]) >= 1


def _dataset(name: str, group: dict[str, tuple[tuple[str, ...], Tensor]], chains: int) -> Any:  # noqa: ANN401
    import xarray

    variables = {}
    for variable, (dims, tensor) in group.items():
        values = tensor.detach().cpu().numpy()
        if values.ndim > len(dims):  # draws in front
            values, dims = values.reshape(chains, -1, *values.shape[1:]), (*SAMPLES, *dims)
        variables[variable] = (dims, values)
    sizes = {d: n for dims, values in variables.values() for d, n in zip(dims, values.shape, strict=True)}
    coords = {dim: np.arange(size) for dim, size in sizes.items()}
    note = _NOTES.get(name, {})
    return xarray.Dataset(variables, coords=coords, attrs={"inference_library": "pyrovae", **note})


_NOTES = {
    "posterior": {"note": "independent draws from the guide q(z|x), not from the exact posterior"},
    "importance": {"note": "log_w = log p(x, z) - log q(z|x) at the posterior group's draws"},
}


def _tree(datasets: dict[str, Any]) -> Any:  # noqa: ANN401
    if _is_new():
        import xarray

        return xarray.DataTree.from_dict(datasets)
    return _arviz().InferenceData(**datasets)


def _new_elpd(values: dict[str, Any]) -> Any:  # noqa: ANN401
    found = _arviz().ELPDData
    # Which estimator made it was an argument before arviz-stats made a class of each.
    kind = {"kind": "loo"} if "kind" in {f.name for f in fields(found)} else {}
    return found(**values, **kind)


def _old_elpd(values: dict[str, Any]) -> Any:  # noqa: ANN401
    from arviz.stats.stats_utils import ELPDData

    # Only two kinds are known to it, and the first name says which.
    names = {"elpd": "elpd_loo", "p": "p_loo", "elpd_i": "loo_i"}
    known = {names.get(name, name): value for name, value in values.items() if value is not None}
    return ELPDData(data=list(known.values()), index=list(known))
