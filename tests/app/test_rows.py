"""The cards about one row: their numbers, the code that they give, uploads, and the brush in a browser.

The numbers are asked of the cards in this process, of exact models and of tiny runs; the browser shows that
a stroke, a file and a form reach them.
"""

import base64
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import pyrovae as pv
from pyrovae.app import pictures, words
from pyrovae.app.rows.answers import shares
from pyrovae.app.rows.form import DRAWS
from pyrovae.app.rows.latest import Latest
from pyrovae.app.rows.reading import LIMIT, kinds_of, read_file, read_text
from pyrovae.app.rows.row_card import COUNTS
from pyrovae.app.rows.values import reconstruction, rows_code
from pyrovae.datasets import Column, Rows, Schema
from pyrovae.errors import InputError
from pyrovae.exploring.space import Space
from pyrovae.measurements.families import elements_of
from pyrovae.oracles.given import normal_given
from tests.support.browser import CHROMIUM, needs_browser, needs_panel, until
from tests.support.linear import SCALE, linear_vae

pytestmark = pytest.mark.xdist_group("rows")  # one server and one browser
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")


# -------------------------------------------------------------------- runs and cards


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run of digits with two components."""
    folder = tmp_path_factory.mktemp("rows") / "digits"
    torch.manual_seed(0)
    data = pv.datasets.load("digits", binarize="threshold", count=400)
    networks = {"encoder": pv.networks.MLP(24), "decoder": pv.networks.MLP(24)}
    vae = pv.VAE(data.event_shape, 3, prior=pv.priors.GaussianMixture(2), **networks)
    pv.fit(vae, data, epochs=3, out=folder, figures=False, progress=False, compile=False)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A run of a table with a name that is HTML, numbers, words, dates and gaps."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 240)
    frame = pd.DataFrame(
        {
            "age": 25 + 30 * group + rng.integers(0, 9, 240),
            "job <b>": np.array(["clerk", "nurse", "teacher"])[np.where(rng.random(240) < 0.7, group, 2)],
            "height": (160 + 9.0 * group + rng.normal(size=240)).round(2),
            "smoker": np.where(rng.random(240) < 0.2 + 0.6 * group, "yes", "no"),
            "joined": (
                pd.Timestamp("2012-01-01") + pd.to_timedelta(rng.integers(0, 900, 240), unit="D")
            ).strftime("%Y-%m-%d"),
        }
    )
    frame.loc[rng.random(240) < 0.1, "height"] = np.nan
    frame.to_csv(folder / "people.csv", index=False)
    torch.manual_seed(0)
    data = pv.datasets.load(folder / "people.csv")
    vae = pv.VAE.suited(data, latent_dim=2, encoder=pv.networks.MLP(16), decoder=pv.networks.MLP(16))
    pv.fit(vae, data, epochs=3, out=folder / "run", figures=False, progress=False, compile=False)
    return folder / "run"


def cards_of(vae, data, run="", **options):
    """The three cards with a session that acts at once, on the rows of some data."""
    from pyrovae.app.rows import ConditionCard, RowCard, UploadCard
    from pyrovae.app.scene import Scene
    from pyrovae.app.session import Session

    class Now(Session):
        def soon(self, action, card=None, *, wait=0):
            action()

    ex = pv.explore(vae, data, particles=20, **options)
    preamble = (
        "import pyrovae as pv",
        "from pyrovae.tasks.runs import data_of",
        f"vae = pv.load({str(run)!r})",
        f"ex = pv.explore(vae, data_of({str(run)!r}, vae.schema), particles=20)",
    )
    scene = Scene(ex, "test", str(run), preamble)
    session = Now(scene)
    cards = [kind(scene, session) for kind in (RowCard, ConditionCard, UploadCard)]
    session.frames = [SimpleNamespace(card=card, guarded=lambda action: action()) for card in cards]
    session.choose_row(0)
    settle(cards)
    return session, *cards


def settle(cards):
    """Wait until the cards have shown what they compute."""
    for card in cards:
        latest = getattr(getattr(card, "part", card), "latest", None)
        if latest is not None:
            latest.wait()


def printed(code):
    """What a program prints, and its variables."""
    out, names = io.StringIO(), {}
    with contextlib.redirect_stdout(out):
        exec(compile(code, "copied", "exec"), names)  # noqa: S102
    return out.getvalue(), names


@pytest.fixture(scope="module")
def of_digits(digits):
    return cards_of(pv.load(digits), pv.datasets.load("digits", binarize="threshold", count=400), digits)


@pytest.fixture(scope="module")
def of_table(table):
    data = pv.datasets.load(table.parent / "people.csv")
    return cards_of(pv.load(table), data, table)


def half(part):
    """Erase the left half of the image of a brush, as its button does."""
    height, width = part.shape[1:]
    paint(part, "".join("1" if x < width / 2 else "0" for x in range(width)) * height)


def paint(part, erased, version=None):
    """What the browser sends after a stroke, on the image of this version."""
    part.brush.stroke = {"version": part.brush.version if version is None else version, "erased": erased}
    part.latest.wait()


# -------------------------------------------------------------------- numbers


@quiet
@needs_panel
def test_the_numbers_of_a_row_are_exact_on_an_exact_model():
    """The guide is the posterior, so each L_K is log p(x), and the KL is that of two normals."""
    vae, oracle = linear_vae()
    x = oracle.sample(3)
    _, row, *_ = cards_of(vae, x)
    values, log_px = row.values, float(oracle.log_px(x)[0])
    assert float(values.evidence.log_px[0]) == pytest.approx(log_px, abs=1e-4)
    np.testing.assert_allclose(values.bound, log_px, atol=1e-4)
    standard = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    kl = torch.distributions.kl_divergence(oracle.posterior(x[:1]), standard)
    assert float(values.split.kl.mean()) == pytest.approx(float(kl[0]), abs=0.15)
    assert f"{abs(log_px):.2f}" in row.html.object
    assert "reliable" in row.html.object


@quiet
@needs_panel
def test_a_form_has_the_exact_distribution_of_an_exact_model():
    """x[3] given the others, and log p of the others, of a normal vector."""
    vae, oracle = linear_vae("correlated")
    x = oracle.sample(2)
    _, _, card, _ = cards_of(vae, x)
    part = card.part
    assert [field.is_known for field in part.fields] == [True, True, True, False]
    covariance = oracle.weight @ oracle.weight.mT + SCALE**2 * torch.eye(4)
    y = x[:1].clone()
    y[0, 3] = np.nan
    log_py, mean, spread = normal_given(oracle.bias, covariance, y)
    completion = part.completion
    assert float(completion.log_py[0]) == pytest.approx(float(log_py), abs=0.1)
    assert float(completion.mean[0, 3]) == pytest.approx(float(mean[0, 3]), abs=0.1)
    assert float(completion.sd[0, 3]) == pytest.approx(float(spread[0, 3, 3].sqrt()), rel=0.1)
    part.fields[0].input.value = "5"  # another value of the form
    part.latest.wait()
    y[0, 0] = 5.0
    assert float(part.completion.mean[0, 3]) == pytest.approx(
        float(normal_given(oracle.bias, covariance, y)[1][0, 3]), abs=0.2
    )
    with pytest.raises(InputError, match=r"x\[1\] is 'five' in the form: write a number, or untick it"):
        part.fields[1].input.value = "five"


@quiet
@needs_panel
def test_completions_keep_what_is_known_and_are_those_of_condition(of_digits):
    session, _, card, _ = of_digits
    part = card.part
    half(part)
    assert part.mask.sum() == 32
    own = pv.condition(session.vae, part.known, draws=len(part.completion.x), seed=session.ex.seed)
    assert torch.equal(own.x, part.completion.x)
    assert f"{abs(own.log_py[0]):.2f}" in part.html.object
    known = ~torch.as_tensor(part.mask)
    every = torch.cat([part.completion.x[:, 0], part.completion.mean])
    assert torch.equal(every[..., known], part.rows.x[..., known].expand(len(every), -1, -1))
    assert len(set(re.findall(r'class="completion" src="([^"]+)"', part.html.object))) > 1
    paint(part, "0" * 64)
    assert part.completion is None
    assert "completion" not in part.html.object.replace("completions are", "")


@quiet
@needs_panel
def test_a_stroke_erases_nothing_of_a_row_that_is_chosen_before_it_arrives(of_digits):
    session, row, card, _ = of_digits
    part = card.part
    version = part.brush.version
    session.choose_row(1)
    paint(part, "1" * 64, version)
    assert not part.mask.any()
    assert part.completion is None
    paint(part, "1" * 32 + "0" * 32)
    assert part.mask.sum() == 32
    session.choose_row(0)
    settle([row, card])


@quiet
@needs_panel
def test_the_browser_is_told_the_number_of_a_row_that_was_typed(of_digits):
    """A number that was sent to it before, such as that of the farthest row, may have arrived after."""
    session, row, card, _ = of_digits
    told = []
    row.number.get_root().on_change("value", lambda name, old, new: told.append(new))
    row.number.value = 2  # as the browser sets it
    assert (session.chosen.index, told[-2:]) == (2, [None, 2])
    session.choose_row(0)
    settle([row, card])


@quiet
@needs_panel
def test_a_model_that_cannot_be_conditioned_says_why():
    likelihood = pv.likelihoods.Multinomial()
    vae = pv.VAE((4,), 2, likelihood=likelihood, encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8))
    _, row, card, _ = cards_of(vae, torch.randint(1, 9, (20, 4)).float())
    assert "use a likelihood with independent elements" in card.part.facts.object
    assert "nats" in row.html.object


@quiet
@needs_panel
def test_a_conditional_model_has_all_but_uploads():
    """p(x|c): the context of a row goes along."""
    vae = pv.VAE((3,), 2, context_shape=(2,), likelihood=pv.likelihoods.Normal(), encoder=pv.networks.MLP(8))
    torch.manual_seed(0)
    rows = Rows(torch.randn(9, 3), torch.eye(2)[torch.arange(9) % 2])
    session, row, card, _ = cards_of(vae, rows)
    own = pv.log_evidence(vae, session.chosen.rows, particles=COUNTS[-1], seed=0, compile=False)
    assert float(row.values.evidence.log_px[0]) == float(own.log_px[0])
    own = pv.condition(vae, card.part.known, draws=DRAWS, seed=0)
    assert torch.equal(own.x, card.part.completion.x)
    with pytest.raises(InputError, match="the model is conditional, and x.npy has no context"):
        read_file(vae, "x.npy", b"")


@quiet
@needs_panel
def test_a_newer_request_is_answered_instead_of_an_older_one():
    import threading

    said, begun, gate = [], [], threading.Event()
    session = SimpleNamespace(soon=lambda action, card: action())
    latest = Latest(session, None, said.append)

    def compute(name):
        begun.append(name)
        return gate.wait(5) and name

    latest.ask(lambda: compute("first"), said.append)
    while not begun:
        pass
    latest.ask(lambda: compute("second"), said.append)
    latest.ask(lambda: compute("third"), said.append)
    gate.set()
    latest.wait()
    assert (begun, said) == (["first", "third"], ["third"])
    latest.ask(lambda: pv.log_evidence(None, None), said.append)
    latest.wait()
    assert len(said) == 2
    assert isinstance(said[1], str)


# -------------------------------------------------------------------- code


@quiet
@needs_panel
def test_copied_code_gives_the_numbers_of_the_cards(of_digits):
    session, row, card, upload = of_digits
    said, names = printed(row.code())
    assert float(names["evidence"].log_px[0]) == float(row.values.evidence.log_px[0])
    np.testing.assert_array_equal(names["curve"].bound[:, 0], row.values.bound)
    assert float(names["split"].kl.mean()) == float(row.values.split.kl.mean())
    for erase in (half, scribble):
        erase(card.part)
        names = printed(card.code())[1]
        assert torch.equal(names["completion"].x, card.part.completion.x)
    scores = printed(upload.code() + "scores = pv.score(vae, x, particles=1000)")[1]["scores"]
    assert float(scores.log_px[0]) == pytest.approx(float(row.values.evidence.log_px[0]), abs=1e-4)


def scribble(part):
    paint(part, "".join("1" if i % 7 == 0 else "0" for i in range(64)))


@quiet
@needs_panel
def test_a_form_speaks_the_words_of_the_table(of_table):
    session, row, card, _ = of_table
    part, columns = card.part, session.vae.schema.columns
    assert [field.column.name for field in part.fields] == ["age", "job <b>", "height", "smoker", "joined"]
    assert "job &lt;b&gt;" in row.html.object
    assert "<b>" not in row.html.object.split("<table")[1].split("</table>")[0].replace("<tr", "")
    for field in part.fields:
        field.tick.value = field.column.name not in ("age", "smoker")
    part.latest.wait()
    completion = part.completion
    samples = completion.x[:, 0, 3]
    assert shares(columns[3], samples)[0] == (
        columns[3].levels[int(samples.mean() > 0.5)],
        pytest.approx(float(max(samples.mean(), 1 - samples.mean()))),
    )
    assert "smoker" not in part.fields[3].answer.object
    assert {"yes", "no"} & set(re.findall(r"<span>(\w+)</span>", part.fields[3].answer.object))
    low, high = (float(end[0, 0]) for end in completion.interval(0.9))
    assert f"{low:.4g} to {high:.4g}" in part.fields[0].answer.object
    assert "in the row: " in part.fields[0].answer.object
    names = printed(card.code())[1]
    assert torch.equal(names["y"].x.nan_to_num(nan=-1), part.known.x.nan_to_num(nan=-1))
    assert torch.equal(names["completion"].x, completion.x)
    part.fields[4].input.value = "2013-05-12"
    part.latest.wait()
    assert float(part.known.x[0, 4]) == 15837.0  # days since 1970-01-01
    with pytest.raises(InputError, match="'joined' of the form holds 'soon', .* dates: correct the value"):
        part.fields[4].input.value = "soon"


@quiet
@needs_panel
def test_a_row_of_a_table_is_reconstructed_by_its_most_probable_words(of_table):
    session, row, *_ = of_table
    vae, rows = session.vae, session.ex.rows[:20]
    again = torch.as_tensor(reconstruction(vae, rows))
    with torch.no_grad():
        p, _ = elements_of(vae.decode(torch.as_tensor(Space(vae).encode(rows)).float()))
        for column, steps in ((1, range(3)), (3, range(2)), (2, (-0.5, 0.0, 0.5))):
            other = again.clone()
            tried = []
            for step in steps:
                other[:, column] = step + (again[:, column] if column == 2 else 0)
                tried.append(p.log_prob(other)[:, column])
            best = torch.stack(tried).argmax(0)
            assert torch.equal(best, torch.ones(20).long() if column == 2 else again[:, column].long())


# -------------------------------------------------------------------- uploads


def png_of(array, mode="L"):
    file = io.BytesIO()
    Image.fromarray(array, mode).save(file, "PNG")
    return file.getvalue()


def sent(name, content):
    return {"name": name, "size": len(content), "content": base64.b64encode(content).decode()}


@quiet
@needs_panel
def test_an_uploaded_image_is_the_row_that_the_model_would_train_on(of_digits, tmp_path, monkeypatch):
    session, row, card, upload = of_digits
    levels = np.random.default_rng(0).integers(0, 17, (8, 8))
    content = png_of((levels * 255 / 16).round().astype("uint8"))
    upload.read(sent("seven.png", content))
    settle([row, card])
    assert torch.equal(session.chosen.rows.x[0, 0], torch.as_tensor(levels >= 8).float())  # as `threshold`
    assert session.chosen.name == "seven.png"
    assert "seven.png" in row.html.object
    (tmp_path / "seven.png").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    names = printed(upload.code() + "scores = pv.score(vae, x, particles=1000)")[1]
    assert float(names["scores"].log_px[0]) == pytest.approx(float(row.values.evidence.log_px[0]), abs=1e-4)
    half(card.part)
    assert torch.equal(printed(card.code())[1]["completion"].x, card.part.completion.x)
    large = np.kron(levels * 15, np.ones((9, 5))).astype("uint8")  # another size, in colour
    upload.read(sent("large.png", png_of(np.stack([large] * 3, 2), "RGB")))
    assert session.chosen.rows.x.shape == (1, 1, 8, 8)
    settle([row, card])
    session.choose_row(0)
    settle([row, card])


@quiet
@needs_panel
def test_an_uploaded_row_of_a_table_has_the_columns_of_the_user(of_table):
    session, row, card, upload = of_table
    lines = (
        "smoker,age,job <b>,joined,height,other\nyes,31,nurse,2012-03-01,,7\nno,60,clerk,2013-01-01,170,8\n"
    )
    upload.read(sent("new.csv", lines.encode()))
    settle([row, card])
    assert session.chosen.rows.x[0].nan_to_num(nan=-1).tolist() == [31, 1, -1, 1, 15400]
    assert session.chosen.name == "row 0 of new.csv"
    assert upload.number.visible
    assert "new.csv has columns that the model does not use: other" in upload.html.object
    upload.number.value = 1
    settle([row, card])
    assert session.chosen.name == "row 1 of new.csv"
    assert float(session.chosen.rows.x[0, 0]) == 60
    for text in (
        "45,teacher,170.5,no,2012-05-06",
        "joined;age;height;smoker;job <b>\n2012-05-06;45;170.5;no;teacher",
    ):
        upload.text.value = text
        upload._written()
        settle([row, card])
        assert session.chosen.rows.x[0].tolist() == [45, 2, 170.5, 0, 15466]
    names = printed(upload.code() + "scores = pv.score(vae, x, particles=1000)")[1]
    log_px = float(row.values.evidence.log_px[0])
    assert float(names["scores"].log_px[0]) == pytest.approx(log_px, abs=1e-4)
    session.choose_row(0)
    settle([row, card])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("new.pdf", b"%PDF", r"new.pdf is not a file of this model's data: give \.png, \.jpg, "),
        ("new.png", b"\x89PNG cut", "new.png cannot be read as an image .broken or cut off.: save it again"),
        ("new.npy", b"no", "new.npy cannot be read as .npy: save it again with numpy.save"),
        ("new.npy", "wrong", "rows of shape .3,., and the model was trained on .1, 8, 8."),
        ("new.npy", "one", "new.npy is a single number: give rows"),
        ("new.png", b"\0" * (LIMIT * 10**6 + 1), "new.png has 5.0 MB, and the page takes up to 5 MB"),
    ],
)
def test_a_wrong_file_is_a_sentence(digits, name, content, said):
    arrays = {"wrong": np.zeros((2, 3)), "one": np.array(3.0)}
    if isinstance(content, str):
        file = io.BytesIO()
        np.save(file, arrays[content])
        content = file.getvalue()
    with pytest.raises(InputError, match=said):
        read_file(pv.load(digits), name, content)


def test_missing_pixels_of_an_uploaded_array_stay_missing(digits):
    values, file = np.arange(64.0).reshape(8, 8) % 17, io.BytesIO()
    values[2:4] = np.nan
    np.save(file, values)
    x = read_file(pv.load(digits), "new.npy", file.getvalue()).rows.x[0, 0]
    assert torch.equal(x.isnan(), torch.as_tensor(np.isnan(values)))
    assert set(x[~x.isnan()].tolist()) == {0.0, 1.0}


def test_a_wrong_table_is_a_sentence_with_the_name_of_the_file(table):
    vae = pv.load(table)
    for text, said in (
        ("age,height\n1,2\n", "new.csv has no column 'job <b>', 'smoker', 'joined'"),
        (
            "age,job <b>,height,smoker,joined\n1,pilot,2,no,2012-01-01\n",
            "'job <b>' of new.csv holds 'pilot' in row 0",
        ),
        ("", "new.csv"),
    ):
        with pytest.raises(InputError, match=said) as error:
            read_file(vae, "new.csv", text.encode())
        assert "tmp" not in str(error.value)
    with pytest.raises(InputError, match="there is no row"):
        read_text(vae, " \n")
    with pytest.raises(
        InputError, match="the row has 2 values, and the model has 5 columns: give those of age"
    ):
        read_text(vae, "31,nurse")


def test_an_array_of_one_row_needs_no_further_axis(digits):
    vae = pv.load(digits)
    for shape in ((8, 8), (1, 8, 8), (3, 8, 8), (1, 1, 8, 8)):
        file = io.BytesIO()
        np.save(file, np.full(shape, 16.0))
        rows = read_file(vae, "x.npy", file.getvalue()).rows
        assert torch.equal(rows.x, torch.ones(3 if 3 in shape else 1, 1, 8, 8))
    assert kinds_of(vae)[-1] == ".npy"


# -------------------------------------------------------------------- words and pictures


def test_rows_come_back_from_their_code():
    torch.manual_seed(0)
    gaps = torch.where(torch.rand(2, 5) < 0.3, torch.nan, torch.randn(2, 5))
    for rows in (
        Rows(gaps),
        Rows(torch.randn(1, 3, 9, 7), torch.eye(4)[:1]),
        Rows(torch.randn(1, 4, dtype=torch.float64)),
    ):
        names = {"np": np, "pv": pv}
        exec("\n".join(rows_code(rows)), names)  # noqa: S102
        back = names["rows"]
        assert back.x.dtype == rows.x.dtype
        assert torch.equal(back.x.nan_to_num(nan=9), rows.x.nan_to_num(nan=9))
        assert (back.context is None) == (rows.context is None)


def test_pictures_of_a_table_have_its_words_and_no_html():
    columns = Column("<script>", "normal", unit="cm"), Column("smoker", "bernoulli", ("no", "<i>yes"))
    schema = Schema((2,), columns)
    x = np.array([[1.5, 1.0], [2.5, 0.0], [np.nan, 1.0]])
    drawn = pictures.pictures_of(x, schema)
    kind, content = pictures.file_of(drawn.source(x[0]))
    text = content.decode()
    assert kind == ".svg"
    assert all(part in text for part in ("&lt;script&gt;", "1.5 cm", "&lt;i&gt;yes"))
    assert "<script>" not in text
    assert "–" in pictures.file_of(drawn.source(x[2]))[1].decode()
    many = tuple(Column(f"c{i}", "normal") for i in range(40))
    bars = pictures.pictures_of(np.random.default_rng(0).normal(size=(9, 40)), Schema((40,), many))
    assert "c3" not in pictures.file_of(bars.source(np.zeros(40)))[1].decode()


def test_a_saved_image_is_magnified_without_smoothing():
    x = np.random.default_rng(0).random((3, 1, 8, 6)).round()
    kind, content = pictures.file_of(pictures.pictures_of(x).source(x[0]))
    image = np.asarray(Image.open(io.BytesIO(content)))
    scale = len(image) // 8
    assert kind == ".png"
    assert scale >= 4
    assert image.shape == (8 * scale, 6 * scale)
    assert np.array_equal(image, np.kron(255 * x[0, 0], np.ones((scale, scale))))


def test_every_word_is_explained_in_at_most_two_sentences():
    for name, text in words.EXPLAINED.items():
        assert text.endswith("."), name
        assert len(re.findall(r"\.(?:\s|$)", text)) <= 2, name
        assert f">{name.replace('&', '&amp;')}</abbr>" in words.tip(name)
    with pytest.raises(KeyError):
        words.tip("no such word")


# -------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def page(digits):
    """The page of the run on a screen that can be touched; nothing is loaded from elsewhere."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "pyrovae", "explore", str(digits), "--rows", "60", "--show", "false"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
            tab.set_default_timeout(20_000)
            asked, complaints = [], []
            tab.on("request", lambda request: asked.append(request.url))
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.goto(address)
            tab.wait_for_selector(".evidence b")
            yield tab
            assert [url for url in asked if not re.match(rf"(blob:)?{address}|data:", url)] == []
            assert complaints == []
            browser.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def pixels(source):
    """The grey values of a picture in the page, (height, width)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))


def completions(page):
    return page.locator("img.completion, img.mean").evaluate_all("all => all.map(one => one.src)")


def canvas(page):
    """The colours of the canvas, (8, 8, 4), in which erased pixels are light blue."""
    text = page.locator("canvas.brush").evaluate("one => one.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text.split(",")[1]))).convert("RGBA"))


def gone(page):
    return (canvas(page)[..., 2] > canvas(page)[..., 0].astype(int) + 30) & (canvas(page)[..., 2] > 200)


def stroke(page, points):
    """Drag a finger over the image, along places in shares of its width and height."""
    page.locator("canvas.brush").scroll_into_view_if_needed()
    box = page.locator("canvas.brush").bounding_box()
    touch, before = page.context.new_cdp_session(page), page.evaluate("scrollY")
    at = [{"x": box["x"] + a * box["width"], "y": box["y"] + b * box["height"]} for a, b in points]
    for kind, where in (("touchStart", at[:1]), *(("touchMove", [one]) for one in at[1:]), ("touchEnd", [])):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})
    assert page.evaluate("scrollY") == before  # the finger paints, and does not move the page


@needs_browser
@pytest.mark.slow
class TestBrush:
    def test_a_stroke_erases_pixels_and_completes_them(self, page):
        whole = canvas(page)
        row = pixels(page.locator("img.observation").get_attribute("src"))
        stroke(page, [(0.3, 0.2), (0.5, 0.5), (0.7, 0.7)])
        erased = gone(page)  # in the browser, before the server has answered
        assert 3 < erased.sum() < 40
        first = until(page, lambda: completions(page), lambda seen: len(seen) > 2)
        for source in first[1:]:
            assert np.array_equal(pixels(source)[~erased], row[~erased])
        said = page.locator(".evidence-y b").inner_text()
        stroke(page, [(0.2, 0.8), (0.9, 0.8)])
        more = gone(page)
        assert (more & ~erased).any()
        assert (more | ~erased).all()
        second = until(page, lambda: completions(page), lambda seen: seen != first and len(seen) > 2)
        until(page, lambda: page.locator(".evidence-y b").inner_text(), lambda text: text != said)
        for source in second[1:]:
            assert np.array_equal(pixels(source)[~more], row[~more])
        page.get_by_role("button", name="Clear").click()
        assert np.array_equal(canvas(page), whole)
        until(page, lambda: completions(page), lambda seen: not seen)

    def test_a_half_is_erased_by_a_button(self, page):
        page.get_by_role("button", name="Erase left half").click()
        assert np.array_equal(gone(page).all(0), np.arange(8) < 4)
        until(page, lambda: completions(page), lambda seen: len(seen) > 2)
        page.get_by_role("button", name="Erase right half").click()
        assert gone(page).all()
        until(  # nothing is known
            page,
            lambda: page.locator(".evidence-y b").inner_text().replace("−", "-"),
            lambda text: abs(float(text)) < 0.1,
        )

    def test_another_row_starts_whole(self, page):
        page.get_by_role("button", name="›").click()
        until(page, lambda: gone(page).sum(), lambda count: count == 0)
        until(page, page.locator(".number input").input_value, lambda row: row == "1")
        until(page, lambda: completions(page), lambda seen: not seen)

    def test_an_image_is_uploaded(self, page):
        levels = np.random.default_rng(0).integers(0, 2, (8, 8)) * 255
        file = {"name": "own.png", "mimeType": "image/png", "buffer": png_of(levels.astype("uint8"))}
        page.locator(".files input").set_input_files(file)
        until(page, lambda: page.locator("figcaption").first.inner_text(), lambda text: text == "own.png")
        seen = page.locator("img.observation")
        until(page, lambda: pixels(seen.get_attribute("src")), lambda image: np.array_equal(image, levels))
        page.locator(".files input").set_input_files(
            {"name": "own.pdf", "mimeType": "application/pdf", "buffer": b"no"}
        )
        page.wait_for_selector("text=own.pdf is not a file of this model's data")

    def test_a_tooltip_opens_by_keyboard_and_stays_in_the_card(self, page):
        word = page.locator(".evidence .tip").first
        word.focus()
        style = (
            "one => { const s = getComputedStyle(one, '::after'); return [s.visibility, s.width, s.content] }"
        )
        seen = until(page, lambda: word.evaluate(style), lambda seen: seen[0] == "visible")
        assert float(seen[1].removesuffix("px")) < 390
        assert "logarithm of the probability" in seen[2]
