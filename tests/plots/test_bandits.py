"""Figures of bandits: what is drawn, where, and what is refused."""

import numpy as np
import pytest

from pyrovae import plots
from pyrovae.errors import InputError

NAMES = ["dense", "convolutions", "never pulled"]


def test_pulls_are_bars() -> None:
    ax = plots.arm_pulls(NAMES, [0, 1, 1, 1])
    assert [bar.get_width() for bar in ax.patches] == [1, 3, 0]
    assert [text.get_text() for text in ax.get_yticklabels()] == NAMES
    assert [text.get_text() for text in ax.texts] == ["1", "3", "0"]


def test_rewards_are_lines_over_the_pulls() -> None:
    reward = [-90.0, -50.0, -40.0, np.nan, -20.0, -19.0]
    ax = plots.arm_rewards(NAMES, [0, 1, 1, 0, 1, 1], reward, unit="nats")
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["convolutions"].get_xdata().tolist() == [2, 3, 5, 6]
    assert lines["convolutions"].get_ydata().tolist() == [-50, -40, -20, -19]
    assert lines["dense"].get_xdata().tolist() == [1]
    crosses = ax.lines[-1]
    assert crosses.get_xdata().tolist() == [4]
    low, high = ax.get_ylim()
    assert low < -90  # the only reward of an arm is in the picture
    assert high > -19
    assert ax.get_ylabel() == "nats"
    assert {text.get_text() for text in ax.texts} == {"dense (1)", "convolutions (4)"}


def test_first_rewards_do_not_flatten_the_rest() -> None:
    ax = plots.arm_rewards(NAMES, [0] * 4 + [1] * 3, [-900, -9, -8, -7, -800, -6, -5])
    assert -10 < ax.get_ylim()[0] < -9


def test_images_of_each_arm_are_a_row() -> None:
    rng = np.random.default_rng(0)
    x, hats = rng.random((4, 1, 8, 8)), {name: rng.random((4, 1, 8, 8)) for name in NAMES}
    ax = plots.arm_images(x, hats)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["original", *NAMES]
    mosaic = ax.images[0].get_array()
    scale = (mosaic.shape[1] + 1) // 4 // 8
    assert mosaic[0, 0] == pytest.approx(x[0, 0, 0, 0])
    assert mosaic[2 * (8 * scale + 1), 0] == pytest.approx(hats["convolutions"][0, 0, 0, 0])
    with pytest.raises(InputError, match="dense has images of shape"):
        plots.arm_images(x, {"dense": hats["dense"][:2]})


def test_regret_is_a_mean_and_thin_lines() -> None:
    ax = plots.regret_curve([1, 2], {"ucb": [[4.0, 0.0], [2.0, 2.0]]}, marks={"complete": 2.0})
    assert [line.get_ydata().tolist() for line in ax.lines[:3]] == [[4, 0], [2, 2], [3, 1]]
    assert ax.get_legend().get_texts()[0].get_text() == "ucb"
    assert plots.regret_curve([1], {"": [[1.0]]}).get_legend() is None


@pytest.mark.parametrize("arm", [[3], [-1], [[0]]])
def test_wrong_arms_are_refused(arm: list) -> None:
    with pytest.raises(InputError, match="arm must be numbers from 0 to 2"):
        plots.arm_pulls(NAMES, arm)
