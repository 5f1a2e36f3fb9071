"""Small files in the formats of MNIST, QMNIST and CIFAR-10."""

import gzip
import pickle
import struct
import tarfile

import numpy as np
import torch

from pyrovae.datasets import archive


def fake_mnist(root, *, packed=False, files=archive.LAYOUTS["mnist"].files, name="MNIST", count=24):
    """Write a set of `count` training and test images; returns its pixels (2, count, 28, 28)."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (2, count, 28, 28), dtype=np.uint8)
    for part in range(2):
        images = struct.pack(">IIII", 0x803, count, 28, 28) + pixels[part].tobytes()
        if name == "QMNIST":
            codes = np.zeros((count, 8), dtype=">i4")
            codes[:, 0] = np.arange(count) % 10
            labels = struct.pack(">III", 0xC02, count, 8) + codes.tobytes()
        else:
            labels = struct.pack(">II", 0x801, count) + (np.arange(count) % 10).astype(np.uint8).tobytes()
        for file, content in zip(files[2 * part : 2 * part + 2], (images, labels), strict=True):
            if packed:
                (folder / f"{file}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / file).write_bytes(content)
    return torch.from_numpy(pixels)


def fake_cifar(root, monkeypatch):
    """Write six files of four equal images, packed as the original; returns the image."""
    import torchvision

    (folder := root / "made").mkdir(parents=True)
    kind, image = torchvision.datasets.CIFAR10, np.arange(3072, dtype=np.int64) % 251
    names = [name for name, _ in kind.train_list + kind.test_list]
    for name in names:
        (folder / name).write_bytes(
            pickle.dumps({"data": np.tile(image, (4, 1)).astype(np.uint8), "labels": [0, 1, 2, 3]})
        )
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcd")}))
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as packed:
        packed.add(folder, "cifar-10-batches-py")
    monkeypatch.setattr(kind, "train_list", [(name, None) for name in names[:-1]])
    monkeypatch.setattr(kind, "test_list", [(names[-1], None)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": None})
    return image
