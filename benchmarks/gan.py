"""A GAN next to a VAE with the same decoder: log p(x), samples, precision and recall, and time.

    PYROVAE_DATA=... python benchmarks/gan.py --out runs/gan      # MNIST
    PYROVAE_DATA=... python benchmarks/gan.py --out runs/gan --load    # evaluate these weights again
    python benchmarks/gan.py --quick                               # digits, under a minute

Both have the decoder g, a dense network with a sigmoid, and ten latents:

    VAE    z ~ N(0, I),  x = g(z) + sigma e,  trained by the ELBO with an encoder
    GAN    x = g(z) only, trained against a discriminator D with spectral normalisation,
           minimise  E[max(0, 1 - D(x))] + E[max(0, 1 + D(g(z)))]  over D,  -E[D(g(z))]  over g

The GAN has no p(x) by itself. With the same normal noise it is a Pyro program, whose guide is the
prior, and log p(x) is estimated like that of every program. For both, sigma is the number that
maximises log p(x) of validation images. x is grey and dequantised, so log p(x) is a density on
[0, 1]^784.

References:
    Goodfellow et al. (2014), "Generative Adversarial Nets"; Lim & Ye (2017), "Geometric GAN";
    Miyato, Kataoka, Koyama & Yoshida (2018), "Spectral Normalization for Generative Adversarial
    Networks"; Wu, Burda, Salakhutdinov & Grosse (2017), "On the Quantitative Analysis of
    Decoder-Based Generative Models"; Kynkaanniemi, Karras, Laine, Lehtinen & Aila (2019), "Improved
    Precision and Recall Metric for Assessing Generative Models".
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import pyrovae as pv
from pyrovae import plots
from pyrovae.evidence.laplace import Laplace
from pyrovae.evidence.run import evaluation
from pyrovae.terms import Pair

LATENTS, BATCH = 10, 100
K = 3  # the neighbour whose distance is the radius of a ball


# ------------------------------------------------------------------ networks


class Pixels(pv.networks.MLP):
    """A dense decoder whose head ends with a sigmoid, so that g(z) is an image in [0, 1]."""

    def head(self, shape: tuple[int, ...]) -> nn.Module:
        return nn.Sequential(super().head(shape), nn.Sigmoid())


def declared(shape: tuple[int, ...], scale: float | str, sizes: tuple[int, ...] = (256, 512)) -> pv.VAE:
    """The VAE, before training; the GAN has its decoder, from the same initial weights."""
    return pv.VAE(
        shape,
        LATENTS,
        likelihood=pv.likelihoods.Normal(scale),
        encoder=pv.networks.MLP(*sizes[::-1], activation="silu"),
        decoder=Pixels(*sizes, activation="silu"),
        seed=0,
    )


def convolutions(shape: tuple[int, ...], normalised: Callable[[nn.Module], nn.Module]) -> nn.Sequential:
    """Two convolutions that halve the sides of an image, and its features (*, F)."""
    channels, *sides = shape
    flat = 32 * math.prod(math.ceil(side / 4) for side in sides)
    return nn.Sequential(
        normalised(nn.Conv2d(channels, 16, 3, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        normalised(nn.Conv2d(16, 32, 3, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        normalised(nn.Linear(flat, 64)),
        nn.LeakyReLU(0.2),
    )


# ------------------------------------------------------------------ the GAN


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The loss of a discriminator with the outputs D(x) and D(g(z))."""
    return (1 - real).relu().mean() + (1 + fake).relu().mean()


class GAN:
    """A generative adversarial network: a generator, and a discriminator that is thrown away.

    Arguments:
        generator: maps z (B, D) to {"loc": images}.
        shape: the shape of an image.
        rates: the learning rates of generator and discriminator.
        memory: the decay of the average over steps of the generator's weights, which is the result.
        seed: of the discriminator's weights and of the noise.
    """

    def __init__(
        self,
        generator: nn.Module,
        shape: tuple[int, ...],
        *,
        rates: tuple[float, float] = (1e-3, 1e-3),
        memory: float = 0.999,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.generator = generator
        self.discriminator = nn.Sequential(
            convolutions(shape, spectral_norm), spectral_norm(nn.Linear(64, 1)), nn.Flatten(0)
        )
        self.average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(memory))
        pairs = zip((generator, self.discriminator), rates, strict=True)
        self.optimizers = [torch.optim.Adam(net.parameters(), lr, betas=(0.5, 0.999)) for net, lr in pairs]

    def step(self, x: Tensor) -> tuple[float, float]:
        """Update the discriminator, then the generator; returns both losses."""
        of_generator, of_discriminator = self.optimizers
        fake = self.generated(len(x))
        loss = hinge(self.discriminator(x), self.discriminator(fake.detach()))
        descend(of_discriminator, loss)
        self.discriminator.requires_grad_(False)
        against = -self.discriminator(fake).mean()
        descend(of_generator, against)
        self.discriminator.requires_grad_(True)
        self.average.update_parameters(self.generator)
        return loss.item(), against.item()

    def generated(self, count: int) -> Tensor:
        """g(z) of some z ~ N(0, I)."""
        return self.generator(torch.randn(count, LATENTS))["loc"]

    def fit(self, batches: Iterator[Tensor], steps: int, show: Callable[[str], None] = print) -> None:
        """Take a number of steps."""
        losses = []
        for number in range(1, steps + 1):
            losses.append(self.step(next(batches)))
            if number % max(1, steps // 10) == 0:
                mean = np.mean(losses[-(steps // 10) or None :], axis=0)
                show(f"  step {number:6,}  discriminator {mean[0]:.3f}  generator {mean[1]:+.3f}")


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def batches_of(data: pv.datasets.Data, seed: int = 0) -> Iterator[Tensor]:
    """Batches of training images, without an end; the noise of the levels is drawn every epoch."""
    rng, epoch = torch.Generator().manual_seed(seed), 0
    while True:
        x = data.epoch(seed, epoch).x
        size = min(BATCH, len(x))
        for rows in torch.randperm(len(x), generator=rng).split(size):
            if len(rows) == size:
                yield x[rows]
        epoch += 1


# ------------------------------------------------------------------ programs


class Trained(NamedTuple):
    """The weights after training: those of the encoder are absent from a GAN."""

    generation: dict[str, Tensor]
    recognition: dict[str, Tensor] | None
    seconds: float


def program_of(trained: Trained, shape: tuple[int, ...], sigma: float) -> pv.VAE | Pair:
    """The generator with normal noise: the VAE, or a program whose guide is the prior."""
    vae = declared(shape, sigma)
    vae.generation.load_state_dict(trained.generation)
    if trained.recognition is not None:
        vae.recognition.load_state_dict(trained.recognition)
        return vae

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(LATENTS), 1.0).to_event(1))

    return Pair(vae.model, guide, vae)


def decoder_of(program: pv.VAE | Pair) -> Callable[[Tensor], Tensor]:
    """The function g."""
    vae = program.module
    return lambda z: vae.decode(z).mean


@torch.no_grad()
def samples(program: pv.VAE | Pair, count: int, seed: int) -> Tensor:
    """Images g(z), z ~ N(0, I), without the noise."""
    z = torch.randn(count, LATENTS, generator=torch.Generator().manual_seed(seed))
    return decoder_of(program)(z)


@torch.no_grad()
def posterior_images(program: pv.VAE | Pair, x: pv.Rows) -> tuple[Tensor, Tensor]:
    """g(z) for samples z of the posterior of each row, (K, B, *event), and their weights, (K, B)."""
    with evaluation(program, x, None, None, seed=0, chunk=None) as pieces:
        posterior = Laplace().posterior(pieces, 200)
    return decoder_of(program)(posterior.values["z"]), posterior.log_w.softmax(0).to(x.x.dtype)


def reconstructions(program: pv.VAE | Pair, x: pv.Rows) -> Tensor:
    """E[g(z) | x] of each image."""
    images, weights = posterior_images(program, x)
    return torch.einsum("kb,kb...->b...", weights, images)


def best_sigma(trained: Trained, x: pv.Rows, sigma: float = 0.2) -> float:
    """The sigma that maximises log p(x) of some images, by expectation-maximisation, to 0.5 %.

    sigma^2 is the mean of (x - g(z))^2 over pixels, images and the posterior of z.
    """
    for _ in range(20):
        before = sigma
        images, weights = posterior_images(program_of(trained, tuple(x.x.shape[1:]), sigma), x)
        errors = (images - x.x).square().flatten(2).mean(2)
        sigma = (weights * errors).sum(0).mean().sqrt().item()
        if abs(sigma / before - 1) < 0.005:
            break
    return sigma


# ------------------------------------------------------------------ precision and recall


def precision_recall(real: Tensor, fake: Tensor, k: int = K) -> tuple[float, float]:
    """The shares of `fake` near `real`, and of `real` near `fake`; features (N, F) and (M, F).

    A point is near a set if it is in the ball around one of its points that reaches to the k-th
    nearest other point of the set.
    """
    return near(fake, real, k), near(real, fake, k)


def near(points: Tensor, centres: Tensor, k: int = K) -> float:
    """The share of points that are inside a ball."""
    exact = "donot_use_mm_for_euclid_dist"
    own = torch.cdist(centres, centres, compute_mode=exact)
    radii = own.kthvalue(k + 1, dim=1).values  # the nearest is the point itself
    return (torch.cdist(points, centres, compute_mode=exact) <= radii).any(1).double().mean().item()


class Classifier:
    """A small network for the class of an image; the features are its last hidden layer.

    Arguments:
        data: images with labels.
        epochs: the number of passes over the training images.
    """

    def __init__(self, data: pv.datasets.Data, epochs: int) -> None:
        torch.manual_seed(0)
        self.body = convolutions(data.event_shape, lambda layer: layer)
        self.last = nn.Linear(64, int(max(data.labels.train)) + 1)
        parameters = [*self.body.parameters(), *self.last.parameters()]
        optimizer = torch.optim.Adam(parameters, 1e-3)
        labels = torch.as_tensor(data.labels.train)
        for epoch in range(epochs):
            x = data.epoch(0, epoch).x
            for rows in torch.randperm(len(x)).split(BATCH):
                descend(optimizer, nn.functional.cross_entropy(self.logits(x[rows]), labels[rows]))
        hits = self.logits(data.test.x).argmax(1) == torch.as_tensor(data.labels.test)
        self.accuracy = hits.double().mean().item()

    def logits(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        return torch.cat([self.body(part) for part in x.split(1000)])


def repeated(classifier: Classifier, x: Tensor, draw: Callable[[int, int], Tensor], count: int) -> dict:
    """Precision and recall of five draws of both sets: the means and standard deviations."""
    pairs = []
    for seed in range(5):
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]
        sets = classifier.features(x[rows]), classifier.features(draw(len(rows), seed))
        pairs.append(precision_recall(*sets))
    mean, spread = np.mean(pairs, 0), np.std(pairs, 0, ddof=1)
    return {"precision": [mean[0], spread[0]], "recall": [mean[1], spread[1]]}


# ------------------------------------------------------------------ the comparison


def trained_gan(data: pv.datasets.Data, steps: int) -> Trained:
    gan = GAN(declared(data.event_shape, 0.1).generation, data.event_shape)
    began = time.process_time()
    gan.fit(batches_of(data), steps)
    return Trained(gan.average.module.state_dict(), None, time.process_time() - began)


def trained_vae(data: pv.datasets.Data, epochs: int) -> Trained:
    vae = declared(data.event_shape, "learned")
    began = time.process_time()
    settings = {"epochs": epochs, "batch_size": BATCH, "lr": 1e-3, "patience": None, "seed": 0}
    pv.fit(vae, data, **settings, compile=False, progress=False)
    seconds = time.process_time() - began
    return Trained(vae.generation.state_dict(), vae.recognition.state_dict(), seconds)


def weights_of(name: str, data: pv.datasets.Data, options: argparse.Namespace) -> Trained:
    """The weights of a model, after training or, with --load, from the folder."""
    path = options.out / f"{name.lower()}.pt"
    if not options.load:
        model = trained_gan(data, options.steps) if name == "GAN" else trained_vae(data, options.epochs)
        torch.save(tuple(model), path)
    return Trained(*torch.load(path, weights_only=True))


def log_px(
    program: pv.VAE | Pair, data: pv.datasets.Data, options: argparse.Namespace
) -> tuple[dict, dict[str, pv.Evidence]]:
    """log p(x) by several methods, with the paired differences of annealing from Laplace."""
    annealed = data.test[: min(options.annealed, options.rows)]
    laplace = estimate("laplace", program, data.test[: options.rows], "laplace", 1000)
    results, evidences = {"laplace": described(laplace)}, {"laplace": laplace}
    for start in ("modes", "prior"):
        method = "ais" if start == "modes" else pv.evidence.AIS(options.temperatures, "prior")
        found = estimate(f"ais from the {start}", program, annealed, method, 16)
        gap = found.log_px - laplace.log_px[: len(annealed)]
        trusted = laplace.trusted[: len(annealed)]
        differences = {"minus_laplace": mean_of(gap), "minus_laplace_trusted": mean_of(gap[trusted])}
        texts = (f"{mean:+.2f} +- {error:.2f}" for mean, error in differences.values())
        print("    minus laplace {}; where laplace is trusted {}".format(*texts), flush=True)
        results[f"ais {start}"] = described(found) | differences
        evidences[f"ais from the {start}"] = found
    return results, evidences


def mean_of(values: np.ndarray) -> tuple[float, float]:
    """The mean of some differences, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def estimate(name: str, program: pv.VAE | Pair, x: pv.Rows, method: object, particles: int) -> pv.Evidence:
    """An estimate, with its line of the table."""
    began = time.process_time()
    found = pv.log_evidence(program, x, method=method, particles=particles)
    print(
        f"  {name:<25} {len(x):5,} images  {found.corrected:9.2f} +- {found.corrected_error:6.3f}  "
        f"over images {found.stderr:5.2f}  trusted {found.trusted.mean():4.0%}  "
        f"{time.process_time() - began:5.0f} s",
        flush=True,
    )
    return found


def described(found: pv.Evidence) -> dict:
    """The mean log p(x), its Monte Carlo error, the error over images, and who is trusted."""
    numbers = {
        "images": len(found.log_px),
        "log_px": found.corrected,
        "mc_error": found.corrected_error,
        "stderr": found.stderr,
        "trusted": found.trusted.mean(),
    }
    return {key: float(value) for key, value in numbers.items()}


def bounds(program: pv.VAE | Pair, options: argparse.Namespace) -> dict:
    """The gap between AIS and its reverse on images that the program generated."""
    count, lengths = options.annealed // 3, (options.temperatures,)
    between = pv.sandwich(program, count=count, temperatures=lengths, start="modes")
    print(f"  {str(between)}".replace("\n", "\n  "), flush=True)
    apart = int((between.gap > 1).sum())
    print(f"    the bounds differ by more than 1 nat for {apart} of {len(between.gap)} images", flush=True)
    numbers = {"gap": between.gaps[-1], "error": between.gap_errors[-1], "median": np.median(between.gap)}
    return {key: float(value) for key, value in numbers.items()} | {"apart": apart}


def evaluated(
    name: str, trained: Trained, data: pv.datasets.Data, options: argparse.Namespace
) -> tuple[dict, dict[str, pv.Evidence]]:
    """Choose sigma, print the numbers of one model, and return them."""
    began = time.process_time()
    sigma = best_sigma(trained, data.validation[: options.annealed])
    print(
        f"\n{name}: trained in {trained.seconds:.0f} s of processor time; sigma {sigma:.4f}, chosen in "
        f"{time.process_time() - began:.0f} s",
        flush=True,
    )
    program = program_of(trained, data.event_shape, sigma)
    numbers, evidences = log_px(program, data, options)
    results = {"seconds": trained.seconds, "sigma": sigma, "log_px": numbers}
    return results | {"sandwich": bounds(program, options)}, evidences


def compared(evidences: dict[str, dict[str, pv.Evidence]]) -> dict:
    """Print the paired differences of the models by each method, and return them."""
    results = {}
    for method in next(iter(evidences.values())):
        table = pv.evidence.compare({name: every[method] for name, every in evidences.items()})
        print(f"\n{method}\n{table}", flush=True)
        results[method] = {"last": table.names[-1], "difference": float(table.difference[-1])}
        results[method]["paired_error"] = float(table.difference_stderr[-1])
    return results


def qualities(programs: dict, data: pv.datasets.Data, options: argparse.Namespace) -> dict:
    """Precision and recall of each model, and of training images."""
    classifier = Classifier(data, options.classifier_epochs)
    print(f"\nclassifier: accuracy {classifier.accuracy:.2%} on test images")

    def drawn(count: int, seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(100 + seed)
        return data.train.x[torch.randperm(len(data.train), generator=rng)[:count]]

    draws = {name: lambda n, seed, p=p: samples(p, n, seed) for name, p in programs.items()}
    results = {"accuracy": classifier.accuracy}
    for name, draw in {**draws, "training images": drawn}.items():
        results[name] = repeated(classifier, data.test.x, draw, options.features)
        words = "  ".join(f"{what} {m:.3f} +- {s:.3f}" for what, (m, s) in results[name].items())
        print(f"  {name:<16} {words}", flush=True)
    return results


def pictures(programs: dict, data: pv.datasets.Data, folder: Path) -> None:
    """Samples of each model next to test images, and reconstructions of test images."""
    from matplotlib.figure import Figure

    panels = {"test images": data.test.x[:36]}
    panels |= {name: samples(program, 36, seed=0) for name, program in programs.items()}
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    for ax, (name, images) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        plots.image_grid(images, 6, ax=ax, title=name)
    print("written:", plots.save(figure, folder / "gan_samples.png", dpi=80))
    x = data.test[:16]
    rows = [x.x, *(reconstructions(program, x) for program in programs.values())]
    ax = plots.image_grid(torch.cat(rows), len(x), title="rows: test images, " + ", ".join(programs))
    print("written:", plots.save(ax, folder / "gan_reconstructions.png", dpi=110))


def main() -> None:
    """Run the comparison and print its tables."""
    options = arguments()
    data = pv.datasets.load(options.data, dequantize=True)
    options.out.mkdir(parents=True, exist_ok=True)
    models = {name: weights_of(name, data, options) for name in ("GAN", "VAE")}
    pairs = {name: evaluated(name, model, data, options) for name, model in models.items()}
    results = {name: numbers for name, (numbers, _) in pairs.items()}
    programs = {
        name: program_of(model, data.event_shape, results[name]["sigma"]) for name, model in models.items()
    }
    results["difference"] = compared({name: evidences for name, (_, evidences) in pairs.items()})
    results["quality"] = qualities(programs, data, options)
    (options.out / "gan.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    pictures(programs, data, options.out)


QUICK = {"data": "digits", "steps": 20, "epochs": 1, "rows": 6, "annealed": 6, "temperatures": 8}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist", help="a data set of grey images with labels")
    parser.add_argument("--steps", type=int, default=10_000, help="steps of the GAN")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of the VAE")
    parser.add_argument("--rows", type=int, default=500, help="images for the Laplace estimate")
    parser.add_argument("--annealed", type=int, default=60, help="images for annealing and for sigma")
    parser.add_argument("--temperatures", type=int, default=200, help="of annealing from the prior")
    parser.add_argument("--features", type=int, default=2500, help="images for precision and recall")
    parser.add_argument("--classifier-epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder of results, by default runs/gan or runs/gan-quick")
    parser.add_argument("--load", action="store_true", help="evaluate the weights in this folder")
    parser.add_argument("--quick", action="store_true", help="a short run on digits, to try the script")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK, features=100, classifier_epochs=1)
    options.out = options.out or Path("runs/gan-quick" if options.quick else "runs/gan")
    return options


if __name__ == "__main__":
    main()
