"""Samples while a run trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrovae import plots
from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.files import write_whole
from pyrovae.part import Declared
from pyrovae.report import is_image, original_images
from pyrovae.training import Callback, Running

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Images"]


class Images(Declared, Callback):
    """Sample images every few epochs, and after the last one.

    They are E[x|z] of samples of the prior, and of the contexts of validation rows if there are
    any, with the same noise every time. Each picture is written to `samples/epoch_0005.png` in the
    run folder, and trackers show it as "samples".

    Arguments:
        every: the number of epochs between two pictures.
        count: the number of images in a picture.

    Raises:
        InputError: for a number below 1; at the start of the run, for a program that does not
            sample images.

    Example:
        >>> import tempfile
        >>> import pyrovae as pv
        >>> data = pv.datasets.load("digits", binarize="threshold", count=200)
        >>> vae = pv.VAE(data.event_shape, latent_dim=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = pv.fit(vae, data, epochs=2, progress=False, figures=False,
        ...                  out=f"{folder}/run", callbacks=[pv.callbacks.Images(every=2, count=9)])
        ...     [path.name for path in (run.folder / "samples").iterdir()]
        ['epoch_0002.png']
    """

    def __init__(self, every: int = 5, count: int = 64) -> None:
        self.every = whole("every of Images", every)
        self.count = whole("count of Images", count)

    def on_start(self, run: Running) -> None:
        """Refuse a program that does not sample images.

        Raises:
            InputError: with the shape of its events.
        """
        shape = tuple(run.data.event_shape)
        if not is_image(shape):
            raise InputError(
                f"Images shows events of a shape (1 or 3, height, width), not {shape}: leave it out"
            )
        if not callable(getattr(run.program, "sample", None)):
            raise InputError("Images needs a program with the method `sample`, as a VAE has: leave it out")

    def on_epoch(self, run: Running) -> None:
        """Make a picture, if it is time to."""
        if run.epoch % self.every and run.epoch < run.epochs:
            return
        picture = self._picture(run)
        run.images["samples"] = picture
        if run.folder is not None:
            (run.folder / "samples").mkdir(exist_ok=True)
            path = run.folder / "samples" / f"epoch_{run.epoch:04d}.png"
            write_whole(path, lambda file: _image(picture).save(file, "png"))

    def _picture(self, run: Running) -> np.ndarray:
        """A mosaic of samples, (H, W, 3) of bytes."""
        rows = run.data.validation[: self.count]
        count = self.count if rows.context is None else len(rows)
        samples = run.program.sample(count, rows.context, mean=True, seed=0)
        if rows.context is not None:
            samples = original_images(run.data.derived, rows.of_values(samples))
        mosaic = np.asarray(plots.image_grid(samples.cpu()).images[0].get_array())
        grey = mosaic[..., None] if mosaic.ndim == 2 else mosaic
        return np.broadcast_to(np.rint(255 * grey), (*grey.shape[:2], 3)).astype(np.uint8)


def _image(picture: np.ndarray) -> Any:  # noqa: ANN401
    from PIL import Image

    return Image.fromarray(picture)
