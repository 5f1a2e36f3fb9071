"""Densities at the borders of their parameters agree with mpmath.

This is a short version of `benchmarks/borders.py`, whose full table takes about a minute.
"""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("mpmath")
FILE = Path(__file__).parents[2] / "benchmarks/borders.py"
spec = importlib.util.spec_from_file_location("borders", FILE)
borders = sys.modules["borders"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(borders)
CASES = [case for case in borders.cases() if "drawn" not in case.name]


def fewer(items, most):
    """At most this number of items, from all of them, with the first and the last."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_density_and_gradient_at_the_borders(case, dtype):
    values = lambda **parameters: fewer(case.values_at(parameters), 4)  # noqa: E731
    few = replace(case, parameters=fewer(case.parameters, 5), values=values)
    result = borders.check(few, dtype, draws=False)
    limit = case.slack * borders.LIMITS[dtype]
    assert result.value.deviation < limit, result.value.place
    assert result.gradient.deviation < limit, result.gradient.place


FOUND = {  # in float32: what was wrong, and by how much
    "ContinuousBernoulli": ({"logits": [30]}, [1]),  # the density by 4 %
    "Beta": ({"logits": [-12], "raw_concentration": [1e5]}, [1 - 2**-24]),  # the gradient by 0.5 %
    "DiscretizedLogistic(256)": ({"loc": [[131 / 255]], "raw_scale": [[-100]]}, [130 / 255]),  # 3e-4 nats
    "ZeroInflatedNegativeBinomial": (
        {"raw_mean": [1e5], "raw_dispersion": [5e3], "gate_logits": [-700]},
        [0],
    ),  # 2e-5 nats
    "Multinomial": ({"logits": [0.3, -1, 2]}, [1.4e6, 4e5, 7.6e6]),  # the gradient by 2e-5
    "prior StudentT(df=1e+07)": ({"loc": [0], "raw_scale": [0]}, [0.5]),  # 1.3 nats
    "guide ProjectedNormal, 3 latents": ({"loc": [1000, 0, 0]}, [-1, 0, 0]),  # the gradient by 1 %
}


@pytest.mark.parametrize("name", FOUND)
def test_what_the_table_found(name):
    parameters, value = FOUND[name]
    case = next(case for case in CASES if case.name == name)
    result = borders.check(replace(case, parameters=[parameters], values=[value]), torch.float32, draws=False)
    assert result.value.deviation < case.slack * 2e-6, result.value.place
    assert result.gradient.deviation < case.slack * 2e-6, result.gradient.place


def test_the_table_tries_every_likelihood_and_prior_and_guide():
    """Except those with networks, which are normal distributions given the networks' outputs."""
    import pyrovae as pv

    networks = {"Flow", "Autoregressive", "Hierarchical", "Conditional", "VampPrior", "Classes"}
    networks |= {"Mechanism", "SelfMasking"}  # of what is missing, not of x
    for kind, word in ((pv.likelihoods, ""), (pv.priors, "prior "), (pv.guides, "guide ")):
        names = set(kind.__all__) - {"Likelihood", "Prior", "Guide"} - networks
        tried = {case.name.removeprefix(word).split("(")[0].split(",")[0] for case in borders.cases()}
        assert names <= tried, names - tried
