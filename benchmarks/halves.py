"""The left half of a digit given the right half, by five models: log p and pictures.

    pyrovae fit --data mnist --binarize dynamic --context "right half" --latent_dim 50 --epochs 30 \
        --encoder MLP --encoder.sizes [500,500] --decoder MLP --decoder.sizes [500,500] --out runs/right
    the same with --jitter "shift 1, rotate 8, elastic 1" --out runs/right-jitter
    the same without --context --out runs/whole
    python benchmarks/halves.py runs/right runs/right-jitter runs/whole --out halves.png

-log p(left | right) in nats per image, of test images: by Laplace importance sampling, with the paired
difference from the first run, and by annealing for a part of them. A run without a context is conditioned:
log p(image) - log p(right half). The network and the neighbour of `benchmarks/quadrants.py` are next to
them.

The picture shows, for eight images, the right half, two completions of each run, the network's
prediction, the nearest training image, and the truth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from quadrants import negative, neighbours, network, of_neighbour, of_network, whole_images
from torch import Tensor, nn

import pyrovae as pv
from pyrovae import plots
from pyrovae.evidence import AIS
from pyrovae.plots.steps import step_grid
from pyrovae.tasks.runs import data_of

SHOWN = 8
CHAINS, TEMPERATURES = 16, 400


def main() -> None:
    """Read the options, print a line for each model, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help='run folders; the first has --context "right half"')
    parser.add_argument("--count", type=int, default=200, help="test images")
    parser.add_argument("--annealed", type=int, default=40, help="of these, images that are annealed")
    parser.add_argument("--out", default="halves.png", help="the picture")
    options = parser.parse_args()
    schema = pv.load(options.runs[0]).schema
    data = data_of(options.runs[0], schema)
    given = schema.derived.given(data.event_shape)
    columns = f"Laplace | minus the first | of {options.annealed} images | their AIS"
    print(f"| {len(data.train):,} training images | {columns} |\n|---|---|---|---|---|")
    pictures, first = [], None
    for run in options.runs:
        images, laplace = of_run(run, given, options.count, options.annealed, first)
        first = laplace if first is None else first
        pictures += images
    net = network(data, given)
    values = of_network(net, data, given, options.count), of_neighbour(data, given, options.count)
    for name, (mean, error) in zip(("network", "neighbour"), values, strict=True):
        print(f"| {name} | {mean:.2f} +- {error:.2f} | | | |", flush=True)
    train, _, test = whole_images(data)
    x = test[:SHOWN]
    names = ["right half", *(name for run in options.runs for name in (Path(run).name, ""))]
    names += ["network", "neighbour", "truth"]
    pictures = [torch.where(given, x, 0.5), *pictures, *plain(net, train, x, given), x]
    ax = step_grid(torch.stack(pictures).numpy(), names, [""] * SHOWN, label="")
    print("written:", plots.save(ax, options.out))


def of_run(
    run: str, given: Tensor, count: int, annealed: int, first: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    """Print the line of a run; returns two completions of the first test images, and log p by Laplace."""
    vae = pv.load(run).eval()
    rows = data_of(run, vae.schema).test[:count]
    parts = [(rows, 1)]
    if vae.context_shape is None:
        parts.append((pv.Rows(torch.where(given, rows.x, torch.nan)), -1))

    def log_p(count: int, **options: object) -> Tensor:
        values = [sign * pv.log_evidence(vae, part[:count], **options).log_px for part, sign in parts]
        return torch.as_tensor(sum(values))

    laplace = log_p(count, method="laplace")
    difference = None if first is None else laplace - first
    annealing = log_p(annealed, method=AIS(TEMPERATURES), particles=CHAINS)
    line(run, laplace, difference, laplace[:annealed], annealing)
    return completed(vae, rows[:SHOWN], given), laplace


def completed(vae: pv.VAE, rows: pv.Rows, given: Tensor) -> list[Tensor]:
    """Two samples of the left half of each image, with its right half."""
    if vae.context_shape is None:
        return list(pv.condition(vae, torch.where(given, rows.x, torch.nan), draws=2).x)
    unknown = torch.full_like(rows.x, torch.nan)  # the right half is in the context
    return list(pv.condition(vae, unknown, rows.context, draws=2).x)


@torch.no_grad()
def plain(net: nn.Module, train: Tensor, x: Tensor, given: Tensor) -> list[Tensor]:
    """The network's prediction, and the nearest training image."""
    mask, predicted = given.flatten(), x.flatten(1).clone()
    predicted[:, ~mask] = net(predicted[:, mask]).sigmoid()
    nearest = train[neighbours(train.flatten(1), x.flatten(1), mask)]
    return [predicted.reshape(x.shape), torch.where(given, x, nearest)]


def line(name: str, *values: Tensor | None) -> None:
    cells = ["" if value is None else "{:.2f} +- {:.2f}".format(*negative(value.numpy())) for value in values]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
