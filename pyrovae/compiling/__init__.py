"""Compilation of functions of tensors.

    trace     run the function on tensors without data, and record its operations in a graph
    lift      make other tensors that it uses (parameters, buffers, closures) inputs as well
    compile   compile the graph to machine code, which is stored on disk under a hash of the graph
    start     compile it in another process, while this one goes on
    when      decide whether compiling pays, for steps of a run and pieces of an evaluation

The graph has the arithmetic only, without Pyro's handlers, distributions and modules. It draws
random numbers from torch's generator in the order of the function, so both give the same numbers
from the same random state.

A function is refused, with the reason, if it branches on a tensor's value in Python, takes a number
out of a tensor (`.item()`), changes Python state or prints.
"""

from pyrovae.compiling.background import Build
from pyrovae.compiling.graph import Compiled, Graph, Making
from pyrovae.compiling.native import compile_seconds
from pyrovae.compiling.quiet import random_state, set_random_state
from pyrovae.compiling.storage import cache_folder
from pyrovae.compiling.tracing import traced
from pyrovae.compiling.when import Compile, When, check_option

__all__ = [
    "Build",
    "Compile",
    "Compiled",
    "Graph",
    "Making",
    "When",
    "cache_folder",
    "check_option",
    "compile_seconds",
    "random_state",
    "set_random_state",
    "traced",
]
