r"""Diagrams: the parts of a VAE with the sizes of their layers, and the path of gradients.

x -> encoder -> q(z|x) -> z -> decoder -> p(x|z)        architecture
z = m + s e,  e ~ N(0, I)                               reparameterisation
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.networks.modes import in_mode
from pyrovae.plots.style import COLOURS, Axes, canvas, panels
from pyrovae.seeds import random_kept

__all__ = ["architecture", "reparameterisation"]

LAYERS = 5  # of one network; the others are counted
INCHES = 0.8  # the width of a column
NEEDED = ("encoder", "decoder", "encode", "decode", "event_shape", "prior", "likelihood", "q")
PALE = {"data": "#ececec", "model": "#d6e7f3", "other": "#d3ece4", "warning": "#f7dfd0"}


class _Box(NamedTuple):
    """A column of the diagram: two lines of text, a kind of colour, and the size of its output."""

    name: str
    note: str
    kind: str
    size: int
    is_round: bool = False


def architecture(vae: Any, *, ax: Axes | None = None) -> Axes:  # noqa: ANN401
    r"""The architecture of a VAE: layers with their outputs, distributions, and the objective.

    \[x \to \text{encoder} \to q(z|x) \to z \to \text{decoder} \to p(x|z)\]

    \[\mathcal L = \mathrm E_q[\log p(x|z) + \log p(z) - \log q(z|x)]\]

    The sizes are read off while one observation passes through the networks, so the diagram is that
    of the declared VAE. The height of a box grows with the logarithm of its number of outputs.

    Args:
        vae: a `pyrovae.VAE`.

    Raises:
        InputError: for an object without encoder and decoder.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.9.

    Example:
        >>> from pyrovae import VAE, networks
        >>> vae = VAE((4,), latent_dim=2, encoder=networks.MLP(8), decoder=networks.MLP(8))
        >>> ax = architecture(vae)
        >>> [text.get_text() for text in ax.texts][:2]
        ['x\n4', 'Linear\n8']
    """
    missing = [name for name in NEEDED if not hasattr(vae, name)]
    if missing:
        raise InputError(f"architecture needs a VAE; a {type(vae).__name__} has no {missing[0]}")
    encoder, decoder, sizes = _layers(vae)
    x, z = math.prod(vae.event_shape), math.prod(vae.latents(*_context(vae)).event_shape)
    boxes = [
        _Box("x", _product(vae.event_shape), "data", x),
        *encoder,
        _Box(type(vae.q).__name__, f"q(z|x), {sizes[0]}", "other", sizes[0]),
        _Box("z", f"{z}", "other", z, is_round=True),
        *decoder,
        _Box(type(vae.likelihood).__name__, f"p(x|z), {sizes[1]}", "model", sizes[1]),
    ]
    with canvas(ax, width=INCHES * len(boxes) + 0.4, height=3.0) as ax:
        largest = max(box.size for box in boxes)
        heights = [_draw_box(ax, k, box, largest) for k, box in enumerate(boxes)]
        for k in range(len(boxes) - 1):
            _arrow(ax, (k + _half(boxes[k]), 0), (k + 1 - _half(boxes[k + 1]), 0))
        at = len(encoder) + 1
        _brace(ax, 1, at - 1, max(heights[1:at] or [0.5]), f"encoder: {type(vae.encoder).__name__}")
        _brace(ax, at + 2, len(boxes) - 2, max(heights[at + 2 : -1] or [0.5]), _of_decoder(vae))
        _objective(ax, vae, (at, at + 1, len(boxes) - 1), heights)
        ax.set(xlim=(-0.6, len(boxes) - 0.4), ylim=(-2.0, 1.5))
        ax.set_axis_off()
    return ax


def _of_decoder(vae: Any) -> str:  # noqa: ANN401
    return f"decoder: {type(vae.decoder).__name__}"


def _context(vae: Any) -> list[Tensor]:  # noqa: ANN401
    """A context of zeros, if the VAE has one."""
    shape = getattr(vae, "context_shape", None)
    return [] if shape is None else [torch.zeros(1, *shape)]


def _layers(vae: Any) -> tuple[list[_Box], list[_Box], tuple[int, int]]:  # noqa: ANN401
    """The layers of both networks, and the numbers of parameters of q(z|x) and p(x|z)."""
    device = next(vae.parameters()).device
    context = [part.to(device) for part in _context(vae)]
    x = torch.zeros(1, *vae.event_shape, device=device)
    with torch.no_grad(), random_kept(), in_mode(vae, training=False), _watched(vae.encoder) as first:
        z = vae.encode(x, *context).sample()
        with _watched(vae.decoder) as second:
            vae.decode(z, *context)
    counts = [
        sum(math.prod(shape) for shape in part.param_shapes.values()) for part in (vae.q, vae.likelihood)
    ]
    return _boxes(first), _boxes(second), (counts[0], counts[1])


@contextmanager
def _watched(network: nn.Module) -> Iterator[list[tuple[str, tuple[int, ...]]]]:
    """The names and output shapes of the layers with parameters, in the order of their calls."""
    seen: list[tuple[str, tuple[int, ...]]] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:  # noqa: ANN401
        tensor = output[0] if isinstance(output, tuple) else output
        if isinstance(tensor, Tensor):
            seen.append((type(module).__name__, tuple(tensor.shape[1:])))

    layers = [m for m in network.modules() if any(True for _ in m.parameters(recurse=False))]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _boxes(seen: Sequence[tuple[str, tuple[int, ...]]]) -> list[_Box]:
    """One box for each layer; in the middle of many, one for those that are left out."""
    boxes = [_Box(name, _product(shape), "data", math.prod(shape)) for name, shape in seen]
    if len(boxes) <= LAYERS:
        return boxes
    left_out = boxes[2 : 2 + len(boxes) - LAYERS + 1]
    middle = _Box("...", f"{len(left_out)} layers", "data", max(box.size for box in left_out))
    return [*boxes[:2], middle, *boxes[2 + len(left_out) :]]


def _product(shape: Sequence[int]) -> str:
    return "\u00d7".join(map(str, shape)) or "1"


def _lines(name: str) -> str:
    """A long name of a class in several lines: "Diagonal", "Normal"."""
    return name if len(name) <= 9 else "\n".join(re.findall(r"[A-Z][a-z0-9]*|[^A-Z]+", name))


def _half(box: _Box) -> float:
    return 0.3 if box.is_round else 0.4


def _draw_box(ax: Axes, at: int, box: _Box, largest: int) -> float:
    """Draw one column; returns half its height."""
    from matplotlib.patches import Ellipse, FancyBboxPatch

    half = 0.42 + 0.66 * math.log2(box.size + 1) / math.log2(largest + 1)
    look: dict[str, Any] = {"facecolor": PALE[box.kind], "edgecolor": COLOURS[box.kind], "linewidth": 1.0}
    if box.is_round:
        half = 0.46
        ax.add_patch(Ellipse((at, 0), 2 * _half(box), 2 * half, **look))
    else:
        corner = (at - 0.36, -half)
        shape = "round,pad=0.02,rounding_size=0.06"
        ax.add_patch(FancyBboxPatch(corner, 0.72, 2 * half, boxstyle=shape, **look))
    words = _lines(box.name) + "\n" + box.note.replace(", ", "\n")
    size = 7.5 if max(map(len, words.split("\n"))) <= 9 else 6.5
    ax.text(at, 0, words, ha="center", va="center", fontsize=size, linespacing=1.35)
    return half


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = "data") -> None:
    look = {"arrowstyle": "-|>", "color": COLOURS[colour], "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=look)


def _brace(ax: Axes, first: int, last: int, height: float, text: str) -> None:
    """The name of a network above its layers."""
    if last < first:
        return
    y = height + 0.12
    ax.plot([first - 0.38, last + 0.38], [y, y], color=COLOURS["data"], linewidth=0.8)
    ax.text((first + last) / 2, y + 0.05, text, ha="center", va="bottom", fontsize=8)


def _objective(ax: Axes, vae: Any, columns: Sequence[int], heights: Sequence[float]) -> None:  # noqa: ANN401
    """The objective at the bottom, with an arrow from each distribution that it reads."""
    guide, latent, likelihood = columns
    middle = (guide + likelihood) / 2
    words = f"p(z)\n{_lines(type(vae.prior).__name__)}"
    ax.text(latent, -0.56, words, ha="center", va="top", fontsize=7, linespacing=1.35)
    terms = (
        (likelihood, -heights[likelihood], "log p(x|z)"),
        (latent, -1.18, "log p(z)"),
        (guide, -heights[guide], "log q(z|x)"),
    )
    for at, top, name in terms:
        _arrow(ax, (at, top - 0.04), (at, -1.62), "warning")
        ax.text(at + 0.06, -1.45, name, fontsize=7, color=COLOURS["warning"], va="center")
    left, right = guide - 0.5, likelihood + 0.5
    ax.plot([left, right], [-1.66, -1.66], color=COLOURS["warning"], linewidth=1.0)
    formula = "maximised: log p(x|z) + log p(z) \u2212 log q(z|x)"
    ax.text(middle, -1.72, formula, ha="center", va="top", fontsize=8, color=COLOURS["warning"])


def reparameterisation(*, ax: Axes | None = None) -> Axes:
    r"""The reparameterisation: randomness is moved out of the path of the gradients.

    \[z \sim \mathcal N(m_\phi, s_\phi^2) \qquad\text{becomes}\qquad z = m_\phi + s_\phi\, \epsilon,
    \quad \epsilon \sim \mathcal N(0, I)\]

    Circles are random, squares are computed, and red arrows are gradients. On the left the gradient
    stops at the random z. On the right z is a function of m, s and a noise that does not depend on
    phi, so the gradient passes through.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.11; Kingma & Welling (2014).

    Example:
        >>> ax = reparameterisation()
        >>> [panel.get_title() for panel in ax.child_axes]
        ['z is sampled', 'z is computed from noise']
    """
    with canvas(ax, width=7.2, height=3.0) as ax:
        left, right = panels(ax, (0.0, 0.0, 0.44, 0.92), (0.54, 0.0, 0.46, 0.92))
        for panel, title in ((left, "z is sampled"), (right, "z is computed from noise")):
            panel.set(title=title, xlim=(-0.35, 2.75), ylim=(-1.2, 0.62))
            panel.set_axis_off()
        _nodes(left, is_random=True)
        _nodes(right, is_random=False)
    return ax


def _nodes(ax: Axes, *, is_random: bool) -> None:
    """The graph from phi over q(z|x) and z to the bound, with the way back of the gradient."""
    _node(ax, 0.0, 0.3, "$\\phi$", "data")
    _node(ax, 0.9, 0.3, "$m, s$", "other")
    _node(ax, 1.8, 0.3, "$z$", "other", is_random=is_random)
    _node(ax, 2.5, 0.3, "$\\mathcal{L}$", "model")
    for start, end in ((0.2, 0.7), (1.1, 1.6), (2.0, 2.3)):
        _arrow(ax, (start, 0.36), (end, 0.36))
    _arrow(ax, (2.3, 0.2), (2.0, 0.2), "warning")
    if is_random:
        ax.plot([1.6, 1.42], [0.2, 0.2], color=COLOURS["warning"], linewidth=1.1, linestyle=":")
        ax.text(1.35, 0.2, "\u00d7", color=COLOURS["warning"], ha="center", va="center", fontsize=15)
        ax.text(1.35, -0.3, "no gradient\nthrough a sample", **_words("warning"))
        ax.text(1.8, -1.05, "$z \\sim \\mathcal{N}(m, s^2)$", **_words("other"))
        return
    _arrow(ax, (1.6, 0.2), (1.1, 0.2), "warning")
    _arrow(ax, (0.7, 0.2), (0.2, 0.2), "warning")
    _node(ax, 1.8, -0.6, "$\\epsilon$", "data", is_random=True)
    _arrow(ax, (1.8, -0.38), (1.8, 0.08))
    ax.text(0.65, -0.2, "gradient", **_words("warning"))
    ax.text(1.8, -1.05, "$z = m + s\\,\\epsilon$,   $\\epsilon \\sim \\mathcal{N}(0, I)$", **_words("other"))


def _words(colour: str) -> dict[str, Any]:
    return {"color": COLOURS[colour], "ha": "center", "va": "center", "fontsize": 8.5}


def _node(ax: Axes, x: float, y: float, text: str, kind: str, *, is_random: bool = False) -> None:
    from matplotlib.patches import Ellipse, Rectangle

    look: dict[str, Any] = {"facecolor": PALE[kind], "edgecolor": COLOURS[kind], "linewidth": 1.1}
    shape = (
        Ellipse((x, y), 0.4, 0.44, **look) if is_random else Rectangle((x - 0.2, y - 0.22), 0.4, 0.44, **look)
    )
    ax.add_patch(shape)
    ax.text(x, y, text, ha="center", va="center", fontsize=10)
