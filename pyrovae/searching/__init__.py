"""Search: declarations with choices, and the studies, sweeps and bandits that choose.

A `Space` is a declaration in which some values are choices. Files of this package:

    space, parts, reading         a space, the parts in it, and its words
    workers, worker, trial        processes, and what they do: train a VAE in a run folder, score it
    trials, search, finalists     a study: trials chosen by optuna, the best refitted and ranked
    sweep                         all points of a grid
    ranking, importance           declarations with errors; which choices matter
    folder, outcomes, runs        the files of a search
    study, sweep_result           what a search and a sweep return
"""

from pyrovae.searching.search import search
from pyrovae.searching.space import Point, Space
from pyrovae.searching.study import Study
from pyrovae.searching.sweep import sweep
from pyrovae.searching.sweep_result import Sweep

__all__ = ["Point", "Space", "Study", "Sweep", "search", "sweep"]
