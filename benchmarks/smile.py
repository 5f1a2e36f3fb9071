"""Add a smile to drawn faces: does the measured smile rise, and do the other factors stay?

    python benchmarks/smile.py [--faces 10000] [--epochs 40] [--labels 200] [--sets 5] [--out DIR]

A VAE with 16 latents is trained on drawn faces without any labels. The direction "smile" is found from 200
labelled faces by `pv.attributes`: from "smile" or "no smile" alone, and with the other factors of the same
200 faces held fixed (`given=`). It is applied to test faces without a smile. All factors of the edited faces
are measured by a small network that was trained on faces and their reconstructions. The tables have the mean
change of each factor, as a share of its range, for each step along the direction (of each kind of hair and
of glasses, the change of the share of faces with it), and its size compared with that of the smile. The same
is repeated with other sets of 200 faces. The benchmark ends with status 1 if, with the other factors held
fixed, the smile of some set does not rise at every step or another factor changes by a fifth of it or more.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.neural_network import MLPRegressor

import pyrovae as pv
from pyrovae import plots
from pyrovae.datasets import Factors
from pyrovae.plots.steps import step_grid

STEPS = 7
EDITED = 500  # test faces without a smile
ROWS, DPI = 5, 100  # of the picture
MOST = 0.2  # the largest change of another factor, as a share of the change of the smile
COLUMN = 8


def main() -> int:
    """Run the benchmark and print its tables; 1 if a change is not as it should be."""
    options = arguments()
    data = pv.datasets.load("faces", count=options.faces)
    vae, seconds = trained(data, options)
    measure = Measure(vae, data, options.seed)
    print(
        f"trained in {seconds:.0f} s; " + ", ".join(f"R2 of {n} {v:.3f}" for n, v in measure.quality.items())
    )
    without = data.test[np.flatnonzero(data.factors.test["smile"].numpy() < 0)[:EDITED]]
    by = np.linspace(0, options.by, STEPS)
    results: dict[str, list] = {"smile alone": [], "others held fixed": []}
    for start in range(0, options.sets * options.labels, options.labels):
        for name, result in results.items():
            found = direction(vae, data, slice(start, start + options.labels), held=name != "smile alone")
            result.append(measure.changes(found.apply(without, "smile", by[:, None])))
            if start == 0:
                print(f"\n{name}: {found}")
                print_table(result[0], by)
                drawn = found
    good = [summary(name, result) for name, result in results.items()]
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write(options.out, {"seconds": seconds, "quality": measure.quality, "by": by.tolist()}, results)
        draw(options.out / "smile.png", drawn, without[:ROWS], by)
    return 0 if good[-1] else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--labels", type=int, default=200, help="labelled faces")
    parser.add_argument("--sets", type=int, default=5, help="sets of labelled faces")
    parser.add_argument("--by", type=float, default=3.0, help="the largest step, in standard deviations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", help="a folder in which the run is kept, and from which it is continued")
    parser.add_argument("--out", type=Path, help="folder for smile.json and smile.png")
    return parser.parse_args()


def trained(data: pv.datasets.Data, options: argparse.Namespace) -> tuple[pv.VAE, float]:
    """A VAE trained on the faces, and the seconds that this took."""
    net = {"encoder": pv.networks.MLP(512, 256), "decoder": pv.networks.MLP(256, 512)}
    likelihood = pv.likelihoods.Normal("learned")
    vae = pv.VAE(data.event_shape, 16, likelihood=likelihood, **net, seed=options.seed)
    start = time.perf_counter()
    settings = {"epochs": options.epochs, "batch_size": 100, "lr": 2e-3, "patience": None}
    pv.fit(vae, data, seed=options.seed, out=options.run, resume=options.run is not None, **settings)
    return vae, time.perf_counter() - start


class Measure:
    """A network that measures the factors of a face, as shares of their ranges.

    It is trained on the training faces and on their reconstructions. `quality` is R^2 of each factor on the
    reconstructions of test faces.
    """

    def __init__(self, vae: pv.VAE, data: pv.datasets.Data, seed: int) -> None:
        factors = data.factors
        self.names = [name for name, _ in columns_of(factors.train)]
        x, y = data.train.x, targets_of(factors.train)
        pairs = np.concatenate([flat(x), flat(reconstructed(vae, x))]), np.concatenate([y, y])
        self.network = MLPRegressor(
            hidden_layer_sizes=(128, 64), max_iter=30, tol=0.0, early_stopping=True, random_state=seed
        )
        self.network.fit(*pairs)
        tests = targets_of(factors.test)
        error = self.network.predict(flat(reconstructed(vae, data.test.x))) - tests
        quality = 1 - (error**2).mean(0) / tests.var(0)
        self.quality = dict(zip(self.names, quality.tolist(), strict=True))

    def changes(self, edited: np.ndarray) -> dict[str, np.ndarray]:
        """The change of each factor from the first step, (S, N); edited is (S, N, *event)."""
        measured = np.stack([self.network.predict(flat(step)) for step in edited])
        return dict(zip(self.names, (measured - measured[0]).transpose(2, 0, 1), strict=True))


def columns_of(factors: Factors) -> list[tuple[str, np.ndarray]]:
    """Columns with values from 0 to 1: numbers as shares of their range, each category as 0 or 1."""
    columns = []
    for i, (name, kind) in enumerate(zip(factors.names, factors.kinds, strict=True)):
        words, values = factors.words[i], factors.values[:, i].numpy()
        if kind != "categorical":
            columns.append((name, factors.scaled()[:, i].numpy()))
        elif len(words) == 2:
            columns.append((name, values))
        else:
            columns += [(f"{name} {word}", (values == k).astype(float)) for k, word in enumerate(words)]
    return columns


def targets_of(factors: Factors) -> np.ndarray:
    return np.stack([values for _, values in columns_of(factors)], 1)


def reconstructed(vae: pv.VAE, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([vae.reconstruct(part) for part in x.split(1000)]).numpy()


def flat(x: np.ndarray | torch.Tensor) -> np.ndarray:
    return np.asarray(x, dtype=np.float32).reshape(len(x), -1)


def direction(vae: pv.VAE, data: pv.datasets.Data, rows: slice, *, held: bool) -> pv.Attributes:
    """The direction of the smile from some labelled training faces."""
    factors = data.factors.train.take(rows)
    others = {name: values for name, values in columns_of(factors) if name != "smile"}
    others.pop("hair none")  # the shares of the four kinds add up to 1
    smiles = factors["smile"].numpy() > 0
    return pv.attributes(vae, data.train[rows], {"smile": smiles}, given=others if held else None)


def print_table(change: dict[str, np.ndarray], by: np.ndarray) -> None:
    print(
        "mean change of each factor, as a share of its range, for steps along the direction in standard\n"
        "deviations; the last two columns compare it with the change of the smile at the last step: the\n"
        "mean change, and the mean size of the change of a single face"
    )
    print(" " * 12 + "".join(f"{step:+{COLUMN}.1f}" for step in by) + "    mean  single")
    for name, values in change.items():
        shares = (abs(part) / change["smile"][-1].mean() for part in ends(values))
        means = "".join(f"{value:+{COLUMN}.3f}" for value in values.mean(1))
        print(f"{name:<12}{means}" + "".join(f"{share:{COLUMN}.3f}" for share in shares))


def ends(values: np.ndarray) -> tuple[float, float]:
    """The mean change at the last step, and the mean of its absolute value; values are (S, N)."""
    return values[-1].mean(), np.abs(values[-1]).mean()


def summary(name: str, results: list[dict[str, np.ndarray]]) -> bool:
    """Print the result of all sets; returns whether the smile rises and the other factors stay."""
    smiles = [change["smile"].mean(1) for change in results]
    rises = sum(bool((np.diff(smile) > 0).all()) for smile in smiles)
    rise = np.median([smile[-1] for smile in smiles])
    print(
        f"\n{name}: the smile rises at every step in {rises} of {len(results)} sets, by {rise:.2f} of its "
        "range in the median"
    )
    worst = np.zeros(2)
    for k, kind in enumerate(("mean change", "mean size of the change of a single face")):
        shares = [
            max(abs(ends(v)[k]) / smile[-1] for n, v in change.items() if n != "smile")
            for change, smile in zip(results, smiles, strict=True)
        ]
        worst[k] = max(shares)
        print(
            f"  largest other {kind}: {np.median(shares):.3f} of that in the median, {worst[k]:.3f} at most"
        )
    return rises == len(results) and worst.max() < MOST


def write(folder: Path, facts: dict, results: dict[str, list[dict[str, np.ndarray]]]) -> None:
    plain = {
        name: [{n: values.mean(1).tolist() for n, values in change.items()} for change in each]
        for name, each in results.items()
    }
    (folder / "smile.json").write_text(json.dumps(facts | plain, indent=2))


def draw(path: Path, found: pv.Attributes, rows: pv.datasets.Rows, by: np.ndarray) -> None:
    """A picture: each row is a face without a smile, and the columns add a smile."""
    edited = np.asarray(found.apply(rows, "smile", by[:, None]))
    columns = np.concatenate([rows.x.numpy()[None], edited]).clip(0, 1)
    grid = columns.swapaxes(0, 1)  # (faces, steps, 1, height, width)
    labels = ["original", *(f"{step:+.1f}" if step else "0" for step in by)]
    print(
        f"written: {plots.save(step_grid(grid, [''] * len(rows), labels, label='smile, sd'), path, dpi=DPI)}"
    )


if __name__ == "__main__":
    sys.exit(main())
