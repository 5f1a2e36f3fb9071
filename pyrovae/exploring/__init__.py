r"""Exploring a VAE whose latents are a mixture: look at its components, name them, trust them, change them.

    ex = explore(vae, data)
    print(ex)                         what one sees first
    ex.components                     a table: weight, data, nats, overlap
    ex.responsibilities               p(c|x), with its spread over q(z|x)
    ex.walk(0, 1, along="density")    from one component to another
    ex.merge(3, 7)                    another prior, and what log p(x) says to it

Answers are arrays, tables that print themselves, and latents decoded; pictures are in `pyrovae.plots`.
"""

from pyrovae.exploring.agreement import Agreement, Agreements, agreement, agreements
from pyrovae.exploring.choosing import Choice, choose, choose_plain
from pyrovae.exploring.components import Components
from pyrovae.exploring.editing import Edit
from pyrovae.exploring.exploration import Exploration, explore
from pyrovae.exploring.projection import Projection
from pyrovae.exploring.summary import Datum
from pyrovae.exploring.walks import Walk

__all__ = [
    "Agreement",
    "Agreements",
    "Choice",
    "Components",
    "Datum",
    "Edit",
    "Exploration",
    "Projection",
    "Walk",
    "agreement",
    "agreements",
    "choose",
    "choose_plain",
    "explore",
]
