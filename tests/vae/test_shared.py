"""VAEs that share an encoder."""

import copy

import pytest
import torch

from pyrovae import VAE, fit
from pyrovae.datasets import load
from pyrovae.errors import InputError
from pyrovae.guides import FullRankNormal
from pyrovae.likelihoods import Normal
from pyrovae.networks import MLP
from pyrovae.priors import VampPrior

SIZES = {"event_shape": (4,), "latent_dim": 2, "encoder": MLP(8)}


def vae(seed: int = 0, **options: object) -> VAE:
    return VAE(**SIZES | {"decoder": MLP(5)} | options, seed=seed)


def test_shared_encoder_is_one_set_of_tensors() -> None:
    one, other = vae(), vae(1, decoder=MLP(3, 3))
    decoder = other.decode(torch.zeros(1, 2)).mean
    kept = copy.deepcopy(one.state_dict())
    other.share(one)
    names = other.shared_tensors()
    assert {name.partition(".")[0] for name in names} == {"recognition"}
    for name in names:
        assert one.state_dict()[name].data_ptr() == other.state_dict()[name].data_ptr()
    assert dict(one.named_parameters())[names[0]] is dict(other.named_parameters())[names[0]]
    assert all(torch.equal(kept[name], value) for name, value in one.state_dict().items())
    assert torch.equal(other.decode(torch.zeros(1, 2)).mean, decoder)
    x = torch.ones(3, 4)
    assert torch.equal(one.encode(x).mean, other.encode(x).mean)


def test_training_one_trains_the_encoder_of_both() -> None:
    data = load("digits", binarize="threshold")
    one, other = (VAE.suited(data, latent_dim=2, encoder=MLP(8), decoder=MLP(8)) for _ in range(2))
    other.share(one)
    apart = copy.deepcopy(other)
    fit(one, data, epochs=1, progress=False)
    x = data.test.x[:5]
    assert torch.equal(one.encode(x).mean, other.encode(x).mean)
    assert not torch.equal(one.encode(x).mean, apart.encode(x).mean)  # a copy has its own


def test_prior_made_of_the_encoder_uses_the_shared_one() -> None:
    one, other = vae(), vae(1, prior=VampPrior(components=3))
    before = other.latents().sample((2,)).shape
    density = other.latents().log_prob(torch.zeros(2))
    other.share(one)
    assert other.latents().sample((2,)).shape == before
    assert other.latents().log_prob(torch.zeros(2)) != density
    u = other.prior.u.detach().clamp(0, 1)
    mixture = [one.encode(x[None]).log_prob(torch.zeros(2)) for x in u]
    assert other.latents().log_prob(torch.zeros(2)).item() == pytest.approx(
        torch.cat(mixture).logsumexp(0).item() - torch.tensor(3.0).log().item(), abs=1e-5
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": MLP(9)}, r"they differ in encoder \(MLP\(9"),
        ({"guide": FullRankNormal()}, "they differ in guide"),
        ({"latent_dim": 3}, "they differ in latent_dim"),
        ({"event_shape": (5,)}, "they differ in event_shape"),
        ({"missing": "flags"}, "they differ in missing"),
    ],
)
def test_what_cannot_be_shared_is_refused(options: dict, words: str) -> None:
    one, other = vae(), vae(**options)
    before = [copy.deepcopy(some.state_dict()) for some in (one, other)]
    with pytest.raises(InputError, match=words):
        other.share(one)
    for some, state in zip((one, other), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in some.state_dict().items())


def test_word_and_likelihood() -> None:
    vae().share(vae(likelihood=Normal(1.0)))  # the decoder is not shared
    with pytest.raises(InputError, match="what must be"):
        vae().share(vae(), "decoder")  # type: ignore[arg-type]
