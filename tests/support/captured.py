"""The captured step in tests: its graph run operation by operation, and two runs compared."""

import math
import os
from types import SimpleNamespace

import numpy as np
import pyro
import torch
from torch import nn

import pyrovae as pv
from pyrovae.compiling import Compiled, Graph
from tests.support.same_runs import untimed

QUIET = {"progress": False, "figures": False, "batch_size": 8, "epochs": 3}


def interpreted(monkeypatch):
    """In place of machine code the graph itself; counts the graphs and their calls, and may be `spoilt`."""
    made = SimpleNamespace(graphs=[], calls=0, spoilt=lambda given: None)

    def compiled(graph, inputs):
        made.graphs.append(graph)

        @torch.no_grad()
        def run(given):
            made.calls += 1
            outputs = list(graph.module(*given))
            made.spoilt(given)
            return outputs

        return Compiled(run, graph.lifted, 0.0)

    monkeypatch.setattr(Graph, "compiled", compiled)
    monkeypatch.setattr(Graph, "start", lambda graph, inputs: None)
    monkeypatch.setattr("pyrovae.training.steps.SLOWER", math.inf)
    return made


def cache_with_tools(folder, factory):
    """A cache without code, which shares what the compiler makes once, in half a minute, with other tests."""
    base = factory.getbasetemp()
    tools = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiler-tools"
    tools.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "tools").symlink_to(tools)
    return str(folder)


def willing(monkeypatch, seconds=0.0):
    """`auto` compiles where it would gain this number of seconds, in this process."""
    monkeypatch.setattr(Graph, "start", lambda graph, inputs: None)
    monkeypatch.setattr("pyrovae.compiling.when.TRACING_SECONDS", seconds)
    monkeypatch.setattr("pyrovae.compiling.compile_seconds", lambda: 0.0)


def learned(target):
    if isinstance(target, nn.Module):
        return {name: value.detach().clone() for name, value in target.state_dict().items()}
    return {name: value.detach().clone() for name, value in pyro.get_param_store()._params.items()}


def alike(make, data, objective=None, *, apart=2e-5, compiles=(False, True), **settings):
    """Two runs from the same first weights that differ in the kind of step alone: equal to rounding."""
    found = []
    for kind in compiles:
        run = pv.fit(make(), data, objective, compile=kind, **(QUIET | settings))
        found.append((run, learned(run.program)))
    (one, first), (two, second) = found
    torch.testing.assert_close(second, first, rtol=apart, atol=apart)
    a, b = untimed(one.history), untimed(two.history)
    assert a.keys() == b.keys()
    for column in a:
        np.testing.assert_allclose(b[column], a[column], rtol=10 * apart, atol=10 * apart, err_msg=column)
    assert one.best_epoch == two.best_epoch
    return two
