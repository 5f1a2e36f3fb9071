"""Every likelihood with more hyperparameters than the grid tries."""

from pyrovae import likelihoods
from tests.support.parts import LIKELIHOODS as TABLE

LIKELIHOODS = [
    *TABLE,
    likelihoods.Normal("learned"),
    likelihoods.Normal("predicted"),
    likelihoods.Normal("optimal"),
    likelihoods.Laplace("learned"),
    likelihoods.Laplace("predicted"),
    likelihoods.StudentT(df=3.0, scale="predicted"),
    likelihoods.StudentT(scale=0.2),
    likelihoods.LogNormal(0.3),
    likelihoods.LogNormal("predicted"),
    likelihoods.Categorical(17),
    likelihoods.Categorical(3, grey=False),
    likelihoods.DiscretizedLogistic(),
    likelihoods.DiscretizedLogistic(levels=2, components=3),
    likelihoods.NegativeBinomial("predicted"),
    likelihoods.ZeroInflatedNegativeBinomial("predicted"),
    likelihoods.Multinomial(total=3),
    likelihoods.Normal("bayesian"),
    likelihoods.StudentT(df=3.0, scale="bayesian"),
    likelihoods.LogNormal("bayesian"),
]
