"""The arms of a bandit: declared VAEs, each with its run folder, trained a few epochs at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pyrovae.datasets import Data
from pyrovae.errors import InputError
from pyrovae.objectives import ELBO, as_objective
from pyrovae.part import Declared
from pyrovae.searching.parts import plain
from pyrovae.searching.space import Space
from pyrovae.seeds import seeded
from pyrovae.tasks.runs import options_of
from pyrovae.terms import Runner
from pyrovae.training import Callback, Run
from pyrovae.training import fit_to_end as fit
from pyrovae.training.callbacks import Running
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.config import read_config
from pyrovae.training.defaults import Facts, chosen
from pyrovae.training.state import load_weights
from pyrovae.trust import check_paths
from pyrovae.vae import VAE

__all__ = ["Arm", "Handover", "Requests", "declared", "read_arms"]

# What a bandit chooses itself.
CHOSEN = {
    "epochs": "a bandit chooses the epochs of an arm: give pulls and epochs_a_pull",
    "patience": "a bandit stops training an arm by not pulling it: leave patience out",
    "keep": "a bandit goes on from the last weights of an arm: leave keep out",
    "lr_schedule": "the learning rate of an arm is constant, since nobody knows its last step: leave "
    "lr_schedule out",
}


@dataclass
class Arm:
    """One arm.

    Attributes:
        name: its name.
        options: the arguments of `VAE.suited` and of `fit` that declare it.
        data: the data.
        seed: the seed of its initial weights and of its training.
        full: the number of epochs for which settings that are left open are chosen.
        folder: its run folder.
        vae: the VAE, with its last weights.
        epochs: the number of epochs that it was trained for.
    """

    name: str
    options: dict[str, Any]
    data: Data
    seed: int
    full: int
    folder: Path
    vae: VAE = field(init=False)
    epochs: int = 0

    def __post_init__(self) -> None:
        """Declare the VAE, with initial weights.

        Raises:
            InputError: for parts that cannot be combined.
        """
        with seeded(self.seed):
            self.vae = VAE.suited(**options_of(VAE.suited, self.options | {"data": self.data}))

    @property
    def training(self) -> dict[str, Any]:
        """The arguments of `fit`, which do not depend on the number of epochs so far."""
        options = {k: v for k, v in options_of(fit, self.options).items() if v is not None}
        options |= {"seed": self.seed}
        objective = as_objective(options.get("objective") or ELBO())
        facts = Facts(len(self.data.train), objective.anneals)
        whole = chosen(
            {"batch_size": None, "epochs": self.full, "lr": None, "kl_warmup": None} | options, facts
        )
        fixed = {"lr_schedule": "constant", "patience": None, "keep": "last", "figures": False}
        return whole | fixed | {"progress": False}

    def train(self, epochs: int, callbacks: Sequence[Callback] = ()) -> Run:
        """Train until this number of epochs is done; from the checkpoint, if there is one."""
        options = self.training | {"epochs": epochs}
        run = fit(self.vae, self.data, **options, out=self.folder, resume=True, callbacks=callbacks)
        self.epochs = epochs
        return run

    def restore(self, epochs: int) -> None:
        """Load the last weights.

        Raises:
            InputError: if the run folder is gone or does not match.
        """
        load_weights(Runner(self.vae), {}, self.weights())
        self.epochs = epochs

    def weights(self) -> dict[str, torch.Tensor]:
        """The last weights in its run folder."""
        return Checkpoint.read(self.folder / "last.ckpt").weights


class Handover(Callback):
    """Give an arm the encoder of the arm that was pulled last, with the optimiser's moments of it.

    It acts at the start of a pull only: a pull that was killed in between goes on with the encoder
    in its checkpoint.

    Arguments:
        names: the tensors that are shared.
        source: the arm that was pulled last, or None.
        initial: the initial weights, which are used without a source.
        epochs: the number of epochs of the arm before this pull.
    """

    def __init__(
        self, names: Sequence[str], source: Arm | None, initial: Mapping[str, torch.Tensor], epochs: int
    ) -> None:
        self.names, self.source, self.initial, self.epochs = names, source, initial, epochs

    def on_start(self, run: Running) -> None:
        """Copy weights and moments."""
        job = run._job
        position = job.state.position
        if (position.epoch, position.batch) != (self.epochs, 0):
            return
        saved, moments = self.initial, dict[str, Any]()
        if self.source is not None:
            checkpoint = Checkpoint.read(self.source.folder / "last.ckpt", to_resume=True)
            saved = checkpoint.weights
            moments = _moments(checkpoint, self.source.vae)
        target = run.program.state_dict()
        for name in self.names:
            target[name].copy_(saved[name])
        state = job.optimizer.state_dict()
        numbers = {name: number for number, name in enumerate(job.trained)}
        state["state"] |= {numbers[name]: moments[name] for name in self.names if name in moments}
        job.optimizer.load_state_dict(state)  # on the device of the weights


class Requests(Callback):
    """Remembers requests to stop: one during the last step of a run does not stop the run.

    Attributes:
        asked: returns whether the user asked to stop.
    """

    def __init__(self) -> None:
        self.asked: Callable[[], bool] = lambda: False

    def on_start(self, run: Running) -> None:
        """Listen to the run."""
        self.asked = run._job.exchange.asked


def _moments(checkpoint: Checkpoint, vae: VAE) -> dict[str, Any]:
    """The state of the optimiser for each parameter of a VAE, by its name."""
    names = [name for name, weight in vae.named_parameters() if weight.requires_grad]
    state = (checkpoint.optimizer or {})["state"]
    return {name: state[number] for number, name in enumerate(names) if number in state}


# ------------------------------------------------------------------ declarations


def declared(
    arms: Mapping[str, Mapping[str, Any]] | Space, fixed: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The options of each arm by its name.

    Arguments:
        arms: options by name, or a space, each point of whose grid is an arm.
        fixed: options of all arms.

    Raises:
        InputError: for no arms, an option that does not exist, or one that the bandit chooses.
    """
    if isinstance(arms, Space):
        space = Space({**fixed, **arms.values})
        found = {point.name or "the declaration": point.options for point in space.grid()}
    elif isinstance(arms, Mapping):
        found = {str(name): _one(str(name), {**fixed, **_options(name, own)}) for name, own in arms.items()}
    else:
        raise InputError(f"arms must be a mapping from names to options, or a Space, not {arms!r}")
    if not found:
        raise InputError("there are no arms: give at least one, as in {'dense': {'decoder': MLP()}}")
    for name, options in found.items():
        for option in options.keys() & CHOSEN.keys():
            if options[option] is not None:
                raise InputError(f"arm {name!r} has the option {option}, but {CHOSEN[option]}")
        plain(options)  # refuses what cannot be written
    return found


def _options(name: object, own: Any) -> Mapping[str, Any]:  # noqa: ANN401
    if not isinstance(own, Mapping):
        raise InputError(f"arm {name!r} must be a mapping of options, not {own!r}")
    return own


def _one(name: str, options: dict[str, Any]) -> dict[str, Any]:
    points = Space(options).grid()
    if len(points) != 1:
        raise InputError(
            f"arm {name!r} has choices, and an arm is one declaration: give a Space in place of the mapping"
        )
    return points[0].options


def read_arms(path: Path) -> dict[str, dict[str, Any]]:
    """The arms in a YAML file: name -> options as in a config file.

    Raises:
        InputError: if the file cannot be read or is not of this form, or names code that is not
            trusted.
    """
    arms = read_config(path)
    for name, own in arms.items():
        if not isinstance(own, Mapping):
            raise InputError(f"{path}: arm {name!r} must have options, as in 'decoder: MLP', not {own!r}")
        check_paths(own, str(path), Declared)
    return arms
