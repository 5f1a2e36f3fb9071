"""Search: declarations with choices, studies, sweeps and bandits."""

from pyrovae.searching.space import Point, Space

__all__ = ["Point", "Space"]
