"""Triangular systems in traced functions: the same numbers, by an operation that compiled code can call."""

import itertools
import warnings

import pytest
import torch

import pyrovae as pv
from pyrovae.compiling import traced
from tests.support.captured import alike, interpreted

YES_AND_NO = (False, True)


def system(size, *, left):
    rng = torch.Generator().manual_seed(size)
    matrix = torch.randn(4, 1, size, size, dtype=torch.float64, generator=rng) / size + 2 * torch.eye(size)
    right = torch.randn(3, size, 2, dtype=torch.float64, generator=rng)
    return matrix, right if left else right.mT.contiguous()


@pytest.mark.parametrize(("upper", "left", "unit"), [*itertools.product(YES_AND_NO, repeat=3)])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_traced_solution_is_that_of_torch(size, upper, left, unit):
    def solve(matrix, right):
        options = {"upper": upper, "left": left, "unitriangular": unit}
        return (torch.linalg.solve_triangular(matrix, right, **options),)

    given = system(size, left=left)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = traced(solve, given).module
        (found,) = graph(*given)
    assert not any("linalg_solve" in str(node.target) for node in graph.graph.nodes)
    torch.testing.assert_close(found, *solve(*given))


def test_steps_with_a_full_covariance_are_captured_and_equal_the_eager_ones(monkeypatch):
    made = interpreted(monkeypatch)
    data = pv.datasets.load(torch.bernoulli(torch.full((80, 6), 0.3)), validation=8, test=8)

    def vae():
        torch.manual_seed(0)
        return pv.VAE(6, 3, guide=pv.guides.FullRankNormal())

    alike(vae, data)
    assert made.calls
    assert any("triangular_solve" in str(node.target) for node in made.graphs[0].module.graph.nodes)
