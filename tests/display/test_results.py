"""All results show their answer: repr is what print shows, and a notebook shows HTML."""

import copy
import dataclasses
import importlib
import inspect
import pickle
import pkgutil

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pyrovae as pv
from pyrovae.display import Displayed
from pyrovae.searching.ranking import rank
from pyrovae.searching.study import Final, Study, TrialRecord
from pyrovae.vae.view import as_code
from tests.support.parts import raises_one_sentence
from tests.support.web import check_page, text_of

EVIL = "<b>x</b>"
# Their repr is how they are declared, or they are no results.
DECLARED = {"_Range", "Real", "Whole", "Drawing", "Jitter", "Units", "Settings", "Results", "PerRow"}


def classes():
    for found in pkgutil.walk_packages(pv.__path__, "pyrovae."):
        if found.name.endswith("__main__"):
            continue
        for name, one in vars(importlib.import_module(found.name)).items():
            if inspect.isclass(one) and one.__module__ == found.name and name not in DECLARED:
                yield name, one


def test_every_class_that_prints_an_answer_shows_it():
    """A dataclass would otherwise show its options, and hide the numbers."""
    printing = {n: c for n, c in classes() if dataclasses.is_dataclass(c) and c.__str__ is not object.__str__}
    assert len(printing) > 25
    hiding = [name for name, one in printing.items() if one.__repr__ is not Displayed.__repr__]
    assert hiding == [], "derive these from Displayed, with repr=False"
    silent = [n for n, c in classes() if issubclass(c, Displayed) and "_html" not in vars(c)]
    assert {"Gaps", "Scores"} <= set(silent)  # their text, or their summary


# -------------------------------------------------------------------- one of each


@pytest.fixture(scope="module")
def results():
    """Results of small models, by name."""
    torch.manual_seed(0)
    data = pv.datasets.load("digits", binarize="threshold")
    small = {"encoder": pv.networks.MLP(8), "decoder": pv.networks.MLP(8)}
    vae = pv.VAE(data.event_shape, 2, prior=pv.priors.GaussianMixture(components=3), **small, seed=0)
    run = pv.fit(vae, data, epochs=2, progress=False, compile=False)
    rows = data.test[:30]
    evidence = pv.log_evidence(vae, rows, particles=30, compile=False)
    half = rows.x[:3].clone()
    half[:, :, 4:] = torch.nan
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({EVIL: rng.normal(size=60), "kind": rng.choice(["cat", "<i>cow</i>"], 60)})
    frame.loc[::7, EVIL] = None
    table = pv.datasets.load(frame)
    of_table = pv.VAE.suited(table, latent_dim=1, **small)
    of_table.schema = table.schema
    plain = pv.VAE(data.event_shape, 2, **small, seed=0)
    other = pv.log_evidence(plain, rows, particles=30, compile=False)
    codes = pv.VAE(data.event_shape, 2, **small, seed=0)
    return {
        "vae": vae,
        "data": data,
        "table": table,
        "run": run,
        "evidence": evidence,
        "comparison": pv.evidence.compare({EVIL: evidence, "b": other}),
        "curve": pv.iwae_bound(vae, rows, particles=(1, 5)),
        "diagnosis": pv.diagnose(vae, data, rows=30),
        "gaps": pv.gaps(plain, rows[:3], steps=2, particles=30),
        "sandwich": pv.sandwich(plain, count=3, temperatures=(2, 4), chains=2),
        "exploration": pv.explore(vae, data, rows=50, particles=10),
        "completion": pv.condition(vae, half, draws=3, particles=30),
        "completed table": pv.condition(of_table, table.test.x[:3], draws=3, particles=30),
        "imputation": pv.impute(of_table, frame, draws=2),
        "study": study(),
        "ranking": rank({EVIL: [-1.0, -2.0], "b": [-2.0, -3.5]}),
        "traversal": pv.traverse(codes, rows),
    }


def study():
    values = {"latent_dim": 2, "name": EVIL}
    trials = [TrialRecord(i, "complete", -3.0 - i, values, {1: -4.0}, {}) for i in range(2)]
    trials.append(TrialRecord(2, "failed", np.nan, values, {}, {"reason": EVIL}))
    ranking = rank({"a": [[-1.0, -2.0], [-1.5, -2.5]], EVIL: [[-2.0, -3.5], [-2.0, -3.0]]})
    final = Final(ranking, "a", -1.5, 0.2, "trust it", 2, "importance", {"a": values}, {EVIL: "no"})
    return Study(tuple(trials), 50, final, None)


WITH_HTML = (
    ("vae", "data", "table", "run", "evidence", "comparison", "curve", "diagnosis", "gaps", "sandwich")
    + ("exploration", "completion", "completed table", "imputation", "study", "ranking")
)  # fmt: skip
each = pytest.mark.parametrize("name", WITH_HTML)


@each
def test_a_notebook_shows_a_page_of_its_own(results, name):
    result, state = results[name], torch.get_rng_state()
    page = result._html()
    assert result._repr_html_() == page == result._html(), "it is the same every time"
    assert torch.equal(torch.get_rng_state(), state)
    check_page(page)
    assert EVIL not in page
    assert "<i>" not in page


@each
def test_text_and_page_have_the_same_headline(results, name):
    result = results[name]
    assert repr(result) == str(result)
    known = {"study": "3 trials: 2 complete, 1 failed", "ranking": "b", "comparison": "log p(x)"}
    head = known.get(name, str(result).splitlines()[0])
    assert " ".join(head.split()) in text_of(result._html())


@pytest.mark.parametrize("name", [*WITH_HTML, "traversal"])
def test_results_go_to_other_processes_and_are_copied(results, name):
    result = results[name]
    for other in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert repr(other) == repr(result)
        assert other._repr_html_() == result._repr_html_()


def test_the_answer_is_shown(results):
    """The numbers that the old repr hid."""
    evidence, run, ex = (results[name] for name in ("evidence", "run", "exploration"))
    for shown in (repr(evidence), text_of(evidence._html())):
        assert f"{evidence.mean:.3f} nats" in shown
        assert evidence.verdict.split()[0] in shown
    bound = f"validation bound {run.history['validation'][run.best_epoch - 1]:.3f}"
    assert bound in repr(run)
    assert bound in text_of(run._html())
    assert "adam" in text_of(run._html())  # among the settings
    page = ex._html()
    assert page.count("<img") == len(ex.components)
    assert EVIL.replace("<", "&lt;").replace(">", "&gt;") in results["table"]._html()


def test_rows_with_low_trust_are_named(results):
    evidence = results["evidence"]
    poor = np.flatnonzero(~evidence.trusted)
    worst = poor[np.argsort(-evidence.mc_stderr[poor])[0]]
    words = text_of(evidence._html())
    assert f"{len(poor)} rows whose error is not to be trusted" in words
    assert f"{evidence.index[worst]} {evidence.log_px[worst]:.2f}" in words


def test_cells_that_were_filled_are_marked(results):
    filled = results["imputation"]
    assert filled._html().count("<mark>") == min(8, filled.cells)


def test_a_wide_table_is_cut_and_says_so():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 40)), columns=[f"c{i}" for i in range(40)])
    frame.iloc[::3, 1] = None
    table = pv.datasets.load(frame)
    vae = pv.VAE.suited(table, latent_dim=1, encoder=pv.networks.MLP(4), decoder=pv.networks.MLP(4))
    vae.schema = table.schema
    completed = pv.condition(vae, table.test.x[:3], draws=2, particles=5)
    for result in (completed, pv.impute(vae, frame, draws=1, particles=5)):
        words = text_of(result._html())
        assert ", 12 of 40 columns" in words
        assert "c11" in words
        assert "c12" not in words


def test_the_declaration_is_code_that_declares_the_same_vae(results):
    vae = results["vae"]
    assert eval(as_code(vae), {"pv": pv}) == vae
    text = text_of(vae._html())
    assert "encoder=pv.networks.MLP(sizes=(8,))" in text
    total = sum(parameter.numel() for parameter in vae.parameters())
    assert f"{total:,} parameters" in text


def test_html_that_fails_leaves_the_text(results, monkeypatch):
    evidence = results["evidence"]
    monkeypatch.setattr(type(evidence), "_sections", lambda self: 1 / 0)
    assert evidence._repr_html_() is None
    assert repr(evidence) == str(evidence)


# -------------------------------------------------------------------- figures

PLOTS = {
    "run": [{}],
    "evidence": [{}, {"kind": "weights"}, {"kind": "log_px"}],
    "comparison": [{}],
    "curve": [{}],
    "diagnosis": [{}],
    "gaps": [{}],
    "sandwich": [{}],
    "exploration": [{}, *({"kind": kind} for kind in ("components", "overlap", "doubt", "confusion"))],
    "completion": [{}],
    "ranking": [{}],
    "traversal": [{}],
}


@pytest.mark.parametrize("name", PLOTS)
def test_results_draw_themselves(results, name):
    for options in PLOTS[name]:
        mine = Figure(layout="constrained").add_subplot()
        assert results[name].plot(**options, ax=mine) is mine
        ax = results[name].plot(**options)
        assert isinstance(ax, Axes)
        assert ax.has_data() or ax.child_axes


def test_another_kind_gives_the_choices(results):
    raises_one_sentence(lambda: results["evidence"].plot("x"), "kind must be 'weights' or 'log_px'")
    raises_one_sentence(lambda: results["exploration"].plot("x"), "choose from map, components")
