"""The pictures and the numbers of docs/tour.md: every figure of `pv.plots.textbook`, and small trained VAEs.

    PYROVAE_DATA=... python benchmarks/tour.py              # with MNIST, a quarter of an hour on one core
    python benchmarks/tour.py --quick --out pictures        # with digits, in a minute

The models see 12,000 MNIST images for twenty epochs, so they are far from the best that such models reach.
"""

import argparse
import functools
from pathlib import Path

import torch

import pyrovae as pv
from pyrovae.networks import MLP
from pyrovae.objectives import ELBO, MMD, Autoencoder, JensenShannon

TEXTBOOK = pv.plots.textbook
OF_PROGRAMS = ("architecture", "latent_spaces", "models_side_by_side")


class Tour:
    """Draws pictures into a folder, with models trained for a number of epochs."""

    def __init__(self, out: Path, *, quick: bool) -> None:
        self.out, self.quick, self.epochs = out, quick, 1 if quick else 20
        name, options = ("digits", {}) if quick else ("mnist", {"count": 12_000})
        binary = {"binarize": "threshold" if quick else "dynamic"}
        self.binary = pv.datasets.load(name, **binary, **options)
        self.grey = pv.datasets.load(name, dequantize=True, **options)

    def save(self, ax, name: str) -> None:
        path = pv.plots.save(ax, self.out / f"tour_{name}.png", dpi=130)
        shrink(path)
        print(f"{path.name:<44} {path.stat().st_size / 1000:5.0f} kB", flush=True)

    def fit(self, data=None, objective=None, latent_dim: int = 16, **parts):
        torch.manual_seed(0)
        data = data or self.binary
        nets = {"encoder": MLP(256, 256), "decoder": MLP(256, 256)}
        vae = pv.VAE.suited(data, latent_dim=latent_dim, **nets, **parts)
        return pv.fit(vae, data, objective or ELBO(), epochs=self.epochs, seed=0, progress=False)

    def textbook(self) -> None:
        for name in sorted(set(TEXTBOOK.__all__) - set(OF_PROGRAMS)):
            self.save(getattr(TEXTBOOK, name)(), name)
        vae = pv.VAE((1, 28, 28), 16, encoder=MLP(256, 128), decoder=MLP(128, 256))
        self.save(TEXTBOOK.architecture(vae), "architecture")

    def spaces(self) -> None:
        some, labels = self.binary.test[:1000], self.binary.labels.test[:1000]
        runs = {"autoencoder": self.fit(objective=Autoencoder(), latent_dim=2), "VAE": self.fit(latent_dim=2)}
        self.save(TEXTBOOK.latent_spaces(runs, some, labels), "latent_spaces")

    def generation(self) -> None:
        layers = {"prior": pv.priors.Hierarchical([8]), "guide": pv.guides.Hierarchical([8])}
        runs = {"plain": self.plain, "hierarchical prior": self.fit(**layers)}
        for name, run in runs.items():
            evidence = pv.log_evidence(run.program, self.binary.test[:200], particles=1000)
            print(f"{name}: log p(x) {evidence.mean:.2f} +- {evidence.stderr:.2f}, L_1000 of 200 test images")
        self.save(TEXTBOOK.models_side_by_side(runs, self.binary.test, count=7), "generation")

    def sigmas(self) -> None:
        scales = (0.03, 0.1, 0.3, 1.0)
        runs = {s: self.fit(self.grey, likelihood=pv.likelihoods.Normal(scale=s)) for s in scales}
        for scale, run in runs.items():
            split = pv.diagnose(run.program, self.grey.test, rows=500)
            x = self.grey.test.x[:500]
            with torch.no_grad():
                error = float(
                    (run.program.decode(run.program.encode(x).mean).mean - x).square().mean().sqrt()
                )
            print(f"sigma {scale}: KL {split.rate:.1f} nats, error of reconstructions {error:.3f} (RMS)")
        named = {f"sigma {scale}": run for scale, run in runs.items()}
        self.save(TEXTBOOK.models_side_by_side(named, self.grey.test, count=7), "sigma")

    def divergences(self) -> None:
        kinds = {"KL": ELBO(), "Jensen-Shannon": JensenShannon(), "MMD": MMD()}
        runs = {name: self.plain if name == "KL" else self.fit(objective=o) for name, o in kinds.items()}
        self.save(TEXTBOOK.models_side_by_side(runs, self.binary.test, count=7), "divergences")

    def column(self) -> None:
        x = self.binary.test.x[:4]
        middle = x.shape[-1] // 2
        y = torch.full_like(x, float("nan"))
        y[..., middle - 2 : middle + 2] = x[..., middle - 2 : middle + 2]
        completions = pv.condition(self.plain.program, y, draws=7, seed=0).x.swapaxes(0, 1)
        self.save(pv.plots.conditional_samples(y.nan_to_num(0.5), completions, x), "column")

    def bits(self) -> None:
        bits = pv.evidence.code_length(self.plain.program, self.binary.test[:100])
        print(bits)
        self.save(bits.plot(), "bits")

    def gradients(self) -> None:
        torch.manual_seed(0)
        new = pv.VAE.suited(self.binary, latent_dim=16, encoder=MLP(256, 256), decoder=MLP(256, 256))
        for name, vae in (("start", new), ("trained", self.plain.program)):
            self.noise(name, vae, self.binary.test[:100])

    def curve(self) -> None:
        torch.manual_seed(0)
        curve, likelihood = pv.oracles.Curve(scale=0.1), pv.likelihoods.Normal()
        encoder = pv.VAE((2,), 1, likelihood=likelihood, encoder=MLP(32), decoder=MLP(4))
        self.noise("curve", encoder, curve.sample(100), model=curve.model)

    def noise(self, name: str, vae, x, **options) -> None:
        repeats = 20 if self.quick else 60
        found = pv.evidence.gradient_noise(vae, x, particles=(2, 4, 8, 16), repeats=repeats, **options)
        print(f"{name}: {found}")
        self.save(found.plot(), f"gradients_{name}")

    @functools.cached_property
    def plain(self):
        """The VAE with 16 latents that several pictures share."""
        return self.fit()


def shrink(path: Path) -> None:
    """Give a picture a palette of 256 colours, which nobody sees in these figures."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", help="textbook, spaces, generation, sigmas, ...")
    options = parser.parse_args()
    tour = Tour(options.out, quick=options.quick)
    models = ("spaces", "generation", "sigmas", "divergences", "column", "bits", "gradients", "curve")
    for name in options.only or ("textbook", *models):
        getattr(tour, name)()


if __name__ == "__main__":
    main()
