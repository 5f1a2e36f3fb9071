"""The result of `bandit`: a table, the chosen VAE, the pulls, figures and the regret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.datasets import Data
from pyrovae.display import Displayed
from pyrovae.errors import InputError
from pyrovae.numerics import Array
from pyrovae.plots.bandits import arm_images, arm_pulls, arm_rewards, regret_curve
from pyrovae.plots.files import save
from pyrovae.plots.style import Axes
from pyrovae.searching.arms import Arm
from pyrovae.searching.history import History
from pyrovae.searching.pulls import Pull
from pyrovae.searching.rewards import REWARDS
from pyrovae.searching.values import Curve
from pyrovae.vae import VAE

if TYPE_CHECKING:
    import pandas

__all__ = ["Bandit"]


@dataclass(frozen=True, eq=False, repr=False)
class Bandit(Displayed):
    """The result of `bandit`; prints the table.

    Attributes:
        arms: the arms that could be declared, by name.
        log: the pulls in their order.
        history: the pulls as the policy sees them.
        settings: the options of the bandit.
        refused: the arms that could not be declared, with the reason.
        data: the data.
        folder: the folder, temporary unless the caller named one.
        partial: whether the user stopped before the last pull.
    """

    arms: Mapping[str, Arm]
    log: list[Pull]
    history: History
    settings: Mapping[str, Any]
    refused: Mapping[str, str]
    data: Data
    folder: Path
    partial: bool = False

    # ---------------------------------------------------------------- the answer

    @property
    def chosen(self) -> str:
        """The name of the best arm: the highest predicted final reward minus one standard error.

        Raises:
            InputError: if no arm has a reward.
        """
        return list(self.arms)[self.settings["policy"].best(self.history)]

    @property
    def best(self) -> VAE:
        """The VAE of the best arm, with its last weights."""
        return self.arms[self.chosen].vae

    @property
    def table(self) -> pandas.DataFrame:
        """One row for each arm, the best first, in nats per observation.

        Columns: the number of pulls and epochs, the last reward, the predicted reward after `full`
        pulls with its standard error, the seconds, and the sentence of an arm that failed.
        """
        import pandas

        value, error = Curve().estimate(self.history)
        rows = []
        for number, (name, arm) in enumerate(self.arms.items()):
            pulls = [pull for pull in self.log if pull.arm == name]
            failed = next((pull.failed for pull in pulls if pull.failed), "")
            known = bool(pulls) and not failed
            rows.append(
                {
                    "arm": name,
                    "pulls": len(pulls),
                    "epochs": arm.epochs,
                    "reward": pulls[-1].reward if known else np.nan,
                    "final": value[number] if known else np.nan,
                    "final_stderr": error[number] if known else np.nan,
                    "seconds": sum(pull.seconds for pull in pulls),
                    "failed": failed,
                }
            )
        rows += [{"arm": name, "pulls": 0, "epochs": 0, "failed": why} for name, why in self.refused.items()]
        table = pandas.DataFrame(rows).set_index("arm")
        order = (table["final"] - table["final_stderr"]).sort_values(ascending=False, kind="stable").index
        return table.loc[order]

    @property
    def pulls(self) -> pandas.DataFrame:
        """One row for each pull: arm, reward, epochs of the arm so far, seconds, failure."""
        import pandas

        frame = pandas.DataFrame([asdict(pull) for pull in self.log], columns=list(asdict(Pull(""))))
        frame.index = pandas.RangeIndex(1, len(frame) + 1, name="pull")
        return frame

    @property
    def reward(self) -> str:
        """The reward in words."""
        return REWARDS[self.settings["reward"]].format(**self.settings)

    def __str__(self) -> str:
        table, total = self.table, self.settings["pulls"]
        done = (
            f"{len(self.log)} of {total} pulls, stopped early" if self.partial else f"{len(self.log)} pulls"
        )
        width, epochs = max(len("arm"), *map(len, table.index)), self.settings["epochs_a_pull"]
        lines = [
            f"{len(table)} arms, {done} of {epochs} epoch{'s' if epochs > 1 else ''}, policy "
            f"{self.settings['policy']!r}; {self.reward} in nats per observation",
            f"  {'arm':<{width}}  pulls      reward    predicted after {self.history.last} pulls",
        ]
        for name, row in table.iterrows():
            if row["failed"]:
                lines.append(f"  {name:<{width}}  {int(row['pulls']):>5}  failed: {row['failed']}")
            elif not row["pulls"]:
                lines.append(f"  {name:<{width}}      0  not pulled")
            else:
                final = f"{row['final']:>11.3f} +- {row['final_stderr']:.3f}"
                lines.append(f"  {name:<{width}}  {int(row['pulls']):>5}  {row['reward']:>10.3f}  {final}")
        return "\n".join(lines)

    # ---------------------------------------------------------------- regret

    def regret(self, full: Bandit | Mapping[str, Any]) -> pandas.DataFrame:
        r"""The regret against training every arm to the end, after each pull.

        With the final rewards v of a complete training and the arm I that would be chosen after t
        pulls, the columns are the arm `chosen`, the `simple` regret \(v^* - v_I\), which is what is
        lost if the bandit ends there, and the `mean` regret of the arms that were pulled so far.

        Arguments:
            full: the final reward of each arm by name, or its rewards during a complete training,
                of which the last one counts; or a bandit whose policy pulled the arms in turns.

        Raises:
            InputError: if an arm has no final reward.
        """
        import pandas

        finals = self._finals(full)
        top, rows, names = float(np.nanmax(finals)), [], list(self.arms)
        lost = np.where(np.isfinite(finals), top - finals, np.nan)
        for count in range(1, len(self.log) + 1):
            before = History(
                self.history.arms,
                self.history.pulls,
                list(self.history.seen)[:count],
                self.history.full,
                self.history.seed,
            )
            pulled = lost[before.arm[np.isfinite(before.reward)]]
            if not len(pulled):
                continue
            chosen = self.settings["policy"].best(before)
            rows.append((count, names[chosen], lost[chosen], pulled.mean()))
        return pandas.DataFrame(rows, columns=["pull", "chosen", "simple", "mean"]).set_index("pull")

    def _finals(self, full: Bandit | Mapping[str, Any]) -> Array:
        """The final reward of each arm; nan for one that failed."""
        if isinstance(full, Bandit):
            ends = {name: curve[-1] for name, curve in full.curves().items() if len(curve)}
            ends |= dict.fromkeys([pull.arm for pull in full.log if pull.failed], np.nan)
        else:
            ends = {name: np.atleast_1d(np.asarray(values, float))[-1] for name, values in full.items()}
        missing = [name for name in self.arms if name not in ends]
        if missing:
            raise InputError(f"arm {missing[0]!r} has no final reward: give one for each arm")
        return np.array([ends[name] for name in self.arms])

    def curves(self) -> dict[str, Array]:
        """The rewards of each arm, one for each of its pulls."""
        return {name: self.history.curve(number) for number, name in enumerate(self.arms)}

    # ---------------------------------------------------------------- figures

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the rewards of all arms over the pulls; see also `plot_pulls`, `plot_arms`."""
        names = list(self.arms)
        return arm_rewards(
            names,
            self.history.arm,
            self.history.reward,
            unit=f"{self.reward}, nats per observation",
            ax=ax,
        )

    def plot_pulls(self) -> Axes:
        """Draw the number of pulls of each arm."""
        return arm_pulls(list(self.arms), self.history.arm)

    def plot_regret(self, full: Bandit | Mapping[str, Any]) -> Axes:
        """Draw the regret after each pull."""
        table = self.regret(full)
        return regret_curve(table.index.to_numpy(), {"": table["simple"].to_numpy()[None]})

    def plot_arms(self, rows: Any = None, count: int = 8) -> Axes:  # noqa: ANN401
        """Draw the reconstructions of the same images by each arm.

        Arguments:
            rows: the images; by default the first of the validation set.
            count: the number of images.

        Raises:
            InputError: if the observations are not images.
        """
        rows = self.data.validation if rows is None else rows
        images = {}
        for number, (name, arm) in enumerate(self.arms.items()):
            if number in self.history.alive and self.history.counts[number]:
                x_hat = arm.vae.reconstruct(rows[:count], seed=self.settings["seed"])
                images[name] = x_hat.cpu().numpy()
        return arm_images(arm.vae.rows(rows[:count]).x.cpu().numpy(), images)

    def save_figures(self, folder: Path) -> None:
        """Save the figures as PNG files."""
        figures = {"pulls": self.plot_pulls, "rewards": self.plot}
        shape = self.data.event_shape
        if len(shape) == 3 and shape[0] in (1, 3):
            figures["reconstructions"] = self.plot_arms
        for name, draw in figures.items():
            save(draw(), folder / f"{name}.png")
