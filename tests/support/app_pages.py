"""Two pages of VAEs without components, served by one process: `python -m tests.support.app_pages`."""

import numpy as np
import pandas as pd

import pyrovae as pv

SMALL = {"encoder": pv.networks.MLP(16), "decoder": pv.networks.MLP(16)}
QUICK = {"figures": False, "progress": False, "compile": False}


def images():
    """Digits, with four latents."""
    data = pv.datasets.load("digits", binarize="threshold")
    vae = pv.VAE(data.event_shape, 4, **SMALL, seed=0)
    pv.fit(vae, data, epochs=2, **QUICK)
    return pv.explore(vae, data, rows=60, particles=10)


def table():
    """A table with long names of columns."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"length of part {i}": rng.normal(size=80) for i in range(5)})
    frame["kind"] = rng.choice(["cat", "cow"], 80)
    data = pv.datasets.load(frame)
    vae = pv.VAE.suited(data, latent_dim=2, **SMALL)
    pv.fit(vae, data, epochs=1, **QUICK)
    return pv.explore(vae, data, rows=60, particles=10)


def serve():
    """Serve both until the process ends, and print their ports."""
    from pyrovae.app import server
    from pyrovae.app.scene import Scene

    ports = []
    for make in (images, table):
        ports.append(server._free(None))
        running = server._server(Scene(make(), make.__name__), make.__name__, ports[-1])
    print(*ports, flush=True)
    running.io_loop.start()


if __name__ == "__main__":
    serve()
