"""`datasets`: the data sets that `--data` knows by name."""

from __future__ import annotations

from pyrovae.datasets import known

__all__ = ["datasets"]


def datasets(*, root: str | None = None) -> None:
    """List the known data sets, and which are on this machine.

    Arguments:
        root: the folder of the image sets, in torchvision's layout.

    Example:
        pyrovae datasets
        pyrovae fit --data fashion_mnist
    """
    lines = known(root)
    width = max(map(len, lines))
    for name, line in lines.items():
        print(f"{name:<{width}}  {line}")
    print("or your own: .npy, .npz, a table (.csv, .parquet, .xlsx, ...), or a folder of images")
