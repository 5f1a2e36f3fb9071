r"""Initial components of a mixture.

random      means from N(0, I)
spread      means on a sphere, as far from each other as possible, with the closest two 4 standard
            deviations apart: on a circle in the plane, or at the corners of a simplex if there are
            enough dimensions
kmeans      the moments of the clusters that k-means finds in encodings
fit         a mixture of Gaussians fitted to encodings by EM
graph       the moments of communities: each encoding is joined to its nearest ones, and the graph
            is cut into groups that are joined more often than by chance (modularity); they may be
            curved

Reference:
    Arthur & Vassilvitskii (2007), "k-means++"; Blondel, Guillaume, Lambiotte & Lefebvre (2008),
    "Fast Unfolding of Communities in Large Networks"; Jiang, Zheng, Tan, Tang & Zhou (2017),
    "Variational Deep Embedding" (a start from a mixture fitted to encodings).
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.numerics import SCALE_FLOOR
from pyrovae.priors.moments import Moments

__all__ = ["FROM_DATA", "STARTS", "Start", "from_encodings", "spread"]

Start = Literal["random", "spread", "kmeans", "fit", "graph"]
STARTS = get_args(Start)
FROM_DATA = ("kmeans", "fit", "graph")
APART = 4.0

NEIGHBOURS = 15
FINEST = 1000.0
TRIES = 3
SMALLEST = 1e-3  # smallest variance of a cluster, relative to that of the encodings


def spread(count: int, dim: int) -> Tensor:
    """Spread points (count, dim) evenly, as a pure function of the two numbers."""
    if dim == 1:
        return APART * (torch.arange(count) - (count - 1) / 2).unsqueeze(-1).to(torch.get_default_dtype())
    if dim == 2:
        angle = 2 * math.pi * torch.arange(count) / count
        points = torch.stack([angle.cos(), angle.sin()], -1).to(torch.get_default_dtype())
    else:
        points = _repelled(count, dim)
    nearest = torch.pdist(points).min() if count > 1 else torch.tensor(math.inf)
    return points * (APART / nearest)


def _repelled(count: int, dim: int) -> Tensor:
    """Points on the unit sphere, moved apart by repulsion."""
    points = torch.randn(count, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for step in range(400):
        points = points / points.norm(dim=-1, keepdim=True)
        near = 1 / (2 - 2 * points @ points.mT).clamp_min(1e-6)  # one over the squared distances
        near.fill_diagonal_(0.0)
        push = points * near.sum(1, keepdim=True) - near @ points
        along = push - (push * points).sum(-1, keepdim=True) * points
        points = points + 0.5 * 0.99**step * along / along.norm(dim=-1, keepdim=True).max().clamp_min(1e-6)
    return (points / points.norm(dim=-1, keepdim=True)).to(torch.get_default_dtype())


def from_encodings(start: Start, z: Tensor, components: int, known: Tensor | None = None) -> Moments:
    """Weights, means and covariances of clusters of encodings z (N, D), a pure function of z.

    With known classes (one-hot rows (N, K), zeros where unknown), cluster k is matched with class
    k.

    Raises:
        InputError: if there are fewer different encodings than components.
    """
    points = z.detach().double().cpu().numpy()
    if len(np.unique(points, axis=0)) < components:
        raise InputError(
            f"{len(np.unique(points, axis=0))} different encodings cannot start {components} components: use "
            "fewer, or start='spread'"
        )
    if start == "fit":
        moments, shares = _fitted(points, components)
    else:
        label = _by_graph(points, components) if start == "graph" else _by_means(points, components)
        moments, shares = _moments(points, label, components), np.eye(components)[label]
    if known is None:
        return moments
    order = torch.as_tensor(_matched(shares, known.detach().double().cpu().numpy()))
    return Moments(*(part[order] for part in moments))


def _matched(shares: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The cluster for each class, by the best matching of p(k|z) (N, K) with the known classes."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(known.T @ shares, maximize=True)[1]


def _by_means(points: np.ndarray, components: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    return KMeans(components, n_init=10, random_state=0).fit_predict(points)


def _by_graph(points: np.ndarray, components: int) -> np.ndarray:
    """Communities of the graph of neighbours, merged until K are left.

    The search for communities depends on its seed; the best result of a few seeds is used.
    """
    import networkx as nx
    from sklearn.neighbors import kneighbors_graph

    near = kneighbors_graph(points, min(NEIGHBOURS, len(points) - 1))
    weights = (near + near.T) / 2
    graph = nx.from_scipy_sparse_array(weights)
    labels = [_merged(weights, _communities(graph, components, seed), components) for seed in range(TRIES)]
    return max(labels, key=lambda label: _modularity(weights, label))


def _communities(graph: Any, components: int, seed: int) -> np.ndarray:  # noqa: ANN401
    """The index of each node's community; the resolution increases until there are enough."""
    import networkx as nx

    groups: list[set[int]] = []
    resolution = 1.0
    while len(groups) < components and resolution < FINEST:
        groups = nx.community.louvain_communities(graph, resolution=resolution, seed=seed)
        resolution *= 1.2
    label = np.empty(len(graph), dtype=int)
    for k, members in enumerate(groups):
        label[list(members)] = k
    return label


def _modularity(graph: Any, label: np.ndarray) -> float:  # noqa: ANN401
    """The share of edges within groups minus the share expected by chance."""
    between = _between(graph, label)
    degree = between.sum(0)
    return float(np.trace(between) / degree.sum() - np.square(degree / degree.sum()).sum())


def _between(graph: Any, label: np.ndarray) -> np.ndarray:  # noqa: ANN401
    """The total weights of the edges between groups, (G, G)."""
    one_hot = np.eye(label.max() + 1)[label]
    return one_hot.T @ (graph @ one_hot)


def _merged(graph: Any, label: np.ndarray, components: int) -> np.ndarray:  # noqa: ANN401
    """Merge groups with the least loss of modularity, e_ij - d_i d_j / 2m; returns the labels."""
    between = _between(graph, label)
    while len(between) > components:
        degree = between.sum(0)
        gain = between - np.outer(degree, degree) / degree.sum()
        np.fill_diagonal(gain, -np.inf)
        i, j = sorted(np.unravel_index(gain.argmax(), gain.shape))
        between[i] += between[j]
        between[:, i] += between[:, j]
        between = np.delete(np.delete(between, j, 0), j, 1)
        label = np.where(label == j, i, label - (label > j))
    return label


def _fitted(points: np.ndarray, components: int) -> tuple[Moments, np.ndarray]:
    """A mixture fitted by EM, and p(k|z) of the points."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(components, n_init=5, reg_covar=_least(points), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a start need not be optimal
        mixture.fit(points)
    moments = Moments(*map(torch.as_tensor, (mixture.weights_, mixture.means_, mixture.covariances_)))
    return moments, mixture.predict_proba(points)


def _least(points: np.ndarray) -> float:
    """The variance to add to each cluster, above zero even if all points are equal."""
    return max(SMALLEST * float(points.var(0).mean()), SCALE_FLOOR**2)


def _moments(points: np.ndarray, label: np.ndarray, components: int) -> Moments:
    """Moments for each label; without points, those of all points and a small weight."""
    floor = _least(points) * np.eye(points.shape[1])
    parts = [points[label == k] for k in range(components)]
    parts = [part if len(part) else points for part in parts]
    weights = np.array([max((label == k).sum(), 0.5) for k in range(components)], dtype=float)
    centred = [part - part.mean(0) for part in parts]
    covariance = np.stack([c.T @ c / len(c) + floor for c in centred])
    loc = np.stack([part.mean(0) for part in parts])
    return Moments(*map(torch.as_tensor, (weights / weights.sum(), loc, covariance)))
