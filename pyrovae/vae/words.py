"""A VAE in mathematical notation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["in_words"]

WEIGHTS = "decoder."
MANY = 5  # the most distributions of weights that are printed


def in_words(vae: Any) -> str:  # noqa: ANN401
    """A line with its sizes, the variables that all rows share, and the three distributions."""
    context = vae.context_shape
    flags = "" if vae.missing == "zeros" else f", {vae.missing}"
    condition, also = ("", "") if context is None else (" | c", ", c")
    count = sum(p.numel() for p in vae.parameters())
    likelihood, guide = repr(vae.likelihood), repr(vae.q)
    width = max(len(likelihood), len(guide))
    read = "z, c" if vae.prior.states and vae.prior.visible > vae.latent_dim else f"z{also}"
    drawn, density = _latents(vae, condition)
    inferred = "c, z" if vae.q.states else "z"
    posterior = f"q(c|x{also}) q(z|x, c)" if vae.q.states else f"q(z|x{also})"
    given = f"{read}, W" if any(name.startswith(WEIGHTS) for name in vae.global_variables) else read
    rows = [
        *_shared(vae.global_variables),
        (drawn, repr(vae.prior), density),
        (f"x | {given}", f"{likelihood:<{width}}  of {vae.decoder!r}({read})", f"p(x|{given})"),
        *([] if vae.mechanism is None else [("s | x", repr(vae.mechanism), "p(s|x)")]),
        (f"{inferred} | x{also}", f"{guide:<{width}}  of {vae.encoder!r}(x{flags}{also})", posterior),
    ]
    left, middle = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [f"  {a:<{left}} ~ {b:<{middle}}  {p}" for a, b, p in rows]
    what = f"events {vae.event_shape} with latents ({vae.latent_dim},)"
    what += "" if context is None else f", contexts {context}"
    what += ", labels observed" if vae.prior.labels else ""
    return "\n".join([f"VAE of {what}, {count:,} parameters", *lines])


def _latents(vae: Any, condition: str) -> tuple[str, str]:  # noqa: ANN401
    """The variables that the prior draws, and their density."""
    if vae.prior.states is None:
        return f"z{condition}", f"p(z{condition})"
    style = "p(z)" if vae.prior.visible > vae.latent_dim else "p(z|c)"
    return "c, z", f"p(c) {style}"


def _shared(variables: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The variables that all rows share, with their priors: the decoder's weights in one line."""
    weights: list[str] = []
    biases: list[str] = []
    for name, variable in variables.items():
        if name.startswith(WEIGHTS):
            (biases if name.endswith("bias") else weights).append(variable.words())
        else:
            symbol = name.rpartition(".")[2].removeprefix("random_")
            yield symbol, variable.words(), f"p({symbol})"
    if weights or biases:
        of_biases = [f"biases {_distinct(biases)}"] if biases else []
        yield "W", "; ".join([_distinct(weights), *of_biases]), "p(W)"


def _distinct(words: list[str]) -> str:
    """The distinct distributions, in order; of more than `MANY`, the first few and the last."""
    distinct = list(dict.fromkeys(words))
    if len(distinct) > MANY:
        distinct[MANY - 2 : -1] = ["..."]
    return ", ".join(distinct)
