"""Cells of the grid: combinations of parts in which every two that interact meet.

The full product has millions of cells. `cover(2)` finds a few hundred in which each pair of entries of two
axes that interact occurs at least once; `cover(1)` finds a few dozen in which each entry occurs.
Combinations that are refused (see docs/parts.md) are left out by `goes`; test_refusals.py has them.
"""

import itertools
import random
from functools import cache
from typing import Any, NamedTuple

import pyrovae as pv
from pyrovae import guides, likelihoods, objectives, priors
from pyrovae.testing.programs import data_of
from tests.support.parts import GUIDES, LIKELIHOODS, OBJECTIVES, PAIRS, PRIORS, data_for, small_vae

CONTEXTS = (None, (3,))
# Objectives that use the distributions of the one latent site.
ONE_VECTOR = (
    objectives.BetaTC,
    objectives.DIP,
    objectives.Factor,
    objectives.JensenShannon,
    objectives.MMD,
)
# Guides whose mean is known.
WITH_MEAN = (
    guides.DiagonalNormal,
    guides.FullRankNormal,
    guides.LowRankNormal,
    guides.Laplace,
    guides.GaussianMixture,
)


class Cell(NamedTuple):
    """One combination; `networks` is an encoder with its decoder."""

    prior: Any
    likelihood: Any
    guide: Any
    objective: Any
    networks: Any
    context: Any


AXES = Cell(PRIORS, LIKELIHOODS, GUIDES, OBJECTIVES, PAIRS, CONTEXTS)

# Pairs of axes whose entries meet in code: what is drawn and ascended, and what is computed from z. An
# objective sees densities only, so no likelihood or network needs to meet every prior, guide and objective.
LATENT = ("prior", "guide", "objective", "context")
OBSERVED = ("likelihood", "networks", "context")
INTERACTING = {
    tuple(sorted(map(Cell._fields.index, pair)))
    for axes in (LATENT, OBSERVED)
    for pair in itertools.combinations(axes, 2)
}


def space(part: Any) -> Any:
    """On what z lives, as far as a prior and a guide must agree."""
    if isinstance(part, (priors.HypersphericalUniform, guides.ProjectedNormal)):
        return "sphere"
    if isinstance(part, (priors.Categorical, guides.Categorical)):
        return ("one-hot" if part.temperature is None else "simplex", part.classes)
    if isinstance(part, (priors.Classes, guides.Classes)):
        return ("with a class", part.classes)
    return "real"


def is_discrete(guide: Any) -> bool:
    """Whether a guide draws what has no path: one-hot vectors, or a class."""
    return space(guide)[0] == "one-hot" or guide.states is not None


def has_strata(part: Any) -> bool:
    """Whether draws of a guide may come from each stratum in turn, which no other code does."""
    return is_discrete(part) or isinstance(part, guides.GaussianMixture)


def partner(guide: Any) -> Any:
    """A prior on the space of a guide."""
    if isinstance(guide, guides.Hierarchical):
        return priors.Hierarchical(guide.layers, hidden=(5,))
    if isinstance(guide, guides.Classes):
        return priors.Classes(guide.classes)
    if guide.states is not None:
        return priors.GaussianMixture(guide.states, explicit=True)
    known = {"sphere": priors.HypersphericalUniform(), "real": priors.StandardNormal()}
    there = space(guide)
    return known.get(there) or priors.Categorical(guide.classes, guide.temperature)


def goes(cell: Cell) -> bool:
    """Whether a cell has a meaning."""
    return all(rule(cell) for rule in (_spaces, _context, _columns, _gradients, _distributions))


def _spaces(cell: Cell) -> bool:
    """A VampPrior lives where its guide does; a guide draws the classes that the prior has, or none."""
    if cell.guide.states not in (None, cell.prior.states):
        return False
    if isinstance(cell.prior, priors.VampPrior):
        return space(cell.guide) in ("real", "sphere")
    return space(cell.prior) == space(cell.guide)


def _context(cell: Cell) -> bool:
    """A prior that is a network of the context needs one."""
    return not isinstance(cell.prior, priors.Conditional) or cell.context is not None


def _columns(cell: Cell) -> bool:
    """A table has rows, no images."""
    return not isinstance(cell.likelihood, likelihoods.Mixed) or flat(cell.networks)


def _gradients(cell: Cell) -> bool:
    """A discrete guide gives a gradient to what needs no path, or sums over its strata."""
    if not is_discrete(cell.guide):
        return True
    objective = cell.objective
    if objective.is_exact_when_summed_out or objective.draws == "routed":
        return False
    return objective.draws == "detached" or objective.stratified


def _distributions(cell: Cell) -> bool:
    """Objectives that are known for some distributions only."""
    of_one = isinstance(cell.objective, ONE_VECTOR) or getattr(cell.objective, "free_bits", 0)
    if of_one and cell.prior.states is not None:
        return False
    if getattr(cell.objective, "insomnia", 1) < 1 and cell.prior.labels:  # two sites are observed
        return False
    if isinstance(cell.objective, objectives.Balanced):
        return isinstance(cell.prior, (priors.GaussianMixture, priors.Classes))
    if isinstance(cell.objective, objectives.SemiSupervised):
        return cell.prior.labels
    normal = isinstance(cell.guide, guides.DiagonalNormal)
    normal_prior = isinstance(cell.prior, (priors.StandardNormal, priors.Normal, priors.Conditional))
    if isinstance(cell.objective, objectives.JensenShannon) or getattr(cell.objective, "analytic_kl", False):
        return normal and normal_prior
    if isinstance(cell.objective, objectives.BetaTC):
        return normal
    if isinstance(cell.objective, objectives.Autoencoder):
        return isinstance(cell.guide, WITH_MEAN) and not cell.guide.states
    if isinstance(cell.objective, objectives.DIP):
        return normal or isinstance(cell.guide, guides.FullRankNormal)
    return True


def flat(pair: Any) -> bool:
    """Whether two networks take rows of any shape, not only images."""
    return not any("Conv" in type(n).__name__ or "Residual" in type(n).__name__ for n in pair)


def event_of(cell: Cell, image: tuple[int, ...] = (1, 8, 8)) -> tuple[int, ...]:
    """An event that the networks of a cell take."""
    return (5,) if flat(cell.networks) else image


def declared(cell: Cell, *, image: tuple[int, ...] = (1, 8, 8), **more: Any) -> pv.VAE:
    """The VAE of a cell."""
    parts = {"prior": cell.prior, "likelihood": cell.likelihood, "guide": cell.guide}
    return small_vae(
        event_of(cell, image),
        2,
        context_shape=cell.context,
        networks=cell.networks,
        wide=False,
        **parts,
        **more,
    )


def tiny(vae: pv.VAE) -> pv.datasets.Data:
    """Twenty training rows that the VAE drew itself, three for validation and three for the test."""
    rows = pv.Rows(*data_for(vae, 26))
    if isinstance(vae.likelihood, likelihoods.Beta):  # double draws may be 0 or 1 in the file's precision
        rows = rows.of_values(rows.x.clamp(1e-4, 1 - 1e-4))
    return data_of(rows, validation=3, test=3)


def cell_name(cell: Cell) -> str:
    """A cell in the name of a test."""
    *parts, pair, context = cell
    return "-".join([*map(repr, parts), type(pair[0]).__name__, str(context)])


@cache
def cover(strength: int, seed: int = 0) -> list[Cell]:
    """Cells in which all entries (1), or all pairs of entries of interacting axes (2), occur."""
    rng = random.Random(seed)
    entries = [(axis, k) for axis, column in enumerate(AXES) for k in range(len(column))]
    wanted = [(e,) for e in entries]
    if strength == 2:
        wanted = [(a, b) for a, b in itertools.combinations(entries, 2) if (a[0], b[0]) in INTERACTING]
    rng.shuffle(wanted)
    missing, chosen = set(wanted), []
    for group in wanted:
        if group in missing:
            found = _best(group, missing, strength, rng)
            if found is not None:
                chosen.append(Cell(*(AXES[axis][k] for axis, k in enumerate(found))))
                missing -= _groups(found, strength)
    return chosen


def sample(count: int, seed: int = 0) -> list[Cell]:
    """Cells of the full product, drawn at random."""
    rng = random.Random(seed)
    drawn = (Cell(*(rng.choice(column) for column in AXES)) for _ in itertools.count())
    return list(itertools.islice((cell for cell in drawn if goes(cell)), count))


def _best(group: tuple, missing: set, strength: int, rng: random.Random) -> list[int] | None:
    """Of some cells that hold a group, the one with most of what is missing; None when none goes."""
    best, most, good = None, -1, 0
    for _ in range(1500):
        cell = [rng.randrange(len(column)) for column in AXES]
        for axis, k in group:
            cell[axis] = k
        if not goes(Cell(*(AXES[axis][k] for axis, k in enumerate(cell)))):
            continue
        count = len(_groups(cell, strength) & missing)
        if count > most:
            best, most = cell, count
        good += 1
        if good == 25:
            break
    return best


def _groups(cell: list[int], strength: int) -> set[tuple]:
    return set(itertools.combinations(enumerate(cell), strength))
