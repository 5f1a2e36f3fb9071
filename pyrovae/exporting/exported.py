"""`export`: encoder, decoder and log p(x) of a VAE as files that other programs run."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

from pyrovae.checks import one_of, path_of, words_of
from pyrovae.display import Displayed
from pyrovae.errors import InputError, Uncapturable, visible
from pyrovae.exporting.describing import about_function, readme
from pyrovae.exporting.functions import FUNCTIONS, Function, noise_size
from pyrovae.exporting.models import vae_of
from pyrovae.exporting.programs import ENDINGS, as_bytes, runner_of, torch_program
from pyrovae.files import reason_of, write_whole
from pyrovae.seeds import random_kept
from pyrovae.vae import VAE

__all__ = ["TOLERANCE", "Exported", "export"]

Kind = Literal["onnx", "torch"]
# The largest difference from the VAE, as a share of the largest value of an output (at least 1).
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}
SIZES = ((7, 5), (1, 1), (3, 2))  # rows and particles with which files are checked; the first is traced


@dataclass(frozen=True, repr=False)
class Exported(Displayed):
    """Files of a VAE for other programs.

    Attributes:
        folder: where they are.
        files: the files by the name of the function, such as "encoder".
        errors: the largest difference from the VAE, as a share of the largest value of an output.
        left_out: the functions that cannot be exported, with the reason.
    """

    folder: Path
    files: dict[str, Path]
    errors: dict[str, float]
    left_out: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"written: {visible(path)}, which differs from the VAE by at most {self.errors[name]:.0e} of the "
            "largest value"
            for name, path in self.files.items()
        ]
        lines += [f"written: {visible(self.folder / 'README.md')}, with the inputs and outputs"]
        return "\n".join(lines + [f"left out: {name}, as {why}" for name, why in self.left_out.items()])


def export(
    vae: VAE | str | os.PathLike[str],
    to: Kind = "onnx",
    *,
    out: str | os.PathLike[str],
    functions: Sequence[str] = tuple(FUNCTIONS),
    trust: str | Sequence[str] | None = None,
) -> Exported:
    r"""Write encoder, decoder and log p(x) of a VAE to files for other programs.

    encoder    x (B, \*event) -> mean and parameters of q(z|x)
    decoder    z (B, D) -> mean and parameters of p(x|z)
    score      x and standard normal noise (K, B, N) -> log_w (K, B) and log_px (B,), the bound L_K

    A conditional VAE has the further input `context`. x is in the units of the data, and NaN is a
    missing entry. The number of rows B and of particles K is free. README.md in the folder lists
    all inputs and outputs, and so do the metadata of the files. Every file is run and compared with
    the VAE before it is kept. Variables that all rows share are at their centres.

    Arguments:
        vae: a VAE, a run folder or a model file.
        to: "onnx" (extra `onnx`), checked in onnxruntime; or "torch", programs of `torch.export`.
        out: the folder to write.
        functions: those to export, "encoder", "decoder" and "score".
        trust: trusted modules outside PyroVAE that the run may name; see `load`.

    Raises:
        InputError: if no function can be exported, if a file differs from the VAE by more than
            rounding, or if the folder cannot be written.
    """
    to, folder = one_of("to", to, ("onnx", "torch")), path_of("out", out)
    functions = [one_of("functions", name, tuple(FUNCTIONS)) for name in words_of("functions", functions)]
    vae = copy.deepcopy(vae_of(vae, trust))
    vae = vae.cpu().eval().requires_grad_(False)
    data, about, errors, left_out = {}, {}, {}, {}
    with random_kept(), torch.no_grad():
        torch.manual_seed(0)
        for name in functions:
            try:
                data[name], about[name], errors[name] = _file(name, FUNCTIONS[name](vae), to)
            except Uncapturable as error:
                left_out[name] = str(error)
    if not data:
        raise InputError(
            f"no part of this VAE can be exported to {to}: {left_out[functions[0]]}; use pv.load"
        )
    files = {name: folder / f"{name}.{ENDINGS[to]}" for name in data}
    _check_others(folder, to, data)
    texts = {folder / "README.md": readme(vae, to, about, left_out).encode()}
    _write(folder, {files[name]: data[name] for name in data} | texts)
    return Exported(folder, files, errors, left_out)


def _file(name: str, function: Function, to: Kind) -> tuple[bytes, dict[str, Any], float]:
    """The file of a function, what it has as inputs and outputs, and its largest error."""
    inputs = _examples(function, *SIZES[0])
    outputs = list(function.named(*inputs))
    names = [*function.inputs, "context"][: len(inputs)]
    about = about_function(name, function, dict(zip(names, inputs, strict=True)))
    program = torch_program(function, inputs)
    data = as_bytes(to, program, (names, outputs), about)
    run = runner_of(to, data)
    error = max(_difference(name, function, run, _examples(function, *sizes)) for sizes in SIZES)
    return data, about, error


def _examples(function: Function, rows: int, particles: int) -> list[Tensor]:
    """Inputs of a function: rows that the VAE draws, some with missing entries, and noise."""
    vae = function.vae
    like = next(vae.parameters())
    context = None if vae.context_shape is None else torch.randn(rows, *vae.context_shape, dtype=like.dtype)
    z = vae.latents(context).expand((rows,)).sample()
    x = vae.decode(z, context).sample().to(x_dtype(vae))
    if vae.likelihood.takes_missing and x[0].numel() > 1:
        x.view(rows, -1)[:, 0] = torch.where(torch.arange(rows) % 3 == 2, torch.nan, x.view(rows, -1)[:, 0])
    parts = {"x": x, "z": z}
    if "noise" in function.inputs:
        parts["noise"] = torch.randn(particles, rows, noise_size(vae, x, context), dtype=like.dtype)
    return [*(parts[name] for name in function.inputs), *([] if context is None else [context])]


def x_dtype(vae: VAE) -> torch.dtype:
    """The type of x: double precision for tables, whose numbers may have many digits."""
    is_table = vae.schema is not None and vae.schema.columns is not None
    return torch.float64 if is_table and vae.takes_doubles else next(vae.parameters()).dtype


def _difference(name: str, function: Function, run: Any, inputs: list[Tensor]) -> float:  # noqa: ANN401
    """The largest difference of a file from the VAE, as a share of the largest value.

    Raises:
        InputError: if it is more than rounding.
    """
    try:
        results = run(inputs)
    except Exception as error:
        raise Uncapturable(f"the file cannot be run ({str(error).splitlines()[0][:120]})") from error
    worst = 0.0
    for (output, expected), result in zip(function.named(*inputs).items(), results, strict=True):
        is_finite = expected.isfinite()
        size = max(1.0, float(expected[is_finite].abs().max()) if is_finite.any() else 1.0)
        is_same = torch.equal(result[~is_finite].nan_to_num(9.0), expected[~is_finite].nan_to_num(9.0))
        gap = float((result - expected)[is_finite].abs().max()) / size if is_finite.any() else 0.0
        tolerance = TOLERANCE[next(function.vae.parameters()).dtype]
        if result.shape != expected.shape or not is_same or not gap <= tolerance:
            raise InputError(
                f"the exported {name} gives another {output} than the VAE (a difference of {gap:.1g} of the "
                "largest value), so nothing was written: please report this, with print(vae)"
            )
        worst = max(worst, gap)
    return worst


def _check_others(folder: Path, to: Kind, data: Collection[str]) -> None:
    """Refuse a folder with functions of another export, which could be of another model."""
    others = [path for name in FUNCTIONS if (path := folder / f"{name}.{ENDINGS[to]}").exists()]
    left = [path for path in others if path.stem not in data]
    if left:
        raise InputError(
            f"{left[0]} is from another export and would not fit the new files: remove it, or give another "
            "folder"
        )


def _write(folder: Path, files: dict[Path, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the folder {folder}: {reason_of(error)}; choose another") from None
    for path, data in files.items():
        write_whole(path, partial(_put, data))


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)
