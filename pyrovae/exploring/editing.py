r"""A trained prior changed by hand: components merged, split, removed or weighed anew, and what that does.

    log p'(x) - log p(x), averaged over the data, with its paired error

Networks and guide keep their weights; only p(z) is another. Both log p(x) are of the same data under the
same draws of q(z|x), so what they share drops out of the difference. A covariance that the prior's form
cannot hold (the merger of two round components is long) makes the form of the new prior a wider one; the
components that were left alone stay what they were.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pyrovae.errors import InputError
from pyrovae.evidence import Evidence
from pyrovae.exploring.gaussians import merged, split
from pyrovae.exploring.mixture import Mixture
from pyrovae.numerics import stderr_of_mean
from pyrovae.plots.style import as_array
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.priors import GaussianMixture

__all__ = ["Edit", "Parts", "edited", "merge", "remove", "reweight", "split_up"]

Array = NDArray[np.float64]
Parts = tuple[Array, Array, Array]  # weights, means, covariances
FORMS = ("spherical", "diagonal", "full")


@dataclass(frozen=True, eq=False)
class Edit:
    """A VAE with another prior, and what the change did.

    Attributes:
        vae: the new one; the old one is as it was.
        what: the change in words.
        before: log p(x) of the data under the old one.
        after: under the new one.
    """

    vae: VAE = field(repr=False)
    what: str
    before: Evidence = field(repr=False)
    after: Evidence = field(repr=False)

    @property
    def change(self) -> Array:
        """What log p(x) of each datum gains, in nats, (N,)."""
        return self.after.log_px - self.before.log_px

    @property
    def difference(self) -> float:
        """What the mean of log p(x) gains, in nats per datum."""
        return float(self.change.mean())

    @property
    def se(self) -> float:
        """The paired error of the difference, which holds what Monte Carlo adds."""
        return float(stderr_of_mean(self.change))

    def __str__(self) -> str:
        return (
            f"{self.what}: log p(x) {self.before.mean:.3f} -> {self.after.mean:.3f} nats per datum, "
            f"a difference of {self.difference:+.4f} +- {self.se:.4f} on {len(self.before):,} data"
        )


# ---------------------------------------------------------------- the parts, changed


def merge(mixture: Mixture, a: int, b: int) -> Parts:
    """The parts with a and b as one in the place of the first, with their mean and covariance."""
    if a == b:
        raise InputError(f"component {a} cannot be merged with itself: name another one")
    first, second = sorted((a, b))
    both = [first, second]
    if not mixture.weight[both].sum() > 0:
        raise InputError(f"components {first} and {second} both have weight 0: remove one of them instead")
    weight, mean, covariance = merged(mixture.weight[both], mixture.mean[both], mixture.covariance[both])
    parts = mixture.weight.copy(), mixture.mean.copy(), mixture.covariance.copy()
    parts[0][first], parts[1][first], parts[2][first] = weight, mean, covariance
    return _without(parts, second)


def split_up(mixture: Mixture, k: int) -> Parts:
    """The parts with k as two beside each other, the second of them the last component."""
    weight, mean, covariance = split(float(mixture.weight[k]), mixture.mean[k], mixture.covariance[k])
    own = (mixture.weight, mixture.mean, mixture.covariance)
    grown = [np.concatenate([old, new[1:]]) for old, new in zip(own, (weight, mean, covariance), strict=True)]
    for old, new in zip(grown, (weight, mean, covariance), strict=True):
        old[k] = new[0]
    return grown[0], grown[1], grown[2]


def remove(mixture: Mixture, k: int) -> Parts:
    """The parts without k, the other weights in proportion."""
    if len(mixture) < 2:
        raise InputError("the only component cannot be removed: a mixture needs one")
    if mixture.weight[k] >= 1:
        raise InputError(
            f"component {k} has all the weight: give others some by reweight before it is removed"
        )
    weight, mean, covariance = _without((mixture.weight, mixture.mean, mixture.covariance), k)
    return weight / weight.sum(), mean, covariance


def reweight(mixture: Mixture, weights: Mapping[int, float] | ArrayLike) -> Parts:
    """The parts with other weights: of some by number (the rest share what is left as before), or of all.

    Raises:
        InputError: for weights that are not positive, or of some that leave nothing for the rest.
    """
    if not isinstance(weights, Mapping):
        new = as_array(weights, "weights")
        if new.shape != mixture.weight.shape:
            raise InputError(
                f"weights have shape {new.shape}: give one for each of {len(mixture)} components"
            )
        _positive(new)
        return new / new.sum(), mixture.mean, mixture.covariance
    if not weights:
        raise InputError("there are no weights: name at least one component with its weight")
    given = as_array(list(weights.values()), "weights")
    _positive(given)
    rest = np.array([k not in weights for k in range(len(mixture))])
    left = 1 - float(given.sum())
    own = mixture.weight[rest].sum()
    if rest.any() and not (left > 0 and own > 0) or not rest.any() and abs(left) > 1e-6:
        raise InputError(
            f"weights of sum {given.sum():g} for {len(given)} of {len(mixture)} components leave "
            f"{left:g} for the rest: all together must have sum 1"
        )
    new = mixture.weight * (left / own if own > 0 else 0.0)
    new[list(weights)] = given
    return new / new.sum(), mixture.mean, mixture.covariance


def _positive(weights: Array) -> None:
    if not (weights > 0).all():
        raise InputError("weights must be above 0: use remove for a component that should have none")


def _without(parts: Parts, k: int) -> Parts:
    weight, mean, covariance = (np.delete(part, k, 0) for part in parts)
    return weight, mean, covariance


# ---------------------------------------------------------------- a VAE with them


@torch.no_grad()
def edited(vae: VAE, parts: Parts) -> VAE:
    """A new VAE with these components, and all else as it is.

    Raises:
        InputError: for a prior that is no `GaussianMixture`, or a guide that names the components when their
            number changes.
    """
    prior = _prior_of(vae)
    weight, mean, covariance = parts
    new_count = len(weight)
    if new_count != prior.components and vae.q.states is not None:
        raise InputError(
            f"the guide {vae.q!r} has a law for each of {prior.components} components, so their number "
            "stays: edit a VAE whose guide draws no component, or use reweight"
        )
    first = next(vae.parameters())
    with torch.random.fork_rng(
        devices=[first.device] if first.is_cuda else []
    ):  # weights are drawn, then not used
        new = type(vae).from_dict(_declaration(vae, prior, parts))
    new.to(device=first.device, dtype=first.dtype)
    inside = {id(value) for value in (*prior.parameters(), *prior.buffers())}
    values = dict([*new.named_parameters(), *new.named_buffers()])
    for name, value in [*vae.named_parameters(), *vae.named_buffers()]:  # also what is not in the state
        if id(value) not in inside:
            values[name].copy_(value)
    tensors = (
        torch.as_tensor(part, dtype=torch.float64, device=first.device) for part in (weight, mean, covariance)
    )
    _prior_of(new).put(*tensors)
    new.train(vae.training)
    return new


def _prior_of(vae: VAE) -> GaussianMixture:
    """The part that holds the mixture."""
    from pyrovae.priors import GaussianMixture

    prior = vae.prior if isinstance(vae.prior, GaussianMixture) else getattr(vae.prior, "top", None)
    if isinstance(prior, GaussianMixture) and prior.gate is None:
        return prior
    raise InputError(f"{vae.prior!r} cannot be edited: only the components of a GaussianMixture can")


def _declaration(vae: VAE, prior: GaussianMixture, parts: Parts) -> dict[str, Any]:
    """The VAE's declaration with another number of components, in a form that holds their covariances."""
    declared = copy.deepcopy(vae.to_dict())
    args = declared["prior"]["init_args"]
    args = args if prior is vae.prior else args["top"]["init_args"]
    count = len(parts[0])
    args["components"] = count
    args["covariance"] = max(prior.covariance, _form(parts[2]), key=FORMS.index)
    args["start"], args["start_epoch"] = "random", 0  # the components are where they are put
    args["floor"] = prior.floor if parts[0].min() > prior.floor / count else 0.0
    args["prune"] = prior.prune if prior.prune < 1 / count else 0.0
    if prior.labels and count != prior.components:  # the components are then no longer the labels
        args["labels"], args["explicit"] = False, True
        declared["context_shape"] = None
    return declared


def _form(covariance: Array, tolerance: float = 1e-12) -> str:
    """The narrowest form of covariance that holds all of these."""
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    size = variance.mean(1)[:, None]
    off = covariance - variance[:, :, None] * np.eye(variance.shape[1])
    if (np.abs(off) > tolerance * size[..., None]).any():
        return "full"
    return "diagonal" if (np.abs(variance - size) > tolerance * size).any() else "spherical"
