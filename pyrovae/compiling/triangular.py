"""Triangular systems in a graph, rewritten as an operation that compiled code can call.

Compiled code cannot call `linalg_solve_triangular`, which the density of a MultivariateNormal and
its gradient use. It can call `triangular_solve`, which torch has deprecated. Both give the same
numbers.
"""

from __future__ import annotations

import functools
import warnings
from operator import getitem

import torch
from torch.fx import Node

__all__ = ["with_known_solves"]

_SOLVE = torch.ops.aten.linalg_solve_triangular.default


def with_known_solves(graph: torch.fx.Graph) -> None:
    """Rewrite the triangular systems of a graph on a CPU, if torch still has the old operation."""
    found = [node for node in graph.nodes if node.target is _SOLVE and node.meta["val"].device.type == "cpu"]
    if not (found and hasattr(torch.ops.aten, "triangular_solve")):
        return
    _warned()
    for node in found:
        with graph.inserting_before(node):
            node.replace_all_uses_with(_solution(graph, *node.args, **node.kwargs))
        graph.erase_node(node)


@functools.cache
def _warned() -> None:
    """Use up torch's deprecation warning, which it prints once per process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.triangular_solve(torch.ones(1, 1), torch.ones(1, 1))


def _solution(
    graph: torch.fx.Graph,
    matrix: Node,
    right: Node,
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> Node:
    """X with A X = B or, if not `left`, with X A = B, which is A' X' = B'."""
    aten = torch.ops.aten
    if not left:
        matrix, right = (graph.call_function(aten.mT.default, (part,)) for part in (matrix, right))
    options = (upper is left, False, unitriangular)
    pair = graph.call_function(aten.triangular_solve.default, (right, matrix, *options))
    found = graph.call_function(getitem, (pair, 0))
    return found if left else graph.call_function(aten.mT.default, (found,))
