"""Where the tests find the project; the fixtures that doctests share are in the folder above."""

import signal
from pathlib import Path

import pytest

from tests.support import PROJECT
from tests.support.recordings import device, recordings  # noqa: F401 - fixtures
from tests.support.two_processes import pair  # noqa: F401 - a fixture


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share something slow to make run in one worker: two processes, or the demo."""
    for item in items:
        for shared in {"pair", "demo"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(shared))


def pytest_configure() -> None:
    """Let the processes of tests hear Ctrl-C, also if pytest runs in the background of a shell.

    Such a job ignores SIGINT, and so does each process that it starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT
