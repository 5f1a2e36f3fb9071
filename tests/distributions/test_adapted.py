"""The Bernoulli's softplus in vectorised passes, against the exact value."""

import pytest
import torch

from pyrovae.distributions import Bernoulli
from pyrovae.distributions.adapted import fast_softplus

LOGITS = torch.cat([torch.linspace(-100, 100, 4001), torch.tensor([-1e-6, 0.0, 1e-6, 1e4, -1e4])])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fast_softplus_is_exact_to_rounding(dtype):
    raw = LOGITS.to(dtype)
    exact = torch.where(raw > 40, raw.double(), raw.double().exp().log1p())
    error = (fast_softplus(raw).double() - exact).abs()
    assert (error <= 4 * torch.finfo(dtype).eps * exact + torch.finfo(dtype).tiny).all()


def test_log_prob_is_the_same_with_and_without_a_gradient():
    logits = LOGITS.clone().requires_grad_()
    for value in (0.0, 1.0):
        x = torch.full_like(LOGITS, value)
        tracked = Bernoulli(logits=logits).log_prob(x)
        with torch.no_grad():
            plain = Bernoulli(logits=logits).log_prob(x)
        allowed = 4 * torch.finfo(torch.float32).eps * LOGITS.abs().clamp(min=1)
        assert ((plain - tracked).abs() <= allowed).all()
    # A value that is broadcast against fewer logits takes the other path.
    with torch.no_grad():
        wide = Bernoulli(logits=torch.zeros(2)).log_prob(torch.ones(3, 2))
    assert torch.allclose(wide, torch.full((3, 2), 0.5).log())
