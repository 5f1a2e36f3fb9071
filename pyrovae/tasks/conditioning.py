r"""`condition`: samples of x given a measurement y of it, from a trained program.

    z_k ~ p(z | y)            by importance sampling, at the modes, or by annealing
    x_k ~ p(x | z_k, y)       in closed form

The measurement makes a program p(z) p(y|z) of the model (`measured`), so the posterior of z is
found as it is for log p(x), with the same diagnostics. "auto" tries the samples of the guide first,
if it was trained on what it reads. Rows whose weights are too uneven get the proposal at the modes
of the posterior (`Laplace`), and rows for which that fails too are annealed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae.checks import count_of
from pyrovae.datasets import Rows
from pyrovae.datasets.asked_labels import contexts_of
from pyrovae.errors import InputError
from pyrovae.evidence.draws import KeyedDraws
from pyrovae.evidence.laplace import Laplace
from pyrovae.evidence.methods import AIS, Importance, Method, as_method
from pyrovae.evidence.posterior import Posterior
from pyrovae.evidence.predictive import Given, Shared
from pyrovae.evidence.run import Pieces, checked, refuse_undefined, refuse_weightless, shown
from pyrovae.measurements import Measurement, Missing, as_measurement
from pyrovae.measurements.families import elements_of
from pyrovae.measurements.moments import Moments, averaged, moments_of, of_samples
from pyrovae.memory import refuse_too_large
from pyrovae.sharing import is_first
from pyrovae.tasks.completion import Completion
from pyrovae.tasks.measured import Measured
from pyrovae.tasks.mixing import mixed
from pyrovae.terms import DATA, PARTICLES, as_program

__all__ = ["completed", "condition"]

TOGETHER = 1024  # rows whose posteriors are found together
DECODED = 4  # times the usual number of (particle, row) pairs are decoded at once
WEIGHTS = 10  # samples of variables that rows share
CHAINS = 32  # the number of annealed chains for each row, if there are no more samples to draw


def condition(
    vae: Any,  # noqa: ANN401
    y: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    labels: Any = None,  # noqa: ANN401
    *,
    through: Any = None,  # noqa: ANN401
    draws: int = 100,
    particles: int | None = None,
    method: str | Method = "auto",
    seed: int = 0,
    chunk: int | None = None,
    progress: bool = False,
    given: Given = "posterior",
    weights: int | None = None,
) -> Completion:
    r"""Draw samples of x given a measurement y of it, p(x|y), with log p(y) and diagnostics.

    \[p(x|y) = \int p(x|z, y)\, p(z|y)\, dz, \qquad p(z|y) \propto p(z) \int p(y|x)\, p(x|z)\, dx\]

    Missing entries, half an image, noise and a low resolution are all measurements. The samples are
    of the posterior: they differ as much as y leaves open. Those of a row depend on the seed and
    its own values only. If all rows share some variables w (the weights of a Bayesian decoder), the
    samples are those of p(x|y, D): w is sampled several times, and for each row these samples count
    in proportion to p(y|w).

    Arguments:
        vae: a `VAE`, or any program with a site "x".
        y: the measurements (N, *shape), as an array, `Rows` or a table; NaN is a missing entry.
        context: the context of a conditional VAE.
        labels: class indices (N,) for a prior that observes labels.
        through: how y comes from x (`pyrovae.measurements`): `Missing()` by default, `Noise(sd)`,
            `Flip(p)`, `Downsample(factor)`, `Crop(height, width)`, `Blur(kernel)`,
            `Quantised(levels)`, several combined by `>>`, or a function from x to a Pyro
            distribution of y.
        draws: S, the number of samples of each row.
        particles: the number of weighted samples of each row, from which the S are chosen; by
            default 1,000, or 32 chains for annealing.
        method: "auto", "importance", "laplace", "ais", or a method with its options.
        seed: seed of the samples.
        chunk: see `log_evidence`.
        progress: show a bar with the time left.
        given: "posterior", or "mean" for shared variables at their mean; leave it out without them.
        weights: the number of samples of shared variables; by default 10.

    Returns:
        `Completion`.

    Raises:
        InputError: for a y of another shape or that cannot be a result of the measurement; for a
            measurement without a density (add noise); for rows without any probability; and for
            more samples than fit into memory.

    References:
        Rezende, Mohamed & Wierstra (2014), "Stochastic Backpropagation and Approximate Inference in
        Deep Generative Models", on missing pixels; Mattei & Frellsen (2018), "Leveraging the Exact
        Likelihood of Deep Latent Variable Models"; Mattei & Frellsen (2019), "MIWAE".

    Example:
        >>> import math, pyrovae as pv
        >>> vae = pv.VAE((3,), 1, likelihood=pv.likelihoods.Normal(), encoder=pv.networks.MLP(8))
        >>> completion = condition(vae, [[0.1, math.nan, -0.2]], draws=5)
        >>> completion.x.shape, bool((completion.x[:, 0, 0] == 0.1).all())
        (torch.Size([5, 1, 3]), True)
    """
    measurement = Missing() if through is None else as_measurement(through)
    draws = count_of("draws", draws)
    measured = Measured(vae, measurement, _event_shape(vae, y, measurement))
    y = as_program(vae).read(y)
    context = contexts_of(as_program(vae), context, Rows.of(y))
    with (
        checked(measured, y, context, labels, seed=seed, chunk=chunk) as free,
        Shared(given, weights, usual=WEIGHTS).draws(free) as (pieces, shared),
    ):
        return mixed(
            (
                completed(measured, at, draws, method, particles, progress=progress)
                for at in shared.of(pieces)
            ),
            pieces,
            shared,
        )


def completed(
    measured: Measured,
    pieces: Pieces,
    draws: int,
    method: str | Method,
    particles: int | None,
    *,
    progress: bool = False,
) -> Completion:
    """The samples of `condition` for rows of a measured program that are being evaluated."""
    measured.runner.max_plate_nesting = pieces.runner.max_plate_nesting
    work = _Work(measured, draws, _solver(method, particles, draws))
    refuse_too_large(f"{draws:,} samples of {len(pieces):,} rows", work.bytes_of(pieces))
    groups = []
    with shown("conditioning", len(pieces), show=is_first() and progress) as advance:
        for start in range(0, len(pieces), TOGETHER):
            some = pieces.take(slice(start, min(start + TOGETHER, len(pieces))))
            groups += [(start + rows, *rest) for rows, *rest in work.groups(some)]
            advance(len(some))
    return _joined(groups, pieces.rows, measured)


def _event_shape(vae: Any, y: Any, measurement: Measurement) -> tuple[int, ...]:  # noqa: ANN401
    """The shape of x: as the program declares it, or that of y where both are the same."""
    program = as_program(vae)
    if program.event_shape is not None:
        return tuple(program.event_shape)
    shape = tuple(Rows.of(program.read(y)).x.shape[1:])
    if measurement.shape(shape) != shape:
        raise InputError(
            "the program does not declare the shape of x, which is not that of y: give it an attribute "
            "event_shape"
        )
    return shape


# -------------------------------------------------------------------- posteriors of z


class _Group(NamedTuple):
    """The posterior of some rows, with the method and its number of particles."""

    rows: np.ndarray
    posterior: Posterior
    method: Method
    particles: int


class _Solver:
    """Posteriors by one method, or by the cheapest whose diagnostics are good.

    Arguments:
        methods: the methods with their numbers of particles, the cheapest first.
        draws: the number of samples that are wanted.
    """

    def __init__(self, methods: list[tuple[Method, int]], draws: int) -> None:
        self.methods, self.draws = methods, draws
        self._has_slopes: bool | None = None

    def __call__(self, pieces: Pieces, level: int = 0) -> Iterator[_Group]:
        """Posteriors of groups of rows."""
        method, particles = self.methods[level]
        poor: list[np.ndarray] = []
        for some in method.parts(pieces, particles):
            rows = np.arange(len(pieces))[some.where]
            left = torch.arange(len(some), device=some.device)
            for posterior, is_good in self._tries(method.posterior(some, particles), method, particles):
                is_last = posterior.mover is None and not self._goes_on(level, pieces)
                chosen = torch.ones_like(left, dtype=torch.bool) if is_last else is_good
                if chosen.any():
                    found = posterior.rows(chosen.nonzero().flatten())
                    yield _Group(rows[left[chosen].cpu().numpy()], found, method, particles)
                left = left[~chosen]
            poor.append(rows[left.cpu().numpy()])
        unsolved = np.concatenate([np.empty(0, dtype=int), *poor])
        if len(unsolved):
            for group in self(pieces.take(unsolved), level + 1):
                yield group._replace(rows=unsolved[group.rows])

    def _tries(self, posterior: Posterior, method: Method, particles: int) -> Iterator[Any]:
        """Weighted samples, then moved ones of the rows whose weights are too uneven."""
        is_good = posterior.are_trusted(particles, annealed=method.annealed)
        if not method.annealed:  # fewer would be repeated among the samples
            is_good = is_good & (posterior.summary[2] >= min(self.draws, particles / 4))
        yield posterior, is_good
        if posterior.mover is not None and not is_good.all():
            moved = posterior.mover((~is_good).nonzero().flatten(), self.draws)
            yield moved, moved.are_trusted(particles, annealed=False)

    def _goes_on(self, level: int, pieces: Pieces) -> bool:
        """Whether there is another method, and it can be used for this program."""
        return level + 1 < len(self.methods) and self.has_slopes(pieces)

    def has_slopes(self, pieces: Pieces) -> bool:
        """Whether the program can be climbed and annealed; some take the first method only."""
        if self._has_slopes is None:
            try:
                self.methods[1][0].posterior(pieces.take(slice(0, 1)), 30)
            except InputError:
                self._has_slopes = False
            else:
                self._has_slopes = True
        return self._has_slopes


def _solver(method: str | Method, particles: int | None, draws: int) -> _Solver:
    if isinstance(method, str) and method == "auto":
        count = count_of("particles", max(1000, draws) if particles is None else particles)
        chains = min(count, max(CHAINS, draws // 4))
        return _Solver([(Importance(), count), (Laplace(), count), (AIS(), chains)], draws)
    chosen = as_method(method)
    usual = CHAINS if chosen.annealed else max(chosen.particles, draws)
    return _Solver([(chosen, count_of("particles", usual if particles is None else particles))], draws)


# -------------------------------------------------------------------- samples of x


class _Work:
    """Samples and moments of x for rows.

    Arguments:
        measured: the program of the measurement.
        draws: S.
        solver: gives posteriors.
    """

    def __init__(self, measured: Measured, draws: int, solver: _Solver) -> None:
        self.measured, self.draws, self.solver = measured, draws, solver

    def bytes_of(self, pieces: Pieces) -> int:
        """The memory of the samples."""
        return self.draws * len(pieces) * int(np.prod(self.measured.steps.event_shape)) * 8

    def groups(self, pieces: Pieces) -> Iterator[tuple[Any, ...]]:
        """The results of groups of rows, with the numbers of these rows."""
        for rows, posterior, method, count in self._posteriors(pieces):
            refuse_undefined(posterior.summary[0], torch.from_numpy(rows) + pieces.start)
            good = posterior.are_trusted(count, annealed=method.annealed)
            size = max(1, DECODED * pieces.pairs // max(self.draws, len(posterior.log_w)))
            for part in torch.arange(len(rows)).split(size):
                some, inner = pieces.take(rows[part.numpy()]), posterior.rows(part.to(good.device))
                values = inner.resampled(self.draws, some.keys, some.seed)
                x = self._samples(values, some)
                moments = self._moments(inner.heaviest(), x, some)
                nothing = inner.summary[0] == -torch.inf  # no weight to choose samples by
                for result in (x.transpose(0, 1), *moments):
                    result[nothing] = torch.nan
                places = torch.from_numpy(rows)[part]
                yield places, values, x, moments, inner.summary, good[part], method.name, count

    def _posteriors(self, pieces: Pieces) -> Iterator[_Group]:
        """Posteriors of z, without importance sampling where the guide reads what it never saw."""
        if len(self.solver.methods) == 1 or not self.solver.has_slopes(pieces):
            yield from self.solver(pieces)
            return
        knows = self.measured.guide_knows(pieces.rows).cpu().numpy()
        for level, mask in ((0, knows), (1, ~knows)):
            index = mask.nonzero()[0]
            for group in self.solver(pieces.take(index), level) if len(index) else ():
                yield group._replace(rows=index[group.rows])

    def _samples(self, values: dict[str, Tensor], pieces: Pieces) -> Tensor:
        """Samples of p(x|z, y), (S, B, *event)."""
        px, numbers = self.measured.likelihood(values, pieces.rows), itertools.count()
        shape = (self.draws, len(pieces))

        def draw(p: Any) -> Tensor:  # noqa: ANN401
            p = p.expand(torch.Size((*shape, *p.batch_shape[2:])))
            return pyro.sample(f"x {next(numbers)}", p.to_event(len(p.batch_shape) - 2))

        plates = pyro.plate(PARTICLES, shape[0], dim=-2), pyro.plate(DATA, shape[1], dim=-1)
        with KeyedDraws(pieces.keys, pieces.seed), plates[0], plates[1]:
            x = self.measured.steps.back(px, pieces.rows.x, self.measured.drawn(values), draw)
        return self.measured.with_context(x, pieces.rows)

    def _moments(self, posterior: Posterior, x: Tensor, pieces: Pieces) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, sd and mode of p(x|y) from the weighted particles; from samples if not known."""
        p, _ = elements_of(self.measured.likelihood(posterior.values, pieces.rows))
        weight, y = posterior.log_w.softmax(0), pieces.rows.x
        if self.measured.steps.is_missing:
            mean, variance, mode = _with_known(moments_of(p, weight), y)
        else:
            known = None if self.measured.drawn(posterior.values) else self.measured.steps.moments(p, y)
            mean, variance, mode = of_samples(p, x, known and averaged(weight, *known))
        variance = torch.where(variance.isnan(), x.double().var(0, correction=0), variance)
        sd = self.measured.without_given(variance.clamp(min=0).sqrt())
        mean, mode = (self.measured.with_context(part, pieces.rows) for part in (mean, mode))
        return mean, sd, mode


def _with_known(moments: Moments, y: Tensor) -> Moments:
    """The moments of missing entries, and the values of the others."""
    mean, variance, mode = moments
    is_known = ~y.isnan()
    mean, mode = (torch.where(is_known, y.to(part), part) for part in (mean, mode))
    return Moments(mean, torch.where(is_known, 0.0, variance), mode)


def _joined(groups: list[tuple[Any, ...]], rows: Rows, measured: Measured) -> Completion:
    order = torch.cat([numbers for numbers, *_ in groups]).argsort()
    _, values, x, moments, summary, good, names, counts = zip(*groups, strict=True)
    sizes = [len(numbers) for numbers, *_ in groups]

    def in_order(parts: Any, axis: int = 0) -> Tensor:  # noqa: ANN401
        return torch.cat([part.cpu() for part in parts], axis).index_select(axis, order)

    log_py, mc_stderr, ess, khat = in_order(summary, 1).numpy()
    refuse_weightless(torch.from_numpy(log_py))
    mean, sd, mode = (in_order(part).to(x[0].dtype) for part in zip(*moments, strict=True))
    return Completion(
        x=in_order(x, 1),
        values={name: in_order([part[name] for part in values], 1) for name in values[0]},
        mean=mean,
        sd=sd,
        mode=mode,
        y=rows.x.cpu(),
        log_py=log_py,
        mc_stderr=mc_stderr,
        ess=ess,
        khat=khat,
        trusted=in_order(good).numpy(),
        method=np.repeat(np.array(names), sizes)[order.numpy()],
        particles=np.repeat(np.array(counts), sizes)[order.numpy()],
        through=repr(measured.steps.measurement),
        index=None if rows.index is None else rows.index.cpu().numpy(),
        schema=measured.inner.schema,
    )
