"""Plotting functions: they take arrays and return matplotlib axes.

Every function takes numpy arrays, torch tensors, `Rows` or lists and returns the `Axes` it drew on:
those given as `ax=`, or new ones on a new figure, which a notebook displays. It does not use pyplot
and does not choose a backend. If a figure has several panels, the returned axes are their frame,
and the panels are `ax.child_axes`. The style is set for the drawing only, not globally.

    ax = pv.plots.reconstructions(x, x_hat)
    pv.plots.save(ax, "figures/reconstructions.png")

`textbook` has the figures of a chapter on latent-variable models, one call for each.
"""

from pyrovae.plots import textbook
from pyrovae.plots.bandits import arm_images, arm_pulls, arm_rewards, regret_curve
from pyrovae.plots.bounds import bounds_below, gradient_noise, posterior_density
from pyrovae.plots.comparisons import log_px_histogram, ranking
from pyrovae.plots.curves import training_curves
from pyrovae.plots.diagnostics import bound_curve, gap_curve, inference_gaps, latent_kl, weights
from pyrovae.plots.factors import factor_information
from pyrovae.plots.files import save
from pyrovae.plots.images import conditional_samples, image_grid, manifold, reconstructions
from pyrovae.plots.information import code_lengths
from pyrovae.plots.latents import latent_scatter, prior_density
from pyrovae.plots.mixtures import component_grid, confusion, doubt, latent_map, overlap, walks
from pyrovae.plots.samples import compare, samples_1d, scatter_2d
from pyrovae.plots.search import search_curves, search_history, search_importance
from pyrovae.plots.search_pairs import search_contour
from pyrovae.plots.search_space import search_parallel, search_slices
from pyrovae.plots.steps import change_table, step_grid, step_lines
from pyrovae.plots.style import style
from pyrovae.plots.sweeps import sweep_curves

__all__ = [
    "arm_images",
    "arm_pulls",
    "arm_rewards",
    "bound_curve",
    "bounds_below",
    "change_table",
    "code_lengths",
    "compare",
    "component_grid",
    "conditional_samples",
    "confusion",
    "doubt",
    "factor_information",
    "gap_curve",
    "gradient_noise",
    "image_grid",
    "inference_gaps",
    "latent_kl",
    "latent_map",
    "latent_scatter",
    "log_px_histogram",
    "manifold",
    "overlap",
    "posterior_density",
    "prior_density",
    "ranking",
    "reconstructions",
    "regret_curve",
    "samples_1d",
    "save",
    "scatter_2d",
    "search_contour",
    "search_curves",
    "search_history",
    "search_importance",
    "search_parallel",
    "search_slices",
    "step_grid",
    "step_lines",
    "style",
    "sweep_curves",
    "textbook",
    "training_curves",
    "walks",
    "weights",
]
