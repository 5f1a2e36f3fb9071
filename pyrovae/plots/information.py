"""The figure of code lengths: what a VAE spends on an observation, in bits."""

from __future__ import annotations

from pyrovae.checks import number
from pyrovae.errors import InputError
from pyrovae.plots.style import COLOURS, Axes, canvas

__all__ = ["code_lengths"]


def code_lengths(total: float, kl: float, reconstruction: float, *, ax: Axes | None = None) -> Axes:
    """Bits of an observation: the shortest code above, and the code with q(z|x) below.

    Args:
        total: -log2 p(x).
        kl: KL(q(z|x) || p(z)), in bits.
        reconstruction: -E_q[log2 p(x|z)].

    Raises:
        InputError: if the parts are together less than the total, which no q allows.

    Example:
        >>> ax = code_lengths(20.0, 8.0, 15.0)
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['−log2 p(x)', 'with q(z|x)']
    """
    total, kl, reconstruction = (
        number(name, value)
        for name, value in (("total", total), ("kl", kl), ("reconstruction", reconstruction))
    )
    penalty = kl + reconstruction - total
    if penalty < -1e-6 * (1 + abs(total)):
        raise InputError(f"the parts are {-penalty:.3g} bits shorter than -log2 p(x): check all three")
    with canvas(ax, height=1.9) as ax:
        ax.barh(0, total, color=COLOURS["data"], height=0.6)
        ax.barh(1, kl, color=COLOURS["other"], height=0.6, label=f"KL, {kl:.1f} bits")
        label = f"reconstruction, {reconstruction:.1f} bits"
        ax.barh(1, reconstruction, left=kl, color=COLOURS["model"], height=0.6, label=label)
        label = f"penalty for q, {penalty:.2f} bits"
        ax.barh(0, penalty, left=total, color=COLOURS["warning"], height=0.6, alpha=0.75, label=label)
        ax.axvline(total, color=COLOURS["data"], linestyle=(0, (4, 2)), linewidth=1.0)
        ax.set_yticks([0, 1], ["\u2212log2 p(x)", "with q(z|x)"])
        ax.set(xlabel="bits per observation", ylim=(1.5, -0.5))
        ax.tick_params(axis="y", length=0)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.0)
    return ax
