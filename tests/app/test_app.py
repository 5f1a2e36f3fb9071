"""The app in a real browser, and its server without one.

Everything is asked of the page itself: what it loads and from where, and whether its pictures change when
somebody clicks, drags, slides, and chooses. One small run of digits, one server and one browser serve all.
"""

import asyncio
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae import app
from pyrovae.app import observation_views, pictures, scene
from pyrovae.app.colours import mixed, of_classes
from pyrovae.app.guard import _quiet, guard
from pyrovae.cli import main
from pyrovae.errors import InputError

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name in ("panel", "playwright") if importlib.util.find_spec(name) is None]
needs_panel = pytest.mark.skipif("panel" in MISSING, reason="the extra 'app' is not installed")
needs_browser = pytest.mark.skipif(
    bool(MISSING) or CHROMIUM is None, reason=f"not installed: {', '.join(MISSING) or 'Chromium'}"
)
COUNT = 200


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of digits with three latents and four components."""
    folder = tmp_path_factory.mktemp("app")
    torch.manual_seed(0)
    data = pv.datasets.load("digits", binarize="threshold")
    prior = pv.priors.GaussianMixture(4, start="spread")
    networks = {"encoder": pv.networks.MLP(32), "decoder": pv.networks.MLP(32)}
    vae = pv.VAE(data.event_shape, latent_dim=3, prior=prior, **networks)
    pv.fit(vae, data, epochs=3, out=folder / "digits", figures=False, progress=False, compile=False)
    return folder / "digits"


@pytest.fixture(scope="module")
def ex(run):
    return pv.exploring.explore(pv.load(run), pv.datasets.load("digits", binarize="threshold"), rows=COUNT)


# -------------------------------------------------------------------- the server


def started(run, *words):
    """The app in a process of its own, and the address that it prints."""
    command = [sys.executable, "-m", "pyrovae", "explore", str(run), "--rows", str(COUNT), "--show", "false"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    line = process.stdout.readline()
    address = re.search(r"http://\S+", line)
    if address is None:
        process.kill()
        raise AssertionError(line + process.communicate()[1])
    return process, address[0]


def interrupted(process):
    """The status and the errors of a process that Ctrl-C ends."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.fixture(scope="module")
def served(run):
    """The address of the app; at the end Ctrl-C is answered as by every command."""
    process, address = started(run)
    yield address
    status, errors = interrupted(process)
    assert (status, errors.splitlines()[-1]) == (130, "pyrovae: stopped")
    assert "Traceback" not in errors


@needs_panel
def test_it_listens_on_this_machine_alone(served):
    host, port = re.fullmatch(r"http://([\d.]+):(\d+)/", served).groups()
    assert host == "127.0.0.1"
    socket.create_connection((host, int(port)), timeout=5).close()
    for other in ("127.0.0.2", "::1"):  # which a server on all addresses would answer
        with pytest.raises(OSError, match="."):
            socket.create_connection((other, int(port)), timeout=2).close()


@needs_panel
def test_a_page_from_elsewhere_gets_no_answer(served):
    """Any site can have a browser ask 127.0.0.1; the answer would show it the data."""
    host = served.removeprefix("http://").strip("/")
    for origin, status in (("http://elsewhere.example", 403), (served.strip("/"), 101)):
        ask = http.client.HTTPConnection(host, timeout=10)
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": origin}
        key = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        ask.request(
            "GET", "/ws", headers=upgrade | key | {"Sec-WebSocket-Protocol": "bokeh, " + token(served)}
        )
        assert ask.getresponse().status == status
        ask.close()


@needs_panel
def test_another_name_for_this_machine_gets_no_answer(served):
    """A site may make its own name resolve to 127.0.0.1; the browser then sends that name."""
    host = served.removeprefix("http://").strip("/")
    port = host.partition(":")[2]
    local, foreign = f"http://localhost:{port}", {"Origin": "http://elsewhere.example"}
    answers = {
        (host, None): 200,
        (f"localhost:{port}", None): 200,
        (f"LOCALHOST:{port}", local): 200,
        ("elsewhere.example", None): 403,
        (f"elsewhere.example:{port}", None): 403,
        ("localhost", None): 403,
        (f"127.0.0.1:{port}.elsewhere.example", None): 403,
        (host, f"https://{host}"): 403,
        (host, "http://127.0.0.1"): 403,
        (host, "null"): 403,
        (host, foreign["Origin"]): 403,
    }
    for (name, origin), status in answers.items():
        answer = asked_for(host, "/", {"Host": name} | ({} if origin is None else {"Origin": origin}))
        assert answer.status == status, (name, origin)
        assert not [header for header in answer.headers if header.lower().startswith("access-control")]


@needs_panel
@pytest.mark.parametrize(
    "path", ["/autoload.js?bokeh-autoload-element=1", "/metadata", "/static/js/bokeh.min.js"]
)
def test_no_site_may_read_an_answer(served, path):
    host = served.removeprefix("http://").strip("/")
    for method in ("GET", "OPTIONS"):
        answer = asked_for(host, path, {}, method)
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.status == (404 if "autoload" in path else 405 if method == "OPTIONS" else 200)


@needs_panel
def test_a_page_is_told_no_traceback():
    """The answer to a message that fails names no file of this machine."""
    from bokeh.application import Application
    from bokeh.protocol import Protocol
    from bokeh.server.tornado import BokehTornado
    from bokeh.server.views.ws import WSHandler

    application = BokehTornado({"/": Application()})
    guard(application, ["127.0.0.1:5006"])
    targets = [rule.target for rule in application.wildcard_router.rules]
    (handler,) = (t for t in targets if isinstance(t, type) and issubclass(t, WSHandler))
    sent = []

    class Handler(WSHandler):
        async def send_message(self, message):
            sent.append(json.loads(message.content_json))

    assert handler.send_message is not WSHandler.send_message
    try:
        raise ValueError("of something secret")
    except ValueError as error:
        message = Protocol().create("ERROR", "1", repr(error))
    assert "test_app.py" in message.content["traceback"]
    quiet = _quiet(Handler)
    asyncio.run(quiet.send_message(object.__new__(quiet), message))
    assert sent == [{"text": "the message could not be handled", "traceback": None}]


def asked_for(host, path, headers, method="GET"):
    ask = http.client.HTTPConnection(host, timeout=10)
    ask.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        ask.putheader(name, value)
    ask.endheaders()
    answer = ask.getresponse()
    answer.read()
    ask.close()
    return answer


def token(address):
    """What the page is given, that it may open its socket."""
    with urllib.request.urlopen(address) as answer:
        return re.search(r'"token":\s*"([^"]+)"', answer.read().decode())[1]


@needs_panel
def test_a_port_that_is_taken_is_a_sentence(ex):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} cannot be used .*: name another"):
            app.serve(ex, port=port, show=False)
    with pytest.raises(InputError, match="port must be a whole number from 1 to 65535, not 0"):
        app.serve(ex, port=0, show=False)


def test_without_the_extra_it_says_what_to_install(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "panel", None)  # an import of it fails as when it is not installed
    assert main(["explore", str(run)]) == 2
    assert capsys.readouterr() == (
        "",
        "pyrovae: the app needs the extra `app`: pip install 'pyrovae[app]'\n",
    )


@needs_panel
def test_a_run_without_components_is_refused_before_anything_is_served(tmp_path, capsys):
    np.save(tmp_path / "x.npy", (np.random.default_rng(0).random((60, 16)) < 0.5).astype("float32"))
    words = ["--data", str(tmp_path / "x.npy"), "--epochs", "1", "--figures", "false", "--batch_size", "20"]
    assert main(["fit", *words, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["explore", str(tmp_path / "run"), "--show", "false"]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"pyrovae: StandardNormal\(\) has no components to explore: .*GaussianMixture.*\n", errors
    )


# -------------------------------------------------------------------- the page


@needs_panel
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")  # of panel
def test_a_move_that_was_not_answered_yet_does_not_undo_a_later_choice(ex):
    """The answer to a drag waits for 30 ms; who chooses a component meanwhile must get it."""
    from pyrovae.app.page import Page

    page = Page(scene.Scene(ex, ""))
    for move, answer in (
        (lambda: page.map._drag(SimpleNamespace(x=0.5, y=0.5)), page.map._follow),
        (lambda: page.slide(np.ones(1)), page._slid),
    ):
        move()
        page.show_component(2)
        answer()
        assert "the mean of component 2" in page.point.object
        move()
        answer()
        assert "the mean of component 2" not in page.point.object


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(served, browser):
    """The page in a tab; at the end nothing was loaded from elsewhere, and nothing was complained about."""
    asked, complaints = [], []
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    tab.set_default_timeout(20_000)
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("websocket", lambda socket: asked.append(socket.url))
    tab.on(
        "console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None
    )
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(served)
    tab.wait_for_selector(".evidence b")
    yield tab
    assert len(asked) > 5
    assert [url for url in asked if not re.match(rf"(blob:)?(http|ws)://{served[7:]}|data:", url)] == []
    assert complaints == []


def shown(page, name):
    """The bytes of a picture, or of all pictures of a grid."""
    pictures = page.locator(f"img.{name}, .{name} img")
    return pictures.evaluate_all("all => all.map(one => one.src)")


def changes(page, name, action):
    """The pictures before and after an action, which must change them."""
    before = shown(page, name)
    action()
    return before, until(page, lambda: shown(page, name), lambda after: after != before)


def until(page, look, satisfied):
    """What is seen when it satisfies: the server answers when it can."""
    for _ in range(800):
        if satisfied(seen := look()):
            return seen
        page.wait_for_timeout(25)
    raise AssertionError(f"still {str(seen)[:200]}")


def another(page):
    """A row of the table that is not chosen, and its number."""
    page.wait_for_selector(".tabulator-row.tabulator-selected")  # the first is chosen when the page opens
    rows = page.locator(".tabulator-row")
    k = next(k for k in range(rows.count()) if not chosen(rows.nth(k)))
    return rows.nth(k), k


def chosen(row):
    return "tabulator-selected" in row.get_attribute("class")


def click(page, right, down):
    """Click on the map; two clicks within 300 ms would be a double click."""
    page.wait_for_timeout(350)
    page.mouse.click(*place(page, right, down))


def place(page, right, down):
    """A place on the map, in shares of its width and height."""
    box = page.locator(".bk-Canvas, canvas").first.bounding_box()
    return box["x"] + right * box["width"], box["y"] + down * box["height"]


@needs_browser
@pytest.mark.slow
class TestPage:
    def test_it_opens_whole(self, page):
        assert page.title() == "digits · PyroVAE"
        assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [1280, 1280]
        assert page.evaluate("document.documentElement.scrollHeight") <= 800
        assert len(shown(page, "decoded")) == len(shown(page, "observation")) == 1
        assert page.locator(".tabulator-row").count() == 4

    def test_a_click_on_the_map_decodes_that_place(self, page):
        seen = [shown(page, "decoded")]
        for right, down in ((0.3, 0.3), (0.7, 0.6)):
            changes(page, "decoded", partial(click, page, right, down))
            seen.append(shown(page, "decoded"))
        assert all(len(one) == 1 and one[0].startswith("data:image/png;base64,") for one in seen)
        assert page.get_by_text("a place on the map", exact=True).is_visible()
        changes(page, "decoded", lambda: click(page, 0.3, 0.3))
        assert shown(page, "decoded") == seen[1]  # the same place, the same picture

    def test_a_drag_decodes_while_it_lasts(self, page):
        page.mouse.move(*place(page, 0.2, 0.2))
        page.mouse.down()
        for right in (0.4, 0.6, 0.8):
            changes(page, "decoded", partial(page.mouse.move, *place(page, right, 0.5), steps=5))
        page.mouse.up()

    def test_a_slider_moves_along_its_axis(self, page):
        row, k = another(page)
        row.click()
        page.wait_for_selector(f"text=the mean of component {k}")
        mean = shown(page, "decoded")
        handle = page.locator(".axis0 .noUi-handle")
        changes(page, "decoded", lambda: handle.press("ArrowRight"))
        changes(page, "decoded", lambda: handle.press("ArrowLeft"))
        assert shown(page, "decoded") == mean

    def test_a_row_of_the_table_shows_its_component(self, page):
        for _ in range(2):
            row, k = another(page)
            changes(page, "samples", row.click)
            page.wait_for_selector(f"h2:has-text('Component {k}')")
            assert chosen(row)
            assert len(shown(page, "near")) > 3
        row.click()  # a second time: it stays chosen
        page.wait_for_timeout(300)
        until(page, lambda: chosen(row), bool)

    def test_an_observation_has_a_posterior_a_reconstruction_and_log_px(self, page, ex):
        field = page.locator(".number input")
        bars = page.locator(".posterior svg")
        seen = []
        for i in (3, 4, 5):
            field.fill(str(i))
            changes(page, "observation", partial(field.press, "Enter"))
            said = page.wait_for_selector(".evidence b").inner_text()
            seen.append(
                (*shown(page, "observation"), *shown(page, "reconstruction"), said, bars.inner_html())
            )
            own = ex.observation(i, particles=scene.PARTICLES)
            assert said == scene.number(own.log_px)
        for one, other in pairwise(seen):
            assert all(a != b for a, b in zip(one, other, strict=True))
        assert re.search(r"−\d+\.\d\d ± \d+\.\d\d nats", page.locator(".evidence").inner_text())

    def test_a_dot_chooses_its_observation(self, page, ex):
        field = page.locator(".number input")
        stage = scene.Scene(ex, "")
        low, high = stage.window
        box = page.locator(".bk-Canvas, canvas").first.bounding_box()
        size = np.array([box["width"], box["height"]])
        scale = max((high - low) / size)
        apart = np.linalg.norm(stage.points[:, None] - stage.points, axis=-1) + 1e9 * np.eye(COUNT)
        inside = (np.abs(stage.points - (low + high) / 2) < 0.4 * scale * size).all(1)
        i = int(np.argmax(np.where(inside, apart.min(1), 0)))  # the dot with the most room around it
        right, up = 0.5 + (stage.points[i] - (low + high) / 2) / scale / size
        changes(page, "observation", lambda: click(page, right, 1 - up))
        assert field.input_value() == str(i)

    def test_the_most_doubtful_and_the_farthest(self, page, ex):
        field = page.locator(".number input")
        for name, found in (("Most doubtful", ex.doubtful(2)), ("Farthest", ex.far(2))):
            for i in found:
                changes(page, "observation", page.get_by_role("button", name=name).click)
                assert field.input_value() == str(i)

    def test_the_wheel_zooms_and_a_double_click_shows_the_whole(self, page):
        _, there = changes(page, "decoded", lambda: click(page, 0.3, 0.7))
        page.mouse.move(*place(page, 0.5, 0.5))
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(300)
        changes(page, "decoded", lambda: click(page, 0.3, 0.7))  # is another place now
        page.mouse.dblclick(*place(page, 0.6, 0.6))
        page.wait_for_timeout(300)
        changes(page, "decoded", lambda: click(page, 0.3, 0.7))
        assert shown(page, "decoded") == there

    def test_data_are_coloured_by_label(self, page):
        canvas = page.locator(".bk-Canvas, canvas").first
        before = canvas.screenshot()
        page.get_by_role("button", name="label").click()
        until(page, canvas.screenshot, lambda after: after != before)

    def test_two_tabs_do_not_move_each_other(self, page, served, browser):
        mine = shown(page, "decoded")
        other = browser.new_page()
        other.goto(served)
        other.wait_for_selector("img.decoded")
        changes(other, "decoded", another(other)[0].click)
        assert shown(page, "decoded") == mine
        other.close()


# -------------------------------------------------------------------- pictures


@pytest.mark.parametrize("shape", [(1, 6, 9), (3, 9, 6), (2,), (5,), (100,), (1,), (4, 3)])
def test_every_kind_of_data_has_pictures(shape):
    x = np.random.default_rng(0).normal(size=(7, *shape))
    drawn = pictures.pictures_of(x)
    sources = [drawn.source(one) for one in x]
    assert len(set(sources)) == 7
    assert all(re.match(r"data:image/(png;base64|svg\+xml),[^\"]+$", source) for source in sources)
    assert len(drawn.sources(x)) == (1 if drawn.together else 7)
    width, height = drawn.size(100)
    assert max(width, height) == 100
    if len(shape) == 3 and shape[0] in (1, 3):
        assert width * shape[1] == pytest.approx(height * shape[2], rel=0.02)
    drawn.source(np.full(shape, np.nan))  # a missing entry is no error


def test_images_come_back_as_they_were():
    import base64
    import io

    from PIL import Image

    x = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 8)) / 255
    source = pictures.pictures_of(x).source(x[1])
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
    assert np.array_equal(back.transpose(2, 0, 1), (255 * x[1]).round())


def test_colours_of_certain_data_are_those_of_their_components():
    colours = of_classes(30)
    assert len(set(colours)) == 30
    assert mixed(colours, np.eye(30)) == colours


def test_bars_are_as_high_as_their_probabilities():
    share = np.array([0.25, 0.75, 0.0])
    drawn = observation_views.bars(share, np.zeros(3), of_classes(3))
    heights = np.array([float(h) for h in re.findall(r'<rect[^>]* height="([\d.]+)"', drawn)])
    np.testing.assert_allclose(heights / heights.sum(), share, atol=0.01)
    many = np.full(300, 1 / 300)
    assert observation_views.bars(many, many, of_classes(300)).count("<rect") == observation_views.SHOWN


def test_sliders_move_by_standard_deviations(ex):
    stage = scene.Scene(ex, "")
    for k in range(4):
        axes = stage.axes(k)
        np.testing.assert_allclose(axes.T @ axes, ex.components.covariance[k], atol=1e-10)
