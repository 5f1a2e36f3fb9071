"""Edits of measured attributes: do they change what is measured, and is the class still the same?

    python benchmarks/attributes.py [--data mnist fashion_mnist] [--runs RUN ...] [--rows 10000] [--out DIR]

For each data set a VAE with 16 latents is trained on binarised images (or a run folder is loaded).
Thickness, slant and width are measured from the pixels of training images, and test images are edited by
-2 to 2 standard deviations in steps of 0.5. The table has the AUC of each direction on held-out rows, the
mean of what is measured on the edits, the share of images in which it increases at every step, and the
share of edits whose class is that of the reconstruction. The class is that of a small network trained on
images and their reconstructions.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.neural_network import MLPClassifier

import pyrovae as pv
from pyrovae.tasks.known_attributes import chosen, known_attributes
from pyrovae.tasks.pixel_measures import MEASURES, measure_images
from pyrovae.tasks.runs import data_of, training_rows

BY = np.linspace(-2, 2, 9)
EDITED = 1000  # test images


def main() -> None:
    """Run the benchmark and print its tables."""
    options = arguments()
    results = {}
    for run in [*options.runs, *(trained(name, options) for name in options.data)]:
        vae = pv.load(run)
        data = data_of(run, vae.schema)
        results[data.name] = table_of(vae, data, options.rows)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "attributes.json").write_text(json.dumps(results, indent=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", default=[], help="names of data sets to train on")
    parser.add_argument("--runs", nargs="*", default=[], help="run folders to load")
    parser.add_argument("--rows", type=int, default=10_000, help="training rows for the directions")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folder", default="runs/attributes", help="where runs are written")
    parser.add_argument("--out", type=Path, help="folder for attributes.json")
    return parser.parse_args()


def trained(name: str, options: argparse.Namespace) -> str:
    """Train a VAE; returns its run folder."""
    data, likelihood = pv.datasets.load(name, binarize="dynamic"), pv.likelihoods.Bernoulli()
    net = pv.networks.MLP(300, 300)
    vae = pv.VAE(data.event_shape, 16, likelihood=likelihood, encoder=net, decoder=net, seed=0)
    folder, start = f"{options.folder}/{name}", time.perf_counter()
    settings = {"epochs": options.epochs, "batch_size": 200, "lr": 1e-3, "patience": None}
    pv.fit(vae, data, **settings, progress=False, out=folder)
    print(f"{name}: trained for {options.epochs} epochs in {time.perf_counter() - start:.0f} s")
    return folder


def table_of(vae: pv.VAE, data: pv.datasets.Data, count: int) -> dict:
    """Print the table of a VAE, and return its numbers."""
    rows = training_rows(data, count)
    labels = data.labels.train[: len(rows)]
    predict, accuracy = classifier(vae, data, rows, labels)
    x = data.test[:EDITED]
    print(f"\n{data.name}: {len(rows):,} training rows, {len(x):,} test images")
    print(f"  the classifier has an accuracy of {accuracy:.1%} on reconstructions of test images")
    head = "  ".join(f"{by:+6.0f}" for by in BY[::2])
    shares = "monotone <1 sd  <2 sd   same class <1 sd  <2 sd"
    print(f"  {'':<18} AUC    +-      typical, sd    {head}   {shares}")
    known, results = known_attributes(data, rows, labels), {"accuracy": accuracy}
    for words, keep in (("", ()), (", class kept", ("class",))):
        for name in MEASURES:
            given = chosen(known, keep) if keep else None
            found = pv.attributes(vae, rows, chosen(known, [name]), given=given)
            results[name + words] = row(found, x, predict, name + words)
    return results


def row(found: pv.Attributes, x: pv.Rows, predict, title: str) -> dict:  # noqa: ANN001
    """Edit, measure and print one line."""
    (name,) = found.names
    edited = found.apply(x, name, BY[:, None])
    values = measure_images(edited.reshape(-1, *edited.shape[2:]))[name].reshape(len(BY), -1)
    classes = predict(edited.reshape(-1, *edited.shape[2:])).reshape(len(BY), -1)
    near = np.abs(BY) <= 1
    rises, stays = np.diff(values, axis=0) > 0, classes == classes[len(BY) // 2]
    inner = near[1:] & near[:-1]
    numbers = {
        "auc": float(found.auc[0]),
        "auc_stderr": float(found.auc_stderr[0]),
        "lower": float(found.lower[0]),
        "upper": float(found.upper[0]),
        "measured": np.nanmean(values, 1).tolist(),
        "monotone_1sd": float(rises[inner].all(0).mean()),
        "monotone_2sd": float(rises.all(0).mean()),
        "class_stays_1sd": float(stays[near & (BY != 0)].mean()),
        "class_stays_2sd": float(stays[BY != 0].mean()),
        "class_stays_at_1sd": float(stays[np.abs(BY) == 1].mean()),
    }
    means = "  ".join(f"{value:6.2f}" for value in np.nanmean(values, 1)[::2])
    print(
        f"  {title:<18} {numbers['auc']:.3f}  {numbers['auc_stderr']:.3f}   {numbers['lower']:+.1f} to "
        f"{numbers['upper']:+.1f}   {means}   {numbers['monotone_1sd']:13.1%}  {numbers['monotone_2sd']:.1%}"
        f"   {numbers['class_stays_1sd']:16.1%}  {numbers['class_stays_2sd']:.1%}"
    )
    return numbers


def classifier(vae: pv.VAE, data: pv.datasets.Data, rows: pv.Rows, labels):  # noqa: ANN001, ANN201
    """A small network for the class of an image, and its accuracy on reconstructions of test images."""
    images = np.concatenate([rows.x.numpy(), vae.reconstruct(rows, seed=0).numpy()])
    images = images.reshape(len(images), -1)
    y = np.concatenate([labels, labels])
    network = MLPClassifier((100,), early_stopping=True, max_iter=200, random_state=0).fit(images, y)
    predict = lambda x: network.predict(np.asarray(x).reshape(len(x), -1))  # noqa: E731
    hits = predict(vae.reconstruct(data.test[:EDITED], seed=0).numpy()) == data.labels.test[:EDITED].numpy()
    return predict, float(hits.mean())


if __name__ == "__main__":
    main()
