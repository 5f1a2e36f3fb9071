"""AUROC of the scores of `pv.score`: MNIST against Fashion-MNIST and its reverse, and two tables.

    PYROVAE_DATA=... python benchmarks/anomalies.py    both parts, 15 minutes on one thread
    python benchmarks/anomalies.py --only tables       the tables alone
    python benchmarks/anomalies.py --only images --epochs 1 --rows 100    a try

Images: one VAE of the 256 grey levels for each set, and one of the same images with a fifth of the pixels
replaced by random levels, the background of the ratio. Runs are kept in `--out`, and used again.

Tables: every model is trained on normal rows only, and so are scikit-learn's IsolationForest and
LocalOutlierFactor. The background of the ratio is trained on rows of which a fifth of the cells was replaced.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn import datasets as sets
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler

import pyrovae as pv

IMAGES = ("fashion_mnist", "mnist")
KINDS = ("log_px", "typicality", "complexity", "ratio")
SPLITS = 5


def main() -> None:
    """Run the parts that are asked for, and print their tables."""
    args = arguments()
    if args.only != "tables":
        images(args)
    if args.only != "images":
        tables(args)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("images", "tables"))
    parser.add_argument("--epochs", type=int, default=8, help="of the images")
    parser.add_argument("--rows", type=int, default=1000, help="test images of each set, and training images")
    parser.add_argument("--particles", type=int, default=50)
    parser.add_argument("--share", type=float, default=0.2, help="of the pixels or cells that are replaced")
    parser.add_argument("--out", type=Path, default=Path("runs/anomalies"))
    return parser.parse_args()


# ---------------------------------------------------------------- images


def images(args: argparse.Namespace) -> None:
    """Both directions, all scores."""
    data = {name: pv.datasets.load(name) for name in IMAGES}
    for name in IMAGES:
        train(args, name, data[name])
        noisy = pv.datasets.load(replaced(data[name].train.x, args.share), validation=2000, test=100)
        train(args, f"{name}-background", noisy)
    print("| trained on | anomalies | score | AUROC | error | below 5 %: normal | anomalies | seconds |")
    print("|---" * 8 + "|")
    for name, other in (IMAGES, IMAGES[::-1]):
        for kind in KINDS:
            row(args, (name, other), kind, data)


def train(args: argparse.Namespace, name: str, data: pv.datasets.Data) -> None:
    """Train the declaration that suits the data, unless the run is there."""
    if (args.out / name / "best.ckpt").exists():
        return
    torch.manual_seed(0)
    began = time.perf_counter()
    vae = pv.VAE.suited(data)
    run = pv.fit(vae, data, epochs=args.epochs, out=args.out / name, figures=False, progress=False)
    print(f"{name}: {run}, {time.perf_counter() - began:.0f} s", flush=True)


def replaced(x: torch.Tensor, share: float) -> np.ndarray:
    """Bytes of grey images with a share of the pixels replaced by uniform levels."""
    rng = np.random.default_rng(0)
    levels = (x * 255).round().numpy()
    return np.where(rng.random(levels.shape) < share, rng.integers(0, 256, levels.shape), levels).astype(
        np.uint8
    )


def row(args: argparse.Namespace, names: tuple[str, str], kind: str, data: dict) -> None:
    name, other = names
    began = time.perf_counter()
    options = {"kind": kind, "particles": args.particles, "reference": data[name].train[: args.rows]}
    if kind == "ratio":
        options["background"] = args.out / f"{name}-background"
    vae = pv.load(args.out / name)
    scores = [pv.score(vae, data[test].test[: args.rows], **options) for test in (name, other)]
    area = pv.auroc(*scores)
    low = " | ".join(f"{(s.percentile < 5).mean():.1%}" for s in scores)
    seconds = time.perf_counter() - began
    if kind == "log_px":
        means = " and ".join(f"{s.log_px.mean():.0f}" for s in scores)
        print(f"mean log p(x) of {name} and {other}: {means} nats", flush=True)
    cells = f"{name} | {other} | {kind} | {area.value:.3f} | {area.stderr:.3f} | {low} | {seconds:.0f}"
    print(f"| {cells} |", flush=True)


# ---------------------------------------------------------------- tables


def problems() -> dict:
    """Normal rows and anomalies of each table: malignant tumours, and the third of three cultivars."""
    cancer, wine = sets.load_breast_cancer(), sets.load_wine()
    return {
        "breast cancer": (cancer.data[cancer.target == 1], cancer.data[cancer.target == 0]),
        "wine": (wine.data[wine.target != 2], wine.data[wine.target == 2]),
    }


def tables(args: argparse.Namespace) -> None:
    """Mean and standard deviation of the AUROC over five splits."""
    print("| table | normal rows for training, testing | anomalies | score | AUROC | sd over splits |")
    print("|---|---|---|---|---|---|")
    for name, (normal, anomalies) in problems().items():
        areas: dict[str, list[float]] = {}
        for split in range(SPLITS):
            order = np.random.default_rng(split).permutation(len(normal))
            cut = len(normal) * 7 // 10
            train, test = normal[order[:cut]], normal[order[cut:]]
            for score, scores in every_score(args, train, test, anomalies, split):
                areas.setdefault(score, []).append(pv.auroc(*scores).value)
        for score, values in areas.items():
            counts = f"{name} | {cut}, {len(normal) - cut} | {len(anomalies)}"
            print(
                f"| {counts} | {score} | {np.mean(values):.3f} | {np.std(values, ddof=1):.3f} |", flush=True
            )


def every_score(args, train, test, anomalies, seed):
    """Each score with its values for the normal test rows and the anomalies."""
    vae, background = fitted(train, seed), fitted(shuffled(train, args.share, seed), seed)
    for kind in ("log_px", "typicality", "ratio"):
        options = {"kind": kind, "particles": args.particles, "reference": train}
        options |= {"background": background} if kind == "ratio" else {}
        yield kind, [pv.score(vae, x, **options) for x in (test, anomalies)]
    scale = StandardScaler().fit(train)
    for name, rival in (
        ("IsolationForest", IsolationForest(random_state=seed)),
        ("LocalOutlierFactor", LocalOutlierFactor(novelty=True)),
    ):
        rival.fit(scale.transform(train))
        yield name, [-rival.score_samples(scale.transform(x)) for x in (test, anomalies)]


def fitted(x: np.ndarray, seed: int) -> pv.VAE:
    """The VAE that `fit` declares for the rows."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pv.fit(None, x, seed=seed, progress=False).program


def shuffled(x: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Rows with a share of the cells replaced by the same column of another row."""
    rng = np.random.default_rng(seed)
    others = rng.permuted(x, axis=0)
    return np.where(rng.random(x.shape) < share, others, x)


if __name__ == "__main__":
    main()
