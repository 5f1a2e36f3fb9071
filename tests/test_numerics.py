"""Sums of weights: against float64, without the weights that change no digit."""

import math

import pytest
import torch

from pyrovae.numerics import log_mean_exp, log_sum_exp, normalised, without_negligible
from pyrovae.terms import Terms

SPREAD = torch.linspace(0, -140, 281, dtype=torch.float64)  # from 1 to below the smallest number of float32
KEPT = math.log(1e-30) <= SPREAD
TINY = torch.finfo(torch.float32).tiny


def columns(dtype):
    """Three columns of weights, of which a shift and an order must not matter."""
    order = torch.randperm(len(SPREAD))
    return torch.stack([SPREAD, SPREAD.flip(0) - 300, SPREAD[order] + 1000], 1).to(dtype), order


def gradient(function, log_w):
    log_w = log_w.clone().requires_grad_()
    value = function(log_w)
    return value.detach(), torch.autograd.grad(value.sum(), log_w)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [log_sum_exp, log_mean_exp])
def test_value_and_gradient_are_those_of_all_weights_in_double_precision(function, dtype):
    log_w, _ = columns(dtype)
    value, slope = gradient(function, log_w)
    exact = torch.logsumexp(log_w.double(), 0) - (math.log(len(log_w)) if function is log_mean_exp else 0)
    shares = torch.softmax(log_w.double(), 0)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(value.double(), exact, rtol=2 * eps, atol=0)
    # The exponent is rounded, relative to the size of log w.
    torch.testing.assert_close(slope.double(), shares, rtol=3000 * eps, atol=1.01e-30)
    torch.testing.assert_close(normalised(log_w).double(), shares, rtol=3000 * eps, atol=1.01e-30)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_below_1e_minus_30_of_the_largest_are_exactly_zero_and_no_others(dtype):
    log_w, order = columns(dtype)
    kept = torch.stack([KEPT, KEPT.flip(0), KEPT[order]], 1)
    _, slope = gradient(log_mean_exp, log_w)
    for weight in (slope, normalised(log_w), without_negligible(log_w).exp()[:, :1].expand(-1, 3)):
        assert weight.dtype == dtype
    assert torch.equal(slope > 0, kept)
    assert torch.equal(normalised(log_w) > 0, kept)
    assert not ((slope > 0) & (slope < TINY)).any()


def test_a_sum_over_several_dimensions_has_one_largest_weight():
    joint = torch.tensor([[[0.0], [-100.0]], [[-60.0], [-80.0]]])
    value, slope = gradient(lambda a: log_sum_exp(a, [0, 1]), joint)
    assert value.tolist() == [0.0]
    assert (slope > 0).flatten().tolist() == [True, False, True, False]


def test_weights_that_are_zero_infinite_or_not_a_number_stay_so():
    inf, nan = math.inf, math.nan
    log_w = torch.tensor([[-inf, inf, nan, 0.0], [-inf, 0.0, 0.0, -inf]])
    expected = torch.logsumexp(log_w, 0)
    torch.testing.assert_close(log_sum_exp(log_w), expected, equal_nan=True)
    assert log_mean_exp(torch.tensor([[-300.0]])).item() == -300.0  # a single weight is the largest


def test_a_mean_over_strata_leaves_out_those_that_are_almost_impossible():
    log_v = torch.tensor([math.log(2.0), -80.0]).unsqueeze(1)
    values = torch.tensor([[3.0], [5.0]], requires_grad=True)
    mean = Terms(values, values, values, log_v).mean(values)
    assert mean.tolist() == [3.0]
    assert torch.autograd.grad(mean.sum(), values)[0].tolist() == [[1.0], [0.0]]
