"""Counts, fractions and Student's t of any size, against scipy and fifty digits of mpmath."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from pyrovae.distributions import Beta, Multinomial, NegativeBinomial, Poisson, StudentT
from pyrovae.distributions.saddle import log1p_excess, poisson_deviance, stirling_error

mpmath = pytest.importorskip("mpmath")
mpmath.mp.dps = 50
SIZES = [0, 1, 2, 3, 9, 10, 11, 30, 1000, 12345, 1e5, 1e7, 1.1e8, 1e9]
MEANS = [1e-4, 0.3, 1, 5, 33, 1000, 12000, 1e5, 1e7, 1e8, 1.02e9]
COUNTS = [0.02, 0.3, 1, 1.2345, 9.5, 100, 1000]


def mp(*values):
    return (mpmath.mpf(value) for value in values)


def poisson(x, m):
    x, m = mp(x, m)
    return x * mpmath.log(m) - m - mpmath.loggamma(x + 1)


def negative_binomial(x, r, m):
    x, r, m = mp(x, r, m)
    gammas = mpmath.loggamma(x + r) - mpmath.loggamma(r) - mpmath.loggamma(x + 1)
    return gammas + r * mpmath.log(r / (r + m)) + x * mpmath.log(m / (r + m))


def beta(x, a, b):
    x, a, b = mp(x, a, b)
    gammas = mpmath.loggamma(a + b) - mpmath.loggamma(a) - mpmath.loggamma(b)
    return gammas + (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log(1 - x)


def student(x, n):
    x, n = mp(x, n)
    gammas = mpmath.loggamma((n + 1) / 2) - mpmath.loggamma(n / 2) - mpmath.log(n * mpmath.pi) / 2
    return gammas - (n + 1) / 2 * mpmath.log(1 + x * x / n)


def multinomial(x, logits):
    x, logits = list(mp(*x)), list(mp(*logits))
    total = mpmath.log(sum(mpmath.exp(v) for v in logits))
    arranged = mpmath.loggamma(sum(x) + 1) - sum(mpmath.loggamma(v + 1) for v in x)
    return arranged + sum(v * (logit - total) for v, logit in zip(x, logits, strict=True))


def close(found, arguments, exact):
    """Relative to the larger of 1 and the value: 2e-6 in float32, 1e-13 in float64."""
    wanted = [float(exact(*(float(v) for v in row))) for row in zip(*arguments, strict=True)]
    wanted = torch.tensor(wanted, dtype=torch.float64)
    error = (found.double() - wanted).abs() / wanted.abs().clamp(min=1)
    assert error.max() < (2e-6 if found.dtype == torch.float32 else 1e-13), error.argmax()


def grid(dtype, *axes):
    meshes = torch.meshgrid(
        *(torch.tensor([float(v) for v in axis], dtype=dtype) for axis in axes), indexing="ij"
    )
    return [mesh.flatten() for mesh in meshes]


both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@both
def test_poisson_at_every_size(dtype):
    x, m = grid(dtype, SIZES, MEANS)
    close(Poisson(m).log_prob(x), (x, m), poisson)


@both
def test_negative_binomial_at_every_size(dtype):
    x, r, m = grid(dtype, SIZES, COUNTS, MEANS)
    close(NegativeBinomial(r, m).log_prob(x), (x, r, m), negative_binomial)


@both
def test_beta_at_every_size(dtype):
    a, b, x = grid(dtype, [2e-4, 0.3, 1, 2.5, 9, 30, 1e3, 3e3, 1e5], [1e-4, 0.3, 1, 12, 1e3, 3.3e3],
                   [1e-30, 1e-4, 0.1, 0.3, 0.5, 0.9, 1 - 2**-24])  # fmt: skip
    close(Beta(a, b).log_prob(x), (x, a, b), beta)


@both
def test_student_at_every_size(dtype):
    x, df = grid(dtype, [0, 0.1, 1, 5, 1e3, 1e6], [1.1, 2, 5, 30, 300, 1e4, 1e7])
    close(StudentT(df, 0.0, 1.0).log_prob(x), (x, df), student)


@both
@pytest.mark.parametrize("total", [0, 1, 30, 1e4, 1e7, 1e9])
@pytest.mark.parametrize("spread", [0.1, 1, 5, 60])
def test_multinomial_at_every_size(dtype, total, spread):
    logits = (torch.randn(7, generator=torch.Generator().manual_seed(0)) * spread).to(dtype)
    expected = (total * logits.double().softmax(-1)).round().to(dtype)
    for x in (expected, expected.flip(0)):
        found = Multinomial(logits, 1, torch.tensor(1.0)).log_prob(x)
        wanted = float(multinomial(x.tolist(), logits.tolist()))
        assert abs(found.item() - wanted) <= (2e-6 if dtype == torch.float32 else 1e-13) * max(1, abs(wanted))


# ---------------------------------------------------------------- what single precision gave before


def test_a_count_of_1e8_in_single_precision():
    """It was +35, above a probability of 1."""
    r, m, x = 10.0, 1e8, 1.1e8
    found = NegativeBinomial(torch.tensor(r), torch.tensor(m)).log_prob(torch.tensor(x))
    assert found.item() == pytest.approx(scipy.stats.nbinom(r, r / (r + m)).logpmf(x), abs=1e-4)
    assert found < -15


def test_a_date_and_a_population_in_single_precision():
    for x, m in ((19580329.0, 1.95e7), (1e9, 1.1e9)):
        for r in (0.5, 50.0, 1000.0):
            found = NegativeBinomial(torch.tensor(r), torch.tensor(m)).log_prob(
                torch.tensor(x, dtype=torch.float64)
            )
            wanted = scipy.stats.nbinom(r, r / (r + torch.tensor(m).double().item())).logpmf(x)
            assert found.dtype == torch.float32
            assert found.item() == pytest.approx(wanted, abs=1e-4)


def test_a_total_of_1e7_in_single_precision():
    p = np.array([0.2, 0.3, 0.5])
    x = np.array([2_000_500, 3_000_000, 4_999_500])
    found = Multinomial(torch.tensor(p).log().float(), 1, torch.tensor(1.0)).log_prob(torch.tensor(x).float())
    assert found.item() == pytest.approx(scipy.stats.multinomial(x.sum(), p).logpmf(x), abs=1e-3)


def test_fractions_and_degrees_of_freedom_in_single_precision():
    found = Beta(torch.tensor(1200.0), torch.tensor(1800.0)).log_prob(torch.tensor(0.41))
    wanted = scipy.stats.beta(1200, 1800).logpdf(torch.tensor(0.41).double().item())
    assert found.item() == pytest.approx(wanted, abs=2e-5)  # .002 before
    assert StudentT(torch.tensor(300.0), 0.0, 1.0).log_prob(torch.tensor(1.5)).item() == pytest.approx(
        scipy.stats.t(300).logpdf(1.5), abs=1e-6
    )


# ---------------------------------------------------------------- gradients


def derivative(function, value, rest, place):
    """By fifty digits."""
    return float(mpmath.diff(lambda v: function(*rest[:place], v, *rest[place:]), value))


@both
@pytest.mark.parametrize("x", [0.0, 1.0, 12.0, 1e5, 1.1e8])
@pytest.mark.parametrize("r", [0.3, 9.0, 11.0, 1000.0])
@pytest.mark.parametrize("m", [0.01, 5.0, 9e4, 1e8])
def test_gradients_of_counts(dtype, x, r, m):
    r, m = (torch.tensor(v, dtype=dtype, requires_grad=True) for v in (r, m))
    x = torch.tensor(x, dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    of_r, of_m = torch.autograd.grad(NegativeBinomial(r, m).log_prob(x), (r, m))
    exact = [float(v) for v in (x, r.detach(), m.detach())]
    for found, place, scale in ((of_r, 1, exact[1]), (of_m, 2, exact[2])):
        wanted = derivative(
            negative_binomial, exact[place], [v for i, v in enumerate(exact) if i != place], place
        )
        # In units of the logarithm of the parameter.
        assert abs(found.item() - wanted) * scale <= tolerance * max(1, abs(wanted * scale), exact[1])
    (of_rate,) = torch.autograd.grad(Poisson(m).log_prob(x), m)
    assert of_rate.item() == pytest.approx(exact[0] / exact[2] - 1, rel=1e-5, abs=1e-6)


def test_gradients_are_those_of_finite_differences():
    rng = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
    a, b, logits = 50 * draw(40), 20 * draw(40), draw(40, 5)
    x, counts = 0.98 * draw(40) + 0.01, (60 * draw(40, 5)).round()
    for function, inputs in (
        (lambda a, b: Beta(a, b, validate_args=False).log_prob(x), (a, b)),
        (lambda df, loc: StudentT(df, loc, 1.0, validate_args=False).log_prob(x), (a + 1, b)),
        (lambda logits: Multinomial(logits, 1, torch.tensor(1.0)).log_prob(counts), (logits,)),
        (lambda x, m: poisson_deviance(x, m), (a + 0.1, b + 0.1)),
        (stirling_error, (a + 0.1,)),
    ):
        inputs = tuple(t.clone().requires_grad_() for t in inputs)
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_a_share_of_nothing_has_a_finite_gradient():
    logits = torch.tensor([0.0, -300.0, -1000.0], requires_grad=True)
    log_p = Multinomial(logits, 1, torch.tensor(1.0)).log_prob(torch.tensor([5.0, 1.0, 0.0]))
    log_p.backward()
    assert log_p.item() == pytest.approx(math.log(6) - 300, rel=1e-6)
    torch.testing.assert_close(logits.grad, torch.tensor([-1.0, 1.0, 0.0]), atol=1e-5, rtol=0)


# ---------------------------------------------------------------- the formulas


def test_series_and_formula_meet():
    t = torch.cat([torch.linspace(-0.999, 3, 4001, dtype=torch.float64), torch.logspace(-9, 3, 200).double()])
    exact = torch.tensor(
        [float(v - mpmath.log1p(v)) for v in map(mpmath.mpf, t.tolist())], dtype=torch.float64
    )
    torch.testing.assert_close(log1p_excess(t, t.log1p()), exact, rtol=1e-13, atol=0)
    x = torch.logspace(-4, 9, 400, dtype=torch.float64)
    exact = [
        float(mpmath.loggamma(v + 1) - (v + 0.5) * mpmath.log(v) + v - mpmath.log(2 * mpmath.pi) / 2)
        for v in map(mpmath.mpf, x.tolist())
    ]
    torch.testing.assert_close(
        stirling_error(x), torch.tensor(exact, dtype=torch.float64), rtol=1e-12, atol=2e-14
    )


def test_samples_are_those_of_torch():
    r, m = torch.tensor([0.5, 3.0]), torch.tensor([2.0, 40.0])
    torch.manual_seed(0)
    found = NegativeBinomial(r, m).sample((5,))
    torch.manual_seed(0)
    wanted = torch.distributions.NegativeBinomial(r, logits=m.log() - r.log()).sample((5,))
    assert torch.equal(found, wanted)
    expanded = NegativeBinomial(r, m).expand((3, 2))
    assert torch.equal(expanded.mean, m.expand(3, 2))
    torch.testing.assert_close(
        expanded.log_prob(found[0]), NegativeBinomial(r, m).log_prob(found[0]).expand(3, 2)
    )
