"""Losses, gradients and responsibilities of mixtures in single precision, wherever training may go."""

import pytest
import torch

from pyrovae.guides import GaussianMixture as MixtureGuide
from pyrovae.objectives import ELBO
from pyrovae.priors import GaussianMixture
from tests.support.same_runs import binary, small

COVARIANCES = ("spherical", "diagonal", "full")


def driven(prior, how):
    """Its parameters where training may drive them in the worst case."""
    with torch.no_grad():
        if how == "shrunk":
            prior.raw_scale.fill_(-200.0)
        if how == "wide":
            prior.raw_scale.fill_(1e4)
        if how == "apart":
            prior.loc.mul_(1e4)
        if how == "alike":
            prior.loc.copy_(prior.loc[:1].expand_as(prior.loc))
        if how == "one takes all":
            prior.logits[0] = 1e4
        if how == "dead" and prior.components > 1:
            prior.alive[1:] = False
        if how == "tied" and prior.covariance == "full":
            prior.regression.fill_(30.0)
    return prior


PLACES = ("fresh", "shrunk", "wide", "apart", "alike", "one takes all", "dead", "tied", "far")


@pytest.mark.parametrize("explicit", [False, True], ids=["collapsed", "explicit"])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("components", [1, 500])
def test_losses_and_gradients_are_finite_wherever_training_goes(components, covariance, explicit):
    prior = GaussianMixture(components, covariance, explicit=explicit, prune=1e-4, floor=0.1)
    for how in PLACES:
        vae = small((6,), latent_dim=3, prior=prior)
        driven(vae.prior, how)
        if how == "far":
            with torch.no_grad():
                vae.recognition.heads["loc"].linear.bias.fill_(1e4)
        loss = ELBO().differentiable_loss(vae.model, vae.guide, binary(4, (6,)))
        loss.backward()
        assert loss.isfinite(), how
        for name, p in vae.named_parameters():
            assert p.grad is None or p.grad.isfinite().all(), (how, name)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_guide_with_a_class_is_as_safe(covariance):
    for how in set(PLACES) - {"dead"}:  # prune needs a guide over z alone
        prior = GaussianMixture(3, covariance, explicit=True)
        vae = small((6,), latent_dim=3, prior=prior, guide=MixtureGuide(3, explicit=True))
        driven(vae.prior, how)
        with torch.no_grad():
            vae.recognition.heads["logits"].linear.bias.copy_(torch.tensor([200.0, 0.0, -200.0]))
            if how == "far":
                vae.recognition.heads["loc"].linear.bias.fill_(1e4)
        loss = ELBO(3).differentiable_loss(vae.model, vae.guide, binary(4, (6,)))
        loss.backward()
        assert loss.isfinite(), how
        assert all(p.grad.isfinite().all() for p in vae.parameters()), how
        assert vae.responsibilities(binary(4, (6,))).isfinite().all()
