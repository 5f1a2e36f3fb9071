"""The browser app: the latent space of a trained mixture, explored on this machine.

    pyrovae explore runs/mog

One page shows one `Exploration`: the map of the latent space, a decoded point, an observation with
its posterior, and the components with their samples. It is served on 127.0.0.1 and loads nothing
from elsewhere.

Panel, which draws the page, is an optional dependency and is imported only when a page is built.
"""

from pyrovae.app.server import check_extra, serve

__all__ = ["check_extra", "serve"]
