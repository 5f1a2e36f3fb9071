"""What the inputs and outputs of exported files are: as plain values, and as a README."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from pyrovae.exporting.functions import Function
from pyrovae.vae import VAE
from pyrovae.vae.saving import version

__all__ = ["about_function", "readme"]

AXES = {"x": ["B"], "z": ["B"], "context": ["B"], "noise": ["K", "B"], "log_w": ["K", "B"]}
MEANINGS = {
    "z": "latents",
    "context": "the context, as the VAE takes it (labels as one-hot rows)",
    "noise": "independent standard normal numbers",
    "log_w": "log p(x|z_k) + log p(z_k) - log q(z_k|x), nats",
    "log_px": "log of the mean weight, a lower bound on log p(x) on average, nats",
    "mean": "the mean",
    "stddev": "the standard deviation",
    "logits": "log-odds, or logarithms of probabilities up to a constant",
}
USED = """\
import numpy as np
import onnxruntime

score = onnxruntime.InferenceSession("score.onnx")
x = ...  # (B, {event}), {dtype}
noise = np.random.default_rng(0).standard_normal((100, len(x), {noise}), dtype="{real}")
log_w, log_px = score.run(None, {{"x": x, "noise": noise{context}}})
"""
USED_BY_TORCH = """\
import torch

score = torch.export.load("score.pt2").module()
x = ...  # (B, {event}), {dtype}
noise = torch.randn(100, len(x), {noise}, dtype=torch.{real})
log_w, log_px = score(x, noise{context})
"""


def about_function(name: str, function: Function, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """The inputs and outputs of a function in plain values, for the metadata of its file."""
    vae, outputs = function.vae, function.named(*inputs.values())
    of = {"encoder": "q(z|x)", "decoder": "p(x|z)"}.get(name, "")
    return {
        "pyrovae": version(),
        "function": name,
        "model": str(vae),
        "inputs": {key: _tensor(key, value, _of_x(vae)) for key, value in inputs.items()},
        "outputs": {key: _tensor(key, value, f"parameter of {of}", of) for key, value in outputs.items()},
        "columns": _columns(vae),
    }


def _tensor(name: str, value: Tensor, otherwise: str, of: str = "") -> dict[str, Any]:
    axes: list[Any] = AXES.get(name, ["B"])
    meaning = MEANINGS.get(name, otherwise)
    if name in ("mean", "stddev"):
        meaning = f"{meaning} of {of}"
    if name.startswith("head_"):
        meaning = f"output of the network for {of}, before any constraint"
    shape = [*axes, *value.shape[len(axes) :]]
    return {"shape": shape, "dtype": str(value.dtype).removeprefix("torch."), "meaning": meaning}


def _of_x(vae: VAE) -> str:
    """What x is, in words."""
    schema = vae.schema
    missing = "; NaN is a missing entry" if vae.likelihood.takes_missing else ""
    if schema is None:
        return f"observations, as the VAE was trained on{missing}"
    if schema.columns is not None:
        return f"columns in their units; words as codes 0, 1, ... in the order listed{missing}"
    words = schema.scaling
    if schema.binarize:
        words += f", binarised ({schema.binarize})"
    if schema.dequantize:
        words += ", dequantised"
    return f"observations; {words}{missing}"


def _columns(vae: VAE) -> list[dict[str, Any]] | None:
    columns = None if vae.schema is None else vae.schema.columns
    if columns is None:
        return None
    return [{"name": c.name, "kind": c.kind, "unit": c.unit, "words": c.levels} for c in columns]


def readme(vae: VAE, to: str, about: Mapping[str, Mapping[str, Any]], left_out: Mapping[str, str]) -> str:
    """The README of a folder of exported files."""
    ending = {"onnx": "onnx", "torch": "pt2"}[to]
    parts = [
        f"# A VAE as {'ONNX files' if to == 'onnx' else 'programs of torch.export'}",
        f"Written by PyroVAE {version()}. B is the number of rows and K the number of particles; both "
        "are free.",
        f"```text\n{vae}\n```",
    ]
    for name, one in about.items():
        parts += [f"## {name}.{ending}", _table(one)]
    parts += [f"{name} is left out, as {why}." for name, why in left_out.items()]
    columns = next(iter(about.values()))["columns"]
    if columns:
        rows = [
            (i, c["name"], c["kind"], c["unit"] or "", ", ".join(c["words"] or ()))
            for i, c in enumerate(columns)
        ]
        parts += ["## Columns of x", _markdown(("", "name", "kind", "unit", "words"), rows)]
    if "score" in about:
        parts += ["## log p(x)", _used(vae, to, about["score"])]
    return "\n\n".join(parts) + "\n"


def _table(one: Mapping[str, Any]) -> str:
    rows = [
        (kind, f"`{name}`", f"({', '.join(map(str, value['shape']))})", value["dtype"], value["meaning"])
        for kind, values in (("input", one["inputs"]), ("output", one["outputs"]))
        for name, value in values.items()
    ]
    return _markdown(("", "name", "shape", "type", "meaning"), rows)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown; a bar would end its cell."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _used(vae: VAE, to: str, about: Mapping[str, Any]) -> str:
    """How to call the function."""
    inputs = about["inputs"]
    has_context = vae.context_shape is not None
    context = "" if not has_context else ', "context": context' if to == "onnx" else ", context"
    code = (USED if to == "onnx" else USED_BY_TORCH).format(
        event=", ".join(map(str, vae.event_shape)),
        dtype=inputs["x"]["dtype"],
        noise=inputs["noise"]["shape"][2],
        real=inputs["noise"]["dtype"],
        context=context,
    )
    shared = "\n\nVariables that all rows share are at their centres." if vae.has_globals else ""
    return f"```python\n{code}```{shared}"
