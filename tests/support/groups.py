"""Three well separated groups of points."""

import torch

CENTRES = torch.tensor([[-6.0, 0.0, 1.0], [0.0, 6.0, 0.0], [5.0, 5.0, -4.0]])


def blobs(count=120):
    """Three groups of unequal sizes, their spreads unequal too; and the group of each."""
    rng = torch.Generator().manual_seed(0)
    label = torch.arange(count) % 4 % 3  # the first group twice as large
    spread = torch.tensor([[0.4, 0.2, 0.3], [0.2, 0.5, 0.2], [0.3, 0.3, 0.3]])[label]
    return CENTRES[label] + spread * torch.randn(count, 3, generator=rng), label
