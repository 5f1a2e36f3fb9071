"""Small data, small programs and what is compared of two runs."""

import csv
from pathlib import Path

import torch

import pyrovae as pv

TIMES = {"seconds", "data_per_second"}


def binary(rows: int = 60, event: tuple[int, ...] = (1, 4, 4), *, seed: int = 0) -> torch.Tensor:
    """Binary images with one bright half, so that there is something to learn."""
    draw = torch.Generator().manual_seed(seed)
    side = torch.rand(rows, 1, generator=draw) < 0.5
    left = torch.arange(torch.Size(event).numel()) % event[-1] < event[-1] // 2
    probs = torch.where(side == left, 0.9, 0.1)
    return torch.bernoulli(probs, generator=draw).reshape(rows, *event)


def small(event: tuple[int, ...] = (1, 4, 4), *, seed: int = 1, **declaration) -> pv.VAE:
    """A small VAE with first weights from a seed."""
    networks = {"encoder": pv.networks.MLP(8), "decoder": pv.networks.MLP(8)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return pv.VAE(event, **({"latent_dim": 2} | networks | declaration))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def checkpoint(folder: Path, which: str = "last") -> dict:
    return torch.load(Path(folder) / f"{which}.ckpt", weights_only=True)


def table(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without the columns that a clock decides."""
    with open(Path(folder) / "metrics.csv", newline="") as file:
        return [{n: v for n, v in row.items() if n not in TIMES} for row in csv.DictReader(file)]


def untimed(history: dict) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in history.items() if name not in TIMES}


def assert_same_runs(first: Path, second: Path) -> None:
    """Equal weights (last and best), optimiser, random state, history: bit for bit."""
    for which in ("last", "best"):
        a, b = checkpoint(first, which), checkpoint(second, which)
        assert same(a["weights"], b["weights"]), which
    a, b = checkpoint(first), checkpoint(second)
    assert same(a["best"], b["best"])
    assert torch.equal(a["random"]["cpu"], b["random"]["cpu"])
    assert a["state"]["position"] == b["state"]["position"]
    for moments, others in zip(
        a["optimizer"]["state"].values(), b["optimizer"]["state"].values(), strict=True
    ):
        assert same(moments, others)
    assert table(first) == table(second)
