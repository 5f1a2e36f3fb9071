"""A table of people, a run trained on it, and the scores of new people."""

import numpy as np
import pandas

import pyrovae as pv
from pyrovae.seeds import seeded


def people(rows: int = 200, seed: int = 0) -> pandas.DataFrame:
    """Numbers, counts, dates, truth values and words, with a few empty cells."""
    rng = np.random.default_rng(seed)
    born = pandas.Timestamp("1950-01-01") + pandas.to_timedelta(rng.integers(0, 20_000, rows), unit="D")
    frame = pandas.DataFrame(
        {
            "name": [f"n{i}" for i in range(rows)],
            "size": rng.normal(170, 9, rows).round(1),
            "visits": rng.poisson(3, rows),
            "born": born.strftime("%d/%m/%Y"),
            "member": rng.choice(["yes", "no"], rows),
            "colour": rng.choice(["red", "green", "blue"], rows),
        }
    )
    frame.loc[5::40, "size"] = None
    return frame


def declared(data) -> pv.VAE:
    """A small VAE for a table, with the same first weights in every test."""
    options = {"encoder": pv.networks.MLP(8), "decoder": pv.networks.MLP(8)}
    with seeded(0):
        return pv.VAE.suited(data, latent_dim=2, **options)


def run_on(folder, frame=None, **options):
    """Write a table and train on it; returns the run folder."""
    path = folder / "people.csv"
    (people() if frame is None else frame).to_csv(path, index=False)
    data = pv.datasets.load(path, drop="name", **options)
    quiet = {"figures": False, "progress": False}
    pv.fit(declared(data), data, epochs=2, batch_size=20, out=folder / "run", compile=False, **quiet)
    return folder / "run"
