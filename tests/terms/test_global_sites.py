"""Programs with variables that all rows share: sites outside the plate "data".

Their log p(w) - log q(w) counts once for the data set, and no weight of a row contains it. Where Pyro's
`Trace_ELBO` is right, ours is equal: for a whole data set, and for a batch whose rows have the scale N / B.
"""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from pyro.nn import PyroModule, PyroSample

import pyrovae as pv
from pyrovae import objectives
from pyrovae.datasets import Rows
from pyrovae.objectives import CIWAE, ELBO, IWAE, MIWAE, Capacity, JensenShannon, Objective, Renyi
from pyrovae.terms import Runner, check_own_weights, run
from tests.support.parts import raises_one_sentence

pytestmark = pytest.mark.usefixtures("float64")

SCALE = 0.5
PRIOR = dist.Normal(0.0, 1.5).expand([2]).to_event(1)
AUTOGUIDES = [
    AutoNormal,
    AutoDiagonalNormal,
    AutoMultivariateNormal,
    AutoLowRankMultivariateNormal,
    AutoLaplaceApproximation,
    AutoDelta,
]


def rows_of(count=7, seed=3):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, generator=draw, dtype=torch.float64)


def q_w():
    loc = pyro.param("loc", torch.tensor([0.7, -0.4]))
    scale = pyro.param("scale", torch.tensor([0.3, 0.2]), constraint=dist.constraints.positive)
    return dist.Normal(loc, scale).to_event(1)


def q_z(x):
    return dist.Normal(x @ pyro.param("reader", torch.tensor([0.3, -0.2])), 0.8)


def model(x):
    """x = w z + noise, with one latent z of a row."""
    w = pyro.sample("w", PRIOR)
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z.unsqueeze(-1) * w, SCALE).to_event(1), obs=x)


def local_guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", q_z(x))


def guide(x):
    pyro.sample("w", q_w())
    local_guide(x)


@pytest.fixture(autouse=True)
def empty_store():
    pyro.clear_param_store()


@pytest.fixture
def float32():
    """The type of data sets."""
    torch.set_default_dtype(torch.float32)


def loss_of(objective, pair, x, *, rows, seed=5):
    """The loss of a batch with the random numbers of a seed."""
    objective.begin(rows, None)
    objective.differentiable_loss(*pair, x)  # the first call runs the programs once more
    pyro.set_rng_seed(seed)
    return objective.differentiable_loss(*pair, x)


def pyros(pair, x, *, rows, particles=1, seed=5):
    """Minus Pyro's bound for each of N rows; the terms of a batch have the scale N / B.

    `poutine.scale` would multiply all sites, so the sites of the rows are chosen by their plate.
    """
    scale = rows / len(x)

    class Scaled(poutine.messenger.Messenger):
        def _pyro_sample(self, msg):
            if any(frame.name == "data" for frame in msg["cond_indep_stack"]):
                msg["scale"] = msg["scale"] * scale

    def scaled(program):
        def run(x):
            with Scaled():
                return program(x)

        return run

    options = {"num_particles": particles, "vectorize_particles": particles > 1, "max_plate_nesting": 1}
    pair = [scaled(program) for program in pair]
    pyro.set_rng_seed(seed)
    return Trace_ELBO(**options).differentiable_loss(*pair, x) / rows


def gradient(loss):
    params = dict(pyro.get_param_store().named_parameters())
    values = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    return dict(zip(params, values, strict=True))


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    mine, others = gradient(ours), gradient(theirs)
    for name, value in others.items():
        if value is not None:  # `differentiable_loss` has no gradient for what is not drawn
            torch.testing.assert_close(mine[name], value, rtol=1e-8, atol=1e-10, msg=name)


# ---------------------------------------------------------------- the terms, by hand


@pytest.mark.parametrize("weights", ["shared", "own"])
def test_the_global_term_is_log_p_minus_log_q_and_no_weight_contains_it(weights):
    x = rows_of()
    runner = Runner((model, guide)).check(Rows(x))
    assert runner.global_sites == ("w",)
    pair = runner.run(Rows(x), particles=3, weights=weights)
    terms = pair.terms()
    w, z = pair.global_guide.nodes["w"]["value"], pair.guide.nodes["z"]["value"]
    assert w.shape == ((2,) if weights == "shared" else (3, 1, 2))
    wanted = (PRIOR.log_prob(w) - q_w().log_prob(w)).reshape(-1)
    torch.testing.assert_close(terms.log_global, wanted)
    of_x = dist.Normal(z.unsqueeze(-1) * w, SCALE).log_prob(x).sum(-1)
    torch.testing.assert_close(terms.log_px_z, of_x)
    torch.testing.assert_close(terms.log_w, of_x + dist.Normal(0, 1).log_prob(z) - q_z(x).log_prob(z))
    assert terms.log_global.shape == ((1,) if weights == "shared" else (3,))


@pytest.mark.parametrize("batch", [7, 3, 1])
@pytest.mark.parametrize(("particles", "weights"), [(1, "shared"), (4, "own"), (1, "own"), (1, "auto")])
def test_the_loss_of_a_batch_is_pyros_with_the_scale_of_its_rows(batch, particles, weights):
    x = rows_of()[:batch]
    objective = ELBO(particles, weights=weights)
    ours = loss_of(objective, (model, guide), x, rows=7)
    assert_same(ours, pyros((model, guide), x, rows=7, particles=particles))


@pytest.mark.parametrize(
    "objective", [IWAE(4), Renyi(0.5, 4), CIWAE(4), MIWAE(2, 4), ELBO(4, beta=3.0)], ids=repr
)
def test_a_bound_of_the_rows_at_one_draw_of_w_plus_the_global_term(objective):
    """Also where the logarithm of a mean is taken: log_global is added to its result."""
    x = rows_of()
    ours = loss_of(objective, (model, guide), x, rows=50)
    pyro.set_rng_seed(5)
    w, z = q_w().rsample(), q_z(x).rsample((4,))
    log_px_z = dist.Normal(z.unsqueeze(-1) * w, SCALE).log_prob(x).sum(-1)
    terms = pv.terms.Terms(log_px_z, dist.Normal(0, 1).log_prob(z), q_z(x).log_prob(z))
    share = (PRIOR.log_prob(w) - q_w().log_prob(w)) / 50
    torch.testing.assert_close(ours, -objective.maximised(terms).mean() - share)


def test_particles_with_shared_and_own_draws_have_one_expectation_and_own_draws_less_variance():
    x, runs = rows_of(), 800
    Runner((model, guide)).check(Rows(x))
    values = {}
    for weights in ("shared", "own"):
        objective = ELBO(3, weights=weights)
        loss_of(objective, (model, guide), x, rows=7)
        with torch.no_grad():
            values[weights] = torch.stack(
                [objective.differentiable_loss(model, guide, x) for _ in range(runs)]
            )
    shared, own = values["shared"], values["own"]
    error = math.sqrt((shared.var() + own.var()) / runs)
    assert abs(shared.mean() - own.mean()) < 4.5 * error
    assert own.var() < 0.8 * shared.var()  # a third of the part of w


def test_a_factor_outside_the_plate_counts_once():
    def penalised(x):
        model(x)
        pyro.factor("penalty", torch.tensor(-2.5))

    x = rows_of()
    plain = loss_of(ELBO(3), (model, guide), x[:2], rows=7)
    ours = loss_of(ELBO(3), (penalised, guide), x[:2], rows=7)
    torch.testing.assert_close(ours - plain, torch.tensor(2.5 / 7))
    weights = [Runner((m, guide)).check(Rows(x)).global_sites for m in (model, penalised)]
    assert weights == [("w",), ("w", "penalty")]


def test_a_scale_does_not_change_the_global_term():
    """As for the sites of rows; the warm-up of the divergence is an option of `fit`."""
    x = rows_of()
    scaled = poutine.scale(model, scale=10.0), poutine.scale(guide, scale=10.0)
    ours = loss_of(ELBO(), scaled, x, rows=7)
    torch.testing.assert_close(ours, loss_of(ELBO(), (model, guide), x, rows=7))


def test_masked_entries_of_a_global_site_do_not_count():
    mask = torch.tensor([True, False, True])

    def masked(program, of_w):
        def run(x):
            with pyro.plate("loadings", 3, dim=-1), poutine.mask(mask=mask):
                w = pyro.sample("w", of_w())
            program(x, w)

        return run

    def likelihood(x, w):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(w[..., :2], 1.0).to_event(1), obs=x)

    q = lambda: dist.Normal(pyro.param("loc", torch.tensor([0.5, 1.0, -1.0])), 0.3)  # noqa: E731
    pair = masked(likelihood, lambda: dist.Normal(0.0, 1.0)), masked(lambda x, w: None, q)
    x = rows_of()
    assert_same(loss_of(ELBO(), pair, x, rows=7), pyros(pair, x, rows=7))
    found = Runner(pair).check(Rows(x)).run(Rows(x))
    w = found.global_guide.nodes["w"]["value"]
    ratio = dist.Normal(0.0, 1.0).log_prob(w) - q().log_prob(w)
    torch.testing.assert_close(found.log_global, ratio[mask].sum().reshape(1))


# ---------------------------------------------------------------- plates, modules, autoguides


def plated_model(x):
    """A scale and two loadings in a plate; the plates left of the data are those of the loadings."""
    s = pyro.sample("s", dist.LogNormal(0.0, 0.5))
    with pyro.plate("loadings", 2, dim=-2):
        w = pyro.sample("w", dist.Normal(0.0, 1.5))
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("columns", 2, dim=-2):
            pyro.sample("x", dist.Normal(w * z, s), obs=x.mT)


def plated_guide(x):
    loc = pyro.param("loc", torch.tensor([[0.7], [-0.4]]))
    pyro.sample("s", dist.LogNormal(pyro.param("log_s", torch.tensor(-0.2)), 0.1))
    with pyro.plate("loadings", 2, dim=-2):
        pyro.sample("w", dist.Normal(loc, 0.2))
    local_guide(x)


@pytest.mark.parametrize("particles", [1, 3])
def test_plates_around_global_sites(particles):
    x, pair = rows_of(), (plated_model, plated_guide)
    ours = loss_of(ELBO(particles, weights="own"), pair, x, rows=7)
    options = {"num_particles": particles, "vectorize_particles": particles > 1, "max_plate_nesting": 2}
    pyro.set_rng_seed(5)
    assert_same(ours, Trace_ELBO(**options).differentiable_loss(*pair, x) / 7)


class Regression(PyroModule):
    """The model of Pyro's tutorial on Bayesian regression."""

    def __init__(self):
        super().__init__()
        self.linear = PyroModule[torch.nn.Linear](2, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 10.0).expand([1]).to_event(1))

    def forward(self, x, context=None):
        sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
        mean = self.linear(context).squeeze(-1)
        with pyro.plate("data", len(context)):
            return pyro.sample("obs", dist.Normal(mean, sigma), obs=x)


def test_a_module_with_random_weights():
    c = rows_of()
    y = c.sum(-1)
    regression = Regression()
    auto = AutoNormal(regression)
    runner = Runner((regression, auto)).check(Rows(y, c))
    assert {"linear.weight", "linear.bias", "sigma"} <= set(runner.global_sites)
    pair = runner.run(Rows(y, c), particles=2)
    draws = {name: site["value"] for name, site in pair.global_model.nodes.items() if "value" in site}
    weight, bias, sigma = draws["linear.weight"], draws["linear.bias"], draws["sigma"]
    mean = c @ weight[0] + bias
    torch.testing.assert_close(pair.terms().log_w, dist.Normal(mean, sigma).log_prob(y).expand(2, -1))
    log_p = dist.Normal(0, 1).log_prob(weight).sum() + dist.Normal(0, 10).log_prob(bias).sum() - math.log(10)
    log_q = 0.0
    for name, value in (("linear.weight", weight), ("linear.bias", bias), ("sigma", sigma)):
        loc, scale = auto.locs, auto.scales
        for part in name.split("."):
            loc, scale = getattr(loc, part), getattr(scale, part)
        free = torch.logit(value / 10) if name == "sigma" else value
        log_q += dist.Normal(loc, scale).log_prob(free).sum()
    log_q -= (sigma * (1 - sigma / 10)).log()  # the Jacobian of 10 sigmoid
    torch.testing.assert_close(pair.log_global, (log_p - log_q).reshape(1))


def test_without_validation_a_prior_that_was_made_earlier_is_not_validated_and_stays_as_it_was():
    """As in training, where a check of values would stand in the way of compiled code."""
    priors = [dist.Normal(0.0, 1.0).expand([2]).to_event(1), dist.Normal(torch.zeros(2), 1.0).to_event(1)]
    for prior in priors:
        parts = [prior, prior.base_dist]
        before = [dict(part.__dict__) for part in parts]

        def with_prior(x, prior=prior):
            w = pyro.sample("w", prior)
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("x", dist.Normal(w, SCALE).to_event(1), obs=x)

        def nan(x):
            pyro.sample("w", dist.Delta(torch.tensor([math.nan, 0.0]), event_dim=1))

        with pyro.validation_enabled(False):
            assert run(with_prior, nan, rows_of()).log_global.isnan().all()
        assert [dict(part.__dict__) for part in parts] == before


@pytest.mark.parametrize("auto", AUTOGUIDES)
def test_autoguides_alone(auto):
    """The whole guide is Pyro's: all latents are shared by the rows."""
    c = rows_of()
    y = c.sum(-1)
    regression = Regression()
    pair = regression, auto(regression)
    Runner(pair).check(Rows(y, c))
    objective = ELBO()
    objective.begin(7, None)
    objective.differentiable_loss(*pair, y, c)
    pyro.set_rng_seed(5)
    ours = objective.differentiable_loss(*pair, y, c)
    pyro.set_rng_seed(5)
    assert_same(ours, Trace_ELBO().differentiable_loss(*pair, y, c) / 7)


@pytest.mark.parametrize("auto", AUTOGUIDES)
def test_autoguides_of_the_global_part_beside_a_latent_of_each_row(auto):
    x = rows_of()
    of_globals = auto(poutine.block(plated_model, hide=["z"]))

    def mixed(x):
        of_globals(x)
        local_guide(x)

    objective = ELBO()
    objective.begin(7, None)
    objective.differentiable_loss(plated_model, mixed, x)
    pyro.set_rng_seed(5)
    ours = objective.differentiable_loss(plated_model, mixed, x)
    pyro.set_rng_seed(5)
    assert_same(ours, Trace_ELBO().differentiable_loss(plated_model, mixed, x) / 7)
    few = objective.differentiable_loss(plated_model, mixed, x[:3])  # batches of any size
    assert few.isfinite()


def scaled_model(x):
    """Two shared variables, one of them positive."""
    w = pyro.sample("w", PRIOR)
    s = pyro.sample("s", dist.LogNormal(0.0, 0.5))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(w, s).to_event(1), obs=x)


@pytest.mark.parametrize("auto", AUTOGUIDES)
def test_autoguides_of_some_shared_variables_beside_others(auto):
    """The auxiliary sites of an autoguide give values of its own sites only."""
    of_s = auto(poutine.block(scaled_model, hide=["w"]))

    def mixed(x):
        of_s(x)
        pyro.sample("w", q_w())

    x = rows_of()
    Runner((scaled_model, mixed)).check(Rows(x))
    assert_same(loss_of(ELBO(), (scaled_model, mixed), x, rows=7), pyros((scaled_model, mixed), x, rows=7))


# ---------------------------------------------------------------- what is refused


def test_an_auxiliary_variable_of_a_shared_one_is_refused():
    """Its density has no counterpart, whether q(w) depends on it or nothing does; s is a point."""

    def hierarchical(x):
        a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1), infer={"is_auxiliary": True})
        pyro.sample("w", dist.Normal(a, 0.3).to_event(1))
        pyro.sample("s", dist.Delta(pyro.param("point", torch.tensor(0.7))))

    def unused(x):
        pyro.sample("a", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        pyro.sample("w", q_w())
        pyro.sample("s", dist.Delta(pyro.param("point", torch.tensor(0.7))))

    def both(x):
        a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1), infer={"is_auxiliary": True})
        pyro.sample("w", dist.Normal(a, 0.3).to_event(1))
        pyro.sample("s", dist.Delta(a[..., 0].exp()))

    for wrong in (hierarchical, unused, both):
        runner = Runner((scaled_model, wrong))
        raises_one_sentence(lambda runner=runner: runner.check(Rows(rows_of())), "auxiliary site 'a'")


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("auto", [AutoNormal, AutoDiagonalNormal])
def test_an_autoguide_of_local_sites_is_refused(auto):
    """Its parameters have the size of the first batch."""
    refused((model, auto(model)), "takes 2 rows and not 3", "shared variables only", "reads x")


def refused(pair, *words, x=None, **options):
    x = rows_of(20) if x is None else x
    options = {"epochs": 1, "progress": False, "batch_size": 6, "compile": False} | options
    raises_one_sentence(lambda: pv.fit(pair, x.float(), **options), *words)


def forgetful(program, *, of_row=True):
    """A program whose local site z has lost its plate."""

    def run(x):
        pyro.sample("w", program.w())
        p = program.z(x)
        pyro.sample("z", p.expand([len(x)]) if of_row else p.expand([len(x)]).to_event(1))
        if program.is_model:
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=x)

    return run


class InModel:
    is_model = True

    @staticmethod
    def w():
        return PRIOR

    @staticmethod
    def z(x):
        return dist.Normal(0.0, 1.0)


class InGuide(InModel):
    is_model = False
    w = staticmethod(q_w)
    z = staticmethod(q_z)


@pytest.mark.parametrize("of_row", [True, False])
@pytest.mark.parametrize(
    "pair",
    [
        lambda of: (forgetful(InModel, of_row=of), guide),
        lambda of: (model, forgetful(InGuide, of_row=of)),
        lambda of: (forgetful(InModel, of_row=of), forgetful(InGuide, of_row=of)),
    ],
    ids=["model", "guide", "both"],
)
@pytest.mark.usefixtures("float32")
def test_a_local_site_that_has_lost_its_plate_is_refused(pair, of_row):
    refused(pair(of_row), "'z'", "outside the plate 'data'", "put every local site inside")


@pytest.mark.usefixtures("float32")
def test_other_sites_outside_the_plate_are_refused():
    def discrete(x):
        pyro.sample("c", dist.Bernoulli(0.5))
        model(x)

    def discrete_guide(x):
        pyro.sample("c", dist.Bernoulli(0.5))
        guide(x)

    def observed(x):
        pyro.sample("total", dist.Normal(0.0, 1.0), obs=torch.tensor(0.3))
        model(x)

    def reading(x):
        pyro.sample("w", dist.Normal(x.mean(0), 0.3 * pyro.param("s", torch.ones(2))).to_event(1))
        local_guide(x)

    def penalised(x):
        model(x)
        pyro.factor("penalty", -x.square().sum())

    def subsampled(x):
        with pyro.plate("some", 10, subsample_size=2, dim=-2):
            pyro.sample("v", dist.Normal(0.0, 1.0))
        model(x)

    def subsampled_guide(x):
        with pyro.plate("some", 10, subsample_size=2, dim=-2):
            pyro.sample("v", dist.Normal(pyro.param("v_loc", torch.tensor(0.1)), 1.0))
        guide(x)

    refused((discrete, discrete_guide), "'c'", "discrete", "outside the plate 'data'")
    refused((observed, guide), "'total'", "outside the plate 'data'")
    refused((model, reading), "'w'", "depends on the rows", "do not read rows")
    refused((penalised, guide), "'penalty'", "depends on the rows")
    refused((subsampled, subsampled_guide), "'v'", "'some'", "subsample")


@pytest.mark.usefixtures("float32")
def test_objectives_say_whether_they_take_global_sites():
    known = {name: getattr(objectives, name) for name in objectives.__all__}
    kinds = {name: kind for name, kind in known.items() if isinstance(kind, type) and kind is not Objective}
    kinds = {name: kind for name, kind in kinds.items() if issubclass(kind, Objective)}
    takes = {name for name, kind in kinds.items() if kind.takes_globals}
    averaged = {"IWAE", "Renyi", "CIWAE", "MIWAE"}
    assert takes == averaged | {"ELBO", "Capacity", "JensenShannon", "Balanced", "SemiSupervised"}
    likelihood, decoder = pv.likelihoods.Normal(), pv.networks.Bayesian(pv.networks.MLP(3))
    vae = pv.VAE((2,), 2, likelihood=likelihood, encoder=pv.networks.MLP(3), decoder=decoder)
    for name in sorted(kinds.keys() - takes):
        refused(vae, name, "local sites only", "'decoder.", objective=kinds[name]())


@pytest.mark.usefixtures("float32")
def test_own_weights_are_refused_where_they_have_no_meaning():
    def narrow(x):  # `w[0]` is the first entry of a shared w only
        w = pyro.sample("w", PRIOR)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = torch.stack([z * w[0].sum(), z * w[-1].sum()], -1)
            pyro.sample("x", dist.Normal(loc, SCALE).to_event(1), obs=x)

    def failing(x):  # two dimensions, whatever the particles
        w = pyro.sample("w", PRIOR)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(w.reshape(2), SCALE).to_event(1), obs=x)

    refused(
        (failing, guide), "broadcast over particles", "weights='shared'", objective=ELBO(3, weights="own")
    )
    refused((narrow, guide), "broadcast over particles", "weights='shared'", objective=ELBO(3, weights="own"))
    local = lambda x: poutine.block(poutine.condition(model, {"w": torch.ones(2)}), hide=["w"])(x)  # noqa: E731
    refused((local, local_guide), "no variables that all rows share", objective=ELBO(3, weights="own"))
    refused((local, local_guide), "global_warmup", "leave it out", global_warmup=1)
    with pytest.raises(pv.InputError, match="weights"):
        ELBO(weights="mine")


def test_own_weights_are_checked_against_each_particle_alone():
    """Two particles and two rows have the same shapes, so a wrong program may run without an error."""

    def crossed(x):
        w = pyro.sample("w", PRIOR)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            w = w.squeeze(-2) if w.dim() > 2 else w  # (K, 2) is taken for (B, 2)
            pyro.sample("x", dist.Normal(z.unsqueeze(-1) * w, SCALE).to_event(1), obs=x)

    rows = Rows(rows_of(2))
    runner = Runner((crossed, guide)).check(rows)
    raises_one_sentence(lambda: check_own_weights(runner, rows), "broadcast over particles")
    check_own_weights(Runner((model, guide)).check(rows), rows)


def test_pyros_svi_needs_the_number_of_rows():
    x = rows_of()
    optimiser = pyro.optim.Adam({"lr": 0.01})
    svi = SVI(model, guide, optimiser, ELBO())
    raises_one_sentence(lambda: svi.step(x), "number of rows", "begin(rows, program)", "pv.fit")
    objective = ELBO()
    objective.begin(7, None)
    assert math.isfinite(SVI(model, guide, optimiser, objective).step(x))


@pytest.mark.parametrize("objective", [ELBO(2), Capacity(), JensenShannon()], ids=repr)
def test_every_objective_that_takes_global_sites_trains_them(objective):
    def vector(x):
        w = pyro.sample("w", PRIOR)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z * w, SCALE).to_event(1), obs=x)

    def vector_guide(x):
        pyro.sample("w", q_w())
        with pyro.plate("data", len(x), dim=-1):
            loc = x @ pyro.param("reader", torch.tensor([[0.3], [-0.2]]))
            pyro.sample("z", dist.Normal(loc, 0.8).to_event(1))

    x = rows_of()
    loss = loss_of(objective, (vector, vector_guide), x, rows=7)
    assert all(value is not None and value.abs().max() > 0 for value in gradient(loss).values())
