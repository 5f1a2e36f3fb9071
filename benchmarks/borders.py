"""Compare densities at the borders of their parameters and supports with mpmath.

    python benchmarks/borders.py                  all parts, in float32 and float64 (two minutes)
    python benchmarks/borders.py Beta StudentT    parts with these words in their names
    python benchmarks/borders.py --flows          the densities of flows, in both directions

For each part and type it prints the largest deviation of log p, of its gradient with respect to
every parameter, and of the logarithm of its integral or sum. It also prints whether 20,000 samples
follow the density. Deviations of log p and its gradient are relative to the larger of the value and
1. The exact values are computed from the rounded numbers that the part gets. The integral is that of
the part's own density, by the quadrature of `pyrovae.testing`, whose nodes are rounded in float32.
"-" means that there is no quadrature for this space, or that the sum is too long.

Priors and guides with networks (Flow, Autoregressive, Hierarchical, Conditional, VampPrior) are left
out. Given the outputs of their networks they are normal distributions, and
`pyrovae.testing.check_part` integrates them.
"""

from __future__ import annotations

import argparse
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import mpmath
import torch
from mpmath import mpf
from torch import Tensor

from pyrovae import guides, likelihoods, priors
from pyrovae.distributions.flows import flow_names
from pyrovae.numerics import SCALE_FLOOR
from pyrovae.testing.attaching import attached, params
from pyrovae.testing.densities import Measured
from pyrovae.testing.spaces import log_density

DIGITS = 60
STEP = mpf(10) ** -22
LIMITS = {torch.float32: 2e-6, torch.float64: 1e-13}  # of log p and its gradient
Numbers = Mapping[str, Any]  # nested lists, by parameter


@dataclass(frozen=True)
class Case:
    """A part, the parameters and values at which it is tried, and its exact log-density.

    `exact(x, **parameters)` gets mpmath numbers, in nested lists of the parameters' shapes. `kinks`
    says where the density has no derivative. `whole` and `drawn` say whether the integral and the
    samples are checked.
    """

    name: str
    make: Callable[[], Any]
    parameters: Sequence[Numbers]
    values: Sequence[Any] | Callable[..., Sequence[Any]]
    exact: Callable[..., mpf]
    sizes: tuple[Any, ...] = ((1,),)
    whole: bool = True
    drawn: bool = True
    kinks: Callable[..., bool] = field(default=lambda x, **parameters: False)
    slack: float = 1.0  # of the limits, where numbers in the part's type cannot be closer

    def part(self, dtype: torch.dtype) -> Any:
        part, before = self.make(), torch.get_default_dtype()
        try:
            torch.set_default_dtype(dtype)
            part.attach(*self.sizes)
        finally:
            torch.set_default_dtype(before)
        return part.to(dtype).eval()

    def distribution(self, part: Any, parameters: Mapping[str, Tensor]) -> Any:
        if isinstance(part, priors.Prior):
            return torch.func.functional_call(part, dict(parameters), ())
        return part(**parameters)

    def values_at(self, parameters: Numbers) -> Sequence[Any]:
        return self.values(**parameters) if callable(self.values) else self.values


def tensors(parameters: Numbers, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: torch.tensor(value, dtype=dtype) for name, value in parameters.items()}


def nested(tensor: Tensor) -> Any:
    """The numbers of a tensor as nested lists of mpf."""
    values = tensor.detach().tolist()
    convert = lambda v: [convert(w) for w in v] if isinstance(v, list) else mpf(v)  # noqa: E731
    return convert(values)


# ---------------------------------------------------------------- deviations


@dataclass
class Worst:
    """The largest deviation, and where it is."""

    deviation: float = 0.0
    place: str = ""

    def update(self, found: float, exact: float, place: str) -> None:
        deviation = abs(found - exact) / max(1.0, abs(exact))
        if not deviation <= self.deviation:  # nan too
            self.deviation, self.place = deviation, f"{place}: {found:.8g}, exact {exact:.8g}"


@dataclass
class Result:
    """What `check` found for one case in one type."""

    case: Case
    dtype: torch.dtype
    value: Worst = field(default_factory=Worst)
    gradient: Worst = field(default_factory=Worst)
    integral: Worst | None = None
    draws: str = "-"


def check(case: Case, dtype: torch.dtype, *, draws: bool = True) -> Result:
    """Compare a case with its exact values, and its samples with its density."""
    result, part = Result(case, dtype), case.part(dtype)
    with warnings.catch_warnings(), mpmath.workdps(DIGITS):
        warnings.simplefilter("ignore")
        for parameters in case.parameters:
            for value in case.values_at(parameters):
                compare(result, part, parameters, value)
        if draws:
            for parameters in case.parameters:
                compare_samples(result, part, parameters)
    return result


def compare(result: Result, part: Any, parameters: Numbers, value: Any) -> None:
    case, dtype = result.case, result.dtype
    leaves = {name: leaf.requires_grad_() for name, leaf in tensors(parameters, dtype).items()}
    x = torch.tensor(value, dtype=dtype)
    log_p = case.distribution(part, leaves).log_prob(x)
    numbers, at = {name: nested(leaf) for name, leaf in leaves.items()}, nested(x)
    exact = case.exact(at, **numbers)
    place = f"x={shown(value)} {' '.join(f'{k}={shown(v)}' for k, v in parameters.items())}".strip()
    result.value.update(log_p.item(), float(exact), place)
    if not leaves or not log_p.requires_grad or case.kinks(at, **numbers):
        return
    grads = torch.autograd.grad(log_p, list(leaves.values()), allow_unused=True)
    for name, found in zip(leaves, grads, strict=True):
        for index in itertools.product(*(range(n) for n in leaves[name].shape)):
            slope = derivative(case.exact, at, numbers, name, index)
            given = 0.0 if found is None else found[index].item()
            result.gradient.update(given, float(slope), f"d {name} at {place}")


def derivative(exact: Callable, x: Any, numbers: Numbers, name: str, index: tuple[int, ...]) -> mpf:
    start = numbers[name]
    for i in index:
        start = start[i]
    step = STEP * max(1, abs(start))
    ends = []
    for sign in (1, -1):
        moved = {
            key: replaced(v, index, start + sign * step) if key == name else v for key, v in numbers.items()
        }
        ends.append(exact(x, **moved))
    return (ends[0] - ends[1]) / (2 * step)


def replaced(values: Any, index: tuple[int, ...], new: mpf) -> Any:
    if not index:
        return new
    return [replaced(v, index[1:], new) if i == index[0] else v for i, v in enumerate(values)]


class Sampled(Measured):
    """The masses of a distribution in float64, and samples of one in another type."""

    def __init__(self, double: Any, single: Any) -> None:
        super().__init__("it", double)
        self.single = single

    @cached_property
    def samples(self) -> Tensor:
        with torch.no_grad():
            samples = self.single.expand((20_000,)).sample().double()
        if self.rule is None or self.rule.space != "all values" or samples.shape[-1] > 1:
            return samples
        nodes = self.rule.z.flatten()  # k / 255 in float32 is another number than in float64
        nearest = nodes[(samples - nodes).abs().argmin(-1, keepdim=True)]
        return torch.where((samples - nearest).abs() < 1e-6, nearest, samples)


def compare_samples(result: Result, part: Any, parameters: Numbers) -> None:
    case, dtype = result.case, result.dtype
    if not (case.whole or case.drawn):
        return
    torch.manual_seed(0)
    single, double = (
        case.distribution(case.part(kind), tensors(parameters, kind)) for kind in (dtype, torch.float64)
    )
    place = " ".join(f"{name}={shown(value)}" for name, value in parameters.items())
    measured = Sampled(double, single)
    if case.whole and measured.rule is not None:
        z = measured.rule.z.to(dtype)
        inside = single.support.check(z)  # a node near 1 may be rounded to 1
        mass = log_density(single, z[inside]).double() + measured.rule.log_weight[inside]
        result.integral = result.integral or Worst()
        result.integral.update(torch.logsumexp(mass, 0).item(), 0.0, place)
    if case.drawn:
        difference = measured._difference()
        if result.draws in ("-", "follow"):
            result.draws = "follow" if difference is None else f"differ at {place}: {difference}"


def shown(value: Any) -> str:
    if isinstance(value, Sequence):
        return "[" + ",".join(map(shown, value)) + "]"
    return f"{value:.6g}"


# ---------------------------------------------------------------- exact log-densities


def softplus(r: mpf) -> mpf:
    return mpmath.log1p(mpmath.exp(r)) if r < 0 else r + mpmath.log1p(mpmath.exp(-r))


def positive(r: mpf, floor: float = SCALE_FLOOR) -> mpf:
    return softplus(r) + mpf(floor)


def log_sigmoid(r: mpf) -> mpf:
    return -softplus(-r)


def log_sum_exp(values: Sequence[mpf]) -> mpf:
    top = max(values)
    return top + mpmath.log(sum(mpmath.exp(v - top) for v in values))


def log_softmax(logits: Sequence[mpf]) -> list[mpf]:
    total = log_sum_exp(logits)
    return [v - total for v in logits]


def normal(x: mpf, loc: mpf, scale: mpf) -> mpf:
    return -(((x - loc) / scale) ** 2) / 2 - mpmath.log(scale) - mpmath.log(2 * mpmath.pi) / 2


def laplace(x: mpf, loc: mpf, scale: mpf) -> mpf:
    return -abs(x - loc) / scale - mpmath.log(2 * scale)


def student(x: mpf, df: mpf, loc: mpf, scale: mpf) -> mpf:
    t = (x - loc) / scale
    gammas = mpmath.loggamma((df + 1) / 2) - mpmath.loggamma(df / 2)
    return (
        gammas - mpmath.log(df * mpmath.pi) / 2 - (df + 1) / 2 * mpmath.log1p(t * t / df) - mpmath.log(scale)
    )


def bernoulli(x: mpf, logit: mpf) -> mpf:
    return log_sigmoid(logit) if x else log_sigmoid(-logit)


def continuous_bernoulli(x: mpf, logit: mpf) -> mpf:
    return logit * x - mpmath.log(mpmath.expm1(logit) / logit) if logit else mpf(0)


def beta(x: mpf, logit: mpf, raw: mpf) -> mpf:
    total = positive(raw + mpf(likelihoods.unit.UNIFORM))
    a, b = (total / (1 + mpmath.exp(-side)) + mpf(SCALE_FLOOR) for side in (logit, -logit))
    gammas = mpmath.loggamma(a + b) - mpmath.loggamma(a) - mpmath.loggamma(b)
    return gammas + (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log1p(-x)


def poisson(x: mpf, raw: mpf) -> mpf:
    m = positive(raw)
    return x * mpmath.log(m) - m - mpmath.loggamma(x + 1)


def negative_binomial(x: mpf, raw_mean: mpf, raw_dispersion: mpf) -> mpf:
    m, r = positive(raw_mean), 1 / positive(raw_dispersion, likelihoods.counts.DISPERSION_FLOOR)
    gammas = mpmath.loggamma(x + r) - mpmath.loggamma(r) - mpmath.loggamma(x + 1)
    return gammas - r * mpmath.log1p(m / r) - x * mpmath.log1p(r / m)


def zero_inflated(x: mpf, gate: mpf, raw_mean: mpf, raw_dispersion: mpf) -> mpf:
    counted = log_sigmoid(-gate) + negative_binomial(x, raw_mean, raw_dispersion)
    return log_sum_exp([log_sigmoid(gate), counted]) if x == 0 else counted


def multinomial(x: Sequence[mpf], logits: Sequence[mpf]) -> mpf:
    arranged = mpmath.loggamma(sum(x) + 1) - sum(mpmath.loggamma(v + 1) for v in x)
    return arranged + sum(v * log_p for v, log_p in zip(x, log_softmax(logits), strict=True))


def discretized(levels: int) -> Callable[..., mpf]:
    """The exact grid value, of which x is the rounded number."""

    def exact(x, loc, raw_scale, logits=None):
        k, half = mpmath.nint(x[0] * (levels - 1)), mpf(1) / (2 * (levels - 1))
        v = k / (levels - 1)
        parts = []
        for c, (mu, raw) in enumerate(zip(loc, raw_scale, strict=True)):
            s = positive(raw[0])
            a, b = (v - half - mu[0]) / s, (v + half - mu[0]) / s
            if k == 0:
                each = log_sigmoid(b)
            elif k == levels - 1:
                each = log_sigmoid(-a)
            else:
                each = log_sigmoid(b) + log_sigmoid(-a) + mpmath.log(-mpmath.expm1(a - b))
            parts.append(each + (log_softmax([t[0] for t in logits])[c] if logits else 0))
        return log_sum_exp(parts)

    return exact


def ordinal(x: Sequence[mpf], ordinal4_loc: Sequence[mpf]) -> mpf:
    cuts = [mpmath.log(mpf(k) / (4 - k)) - ordinal4_loc[0] for k in (1, 2, 3)]
    k = int(x[0])
    if k == 0:
        return log_sigmoid(cuts[0])
    if k == 3:
        return log_sigmoid(-cuts[2])
    return log_sigmoid(cuts[k]) + log_sigmoid(-cuts[k - 1]) + mpmath.log(-mpmath.expm1(cuts[k - 1] - cuts[k]))


def mixture(z: Sequence[mpf], logits: Sequence[mpf], loc: Any, raw_scale: Any) -> mpf:
    parts = []
    for log_pi, mu, raw in zip(log_softmax(logits), loc, raw_scale, strict=True):
        scales = [positive(raw[min(d, len(raw) - 1)]) for d in range(len(z))]
        parts.append(log_pi + sum(normal(*row) for row in zip(z, mu, scales, strict=True)))
    return log_sum_exp(parts)


def full_rank(z: Sequence[mpf], loc: Sequence[mpf], raw_scale: Sequence[mpf], lower: Any) -> mpf:
    s = [positive(raw) for raw in raw_scale]
    first = (z[0] - loc[0]) / s[0]
    second = (z[1] - loc[1] - lower[1][0] * first) / s[1]
    return -(first**2 + second**2) / 2 - mpmath.log(2 * mpmath.pi * s[0] * s[1])


def low_rank(z: Sequence[mpf], loc: Sequence[mpf], raw_scale: Sequence[mpf], factors: Any) -> mpf:
    """By the matrix determinant lemma, for one factor."""
    s = [positive(raw) for raw in raw_scale]
    w = [100 * mpmath.tanh(f / 100) for f in factors[0]]  # in units of s
    t = [(a - b) / c for a, b, c in zip(z, loc, s, strict=True)]
    total, along = 1 + sum(v * v for v in w), sum(v * u for v, u in zip(w, t, strict=True))
    quadratic = sum(u * u for u in t) - along**2 / total
    return -(quadratic + mpmath.log(total) + len(z) * mpmath.log(2 * mpmath.pi)) / 2 - sum(map(mpmath.log, s))


def projected(z: Sequence[mpf], loc: Sequence[mpf]) -> mpf:
    """The integral along the ray as a parabolic cylinder function; the vector z is normalised first."""
    length = mpmath.sqrt(sum(v * v for v in z))
    t = sum(a * b for a, b in zip(z, loc, strict=True)) / length
    dim = len(z)
    ray = mpmath.loggamma(dim) + t * t / 4 + mpmath.log(mpmath.pcfd(-dim, -t))
    return ray - (sum(v * v for v in loc) + dim * mpmath.log(2 * mpmath.pi)) / 2


def on_sphere(z: Sequence[mpf]) -> mpf:
    half = mpf(len(z)) / 2
    return mpmath.loggamma(half) - mpmath.log(2) - half * mpmath.log(mpmath.pi)


def one_hot(z: Sequence[mpf], logits: Any) -> mpf:
    flat = [v for row in logits for v in log_softmax(row)]
    return sum(a * b for a, b in zip(z, flat, strict=True))


def concrete(t: float) -> Callable[..., mpf]:
    def exact(z, logits):
        (row,) = logits
        log_z, count = [mpmath.log(v) for v in z], len(z)
        log_pi = log_softmax(row)
        normaliser = count * log_sum_exp([a - t * b for a, b in zip(log_pi, log_z, strict=True)])
        total = sum(a - (t + 1) * b for a, b in zip(log_pi, log_z, strict=True)) - normaliser
        return total + mpmath.loggamma(count) + (count - 1) * mpmath.log(t)

    return exact


# ---------------------------------------------------------------- the borders


def grid(**axes: Sequence[float]) -> list[Numbers]:
    """All combinations, each a parameter of one element."""
    return [dict(zip(axes, ([v] for v in row), strict=True)) for row in itertools.product(*axes.values())]


def single(values: Sequence[float]) -> list[list[float]]:
    return [[v] for v in values]


LOGITS = [0, 1e-8, 1e-3, 1, 16, 30, 88, 700, 1e4]
LOGITS = sorted({s * v for v in LOGITS for s in (-1, 1)})
UNITS = [0, 1e-30, 1e-4, 0.3, 0.5, 0.9, 1 - 2**-20, 1 - 2**-24, 1]
INSIDE = UNITS[1:-1]
COUNTS = [0, 1, 2, 10, 1000, 99_000, 100_000, 10_000_000, 11_000_000]
SCALES = [-100, -3, 0, 50]
GREY = [k / 255 for k in (0, 1, 2, 100, 128, 254, 255)]


def near(loc: Sequence[float], raw_scale: Sequence[float], **_: Any) -> list[list[float]]:
    scale = float(positive(mpf(raw_scale[0])))
    return [[loc[0] + t * scale] for t in (0.25, -1, 8, 1e4)]


def near_positive(loc: Sequence[float], raw_scale: Sequence[float]) -> list[list[float]]:
    scale = float(positive(mpf(raw_scale[0])))
    return [[math.exp(loc[0] + t * scale)] for t in (0.25, -1, 1.5)]


def near_vector(loc: Sequence[float], raw_scale: Sequence[float], **_: Any) -> list[list[float]]:
    scales = [float(positive(mpf(raw))) for raw in raw_scale]
    return [
        [m + t * s for m, t, s in zip(loc, row, scales, strict=True)]
        for row in ((0.25, -0.5), (3, 2), (-40, 10))
    ]


def likelihood_cases() -> Iterator[Case]:
    kinds = likelihoods
    yield Case("Bernoulli", kinds.Bernoulli, grid(logits=LOGITS), single([0, 1]),
               lambda x, logits: bernoulli(x[0], logits[0]))  # fmt: skip
    yield Case("ContinuousBernoulli", kinds.ContinuousBernoulli, grid(logits=LOGITS), single(UNITS),
               lambda x, logits: continuous_bernoulli(x[0], logits[0]))  # fmt: skip
    yield Case("Beta", kinds.Beta, grid(logits=[-12, -2, 0, 5], raw_concentration=[-100, 0, 3e3, 1e5]),
               single(INSIDE),
               lambda x, logits, raw_concentration: beta(x[0], logits[0], raw_concentration[0]),
               whole=False, drawn=False)  # fmt: skip
    yield Case("Beta, drawn", kinds.Beta, grid(logits=[-1, 0], raw_concentration=[0, 50, 3e3]), [],
               lambda x, **_: mpf(0))  # fmt: skip
    rows = [[0, 0, 0], [1e3, 0, -1e3], [88, -88, 0], [30, 30, -30]]
    yield Case("Categorical", lambda: kinds.Categorical(3, grey=False),
               [{"logits": [[v] for v in row]} for row in rows], single([0, 1, 2]),
               lambda x, logits: log_softmax([v[0] for v in logits])[int(x[0])])  # fmt: skip
    for count, raw in ((4, [-100, -5, 0, 50]), (256, [-100, -7, -3, 0, 50])):
        at = [{"loc": [[m]], "raw_scale": [[r]]} for m in (-3, 0, 0.3, 1, 20) for r in raw]
        values = single(GREY if count == 256 else [0, 1 / 3, 2 / 3, 1])
        yield Case(f"DiscretizedLogistic({count})", lambda n=count: kinds.DiscretizedLogistic(n), at, values,
                   discretized(count))  # fmt: skip
    two = [
        {"loc": [[0.2], [0.8]], "raw_scale": [[-5.0], [1.0]], "logits": [[g], [0.0]]} for g in (-50, 0, 50)
    ]
    yield Case("DiscretizedLogistic(256, 2)", lambda: kinds.DiscretizedLogistic(256, 2), two, single(GREY),
               discretized(256))  # fmt: skip
    at = grid(loc=[0, -3, 1e3], raw_scale=[-3, 0, 50]) + grid(loc=[0], raw_scale=[-100])
    yield Case("Normal", lambda: kinds.Normal("predicted"), at, near,
               lambda x, loc, raw_scale: normal(x[0], loc[0], positive(raw_scale[0])))  # fmt: skip
    yield Case("Laplace", lambda: kinds.Laplace("predicted"), at, near,
               lambda x, loc, raw_scale: laplace(x[0], loc[0], positive(raw_scale[0])),
               kinks=lambda x, loc, raw_scale: x == loc)  # fmt: skip
    for df in (1.125, 5, 300, 1e4, 1e7):
        yield Case(f"StudentT(df={df:g})", lambda df=df: kinds.StudentT(df, "predicted"), at, near,
                   lambda x, loc, raw_scale, df=df: student(x[0], mpf(df), loc[0], positive(raw_scale[0])),
                   whole=df > 2)  # fmt: skip
    yield Case("LogNormal", lambda: kinds.LogNormal("predicted"),
               grid(loc=[0, -3, 20], raw_scale=[-3, 0, 5]), near_positive,
               lambda x, loc, raw_scale: normal(mpmath.log(x[0]), loc[0], positive(raw_scale[0]))
               - mpmath.log(x[0]), slack=100)  # log x near 20 is known to 1e-6 in float32  # fmt: skip
    yield from count_cases()
    yield Case("Mixed, ordinal:4", lambda: kinds.Mixed(["ordinal:4"]),
               grid(ordinal4_loc=[-700, -30, 0, 3, 88]), single([0, 1, 2, 3]), ordinal,
               whole=False, drawn=False)  # fmt: skip


def count_cases() -> Iterator[Case]:
    kinds = likelihoods
    yield Case("Poisson", kinds.Poisson, grid(raw_rate=[-100, -5, 0, 10, 1e3, 1e5, 1e7]), single(COUNTS),
               lambda x, raw_rate: poisson(x[0], raw_rate[0]), whole=False, drawn=False)  # fmt: skip
    yield Case("Poisson, drawn", kinds.Poisson, grid(raw_rate=[-100, -5, 0, 10, 1e3]), [],
               lambda x, **_: mpf(0))  # fmt: skip
    at = grid(raw_mean=[-100, 0, 1e3, 1e5, 1e7], raw_dispersion=[-100, 0, 50, 5e3])
    yield Case("NegativeBinomial", lambda: kinds.NegativeBinomial("predicted"), at, single(COUNTS),
               lambda x, raw_mean, raw_dispersion: negative_binomial(x[0], raw_mean[0], raw_dispersion[0]),
               whole=False, drawn=False)  # fmt: skip
    few = grid(raw_mean=[-100, 0, 20], raw_dispersion=[-100, 0, 2])
    yield Case("NegativeBinomial, drawn", lambda: kinds.NegativeBinomial("predicted"), few, [],
               lambda x, **_: mpf(0))  # fmt: skip
    gated = [p | {"gate_logits": [g]} for p in at[::3] for g in (-700, -1, 30)]
    yield Case("ZeroInflatedNegativeBinomial", lambda: kinds.ZeroInflatedNegativeBinomial("predicted"), gated,
               single(COUNTS[:1] + COUNTS[3:6]),
               lambda x, raw_mean, raw_dispersion, gate_logits: zero_inflated(
                   x[0], gate_logits[0], raw_mean[0], raw_dispersion[0]),
               whole=False, drawn=False)  # fmt: skip
    few = [p | {"gate_logits": [g]} for p in few[3:6] for g in (-700, 0, 30)]
    yield Case("ZeroInflatedNegativeBinomial, drawn", lambda: kinds.ZeroInflatedNegativeBinomial("predicted"),
               few, [], lambda x, **_: mpf(0))  # fmt: skip
    logits = [{"logits": row} for row in ([0, 0, 0], [0.3, -1, 2], [50, 0, -50], [700, 0, 0])]
    totals = [[0, 0, 0], [1, 0, 0], [3, 2, 5], [0, 0, 1e5], [33_000, 34_000, 33_000], [4e6, 3e6, 3e6],
              [1.4e6, 4e5, 7.6e6]]  # fmt: skip
    yield Case("Multinomial", lambda: kinds.Multinomial(total=None), logits, totals, multinomial, ((3,),),
               whole=False)  # fmt: skip


def prior_cases() -> Iterator[Case]:
    z = [[0.0, 0.0], [0.3, -2.0], [30, -1e3]]
    yield Case("prior StandardNormal", priors.StandardNormal, [{}], z,
               lambda z: sum(normal(v, mpf(0), mpf(1)) for v in z), (2,))  # fmt: skip
    for dim in (2, 3, 50, 500):
        yield Case(f"prior HypersphericalUniform, {dim} latents", priors.HypersphericalUniform, [{}],
                   [[1.0] + [0.0] * (dim - 1)], on_sphere, (dim,), drawn=dim < 4)  # fmt: skip
    located = grid(loc=[0, -3, 1e3], raw_scale=[-3, 0, 50]) + grid(loc=[0], raw_scale=[-100])
    yield Case("prior Normal", priors.Normal, located, near,
               lambda z, loc, raw_scale: normal(z[0], loc[0], positive(raw_scale[0])), (1,))  # fmt: skip
    yield Case("prior Laplace", priors.Laplace, located, near,
               lambda z, loc, raw_scale: laplace(z[0], loc[0], positive(raw_scale[0])), (1,))  # fmt: skip
    for df in (0.5, 5.0, 300.0, 1e4, 1e7):
        yield Case(f"prior StudentT(df={df:g})", lambda df=df: priors.StudentT(df), located, near,
                   lambda z, loc, raw_scale, df=df: student(z[0], mpf(df), loc[0], positive(raw_scale[0])),
                   (1,), whole=df > 2)  # fmt: skip
    mixtures = [
        {"logits": [g, 0.0], "loc": [[-m, 0.0], [m, 1.0]], "raw_scale": [[r, 0.0], [0.5, r]]}
        for g in (-50.0, 0.0, 50.0) for m in (0.5, 30.0) for r in (-8.0, 1.0)
    ]  # fmt: skip
    yield Case("prior GaussianMixture", lambda: priors.GaussianMixture(2), mixtures, z, mixture, (2,),
               whole=False, drawn=False)  # fmt: skip
    yield from class_cases("prior ", priors.Categorical)


def class_cases(word: str, kind: Any) -> Iterator[Case]:
    rows = [[[0, 0, 0]], [[1e3, 0, -1e3]], [[88, -88, 0]], [[3, 1, 0]]]
    at = [{"logits": row} for row in rows]
    size = (1,) if word == "prior " else (3,)
    yield Case(f"{word}Categorical", lambda: kind(3), at, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], one_hot,
               size)  # fmt: skip
    at = [{"logits": row} for row in ([[0, 0, 0]], [[1, 0.3, -0.5]], [[0.5, 0.4, -1.5]])]
    for t in (0.3, 1.0):
        z = [[0.2, 0.3, 0.5], [1 - 1e-6, 9e-7, 1e-7], [1e-12, 1.0, 1e-20]]
        yield Case(f"{word}Categorical(temperature={t})", lambda t=t: kind(3, t), at, z, concrete(t), size,
                   whole=False, drawn=False)  # fmt: skip


def guide_cases() -> Iterator[Case]:
    located = grid(loc=[0, -3, 1e3], raw_scale=[-3, 0, 50]) + grid(loc=[0], raw_scale=[-100])
    yield Case("guide DiagonalNormal", guides.DiagonalNormal, located, near,
               lambda z, loc, raw_scale: normal(z[0], loc[0], positive(raw_scale[0])), (1,))  # fmt: skip
    yield Case("guide Laplace", guides.Laplace, located, near,
               lambda z, loc, raw_scale: laplace(z[0], loc[0], positive(raw_scale[0])), (1,))  # fmt: skip
    pairs = [{"loc": [0.5, -3.0], "raw_scale": [a, b]} for a in (-8, 0, 50) for b in (-8, 3)]
    full = [p | {"lower": [[0.0, 0.0], [v, 0.0]]} for p in pairs for v in (0.0, 2.0, -50.0)]
    yield Case("guide FullRankNormal", guides.FullRankNormal, full, near_vector, full_rank, (2,),
               whole=False, drawn=False)  # fmt: skip
    low = [
        p | {"factors": [[a, b]]}
        for p in pairs
        for a, b in ((0.0, 0.0), (2.0, -1.0), (30.0, 30.0), (1e3, 1e3))
    ]
    yield Case("guide LowRankNormal", lambda: guides.LowRankNormal(1), low, near_vector, low_rank, (2,),
               whole=False, drawn=False)  # fmt: skip
    for dim in (2, 3, 20):
        ends = [[v] + [0.0] * (dim - 1) for v in (0.0, 1e-3, 1.0, 30.0, 1e3)]
        z = [[math.cos(a), math.sin(a)] + [0.0] * (dim - 2) for a in (0, 1e-3, 0.5, 1.5, math.pi)]
        yield Case(f"guide ProjectedNormal, {dim} latents", guides.ProjectedNormal,
                   [{"loc": loc} for loc in ends], z, projected, (dim,), whole=False, drawn=False,
                   slack=50)  # fmt: skip
    for dim in (2, 3):
        at = [{"loc": [v] + [0.0] * (dim - 1)} for v in (0.0, 1.0, 8.0)]
        yield Case(f"guide ProjectedNormal, {dim} latents, drawn", guides.ProjectedNormal, at, [], projected,
                   (dim,))  # fmt: skip
    mixtures = [
        {"logits": [g, 0.0], "loc": [[-m], [m]], "raw_scale": [[r], [0.5]]}
        for g in (-50.0, 0.0, 5.0) for m in (0.5, 5.0) for r in (-3.0, 1.0)
    ]  # fmt: skip
    yield Case("guide GaussianMixture", lambda: guides.GaussianMixture(2), mixtures,
               single([0, 0.3, 29, 1e3]), mixture, (1,))  # fmt: skip
    yield from class_cases("guide ", guides.Categorical)


def cases(words: Sequence[str] = ()) -> list[Case]:
    """All cases, or those with one of the words in their names."""
    every = [*likelihood_cases(), *prior_cases(), *guide_cases()]
    return [case for case in every if not words or any(word in case.name for word in words)]


# ---------------------------------------------------------------- flows


def flow_deviations(name: str, dtype: torch.dtype, rows: int = 200, seeds: int = 3) -> tuple[float, float]:
    """The largest and the median difference of a guide's density at its samples, with and without T^-1."""
    differences = []
    for seed in range(seeds):
        guide = attached(guides.Flow(name, hidden=(16,)), 2, seed=seed).to(dtype)
        q = guide(
            **{key: value.to(dtype) for key, value in params(guide.param_shapes, rows, seed=seed).items()}
        )
        torch.manual_seed(seed)
        with torch.no_grad():
            z = q.sample()
            differences.append((q.log_prob(z) - q.log_prob(z.clone())).abs())
    both = torch.cat(differences)
    return both.max().item(), both.median().item()


def cnf_deviation(dtype: torch.dtype, rows: int = 50, seeds: int = 3) -> float:
    """The largest deviation of the CNF prior from an integral in float64 with a tolerance of 1e-10."""
    worst = 0.0
    for seed in range(seeds):
        prior = attached(priors.Flow("CNF", hidden=(32,)), 2, seed=seed)
        z = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed))
        strict = prior.double().map(None)
        strict.atol = strict.rtol = 1e-10
        strict.trace_scale = 1.0
        with torch.no_grad():
            u, log_det = strict.call_and_ladj(z.double())
            exact = -0.5 * u.square().sum(-1) - math.log(2 * math.pi) + log_det
            found = prior.to(dtype)().log_prob(z.to(dtype))
        worst = max(worst, (found.double() - exact).abs().max().item())
    return worst


def print_flows() -> None:
    print("log q(z) of the guide Flow at its own samples and by the inverse: their difference in nats")
    print(f"{'flow':12} {'type':8} {'largest':>9} {'median':>9}")
    for name in ("iaf", "planar", *flow_names()):
        for dtype in (torch.float32, torch.float64):
            largest, median = flow_deviations(name, dtype)
            print(f"{name:12} {str(dtype).removeprefix('torch.'):8} {largest:9.1e} {median:9.1e}", flush=True)
    for dtype in (torch.float32, torch.float64):
        print(f"prior CNF in {dtype}: off by up to {cnf_deviation(dtype):.1e} nats", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*")
    parser.add_argument("--flows", action="store_true")
    parser.add_argument("--no-draws", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.flows:
        print_flows()
        return
    places = []
    print(f"{'part':40} {'type':8} {'log p':>9} {'gradient':>9} {'integral':>9}  samples")
    for case in cases(chosen.words):
        for dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(torch.float64)  # of quadrature
            try:
                result = check(case, dtype, draws=not chosen.no_draws)
            finally:
                torch.set_default_dtype(torch.float32)
            columns = [result.value, result.gradient, result.integral]
            numbers = [f"{c.deviation:9.1e}" if c is not None else f"{'-':>9}" for c in columns]
            name = str(dtype).removeprefix("torch.")
            print(f"{case.name:40} {name:8} {' '.join(numbers)}  {result.draws[:60]}", flush=True)
            for kind, worst in zip(("log p", "gradient", "integral"), columns, strict=True):
                if worst is not None and worst.deviation > LIMITS[dtype]:
                    places.append(f"{case.name} {name} {kind} {worst.deviation:.1e} at {worst.place}")
    print("\nDeviations above 2e-6 (float32) or 1e-13 (float64):", *places or ["none"], sep="\n  ")


if __name__ == "__main__":
    main()
