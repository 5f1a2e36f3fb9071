"""Any module as a network.

    Wrapped("mynets.encoder", features=64)      an import path: in Python, YAML, on the command line
    Wrapped(nn.Sequential(...), features=64)    a module: in Python, for a run without a folder

The module reads plain batches: x (N, *input_shape) and, if the VAE has a context, c (N, C). It
returns (N, features).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae import trust
from pyrovae.errors import InputError
from pyrovae.networks.base import Network, Shape
from pyrovae.networks.modes import tried_in_mode
from pyrovae.part import Part

__all__ = ["Wrapped", "is_custom"]

_BatchNorm = nn.modules.batchnorm._BatchNorm


class Wrapped(Network):
    r"""Any module, \(x \mapsto\) features; in a VAE with a context, \((x, c) \mapsto\) features.

    It is called as `module(x)` with x (N, *input_shape), or in a VAE with a context as
    `module(x, c)` with c (N, C). It returns (N, features). For a decoder, x is z. Layers that learn
    their input size at the first call (`nn.LazyLinear`) do so when the VAE is declared.

    Arguments:
        module: the import path of a module's class, or of a function that returns a module. The
            path is written to YAML and run folders, from which the module is built again. Readers
            must trust the path, unless it is a layer of `torch.nn`. A module itself is accepted
            too, but cannot be written; each VAE declared with it starts with a copy of its weights.
        features: the size of its output.
        options: the keyword arguments of the class or function.

    Raises:
        InputError: for a path that cannot be imported, an output of a wrong size, a module that
            takes no context, or batch normalisation; or if a module has to be written to a run
            folder.

    Reference:
        Paszke et al. (2019), "PyTorch: An Imperative Style, High-Performance Deep Learning
        Library".

    Example:
        >>> layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(64), nn.GELU())
        >>> network = Wrapped(layers, features=64)
        >>> network.attach((1, 28, 28))
        >>> network(torch.zeros(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 64])
    """

    module: str | nn.Module
    import_paths = ("module",)

    # Not `str | nn.Module`: the help of the command line would list all subclasses of nn.Module.
    def __init__(
        self,
        module: Any,  # noqa: ANN401
        features: int,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        # Not a submodule: it is not changed, and a copy of it is trained.
        self.__dict__["module"] = module
        if isinstance(module, str):
            trust.vouch(module)
        self.features = features
        self.options = None if options is None else dict(options)

    def attach(self, input_shape: Shape, output_shape: Shape | None = None, context_dim: int = 0) -> None:
        self.check_whole("features")
        self.input_shape = tuple(input_shape)
        self.net = self._built()
        self._try(context_dim)

    def forward(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        lead = value.shape[: value.dim() - len(self.input_shape)]
        if context is None:
            rows = value.reshape(-1, *self.input_shape)
            return self.net(rows).reshape(*lead, self.features)
        lead = torch.broadcast_shapes(lead, context.shape[:-1])
        rows = value.expand(*lead, *self.input_shape).reshape(-1, *self.input_shape)
        contexts = context.expand(*lead, -1).reshape(-1, context.shape[-1])
        return self.net(rows, contexts).reshape(*lead, self.features)

    def _built(self) -> nn.Module:
        path = self.module if isinstance(self.module, str) else None
        built = copy.deepcopy(self.module) if path is None else _from_path(path, self.options or {})
        if not isinstance(built, nn.Module):
            raise InputError(
                f"Wrapped needs a torch.nn.Module or the import path of one, as in 'mynets.Encoder', not "
                f"{self.module!r}"
            )
        if any(isinstance(layer, _BatchNorm) for layer in built.modules()):
            raise InputError(
                f"{self!r} contains batch normalisation, which makes log p(x) of a row depend on the other "
                "rows: use GroupNorm, LayerNorm or no normalisation"
            )
        return built

    def _try(self, context_dim: int) -> None:
        """Run two rows, so that lazy layers learn their input size."""
        inputs = [torch.zeros(2, *self.input_shape)]
        if context_dim:
            inputs.append(torch.zeros(2, context_dim))
            try:
                inspect.signature(self.net.forward).bind(*inputs)
            except TypeError:
                raise InputError(
                    f"{self!r} does not take the context of this VAE: write its module with a "
                    "forward(self, x, c)"
                ) from None
        with torch.no_grad(), torch.random.fork_rng(devices=[]), tried_in_mode(self.net, training=False):
            out = self.net(*inputs)
        if tuple(out.shape) != (2, self.features):
            raise InputError(
                f"{self!r} gives an output of shape {tuple(out.shape)} for two rows of shape "
                f"{self.input_shape}, expected (2, {self.features}): change features, or flatten"
            )

    def to_dict(self) -> dict[str, Any]:
        if not isinstance(self.module, str):
            raise InputError(
                f"the module of {self!r} was built in Python and cannot be written to a run folder: build it "
                "in a function in a file and give the import path, as in Wrapped('mynets.encoder', "
                f"features={self.features})"
            )
        return super().to_dict()

    def _same_declaration(self, other: object) -> bool:
        if not isinstance(other, Wrapped) or type(self) is not type(other):
            return False
        one, two = self.module, other.module
        if isinstance(one, str) or isinstance(two, str):
            return isinstance(one, str) and isinstance(two, str) and super()._same_declaration(other)
        return self.features == other.features and _same_modules(one, two)

    def __repr__(self) -> str:
        if isinstance(self.module, str):
            options = "" if self.options is None else f", options={self.options!r}"
            return f"Wrapped({self.module!r}, features={self.features}{options})"
        return f"Wrapped({type(self.module).__name__}(...), features={self.features})"


def _from_path(path: str, options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    build = trust.object_at(path)
    if not callable(build):
        raise InputError(
            f"Wrapped cannot import {path!r}; give the import path of a module's class, or of a function "
            "that returns a module, as in 'mynets.Encoder'"
        )
    try:
        return build(**options)
    except TypeError as error:
        raise InputError(f"Wrapped cannot build {path!r} with options {dict(options)}: {error}") from None


def is_custom(part: Part) -> bool:
    """Whether a part, or the module of a `Wrapped`, is not of this package."""
    inner = getattr(part, "network", None)  # of a `Bayesian` decoder
    if isinstance(inner, Part) and is_custom(inner):
        return True
    return isinstance(part, Wrapped) or not type(part).__module__.startswith("pyrovae.")


def _same_modules(one: nn.Module, two: nn.Module) -> bool:
    first, second = one.state_dict(), two.state_dict()
    if repr(one) != repr(two) or first.keys() != second.keys():
        return False
    lazy = nn.parameter.is_lazy
    pairs = [(first[name], second[name]) for name in first]
    return all(lazy(a) == lazy(b) and (lazy(a) or torch.equal(a, b)) for a, b in pairs)
