"""A network as a user might have it in a file: plain torch, which knows nothing of VAEs."""

import torch
from torch import nn


class Both(nn.Module):
    """Reads x, and c when it is given."""

    def __init__(self, width: int = 6, features: int = 5) -> None:
        super().__init__()
        self.first = nn.LazyLinear(width)
        self.last = nn.Linear(width, features)

    def forward(self, x, c=None):
        rows = x.flatten(1) if c is None else torch.cat([x.flatten(1), c], -1)
        return torch.tanh(self.last(torch.tanh(self.first(rows))))


def stacked(features: int = 5) -> nn.Module:
    """The same in one expression."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(features), nn.SiLU())


not_a_network = 3
