"""`bandit`: train several VAEs a little at a time, most of all the one that will be best.

    OUT/bandit.yaml    the arms, the policy and the options
    OUT/pulls.csv      one row for each pull
    OUT/arms/NAME      the run folder of each arm
    OUT/figures        figures

A pull resumes the training of one arm for some epochs, with its optimiser's moments, and sees its
reward on the validation set. A bandit that was killed goes on with the same call, first with the
arm that was being pulled, and ends with the same pulls.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pyrovae import sharing
from pyrovae.checks import count_of, flags, one_of, path_of, whole
from pyrovae.cures import again, cure
from pyrovae.datasets import Data
from pyrovae.errors import InputError, NumericalError
from pyrovae.memory import is_exhausted
from pyrovae.searching.arms import Arm, Handover, Requests, declared
from pyrovae.searching.bandit_result import Bandit
from pyrovae.searching.folder import SearchFolder, data_plan, safe_name
from pyrovae.searching.history import History
from pyrovae.searching.parts import plain
from pyrovae.searching.policies import Policy, as_policy
from pyrovae.searching.pulls import Log, Pull
from pyrovae.searching.rewards import REWARDS, Reward, reward_of
from pyrovae.searching.space import Space
from pyrovae.training import Callback
from pyrovae.training.config import read_config
from pyrovae.training.preparing import as_data
from pyrovae.vae.shared import Sharable

__all__ = ["bandit"]


def bandit(
    arms: Mapping[str, Mapping[str, Any]] | Space,
    data: Any,  # noqa: ANN401
    *,
    pulls: int = 40,
    epochs_a_pull: int = 1,
    policy: str | Policy = "ucb",
    reward: Reward = "log_px",
    particles: int = 50,
    rows: int | None = None,
    shared: Sharable | None = None,
    full: int | None = None,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    figures: bool = True,
    progress: bool = True,
    **options: Any,  # noqa: ANN401
) -> Bandit:
    """Find the best of several declarations for less than the cost of training all of them.

    Each pull trains one arm for some more epochs and sees its reward on the validation set, with
    the same noise every time. The policy chooses the next arm from the rewards so far. Rewards rise
    as arms learn, so by default an arm is worth its predicted reward after `full` pulls, from its
    learning curve. The learning rate is constant, since nobody knows which step is an arm's last.

    Arguments:
        arms: a mapping from names to options of `VAE.suited` and `fit` ({"decoder": MLP(200)}), or
            a `Space`, each point of whose grid is an arm.
        data: as for `fit`.
        pulls: the number of pulls.
        epochs_a_pull: the number of epochs of a pull.
        policy: "ucb", "thompson", "exp3", "halving", "turns", or a policy with its options, as in
            `UCB(Mean(discount=0.95))`.
        reward: "log_px" (the importance-weighted bound), "reconstruction" (E_q log p(x|z)), or
            "bound" (that of the objective).
        particles: the number of particles K of the reward "log_px".
        rows: use this number of validation rows for the reward; by default all of them.
        shared: "encoder" if all arms share q(z|x), which is then trained by whichever arm is
            pulled, with its optimiser's moments; None if each has its own.
        full: the number of pulls after which an arm is trained to the end, and is not pulled
            again; by default `pulls`.
        seed: seed of the initial weights, the training and the policy.
        out: the folder of the bandit; by default bandits/NAME-1. In Python, a temporary one, which
            exists as long as the result. The same call goes on with a bandit that was stopped, and
            may ask for more pulls.
        figures: save figures in `out` at the end.
        progress: print a line for each pull.
        options: options of `VAE.suited` and `fit` that all arms have, such as `lr=1e-3`.

    Returns:
        `Bandit`.

    Raises:
        InputError: for arms that cannot be declared or share an encoder, an invalid option, or a
            folder that holds another bandit; if all arms fail, with the sentence of the first.
        KeyboardInterrupt: on Ctrl-C, after the pulls so far were printed (with `progress`).

    References:
        Domhan, Springenberg & Hutter (2015), "Speeding up Automatic Hyperparameter Optimization of
        Deep Neural Networks by Extrapolation of Learning Curves"; Li, Jiang, Gao, Shao, Zhang &
        Cui (2020), "Efficient Automatic CASH via Rising Bandits".

    Example:
        >>> import pyrovae as pv
        >>> data = pv.datasets.load("digits", binarize="threshold")
        >>> arms = {str(size): {"decoder": pv.networks.MLP(size)} for size in (2, 200)}
        >>> options = {"latent_dim": 2, "particles": 5, "progress": False}
        >>> result = bandit(arms, data, pulls=12, **options)
        >>> len(result.pulls), result.chosen
        (12, '200')
    """
    flags(figures=figures, progress=progress)
    numbers = {
        "pulls": whole("pulls", pulls),
        "epochs_a_pull": whole("epochs_a_pull", epochs_a_pull),
        "particles": count_of("particles", particles),
        "rows": None if rows is None else whole("rows", rows),
        "full": None if full is None else whole("full", full),
        "seed": whole("seed", seed, 0),
    }
    one_of("reward", reward, tuple(REWARDS))
    one_of("shared", shared, (None, "encoder"))
    if sharing.is_shared():
        raise InputError("a bandit trains in one process: start it without torchrun")
    settings = numbers | {"policy": as_policy(policy), "reward": reward, "shared": shared}
    folder = None if out is None else path_of("out", out)
    with ExitStack() as stack:
        place = Path(stack.enter_context(_temporary())) if folder is None else folder
        work = _Work(declared(arms, options), as_data(data), settings, place, progress=progress)
        with work.opened():
            partial = work.run()
        result = work.result(partial=partial)
        if partial:
            if progress:
                print(result, flush=True)
            how = cure(f"the same bandit with the folder {folder}", again(out=folder))
            how = "" if folder is None else f"; go on with {how}"
            raise KeyboardInterrupt(f"stopped after {len(work.log.pulls)} of {pulls} pulls{how}")
        if figures and folder is not None:
            result.save_figures(folder / "figures")
        if folder is None:  # the folder now exists as long as the result
            weakref.finalize(result, stack.pop_all().close)
        return result


@contextmanager
def _temporary() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="pyrovae-bandit-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Work:
    """The pulls of one bandit.

    Arguments:
        options: the options of each arm.
        data: the data.
        settings: the options of the bandit.
        folder: its folder.
        progress: whether to print a line for each pull.
    """

    def __init__(
        self,
        options: Mapping[str, dict[str, Any]],
        data: Data,
        settings: Mapping[str, Any],
        folder: Path,
        *,
        progress: bool,
    ) -> None:
        self.settings, self.data, self.folder, self.progress = settings, data, folder, progress
        self.options = options
        self.refused: dict[str, str] = {}
        self.requests = Requests()
        self.arms: dict[str, Arm] = {}
        full = self.planned = self._planned_epochs()
        for name, own in options.items():
            try:
                self.arms[name] = Arm(
                    name, own, data, settings["seed"], full, folder / "arms" / safe_name(name)
                )
            except InputError as error:
                self.refused[name] = str(error)
        if not self.arms:
            raise InputError(next(iter(self.refused.values())))
        self.shared: list[str] = []
        if settings["shared"]:
            self._share(settings["shared"])

    def _planned_epochs(self) -> int:
        """The epochs of a complete training as planned at first: `pulls` may be raised later."""
        plan = self.folder / "bandit.yaml"
        before = read_config(plan).get("planned_epochs") if plan.exists() else None
        settings = self.settings
        now = (settings["full"] or settings["pulls"]) * settings["epochs_a_pull"]
        return before if isinstance(before, int) else now

    def _share(self, what: Sharable) -> None:
        """Make the arms share a network."""
        first, *others = self.arms.values()
        for arm in others:
            try:
                arm.vae.share(first.vae, what)
            except InputError as error:
                raise InputError(f"arms {first.name!r} and {arm.name!r}: {error}") from None
            for name in ("optimizer", "lr"):
                one, two = (some.training.get(name) for some in (first, arm))
                if one != two:
                    raise InputError(
                        f"arms {first.name!r} and {arm.name!r} share an encoder and differ in {name} ({one} "
                        f"and {two}): give all of them the same"
                    )
        self.shared = first.vae.shared_tensors(what)
        self.initial = {name: first.vae.state_dict()[name].clone() for name in self.shared}
        for arm in self.arms.values():
            if arm.options.get("compile") is True:
                raise InputError(
                    "a compiled step counts the steps of all weights together, and a shared encoder has made "
                    "more than its arm: leave compile out"
                )
            arm.options["compile"] = False

    # ---------------------------------------------------------------- files

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Lock the folder, and read the pulls of a bandit that goes on.

        Raises:
            InputError: if the folder holds something else or cannot be used.
        """
        folder = SearchFolder(self.folder, "bandit")
        with folder.locked():
            folder.begin(self._plan(), free={"pulls"})
            self.log = Log(self.folder / "pulls.csv")
            epochs = {pull.arm: pull.epochs for pull in self.log.pulls if not pull.failed}
            last = getattr(self._last(), "name", None)
            for name, count in sorted(epochs.items(), key=lambda item: item[0] == last):
                self._arm(name).restore(count)  # the last one has the newest encoder
            yield

    def _arm(self, name: str) -> Arm:
        if name not in self.arms:
            raise InputError(f"{self.log.path} names an arm {name!r} that does not exist: restore the file")
        return self.arms[name]

    def _plan(self) -> dict[str, Any]:
        arms = {name: plain(own) for name, own in self.options.items()}
        settings = {name: plain(value) for name, value in self.settings.items()}
        settings["planned_epochs"] = self.planned
        return {"arms": arms, **settings, "data": data_plan(self.data)}

    # ---------------------------------------------------------------- pulls

    @property
    def history(self) -> History:
        """The pulls so far, as the policy sees them."""
        order = {name: number for number, name in enumerate(self.arms)}
        seen = [(order[pull.arm], pull.reward) for pull in self.log.pulls]
        some = self.settings
        return History(len(order), some["pulls"], seen, some["full"], some["seed"])

    def run(self) -> bool:
        """Pull until the last pull; returns whether the user stopped before it.

        Raises:
            InputError: when all arms have failed.
        """
        total = self.settings["pulls"]
        names = list(self.arms)
        try:
            while len(self.log.pulls) < total:
                if not len(self.history.alive):
                    raise InputError(next(pull.failed for pull in self.log.pulls if pull.failed))
                if not len(self.history.open):  # all arms are trained to the end
                    break
                name = self.log.pending or names[self.settings["policy"].next(self.history)]
                self.log.begin(name)
                self.log.end(self._pull(self._arm(name)))
                self._say()
                if self.requests.asked():
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            if not self.log.pulls:
                raise KeyboardInterrupt("stopped before the first pull was done") from None
            return True
        return False

    def _pull(self, arm: Arm) -> Pull:
        began, epochs = time.perf_counter(), arm.epochs + self.settings["epochs_a_pull"]
        try:
            run = arm.train(epochs, self._callbacks(arm))
            options = {name: self.settings[name] for name in ("rows", "particles")}
            value = reward_of(self.settings["reward"], run, self.data, **options)
        except (InputError, NumericalError) as error:
            if isinstance(error.__cause__, OSError):  # the disk, not the arm
                raise
            return self._failed(arm, began, str(error))
        except (MemoryError, RuntimeError) as error:
            if not is_exhausted(error):
                raise
            sentence = "it needs more memory than the machine has free: give it a smaller network or batch"
            return self._failed(arm, began, sentence)
        return Pull(arm.name, value, epochs, time.perf_counter() - began)

    def _failed(self, arm: Arm, began: float, sentence: str) -> Pull:
        """The record of a pull that failed; a shared encoder gets its last good weights."""
        if self.shared:
            source = self._last()
            saved = source.weights() if source is not None else self.initial
            tensors = arm.vae.state_dict()
            for name in self.shared:
                tensors[name].copy_(saved[name])
        return Pull(arm.name, epochs=arm.epochs, seconds=time.perf_counter() - began, failed=sentence)

    def _callbacks(self, arm: Arm) -> list[Callback]:
        source = self._last()
        if not self.shared or source is arm:
            return [self.requests]
        return [self.requests, Handover(self.shared, source, self.initial, arm.epochs)]

    def _last(self) -> Arm | None:
        """The arm of the last pull that did not fail."""
        done = [pull.arm for pull in self.log.pulls if not pull.failed]
        return self._arm(done[-1]) if done else None

    def _say(self) -> None:
        if not self.progress:
            return
        pull = self.log.pulls[-1]
        unit = REWARDS[self.settings["reward"]].format(**self.settings)
        what = f"failed: {pull.failed}" if pull.failed else f"epoch {pull.epochs}, {unit} {pull.reward:.3f}"
        print(f"pull {len(self.log.pulls)} of {self.settings['pulls']}: {pull.arm}, {what}", flush=True)

    def result(self, *, partial: bool) -> Bandit:
        """The result."""
        return Bandit(
            arms=self.arms,
            log=list(self.log.pulls),
            history=self.history,
            settings=dict(self.settings),
            refused=self.refused,
            data=self.data,
            folder=self.folder,
            partial=partial,
        )
