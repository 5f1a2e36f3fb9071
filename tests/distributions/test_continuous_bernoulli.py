"""The continuous Bernoulli agrees with mpmath at logits of any size."""

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.distributions import ContinuousBernoulli
from pyrovae.testing.statistics import RARE

mpmath = pytest.importorskip("mpmath")
SIZES = [0, 1e-30, 1e-8, 1e-3, 0.1, 0.5, 0.99, 1, 1.01, 1.5, 5, 16, 20, 30, 36, 88, 710, 1e4, 1e5]
LOGITS = sorted({sign * size for size in SIZES for sign in (-1, 1)})
VALUES = [0, 1e-30, 1e-4, 0.3, 0.5, 0.75, 1 - 2**-20, 1 - 2**-24, 1]
both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(90):
        yield


def log_area(k):
    return mpmath.log(mpmath.expm1(k) / k) if k else mpmath.mpf(0)


def mean(k):
    return 1 / (1 - mpmath.exp(-k)) - 1 / k if k else mpmath.mpf(1) / 2


def variance(k):
    return 1 / k**2 - 1 / (4 * mpmath.sinh(k / 2) ** 2) if k else mpmath.mpf(1) / 12


def below(k, x):
    return mpmath.expm1(k * x) / mpmath.expm1(k) if k else x


def logits_and_values(dtype):
    k, x = torch.meshgrid(torch.tensor(LOGITS, dtype=dtype), torch.tensor(VALUES, dtype=dtype), indexing="ij")
    return k.flatten().requires_grad_(), x.flatten().requires_grad_()


def close(found, wanted, digits=2.0, least=1.0):
    """Equal up to a few rounding errors, relative to the larger of `least` and the value."""
    wanted = torch.tensor([float(value) for value in wanted], dtype=torch.float64)
    error = (found.detach().double() - wanted).abs() / wanted.abs().clamp(min=least)
    assert error.max() < digits * torch.finfo(found.dtype).eps, (error.argmax(), error.max())


def exact(function, *tensors):
    return [function(*map(mpmath.mpf, row)) for row in zip(*(t.tolist() for t in tensors), strict=True)]


@both
def test_density_and_gradients_at_every_logit(dtype):
    k, x = logits_and_values(dtype)
    log_p = ContinuousBernoulli(k).log_prob(x)
    of_l, of_x = torch.autograd.grad(log_p.sum(), (k, x), create_graph=True)
    (second,) = torch.autograd.grad(of_l.sum(), k)
    close(log_p, exact(lambda k, x: k * x - log_area(k), k, x), 5)
    close(of_l, exact(lambda k, x: x - mean(k), k, x), 3)
    close(of_x, k.tolist())
    close(second, exact(lambda k, x: -variance(k), k, x), 2)


@both
def test_mean_variance_and_entropy_at_every_logit(dtype):
    k = torch.tensor(LOGITS, dtype=dtype)
    p = ContinuousBernoulli(k)
    close(p.mean, exact(mean, k), least=1e-9)
    close(p.variance, exact(variance, k), 10, least=1e-9)
    close(p.stddev, exact(lambda k: mpmath.sqrt(variance(k)), k), 5, least=1e-9)
    close(p.entropy(), exact(lambda k: log_area(k) - k * mean(k), k))


@both
def test_distribution_function_and_its_inverse_at_every_logit(dtype):
    k, x = logits_and_values(dtype)
    p = ContinuousBernoulli(k)
    close(p.cdf(x), exact(below, k, x), 3)
    (of_l,) = torch.autograd.grad(p.cdf(x).sum(), k)
    slope = lambda k, x: (  # noqa: E731
        mpmath.diff(lambda t: below(t, x), k, h=mpmath.mpf(10) ** -20) if k else -x * (1 - x) / 2
    )
    close(of_l, exact(slope, k, x), 3)
    inside = (x > 0) & (x < 1)
    u = x.detach()[inside]
    inverse = lambda k, u: mpmath.log1p(u * mpmath.expm1(k)) / k if k else u  # noqa: E731
    found = ContinuousBernoulli(k.detach()[inside]).icdf(u)
    close(found, exact(inverse, k.detach()[inside], u), 3)
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    assert (ContinuousBernoulli(torch.tensor([[-1e4], [0.0], [1e4]], dtype=dtype)).icdf(ends) == ends).all()


@both
@pytest.mark.parametrize("logit", [-1e4, -30.0, -1.0, 0.0, 0.3, 16.0, 1e4])
def test_samples_follow_the_distribution(dtype, logit):
    """torch's samples had the clamped distribution: at a logit of 16, none was within 1e-7 of 1."""
    from scipy.stats import kstest

    torch.manual_seed(0)
    p = ContinuousBernoulli(torch.tensor(logit, dtype=dtype))
    draws = p.sample((20_000,))
    assert ((draws >= 0) & (draws <= 1)).all()
    at_least = ContinuousBernoulli(torch.tensor(logit, dtype=torch.float64))
    assert kstest(draws.numpy(), lambda x: at_least.cdf(torch.as_tensor(x).double()).numpy()).pvalue > RARE


@pytest.mark.parametrize("logit", [-300.0, -1.2, 0.0, 0.4, 30.0])
def test_samples_have_the_derivative_of_the_inverse(logit):
    k = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    x = ContinuousBernoulli(k).rsample()
    (slope,) = torch.autograd.grad(x, k)
    torch.manual_seed(0)
    u = torch.rand((), dtype=torch.float64)
    step = 1e-5 * max(1, abs(logit))
    ends = [ContinuousBernoulli(k.detach() + move).icdf(u) for move in (-step, step)]
    torch.testing.assert_close(slope, (ends[1] - ends[0]) / (2 * step), rtol=1e-6, atol=1e-9)


def test_the_likelihood_is_a_density_where_the_probability_is_rounded_to_one():
    """The integral at logit 30 was .531, and the gradient at 16 was 1e-7 in place of .0625."""
    likelihood = pv.likelihoods.ContinuousBernoulli()
    likelihood.attach((1,))
    t, weight = (torch.as_tensor(a) for a in np.polynomial.legendre.leggauss(200))
    x, logits = ((t + 1) / 2).float().unsqueeze(-1), torch.full((200, 1), 30.0)
    area = (likelihood(logits=logits).log_prob(x).double().exp() * weight / 2).sum()
    assert area.item() == pytest.approx(1, abs=1e-5)
    logit = torch.full((1, 1), 16.0, requires_grad=True)
    (slope,) = torch.autograd.grad(likelihood(logits=logit).log_prob(torch.ones(1, 1)), logit)
    assert slope.item() == pytest.approx(0.0625, rel=1e-5)
