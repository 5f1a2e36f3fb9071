"""Measurements of images: means of blocks, a window, a blurred picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.distributions.composed import Draw
from pyrovae.errors import InputError
from pyrovae.measurements.base import Measurement, Shape
from pyrovae.measurements.correlated import Correlated
from pyrovae.measurements.families import Finite, as_finite, as_normal, expanded
from pyrovae.measurements.pooling import Pooled

__all__ = ["Blur", "Crop", "Downsample"]

MOST = 2**19  # the largest number of products for a block of finite elements
WIDEST = 100.0  # the largest standard deviation of a Gaussian kernel, in pixels


class _Spatial(Measurement):
    """Base class of measurements in which an entry of y depends on other pixels of x."""

    is_elementwise = False


class Downsample(_Spatial):
    r"""Means of blocks of factor x factor pixels; of `factor` neighbours for a sequence.

    Of binary pixels this is a count, divided by the number of pixels.

    Arguments:
        factor: the height and width of a block, 2 or more.

    Raises:
        InputError: for a factor below 2, or one that does not divide the size of the image.

    Example:
        >>> Downsample(2).shape((1, 28, 28))
        (1, 14, 14)
        >>> Downsample(2).attached((4,)).given(torch.tensor([0.0, 1.0, 2.0, 4.0])).loc
        tensor([0.5000, 3.0000])
    """

    def __init__(self, factor: int = 2) -> None:
        self.factor = whole("factor", factor, least=2)

    @property
    def dims(self) -> int:
        """The number of dimensions of a block."""
        return min(2, len(self.event_shape))

    def shape(self, event_shape: Shape) -> Shape:
        dims = min(2, len(event_shape))
        sizes = event_shape[-dims:]
        if not event_shape or any(size % self.factor for size in sizes):
            raise InputError(
                f"{self!r} needs sizes that {self.factor} divides, and x has the shape {event_shape}: use "
                "another factor"
            )
        return (*event_shape[:-dims], *(size // self.factor for size in sizes))

    def marginal(self, p: Any) -> Any:  # noqa: ANN401
        normal = as_normal(p)
        if normal is not None:
            loc, variance = self._normal(normal)
            return dist.Normal(loc.mean(-1), variance.sum(-1).sqrt() / loc.shape[-1])
        return self._pooled(p)

    def given(self, x: Tensor) -> Any:  # noqa: ANN401
        return dist.Normal(self._blocks(x).mean(-1), 0.0, validate_args=False)

    def back(self, p: Any, y: Tensor, draw: Draw) -> Tensor:  # noqa: ANN401
        known = ~y.isnan()
        value, normal = torch.where(known, y, 0.0), as_normal(p)
        if normal is not None:
            _, variance = self._normal(normal)
            x = self._blocks(draw(normal))
            gain = variance * x.shape[-1] / variance.sum(-1, keepdim=True)
            away = torch.where(known, value - x.mean(-1), 0.0)
            return self._whole(x + gain * away.unsqueeze(-1))
        pooled = self._pooled(p)
        assert pooled is not None
        x = self._whole(pooled.elements(value, draw))
        return x if known.all() else torch.where(self.guess(y).isnan(), draw(p).to(x), x)

    def moments(self, p: Any, y: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ANN401
        normal = as_normal(p)
        if normal is None:
            return None
        loc, variance = self._normal(normal)
        known = ~y.isnan()
        total = variance.sum(-1, keepdim=True)
        gain = torch.where(known.unsqueeze(-1), variance * loc.shape[-1] / total, 0.0)
        away = torch.where(known, y - loc.mean(-1), 0.0).unsqueeze(-1)
        left = variance - gain * variance / loc.shape[-1]
        return self._whole(loc + gain * away), self._whole(left)

    def guess(self, y: Tensor) -> Tensor:
        for dim in range(-self.dims, 0):
            y = y.repeat_interleave(self.factor, dim)
        return y

    def _normal(self, normal: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """Locations and variances in blocks."""
        loc, scale = expanded(normal)
        return self._blocks(loc), self._blocks(scale).square()

    def _pooled(self, p: Any) -> Pooled | None:  # noqa: ANN401
        finite = as_finite(p)
        if finite is None or not _is_even(finite):
            return None
        values, n = finite.values, self.factor**self.dims
        if n * len(values) ** 2 > MOST:
            return None
        logits = self._blocks(finite.logits.movedim(-1, 0)).movedim(0, -1)
        return Pooled(values[0], values[1] - values[0], logits)

    def _blocks(self, x: Tensor) -> Tensor:
        """(*, H, W) as blocks (*, H / f, W / f, f * f)."""
        f = self.factor
        if self.dims == 1:
            return x.unflatten(-1, (-1, f))
        x = x.reshape(*x.shape[:-2], x.shape[-2] // f, f, x.shape[-1] // f, f)
        return x.movedim(-3, -2).flatten(-2)

    def _whole(self, blocks: Tensor) -> Tensor:
        """Blocks (*, H / f, W / f, f * f) as (*, H, W)."""
        if self.dims == 1:
            return blocks.flatten(-2)
        x = blocks.unflatten(-1, (self.factor, self.factor)).movedim(-2, -3)
        return x.flatten(-2).flatten(-3, -2)


class Crop(_Spatial):
    """A window of an image; the pixels outside are not known.

    Arguments:
        height, width: the size of the window.
        top, left: the row and the column of its first pixel.

    Raises:
        InputError: for a window that is not inside the image.

    Example:
        >>> Crop(2, 3).shape((1, 28, 28)), Crop(1, 1).attached((1, 2)).guess(torch.ones(1, 1, 1))
        ((1, 2, 3), tensor([[[1., nan]]]))
    """

    def __init__(self, height: int, width: int, top: int = 0, left: int = 0) -> None:
        self.height, self.width = whole("height", height), whole("width", width)
        self.top, self.left = whole("top", top, least=0), whole("left", left, least=0)

    def shape(self, event_shape: Shape) -> Shape:
        ends = self.top + self.height, self.left + self.width
        if len(event_shape) < 2 or ends[0] > event_shape[-2] or ends[1] > event_shape[-1]:
            raise InputError(
                f"{self!r} is not inside an x of shape {event_shape}: give a window inside the image"
            )
        return (*event_shape[:-2], self.height, self.width)

    def marginal(self, p: Any) -> Any:  # noqa: ANN401
        normal, finite = as_normal(p), as_finite(p)
        if normal is not None:
            loc, scale = expanded(normal)
            return dist.Normal(self._window(loc), self._window(scale))
        if finite is None:
            return None
        return Finite(finite.values, self._window(finite.logits.movedim(-1, 0)).movedim(0, -1))

    def given(self, x: Tensor) -> Any:  # noqa: ANN401
        return dist.Normal(self._window(x), 0.0, validate_args=False)

    def back(self, p: Any, y: Tensor, draw: Draw) -> Tensor:  # noqa: ANN401
        x = draw(p)
        whole_y = self._placed(y, x.shape[-2:])
        return torch.where(whole_y.isnan(), x, whole_y.to(x))

    def moments(self, p: Any, y: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ANN401
        mean, variance = p.mean, p.variance
        whole_y = self._placed(y, mean.shape[-2:])
        known = ~whole_y.isnan()
        return torch.where(known, whole_y.to(mean), mean), torch.where(known, 0.0, variance)

    def guess(self, y: Tensor) -> Tensor:
        return self._placed(y, self.event_shape[-2:])

    def _window(self, x: Tensor) -> Tensor:
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def _placed(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """The window in an image of NaN."""
        x = y.new_full((*y.shape[:-2], *size), torch.nan)
        self._window(x).copy_(y)
        return x


class Blur(_Spatial):
    r"""A blurred image with noise, \(y = k * x + \mathrm{sd}\, e\); outside its borders x is 0.

    Arguments:
        kernel: the kernel k, a matrix with odd sizes; or a number, the standard deviation in pixels
            of a Gaussian kernel with sum 1.
        sd: the standard deviation of the noise, above 0.

    Raises:
        InputError: for a kernel of another shape, or an sd that is not above 0.

    Example:
        >>> x = torch.zeros(1, 3, 3)
        >>> x[0, 1, 1] = 1.0
        >>> Blur([[0.0, 0.25, 0.75]], sd=0.1).given(x).loc[0, 1]
        tensor([0.0000, 0.2500, 0.7500])
    """

    takes_missing = False

    def __init__(self, kernel: float | Sequence[Sequence[float]], sd: float = 0.05) -> None:
        self.kernel, self.sd = kernel, number("sd", sd, above=0)
        self.matrix = self._matrix()

    def _matrix(self) -> Tensor:
        if isinstance(self.kernel, (int, float)):
            width = number("kernel", self.kernel, above=0, most=WIDEST)
            reach = max(1, math.ceil(3 * width))
            line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / width).square())
            return torch.outer(line, line) / line.sum().square()
        try:
            matrix = torch.as_tensor(self.kernel, dtype=torch.float64)
        except (TypeError, ValueError):
            matrix = torch.zeros(0)
        if matrix.dim() != 2 or any(size % 2 == 0 for size in matrix.shape) or not matrix.isfinite().all():
            raise InputError(
                "the kernel of Blur must be a number or a matrix of finite numbers with odd sizes, as 3 x 3"
            )
        return matrix

    def shape(self, event_shape: Shape) -> Shape:
        if len(event_shape) < 2:
            raise InputError(f"{self!r} needs an image, and x has the shape {event_shape}: use Noise(sd)")
        return event_shape

    def marginal(self, p: Any) -> Any:  # noqa: ANN401
        normal = as_normal(p)
        return (
            None
            if normal is None
            else Correlated(*expanded(normal), self._blurred, self.sd, len(self.event_shape))
        )

    def given(self, x: Tensor) -> Any:  # noqa: ANN401
        return dist.Normal(self._blurred(x), self.sd, validate_args=False)

    def back(self, p: Any, y: Tensor, draw: Draw) -> Tensor:  # noqa: ANN401
        normal, q = as_normal(p), self.marginal(p)
        x = draw(normal)
        noise = draw(dist.Normal(torch.zeros_like(x), self.sd))
        return x + q.pulled(y - self._blurred(x) - noise)

    def moments(self, p: Any, y: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ANN401
        q = self.marginal(p)
        return q.loc_x + q.pulled(y - self._blurred(q.loc_x)), q.left()

    def _blurred(self, x: Tensor) -> Tensor:
        """k * x, for images (*, H, W)."""
        height, width = self.matrix.shape
        kernel = self.matrix.to(x).flip(0, 1)[None, None]
        flat = x.reshape(-1, 1, *x.shape[-2:])
        return torch.nn.functional.conv2d(flat, kernel, padding=(height // 2, width // 2)).reshape(x.shape)


def _is_even(p: Finite) -> bool:
    """Whether the numbers are evenly spaced and ascending."""
    steps = p.values.double().diff()
    return len(steps) > 0 and bool((steps > 0).all()) and bool(((steps - steps.mean()).abs() < 1e-4).all())
