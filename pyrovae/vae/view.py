"""A VAE in a notebook: its distributions, the parameters of its parts, its declaration as code."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from pyrovae.display import html
from pyrovae.part import Declared, public_path
from pyrovae.vae.words import in_words

__all__ = ["as_code", "view"]

LONGEST = 8_000  # characters of a declaration that is shown
PARTS = {"q": "guide", "recognition": "encoder", "generation": "decoder"}


def view(vae: Any) -> str:  # noqa: ANN401
    """The HTML of a VAE."""
    head, *lines = in_words(vae).splitlines()
    parameter = next(vae.parameters(), None)
    where = [] if parameter is None else [("numbers", f"{parameter.dtype} on {parameter.device}")]
    shape = "" if vae.context_shape is None else str(vae.context_shape)
    sizes = [("x", str(vae.event_shape)), ("z", f"({vae.latent_size},)"), ("context", shape), *where]
    return html.page(
        head,
        html.code("\n".join(line.removeprefix("  ") for line in lines)[:LONGEST]),
        html.section("parameters of each part", html.table(["part", "class", "parameters"], _parts(vae))),
        html.section("sizes", html.facts((name, value) for name, value in sizes if value)),
        html.section("declaration", _declaration(vae)),
    )


def _parts(vae: nn.Module) -> list[list[str]]:
    """Each part with the number of its parameters, of which shared ones count for the first."""
    known: set[int] = set()
    rows = []
    for name, module in vae.named_children():
        own = [p for p in module.parameters() if id(p) not in known]
        known |= {id(p) for p in own}
        part = getattr(vae, PARTS.get(name, name), module) if name != "q" else module
        rows.append([PARTS.get(name, name), type(part).__name__, f"{sum(p.numel() for p in own):,}"])
    return rows


def _declaration(vae: Any) -> html.Html:  # noqa: ANN401
    text = as_code(vae)
    if text is None or len(text) > LONGEST:
        return html.paragraph("the declaration is too long to be shown here: vae.to_dict() has it")
    return html.code(text)


def as_code(vae: Any) -> str | None:  # noqa: ANN401
    """Python code that declares a VAE, after `import pyrovae as pv`; None if it cannot be written.

    Example:
        >>> import pyrovae as pv
        >>> print(as_code(pv.VAE((4,), latent_dim=2, decoder=pv.networks.MLP(8))))
        pv.VAE(
            (4,),
            latent_dim=2,
            prior=pv.priors.StandardNormal(),
            likelihood=pv.likelihoods.Bernoulli(),
            guide=pv.guides.DiagonalNormal(),
            encoder=pv.networks.MLP(),
            decoder=pv.networks.MLP(sizes=(8,)),
        )
    """
    options = vae.hyperparameters()
    shape = options.pop("event_shape")
    usual = {"context_shape": None, "missing": "zeros"}
    try:
        lines = [
            f"    {name}={_code(value)},"
            for name, value in options.items()
            if name not in usual or value != usual[name]
        ]
    except TypeError:
        return None
    name = "pv.VAE" if type(vae).__module__.startswith("pyrovae.") else public_path(type(vae))
    return "\n".join([f"{name}(", f"    {shape!r},", *lines, ")"])


def _code(value: Any) -> str:  # noqa: ANN401
    """A value as code.

    Raises:
        TypeError: for a value that code cannot give, such as a network of torch.
    """
    if isinstance(value, Declared):
        return f"{public_path(type(value)).replace('pyrovae.', 'pv.', 1)}({_arguments(value)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_code, value))}{',' * (len(value) == 1)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_code, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_code(k)}: {_code(v)}' for k, v in value.items())}}}"
    if isinstance(value, np.generic):
        return repr(value.item())
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    raise TypeError(f"{type(value).__name__} is not plain")


def _arguments(part: Declared) -> str:
    """The arguments of a constructor that differ from their defaults."""
    values, words = part.hyperparameters(), []
    for name, parameter in inspect.signature(type(part)).parameters.items():
        if name in values and (parameter.default is parameter.empty or values[name] != parameter.default):
            words.append(f"{name}={_code(values[name])}")
    return ", ".join(words)
