"""Labels that are known for some data: what they do to p, q, bounds and draws, and where they come from."""

import pyro
import pytest
import torch
import yaml
from torch.utils.data import TensorDataset

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.cures import typed
from pyrovae.objectives import ELBO, Balanced, SemiSupervised
from pyrovae.priors import Classes, GaussianMixture
from pyrovae.terms import Runner
from tests.support.class_models import LABELLED, LABELS, VADE, data, known, small
from tests.support.groups import CENTRES, blobs
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import binary

pytestmark = pytest.mark.usefixtures("float64")

ALL = pytest.mark.parametrize(("prior", "guide"), [*LABELLED, VADE], ids=repr)


def pair_of(vae, y=None, context=None, particles=3):
    pyro.set_rng_seed(0)
    rows = pv.Rows(data(), context, y)
    return Runner(vae).check(rows).run(rows, particles=particles, stratified=True)


# ---------------------------------------------------------------- p, q and draws


@ALL
def test_a_label_enters_the_joint_and_other_rows_do_not_see_it(prior, guide):
    """The estimates of p(x, y) over the classes add up to that of p(x), from the same draws of z."""
    vae = small(prior, guide)
    nothing = pv.log_evidence(vae, data(), particles=2000)
    zeros = pv.log_evidence(vae, data(), y=torch.full((4,), -1), particles=2000)
    some = pv.log_evidence(vae, data(), y=LABELS, particles=1000, compile=False)
    apart = nothing.mc_stderr + some.mc_stderr
    assert (abs(nothing.log_px - zeros.log_px) < 5 * (nothing.mc_stderr + zeros.mc_stderr) + 1e-12).all()
    assert (abs(nothing.log_px - some.log_px) < 5 * apart + 1e-12)[[1, 3]].all()
    joint = [
        pv.log_evidence(vae, data(), y=torch.full((4,), k), particles=5000, compile=False) for k in range(3)
    ]
    total = torch.stack([torch.as_tensor(found.log_px) for found in joint]).logsumexp(0)
    error = sum(found.mc_stderr for found in joint) + nothing.mc_stderr
    assert (error < 0.5).all()
    assert (abs(total.numpy() - nothing.log_px) < 5 * error).all()


@ALL
def test_the_terms_of_a_row_know_its_own_label_alone(prior, guide):
    vae = small(prior, guide)
    other = LABELS.clone()
    other[0] = 2
    first, second = (pair_of(vae, labels).terms() for labels in (LABELS, other))
    for a, b in zip((first.log_w, first.log_px_z), (second.log_w, second.log_px_z), strict=True):
        assert torch.equal(a[:, 1:], b[:, 1:])
    assert (ELBO().bound(first)[0] - ELBO().bound(second)[0]).abs() > 1e-3
    zeros, none = (pair_of(vae, y).terms() for y in (torch.full((4,), -1), None))
    torch.testing.assert_close(ELBO().bound(zeros), ELBO().bound(none))


@ALL
def test_a_label_chooses_what_is_drawn(prior, guide):
    vae = small(prior, guide)
    with torch.no_grad():  # so that samples show their class
        if isinstance(prior, GaussianMixture):
            vae.prior.put(
                torch.tensor([0.5, 0.3, 0.2]), 100 * torch.eye(3)[:, :2], torch.eye(2).expand(3, 2, 2)
            )
    ones = torch.ones(40, dtype=torch.int64)
    trace = pyro.poutine.trace(vae.model).get_trace(None, None, ones)
    assert (trace.nodes["c"]["value"] == 1).all()
    assert "y" not in trace.nodes
    for z in (vae.latents(y=1).expand((40,)).sample(), vae.latents(y=ones).sample()):
        drawn = z[:, 2:].argmax(-1) if isinstance(prior, Classes) else z.argmax(-1)
        assert (drawn == 1).all()
    assert vae.sample(5, y=ones[:5]).shape == (5, 3)
    free = vae.latents().expand((400,)).sample()
    assert (
        len(free[:, 2:].argmax(-1).unique() if isinstance(prior, Classes) else free.argmax(-1).unique()) > 1
    )
    assert vae.sample(5).shape == (5, 3)


@pytest.mark.parametrize("start", ["kmeans", "graph"])
def test_components_that_start_from_data_bear_the_names_of_the_labels(start):
    """One label of each group, and one that errs."""
    z, group = blobs()
    label = torch.zeros(len(z), 3)
    for k in range(3):
        rows = (group == k).nonzero().flatten()[:3]
        label[rows, (k + 1) % 3] = 1.0
    label[(group == 0).nonzero()[5]] = torch.eye(3)[0]
    prior = GaussianMixture(3, start=start, labels=True)
    prior.attach(3)
    assert prior.begin_epoch(0, lambda: z.to(label), lambda: label)
    found = prior.mixture().component_distribution.mean
    assert (torch.cdist(found, CENTRES.to(label)).argmin(1) == torch.tensor([2, 0, 1])).all()


@pytest.mark.parametrize(("prior", "guide"), LABELLED, ids=repr)
def test_an_encoding_given_labels_is_what_the_guide_draws_given_them(prior, guide):
    vae, y = small(prior, guide), torch.tensor([0, 1, 2, 1])
    trace = pyro.poutine.trace(vae.guide).get_trace(data(), None, y)
    z = trace.nodes["z"]
    given = vae.encode(data(), y=y).log_prob(trace.nodes["_RETURN"]["value"])
    torch.testing.assert_close(given, z["fn"].log_prob(z["value"]))


def test_no_network_reads_a_label():
    for prior, guide in [*LABELLED, VADE]:
        vae = small(prior, guide)
        plain = small(dataclasses_free(prior), guide)
        assert {n: p.shape for n, p in vae.named_parameters()} == {
            n: p.shape for n, p in plain.named_parameters()
        }
        assert vae.context_shape is None
        assert pv.VAE.from_dict(yaml.safe_load(yaml.safe_dump(vae.to_dict()))) == vae
        assert "labels observed" in str(vae)


def dataclasses_free(prior):
    """The prior without labels, its class a site all the same."""
    given = prior.hyperparameters() | {"labels": False}
    return type(prior)(**given | ({"explicit": True} if isinstance(prior, GaussianMixture) else {}))


CONDITIONAL = [
    (GaussianMixture(3, "full", labels=True, floor=0.2), None),
    (GaussianMixture(3, "diagonal", labels=True), pv.guides.GaussianMixture(3, explicit=True)),
    (Classes(3, labels=True), pv.guides.Classes(3)),
]


def conditional(prior, guide):
    """A VAE with a context whose classes depend on it, and two contexts."""
    vae = small(prior, guide, context_shape=(2,))
    with torch.no_grad():
        vae.prior.gate.weight.copy_(torch.tensor([[1.0, -0.5], [-2.0, 0.3], [0.4, 1.5]]))
        vae.recognition.heads["raw_scale"].linear.bias.add_(
            1.0
        )  # a wide guide, with weights of small variance
    return vae, torch.tensor([[0.7, -1.2], [0.0, 0.9], [-1.1, 0.2], [0.5, 0.5]])


@pytest.mark.parametrize(("prior", "guide"), CONDITIONAL, ids=repr)
@torch.no_grad()
def test_a_context_conditions_where_labels_are_observed(prior, guide):
    """p(y|c) is the gate's, and p(z, y|c) sums over y to p(z|c), at the same z, for every row."""
    vae, context = conditional(prior, guide)
    by_hand = (vae.prior.logits + context @ vae.prior.gate.weight.mT).softmax(-1)
    if isinstance(prior, GaussianMixture):
        by_hand = (1 - prior.floor) * by_hand + prior.floor / 3
        torch.testing.assert_close(vae.prior.mixture(context).mixture_distribution.probs, by_hand)
    free = pair_of(vae, context=context)
    values = {name: site["value"] for name, site in free.guide.nodes.items() if name in ("z", "c")}
    if "c" in values:
        drawn = values["c"].expand(3, 4)
        torch.testing.assert_close(
            free.site_log_probs()["p(c)"], by_hand.log().gather(-1, drawn.mT).mT, rtol=1e-6, atol=1e-8
        )
        return
    runner = Runner(vae).check(pv.Rows(data(), context))
    joint = [
        runner.terms_at(values, pv.Rows(data(), context, torch.full((4,), k)), particles=3) for k in range(3)
    ]
    total = torch.stack([terms.log_px_z + terms.log_pz for terms in joint]).logsumexp(0)
    alone = free.terms()
    torch.testing.assert_close(total, alone.log_px_z + alone.log_pz)


@pytest.mark.parametrize(("prior", "guide"), CONDITIONAL, ids=repr)
def test_joints_given_a_context_sum_to_the_evidence_given_it(prior, guide):
    vae, context = conditional(prior, guide)
    alone = pv.log_evidence(vae, data(), context, particles=20_000, compile=False)
    assert alone.quantity == "log p(x | c)"
    joint = [
        pv.log_evidence(vae, data(), context, torch.full((4,), k), particles=20_000, compile=False)
        for k in range(3)
    ]
    assert joint[0].quantity == "log p(x, y | c)"
    total = torch.stack([torch.as_tensor(found.log_px) for found in joint]).logsumexp(0).numpy()
    error = sum(found.mc_stderr for found in joint) + alone.mc_stderr
    assert (error < 0.5).all()
    assert (abs(total - alone.log_px) < 5 * error).all()


@torch.no_grad()
def test_a_label_under_a_context_chooses_what_is_drawn():
    for prior, guide in CONDITIONAL:
        vae, context = conditional(prior, guide)
        y = torch.tensor([2, 0, 1, 2])
        trace = pyro.poutine.trace(vae.model).get_trace(None, context, y)
        assert torch.equal(trace.nodes["c"]["value"], y)
        assert vae.sample(4, context, y).shape == (4, 3)


# ---------------------------------------------------------------- what is trained


@ALL
def test_the_term_of_the_labels_is_log_q_of_the_class(prior, guide):
    """Its value, and a gradient by autograd of the sentence in the docstring; without it ELBO's."""
    vae, alpha = small(prior, guide), 7.0
    params = list(vae.parameters())

    def gradient(value):
        return torch.autograd.grad(value.sum(), params, retain_graph=True, allow_unused=True)

    pair = pair_of(vae, LABELS)
    elbo, both = (objective.ascended(pair) for objective in (ELBO(), SemiSupervised(alpha)))
    if guide is None:
        parts = vae.prior.mixture()
        z = pair.guide.nodes["z"]["value"].unsqueeze(-2)
        q = (parts.component_distribution.log_prob(z) + vae.prior.logits).log_softmax(-1).mean(0)
    else:
        q = vae.recognition(data())["logits"].log_softmax(-1)
    by_hand = alpha * (known() * q).sum(-1)
    assert (by_hand[[0, 2]] < -0.1).all()
    torch.testing.assert_close(both - elbo, by_hand)
    for a, b, c in zip(gradient(both), gradient(elbo), gradient(by_hand), strict=True):
        torch.testing.assert_close(a - b, torch.zeros_like(a) if c is None else c, rtol=1e-8, atol=1e-9)
    assert torch.equal(SemiSupervised(0.0).ascended(pair), elbo)
    assert torch.equal(SemiSupervised(alpha).bound(pair.terms()), ELBO().bound(pair.terms()))
    half = SemiSupervised(alpha).ascended(pair, 0.5) - ELBO().ascended(pair, 0.5)
    torch.testing.assert_close(half, by_hand)  # a weight of the divergence is none of the labels


@pytest.mark.parametrize("objective", [SemiSupervised(2.0), Balanced(2.0)], ids=repr)
def test_bayes_rule_at_stratified_draws_is_weighted_by_the_strata(objective):
    """A mixture guide that draws no class: its strata have the weights K pi_k, as in every other mean."""
    vae = small(GaussianMixture(3, labels=True), pv.guides.GaussianMixture(3))
    with torch.no_grad():  # of unequal weights
        vae.recognition.heads["logits"].linear.bias.copy_(torch.tensor([2.0, 0.0, -1.0]))
    rows = pv.Rows(data(), y=LABELS)
    runner = Runner(vae).check(rows)
    found = []
    for stratified in (True, False):
        pyro.set_rng_seed(0)
        pair = runner.run(rows, particles=30_000, stratified=stratified)
        found.append((objective.ascended(pair) - ELBO().ascended(pair)).detach())
    torch.testing.assert_close(*found, rtol=0, atol=0.15)
    assert found[0].abs().max() > 0.5


def test_labels_teach_the_classes_and_make_them_the_labels():
    """Three blobs, nine labels: the class is the label, where without them it is any."""
    rng = torch.Generator().manual_seed(0)
    label = torch.randint(3, (300,), generator=rng)
    x = 3 * torch.eye(3)[label] + 0.3 * torch.randn(300, 3, generator=rng)
    given = pv.datasets.load(TensorDataset(x.float(), label), known=9, validation=30, test=60)
    torch.manual_seed(1)
    nets = {"encoder": pv.networks.MLP(16), "decoder": pv.networks.MLP(16)}
    vae = pv.VAE(
        (3,),
        1,
        prior=Classes(3, labels=True),
        guide=pv.guides.Classes(3),
        likelihood=pv.likelihoods.Normal(0.5),
        **nets,
    )
    pv.fit(vae, given, SemiSupervised(20.0), epochs=15, batch_size=30, lr=1e-2, progress=False)
    found = vae.responsibilities(given.test)[0].argmax(-1)
    assert (found == given.labels.test).double().mean() > 0.95


# ---------------------------------------------------------------- known=


def labelled(rows=200, classes=4):
    return TensorDataset(torch.rand(rows, 3), torch.arange(rows) % classes + 3)


def counts(data):
    """The number of known labels of each class, and of unknown ones."""
    y = data.train.y
    return y[y >= 0].bincount().tolist(), int((y < 0).sum())


def test_a_few_labels_are_kept_of_each_class_alike():
    held = pv.datasets.load(labelled(), known=20, validation=20, test=20)
    assert counts(held) == ([5, 5, 5, 5], 140)
    there = held.train.y >= 0
    assert (held.train.y[there] + 3 == held.labels.train[there]).all()
    assert held.validation.y is None
    assert held.test.y is None
    assert len(held.labels.test.unique()) == 4  # the true ones are all there
    odd = pv.datasets.load(labelled(), known=10, validation=20, test=20)
    assert sorted(counts(odd)[0]) == [2, 2, 3, 3]
    few = pv.datasets.load(labelled(), known=160, validation=20, test=20)
    assert counts(few)[1] == 0


def test_which_labels_are_known_is_a_function_of_the_split_seed():
    one, two, three = (pv.datasets.load(labelled(), known=8, split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train.y, two.train.y)
    assert not torch.equal(one.train.y, three.train.y)
    alone = [pv.datasets.load(labelled(classes=1), known=8, split_seed=seed) for seed in (0, 1)]
    assert not torch.equal(*(held.train.y for held in alone))  # not only the rows are others
    more = pv.datasets.load(labelled(), known=12)
    same = one.train.y >= 0
    assert torch.equal(one.train.y[same], more.train.y[same])  # a few more, the same ones among them


def test_labels_of_a_stream_are_checked_before_a_folder_is_made(tmp_path):
    rows = TensorDataset(torch.rand(60, 4).round(), torch.arange(60) % 3)
    rows.targets = torch.arange(60) % 3
    data = pv.datasets.load(rows, stream=True, labels=True)
    vae = pv.VAE((4,), 1, prior=GaussianMixture(2, labels=True))
    options = {"epochs": 1, "batch_size": 10, "progress": False, "out": tmp_path / "run"}
    raises_one_sentence(lambda: pv.fit(vae, data, **options), "y holds the class 2")
    assert not (tmp_path / "run").exists()


def test_a_stream_keeps_as_many():
    rows = labelled()
    rows.targets = rows.tensors[1]
    held = pv.datasets.load(rows, stream=True, known=8, validation=20, test=20)
    assert held.streams
    y = held.train.y
    assert y[y >= 0].bincount().tolist() == [2, 2, 2, 2]
    assert held.test.y is None


def test_known_labels_are_refused_where_they_mean_nothing():
    load, rows = pv.datasets.load, labelled()
    raises_one_sentence(lambda: load(rows, known=1000), "known=1000", "training")
    for wrong in (0, -1, 2.5, True, "many"):
        raises_one_sentence(lambda wrong=wrong: load(rows, known=wrong), "known", repr(wrong))
    raises_one_sentence(lambda: load(torch.rand(50, 3), known=8), "has no labels")
    some = load(TensorDataset(binary(60), torch.arange(60) % 3), known=9)

    def fit(data, **declaration):
        vae = pv.VAE((1, 4, 4), 2, encoder=pv.networks.MLP(4), decoder=pv.networks.MLP(4), **declaration)
        return pv.fit(vae, data, epochs=1, batch_size=8, progress=False)

    raises_one_sentence(lambda: fit(some, context_shape=(3,)), "context", "context='labels'")
    raises_one_sentence(lambda: fit(some), "observes none", "labels=True")
    with typed(["fit"]):  # StandardNormal has no option labels
        raises_one_sentence(lambda: fit(some), "--prior GaussianMixture --prior.labels true")
        prior = GaussianMixture(3)
        raises_one_sentence(lambda: fit(some, prior=prior), "observes none: give it --prior.labels true")
    prior = GaussianMixture(3, labels=True)
    raises_one_sentence(lambda: fit(binary(60), prior=prior), "observes labels", "labels=True")
    four = load(TensorDataset(binary(60), torch.arange(60) % 4), known=8)
    raises_one_sentence(lambda: fit(four, prior=prior), "class 3", "0 to 2")


def test_a_run_with_few_labels_stands_in_its_folder(tmp_path, capsys, monkeypatch):
    """From the command line to config.yaml and back."""
    torch.set_default_dtype(torch.float32)
    monkeypatch.chdir(tmp_path)
    words = "fit --data digits --known 100 --prior Classes --prior.labels true"
    words += (
        " --guide Classes --objective SemiSupervised --objective.alpha 3 --likelihood ContinuousBernoulli"
    )
    words += " --encoder MLP --encoder.sizes [8] --decoder MLP --decoder.sizes [8] --latent_dim 2"
    assert main([*words.split(), "--epochs", "1", "--out", "r"]) == 0
    run = pv.load("r")
    assert run.prior == Classes(10, labels=True)
    written = yaml.safe_load((tmp_path / "r/config.yaml").read_text())
    assert "known: 100" in (tmp_path / "r/config.yaml").read_text()
    assert written
    assert main(["evaluate", "r", "--particles", "3", "--method", "importance", "--bounds", "[1]"]) == 0
    assert "log p(x)" in capsys.readouterr().out


def test_what_labels_and_the_context_do_not_go_with_is_refused():
    labelled = GaussianMixture(3, labels=True, prune=0.1)
    raises_one_sentence(lambda: pv.VAE((4,), 2, prior=labelled), "prune", "labels")
    pruned = GaussianMixture(3, prune=0.1)
    raises_one_sentence(lambda: pv.VAE((4,), 2, prior=pruned, context_shape=(2,)), "prune", "context")
    guide = pv.guides.GaussianMixture(3, explicit=True)
    explicit = GaussianMixture(3, explicit=True, prune=0.1)
    raises_one_sentence(lambda: pv.VAE((4,), 2, prior=explicit, guide=guide), "prune", "guide over z")
    sphere = pv.priors.Hierarchical((2,), top=pv.priors.HypersphericalUniform())
    raises_one_sentence(lambda: pv.VAE((4,), 2, prior=sphere), "HypersphericalUniform", "reals")


def test_a_component_is_its_label_whatever_the_labels_are_called():
    found = pv.exploring.agreement([0, 1, 2, 2], [5, 7, 9, 5], 3, names=[5, 7, 9])
    assert found.plain == 0.75
