"""Bars of p(c|x) with their spread over q(z|x)."""

from __future__ import annotations

import numpy as np

from pyrovae.app.look import DARK, LINE

__all__ = ["bars"]

SHOWN = 20


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
