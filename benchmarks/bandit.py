"""Bandits over five decoders on Fashion-MNIST at 32x32, and over 5 x 5 pairs on digits.

    python benchmarks/bandit.py --out bandits            an hour on one core
    python benchmarks/bandit.py --out bandits --seeds 1 --shared 1          a first look

The complete training of all arms is a bandit that pulls them in turns. A pull of an arm is the same
training whatever is pulled in between (`tests/searching/test_bandit.py`), so the policies are played
on the rewards of the complete training. For the first seed the default policy is also run, and must
pull the same arms with the same rewards. With a shared encoder, pulls depend on each other, and each
bandit is run. Everything is stored: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrovae import datasets, log_evidence, plots
from pyrovae.datasets import Data
from pyrovae.networks import MLP, ConvDecoder, ConvEncoder, Gated
from pyrovae.plots.bandits import regret_curve
from pyrovae.searching.bandit import bandit
from pyrovae.searching.bandit_result import Bandit
from pyrovae.searching.history import History
from pyrovae.searching.policies import EXP3, UCB, Halving, Policy, Thompson, Turns
from pyrovae.searching.values import Curve, Mean


@dataclass(frozen=True)
class Case:
    """An experiment: the arms, the options of all, the data, the pulls, and of a complete training.

    Attributes:
        shared: the number of seeds that are run with a shared encoder too.
    """

    arms: dict[str, dict[str, Any]]
    fixed: dict[str, Any]
    data: Data
    pulls: int
    full: int
    shared: int


DECODERS = {
    "dense": MLP(256, 256),
    "dense wide": MLP(512, 512),
    "convolutions": ConvDecoder((16, 8)),
    "convolutions deep": ConvDecoder((32, 16, 8)),
    "mixed": ConvDecoder((16,), hidden=(256,)),
}
ARMS: dict[str, dict[str, Any]] = {name: {"decoder": decoder} for name, decoder in DECODERS.items()}
FASHION: dict[str, Any] = {
    "encoder": MLP(256, 256),
    "latent_dim": 16,
    "lr": 1e-3,
    "batch_size": 50,
    "kl_warmup": 0.0,
    "compile": False,
    "particles": 5,
    "rows": 200,
}
PAIRS: dict[str, Any] = {
    "latent_dim": 8,
    "lr": 2e-3,
    "compile": False,
    "particles": 20,
    "kl_warmup": 0.0,
}
POLICIES: dict[str, Policy] = {
    "UCB, predicted": UCB(),
    "Thompson, predicted": Thompson(),
    "halving, predicted": Halving(value=Curve()),
    "halving": Halving(),
    "UCB1": UCB(Mean()),
    "discounted UCB": UCB(Mean(discount=0.9)),
    "EXP3.S": EXP3(),
    "in turns": Turns(),
}


def fashion(rows: int = 3000) -> Data:
    """The first training images, 500 for validation and 1,000 for the test, with 256 grey levels."""
    data = datasets.load("fashion_mnist", resize=32)
    x = (data.train.x[: rows + 1500] * 255).round().to(torch.uint8)
    return datasets.load(x, validation=500, test=1000)


def pairs() -> dict[str, dict[str, Any]]:
    """25 arms: each of five encoders with each of five decoders."""
    encoders = {
        "MLP 32": MLP(32),
        "MLP 128": MLP(128),
        "MLP 128 128": MLP(128, 128),
        "gated": Gated(64),
        "conv": ConvEncoder((8, 16), 64),
    }
    decoders = {
        "MLP 32": MLP(32),
        "MLP 128": MLP(128),
        "MLP 128 128": MLP(128, 128),
        "gated": Gated(64),
        "conv": ConvDecoder((16, 8)),
    }
    return {
        f"{one} / {two}": {"encoder": encoder, "decoder": decoder}
        for one, encoder in encoders.items()
        for two, decoder in decoders.items()
    }


class Seed:
    """The runs of one seed.

    Arguments:
        full: the complete training of all arms, a bandit that pulls them in turns.
        data: the data, whose test rows compare the arms at the end.
        others: bandits that were run, by name.
    """

    def __init__(self, full: Bandit, data: Data, others: dict[str, Bandit]) -> None:
        self.full, self.others, self.seed = full, others, full.settings["seed"]
        self.names, self.curves = list(full.arms), full.curves()
        self.final = {name: float(curve[-1]) for name, curve in self.curves.items()}
        self.first = max(self.final, key=self.final.__getitem__)
        self.test = on_test(full, data)
        table = full.pulls.groupby("arm")["seconds"].median()
        self.seconds = {name: float(table[name]) for name in self.names}

    def played(self, policy: Policy, pulls: int) -> tuple[list[str], list[str]]:
        """The arms that a policy pulls on these rewards, and the arm that it would choose each time."""
        seen: list[tuple[int, float]] = []
        chosen = []
        for _ in range(pulls):
            history = History(len(self.names), pulls, seen, self.full.history.full, self.seed)
            arm = policy.next(history)
            curve = self.curves[self.names[arm]]
            seen.append((arm, float(curve[min(int(history.counts[arm]), len(curve) - 1)])))
            after = History(len(self.names), pulls, seen, self.full.history.full, self.seed)
            chosen.append(self.names[policy.best(after)])
        return [self.names[arm] for arm, _ in seen], chosen

    def cost(self, pulled: list[str]) -> float:
        """The time of some pulls as a share of the complete training, from medians of each arm."""
        whole = self.full.history.full * sum(self.seconds.values())
        return sum(self.seconds[name] for name in pulled) / whole

    def regret(self, chosen: list[str]) -> np.ndarray:
        """What is lost in the final reward, after each pull."""
        return np.array([self.final[self.first] - self.final[name] for name in chosen])

    def is_within_error(self, name: str) -> bool:
        """Whether log p(x) of the test rows is within two paired standard errors of the first."""
        apart = self.test[self.first] - self.test[name]
        return name == self.first or apart.mean() < 2 * apart.std(ddof=1) / np.sqrt(len(apart))


def on_test(full: Bandit, data: Data, rows: int = 500, particles: int = 10) -> dict[str, np.ndarray]:
    """The bound L_10 of test rows by each arm that was trained to the end; stored."""
    path = full.folder / "test.json"
    if path.exists():
        return {name: np.array(values) for name, values in json.loads(path.read_text()).items()}
    values = {
        name: log_evidence(arm.vae, data.test[:rows], particles=particles, seed=1, compile=False).log_px
        for name, arm in full.arms.items()
    }
    path.write_text(json.dumps({name: list(map(float, log_px)) for name, log_px in values.items()}))
    return values


def report(seeds: list[Seed], pulls: int, title: str, out: Path) -> None:
    """Print the tables, and draw the regret curve and the figures of the first seed."""
    full, arms = seeds[0].full.history.full, seeds[0].names
    share = pulls / (len(arms) * full)
    print(f"\n{title}: {len(arms)} arms, complete training {full} epochs each, {len(seeds)} seeds")
    print(f"{pulls} pulls, {share:.0%} of the complete training\n")
    print(f"  {'arm':<26}{'final reward':>13}{'sd':>7}{'test L_10':>15}{'first':>7}{'s/epoch':>9}")
    final = {name: np.array([seed.final[name] for seed in seeds]) for name in arms}
    for name in sorted(arms, key=lambda name: -final[name].mean())[:10]:
        test = np.mean([seed.test[name].mean() for seed in seeds])
        first = sum(seed.first == name for seed in seeds)
        seconds = np.median([seed.seconds[name] for seed in seeds])
        sd = final[name].std(ddof=1) if len(seeds) > 1 else np.nan
        print(f"  {name:<26}{final[name].mean():>13.2f}{sd:>7.2f}{test:>15.2f}{first:>7}{seconds:>9.2f}")
    print(f"\n  {'policy':<26}{'first':>9}{'within error':>14}{'mean regret':>13}{'largest':>9}{'time':>6}")
    regrets = {}
    for name, results in _results(seeds, pulls).items():
        last = [(seed, chosen[-1]) for seed, _, chosen in results]
        first = f"{sum(seed.first == arm for seed, arm in last)} of {len(last)}"
        within = f"{sum(seed.is_within_error(arm) for seed, arm in last)} of {len(last)}"
        regrets[name] = np.array([seed.regret(chosen) for seed, _, chosen in results])
        lost, time_ = regrets[name][:, -1], np.mean([seed.cost(pulled) for seed, pulled, _ in results])
        print(f"  {name:<26}{first:>9}{within:>14}{lost.mean():>13.2f}{lost.max():>9.2f}{time_:>6.0%}")
    shown = {name: regrets[name] for name in ("UCB, predicted", "UCB1", "EXP3.S", "in turns")}
    stem = title.split()[0].lower()
    plots.save(regret_curve(np.arange(1, pulls + 1), shown), out / f"regret_{stem}.png")
    for kind, result in seeds[0].others.items():
        result.save_figures(out / f"figures_{stem}_{kind}")


def _results(seeds: list[Seed], pulls: int) -> dict[str, list[tuple[Seed, list[str], list[str]]]]:
    """Policy -> the arms that were pulled and chosen with each seed."""
    results: dict[str, list[tuple[Seed, list[str], list[str]]]] = {}
    for seed in seeds:
        for name, policy in POLICIES.items():
            results.setdefault(name, []).append((seed, *seed.played(policy, pulls)))
        for kind, result in seed.others.items():
            pulled, chosen = result.pulls["arm"].tolist(), result.regret(seed.final)["chosen"].tolist()
            if kind == "own":
                same = results["UCB, predicted"][-1][1:]
                assert same == (pulled, chosen), "a pull is not the training itself"
            results.setdefault(f"UCB, {kind} encoder, run", []).append((seed, pulled, chosen))
    return results


def run(case: Case, out: Path, seeds: int) -> list[Seed]:
    """Run what is missing: the complete training first, then the bandits."""
    common = {"full": case.full, "figures": False, **case.fixed}

    def one(name: str, seed: int, **options: Any) -> Bandit:  # noqa: ANN401
        return bandit(case.arms, case.data, seed=seed, out=out / f"{name}-{seed}", **common, **options)

    others: dict[int, dict[str, Bandit]] = {seed: {} for seed in range(seeds)}
    others[0]["own"] = one("own", 0, pulls=case.pulls)
    everything = len(case.arms) * case.full
    full = [one("full", seed, pulls=everything, policy="turns") for seed in range(seeds)]
    for seed in range(min(seeds, case.shared)):
        others[seed]["shared"] = one("shared", seed, pulls=case.pulls, shared="encoder")
    return [Seed(result, case.data, others[seed]) for seed, result in enumerate(full)]


def main() -> None:
    """Run what is missing, and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("bandits"), help="the folder of all runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shared", type=int, default=5, help="seeds with a shared encoder too")
    parser.add_argument("--rows", type=int, default=3000, help="training rows of Fashion-MNIST")
    parser.add_argument("--only", choices=("fashion", "pairs"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only != "pairs":
        case = Case(ARMS, FASHION, fashion(options.rows), 40, 25, options.shared)
        report(run(case, options.out / "fashion", options.seeds), 40, "Fashion-MNIST at 32x32", options.out)
    if options.only != "fashion":
        case = Case(pairs(), PAIRS, datasets.load("digits", binarize="dynamic"), 150, 20, 0)
        report(run(case, options.out / "pairs", options.seeds), 150, "Pairs on digits", options.out)


if __name__ == "__main__":
    main()
