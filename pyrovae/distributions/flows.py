"""zuko's flows as maps with a log-determinant, and its masked networks.

A flow starts as the identity if its form allows this: the last layer of each of its networks is set
to zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyrovae.errors import InputError

__all__ = ["FlowName", "check_passes", "flow_names", "flow_transform", "masked_network"]

# The flows over all reals: zuko's NCSF is on the circle, and its GMM is not a flow.
AUTOREGRESSIVE = ("MAF", "NSF", "NAF", "UNAF", "SOSPF", "BPF")
FlowName = Literal["NSF", "MAF", "NICE", "RealNVP", "NAF", "UNAF", "SOSPF", "BPF", "GF", "CNF"]

# A monotone network of zeros is constant, and equal components would always stay equal.
_NEVER_IDENTITY = ("NAF", "GF")


def flow_transform(
    name: str,
    features: int,
    context: int,
    transforms: int,
    hidden: Sequence[int],
    passes: int | None = None,
) -> nn.Module:
    """Make a module from a context (*, context), or None, to a map with `call_and_ladj` and `inv`.

    Arguments:
        name: a `FlowName`.
        features: D, the size of the vectors that are mapped.
        context: the size of the context, 0 without one.
        transforms: the number of successive maps; a CNF is always one.
        hidden: the sizes of the hidden layers of the maps' networks.
        passes: the number of passes of the slow direction of an autoregressive map; D by default,
            and 2 for a coupling.

    Raises:
        InputError: for fewer than 2 passes, or passes of a flow that is not autoregressive.
    """
    check_passes(name, passes)
    with _settings_kept():
        import zuko

        more: dict[str, Any] = {} if name == "CNF" else {"transforms": transforms}
        if passes is not None and features > 1:
            more["passes"] = passes
        if name in ("NAF", "UNAF"):
            more["network"] = {"hidden_features": tuple(hidden)}
        flow = getattr(zuko.flows, name)(features, context, hidden_features=tuple(hidden), **more)
        if name not in _NEVER_IDENTITY:
            _zero_last_layers(flow.transform, (zuko.nn.MLP, zuko.nn.MaskedMLP))
    return flow.transform


def flow_names() -> tuple[str, ...]:
    """The names of the flows."""
    return get_args(FlowName)


def check_passes(name: str, passes: int | None) -> None:
    """Refuse a number of passes that a flow cannot have.

    Raises:
        InputError: for fewer than 2 passes, or a flow that is not autoregressive.
    """
    if passes is not None and (name not in AUTOREGRESSIVE or passes < 2):
        raise InputError(
            f"passes must be None, or 2 or more for iaf or one of {', '.join(AUTOREGRESSIVE)}, not {passes} "
            f"for {name}"
        )


def masked_network(adjacency: Tensor, hidden: Sequence[int]) -> nn.Module:
    """A network whose output i depends on input j only where adjacency[i, j]; it starts as zero."""
    with _settings_kept():
        import zuko

        network = zuko.nn.MaskedMLP(adjacency, tuple(hidden), activation=nn.SiLU)
        _zero_last_layers(network, zuko.nn.MaskedMLP)
    return network


@torch.no_grad()
def _zero_last_layers(module: nn.Module, kinds: Any) -> None:  # noqa: ANN401
    for part in module.modules():
        if isinstance(part, kinds):
            for parameter in part[-1].parameters():  # type: ignore[index]
                parameter.zero_()
        elif isinstance(part, nn.ParameterList):  # for a single latent, which needs no network
            for parameter in part:
                parameter.zero_()


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Restore the validation of distributions, which the first import of zuko switches off."""
    before = {name: vars(Distribution)[name] for name in ("_validate_args", "arg_constraints")}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(Distribution, name, value)
