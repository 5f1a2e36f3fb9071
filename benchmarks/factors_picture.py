"""The picture of docs/factors.md: in each row one factor goes from its lowest to its highest value.

python benchmarks/factors_picture.py docs/images/factors.png
"""

import sys

import numpy as np
from PIL import Image

from pyrovae.datasets import drawn_faces, drawn_sprites
from pyrovae.datasets.causes import Cause

STEPS, SIZE, GAP, BETWEEN = 9, 48, 2, 20
FACE = {"hair": 1.0}
SPRITE = {"shape": 2.0, "scale": 1.0, "x": 0.5, "y": 0.5}


def main(path: str) -> None:
    """Draw four rows of two factors of faces each, and two rows of two factors of sprites."""
    faces = rows(drawn_faces.CAUSES, drawn_faces._paint, FACE)
    sprites = rows(drawn_sprites.CAUSES[1:], drawn_sprites._paint, SPRITE, drawn_sprites.CAUSES)
    parts = [
        side_by_side(faces),
        np.full((GAP * 5, side_by_side(faces).shape[1]), 255),
        side_by_side(sprites),
    ]
    Image.fromarray(np.concatenate(parts).astype(np.uint8)).save(path, optimize=True)


def rows(moved, paint, usual: dict[str, float], causes: tuple[Cause, ...] | None = None) -> np.ndarray:  # noqa: ANN001
    """Images (F, STEPS, H, W): factor f takes its values from low to high, the others their usual ones."""
    causes = causes or moved
    values = np.tile([usual.get(cause.name, 0.0) for cause in causes], (len(moved), STEPS, 1))
    for f, cause in enumerate(moved):
        place = causes.index(cause)
        share = np.linspace(0, 1, STEPS)
        is_word = cause.kind == "categorical"
        steps = np.floor(np.arange(STEPS) * cause.steps / STEPS)
        values[f, :, place] = steps if is_word else cause.low + share * (cause.high - cause.low)
    images = paint(values.reshape(-1, len(causes)), SIZE)
    return images.reshape(len(moved), STEPS, SIZE, SIZE)


def side_by_side(images: np.ndarray) -> np.ndarray:
    """The first half of the rows on the left, and the second half on the right."""
    half = len(images) // 2
    left, right = mosaic(images[:half]), mosaic(images[half:])
    return np.concatenate([left, np.full((len(left), BETWEEN), 255), right], axis=1)


def mosaic(images: np.ndarray) -> np.ndarray:
    framed = np.pad(images, ((0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=255)
    return framed.transpose(0, 2, 1, 3).reshape(len(images) * (SIZE + GAP), -1)


if __name__ == "__main__":
    main(sys.argv[1])
