"""Drawn sets in tests."""

import hashlib


def digest(some):
    """The first digits of a hash of the images and the factors of a drawn set."""
    factors = some.factors.values.numpy().astype("<f8").tobytes()
    return hashlib.sha256(some.images.numpy().tobytes() + factors).hexdigest()[:16]
