"""A VAE is a pair of Pyro programs, and any pair of Pyro programs can be scored.

First what Pyro does with `vae.model` and `vae.guide`; where Pyro's own numbers are right, ours are equal.
Then hand-written programs under `pv.log_evidence` and `pv.fit`.
"""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, RenyiELBO, Trace_ELBO
from torch import nn
from torch.distributions import MultivariateNormal

import pyrovae as pv
from pyrovae.objectives import ELBO, IWAE
from pyrovae.oracles import LinearGaussian
from pyrovae.terms import Runner, terms
from tests.support.cells import cell_name, cover, declared, has_strata
from tests.support.parts import OBJECTIVES, data_for, each, prior_for, raises_one_sentence, small_vae

pytestmark = pytest.mark.usefixtures("float64")

VECTORISED = {"vectorize_particles": True, "max_plate_nesting": 1}


def gradients(vae, loss):
    """The loss of a call under seed 7, and each parameter's gradient."""
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    vae.zero_grad(set_to_none=True)
    value = loss()
    return value, {name: p.grad.clone() for name, p in vae.named_parameters() if p.grad is not None}


# ---------------------------------------------------------------- 8: ours equals Pyro's


# Where nothing is summed over: Pyro's estimators here sum over nothing.
DRAWN = [cell for cell in cover(1) if not has_strata(cell.guide) and cell.prior.states is None]


@pytest.mark.parametrize("cell", DRAWN, ids=cell_name)
@pytest.mark.parametrize(
    ("ours", "pyros"),
    [
        (ELBO(), Trace_ELBO()),
        (ELBO(4), Trace_ELBO(num_particles=4, **VECTORISED)),
        (IWAE(4), RenyiELBO(alpha=0, num_particles=4, **VECTORISED)),
    ],
    ids=["ELBO(1)", "ELBO(4)", "IWAE(4)"],
)
def test_objectives_equal_pyros_for_the_same_seed(ours, pyros, cell):
    vae = declared(cell, image=(1, 5, 4)).eval()
    x = data_for(vae, 6)
    their_loss, theirs = gradients(vae, lambda: pyros.loss_and_grads(vae.model, vae.guide, *x))
    our_loss, mine = gradients(vae, lambda: ours.loss_and_grads(vae.model, vae.guide, *x))
    assert our_loss == pytest.approx(their_loss / 6, rel=1e-10)
    assert mine.keys() == theirs.keys() == dict(vae.named_parameters()).keys()
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs[name] / 6, rtol=1e-8, atol=1e-10, msg=name)


@each("objective", OBJECTIVES)
def test_objectives_inside_svi_and_as_a_module_train_alike(objective):
    """`SVI(model, guide, optim, objective)`, `objective(model, guide)` and a plain loop: one and the same."""
    start = small_vae(prior=prior_for(objective))
    given = data_for(start, 12)
    results = []
    for way in ("svi", "module"):
        pyro.clear_param_store()
        pyro.set_rng_seed(1)
        vae, objective = copy.deepcopy(start), objective.clone()
        objective.begin(12, start)
        own = list(objective.parameters()) if isinstance(objective, nn.Module) else []
        if way == "svi":
            svi = SVI(vae.model, vae.guide, pyro.optim.SGD({"lr": 0.01}), objective)
            losses = [svi.step(*given) for _ in range(5)]
            assert math.isfinite(svi.evaluate_loss(*given))
        else:
            loss, optimizer = (
                objective(vae.model, vae.guide),
                torch.optim.SGD([*vae.parameters(), *own], lr=0.01),
            )
            losses = []
            for _ in range(5):
                optimizer.zero_grad()
                value = loss(*given)
                value.backward()
                optimizer.step()
                losses.append(value.item())
        results.append((losses, vae))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-10)
    for a, b in zip(results[0][1].parameters(), results[1][1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_two_vaes_in_one_process_both_train():
    """Pyro's store is global: under one name the second would share, and never train, the first's weights."""
    one, two = small_vae(seed=1), small_vae(seed=1)
    assert one == two
    three = copy.deepcopy(one)  # a copy is a third program
    (x,) = data_for(one, 40)
    programs = [one, two, three]
    before = [[p.detach().clone() for p in vae.parameters()] for vae in programs]
    svis = [SVI(v.model, v.guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO()) for v in programs]
    for k, svi in enumerate(svis):
        others = [p.detach().clone() for vae in programs if vae is not programs[k] for p in vae.parameters()]
        losses = [svi.step(x) / 40 for _ in range(80)]
        assert sum(losses[-20:]) < sum(losses[:20])
        after = [p for vae in programs if vae is not programs[k] for p in vae.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(others, after, strict=True))
    for vae, start in zip(programs, before, strict=True):
        assert all((p != s).any() for p, s in zip(vae.parameters(), start, strict=True))
    assert len(pyro.get_param_store()) == 3 * len(list(one.parameters()))


# ---------------------------------------------------------------- Pyro's tools on a VAE


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_draws_from_the_prior_and_replicates_data(parallel):
    vae = small_vae()
    (x,) = data_for(vae, 30)
    prior = Predictive(vae.model, num_samples=400, parallel=parallel)()
    assert prior["x"].shape == (400, 1, 5)
    assert prior["z"].shape == (400, 1, 2)
    assert prior["z"].std() == pytest.approx(1.0, abs=0.2)
    replicated = Predictive(
        poutine.uncondition(vae.model),
        guide=vae.guide,
        num_samples=50,
        parallel=parallel,
        return_sites=["x", "z"],
    )(x)
    assert replicated["x"].shape == (50, 30, 5)
    assert not torch.equal(replicated["x"][0], replicated["x"][1])
    assert not torch.equal(replicated["x"][0], x)
    assert torch.isin(replicated["x"], torch.tensor([0.0, 1.0])).all()
    loc = vae.encode(x).mean
    assert ((replicated["z"].mean(0) - loc) / (vae.encode(x).stddev / math.sqrt(50))).abs().max() < 5.5


def test_predictive_with_a_context_and_without_data():
    vae = small_vae(context_shape=(3,))
    drawn = Predictive(vae.model, num_samples=4)(None, torch.randn(6, 3))
    assert drawn["x"].shape == (4, 6, 5)


def test_render_model_draws_the_program():
    vae = small_vae(context_shape=(2,))
    x, c = data_for(vae, 3)
    for program, sites in ((vae.model, ("z", "x")), (vae.guide, ("z",))):
        graph = pyro.render_model(program, model_args=(x, c), render_distributions=True)
        assert type(graph).__name__ == "Digraph"
        for name in (*sites, "data"):
            assert name in graph.source
    assert "z -> x" in pyro.render_model(vae.model, model_args=(x, c)).source


@pytest.mark.parametrize("context_shape", [None, (), (2,), (2, 3)])
def test_trace_and_condition(context_shape):
    vae = small_vae(context_shape=context_shape)
    x, *c = data_for(vae, 4)
    trace = poutine.trace(vae.model).get_trace(x, *c)
    assert {n for n, s in trace.nodes.items() if s["type"] == "sample"} == {"data", "z", "x"}
    assert trace.nodes["z"]["value"].shape == (4, 2)
    assert trace.nodes["x"]["is_observed"]
    assert [f.name for f in trace.nodes["x"]["cond_indep_stack"]] == ["data"]
    z = torch.randn(4, 2)
    given = poutine.trace(poutine.condition(vae.model, data={"z": z})).get_trace(x, *c)
    expected = vae.latents(*c).expand((4,)).log_prob(z).sum() + vae.decode(z, *c).log_prob(x).sum()
    torch.testing.assert_close(given.log_prob_sum(), expected)
    q = poutine.trace(poutine.condition(vae.guide, data={"z": z})).get_trace(x, *c)
    torch.testing.assert_close(q.log_prob_sum(), vae.encode(x, *c).log_prob(z).sum())


def test_terms_are_the_three_densities_at_the_drawn_latents():
    vae = small_vae(context_shape=(2,))
    x, c = data_for(vae, 4)
    pair = Runner(vae).run(pv.Rows(x, c), particles=3)
    z, found = pair.guide.nodes["z"]["value"], pair.terms()
    assert z.shape == (3, 4, 2)
    torch.testing.assert_close(found.log_px_z, vae.decode(z, c).log_prob(x))
    torch.testing.assert_close(found.log_pz, vae.latents(c).expand((3, 4)).log_prob(z))
    torch.testing.assert_close(found.log_qz, vae.encode(x, c).log_prob(z))
    torch.testing.assert_close(found.log_w, found.log_px_z + found.log_pz - found.log_qz)
    assert set(pair.site_log_probs()) == {"p(z)", "p(x)", "q(z)"}


# ---------------------------------------------------------------- scales, masks and subsamples


@pytest.fixture
def oracle():
    oracle = LinearGaussian.random(5, 2, seed=1)
    return oracle, oracle.sample(8, seed=2)


@pytest.mark.parametrize("objective", [ELBO(3), IWAE(3)], ids=repr)
def test_a_scale_never_enters_a_weight(oracle, objective):
    oracle, x = oracle
    model, guide = poutine.scale(oracle.model, scale=10.0), poutine.scale(oracle.guide, scale=10.0)
    found = terms(model, guide, x, particles=3)
    torch.testing.assert_close(objective.bound(found), oracle.log_px(x), rtol=0, atol=1e-10)
    evidence = pv.log_evidence((model, guide), x, particles=20)
    assert abs(torch.from_numpy(evidence.log_px) - oracle.log_px(x)).max() < 1e-10


def test_a_subsampled_plate_gives_the_evidence_of_its_rows(oracle):
    oracle, x = oracle

    def model(x):
        with pyro.plate("data", 8, subsample_size=3) as rows:
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            distribution = dist.Normal(z @ oracle.weight.mT + oracle.bias, oracle.scale).to_event(1)
            pyro.sample("x", distribution, obs=x[rows])

    def guide(x):
        with pyro.plate("data", 8, subsample_size=3) as rows:
            pyro.sample("z", oracle.posterior(x[rows]))

    pyro.set_rng_seed(0)
    rows = poutine.trace(guide).get_trace(x).nodes["data"]["value"]
    pyro.set_rng_seed(0)
    log_w = terms(model, guide, x, particles=4).log_w
    torch.testing.assert_close(log_w, oracle.log_px(x[rows]).expand(4, 3), rtol=0, atol=1e-10)


def test_masked_elements_and_masked_rows_do_not_count(oracle):
    """`dist.mask` for single elements, `poutine.mask` for rows: what is left is the exact marginal."""
    oracle, x = oracle
    seen = torch.rand(8, 5) < 0.6
    rows = torch.arange(8) % 3 > 0
    blind = MultivariateNormal(torch.zeros(2), torch.eye(2))  # the prior: exact where nothing was seen
    exact, posteriors = _given_what_was_seen(oracle, x, seen)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            p_x = dist.Normal(z @ oracle.weight.mT + oracle.bias, oracle.scale).mask(seen).to_event(1)
            with poutine.mask(mask=rows):
                pyro.sample("x", p_x, obs=x)

    def guide(x):
        used = [q if row else blind for q, row in zip(posteriors, rows, strict=True)]
        locs, trils = torch.stack([q.mean for q in used]), torch.stack([q.scale_tril for q in used])
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(locs, scale_tril=trils))

    log_w = terms(model, guide, x, particles=3).log_w
    torch.testing.assert_close(log_w, torch.where(rows, exact, 0.0).expand(3, 8), rtol=0, atol=1e-10)


def _given_what_was_seen(oracle, x, seen):
    exact, posteriors = [], []
    for row, keep in zip(x, seen, strict=True):
        part = LinearGaussian(oracle.weight[keep], oracle.bias[keep], oracle.scale[keep])
        exact.append(part.log_px(row[keep][None])[0] if keep.any() else torch.zeros(()))
        posterior = part.posterior(row[keep][None])
        posteriors.append(MultivariateNormal(posterior.mean[0], scale_tril=posterior.scale_tril[0]))
    return torch.stack(exact), posteriors


# ---------------------------------------------------------------- hand-written pairs


class Amortised(nn.Module):
    """A linear-Gaussian pair whose networks live in `pyro.module` and whose noise in `pyro.param`."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder, self.encoder = nn.Linear(2, 4), nn.Linear(4, 2)

    def pair(self):
        def model(x):
            pyro.module("decoder", self.decoder)
            scale = pyro.param("noise", torch.tensor(2.0), constraint=dist.constraints.positive)
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.decoder(z), scale).to_event(1), obs=x)

        def guide(x):
            pyro.module("encoder", self.encoder)
            width = pyro.param("width", torch.ones(2), constraint=dist.constraints.positive)
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.encoder(x), width).to_event(1))

        return model, guide


@pytest.mark.parametrize("objective", [ELBO(), IWAE(5)], ids=repr)
def test_a_hand_written_pair_is_fitted_and_weighed(objective):
    torch.set_default_dtype(torch.float32)  # what data sets hold
    truth = LinearGaussian.random(4, 2, seed=0)
    x = truth.sample(600)
    networks = Amortised()
    pair = networks.pair()
    before = pv.log_evidence(pair, x[:100], particles=200).mean
    start = [p.detach().clone() for p in networks.parameters()]
    run = pv.fit(pair, x, objective, epochs=30, lr=0.02, progress=False)
    after = pv.log_evidence(pair, x[:100], particles=200)
    exact = truth.log_px(x[:100]).mean().item()
    assert run.program == pair
    assert all((p != s).any() for p, s in zip(networks.parameters(), start, strict=True))
    assert not torch.equal(pyro.param("width"), torch.ones(2))
    assert before < exact - 0.5
    assert exact - 0.2 < after.mean < exact + 0.2
    assert run.history["validation"][-1] < exact + 0.5


def test_several_sites_and_nested_plates():
    """A row of three repeats under their own plate, two latent sites: the exact marginal again."""
    x = torch.randn(6, 3)
    prior_u, prior_v, noise = 1.0, 0.7, 0.5

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            u = pyro.sample("u", dist.Normal(torch.zeros(()), prior_u))
            with pyro.plate("repeats", 3, dim=-1):
                v = pyro.sample("v", dist.Normal(u, prior_v))
                pyro.sample("x", dist.Normal(v, noise), obs=x)

    spread = prior_v**2 + noise**2
    u_variance = 1 / (1 / prior_u**2 + 3 / spread)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2):
            u = pyro.sample("u", dist.Normal(u_variance * x.sum(-1, keepdim=True) / spread, u_variance**0.5))
            with pyro.plate("repeats", 3, dim=-1):
                gain = prior_v**2 / spread
                pyro.sample("v", dist.Normal(u + gain * (x - u), (gain * noise**2) ** 0.5))

    exact = MultivariateNormal(
        torch.zeros(3), prior_u**2 * torch.ones(3, 3) + spread * torch.eye(3)
    ).log_prob(x)
    for particles in (1, 5, 300):
        evidence = pv.log_evidence((model, guide), x, particles=particles, seed=particles)
        assert abs(torch.from_numpy(evidence.log_px) - exact).max() < 1e-10
    found = Runner((model, guide)).check(pv.Rows(x)).terms(pv.Rows(x), particles=2)
    torch.testing.assert_close(found.log_w, exact.expand(2, 6), rtol=0, atol=1e-10)
    assert IWAE(4).loss(model, guide, x) == pytest.approx(-exact.mean().item(), rel=1e-10)


def test_a_plate_to_the_left_of_the_data():
    x = torch.randn(2, 5)  # two views of five data

    def model(x):
        with pyro.plate("views", 2, dim=-2), pyro.plate("data", 5, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("views", 2, dim=-2), pyro.plate("data", 5, dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    log_w = terms(model, guide, x, particles=3, max_plate_nesting=2).log_w
    exact = dist.Normal(0.0, 2**0.5).log_prob(x).sum(0)
    torch.testing.assert_close(log_w, exact.expand(3, 5), rtol=0, atol=1e-10)


def test_a_hand_written_pair_with_a_context():
    x, c = torch.randn(7, 1), torch.randn(7, 1)

    def model(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(c, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x + c) / 2, 0.5**0.5).to_event(1))

    evidence = pv.log_evidence((model, guide), x, c, particles=5)
    exact = dist.Normal(c, 2**0.5).log_prob(x)[:, 0]
    assert abs(torch.from_numpy(evidence.log_px) - exact).max() < 1e-10


def test_a_discrete_latent_is_weighed_exactly():
    """The guide is the posterior over a component; its draws cannot be differentiated and need not be."""
    logits, loc = torch.randn(3), torch.tensor([-2.0, 0.0, 2.0])
    x = torch.randn(6)

    def joint(x):
        return torch.log_softmax(logits, -1) + dist.Normal(loc, 1.0).log_prob(x[:, None])

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(logits=logits))
            pyro.sample("x", dist.Normal(loc[c], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(logits=joint(x)))

    evidence = pv.log_evidence((model, guide), x, particles=9)
    assert abs(torch.from_numpy(evidence.log_px) - torch.logsumexp(joint(x), -1)).max() < 1e-10


def repeated(x, logits, loc, *, nested=False):
    """Four repeats of each row; c belongs to the row, or with `nested` each repeat has its own."""
    site = ("c", dist.Categorical(logits=logits))
    with pyro.plate("data", len(x), dim=-2):
        u = pyro.sample("u", dist.Normal(torch.zeros(()), 1.0))
        c = None if nested else pyro.sample(*site, infer={"enumerate": "parallel"})
        with pyro.plate("repeats", 4, dim=-1):
            c = pyro.sample(*site, infer={"enumerate": "parallel"}) if nested else c
            pyro.sample("x", dist.Normal(u + loc[c], 1.0), obs=x)


def repeated_guide(x, *_, **__):
    with pyro.plate("data", len(x), dim=-2):
        pyro.sample("u", dist.Normal(x.mean(-1, keepdim=True) / 2, 1.0))


def test_an_enumerated_site_is_summed_out_as_if_by_hand():
    logits, loc, x = torch.randn(3), torch.tensor([-2.0, 0.0, 2.0]), torch.randn(6, 4)

    def collapsed(x):
        with pyro.plate("data", len(x), dim=-2):
            u = pyro.sample("u", dist.Normal(torch.zeros(()), 1.0))
            every = dist.Normal(u.unsqueeze(-1) + loc, 1.0).log_prob(x.unsqueeze(-1))  # (..., B, 4, 3)
            log_px = torch.logsumexp(torch.log_softmax(logits, -1) + every.sum(-2, keepdim=True), -1)
            pyro.sample("x", dist.Unit(log_px), obs=log_px.new_empty(0))

    found = []
    for model in (lambda x: repeated(x, logits, loc), collapsed):
        pyro.set_rng_seed(0)
        found.append(terms(model, repeated_guide, x, particles=5, max_plate_nesting=2).log_w)
    torch.testing.assert_close(*found)


def test_an_enumerated_site_inside_an_inner_plate_is_refused():
    """Its sum belongs inside the product over repeats; the terms would give it outside."""
    logits, loc, x = torch.randn(3), torch.tensor([-2.0, 0.0, 2.0]), torch.randn(6, 4)
    pair = (lambda x: repeated(x, logits, loc, nested=True), repeated_guide)
    words = ("'c'", "'repeats'", "MixtureSameFamily")
    raises_one_sentence(lambda: pv.log_evidence(pair, x, particles=2), *words)
    raises_one_sentence(lambda: terms(*pair, x, max_plate_nesting=2), *words)


# ---------------------------------------------------------------- programs that cannot be scored


def sound_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def sound_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(pyro.param("m", torch.tensor(0.1)) * x, 1.0))


def guide_outside(x):
    pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0).to_event(1))


def model_outside(x):
    z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def other_plate(x):
    with pyro.plate("rows", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide_of_nothing(x):
    with pyro.plate("data", len(x)):
        pass


def guide_of_more(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("y", dist.Normal(torch.zeros(()), 1.0))


def model_of_nothing(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))


REFUSED = [
    ((sound_model, guide_of_nothing), ("guide", "'z'")),
    ((sound_model, guide_of_more), ("model", "'y'")),
    ((sound_model, guide_outside), ("'z'", "outside the plate 'data'")),
    ((model_outside, sound_guide), ("'z'", "outside the plate 'data'")),
    ((other_plate, sound_guide), ("'z'", "outside the plate 'data'")),
    ((model_of_nothing, sound_guide), ("observes nothing", "obs=")),
    ((sound_model,), ("tuple", "probabilistic program")),
    ((sound_model, 3), ("tuple", "probabilistic program")),
    (sound_model, ("function", "probabilistic program")),
]


@pytest.mark.parametrize(("program", "words"), REFUSED, ids=[str(words) for _, words in REFUSED])
def test_programs_that_cannot_be_weighed_say_why(program, words):
    x = torch.randn(12, dtype=torch.float32)
    raises_one_sentence(lambda: pv.log_evidence(program, x), *words)
    raises_one_sentence(lambda: pv.fit(program, x[:, None], progress=False, batch_size=5), *words)


def discrete_model(x):
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.5)))
        pyro.sample("x", dist.Normal(c, 1.0), obs=x)


def discrete_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("c", dist.Bernoulli(logits=pyro.param("a", torch.tensor(0.3)) * x))


def test_a_guide_whose_draws_give_no_gradient_is_refused_where_it_is_trained():
    """Its pathwise gradient is not the gradient of the bound: training would go somewhere else, silently."""
    x = torch.randn(12)
    pv.log_evidence((discrete_model, discrete_guide), x, particles=5)  # weighing needs no gradient
    words = ("'c'", "Bernoulli", "reparameterised")
    raises_one_sentence(lambda: ELBO().differentiable_loss(discrete_model, discrete_guide, x), *words)
    svi = SVI(discrete_model, discrete_guide, pyro.optim.Adam({}), IWAE(3))
    raises_one_sentence(lambda: svi.step(x), *words)

    def model(x):
        discrete_model(x[:, 0])

    def guide(x):
        discrete_guide(x[:, 0])

    raises_one_sentence(
        lambda: pv.fit((model, guide), x[:, None].float(), batch_size=5, progress=False), *words
    )


# ---------------------------------------------------------------- what a fit takes and refuses


def scalar_pair():
    def model(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x + pyro.param("shift", torch.tensor(0.0))) / 2, 0.7))

    return model, guide


@pytest.mark.parametrize("kind", [torch.Tensor.float, torch.Tensor.numpy])
def test_numbers_stay_numbers_for_a_hand_written_pair(kind):
    torch.set_default_dtype(torch.float32)
    pv.fit(scalar_pair(), kind(torch.randn(60) + 3), epochs=20, lr=0.1, batch_size=20, progress=False)
    assert pyro.param("loc").item() == pytest.approx(3, abs=0.8)


def test_a_shape_that_a_pair_cannot_take_is_refused_in_one_sentence():
    torch.set_default_dtype(torch.float32)
    x = torch.randn(60, 3)
    raises_one_sentence(
        lambda: pv.fit(scalar_pair(), x, batch_size=5, progress=False), "events of shape (3,)"
    )


class Leaking(nn.Module):
    """A program of which one parameter is its own and one may live in Pyro's store."""

    def __init__(self, *, leak: bool) -> None:
        super().__init__()
        self.loc, self.leak = nn.Parameter(torch.tensor(0.0)), leak

    def model(self, x):
        pyro.module("mine", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.loc, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        width = pyro.param("width", torch.tensor(0.7)) if self.leak else 0.7
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, width))


def test_a_parameter_that_a_module_does_not_own_is_refused():
    torch.set_default_dtype(torch.float32)
    x, options = torch.randn(60), {"epochs": 1, "batch_size": 20, "progress": False}
    raises_one_sentence(lambda: pv.fit(Leaking(leak=True), x, **options), "'width'", "nn.Parameter")
    module = Leaking(leak=False)
    pv.fit(module, x, **options)
    assert module.loc != 0


def auxiliary_pair(kind):
    """z ~ N(0, 1), x | z ~ N(z, 1), and a guide that draws z after an auxiliary a, or as 2 a."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            if kind == "with a counterpart":
                pyro.sample("a", dist.Normal(0.5 * z, 0.7))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x / 4, 0.6), infer={"is_auxiliary": True})
            if kind == "a function":
                pyro.sample("z", dist.Delta(2 * a, log_density=-math.log(2.0)))
            else:
                pyro.sample("z", dist.Normal(x / 4 + 0.5 * a, 0.8))

    return model, guide


@pytest.mark.parametrize("kind", ["with a counterpart", "a function"])
def test_an_auxiliary_site_of_the_guide_gives_the_right_evidence(kind):
    x = torch.tensor([-1.0, 0.0, 2.0])
    evidence = pv.log_evidence(auxiliary_pair(kind), x, particles=20_000)
    exact = dist.Normal(0.0, math.sqrt(2.0)).log_prob(x)
    assert (torch.as_tensor(evidence.log_px) - exact).abs().max() < 0.03


def test_an_auxiliary_site_without_a_counterpart_is_refused():
    """log p(x) was too high, by the entropy of the site."""
    pair, x, words = auxiliary_pair("alone"), torch.zeros(8), ("auxiliary site 'a'", "in the model too")
    raises_one_sentence(lambda: pv.log_evidence(pair, x, particles=10), *words)
    raises_one_sentence(lambda: pv.fit(pair, x, epochs=1, progress=False, figures=False), *words)
    raises_one_sentence(lambda: ELBO().differentiable_loss(*pair, x), *words)
