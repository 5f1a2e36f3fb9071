"""Methods of a VAE about observations: log p(x), samples and reconstructions, also as tables."""
# ruff: noqa: ANN401

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor

from pyrovae.checks import count_of, one_of, whole
from pyrovae.datasets import Rows, Schema
from pyrovae.errors import InputError, sizes
from pyrovae.memory import refuse_too_large
from pyrovae.networks.modes import in_mode
from pyrovae.seeds import Seed, random_kept, seeded
from pyrovae.terms import Program, Runner
from pyrovae.threads import alone
from pyrovae.vae.program import PartsProgram, mean_or_draw
from pyrovae.vae.uncertainty import Uncertainty, split_variance

if TYPE_CHECKING:
    import pandas

__all__ = ["Observations"]

PAIRS = 2**15  # (particle, row) pairs that run at once
SAMPLES = 2**14  # observations that are decoded at once
WEIGHTS = 20  # samples of variables that rows share, in a mean
GROUPS = 100  # the most samples of these variables in `sample`; more observations share them
STRIDE = 7919  # between the seeds of these samples


class Observations(PartsProgram):
    """The methods of a VAE that give numbers for rows, or rows."""

    rows: Callable[..., Rows]
    _context: Callable[..., Any]
    _tensors: Callable[..., Any]
    _indices: Callable[..., Any]

    def log_prob(
        self,
        x: Any,
        context: Any = None,
        y: Any = None,
        *,
        particles: int = 100,
        seed: int = 0,
        weights: int | None = None,
    ) -> Tensor:
        r"""Estimate log p(x) of each row in nats, (B,): smaller is more surprising.

        \[\log \frac1K \sum_{k=1}^K \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x)\]

        This is the bound of `pyrovae.log_evidence` with other samples: their mean differs by the
        Monte Carlo error only. `pyrovae.score` and `log_evidence` also give errors and diagnostics,
        and their samples do not depend on the other rows. If all rows share some variables w (the
        weights of a Bayesian decoder), it is the posterior predictive log p(x|D), averaged over S
        samples of w.

        Arguments:
            x: rows (B, *event), or a table.
            context: (B, *context_shape) for a conditional VAE.
            y: class indices (B,), for log p(x, y).
            particles: K.
            seed: seed of the samples.
            weights: S, by default 20.

        Raises:
            InputError: for `weights` of a VAE whose rows share no variables, and for rows that
                cannot be scored.

        Example:
            >>> from pyrovae import VAE
            >>> vae = VAE((4,), 2)
            >>> vae.log_prob([[0.0, 1, 1, 0], [1, 1, 1, 1]]).shape
            torch.Size([2])
        """
        rows = self.rows(x, context, y)
        particles, seed = count_of("particles", particles), whole("seed", seed, 0)
        if weights is not None and not self.has_globals:
            raise InputError(
                "weights= is for variables that all rows share, and this VAE has none: leave it out"
            )
        count = count_of("weights", WEIGHTS if weights is None else weights)
        if not self._free_globals:
            return _bounds(self, rows, particles, seed)
        each = []
        for number in range(count):
            with self._at_draw(seed, number):
                each.append(_bounds(self, rows, particles, seed + STRIDE * number))
        return torch.logsumexp(torch.stack(each), 0) - math.log(count)

    @overload
    def sample(
        self,
        count: int,
        context: Any = None,
        y: Any = None,
        *,
        mean: bool = False,
        as_frame: Literal[False] = False,
        seed: Seed = None,
    ) -> Tensor: ...

    @overload
    def sample(
        self,
        count: int,
        context: Any = None,
        y: Any = None,
        *,
        mean: bool = False,
        as_frame: Literal[True],
        seed: Seed = None,
    ) -> pandas.DataFrame: ...

    @torch.no_grad()
    def sample(
        self,
        count: int,
        context: Any = None,
        y: Any = None,
        *,
        mean: bool = False,
        as_frame: bool = False,
        seed: Seed = None,
    ) -> Tensor | pandas.DataFrame:
        """Draw observations from p(x), (count, *event); with `mean`, return E[x|z] at z ~ p(z).

        A likelihood without a known mean gives a sample in both cases. Variables that all rows
        share (the weights of a Bayesian decoder) are sampled too, from their posterior. There are
        at most 100 samples of them: groups of observations share one if you ask for more. This does
        not change the distribution of a single observation. Inside `with vae.holding(values)` the
        variables have these values.

        Arguments:
            count: the number of observations.
            context: (count, *context_shape) for a conditional VAE, or one context for all; a label
                (a number or a word) or one for each, if it was trained with context="labels".
                Pixels that a context gives, such as half an image, are those of the context.
            y: class indices (count,) to draw from, for a prior with labels.
            mean: whether to return E[x|z].
            as_frame: return a table in the columns, words and units of the training data.
            seed: a seed or a `torch.Generator`; by default torch's random state.

        Raises:
            InputError: for a wrong number of contexts or labels, and for more observations than fit
                into memory.

        Example:
            >>> from pyrovae import VAE
            >>> vae = VAE((4,), 2)
            >>> bool((vae.sample(3, seed=1) == vae.sample(3, seed=1)).all())
            True
        """
        count, mean = self.check_count(count), one_of("mean", mean, (True, False))
        as_frame = one_of("as_frame", as_frame, (True, False))
        context, y = self._context(context, count), self._indices(y)
        with seeded(seed):
            x = self._completed(self._of_groups(count, context, y, mean=mean), context)
        return _as_table(x, self.schema) if as_frame else x

    def check_count(self, count: int) -> int:
        """Return a number of samples if they fit into memory with their latents.

        Raises:
            InputError: if they do not fit.
        """
        count, values = whole("count", count, 0), math.prod(self.event_shape)
        width = next(self.parameters()).element_size()  # type: ignore[attr-defined]
        size = count * (values + self.prior.size) * width
        refuse_too_large(f"{count:,} samples of {values:,} values", size)
        return count

    def _of_groups(self, count: int, context: Tensor | None, y: Tensor | None, *, mean: bool) -> Tensor:
        """Samples in groups of rows, with one sample of the shared variables for each group."""
        if context is not None or y is not None:
            self.latents(context, y)  # refuses what cannot be read
        each = {"context": False, "y": False}
        for name, part, dims in (("context", context, len(self.context_shape or ())), ("y", y, 0)):
            batch = () if part is None else tuple(part.shape[: part.dim() - dims])
            if batch not in ((), (1,), (count,)):
                raise InputError(
                    f"{name} has {sizes(batch)} rows for {count} observations: give one for each"
                )
            each[name] = batch == (count,)
        if not self._free_globals or not count:
            return self._sample(count, context, y, mean=mean)
        parts = []
        for rows in torch.arange(count).chunk(GROUPS):
            with self._at_draw():
                own_context = context[rows] if each["context"] else context  # type: ignore[index]
                own_y = y[rows] if each["y"] else y  # type: ignore[index]
                parts.append(self._sample(len(rows), own_context, own_y, mean=mean))
        return torch.cat(parts)

    def _sample(self, count: int, context: Tensor | None, y: Tensor | None, *, mean: bool) -> Tensor:
        prior = self.latents(context, y)
        z = prior.expand((count,)).sample()
        if count <= SAMPLES:
            return self._drawn(z, context, mean=mean)
        x = None  # filled in pieces, to save memory
        for start in range(0, count, SAMPLES):
            piece = slice(start, start + SAMPLES)
            every = context is not None and len(context) == count
            some = self._drawn(z[piece], context[piece] if every else context, mean=mean)  # type: ignore[index]
            x = some.new_empty(count, *some.shape[1:]) if x is None else x
            x[piece] = some
        assert x is not None
        return x

    def _drawn(self, z: Tensor, context: Tensor | None, *, mean: bool) -> Tensor:
        likelihood = self.decode(z, context)
        return mean_or_draw(likelihood) if mean else likelihood.sample()

    def _completed(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Observations with the entries that a context gives, such as half an image."""
        derived = None if self.schema is None else self.schema.derived
        return x if derived is None or context is None else derived.completed(x, context)

    @overload
    def reconstruct(
        self,
        x: Any,
        context: Any = None,
        y: Any = None,
        *,
        as_frame: Literal[False] = False,
        seed: Seed = None,
        draws: int = 1,
    ) -> Tensor: ...

    @overload
    def reconstruct(
        self,
        x: Any,
        context: Any = None,
        y: Any = None,
        *,
        as_frame: Literal[True],
        seed: Seed = None,
        draws: int = 1,
    ) -> pandas.DataFrame: ...

    @torch.no_grad()
    def reconstruct(
        self,
        x: Any,
        context: Any = None,
        y: Any = None,
        *,
        as_frame: bool = False,
        seed: Seed = None,
        draws: int = 1,
    ) -> Tensor | pandas.DataFrame:
        """E[x|z], or a sample of p(x|z), at a sample z ~ q(z|x): x (B, *event) -> (B, *event).

        With `draws` above 1 it is the mean of E[x|z] over this number of samples of z. Variables
        that all rows share (the weights of a Bayesian decoder) are sampled from their posterior,
        once for each of these samples and the same for all rows. With `as_frame`, the result is a
        table in the columns, words and units of the training data.

        Arguments:
            x, context, y: rows, as for `encode`.
            as_frame: return a table.
            seed: a seed or a `torch.Generator`; by default torch's random state.
            draws: the number of samples of z.

        Raises:
            InputError: for several draws of a likelihood without a mean.
        """
        as_frame, draws = one_of("as_frame", as_frame, (True, False)), count_of("draws", draws)
        x, context, y = self._tensors(x, context, y)
        with seeded(seed):
            total: Any = 0
            for _ in range(draws):
                with self._at_draw():
                    p = self.decode(self.encode(x, context, y).sample(), context)
                    total = total + (mean_or_draw(p) if draws == 1 else self._mean(p))
            x_hat = total if draws == 1 else total / draws
        x_hat = self._completed(x_hat, context)
        return _as_table(x_hat, self.schema) if as_frame else x_hat

    def uncertainty(
        self,
        x: Any,
        context: Any = None,
        y: Any = None,
        *,
        draws: int = 50,
        samples: int = 20,
        seed: Seed = None,
    ) -> Uncertainty:
        r"""Split the variance of E[x|z, w] of each element into the parts from z and from w.

        \[\mathrm{Var}\,m = \mathbb E_w \mathrm{Var}_z\, m + \mathrm{Var}_w \mathbb E_z\, m, \qquad
        m = \mathbb E[x|z, w], \quad z \sim q(z|x), \quad w \sim q(w)\]

        w are the variables that all rows share, such as the weights of a Bayesian decoder. The part
        from w tends to be larger for rows that are unlike the training rows. The noise of p(x|z, w)
        is not included.

        Arguments:
            x, context, y: rows, as for `encode`.
            draws: the number of samples of w, at least 2.
            samples: the number of samples of z for each of them, at least 2.
            seed: a seed or a `torch.Generator`; by default torch's random state.

        Returns:
            `Uncertainty`, with unbiased estimates of shape (N, *event).

        Raises:
            InputError: for a VAE whose rows share no variables, a likelihood without a mean, or
                fewer than two draws or samples.

        Example:
            >>> from pyrovae import VAE, networks
            >>> vae = VAE((4,), 2, decoder=networks.Bayesian(networks.MLP(8)))
            >>> vae.uncertainty([[0.0, 1, 1, 0]], draws=5, samples=3).total.shape
            (1, 4)
        """
        if not self._free_globals:
            raise InputError(
                "uncertainty splits a variance between z and variables that all rows share, and here only z "
                "varies: declare decoder=networks.Bayesian(...)"
            )
        draws, samples = whole("draws", draws, 2), whole("samples", samples, 2)
        rows = self.rows(x, context, y)
        with seeded(seed), in_mode(self, training=False):  # type: ignore[arg-type]
            return split_variance(self, rows, draws, samples)

    def _mean(self, p: Any) -> Tensor:
        try:
            return p.mean
        except NotImplementedError:
            raise InputError(f"{self.likelihood!r} has no mean, and this is computed from means") from None

    # ---------------------------------------------------------------- shared variables

    @property
    def _free_globals(self) -> bool:
        """Whether there are variables that rows share and that have no value in this context."""
        return any(not variable.is_held for variable in self.global_variables.values())

    @contextmanager
    def _at_draw(self, seed: int | None = None, number: int = 0) -> Iterator[None]:
        """In the context, free variables that rows share have a value sampled from their posterior.

        Arguments:
            seed: seed of the samples; by default torch's random state.
            number: the index of the sample, with a seed.
        """
        free = {name for name, variable in self.global_variables.items() if not variable.is_held}
        if not free:
            yield
            return
        with seeded(None if seed is None else (seed + 1) * 1_000_003 + number):
            values = self.draw_globals()
        with self.holding({name: value for name, value in values.items() if name in free}):
            yield


@alone
@torch.no_grad()
def _bounds(program: Program, rows: Rows, particles: int, seed: int) -> Tensor:
    """The importance-weighted bound L_K of each row, (B,), with samples from a seed."""
    runner = Runner(program)
    program.check_rows(rows, "x")
    done = [rows.x.new_empty(0, dtype=torch.float64)]
    with random_kept(), in_mode(runner.module, training=False):
        torch.manual_seed(seed)
        for some in rows.batches(max(1, PAIRS // particles)):
            total = rows.x.new_full((len(some),), -math.inf, dtype=torch.float64)
            for first in range(0, particles, PAIRS):  # a single pass unless there are very many
                log_w = runner.terms(some, particles=min(PAIRS, particles - first)).log_w.double()
                total = torch.logaddexp(total, torch.logsumexp(log_w, 0))
            done.append(total - math.log(particles))
    return torch.cat(done)


def _as_table(x: Tensor, schema: Schema | None) -> pandas.DataFrame:
    """Rows as a table in the user's columns, words and units.

    Raises:
        InputError: for a model that was not trained on a table.
    """
    if schema is None or schema.columns is None:
        raise InputError(
            "as_frame=True needs the names of columns, and the VAE was not trained on a table: leave it out"
        )
    return schema.frame(x)
