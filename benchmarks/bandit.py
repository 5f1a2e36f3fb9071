"""Bandits over five decoders on Fashion-MNIST at 32x32, and over 5 x 5 pairs on digits.

    python benchmarks/bandit.py --out bandits            the runs, the tables and the figures
    python benchmarks/bandit.py --out bandits --seeds 1  a first look

For each seed, one bandit of 40 pulls with own encoders and one with a shared encoder, and the
complete training of all arms, which is a bandit that pulls them in turns. A pull of an arm is the
same training whatever is pulled in between (`tests/searching/test_bandit.py`), so every other policy
is played on the rewards of the complete training. Everything is stored: the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from pyrovae import datasets, log_evidence, plots
from pyrovae.datasets import Data
from pyrovae.networks import MLP, ConvDecoder, ConvEncoder, Gated
from pyrovae.plots.bandits import regret_curve
from pyrovae.searching.bandit import bandit
from pyrovae.searching.history import History
from pyrovae.searching.policies import EXP3, UCB, Halving, Policy, Thompson, Turns
from pyrovae.searching.bandit_result import Bandit
from pyrovae.searching.values import Curve, Mean

PULLS, FULL, SEEDS = 40, 25, 5

DECODERS = {
    "dense": MLP(256, 256),
    "dense, wide": MLP(512, 512),
    "convolutions": ConvDecoder((16, 8)),
    "convolutions, deep": ConvDecoder((32, 16, 8)),
    "mixed": ConvDecoder((16,), hidden=(256,)),
}
ARMS = {name: {"decoder": decoder} for name, decoder in DECODERS.items()}
FIXED = {
    "encoder": MLP(256, 256),
    "latent_dim": 16,
    "lr": 1e-3,
    "batch_size": 50,
    "kl_warmup": 0.0,
    "compile": False,
    "particles": 5,
    "rows": 200,
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


def pairs() -> dict[str, dict[str, object]]:
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


def of_seed(data: Data, arms: dict, fixed: dict, sizes: tuple[int, int], out: Path, seed: int) -> dict:
    """The bandits and the complete training of one seed."""
    pulls, full = sizes
    common = dict(full=full, seed=seed, figures=False, **fixed)
    found = {"own": bandit(arms, data, pulls=pulls, out=out / f"own-{seed}", **common)}
    if "encoder" in fixed:
        folder = out / f"shared-{seed}"
        found["shared"] = bandit(arms, data, pulls=pulls, shared="encoder", out=folder, **common)
    everything = len(arms) * full
    found["full"] = bandit(arms, data, pulls=everything, policy="turns", out=out / f"full-{seed}", **common)
    return found


def replayed(policy: Policy, full: Bandit, pulls: int, seed: int) -> list[str]:
    """The arm that a policy would choose after each pull, on the rewards of the complete training."""
    curves, seen, chosen = list(full.curves().values()), [], []
    for _ in range(pulls):
        history = History(len(curves), pulls, seen, full.history.full, seed)
        arm = policy.next(history)
        count = min(int(history.counts[arm]), len(curves[arm]) - 1)  # an arm that is trained to the end stays
        seen.append((arm, curves[arm][count]))
        after = History(len(curves), pulls, seen, full.history.full, seed)
        chosen.append(list(full.arms)[policy.best(after)])
    return chosen


def on_test(full: Bandit, data: Data, particles: int = 50) -> dict[str, np.ndarray]:
    """log p(x) of the test rows by each arm that was trained to the end; stored."""
    path = full.folder / "test.json"
    if path.exists():
        return {name: np.array(values) for name, values in json.loads(path.read_text()).items()}
    values = {
        name: log_evidence(arm.vae, data.test, particles=particles, seed=1, compile=False).log_px
        for name, arm in full.arms.items()
    }
    path.write_text(json.dumps({name: list(map(float, log_px)) for name, log_px in values.items()}))
    return values


def report(results: dict[int, dict], data: Data, pulls: int, title: str, out: Path) -> None:
    """Print the tables, and draw the regret curve and the figures of the first seed."""
    any_full = next(iter(results.values()))["full"]
    full, arms = any_full.history.full, list(any_full.arms)
    print(f"\n{title}: {len(arms)} arms, {pulls} pulls; complete training: {full} epochs each")
    print(f"  pulls are {pulls / (len(arms) * full):.0%} of the complete training")
    finals = {s: {n: c[-1] for n, c in r["full"].curves().items()} for s, r in results.items()}
    tests = {seed: on_test(r["full"], data) for seed, r in results.items()}
    table = {n: np.array([finals[s][n] for s in results]) for n in arms}
    order = sorted(arms, key=lambda n: -table[n].mean())
    print("\n  arm                    final reward (mean over seeds, sd)   test log p(x)   first in")
    for name in order[:10]:
        first = sum(max(finals[s], key=finals[s].get) == name for s in results)
        test = np.mean([tests[s][name].mean() for s in results])
        print(
            f"  {name:<22} {table[name].mean():>10.2f} {table[name].std(ddof=1):>8.2f}{test:>22.2f}{first:>12}"
        )
    regrets: dict[str, list[np.ndarray]] = {}
    rows: dict[str, list[tuple[bool, bool, float, float]]] = {}
    for seed, result in results.items():
        best = max(finals[seed], key=finals[seed].get)

        def note(kind: str, chosen: list[str], cost: float, best: str = best, seed: int = seed) -> None:
            lost = np.array([finals[seed][best] - finals[seed][name] for name in chosen])
            regrets.setdefault(kind, []).append(lost)
            apart = tests[seed][best] - tests[seed][chosen[-1]]
            error = apart.std(ddof=1) / np.sqrt(len(apart))
            within = chosen[-1] == best or apart.mean() < 2 * error
            rows.setdefault(kind, []).append((chosen[-1] == best, within, lost[-1], cost))

        whole = sum(pull.seconds for pull in result["full"].log)
        for kind, name in (("own", "bandit, own encoders"), ("shared", "bandit, shared encoder")):
            if kind in result:
                chosen = result[kind].regret(finals[seed])["chosen"].tolist()
                seconds = sum(pull.seconds for pull in result[kind].log)
                note(name, chosen, seconds / whole)
        same = replayed(UCB(), result["full"], pulls, seed)
        assert same == result["own"].regret(finals[seed])["chosen"].tolist(), (
            "a pull is not the training itself"
        )
        for name, policy in POLICIES.items():
            note(name, replayed(policy, result["full"], pulls, seed), np.nan)
    print("\n  policy                   finds the first  or within error   regret: mean  largest   time")
    for name, values in rows.items():
        first, within = (sum(v[i] for v in values) for i in (0, 1))
        lost = [v[2] for v in values]
        cost = np.nanmean([v[3] for v in values]) if np.isfinite(values[0][3]) else np.nan
        time_ = f"{cost:.0%}" if np.isfinite(cost) else ""
        print(
            f"  {name:<24} {first:>10} of {len(values)} {within:>12} of {len(values)} {np.mean(lost):>13.2f}"
            f" {max(lost):>9.2f} {time_:>6}"
        )
    names = ["UCB, predicted", "UCB1", "EXP3.S", "in turns"]
    ax = regret_curve(np.arange(1, pulls + 1), {name: np.array(regrets[name]) for name in names})
    plots.save(ax, out / f"regret_{title.split()[0].lower()}.png")
    first_seed = next(iter(results.values()))
    for kind in ("own", "shared"):
        if kind in first_seed:
            first_seed[kind].save_figures(out / f"figures-{title.split()[0].lower()}-{kind}")


def main() -> None:
    """Run what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bandits"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--only", choices=("fashion", "pairs"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if options.only != "pairs":
        data, began = fashion(options.rows), time.perf_counter()
        runs = {
            seed: of_seed(data, ARMS, FIXED, (PULLS, FULL), options.out / "fashion", seed)
            for seed in range(options.seeds)
        }
        report(runs, data, PULLS, "Fashion-MNIST at 32x32", options.out)
        print(f"{time.perf_counter() - began:.0f} s")
    if options.only != "fashion":
        data = datasets.load("digits", binarize="dynamic")
        fixed = {"latent_dim": 8, "lr": 2e-3, "compile": False, "particles": 20, "kl_warmup": 0.0}
        runs = {
            seed: of_seed(data, pairs(), fixed, (150, 20), options.out / "pairs", seed)
            for seed in range(options.seeds)
        }
        report(runs, data, 150, "Pairs on digits", options.out)


if __name__ == "__main__":
    main()
