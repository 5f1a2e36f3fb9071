"""Networks that several VAEs share."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from pyrovae.checks import one_of
from pyrovae.errors import InputError

__all__ = ["Sharable", "Shares"]

Sharable = Literal["encoder"]

# The modules of a VAE that make up what is shared: for the encoder, all of q(z|x).
MODULES: dict[str, tuple[str, ...]] = {"encoder": ("recognition", "q", "constants")}
# The hyperparameters of a VAE that must agree.
SAME = ("event_shape", "context_shape", "latent_dim", "missing", "encoder", "q")
WORDS = {"q": "guide"}


class Shares:
    """The methods of a `VAE` that shares a network with others."""

    def share(self: Any, other: Any, what: Sharable = "encoder") -> None:  # noqa: ANN401
        """Use the encoder of another VAE: afterwards both have one q(z|x) with the same tensors.

        The tensors are those of the encoder, its heads and the guide. Whoever trains one of the
        VAEs changes q(z|x) of both. `copy.deepcopy(vae)` is a VAE with tensors of its own. A run
        folder holds all weights of its VAE, so a VAE that is loaded shares nothing.

        Arguments:
            other: the VAE whose encoder is used; it does not change.
            what: "encoder".

        Raises:
            InputError: unless encoder, guide, latents and the shape of the data are the same.

        Example:
            >>> from pyrovae import VAE
            >>> from pyrovae.networks import MLP
            >>> vae = VAE((4,), 2, decoder=MLP(8))
            >>> other = VAE((4,), 2, decoder=MLP(8, 8))
            >>> vae.share(other)
            >>> vae.encode([[1, 0, 0, 1]]).mean.equal(other.encode([[1, 0, 0, 1]]).mean)
            True
        """
        one_of("what", what, tuple(MODULES))
        for name in SAME:
            mine, others = getattr(self, name), getattr(other, name, None)
            if mine != others:
                word = WORDS.get(name, name)
                raise InputError(
                    f"the VAEs cannot share an encoder, as they differ in {word} ({mine!r} and {others!r}): "
                    f"declare both with the same {word}"
                )
        pairs = [(getattr(self, name), getattr(other, name)) for name in MODULES[what]]
        pairs = [(mine, others) for mine, others in pairs if mine is not None]
        for mine, others in pairs:
            _check_shapes(mine, others)
        for mine, others in pairs:
            _tie(mine, others)

    def shared_tensors(self: Any, what: Sharable = "encoder") -> list[str]:  # noqa: ANN401
        """The names of the tensors that `share` makes common, as in `state_dict()`.

        Example:
            >>> from pyrovae import VAE
            >>> from pyrovae.networks import MLP
            >>> VAE((4,), 2, encoder=MLP(8)).shared_tensors()[:2]
            ['recognition.network.layers.0.weight', 'recognition.network.layers.0.bias']
        """
        modules = MODULES[one_of("what", what, tuple(MODULES))]
        return [name for name in self.state_dict() if name.partition(".")[0] in modules]


def _check_shapes(mine: nn.Module, others: nn.Module) -> None:
    """Check that two modules have the same tensors."""
    shapes = [{name: tuple(t.shape) for name, t in m.state_dict().items()} for m in (mine, others)]
    names = [name for name in {**shapes[0], **shapes[1]} if shapes[0].get(name) != shapes[1].get(name)]
    if names:
        raise InputError(
            f"the VAEs cannot share an encoder, as its tensor {names[0]} has the shapes "
            f"{shapes[0].get(names[0])} and {shapes[1].get(names[0])}: declare both with the same prior and "
            "likelihood"
        )


def _tie(mine: nn.Module, others: nn.Module) -> None:
    """Put the parameters and buffers of one module into another of the same structure."""
    for one, two in zip(mine.modules(), others.modules(), strict=True):
        one._parameters.update(two._parameters)
        one._buffers.update(two._buffers)
