"""Measurements: how y, which is known, comes from x, which is not.

    Missing()        y = x where it is known, NaN elsewhere
    Noise(sd)        y = x + sd e,  e ~ N(0, 1)
    Flip(p)          y = 1 - x with probability p, else x; binary x
    Downsample(n)    y = means of blocks of n x n pixels
    Crop(h, w)       y = a window of x
    Blur(kernel)     y = x convolved with a kernel
    Quantised(n)     y = the nearest of n numbers between 0 and 1
    Custom(f)        y ~ f(x), any Pyro distribution

They are combined by `>>`, as in `Downsample(2) >> Noise(0.1)`. NaN in y is a
missing entry, except for `Blur`, which needs all of y.
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.measurements.base import Chain, Custom, Measurement, as_measurement
    from pyrovae.measurements.elementwise import Flip, Missing, Noise, Quantised
    from pyrovae.measurements.images import Blur, Crop, Downsample

__all__ = [
    "Blur",
    "Chain",
    "Crop",
    "Custom",
    "Downsample",
    "Flip",
    "Measurement",
    "Missing",
    "Noise",
    "Quantised",
    "as_measurement",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "base": ["Chain", "Custom", "Measurement", "as_measurement"],
            "elementwise": ["Flip", "Missing", "Noise", "Quantised"],
            "images": ["Blur", "Crop", "Downsample"],
        },
    )
