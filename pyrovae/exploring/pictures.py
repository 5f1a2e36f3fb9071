"""The pictures of an exploration: those that apply, by name.

    map            the data in the plane where the components stand apart, coloured by p(c|x)
    components     samples of each component                              of images
    axes           each component along its longest axis                  of images
    walks          from the largest component to the one least like it    of images
    overlap        how much components share
    doubt          how many components a datum could be in
    confusion      components against labels                              where there are labels

Arrays go to `pyrovae.plots`; here it is decided what is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.errors import InputError
from pyrovae.plots import mixtures as draw
from pyrovae.report import is_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["figures"]

SAMPLES, STEPS, SHOWN = 12, 9, 15


def figures(ex: Any, *names: str) -> dict[str, Axes]:  # noqa: ANN401
    """Draw the pictures of these names, or all that apply.

    Raises:
        InputError: for a name that is unknown or does not apply.
    """
    known = _applying(ex)
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(
            f"there is no picture {missing[0]!r} of this exploration: choose from {', '.join(known)}"
        )
    return {name: known[name](ex) for name in names or known}


def _applying(ex: Any) -> dict[str, Callable[[Any], Axes]]:  # noqa: ANN401
    several, own_places = len(ex.components) > 1, not ex.reader.mixture.classed
    images = is_image(ex.vae.event_shape)
    found: dict[str, tuple[bool, Callable[[Any], Axes]]] = {
        "map": (ex.z.shape[1] > 1, _map),
        "components": (images, _components),
        "axes": (images, _axes),
        "walks": (images and several and own_places, _walks),
        "overlap": (several and own_places, _overlap),
        "doubt": (several, _doubt),
        "confusion": (ex.agreement is not None, _confusion),
    }
    return {name: picture for name, (applies, picture) in found.items() if applies}


def _map(ex: Any) -> Axes:  # noqa: ANN401
    plane, parts = ex.map, ex.components
    seen = [plane.ellipse(m, s) for m, s in zip(parts.mean, parts.covariance, strict=True)]
    means, covariances = (np.stack(column) for column in zip(*seen, strict=True))
    density = ex.log_pz if plane.identity else None
    labels = [""] * len(parts) if ex.reader.mixture.classed else None  # all in one place
    names = ("$z_1$", "$z_2$") if plane.identity else ("direction 1", "direction 2")
    points = plane.to_plane(ex.z)
    return draw.latent_map(
        points, ex.responsibilities, means, covariances, density=density, names=names, numbers=labels
    )


def _components(ex: Any) -> Axes:  # noqa: ANN401
    shown = _largest(ex)
    images = np.stack([ex.samples(k, SAMPLES, seed=ex.seed) for k in shown])
    return draw.component_grid(images, ex.components.weight[shown], names=[str(k) for k in shown])


def _axes(ex: Any) -> Axes:  # noqa: ANN401
    shown = _largest(ex)
    return draw.walks(np.stack([ex.axis(k, steps=STEPS).x for k in shown]), [str(k) for k in shown])


def _walks(ex: Any) -> Axes:  # noqa: ANN401
    a = int(ex.components.weight.argmax())
    used = ex.components.weight >= 0.1 / len(ex.components)
    b = int(np.where(used, ex.components.overlap[a], 2.0).argmin())
    both = [ex.walk(a, b, STEPS, way) for way in ("straight", "density")]  # type: ignore[arg-type]
    names = [f"{a} to {b}, {walk.along}" for walk in both]
    return draw.walks(
        np.stack([walk.x for walk in both]), names, log_pz=np.stack([walk.log_pz for walk in both])
    )


def _overlap(ex: Any) -> Axes:  # noqa: ANN401
    return draw.overlap(ex.components.overlap)


def _doubt(ex: Any) -> Axes:  # noqa: ANN401
    return draw.doubt(ex.doubt, len(ex.components))


def _confusion(ex: Any) -> Axes:  # noqa: ANN401
    found = ex.agreement
    assert found is not None  # the picture applies
    return draw.confusion(found.confusion, found.matching, [str(label) for label in found.classes])


def _largest(ex: Any) -> list[int]:  # noqa: ANN401
    """The components with the most weight, at most as many as a page shows, in their own order."""
    return sorted(int(k) for k in np.argsort(-ex.components.weight, kind="stable")[:SHOWN])
