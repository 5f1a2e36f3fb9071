"""Every estimate of log p(x) against exact answers, and its error bars against the errors made."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.datasets import Rows
from pyrovae.evidence import AIS, PSIS, Defensive, Importance, Laplace, compare, iwae_bound, log_evidence
from pyrovae.oracles import Banana, Curve, Fold, LatentClass, LinearGaussian, LinearGaussianMixture
from tests.support.linear import labelled_vae, rows_for
from tests.support.parts import small_vae

pytestmark = pytest.mark.usefixtures("float64")

METHODS = {
    "importance": (Importance(), 1000),
    "psis": (PSIS(), 1000),
    "defensive": (Defensive(), 1000),
    "laplace": (Laplace(), 1000),
    "ais from the guide": (AIS(40, start="guide"), 64),
    "ais from the prior": (AIS(60, start="prior"), 64),
    "ais from the modes": (AIS(40), 64),
}
# Guides a little too wide: there is something to estimate, and it can be estimated.
ORACLES = {
    "linear": lambda: LinearGaussian.random(5, 2, guide_scale=1.2),
    "collapsed mixture": lambda: widened(LinearGaussianMixture.random(5, 2, components=3)),
    "enumerated mixture": lambda: widened(LinearGaussianMixture.random(5, 2, components=3, collapsed=False)),
    "curve": lambda: Curve(guide_scale=1.5),
    "banana": lambda: Banana(guide_scale=1.5),
}
EXACT = {
    "linear": lambda: LinearGaussian.random(5, 2),
    "collapsed mixture": lambda: LinearGaussianMixture.random(5, 2, components=3),
    "enumerated mixture": lambda: LinearGaussianMixture.random(5, 2, components=3, collapsed=False),
    "classes": lambda: LatentClass.random(6, classes=3),
}
each_method = pytest.mark.parametrize("method", METHODS)


def widened(oracle):
    oracle.guide_scale = 1.2
    return oracle


def estimate(oracle, x, method, **options):
    how, particles = METHODS[method]
    return log_evidence(oracle, x, method=how, **{"particles": particles} | options)


def z_score(evidence, truth):
    """The mean error in units of its Monte Carlo error, less the bias of a logarithm (half a variance)."""
    excess = abs(float((evidence.log_px - truth.numpy()).mean())) - float((evidence.mc_stderr**2).mean())
    return excess / evidence.mc_error


# ---------------------------------------------------------------- every method on every oracle


@each_method
@pytest.mark.parametrize("name", ORACLES)
def test_the_mean_is_within_its_error(name, method):
    oracle = ORACLES[name]()
    x = oracle.sample(25, seed=1)
    evidence = estimate(oracle, x, method)
    assert evidence.mc_error < 0.1
    assert z_score(evidence, oracle.log_px(x)) < 4.5


@pytest.mark.parametrize("method", ["importance", "psis"])
def test_discrete_latents_too(method):
    oracle = LatentClass.random(6, classes=3, temperature=1.5)
    x = torch.unique(oracle.sample(60), dim=0)  # equal rows may exchange their samples
    assert z_score(estimate(oracle, x, method), oracle.log_px(x)) < 4.5


@pytest.mark.parametrize("method", ["importance", "psis"])
@pytest.mark.parametrize("name", EXACT)
def test_an_exact_guide_leaves_no_variance(name, method):
    oracle = EXACT[name]()
    x = oracle.sample(15)
    evidence = estimate(oracle, x, method, seed=5)
    assert np.abs(evidence.log_px - oracle.log_px(x).numpy()).max() < 1e-10
    assert np.abs(evidence.ess - 1000).max() < 1e-8
    assert evidence.mc_stderr.max() < 1e-6
    assert evidence.khat.max() == 0


def test_an_exact_guide_leaves_annealing_nothing_to_do():
    oracle = EXACT["linear"]()
    x = oracle.sample(15)
    evidence = estimate(oracle, x, "ais from the guide")
    assert np.abs(evidence.log_px - oracle.log_px(x).numpy()).max() < 1e-10


def test_float32_gives_the_same_within_its_digits():
    oracle = ORACLES["linear"]().float()
    x = oracle.sample(25)
    truth = oracle.log_px(x).double()
    for method in METHODS:
        assert z_score(estimate(oracle, x, method), truth) < 4.5


# ---------------------------------------------------------------- the bound against K


def test_the_bound_rises_with_particles_and_stays_below_the_evidence():
    oracle = LinearGaussian.random(6, 4, guide_scale=0.7)
    x = oracle.sample(60)
    curve = iwae_bound(oracle, x, particles=(1, 5, 50, 500))
    # Groups of one K are unions of groups of the K before: with the same draws no bound can fall (Jensen).
    assert (np.diff(curve.bound, axis=0) > -1e-12).all()
    error = np.nan_to_num(curve.mc_stderr[:3])
    above = (curve.bound[:3] - oracle.log_px(x).numpy()).mean(1)
    assert (above < 4.5 * np.sqrt((error**2).sum(1)) / 60).all()
    assert abs(above[2]) < abs(above[0])


def test_the_first_bound_lies_below_the_evidence_by_the_divergence():
    # KL(N(m, r) || N(m, 1)) in D dimensions is D/2 (r - 1 - log r).
    ratio, dim = 0.5, 4
    oracle = LinearGaussian.random(6, dim, guide_scale=math.sqrt(ratio))
    x = oracle.sample(60)
    curve = iwae_bound(oracle, x, particles=(1, 1000))
    gap = (oracle.log_px(x).numpy() - curve.bound[0]).mean()
    error = np.sqrt((curve.mc_stderr[0] ** 2).sum()) / 60
    assert abs(gap - dim / 2 * (ratio - 1 - math.log(ratio))) < 4.5 * error


# ---------------------------------------------------------------- calibration


@pytest.mark.parametrize("method", ["importance", "psis", "defensive", "ais from the guide"])
def test_intervals_cover_the_truth_as_often_as_they_say(method):
    count = 1000
    oracle = LinearGaussian.random(5, 2, guide_scale=1.3, seed=4)
    x = oracle.sample(count, seed=7)
    evidence = estimate(oracle, x, method, **({} if "ais" in method else {"particles": 500}))
    assert not evidence.doubtful > 0.05 or "ais" in method
    z = np.abs(evidence.log_px - oracle.log_px(x).numpy()) / evidence.mc_stderr
    for width, share in ((1.0, 0.6827), (1.96, 0.95)):
        # A binomial count leaves this band once in 100,000 times.
        assert abs((z < width).mean() - share) < 4.42 * math.sqrt(share * (1 - share) / count)


def test_a_guide_half_as_wide_is_noticed_and_corrected():
    oracle = LinearGaussian.random(10, 8, guide_scale=0.5)
    x = oracle.sample(80)
    truth = oracle.log_px(x).numpy()
    found = {m: estimate(oracle, x, m) for m in ("importance", "psis", "defensive")}
    found["ais"] = log_evidence(oracle, x, method=AIS(80), particles=16)
    bias = {m: float((e.log_px - truth).mean()) for m, e in found.items()}
    assert -0.7 < bias["importance"] < -0.35
    for plain in ("importance", "psis"):
        assert found[plain].doubtful > 0.8
        assert np.median(found[plain].ess) < 50
        first = {"importance": "a lower bound, not an estimate", "psis": "not reliable"}[plain]
        assert found[plain].verdict.startswith(first)
    for better in ("defensive", "ais"):
        assert abs(bias[better]) < 0.1
        assert "trust" in found[better].verdict
    assert found["defensive"].doubtful < 0.05


@pytest.mark.parametrize(("ratio", "dim"), [(0.25, 1), (0.5, 1), (0.8, 1)])
def test_khat_tends_to_one_minus_the_ratio_of_variances(ratio, dim):
    oracle = LinearGaussian.random(3, dim, guide_scale=math.sqrt(ratio))
    khat = log_evidence(oracle, oracle.sample(100), particles=5000).khat
    assert abs(khat.mean() - (1 - ratio)) < 0.08
    assert khat.std() / 10 < 0.03


@pytest.mark.parametrize(("ratio", "dim"), [(0.8, 1), (0.8, 10), (1.5, 3)])
def test_the_effective_sample_size_is_what_the_variances_say(ratio, dim):
    oracle = LinearGaussian.random(dim + 2, dim, guide_scale=math.sqrt(ratio))
    ess = log_evidence(oracle, oracle.sample(50), particles=5000).ess / 5000
    assert abs(ess.mean() - (math.sqrt(2 * ratio - 1) / ratio) ** dim) < 0.01


# ---------------------------------------------------------------- a mode that the guide does not know


def test_who_sees_the_other_mode():
    # Each weight looks perfect and half of p(x) is missing. Only what starts elsewhere can see it.
    oracle = Fold(guide_scale=1.3)
    x = torch.linspace(1.2, 2.5, 30).unsqueeze(1)
    truth = oracle.log_px(x)
    blind = {m: estimate(oracle, x, m) for m in ("importance", "psis", "ais from the guide")}
    for evidence in blind.values():
        low = evidence.log_px - truth.numpy()
        assert abs(low.mean() + math.log(2)) < 5 * evidence.mc_error + 0.002
    assert blind["importance"].doubtful == 0
    assert blind["importance"].ess.min() > 500
    seeing = {
        m: estimate(oracle, x, m)
        for m in ("defensive", "laplace", "ais from the modes", "ais from the prior")
    }
    for evidence in seeing.values():
        assert z_score(evidence, truth) < 4.5
        assert evidence.mc_error < 0.1


# ---------------------------------------------------------------- which quantity it is


QUANTITIES = {
    "log p(x)": (None, False),
    "log p(x | c)": ((3,), False),
    "log p(x, y)": (None, True),
    "log p(x, y | c)": ((3,), True),
}


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_quantity_is_named_and_estimated(quantity):
    context_shape, observed = QUANTITIES[quantity]
    vae, joint = labelled_vae(context_shape)
    rows = rows_for(vae, 30)
    rows = rows if observed else rows.unlabelled()
    exact = joint(rows.x, rows.context)
    truth = exact.logsumexp(1)
    if observed:  # a row without a known label has log p(x)
        truth = torch.where(rows.y < 0, truth, exact.gather(1, rows.y.clamp_min(0)[:, None])[:, 0])
    evidence = log_evidence(vae, rows, method="defensive", particles=5000)
    assert evidence.mc_error < 0.05
    assert z_score(evidence, truth) < 4.5
    if observed:
        assert z_score(evidence, exact.logsumexp(1)) > 10
    assert evidence.quantity == evidence.to_dict()["quantity"] == quantity
    assert str(evidence).startswith(f"{quantity} of 30 observations by defensive")


def test_a_label_that_is_not_known_changes_no_quantity():
    vae, _ = labelled_vae()
    rows = rows_for(vae, 3)
    unknown = log_evidence(vae, rows.x, y=np.array([-1, np.nan, -1]), particles=2000, method="defensive")
    none = log_evidence(vae, rows.x, particles=2000, method="defensive", seed=1)
    assert unknown.quantity == none.quantity == "log p(x)"
    assert np.abs(unknown.log_px - none.log_px).max() < 0.3


def test_a_program_by_hand_observes_labels_too():
    log_pi, loc = torch.tensor([0.2, 0.8]).log(), torch.tensor([-1.0, 2.0])

    def model(x, context, y):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(logits=log_pi), obs=y)
            z = pyro.sample("z", dist.Normal(loc[y], 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, context, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x + loc[y]) / 2, 0.5**0.5))

    x, y = torch.randn(20), torch.arange(20) % 2
    evidence = log_evidence((model, guide), Rows(x, y=y), particles=3)
    truth = log_pi[y] + dist.Normal(loc[y], 2**0.5).log_prob(x)
    assert evidence.quantity == "log p(x, y)"
    assert np.abs(evidence.log_px - truth.numpy()).max() < 1e-10


# ---------------------------------------------------------------- rows in every form


def test_every_verb_keeps_the_row_numbers():
    vae = small_vae(latent_dim=2)
    rows = rows_for(vae, 6)
    rows = Rows(rows.x, index=torch.tensor([7, 3, 11, 0, 2, 5]))
    results = [
        log_evidence(vae, rows, particles=30),
        iwae_bound(vae, rows, particles=(1, 5)),
        pv.gaps(vae, rows, steps=2, particles=20, method="importance"),
        pv.diagnose(vae, rows, particles=2),
    ]
    for result in results:
        np.testing.assert_array_equal(result.index, rows.index.numpy())
        assert result.index.dtype == np.int64
    some = pv.diagnose(vae, rows, particles=2, rows=4)
    assert set(some.index) <= set(rows.index.tolist())
    assert len(some.index) == 4
    np.testing.assert_allclose(
        some.elbo, results[3].elbo[[rows.index.tolist().index(i) for i in some.index]], atol=1e-9
    )
    assert log_evidence(vae, rows.x, particles=30).index is None
    data = pv.datasets.load("digits", count=50, binarize="threshold")
    whole = pv.VAE(data.event_shape, 2, encoder=pv.networks.MLP(4), decoder=pv.networks.MLP(4))
    np.testing.assert_array_equal(log_evidence(whole, data.test, particles=2).index, data.test.index)


def test_models_are_compared_on_the_same_rows_and_quantities_only():
    vae, _ = labelled_vae()
    rows = rows_for(vae, 4)
    evidence, joint = (log_evidence(vae, part, particles=5) for part in (rows.unlabelled(), rows))
    with pytest.raises(pv.InputError, match="cannot be ranked"):
        compare({"a": evidence, "b": joint})
    one, other = (log_evidence(vae, Rows(rows.x, index=torch.arange(4) + i), particles=5) for i in (0, 1))
    with pytest.raises(pv.InputError, match="different rows"):
        compare({"a": one, "b": other})
    assert compare({"a": one, "b": evidence}).quantity == "log p(x)"


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64"]
)
def test_arrays_of_any_number_type_are_the_same_rows(dtype):
    vae = small_vae((6,), 2)
    x = rows_for(vae, 5).x
    usual = log_evidence(vae, x, particles=30)
    array = x.numpy().astype(dtype)
    for form in (
        array,
        torch.from_numpy(array),
        array[::1].tolist(),
        Rows.of(array),
        np.asfortranarray(array),
    ):
        np.testing.assert_array_equal(log_evidence(vae, form, particles=30).log_px, usual.log_px)
    read_only = array.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(log_evidence(vae, read_only, particles=30).log_px, usual.log_px)


def test_rows_and_loose_parts_are_the_same():
    vae = small_vae(context_shape=(3,))
    rows = rows_for(vae, 5)
    together = log_evidence(vae, rows, particles=30)
    np.testing.assert_array_equal(
        log_evidence(vae, rows.x, rows.context.numpy(), particles=30).log_px, together.log_px
    )
    with pytest.raises(pv.InputError, match="context"):
        log_evidence(vae, rows.x, particles=30)
    with pytest.raises(pv.InputError, match="x has 5 rows and context 4"):
        log_evidence(vae, rows.x, rows.context[:4], particles=30)
    with pytest.raises(pv.InputError, match="observes no labels"):
        log_evidence(vae, rows, y=torch.zeros(5), particles=30)


@pytest.mark.parametrize("count", [np.int64(30), np.float32(30), 30.0, torch.tensor(30)])
def test_numbers_may_be_scalars_of_any_library(count):
    oracle = LinearGaussian.random(4, 2)
    x = oracle.sample(3)
    assert log_evidence(oracle, x, particles=count, chunk=count).particles == 30
    assert AIS(count).temperatures == 30
    with pytest.raises(pv.InputError, match="particles must be a whole number of 1 or more, not True"):
        log_evidence(oracle, x, particles=True)


def test_without_a_terminal_there_is_no_bar(monkeypatch, capsys):
    """Earlier versions of rich print an empty line for a bar that is disabled."""
    monkeypatch.setattr("rich.progress.Progress", None)
    oracle = LinearGaussian.random(3, 2)
    log_evidence(oracle, oracle.sample(3), particles=30, progress=True)
    assert capsys.readouterr().out == ""
