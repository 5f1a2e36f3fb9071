"""The picture at the top of README.md: samples of a mixture VAE, and its latent space.

    pyrovae fit --data mnist ... --out runs/clusters-0        the first MNIST command of docs/clustering.md
    python benchmarks/readme_picture.py runs/clusters-0       writes docs/images/mnist_mixture.png

Left, each row holds samples of one component, E[x|z] at z ~ N_c. Right, the latent means E[z|x] of test
images, laid out in two dimensions by t-SNE, with the mean of each component decoded where most of its
images are. Components are in the order of the digit that most of their images show.

Reference:
    van der Maaten & Hinton (2008), "Visualizing Data using t-SNE".
"""

import argparse
import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image
from sklearn.manifold import TSNE

import pyrovae as pv
from pyrovae.plots.style import CLASSES, style

SAMPLES = 12
DPI = 150


def main() -> None:
    options = arguments()
    vae, data = pv.load(options.run), pv.datasets.load(options.data, binarize="dynamic")
    ex = pv.explore(vae, data, rows=options.rows, particles=20)
    print(ex)
    with style():
        figure = Figure(figsize=(8.4, 3.9))
        draw_samples(figure.add_axes((0.0, 0.02, 0.5, 0.89)), ex)
        draw_map(figure.add_axes((0.52, 0.02, 0.48, 0.89)), ex)
        save(figure, options.out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder of MNIST with a mixture prior")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--rows", type=int, default=5000, help="test images in the map")
    parser.add_argument("--out", type=Path, default=Path("docs/images/mnist_mixture.png"))
    return parser.parse_args()


def draw_samples(ax: Axes, ex: pv.exploring.Exploration) -> None:
    """A row of samples for each component."""
    order = np.argsort(majority(ex), kind="stable")
    rows = [np.hstack([image[0] for image in ex.samples(int(k), SAMPLES, seed=1)]) for k in order]
    ax.imshow(np.vstack(rows), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title("samples from each of the ten components")
    ax.set_axis_off()


def draw_map(ax: Axes, ex: pv.exploring.Exploration) -> None:
    """The latent means in two dimensions, coloured by digit, and the decoded mean of each component."""
    points = TSNE(perplexity=40, init="pca", random_state=0).fit_transform(ex.z)
    colours = np.array(CLASSES)[ex.labels % len(CLASSES)]
    ax.scatter(*points.T, c=colours, s=4, linewidths=0, rasterized=True)
    means = ex.decode(ex.components.mean)
    for k, digit in enumerate(majority(ex)):
        place = np.median(points[ex.assignment == k], axis=0)
        picture = OffsetImage(means[k, 0], zoom=0.6, cmap="gray_r", clim=(0, 1))
        frame = {"edgecolor": CLASSES[digit % len(CLASSES)], "linewidth": 2.0}
        ax.add_artist(AnnotationBbox(picture, place, pad=0.1, bboxprops=frame))
    ax.set(title=f"{len(ex):,} test images in latent space, coloured by digit", aspect="equal")
    ax.set_axis_off()


def majority(ex: pv.exploring.Exploration) -> np.ndarray:
    """The label that most images of each component have."""
    every = range(len(ex.components))
    return np.array([np.bincount(ex.labels[ex.assignment == k], minlength=10).argmax() for k in every])


def save(figure: Figure, path: Path) -> None:
    """Write the figure with 256 colours, which keeps the file small."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    picture = Image.open(buffer).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, 8, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
