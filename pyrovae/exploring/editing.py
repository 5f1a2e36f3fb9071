r"""Edits of a trained prior (merge, split, remove or reweight components) and their effect.

    log p'(x) - log p(x), averaged over the rows, with its paired error

Networks and guide keep their weights, and only p(z) changes. Both values of log p(x) use the same
rows and the same samples of q(z|x), so their common variation cancels in the difference. If a new
covariance does not have the form of the prior's (two spherical components merge into a long one),
the new prior gets a more general form. The other components do not change.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from pyrovae.display import Displayed
from pyrovae.errors import InputError
from pyrovae.evidence import Evidence
from pyrovae.exploring.gaussians import merged, split
from pyrovae.exploring.mixture import Mixture
from pyrovae.numerics import Array, numbers, stderr_of_mean
from pyrovae.threads import alone
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.priors import GaussianMixture

__all__ = ["Edit", "edited", "merge", "remove", "reweight", "split_up"]

FORMS = ("spherical", "diagonal", "full")
PARTS = ("weight", "mean", "covariance")


@dataclass(frozen=True, eq=False, repr=False)
class Edit(Displayed):
    """A VAE with another prior, and the effect of the change.

    Attributes:
        vae: the new VAE; the old one is not changed.
        what: a description of the change.
        before: log p(x) of the rows under the old VAE.
        after: log p(x) of the rows under the new VAE.
    """

    vae: VAE
    what: str
    before: Evidence
    after: Evidence

    @property
    def change(self) -> Array:
        """The gain in log p(x) of each row, in nats, (N,)."""
        return self.after.log_px - self.before.log_px

    @property
    def difference(self) -> float:
        """The gain in mean log p(x), in nats per observation."""
        return float(self.change.mean())

    @property
    def se(self) -> float:
        """The paired error of the difference, including the Monte Carlo error."""
        return float(stderr_of_mean(self.change))

    def __str__(self) -> str:
        size = len(self.before)
        on = f"+- {self.se:.4f} on {size:,} rows" if size > 1 else "on 1 row, without an error"
        return (
            f"{self.what}: log p(x) {self.before.mean:.3f} -> {self.after.mean:.3f} nats per observation, "
            f"a difference of {self.difference:+.4f} {on}"
        )


# ---------------------------------------------------------------- edits of a mixture


def merge(mixture: Mixture, a: int, b: int) -> Mixture:
    """Merge components a and b into one at the first index, with their joint moments."""
    if a == b:
        raise InputError(f"component {a} cannot be merged with itself: name another one")
    first, second = sorted((a, b))
    both = [first, second]
    if not mixture.weight[both].sum() > 0:
        raise InputError(f"components {first} and {second} both have weight 0: remove one of them instead")
    together = merged(mixture.weight[both], mixture.mean[both], mixture.covariance[both])
    return _without(_with(mixture, first, together), second)


def split_up(mixture: Mixture, k: int) -> Mixture:
    """Split component k into two halves; the second becomes the last component."""
    halves = split(float(mixture.weight[k]), mixture.mean[k], mixture.covariance[k])
    first = _with(mixture, k, tuple(part[0] for part in halves))
    both = zip(PARTS, halves, strict=True)
    parts: Any = {name: np.concatenate([getattr(first, name), half[1:]]) for name, half in both}
    return replace(first, **parts)


def remove(mixture: Mixture, k: int) -> Mixture:
    """Remove component k; the other weights stay in proportion."""
    if len(mixture) < 2:
        raise InputError("the only component cannot be removed: a mixture needs one")
    if mixture.weight[k] >= 1:
        raise InputError(
            f"component {k} has all the weight: give others some by reweight before it is removed"
        )
    rest = _without(mixture, k)
    return replace(rest, weight=rest.weight / rest.weight.sum())


def reweight(mixture: Mixture, weights: Mapping[int, float] | ArrayLike) -> Mixture:
    """Set the weights of some components (the others share the rest in proportion) or of all.

    Raises:
        InputError: for weights that are not positive, or that leave nothing for the other
            components.
    """
    if isinstance(weights, Mapping):
        if not weights:
            raise InputError("there are no weights: name at least one component with its weight")
        new = _completed(mixture, weights)
    else:
        new = _positive(numbers(weights, "weights", mixture.weight.shape))
    return replace(mixture, weight=new / new.sum())


def _completed(mixture: Mixture, weights: Mapping[int, float]) -> Array:
    some = _positive(numbers(list(weights.values()), "weights"))
    rest = np.array([k not in weights for k in range(len(mixture))])
    left = 1 - float(some.sum())
    own = mixture.weight[rest].sum()
    if rest.any() and not (left > 0 and own > 0) or not rest.any() and abs(left) > 1e-6:
        raise InputError(
            f"weights of sum {some.sum():g} for {len(some)} of {len(mixture)} components leave "
            f"{left:g} for the rest: all weights together must have the sum 1"
        )
    new = mixture.weight * (left / own if own > 0 else 0.0)
    new[list(weights)] = some
    return new


def _positive(weights: Array) -> Array:
    if not (weights > 0).all():
        raise InputError("weights must be above 0: use remove for a component that should have none")
    return weights


def _with(mixture: Mixture, k: int, component: tuple[Any, ...]) -> Mixture:
    """Replace the weight, mean and covariance of component k."""
    parts = {name: getattr(mixture, name).copy() for name in PARTS}
    for part, value in zip(parts.values(), component, strict=True):
        part[k] = value
    return replace(mixture, **parts)


def _without(mixture: Mixture, k: int) -> Mixture:
    return replace(mixture, **{name: np.delete(getattr(mixture, name), k, 0) for name in PARTS})


# ---------------------------------------------------------------- the new VAE


@torch.no_grad()
def edited(vae: VAE, mixture: Mixture) -> VAE:
    """A new VAE with these components, and everything else unchanged.

    Raises:
        InputError: if the prior is not a `GaussianMixture`, or the number of components changes and
            the guide draws the component.
    """
    prior = _prior_of(vae)
    if len(mixture) != prior.components and vae.q.states is not None:
        raise InputError(
            f"the guide {vae.q!r} has a distribution for each of {prior.components} components, so their "
            "number stays: edit a VAE whose guide draws no component, or use reweight"
        )
    first = next(vae.parameters())
    with alone, torch.random.fork_rng(devices=[first.device] if first.is_cuda else []):
        new = type(vae).from_dict(_declaration(vae, prior, mixture))  # its initial weights are not used
    new.to(device=first.device, dtype=first.dtype)
    inside = {id(value) for value in (*prior.parameters(), *prior.buffers())}
    values = dict([*new.named_parameters(), *new.named_buffers()])
    for name, value in [*vae.named_parameters(), *vae.named_buffers()]:  # also non-persistent buffers
        if id(value) not in inside:
            values[name].copy_(value)
    parts = (getattr(mixture, name) for name in PARTS)
    _prior_of(new).put(*(torch.as_tensor(part, dtype=torch.float64, device=first.device) for part in parts))
    new.train(vae.training)
    return new


def _prior_of(vae: VAE) -> GaussianMixture:
    """The part that has the mixture."""
    from pyrovae.priors import GaussianMixture

    prior = vae.prior if isinstance(vae.prior, GaussianMixture) else getattr(vae.prior, "top", None)
    if isinstance(prior, GaussianMixture) and prior.gate is None:
        return prior
    raise InputError(f"{vae.prior!r} cannot be edited: only the components of a GaussianMixture can")


def _declaration(vae: VAE, prior: GaussianMixture, mixture: Mixture) -> dict[str, Any]:
    """The declaration with a new number of components and a form that fits their covariances."""
    declaration = copy.deepcopy(vae.to_dict())
    args = declaration["prior"]["init_args"]
    args = args if prior is vae.prior else args["top"]["init_args"]
    count = len(mixture)
    args["components"] = count
    args["covariance"] = max(prior.covariance, _form(mixture.covariance), key=FORMS.index)
    args["start"], args["start_epoch"] = "random", 0  # `put` sets the components
    args["floor"] = prior.floor if mixture.weight.min() > prior.floor / count else 0.0
    args["prune"] = prior.prune if prior.prune < 1 / count else 0.0
    if prior.labels and count != prior.components:  # the components no longer stand for the labels
        args["labels"], args["explicit"] = False, True
    return declaration


def _form(covariance: Array, tolerance: float = 1e-12) -> str:
    """The simplest form of covariance that fits all of these."""
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    size = variance.mean(1)[:, None]
    off = covariance - variance[:, :, None] * np.eye(variance.shape[1])
    if (np.abs(off) > tolerance * size[..., None]).any():
        return "full"
    return "diagonal" if (np.abs(variance - size) > tolerance * size).any() else "spherical"
