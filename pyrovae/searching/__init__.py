"""Search: declarations with choices, studies, sweeps and bandits.

space, parts, reading       a space, the parts in it, and its words
workers, worker, trial      processes, and what they do: train a VAE in a run folder and score it
trials, search, finalists   a study: trials chosen by optuna, the best refitted and ranked
ranking, importance         declarations with errors; which choices matter
folder, outcomes, runs      the files of a search
bandit, arms, rewards       a bandit: arms that are trained a little at a time
policies, values, curves    which arm is next, and how good it will be
result                      what a search returns
"""

from pyrovae.searching.bandit import bandit
from pyrovae.searching.policies import EXP3, UCB, Halving, Policy, Thompson, Turns
from pyrovae.searching.result import Bandit
from pyrovae.searching.search import search
from pyrovae.searching.space import Point, Space
from pyrovae.searching.study import Study
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
    "Thompson",
    "Turns",
    "bandit",
    "search",
]
