"""The figures of the textbook show identities: sums, integrals, gaps and bounds, read back from the artists.

The models have one latent, so the right values come from closed forms and from finer grids.
"""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy.special import gammaln, psi

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.oracles import Curve, Fold, LinearGaussian, quadrature
from pyrovae.plots import textbook
from pyrovae.plots.textbook.exact import alternation, best_normal, path_to
from pyrovae.plots.textbook.models import as_model, bends, observations, posterior_of
from tests.support.pictures import PROPERTIES

SMALL = {
    "bound_ascent": {"points": 15},
    "bound_gap": {"steps": 4},
    "em_and_variational_inference": {"steps": 3},
    "training_of_the_bound": {"points": 15, "steps": 2},
    "ancestral_sampling": {"count": 40},
    "ring": {"count": 40},
}


def vae(**options):
    networks = {"encoder": pv.networks.MLP(8, 6), "decoder": pv.networks.MLP(7)}
    return pv.VAE((4,), **networks | {"latent_dim": 1} | options)


IMAGES = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
PLANE = pv.VAE((1, 4, 4), 2, encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8))
PROGRAMS = {
    "architecture": (vae(latent_dim=3),),
    "latent_spaces": ({"one": PLANE, "other": PLANE}, IMAGES),
    "models_side_by_side": ({"one": PLANE, "other": PLANE}, IMAGES),
}


def call(name, **options):
    first = PROGRAMS.get(name, ())
    return getattr(textbook, name)(*first, **SMALL.get(name, {}), **options)


@pytest.fixture(scope="module")
def drawn():
    """Each figure once, with small settings; the properties below read it."""
    return {name: call(name) for name in textbook.__all__}


@pytest.mark.parametrize("name", textbook.__all__)
def test_what_holds_for_all_pictures(drawn, name):
    for holds in PROPERTIES:
        is_its_own = holds.__name__ in {"uses_and_returns_the_axes_of_the_caller", "leaves_rc_params"}
        if not is_its_own:
            holds(lambda **_: drawn[name])


@pytest.mark.parametrize("name", textbook.__all__)
def test_a_figure_goes_onto_the_callers_axes_and_changes_nothing(name):
    before = torch.get_rng_state()
    for holds in PROPERTIES:
        if holds.__name__ == "uses_and_returns_the_axes_of_the_caller":
            holds(lambda **options: call(name, **options))
    assert torch.equal(torch.get_rng_state(), before)


# -------------------------------------------------------------------- mixtures


def test_a_mixture_is_the_sum_of_its_components_and_has_area_one():
    ax = textbook.mixture_1d((0.2, 0.5, 0.3), (-1.0, 0.5, 3.0), (0.4, 1.0, 0.7))
    *components, total = [line.get_xydata() for line in ax.child_axes[0].lines]
    assert np.allclose(sum(part[:, 1] for part in components), total[:, 1])
    assert np.trapezoid(total[:, 1], total[:, 0]) == pytest.approx(1, abs=2e-4)
    areas = [np.trapezoid(part[:, 1], part[:, 0]) for part in components]
    assert areas == pytest.approx([0.2, 0.5, 0.3], abs=2e-4)
    mixture = dist.MixtureSameFamily(
        dist.Categorical(torch.tensor([0.2, 0.5, 0.3])),
        dist.Normal(torch.tensor([-1.0, 0.5, 3.0]), torch.tensor([0.4, 1.0, 0.7])),
    )
    exact = mixture.log_prob(torch.tensor(total[:, 0])).exp()
    assert np.allclose(exact, total[:, 1], atol=1e-6)


def test_a_linear_model_on_the_line_has_the_density_of_a_normal():
    """x = 2 z + 1 + noise has p(x) = N(1, 4 + s^2), and so has the prior's mixture."""
    ax = textbook.infinite_mixture(lambda z: 2 * z + 1, sigma=0.5)
    x, p = ax.child_axes[2].lines[0].get_xydata().T
    assert np.allclose(p, dist.Normal(1.0, 4.25**0.5).log_prob(torch.tensor(x)).exp(), atol=1e-9)
    wide = textbook.infinite_mixture(lambda z: 2 * z + 1, sigma=0.5, prior=dist.Normal(0.0, 0.5))
    x, p = wide.child_axes[2].lines[0].get_xydata().T
    assert np.allclose(p, dist.Normal(1.0, 1.25**0.5).log_prob(torch.tensor(x)).exp(), atol=1e-7)


def test_a_narrow_noise_or_prior_is_resolved_by_the_grid():
    for sigma, scale in ((0.02, 1.0), (0.01, 0.05)):
        ax = textbook.infinite_mixture(lambda z: 2 * z + 1, sigma=sigma, prior=dist.Normal(0.0, scale))
        x, p = ax.child_axes[2].lines[0].get_xydata().T
        exact = dist.Normal(1.0, (4 * scale**2 + sigma**2) ** 0.5).log_prob(torch.tensor(x)).exp()
        assert np.allclose(p, exact, atol=1e-6)


def test_ancestral_samples_follow_the_drawn_density():
    """Shares of the samples in cells, against the integral of p(x): a chi-squared test."""
    ax = textbook.ancestral_sampling(lambda z: z.square(), 0.4, count=4000)
    x, p = ax.child_axes[2].lines[0].get_xydata().T
    samples = np.asarray(ax.child_axes[2].collections[-1].get_offsets())[:, 0]
    edges = np.linspace(-0.5, 5.0, 9)
    mass = np.concatenate([[0], np.cumsum(np.diff(x) * (p[1:] + p[:-1]) / 2)])
    expected = 4000 * np.diff(np.interp(edges, x, mass))
    counts = np.histogram(samples, edges)[0]
    assert ((counts - expected) ** 2 / expected).sum() < 30  # 8 cells, 5e-4 in the upper tail of 26


def test_a_model_of_the_package_can_be_drawn():
    curve = Curve()
    ax = textbook.infinite_mixture(curve)
    assert len(ax.child_axes[1].patches) == 2 * 13
    x = torch.tensor([[0.4, 0.2], [1.0, -0.5]])
    as_double = as_model(lambda z: curve.mean(z), 0.25)
    assert torch.allclose(quadrature(as_double, x.double()), curve.log_px(x))


def test_clouds_are_at_quantiles_with_the_standard_deviations_of_x():
    ax = textbook.infinite_mixture(lambda z: torch.cat([z, 2 * z], -1), 0.3, clouds=3)
    prior, middle = ax.child_axes[:2]
    z = [line.get_xdata()[0] for line in prior.lines[1::2]]
    assert z == pytest.approx([-0.9674, 0.0, 0.9674], abs=0.01)  # at 1/6, 1/2 and 5/6 of N(0, 1)
    for k, cloud in enumerate(middle.patches):  # of one and two standard deviations
        assert np.allclose(cloud.center, (z[k // 2], 2 * z[k // 2]), atol=1e-6)
        assert (cloud.width, cloud.height) == pytest.approx((0.6 * (1 + k % 2),) * 2)
    bars = textbook.infinite_mixture(lambda z: 2 * z, 0.3, clouds=3).child_axes[1].lines[1::2]
    assert [np.ptp(bar.get_ydata()) for bar in bars] == pytest.approx([4 * 0.3] * 3)


# -------------------------------------------------------------------- Jensen


def test_jensen_for_points():
    y, w = np.array([1.0, 2.0, 8.0]), np.array([0.2, 0.5, 0.3])
    ax = textbook.jensen_points(y, w)
    upper, lower = (line.get_xydata()[0] for line in ax.lines[-2:])
    assert upper == pytest.approx([w @ y, np.log(w @ y)])
    assert lower == pytest.approx([w @ y, w @ np.log(y)])
    assert upper[1] > lower[1]
    assert ax.texts[-1].get_text() == f"{np.log(w @ y) - w @ np.log(y):.2f} nats lower"


@pytest.mark.parametrize(
    ("y", "log_mean", "mean_log"),
    [
        (dist.LogNormal(0.5, 1.1), 0.5 + 1.1**2 / 2, 0.5),
        (dist.Gamma(3.0, 2.0), np.log(1.5), psi(3.0) - np.log(2.0)),
        (dist.Uniform(0.5, 4.0), np.log(2.25), (4 * np.log(4) - 0.5 * np.log(0.5)) / 3.5 - 1),
        (dist.Uniform(0.0, 1.0), -np.log(2.0), -1.0),
        (dist.Pareto(1.0, 3.0), np.log(1.5), 1 / 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_jensen_for_a_distribution(y, log_mean, mean_log):
    right = textbook.jensen_distribution(y).child_axes[1]
    high, low = (line.get_xdata()[0] for line in right.lines[1:])
    assert (high, low) == pytest.approx((log_mean, mean_log), abs=1e-5)  # also if the density jumps
    assert high > low
    assert gammaln(1) == 0


# -------------------------------------------------------------------- bounds


def test_bounds_lie_below_the_log_likelihood_and_touch_where_q_is_the_posterior():
    ax = textbook.bound_ascent(points=33, thetas=(0.2, 1.8), guides=(0.3, 0.7))
    theta, log_px = ax.lines[0].get_xydata().T
    rows = torch.linspace(-1, 3, 5)
    assert np.isfinite(log_px).all()
    for touching, line in zip((0.3, 0.7), ax.lines[1:3], strict=True):
        gap = log_px - line.get_ydata()
        assert (gap > -1e-9).all()
        assert gap[np.abs(theta - touching).argmin()] < 1e-9
        assert gap[np.abs(theta - touching) > 0.1].min() > 1e-4
    first, better = (line.get_ydata() for line in ax.lines[1:3])
    top = first.argmax()
    arrows = [text.xy for text in ax.texts if text.arrow_patch is not None]  # their heads
    assert np.allclose(arrows, [(theta[top], first[top]), (theta[top], better[top])])
    model = bends(0.9)  # the curve is the mean of the exact log p(x)
    x = observations(rows, model)
    assert torch.allclose(posterior_of(model, x).log_px, quadrature(model, x))


def test_the_gap_is_the_divergence_and_closes():
    ax = textbook.bound_gap(steps=6)
    left, right = ax.child_axes
    level = right.lines[0].get_ydata()[0]
    bound = right.lines[1].get_ydata()
    assert (np.diff(bound) > 0).all()
    assert bound[-1] == pytest.approx(level, abs=1e-9)
    model, q = bends(1.5, 0.6), dist.Normal(torch.tensor([[-1.0]]).double(), 0.6).to_event(1)
    x = torch.tensor([[1.6]], dtype=torch.float64)
    assert level == pytest.approx(float(quadrature(model, x)), abs=1e-9)
    z = torch.linspace(-8, 8, 20_001, dtype=torch.float64).unsqueeze(1)
    density = q.log_prob(z).exp()
    log_ratio = model.latents().log_prob(z) + model.decode(z).log_prob(x) - q.log_prob(z)
    elbo = float((density * log_ratio).sum() * 16 / 20_000)  # without the grid of the figure
    assert bound[0] == pytest.approx(elbo, abs=1e-7)
    assert right.texts[-1].get_text() == f"KL {level - elbo:.2f}"


def test_a_whole_number_of_steps_may_be_a_float():
    panel = textbook.bound_gap(steps=3.0).child_axes[1]
    assert panel.lines[1].get_xdata().tolist() == [0.0, 0.5, 1.0]


def test_dropout_changes_no_figure_and_modes_stay():
    network = torch.nn.Sequential(torch.nn.Flatten(1), torch.nn.Linear(16, 8), torch.nn.Dropout())
    program = pv.VAE((1, 4, 4), 2, encoder=pv.networks.Wrapped(network, features=8)).train()
    program.decoder.eval()
    ax = textbook.latent_spaces({"one": program}, IMAGES, steps=2)
    codes = np.asarray(ax.child_axes[0].collections[0].get_offsets())
    textbook.architecture(program)
    assert program.training
    assert not program.decoder.training
    with torch.no_grad():
        assert np.allclose(codes, program.eval().encode(IMAGES).mean, atol=1e-6)


def test_a_path_of_densities_is_geometric_and_has_mass_one():
    exact = posterior_of(bends(1.5, 0.6), torch.tensor([[1.6]], dtype=torch.float64))
    q = dist.Normal(torch.tensor([[-1.0]]).double(), 0.6).to_event(1)
    first, middle, last = path_to(exact, q, 3)
    for each in (first, middle, last):
        assert float(each.mass) == pytest.approx(1, abs=1e-9)
    where = exact.nodes.z[:, 0].abs() < 2
    ratio = (middle.log_density - (first.log_density + last.log_density) / 2)[0, where]
    assert float(ratio.std()) < 1e-9  # constant: the normalisation
    assert float(exact.kl(last)) == pytest.approx(0, abs=1e-12)


def test_the_best_normal_is_the_posterior_of_a_linear_model_and_a_minimum_elsewhere():
    linear = LinearGaussian(torch.tensor([[1.5]]), torch.tensor([0.3]), torch.tensor(0.7))
    exact = posterior_of(as_model(lambda z: 1.5 * z + 0.3, 0.7), torch.tensor([[1.0], [-2.0]]).double())
    best, right = best_normal(exact), linear.posterior(torch.tensor([[1.0], [-2.0]]))
    assert torch.allclose(best.mean, right.mean.double(), atol=1e-3)
    assert torch.allclose(best.variance, right.variance.double(), atol=1e-3)
    folded = Fold(scale=0.6).posterior(torch.tensor([[1.2]]))
    best = best_normal(folded)
    low = float(folded.kl(best))
    for mean, scale in ((0.05, 1.0), (-0.05, 1.0), (0.0, 1.1), (0.0, 0.9)):
        other = dist.Normal(best.mean + mean, best.stddev * scale).to_event(1)
        assert float(folded.kl(other)) > low


def test_the_encoder_of_a_vae_stands_next_to_its_true_posterior():
    program = vae(likelihood=pv.likelihoods.Normal(scale=1.0), latent_dim=1)
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    ax = textbook.posterior_approximation(program, x, program.encode)
    drawn = ax.child_axes[0].lines[0].get_xydata()
    with torch.no_grad():
        q = program.encode(x[:1])
        at = torch.tensor(drawn[:, :1]).float().unsqueeze(1)
        assert np.allclose(q.log_prob(at).exp()[:, 0], drawn[:, 1], atol=1e-5)
    title = ax.child_axes[1].get_title()
    kl = pv.oracles.posterior_on_grid(program, x).kl(program.encode(x))
    assert title == f"KL {float(kl[1]):.2f}"


def test_training_goes_up_at_every_half_step_to_the_curve_and_along_the_bound():
    x = torch.linspace(-1.5, 3, 12).double().unsqueeze(1)
    path, guides = alternation(bends, x, 0.3, 3, (0.1, 1.9))
    assert (np.diff(path[:, 1]) > 0).all()
    assert guides == pytest.approx(path[::2, 0])
    for theta, value in path[::2]:  # after a step of q, the bound is log p(x)
        assert value == pytest.approx(float(quadrature(bends(theta), x).mean()), abs=1e-8)
    q, top = posterior_of(bends(guides[0]), x), path[1, 0]
    bound = [float(posterior_of(bends(top + step), x).elbo(q).mean()) for step in (-0.02, 0, 0.02)]
    assert max(bound) == bound[1]


# -------------------------------------------------------------------- diagrams, maps, algorithms


def test_the_architecture_has_the_layers_and_the_sizes_of_the_vae():
    program = pv.VAE(
        (1, 8, 8),
        latent_dim=3,
        encoder=pv.networks.ConvEncoder((4, 6), 9),
        decoder=pv.networks.MLP(7),
        prior=pv.priors.GaussianMixture(2),
    )
    program.train()
    words = [text.get_text() for text in textbook.architecture(program).texts]
    for part in ("x\n1\u00d78\u00d78", "Linear\n9", "z\n3", "Linear\n7", "p(z)\nGaussian\nMixture"):
        assert part in words
    assert "Diagonal\nNormal\nq(z|x)\n6" in words
    assert "Bernoulli\np(x|z)\n64" in words
    assert any(word.startswith("Conv2d\n4\u00d7") for word in words)
    assert program.training
    assert not any(module._forward_hooks for module in program.modules())


def test_the_architecture_of_a_deep_network_fits_and_counts_the_rest():
    deep = vae(encoder=pv.networks.MLP(*range(4, 13)))
    words = [text.get_text() for text in textbook.architecture(deep).texts]
    shown = [word for word in words if word.startswith("Linear")]
    assert "...\n5 layers" in words
    assert len(shown) == 4 + 1  # of the encoder, and the decoder's


def test_the_ring_is_the_map_of_its_points():
    left, right = textbook.ring(count=50).child_axes
    z, x = (np.asarray(panel.collections[0].get_offsets()) for panel in (left, right))
    assert np.allclose(x, z / 10 + z / np.linalg.norm(z, axis=1, keepdims=True), atol=1e-6)
    moved = textbook.ring(lambda z: z + 1, count=50).child_axes[1].collections[0].get_offsets()
    assert np.allclose(moved, z + 1)


def test_three_algorithms_raise_the_same_bound_to_the_same_maximum():
    x = LinearGaussian.random(event_dim=4, latent_dim=1, seed=2).sample(60).double()
    ax = textbook.em_and_variational_inference(x, latent_dim=1, steps=40)
    for panel in ax.child_axes:
        maximum, log_px, bound = (np.asarray(line.get_ydata()) for line in panel.lines)
        assert (bound <= log_px + 1e-9).all()
        assert log_px.max() <= maximum[0] + 1e-9
        assert log_px[-1] == pytest.approx(maximum[0], abs=0.02)
    for panel in ax.child_axes[:2]:  # of EM and variational inference, at each half step
        assert (np.diff(panel.lines[2].get_ydata()) > -1e-10).all()
    _, log_px, bound = (np.asarray(line.get_ydata()) for line in ax.child_axes[0].lines)
    assert np.allclose(bound[::2], log_px[::2])  # a step of q closes the gap


def test_a_line_of_codes_goes_through_the_first_two_and_its_images_are_decoded():
    ax = textbook.latent_spaces({"one": PLANE}, IMAGES, steps=5, reach=2.0)
    upper, lower = ax.child_axes
    with torch.no_grad():
        first, second = PLANE.encode(IMAGES).mean[:2].numpy()
        line = first + np.linspace(0, 2, 5)[:, None] * (second - first)
        images = PLANE.decode(torch.from_numpy(line).float()).mean[:, 0].numpy()
    half, most, drawn = upper.lines[-3:]
    assert np.allclose(drawn.get_xydata(), line, atol=1e-5)
    for circle, share in ((half, 0.5), (most, 0.95)):
        squares = (circle.get_xydata() ** 2).sum(1)
        assert np.allclose(1 - np.exp(-squares / 2), share, atol=1e-3)  # of N(0, I) inside
    strip = lower.images[0].get_array()
    assert np.allclose(strip.reshape(4, 5, 5)[:, :, :4].swapaxes(0, 1), images, atol=1e-5)
    ticks = dict(zip((t.get_text() for t in lower.get_xticklabels()), lower.get_xticks(), strict=True))
    assert ticks == pytest.approx({"t = 0": 2.5, "t = 1": 12.5, "t = 2": 22.5})  # five columns each


def test_programs_are_compared_by_their_own_means():
    pixels = textbook.models_side_by_side({"one": PLANE}, IMAGES, count=2, seed=3).images[0].get_array()
    with torch.no_grad():
        x = PLANE.decode(PLANE.encode(IMAGES[:2]).mean).mean
        with torch.random.fork_rng():
            torch.manual_seed(3)
            samples = PLANE.sample(2, mean=True)
    side = (pixels.shape[0] - 1) // 2  # of an image, next to a separator of one pixel
    parts = [
        [pixels[i : i + side, j : j + side] for j in range(0, 4 * side, side + 1)] for i in (0, side + 1)
    ]
    drawn = np.stack([np.stack(row) for row in parts])[:, :, :: side // 4, :: side // 4]
    assert np.allclose(drawn[0], np.concatenate([IMAGES[:2, 0], np.ones((2, 4, 4))]), atol=1e-5)
    assert np.allclose(drawn[1], np.concatenate([x[:, 0], samples[:, 0]]), atol=1e-5)


# -------------------------------------------------------------------- input


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (lambda: textbook.mixture_1d((0.5, 0.6), (0, 1), (1, 1)), "sum to 1"),
        (lambda: textbook.mixture_1d((0.5, 0.5), (0, 1), (1, 0)), "above 0"),
        (lambda: textbook.infinite_mixture(3), "give a function of z"),
        (lambda: textbook.infinite_mixture(lambda z: z.expand(*z.shape[:-1], 3)), "one or two numbers"),
        (lambda: textbook.infinite_mixture(vae(latent_dim=2)), "one latent"),
        (lambda: textbook.infinite_mixture(Curve(), prior=dist.Normal(0.0, 1.0)), "prior="),
        (lambda: textbook.infinite_mixture(sigma=0), "sigma"),
        (lambda: textbook.jensen_points((1.0, -1.0)), "above 0"),
        (lambda: textbook.jensen_distribution(dist.Normal(0.0, 1.0)), "mass 0.5"),
        (lambda: textbook.jensen_distribution(3), "positive numbers"),
        (lambda: textbook.jensen_distribution(dist.Poisson(3.0)), "discrete and has no density"),
        (lambda: textbook.jensen_distribution(dist.Beta(0.5, 0.5)), "a peak that is infinite"),
        (lambda: textbook.bound_ascent(guides=(1.0,)), "give two"),
        (lambda: textbook.bound_ascent(thetas=(2, 1)), "lowest"),
        (lambda: textbook.bound_ascent(family=3), "function of theta"),
        (lambda: textbook.bound_gap(x=[[1.0], [2.0]]), "give one"),
        (lambda: textbook.bound_gap(x=[[1.0, 2.0]]), "x has shape"),
        (lambda: textbook.posterior_approximation(x=range(7)), "at most six"),
        (lambda: textbook.training_of_the_bound(start=5.0), "start is 5.0"),
        (lambda: textbook.architecture(Curve()), "needs a VAE"),
        (lambda: textbook.ring(lambda z: z[:, :1]), "return finite"),
        (lambda: textbook.em_and_variational_inference(np.ones((3, 4))), "give more rows"),
        (lambda: textbook.em_and_variational_inference(np.outer(range(9), [1, 2, 3])), "no maximum"),
        (lambda: textbook.infinite_mixture(prior=dist.Normal(0.0, 5.0)), "mass 0.891"),
        (lambda: textbook.infinite_mixture(prior=dist.Gamma(2.0, 1.0)), "all real numbers"),
        (lambda: textbook.infinite_mixture(prior=3), "give a distribution"),
        (lambda: textbook.infinite_mixture(sigma=1e-5), "larger sigma"),
        (lambda: textbook.infinite_mixture(lambda z: z * np.nan), "NaN or infinite"),
        (lambda: textbook.ancestral_sampling(z="here"), "z must be"),
        (lambda: textbook.ancestral_sampling(seed=-1), "seed must be"),
        (lambda: textbook.ancestral_sampling(count=10**12), "count must be"),
        (lambda: textbook.jensen_distribution(dist.HalfCauchy(1.0)), "no mean"),
        (lambda: textbook.bound_ascent(guides=(np.nan, 1.0)), "guides"),
        (lambda: textbook.bound_gap(q=0), "give a distribution"),
        (lambda: textbook.posterior_approximation(encode=PLANE), "as `vae.encode`"),
        (lambda: textbook.training_of_the_bound(start="low"), "start must be"),
        (lambda: textbook.models_side_by_side({"one": PLANE}, "x"), "of numbers"),
        (lambda: textbook.latent_spaces({"one": PLANE}, IMAGES, reach=np.nan), "reach must be"),
        (lambda: textbook.ring(PLANE), "function of points"),
        (lambda: textbook.bound_gap(q=dist.Uniform(-1.0, torch.ones(1, 1)).to_event(1)), "all real numbers"),
        (lambda: textbook.bound_gap(lambda z: z[:1], 1 * [1.0]), "one point for each z"),
        (lambda: textbook.bound_gap(vae(), torch.full((1, 4), 0.5)), "does not take"),
        (lambda: textbook.infinite_mixture(pv.VAE((2,), 1)), "likelihoods.Normal"),
        (lambda: textbook.bound_ascent(guides=(5.0, 0.7)), "between 0.1 and 1.9"),
        (lambda: textbook.latent_spaces({"one": PLANE}, IMAGES, reach=-1), "reach must be"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(figure, message):
    with pytest.raises(InputError, match=message) as caught:
        figure()
    assert "\n" not in str(caught.value)
