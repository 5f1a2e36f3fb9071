"""Search: declarations with choices, studies, sweeps and bandits.

space, parts, reading       a space, the parts in it, and its words
workers, worker, trial      processes, and what they do: train a VAE in a run folder and score it
trials, search, finalists   a study: trials chosen by optuna, the best refitted and ranked
ranking, importance         declarations with errors; which choices matter
folder, outcomes, runs      the files of a search
result                      what a search returns
"""

from pyrovae.searching.search import search
from pyrovae.searching.space import Point, Space
from pyrovae.searching.study import Study

__all__ = ["Point", "Space", "Study", "search"]
