"""A graph as plain values, to send it to another process.

The pickle of a `GraphModule` contains its Python code, which is traced again when it is read. An
operation without inputs, such as the allocation of a tensor for random numbers, would then become a
constant.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_map

__all__ = ["Line", "received", "sent"]


class _Result:
    """The result of an earlier line."""

    def __init__(self, line: int) -> None:
        self.line = line


class Line(NamedTuple):
    """An operation of a graph; an operation of torch is given by its name."""

    kind: str
    target: Any
    args: Any
    options: Any


def sent(module: GraphModule) -> list[Line]:
    """The operations of a graph, in order."""
    numbers = {node: number for number, node in enumerate(module.graph.nodes)}

    def as_result(node: Node) -> Any:  # noqa: ANN401
        return _Result(numbers[node])

    return [
        Line(node.op, _name(node.target), map_arg(node.args, as_result), map_arg(node.kwargs, as_result))
        for node in numbers
    ]


def received(lines: list[Line]) -> GraphModule:
    """Rebuild the graph from the result of `sent`."""
    graph, nodes = Graph(), list[Node]()

    def as_node(value: Any) -> Any:  # noqa: ANN401
        return nodes[value.line] if isinstance(value, _Result) else value

    for kind, target, args, options in lines:
        target = _operation(target) if kind == "call_function" else target
        nodes.append(graph.create_node(kind, target, tree_map(as_node, args), tree_map(as_node, options)))
    return GraphModule(torch.nn.Module(), graph)


def _name(target: Any) -> Any:  # noqa: ANN401
    return str(target) if isinstance(target, torch._ops.OpOverload) else target


def _operation(target: Any) -> Any:  # noqa: ANN401
    return attrgetter(target)(torch.ops) if isinstance(target, str) else target
