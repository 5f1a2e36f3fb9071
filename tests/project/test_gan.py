"""Short runs of `benchmarks/gan.py`; docs/gan.md has the results of the long one."""

import json
import math
import runpy

import pytest
import torch

import pyrovae as pv
from tests.support import PROJECT

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(PROJECT / "benchmarks/gan.py"))


@pytest.fixture(scope="module")
def images():
    return pv.datasets.load("digits", dequantize=True)


def weights(script, *, constant=False):
    """Weights of a GAN before training; a constant one generates grey images only."""
    generator = script["declared"](SHAPE, 0.1).generation
    if constant:
        torch.nn.init.zeros_(generator.heads["loc"][0].linear.weight)
    return script["Trained"](generator.state_dict(), None, 0.0)


# -------------------------------------------------------------------- precision and recall


def clouds(*centres, count=50, seed=0):
    """Clouds of points around some centres that are far from each other, (N, 2)."""
    noise = torch.randn(len(centres), count, 2, generator=torch.Generator().manual_seed(seed))
    return (100 * torch.tensor(centres).reshape(-1, 1, 2) + noise).flatten(0, 1)


def test_equal_sets_have_precision_and_recall_of_one(script):
    real = clouds([0.0, 0.0], [1.0, 0.0])
    assert script["precision_recall"](real, real.clone()) == (1, 1)


def test_sets_far_apart_have_neither(script):
    assert script["precision_recall"](clouds([0.0, 0.0]), clouds([1.0, 0.0])) == (0, 0)


def test_half_of_the_modes_missing_halves_the_recall(script):
    modes = [0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]
    real, fake = clouds(*modes), clouds(*modes)[:100]
    assert script["precision_recall"](real, fake) == (1, 0.5)
    assert script["precision_recall"](fake, real) == (0.5, 1)  # half of what is generated is not real


def test_the_same_distribution_has_precision_and_recall_near_one(script):
    real, fake = clouds([0.0, 0.0], count=500), clouds([0.0, 0.0], count=500, seed=1)
    assert min(script["precision_recall"](real, fake)) > 0.9


def test_a_ball_reaches_to_the_neighbour_of_its_number(script):
    centres = torch.tensor([[0.0], [1.0], [4.0]])  # radii 1, 1, 3 for k = 1, and 4, 3, 4 for k = 2
    points = torch.tensor([[-1.5], [-0.5], [3.0], [6.5], [7.5]])
    assert script["near"](points, centres, 1) == pytest.approx(3 / 5)
    assert script["near"](points, centres, 2) == 1


# -------------------------------------------------------------------- the GAN


def test_the_hinge_loss_is_that_of_the_paper(script):
    loss = script["hinge"](torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0]))
    assert loss == pytest.approx((0 + 0.5) / 2 + (0 + 1) / 2)


def test_a_gan_starts_from_the_decoder_of_the_vae(script):
    gan = script["GAN"](script["declared"](SHAPE, 0.1).generation, SHAPE)
    vae = script["declared"](SHAPE, "learned")
    mine, theirs = gan.generator.state_dict(), vae.generation.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.fixture(scope="module")
def stripes(script):
    """A GAN trained on images with a bright left half and a dark right half."""
    x = torch.full((100, *SHAPE), 0.1)
    x[..., :4] = 0.9
    gan = script["GAN"](script["declared"](SHAPE, 0.1, (32,)).generation, SHAPE, memory=0.9)
    gan.fit(iter(lambda: x, None), 150, show=lambda text: None)
    return gan, x


@torch.no_grad()
def test_a_gan_learns_what_its_images_have_in_common(stripes):
    gan, x = stripes
    z = torch.randn(20, 10, generator=torch.Generator().manual_seed(0))
    assert (gan.average.module(z)["loc"] - x[:20]).abs().mean() < 0.1


def test_the_layers_of_the_discriminator_have_norm_one(stripes):
    layers = [
        m for m in stripes[0].discriminator.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)
    ]
    assert len(layers) == 4
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert largest == pytest.approx(1, abs=0.1)


def test_an_epoch_has_each_image_at_most_once(script, images):
    batches = script["batches_of"](images)
    count = len(images.train) // 100
    levels = [torch.floor(next(batches) * 17) for _ in range(count)]
    assert len(torch.cat(levels).flatten(1).unique(dim=0)) > 0.99 * 100 * count
    assert not torch.equal(torch.floor(next(batches) * 17), levels[0])


# -------------------------------------------------------------------- its log p(x)


def test_a_generator_of_one_image_has_a_known_density(script, images):
    program, x = script["program_of"](weights(script, constant=True), SHAPE, 0.3), images.test[:5]
    exact = torch.distributions.Normal(0.5, 0.3).log_prob(x.x).flatten(1).sum(1).numpy()
    for method, particles in (("importance", 10), ("laplace", 100), (pv.evidence.AIS(5, "prior"), 4)):
        found = pv.log_evidence(program, x, method=method, particles=particles)
        assert found.log_px == pytest.approx(exact, abs=1e-3)


def test_laplace_annealing_and_the_prior_agree(script, images):
    program, x = script["program_of"](weights(script), SHAPE, 0.5), images.test[:10]
    found = [
        pv.log_evidence(program, x, method="importance", particles=20_000),
        pv.log_evidence(program, x, method="laplace", particles=500),
        pv.log_evidence(program, x, method="ais", particles=8),
        pv.log_evidence(program, x, method=pv.evidence.AIS(30, "prior"), particles=8),
    ]
    for one in found[1:]:
        error = math.hypot(one.corrected_error, found[0].corrected_error)
        assert one.corrected == pytest.approx(found[0].corrected, abs=5 * error)
        assert error < 0.1


def test_the_program_of_a_gan_is_ranked_with_the_vae(script, images):
    vae = script["declared"](SHAPE, "learned")
    trained = script["Trained"](vae.generation.state_dict(), vae.recognition.state_dict(), 0.0)
    parts = {"GAN": weights(script), "VAE": trained}
    found = {
        name: pv.log_evidence(script["program_of"](part, SHAPE, 0.3), images.test[:20], particles=50)
        for name, part in parts.items()
    }
    assert isinstance(pv.evidence.compare(found), pv.evidence.Comparison)


def test_sigma_is_that_of_the_largest_density(script, images):
    x = images.validation[:10]
    exact = (x.x - 0.5).square().mean().sqrt().item()  # the maximum likelihood estimate
    assert script["best_sigma"](weights(script, constant=True), x) == pytest.approx(exact, rel=1e-3)


def test_no_other_sigma_near_the_best_has_a_larger_density(script, images):
    x, model = images.validation[:10], weights(script)
    best = script["best_sigma"](model, x)
    density = [
        pv.log_evidence(script["program_of"](model, SHAPE, factor * best), x, method="laplace").corrected
        for factor in (0.9, 1, 1.1)
    ]
    assert density[1] > max(density[0], density[2])


def test_a_reconstruction_of_a_constant_generator_is_its_image(script, images):
    program = script["program_of"](weights(script, constant=True), SHAPE, 0.3)
    torch.testing.assert_close(
        script["reconstructions"](program, images.test[:3]), torch.full((3, *SHAPE), 0.5)
    )


@pytest.mark.slow
def test_the_whole_script_runs(script, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["gan.py", "--quick", "--out", str(tmp_path)])
    script["main"]()
    out = capsys.readouterr().out
    assert "ais from the prior" in out
    assert "precision" in out
    results = json.loads((tmp_path / "gan.json").read_text(encoding="utf-8"))
    assert results.keys() == {"GAN", "VAE", "difference", "quality"}
    assert {"gan_samples.png", "gan_reconstructions.png"} < {path.name for path in tmp_path.iterdir()}
    monkeypatch.setattr("sys.argv", ["gan.py", "--quick", "--load", "--out", str(tmp_path)])
    script["main"]()
    again = json.loads((tmp_path / "gan.json").read_text(encoding="utf-8"))
    assert again["GAN"]["log_px"] == results["GAN"]["log_px"]
