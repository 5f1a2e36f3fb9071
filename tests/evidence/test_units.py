"""What log p(x) is the logarithm of: bits per dimension, and what may be ranked with what."""

import dataclasses
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.evidence import Comparison, Comparisons, Evidence, Units, compare, log_evidence
from pyrovae.evidence.draws import data_keys
from pyrovae.evidence.units import units_of
from pyrovae.likelihoods import Bernoulli, ContinuousBernoulli, DiscretizedLogistic, Mixed, Normal
from pyrovae.networks import MLP
from pyrovae.numerics import bits_per_dim
from pyrovae.terms import Runner
from tests.support.parts import raises_one_sentence


def vae_for(data, likelihood, seed=0):
    torch.manual_seed(seed)
    vae = pv.VAE(data.event_shape, 2, likelihood=likelihood, encoder=MLP(16), decoder=MLP(16))
    vae.schema = data.schema
    return vae


def evidence_of(data, likelihood, rows=40, **options):
    return log_evidence(vae_for(data, likelihood), data.test[:rows], particles=30, **options)


@pytest.fixture(scope="module")
def digits():
    options = {"grey": {}, "noisy": {"dequantize": True}, "binary": {"binarize": "threshold"}}
    return {name: pv.datasets.load("digits", count=300, **given) for name, given in options.items()}


# ---------------------------------------------------------------- bits


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_density_of_dequantised_levels_has_the_bits_of_uniform_levels(levels):
    dims = 12
    assert bits_per_dim(-dims * math.log(levels), dims) == pytest.approx(math.log2(levels))
    assert bits_per_dim(0.0, dims, levels) == pytest.approx(math.log2(levels))


@pytest.mark.parametrize("missing", [0, 3, 4])
def test_bits_are_those_of_the_entries_that_are_present(missing):
    """Four fair coins, some of them missing: one bit for each that is there."""
    vae = pv.VAE((4,), 1, encoder=pv.networks.MLP(4), decoder=pv.networks.MLP(4))
    with torch.no_grad():
        for p in vae.parameters():
            p.zero_()
    x = torch.ones(5, 4)
    x[:, :missing] = math.nan
    evidence = pv.log_evidence(vae, x, particles=2000, method="importance", compile=False)
    assert evidence.bits_per_dim == pytest.approx(1.0 if missing < 4 else math.nan, abs=0.1, nan_ok=True)


def test_fashion_mnist_has_positive_bits():
    """-log2 p / D of a density was printed as -0.80 bits; the levels' volume is 8 bits more."""
    log_px = 0.80 * 784 * math.log(2)
    evidence = Evidence(
        *(np.full(2, v) for v in (log_px, 0.1, 5.0, 0.1)),
        particles=10,
        event_shape=(1, 28, 28),
        units=Units("density", levels=256, dequantized=True),
    )
    assert evidence.bits_per_dim == pytest.approx(7.20)
    assert "bits per dimension     7.2000" in str(evidence)
    assert "dequantised over 256 levels" in str(evidence)
    assert evidence.to_dict()["bits_per_dim"] == pytest.approx(7.20)


def test_a_density_that_is_constant_in_each_cell_has_the_bits_of_its_probabilities(digits):
    """A discrete model, and its density p(x) = n^D P(v): the same number of bits, row by row."""
    data, noisy = digits["grey"], digits["noisy"]
    discrete = evidence_of(data, DiscretizedLogistic(levels=17))
    density = dataclasses.replace(
        discrete,
        log_px=discrete.log_px + 64 * math.log(17),
        units=evidence_of(noisy, Normal()).units,
        index=data.test.index[:40].numpy(),
    )
    assert density.bits_per_dim == pytest.approx(discrete.bits_per_dim)
    table = compare({"discrete": discrete, "density": density})
    assert isinstance(table, Comparisons)
    assert table.common is not None
    np.testing.assert_allclose(table.common.difference, 0, atol=1e-9)
    np.testing.assert_allclose(table.common.bits, discrete.bits_per_dim)
    assert discrete.units.is_of_same_levels(density.units, (1, 8, 8))


def test_only_discrete_values_and_dequantised_ones_have_bits(digits):
    wanted = {
        "grey": [(DiscretizedLogistic(levels=17), True), (Normal(), False), (ContinuousBernoulli(), False)],
        "noisy": [(Normal(), True), (pv.likelihoods.Beta(), True)],
        "binary": [(Bernoulli(), True)],
    }
    for name, parts in wanted.items():
        for part, has_bits in parts:
            evidence = evidence_of(digits[name], part)
            assert math.isfinite(evidence.bits_per_dim) == has_bits
            assert ("bits per dimension" in str(evidence)) == has_bits
            assert (evidence.to_dict()["bits_per_dim"] is not None) == has_bits
            assert evidence.to_dict()["measure"] == part_measure(part)


def part_measure(part):
    return "mass" if isinstance(part, (Bernoulli, DiscretizedLogistic)) else "density"


# ---------------------------------------------------------------- comparisons


def test_a_density_is_not_ranked_above_a_probability(digits):
    data = digits["grey"]
    found = {
        "normal": evidence_of(data, Normal()),
        "logistic": evidence_of(data, DiscretizedLogistic(levels=17)),
        "wide": evidence_of(data, Normal(0.5)),
    }
    tables = compare(found)
    assert isinstance(tables, Comparisons)
    assert sorted(map(len, (t.names for t in tables.tables))) == [1, 2]
    assert tables.common is None  # a density of grey levels without noise says nothing of them
    text = str(tables)
    assert "cannot be ranked with each other" in text
    assert "the density of real values" in text
    assert "the probability of discrete values" in text
    alone = compare({name: found[name] for name in ("normal", "wide")})
    assert isinstance(alone, Comparison)


def test_a_dequantised_density_and_a_discrete_likelihood_have_one_scale(digits):
    found = {
        "logistic": evidence_of(digits["grey"], DiscretizedLogistic(levels=17)),
        "normal": evidence_of(digits["noisy"], Normal(0.3)),
        "binary": evidence_of(digits["binary"], Bernoulli()),
    }
    tables = compare(found)
    assert len(tables.tables) == 3
    assert set(tables.common.names) == {"logistic", "normal"}
    bits = dict(zip(tables.common.names, tables.common.bits, strict=True))
    for name in ("logistic", "normal"):
        assert bits[name] == pytest.approx(found[name].bits_per_dim)
    assert list(tables.common.bits) == sorted(tables.common.bits)
    assert "17 levels" in str(tables)
    gap = found["normal"].log_px - 64 * math.log(17) - found["logistic"].log_px
    assert abs(tables.common.difference[1]) == pytest.approx(abs(gap.mean()))


def test_the_volume_of_a_row_is_that_of_its_own_entries():
    """A density that is constant in each cell, n^D P(v): the levels' probability, row by row."""
    n = 4
    x = torch.randint(0, n, (6, 3, 10, 10), generator=torch.Generator().manual_seed(0)) / (n - 1)
    for row, missing in enumerate((0, 100, 250, 299, 30, 300)):
        x[row].view(-1)[:missing] = math.nan
    known = (~x.isnan()).flatten(1).sum(1).numpy()
    log_mass = -known * math.log(n)  # uniform levels
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    of = {"levels": pv.Rows(x), "noisy": pv.Rows((x * (n - 1) + noise) / n)}
    likelihoods = {"levels": DiscretizedLogistic(levels=n), "noisy": Normal()}
    found = {}
    for name, rows in of.items():
        vae = pv.VAE((3, 10, 10), 1, likelihood=likelihoods[name], encoder=MLP(4), decoder=MLP(4))
        vae.schema = pv.datasets.Schema((3, 10, 10), levels=n, dequantize=name == "noisy")
        units = units_of(Runner(vae), rows)
        density = log_mass + (known * math.log(n) if name == "noisy" else 0.0)
        few = [np.full(6, value) for value in (0.1, 5.0, 0.1)]
        found[name] = Evidence(
            density, *few, particles=10, event_shape=(3, 10, 10), units=units, index=np.arange(6)
        )
        assert found[name].bits_per_dim == pytest.approx(2.0)
    common = compare(found).common
    np.testing.assert_allclose(common.mean, log_mass.mean())
    np.testing.assert_allclose(common.difference_stderr, 0, atol=1e-9)
    np.testing.assert_allclose(common.bits, 2.0)


def test_other_rows_are_refused(digits):
    data = digits["grey"]
    vae = vae_for(data, Normal())
    one, other = (log_evidence(vae, x, particles=5) for x in (data.test.x[:20], data.test.x[20:40]))
    raises_one_sentence(lambda: compare({"a": one, "b": other}), "different values of x")
    noisy = digits["noisy"]
    moved = pv.Rows(noisy.test.x[20:40], index=noisy.test.index[:20])
    found = {
        "a": log_evidence(vae_for(data, DiscretizedLogistic(levels=17)), data.test[:20], particles=5),
        "b": log_evidence(vae_for(noisy, Normal()), moved, particles=5),
    }
    raises_one_sentence(lambda: compare(found), "different values of x")


def test_other_contexts_have_separate_tables():
    torch.manual_seed(0)
    vae = pv.VAE((3,), 2, likelihood=Normal(), encoder=MLP(4), decoder=MLP(4), context_shape=(2,))
    x = torch.randn(10, 3)
    contexts = {"zeros": torch.zeros(10, 2), "ones": torch.ones(10, 2)}
    found = {name: log_evidence(vae, x, c, particles=5) for name, c in contexts.items()}
    assert len(compare(found).tables) == 2


def test_tables_with_other_kinds_of_columns_are_not_ranked():
    x = torch.randint(0, 5, (30, 2)).float()
    found = {}
    for kinds in (["normal", "poisson"], ["poisson", "normal"], ["laplace", "negativebinomial"]):
        torch.manual_seed(0)
        vae = pv.VAE((2,), 1, likelihood=Mixed(kinds), encoder=MLP(4), decoder=MLP(4))
        found[kinds[0]] = log_evidence(vae, x, particles=5)
    assert {table.names for table in compare(found).tables} != set()
    assert sorted(len(table.names) for table in compare(found).tables) == [1, 2]


def test_results_without_units_are_compared_as_before():
    """Those of older versions, and of programs that do not say what they are."""
    x = torch.randn(10, 3)
    torch.manual_seed(0)
    vae = pv.VAE((3,), 1, likelihood=Normal(), encoder=MLP(4), decoder=MLP(4))
    new = log_evidence(vae, x, particles=5)
    old = dataclasses.replace(new, units=Units())
    assert isinstance(compare({"a": new, "b": old}), Comparison)
    assert math.isfinite(old.bits_per_dim)


def test_hand_written_programs_say_what_they_observe():
    def model_of(p):
        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", p(z), obs=x)

        return model

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    x = torch.ones(5)
    for p, measure in (
        (lambda z: dist.Normal(z, 1.0), "density"),
        (lambda z: dist.Bernoulli(logits=z), "mass"),
    ):
        assert log_evidence((model_of(p), guide), x, particles=5).units.measure == measure


def test_a_single_table_of_images_has_bits(digits):
    data = digits["grey"]
    found = {name: evidence_of(data, DiscretizedLogistic(17, n)) for name, n in (("one", 1), ("two", 2))}
    table = compare(found)
    np.testing.assert_allclose(sorted(table.bits), sorted(e.bits_per_dim for e in found.values()))
    assert "bits/dim" in str(table)


# ---------------------------------------------------------------- rows in float64


def test_rows_have_one_key_in_both_types_and_in_any_order():
    x = torch.randn(50, 2, dtype=torch.float64)
    assert (data_keys(pv.Rows(x)) == data_keys(pv.Rows(x.float()))).all()
    far = torch.cat([5.4e6 + 0.2 * x[:, :1], 5.4e6 + 0.2 * x[:1, :1]])  # a few values in float32, two equal
    keys, order = data_keys(pv.Rows(far)), torch.randperm(51)
    assert len(set(keys.tolist())) == 51
    assert set(data_keys(pv.Rows(far[order])).tolist()) == set(keys.tolist())
    assert (np.sort(data_keys(pv.Rows(far[1:50])))[:, None] == keys[1:50]).any(0).all()


# ---------------------------------------------------------------- the commands


def test_the_commands_print_units_and_separate_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--latent_dim", "2", "--encoder", "MLP", "--encoder.sizes", "[8]", "--decoder", "MLP"]
    small += ["--decoder.sizes", "[8]", "--epochs", "1", "--figures", "false", "--data", "digits"]
    runs = {
        "levels": ["--likelihood", "DiscretizedLogistic", "--likelihood.levels", "17"],
        "density": ["--likelihood", "Normal", "--dequantize", "true"],
    }
    for name, options in runs.items():
        assert main(["fit", *small, *options, "--out", name]) == 0
    capsys.readouterr()
    assert main(["compare", *runs, "--particles", "20", "--rows", "30"]) == 0
    printed = capsys.readouterr().out
    assert "cannot be ranked with each other" in printed
    assert "17 levels" in printed
    assert printed.count("bits/dim") == 3
    options = ["--particles", "20", "--rows", "10", "--chains", "2", "--bounds", "[1]", "--method", "PSIS"]
    assert main(["evaluate", "density", *options]) == 0
    printed = capsys.readouterr().out
    assert "dequantised over 17 levels" in printed
    bits = [float(line.split()[-1]) for line in printed.splitlines() if "bits per dimension" in line]
    nats = [float(line.split()[1]) for line in printed.splitlines() if line.startswith("  mean ")]
    for found, mean in zip(bits, nats, strict=True):
        assert found == pytest.approx(-mean / (64 * math.log(2)) + math.log2(17), abs=1e-3)
