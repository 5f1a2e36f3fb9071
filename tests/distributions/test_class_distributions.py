"""The distributions of a class, of its label and of both with z, and a normal by regressions."""

import math

import pyro.distributions as dist
import pytest
import torch
from scipy.stats import chisquare

from pyrovae.distributions import ClassDistribution, Classed, Label, RegressedNormal
from pyrovae.distributions.class_distribution import pick
from tests.support.class_models import known
from tests.support.curved_line import SIGMAS, log_n

pytestmark = pytest.mark.usefixtures("float64")

RARE = 1e-6


def test_a_class_has_the_probabilities_of_its_logits():
    logits = torch.randn(4, 3)
    classes, free = ClassDistribution(logits, known()), ClassDistribution(logits)
    every = classes.enumerate_support()
    torch.testing.assert_close(free.log_prob(every), torch.log_softmax(logits, -1).mT)
    torch.testing.assert_close(classes.free, free.logits)
    torch.testing.assert_close(classes.log_prob(every).exp().sum(0), torch.ones(4))
    torch.testing.assert_close(classes.probs[[0, 2]], known()[[0, 2]])
    torch.testing.assert_close(classes.probs[[1, 3]], free.probs[[1, 3]])
    assert every.shape == (3, 4)
    assert classes.enumerate_support(expand=False).shape == (3, 1)
    assert classes.expand((5, 4)).log_prob(every[:, None]).shape == (3, 5, 4)
    draws = classes.expand((20_000, 4)).sample()
    for row in (1, 3):
        seen = torch.bincount(draws[:, row], minlength=3)
        assert chisquare(seen, 20_000 * classes.probs[row]).pvalue > RARE
    assert (draws[:, [0, 2]] == known()[[0, 2]].argmax(-1)).all()
    assert (
        classes.compose(lambda inner: torch.zeros(inner.batch_shape))[[0, 2]] == torch.tensor([1, 2])
    ).all()


def test_the_strata_of_a_class_are_its_exact_mean():
    logits, value = torch.randn(4, 3), torch.randn(3)
    for classes in (ClassDistribution(logits), ClassDistribution(logits, known())):
        c, log_v = classes.expand((6, 4)).stratified()
        assert (c == torch.tensor([0, 1, 2, 0, 1, 2])[:, None]).all()
        torch.testing.assert_close((log_v.exp() * value[c]).mean(0), (classes.probs * value).sum(-1))


def test_a_label_allows_its_class_alone_and_an_unknown_one_every():
    c = torch.tensor([[0], [1], [2]])
    allowed = Label(c, 3).log_prob(known()).exp()
    torch.testing.assert_close(
        allowed, torch.tensor([[0.0, 1, 0, 1], [1, 1, 0, 1], [0, 1, 1, 1]]).to(allowed)
    )
    assert torch.equal(Label(c, 3).sample((2,))[1, :, 0], torch.eye(3))


def test_a_row_of_a_table_is_picked_for_each_class():
    table, c = torch.randn(5, 3, 2), torch.randint(3, (4, 5))
    by_hand = torch.stack([torch.stack([table[j, c[i, j]] for j in range(5)]) for i in range(4)])
    assert torch.equal(pick(table, c), by_hand)
    assert torch.equal(pick(table[0], c), table[0][c])
    assert torch.equal(pick(table, torch.arange(3)[:, None]), table.movedim(1, 0))


def test_a_class_and_z_have_the_density_of_both():
    loc, scale, logits = (
        torch.tensor([[-1.0], [2.0]]),
        torch.tensor([[0.5], [1.5]]),
        torch.tensor([0.3, -0.4]),
    )
    classes = Classed(
        ClassDistribution(logits), lambda c: dist.Normal(pick(loc, c), pick(scale, c)).to_event(1), 1
    )
    z = torch.linspace(-15, 15, 4001).unsqueeze(-1)
    both = [torch.cat([z, one.expand(4001, 2)], -1) for one in torch.eye(2)]
    by_hand = [p.log() + log_n(z[:, 0], loc[k], scale[k]) for k, p in enumerate(logits.softmax(0))]
    for value, expected in zip(both, by_hand, strict=True):
        torch.testing.assert_close(classes.log_prob(value), expected)
    total = sum(classes.log_prob(value).exp().sum() for value in both) * 30 / 4000
    assert abs(total - 1) < 1e-8
    draws = classes.expand((40_000,)).sample()
    assert classes.support.check(draws).all()
    error = draws.std(0) / 200
    assert ((draws.mean(0) - classes.mean).abs() < SIGMAS * error).all()
    second = draws[draws[:, 2] == 1, 0]
    assert abs(second.std() - 1.5) < SIGMAS * 1.5 / math.sqrt(2 * len(second))


def test_a_normal_by_regressions_is_the_normal_with_its_covariance():
    loc, scale, w = torch.randn(4, 3), torch.rand(4, 3) + 0.5, torch.randn(4, 3, 3)
    leaves = [t.requires_grad_() for t in (loc, scale, w)]
    classes = RegressedNormal(*leaves)
    unit = torch.linalg.inv(torch.eye(3) + w.tril(-1))
    normal = dist.MultivariateNormal(loc, unit @ (scale**2).diag_embed() @ unit.mT)
    torch.testing.assert_close(classes.covariance_matrix, normal.covariance_matrix)
    torch.testing.assert_close(classes.variance, normal.variance)
    z = torch.randn(5, 4, 3, requires_grad=True)
    torch.testing.assert_close(classes.log_prob(z), normal.log_prob(z))
    found, wanted = (torch.autograd.grad(p.log_prob(z).sum(), [z, *leaves]) for p in (classes, normal))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(classes.expand((5, 4)).log_prob(z), normal.log_prob(z))
    draws = classes.expand((40_000, 4)).sample().detach()
    tril = normal.scale_tril.detach()
    whitened = torch.linalg.solve(tril, (draws - loc.detach()).unsqueeze(-1))[..., 0]
    moments = (whitened[..., :, None] * whitened[..., None, :]).mean(0)
    assert (moments - torch.eye(3)).abs().max() < SIGMAS * math.sqrt(2 / 40_000)
    assert whitened.mean(0).abs().max() < SIGMAS / 200
