"""What the tests of the app share: whether a browser is there, and waiting for a page."""

import importlib.util
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name in ("panel", "playwright") if importlib.util.find_spec(name) is None]
needs_panel = pytest.mark.skipif("panel" in MISSING, reason="the extra 'app' is not installed")
needs_browser = pytest.mark.skipif(
    bool(MISSING) or CHROMIUM is None, reason=f"not installed: {', '.join(MISSING) or 'Chromium'}"
)


def until(page, look, satisfied):
    """What is seen when it satisfies: the server answers when it can."""
    for _ in range(800):
        if satisfied(seen := look()):
            return seen
        page.wait_for_timeout(25)
    raise AssertionError(f"still {str(seen)[:200]}")
