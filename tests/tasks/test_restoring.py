"""Masks, simple restorations, measurements of grey levels, and figures of completed images."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from PIL import Image

import pyrovae as pv
from pyrovae.datasets import Rows
from pyrovae.distributions import DiscretizedLogistic, Levels
from pyrovae.exploring.space import Space
from pyrovae.measurements import Downsample, Missing, Noise
from pyrovae.measurements.families import as_finite
from pyrovae.tasks.figures import completions
from pyrovae.tasks.restoring import (
    CoarseDownsample,
    CoarseNoise,
    bicubic,
    error_line,
    levels_of,
    mask_of,
    median_of,
    on_levels,
    reconstructed,
)
from pyrovae.testing.attaching import perturb
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import binary, small

EVENT = (1, 4, 4)
MASKS = {
    "left": "1100 1100 1100 1100",
    "right": "0011 0011 0011 0011",
    "top": "1111 1111 0000 0000",
    "bottom": "0000 0000 1111 1111",
    "centre": "0000 0110 0110 0000",
    "quadrant:1": "1100 1100 0000 0000",
    "quadrant:2": "0011 0011 0000 0000",
    "quadrant:3": "0000 0000 1100 1100",
    "quadrant:4": "0000 0000 0011 0011",
}


@pytest.mark.parametrize("word", MASKS)
def test_a_mask_removes_what_its_name_says(word):
    mask = mask_of(word, (3, 4, 4), 2)
    assert mask.shape == (2, 3, 4, 4)
    rows = ["".join(str(int(pixel)) for pixel in row) for row in mask[1, 2]]
    assert " ".join(rows) == MASKS[word]


def test_random_masks_have_their_share_and_files_are_read(tmp_path):
    mask = mask_of("random:.25", (3, 20, 20), 50, seed=1)
    assert mask.double().mean().item() == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / 20_000))
    assert (mask == mask[:, :1]).all()
    assert torch.equal(mask, mask_of("random:.25", (3, 20, 20), 50, seed=1))
    assert not torch.equal(mask, mask_of("random:.25", (3, 20, 20), 50, seed=2))
    white = np.zeros((4, 4), dtype=np.uint8)
    white[1, 2] = 255
    Image.fromarray(white).save(tmp_path / "m.png")
    assert mask_of(str(tmp_path / "m.png"), EVENT, 1).nonzero().tolist() == [[0, 0, 1, 2]]
    raises_one_sentence(lambda: mask_of(str(tmp_path / "m.png"), (1, 5, 5), 1), "4 x 4", "5 x 5")
    raises_one_sentence(lambda: mask_of(str(tmp_path / "none.png"), EVENT, 1), "none.png")
    Image.fromarray(0 * white).save(tmp_path / "black.png")
    raises_one_sentence(lambda: mask_of(str(tmp_path / "black.png"), EVENT, 1), "no white pixel")
    raises_one_sentence(lambda: mask_of("up", EVENT, 1), "'up'", "left, right")
    raises_one_sentence(lambda: mask_of("random:2", EVENT, 1), "random")
    raises_one_sentence(lambda: mask_of("random:x", EVENT, 1), "random:0.5")


def test_simple_restorations():
    y = torch.zeros(1, 1, 5, 5)
    y[0, 0, 2, 2] = 1.0
    assert (median_of(y) == 0).all()
    assert (median_of(1 - y) == 1).all()
    assert torch.allclose(bicubic(torch.full((1, 1, 3, 3), 0.3), (6, 6)), torch.tensor(0.3))
    assert error_line(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])).endswith("inf dB")
    assert on_levels(torch.tensor([-1.0, 0.3, 0.6]), 3).tolist() == [0.0, 0.5, 0.5]


GUIDES = {
    "a known mean": {},
    "a class in the prior": {"prior": pv.priors.GaussianMixture(3)},
    "a class that the decoder reads": {
        "prior": pv.priors.Classes(3, labels=False),
        "guide": pv.guides.Classes(3),
    },
    "no known mean": {"guide": pv.guides.Flow()},
}


@pytest.mark.parametrize("declaration", GUIDES)
def test_decode_encode_is_the_mean_at_the_mean(declaration):
    """The encoder reads zeros for what is missing."""
    torch.manual_seed(0)
    vae = perturb(small(**GUIDES[declaration])).eval()
    x = torch.where(mask_of("left", EVENT, 6), torch.nan, binary(6))
    found = reconstructed(vae, Rows.of(x), Missing(), seed=3)
    assert found.shape == (6, *EVENT)
    space = Space(vae)
    z = space.encode(Rows.of(x.nan_to_num(0.0)), seed=3)
    torch.testing.assert_close(found, torch.as_tensor(space.decoded(z)))
    if declaration == "a known mean":
        torch.testing.assert_close(found, vae.decode(vae.encode(x.nan_to_num(0.0)).mean).mean.detach())
    assert not torch.allclose(found, reconstructed(vae, Rows.of(binary(6)), Missing(), seed=3), atol=1e-3)
    assert torch.equal(found, reconstructed(vae, Rows.of(x), Missing(), seed=3))


# -------------------------------------------------------------------- grey levels


@pytest.mark.parametrize(
    ("likelihood", "count"),
    [
        (pv.likelihoods.DiscretizedLogistic(17), 17),
        (pv.likelihoods.Categorical(5), 5),
        (pv.likelihoods.Categorical(40, grey=False), 0),
        (pv.likelihoods.Bernoulli(), 0),
        (pv.likelihoods.Normal(), 0),
    ],
)
def test_grey_levels_are_those_between_0_and_1(likelihood, count):
    assert levels_of(small(likelihood=likelihood)) == count


def grey(*shape: int) -> DiscretizedLogistic:
    draw = torch.Generator().manual_seed(0)
    loc, scale = torch.rand(*shape, 2, generator=draw), 0.02 + 0.1 * torch.rand(*shape, 2, generator=draw)
    return DiscretizedLogistic(loc, scale, torch.randn(*shape, 2, generator=draw), 256)


@pytest.mark.parametrize("kind", ["logistic", "levels"])
def test_noisy_grey_levels_are_close_to_the_exact_ones(kind):
    p = grey(3, 1, 2, 2)
    if kind == "levels":
        p = Levels(as_finite(p).logits, top=255)
    y = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    exact, coarse = Noise(0.2).attached((1, 2, 2)), CoarseNoise(0.2, 256).attached((1, 2, 2))
    torch.testing.assert_close(
        coarse.marginal(p).log_prob(y), exact.marginal(p).log_prob(y), atol=0.02, rtol=0
    )
    for one, two in zip(coarse.moments(p, y), exact.moments(p, y), strict=True):
        torch.testing.assert_close(one, two, atol=0.01, rtol=0.05)


def test_means_of_grey_levels_are_close_to_the_exact_ones():
    """The density of the normal distribution against P(mean) / step, and E[x|y] sums to y."""
    p = grey(2, 1, 2, 4)
    exact, coarse = Downsample(2).attached((1, 2, 4)), CoarseDownsample(2).attached((1, 2, 4))
    y = coarse.marginal(p).mean
    y = (y * 4 * 255).round() / (4 * 255)
    step = math.log(4 * 255)
    torch.testing.assert_close(
        coarse.marginal(p).log_prob(y), exact.marginal(p).log_prob(y) + step, atol=0.3, rtol=0
    )
    mean, variance = coarse.moments(p, y)
    torch.testing.assert_close(coarse.given(mean).loc, y, atol=1e-5, rtol=0)
    assert (variance > 0).all()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = coarse.back(p.expand((500, *p.batch_shape)), y, lambda q: q.sample())
    torch.testing.assert_close(coarse.given(x).loc, y.expand(500, *y.shape), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.mean(0), mean, atol=0.05, rtol=0)
    normal = dist.Normal(torch.zeros(1, 2, 2), 1.0)
    assert CoarseDownsample(2).attached((1, 2, 2)).marginal(normal).scale.item() == pytest.approx(0.5)


# -------------------------------------------------------------------- figures


def test_a_figure_shows_the_measurement_samples_the_mean_and_the_truth():
    vae, x = small(), binary(5)
    y = torch.where(mask_of("left", EVENT, 5), torch.nan, x)
    completion = pv.condition(vae, y, draws=7, particles=50)
    ax = completion.plot(x, rows=4, draws=3)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["given", "samples", "mean", "truth"]
    picture = ax.images[0].get_array()
    side = (picture.shape[1] + 1) // 4 - 1  # four columns, with separators
    np.testing.assert_allclose(picture[0, 0], [0.35, 0.55, 0.85])  # removed
    lower = picture[-side:, :side][:: side // 4, :: side // 4]
    np.testing.assert_allclose(lower[..., 0], x[0, 0].numpy())
    coarse = pv.condition(vae, Downsample(2).attached(EVENT).given(x).loc, through=Downsample(2), draws=2)
    picture = completions(coarse, rows=2).images[0].get_array()
    side = (picture.shape[1] + 1) // 2 - 1
    small_image = picture[:side:, :side][:: side // 2, :: side // 2, 0]
    np.testing.assert_allclose(small_image, coarse.y[0, 0].numpy(), atol=1e-6)


def test_what_is_not_an_image_is_not_drawn():
    vae = pv.VAE((3,), 1, likelihood=pv.likelihoods.Normal(), encoder=pv.networks.MLP(8))
    completion = pv.condition(vae, [[0.1, math.nan, 0.2]], draws=3)
    raises_one_sentence(lambda: completion.plot(), ".to_frame()")
    images = pv.condition(small(), binary(3), draws=3, particles=30)
    raises_one_sentence(lambda: images.plot(binary(2)), "truth")
