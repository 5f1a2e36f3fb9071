"""The figures of an exploration, by name.

Those of any VAE:

    map            the encodings, in a plane, coloured by label where there are labels
    latents        the KL of each latent, and how much E[z|x] varies

and of a mixture:

    map            the data in the plane that separates the components, coloured by p(c|x)
    components     samples of each component                              of images
    axes           each component along its longest axis                  of images
    walks          from the largest component to the one least like it    of images
    overlap        how much components share
    doubt          the number of components to which an observation could belong
    confusion      components against labels                              where there are labels

`pyrovae.plots` draws arrays; this file chooses which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from pyrovae.errors import InputError
from pyrovae.exploring.walks import Along
from pyrovae.plots import mixtures as draw
from pyrovae.plots.latents import latent_scatter
from pyrovae.plots.style import COLOURS, Axes, canvas
from pyrovae.report import is_image

__all__ = ["Pictures", "PlainPictures"]

Draw = Callable[[Axes | None], Axes]

SAMPLES, STEPS, SHOWN = 12, 9, 15


class PlainPictures:
    """The figures of a VAE without components."""

    def __init__(self, ex: Any) -> None:  # noqa: ANN401
        self.ex = ex

    def figures(self, *names: str) -> dict[str, Axes]:
        """Draw the figures with these names, or all that apply.

        Raises:
            InputError: if a name is unknown or does not apply.
        """
        for name in names:
            self._checked(name)
        return {name: self._applying()[name](None) for name in names or self._applying()}

    def plot(self, name: str, ax: Axes | None) -> Axes:
        """Draw one figure on the axes; errors as for `figures`."""
        return self._checked(name)(ax)

    def _checked(self, name: str) -> Draw:
        pictures = self._applying()
        if not isinstance(name, str) or name not in pictures:
            raise InputError(
                f"there is no picture {name!r} of this exploration: choose from {', '.join(pictures)}"
            )
        return pictures[name]

    def _applying(self) -> dict[str, Draw]:
        latents: dict[str, Draw] = {"latents": self._latents}
        has_plane = self.ex.visible < 3 or len(self.ex) > 1  # one row has no principal components
        return {"map": self._plain_map, **latents} if has_plane else latents

    def _plain_map(self, ax: Axes | None) -> Axes:
        return latent_scatter(self.ex.z[:, : self.ex.visible], self.ex.labels, ax=ax)

    def _latents(self, ax: Axes | None) -> Axes:
        ex = self.ex
        kl, variance = ex.divergence[1][:, : ex.z.shape[1]].mean(0), ex.z.var(0)
        with canvas(ax) as axes:
            names = [f"z{i}" for i in range(len(kl))]
            axes.bar(names, variance if np.isnan(kl).any() else kl, color=COLOURS["model"])
            axes.set_ylabel("variance of E[z|x]" if np.isnan(kl).any() else "KL, nats")
            return axes


class Pictures(PlainPictures):
    """The figures of an exploration with components."""

    def _applying(self) -> dict[str, Draw]:
        ex = self.ex
        several, own_places = len(ex.components) > 1, not ex.reader.mixture.classed
        images = is_image(ex.vae.event_shape)
        every: dict[str, tuple[bool, Draw]] = {
            "map": (ex.z.shape[1] > 1, self._map),
            "components": (images, self._components),
            "axes": (images, self._axes),
            "walks": (images and several and own_places, self._walks),
            "overlap": (several and own_places, lambda ax: draw.overlap(ex.components.overlap, ax=ax)),
            "doubt": (several, lambda ax: draw.doubt(ex.doubt, len(ex.components), ax=ax)),
            "confusion": (ex.agreement is not None, self._confusion),
        }
        return {name: picture for name, (applies, picture) in every.items() if applies}

    def _map(self, ax: Axes | None) -> Axes:
        ex, plane, parts = self.ex, self.ex.map, self.ex.components
        ellipses = [plane.ellipse(m, s) for m, s in zip(parts.mean, parts.covariance, strict=True)]
        means, covariances = (np.stack(column) for column in zip(*ellipses, strict=True))
        return draw.latent_map(
            plane.to_plane(ex.z),
            ex.responsibilities,
            means,
            covariances,
            density=ex.log_pz if plane.identity else None,
            names=plane.names,
            numbering=[""] * len(parts) if ex.reader.mixture.classed else None,  # all are at one place
            ax=ax,
        )

    def _largest(self) -> list[int]:
        """The components with the largest weights, as many as a page shows, in order of index."""
        return sorted(int(k) for k in np.argsort(-self.ex.components.weight, kind="stable")[:SHOWN])

    def _components(self, ax: Axes | None) -> Axes:
        ex, shown = self.ex, self._largest()
        images = np.stack([ex.samples(k, SAMPLES, seed=ex.seed) for k in shown])
        return draw.component_grid(images, ex.components.weight[shown], names=[str(k) for k in shown], ax=ax)

    def _axes(self, ax: Axes | None) -> Axes:
        shown = self._largest()
        images = np.stack([self.ex.axis(k, steps=STEPS).x for k in shown])
        return draw.walks(images, [str(k) for k in shown], ax=ax)

    def _walks(self, ax: Axes | None) -> Axes:
        parts = self.ex.components
        a = int(parts.weight.argmax())
        used = parts.weight >= 0.1 / len(parts)
        b = int(np.where(used, parts.overlap[a], 2.0).argmin())
        both = [self.ex.walk(a, b, STEPS, along) for along in get_args(Along)]
        images, heights = (np.stack([getattr(walk, name) for walk in both]) for name in ("x", "log_pz"))
        return draw.walks(images, [f"{a} to {b}, {walk.along}" for walk in both], log_pz=heights, ax=ax)

    def _confusion(self, ax: Axes | None) -> Axes:
        agreement = self.ex.agreement
        return draw.confusion(agreement.confusion, agreement.matching, list(agreement.classes), ax=ax)
