"""Checks of networks, as an encoder and as a decoder: shapes, rows, inputs, and a VAE."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.networks import MLP, Network
from pyrovae.testing import programs
from pyrovae.testing.attaching import attached, drawn_variables
from pyrovae.testing.declarations import MODULE_CHECKS, Check
from pyrovae.testing.failures import require, same
from pyrovae.testing.subjects import Subject
from pyrovae.vae import VAE

__all__ = ["CHECKS", "NetworkSubject"]

Shape = tuple[int, ...]
Role = tuple[Shape, Shape | None]  # the input shape, and the output shape of a decoder
EVENTS: tuple[Shape, ...] = ((2, 8, 9), (5,))
CONTEXT = 3


class NetworkSubject(Subject):
    """A network, and the roles (encoder, decoder) that it can have.

    Attributes:
        reason: why the network cannot have the last role that was tried.
    """

    part: Network
    reason = ""

    @cached_property
    def event_shape(self) -> Shape:
        """The author's event shape, or the one with which the network has most roles."""
        given = self.options.event_shape
        shape = max([given] if given is not None else EVENTS, key=lambda event: len(self._roles(event)))
        require(
            self._roles(shape),
            f"{self.name} serves neither as an encoder of events {shape} nor as a decoder ({self.reason}): "
            "give check_part the event_shape or latent_dim that it is made for",
        )
        return shape

    @property
    def latent_dim(self) -> int:
        """The size of a decoder's input."""
        return self.options.latent_dim or 2

    @cached_property
    def roles(self) -> list[Role]:
        """The roles of the network for this event shape."""
        return self._roles(self.event_shape)

    @cached_property
    def takes_context(self) -> bool:
        """Whether it can be attached with a context, which it must if `context_shape` was given."""
        if self._fits(self.roles[0], CONTEXT):
            return True
        require(
            self.options.context_shape is None,
            f"{self.name} cannot be attached with a context, and check_part was given context_shape "
            f"({self.reason})",
        )
        return False

    def _roles(self, event: Shape) -> list[Role]:
        roles: list[Role] = [(event, None), ((self.latent_dim,), event)]
        return [role for role in roles if self._fits(role, 0)]

    def _fits(self, role: Role, context_dim: int) -> bool:
        """Whether the network can be attached and called in a role; any error means no."""
        try:
            net = attached(self.fresh(), *role, context_dim).eval()
            context = torch.zeros(2, context_dim) if context_dim else None
            net.head(role[1] or (2,))(net(torch.zeros(2, *role[0]), context))
        except Exception as error:
            self.reason = " ".join(str(error).split())
            return False
        return True

    def of(self, role: Role, context_dim: int = 0) -> Network:
        """A perturbed copy in a role."""
        return attached(self.fresh(), *role, context_dim if self.takes_context else 0)

    def fresh(self) -> Network:
        """A copy, whose given modules are converted to the default dtype."""
        part = self.part.clone()
        for module in part.hyperparameters().values():
            if isinstance(module, nn.Module):
                module.to(torch.get_default_dtype())
        return part

    def context(self, rows: int) -> Tensor:
        """Contexts for a network that takes them."""
        return torch.randn(rows, CONTEXT)

    def attach(self) -> Network:
        return self.of(self.roles[0], CONTEXT)

    def use(self, part: Any, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # noqa: ANN401
        value = torch.randn(4, *self.roles[0][0]).to(dtype)
        context = [self.context(4).to(dtype)] if self.takes_context else []
        return {}, {"features": part(value, *context)}


def outputs_have_the_declared_shape(subject: NetworkSubject) -> None:
    """Features (*, F) with F = `features`, and a head for each parameter."""
    for role in subject.roles:
        for context in {0, CONTEXT if subject.takes_context else 0}:
            net = subject.of(role, context)
            given = torch.randn(2, 3, CONTEXT) if context else None
            features = net(torch.randn(2, 3, *role[0]), given)
            head = net.head(role[1] or (4,))(features)
            require(
                tuple(head.shape) == (2, 3, *(role[1] or (4,))),
                f"{subject.name} gives parameters of shape {tuple(head.shape)} for rows (2, 3), not "
                f"{(2, 3, *(role[1] or (4,)))}: leading dimensions pass through forward, and `features` is "
                "the size of the last one",
            )


def rows_are_kept_apart(subject: NetworkSubject) -> None:
    """The output of a row depends on this row and its context only."""
    for role in subject.roles:
        for context_dim in sorted({0, CONTEXT if subject.takes_context else 0}):
            net = subject.of(role, context_dim).eval()
            value = torch.randn(2, 3, *role[0])
            context = torch.randn(3, context_dim) if context_dim else None
            head = net.head(role[1] or (4,))
            whole = head(net(value, context))
            alone = head(net(value[1, 2], *([] if context is None else [context[2]])))
            what = f"{subject.name} gives another output for a row alone than among others"
            cure = "mix no rows: use LayerNorm or GroupNorm in place of batch normalisation"
            same(alone, whole[1, 2], what, cure, rtol=1e-7, atol=1e-7)
            if context is not None:
                apart = (head(net(value, context + 1)) - whole).abs().max()
                require(apart > 1e-6, f"{subject.name} ignores its context: use it in forward")


def rows_are_kept_apart_in_training(subject: NetworkSubject) -> None:
    """In training mode, the output of a row has no gradient in another row."""
    for role in subject.roles:
        net = subject.of(role).train()
        value = torch.randn(4, *role[0], requires_grad=True)
        (gradient,) = torch.autograd.grad(net(value)[0].sin().sum(), value, allow_unused=True)
        others = 0.0 if gradient is None else gradient[1:].abs().max().item()
        require(
            others == 0,
            f"{subject.name} lets rows influence each other in training (a gradient of {others:.1g}): use "
            "LayerNorm or GroupNorm in place of batch normalisation",
        )


def all_of_the_input_is_used(subject: NetworkSubject) -> None:
    """Every entry of the input and of the context has a gradient from some output."""
    for input_shape, output_shape in subject.roles:
        net = subject.of((input_shape, output_shape), CONTEXT)
        value = torch.randn(4, *input_shape, requires_grad=True)
        inputs = [value, *([subject.context(4).requires_grad_()] if subject.takes_context else [])]
        total = net.head(output_shape or (2,))(net(*inputs)).sin().sum()
        for tensor, gradient in zip(
            inputs, torch.autograd.grad(total, inputs, allow_unused=True), strict=True
        ):
            used = 0 if gradient is None else int((gradient != 0).any(0).sum())
            count = tensor[0].numel()
            require(
                used == count,
                f"{subject.name} uses {used} of the {count} entries of its "
                f"{'input' if tensor is value else 'context'}: read all of them",
            )


def one_context_serves_all_particles(subject: NetworkSubject) -> None:
    """Inputs (N, ...) broadcast with contexts (K, 1, C)."""
    if not subject.takes_context:
        return
    for role in subject.roles:
        net = subject.of(role, CONTEXT).eval()
        value, context = torch.randn(5, *role[0]), torch.randn(7, 1, CONTEXT)
        what = f"{subject.name} does not broadcast a context (7, 1, C) with rows (5,)"
        same(
            net(value, context)[4, 2],
            net(value[2], context[4, 0]),
            what,
            "use networks.base.joined",
            atol=1e-7,
        )


def all_parameters_are_trained(subject: NetworkSubject) -> None:
    """Every parameter has a gradient."""
    for role in subject.roles:
        net = subject.of(role, CONTEXT)
        inputs = [torch.randn(4, *role[0]), *([subject.context(4)] if subject.takes_context else [])]
        with drawn_variables(net) as divergence:
            (net(*inputs).sin().sum() + divergence).backward()
        dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
        require(
            not dead, f"{', '.join(dead)} of {subject.name} has no gradient: use it in forward, or remove it"
        )


# ---------------------------------------------------------------- in a VAE


def vae_with(subject: NetworkSubject) -> VAE:
    """A small VAE with the network in every role that it can have."""
    plain: dict[str, Any] = {"encoder": MLP(8, activation="silu"), "decoder": MLP(8, activation="silu")}
    for _, output_shape in subject.roles:
        plain["encoder" if output_shape is None else "decoder"] = subject.fresh()
    return programs.small_vae(
        subject.event_shape, subject.latent_dim, context_shape=subject.options.context_shape, **plain
    )


def it_serves_in_a_vae(subject: NetworkSubject) -> None:
    """log p(x) of each row is finite and independent of other rows."""
    programs.pieces_change_nothing(subject.name, vae_with(subject))


def it_trains_and_is_saved(subject: NetworkSubject) -> None:
    """A small VAE trains for ten steps, and is saved and loaded.

    A network with a module that was built in Python cannot be saved and is not checked.
    """
    try:
        subject.part.to_dict()
    except InputError:
        return
    programs.trains(subject.name, lambda: vae_with(subject))


def the_step_is_captured_or_refused(subject: NetworkSubject) -> None:
    """The captured step gives the results of Python, or it is refused with a reason."""
    programs.captured_or_refused(subject.name, vae_with(subject))


CHECKS: tuple[Check, ...] = (
    *MODULE_CHECKS,
    outputs_have_the_declared_shape,
    rows_are_kept_apart,
    rows_are_kept_apart_in_training,
    all_of_the_input_is_used,
    one_context_serves_all_particles,
    all_parameters_are_trained,
    it_serves_in_a_vae,
    it_trains_and_is_saved,
    the_step_is_captured_or_refused,
)
