"""How a VAE is printed: a line for each distribution of its program, and for what all rows share."""

import re

import pytest

import pyrovae as pv
from pyrovae import guides, likelihoods, priors
from pyrovae.networks import MLP, Bayesian, ConvDecoder, Gated


def lines(shape=(4,), **parts):
    """The rows of the table as (variable, distribution, density), with single blanks."""
    options = {"encoder": MLP(5), "decoder": MLP(5)} | parts
    head, *rows = str(pv.VAE(shape, 2, **options)).splitlines()
    found = [re.fullmatch(r"  (.+?) +~ (.+?) +([pq]\(.*\))", row) for row in rows]
    assert all(found), rows
    return head, [tuple(" ".join(part.split()) for part in match.groups()) for match in found]


def shared(**parts):
    """The rows of variables that all rows share."""
    return [row for row in lines(**parts)[1] if not row[0].startswith(("z", "c, z", "x", "s "))]


def test_without_shared_variables_there_are_three_lines():
    head, rows = lines()
    assert head == "VAE of events (4,) with latents (2,), 88 parameters"
    assert [(a, c) for a, _, c in rows] == [("z", "p(z)"), ("x | z", "p(x|z)"), ("z | x", "q(z|x)")]


def test_the_weights_of_a_decoder_are_one_line():
    head, rows = lines(decoder=Bayesian(MLP(7, 7)))
    assert rows[0] == ("W", "N(0, 1/2), N(0, 1/7); biases N(0, 1)", "p(W)")
    assert rows[2][::2] == ("x | z, W", "p(x|z, W)")
    assert rows[2][1].endswith("of Bayesian(network=MLP(7, 7, activation='relu'))(z)")
    assert rows[3][::2] == ("z | x", "q(z|x)")
    vae = pv.VAE((4,), 2, encoder=MLP(5), decoder=Bayesian(MLP(7, 7)))
    assert f"{sum(p.numel() for p in vae.parameters()):,} parameters" in head


@pytest.mark.parametrize(
    ("decoder", "shape", "words"),
    [
        (Bayesian(MLP(7), posterior="lastlayer"), (4,), "N(0, 1/7); biases N(0, 1)"),
        (Bayesian(MLP(7), scale=2), (4,), "N(0, 4/2), N(0, 4/7); biases N(0, 4)"),
        (Bayesian(MLP(7), scale="learned"), (4,), "N(0, s^2/2), N(0, s^2/7); biases N(0, s^2)"),
        (Bayesian(MLP(7), posterior="lowrank"), (4,), "N(0, 1/2), N(0, 1/7); biases N(0, 1)"),
        (Bayesian(MLP(7), posterior="laplace"), (4,), "N(0, 1/7), biases N(0, 1)"),
        (Bayesian(Gated(7)), (4,), "N(0, 1/2), N(0, 1/7); biases N(0, 1)"),
        (Bayesian(ConvDecoder((4,))), (1, 4, 4), "N(0, 1/2), N(0, 1/36); biases N(0, 1)"),
        (
            Bayesian(MLP(3, 4, 5, 6, 7)),
            (4,),
            "N(0, 1/2), N(0, 1/3), N(0, 1/4), ..., N(0, 1/7); biases N(0, 1)",
        ),
    ],
    ids=["lastlayer", "scale", "learned", "lowrank", "laplace", "gated", "convolutions", "many"],
)
def test_equal_distributions_are_named_once(decoder, shape, words):
    assert shared(shape=shape, decoder=decoder) == [("W", words, "p(W)")]


def test_each_other_variable_has_its_name():
    mixture = priors.GaussianMixture(3, weights="dirichlet", concentration=1)
    of_mixture = [("weights", "Dirichlet(1)", "p(weights)"), ("means", "N(0, 3^2)", "p(means)")]
    scale = ("scale", "HalfNormal(1)", "p(scale)")
    assert shared(likelihood=likelihoods.Normal("bayesian")) == [scale]
    assert shared(likelihood=likelihoods.StudentT(scale="bayesian"), prior=mixture) == [*of_mixture, scale]
    assert shared(prior=priors.Hierarchical((3,), (4,), top=mixture)) == of_mixture


def test_with_a_context_a_mechanism_and_classes():
    parts = {"decoder": Bayesian(MLP(7)), "likelihood": likelihoods.Normal("bayesian")}
    _, rows = lines(context_shape=(3,), **parts)
    assert [row[::2] for row in rows[2:]] == [
        ("z | c", "p(z | c)"),
        ("x | z, c, W", "p(x|z, c, W)"),
        ("z | x, c", "q(z|x, c)"),
    ]
    assert rows[1][1] == "N(0, 1/5), N(0, 1/7); biases N(0, 1)"
    assert rows[3][1].endswith("(z, c)")
    _, rows = lines(mechanism=likelihoods.SelfMasking(), missing="flags", **parts)
    assert [row[0] for row in rows] == ["scale", "W", "z", "x | z, W", "s | x", "z | x"]
    _, rows = lines(prior=priors.Classes(3, labels=True), guide=guides.Classes(3), **parts)
    assert [row[0] for row in rows] == ["scale", "W", "c, z", "x | z, c, W", "c, z | x"]
    mixture = priors.GaussianMixture(3, explicit=True, weights="dirichlet")
    _, rows = lines(prior=mixture, guide=guides.GaussianMixture(3, explicit=True), decoder=Bayesian(MLP(7)))
    assert [row[0] for row in rows] == ["weights", "means", "W", "c, z", "x | z, W", "c, z | x"]


def test_the_table_is_aligned():
    shown = str(pv.VAE((4,), 2, encoder=MLP(5), decoder=Bayesian(MLP(7)))).splitlines()[1:]
    assert len({line.index(" ~ ") for line in shown}) == 1
    assert all(line == line.rstrip() for line in shown)
