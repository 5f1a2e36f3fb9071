"""Figures of a search show the trials that they were given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pyrovae import plots
from pyrovae.plots.search_axes import at_unit, intervals, plain, ticks
from pyrovae.plots.search_pairs import _triangles
from pyrovae.plots.trials import Column, columns_of, low_fence, shorten, trials_of
from tests.support.parts import raises_one_sentence
from tests.support.pictures import PROPERTIES, dots, line

LONG = "ConvolutionalDecoder(channels=(32, 64, 128), kernel=3, act={})"


def study(count, seed=0):
    """A study as pv.search makes it: log and integer numbers, words, conditional options, a constant."""
    rng = np.random.default_rng(seed)
    lr, latent = 10 ** rng.uniform(-4, -2, count), rng.integers(2, 65, count)
    decoder = rng.choice(["MLP", "Gated"], count)
    width = np.where(decoder == "Gated", rng.choice([64.0, 128.0, 256.0, 512.0], count), np.nan)
    values = (
        -18.4 - 3 * (np.log10(lr) + 2.8) ** 2 - 0.6 * np.log(latent / 12) ** 2 + rng.normal(0, 0.3, count)
    )
    states = np.array(["complete", "pruned", "complete", "complete", "failed", "complete"] * count)[:count]
    values = np.where(states == "pruned", values - 3 - rng.exponential(3, count), values)
    if count > 20:
        values[[2, 8]] = -4100.0, -260.0
    values[states == "failed"] = np.nan
    parameters = {
        "lr": lr,
        "decoder": decoder,
        "latent_dim": latent,
        "decoder.width": width,
        "batch_size": rng.choice([32, 64, 128], count),
        "likelihood": ["Bernoulli"] * count,
    }
    return parameters, values, states.tolist()


def wide(count=60):
    """Thirty hyperparameters, a third of them with words of 60 characters."""
    rng = np.random.default_rng(1)
    parameters = {
        f"decoder.layers.{i}.option": rng.uniform(size=count)
        if i % 3
        else [LONG.format(k) for k in rng.integers(0, 2 + i % 9, count)]
        for i in range(30)
    }
    return parameters, -20 + rng.normal(size=count)


PARAMETERS, VALUES, STATES = study(60)
ONE = ({name: list(column)[:1] for name, column in PARAMETERS.items()}, VALUES[:1])
MANY = study(1000)
CURVES = {
    i: -20 - i % 7 - 25 * np.exp(-np.arange(1, 28)[: 27 if i % 3 == 0 else 1 + 8 * (i % 2)] / (1 + i % 4))
    for i in range(30)
}
CURVE_STATES = ["complete" if len(curve) == 27 else "pruned" for curve in CURVES.values()]

TABLE = {
    "search_history": lambda **k: plots.search_history(VALUES, STATES, **k),
    "search_history, one": lambda **k: plots.search_history([-20.0], **k),
    "search_history, many": lambda **k: plots.search_history(*MANY[1:], **k),
    "search_slices": lambda **k: plots.search_slices(PARAMETERS, VALUES, STATES, **k),
    "search_slices, one": lambda **k: plots.search_slices(*ONE, **k),
    "search_parallel": lambda **k: plots.search_parallel(PARAMETERS, VALUES, STATES, **k),
    "search_parallel, one": lambda **k: plots.search_parallel(*ONE, **k),
    "search_contour": lambda **k: plots.search_contour(PARAMETERS, VALUES, "lr", "latent_dim", STATES, **k),
    "search_contour, words": lambda **k: plots.search_contour(
        PARAMETERS, VALUES, "decoder", "latent_dim", STATES, **k
    ),
    "search_contour, one": lambda **k: plots.search_contour(*ONE, "lr", "latent_dim", **k),
    "search_importance": lambda **k: plots.search_importance(["lr", "prior"], [0.8, 0.2], [0.1, 0.05], **k),
    "search_importance, 30": lambda **k: plots.search_importance(list(wide()[0]), np.arange(30.0), **k),
    "search_curves": lambda **k: plots.search_curves(CURVES, CURVE_STATES, **k),
}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_properties(name, check):
    check(TABLE[name])


# History


def by_label(ax):
    return {artist.get_label().partition(" (")[0]: artist for artist in dots(ax)}


def test_the_best_so_far_is_the_running_maximum_of_complete_trials():
    values = [-21.0, -18.0, -20.0, np.nan, -19.0]
    ax = plots.search_history(values, ["complete", "pruned", "complete", "failed", "complete"])
    assert line(ax, "best so far").tolist() == [[0, -21], [1, -21], [2, -20], [3, -20], [4, -19]]
    assert ax.lines[0].get_drawstyle() == "steps-post"
    parts = by_label(ax)
    assert parts["complete"].get_offsets().tolist() == [[0, -21], [2, -20], [4, -19]]
    assert parts["pruned"].get_offsets().tolist() == [[1, -18]]
    assert parts["failed"].get_offsets()[:, 0].tolist() == [3]
    assert parts["best"].get_offsets().tolist() == [[4, -19]]
    assert parts["best"].get_label() == "best (trial 4)"


def test_running_trials_are_in_the_curves_only():
    values, states = [-20.0, -18.0, -21.0], ["complete", "running", "complete"]
    assert set(by_label(plots.search_history(values, states))) == {"complete", "best"}
    ax = plots.search_parallel({"a": [1, 2, 3]}, values, states)
    assert ax.get_xlabel() == "2 complete trials"
    curves = {0: [-22.0, -20.0], 1: [-18.0], 2: [-23.0, -21.0]}
    ax = plots.search_curves(curves, states)
    assert line(ax, "running (1)").tolist() == [[1, -18]]
    assert line(ax, "best (trial 0)").tolist() == [[1, -22], [2, -20]]
    raises_one_sentence(lambda: plots.search_history([np.nan], ["running"]), "wait for the first")


def test_no_line_before_the_first_complete_trial():
    ax = plots.search_history([-25.0, -21.0], ["pruned", "complete"])
    assert np.isnan(line(ax, "best so far")[0, 1])
    assert plots.search_history([-25.0], ["pruned"]).lines[:] == []


def test_very_bad_trials_do_not_set_the_limits_and_are_counted_at_the_lower_edge():
    ax = TABLE["search_history"]()
    complete = VALUES[np.array(STATES) == "complete"]
    low, high = ax.get_ylim()
    assert low > -40
    assert high > complete.max()
    below = by_label(ax)["far below"]
    assert below.get_label() == "far below (2)"
    assert below.get_offsets()[:, 0].tolist() == [2, 8]
    counts = [int(dot.get_label().split("(")[1][:-1]) for name, dot in by_label(ax).items() if name != "best"]
    assert sum(counts) == len(VALUES)


def test_complete_trials_have_at_least_a_third_of_the_height():
    values, states = [-18.0, -19.0, -30.0, -31.0, -20.0], ["complete"] * 2 + ["pruned"] * 3
    low, high = plots.search_history(values, states).get_ylim()
    assert -21 > low > -22
    assert 1 / (high - low) > 0.27  # with the room at both ends
    assert by_label(plots.search_history(values, states))["pruned"].get_offsets().tolist() == [[4, -20]]
    everything = plots.search_history([-18.0, -19.0, -20.0], ["complete", "complete", "pruned"])
    assert everything.get_ylim()[0] < -20


def test_without_a_far_trial_all_are_inside():
    values = np.random.default_rng(0).normal(-20, 1, 200)
    ax = plots.search_history(values)
    assert set(by_label(ax)) == {"complete", "best"}
    assert ax.get_ylim()[0] < values.min()


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_trials_and_epochs_are_whole_numbers(count):
    for ax in (plots.search_history([-20.0] * count), plots.search_curves({0: -20.0 - np.arange(count)})):
        assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_the_fence_is_that_of_tukey():
    assert low_fence(np.array([-20.0, -19.0, -18.0, -17.0, -4000.0])) == -20 - 3 * 2
    assert low_fence(np.array([-3.0, -3.0, -3.0, -3.0, -9.0])) == -np.inf


# Columns


def test_missing_values_of_every_kind_are_gaps():
    frame = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "b": ["x", np.nan, None]})
    a, b = columns_of(frame, 3)
    assert a.exists.tolist() == [True, False, True]
    assert (b.words, b.exists.tolist()) == (("x",), [True, False, False])
    assert [c.name for c in columns_of({"a": [1, 2], "none": [None, np.nan]}, 2)] == ["a"]


def test_booleans_and_mixed_values_are_words():
    flag, mixed = columns_of({"flag": [True, False], "mixed": [5, "auto"]}, 2)
    assert flag.words == ("False", "True")
    assert mixed.words == ("5", "auto")


@pytest.mark.parametrize(
    ("values", "is_log"),
    [
        (10 ** np.random.default_rng(0).uniform(-4, -2, 40), True),
        (np.random.default_rng(0).uniform(0, 1, 200), False),
        (np.random.default_rng(0).integers(2, 65, 60), False),
        (np.random.default_rng(0).integers(1, 1000, 200), False),
        ([1, 2, 5, 10, 20, 50, 100, 200], True),
        ([32, 64, 128, 64], True),
        ([10, 20, 30], False),
        ([0, 1, 1000], False),
        ([-1, 1, 1000], False),
        ([7, 7, 7], False),
    ],
)
def test_a_logarithmic_axis_where_the_values_suggest_it(values, is_log):
    assert columns_of({"a": values}, len(values))[0].is_log is is_log
    (asked,) = columns_of({"a": np.abs(values) + 1}, len(values), ["a"])
    assert asked.is_log
    assert not columns_of({"a": values}, len(values), [])[0].is_log


def test_places_on_an_axis_and_back():
    column = Column("lr", np.array([1e-4, 1e-3, 1e-2, np.nan]), is_log=True)
    assert np.allclose(column.unit[:3], [0, 0.5, 1])
    assert np.isnan(column.unit[3])
    assert np.allclose(at_unit(column, column.unit[:3]), column.values[:3])
    assert Column("a", np.array([3.0, 3.0])).unit.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("most", [3, 4, 6])
@pytest.mark.parametrize("seed", range(20))
def test_ticks_are_few_different_and_within_the_axis(seed, most):
    rng = np.random.default_rng(seed)
    centre, spread = rng.normal(0, 10), rng.exponential(3)
    for is_log in (True, False):
        values = 10 ** rng.normal(centre / 5, spread / 3, 30) if is_log else rng.normal(centre, spread, 30)
        at, texts = ticks(Column("a", values, is_log=is_log), most)
        assert 1 <= len(at) <= most
        assert len(set(texts)) == len(texts)
        room = 2 * np.ptp(np.log10(values) if is_log else values)
        assert np.all(
            np.abs((np.log10(at) if is_log else at) - np.mean(values if not is_log else np.log10(values)))
            < room
        )


def test_numbers_are_short():
    assert [plain(v) for v in (0.5, 1e-5, 2048.0, -18.42, 3e5, 0.0, 0.00106)] == [
        "0.5", "1e−5", "2048", "−18.4", "3e5", "0", "1.06e−3",
    ]  # fmt: skip
    assert shorten("encoder.layers.3.width", 12, 4) == "enco….width"[:5] + "3.width"[-7:]


# Slices and parallel coordinates


def test_each_panel_has_the_trials_that_have_its_hyperparameter():
    ax = TABLE["search_slices"]()
    panels = {panel._left_title.get_text(): panel for panel in ax.child_axes}
    assert set(panels) == set(PARAMETERS)
    here = (np.array(STATES) == "complete") & (VALUES > panels["lr"].get_ylim()[0])
    for name in ("lr", "decoder.width", "decoder"):
        exists = np.array([isinstance(v, str) or np.isfinite(v) for v in PARAMETERS[name]])
        drawn = np.asarray(by_label(panels[name])["complete"].get_offsets())
        assert np.array_equal(drawn[:, 1], VALUES[here & exists])
        if name != "decoder":
            assert np.array_equal(drawn[:, 0], PARAMETERS[name][here & exists])
        else:
            words = [text.get_text() for text in panels[name].get_xticklabels()]
            assert [words[int(place)] for place in drawn[:, 0].round()] == list(PARAMETERS[name][here])
    assert panels["lr"].get_xscale() == panels["decoder.width"].get_xscale() == "log"
    assert panels["latent_dim"].get_xscale() == "linear"


def test_log_names_the_logarithmic_axes():
    ax = plots.search_slices({"lr": [0.001, 0.1], "width": [1, 100]}, [-2.0, -1.0], log=["width"])
    assert [panel.get_xscale() for panel in ax.child_axes] == ["linear", "log"]


def test_a_line_has_a_gap_where_a_hyperparameter_does_not_exist():
    parameters = {"a": [0.0, 1.0, 0.5], "b": [0.0, np.nan, 1.0], "c": [0.0, 0.5, 1.0]}
    ax = plots.search_parallel(parameters, [-3.0, -2.0, -1.0])
    lines = {
        artist.get_label(): artist.get_segments()
        for artist in ax.collections
        if "_complete" in artist.get_label()
    }
    ((whole,),) = [lines["_complete 2"]]
    low, high = ax.child_axes[0].get_ylim()
    assert np.allclose(whole, [[0, 0.5], [1, 1], [2, 1], [3, (-1 - low) / (high - low)]])
    (rest,) = lines["_complete 1"]
    assert np.allclose(rest[:, 0], [2, 3])
    (alone,) = dots(ax)
    assert alone.get_offsets().tolist() == [[0, 1]]


def test_colours_and_ends_of_lines_agree_with_the_colour_bar():
    ax = TABLE["search_parallel"]()
    bar = ax.child_axes[0]
    low, high = bar.get_ylim()
    shades = bar.collections[-1].get_cmap() if bar.collections else None
    drawn = [artist for artist in ax.collections if artist.get_label().startswith("_complete")]
    assert len(drawn) == STATES.count("complete")
    for artist in drawn:
        trial = int(artist.get_label().split()[1])
        end = artist.get_segments()[-1][-1]
        assert np.allclose(end, [len(PARAMETERS), np.clip((VALUES[trial] - low) / (high - low), 0, 1)])
        if shades is not None:
            assert np.allclose(artist.get_colors()[0][:3], shades(end[1])[:3], atol=0.02)
    thickest = max(drawn, key=lambda artist: artist.get_linewidths()[0])
    assert int(thickest.get_label().split()[1]) == trials_of(VALUES, STATES).best


@pytest.mark.parametrize("draw", [plots.search_slices, plots.search_parallel])
def test_thirty_hyperparameters_with_long_words(draw):
    ax = draw(*wide())
    ax.figure.draw_without_rendering()
    texts = [*ax.get_xticklabels(), *ax.texts, *(t for p in ax.child_axes for t in p.get_xticklabels())]
    assert max(len(text.get_text()) for text in texts if text.get_text() != ax.texts[0].get_text()) <= 24
    if draw is plots.search_slices:
        assert len(ax.child_axes) == 30


# Contour


def test_the_surface_has_the_values_of_the_trials_and_ends_at_their_hull():
    rng = np.random.default_rng(0)
    lr, width = 10 ** rng.uniform(-4, -2, 40), rng.uniform(0, 100, 40)
    across, up = columns_of({"lr": lr, "width": width}, 40)
    values = 2 * np.log10(lr) + width
    triangles, inside = _triangles(across, up, values)
    # a function that is linear on the scaled axes is interpolated exactly
    assert np.allclose(inside, 2 * np.log10(triangles.x) + triangles.y)
    assert triangles.x.min() >= lr.min() * (1 - 1e-9)
    assert triangles.y.max() <= width.max() + 1e-9
    for x, y in zip(lr, width, strict=True):
        assert (np.hypot(np.log(triangles.x / x), triangles.y - y) < 1e-6).any()


def test_trials_on_a_line_have_no_surface():
    ax = plots.search_contour({"a": [1.0, 2.0, 3.0], "b": [2.0, 4.0, 6.0]}, [-3.0, -2.0, -1.0], "a", "b")
    assert "too few" in ax.get_title(loc="right")
    assert dots(ax)[0].get_offsets().tolist() == [[1, 2], [2, 4], [3, 6]]


def test_the_star_is_at_the_best_trial():
    ax = TABLE["search_contour"]()
    best = trials_of(VALUES, STATES).best
    star = by_label(ax)["best"]
    assert star.get_offsets().tolist() == [[PARAMETERS["lr"][best], PARAMETERS["latent_dim"][best]]]


def test_a_table_has_the_mean_of_each_pair_and_the_number_of_its_trials():
    parameters = {"p": ["a", "a", "b", "a", None], "d": ["x", "x", "y", "y", "x"]}
    ax = plots.search_contour(parameters, [-1.0, -3.0, -4.0, -5.0, -6.0], "p", "d")
    assert ax.images[0].get_array().tolist() == [[-2.0, None], [-5.0, -4.0]]
    assert [text.get_text() for text in ax.texts] == ["−2.00\n2 trials", "−5.00\n1 trial", "−4.00\n1 trial"]


def test_a_far_trial_counts_as_the_fence():
    values = [-4.0, -3.0, -2.0, -1.0, -500.0]
    low = low_fence(np.array(values))
    parameters = {"p": ["a", "a", "b", "b", "c"], "d": ["x"] * 5}
    ax = plots.search_contour(parameters, values, "p", "d")
    assert ax.images[0].get_array().tolist() == [[-3.5, -1.5, low]]
    assert ax.get_title(loc="right") == f"1 trial far below, counted as {plain(low)}"


def test_intervals_of_numbers_cover_them_once():
    values = np.random.default_rng(0).integers(1, 200, 100).astype(float)
    index, names = intervals(Column("a", values))
    assert sorted(set(index.tolist())) == list(range(len(names)))
    ends = [tuple(map(float, name.split(" to "))) for name in names]
    assert all(ends[i][0] <= value <= ends[i][1] for i, value in zip(index, values, strict=True))
    assert all(a[1] < b[0] for a, b in zip(ends[:-1], ends[1:], strict=True))


# Importance and curves


def test_bars_descend_with_their_errors():
    ax = plots.search_importance(["a", "b", "c"], [0.2, 0.7, 0.1], [0.05, 0.1, 0.2])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["b", "a", "c"]
    assert [bar.get_width() for bar in ax.patches] == [0.7, 0.2, 0.1]
    ends = np.array([segment[:, 0] for segment in ax.collections[0].get_segments()])
    assert np.allclose(ends, [[0.6, 0.8], [0.15, 0.25], [0.0, 0.3]])
    assert [text.get_text() for text in ax.texts] == ["0.70", "0.20", "0.10"]
    low, high = ax.get_ylim()
    assert low > high  # the largest is on top


def test_each_trial_is_a_line_and_the_best_is_on_top():
    curves = {"a": [-9.0, -5.0], "b": {2: -7.0, 1: -9.0, 3: -4.0}, "c": [-12.0, np.nan], "d": []}
    ax = plots.search_curves(curves, ["complete", "complete", "pruned", "failed"])
    assert line(ax, "complete (2)").tolist() == [[1, -9], [2, -5]]
    assert line(ax, "best (trial b)").tolist() == [[1, -9], [2, -7], [3, -4]]
    (pruned,) = [drawn for drawn in ax.lines if drawn.get_label().startswith("pruned")]
    assert pruned.get_xydata().tolist() == [[1, -12]]
    assert pruned.get_marker() == "o"
    assert line(plots.search_curves(curves, best="a"), "best (trial a)").tolist() == [[1, -9], [2, -5]]


def test_the_legend_counts_the_curves_below_the_frame():
    ax = plots.search_curves({0: -20 - 0.1 * np.arange(9), 1: [-400.0]}, ["complete", "pruned"])
    assert "pruned (1, 1 below)" in [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.search_history([np.nan] * 3, ["failed"] * 3), "none of the 3 trials has a value"),
        (lambda: plots.search_history([np.nan], ["complete"]), "1 complete trials have no finite value"),
        (lambda: plots.search_history([-1.0], ["done"]), "'done'"),
        (lambda: plots.search_history([-1.0], ["complete"] * 2), "1 values and 2 states"),
        (lambda: plots.search_slices({"a": [1]}, [-1.0, -2.0]), "a has 1 entries"),
        (lambda: plots.search_slices({"a": [None]}, [-1.0]), "no hyperparameter has a value"),
        (lambda: plots.search_slices({"a": [1]}, [-1.0], log=["b"]), "log names 'b'"),
        (lambda: plots.search_slices({"a": [1]}, [-1.0], log="a"), "give a list"),
        (lambda: plots.search_parallel({"a": [-1]}, [-1.0], log=["a"]), "0 or below"),
        (lambda: plots.search_parallel({"a": ["x"]}, [-1.0], log=["a"]), "has words"),
        (lambda: plots.search_parallel({"a": [1]}, [np.nan]), "none of the 1 trials"),
        (lambda: plots.search_contour({"a": [1]}, [-1.0], "a", "b"), "'b' is not a hyperparameter"),
        (lambda: plots.search_contour({"a": [1]}, [-1.0], "a", "a"), "give two"),
        (
            lambda: plots.search_contour({"a": [1, None], "b": [None, 1]}, [-1.0, -2.0], "a", "b"),
            "no complete trial has both",
        ),
        (lambda: plots.search_importance(["a"], [np.nan]), "shares has 1 values that are NaN"),
        (lambda: plots.search_importance(["a"], [-0.5]), "a share is -0.5"),
        (lambda: plots.search_importance(["a"], [0.5, 0.5]), "shares has shape (2,)"),
        (lambda: plots.search_curves({0: []}), "none of the 1 trials"),
        (lambda: plots.search_curves({0: [-1.0]}, best=1), "best is 1"),
        (lambda: plots.search_curves({0: [[-1.0]]}), "one value an epoch"),
    ],
)
def test_refusals(call, message):
    raises_one_sentence(call, message)


def test_axes_of_the_caller_may_be_small():
    for name in ("search_history", "search_slices", "search_parallel"):
        ax = TABLE[name](ax=Figure(figsize=(3, 2)).add_subplot())
        ax.figure.draw_without_rendering()
