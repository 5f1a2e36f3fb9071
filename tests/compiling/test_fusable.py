"""Operations that are rewritten in traced functions: the same numbers."""

import pytest
import torch
from torch.func import grad, hessian, jacfwd, vmap
from torch.nn.functional import softplus

from pyrovae.compiling import traced
from pyrovae.compiling.fusable import Fusable


def test_softplus_and_its_derivatives_are_those_of_the_formula():
    raw = torch.cat([torch.linspace(-90, 90, 4001), torch.tensor([0.0, -0.0])]).requires_grad_()
    with Fusable():
        fast = torch.nn.functional.softplus(raw, threshold=40.0)
    (slope,) = torch.autograd.grad(fast.sum(), raw, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), raw)
    exact = raw.detach().double().requires_grad_()
    log = torch.nn.functional.softplus(exact, threshold=800.0)
    (of_log,) = torch.autograd.grad(log.sum(), exact, create_graph=True)
    (of_slope,) = torch.autograd.grad(of_log.sum(), exact)
    assert torch.allclose(fast.double(), log, rtol=3e-7, atol=1e-38)
    assert torch.allclose(slope.double(), of_log, rtol=3e-7, atol=1e-38)
    assert torch.allclose(bend.double(), of_slope, rtol=3e-7, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")  # torch's own forward derivatives
@pytest.mark.parametrize(
    "function",
    [
        lambda x: softplus(input=x, threshold=40.0),
        vmap(lambda row: softplus(row) * row),
        grad(lambda x: softplus(x).square().sum()),
        jacfwd(softplus),
        hessian(lambda x: softplus(x).prod()),
    ],
    ids=["by name", "vmap", "grad", "jacfwd", "hessian"],
)
def test_softplus_is_traced_in_any_call_and_transform(function):
    raw = torch.linspace(-3, 3, 5)
    graph = traced(lambda x: (function(x),), [raw])
    torch.testing.assert_close(graph.module(raw)[0], function(raw), rtol=2e-6, atol=1e-6)
