"""Binary digits from one, two or three quadrants: conditional VAEs, `condition`, a network, a neighbour.

    pyrovae fit --data mnist --binarize static --context "quadrants 3" --latent_dim 50 --epochs 30 \
        --encoder MLP --encoder.sizes [500,500] --decoder MLP --decoder.sizes [500,500] --out runs/one
    ... "left half" --out runs/two, "quadrants 1 2 3" --out runs/three
    the same without --context --out runs/vae
    python benchmarks/quadrants.py runs/one runs/two runs/three --vae runs/vae --count 200

-log p(rest | given) in nats per image, of static MNIST (the draw of the package), test images:

    CVAE        log p(x | c) by Laplace importance sampling, and the bound L_100
    condition   log p(x) - log p(given) of the unconditional VAE, both by Laplace
    network     a network of two layers of 500 that predicts each pixel, early stopping
    neighbour   the rest of the training image whose given pixels differ least; a pixel differs with
                the same probability, the rate of errors on validation images

The two halves of the literature's protocol are kept (Sohn, Lee & Yan, 2015: quadrant 3 given, the left
half, quadrants 1, 2 and 3), but not its grey pixels and its bound: the numbers are of binary pixels.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import pyrovae as pv
from pyrovae.tasks.runs import data_of

EPOCHS, PATIENCE, BATCH = 60, 3, 128


def main() -> None:
    """Read the options, and print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run folders of conditional VAEs")
    parser.add_argument("--vae", help="the run folder of an unconditional VAE of the same images")
    parser.add_argument("--count", type=int, default=200, help="test images")
    options = parser.parse_args()
    print("| given | CVAE | its L_100 | condition | network | neighbour |\n|---|---|---|---|---|---|")
    for run in options.runs:
        vae = pv.load(run).eval()
        data = data_of(run, vae.schema)
        rows = data.test[: options.count]
        given = vae.schema.derived.given(data.event_shape)
        values = [
            *of_cvae(vae, rows),
            of_vae(options.vae, data, given, options.count) if options.vae else (np.nan, np.nan),
            of_network(network(data, given), data, given, options.count),
            of_neighbour(data, given, options.count),
        ]
        text = " | ".join(f"{mean:.2f} +- {error:.2f}" for mean, error in values)
        print(f"| {vae.schema.derived.words} | {text} |", flush=True)


def negative(log_p: np.ndarray) -> tuple[float, float]:
    """The mean of -log p with its standard error."""
    return -float(log_p.mean()), float(log_p.std(ddof=1) / len(log_p) ** 0.5)


def of_cvae(vae: pv.VAE, rows: pv.Rows) -> list[tuple[float, float]]:
    """-log p(x | c) by Laplace, and the bound L_100."""
    exact = pv.log_evidence(vae, rows, method="laplace")
    return [negative(exact.log_px), negative(pv.log_evidence(vae, rows, particles=100).log_px)]


def whole_images(data: pv.datasets.Data) -> tuple[Tensor, Tensor, Tensor]:
    """All pixels of the training, validation and test images."""
    parts = (data.epoch(0, 0), data.validation, data.test)
    return tuple(torch.where(part.x.isnan(), part.context.reshape(part.x.shape), part.x) for part in parts)  # type: ignore[return-value]


def of_vae(run: str, data: pv.datasets.Data, given: Tensor, count: int) -> tuple[float, float]:
    """-[log p(x) - log p(given)] of an unconditional VAE."""
    vae = pv.load(run).eval()
    x = whole_images(data)[2][:count]
    y = torch.where(given, x, torch.nan)
    both = [pv.log_evidence(vae, part, method="laplace").log_px for part in (x, y)]
    return negative(both[0] - both[1])


def network(data: pv.datasets.Data, given: Tensor) -> nn.Module:
    """A network that predicts the logits of the other pixels (N, rest) from the given ones."""
    torch.manual_seed(0)
    train, validation, _ = (part.flatten(1) for part in whole_images(data))
    mask = given.flatten()
    sizes = int(mask.sum()), int((~mask).sum())
    net = nn.Sequential(
        nn.Linear(sizes[0], 500), nn.ReLU(), nn.Linear(500, 500), nn.ReLU(), nn.Linear(500, sizes[1])
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    best, state, left = np.inf, net.state_dict(), PATIENCE
    for _ in range(EPOCHS):
        for batch in train[torch.randperm(len(train))].split(BATCH):
            optimizer.zero_grad()
            losses(net, batch, mask).mean().backward()
            optimizer.step()
        with torch.no_grad():
            value = losses(net, validation, mask).mean().item()
        left = PATIENCE if value < best else left - 1
        if value < best:
            best, state = value, {name: part.clone() for name, part in net.state_dict().items()}
        if not left:
            break
    net.load_state_dict(state)
    return net


def losses(net: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """-log p of the other pixels, each predicted on its own, (N,)."""
    each = binary_cross_entropy_with_logits(net(x[:, mask]), x[:, ~mask], reduction="none")
    return each.sum(1)


@torch.no_grad()
def of_network(net: nn.Module, data: pv.datasets.Data, given: Tensor, count: int) -> tuple[float, float]:
    """-log p of a network that predicts each pixel on its own."""
    test = whole_images(data)[2][:count].flatten(1)
    return negative(-losses(net, test, given.flatten()).numpy())


def neighbours(train: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """The places of the training images (N, D) whose given pixels are nearest to those of x."""
    return torch.cat([torch.cdist(some[:, mask], train[:, mask]).argmin(1) for some in x.split(200)])


def of_neighbour(data: pv.datasets.Data, given: Tensor, count: int) -> tuple[float, float]:
    """-log p of the nearest training image's pixels, each wrong with one probability."""
    train, validation, test = (part.flatten(1) for part in whole_images(data))
    mask = given.flatten()

    def wrong(x: Tensor) -> Tensor:
        return (train[neighbours(train, x, mask)] != x)[:, ~mask].sum(1).float()

    rest = int((~mask).sum())
    rate = wrong(validation[:1000]).mean() / rest
    errors = wrong(test[:count])
    return negative((errors * rate.log() + (rest - errors) * (1 - rate).log()).numpy())


if __name__ == "__main__":
    main()
