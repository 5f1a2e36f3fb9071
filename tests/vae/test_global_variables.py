"""VAEs whose decoder has random weights: sites, divergences and local reparameterisation.

The linear decoder W z + b has a posterior that is known when z is: for columns of z that are orthogonal to
each other and to 1, it is a product of normals.
"""

import copy
import math
import pickle
import threading

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO

import pyrovae as pv
from pyrovae import variables
from pyrovae.datasets import Rows
from pyrovae.networks import MLP, Bayesian
from pyrovae.objectives import ELBO
from pyrovae.terms import Runner, run
from tests.support.linear import Same
from tests.support.parts import raises_one_sentence

pytestmark = pytest.mark.usefixtures("float64")

NOISE, SCALE, ROWS = 0.5, 1.3, 12


class Handed(Same):
    """A network without parameters, whose heads act once on each row."""

    once_per_row = True


def small(posterior="normal", decoder=None, **options):
    """A VAE of real numbers (3,) with two latents; q(w) is moved away from its first values."""
    decoder = Bayesian(MLP(6) if decoder is None else decoder, posterior=posterior, rank=2, **options)
    vae = pv.VAE((3,), 2, likelihood=pv.likelihoods.Normal(NOISE), encoder=MLP(6), decoder=decoder)
    with torch.no_grad():
        for variable in vae.global_variables.values():
            if hasattr(variable, "log_width"):
                variable.log_width.add_(1.0 + 0.3 * torch.randn_like(variable.log_width))
    return vae


def rows_of(count=ROWS, seed=1):
    return Rows(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)))


def draws_of(runner, rows, count, weights):
    with torch.no_grad():
        return [runner.run(rows, weights=weights) for _ in range(count)]


def apart(values, wanted):
    """The distance of means from their expectations, in standard errors; values (draws, ...)."""
    return ((values.mean(0) - wanted) / (values.std(0) / math.sqrt(len(values)))).abs().max().item()


# ---------------------------------------------------------------- exact, with z known


class Known:
    """The linear decoder with its exact posterior, for rows whose z is known."""

    def __init__(self):
        vae = pv.VAE(
            (3,),
            2,
            likelihood=pv.likelihoods.Normal(NOISE),
            encoder=Same(),
            decoder=Bayesian(Handed(), scale=SCALE),
        )
        columns = torch.linalg.qr(torch.cat([torch.ones(ROWS, 1), torch.randn(ROWS, 2)], 1))[0][:, 1:]
        self.z = columns * torch.tensor([2.0, 4.0])
        self.rows = rows_of()
        weight, bias = (vae.global_variables[f"decoder.loc.linear.{name}"] for name in ("weight", "bias"))
        x, prior = self.rows.x, SCALE**2 * torch.tensor([0.5, 0.5, 1.0])  # of two weights, with fan-in 2
        design = torch.cat([self.z, torch.ones(ROWS, 1)], 1)
        variance = 1 / (1 / prior + design.square().sum(0) / NOISE**2)
        mean = variance * (x.mT @ design) / NOISE**2
        with torch.no_grad():
            weight.loc.copy_(mean[:, :2])
            bias.loc.copy_(mean[:, 2])
            weight.log_width.copy_(variance[:2].log() / 2)
            bias.log_width.copy_(variance[2].log() / 2)
        covariance = (design * prior) @ design.mT + NOISE**2 * torch.eye(ROWS)
        marginal = dist.MultivariateNormal(torch.zeros(ROWS), covariance)
        self.log_evidence = marginal.log_prob(x.mT).sum()
        self.vae = vae

    def given_z(self, program):
        return poutine.block(poutine.condition(program, {"z": self.z}), hide=["z"])

    def pair(self, model=None, guide=None):
        """The program with z known."""
        model, guide = model or self.vae.model, guide or self.vae.guide
        return self.given_z(model), poutine.block(guide, hide=["z"])


def test_with_the_exact_posterior_every_draw_of_the_weights_has_the_evidence():
    known = Known()
    for _ in range(5):
        pair = run(*known.pair(), known.rows.x)
        total = pair.terms().log_w.sum() + pair.log_global
        torch.testing.assert_close(total, known.log_evidence.reshape(1), rtol=0, atol=1e-8)


def test_draws_of_activations_have_the_evidence_on_average_and_no_gradient_there():
    known = Known()
    pair = known.pair(*known.vae.by_layer())
    with torch.no_grad():
        found = [run(*pair, known.rows.x) for _ in range(700)]
    total = torch.stack([one.terms().log_w.sum() + one.log_global for one in found])
    assert apart(total, known.log_evidence) < 4.5
    divergence = sum(v.divergence() for v in known.vae.global_variables.values())
    torch.testing.assert_close(found[0].log_global, -divergence.detach().reshape(1))
    gradients = []
    parameters = [p for v in known.vae.global_variables.values() for p in v.parameters()]
    for _ in range(400):
        terms = run(*pair, known.rows.x).terms()
        loss = -terms.log_w.mean() - terms.log_global.mean() / ROWS
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    assert apart(torch.stack(gradients), 0.0) < 4.5


# ---------------------------------------------------------------- the divergence


@pytest.mark.parametrize("posterior", ["normal", "lowrank", "lastlayer"])
@pytest.mark.parametrize("scale", [0.7, "learned"])
def test_the_divergence_of_the_draws_is_its_formula(posterior, scale):
    """The mean of log q(w) - log p(w) over draws; of "lowrank" it is that of all weights together."""
    vae = small(posterior, scale=scale)
    shared = vae.global_variables
    assert all(name.startswith("decoder.") for name in shared)
    runner = Runner(vae).check(rows_of())
    ratio = torch.stack([-pair.log_global[0] for pair in draws_of(runner, rows_of(2), 400, "shared")])
    if posterior == "lowrank":
        from pyrovae.networks.bayesian import joint_posterior

        sds = [v.prior_scale.expand(v.loc.numel()) for v in shared.values()]
        prior = dist.Normal(0.0, torch.cat(sds)).to_event(1)
        exact = torch.distributions.MultivariateNormal(prior.mean, scale_tril=torch.diag(torch.cat(sds)))
        q = joint_posterior(list(shared.values()))
        q = torch.distributions.MultivariateNormal(q.mean, covariance_matrix=q.covariance_matrix)
        wanted = torch.distributions.kl_divergence(q, exact)
    else:
        wanted = sum(v.divergence() for v in shared.values())
    assert apart(ratio, wanted.detach()) < 4.5


@pytest.mark.parametrize("posterior", ["normal", "lastlayer"])
def test_layer_by_layer_the_divergence_is_exact(posterior):
    vae = small(posterior)
    runner = Runner(vae).check(rows_of())
    first, second = draws_of(runner, rows_of(2), 2, "auto")
    wanted = -sum(v.divergence() for v in vae.global_variables.values()).detach().reshape(1)
    torch.testing.assert_close(first.log_global, wanted)
    torch.testing.assert_close(second.log_global, wanted)


@pytest.mark.parametrize("posterior", ["normal", "lowrank", "lastlayer", "laplace"])
def test_the_bound_is_that_of_pyro(posterior):
    """For the same draws, and with the same gradient; the guide of `laplace` is a point in training."""
    vae, x, found = small(posterior), rows_of().x, []
    objective = ELBO(weights="shared")
    objective.begin(ROWS, vae)
    objective.differentiable_loss(vae.model, vae.guide, x)
    for ours in (True, False):
        pyro.set_rng_seed(4)
        one = objective if ours else Trace_ELBO()
        loss = one.differentiable_loss(vae.model, vae.guide, x) / (1 if ours else ROWS)
        gradient = torch.autograd.grad(loss, list(vae.parameters()))
        found.append(torch.cat([loss.detach().reshape(1), *(g.flatten() for g in gradient)]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-9)


# ---------------------------------------------------------------- local reparameterisation


def test_activations_have_the_distribution_that_weights_give_them():
    """The outputs of a linear decoder for a row: equal means and variances, which are known."""
    vae = small(decoder=Handed())
    weight, bias = vae.global_variables.values()
    z = torch.tensor([[1.5, -0.5]])
    mean = z @ weight.loc.mT + bias.loc
    variance = z.square() @ weight.scales.square().mT + bias.scales.square()
    with torch.no_grad():
        by_weight = []
        for _ in range(4000):
            with vae.holding(vae.draw_globals()):
                by_weight.append(vae.generation(z)["loc"])
        with variables.layerwise():
            by_layer = vae.generation(z.expand(4000, 2))["loc"].unsqueeze(1)
        for draws in (torch.stack(by_weight), by_layer):
            assert apart(draws, mean) < 4.5
            assert apart((draws - mean).square(), variance) < 4.5
        assert torch.equal(vae.generation(z)["loc"], mean)  # outside a program


def test_both_ways_have_one_expected_bound_and_the_gradient_of_one_has_less_variance():
    vae, rows = small(decoder=MLP(6, 6)).eval(), rows_of(50)
    Runner(vae).check(rows)
    parameters = [p for v in vae.global_variables.values() for p in v.parameters()]
    losses, gradients = {}, {}
    for weights in ("shared", "auto"):
        runner, found = Runner(vae).check(rows), []
        for _ in range(250):
            pair = runner.run(rows, weights=weights)
            loss = -pair.terms().log_w.mean() - pair.log_global.mean() / len(rows)
            flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
            found.append(torch.cat([loss.detach().reshape(1), flat]))
        losses[weights], gradients[weights] = torch.stack(found)[:, 0], torch.stack(found)[:, 1:]
    error = (sum(values.var() for values in losses.values()) / 250).sqrt()
    assert abs(losses["shared"].mean() - losses["auto"].mean()) < 4.5 * error
    error = (sum(values.var(0) for values in gradients.values()) / 250).sqrt()
    assert ((gradients["shared"].mean(0) - gradients["auto"].mean(0)) / error).abs().max() < 4.5
    ratio = gradients["auto"].var(0).sum() / gradients["shared"].var(0).sum()
    assert ratio < 0.4  # it is 0.17


# ---------------------------------------------------------------- limits


def test_the_decoder_is_the_mean_of_the_prior_as_its_scale_goes_to_zero():
    torch.set_default_dtype(torch.float32)
    x = 2 + torch.randn(200, 3)
    largest = []
    for scale in (0.1, 0.01):
        decoder = Bayesian(MLP(6), scale=scale)
        vae = pv.VAE((3,), 2, likelihood=pv.likelihoods.Normal(1.0), encoder=MLP(6), decoder=decoder)
        options = {"progress": False, "keep": "last", "compile": False, "kl_warmup": 0, "global_warmup": 0}
        pv.fit(vae, x, epochs=30, lr=0.03, **options)
        largest.append(vae.decode(torch.randn(100, 2)).mean.abs().max().item())
    assert largest[1] < 0.1 * largest[0]  # of the order of the square: the prior's precision is 1 / scale^2
    assert largest[1] < 0.1
    for variable in vae.global_variables.values():  # the posterior is the prior
        assert ((variable.scales / variable.prior_scale).log().abs() < 0.2).all()
        assert (variable.loc.abs() < 5 * variable.prior_scale).all()


# ---------------------------------------------------------------- copies, threads, other state


def same_modules(vae):
    own = {id(module) for module in vae.modules()}
    return all(id(variable) in own for variable in vae.global_variables.values())


def test_copies_have_foundof_their_own():
    vae = small()
    other = pv.VAE((3,), 2, likelihood=pv.likelihoods.Normal(), encoder=MLP(6), decoder=Bayesian(MLP(4, 4)))
    other.share(vae)
    assert not {id(v) for v in other.global_variables.values()} & {
        id(v) for v in vae.global_variables.values()
    }
    for one in (copy.deepcopy(vae), pickle.loads(pickle.dumps(vae)), vae.clone(), other):
        assert same_modules(one)
        assert one.global_variables.keys() == {n for n in one.global_variables if n.startswith("decoder.")}
        rows = rows_of()
        pair = Runner(one).check(rows).run(rows)
        assert {"decoder.loc.linear.weight", "decoder.loc.linear.bias"} <= pair.global_guide.nodes.keys()
    held = vae.draw_globals()
    twin, z = copy.deepcopy(vae), torch.ones(1, 2)
    before = twin.decode(z).mean
    with vae.holding(held):
        assert torch.equal(twin.decode(z).mean, before)
        assert not torch.equal(vae.decode(z).mean, before)


def test_a_draw_is_held_in_one_thread_only():
    vae, z, found = small(), torch.ones(1, 2), []
    centre = vae.decode(z).mean

    def elsewhere():
        found.append(vae.decode(z).mean)
        with variables.layerwise():
            found.append(vae.decode(z).mean)

    with vae.holding(vae.draw_globals()):
        held = vae.decode(z).mean
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert torch.equal(vae.decode(z).mean, held)
    assert torch.equal(found[0], centre)
    assert not torch.equal(found[1], centre)
    assert not torch.equal(held, centre)
    assert torch.equal(vae.decode(z).mean, centre)


def test_an_error_inside_a_program_lets_go_of_its_draws():
    vae = small()
    with pytest.raises(RuntimeError), vae.holding(vae.draw_globals()), variables.layerwise():
        raise RuntimeError
    assert not any(v.is_held for v in vae.global_variables.values())
    assert not variables.is_layerwise()
    pyro.clear_param_store()
    torch.testing.assert_close(vae.decode(torch.ones(1, 2)).mean, vae.decode(torch.ones(1, 2)).mean)


class Loc(MLP):
    """A network with a layer that has the name of a head."""

    def attach(self, *sizes, **named):
        super().attach(*sizes, **named)
        self.loc = torch.nn.Module()
        self.loc.linear = torch.nn.Linear(self.features, self.features)

    def forward(self, *inputs):
        return self.loc.linear(super().forward(*inputs))


def test_no_variable_is_lost_if_two_layers_have_one_name():
    vae = small(decoder=Loc(4))
    found = [module for module in vae.modules() if isinstance(module, variables.Variable)]
    assert len(found) == 6
    assert set(map(id, vae.global_variables.values())) == set(map(id, found))


def test_the_divergence_of_a_laplace_posterior_is_that_of_its_draws():
    vae = small("laplace").eval()
    for variable in vae.global_variables.values():
        units, inputs = variable.loc.shape
        factor = torch.randn(inputs, inputs)
        variable.put(factor @ factor.mT, 1 + torch.rand(units))
        with torch.no_grad():
            variable.loc.add_(0.3)
    runner = Runner(vae).check(rows_of())
    ratio = torch.stack([-pair.log_global[0] for pair in draws_of(runner, rows_of(2), 400, "shared")])
    assert apart(ratio, vae.global_divergence().detach()) < 4.5


def test_a_draw_of_a_laplace_posterior_is_no_point_in_training_mode():
    vae = small("laplace").train()
    (name,) = vae.global_variables
    vae.global_variables[name].put(torch.eye(7), torch.ones(3))
    draws = torch.stack([vae.draw_globals()[name] for _ in range(2000)])
    assert vae.training
    widths = vae.global_variables[name].widths
    torch.testing.assert_close(draws.std(0), (1 + widths**-2).rsqrt().expand(3, 7), atol=0.0, rtol=0.12)


def test_only_values_of_known_variables_are_held():
    vae = small()
    for values, word in (
        ({"decoder.wieght": torch.zeros(3, 6)}, "rows share no variable 'decoder.wieght'"),
        ({"decoder.loc.linear.bias": torch.zeros(2)}, "has the shape (3,)"),
        ({"decoder.loc.linear.bias": torch.zeros(())}, "has the shape (3,)"),
    ):
        raises_one_sentence(lambda values=values: vae.holding(values).__enter__(), word)
    with vae.holding({"decoder.loc.linear.bias": torch.ones(3)}):
        assert vae.global_variables["decoder.loc.linear.bias"].value.tolist() == [1.0, 1.0, 1.0]
