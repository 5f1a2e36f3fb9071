"""Graphs that are sent to another process: the same operations on the same inputs."""

import pickle

import torch

from pyrovae.compiling import traced
from pyrovae.compiling.sending import received, sent


def step(weight, rows, number):
    noise = torch.empty(3, 4).normal_()  # an operation without inputs
    batch = rows.index_select(0, number)[:, 1:3]
    both = torch.cat([batch @ weight.mT + noise, torch.randn_like(noise)], -1)
    weight.sub_(0.1 * both.sum())
    top, places = both.to(torch.float64).topk(2, dim=-1)
    return both, top, places.float().clamp(max=1.5)


def inputs():
    rng = torch.Generator().manual_seed(0)
    weight, rows = torch.randn(4, 2, generator=rng), torch.randn(5, 4, generator=rng)
    return [weight, rows, torch.tensor([4, 0, 2])]


def test_a_graph_that_was_sent_is_the_graph():
    module = traced(step, inputs()).module
    other = received(pickle.loads(pickle.dumps(sent(module))))
    assert [node.target for node in other.graph.nodes] == [node.target for node in module.graph.nodes]
    ends = []
    for one in (module, other):
        given = inputs()
        torch.manual_seed(3)
        ends.append([*one(*given), *given, torch.get_rng_state()])
    for a, b in zip(*ends, strict=True):
        assert torch.equal(a, b)
