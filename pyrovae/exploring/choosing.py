r"""Choose the number of components by held-out log p(x) on the same rows.

    d_n(K) = log p_K(x_n) - log p_best(x_n),      error of its mean = sd(d) / sqrt(N)

Differences between two numbers are paired, so the difficulty of a row, which they share, cancels.
`best` has the highest mean. `enough` is the more careful answer: the smallest number that is not
worse by more than two paired errors. One fit is not enough to judge a number of components, because
it depends on its start: try several seeds.

Reference:
    Smyth (2000), "Model Selection for Probabilistic Clustering Using Cross-Validated Likelihood".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from pyrovae.checks import number, one_of, whole
from pyrovae.display import Displayed
from pyrovae.errors import InputError
from pyrovae.evidence import log_evidence
from pyrovae.exploring.gaussians import effective
from pyrovae.exploring.mixture import mixture_of
from pyrovae.mixtures import GaussianMixture
from pyrovae.numerics import Array, as_array, numbers, stderr_of_mean
from pyrovae.seeds import random_kept
from pyrovae.terms import Runner
from pyrovae.threads import alone
from pyrovae.training import fit_to_end as fit
from pyrovae.training.preparing import as_data
from pyrovae.vae import VAE

if TYPE_CHECKING:
    import pandas as pd

    from pyrovae.objectives import Objective

__all__ = ["Choice", "choose", "choose_plain"]


@dataclass(frozen=True, eq=False, repr=False)
class Choice(Displayed):
    """Numbers of components, compared by log p(x) of held-out rows; it prints as a table.

    Attributes:
        components: the numbers tried, ascending, (M,).
        programs: the fitted programs, one for each number.
        log_px: log p(x) of each held-out row, (M, N).
        mc_stderr: its Monte Carlo error, (M, N); 0 if log p(x) is exact.
        effective: the number of equal components with the entropy of the weights, (M,).
    """

    components: tuple[int, ...]
    programs: tuple[Any, ...]
    log_px: Array
    mc_stderr: Array
    effective: Array

    @property
    def mean(self) -> Array:
        """Mean log p(x), in nats per observation, (M,)."""
        return self.log_px.mean(1)

    @property
    def stderr(self) -> Array:
        """The standard error of each mean over rows, (M,)."""
        return stderr_of_mean(self.log_px)

    @property
    def mc_error(self) -> Array:
        """The Monte Carlo error of each mean, (M,)."""
        return np.sqrt((self.mc_stderr**2).sum(1)) / self.log_px.shape[1]

    @property
    def best(self) -> int:
        """The number with the highest mean."""
        return self.components[int(self.mean.argmax())]

    @property
    def difference(self) -> Array:
        """Mean difference from the best, in nats per observation, (M,); at most 0."""
        return self._paired.mean(1)

    @property
    def difference_se(self) -> Array:
        """The standard error of the mean difference, (M,)."""
        return stderr_of_mean(self._paired)

    @property
    def enough(self) -> int:
        """The smallest number that is not worse than the best by more than two paired errors."""
        fine = self.difference >= -2 * np.nan_to_num(self.difference_se)
        return self.components[int(fine.argmax())]

    @property
    def _paired(self) -> Array:
        return self.log_px - self.log_px[self.mean.argmax()]

    def __getitem__(self, components: int) -> Any:  # noqa: ANN401
        """The program fitted with this number of components."""
        return self.programs[self.components.index(one_of("components", components, self.components))]

    def table(self) -> pd.DataFrame:
        """A row for each number of components."""
        import pandas as pd

        names = ("effective", "mean", "stderr", "mc_error", "difference", "difference_se")
        index = pd.Index(self.components, name="components")
        return pd.DataFrame({name: getattr(self, name) for name in names}, index=index)

    def __str__(self) -> str:
        head = (
            f"{'components':>10} {'effective':>9} {'log p(x)':>10} {'error':>7} {'MC':>7} "
            f"{'to best':>9} {'paired error':>12}"
        )
        rows = [
            f"{k:10} {size:9.1f} {mean:10.3f} {error:7.3f} {mc:7.4f} {to_best:9.3f} {paired:12.3f}"
            for k, size, mean, error, mc, to_best, paired in self.table().itertuples()
        ]
        foot = f"best {self.best}; {self.enough} are enough (within two paired errors of it)"
        return "\n".join([head, *rows, foot])


def choose(
    vae: VAE,
    data: Any,  # noqa: ANN401
    components: Sequence[int] = (5, 10, 20),
    *,
    objective: Objective | None = None,
    split: Literal["validation", "test"] = "validation",
    particles: int = 100,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> Choice:
    """Fit a VAE with each number of components and compare them by held-out log p(x).

    All fits use the same seed for their initial weights. The given VAE is used for its declaration
    only and is not trained.

    Arguments:
        vae: a VAE with a mixture in its prior.
        data: the result of `datasets.load`, or a tensor, of which a tenth is used for validation.
        components: the numbers to try.
        objective: as for `fit`.
        split: the held-out part; use the test set only if nothing else is chosen with it.
        particles: samples of z per row, for log p(x).
        seed: seed of initial weights, training and samples.
        options: options of `fit`.

    Raises:
        InputError: for a VAE without components, numbers below 1, or as for `fit`.
    """
    mixture_of(vae, "choose")
    one_of("split", split, ("validation", "test"))
    seed = whole("seed", seed, 0)
    data = as_data(data, Runner(vae))
    options = {"progress": False, "figures": False} | options

    def fitted(count: int) -> VAE:
        with alone, random_kept():
            torch.manual_seed(seed)
            new = VAE.from_dict(_declared(vae, count))
        new.to(next(vae.parameters()).dtype)
        fit(new, data, objective, seed=seed, **options)
        return new

    def score(new: VAE) -> tuple[Array, Array, float]:
        evidence = log_evidence(new, getattr(data, split), particles=particles, seed=seed)
        return evidence.log_px, evidence.mc_stderr, effective(mixture_of(new).weight)

    return _compared(components, fitted, score)


def choose_plain(
    x: ArrayLike,
    components: Sequence[int] = (1, 2, 3, 5, 10),
    *,
    covariance: Literal["spherical", "diagonal", "full"] = "full",
    held_out: float = 0.2,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> Choice:
    """Fit plain mixtures of Gaussians by EM and compare them by their exact held-out log p(x).

    Arguments:
        x: data (N, D).
        components: the numbers to try.
        covariance: the covariance of the mixtures.
        held_out: the share of the data to hold out.
        seed: seed of the split and the starts.
        options: options of `fit_em`.

    Raises:
        InputError: if the data are not a matrix or have too few rows, for numbers below 1, or as
            for `fit_em`.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 1)) + np.repeat([[-4.0], [4.0]], 150, 0)
        >>> choose_plain(x, components=(1, 2)).best
        2
    """
    rows = numbers(x, "x", ("N", "D"))
    count = round(number("held_out", held_out, above=0, below=1) * len(rows))
    if not 0 < count < len(rows):
        raise InputError(f"{len(rows)} rows are too few to hold some out: give more")
    seed = whole("seed", seed, 0)
    order = np.random.default_rng(seed).permutation(len(rows))
    test, train = (torch.from_numpy(rows[part]) for part in (order[:count], order[count:]))

    def fitted(count: int) -> GaussianMixture:
        with alone, random_kept():
            torch.manual_seed(seed)
            mixture = GaussianMixture(count, rows.shape[1], covariance).double()
        mixture.fit_em(train, seed=seed, **options)
        return mixture

    def score(mixture: GaussianMixture) -> tuple[Array, Array, float]:
        log_px = as_array(mixture.log_px(test))
        return log_px, np.zeros_like(log_px), effective(as_array(mixture.weights, float))

    return _compared(components, fitted, score)


def _compared(
    components: Sequence[int],
    fitted: Callable[[int], Any],
    score: Callable[[Any], tuple[Array, Array, float]],
) -> Choice:
    counts = sorted({whole("components", count) for count in components})
    if not counts:
        raise InputError("there is nothing to choose from: give at least one number of components")
    programs = [fitted(count) for count in counts]
    log_px, mc_stderr, sizes = zip(*map(score, programs), strict=True)
    return Choice(tuple(counts), tuple(programs), np.stack(log_px), np.stack(mc_stderr), np.array(sizes))


def _declared(vae: VAE, count: int) -> dict[str, Any]:
    """The VAE's declaration with another number of components, or classes."""
    declaration = vae.to_dict()
    if vae.prior.labels:
        raise InputError(
            "the classes of this VAE are labels, so their number is known: declare it without labels"
        )
    names = ("prior",) if vae.q.states is None else ("prior", "guide")
    for args in (declaration[name]["init_args"] for name in names):
        args = args["top"]["init_args"] if isinstance(args.get("top"), dict) else args
        args["components" if "components" in args else "classes"] = count
        if args.get("prune", 0.0) >= 1 / count:
            args["prune"] = 0.0
    return declaration
