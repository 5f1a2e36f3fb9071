"""Labels that are known for some data: what they do to p, q, bounds and draws, and where they come from."""

import dataclasses

import pyro
import pytest
import torch
import yaml
from parts import raises_one_sentence
from same_runs import binary
from test_classes import LABELLED, VADE, data, known, small
from test_mixture_prior import CENTRES, blobs
from torch.utils.data import TensorDataset

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.objectives import ELBO, Balanced, SemiSupervised
from pyrovae.priors import Classes, GaussianMixture
from pyrovae.terms import Program

pytestmark = pytest.mark.usefixtures("float64")

ALL = pytest.mark.parametrize(("prior", "guide"), [*LABELLED, VADE], ids=repr)


def pair_of(vae, *given, particles=3):
    pyro.set_rng_seed(0)
    program = Program(vae).check(*given)
    return program.run(*given, particles=particles, stratified=True)


# ---------------------------------------------------------------- p, q and draws


@ALL
def test_a_label_enters_the_joint_and_other_rows_do_not_see_it(prior, guide):
    """The estimates of p(x, y) over the classes add up to that of p(x), from the same draws of z."""
    vae = small(prior, guide)
    nothing = pv.log_evidence(vae, data(), particles=2000)
    zeros = pv.log_evidence(vae, data(), torch.zeros(4, 3), particles=2000)
    some = pv.log_evidence(vae, data(), known(), particles=1000, compile=False)
    apart = nothing.mc_stderr + some.mc_stderr
    assert (abs(nothing.log_px - zeros.log_px) < 5 * (nothing.mc_stderr + zeros.mc_stderr) + 1e-12).all()
    assert (abs(nothing.log_px - some.log_px) < 5 * apart + 1e-12)[[1, 3]].all()
    joint = [
        pv.log_evidence(vae, data(), torch.eye(3)[k].expand(4, 3), particles=5000, compile=False)
        for k in range(3)
    ]
    total = torch.stack([torch.as_tensor(found.log_px) for found in joint]).logsumexp(0)
    error = sum(found.mc_stderr for found in joint) + nothing.mc_stderr
    assert (error < 0.5).all()
    assert (abs(total.numpy() - nothing.log_px) < 5 * error).all()


@ALL
def test_the_terms_of_a_row_know_its_own_label_alone(prior, guide):
    vae = small(prior, guide)
    one, other = known(), known()
    other[0] = torch.eye(3)[2]
    first, second = (pair_of(vae, data(), labels).terms() for labels in (one, other))
    for a, b in zip((first.log_w, first.log_px), (second.log_w, second.log_px), strict=True):
        assert torch.equal(a[:, 1:], b[:, 1:])
    assert (ELBO().bound(first)[0] - ELBO().bound(second)[0]).abs() > 1e-3
    zeros, none = (pair_of(vae, data(), *c).terms() for c in ((torch.zeros(4, 3),), ()))
    torch.testing.assert_close(ELBO().bound(zeros), ELBO().bound(none))


@ALL
def test_a_label_chooses_what_is_drawn(prior, guide):
    vae = small(prior, guide)
    with torch.no_grad():  # so that classes are told apart by their draws
        if isinstance(prior, GaussianMixture):
            vae.prior.put(
                torch.tensor([0.5, 0.3, 0.2]), 100 * torch.eye(3)[:, :2], torch.eye(2).expand(3, 2, 2)
            )
    label = torch.eye(3)[1]
    trace = pyro.poutine.trace(vae.model).get_trace(None, label.expand(40, 3))
    assert (trace.nodes["c"]["value"] == 1).all()
    assert "y" not in trace.nodes
    for z in (vae.latents(label).expand((40,)).sample(), vae.latents(label.expand(40, 3)).sample()):
        drawn = z[:, 2:].argmax(-1) if isinstance(prior, Classes) else z.argmax(-1)
        assert (drawn == 1).all()
    assert vae.sample(5, label).shape == (5, 3)
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


def test_no_network_reads_a_label():
    for prior, guide in [*LABELLED, VADE]:
        vae = small(prior, guide)
        plain = small(dataclasses_free(prior), guide)
        assert {n: p.shape for n, p in vae.named_parameters()} == {
            n: p.shape for n, p in plain.named_parameters()
        }
        assert vae.context_shape == (3,)
        assert pv.VAE.from_dict(yaml.safe_load(yaml.safe_dump(vae.to_dict()))) == vae
        assert "some labels known" in str(vae)


def dataclasses_free(prior):
    """The prior without labels, its class a site all the same."""
    given = prior.hyperparameters() | {"labels": False}
    return type(prior)(**given | ({"explicit": True} if isinstance(prior, GaussianMixture) else {}))


# ---------------------------------------------------------------- what is trained


@ALL
def test_the_term_of_the_labels_is_log_q_of_the_class(prior, guide):
    """Its value, and a gradient by autograd of the sentence in the docstring; without it ELBO's."""
    vae, alpha = small(prior, guide), 7.0
    params = list(vae.parameters())

    def gradient(value):
        return torch.autograd.grad(value.sum(), params, retain_graph=True, allow_unused=True)

    pair = pair_of(vae, data(), known())
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
    """A mixture guide that draws no class: its strata weigh K pi_k, as in every other mean."""
    vae = small(GaussianMixture(3, labels=True), pv.guides.GaussianMixture(3))
    with torch.no_grad():  # of unequal weights
        vae.recognition.heads["logits"].linear.bias.copy_(torch.tensor([2.0, 0.0, -1.0]))
    program = Program(vae).check(data(), known())
    found = []
    for stratified in (True, False):
        pyro.set_rng_seed(0)
        pair = program.run(data(), known(), particles=30_000, stratified=stratified)
        found.append((objective.ascended(pair) - ELBO().ascended(pair)).detach())
    torch.testing.assert_close(*found, rtol=0, atol=0.15)
    assert found[0].abs().max() > 0.5


def test_labels_teach_the_classes_and_make_them_the_labels():
    """Three blobs, nine labels: the class is the label, where without them it is any."""
    rng = torch.Generator().manual_seed(0)
    label = torch.randint(3, (300,), generator=rng)
    x = 3 * torch.eye(3)[label] + 0.3 * torch.randn(300, 3, generator=rng)
    given = pv.datasets.load(
        TensorDataset(x.float(), label), context="labels", known=9, validation=30, test=60
    )
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
    found = vae.responsibilities(given.test.to(torch.float64))[0].argmax(-1)
    assert (found == given.labels.test).double().mean() > 0.95


# ---------------------------------------------------------------- known=


def labelled(rows=200, classes=4):
    return TensorDataset(torch.rand(rows, 3), torch.arange(rows) % classes + 3)


def test_a_few_labels_are_kept_of_each_class_alike():
    held = pv.datasets.load(labelled(), context="labels", known=20, validation=20, test=20)
    kept = held.context.train
    assert kept.sum(0).tolist() == [5, 5, 5, 5]
    assert kept.sum(1).max() == 1
    rows = kept.sum(1) > 0
    assert (kept[rows].argmax(1) + 3 == held.labels.train[rows]).all()
    assert not held.context.validation.any()
    assert not held.context.test.any()
    assert len(held.labels.test.unique()) == 4  # the true ones are all there
    odd = pv.datasets.load(labelled(), context="labels", known=10, validation=20, test=20)
    assert sorted(odd.context.train.sum(0).tolist()) == [2, 2, 3, 3]
    few = pv.datasets.load(labelled(), context="labels", known=160, validation=20, test=20)
    assert torch.equal(few.context.train.sum(1), torch.ones(160))


def test_which_labels_are_known_is_a_function_of_the_split_seed():
    one, two, three = (
        pv.datasets.load(labelled(), context="labels", known=8, split_seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(one.context.train, two.context.train)
    assert not torch.equal(one.context.train, three.context.train)
    alone = [
        pv.datasets.load(labelled(classes=1), context="labels", known=8, split_seed=seed) for seed in (0, 1)
    ]
    assert not torch.equal(*(held.context.train for held in alone))  # not only the rows are others
    more = pv.datasets.load(labelled(), context="labels", known=12)
    assert (one.context.train <= more.context.train).all()  # a few more, the same ones among them


def test_a_stream_keeps_as_many():
    given = {"context": "labels", "known": 8, "validation": 20, "test": 20}
    rows = labelled()
    rows.targets = rows.tensors[1]
    held = pv.datasets.load(rows, stream=True, **given)
    assert held.streams
    assert held.context.train.sum(0).tolist() == [2, 2, 2, 2]
    assert not held.context.test.any()


def test_known_labels_are_refused_where_they_mean_nothing():
    load, rows = pv.datasets.load, labelled()
    raises_one_sentence(lambda: load(rows, known=8), "known=8", "context='labels'")
    raises_one_sentence(lambda: load(rows, context="labels", known=1000), "known=1000", "training data")
    for wrong in (0, -1, 2.5, True, "many"):
        raises_one_sentence(
            lambda wrong=wrong: load(rows, context="labels", known=wrong), "known", repr(wrong)
        )
    raises_one_sentence(lambda: load(torch.rand(50, 3), context="labels", known=8), "has no labels")
    some = load(TensorDataset(binary(60), torch.arange(60) % 3), context="labels", known=9)

    def fit(data, **declaration):
        vae = pv.VAE((1, 4, 4), 2, encoder=pv.networks.MLP(4), decoder=pv.networks.MLP(4), **declaration)
        return pv.fit(vae, data, epochs=1, batch_size=8, progress=False)

    raises_one_sentence(lambda: fit(some, context_shape=(3,)), "9 labels are known", "labels=True")
    raises_one_sentence(lambda: fit(some), "9 labels are known", "labels=True")
    prior = GaussianMixture(3, labels=True)
    raises_one_sentence(lambda: fit(binary(60), prior=prior), "reads labels", "context='labels'")
    raises_one_sentence(lambda: fit(binary(60), prior=prior, context_shape=(2,)), "of shape (3,)", "(2,)")
    wrong = dataclasses.replace(some, context=some.context.map(lambda c: c + 0.5))
    raises_one_sentence(lambda: fit(wrong, prior=prior), "no one-hot rows")
    four = load(TensorDataset(binary(60), torch.arange(60) % 4), context="labels", known=8)
    raises_one_sentence(lambda: fit(four, prior=prior), "(*, 3)", "(2, 4)")


def test_a_run_with_few_labels_stands_in_its_folder(tmp_path, capsys, monkeypatch):
    """From the command line to config.yaml and back."""
    torch.set_default_dtype(torch.float32)
    monkeypatch.chdir(tmp_path)
    words = "fit --data digits --context labels --known 100 --prior Classes --prior.labels true"
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
