"""Checks of a part inside a small VAE: training, saving, log p(x), and the captured step.

The VAE has a few observed elements, mostly one or two latents, and default parts apart from the
part under check. Noise is added to its parameters.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae import networks
from pyrovae.compiling import traced
from pyrovae.datasets import Data, Rows, load
from pyrovae.errors import InputError, Uncapturable
from pyrovae.evidence import Evidence, log_evidence
from pyrovae.objectives import ELBO, Objective
from pyrovae.testing.attaching import perturb
from pyrovae.testing.failures import refuse, require, settings, shown
from pyrovae.testing.spaces import rule_of
from pyrovae.testing.statistics import SIGMAS
from pyrovae.training import fit
from pyrovae.training import load as load_run
from pyrovae.vae import VAE

__all__ = [
    "agrees_with_quadrature",
    "captured",
    "captured_or_refused",
    "data_of",
    "drawn",
    "pieces_change_nothing",
    "small_vae",
    "trains",
]

QUIET: dict[str, Any] = {"batch_size": 4, "epochs": 2, "lr": 1e-3, "progress": False, "figures": False}
PARTICLES = 4000
TRUSTED = 100  # effective samples; with fewer, the estimate of the error is unreliable


def small_vae(
    event_shape: tuple[int, ...] = (3,),
    latent_dim: int = 2,
    *,
    seed: int = 0,
    **parts: Any,  # noqa: ANN401
) -> VAE:
    """A VAE of small networks, with a guide that is wider than most posteriors."""
    plain = {"encoder": networks.MLP(8, activation="silu"), "decoder": networks.MLP(8, activation="silu")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 + seed)
        vae = VAE(event_shape, latent_dim, **plain | parts)
        perturb(vae, 0.2)
    if "raw_scale" in vae.recognition.heads:
        with torch.no_grad():
            vae.recognition.heads["raw_scale"].linear.bias.add_(1.5)  # type: ignore[operator, union-attr]
    return vae


@torch.no_grad()
def drawn(vae: VAE, count: int, seed: int = 0) -> Rows:
    """Draw rows from the VAE, with a context and labels if it has them.

    Rows outside the support (after rounding) are left out.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        many = 4 * count
        context = None if vae.context_shape is None else torch.randn(many, *vae.context_shape)
        y = None
        if vae.prior.labels:
            known = torch.arange(many) % 3 > 0
            y = torch.where(known, torch.randint(vae.prior.states or 1, (many,)), -1)
        rows = Rows(vae.sample(many, context, y), context, y)
    return rows[_scored(vae, rows.x)][:count]


def _scored(vae: VAE, x: Tensor) -> Tensor:
    """The indices of rows inside the support; a sample of a narrow Beta may round to 1."""
    keep = []
    for number, row in enumerate(x):
        try:
            vae.likelihood.check(row.unsqueeze(0))
        except InputError:
            continue
        keep.append(number)
    return torch.tensor(keep)


def _different(x: Tensor) -> Tensor:
    """The indices of the first of equal rows."""
    _, group = torch.unique(x, dim=0, return_inverse=True)
    return torch.stack([(group == g).nonzero()[0, 0] for g in group.unique()])


def data_of(rows: Rows, validation: int, test: int) -> Data:
    """Rows as a data set, with labels in the training set only."""
    data = load(rows.x, validation=validation, test=test)
    parts = {}
    for name in ("train", "validation", "test"):
        part = rows[getattr(data, name).index]
        labels = part.y if name == "train" else None
        parts[name] = dataclasses.replace(getattr(data, name), context=part.context, y=labels)
    return dataclasses.replace(data, **parts)


def trains(
    name: str, make: Callable[[], VAE], objective: Objective | None = None, idle: Collection[str] = ()
) -> None:
    """Ten steps change every parameter, and a saved run loads with the same weights.

    Arguments:
        name: the name of the part in messages.
        make: a function that declares the VAE.
        objective: ELBO by default.
        idle: heads of the encoder that need not change, such as the weight of a single component.
    """
    with settings(torch.float32):
        vae = make()
        data = data_of(drawn(vae, 26), validation=3, test=3)
        before = {n: p.detach().clone() for n, p in vae.named_parameters()}
        with tempfile.TemporaryDirectory() as folder:
            run = fit(vae, data, objective, out=f"{folder}/run", compile=False, **QUIET)
            loaded: Any = load_run(f"{folder}/run")
        finite = all(
            np.isfinite(run.history[c]).all() for c in ("train", "validation", "reconstruction", "kl")
        )
        require(finite, f"the losses of ten steps with {name} are not finite: {run.history['train']}")
        still = [n for n, p in vae.named_parameters() if torch.equal(p, before[n])]
        still = [n for n in still if not n.startswith(tuple(f"recognition.heads.{h}." for h in idle))]
        require(not still, f"ten steps with {name} do not move {', '.join(still)}: it has no gradient")
        weights, again = vae.state_dict(), loaded.state_dict()
        equal = weights.keys() == again.keys() and all(torch.equal(weights[n], again[n]) for n in weights)
        require(
            loaded == vae and equal,
            f"a run with {name} does not load as it was saved: keep all state in parameters and buffers",
        )
        evidence = log_evidence(loaded, data.test, particles=4, compile=False)
        require(np.isfinite(evidence.log_px).all(), f"log p(x) of a VAE with {name} is not finite")


def agrees_with_quadrature(name: str, vae: VAE, count: int = 6) -> None:
    """log p(x) by importance sampling agrees with the integral over the latent space."""
    vae.eval()
    rows = drawn(vae, count).unlabelled()
    exact = _log_px(vae, rows).numpy()
    evidence = _evidence(vae, rows)
    error, trusted = evidence.mc_stderr, evidence.ess > TRUSTED
    require(trusted.any(), f"importance sampling in a VAE with {name} has no effective samples at all")
    gap = np.mean((evidence.log_px - exact)[trusted])
    allowed = SIGMAS * math.sqrt(np.square(error[trusted]).sum()) / trusted.sum() + 1e-4
    far = (np.abs(evidence.log_px - exact) / (error + 1e-5))[trusted].max()
    require(
        abs(gap) < allowed and far < SIGMAS,
        f"log p(x) of a VAE with {name} is {evidence.mean:.5g} by importance sampling and {exact.mean():.5g} "
        f"by quadrature, {max(far, SIGMAS * abs(gap) / allowed):.2g} standard errors apart: its samples, "
        "log_prob or leading dimensions are wrong",
    )


def _evidence(vae: VAE, rows: Rows) -> Evidence:
    """log p(x) with the guide as proposal, or guide and prior if effective samples are few."""
    options: dict[str, Any] = {"particles": PARTICLES, "compile": False}
    evidence = log_evidence(vae, *rows.arguments, **options)
    with contextlib.suppress(InputError):
        if (evidence.ess < TRUSTED).any():
            evidence = log_evidence(vae, *rows.arguments, method="defensive", **options)
        if (evidence.ess < TRUSTED).mean() > 0.5:
            options["particles"] *= 10
            evidence = log_evidence(vae, *rows.arguments, method="defensive", **options)
    return evidence


@torch.no_grad()
def _log_px(vae: VAE, rows: Rows) -> Tensor:
    """log p(x) of each row by quadrature over z, (N,)."""
    if rows.context is None:
        return _integrals(vae, rows.x, None)
    return torch.cat([_integrals(vae, rows.x[i : i + 1], rows.context[i]) for i in range(len(rows))])


def _integrals(vae: VAE, x: Tensor, context: Tensor | None) -> Tensor:
    """log p(x) of rows with one context, (N,)."""
    prior = vae.latents(context)
    rule = rule_of(prior, line_points=4001, plane_points=301)
    assert rule is not None
    total = torch.full((len(x),), -math.inf)
    for z, log_weight in zip(rule.z.split(20_000), rule.log_weight.split(20_000), strict=True):
        likelihood, log_pz = vae.decode(z, context), prior.log_prob(z) + log_weight
        log_joint = torch.stack([likelihood.log_prob(row) + log_pz for row in x])
        total = torch.logaddexp(total, torch.logsumexp(log_joint, 1))
    return total


def captured_or_refused(name: str, vae: VAE, objective: Objective | None = None) -> None:
    """The captured step gives the results of Python, or it is refused with a reason."""
    try:
        captured(vae, objective, name=name)
    except Uncapturable as error:
        require(str(error), f"{name} is not captured, and no reason is given")


def captured(vae: VAE, objective: Objective | None = None, *, name: str | None = None) -> None:
    """The captured loss and gradient agree with Python from the same random state.

    Raises:
        Uncapturable: with the reason, if it cannot be traced.
    """
    name, objective = name or shown(vae.prior), objective or ELBO(2)
    rows = drawn(vae, 4)
    if vae.has_globals:
        objective.begin(len(rows), vae)
    given, learned = list(rows.arguments), list(vae.parameters())
    tensors = [part for part in given if part is not None]

    def step(*parts: Tensor) -> tuple[Tensor, ...]:
        following = iter(parts)
        arguments = [None if part is None else next(following) for part in given]
        loss = objective.differentiable_loss(vae.model, vae.guide, *arguments)
        gradients = torch.autograd.grad(loss, learned, allow_unused=True)
        return (loss.detach(), *(g for g in gradients if g is not None))

    step(*tensors)  # the objective learns the plates and strata of model and guide
    with pyro.validation_enabled(False):  # validation needs `.item()`; `fit` turns it off after a batch
        graph = traced(step, tensors)
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = step(*tensors)
        torch.manual_seed(seed)
        found = graph.module(*tensors, *graph.lifted)
        for one, other in zip(found, expected, strict=True):
            if not torch.allclose(one, other, rtol=1e-7, atol=1e-7):
                refuse(
                    f"the compiled step of a VAE with {name} gives another loss or gradient than Python: "
                    "use tensors only, and no numbers that change between calls"
                )


def pieces_change_nothing(name: str, vae: VAE) -> None:
    """log p(x) of a row does not depend on the other rows, their order or the chunk size."""
    rows = drawn(vae, 12)
    first = _different(rows.x)[:6]  # equal rows may exchange their samples
    arguments = rows[first].arguments
    whole = log_evidence(vae, *arguments, particles=40, compile=False).log_px
    require(np.isfinite(whole).all(), f"log p(x) of a VAE with {name} is not finite: {whole}")
    order = torch.arange(len(first)).flip(0)[: max(1, len(first) - 2)]
    rest = [None if part is None else part[order] for part in arguments]
    others = log_evidence(vae, *rest, particles=40, chunk=20, compile=False).log_px
    apart = np.abs(others - whole[order.numpy()]).max()
    require(
        apart < 1e-9 * (1 + np.abs(whole).max()),
        f"log p(x) of a row of a VAE with {name} changes by {apart:.2g} with the other rows that are "
        "evaluated: rows must not influence each other",
    )
