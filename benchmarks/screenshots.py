"""The pictures of the app in README.md and docs/exploring.md, taken in a headless Chromium.

    python benchmarks/screenshots.py runs/clusters-0 --component 3 --observation 5

Writes docs/images/explore_*.png. Needs the extra "app", playwright and a Chromium, and the first MNIST run
of docs/clustering.md.
"""

import argparse
import io
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1280, "height": 782}


def main() -> None:
    """Serve the run, take the pictures, and end the server."""
    options = _arguments()
    command = [sys.executable, "-m", "pyrovae", "explore", options.run, "--show", "false"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        address = re.search(r"http://\S+", server.stdout.readline())
        if address is None:
            sys.exit(f"{options.run} was not served")
        try:
            take(address[0], options)
        finally:
            server.send_signal(signal.SIGINT)


def take(address: str, options: argparse.Namespace) -> None:
    """The page; a component whose sliders were moved; a doubtful observation, with dots coloured by label."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = next(filter(None, map(shutil.which, CHROMIUM)))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, device_scale_factor=options.scale)
        page.goto(address)
        page.wait_for_selector(".evidence b")
        choose(page, options.component, options.observation)
        drag(page)
        save(page, options.out / "explore_page.png")
        slide(page, options.component)
        save(page, options.out / "explore_component.png")
        page.get_by_role("button", name="Most doubtful").click()
        page.get_by_role("button", name="label").click()
        save(page, options.out / "explore_observation.png")
        browser.close()


def choose(page: Page, component: int, observation: int) -> None:
    """A row of the table, and an observation by its number."""
    page.locator(".tabulator-row").nth(component).click()
    page.locator(".number input").fill(str(observation))
    page.locator(".number input").press("Enter")


def drag(page: Page) -> None:
    """From one place of the map to another."""
    box = page.locator("canvas").first.bounding_box()
    for i, (right, down) in enumerate(((0.45, 0.4), (0.42, 0.35), (0.4, 0.3))):
        page.mouse.move(box["x"] + right * box["width"], box["y"] + down * box["height"])
        page.wait_for_timeout(100)
        if not i:
            page.mouse.down()
    page.mouse.up()


def slide(page: Page, component: int) -> None:
    """Away from a component's mean, along two of its axes."""
    rows = page.locator(".tabulator-row")
    rows.nth((component + 1) % rows.count()).click()
    page.wait_for_timeout(500)
    for axis, key, times in ((0, "ArrowRight", 14), (1, "ArrowLeft", 9)):
        for _ in range(times):
            page.locator(f".axis{axis} .noUi-handle").press(key)


def save(page: Page, path: Path) -> None:
    """The page when it has come to rest."""
    page.mouse.move(2, 2)
    page.wait_for_timeout(2500)
    page.evaluate("document.activeElement.blur()")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, 8, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"written: {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--component", type=int, default=0)
    parser.add_argument("--observation", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="pixels of the picture for one of the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
