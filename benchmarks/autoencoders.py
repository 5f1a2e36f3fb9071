"""Autoencoders compared with a VAE of the same networks, each with a prior fitted afterwards.

    PYROVAE_DATA=... python benchmarks/autoencoders.py                 MNIST and Fashion-MNIST
    PYROVAE_DATA=... python benchmarks/autoencoders.py --only mnist --epochs 1 --rows 20    a try

Images are binarised at 1/2. For each data set it trains a plain, a sparse and a denoising autoencoder and a
VAE, fits a mixture to the codes of each (`pv.fit_prior`), and prints a table:

    reconstruction    log p(x|z) of test images at the mean of q(z|x)
    codes             their standard deviation, and the share that is nearly zero (below a tenth of it)
    largest step      of ten equal steps between two test images, the largest change of the image, as a share
                      of the whole change: 0.1 is smooth
    nearest           distance (RMS per pixel) of E[x|z] to the nearest of 10,000 training images, at draws
                      z ~ N(0, I), at draws from the mixture, and half way between two test images
    log p(x)          by importance sampling at the modes (Laplace), with both priors; paired differences

Runs and numbers are kept in `--out`, and used again.
"""

import argparse
import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import pyrovae as pv
from pyrovae.objectives import ELBO, Autoencoder

METHODS = {
    "plain AE": Autoencoder(),
    "VAE": ELBO(),
    "sparse AE": Autoencoder(sparsity=0.5, kind="topk"),
    "denoising AE": Autoencoder(noise=0.5),
}
STEPS = 10
SHOWN = 8
NAMES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


def main() -> None:
    """Train and measure what is not in the folder, then print the tables and draw the figures."""
    args = arguments()
    torch.set_num_threads(1)
    for name in [args.only] if args.only else list(NAMES):
        data = pv.datasets.load(name, binarize="threshold")
        for method in METHODS:
            measured(args, name, data, method)
        print(table(args, name), flush=True)
        figure(args, name, data)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=tuple(NAMES))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--latent_dim", type=int, default=16)
    parser.add_argument("--components", type=int, default=30)
    parser.add_argument("--rows", type=int, default=300, help="test images for log p(x) of the VAE")
    parser.add_argument("--few", type=int, default=100, help="test images for log p(x) of autoencoders")
    parser.add_argument("--particles", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("runs/autoencoders"))
    parser.add_argument("--figures", type=Path, default=Path("docs/images"))
    return parser.parse_args()


# ---------------------------------------------------------------- models


def trained(
    args: argparse.Namespace, name: str, data: pv.datasets.Data, method: str
) -> tuple[pv.VAE, pv.VAE]:
    """The trained model, and the same with a mixture fitted to its codes."""
    folder = args.out / name / method.replace(" ", "_")
    vae = pv.VAE(
        data.event_shape,
        args.latent_dim,
        encoder=pv.networks.MLP(256, 256),
        decoder=pv.networks.MLP(256, 256),
        seed=0,
    )
    prior = pv.priors.GaussianMixture(args.components, "full")
    mixed = folder / "mixture.pt"
    if not mixed.exists():
        settings = {"epochs": args.epochs, "batch_size": 200, "lr": 2e-3, "seed": 0, "progress": False}
        start = time.perf_counter()
        run = pv.fit(vae, data, METHODS[method], out=folder, resume=True, figures=False, **settings)
        print(f"{name} {method}: {run}, {time.perf_counter() - start:.0f} s", flush=True)
    vae = pv.load(folder).eval()
    if mixed.exists():
        new = pv.VAE.from_dict(vae.to_dict() | {"prior": prior.to_dict()})
        new.load_state_dict(torch.load(mixed, weights_only=True))
        return vae, new.eval()
    start = time.perf_counter()
    new = pv.fit_prior(vae, data, prior, epochs=10, seed=0, progress=False)
    print(f"{name} {method}: the mixture took {time.perf_counter() - start:.0f} s", flush=True)
    torch.save(new.state_dict(), mixed)
    return vae, new


# ---------------------------------------------------------------- numbers


@torch.no_grad()
def measured(args: argparse.Namespace, name: str, data: pv.datasets.Data, method: str) -> dict:
    """The numbers of one model, from its file or computed."""
    path = args.out / name / f"{method.replace(' ', '_')}.json"
    vae, new = trained(args, name, data, method)
    if path.exists():
        return json.loads(path.read_text())
    start = time.perf_counter()
    x = data.test.x[:1000]
    q = vae.encode(x)
    z = q.mean
    found = {"reconstruction": vae.decode(z).log_prob(x).mean().item(), "scale": z.std().item()}
    found["zeros"] = (z.abs() < 0.1 * z.std()).float().mean().item()
    path_of_means = decoded_path(vae, z[:200], z[200:400], STEPS + 1)
    change = (path_of_means[1:] - path_of_means[:-1]).flatten(2).norm(dim=-1)
    found["step"] = (change.max(0).values / change.sum(0)).mean().item()
    train = data.train.x[:10_000]
    found["nearest_half"] = nearest(path_of_means[STEPS // 2], train)
    for key, model in (("normal", vae), ("mixture", new)):
        found[f"nearest_{key}"] = nearest(model.sample(200, mean=True, seed=1), train)
    with torch.enable_grad():
        rows = data.test[: args.rows if method == "VAE" else args.few]
        evidence = {
            key: pv.log_evidence(model, rows, method="laplace", particles=args.particles, seed=0)
            for key, model in (("normal", vae), ("mixture", new))
        }
    for key, one in evidence.items():
        found[f"log_px_{key}"], found[f"error_{key}"] = one.mean, one.stderr
        found[f"khat_{key}"] = float(np.mean(np.asarray(one.khat) > 0.7))
    difference = np.asarray(evidence["mixture"].log_px) - np.asarray(evidence["normal"].log_px)
    found["gain"], found["gain_error"] = difference.mean(), difference.std(ddof=1) / len(difference) ** 0.5
    found = {key: float(value) for key, value in found.items()}
    path.write_text(json.dumps(found, indent=1))
    print(name, method, f"measured in {time.perf_counter() - start:.0f} s", found, flush=True)
    return found


def decoded_path(vae: pv.VAE, a: torch.Tensor, b: torch.Tensor, steps: int) -> torch.Tensor:
    """E[x|z] at equal steps on the line from codes a to codes b, (steps, N, *event)."""
    return torch.stack([vae.decode(torch.lerp(a, b, float(t))).mean for t in torch.linspace(0, 1, steps)])


def nearest(x: torch.Tensor, train: torch.Tensor) -> float:
    """The mean distance to the nearest training image, RMS per pixel."""
    distance = torch.cdist(x.flatten(1), train.flatten(1)).min(1).values
    return (distance / x[0].numel() ** 0.5).mean().item()


def table(args: argparse.Namespace, name: str) -> str:
    """The table of one data set, in Markdown."""
    head = (
        "| | log p(x\\|z) | code sd | near 0 | largest step | nearest: N(0, I) | mixture | half way "
        "| log p(x), N(0, I) | mixture | gain |"
    )
    lines = [NAMES[name], "", head, "|" + "---|" * 11]
    for method in METHODS:
        path = args.out / name / f"{method.replace(' ', '_')}.json"
        n = json.loads(path.read_text())
        lines.append(
            f"| {method} | {n['reconstruction']:.1f} | {n['scale']:.2f} | {n['zeros']:.0%} | {n['step']:.3f} "
            f"| {n['nearest_normal']:.3f} | {n['nearest_mixture']:.3f} | {n['nearest_half']:.3f} "
            f"| {n['log_px_normal']:.1f} ± {n['error_normal']:.1f} "
            f"| {n['log_px_mixture']:.1f} ± {n['error_mixture']:.1f} "
            f"| {n['gain']:.2f} ± {n['gain_error']:.2f} |"
        )
    return "\n".join([*lines, ""])


# ---------------------------------------------------------------- pictures


@torch.no_grad()
def figure(args: argparse.Namespace, name: str, data: pv.datasets.Data) -> None:
    """A row of blocks for each model: reconstructions, draws with both priors, an interpolation."""
    x = data.test.x
    titles = ("reconstructions of test images", "E[x|z] at z ~ N(0, I)", "z from the fitted mixture",
              "line between two codes")  # fmt: skip
    figure, frames = plt.subplots(
        len(METHODS) + 1, 4, figsize=(11, 2.1), gridspec_kw={"wspace": 0.04, "hspace": 0.05}
    )
    block(frames[0, 0], x[:SHOWN])
    for frame in frames[0, 1:]:
        frame.axis("off")
    frames[0, 0].set_ylabel("test", rotation=0, ha="right", va="center", fontsize=8)
    for row, method in zip(frames[1:], METHODS, strict=True):
        vae, new = trained(args, name, data, method)
        z = vae.encode(x[:200]).mean
        a, b = z[0:1], z[3:4]
        block(row[0], vae.decode(z[:SHOWN]).mean)
        block(row[1], vae.sample(SHOWN, mean=True, seed=3))
        block(row[2], new.sample(SHOWN, mean=True, seed=3))
        block(row[3], decoded_path(vae, a, b, SHOWN).flatten(0, 1))
        row[0].set_ylabel(method, rotation=0, ha="right", va="center", fontsize=8)
    for frame, title in zip(frames[1], titles, strict=True):
        frame.set_title(title, fontsize=8)
    frames[0, 0].set_title("")
    figure.savefig(args.figures / f"autoencoders_{name}.png", dpi=120, bbox_inches="tight")
    plt.close(figure)


def block(frame: plt.Axes, images: torch.Tensor) -> None:
    """Images side by side."""
    row = np.concatenate(list(images.squeeze(1).numpy()), axis=1)
    frame.imshow(row, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    frame.set(xticks=[], yticks=[])
    for spine in frame.spines.values():
        spine.set_linewidth(0.4)


if __name__ == "__main__":
    main()
