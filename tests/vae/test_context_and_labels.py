"""A VAE that is conditional and semi-supervised at once: p(x, y | c), with y known for some rows only.

Everything is compared with sums and integrals over a small program: four pixels, three classes, one latent.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae import guides, priors
from pyrovae.terms import Runner
from tests.support.cells import data_of
from tests.support.parts import raises_one_sentence, small_vae

pytestmark = pytest.mark.usefixtures("float64")

GRID = torch.linspace(-12.0, 12.0, 4001, dtype=torch.float64)
PIXELS = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)), dtype=torch.float64)


@pytest.fixture
def vae():
    prior = priors.GaussianMixture(3, labels=True)
    vae = small_vae((4,), 1, prior=prior, context_shape=(2,))
    with (
        torch.no_grad()
    ):  # components, weights and their dependence on the context that are no special values
        vae.prior.loc.copy_(torch.tensor([[-1.5], [0.3], [2.0]]))
        vae.prior.logits.copy_(torch.tensor([0.2, -0.4, 0.6]))
        vae.prior.gate.weight.copy_(torch.tensor([[0.5, -1.0], [0.0, 0.7], [-0.8, 0.1]]))
    return vae


@pytest.fixture
def rows():
    x = PIXELS[[1, 6, 9, 15, 3, 12]]
    return pv.Rows(x, torch.randn(6, 2), torch.tensor([0, 1, -1, 2, -1, 0]))


def log_weights(vae, context):
    """log p(y | c), (B, 3)."""
    return torch.log_softmax(vae.prior.logits + context @ vae.prior.gate.weight.T, -1)


def log_joint(vae, x, context, z):
    """log p(x, z, y | c) for every class y, (*, 3); z (*, 1)."""
    scale = nn.functional.softplus(vae.prior.raw_scale) + 1e-4
    by_class = torch.distributions.Normal(vae.prior.loc[:, 0], scale[:, 0]).log_prob(z)
    log_px_z = vae.decode(z, context.expand(*z.shape[:-1], 2)).log_prob(x)
    return log_weights(vae, context) + by_class + log_px_z.unsqueeze(-1)


@torch.no_grad()
def exact(vae, x, context):
    """log p(x, y | c) of one row for every class y, (3,), by the trapezoid rule."""
    log_p = log_joint(vae, x, context, GRID[:, None])
    return torch.logsumexp(log_p, 0) + math.log(float(GRID[1] - GRID[0]))


def of_label(logs, y):
    """The entry of a known class, or the sum over classes: (*, B, 3) -> (*, B)."""
    known = logs.gather(-1, y.clamp_min(0).expand(logs.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    return torch.where(y >= 0, known, torch.logsumexp(logs, -1))


def test_the_scale_by_hand_is_the_priors(vae):
    torch.testing.assert_close(
        vae.latents([[0.0, 0.0]], y=[1]).stddev[0], nn.functional.softplus(vae.prior.raw_scale[1]) + 1e-4
    )


def test_the_sum_over_all_pixels_and_labels_is_one(vae):
    for context in torch.randn(3, 2):
        total = torch.logsumexp(torch.stack([exact(vae, x, context) for x in PIXELS]).flatten(), 0)
        torch.testing.assert_close(total, torch.zeros(()), rtol=0, atol=1e-6)


def test_the_terms_are_those_of_the_joint(vae, rows):
    runner = Runner(vae).check(rows)
    pair = runner.run(rows, particles=5)
    z = pair.guide.nodes["z"]["value"]
    terms = pair.terms()
    logs = torch.stack(
        [log_joint(vae, *row, z[:, i]) for i, row in enumerate(zip(rows.x, rows.context, strict=True))], 1
    )
    torch.testing.assert_close(terms.log_px_z + terms.log_pz, of_label(logs, rows.y))
    torch.testing.assert_close(terms.log_qz, vae.encode(rows.x, rows.context).log_prob(z))
    # Without labels it is the same program with every class summed out.
    plain = runner.terms_at({"z": z}, rows.unlabelled(), particles=5)
    torch.testing.assert_close(plain.log_px_z + plain.log_pz, torch.logsumexp(logs, -1))
    # No label known is no label.
    unknown = pv.Rows(rows.x, rows.context, torch.full_like(rows.y, -1))
    other = runner.terms_at({"z": z}, unknown, particles=5)
    torch.testing.assert_close(other.log_w, plain.log_w)


def test_log_evidence_estimates_the_joint_and_says_so(vae, rows):
    every = torch.stack([exact(vae, *row) for row in zip(rows.x, rows.context, strict=True)])
    for given, wanted, quantity in (
        (rows, of_label(every, rows.y), "log p(x, y | c)"),
        (rows.unlabelled(), torch.logsumexp(every, -1), "log p(x | c)"),
    ):
        evidence = pv.log_evidence(vae, given, particles=4000, method="importance", compile=False)
        assert evidence.quantity == quantity
        assert (np.abs(evidence.log_px - wanted.numpy()) < 5 * evidence.mc_stderr + 1e-3).all()
    raises_one_sentence(lambda: pv.log_evidence(vae, rows.x, y=rows.y, particles=2), "needs a context")


def test_the_classes_given_x_and_the_context_are_bayes_rule(vae, rows):
    """E_q[p(y | z, c)] at the guide's draws; a known label is certain."""
    torch.manual_seed(3)
    shares = vae.responsibilities(rows, particles=7)
    torch.manual_seed(3)
    z = torch.stack([vae.encode(rows).sample() for _ in range(7)])
    scale = nn.functional.softplus(vae.prior.raw_scale) + 1e-4
    by_class = torch.distributions.Normal(vae.prior.loc[:, 0], scale[:, 0]).log_prob(z)
    free = torch.softmax(log_weights(vae, rows.context) + by_class, -1)
    known = rows.y >= 0
    torch.testing.assert_close(shares[:, ~known], free[:, ~known])
    assert torch.equal(shares[:, known].argmax(-1), rows.y[known].expand(7, -1))
    torch.testing.assert_close(shares[:, known].amax(-1), torch.ones(7, int(known.sum())))


def test_samples_follow_the_label_and_the_context(vae):
    context, count = torch.tensor([0.4, -0.9]), 20_000
    for y in (None, 0, 2):
        logs = torch.stack([exact(vae, x, context) for x in PIXELS])
        wanted = torch.softmax(torch.logsumexp(logs, -1) if y is None else logs[:, y], 0)
        labels = None if y is None else torch.full((count,), y)
        x = vae.sample(count, context.expand(count, 2), labels)
        index = (x @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long()
        found = index.bincount(minlength=16) / count
        assert (found - wanted).abs().max() < 5 * (0.25 / count) ** 0.5


def patterns(count=300, seed=0):
    """A label that turns the first two pixels on or off, and a context that does so with the others."""
    draw = torch.Generator().manual_seed(seed)
    label, switch = torch.randint(3, (count,), generator=draw), torch.rand(count, generator=draw) < 0.5
    probs = torch.stack([label > 0, label > 1, switch, switch], -1).double() * 0.9 + 0.05
    context = torch.stack([switch, ~switch], -1).double()
    return pv.Rows(torch.bernoulli(probs, generator=draw), context, label)


@pytest.mark.parametrize("guide", [None, guides.Classes(3)], ids=["mixture", "M2"])
def test_it_trains_on_few_labels_and_a_context(guide):
    """The context decides the last two pixels, and the labels name what decides the first two."""
    rows = patterns()
    prior = priors.GaussianMixture(3, labels=True) if guide is None else priors.Classes(3, labels=True)
    networks = {"encoder": pv.networks.MLP(16), "decoder": pv.networks.MLP(16)}
    torch.manual_seed(0)
    vae = pv.VAE((4,), 2, prior=prior, guide=guide, context_shape=(2,), **networks).double()
    known = torch.where(torch.arange(300) % 5 == 0, rows.y, -1)
    data = data_of(pv.Rows(rows.x, rows.context, known), validation=30, test=30)
    objective = pv.objectives.SemiSupervised(10.0)
    run = pv.fit(vae, data, objective, epochs=40, batch_size=30, lr=0.02, progress=False, compile=False)
    bound = run.history["validation"]
    assert bound[-1] > bound[0] + 0.3
    test = data.test
    right = pv.log_evidence(vae, test, particles=200).mean
    wrong = pv.log_evidence(vae, test, 1 - test.context, particles=200).mean
    assert right > wrong + 2
    clear = (test.x[:, 0] > 0) | (test.x[:, 1] == 0)  # (0, 1) is noise of any class
    classes = vae.responsibilities(test, particles=20).mean(0).argmax(-1)
    wanted = test.x[:, :2].sum(-1).long()
    assert (classes == wanted)[clear].double().mean() > 0.8
    assert not any(torch.isnan(p).any() for p in vae.parameters())


def test_a_run_of_both_is_saved_and_resumed(tmp_path):
    from tests.support.same_runs import assert_same_runs

    rows = patterns(80)
    data = data_of(pv.Rows(rows.x, rows.context, torch.where(rows.y > 1, rows.y, -1)), validation=10, test=10)
    settings = {"batch_size": 20, "progress": False, "figures": False, "compile": False}
    settings |= {"lr_schedule": "constant", "kl_warmup": 0}

    def make():
        return small_vae((4,), 1, prior=priors.GaussianMixture(3, labels=True), context_shape=(2,))

    pv.fit(make(), data, pv.objectives.SemiSupervised(), epochs=3, out=tmp_path / "whole", **settings)
    pv.fit(make(), data, pv.objectives.SemiSupervised(), epochs=1, out=tmp_path / "pieces", **settings)
    pv.fit(
        make(),
        data,
        pv.objectives.SemiSupervised(),
        epochs=3,
        out=tmp_path / "pieces",
        resume=True,
        **settings,
    )
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")
    assert pv.load(tmp_path / "whole").context_shape == (2,)


def test_what_the_data_lack_is_refused(vae):
    rows = patterns(40)
    for given, words in (
        (pv.Rows(rows.x, y=rows.y), ("declared with a context", "the data have none")),
        (pv.Rows(rows.x, rows.context), ("observes labels", "the data have none")),
        (pv.Rows(rows.x, rows.context[:, :1], rows.y), ("context of shape (*, 2)", "(2, 1)")),
        (pv.Rows(rows.x, rows.context, rows.y + 1), ("the class 3", "classes 0 to 2")),
    ):
        raises_one_sentence(lambda g=given: pv.fit(vae, g, epochs=1, batch_size=9, progress=False), *words)
