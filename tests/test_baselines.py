"""Densities without a network, for rows with missing entries too."""

import math

import torch

from pyrovae import baselines
from pyrovae.datasets import Rows


def test_pixel_means_leave_missing_entries_out():
    """`evaluate` of binary images with missing pixels ended in an error."""
    x = torch.tensor([[1.0, 0], [1, math.nan], [0, math.nan], [1, 1], [math.nan, 0]])
    first, second = (3 + 0.5) / (4 + 1), (1 + 0.5) / (3 + 1)  # ones of those present, and a pseudo-count
    test = torch.tensor([[1.0, 1], [0, math.nan], [math.nan, math.nan]])
    wanted = torch.tensor([math.log(first) + math.log(second), math.log1p(-first), 0.0])
    torch.testing.assert_close(baselines.pixel_means(x, Rows(test)), wanted.double())


def test_a_column_that_is_missing_in_every_row_changes_nothing():
    draw = torch.Generator().manual_seed(0)
    x = torch.bernoulli(torch.full((200, 6), 0.3), generator=draw)
    wider = torch.cat([x, torch.full((200, 2), math.nan)], 1)
    one = baselines.bernoulli_mixture(x, x, components=3, seed=1)
    two = baselines.bernoulli_mixture(wider, wider, components=3, seed=1)
    torch.testing.assert_close(one, two)
