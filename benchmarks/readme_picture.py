"""The picture at the top of README.md: samples of a mixture VAE, and its latent space.

    pyrovae fit --data mnist ... --out runs/clusters-0        the first command of docs/clustering.md
    python benchmarks/readme_picture.py runs/clusters-0       writes docs/images/mnist_mixture.png

Left, each row holds samples of one component, E[x|z] at z ~ N_c. Right, the test images in the plane in
which the components stand apart, coloured by the digit that they show.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from PIL import Image

import pyrovae as pv
from pyrovae.plots.style import CLASSES, style

SAMPLES = 12
DPI = 200


def main() -> None:
    options = arguments()
    vae, data = pv.load(options.run), pv.datasets.load(options.data, binarize="dynamic")
    torch.manual_seed(0)
    ex = pv.explore(vae, data, rows=len(data.test), particles=20)
    print(ex)
    with style():
        figure = Figure(figsize=(8.3, 4.3), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
        draw_samples(left, ex)
        draw_map(right, ex)
        save(figure, options.out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder of MNIST with a mixture prior")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--out", type=Path, default=Path("docs/images/mnist_mixture.png"))
    return parser.parse_args()


def draw_samples(ax: Axes, ex: pv.exploring.Exploration) -> None:
    """A row of samples for each component, in the order of the digits that most of its images show."""
    digit = majority(ex)
    order = np.argsort(digit, kind="stable")
    rows = [np.hstack([image[0] for image in ex.samples(int(k), SAMPLES)]) for k in order]
    ax.imshow(np.vstack(rows), cmap="gray_r", vmin=0, vmax=1)
    height = rows[0].shape[0]
    ax.set_yticks(height * (np.arange(len(rows)) + 0.5), [f"{k}" for k in order])
    ax.set_xticks([])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set(title="samples of each component", ylabel="component")


def draw_map(ax: Axes, ex: pv.exploring.Exploration) -> None:
    """The test images in the plane of the components, with an ellipse of two standard deviations for each."""
    points = ex.map.to_plane(ex.z)
    colours = np.array(CLASSES)
    ax.scatter(*points.T, c=colours[ex.labels % 10], s=2.5, linewidths=0, alpha=0.55, rasterized=True)
    for k, (mean, covariance) in enumerate(zip(ex.components.mean, ex.components.covariance, strict=True)):
        centre, spread = ex.map.ellipse(mean, covariance)
        values, vectors = np.linalg.eigh(spread)
        angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        width, height = 4 * np.sqrt(values[1]), 4 * np.sqrt(values[0])
        ax.add_patch(Ellipse(centre, width, height, angle=angle, fill=False, lw=1.0, color="#262626"))
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
        ax.text(*centre, str(k), ha="center", va="center", fontweight="bold", bbox=box)
    low, high = np.quantile(points, [0.002, 0.998], axis=0)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="direction 1", ylabel="direction 2")
    ax.set(title=f"{len(ex):,} test images in latent space", aspect="equal", xticks=[], yticks=[])
    dots = [Line2D([], [], ls="", marker="o", ms=5, color=c, label=str(i)) for i, c in enumerate(CLASSES)]
    ax.legend(handles=dots, title="digit", loc="center left", bbox_to_anchor=(1.0, 0.5))


def majority(ex: pv.exploring.Exploration) -> np.ndarray:
    """The label that most images of each component have."""
    every = range(len(ex.components))
    return np.array([np.bincount(ex.labels[ex.assignment == k], minlength=10).argmax() for k in every])


def save(figure: Figure, path: Path) -> None:
    """Write the figure with 128 colours, which keeps the file small."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    picture = Image.open(buffer).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
