r"""Likelihoods of elements with finitely many values: grey levels and classes.

    Categorical           P(x_i = v_k) = softmax(l_i)_k                       a logit for each level
    DiscretizedLogistic   P(x_i = v) = sum_c pi_c [F_c(v + h) - F_c(v - h)]   neighbours are similar

Both give probabilities. So -log p(x), divided by the number of elements and by log 2, is the number
of bits per dimension of the stored image.
"""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyrovae import distributions
from pyrovae.likelihoods.base import Likelihood, Shape
from pyrovae.numerics import positive

__all__ = ["Categorical", "DiscretizedLogistic"]


class Categorical(Likelihood):
    r"""Independent elements of n classes, \(p(x_i = v_k | z) = \mathrm{softmax}(l_i)_k\).

    The decoder gives `classes` logits for each element.

    Arguments:
        classes: the number n of classes, 2 or more.
        grey: whether the classes are the grey levels 0, 1/(n-1), ..., 1 of an image, as `datasets`
            gives them. Otherwise they are the whole numbers 0 .. n-1, which have no mean.

    Raises:
        InputError: for fewer than two classes.

    Reference:
        van den Oord, Kalchbrenner & Kavukcuoglu (2016), "Pixel Recurrent Neural Networks".

    Example:
        >>> import torch
        >>> likelihood = Categorical(classes=4, grey=False)
        >>> likelihood.attach((2,))
        >>> likelihood(logits=torch.zeros(5, 4, 2)).log_prob(torch.full((5, 2), 3.0)).exp()
        tensor([0.0625, 0.0625, 0.0625, 0.0625, 0.0625])
    """

    def __init__(self, classes: int = 256, grey: bool = True) -> None:  # noqa: FBT001, FBT002
        super().__init__()
        self.classes = classes
        self.grey = grey

    @property
    def advice(self) -> str:  # type: ignore[override]
        """What to do about values outside the support."""
        return _advice(self.classes, grey=self.grey)

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        self.check_whole("classes", least=2)

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return {"logits": (self.classes, *self.event_shape)}

    def forward(self, logits: Tensor) -> dist.TorchDistribution:
        top = self.classes - 1 if self.grey else 1
        return self.over_event(distributions.Levels(_last(logits, self.event_shape), top, grey=self.grey))


class DiscretizedLogistic(Likelihood):
    r"""Grey levels from a mixture of logistic distributions, integrated over the bin of each level.

    \[p(x_i = v | z) = \sum_c \pi_{ic} [F_{ic}(v + h) - F_{ic}(v - h)], \quad
    h = \frac{1}{2 (n - 1)}\]

    where \(F(v - h) = 0\) at the lowest level and \(F(v + h) = 1\) at the highest.

    Arguments:
        levels: the number n of levels 0, 1/(n-1), ..., 1; 256 for 8-bit images.
        components: the number of components of the mixture of each element.

    Raises:
        InputError: for fewer than two levels or no component.

    Reference:
        Salimans, Karpathy, Chen & Kingma (2017), "PixelCNN++: Improving the PixelCNN with
        discretized logistic mixture likelihood and other modifications".

    Example:
        >>> import torch
        >>> likelihood = DiscretizedLogistic(levels=2)
        >>> likelihood.attach((2,))
        >>> loc, width = torch.full((5, 1, 2), 0.5), torch.zeros(5, 1, 2)
        >>> likelihood(loc=loc, raw_scale=width).log_prob(torch.ones(5, 2)).exp()
        tensor([0.2500, 0.2500, 0.2500, 0.2500, 0.2500])
    """

    def __init__(self, levels: int = 256, components: int = 1) -> None:
        super().__init__()
        self.levels = levels
        self.components = components

    @property
    def advice(self) -> str:  # type: ignore[override]
        """What to do about values outside the support."""
        return _advice(self.levels, grey=True)

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        self.check_whole("levels", least=2)
        self.check_whole("components")

    @property
    def param_shapes(self) -> dict[str, Shape]:
        names = ["loc", "raw_scale", *(["logits"] if self.components > 1 else [])]
        return dict.fromkeys(names, (self.components, *self.event_shape))

    def forward(self, loc: Tensor, raw_scale: Tensor, logits: Tensor | None = None) -> dist.TorchDistribution:
        params = (loc, raw_scale, loc.new_zeros(loc.shape) if logits is None else logits)
        loc, raw_scale, logits = (_last(param, self.event_shape) for param in params)
        return self.over_event(
            distributions.DiscretizedLogistic(loc, positive(raw_scale), logits, self.levels)
        )


def _last(tensor: Tensor, event_shape: Shape) -> Tensor:
    """Move the axis before the event (from convolutional heads) to the end.

    It moves in memory too, since sums over it are then faster and compiled code depends on strides.
    """
    return tensor.movedim(-len(event_shape) - 1, -1).contiguous()


def _advice(count: int, *, grey: bool) -> str:
    if grey:
        return (
            f"every value must be one of the {count} grey levels k / {count - 1}: leave dequantize and "
            "binarize out, or use Normal for data without levels"
        )
    return f"every value must be a whole number from 0 to {count - 1}: number the classes from 0"
