"""Functions of a VAE as programs of torch (`torch.export`) or ONNX, with any number of rows."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pyrovae.compiling.quiet import validation_kept
from pyrovae.errors import InputError, Uncapturable
from pyrovae.exporting.decompositions import decompositions
from pyrovae.exporting.functions import Function
from pyrovae.extras import require
from pyrovae.threads import alone

__all__ = ["ENDINGS", "as_bytes", "runner_of", "torch_program"]

ENDINGS = {"onnx": "onnx", "torch": "pt2"}
Run = Callable[[Sequence[Tensor]], list[Tensor]]


def torch_program(function: Function, inputs: Sequence[Tensor]) -> torch.export.ExportedProgram:
    """A function as a program of torch, with a free number of rows B and of particles K.

    Arguments:
        function: the function.
        inputs: an example of its inputs.

    Raises:
        Uncapturable: if it cannot be traced for all sizes.
    """
    rows, particles = torch.export.Dim("B"), torch.export.Dim("K")
    names = (*function.inputs, "context")[: len(inputs)]
    shapes = tuple({0: particles, 1: rows} if name == "noise" else {0: rows} for name in names)
    try:
        # torch's distributions switch gradients on, which would become a part of the program
        with alone, _quiet(), validation_kept(), torch.enable_grad():
            torch.distributions.Distribution.set_default_validate_args(False)
            program = torch.export.export(function, tuple(inputs), dynamic_shapes=(shapes,), strict=False)
            return _without_traces(program)
    except Uncapturable:
        raise
    except Exception as error:
        raise Uncapturable(_first(error)) from error


def as_bytes(
    kind: str,
    program: torch.export.ExportedProgram,
    names: tuple[list[str], list[str]],
    about: Mapping[str, Any],
) -> bytes:
    """The file of a program.

    Arguments:
        kind: "onnx" or "torch".
        program: the program.
        names: the names of its inputs and outputs.
        about: what they mean, in plain values.

    Raises:
        Uncapturable: if ONNX lacks an operation.
    """
    words = json.dumps(about)
    if kind == "torch":
        file = io.BytesIO()
        with _quiet():
            torch.export.save(program, file, extra_files={"pyrovae.json": words})
        return file.getvalue()
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, "onnx", "export to ONNX")
    try:
        with alone, _quiet(), torch.no_grad():
            options: dict[str, Any] = {"input_names": names[0], "output_names": names[1], "verbose": False}
            plain = _without_traces(program.run_decompositions(decompositions()))
            converted: Any = torch.onnx.export(plain, dynamo=True, external_data=False, **options)
            converted.model.metadata_props["pyrovae"] = words
            return converted.model_proto.SerializeToString()
    except Exception as error:
        raise Uncapturable(_first(error)) from error


def runner_of(kind: str, data: bytes) -> Run:
    """A function that runs the program in a file: torch's own, or onnxruntime.

    Raises:
        Uncapturable: if the file cannot be run.
    """
    if kind == "torch":
        module = torch.export.load(io.BytesIO(data)).module()
        return lambda inputs: list(module(*inputs))
    runtime = require("onnxruntime", "onnx", "export to ONNX")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Uncapturable(_first(error)) from error
    names = [one.name for one in session.get_inputs()]

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        arrays = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, arrays)]

    return run


def _without_traces(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Leave out the lines of code of each operation, whose files are named by absolute paths."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the warnings and log messages of the exporters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first(error: BaseException) -> str:
    """The innermost cause of an error in one line."""
    while isinstance(error.__cause__, Exception) and not isinstance(error, InputError):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160].rstrip('.')}" if lines else type(error).__name__
