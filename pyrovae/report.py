"""The pictures of a run: which ones apply to a VAE and its data, drawn and saved.

training       the bound, the reconstruction and the KL over the epochs
samples        draws from p(x), as images or beside the data
reconstructions  x and E[x|z], for images
latents        E[z|x] of the test set, coloured by label; the prior's density behind two latents
manifold       the plane of two latents, decoded
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrovae import plots
from pyrovae.priors import StandardNormal
from pyrovae.vae import VAE

if TYPE_CHECKING:
    import pyro.distributions as dist
    from matplotlib.axes import Axes

    from pyrovae.datasets import Data

__all__ = ["figures", "is_image", "save_figures", "whole_rows"]

ROWS = 2000
IMAGES = 100
DRAWS = 20


def is_image(event_shape: tuple[int, ...]) -> bool:
    """Whether events are images that can be drawn: (1 or 3, height, width)."""
    return len(event_shape) == 3 and event_shape[0] in (1, 3) and min(event_shape[1:]) > 1


def whole_rows(x: Tensor) -> Tensor:
    """The data without a missing entry, which a picture can show."""
    return x[~x.flatten(1).isnan().any(1)]


def save_figures(
    vae: VAE, data: Data, folder: Path, *, history: Mapping[str, np.ndarray] | None = None, seed: int = 0
) -> list[Path]:
    """Draw what applies and save it as png files; returns their paths.

    Arguments:
        vae: trained.
        data: whose test set is shown.
        folder: where the files go; made when absent.
        history: of the training, for its curves.
        seed: of the draws; the caller's random state is left as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures(vae, data, history=history, seed=seed)
    return [plots.save(ax, folder / f"{name}.png") for name, ax in drawn.items()]


def figures(
    vae: VAE, data: Data, *, history: Mapping[str, np.ndarray] | None = None, seed: int = 0
) -> dict[str, Axes]:
    """The pictures that apply, by name."""
    device = next(vae.parameters()).device
    x = data.test[:ROWS].to(device)
    context = None if data.context is None else data.context.test[:ROWS].to(device)
    drawn = {} if history is None else {"training": plots.training_curves(history)}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        drawn |= _of_data(vae, x, context)
        drawn["latents"] = _latents(vae, data, x, context)
        # The manifold is drawn over the quantiles of N(0, I), so it tells of that prior alone.
        standard = isinstance(vae.prior, StandardNormal) and vae.context_shape is None
        if vae.prior.size == 2 and is_image(vae.event_shape) and standard:
            drawn["manifold"] = plots.manifold(lambda z: _array(_mean(vae.decode(_tensor(z, x)))))
    return drawn


def _of_data(vae: VAE, x: Tensor, context: Tensor | None) -> dict[str, Axes]:
    if is_image(vae.event_shape):
        some = None if context is None else context[:IMAGES]
        count = IMAGES if some is None else len(some)
        pairs = slice(0, 10)
        x_hat = vae.reconstruct(x[pairs], None if context is None else context[pairs])
        return {
            "samples": plots.image_grid(_array(vae.sample(count, some, mean=True))),
            "reconstructions": plots.reconstructions(_array(x[pairs]), _array(x_hat)),
        }
    whole = whole_rows(x)
    if len(whole) < 2:
        return {}
    samples = vae.sample(len(x), context)
    return {"samples": plots.compare(_array(whole.flatten(1)), _array(samples.flatten(1)))}


def _latents(vae: VAE, data: Data, x: Tensor, context: Tensor | None) -> Axes:
    labels = None if data.labels is None else _array(data.labels.test[: len(x)])
    law = vae.encode(x, context)
    prior = vae.latents() if vae.prior.size == 2 and vae.context_shape is None else None
    density = None
    if prior is not None and _is_everywhere(prior):
        density = lambda z: _array(prior.log_prob(_tensor(z, x)))  # noqa: E731
    return plots.latent_scatter(_array(_mean(law)), labels, density=density)


def _is_everywhere(law: dist.TorchDistribution) -> bool:
    """Whether a law has a density at any point, as the sphere's and one-hot ones have not."""
    try:
        support = law.support
    except NotImplementedError:
        return True
    return support is None or bool(support.check(torch.zeros(1, *law.event_shape)).all())


def _mean(law: dist.TorchDistribution) -> Tensor:
    """The mean where the law knows it, else that of some draws."""
    try:
        return law.mean
    except NotImplementedError:
        return law.sample((DRAWS,)).mean(0)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(array, dtype=like.dtype, device=like.device)
