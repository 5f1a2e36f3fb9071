"""Search: declarations with choices, studies, sweeps and bandits."""

from pyrovae.searching.space import Point, Space
from pyrovae.searching.sweep import sweep
from pyrovae.searching.sweep_result import Sweep

__all__ = ["Point", "Space", "Sweep", "sweep"]
