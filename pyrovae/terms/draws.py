r"""How a guide's draws are taken, and which way their gradients go.

    reparameterised   z = g(noise; phi), a gradient passes through z to the guide
    detached          z stands alone: the model's gradient ends there, and log q(z|x) has the score's
    routed            reparameterised; the gradient that comes back from the model to each particle is
                      multiplied by a weight that is known only after the model has run

Besides, a law may offer strata (the components of a mixture, the states of a discrete law). When the number
of particles is a multiple of theirs, particle k is drawn from stratum k mod M and weighs v_k = M pi_k:

    E_q f = E[(1/K) sum_k v_k f(z_k)]

With point strata this is the exact sum over all states.

Reference:
    Morningstar, Vikram, Ham, Gallagher & Dillon (2021), "Automatic Differentiation Variational Inference with
    Mixtures" (stratified draws); Tucker et al. (2019), "Doubly Reparameterized Gradient Estimators".
"""

from __future__ import annotations

from typing import Any, Literal, cast

from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.terms.sites import DATA, PARTICLES, plate_dim, sites_of

__all__ = ["Detached", "Draws", "Routing", "Stratified", "strata_of"]

Draws = Literal["reparameterised", "detached", "routed"]


class Detached(Messenger):
    """Ends the gradient at each draw."""

    def _pyro_post_sample(self, msg: Any) -> None:  # noqa: ANN401
        if not msg["is_observed"] and msg["value"] is not None and not site_is_subsample(msg):
            msg["value"] = msg["value"].detach()


class Stratified(Messenger):
    """Draws the first site whose law has strata from each stratum in turn, and notes its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.done = False

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        strata = _strata(msg)
        if strata == 1 or self.done or msg["done"] or msg["is_observed"]:
            return
        batch = msg["fn"].batch_shape
        particles = next((f.dim for f in msg["cond_indep_stack"] if f.name == PARTICLES), None)
        if particles != -len(batch) or batch[0] % strata:
            return
        self.done = True
        msg["value"], log_v = msg["fn"].stratified()
        msg["infer"] = msg["infer"] | {"log_v": log_v}
        msg["done"] = True


class Routing:
    """Copies of a guide's draws, of which the model's gradient comes back weighted.

    Attributes:
        weight: (K, B), set after the model has run and before the gradient is taken; None leaves it.
    """

    def __init__(self) -> None:
        self.weight: Tensor | None = None

    def __call__(self, guide: poutine.Trace) -> poutine.Trace:
        """The trace with each latent value replaced by such a copy."""
        copy = guide.copy()
        for name, site in list(sites_of(copy)):
            value = site["value"].view_as(site["value"])
            if value.requires_grad:
                shape = _weight_shape(site)
                value.register_hook(lambda g, shape=shape: self._weighted(g, shape))
            copy.nodes[name] = cast(Any, site | {"value": value})
        return copy

    def _weighted(self, gradient: Tensor, shape: list[int]) -> Tensor:
        return gradient if self.weight is None else gradient * self.weight.reshape(shape)


def _weight_shape(site: dict[str, Any]) -> list[int]:
    """The shape in which weights (K, B) multiply a site's values."""
    batch, event = site["fn"].batch_shape, len(site["fn"].event_shape)
    kept = {plate_dim(site, PARTICLES) % len(batch), plate_dim(site, DATA) % len(batch)}
    return [size if axis in kept else 1 for axis, size in enumerate(batch)] + [1] * event


def strata_of(guide: poutine.Trace) -> int:
    """The strata of the first law of a guide that has some; 1 when none has."""
    return next((strata for _, site in sites_of(guide) if (strata := _strata(site)) > 1), 1)


def _strata(site: Any) -> int:  # noqa: ANN401
    """The strata of a site's law; 1 inside a plate of its own, where a particle has several draws."""
    plates = {frame.name for frame in site["cond_indep_stack"] if frame.vectorized}
    return getattr(site["fn"], "strata", 1) if plates <= {DATA, PARTICLES} else 1
