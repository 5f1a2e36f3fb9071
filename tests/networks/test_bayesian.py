"""Networks with random weights: how they are declared, what they refuse, and what their layers draw."""

import copy
import math
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae import variables
from pyrovae.likelihoods import Normal
from pyrovae.networks import (
    MLP,
    Bayesian,
    ConvDecoder,
    Gated,
    Recurrent,
    ResidualDecoder,
    Transformer,
    Wrapped,
)
from pyrovae.networks.bayesian import POSTERIORS
from pyrovae.networks.random_weights import RandomConv, RandomLinear, layers_of
from pyrovae.part import Declared
from pyrovae.priors import GaussianMixture
from pyrovae.terms import DATA, Runner
from tests.support.parts import perturb, raises_one_sentence


def vae_of(decoder, shape=(4,), **parts):
    torch.manual_seed(0)
    return pv.VAE(shape, 2, encoder=MLP(5), decoder=decoder, **parts)


# ---------------------------------------------------------------- declarations


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_declaration_is_written_read_and_copied(posterior):
    part = Bayesian(MLP(6, 5, activation="tanh"), scale=2, posterior=posterior, rank=3)
    again = Declared.from_dict(part.to_dict())
    assert part == again == part.clone() == copy.deepcopy(part) == pickle.loads(pickle.dumps(part))
    assert part != Bayesian(MLP(6, 4, activation="tanh"), scale=2, posterior=posterior, rank=3)
    assert part != Bayesian(MLP(6, 5, activation="tanh"), scale=3, posterior=posterior, rank=3)
    vae = vae_of(part)
    assert vae == pv.VAE.from_dict(vae.to_dict())
    assert vae.decoder.scale == 2.0


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_vae_is_copied_and_loaded_with_its_posterior(posterior):
    vae = perturb(vae_of(Bayesian(MLP(6), posterior=posterior, rank=2)), 0.3).eval()
    z = torch.randn(3, 2)
    other = vae_of(Bayesian(MLP(6), posterior=posterior, rank=2)).eval()
    other.load_state_dict(vae.state_dict())
    for twin in (copy.deepcopy(vae), pickle.loads(pickle.dumps(vae)), other):
        assert list(twin.global_variables) == list(vae.global_variables)
        assert twin.decode(z).mean.equal(vae.decode(z).mean)
        torch.manual_seed(1)
        one = vae.draw_globals()
        torch.manual_seed(1)
        assert all(value.equal(one[name]) for name, value in twin.draw_globals().items())
        assert all(twin.global_variables[n] is m for n, m in twin.global_variables.items())
        with twin.holding(one), vae.holding(one):
            assert twin.decode(z).mean.equal(vae.decode(z).mean)
        inside = {id(module) for module in twin.modules()}
        assert all(id(variable) in inside for variable in twin.global_variables.values())


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("scale", [1.0, "learned"])
def test_in_double_precision_everything_is(posterior, scale):
    if posterior == "laplace" and scale == "learned":
        return
    vae = vae_of(Bayesian(MLP(6), scale=scale, posterior=posterior, rank=2), likelihood=Normal(1.0)).double()
    assert all(value.dtype == torch.float64 for value in vae.draw_globals().values())
    rows = pv.Rows(torch.randn(3, 4).double())
    terms = Runner(vae).check(rows).run(rows, particles=2, weights="auto").terms()
    assert terms.log_w.dtype == terms.log_global.dtype == torch.float64
    for variable in vae.global_variables.values():
        assert variable.prior().sample().dtype == torch.float64


# ---------------------------------------------------------------- refusals


def test_what_cannot_be_random_is_refused_with_a_cure():
    series, image = (6, 3), (1, 8, 8)
    raises_one_sentence(lambda: vae_of(Bayesian(Recurrent(5)), series), "GRU", "such as MLP")
    raises_one_sentence(
        lambda: pv.VAE((4,), 2, encoder=Bayesian(MLP(5)), decoder=MLP(5)), "for decoders", "use its network"
    )
    raises_one_sentence(
        lambda: vae_of(Bayesian(ConvDecoder((4,)), posterior="laplace"), image), "linear layer", "'lastlayer'"
    )
    raises_one_sentence(
        lambda: vae_of(Bayesian(Transformer(4, layers=1, heads=1), posterior="laplace"), series), "'normal'"
    )
    raises_one_sentence(
        lambda: vae_of(Bayesian(MLP(5), "learned", "laplace")), "fixed scale", "posterior='normal'"
    )
    raises_one_sentence(lambda: vae_of(Bayesian(Bayesian(MLP(5)))), "random already", "use MLP(5")
    for given, word in (
        ({"scale": 0.0}, "scale of Bayesian"),
        ({"scale": "fixed"}, "'learned'"),
        ({"posterior": "exact"}, "'lowrank'"),
        ({"rank": 0}, "rank of Bayesian"),
    ):
        raises_one_sentence(lambda given=given: vae_of(Bayesian(MLP(5), **given)), word)


class Wider(nn.Linear):
    """A layer of a user, which is not an nn.Linear."""


@pytest.mark.parametrize(
    "layer",
    [
        nn.Sequential(nn.Unflatten(-1, (2, 1)), nn.Conv1d(2, 5, 1), nn.Flatten()),
        nn.Sequential(nn.Linear(2, 5), nn.Unflatten(-1, (5, 1)), nn.LayerNorm((5, 1)), nn.Flatten()),
        Wider(2, 5),
        nn.utils.parametrizations.weight_norm(nn.Linear(2, 5)),
        nn.Sequential(nn.Unflatten(-1, (2, 1)), nn.ConvTranspose1d(2, 5, 1), nn.Flatten()),
        nn.Sequential(nn.Unflatten(-1, (2, 1, 1, 1)), nn.Conv3d(2, 5, 1), nn.Flatten()),
    ],
    ids=["Conv1d", "Linear", "subclass", "weight_norm", "ConvTranspose1d", "Conv3d"],
)
def test_a_wrapped_module_has_random_weights_in_known_layers_or_is_refused(layer, request):
    """Otherwise some weights would stay fixed without a word."""
    name = request.node.callspec.id
    if name in ("Conv1d", "Linear"):
        vae = vae_of(Bayesian(Wrapped(layer, features=5)))
        assert len(list(layers_of(vae.generation))) == 2
        assert len(vae.global_variables) == 4
        return
    raises_one_sentence(lambda: vae_of(Bayesian(Wrapped(layer, features=5))), "cannot be random")


class Twice(nn.Module):
    """A layer that is used twice, or two layers with one weight."""

    def __init__(self, *, layer):
        super().__init__()
        self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 5)
        self.second = self.first if layer else nn.Linear(2, 2)
        self.second.weight = self.first.weight

    def forward(self, z):
        return self.last(self.second(self.first(z).tanh()).tanh())


def test_a_layer_that_is_used_twice_has_one_draw():
    vae = vae_of(Bayesian(Wrapped(Twice(layer=True), features=5)))
    net = vae.decoder.network.net
    assert isinstance(net.first, RandomLinear)
    assert net.first is net.second
    assert len(vae.global_variables) == 6
    with_one_weight = Bayesian(Wrapped(Twice(layer=False), features=5))
    raises_one_sentence(lambda: vae_of(with_one_weight), "the same parameter")


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
@pytest.mark.parametrize("padding", [1, "same"])
def test_a_convolution_keeps_its_padding(mode, padding):
    layer = nn.Conv1d(2, 3, 3, padding=padding, padding_mode=mode)
    net = nn.Sequential(nn.Unflatten(-1, (2, 4)), layer, nn.Flatten())
    vae = pv.VAE((4,), 8, encoder=MLP(5), decoder=Bayesian(Wrapped(net, features=12)))
    z = torch.randn(5, 8)
    torch.testing.assert_close(vae.decoder(z), net(z))


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (MLP(6, 5), (4,)),
        (Gated(6), (4,)),
        (ConvDecoder((4, 3)), (1, 8, 8)),
        (ResidualDecoder((4, 3), blocks=1), (1, 8, 8)),
        (Transformer(4, layers=1, heads=1), (3, 2)),
    ],
    ids=["MLP", "Gated", "ConvDecoder", "ResidualDecoder", "Transformer"],
)
@pytest.mark.parametrize("posterior", POSTERIORS[:3])
def test_every_weight_of_linear_layers_and_convolutions_has_a_posterior(network, shape, posterior):
    vae = vae_of(Bayesian(network, posterior=posterior, rank=2), shape)
    plain = pv.VAE(shape, 2, encoder=MLP(5), decoder=network)
    module = plain.generation if posterior != "lastlayer" else plain.generation.heads
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    weights = [p.numel() for m in module.modules() if isinstance(m, kinds) for p in m.parameters()]
    assert sorted(v.centre().numel() for v in vae.global_variables.values()) == sorted(weights)
    assert len(list(layers_of(vae.generation))) * 2 >= len(weights)


# ---------------------------------------------------------------- layers


def test_the_activations_of_a_layer_have_the_distribution_that_its_weights_give():
    """Mean and variance of each activation, drawn both ways, against each other."""
    vae = perturb(vae_of(Bayesian(MLP(6))), 0.3)
    layer = next(layers_of(vae.generation))
    assert isinstance(layer, RandomLinear)
    h, count = torch.randn(2), 20_000
    with variables.layerwise():
        direct = layer(h.expand(count, 2))
    weights = layer.weight.posterior().sample((count,))
    by_weights = (weights @ h) + layer.bias.posterior().sample((count,))
    for one, two in ((direct, by_weights), (direct.square(), by_weights.square())):
        error = (one.var(0) / count + two.var(0) / count).sqrt()
        assert ((one.mean(0) - two.mean(0)) / error).abs().max() < 4


@pytest.mark.parametrize("network", [ConvDecoder((4, 3)), ResidualDecoder((4, 3), blocks=1)])
def test_biases_of_convolutions_are_drawn(network):
    """They are no linear layer's, so that no closed form may stand for their noise."""
    vae = vae_of(Bayesian(network), (1, 8, 8))
    layers = list(layers_of(vae.generation))
    for layer in layers:
        is_linear = isinstance(layer, RandomLinear)
        assert layer.weight.is_layerwise is is_linear
        assert layer.bias.is_layerwise is is_linear
    rows = pv.Rows(torch.bernoulli(torch.full((3, 1, 8, 8), 0.5)))
    drawn = Runner(vae).check(rows).run(rows, weights="auto").global_guide.nodes
    for name, variable in vae.global_variables.items():
        assert (name in drawn) is (not variable.is_layerwise)
    assert any(isinstance(layer, RandomConv) for layer in layers)


def test_own_weights_of_layers_that_do_not_broadcast_are_refused():
    rows = torch.bernoulli(torch.full((2, 6, 3), 0.5))
    objective = pv.objectives.ELBO(particles=2, weights="own")
    settings = {"epochs": 1, "progress": False, "figures": False, "compile": False}
    for network, x in (
        (Transformer(4, layers=1, heads=1), rows),
        (ConvDecoder((4,)), torch.bernoulli(torch.full((20, 1, 8, 8), 0.5))),
    ):
        vae = vae_of(Bayesian(network), x.shape[1:])
        data = pv.datasets.load(x.repeat(10, *[1] * (x.dim() - 1)), validation=2, test=2)
        raises_one_sentence(lambda vae=vae, data=data: pv.fit(vae, data, objective, **settings), "'shared'")


def test_the_prior_of_the_weights_is_that_of_its_formula():
    vae = vae_of(Bayesian(MLP(7), scale=1.5), prior=GaussianMixture(2))
    weight = vae.global_variables["decoder.logits.linear.weight"]
    bias = vae.global_variables["decoder.logits.linear.bias"]
    assert weight.prior().base_dist.stddev.unique().item() == pytest.approx(1.5 / math.sqrt(7))
    assert bias.prior().base_dist.stddev.unique().item() == 1.5
    assert (weight.words(), bias.words()) == ("N(0, 2.25/7)", "N(0, 2.25)")


# ---------------------------------------------------------------- the program


def written(vae):
    """The program of a decoder with one hidden layer by hand, with the VAE's posterior."""
    known = vae.global_variables

    def model(x):
        one = torch.ones((), dtype=x.dtype)
        value = {
            name: pyro.sample(
                name.replace(".", "_"),
                dist.Normal(0 * one, 1.5 * one / math.sqrt(v.loc.shape[1] if v.loc.dim() > 1 else 1))
                .expand(v.loc.shape)
                .to_event(v.loc.dim()),
            )
            for name, v in known.items()
        }
        first, bias, last, bias_of_last = value.values()
        with pyro.plate(DATA, len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1.0).to_event(1))
            h = torch.tanh(torch.einsum("...ij,...j->...i", first, z) + bias)
            loc = torch.einsum("...ij,...j->...i", last, h) + bias_of_last
            pyro.sample("x", dist.Normal(loc, 0.7).to_event(1), obs=x)

    def guide(x):
        for name, v in known.items():
            q = dist.Normal(v.loc, v.log_width.exp()).to_event(v.loc.dim())
            pyro.sample(name.replace(".", "_"), q)
        with pyro.plate(DATA, len(x)):
            pyro.sample("z", vae.encode(x))

    return model, guide


def in_double(**options):
    decoder = Bayesian(MLP(6, activation="tanh"), scale=1.5, **options)
    return perturb(vae_of(decoder, likelihood=Normal(0.7)).double(), 0.3)


@pytest.mark.parametrize("weights", ["shared", "own"])
def test_the_bound_is_that_of_the_program_written_by_hand(weights):
    vae, rows, found = in_double(), pv.Rows(torch.randn(5, 4).double()), []
    for target in (vae, written(vae)):
        torch.manual_seed(3)
        found.append(Runner(target).check(rows).run(rows, particles=3, weights=weights).terms())
    torch.testing.assert_close(found[0].log_w, found[1].log_w)
    torch.testing.assert_close(found[0].log_global, found[1].log_global)
    assert found[0].log_global.shape == ((3,) if weights == "own" else (1,))


def test_by_layer_the_bound_has_the_same_mean_and_the_divergence_of_its_formula():
    vae, rows = in_double(), pv.Rows(torch.randn(3, 4).double())
    runner = Runner(vae).check(rows)
    with torch.no_grad():
        by_layer = runner.run(rows, particles=20_000, weights="auto").terms()
        own = runner.run(rows, particles=20_000, weights="own").terms()
        kl = sum(v.divergence() for v in vae.global_variables.values())
        torch.testing.assert_close(by_layer.log_global, -kl.reshape(1))
        ratio = -own.log_global
        assert abs(ratio.mean() - kl) < 4 * ratio.std() / len(ratio) ** 0.5
        error = ((by_layer.log_w.var(0) + own.log_w.var(0)) / 20_000).sqrt()
        assert ((by_layer.log_w.mean(0) - own.log_w.mean(0)).abs() < 4 * error).all()
