"""Tables with numbers as people have them: dates, populations, amounts, tiny units, gaps."""

from typing import Any

import numpy as np

from pyrovae.datasets import Column, Data
from pyrovae.datasets.loader import Options, _in_memory
from pyrovae.datasets.source import as_source
from pyrovae.likelihoods import Mixed

OPTIONS: dict[str, Any] = {
    "data": None,
    "root": None,
    "binarize": None,
    "dequantize": False,
    "validation": None,
    "test": None,
    "split_seed": 0,
    "context": None,
    "labels": False,
    "known": None,
    "copies": 1,
    "count": None,
    "kinds": None,
}


def columns(name: str, rows: int = 600, seed: int = 0) -> dict[str, tuple[str, np.ndarray]]:
    """The columns of a table: name -> kind and values."""
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(2, rows))
    day = (
        10_000 * rng.integers(1950, 2020, rows) + 100 * rng.integers(1, 13, rows) + rng.integers(1, 29, rows)
    )
    tables = {
        "dates": {
            "born": ("negativebinomial", day),
            "as a number": ("normal", day),
            "seconds": ("normal", 1.7e9 + 0.2 * u + 0.05 * rng.normal(size=rows)),
        },
        "populations": {
            "people": ("negativebinomial", np.round(1e9 * np.exp(0.3 * u))),
            "area": ("lognormal", 1e6 * np.exp(u + 0.3 * v)),
            "capital": ("bernoulli", v > 0),
        },
        "incomes": {
            "income": ("lognormal", 3e4 * np.exp(1.2 * u) * (1 + 50 * (rng.random(rows) < 0.01))),
            "debt": ("studentt", 1e5 * rng.standard_t(1.5, rows) + 2e4 * u),
            "rooms": ("poisson", rng.poisson(3 * np.exp(0.2 * v))),
        },
        "offsets": {
            "northing": ("normal", 5.4e6 + 0.2 * u),
            "easting": ("laplace", 4.7e5 + 0.1 * u + 0.01 * rng.laplace(size=rows)),
            "clicks": ("zeroinflatednegativebinomial", rng.negative_binomial(2, 2e-6, rows) * (v > 0)),
        },
        "tiny": {
            "farads": ("normal", 1e-9 * (4 + u)),
            "below single precision": ("normal", 1e-46 * (4 + u)),
            "above single precision": ("normal", 1e41 * (4 + v)),
            "class": ("categorical:3", np.digitize(u, [-0.5, 0.5])),
        },
    }
    return tables[name]


NAMES = ("dates", "populations", "incomes", "offsets", "tiny")


def values(name: str, *, empty: float = 0.1, rows: int = 600, seed: int = 0) -> np.ndarray:
    """The table as float64 numbers (N, C), with a share of the entries missing."""
    x = np.stack([np.asarray(v, dtype=np.float64) for _, v in columns(name, rows, seed).values()], 1)
    return np.where(np.random.default_rng(seed + 1).random(x.shape) < empty, np.nan, x)


def table(name: str, **options: Any) -> Data:
    """The table as a data set."""
    kinds = tuple(Column(word, kind) for word, (kind, _) in columns(name, 3).items())
    source = as_source(name, values(name, **options), columns=kinds)
    return _in_memory(source, Options(**OPTIONS))


def likelihood(name: str) -> Mixed:
    """The likelihood of its columns."""
    return Mixed([kind for kind, _ in columns(name, 3).values()])
