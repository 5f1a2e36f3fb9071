"""p(y|z) and p(x|z, y) of every measurement: by enumeration, by quadrature, and by samples."""

import itertools
import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from pyrovae import distributions
from pyrovae.errors import InputError
from pyrovae.measurements import (
    Blur,
    Chain,
    Crop,
    Custom,
    Downsample,
    Flip,
    Missing,
    Noise,
    Quantised,
    as_measurement,
)
from pyrovae.measurements.families import as_finite, as_normal
from pyrovae.measurements.steps import Steps

NONE = math.nan


def drawn(p):
    return p.sample()


def unused(number, p):
    raise AssertionError("x is not a latent")


def normal(*shape, seed=0):
    rng = torch.Generator().manual_seed(seed)
    loc = torch.randn(*shape, generator=rng, dtype=torch.float64)
    return dist.Normal(loc, 0.5 + torch.rand(*shape, generator=rng, dtype=torch.float64))


def bits(*shape, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return distributions.Bernoulli(logits=2 * torch.randn(*shape, generator=rng, dtype=torch.float64))


def grey(*shape, levels=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, levels, generator=rng, dtype=torch.float64)
    return distributions.Levels(logits, levels - 1, grey=True)


def every(p):
    """All values of independent elements (E,) of a finite distribution, and their log-probabilities."""
    values = as_finite(p).values
    x = torch.tensor(list(itertools.product(values.tolist(), repeat=p.batch_shape[-1])), dtype=values.dtype)
    return x, p.log_prob(x).sum(-1)


class TestFinite:
    """Every x is enumerated, with p(y|x) from the definition of the measurement."""

    CASES = {
        "flip": (Flip(0.2), bits(3), lambda x, y: (0.2 + 0.6 * (x == y).double()).log().sum(-1)),
        "noise of bits": (Noise(0.4), bits(3), lambda x, y: dist.Normal(x, 0.4).log_prob(y).sum(-1)),
        "noise of levels": (Noise(0.4), grey(3), lambda x, y: dist.Normal(x, 0.4).log_prob(y).sum(-1)),
        "pairs of bits": (Downsample(2), bits(4), lambda x, y: _same(x.reshape(-1, 2, 2).mean(-1), y)),
        "threes of levels": (Downsample(3), grey(3), lambda x, y: _same(x.reshape(-1, 1, 3).mean(-1), y)),
        "rounded": (Quantised(2), grey(3, levels=4), lambda x, y: _same((x > 0.5).double(), y)),
        "noisy pairs": (
            Downsample(2) >> Noise(0.3),
            bits(4),
            lambda x, y: dist.Normal(x.reshape(-1, 2, 2).mean(-1), 0.3).log_prob(y).sum(-1),
        ),
        "flipped pairs": (
            Flip(0.2) >> Downsample(2),
            bits(2),
            lambda x, y: _flipped_pair(x, y),
        ),
    }

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_marginal_and_posterior(self, case):
        measurement, p, log_given = self.CASES[case]
        steps = Steps(measurement, tuple(p.batch_shape))
        x, log_px = every(p)
        torch.manual_seed(1)
        y = measurement.sample(p.sample().unsqueeze(0))[0].double()
        joint = log_px + log_given(x, y)
        log_py = steps.observed(p.to_event(1), unused).log_prob(y)
        assert log_py.item() == pytest.approx(joint.logsumexp(0).item(), abs=1e-9)
        torch.manual_seed(0)
        many = p.expand((20_000, *p.batch_shape))
        samples = steps.back(many.to_event(1), y, {}, drawn)
        exact = (joint.softmax(0).unsqueeze(1) * x).sum(0)
        assert (samples.mean(0) - exact).abs().max() < 0.02
        moments = steps.moments(p.to_event(1), y)
        if moments is not None:
            second = (joint.softmax(0).unsqueeze(1) * x.square()).sum(0)
            assert torch.allclose(moments[0].double(), exact, atol=1e-9)
            assert torch.allclose(moments[1].double(), second - exact.square(), atol=1e-9)

    def test_it_sums_to_one(self):
        for measurement, p in ((Flip(0.3), bits(4)), (Downsample(2), bits(4)), (Downsample(2), grey(4))):
            steps = Steps(measurement, (4,))
            q = steps.observed(p.to_event(1), unused)
            element = q.base_dist.support.check(torch.linspace(0, 1, 13, dtype=torch.float64).unsqueeze(-1))
            values = torch.linspace(0, 1, 13, dtype=torch.float64)[element.any(-1)]
            y = torch.tensor(list(itertools.product(values.tolist(), repeat=q.event_shape[0])))
            assert q.log_prob(y.double()).exp().sum() == pytest.approx(1, abs=1e-9)


def _same(a, b):
    return torch.where((a - b).abs().amax(-1) < 1e-6, 0.0, -torch.inf).double()


def _flipped_pair(x, y):
    """P(mean of two flipped bits = y)."""
    p = x * 0.8 + (1 - x) * 0.2  # of a 1 after the flip
    a, b = p.unbind(-1)
    table = torch.stack([(1 - a) * (1 - b), a * (1 - b) + (1 - a) * b, a * b], -1)
    return table[:, int(round(2 * y.item()))].log()


class TestNormal:
    """A linear measurement of normal elements, against the formula of the conditional normal."""

    KERNEL = [[0.0, 0.2, 0.0], [0.1, 0.5, 0.1], [0.0, 0.1, 0.0]]
    CASES = {
        "missing": (Missing(), 0.0),
        "noise": (Noise(0.7), 0.7),
        "pooled": (Downsample(2), 0.0),
        "noisy and pooled": (Noise(0.6) >> Downsample(2), 0.3),
        "pooled and noisy": (Downsample(2) >> Noise(0.3), 0.3),
        "window": (Crop(2, 3, top=1, left=1), 0.0),
        "blurred": (Blur(KERNEL, sd=0.2), 0.2),
        "noisy window": (Crop(2, 2) >> Noise(0.3), 0.3),
    }

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_marginal_and_posterior(self, case):
        measurement, sd = self.CASES[case]
        p = normal(4, 4)
        steps = Steps(measurement, (4, 4))
        matrix = self._matrix(steps)
        C = p.scale.flatten().square().diag()
        S = matrix @ C @ matrix.mT + sd**2 * torch.eye(len(matrix), dtype=torch.float64)
        y = matrix @ p.sample().flatten() + sd * torch.randn(len(matrix), dtype=torch.float64)
        if case == "missing":
            y[::3] = NONE
        known = ~y.isnan()
        A, S = matrix[known], S[known][:, known]
        G = torch.linalg.solve(S, A @ C).mT
        mean = p.loc.flatten() + G @ (y[known] - A @ p.loc.flatten())
        variance = (C - G @ A @ C).diagonal()
        y_shaped = y.reshape(steps.shape)
        log_py = steps.observed(p.to_event(2), unused).log_prob(y_shaped)
        exact = dist.MultivariateNormal(A @ p.loc.flatten(), S).log_prob(y[known])
        assert log_py.item() == pytest.approx(exact.item(), abs=1e-6)
        torch.manual_seed(0)
        samples = steps.back(p.expand((20_000, 4, 4)).to_event(2), y_shaped, {}, drawn).flatten(1)
        assert (samples.mean(0) - mean).abs().max() < 0.05
        assert (samples.var(0) - variance).abs().max() < 0.1
        covariance = torch.cov(samples.mT)
        assert (covariance - (C - G @ A @ C)).abs().max() < 0.1
        moments = steps.moments(p.to_event(2), y_shaped)
        if moments is not None:
            assert torch.allclose(moments[0].flatten(), mean, atol=1e-6)
            assert torch.allclose(moments[1].flatten().clamp(min=0), variance.clamp(min=0), atol=1e-6)

    def _matrix(self, steps):
        """y as a linear function of x, without noise."""
        rows = []
        for one in torch.eye(16, dtype=torch.float64).reshape(16, 4, 4):
            for part in steps.parts:
                one = one if isinstance(part, Noise) else part.given(one).loc
            rows.append(one.flatten())
        return torch.stack(rows, 1)

    def test_a_level_is_an_interval(self):
        p = normal(3)
        steps = Steps(Quantised(5, -1, 1), (3,))
        q = steps.observed(p.to_event(1), unused).base_dist
        edges = torch.tensor([-0.75, -0.25, 0.25, 0.75], dtype=torch.float64)
        cdf = torch.cat([torch.zeros(3, 1), p.cdf(edges.unsqueeze(-1)).mT, torch.ones(3, 1)], 1)
        assert torch.allclose(q.logits.exp(), cdf.diff(dim=1), atol=1e-12)
        torch.manual_seed(0)
        x = steps.back(p.expand((1000, 3)).to_event(1), torch.tensor([-1.0, 0.5, NONE]).double(), {}, drawn)
        assert bool((x[:, 0] <= -0.75).all())
        assert bool(((x[:, 1] >= 0.25) & (x[:, 1] <= 0.75)).all())
        assert x[:, 2].mean().item() == pytest.approx(p.loc[2].item(), abs=0.1)

    def test_far_intervals_keep_their_digits(self):
        p = dist.Normal(torch.zeros(1), torch.ones(1))
        q = Quantised(3, 0, 20).marginal(p)
        exact = [-0.6931, *(math.log(math.erfc(t / 2**0.5) / 2) for t in (5, 15))]
        assert q.logits[0, 2].item() == pytest.approx(exact[2], rel=1e-5)


class TestGeneral:
    def test_a_window_of_bits_can_be_flipped(self):
        p, steps = bits(2, 3), Steps(Crop(1, 2) >> Flip(0.2), (2, 3))
        y = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        own = p.probs[:1, :2]
        exact = torch.where(y == 1, 0.2 + 0.6 * own, 0.8 - 0.6 * own).log().sum()
        log_py = steps.observed(p.to_event(2), unused).log_prob(y)
        assert log_py.item() == pytest.approx(exact.item(), abs=1e-9)

    @pytest.mark.parametrize(
        "measurement", [Noise(0.3), Flip(0.1), Quantised(3), Downsample(2), Blur(1.0)], ids=repr
    )
    def test_what_depends_on_a_missing_entry_is_missing(self, measurement):
        x = torch.zeros(2, 1, 8, 8)
        x[0, 0, 0, 0] = NONE
        y = measurement.sample(x, seed=0)
        assert y[0, 0, 0, 0].isnan()
        assert not y[1].isnan().any()
        assert not y[0, 0, 4:, 4:].isnan().any()
        assert torch.equal(y[1], measurement.sample(x, seed=0)[1])

    @pytest.mark.parametrize("kind", ["bool", "int64", "float64"])
    def test_any_array_is_measured(self, kind):
        x = np.array([[0, 1, 1]]).astype(kind)
        y = Noise(1e-4).sample(x, seed=0)
        assert y.is_floating_point()
        assert torch.allclose(y, torch.tensor(x).to(y), atol=1e-3)

    def test_a_function_draws_x(self):
        measurement = as_measurement(lambda x: dist.Poisson(10 * x.exp()))
        steps = Steps(measurement, (3,))
        asked = []

        def latent(number, p):
            asked.append(number)
            return torch.ones(3)

        q = steps.observed(normal(3).to_event(1), latent)
        assert asked == [0]
        assert q.log_prob(torch.tensor([20.0, NONE, NONE])).item() == pytest.approx(
            dist.Poisson(10 * math.e).log_prob(torch.tensor(20.0)).item(), abs=1e-5
        )
        x = steps.back(normal(3).to_event(1), torch.zeros(3), {0: torch.ones(3)}, drawn)
        assert x.tolist() == [1, 1, 1]

    def test_it_is_declared_by_its_arguments(self):
        chain = Downsample(2) >> Noise(0.1) >> Missing()
        assert repr(chain) == "Downsample(factor=2) >> Noise(sd=0.1) >> Missing()"
        assert [type(part) for part in chain.parts] == [Downsample, Noise, Missing]
        assert Noise.from_dict(Noise(0.3).to_dict()) == Noise(0.3)
        assert Crop.from_dict(Crop(2, 3, 1).to_dict()) == Crop(2, 3, 1)

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda: Noise(0), "sd must be a finite number, above 0"),
            (lambda: Flip(1.5), "p must be a finite number"),
            (lambda: Downsample(1), "factor must be"),
            (lambda: Steps(Downsample(3), (4, 4)), "sizes that 3 divides"),
            (lambda: Steps(Crop(3, 3, 2), (4, 4)), "is not inside"),
            (lambda: Blur([[1.0, 1.0]]), "odd sizes"),
            (lambda: Blur("x"), "odd sizes"),
            (lambda: Blur([[math.nan]]), "finite numbers"),
            (lambda: Blur(1e6), "kernel must be"),
            (lambda: Chain([]), "needs one measurement"),
            (lambda: Chain([3]), "through must be a measurement"),
            (lambda: Flip(0.1).sample(torch.full((2, 3), 0.5)), "values of 0 and 1"),
            (lambda: Noise(0.1).sample([["a", "b"]]), "not an array of numbers"),
            (lambda: Custom(lambda x: x).given(torch.ones(3)), "must return a Pyro distribution of y"),
            (
                lambda: Custom(lambda x: dist.Normal(x.cumsum(-1), 1.0)).sample([[1.0, NONE]]),
                "row 0 has missing",
            ),
            (lambda: as_measurement("left"), "through must be a measurement"),
            (lambda: as_measurement(Noise), "through must be a measurement"),
            (lambda: Flip(0.1).marginal(normal(3)), "values of 0 and 1"),
            (lambda: Quantised(3, 1, 0), "high must be"),
            (lambda: Quantised(10**9), "give at most 65,536"),
        ],
    )
    def test_refusals(self, make, said):
        with pytest.raises(InputError, match=said):
            make()

    def test_a_function_of_x_without_noise_has_no_density(self):
        steps = Steps(Downsample(2), (4,))
        beta = dist.Beta(torch.ones(4), torch.ones(4)).to_event(1)
        with pytest.raises(InputError, match=r"add noise, as in Downsample\(factor=2\) >> Noise\(0.05\)"):
            steps.observed(beta, lambda number, p: p.sample())
        noisy = Steps(Downsample(2) >> Noise(0.05), (4,))
        assert noisy.observed(beta, lambda number, p: p.sample()).log_prob(torch.ones(2)).isfinite()

    def test_rescaled_normals_are_normal(self):
        p = distributions.Rescaled(normal(3), torch.tensor(5.0), torch.tensor(2.0))
        assert torch.allclose(as_normal(p).loc, p.loc)
        assert as_normal(distributions.LogRescaled(normal(3), torch.tensor(5.0), torch.tensor(2.0))) is None
