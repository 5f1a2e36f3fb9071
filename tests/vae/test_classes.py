"""Programs that have a class c as a site.

It is summed over, in the model (VaDE) or by strata of the guide (GMVAE, M2), so what is computed is compared
with sums written by hand and with Pyro's `TraceEnum_ELBO` under the same noise. Seeds are fixed. The
distributions of c are in `test_class_distributions.py`, labels in `test_labels.py`.
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

import pyrovae as pv
from pyrovae.distributions import ClassDistribution, RegressedNormal
from pyrovae.distributions.class_distribution import pick
from pyrovae.guides import Classes as ClassGuide
from pyrovae.guides import GaussianMixture as MixtureGuide
from pyrovae.likelihoods import Normal
from pyrovae.objectives import ELBO, IWAE, ScoreFunction, StickingTheLanding
from pyrovae.priors import Classes as ClassPrior
from pyrovae.priors import GaussianMixture
from pyrovae.terms import Runner, run
from tests.support.class_models import COVARIANCES, LABELLED, LABELS, SUMMED, data, known, rows_of, small
from tests.support.curved_line import OBSERVED, ROWS, SIGMAS, S, agrees, ascended, log_n, nodes
from tests.support.linear import Same
from tests.support.parts import each, perturb, raises_one_sentence, small_vae

pytestmark = pytest.mark.usefixtures("float64")


# ---------------------------------------------------------------- collapsed = enumerated = Pyro


def loss_and_gradients(vae, objective, given, seed=7):
    """Nats per row, and the gradient of each parameter by name."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    vae.zero_grad(set_to_none=True)
    guide = vae.guide
    if isinstance(objective, TraceEnum_ELBO) and vae.q.states is not None:
        guide = config_enumerate(guide)
    loss = objective.loss_and_grads(vae.model, guide, *given)
    rows = len(given[0]) if isinstance(objective, TraceEnum_ELBO) else 1
    return loss / rows, {n: p.grad / rows for n, p in vae.named_parameters() if p.grad is not None}


def same_losses(one, other, tolerance=1e-10):
    assert one[0] == pytest.approx(other[0], rel=tolerance)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=1e-8, atol=tolerance, msg=name)


@pytest.mark.parametrize("context", [None, (2,)])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_mixture_collapsed_is_the_mixture_enumerated_and_pyros(covariance, context):
    explicit = small(GaussianMixture(3, covariance, explicit=True), context_shape=context)
    collapsed = small(GaussianMixture(3, covariance), context_shape=context)
    collapsed.load_state_dict(explicit.state_dict())
    if context:
        with torch.no_grad():
            explicit.prior.gate.weight.normal_()
        collapsed.load_state_dict(explicit.state_dict())
    given = (data(), torch.randn(4, 2)) if context else (data(),)
    for objective in (ELBO(), ELBO(3), IWAE(4)):
        one, other = (loss_and_gradients(vae, objective, given) for vae in (explicit, collapsed))
        same_losses(one, other)
        assert all((g != 0).any() for g in one[1].values())
    pyros = TraceEnum_ELBO(max_plate_nesting=1)
    same_losses(loss_and_gradients(explicit, ELBO(), given), loss_and_gradients(explicit, pyros, given))


@pytest.mark.parametrize(("prior", "guide"), [*SUMMED, *LABELLED], ids=repr)
def test_the_sum_over_the_guides_classes_is_pyros(prior, guide):
    """Pyro draws one z for each class, and so do strata; with labels, x and the known ones are observed."""
    vae = small(prior, guide)
    given = rows_of(vae).arguments
    ours = loss_and_gradients(vae, ELBO(), given)
    same_losses(ours, loss_and_gradients(vae, TraceEnum_ELBO(max_plate_nesting=1), given))
    assert all((g != 0).any() for g in ours[1].values())


@pytest.mark.parametrize(("prior", "guide"), [*SUMMED, *LABELLED], ids=repr)
def test_the_bound_is_the_sum_over_classes_written_by_hand(prior, guide):
    """E_q(c|x) of log p(x, z, c) / q(z|x, c), plus the entropy of q(c|x); of one class where it is known."""
    vae = small(prior, guide)
    pair = Runner(vae).check(rows_of(vae)).run(rows_of(vae), particles=3, stratified=True)
    z = pair.guide.nodes["z"]["value"]
    c = torch.arange(3).unsqueeze(-1).expand(3, 4)
    params = vae.recognition(data())
    q = params["logits"].log_softmax(-1).mT  # (C, B)
    z_x = dist.Normal(
        pick(params["loc"], c), torch.nn.functional.softplus(pick(params["raw_scale"], c)) + 1e-4
    )
    if isinstance(prior, ClassPrior):
        latent = torch.cat([z, torch.eye(3)[:, None].expand(3, 4, 3)], -1)
        z_c = dist.Normal(0.0, 1.0).expand(z.shape).to_event(1).log_prob(z)
    else:
        parts = vae.prior.mixture().component_distribution
        latent, z_c = z, parts.log_prob(z.unsqueeze(-2)).gather(-1, c.unsqueeze(-1))[..., 0]
    log_p = vae.decode(latent).log_prob(data()) + z_c + vae.prior.logits.log_softmax(0)[:, None]
    each_class = log_p - z_x.to_event(1).log_prob(z)
    free = (q.exp() * (each_class - q)).sum(0)
    expected = torch.where(known().any(-1), (known().mT * each_class).sum(0), free) if prior.labels else free
    torch.testing.assert_close(ELBO().bound(pair.terms()), expected)


# ---------------------------------------------------------------- exact posteriors


class Linear:
    """x = W z + V one-hot(c) + b + noise under a mixture in z: p(x) and all posteriors are closed forms."""

    def __init__(self, prior, scale=0.7):
        self.vae = pv.VAE(
            (4,), 2, prior=prior, likelihood=Normal(scale), guide=guide_of(prior), decoder=Same()
        )
        perturb(self.vae, 0.4)
        head = self.vae.generation.heads["loc"].linear
        m2 = isinstance(prior, ClassPrior)
        self.w, own = head.weight[:, :2], head.weight[:, 2:].mT if m2 else torch.zeros(3, 4)
        parts = dist.MultivariateNormal(torch.zeros(3, 2), torch.eye(2)) if m2 else _normals(self.vae.prior)
        self.m, self.s, self.noise = parts.loc, parts.covariance_matrix, scale**2 * torch.eye(4)
        self.centre = self.m @ self.w.mT + head.bias + own
        self.cross = self.s @ self.w.mT  # (C, D, E)
        self.of_x = self.w @ self.cross + self.noise

    def joint(self, x):
        """log p(x, c), (B, C)."""
        p_x = dist.MultivariateNormal(self.centre, self.of_x)
        return self.vae.prior.logits.log_softmax(0) + p_x.log_prob(x.unsqueeze(1))

    def given(self, x):
        """p(z|x, c): the means (B, C, D), and Cholesky factors (C, D, D)."""
        gain = self.cross @ torch.linalg.inv(self.of_x)
        loc = self.m + (gain @ (x.unsqueeze(1) - self.centre).unsqueeze(-1)).squeeze(-1)
        return loc, torch.linalg.cholesky(self.s - gain @ self.cross.mT)

    def guide(self, x, context=None, y=None):
        """The exact posterior of (c, z)."""
        loc, tril = self.given(x)
        with pyro.plate("data", len(x), dim=-1):
            c = pyro.sample("c", ClassDistribution(self.joint(x), None if y is None else known()))
            pyro.sample("z", dist.MultivariateNormal(pick(loc, c), scale_tril=tril[c]))

    def guide_of_z(self, x):
        """The exact posterior of z alone."""
        loc, tril = self.given(x)
        parts = dist.MultivariateNormal(loc, scale_tril=tril.expand(len(x), -1, -1, -1))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(logits=self.joint(x)), parts))


def guide_of(prior):
    return ClassGuide(3) if isinstance(prior, ClassPrior) else MixtureGuide(3, explicit=True)


def _normals(prior):
    parts = prior.mixture().component_distribution
    if isinstance(parts, RegressedNormal):
        return dist.MultivariateNormal(parts.loc, parts.covariance_matrix)
    return dist.MultivariateNormal(parts.mean, parts.variance.diag_embed())


LINEAR = [GaussianMixture(3, c, explicit=True) for c in COVARIANCES]


@each("prior", [*LINEAR, ClassPrior(3), GaussianMixture(3, labels=True), ClassPrior(3, labels=True)])
@torch.no_grad()
def test_with_the_exact_posterior_every_weight_is_the_evidence(prior):
    """Of x, or of x and its label; c and z drawn, and z alone where the model sums c out."""
    program = Linear(prior)
    x = torch.randn(4, 4)
    joint, label = program.joint(x), known() if prior.labels else None
    exact = joint.logsumexp(-1)
    if prior.labels:
        exact = torch.where(label.any(-1), (label * joint).sum(-1), exact)
    given = (x, None, LABELS) if prior.labels else (x,)
    log_w = run(program.vae.model, program.guide, *given, particles=30).terms().log_w
    assert (log_w - exact).abs().max() < 1e-9
    if not isinstance(prior, ClassPrior) and not prior.labels:
        vade = small_copy(program.vae)
        log_w = run(vade.model, program.guide_of_z, x, particles=30).terms().log_w
        assert (log_w - exact).abs().max() < 1e-9
        marginals = TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(vade.model, program.guide_of_z, x)
        assert marginals["c"].probs.shape == (4, 3)


def small_copy(vae):
    """The same p(x, z, c) under a guide that draws z alone."""
    given = vae.hyperparameters() | {"guide": pv.guides.DiagonalNormal()}
    twin = pv.VAE(**given)
    twin.prior.load_state_dict(vae.prior.state_dict())
    twin.generation.load_state_dict(vae.generation.state_dict())
    return twin


@pytest.mark.parametrize(
    ("prior", "guide"), [*SUMMED, (GaussianMixture(3, "full", explicit=True), None)], ids=repr
)
def test_evidence_is_the_sum_and_integral_over_c_and_z(prior, guide):
    vae = small_vae((3,), 1, prior=prior, guide=guide, likelihood=Normal(0.7))
    x, z = data()[:3], torch.linspace(-14, 14, 6001).unsqueeze(-1)
    logits = vae.prior.logits.log_softmax(0)
    if isinstance(prior, ClassPrior):
        both = torch.cat([z.expand(3, -1, 1), torch.eye(3)[:, None].expand(3, 6001, 3)], -1)
        log_pz = logits[:, None] + log_n(z[:, 0], 0.0, 1.0)
    else:
        both, parts = z.expand(3, -1, 1), vae.prior.mixture().component_distribution
        log_pz = logits[:, None] + parts.log_prob(z.unsqueeze(-2)).mT
    log_joint = log_pz.unsqueeze(-1) + vae.decode(both.unsqueeze(2)).log_prob(x)
    exact = torch.logsumexp(log_joint.flatten(0, 1), 0) + math.log(28 / 6000)
    found = pv.log_evidence(vae, x, particles=20_000, compile=False)
    assert (found.mc_stderr < 0.05).all()
    assert (np.abs(found.log_px - exact.detach().numpy()) < SIGMAS * found.mc_stderr).all()


# ---------------------------------------------------------------- gradients


class Line:
    """c ~ pi, z|c ~ N(m_c, e^s_c), x|z, c ~ N(w_c z, S), with parameters of their own for each row."""

    def __init__(self, rows):
        start = {
            "prior": torch.tensor([0.2, -0.5, 0.4]),
            "m": torch.tensor([[-1.0], [0.5], [1.5]]),
            "s": torch.tensor([[0.1], [-0.4], [0.3]]),
            "w": torch.tensor([[1.2], [0.7], [-0.6]]),
            "logits": torch.tensor([0.6, 0.1, -0.3]),
            "loc": torch.tensor([[0.9], [-0.3], [1.1]]),
            "raw_scale": torch.tensor([[0.2], [0.8], [-0.5]]),
        }
        self.leaf = {n: v.expand(rows, *v.shape).clone().requires_grad_() for n, v in start.items()}
        self.x = torch.full((rows, 1), OBSERVED)

    def model(self, x):
        own = self.leaf
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", ClassDistribution(own["prior"]))
            z = pyro.sample("z", dist.Normal(pick(own["m"], c), pick(own["s"], c).exp()).to_event(1))
            pyro.sample("x", dist.Normal(pick(own["w"], c) * z, S).to_event(1), obs=x)

    def guide(self, x):
        part = MixtureGuide(3, explicit=True)
        part.attach(1)
        with pyro.plate("data", len(x)):
            part.sites(*(self.leaf[name] for name in ("logits", "loc", "raw_scale")))

    def elbo(self):
        """By a sum over c and quadrature over z, and its gradient."""
        p = {n: leaf[0].detach().clone().requires_grad_() for n, leaf in self.leaf.items()}
        (e,), weight = nodes(1)
        scale = torch.nn.functional.softplus(p["raw_scale"]) + 1e-4
        z, q, prior = p["loc"] + scale * e, p["logits"].log_softmax(0), p["prior"].log_softmax(0)
        log_p = prior[:, None] + log_n(z, p["m"], p["s"].exp()) + log_n(torch.tensor(OBSERVED), p["w"] * z, S)
        log_w = log_p - q[:, None] - log_n(z, p["loc"], scale)
        total = (q.exp() * (weight * log_w).sum(-1)).sum()
        grads = torch.autograd.grad(total, list(p.values()))
        return total.detach(), dict(zip(p, grads, strict=True))


@pytest.mark.parametrize("objective", [ELBO(), StickingTheLanding(), ScoreFunction(4)], ids=repr)
def test_the_mean_gradient_with_a_class_is_that_of_the_elbo(objective):
    program = Line(ROWS)
    value, exact = program.elbo()
    summed = not isinstance(objective, ScoreFunction)
    particles = 3 if summed else objective.particles
    found, grads = ascended(program, objective, particles=particles, stratified=summed)
    agrees(found, value)
    for name, rows in grads.items():
        agrees(rows, exact[name].flatten())


# ---------------------------------------------------------------- responsibilities


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_responsibilities_are_pyros_marginals(covariance):
    vae = small(GaussianMixture(3, covariance, explicit=True))
    pyro.set_rng_seed(3)
    pyros = TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(vae.model, vae.guide, data())["c"]
    pyro.set_rng_seed(3)
    ours = vae.responsibilities(data(), particles=1)
    assert ours.shape == (1, 4, 3)
    torch.testing.assert_close(ours[0], pyros.probs)
    many = vae.responsibilities(data(), particles=7)
    assert many.shape == (7, 4, 3)
    torch.testing.assert_close(many.sum(-1), torch.ones(7, 4))


@pytest.mark.parametrize(("prior", "guide"), [*SUMMED, *LABELLED], ids=repr)
def test_responsibilities_of_a_guide_with_classes_are_its_own(prior, guide):
    vae = small(prior, guide)
    own = vae.recognition(data())["logits"].softmax(-1)
    torch.testing.assert_close(vae.responsibilities(data())[0], own)
    if prior.labels:
        found = vae.responsibilities(rows_of(vae))[0]
        torch.testing.assert_close(found, torch.where(known().any(-1, keepdim=True), known(), own))


def test_responsibilities_of_no_mixture_are_refused():
    raises_one_sentence(lambda: small(None).responsibilities(data()), "StandardNormal()", "no components")
