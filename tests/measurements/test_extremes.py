"""Measurements with tiny or huge noise, and of values that are far from what p(x|z) expects, in float32."""


import pyro.distributions as dist
import pytest
import torch

from pyrovae import distributions
from pyrovae.measurements import Noise
from pyrovae.measurements.steps import Steps

LOGITS = [-30.0, -5.0, 0.0, 5.0, 30.0]


def drawn(p):
    return p.sample()


def observed(measurement, p, *shape):
    return Steps(measurement, shape).observed(p.to_event(len(shape)), None).base_dist


@pytest.mark.parametrize("sd", [1e-6, 1e-3, 0.1, 1e3, 1e6])
@pytest.mark.parametrize("away", [0.0, 2.0, -3.0])
@pytest.mark.parametrize("bit", [0.0, 1.0])
def test_noise_of_bits_keeps_its_digits(sd, away, bit):
    logits, y = torch.tensor(LOGITS), torch.full((5,), bit + away * sd)
    got = observed(Noise(sd), distributions.Bernoulli(logits=logits), 5).log_prob(y)
    l, y = logits.double(), y.double()
    zero = torch.nn.functional.logsigmoid(-l) + dist.Normal(0.0, sd).log_prob(y)
    one = torch.nn.functional.logsigmoid(l) + dist.Normal(1.0, sd).log_prob(y)
    assert torch.allclose(got.double(), torch.logaddexp(zero, one), rtol=1e-5, atol=1e-5)
