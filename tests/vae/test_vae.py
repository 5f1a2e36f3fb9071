"""Every combination of parts is a VAE: it declares, prints, trains, saves, loads and evaluates."""

import copy
import io
import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae.networks import MLP, ConvDecoder, ConvEncoder
from pyrovae.oracles import quadrature
from pyrovae.priors import GaussianMixture, Prior
from pyrovae.terms import Runner
from tests.support.cells import cell_name, cover, data_of, is_discrete, tiny
from tests.support.parts import (
    LIKELIHOODS,
    LaplaceGuide,
    LaplacePrior,
    data_for,
    each,
    raises_one_sentence,
    small_vae,
)
from tests.support.parts import HeavyTails as LaplaceLikelihood

SHAPES = [(1, 8, 8), (3, 9, 13), (1, 28, 28), (1, 64, 64)]
CONTEXTS = [(), (3,), (2, 2)]
# Shapes and contexts take turns; every part stands in one cell at least.
CELLS = [(cell, SHAPES[k % 4], cell.context and CONTEXTS[k % 3]) for k, cell in enumerate(cover(1))]


def declared(cell, **more):
    cell, shape, context_shape = cell
    shape = (5,) if isinstance(cell.likelihood, pv.likelihoods.Mixed) else shape
    parts = {"prior": cell.prior, "likelihood": cell.likelihood, "guide": cell.guide}
    return small_vae(
        shape, 2, context_shape=context_shape, wide=False, networks=cell.networks, **parts, **more
    )


each_cell = pytest.mark.parametrize(
    "cell", CELLS, ids=lambda cell: f"{cell_name(cell[0])}-{cell[1]}-{cell[2]}"
)


def same_weights(one, two):
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---------------------------------------------------------------- 9: the whole table


@each_cell
def test_a_combination_is_its_declaration(cell):
    vae = declared(cell)
    written = vae.to_dict()
    again = pv.VAE.from_dict(yaml.safe_load(yaml.safe_dump(written)))
    assert again.to_dict() == written
    assert again == vae == vae.clone()
    assert not same_weights(again, vae)  # the declaration holds nothing learned
    shown = str(vae)
    for part in (vae.prior, vae.likelihood, vae.q, vae.encoder, vae.decoder, vae.event_shape):
        assert repr(part) in shown
    assert f"{sum(p.numel() for p in vae.parameters()):,} parameters" in shown
    assert str(again) == shown


@each_cell
def test_a_combination_is_saved_loaded_and_copied(cell):
    vae = declared(cell)
    given = data_for(vae, 3)
    file = io.BytesIO()
    torch.save(vae.state_dict(), file)
    file.seek(0)
    loaded = pv.VAE.from_dict(vae.to_dict())
    loaded.load_state_dict(torch.load(file, weights_only=True))
    copied = copy.deepcopy(vae)
    expected = pv.log_evidence(vae, *given, particles=3).log_px
    assert np.isfinite(expected).all()
    for other in (loaded, copied):
        assert same_weights(other, vae)
        assert np.array_equal(pv.log_evidence(other, *given, particles=3).log_px, expected)
    with torch.no_grad():
        next(copied.parameters()).add_(1.0)
    assert not same_weights(copied, vae)


@each_cell
def test_every_parameter_is_trained(cell):
    """A finite gradient for each named parameter, and within a few steps one that is not zero."""
    vae = declared(cell)
    given = data_for(vae, 8)
    moved = {n: torch.zeros_like(p) for n, p in vae.named_parameters()}
    objectives = (pv.objectives.ELBO(2), pv.objectives.IWAE(3))
    for objective in (pv.objectives.ScoreFunction(2),) if is_discrete(vae.q) else objectives:
        vae.zero_grad(set_to_none=True)
        with pyro.get_param_store().scope():
            objective.differentiable_loss(vae.model, vae.guide, *given).backward()
        for n, p in vae.named_parameters():
            assert p.grad is not None, n
            assert torch.isfinite(p.grad).all(), n
            moved[n] += p.grad.abs()
    dead = [n for n, total in moved.items() if not total.any()]
    # A recurrent network of a single step has no use for its state.
    assert [n for n in dead if not (vae.event_shape[0] == 1 and "weight_hh" in n)] == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("cell", CELLS[::12], ids=cell_name)
def test_a_combination_trains_on_a_gpu(cell):
    vae = declared(cell)
    data = tiny(vae)
    run = pv.fit(vae, data, epochs=2, batch_size=4, device="cuda", progress=False)
    assert np.isfinite(run.history["train"]).all()
    assert all(p.is_cuda for p in vae.parameters())


# ---------------------------------------------------------------- a user's own parts


def test_a_users_own_parts_are_parts_like_others(tmp_path):
    x = torch.randn(50, 3)
    vae = pv.VAE(
        (3,),
        latent_dim=1,
        prior=LaplacePrior(rate=1.5),
        likelihood=LaplaceLikelihood(),
        guide=LaplaceGuide(),
        encoder=MLP(8),
        decoder=MLP(8),
    )
    assert "LaplacePrior(rate=1.5)" in str(vae)
    pv.fit(vae, x, epochs=3, batch_size=10, out=tmp_path, progress=False, figures=False)
    loaded = pv.load(tmp_path)  # found by its import path
    assert loaded == vae
    evidence = pv.log_evidence(loaded, x[:6], particles=4000)
    exact = quadrature(loaded.double(), x[:6].double(), limit=15.0, points=20_001)
    assert (np.abs(evidence.log_px - exact.numpy()) < 5 * evidence.mc_stderr + 1e-3).all()


# ---------------------------------------------------------------- the declaration


def test_parts_are_copied_so_one_declaration_makes_many_models():
    prior, network = GaussianMixture(3), MLP(8)
    one = pv.VAE((4,), 2, prior=prior, encoder=network, decoder=network)
    two = pv.VAE((6,), 3, prior=prior, encoder=network, decoder=network)
    assert not list(prior.parameters())
    assert not list(network.parameters())
    assert one.encoder == one.decoder
    assert one.encoder is not one.decoder
    assert {id(p) for p in one.parameters()}.isdisjoint(id(p) for p in two.parameters())
    assert len({one, one.clone()}) == 2


def test_an_encoder_and_a_decoder_that_are_declared_alike_both_train():
    """Torch keeps modules in sets: two equal parts must be two members."""
    vae = pv.VAE((4,), 2, encoder=MLP(32), decoder=MLP(32))
    assert vae.encoder == vae.decoder
    names = {n.partition(".")[0] for n, _ in vae.named_parameters()}
    assert names == {"recognition", "generation"}
    before = copy.deepcopy(vae)
    pv.fit(vae, torch.bernoulli(torch.full((40, 4), 0.5)), epochs=1, batch_size=10, progress=False)
    for network in ("recognition", "generation"):
        moved = zip(getattr(vae, network).parameters(), getattr(before, network).parameters(), strict=True)
        assert all(not torch.equal(a, b) for a, b in moved)


def test_a_declaration_draws_no_random_number_but_its_weights(monkeypatch):
    torch.manual_seed(3)
    one = pv.VAE((4,), 2, encoder=MLP(8), decoder=MLP(8))
    following = torch.rand(3)
    torch.manual_seed(3)
    monkeypatch.setattr("pyrovae.vae.vae.dry_run", lambda vae: None)
    two = pv.VAE((4,), 2, encoder=MLP(8), decoder=MLP(8))
    assert same_weights(one, two)
    assert torch.equal(following, torch.rand(3))
    assert len(pyro.get_param_store()) == 0


@pytest.mark.parametrize("other", [{"latent_dim": 3}, {"event_shape": (5,)}, {"context_shape": (1,)}])
def test_other_sizes_are_another_declaration(other):
    sizes = {"event_shape": (4,), "latent_dim": 2}
    assert pv.VAE(**sizes, encoder=MLP(8)) != pv.VAE(**(sizes | other), encoder=MLP(8))


def test_parts_that_are_left_out_have_defaults_in_yaml_too():
    vae = pv.VAE.from_dict({"event_shape": [4], "latent_dim": 2})
    assert vae == pv.VAE((4,), 2)
    assert vae == pv.VAE(4, 2)


class WrongEvent(Prior):
    """A prior over one latent too many."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, context=None):
        return dist.Normal(torch.zeros(self.latent_dim + 1), 1.0).to_event(1)


class Broken(Prior):
    """A prior that fails while its parameters are made."""

    def __init__(self) -> None:
        super().__init__()

    def attach(self, latent_dim, context_dim=0):
        super().attach(latent_dim, context_dim)
        raise RuntimeError("no parameters today")

    def forward(self, context=None):
        return dist.Normal(torch.zeros(self.latent_dim), 1.0).to_event(1)


class Stepwise(LaplaceGuide):
    """A guide whose draws cannot be differentiated."""

    def forward(self, loc, raw_scale):
        return dist.Geometric(logits=loc).to_event(1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"latent_dim": 0}, ("latent_dim", "not 0")),
        ({"latent_dim": -2}, ("latent_dim", "not -2")),
        ({"latent_dim": 1.5}, ("latent_dim", "not 1.5")),
        ({"latent_dim": True}, ("latent_dim", "not True")),
        ({"latent_dim": "two"}, ("latent_dim", "two")),
        ({"latent_dim": None}, ("latent_dim", "None")),
        ({"event_shape": (4, 0)}, ("event_shape", "not 0")),
        ({"event_shape": "4"}, ("event_shape", "4")),
        ({"event_shape": None}, ("event_shape", "None")),
        ({"context_shape": (0,)}, ("context_shape", "not 0")),
        ({"prior": WrongEvent()}, ("prior", "WrongEvent()", "(3,)", "(2,)")),
        ({"prior": Broken()}, ("prior", "Broken()", "no parameters today")),
        ({"prior": GaussianMixture(0)}, ("GaussianMixture", "components")),
        ({"prior": pv.likelihoods.Bernoulli()}, ("prior must be", "StandardNormal()", "Bernoulli()")),
        ({"prior": GaussianMixture}, ("prior must be", "StandardNormal()")),
        ({"likelihood": "Bernoulli"}, ("likelihood must be", "'Bernoulli'")),
        ({"guide": Stepwise()}, ("guide Stepwise()", "different supports", "whole numbers")),
        ({"encoder": ConvEncoder()}, ("ConvEncoder", "(4,)", "MLP")),
        ({"decoder": ConvDecoder()}, ("ConvDecoder", "(4,)", "MLP")),
        ({"event_shape": (1, 8, 8), "encoder": ConvDecoder()}, ("ConvDecoder",)),
        ({"event_shape": (1, 8, 8), "decoder": ConvEncoder()}, ("ConvEncoder",)),
        ({"encoder": MLP(8, activation="rely")}, ("activation", "rely")),
    ],
    ids=str,
)
def test_a_declaration_that_cannot_be_used_says_which_part_and_why(arguments, words):
    raises_one_sentence(lambda: pv.VAE(**({"event_shape": (4,), "latent_dim": 2} | arguments)), *words)


def test_rows_of_another_shape_or_without_their_context_are_refused():
    vae, conditional = small_vae((4,)), small_vae((4,), context_shape=(3,))
    x, c = torch.ones(2, 4), torch.ones(2, 3)
    raises_one_sentence(lambda: vae.model(torch.ones(2, 5)), "(B, 4)", "(2, 5)")
    raises_one_sentence(lambda: vae.model(x, c), "no context", "context_shape=")
    raises_one_sentence(lambda: conditional.model(x), "context", "(*, 3)", "none")
    raises_one_sentence(lambda: conditional.guide(x, torch.ones(2, 4)), "context", "(2, 4)")
    raises_one_sentence(lambda: pv.log_evidence(conditional, x, particles=2), "context")
    raises_one_sentence(lambda: pv.log_evidence(conditional, x, c[:1], particles=2), "context")
    raises_one_sentence(lambda: pv.log_evidence(vae, x / 2, particles=2), "Bernoulli", "8 values")
    raises_one_sentence(lambda: pv.log_evidence(vae, x[:, :3], particles=2), "(2, 3)")
    raises_one_sentence(lambda: pv.log_evidence(vae, x[:0], particles=2), "no rows")
    raises_one_sentence(lambda: pv.log_evidence(vae, x, particles=0), "particles", "not 0")
    raises_one_sentence(lambda: pv.log_evidence(vae, x, particles=2, chunk=0), "chunk", "not 0")
    raises_one_sentence(lambda: pv.iwae_bound(vae, x, particles=(1, 0)), "particles", "not 0")


# ---------------------------------------------------------------- conditioning and draws


def test_a_context_reaches_every_part():
    vae = small_vae((4,), prior=GaussianMixture(3), context_shape=(3,))
    x, c = data_for(vae, 5)
    there, elsewhere = (Runner(vae).run(pv.Rows(x, context)) for context in (c, c + 1))
    z = there.guide.nodes["z"]["value"].detach()
    for log_p in (lambda c: vae.latents(c).log_prob(z), lambda c: vae.encode(x, c).log_prob(z)):
        assert (log_p(c) - log_p(c + 1)).abs().min() > 1e-6
    assert (vae.decode(z, c).log_prob(x) - vae.decode(z, c + 1).log_prob(x)).abs().min() > 1e-6
    assert there.shape == elsewhere.shape == (1, 5)


def test_a_conditional_vae_learns_what_its_context_says():
    """Two labels, two patterns: given the label the evidence rises, given the wrong one it falls."""
    pyro.set_rng_seed(0)
    label = torch.arange(400) % 2
    c = torch.nn.functional.one_hot(label).float()
    x = torch.bernoulli(torch.where(label[:, None] > 0, 0.9, 0.1).expand(-1, 6))
    vae = pv.VAE((6,), 1, encoder=MLP(16), decoder=MLP(16), context_shape=(2,))
    data = data_of(pv.Rows(x, c), validation=40, test=60)
    assert torch.equal(data.test.context, c[data.test.index])
    pv.fit(vae, data, epochs=30, lr=0.02, progress=False)
    right = pv.log_evidence(vae, data.test, particles=100).mean
    wrong = pv.log_evidence(vae, data.test, 1 - data.test.context, particles=100).mean
    assert right > wrong + 3
    drawn = vae.sample(2000, torch.tensor([0.0, 1.0]))
    assert drawn.mean() > 0.75
    assert vae.sample(2000, torch.tensor([1.0, 0.0])).mean() < 0.25


@each("likelihood", LIKELIHOODS)
def test_samples_and_reconstructions_have_the_shape_of_observations(likelihood):
    vae = small_vae((2, 3, 4), likelihood=likelihood, context_shape=(2,))
    x, c = data_for(vae, 5)
    assert x.shape == vae.reconstruct(x, c).shape == vae.sample(5, c, mean=True).shape == (5, 2, 3, 4)
    vae.likelihood.check(x)
    pyro.set_rng_seed(1)
    mean = vae.sample(4000, c[0], mean=True).mean(0)
    draws = vae.sample(4000, c[0])
    assert ((draws.mean(0) - mean) / (draws.std(0) / 4000**0.5)).abs().max() < 6 * 2**0.5


def test_the_program_on_paper():
    vae = pv.VAE((1, 8, 8), latent_dim=2, prior=GaussianMixture(10), encoder=MLP(32), decoder=MLP(32))
    text = re.sub(" +", " ", str(vae))
    assert "VAE of events (1, 8, 8) with latents (2,)" in text
    assert " z ~ GaussianMixture(components=10) p(z)" in text
    assert " x | z ~ Bernoulli() of MLP(32, activation='relu')(z) p(x|z)" in text
    assert " z | x ~ DiagonalNormal() of MLP(32, activation='relu')(x) q(z|x)" in text
    conditional = re.sub(" +", " ", str(vae.from_dict(vae.to_dict() | {"context_shape": [10]})))
    assert "contexts (10,)" in conditional
    for density in ("p(z | c)", "p(x|z, c)", "q(z|x, c)"):
        assert density in conditional
