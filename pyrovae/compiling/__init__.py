r"""Compiled code: a function of tensors, run once in Python and then as machine code.

    trace     run the function on tensors without data; every operation it does becomes a node
    lift      whatever else it touched (parameters, buffers, closed-over tensors) becomes an input too
    compile   to machine code, kept on disk under a hash of the graph, and loaded from there next time
    when      whether that pays, for the steps of a run and the pieces of an evaluation alike

Pyro's handlers, distributions and networks are all gone from the graph: what is left is the arithmetic.
Random numbers are drawn inside it from torch's own generator, in the order in which the function draws
them, so a graph and its function give the same numbers from the same random state.

What a graph cannot hold is refused with the reason: a Python branch on a tensor's value, a number taken out
of a tensor (`.item()`), a change of Python state, output on the terminal.
"""

from pyrovae.compiling.graph import Compiled, Graph
from pyrovae.compiling.native import cache_folder, compile_seconds
from pyrovae.compiling.quiet import random_state, set_random_state
from pyrovae.compiling.tracing import traced
from pyrovae.compiling.when import Compile, When, check_option

__all__ = [
    "Compile",
    "Compiled",
    "Graph",
    "When",
    "cache_folder",
    "check_option",
    "compile_seconds",
    "random_state",
    "set_random_state",
    "traced",
]
