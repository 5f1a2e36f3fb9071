"""Each likelihood is what its name says; tests/testing has what all of them share.

Statistical tests have a fixed seed and would fail by chance in fewer than one of 100,000 runs.
"""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch

import pyrovae as pv
from pyrovae import distributions
from pyrovae.likelihoods import (
    Beta,
    Categorical,
    DiscretizedLogistic,
    Laplace,
    LogNormal,
    Mixed,
    Multinomial,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
    ZeroInflatedNegativeBinomial,
)
from pyrovae.numerics import positive
from pyrovae.testing.statistics import frequencies_apart
from tests.support.more_likelihoods import LIKELIHOODS
from tests.support.parts import attached, each, params, raises_one_sentence

pytestmark = pytest.mark.usefixtures("float64")


# ---------------------------------------------------------------- every likelihood


@pytest.mark.parametrize("total", [1, 2, 5])
def test_multinomial_sums_to_one_over_the_events_of_a_total(total):
    likelihood = attached(Multinomial(), (2, 2))
    distribution = likelihood(**params(likelihood.param_shapes))
    counts = torch.arange(total + 1.0)
    events = torch.cartesian_prod(*[counts] * 4)
    events = events[events.sum(1) == total].reshape(-1, 2, 2)
    assert len(events) == math.comb(total + 3, 3)
    assert abs(torch.logsumexp(distribution.log_prob(events), 0)) < 1e-12


@torch.no_grad()
def test_draws_of_a_multinomial_follow_it():
    likelihood = attached(Multinomial(total=3), (3,))
    distribution = likelihood(**params(likelihood.param_shapes))
    events = torch.cartesian_prod(*[torch.arange(4.0)] * 3)
    events = events[events.sum(1) == 3]
    draws = distribution.sample((20_000,))
    counts = (draws[:, None] == events).all(-1).sum(0)
    assert counts.sum() == 20_000
    assert frequencies_apart(counts, distribution.log_prob(events).exp()) is None


@each("likelihood", LIKELIHOODS)
def test_likelihoods_accept_their_draws_and_missing_elements_if_these_are_independent(likelihood):
    part = attached(likelihood, (2, 3))
    x = part(**params(part.param_shapes, 40)).sample()
    part.check(x)
    x[7, 1, 2] = math.nan
    if part.takes_missing:
        part.check(x, "the test data")
    else:
        words = (type(part).__name__, "the test data", "row 7", "fill in what is missing")
        raises_one_sentence(lambda: part.check(x, "the test data"), *words)


# ---------------------------------------------------------------- what is refused


def test_support_is_told_in_words():
    x = torch.tensor([[0.0, 1.0], [0.5, 1.0], [2.0, 0.0]])
    wanted = {
        pv.likelihoods.Bernoulli(): ("2 values", "0.5", "row 1", "binarise"),
        pv.likelihoods.ContinuousBernoulli(): ("1 values", "2", "row 2", "[0, 1]"),
        Beta(): ("5 values", "is 0,", "row 0", "ContinuousBernoulli"),
        LogNormal(): ("2 values", "is 0,", "above 0"),
        Categorical(4): ("2 values", "0.5", "k / 3"),
        Categorical(2, grey=False): ("2 values", "0.5", "0 to 1"),
        DiscretizedLogistic(256): ("2 values", "0.5", "k / 255"),
        Poisson(): ("1 values", "0.5", "whole number"),
        NegativeBinomial(): ("1 values", "0.5", "whole number"),
        ZeroInflatedNegativeBinomial(): ("1 values", "0.5", "whole number"),
        Multinomial(): ("1 rows", "row 1", "whole number"),
        Multinomial(total=2): ("2 rows", "row 0", "sum 2"),
    }
    for part, words in wanted.items():
        part = part.clone()
        part.attach((2,))
        raises_one_sentence(lambda part=part: part.check(x), type(part).__name__, *words)


@pytest.mark.parametrize("levels", [2, 17, 256, 65_536])
def test_grey_levels_are_known_in_float32(levels):
    grid = distributions.Grid(levels, levels - 1)
    exact = torch.arange(levels) / (levels - 1)
    distribution = distributions.Levels(torch.randn(levels).float(), levels - 1)
    for towards in (-1.0, 2.0):  # the next number that float32 has
        rounded = torch.nextafter(exact.float(), torch.tensor(towards).float())
        assert grid.check(rounded).all()
        torch.testing.assert_close(distribution.expand((levels,)).log_prob(rounded), distribution.logits)
    assert not grid.check(exact[:-1] + 0.3 / (levels - 1)).any()
    assert not grid.check(torch.tensor([-1 / (levels - 1), 1 + 1 / (levels - 1), math.nan])).any()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Categorical(1), ("Categorical", "classes", "not 1")),
        (lambda: DiscretizedLogistic(1), ("levels", "not 1")),
        (lambda: DiscretizedLogistic(components=0), ("components", "not 0")),
        (lambda: DiscretizedLogistic(components=True), ("components", "not True")),
        (lambda: NegativeBinomial("free"), ("NegativeBinomial", "dispersion", "'free'")),
        (lambda: ZeroInflatedNegativeBinomial("free"), ("ZeroInflatedNegativeBinomial", "'free'")),
        (lambda: Multinomial(0), ("total", "not 0")),
        (lambda: Multinomial(2.5), ("total", "not 2.5")),
        (lambda: StudentT(df=1.0), ("df", "not 1.0")),
        (lambda: StudentT(df="free"), ("df", "'free'")),
        (lambda: Laplace("optimal"), ("Laplace", "scale", "'optimal'")),
        (lambda: LogNormal(-1.0), ("LogNormal", "scale", "-1.0")),
        (lambda: Mixed(["normal", "word", "normal"]), ("'word'", "categorical:N")),
        (lambda: Mixed(["normal", "categorical:1", "normal"]), ("'categorical:1'",)),
        (lambda: Mixed(["normal"]), ("1 columns", "(3,)")),
    ],
)
def test_hyperparameters_out_of_range_are_refused(part, words):
    raises_one_sentence(lambda: part().attach((3,)), *words)


# ---------------------------------------------------------------- each distribution against another source


def test_likelihoods_have_the_densities_they_are_named_after():
    logits, x = torch.tensor([-1.5, 0.4, 2.0]), torch.tensor([1.0, 0.0, 1.0])
    p = torch.sigmoid(logits)
    kernel = (x * p.log() + (1 - x) * (1 - p).log()).sum()
    constant = (2 * torch.atanh(1 - 2 * p) / (1 - 2 * p)).log().sum()  # Loaiza-Ganem & Cunningham, eq. 7
    bernoulli, grey = pv.likelihoods.Bernoulli(), pv.likelihoods.ContinuousBernoulli()
    bernoulli.attach((3,))
    grey.attach((3,))
    torch.testing.assert_close(bernoulli(logits).log_prob(x), kernel)
    torch.testing.assert_close(grey(logits).log_prob(x), kernel + constant)
    normal = Normal(0.3)
    normal.attach((3,))
    by_hand = (-0.5 * ((x - logits) / 0.3) ** 2 - math.log(0.3 * math.sqrt(2 * math.pi))).sum()
    torch.testing.assert_close(normal(logits).log_prob(x), by_hand)


def scipys(part, p):
    """The same distribution by scipy, from what the decoder gives."""
    stats = scipy.stats
    p = {name: value.numpy() for name, value in p.items()}
    soft = lambda raw, floor=1e-4: np.logaddexp(0, raw) + floor  # noqa: E731
    if isinstance(part, Laplace):
        return stats.laplace(p["loc"], soft(p["raw_scale"]))
    if isinstance(part, StudentT):
        return stats.t(part.df, p["loc"], soft(p["raw_scale"]))
    if isinstance(part, LogNormal):
        return stats.lognorm(s=soft(p["raw_scale"]), scale=np.exp(p["loc"]))
    if isinstance(part, Beta):
        c = soft(p["raw_concentration"] + np.log(np.expm1(2 - 1e-4)))
        m = 1 / (1 + np.exp(-p["logits"]))
        return stats.beta(m * c + 1e-4, (1 - m) * c + 1e-4)
    if isinstance(part, Poisson):
        return stats.poisson(soft(p["raw_rate"]))
    r, mean = 1 / soft(p["raw_dispersion"], 1e-3), soft(p["raw_mean"])
    return stats.nbinom(r, r / (r + mean))


@pytest.mark.parametrize(
    "part",
    [
        Laplace("predicted"),
        StudentT(2.5, "predicted"),
        LogNormal("predicted"),
        Beta(),
        Poisson(),
        NegativeBinomial("predicted"),
    ],
    ids=repr,
)
def test_distributions_are_scipys(part):
    part.attach((50,))
    given = params(part.param_shapes)
    theirs, distribution = scipys(part, given), part(**given)
    x = theirs.rvs(random_state=1)
    log_p = theirs.logpmf(x) if hasattr(theirs.dist, "logpmf") else theirs.logpdf(x)
    found = distribution.base_dist.log_prob(torch.tensor(x, dtype=torch.float64))
    np.testing.assert_allclose(found, log_p, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(distribution.mean, theirs.mean(), rtol=1e-9)


def test_negative_binomial_has_the_variance_it_declares():
    part = attached(NegativeBinomial(), (6,))
    distribution = part(**params(part.param_shapes)).base_dist
    m, a = distribution.mean, positive(part.raw_dispersion, 1e-3)
    torch.testing.assert_close(distribution.variance, m + a * m**2)


def test_student_t_with_many_degrees_is_normal():
    student, normal = StudentT(1e9, 0.7), Normal(0.7)
    for part in (student, normal):
        part.attach((30,))
    x, loc = torch.randn(30), torch.randn(30)
    torch.testing.assert_close(student(loc).log_prob(x), normal(loc).log_prob(x), rtol=1e-5, atol=1e-5)


def test_the_degrees_of_freedom_begin_at_five_and_stay_above_one():
    part = StudentT()
    part.attach((2,))
    torch.testing.assert_close(part(torch.zeros(2)).base_dist.base.df, torch.full((2,), 5.0))
    with torch.no_grad():
        part.raw_df.fill_(-100.0)
    assert (part(torch.zeros(2)).base_dist.base.df > 1).all()


def test_a_beta_distribution_of_zeros_is_uniform():
    part = Beta()
    part.attach((50,))
    distribution = part(logits=torch.zeros(50), raw_concentration=torch.zeros(50))
    x = torch.rand(50)
    torch.testing.assert_close(distribution.base_dist.log_prob(x), torch.zeros(50), rtol=0, atol=1e-3)


def test_a_gate_that_is_shut_leaves_the_negative_binomial():
    gated, plain = (
        attached(p, (20,)) for p in (ZeroInflatedNegativeBinomial("predicted"), NegativeBinomial("predicted"))
    )
    given = params(plain.param_shapes)
    x = plain(**given).sample()
    shut = gated(**given, gate_logits=torch.full((20,), -40.0))
    torch.testing.assert_close(shut.log_prob(x), plain(**given).log_prob(x))
    half = gated(**given, gate_logits=torch.zeros(20)).base_dist
    by_hand = 0.5 * plain(**given).base_dist.log_prob(x).exp() + 0.5 * (x == 0)
    torch.testing.assert_close(half.log_prob(x).exp(), by_hand)


def test_a_multinomial_of_one_word_is_a_category():
    part, other = Multinomial(), Multinomial(total=1)
    for each_part in (part, other):
        each_part.attach((5,))
    logits, x = torch.randn(7, 5), torch.eye(5)[torch.randint(5, (7,))]
    wanted = dist.OneHotCategorical(logits=logits).log_prob(x)
    torch.testing.assert_close(part(logits=logits).log_prob(x), wanted)
    torch.testing.assert_close(other(logits=logits).log_prob(x), wanted)


def test_a_multinomial_is_torchs_for_every_datums_own_total():
    part = Multinomial()
    part.attach((2, 2))
    logits = torch.randn(3, 2, 2)
    x = torch.tensor([[1.0, 0, 4, 2], [0, 0, 0, 0], [9, 9, 9, 9]]).reshape(3, 2, 2)
    wanted = [
        torch.distributions.Multinomial(int(row.sum()), logits=own.flatten()).log_prob(row.flatten())
        for row, own in zip(x, logits, strict=True)
    ]
    torch.testing.assert_close(part(logits=logits).log_prob(x), torch.stack(wanted))


def test_draws_of_a_multinomial_have_the_mean_total_of_the_data():
    part = Multinomial()
    part.attach((4,))
    assert (part(logits=torch.zeros(9, 4)).sample().sum(-1) == 1).all()
    part.start_from(torch.tensor([[1.0, 2, 3, 4], [0, 0, 0, 3]]))
    assert (part(logits=torch.zeros(9, 4)).sample().sum(-1) == 6).all()
    again = Multinomial()
    again.attach((4,))
    again.load_state_dict(part.state_dict())
    assert again.drawn == 6


def test_a_discretized_logistic_is_a_difference_of_distribution_functions():
    part = DiscretizedLogistic(levels=9)
    part.attach((9,))
    given = params(part.param_shapes)
    x = torch.arange(9) / 8
    cdf = scipy.stats.logistic(given["loc"][0].numpy(), positive(given["raw_scale"][0]).numpy()).cdf
    lower, upper = cdf(x.numpy() - 1 / 16), cdf(x.numpy() + 1 / 16)
    lower[0], upper[-1] = 0, 1
    found = part(**given).base_dist.log_prob(x)
    np.testing.assert_allclose(found, np.log(upper - lower), rtol=1e-9)


def test_a_discretized_logistic_mixes_its_components():
    mixed, single = DiscretizedLogistic(16, 3), DiscretizedLogistic(16)
    for part in (mixed, single):
        part.attach((4,))
    p, x = params(mixed.param_shapes), torch.randint(16, (4,)) / 15
    weights = torch.softmax(p["logits"], 0)
    parts = [single(p["loc"][[c]], p["raw_scale"][[c]]).base_dist.log_prob(x).exp() for c in range(3)]
    by_hand = (weights * torch.stack(parts)).sum(0)
    torch.testing.assert_close(mixed(**p).base_dist.log_prob(x).exp(), by_hand)


def test_a_discretized_logistic_keeps_its_digits_far_out():
    """Where float32 would subtract 1 from 1: the tail is exponential, with a slope of 1 / s."""
    loc, scale = torch.tensor([[-30.0]]), torch.tensor([[1.0]])
    exact = distributions.DiscretizedLogistic(loc, scale, torch.zeros(1, 1), 256)
    low = distributions.DiscretizedLogistic(loc.float(), scale.float(), torch.zeros(1, 1).float(), 256)
    x = torch.tensor([0.2, 0.4])
    torch.testing.assert_close(low.log_prob(x.float()).double(), exact.log_prob(x), rtol=1e-6, atol=1e-5)
    assert exact.log_prob(x)[0] - exact.log_prob(x)[1] == pytest.approx(0.2, rel=1e-3)


def test_a_category_is_the_softmax_of_its_logits():
    for grey in (True, False):
        part = Categorical(5, grey)
        part.attach((3,))
        logits = torch.randn(5, 3)
        k = torch.tensor([0, 4, 2])
        wanted = torch.log_softmax(logits, 0)[k, torch.arange(3)]
        torch.testing.assert_close(part(logits=logits).base_dist.log_prob(k / 4 if grey else k * 1.0), wanted)


# ---------------------------------------------------------------- scales


def test_scales_of_the_normal_likelihood():
    for scale, expected in ((0.1, 0.1), ("learned", 0.5)):
        likelihood = Normal(scale)
        likelihood.attach((3,))
        sigma = likelihood(loc=torch.zeros(3)).base_dist.scale
        torch.testing.assert_close(sigma.expand(3), torch.full((3,), expected))
    assert isinstance(likelihood.raw_scale, torch.nn.Parameter)
    likelihood = Normal("predicted")
    likelihood.attach((3,))
    raw = torch.tensor([-50.0, 0.0, 50.0])
    torch.testing.assert_close(likelihood(torch.zeros(3), raw).base_dist.scale, positive(raw))
    for wrong in (0, -1.0, math.inf, math.nan, "free"):
        raises_one_sentence(lambda wrong=wrong: Normal(wrong).attach((3,)), "scale", repr(wrong))


def test_the_optimal_scale_is_the_root_mean_square_of_what_is_left():
    part = Normal("optimal")
    part.attach((3, 2))
    x, loc = torch.randn(5, 3, 2), torch.randn(4, 5, 3, 2, requires_grad=True)
    log_px = part(loc).log_prob(x)
    mse = (x - loc).square().mean()
    by_hand = dist.Normal(loc, mse.sqrt()).log_prob(x).sum((-1, -2))
    torch.testing.assert_close(log_px, by_hand)
    (found,) = torch.autograd.grad(log_px.sum(), loc)
    (wanted,) = torch.autograd.grad(-loc.numel() * 0.5 * mse.log(), loc)
    torch.testing.assert_close(found, wanted)
    for scale in (0.9, 1.1):  # no other scale is as good
        assert dist.Normal(loc, scale * mse.sqrt()).log_prob(x).sum() < log_px.sum()


def test_the_optimal_scale_is_kept_for_evaluation_and_saved():
    part = Normal("optimal")
    part.attach((2,))
    found = []
    for _ in range(3):
        x = torch.randn(6, 2)
        found.append(x.square().mean())
        part(torch.zeros(6, 2)).log_prob(x)
    kept = torch.stack(found).mean()
    torch.testing.assert_close(part.running_variance, kept)
    part.eval()
    x = torch.randn(6, 2)
    expected = dist.Normal(0.0, kept.sqrt()).log_prob(x).sum(-1)
    torch.testing.assert_close(part(torch.zeros(6, 2)).log_prob(x), expected)
    part.train()
    with torch.no_grad():  # nor is it moved by looking
        torch.testing.assert_close(part(torch.zeros(6, 2)).log_prob(x), expected)
    torch.testing.assert_close(part.running_variance, kept)
    again = Normal("optimal")
    again.attach((2,))
    again.load_state_dict(part.state_dict())
    torch.testing.assert_close(again.running_variance, kept)


def test_a_run_without_gradients_is_no_batch_of_the_optimal_scale():
    part = Normal("optimal")
    part.attach((3,))
    part.train()
    before = {name: value.clone() for name, value in part.state_dict().items()}
    with torch.no_grad():
        part(loc=torch.zeros(5, 3)).log_prob(torch.randn(5, 3))
    assert all(torch.equal(value, before[name]) for name, value in part.state_dict().items())


def test_training_finds_the_optimal_scale():
    torch.manual_seed(0)
    x = torch.randn(400, 1) @ torch.randn(1, 6) + 0.3 * torch.randn(400, 6)
    networks = {"encoder": pv.networks.MLP(16), "decoder": pv.networks.MLP(16)}
    vae = pv.VAE((6,), 1, likelihood=Normal("optimal"), **networks).double()
    pv.fit(vae, x, epochs=40, batch_size=50, lr=0.01, progress=False)
    assert 0.25 < vae.likelihood.running_variance.sqrt() < 0.4
