"""Measurements with tiny or huge noise, and of values that are far from what p(x|z) expects, in float32."""

import math

import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae import distributions
from pyrovae.measurements import Blur, Crop, Downsample, Noise, Quantised
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
    own, y = logits.double(), y.double()
    zero = torch.nn.functional.logsigmoid(-own) + dist.Normal(0.0, sd).log_prob(y)
    one = torch.nn.functional.logsigmoid(own) + dist.Normal(1.0, sd).log_prob(y)
    assert torch.allclose(got.double(), torch.logaddexp(zero, one), rtol=1e-5, atol=1e-5)


class TestImprobableBlocks:
    """A block whose probability is smaller than any number of float64."""

    @pytest.mark.parametrize("bit", [0, 1])
    def test_all_pixels_are_the_same(self, bit):
        logits = (20.0 + torch.arange(64.0).reshape(1, 8, 8)) * (1 - 2 * bit)
        logits.requires_grad_()
        p, y = distributions.Bernoulli(logits=logits), torch.full((1, 1, 1), float(bit))
        log_py = observed(Downsample(8), p, 1, 8, 8).log_prob(y)
        exact = torch.nn.functional.logsigmoid((2 * bit - 1) * logits).sum()
        assert log_py.item() == pytest.approx(exact.item(), rel=1e-6)
        slope, own = (torch.autograd.grad(part.sum(), logits)[0] for part in (log_py, exact))
        assert torch.allclose(slope, own, atol=1e-4)

    def test_elements_and_noisy_means(self):
        logits = torch.full((1, 8, 8), -30.0)
        logits[0, 0, 0] = -20.0
        p = distributions.Bernoulli(logits=logits).expand((200, 1, 8, 8))
        steps, y = Steps(Downsample(8), (1, 8, 8)), torch.full((200, 1, 1, 1), 60 / 64)
        torch.manual_seed(0)
        x = steps.back(p.to_event(3), y, {}, drawn)
        assert bool((x.sum((1, 2, 3)) == 60).all())
        assert x[:, 0, 0, 0].mean() > 0.95  # this pixel is 22,000 times more probable than others
        noisy = observed(Downsample(8) >> Noise(1e-3), p, 1, 8, 8).log_prob(y)[0].item()
        exact = observed(Downsample(8), p, 1, 8, 8).log_prob(y)[0].item()
        assert exact == pytest.approx(-30 * 59 - 20 + math.log(math.comb(63, 4)), abs=0.01)
        density = dist.Normal(0.0, 1e-3).log_prob(torch.tensor(0.0)).item()
        assert noisy == pytest.approx(exact + density, abs=0.01)

    def test_impossible_levels_of_a_block(self):
        p = distributions.Bernoulli(logits=torch.zeros(500, 1, 2, 2))  # a bit is never rounded to 1/2
        torch.manual_seed(0)
        through, x = Quantised(3) >> Downsample(2), p.sample()
        y = through.sample(x)
        again = Steps(through, (1, 2, 2)).back(p.to_event(3), y, {}, drawn)
        assert torch.equal(through.sample(again), y)
        odd = observed(through, p, 1, 2, 2)
        assert bool((odd.log_prob(torch.full((500, 1, 1, 1), 0.125)) == -math.inf).all())


class TestFarLevels:
    @pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 10.0])
    @pytest.mark.parametrize("level", [0, 1, 2])
    def test_samples_are_next_to_the_nearest_limit(self, scale, level):
        """Far from its mean, the distance of a normal number from a limit has the mean scale / t."""
        loc, edges = -60.0, [-math.inf, 0.25, 0.75, math.inf]
        p = dist.Normal(torch.full((4000, 1), loc), scale)
        y = torch.full((4000, 1), level / 2)
        torch.manual_seed(0)
        x = Steps(Quantised(3), (1,)).back(p.to_event(1), y, {}, drawn).double()
        assert bool(((x >= edges[level]) & (x <= edges[level + 1])).all())
        if level == 0:
            assert x.mean().item() == pytest.approx(loc, abs=5 * scale / 63)
        elif scale == 10.0:  # the far limit cuts off a part at t = 6
            assert x.mean().item() < (edges[level] + min(edges[level + 1], 6)) / 2
        else:
            t = (edges[level] - loc) / scale
            assert (x - edges[level]).mean().item() == pytest.approx(scale / t, rel=0.1, abs=1e-6)

    def test_quantiles_are_continuous(self):
        """The quantile of a tail probability, below and above the limit of its two formulas."""
        from pyrovae.measurements.elementwise import FAR, _log_ndtri

        log_p = torch.tensor([-1e12, -1e5, FAR - 1e-9, FAR + 1e-9, -50.0, -1.0]).double()
        back = torch.special.log_ndtr(_log_ndtri(log_p))
        assert torch.allclose(back, log_p, rtol=1e-9)

    @pytest.mark.parametrize("scale", [1e3, 1e6])
    def test_many_levels_within_one_standard_deviation(self, scale):
        q = Quantised(256).marginal(dist.Normal(torch.tensor([0.3]), scale))
        density = dist.Normal(torch.tensor([0.3]).double(), scale).log_prob(q.values[1:-1].double())
        assert torch.allclose(q.logits[0, 1:-1].double(), density - math.log(255), atol=1e-4)


class TestBlurFirst:
    """The elements of a blurred image are dependent, so another measurement of it draws it."""

    def test_noise(self):
        oracle = pv.VAE((1, 3, 3), 1, likelihood=pv.likelihoods.Normal(0.5), decoder=pv.networks.MLP(4))
        through = Blur([[0.0, 1.0, 0.0]], sd=0.6) >> Noise(0.8)  # as noise with sd 1
        y = oracle.simulate(2)[0] + torch.randn(2, 1, 3, 3)
        got = pv.condition(oracle, y, through=through, draws=10, particles=20_000, method="importance")
        want = pv.condition(oracle, y, through=Noise(1.0), draws=10, particles=20_000)
        error = abs(got.log_py - want.log_py) / (got.mc_stderr + want.mc_stderr)
        assert bool((error < 5).all())

    def test_a_window_is_refused(self):
        vae = pv.VAE((1, 3, 3), 1, likelihood=pv.likelihoods.Normal(0.5))
        with pytest.raises(pv.InputError, match="add noise"):
            pv.condition(vae, torch.zeros(1, 1, 2, 2), through=Blur(0.5) >> Crop(2, 2), draws=2)
