"""HTML of a decoded latent point, and of an observation with its posterior and log p(x)."""

from __future__ import annotations

import numpy as np

from pyrovae.app.look import DARK, LINE
from pyrovae.app.pictures import img
from pyrovae.app.scene import Scene, dot, number

__all__ = ["bars", "observation_html", "point_html"]

SHOWN = 20


def point_html(scene: Scene, z: np.ndarray, k: int, where: str) -> str:
    """The decoded picture of a latent point z (D,), and its most probable components.

    Arguments:
        scene: the exploration.
        z: the point.
        k: the chosen component; the class, if the decoder reads one.
        where: a description of the point.
    """
    picture = img(scene.pictures.source(scene.ex.decode(z, k=k)), scene.pictures.size(190), "decoded")
    share = scene.mixture.responsibilities(z[None])[0]
    likely = [j for j in np.argsort(-share)[:3] if share[j] >= 0.005]
    rows = [(f"{dot(scene.colours[j])}component {j}", f"{100 * share[j]:.0f} %") for j in likely]
    if scene.mixture.classed:  # then z says nothing about the class
        rows = [(f"{dot(scene.colours[k])}decoded as class {k}", "")]
    density = number(float(scene.mixture.log_prob(z[None])[0]), 1)
    return (
        f"{picture}<p><small>{where}</small></p>{''.join(_row(*row) for row in rows)}"
        f'<div class="rule"></div>{_row("<small>log p(z), nats</small>", density)}'
    )


def _row(left: str, right: str) -> str:
    return f'<div class="row"><span>{left}</span><span>{right}</span></div>'


def observation_html(scene: Scene, i: int, evidence: str) -> str:
    """Observation i next to its reconstruction, with p(c|x), and log p(x) as text."""
    ex, size = scene.ex, scene.pictures.size(135, 124)
    row = "observation" if ex.index[i] == i else f"row {ex.index[i]:,}"
    both = ((ex.x[i], "observation", row), (scene.reconstruction(i), "reconstruction", "reconstruction"))
    label = "" if ex.labels is None else f"<b>label {ex.labels[i]}</b><br>"
    k = int(ex.assignment[i])
    pair = "".join(
        f"<div>{img(scene.pictures.source(x), size, name)}<small>{text}</small></div>"
        for x, name, text in both
    )
    facts = (
        f'<div style="margin-left:6px;gap:7px"><div>{label}{dot(scene.colours[k])}component {k}</div>'
        f"<div><small>doubt</small><br>{number(float(ex.doubt[i]))} nats</div>"
        f'<div class="evidence"><small>log p(x)</small><br>{evidence}</div></div>'
    )
    chart = bars(ex.responsibilities[i], ex.responsibility_sd[i], scene.colours)
    largest = "" if len(scene.colours) <= SHOWN else f", the {SHOWN} largest"
    return (
        f'<div class="pair">{pair}{facts}</div>'
        f'<div class="posterior"><p><small>p(c|x){largest}, with its spread over q(z|x)</small></p>'
        f"{chart}</div>"
    )


def bars(share: np.ndarray, spread: np.ndarray, colours: list[str]) -> str:
    """Responsibilities (K,) as bars with standard deviations; the largest, if there are many."""
    order = np.arange(len(share)) if len(share) <= SHOWN else np.sort(np.argsort(-share)[:SHOWN])
    step, top, bottom = 418 / len(order), 6, 100
    parts = [f'<path d="M0 {bottom}H418" stroke="{LINE}"/>']
    for place, k in enumerate(order):
        middle, width = step * (place + 0.5), min(0.62 * step, 30)
        height = (bottom - top) * float(share[k])
        low, high = (
            bottom - (bottom - top) * float(np.clip(share[k] + s * spread[k], 0, 1)) for s in (-1, 1)
        )
        parts.append(
            f'<rect x="{middle - width / 2:.1f}" y="{bottom - height:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" fill="{colours[k]}"/>'
            f'<text x="{middle:.1f}" y="{bottom + 15}" text-anchor="middle" font-size="11">{k}</text>'
        )
        if low - high > 1:
            parts.append(f'<path d="M{middle:.1f} {low:.1f}V{high:.1f}" stroke="{DARK}" stroke-width="1.2"/>')
    return f'<svg viewBox="0 0 418 118" width="418" height="118">{"".join(parts)}</svg>'
