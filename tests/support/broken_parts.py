"""Parts with one planted error each, as an author might make it, and the words of the sentence about it."""

import math
import random

import numpy as np
import pyro.distributions as dist
import torch
from torch import nn

from pyrovae.guides import DiagonalNormal, Guide
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Network
from pyrovae.numerics import positive
from pyrovae.objectives import ELBO, IWAE, Objective
from pyrovae.priors import Prior


class Logistic(Prior):
    """The prior of docs/adding_a_part.md, which is right."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def attach(self, latent_dim, context_dim=0):
        super().attach(latent_dim, context_dim)
        self.check_number("scale", above=0)
        self.log_scale = nn.Parameter(torch.full((latent_dim,), self.scale).log())

    def forward(self, context=None):
        return dist.Logistic(0.0, self.log_scale.exp()).to_event(1)


class Off(dist.Normal):
    """A normal distribution whose log_prob is too large by a constant."""

    def log_prob(self, value):
        return super().log_prob(value) + 0.05


class WrongConstant(Logistic):
    def forward(self, context=None):
        return Off(torch.zeros_like(self.log_scale), self.log_scale.exp()).to_event(1)


class Wide(dist.Normal):
    """A normal distribution whose samples are too wide."""

    def sample(self, sample_shape=()):
        return 1.1 * super().sample(sample_shape)

    def rsample(self, sample_shape=()):
        return 1.1 * super().rsample(sample_shape)


class WideSamples(Logistic):
    def forward(self, context=None):
        return Wide(torch.zeros_like(self.log_scale), self.log_scale.exp()).to_event(1)


class IgnoresContext(Logistic):
    def attach(self, latent_dim, context_dim=0):
        super().attach(latent_dim, context_dim)
        self.shift = nn.Linear(context_dim, latent_dim) if context_dim else None


class NotStored(Prior):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.width = scale

    def forward(self, context=None):
        return dist.Laplace(torch.zeros(self.latent_dim), self.width).to_event(1)


class Changed(Logistic):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = 1.0


class ChangedInAttach(Logistic):
    def attach(self, latent_dim, context_dim=0):
        self.scale = self.scale + 1
        super().attach(latent_dim, context_dim)


class Forgotten(Logistic):
    def attach(self, latent_dim, context_dim=0):
        super().attach(latent_dim, context_dim)
        self.loc = nn.Parameter(torch.zeros(latent_dim))


class DetachedScale(Logistic):
    def forward(self, context=None):
        return dist.Logistic(0.0, self.log_scale.detach().exp()).to_event(1)


class SinglePrecision(Prior):
    def attach(self, latent_dim, context_dim=0):
        super().attach(latent_dim, context_dim)
        self.zero = torch.zeros(latent_dim)

    def forward(self, context=None):
        return dist.Laplace(self.zero, 1.0).to_event(1)


class DrawsWithNumpy(Logistic):
    def forward(self, context=None):
        return dist.Logistic(1e-3 * np.random.rand(), self.log_scale.exp()).to_event(1)


class DrawsWithPython(Logistic):
    def forward(self, context=None):
        return dist.Logistic(1e-3 * random.random(), self.log_scale.exp()).to_event(1)


class NoEvent(Logistic):
    def forward(self, context=None):
        return dist.Logistic(torch.zeros_like(self.log_scale), self.log_scale.exp())


class Raises(Logistic):
    def forward(self, context=None):
        raise RuntimeError("sizes do not match")


class HalfContext(Prior):
    """p(z given c) uses the mean of the contexts of all rows."""

    def attach(self, latent_dim, context_dim=0):
        super().attach(latent_dim, context_dim)
        self.shift = nn.Linear(context_dim, latent_dim) if context_dim else None
        self.loc = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, context=None):
        loc = self.loc
        if self.shift is not None:
            loc = loc + self.shift(context - context.mean(0) if context.dim() > 1 else context)
        return dist.Normal(loc, 1.0).to_event(1)


class NotNormalised(dist.Bernoulli):
    def log_prob(self, value):
        return self.logits * value


class DiscreteOff(Likelihood):
    elementwise = ("logits",)

    def forward(self, logits):
        return self.over_event(NotNormalised(logits=logits))


class WrongMean(dist.Gamma):
    @property
    def mean(self):
        return self.concentration


class MeanOff(Likelihood):
    elementwise = ("raw_shape", "raw_rate")

    def forward(self, raw_shape, raw_rate):
        return self.over_event(WrongMean(positive(raw_shape) + 1, positive(raw_rate) + 0.5))


class WrongVariance(dist.Gamma):
    @property
    def variance(self):
        return self.concentration


class VarianceOff(Likelihood):
    elementwise = ("raw_shape", "raw_rate")

    def forward(self, raw_shape, raw_rate):
        return self.over_event(WrongVariance(positive(raw_shape) + 1, positive(raw_rate) + 0.5))


class CouplesRows(Likelihood):
    """The scale is that of the batch."""

    elementwise = ("loc",)

    def forward(self, loc):
        return self.over_event(dist.Normal(loc, loc.std() + 0.1))


class Overflows(Likelihood):
    elementwise = ("loc", "log_scale")

    def forward(self, loc, log_scale):
        return self.over_event(dist.Normal(loc, (4 * log_scale).exp()))


class DetachedGuide(DiagonalNormal):
    def forward(self, loc, raw_scale):
        return super().forward(loc.detach(), raw_scale)


class WrongPath(dist.Normal):
    """Samples whose gradient in the location is only half of it."""

    def rsample(self, sample_shape=()):
        return super().rsample(sample_shape) - 0.5 * (self.loc - self.loc.detach())


class PathOff(Guide):
    @property
    def param_shapes(self):
        return {"loc": (self.latent_dim,), "raw_scale": (self.latent_dim,)}

    def forward(self, loc, raw_scale):
        return WrongPath(loc, positive(raw_scale)).to_event(1)


class MixesTheBatch(Network):
    """Batch normalisation by hand, in both modes."""

    def attach(self, input_shape, output_shape=None, context_dim=0):
        self.features = 4
        self.layer = nn.Linear(math.prod(input_shape) + context_dim, 4)

    def forward(self, value, context=None):
        rows = self.layer(
            value if context is None else torch.cat([value, context.expand(*value.shape[:-1], -1)], -1)
        )
        return rows - rows.mean(0)


class BatchNormalised(Network):
    """Batch normalisation, which mixes rows in training only."""

    def attach(self, input_shape, output_shape=None, context_dim=0):
        self.features = 4
        self.size = math.prod(input_shape)
        self.layer = nn.Linear(self.size, 4)
        self.norm = nn.BatchNorm1d(4)
        if context_dim:
            from pyrovae import InputError

            raise InputError("it takes no context")

    def forward(self, value, context=None):
        rows = self.layer(value).reshape(-1, 4)
        return self.norm(rows).reshape(*value.shape[:-1], 4)


class HalfBlind(MixesTheBatch):
    def forward(self, value, context=None):
        rows = value.flatten(-1) * (torch.arange(value.shape[-1]) > 0)
        return self.layer(rows if context is None else torch.cat([rows, context], -1))


class AboveTheEvidence(Objective):
    def __init__(self, particles: int = 5) -> None:
        super().__init__(particles)

    def bound(self, terms):
        return terms.log_w.max(0).values


class Shifted(ELBO):
    def bound(self, terms):
        return super().bound(terms) + 0.01


class FirstParticle(IWAE):
    def maximised(self, terms):
        return terms.log_w[0]


class CoupledObjective(ELBO):
    def maximised(self, terms):
        return super().maximised(terms) - terms.log_px_z.var()


class NoGradient(ELBO):
    def maximised(self, terms):
        return super().maximised(terms).detach()


BROKEN = [
    (WrongConstant(), "the_density_integrates_to_one", ("integrates to 1.051 over the line", "constant")),
    (WideSamples(), "samples_follow_the_density", ("do not follow its log_prob", "p = ")),
    (IgnoresContext(), "a_context_is_used_row_by_row", ("ignores its context", "in forward")),
    (HalfContext(), "a_context_is_used_row_by_row", ("for a row alone differs",)),
    (NotStored(), "the_declaration_can_be_written_and_read", ("'scale'", "self.scale = scale")),
    (Changed(), "each_hyperparameter_is_stored", ("scale=3.0", "scale = 1.0", "`self.scale = scale`")),
    (ChangedInAttach(), "attaching_declares_nothing", ("attach turns", "scale=2.0")),
    (Forgotten(), "gradients_reach_every_parameter", ("no gradient reaches loc",)),
    (DetachedScale(), "gradients_reach_every_parameter", ("no gradient at all", "detach")),
    (SinglePrecision(), "single_and_double_precision_agree", ("torch.float32", "buffers")),
    (DrawsWithNumpy(), "nothing_global_changes", ("numpy's random state", "torch")),
    (DrawsWithPython(), "nothing_global_changes", ("Python's random state", "torch")),
    (NoEvent(), "the_distribution_is_over_latents", ("batch (5,) and event ()", "to_event(1)")),
    (Raises(), "the_distribution_is_over_latents", ("raises RuntimeError", "sizes do not match")),
    (DiscreteOff(), "the_density_integrates_to_one", ("probabilities of", "sum to", "not to 1")),
    (MeanOff(), "the_mean_is_that_of_samples", ("have mean", "`mean` says")),
    (VarianceOff(), "the_mean_is_that_of_samples", ("the variance of the density", "`variance` says")),
    (CouplesRows(), "rows_stand_alone", ("for a row alone differs", "of_batch")),
    (CouplesRows(), "leading_dimensions_pass_through", ("for one row differs",)),
    (Overflows(), "gradients_are_finite_far_out", ("not finite", "floor")),
    (DetachedGuide(), "gradients_reach_every_parameter", ("no gradient reaches loc",)),
    (PathOff(), "samples_have_the_gradient_of_the_density", ("mean gradient", "in loc", "rsample")),
    (MixesTheBatch(), "rows_are_kept_apart", ("for a row alone", "LayerNorm")),
    (BatchNormalised(), "rows_are_kept_apart_in_training", ("in training", "LayerNorm")),
    (HalfBlind(), "all_of_the_input_is_used", ("4 of the 5 entries of its input",)),
    (AboveTheEvidence(), "the_bound_stays_below_log_px", ("nats above log p(x)", "maximised")),
    (Shifted(), "with_the_exact_posterior_the_bound_is_log_px", ("0.01 nats from log p(x)",)),
    (FirstParticle(), "the_order_of_the_particles_does_not_matter", ("order of the particles",)),
    (CoupledObjective(), "rows_are_kept_apart", ("for a row alone", "of_batch = True")),
    (NoGradient(), "gradients_reach_model_and_guide", ("detach",)),
]
