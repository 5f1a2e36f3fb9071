"""The browser app: the latent space of a trained VAE, explored on this machine.

    pyrovae explore runs/first

One page shows one `Exploration` in cards: the map of the latent space, a decoded point, sliders,
paths, rows with their log p(x), completions and, for a mixture, its components and edits of them.
It is served on 127.0.0.1 and loads nothing from elsewhere.

Panel, which draws the page, is an optional dependency and is imported only when a page is built.
"""

from pyrovae.app.server import check_extra, serve

__all__ = ["check_extra", "serve"]
