"""Why a function cannot be traced: checks during tracing, and the reason in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrovae.compiling.quiet import first_line

__all__ = ["NoNumbers", "python_state", "reason"]


class _NumberTaken(Exception):
    """Raised when a number is taken out of a tensor: it would be a constant of the graph."""


class NoNumbers(TorchFunctionMode):
    """Refuses to take numbers out of tensors, even out of parameters, whose values are known."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if func in _TAKES_NUMBERS:
            raise _NumberTaken("it takes a number out of a tensor (a branch on a value, .item())")
        return func(*args, **(kwargs or {}))


_TAKES_NUMBERS = {
    getattr(Tensor, name)
    for name in ("item", "tolist", "numpy", "__array__", "__bool__", "__float__", "__int__", "__index__")
} | {torch.equal, torch.allclose, torch.is_nonzero, Tensor.equal, Tensor.allclose, Tensor.is_nonzero}


def reason(error: BaseException) -> str:
    """Why a function cannot be traced, and where in the user's code."""
    why = str(error) if isinstance(error, _NumberTaken) else first_line(error)
    return f"{why}{_place(error)}"


def _place(error: BaseException) -> str:
    """The innermost frame outside torch and Pyro, with the type of its module."""
    place, trace = "", error.__traceback__
    libraries = ("torch", "pyro", "contextlib", "functools")
    while trace is not None:
        frame = trace.tb_frame
        name = str(frame.f_globals.get("__name__", ""))
        if name.split(".")[0] not in libraries and not name.startswith("pyrovae.compiling"):
            owner = frame.f_locals.get("self")
            whose = f"{type(owner).__name__}, " if isinstance(owner, torch.nn.Module) else ""
            place = f", in {whose}{Path(frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def python_state(watched: Sequence[Any]) -> dict[str, Any]:
    """The numbers, words and sizes of containers that modules and functions refer to."""
    state: dict[str, Any] = {}
    for thing in watched:
        if isinstance(thing, torch.nn.Module):
            for name, module in thing.named_modules():
                owner = f"{type(module).__name__}{f' ({name})' if name else ''}"
                _note(state, owner, vars(module) | _methods_surroundings(type(module)))
        elif callable(thing):
            _note(state, getattr(thing, "__name__", repr(thing)), _surroundings(thing))
    return state


def _methods_surroundings(kind: type) -> dict[str, Any]:
    names: dict[str, Any] = {}
    if not kind.__module__.startswith("torch."):
        for method in vars(kind).values():
            names |= _surroundings(method) if callable(method) else {}
    return names


def _surroundings(function: Any) -> dict[str, Any]:  # noqa: ANN401
    """The globals and closure variables that a function refers to."""
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return vars(function) if hasattr(function, "__dict__") else {}
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=False))
    near = {name: _content(cell) for name, cell in cells.items()}
    return {n: function.__globals__[n] for n in code.co_names if n in function.__globals__} | near


def _content(cell: Any) -> Any:  # noqa: ANN401
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return None


def _note(state: dict[str, Any], owner: str, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if name.startswith("_") or name == "training":
            continue
        if isinstance(value, (bool, int, float, str)):
            state[f"{owner}.{name}"] = value
        elif isinstance(value, (list, dict, set, tuple)):
            state[f"{owner}.{name}"] = (
                len(value),
                [v for v in _plain(value) if isinstance(v, (int, float, str))],
            )


def _plain(value: Any) -> list[Any]:  # noqa: ANN401
    return list(value.values()) if isinstance(value, dict) else list(value)
