"""A VAE as it is written on paper."""

from __future__ import annotations

from typing import Any

__all__ = ["in_words"]


def in_words(vae: Any) -> str:  # noqa: ANN401
    """Four lines: its sizes, and the three distributions with the networks behind them."""
    context = vae.context_shape
    given, also = ("", "") if context is None else (" | c", ", c")
    count = sum(p.numel() for p in vae.parameters())
    x_law, z_law = repr(vae.likelihood), repr(vae.q)
    width = max(len(x_law), len(z_law))
    read = "z, c" if vae.prior.states and vae.prior.visible > vae.latent_dim else f"z{also}"
    drawn, density = _latents(vae, given)
    inferred = "c, z" if vae.q.states else "z"
    law = f"q(c|x{also}) q(z|x, c)" if vae.q.states else f"q(z|x{also})"
    rows = [
        (drawn, repr(vae.prior), density),
        (f"x | {read}", f"{x_law:<{width}}  of {vae.decoder!r}({read})", f"p(x|{read})"),
        (f"{inferred} | x{also}", f"{z_law:<{width}}  of {vae.encoder!r}(x{also})", law),
    ]
    left, middle = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [f"  {a:<{left}} ~ {b:<{middle}}  {p}" for a, b, p in rows]
    what = f"events {vae.event_shape} with latents ({vae.latent_dim},)"
    what += "" if context is None else f", contexts {context}"
    what += ", labels observed" if vae.prior.labels else ""
    return "\n".join([f"VAE of {what}, {count:,} parameters", *lines])


def _latents(vae: Any, given: str) -> tuple[str, str]:  # noqa: ANN401
    """What the prior draws, and its density."""
    if vae.prior.states is None:
        return f"z{given}", f"p(z{given})"
    style = "p(z)" if vae.prior.visible > vae.latent_dim else "p(z|c)"
    return "c, z", f"p(c) {style}"
