"""Laws of single parts, on every part there is: densities integrate to one, draws follow them, networks.

Statistical laws have a fixed seed and would fail by chance in fewer than one of 100,000 runs.
"""

import copy
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import yaml
from parts import (
    DECODERS,
    ENCODERS,
    GUIDES,
    LIKELIHOODS,
    NETWORKS,
    OBJECTIVES,
    PRIORS,
    LaplacePrior,
    attached,
    each,
    params,
    raises_one_sentence,
    table,
)
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from scipy.stats import chisquare, kstest

import pyrovae as pv
from pyrovae.guides import DiagonalNormal
from pyrovae.likelihoods import Normal
from pyrovae.numerics import positive
from pyrovae.objectives import ELBO
from pyrovae.part import Declared
from pyrovae.priors import GaussianMixture, Prior, StandardNormal

pytestmark = pytest.mark.usefixtures("float64")

RARE = 1e-6
ALL = [*PRIORS, *LIKELIHOODS, *GUIDES, *NETWORKS, *OBJECTIVES]
SHAPES = [(1, 8, 8), (3, 9, 13), (1, 28, 28), (1, 64, 64)]


# ---------------------------------------------------------------- grids


def real_line(points: int = 6001):
    """Nodes and logarithms of weights for an integral over the reals, dense around 0: z = sinh t."""
    t = torch.linspace(-9, 9, points)
    return t.sinh(), t.cosh().log() + math.log(18 / (points - 1))


def unit_interval(points: int = 4000):
    """Midpoints of [0, 1]."""
    return (torch.arange(points) + 0.5) / points, torch.full((points,), -math.log(points))


def plane(points: int = 900, limit: float = 12.0):
    axis = torch.linspace(-limit, limit, points)
    return axis, 2 * math.log(2 * limit / (points - 1))


def law_of(part, dim: int):
    """The distribution of a prior or a guide over latents of size `dim`."""
    if isinstance(part, Prior):
        return attached(part, dim)()
    part = attached(part, dim)
    return part(**params(part.param_shapes))


LATENT_LAWS = each("part", [*PRIORS, *GUIDES])


# ---------------------------------------------------------------- 5: priors and guides


@LATENT_LAWS
def test_latent_laws_integrate_to_one(part):
    z, log_weight = real_line()
    total = torch.logsumexp(law_of(part, 1).log_prob(z.unsqueeze(-1)) + log_weight, 0)
    assert abs(total) < 1e-5  # the corner of a Laplace law; smooth ones are exact to rounding
    axis, log_area = plane()
    grid = torch.cartesian_prod(axis, axis)
    assert abs(torch.logsumexp(law_of(part, 2).log_prob(grid), 0) + log_area) < 1e-3


@LATENT_LAWS
@torch.no_grad()
def test_draws_of_latent_laws_follow_their_density(part):
    law = law_of(part, 1)
    draws = law.expand((20_000,)).sample()[:, 0]
    z, log_weight = real_line()
    cdf = (law.log_prob(z.unsqueeze(-1)) + log_weight).exp().cumsum(0)
    assert kstest(draws, lambda v: np.interp(v, z, cdf)).pvalue > RARE


@LATENT_LAWS
def test_draws_of_two_latents_follow_their_density(part):
    """Cells of the plane: the latents are as dependent as the density says."""
    law = law_of(part, 2)
    axis, log_area = plane(points=961)
    mass = (law.log_prob(torch.cartesian_prod(axis, axis)) + log_area).exp().reshape(961, 961)
    edges = torch.tensor([-12.0, -1.5, -0.5, 0.0, 0.5, 1.5, 12.0])
    cell = torch.bucketize(axis, edges[1:-1])
    expected = torch.zeros(6, 6).index_put((cell[:, None], cell[None, :]), mass, accumulate=True)
    draws = torch.bucketize(law.expand((20_000,)).sample(), edges[1:-1])
    observed = torch.bincount(6 * draws[:, 0] + draws[:, 1], minlength=36).reshape(6, 6)
    # A grid point on an edge belongs to one cell only: allow for that much probability.
    slack = mass.sum(0).max() + mass.sum(1).max()
    error = (expected * (1 - expected) / 20_000).sqrt()
    assert ((observed / 20_000 - expected).abs() < 5 * error + slack).all()


@LATENT_LAWS
@pytest.mark.parametrize("dim", [1, 4])
def test_latent_laws_are_over_latents(part, dim):
    law = law_of(part, dim)
    assert law.event_shape == (dim,)
    assert law.batch_shape == ()
    assert law.expand((5, 3)).sample().shape == (5, 3, dim)


@each("prior", PRIORS)
def test_a_prior_follows_its_context_row_by_row(prior):
    prior = attached(prior, 2, context_dim=3)
    z, c = torch.randn(4, 2), torch.randn(4, 3)
    together = prior(c).expand((4,)).log_prob(z)
    alone = torch.stack([prior(c[i]).log_prob(z[i]) for i in range(4)])
    torch.testing.assert_close(together, alone)
    if list(prior.parameters()):
        assert (together - prior(c.flip(0)).expand((4,)).log_prob(z)).abs().max() > 1e-3


@each("guide", GUIDES)
def test_guides_differentiate_their_draws(guide):
    """The pathwise gradient of E[z^2] and E[sin z] against the derivative of the integral."""
    guide = attached(guide, 1)
    given = {name: value.requires_grad_() for name, value in params(guide.param_shapes).items()}
    z, log_weight = real_line()
    mass = (guide(**given).log_prob(z.unsqueeze(-1)) + log_weight).exp()
    many = {name: value.detach().expand(40_000, 1).requires_grad_() for name, value in given.items()}
    assert guide(**many).has_rsample
    draws = guide(**many).rsample()[:, 0]
    for f in (torch.square, torch.sin):
        exact = torch.autograd.grad((mass * f(z)).sum(), list(given.values()), retain_graph=True)
        sampled = torch.autograd.grad(f(draws).sum(), list(many.values()), retain_graph=True)
        for one, rows in zip(exact, sampled, strict=True):
            error = rows.std() / math.sqrt(len(rows))
            assert abs(rows.mean() - one) < 5 * error + 1e-4


# ---------------------------------------------------------------- 5: likelihoods


def elementwise(likelihood, elements: int):
    """Its law over `elements` numbers, with the nodes of one of them and the logarithms of their weights."""
    likelihood = attached(likelihood, (elements,))
    given = params(likelihood.param_shapes)
    law = likelihood(**given)
    support = law.support.base_constraint
    if support.is_discrete:
        nodes = law.base_dist.enumerate_support(expand=False).flatten()
        return law, nodes, torch.zeros(len(nodes))
    bounded = bool(support.check(torch.tensor(0.5))) and not support.check(torch.tensor(1.5))
    nodes, log_weight = unit_interval() if bounded else real_line(400_001)
    centre = 0.0 if bounded else law.mean.mean()  # a narrow law needs nodes where it is
    return law, nodes + centre, log_weight


@each("likelihood", LIKELIHOODS)
def test_likelihoods_sum_or_integrate_to_one(likelihood):
    law, nodes, log_weight = elementwise(likelihood, 1)
    total = torch.logsumexp(law.log_prob(nodes.unsqueeze(-1)) + log_weight, 0)
    assert abs(total) < 1e-5


@each("likelihood", [part for part in LIKELIHOODS if elementwise(part, 1)[0].support.is_discrete])
def test_discrete_likelihoods_sum_to_one_over_every_event(likelihood):
    law, nodes, _ = elementwise(likelihood, 6)
    events = torch.cartesian_prod(*[nodes] * 6)
    assert len(events) == len(nodes) ** 6
    assert abs(torch.logsumexp(law.log_prob(events), 0)) < 1e-12


@each("likelihood", LIKELIHOODS)
def test_the_density_of_an_event_is_the_product_of_its_elements(likelihood):
    part = attached(likelihood, (2, 3))
    given = params(part.param_shapes, 4)
    law = part(**given)
    x = law.sample()
    assert (law.batch_shape, law.event_shape, law.log_prob(x).shape) == ((4,), (2, 3), (4,))
    torch.testing.assert_close(law.log_prob(x), law.base_dist.log_prob(x).sum((-1, -2)))


@each("likelihood", LIKELIHOODS)
@torch.no_grad()
def test_draws_of_likelihoods_follow_them(likelihood):
    law, nodes, log_weight = elementwise(likelihood, 1)
    draws = law.expand((20_000,)).sample()[:, 0]
    mass = (law.log_prob(nodes.unsqueeze(-1)) + log_weight).exp()
    if law.support.is_discrete:
        observed = [(draws == node).sum().item() for node in nodes]
        assert chisquare(observed, 20_000 * mass).pvalue > RARE
    else:
        assert kstest(draws, lambda v: np.interp(v, nodes, mass.cumsum(0))).pvalue > RARE


@each("likelihood", LIKELIHOODS)
def test_likelihoods_accept_their_draws_and_refuse_what_has_no_density(likelihood):
    part = attached(likelihood, (2, 3))
    x = part(**params(part.param_shapes, 40)).sample()
    part.check(x)
    x[7, 1, 2] = math.nan
    raises_one_sentence(
        lambda: part.check(x, "the test data"), type(part).__name__, "the test data", "row 7", part.advice
    )


def test_support_is_told_in_words():
    bernoulli, grey = pv.likelihoods.Bernoulli(), pv.likelihoods.ContinuousBernoulli()
    bernoulli.attach((2,))
    grey.attach((2,))
    x = torch.tensor([[0.0, 1.0], [0.5, 1.0], [2.0, 0.0]])
    raises_one_sentence(lambda: bernoulli.check(x), "2 values", "0.5", "row 1", "binarise")
    raises_one_sentence(lambda: grey.check(x), "1 values", "2", "row 2", "[0, 1]")


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


# ---------------------------------------------------------------- 6: the mixture prior


def test_a_mixture_is_the_sum_of_its_components():
    prior = attached(GaussianMixture(3), 2, context_dim=2)
    z, c = torch.randn(5, 2), torch.randn(5, 2)
    pi = torch.softmax(prior.logits + c @ prior.gate.weight.mT, -1)
    normal = torch.distributions.Normal(prior.loc, positive(prior.raw_scale))
    by_hand = (pi * normal.log_prob(z[:, None]).sum(-1).exp()).sum(-1).log()
    torch.testing.assert_close(prior(c).log_prob(z), by_hand)


def test_a_mixture_of_one_is_a_normal():
    prior = attached(GaussianMixture(1), 3)
    normal = dist.Normal(prior.loc[0], positive(prior.raw_scale[0])).to_event(1)
    z = torch.randn(7, 3)
    torch.testing.assert_close(prior().log_prob(z), normal.log_prob(z))


def test_a_mixture_begins_with_equal_weights_and_unit_scales():
    prior = GaussianMixture(4)
    prior.attach(2, context_dim=3)
    law = prior(torch.randn(5, 3))
    torch.testing.assert_close(law.mixture_distribution.probs, torch.full((5, 4), 0.25))
    torch.testing.assert_close(law.component_distribution.stddev, torch.ones(5, 4, 2))
    assert prior.loc.std() > 0  # equal components would stay equal for ever


def test_a_mixture_collapsed_equals_the_same_enumerated():
    """An explicit c, summed out by Pyro, on the same draws of z; and Pyro's q(c|z) is Bayes' theorem."""
    vae = _mixture_vae()
    (x,) = (torch.bernoulli(torch.full((6, 4), 0.5)),)
    prior = vae.prior

    def explicit(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(logits=prior.logits), infer={"enumerate": "parallel"})
            scale = positive(prior.raw_scale)
            z = pyro.sample("z", dist.Normal(prior.loc[c], scale[c]).to_event(1))
            pyro.sample("x", vae.decode(z), obs=x)

    enumerated = TraceEnum_ELBO(max_plate_nesting=1)
    pyro.set_rng_seed(3)
    expected = enumerated.loss(explicit, vae.guide, x) / 6
    pyro.set_rng_seed(3)
    assert ELBO().loss(vae.model, vae.guide, x) == pytest.approx(expected, rel=1e-12)

    z = poutine.trace(vae.guide).get_trace(x).nodes["z"]["value"].detach()
    fixed = poutine.condition(explicit, data={"z": z})
    q = enumerated.compute_marginals(fixed, lambda x: None, x)["c"]
    components = dist.Normal(prior.loc, positive(prior.raw_scale)).to_event(1)
    bayes = torch.softmax(torch.log_softmax(prior.logits, -1) + components.log_prob(z[:, None]), -1)
    torch.testing.assert_close(q.probs, bayes)
    torch.testing.assert_close(bayes.sum(-1), torch.ones(6))


def _mixture_vae():
    vae = pv.VAE((4,), 2, prior=GaussianMixture(3), encoder=NETWORKS[0], decoder=NETWORKS[0])
    with torch.no_grad():
        for p in vae.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return vae


# ---------------------------------------------------------------- networks


@each("network", NETWORKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("context_dim", [0, 3])
def test_networks_pass_leading_dimensions_and_keep_rows_apart(network, shape, context_dim):
    for input_shape, output_shape in _roles(network, shape):
        net = attached(network, input_shape, output_shape, context_dim)
        value = torch.randn(2, 3, *input_shape)
        context = torch.randn(3, context_dim) if context_dim else None
        head = net.head(output_shape or (4,))
        whole = head(net(value, context))
        assert whole.shape == (2, 3, *(output_shape or (4,)))
        alone = head(net(value[1, 2], None if context is None else context[2]))
        torch.testing.assert_close(alone, whole[1, 2])
        if context is not None:
            assert (head(net(value, context + 1)) - whole).abs().max() > 1e-6


@each("network", NETWORKS)
def test_networks_use_all_of_their_input(network):
    for input_shape, output_shape in _roles(network, (2, 5, 7)):
        net = attached(network, input_shape, output_shape, 3)
        value = torch.randn(4, *input_shape, requires_grad=True)
        context = torch.randn(4, 3, requires_grad=True)
        net.head(output_shape or (2,))(net(value, context)).sin().sum().backward()
        assert (value.grad != 0).any(0).all()
        assert (context.grad != 0).any(0).all()


def _roles(network, shape):
    """The input and output shapes with which it can serve, as an encoder and as a decoder."""
    return [(shape, None)] * (network in ENCODERS) + [((2,), shape)] * (network in DECODERS)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: pv.networks.MLP(8, activation="rely").attach((3,)), ("rely", "relu")),
        (lambda: pv.networks.MLP(8, 0).attach((3,)), ("MLP", "1 or more")),
        (lambda: pv.networks.ConvEncoder().attach((64,)), ("ConvEncoder", "(64,)", "MLP")),
        (lambda: pv.networks.ConvDecoder().attach((2,), (64,)), ("ConvDecoder", "(64,)")),
        (
            lambda: pv.networks.ConvEncoder(channels=()).attach((1, 8, 8)),
            ("ConvEncoder", "at least one size"),
        ),
        (lambda: GaussianMixture(0).attach(2), ("components", "not 0")),
        (lambda: ELBO(particles=0), ("particles", "not 0")),
        (lambda: ELBO(beta=-1.0), ("beta", "-1.0")),
        (lambda: ELBO(beta=math.nan), ("beta", "nan")),
        (lambda: pv.objectives.IWAE(2.5), ("particles", "2.5")),
    ],
)
def test_hyperparameters_out_of_range_are_told(given, words):
    raises_one_sentence(given, *words)


# ---------------------------------------------------------------- 9: every part is its declaration


@each("part", ALL)
def test_a_part_is_its_declaration(part):
    written = part.to_dict()
    assert yaml.safe_load(yaml.safe_dump(written)) == written
    again = Declared.from_dict(written)
    twin = part.clone()
    deep = copy.deepcopy(part)
    assert again == twin == deep == part
    assert again is not part
    assert hash(again) != hash(part)
    assert len({again, twin, deep, part}) == 4  # equal, and still four objects
    assert repr(again) == repr(part)
    assert type(part).__name__ in repr(part)
    for value in part.hyperparameters().values():
        assert str(value).strip("()") in repr(part)


def test_other_hyperparameters_are_another_declaration():
    assert GaussianMixture(3) != GaussianMixture(4)
    assert StandardNormal() != GaussianMixture(1)
    assert pv.networks.MLP(8) != pv.networks.MLP(8, activation="tanh")
    assert pv.networks.MLP(8, 9) == pv.networks.MLP(sizes=(8, 9))
    assert ELBO(3) != pv.objectives.IWAE(3)
    assert Normal(0.1) != Normal("learned")
    assert DiagonalNormal() != object()


def test_a_users_part_is_found_by_its_import_path():
    written = {"class_path": "parts.LaplacePrior", "init_args": {"rate": 3.0}}
    assert Prior.from_dict(written) == LaplacePrior(3.0)
    assert LaplacePrior(3.0).to_dict() == written


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"class_path": "parts.Missing"}, ("parts.Missing", "import path")),
        ({"class_path": "nowhere.Prior"}, ("nowhere.Prior", "import path")),
        ({"class_path": "GaussianMixture"}, ("GaussianMixture", "import path")),
        ({"class_path": "parts.LaplaceGuide"}, ("parts.LaplaceGuide", "not a Prior")),
        ({"class_path": "parts.LaplacePrior", "init_args": {"speed": 1}}, ("parts.LaplacePrior", "speed")),
        ({"class_path": "pyrovae.priors.Prior"}, ("pyrovae.priors.Prior", "abstract")),
    ],
)
def test_a_declaration_that_cannot_be_built_says_why(written, words):
    raises_one_sentence(lambda: Prior.from_dict(written), *words)


def test_a_part_that_hides_its_hyperparameter_is_told_to_store_it():
    class Hiding(StandardNormal):
        def __init__(self, size: int = 3) -> None:
            super().__init__()

    raises_one_sentence(lambda: repr(Hiding()), "Hiding", "self.size = size")


def test_a_new_part_joins_the_table_by_existing():
    assert LaplacePrior in {type(part) for part in table(Prior)}
    public = {getattr(pv.priors, name) for name in pv.priors.__all__} - {Prior}
    assert public <= {type(part) for part in table(Prior)}
