r"""A linear head at a mode of p(W | D), with the normal distribution of the curvature at the mode.

    a = W h,  h with a 1 at its end for the bias,      W = [weights, bias]  (m, n + 1)
    p(W)      N(0, R), R diagonal                      R = scale^2 / n, and scale^2 for a bias
    curvature of unit i:   g_i A + R^-1                A = E[h h'],  g_i = N E[(d log p / d a_i)^2]

The rows of W are independent in q(W). With R^1/2 A R^1/2 = Q diag(a) Q', the posterior of row i is

    w_i = m_i + R^1/2 Q diag(1 / sqrt(g_i a + 1)) e,   e ~ N(0, I)

For elements that are independent given z, the Fisher information of row i is the sum over
observations of E[(d log p / d a_i)^2] h h'. Here the mean of this product over observations is
replaced by the product of the means (a Kronecker product).

Reference:
    MacKay (1992), "A Practical Bayesian Framework for Backpropagation Networks"; Ritter, Botev &
    Barber (2018), "A Scalable Laplace Approximation for Neural Networks"; Kunstner, Balles & Hennig
    (2019), "Limitations of the Empirical Fisher Approximation for Natural Gradient Descent" (why
    the data for the curvature are sampled from the model).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from pyrovae.variables import Variable

__all__ = ["LaplaceHead", "LaplaceWeights", "fit_curvature"]

Pieces = Iterable[tuple[Tensor, Tensor | None, Callable[[dict[str, Tensor]], Tensor]]]


class LaplaceWeights(Variable):
    """The weights of a linear layer, with the bias as last column.

    During training q(W) is a point. Afterwards (`fit_curvature`) it is a normal distribution around
    this point.

    Arguments:
        layer: the layer with its initial weights.
        scale: the scale of p(W).
    """

    axes: Tensor
    eigenvalues: Tensor
    gains: Tensor
    widths: Tensor

    def __init__(self, layer: nn.Linear, scale: float) -> None:
        super().__init__()
        assert layer.bias is not None
        self.scale, self.fan_in = scale, layer.in_features
        self.loc = nn.Parameter(torch.cat([layer.weight, layer.bias.unsqueeze(1)], 1).detach().clone())
        widths = torch.full((self.fan_in + 1,), scale / math.sqrt(self.fan_in))
        widths[-1] = scale
        self.register_buffer("widths", widths, persistent=False)
        self.register_buffer("axes", torch.eye(self.fan_in + 1))
        self.register_buffer("eigenvalues", torch.full((self.fan_in + 1,), 1e6))
        self.register_buffer("gains", torch.ones(layer.out_features))

    def prior(self) -> dist.TorchDistribution:
        return dist.Normal(torch.zeros_like(self.loc), self.widths.expand_as(self.loc)).to_event(2)

    def posterior(self) -> dist.TorchDistribution:
        if self.training:
            return dist.Delta(self.loc, event_dim=2)
        turned = _Turned(self.loc, self.axes, self.widths)
        base = dist.Normal(torch.zeros_like(self.loc), self._shares().rsqrt()).to_event(2)
        return dist.TransformedDistribution(base, [turned])

    def _shares(self) -> Tensor:
        """The curvature along the axes, in units of the curvature of p(W), (m, n + 1)."""
        return self.gains.unsqueeze(1) * self.eigenvalues + 1

    def centre(self) -> Tensor:
        return self.loc

    def words(self) -> str:
        top = f"{self.scale**2:g}"
        return f"N(0, {top}/{self.fan_in}), biases N(0, {top})"

    def divergence(self) -> Tensor:
        """KL(q(W) || p(W)) of the normal distribution; during training, -log p(W) at the point."""
        if self.training:
            return -self.prior().log_prob(self.loc)
        shares = self._shares()
        return ((1 / shares - 1 + shares.log()) + (self.loc / self.widths).square()).sum() / 2

    @torch.no_grad()
    def put(self, products: Tensor, gains: Tensor) -> None:
        """Set the curvature from A (n + 1, n + 1) and g (m,)."""
        scaled = self.widths.unsqueeze(1) * products.to(self.loc) * self.widths
        eigenvalues, axes = torch.linalg.eigh(scaled.double())
        self.eigenvalues.copy_(eigenvalues.clamp_min(0))
        self.axes.copy_(axes)
        self.gains.copy_(gains)


class _Turned(dist.transforms.Transform):
    """e -> m + e Q' R^1/2, applied to each row of a matrix."""

    domain = dist.constraints.independent(dist.constraints.real, 2)
    codomain = dist.constraints.independent(dist.constraints.real, 2)
    bijective = True

    def __init__(self, loc: Tensor, axes: Tensor, widths: Tensor) -> None:
        super().__init__()
        self.loc, self.axes, self.widths = loc, axes, widths

    def _call(self, e: Tensor) -> Tensor:
        return self.loc + (e @ self.axes.mT) * self.widths

    def _inverse(self, w: Tensor) -> Tensor:
        return ((w - self.loc) / self.widths) @ self.axes

    def log_abs_det_jacobian(self, e: Tensor, w: Tensor) -> Tensor:
        return (self.widths.log().sum() * self.loc.shape[0]).expand(e.shape[:-2])


class LaplaceHead(nn.Module):
    """A linear layer with weights of this kind: h (*, n) -> (*, m)."""

    def __init__(self, layer: nn.Linear, scale: float) -> None:
        super().__init__()
        self.weights = LaplaceWeights(layer, scale)

    def forward(self, h: Tensor) -> Tensor:
        value = self.weights.value
        if value.dim() == 2:
            return functional.linear(h, value[:, :-1], value[:, -1])
        # (K, 1, m, n + 1): each particle has its own weights, and h is (K, B, n)
        return h @ value[..., :-1].squeeze(-3).mT + value[..., -1]


@torch.enable_grad()
def fit_curvature(headed: nn.Module, pieces: Pieces, count: int) -> None:
    """Compute the curvature of all `LaplaceHead`s of a network.

    Arguments:
        headed: a network with heads.
        pieces: for each batch of rows, the network's input (B, D), its context, and a function from
            the network's output to the log-density (B,) of data sampled from that distribution.
        count: N, the number of rows of the data set; the batches need not contain all of them.
    """
    heads = [module for module in headed.modules() if isinstance(module, LaplaceHead)]
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    hooks = [head.register_forward_hook(_recorder(seen)) for head in heads]
    sums: dict[int, list[Tensor]] = {}
    rows = 0
    try:
        for z, context, log_px in pieces:
            log_p = log_px(headed(z, context)).sum()
            gradients = torch.autograd.grad(log_p, [seen[id(head)][1] for head in heads])
            for head, g in zip(heads, gradients, strict=True):
                _add(sums, head, seen[id(head)][0].detach(), g)
            rows += len(z)
    finally:
        for hook in hooks:
            hook.remove()
    for head in heads:
        products, squares = sums[id(head)]
        head.weights.put(products / rows, squares / rows * count)


def _recorder(seen: dict[int, tuple[Tensor, Tensor]]) -> Callable:
    def record(head: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen[id(head)] = (inputs[0], output)

    return record


def _add(sums: dict[int, list[Tensor]], head: LaplaceHead, h: Tensor, g: Tensor) -> None:
    flat = functional.pad(h.flatten(0, -2), (0, 1), value=1.0).double()
    parts = [flat.mT @ flat, g.flatten(0, -2).double().square().sum(0)]
    before = sums.get(id(head))
    sums[id(head)] = parts if before is None else [a + b for a, b in zip(before, parts, strict=True)]
