"""A program that gives rows above 99 no probability, without a sign in its support."""

import pyro
import pyro.distributions as dist


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        with pyro.poutine.mask(mask=x > 99):
            pyro.sample("u", dist.Uniform(5.0, 6.0, validate_args=False), obs=x.new_zeros(len(x)))


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2, 1.0))
