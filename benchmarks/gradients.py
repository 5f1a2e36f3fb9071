"""How noisy the guide's gradient is under each objective, on a linear-Gaussian model.

    python benchmarks/gradients.py [--rows 2000] [--out docs/images/gradient_variance.png]

Many copies of one observation have their own guide parameters, all of the same value, so one backward pass
gives this number of independent gradients. The guide is a diagonal normal half a standard deviation off the
posterior and a fifth too wide, as in the middle of training. The spread is the standard deviation of the
gradient, the signal its absolute mean divided by the spread; both are root mean squares over the guide's
parameters.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.objectives import (
    ELBO,
    IWAE,
    DReG,
    Objective,
    ReweightedWakeSleep,
    ScoreFunction,
    StickingTheLanding,
)
from pyrovae.oracles import LinearGaussian
from pyrovae.plots import save
from pyrovae.plots.style import CLASSES, COLOURS, label_ends, style
from pyrovae.terms import run

PARTICLES = (1, 2, 4, 8, 16, 32, 64)
KINDS: dict[str, tuple[Callable[[int], Objective], str]] = {
    "ELBO": (ELBO, COLOURS["data"]),
    "sticking the landing": (StickingTheLanding, COLOURS["other"]),
    "score function": (lambda k: ScoreFunction(k, "particles" if k > 1 else "none"), COLOURS["warning"]),
    "IWAE": (IWAE, COLOURS["model"]),
    "DReG": (DReG, CLASSES[4]),
    "wake": (ReweightedWakeSleep, CLASSES[5]),
}
Curves = dict[str, dict[int, tuple[float, float]]]


class Copies:
    """The oracle's model and a guide with parameters for each of many copies of one observation."""

    def __init__(self, rows: int, *, shift: float = 0.5, widen: float = 1.2) -> None:
        oracle = LinearGaussian.random(event_dim=5, latent_dim=2, seed=3)
        x = oracle.sample(1, seed=4)
        exact = oracle.posterior(x)
        sd = exact.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()  # of the best diagonal normal
        self.model, self.x = oracle.model, x.expand(rows, -1)
        self.loc = (exact.loc + shift * sd).repeat(rows, 1).requires_grad_()
        self.log_scale = (widen * sd).log().repeat(rows, 1).requires_grad_()

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc, self.log_scale.exp()).to_event(1))


def measured(objective: Objective, rows: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The spread and the signal of the guide's gradient."""
    pyro.set_rng_seed(seed)
    copies = Copies(rows)
    pair = run(copies.model, copies.guide, copies.x, particles=objective.particles, draws=objective.draws)
    found = torch.autograd.grad(objective.ascended(pair).sum(), [copies.loc, copies.log_scale])
    gradient = torch.cat(found, -1)
    signal = gradient.mean(0).square() / gradient.var(0)
    return gradient.var(0).mean().sqrt().item(), signal.mean().sqrt().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("docs/images/gradient_variance.png"))
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    curves = {
        name: {k: measured(make(k), options.rows) for k in PARTICLES} for name, (make, _) in KINDS.items()
    }
    report(curves)
    draw(curves, options.out)


def report(curves: Curves) -> None:
    for column, what in enumerate(("spread", "signal")):
        print(f"{what:<22}" + "".join(f"{f'K = {k}':>9}" for k in PARTICLES))
        for name, values in curves.items():
            print(f"  {name:<20}" + "".join(f"{values[k][column]:9.3f}" for k in PARTICLES))


def draw(curves: Curves, path: Path) -> None:
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        for column, title in enumerate(
            ("standard deviation of the guide's gradient", "signal-to-noise ratio")
        ):
            ax = figure.add_subplot(1, 2, column + 1)
            for name, (_, colour) in KINDS.items():
                ax.loglog(PARTICLES, [curves[name][k][column] for k in PARTICLES], color=colour)
            ax.set_xticks(PARTICLES, [str(k) for k in PARTICLES])
            ax.minorticks_off()
            ax.set(title=title, xlabel="number of particles K", xlim=(PARTICLES[0], PARTICLES[-1]))
            last = {name: curves[name][PARTICLES[-1]][column] for name in KINDS}
            label_ends(ax, [(name, last[name], KINDS[name][1]) for name in KINDS])
        save(figure, path, dpi=130)


if __name__ == "__main__":
    main()
