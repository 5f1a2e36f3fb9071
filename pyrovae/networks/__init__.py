r"""Networks: from data to features, and from latents to features.

An encoder reads x and a decoder reads z. Both return features, not parameters. The program adds one
head for each parameter that the guide or the likelihood declares:

    x (*, *event) -> encoder -> features -> head "loc", head "scale" -> q(z|x)
    z (*, D)      -> decoder -> features -> head "logits"            -> p(x|z)

So a network does not depend on the distribution. Leading dimensions (data, particles) pass through
unchanged. Rows must be independent, so there is no batch normalisation: with it, log p(x) of a row
would depend on the other rows. A context c is a second input, joined to the first.
"""

from pyrovae.networks.base import Activation, Headed, Network
from pyrovae.networks.bayesian import Bayesian
from pyrovae.networks.convolutions import Conv1dDecoder, Conv1dEncoder
from pyrovae.networks.dense import MLP, Gated, location_and_scale
from pyrovae.networks.images import ConvDecoder, ConvEncoder, ResidualDecoder, ResidualEncoder
from pyrovae.networks.points import PointEncoder
from pyrovae.networks.precision import Precision, networks_in, products_in
from pyrovae.networks.recurrent import Recurrent
from pyrovae.networks.transformer import Transformer
from pyrovae.networks.wrapped import Wrapped

__all__ = [
    "MLP",
    "Activation",
    "Bayesian",
    "Conv1dDecoder",
    "Conv1dEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "Gated",
    "Headed",
    "Network",
    "PointEncoder",
    "Precision",
    "Recurrent",
    "ResidualDecoder",
    "ResidualEncoder",
    "Transformer",
    "Wrapped",
    "location_and_scale",
    "networks_in",
    "products_in",
]
