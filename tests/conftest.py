"""Where the tests find the project; the fixtures that doctests share are in the folder above."""

from pathlib import Path

import pytest

from tests.support import PROJECT
from tests.support.two_processes import pair  # noqa: F401 - a fixture


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share something slow to make run in one worker: two processes, or the demo."""
    for item in items:
        for shared in {"pair", "demo"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(shared))


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT
