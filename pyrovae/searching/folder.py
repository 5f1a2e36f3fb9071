"""The folder of a search or a sweep: its plan, its lock and its run folders.

    search.yaml          the plan: the space, the data and the options, compared on resume
    .lock                held by the process that works in the folder
    NAME/seed-0/         an ordinary run folder, with the outcome of its trial in trial.json

A folder holds one search or one sweep. A second call with the same plan goes on with it; another
plan is refused with the first thing that differs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml

from pyrovae.errors import InputError
from pyrovae.files import locked, reason_of, write_whole
from pyrovae.training.config import read_config

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["Kind", "SearchFolder", "data_plan", "safe_name"]

Kind = Literal["search", "sweep", "bandit"]

LONGEST = 100  # characters of a folder's name
OUTCOME = "trial.json"


class SearchFolder:
    """The folder of a search, a sweep or a bandit.

    Arguments:
        path: the folder; created when missing.
        kind: what it holds.

    Raises:
        InputError: if it cannot be created or written, or holds something else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = SearchFolder(f"{parent}/latent", "sweep")
        ...     with folder.locked():
        ...         resumed = folder.begin({"seeds": 5, "space": {"lr": 0.001}}, free={"seeds"})
        ...         again = folder.begin({"seeds": 9, "space": {"lr": 0.001}}, free={"seeds"})
        >>> resumed, again
        (False, True)
    """

    def __init__(self, path: str | os.PathLike[str], kind: Kind) -> None:
        self.path, self.kind = Path(path), kind
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot create the folder {self.path}: {reason_of(error)}; choose another"
            ) from error
        self._refuse_others()

    @property
    def plan_file(self) -> Path:
        """The file of the plan: search.yaml, sweep.yaml or bandit.yaml."""
        return self.path / f"{self.kind}.yaml"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder; the system releases it when the process ends.

        Raises:
            InputError: when another process has the lock, or the folder cannot be written.
        """
        refusal = f"another process is working in {self.path}; wait for it or choose a new name"
        with locked(self.path, refusal):
            yield

    def begin(self, plan: Mapping[str, Any], free: Collection[str] = ()) -> bool:
        """Write the plan, or compare it with the one that is there; returns whether there was one.

        Arguments:
            plan: plain values by name.
            free: the names whose values may change, such as the number of seeds; the last is kept.

        Raises:
            InputError: for another plan, with what differs.
        """
        plan = _plain(plan)
        is_resumed = self.plan_file.exists()
        if is_resumed:
            before = read_config(self.plan_file)
            difference = _difference(
                {name: value for name, value in before.items() if name not in free},
                {name: value for name, value in plan.items() if name not in free},
            )
            if difference:
                raise InputError(
                    f"{self.path} holds another {self.kind} ({difference}): give the same, or choose a "
                    "new name"
                )
            if before == plan:
                return True
        text = yaml.safe_dump(plan, sort_keys=False, default_flow_style=None, allow_unicode=True)
        write_whole(self.plan_file, lambda file: file.write(text.encode()))
        return is_resumed

    def run(self, name: str, seed: int | None = None) -> Path:
        """The run folder of a trial: its name made safe, and seed-0 inside."""
        folder = self.path / safe_name(name)
        return folder if seed is None else folder / f"seed-{seed}"

    def _refuse_others(self) -> None:
        others = [kind for kind in get_args(Kind) if kind != self.kind]
        found = next((kind for kind in others if (self.path / f"{kind}.yaml").exists()), None)
        if found is None and (self.path / "config.yaml").exists():
            found = "run"
        if found is not None:
            raise InputError(
                f"{self.path} holds a {found}, and a {self.kind} needs its own folder: choose a new name"
            )
        if not os.access(self.path, os.W_OK):
            raise InputError(
                f"cannot write to the folder {self.path}; choose another or change its permissions"
            )


def data_plan(data: Data) -> dict[str, Any]:
    """What makes the data of a plan: their declaration, and a record with a fingerprint."""
    record = {name: value for name, value in data.record.items() if name != "reading"}
    return {"declaration": data.declaration, "record": record}


def safe_name(name: str) -> str:
    """The name of a point as the name of a folder, different for different points.

    Example:
        >>> safe_name("latent_dim=2 lr=0.001")
        'latent_dim=2,lr=0.001'
        >>> safe_name("prior=../x")
        'prior=.._x-18cf3e'
    """
    plain = re.sub(r"[^\w=.,+()-]", "_", name.replace(" ", ",")).strip(".") or "point"
    if plain.replace(",", " ") == name and len(plain) <= LONGEST:
        return plain
    return f"{plain[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Values as YAML gives them back."""
    return json.loads(json.dumps(value, default=str))


def _difference(before: Any, now: Any, path: str = "") -> str:  # noqa: ANN401
    """The first difference of two plans in words; empty if there is none."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in (*now, *(key for key in before if key not in now)):
            inner = f"{path}.{key}" if path else str(key)
            if key not in before or key not in now:
                return f"{inner} was {_shown(before, key)} and is {_shown(now, key)}"
            if difference := _difference(before[key], now[key], inner):
                return difference
        return ""
    same = repr(before) == repr(now) or (before == now and type(before) is type(now))
    return "" if same else f"{path} was {_short(before)} and is {_short(now)}"


def _shown(values: Mapping[str, Any], key: str) -> str:
    return _short(values[key]) if key in values else "missing"


def _short(value: Any) -> str:  # noqa: ANN401
    words = str(value)
    return words if len(words) <= 60 else f"{words[:57]}..."
