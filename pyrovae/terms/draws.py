r"""How the guide's samples are drawn, and how gradients pass through them.

    reparameterised   z = g(noise; phi): the gradient passes through z to the guide
    detached          no gradient passes through z; that of log q(z|x) is the score
    routed            reparameterised; the model's gradient at each particle is multiplied by a
                      weight that is known only after the model has run

A distribution may have M strata: the components of a mixture, or the states of a discrete
distribution. If K is a multiple of M, particle k is drawn from stratum k mod M with weight
v_k = M pi_k:

    E_q f = E[(1/K) sum_k v_k f(z_k)]

If each stratum is a single point, this is the exact sum over all states.

Reference:
    Morningstar, Vikram, Ham, Gallagher & Dillon (2021), "Automatic Differentiation Variational
    Inference with Mixtures" (stratified samples); Tucker et al. (2019), "Doubly Reparameterized
    Gradient Estimators".
"""

from __future__ import annotations

from typing import Any, Literal, cast

from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.terms.sites import DATA, PARTICLES, is_global, plate_dim, sites_of

__all__ = ["Detached", "Draws", "Routing", "Stratified", "strata_of"]

Draws = Literal["reparameterised", "detached", "routed"]


class Detached(Messenger):
    """Detaches each sample."""

    def _pyro_post_sample(self, msg: Any) -> None:  # noqa: ANN401
        if not msg["is_observed"] and msg["value"] is not None and not site_is_subsample(msg):
            msg["value"] = msg["value"].detach()


class Stratified(Messenger):
    """Draws the first site with strata from each stratum in turn, and stores the weights."""

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
    """Copies of the guide's samples at which the model's gradient is multiplied by weights.

    Attributes:
        weight: (K, B), set after the model has run and before the gradient is taken; None is 1.
    """

    def __init__(self) -> None:
        self.weight: Tensor | None = None

    def __call__(self, guide: poutine.Trace) -> poutine.Trace:
        """The trace with a copy of each latent value."""
        copy = guide.copy()
        for name, site in [(n, s) for n, s in sites_of(copy) if not is_global(s)]:
            value = site["value"].view_as(site["value"])
            if value.requires_grad:
                shape = _weight_shape(site)
                value.register_hook(lambda g, shape=shape: self._weighted(g, shape))
            copy.nodes[name] = cast(Any, site | {"value": value})
        return copy

    def _weighted(self, gradient: Tensor, shape: list[int]) -> Tensor:
        return gradient if self.weight is None else gradient * self.weight.reshape(shape)


def _weight_shape(site: dict[str, Any]) -> list[int]:
    """The shape to which weights (K, B) are reshaped to multiply a site's values."""
    batch, event = site["fn"].batch_shape, len(site["fn"].event_shape)
    weighted = {plate_dim(site, PARTICLES) % len(batch), plate_dim(site, DATA) % len(batch)}
    return [size if axis in weighted else 1 for axis, size in enumerate(batch)] + [1] * event


def strata_of(guide: poutine.Trace) -> int:
    """The number of strata of the guide's first site that has some, else 1."""
    return next((strata for _, site in sites_of(guide) if (strata := _strata(site)) > 1), 1)


def _strata(site: Any) -> int:  # noqa: ANN401
    """The number of strata of a site; 1 for a global site, and for one in an inner plate."""
    plates = {frame.name for frame in site["cond_indep_stack"] if frame.vectorized} - {PARTICLES}
    return getattr(site["fn"], "strata", 1) if plates == {DATA} else 1
