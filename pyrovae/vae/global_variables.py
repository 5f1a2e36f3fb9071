r"""The variables of a VAE that all rows share: the sites outside the plate "data".

    model   w ~ p(w)      one site for each variable
    guide   w ~ q(w)

If layers sample activations in training (`layerwise`), the weights of linear layers are not sites.
Their divergence is then a factor of the model, in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import variables
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.networks.bayesian import joint_posterior, split
from pyrovae.networks.laplace_head import LaplaceWeights, fit_curvature
from pyrovae.networks.modes import in_mode
from pyrovae.terms import Program
from pyrovae.variables import Variable

if TYPE_CHECKING:
    from pyrovae.guides import Guide
    from pyrovae.networks import Headed
    from pyrovae.priors import Prior

__all__ = ["GlobalVariables"]

JOINT = "decoder.weights"
FACTOR = "decoder.divergence"
# The beginnings of the names of modules, and of the sites that belong to them.
_NAMES = {"generation.network.network.": "decoder.", "generation.heads.": "decoder."}
FISHER_ROWS = 10_000
FISHER_BATCH = 500
FISHER_SEED = 19920501


class GlobalVariables(Program):
    """The methods of a VAE for variables that all rows share."""

    prior: Prior
    q: Guide
    generation: Headed
    global_variables: dict[str, Variable]

    def _collect_variables(self: Any) -> None:
        """Find the variables of the attached parts, by the names of their sites."""
        found = {}
        for path, module in self.named_modules():
            if isinstance(module, Variable):
                start = next((start for start in _NAMES if path.startswith(start)), "")
                name = _NAMES.get(start, "") + path.removeprefix(start)
                found[path if name in found else name] = module
        self.global_variables = found

    @property
    def has_globals(self) -> bool:  # type: ignore[override]
        """Whether all rows share some variables, such as the weights of a `Bayesian` decoder."""
        return bool(self.global_variables)

    @contextmanager
    def _shared(self, of: str) -> Iterator[None]:
        """Sample the variables as sites of the "model" or the "guide", and hold them."""
        free = {name: v for name, v in self.global_variables.items() if not v.is_held}
        if variables.is_layerwise():
            integrated = [v for v in free.values() if v.is_layerwise]
            free = {name: v for name, v in free.items() if not v.is_layerwise}
            if of == "model" and integrated:
                pyro.factor(FACTOR, -sum(v.divergence() for v in integrated))  # type: ignore[arg-type]
        values = _prior_draws(free) if of == "model" else _posterior_draws(free)
        with variables.holding({free[name]: value for name, value in values.items()}):
            yield

    def by_layer(self) -> tuple[Callable, Callable] | None:
        """Model and guide whose linear layers sample activations instead of weights, or None."""
        # If a class is summed out, all classes of a row need the same sample of W.
        is_summed_out = self.prior.states is not None and self.q.states is None
        if is_summed_out or not any(v.is_layerwise for v in self.global_variables.values()):
            return None
        return self._layerwise_model, self._layerwise_guide

    def _layerwise_model(self: Any, *args: Any) -> Any:  # noqa: ANN401
        with variables.layerwise():
            return self.model(*args)

    def _layerwise_guide(self: Any, *args: Any) -> Any:  # noqa: ANN401
        with variables.layerwise():
            return self.guide(*args)

    @contextmanager
    def holding(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Hold the variables at given values, by the names of their sites.

        Raises:
            InputError: for an unknown name, or a value of another shape.
        """
        known = self.global_variables
        for name, value in values.items():
            if name not in known and name != JOINT:
                cure = f"hold one of {', '.join(known)}" if known else "leave holding out"
                raise InputError(f"rows share no variable {name!r}: {cure}")
            shape = known[name].centre().shape if name in known else value.shape[-1:]
            if value.shape[-len(shape) or value.dim() :] != shape:
                raise InputError(
                    f"{name!r} has the shape {tuple(shape)}, and the value {tuple(value.shape)}: give one of "
                    "this shape, as vae.draw_globals() does"
                )
        with variables.holding({known[name]: value for name, value in values.items() if name in known}):
            yield

    @torch.no_grad()
    def draw_globals(self: Any) -> dict[str, Tensor]:
        """A sample of all variables from q(w), by the names of their sites."""
        with in_mode(self, training=False):
            return _posterior_draws(self.global_variables, site=_drawn)

    def central_globals(self) -> dict[str, Tensor] | None:
        """The centres of q(w), by the names of the sites."""
        return {name: v.centre().detach() for name, v in self.global_variables.items()}

    def global_divergence(self) -> Tensor | None:
        """KL(q(w) || p(w)) from formulas; None for a joint posterior, or without a formula."""
        if any(hasattr(v, "factor") for v in self.global_variables.values()):
            return None
        try:
            return sum(v.divergence() for v in self.global_variables.values())  # type: ignore[return-value]
        except NotImplementedError:
            return None

    def finish(self: Any, some: Callable[[int], Rows], count: int) -> bool:
        """Complete the posteriors after training.

        Arguments:
            some: returns this number of training rows, or all if there are fewer.
            count: the number of distinct training rows.

        Returns:
            Whether anything changed.
        """
        if not any(isinstance(v, LaplaceWeights) for v in self.global_variables.values()):
            return False
        rows = some(FISHER_ROWS)
        cuda = [rows.x.device] if rows.x.is_cuda else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(FISHER_SEED)
            fit_curvature(self.generation, self._pairs(rows), count)
        return True

    def _pairs(self: Any, rows: Rows) -> Iterator[tuple[Tensor, Tensor | None, Callable]]:
        """Latents, contexts, and the log-density of data sampled at the decoder's output."""
        for piece in rows.batches(FISHER_BATCH):
            with torch.no_grad():
                z = self.encode(piece).sample()[..., : self.prior.visible]
            missing = piece.x.isnan()

            def log_px(params: dict[str, Tensor], missing: Tensor = missing) -> Tensor:
                p = self.likelihood(**params)
                x = p.sample()
                return p.log_prob(torch.where(missing, torch.nan, x) if missing.any() else x)

            yield z, self._flat(piece.context), log_px


def _prior_draws(free: Mapping[str, Variable]) -> dict[str, Tensor]:
    return {name: pyro.sample(name, v.prior()) for name, v in free.items()}


def _posterior_draws(free: Mapping[str, Variable], site: Callable = pyro.sample) -> dict[str, Tensor]:
    joint = {name: v for name, v in free.items() if hasattr(v, "factor")}
    values = {name: site(name, v.posterior()) for name, v in free.items() if name not in joint}
    if joint:
        parts: list[Any] = list(joint.values())
        flat = site(JOINT, joint_posterior(parts), infer={"is_auxiliary": True})
        for (name, v), piece in zip(joint.items(), split(flat, parts), strict=True):
            values[name] = site(name, dist.Delta(piece, event_dim=v.centre().dim()))
    return values


def _drawn(_: str, distribution: Any, **__: Any) -> Tensor:  # noqa: ANN401
    return distribution.sample()
