r"""Explore a VAE: its latents, its rows and, for a mixture prior, its components.

    ex = explore(vae, data)
    print(ex)                         the main facts
    ex.decode(ex.map.to_latent(u))    a point of the map, decoded
    ex.neighbours(5)                  the rows with the nearest encodings
    ex.path(5, 7)                     from one row to another
    ex.components                     a table: weight, rows, nats, overlap
    ex.responsibilities               p(c|x), with its spread over q(z|x)
    ex.walk(0, 1, along="density")    from one component to another
    ex.merge(3, 7)                    another prior, and its log p(x)

Results are arrays, tables that print themselves, and decoded latents. Figures are in
`pyrovae.plots`.
"""

from typing import TYPE_CHECKING

from pyrovae.errors import renamed
from pyrovae.exploring.agreement import Agreement, Agreements, agreement, agreements
from pyrovae.exploring.choosing import Choice, choose, choose_plain
from pyrovae.exploring.components import Components
from pyrovae.exploring.directions import Directions
from pyrovae.exploring.editing import Edit
from pyrovae.exploring.exploration import Exploration
from pyrovae.exploring.exploring import explore
from pyrovae.exploring.mixture_exploration import MixtureExploration
from pyrovae.exploring.projection import Projection
from pyrovae.exploring.summary import Observation
from pyrovae.exploring.walks import Walk

__all__ = [
    "Agreement",
    "Agreements",
    "Choice",
    "Components",
    "Directions",
    "Edit",
    "Exploration",
    "MixtureExploration",
    "Observation",
    "Projection",
    "Walk",
    "agreement",
    "agreements",
    "choose",
    "choose_plain",
    "explore",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"Datum": "Observation"})
