"""Search: declarations with choices, and the studies, sweeps and bandits that choose.

A `Space` is a declaration in which some values are choices. Files of this package:

    space, parts, reading         a space, the parts in it, and its words
    workers, worker, trial        processes, and what they do: train a VAE in a run folder, score it
    trials, search, finalists     a study: trials chosen by optuna, the best refitted and ranked
    sweep                         all points of a grid
    bandit, arms, rewards, pulls  arms that are trained a little at a time, the best ones most
    policies, values, curves      which arm is next, and how good it will be
    ranking, importance           declarations with errors; which choices matter
    folder, outcomes, runs        the files of a search
    study, sweep_result           what a search and a sweep return
    bandit_result, history        what a bandit returns, and its pulls as numbers
"""

from pyrovae.searching.bandit import bandit
from pyrovae.searching.bandit_result import Bandit
from pyrovae.searching.policies import EXP3, UCB, Halving, Policy, Thompson, Turns
from pyrovae.searching.search import search
from pyrovae.searching.space import Point, Space
from pyrovae.searching.study import Study
from pyrovae.searching.sweep import sweep
from pyrovae.searching.sweep_result import Sweep
from pyrovae.searching.values import Curve, Mean

__all__ = [
    "EXP3",
    "UCB",
    "Bandit",
    "Curve",
    "Halving",
    "Mean",
    "Point",
    "Policy",
    "Space",
    "Study",
    "Sweep",
    "Thompson",
    "Turns",
    "bandit",
    "search",
    "sweep",
]
