"""Set up every test and doctest: a fixed seed, an empty store, no change of global state.

Torch, Pyro and matplotlib keep state for the whole process. A test that changes it would
affect later tests, so the state is checked after each test: default dtype, gradient mode, Pyro's
settings (such as validation), matplotlib's settings, and the open figures of pyplot.
"""

import atexit
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pyro
import pytest
import torch

matplotlib.use("Agg")  # no window
os.environ["MPLBACKEND"] = "Agg"  # also in the processes that tests start
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="pyrovae-tests-")  # not the user's own key
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # tests send nothing
atexit.register(shutil.rmtree, os.environ["XDG_DATA_HOME"], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Start each test, and the fixtures that it is the first to use, from the same random state."""
    seed_torch()


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """Seed 0 and an empty store before the test; the same process-wide settings after it."""
    pyro.clear_param_store()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what libraries and users have
    seed_torch()
    before = process_settings()
    yield
    after = process_settings()
    changed = sorted(name for name in before if after[name] != before[name])
    if changed:
        restore(before)  # so that later tests do not fail
    assert not changed, f"the test left these changed: {', '.join(changed)}"


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision as the default dtype: `pytestmark = pytest.mark.usefixtures("float64")`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def seed_torch() -> None:
    """As `torch.manual_seed(0)`, which formats the stack three times in a process without a GPU."""
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(0)


def process_settings() -> dict[str, Any]:
    """The settings that a test must restore, by name."""
    drawing = matplotlib.rcParams.copy()
    return {
        "torch default dtype": torch.get_default_dtype(),
        "torch gradient mode": torch.is_grad_enabled(),
        "torch deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "pyro.settings": pyro.settings.get(),
        # The backend is set at the first drawing.
        "matplotlib.rcParams": {key: value for key, value in drawing.items() if "backend" not in key},
        "figures of pyplot": pyplot.get_fignums() if (pyplot := sys.modules.get("matplotlib.pyplot")) else [],
    }


def restore(settings: dict[str, Any]) -> None:
    """Restore the result of `process_settings`."""
    torch.set_default_dtype(settings["torch default dtype"])
    torch.set_grad_enabled(settings["torch gradient mode"])
    torch.use_deterministic_algorithms(settings["torch deterministic algorithms"])
    pyro.settings.set(**settings["pyro.settings"])
    matplotlib.rcParams.update(settings["matplotlib.rcParams"])
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
