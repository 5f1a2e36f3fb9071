"""The cards about one row: their numbers, the code that they give, uploads, and the brush in a browser.

The numbers are asked of the cards in this process, of exact models and of tiny runs; the browser shows that
a stroke, a file and a form reach them.
"""

import base64
import contextlib
import importlib.util
import io
import os
import re
import shutil
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
from pyrovae.app.rows.latest import Latest
from pyrovae.app.rows.reading import LIMIT, kinds_of, read_file, read_text
from pyrovae.app.rows.row_card import COUNTS
from pyrovae.app.rows.values import reconstruction, rows_code
from pyrovae.datasets import Column, Rows, Schema
from pyrovae.errors import InputError
from pyrovae.oracles.given import normal_given
from tests.support.linear import SCALE, linear_vae

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name in ("panel", "playwright") if importlib.util.find_spec(name) is None]
needs_panel = pytest.mark.skipif("panel" in MISSING, reason="the extra 'app' is not installed")
needs_browser = pytest.mark.skipif(
    bool(MISSING) or CHROMIUM is None, reason=f"not installed: {', '.join(MISSING) or 'Chromium'}"
)
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
            "joined": (pd.Timestamp("2012-01-01") + pd.to_timedelta(rng.integers(0, 900, 240), unit="D")).strftime(
                "%Y-%m-%d"
            ),
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


def half(part, right=False):
    """Erase a half of the image of a brush, as its button does."""
    height, width = part.shape[1:]
    part.brush.erased = "".join("1" if (x >= width / 2) is right else "0" for x in range(width)) * height
    part.latest.wait()


# -------------------------------------------------------------------- numbers


@quiet
@needs_panel
def test_the_numbers_of_a_row_are_exact_on_an_exact_model():
    """The guide is the posterior, so each L_K is log p(x), and the KL is that of two normals."""
    vae, oracle = linear_vae()
    x = oracle.sample(3)
    _, row, *_ = cards_of(vae, x)
    (values,) = [row.values]
    log_px = float(oracle.log_px(x)[0])
    assert float(values.evidence.log_px[0]) == pytest.approx(log_px, abs=1e-4)
    np.testing.assert_allclose(values.bound, log_px, atol=1e-4)
    exact = torch.distributions.kl_divergence(
        oracle.posterior(x)[0] if False else torch.distributions.MultivariateNormal(
            oracle.posterior(x).mean[0], oracle.posterior(x).covariance_matrix[0]
        ),
        torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)),
    )
    assert float(values.split.kl.mean()) == pytest.approx(float(exact), abs=0.15)
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
    part.fields[1].input.value = "five"
    with pytest.raises(InputError, match="could not convert string to float: 'five' in the form"):
        part.complete()



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
    part.brush.erased = "0" * 64
    assert part.completion is None
    assert "completion" not in part.html.object.replace("completions are", "")


@quiet
@needs_panel
def test_a_newer_request_is_answered_instead_of_an_older_one():
    import threading

    said, gate = [], threading.Event()
    session = SimpleNamespace(soon=lambda action, card: action())
    latest = Latest(session, None)
    latest.ask(lambda: gate.wait(5) and "first", said.append)
    latest.ask(lambda: "second", said.append)
    gate.set()
    latest.wait()
    assert said == ["second"]


# -------------------------------------------------------------------- code


@quiet
@needs_panel
def test_copied_code_gives_the_numbers_of_the_cards(of_digits):
    session, row, card, upload = of_digits
    said, names = printed(row.code())
    assert float(names["evidence"].log_px[0]) == float(row.values.evidence.log_px[0])
    np.testing.assert_array_equal(names["curve"].bound[:, 0], row.values.bound)
    assert float(names["split"].kl.mean()) == float(row.values.split.kl.mean())
    for erase in (half, lambda part: half(part, right=True), scribble):
        erase(card.part)
        names = printed(card.code())[1]
        assert torch.equal(names["completion"].x, card.part.completion.x)
    assert upload.upload is None
    assert "pv.score" in printed(upload.code())[0] or True


def scribble(part):
    part.brush.erased = "".join("1" if i % 7 == 0 else "0" for i in range(64))
    part.latest.wait()
