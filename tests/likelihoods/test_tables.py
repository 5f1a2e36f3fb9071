"""Tables: kinds of columns, words, missing entries, and a VAE that knows more than its columns one by one."""

import math

import numpy as np
import pandas
import pytest
import scipy.stats
import torch

import pyrovae as pv
from pyrovae import baselines, datasets
from pyrovae.likelihoods import Categorical, Mixed, Normal, Poisson
from pyrovae.networks import MLP, ConvDecoder, ConvEncoder
from pyrovae.oracles import quadrature
from tests.support.parts import attached, params, raises_one_sentence

KINDS = (
    "normal",
    "poisson",
    "categorical:3",
    "lognormal",
    "bernoulli",
    "laplace",
    "negativebinomial",
    "studentt",
    "zeroinflatednegativebinomial",
    "normal",
    "categorical:2",
    "ordinal:4",
)


def people(rows=1500, seed=0, empty=0.1):
    """A table of six columns that two hidden numbers hold together, with empty cells."""
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(2, rows))
    noise = rng.normal(size=(4, rows))
    table = pandas.DataFrame(
        {
            "height": 170 + 10 * u + 2 * noise[0],
            "income": 30_000 * np.exp(0.8 * v + 0.2 * noise[1]),
            "visits": rng.poisson(np.exp(1 + 0.7 * u)),
            "clicks": rng.negative_binomial(3, 1 / (1 + np.exp(1 + v))),
            "member": (v + 0.3 * noise[2] > 0).astype(int),
            "colour": np.array(["red", "green", "blue"])[np.digitize(u + 0.3 * noise[3], [-0.5, 0.5])],
        }
    )
    return table.mask(rng.random(table.shape) < empty)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "people.csv"
    people().to_csv(path, index=False)
    return path


def mixed(kinds=KINDS, seed=0):
    """A likelihood that has started from data, these data, and the same with a third missing."""
    torch.manual_seed(seed)
    likelihood = attached(Mixed(kinds), (len(kinds),), seed=seed)
    rng = np.random.default_rng(seed)
    makers = {
        "normal": lambda n: rng.normal(1000, 50, n),
        "laplace": lambda n: rng.laplace(-3, 0.01, n),
        "studentt": lambda n: rng.standard_t(4, n),
        "lognormal": lambda n: rng.lognormal(5, 2, n),
        "poisson": lambda n: rng.poisson(7, n),
        "negativebinomial": lambda n: rng.negative_binomial(2, 0.02, n),
        "zeroinflatednegativebinomial": lambda n: rng.negative_binomial(2, 0.3, n) * (rng.random(n) < 0.6),
        "bernoulli": lambda n: rng.integers(2, size=n),
    }
    columns = [
        rng.integers(int(kind[-1]), size=200) if kind[-1].isdigit() else makers[kind](200) for kind in kinds
    ]
    whole = torch.tensor(np.stack(columns, 1), dtype=torch.float64)
    likelihood.double().start_from(whole)
    return likelihood, whole, torch.where(torch.rand(whole.shape) < 1 / 3, math.nan, whole)


# ---------------------------------------------------------------- reading


def test_a_table_says_what_its_columns_hold(table):
    data = datasets.load(table)
    kinds = ("normal", "studentt", "negativebinomial", "negativebinomial", "bernoulli", "categorical:3")
    assert tuple(c.kind for c in data.columns) == kinds
    assert tuple(c.name for c in data.columns) == tuple(people(3).columns)
    assert [c.levels for c in data.columns] == [None] * 5 + [("blue", "green", "red")]
    assert data.record["columns"]["colour"] == "categorical:3"
    shown = repr(data)
    assert "1 normal, 1 studentt, 2 negativebinomial, 1 bernoulli, 1 categorical:3" in shown
    assert f"{people().isna().sum().sum():,} entries missing" in shown
    everything = torch.cat([data.train.x, data.validation.x, data.test.x])
    found = everything[everything[:, 0].nan_to_num().argsort(stable=True)]
    codes = people()["colour"].map({"blue": 0.0, "green": 1.0, "red": 2.0})
    for name, column in (("clicks", people()["clicks"]), ("colour", codes)):
        i = list(people(3).columns).index(name)
        wanted = np.sort(column.dropna().to_numpy())
        np.testing.assert_array_equal(np.sort(found[:, i][~found[:, i].isnan()]), wanted)


def test_a_table_is_read_the_same_way_again_and_from_parquet(table, tmp_path):
    kinds = {"income": "lognormal", "member": "categorical", "visits": "poisson"}
    data = datasets.load(table, kinds=kinds)
    assert [c.kind for c in data.columns][1:3] == ["lognormal", "poisson"]
    assert data.columns[4] == datasets.Column("member", "categorical:2", ("0", "1"))
    given = dict(data.declaration)
    again = datasets.load(given.pop("data"), **given)
    assert again.columns == data.columns
    assert again.record == data.record
    torch.testing.assert_close(again.train.x, data.train.x, equal_nan=True, rtol=0, atol=0)
    people().to_parquet(tmp_path / "people.parquet")
    other = datasets.load(tmp_path / "people.parquet", kinds=kinds)
    assert other.columns == data.columns
    torch.testing.assert_close(other.train.x, data.train.x, equal_nan=True)
    data.schema.check_same(other.schema, "people.parquet")
    assert data.schema.columns == data.columns


def written(tmp_path, **columns):
    pandas.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_kinds_are_read_from_the_values(tmp_path):
    path = written(
        tmp_path,
        few=[3, 4, 5, 4, 3, 4],
        two=[1, 2, 2, 1, 1, 1],
        many=[0, 90, 3, 0, 0, 7],
        below=[-1, 2, 3, 4, 5, 6],
        part=[0.5, 1, 2, 3, 4, 5],
        truth=[True, False, True, True, False, False],
        zip=[98105, 98105, 10001, 10001, 10001, None],
        nothing=[None] * 6,
    )
    data = datasets.load(path, kinds={"zip": "categorical"})
    kinds = ["poisson", "categorical:2", "negativebinomial", "normal", "normal", "bernoulli", "categorical:2"]
    assert [c.kind for c in data.columns] == kinds
    assert data.columns[1].levels == ("1", "2")
    assert data.columns[6].levels == ("10001", "98105")
    assert data.record["reading"]["dropped"] == {"nothing": "it has no entry"}
    assert Mixed().suited(data) == Mixed(kinds)


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"size": "normal"}, ("'size'", "word, number")),
        ({"number": "gaussian"}, ("'number'", "'gaussian'", "lognormal")),
        ({"word": "normal"}, ("'word'", "holds 'a'", "normal")),
    ],
)
def test_kinds_that_do_not_fit_are_refused(tmp_path, kinds, words):
    path = written(tmp_path, word=list("abcabc"), number=range(6))
    raises_one_sentence(lambda: datasets.load(path, kinds=kinds), *words)


def test_kinds_are_of_tables_only(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 2)))
    for name in (tmp_path / "x.npy", "digits", np.zeros((5, 2))):
        raises_one_sentence(lambda name=name: datasets.load(name, kinds={"a": "normal"}), "kinds", "table")


def test_a_column_of_numbers_with_a_word_in_it_is_not_taken_for_names(tmp_path):
    path = written(tmp_path, a=["1", "2", "three", "4", "5", "6"])
    raises_one_sentence(lambda: datasets.load(path), "'a'", "'three'", "kinds={'a': 'categorical'}")
    column = datasets.load(path, kinds={"a": "categorical"}).columns[0]
    assert column.levels == ("1", "2", "4", "5", "6", "three")


# ---------------------------------------------------------------- what a likelihood makes of a table


def test_words_need_mixed_and_missing_entries_do_not(table):
    data = datasets.load(table)
    raises_one_sentence(lambda: Normal().suited(data), "'colour' holds words ('blue'", "use Mixed")
    raises_one_sentence(lambda: Poisson().check_columns(data.columns), "'colour'", "Poisson", "Mixed")
    numbers = datasets.load(written(table.parent, a=[1.5, 2.5, None, 3.5], b=[0.5, 1, 2, 3]))
    likelihood = Normal().suited(numbers)
    likelihood.attach((2,))
    x = torch.cat([numbers.train.x, numbers.validation.x, numbers.test.x])
    likelihood.check(x)
    suited = Mixed().suited(numbers)
    suited.attach((2,))
    suited.check(x)


def test_mixed_takes_its_columns_from_the_data(table):
    data = datasets.load(table)
    likelihood = Mixed().suited(data)
    assert likelihood.columns == tuple(c.kind for c in data.columns)
    assert likelihood.suited(data) is likelihood
    raises_one_sentence(lambda: Mixed(["normal"]).suited(data), "other columns", "Mixed().suited(data)")
    raises_one_sentence(lambda: Mixed().check_columns(data.columns), "Mixed().suited(data)")
    array = datasets.load(np.zeros((5, 2)))
    assert Mixed().suited(array) == Mixed()


def test_values_of_another_kind_are_refused():
    likelihood, whole, x = mixed()
    likelihood.check(whole)
    likelihood.check(x)
    for column, value in ((1, 0.5), (2, 3.0), (3, 0.0), (4, 2.0), (6, -1.0), (10, 0.5)):
        wrong = x.clone()
        wrong[11, column] = value
        raises_one_sentence(
            lambda wrong=wrong: likelihood.check(wrong), "1 values", f"is {value:g}", "row 11"
        )


# ---------------------------------------------------------------- the distribution


@pytest.mark.usefixtures("float64")
def test_columns_have_their_own_distributions_in_their_own_units():
    """Against scipy, in the units of the table, with the statistics that were taken from the data."""
    kinds = ("lognormal", "normal", "poisson", "laplace", "negativebinomial", "zeroinflatednegativebinomial")
    likelihood, x, _ = mixed(kinds)
    given = params(likelihood.param_shapes, 200)
    found = likelihood(**given).base_dist.log_prob(x).detach()
    p = {name: value[:, 0].numpy() for name, value in given.items()}
    soft = lambda raw, floor=1e-4: np.logaddexp(0, raw) + floor  # noqa: E731
    r = [1 / soft(likelihood.laws[kind].raw_dispersion.detach().numpy(), 1e-3) for kind in kinds[4:]]
    means = [x[:, i].mean().item() * soft(p[f"{kinds[i]}_raw_mean"]) for i in (4, 5)]
    log, x = np.log(x[:, 0].numpy()), x.numpy()
    m, s = [log.mean(), x[:, 1].mean(), 0, x[:, 3].mean()], [log.std(), x[:, 1].std(), 0, x[:, 3].std()]
    distributions = [
        scipy.stats.lognorm(
            s=s[0] * soft(p["lognormal_raw_scale"]), scale=np.exp(m[0] + s[0] * p["lognormal_loc"])
        ),
        scipy.stats.norm(m[1] + s[1] * p["normal_loc"], s[1] * soft(p["normal_raw_scale"])),
        scipy.stats.poisson(x[:, 2].mean() * soft(p["poisson_raw_rate"])),
        scipy.stats.laplace(m[3] + s[3] * p["laplace_loc"], s[3] * soft(p["laplace_raw_scale"])),
        *(scipy.stats.nbinom(a, a / (a + mean)) for a, mean in zip(r, means, strict=True)),
    ]
    for i, distribution in enumerate(distributions):
        wanted = (distribution.logpmf if i in (2, 4, 5) else distribution.logpdf)(x[:, i])
        if i == 5:
            gate = 1 / (1 + np.exp(-p["zeroinflatednegativebinomial_gate_logits"]))
            wanted = np.log((1 - gate) * np.exp(wanted) + gate * (x[:, i] == 0))
        np.testing.assert_allclose(found[:, i], wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_a_missing_entry_is_summed_out(kind):
    """The density of what is there is the marginal of the joint one, one missing column at a time."""
    kinds = ("normal", kind, "categorical:2")
    likelihood, whole, _ = mixed(kinds)
    distribution = likelihood(**params(likelihood.param_shapes))
    x = whole[0].clone()
    x[1] = math.nan
    if kind in ("normal", "laplace", "studentt", "lognormal"):
        t = torch.linspace(-20, 20, 200_001)
        nodes = t.exp() if kind == "lognormal" else likelihood.shift[1] + t.sinh()
        log_weight = (t if kind == "lognormal" else t.cosh().log()) + math.log(40 / 200_000)
    else:
        nodes = torch.arange(
            float(kind[-1]) if kind[-1].isdigit() else 2.0 if kind == "bernoulli" else 20_000.0
        )
        log_weight = torch.zeros(len(nodes))
    rows = x.expand(len(nodes), 3).clone()
    rows[:, 1] = nodes
    joint = torch.logsumexp(distribution.expand((len(nodes),)).log_prob(rows) + log_weight, 0)
    torch.testing.assert_close(distribution.log_prob(x), joint, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("float64")
def test_a_row_with_nothing_in_it_says_nothing():
    likelihood, _, _ = mixed()
    distribution = likelihood(**params(likelihood.param_shapes, 4))
    assert torch.equal(distribution.log_prob(torch.full((4, len(KINDS)), math.nan)), torch.zeros(4))
    vae = pv.VAE((len(KINDS),), 1, likelihood=Mixed(KINDS), encoder=MLP(8), decoder=MLP(8))
    exact = quadrature(vae, torch.full((2, len(KINDS)), math.nan))
    torch.testing.assert_close(exact, torch.zeros(2), rtol=0, atol=1e-9)


def test_samples_are_whole_rows_of_every_kind():
    likelihood, _, _ = mixed()
    given = {n: v.double() for n, v in params(likelihood.param_shapes, 300).items()}
    distribution = likelihood(**given)
    draws = distribution.sample()
    assert draws.shape == (300, len(KINDS))
    assert torch.isfinite(draws).all()
    likelihood.check(draws)
    with pytest.raises(NotImplementedError):
        _ = distribution.mean  # of classes
    few, _, _ = mixed(("normal", "poisson"))
    given = {n: v.double() for n, v in params(few.param_shapes, 1).items()}
    distribution = few(**given)
    rows = distribution.expand((20_000,)).sample()
    assert ((rows.mean(0) - distribution.mean[0]).abs() < 6 * rows.std(0) / 20_000**0.5).all()


@pytest.mark.parametrize("size", [0.0, 50.0, -50.0])
def test_missing_entries_leave_gradients_finite(size):
    likelihood, whole, x = mixed()
    likelihood.float()
    x = x.float()
    x[0] = math.nan
    shapes = likelihood.param_shapes.items()
    given = {n: torch.full((len(x), *s), size, requires_grad=True) for n, s in shapes}
    log_px = likelihood(**given).log_prob(x)
    assert log_px.dtype == torch.float32
    assert torch.isfinite(log_px).all()
    log_px.sum().backward()
    for value in (*given.values(), *likelihood.parameters()):
        assert torch.isfinite(value.grad).all()
    for value in given.values():
        assert (value.grad[0] == 0).all()


# ---------------------------------------------------------------- what the encoder reads


def test_the_encoder_reads_standardised_numbers_one_hot_classes_and_what_is_missing():
    likelihood, whole, x = mixed()
    likelihood.start_from(x)
    read = likelihood.inputs(x)
    assert read.shape[1:] == likelihood.input_shape == (10 + 3 + 2 + 12,)
    assert torch.isfinite(read).all()
    assert torch.equal(read[:, -12:], x.isnan().double())
    place = {kind: i for i, kind in enumerate(dict.fromkeys(KINDS))}
    order = sorted(range(12), key=lambda i: place[KINDS[i]])  # kind by kind
    at = 0
    for i in order:
        there, column = ~x[:, i].isnan(), x[:, i]
        if KINDS[i].startswith("categorical"):
            n = int(KINDS[i][-1])
            wanted = torch.nn.functional.one_hot(column.nan_to_num().long(), n) * there[:, None]
            assert torch.equal(read[:, at : at + n], wanted.double())
            at += n
            continue
        entry, at = read[:, at], at + 1
        assert (entry[~there] == 0).all()
        if KINDS[i] == "bernoulli":
            assert torch.equal(entry[there], column[there])
            continue
        assert abs(entry[there].mean()) < 1e-6
        assert entry[there].std(correction=0) == pytest.approx(1, abs=1e-6)
        scale = {
            "lognormal": torch.log,
            "normal": lambda v: v,
            "laplace": lambda v: v,
            "studentt": lambda v: v,
            "ordinal:4": lambda v: v,
        }
        even = scale.get(KINDS[i], torch.log1p)(column[there])
        torch.testing.assert_close(entry[there] - entry[there][0], (even - even[0]) / even.std(correction=0))


def test_a_column_that_never_varies_or_is_never_there_does_no_harm():
    likelihood = Mixed(["normal", "normal", "poisson"])
    likelihood.attach((3,))
    x = torch.tensor([[5.0, math.nan, 0.0]]).expand(10, 3)
    likelihood.start_from(x)
    assert torch.equal(likelihood.inputs(x), torch.tensor([[0.0, 0, 0, 0, 1, 0]]).expand(10, 6))
    distribution = likelihood(**{n: torch.zeros(10, *s) for n, s in likelihood.param_shapes.items()})
    assert torch.isfinite(distribution.log_prob(x)).all()


def test_what_was_learned_from_the_data_is_saved():
    likelihood, _, x = mixed()
    again = Mixed(KINDS)
    again.attach((len(KINDS),))
    again.double().load_state_dict(likelihood.state_dict())
    torch.testing.assert_close(again.inputs(x), likelihood.inputs(x), rtol=0, atol=0)
    given = {n: v.double() for n, v in params(likelihood.param_shapes, len(x)).items()}
    torch.testing.assert_close(again(**given).log_prob(x), likelihood(**given).log_prob(x), rtol=0, atol=0)


def test_pictures_with_missing_pixels(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(40, 1, 6, 5) * 3 + 100
    vae = pv.VAE((1, 6, 5), 2, likelihood=Mixed(), encoder=ConvEncoder((3,), 4), decoder=ConvDecoder((3,)))
    vae.start_from(x)
    holes = torch.where(torch.rand(x.shape) < 0.5, math.nan, x)
    assert vae.likelihood.input_shape == (2, 6, 5)
    assert np.isfinite(pv.log_evidence(vae, holes, particles=5).log_px).all()
    standard = vae.likelihood.inputs(x)[:, :1].float()
    torch.testing.assert_close(standard.mean(0), torch.zeros(1, 6, 5), rtol=0, atol=1e-4)


# ---------------------------------------------------------------- against columns one by one


def test_independent_columns_are_fitted_in_any_unit():
    x = np.random.default_rng(0).normal(3, 2, (500, 2))
    plain = baselines.independent_columns(x, x, ["normal", "laplace"])
    for unit in (1e-9, 1e9):
        found = baselines.independent_columns(unit * x, unit * x, ["normal", "laplace"])
        torch.testing.assert_close(found, plain - 2 * math.log(unit))


def test_independent_columns_are_the_maximum_likelihood_fits():
    rng = np.random.default_rng(0)
    exact = {
        "normal": scipy.stats.norm(3, 2),
        "laplace": scipy.stats.laplace(3, 2),
        "studentt": scipy.stats.t(4, 3, 2),
        "lognormal": scipy.stats.lognorm(s=0.7, scale=3),
        "poisson": scipy.stats.poisson(4),
        "negativebinomial": scipy.stats.nbinom(2, 0.2),
        "bernoulli": scipy.stats.bernoulli(0.3),
    }
    for kind, p in exact.items():
        x = torch.tensor(p.rvs(20_000, random_state=rng), dtype=torch.float64)[:, None]
        log_p = getattr(p, "logpmf", None) if hasattr(p.dist, "logpmf") else p.logpdf
        gain = baselines.independent_columns(x, x, [kind]).numpy() - log_p(x[:, 0].numpy())
        assert 0 <= gain.sum() < 15, kind  # half a chi-square with as many degrees as parameters
    zeros = torch.tensor(exact["negativebinomial"].rvs(20_000, random_state=rng) * (rng.random(20_000) < 0.5))
    inflated, plain = (
        baselines.independent_columns(zeros[:, None], zeros[:, None], [f"{word}negativebinomial"]).mean()
        for word in ("zeroinflated", "")
    )
    assert inflated > plain + 0.01
    classes = torch.tensor([[0.0], [2.0], [2.0], [math.nan]])
    found = baselines.independent_columns(
        classes, torch.tensor([[0.0], [1.0], [math.nan]]), ["categorical:3"]
    )
    np.testing.assert_allclose(found, [math.log((1 + 1 / 3) / 4), math.log(1 / 12), 0], rtol=1e-9)
    raises_one_sentence(lambda: baselines.independent_columns(classes, classes, ["normal"] * 2), "2 kinds")
    raises_one_sentence(lambda: baselines.independent_columns(classes, classes, ["word"]), "'word'")


def test_a_vae_of_a_table_beats_its_columns_one_by_one(table, tmp_path):
    """Numbers, counts, classes and empty cells; on test rows, with a paired error."""
    data = datasets.load(table, kinds={"income": "lognormal"})
    torch.manual_seed(0)
    likelihood = Mixed().suited(data)
    vae = pv.VAE(data.event_shape, 2, likelihood=likelihood, encoder=MLP(32), decoder=MLP(32))
    vae.start_from(data.train.x)
    pv.fit(
        vae, data, epochs=60, batch_size=100, lr=0.005, progress=False, out=tmp_path / "run", figures=False
    )
    loaded = pv.load(tmp_path / "run")
    assert loaded.likelihood == likelihood
    found = pv.log_evidence(loaded, data.test, particles=300)
    alone = baselines.independent_columns(data.train.x, data.test.x, likelihood.columns)
    gain = found.log_px - alone.numpy()
    assert gain.mean() > 1 + 5 * gain.std() / math.sqrt(len(gain))
    # What is missing is filled in better than by its column's mean.
    x = data.test[~data.test.x[:, 0].isnan()].x
    holes = x.clone()
    holes[:, 0] = math.nan
    guesses = torch.stack([loaded.reconstruct(holes) for _ in range(30)])[..., 0].mean(0)
    blind = (x[:, 0] - data.train.x[:, 0].nanmean()).square()
    assert (blind - (x[:, 0] - guesses).square()).mean() > 0.3 * blind.mean()


def test_the_codes_of_classes_have_no_mean():
    part = Categorical(3, grey=False)
    part.attach((2,))
    with pytest.raises(NotImplementedError):
        _ = part(logits=torch.zeros(3, 2)).mean


def test_words_like_none_are_classes_and_empty_cells_are_missing(tmp_path):
    rows = ["a,b"] + [f"{i},{word}" for i, word in enumerate(["None", "NA", "", "Full"] * 5)]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    data = datasets.load(str(tmp_path / "t.csv"))
    assert data.columns[1].levels == ("Full", "None")
    assert "'None' is a level (na='None' makes it missing)" in datasets.describe(data)
    whole = torch.cat([data.train.x, data.validation.x, data.test.x])
    assert int(whole[:, 1].isnan().sum()) == 10


# ---------------------------------------------------------------- ordered classes


def ordinal(count=4, columns=2):
    kinds = [f"ordinal:{count}"] * columns
    likelihood = attached(Mixed(kinds), (columns,), seed=0).double()
    return likelihood, likelihood.laws[f"ordinal{count}"]


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("loc", [-40.0, -1.3, 0.0, 2.0, 40.0])
def test_ordered_classes_sum_to_one_and_follow_the_cumulative_link(count, loc):
    likelihood, part = ordinal(count, 1)
    with torch.no_grad():
        part.raw_cutpoints += torch.randn(
            part.raw_cutpoints.shape, generator=torch.Generator().manual_seed(0)
        )
    p = likelihood(**{f"ordinal{count}_loc": torch.full((count, 1), loc, dtype=torch.float64)})
    log_p = p.log_prob(torch.arange(count, dtype=torch.float64)[:, None])
    assert torch.isfinite(log_p).all()
    torch.testing.assert_close(log_p.exp().sum().item(), 1.0)
    cuts = part.cutpoints[:, 0]
    assert (cuts.diff() > 0).all()
    torch.testing.assert_close(log_p.exp().cumsum(0)[:-1], torch.sigmoid(cuts - loc), rtol=0, atol=1e-12)


def test_a_higher_location_moves_probability_up():
    likelihood, _ = ordinal(4, 1)
    loc = torch.linspace(-5, 5, 50, dtype=torch.float64)[:, None]
    p = likelihood(ordinal4_loc=loc)
    log_p = torch.stack([p.log_prob(torch.full_like(loc, k)) for k in range(4)], -1)
    above = log_p.exp().flip(-1).cumsum(-1)[:, :-1]  # P(x >= 3), P(x >= 2), P(x >= 1)
    assert (above.diff(dim=0) > 0).all()


def test_gradients_of_ordered_classes_are_right():
    likelihood, part = ordinal(4, 2)
    x = torch.tensor([[0.0, 3.0], [2.0, math.nan]], dtype=torch.float64)

    def log_prob(loc, cuts):
        state = {"raw_cutpoints": cuts}
        p = torch.func.functional_call(part, state, (), {"loc": loc}).base_dist
        return torch.where(x.isnan(), 0.0, p.log_prob(x.nan_to_num(1.0))).sum()

    loc = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_prob, (loc, part.raw_cutpoints.detach().clone().requires_grad_()))


def test_ordered_classes_are_chosen_and_fitted(tmp_path):
    rng = np.random.default_rng(0)
    u = rng.normal(size=400)
    grade = np.digitize(u + 0.3 * rng.normal(size=400), [-1, 0, 1])
    words = np.array(["bad", "fair", "good", "great"])[grade]
    path = written(tmp_path, u=u, grade=words)
    order = "ordinal: bad < fair < good < great"
    data = datasets.load(path, kinds={"grade": order})
    assert data.columns[1] == datasets.Column("grade", "ordinal:4", ("bad", "fair", "good", "great"))
    assert datasets.load(path).columns[1].kind == "categorical:4"
    torch.manual_seed(0)
    likelihood = Mixed().suited(data)
    vae = pv.VAE((2,), 1, likelihood=likelihood, encoder=MLP(16), decoder=MLP(16))
    pv.fit(vae, data, epochs=40, batch_size=50, lr=0.01, progress=False)
    found = pv.log_evidence(vae, data.test, particles=100, progress=False)
    alone = baselines.independent_columns(data.train.x, data.test.x, likelihood.columns)
    assert found.log_px.mean() > alone.mean() + 0.3  # the two columns share 0.8 nats or so
    vae.start_from(data.train.x)
    read = vae.likelihood.inputs(data.train.x)
    assert read.shape[1] == 4  # two numbers, and which are missing
    torch.testing.assert_close(read[:, 1].mean(), torch.zeros((), dtype=read.dtype), rtol=0, atol=1e-5)


def test_ordered_classes_need_two_levels():
    for word in ("ordinal", "ordinal:1", "ordinal:x"):
        raises_one_sentence(lambda word=word: Mixed([word]).attach((1,)), repr(word), "ordinal:N")


def test_the_start_of_a_run_does_not_encode_all_rows(monkeypatch):
    """One-hot levels of 220,000 athletes took 14 GB; only parts that start from inputs need them."""
    sizes = []
    inputs = pv.likelihoods.Mixed.inputs
    monkeypatch.setattr(
        pv.likelihoods.Mixed, "inputs", lambda self, x: sizes.append(len(x)) or inputs(self, x)
    )
    x = torch.randint(0, 50, (400, 1)).double()
    for prior, largest in ((None, 0), (pv.priors.VampPrior(3), 400)):
        likelihood = pv.likelihoods.Mixed(["categorical:50"])
        vae = pv.VAE((1,), 2, likelihood=likelihood, prior=prior, encoder=pv.networks.MLP(5))
        sizes.clear()
        vae.start_from(x)
        assert max(sizes, default=0) == largest
