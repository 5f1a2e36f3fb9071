"""The app in a real browser, and its server without one.

Everything is asked of the page itself: what it loads and from where, and whether its pictures change when
somebody clicks, drags, slides, and chooses. One small run of digits, one server and one browser serve most
of them.
"""

import asyncio
import contextlib
import gc
import http.client
import io
import json
import operator
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import pyrovae as pv
from pyrovae import app
from pyrovae.app import observation_views, pictures, scene
from pyrovae.app.colours import mixed, of_classes, of_labels
from pyrovae.app.component_views import ComponentCard, ComponentsCard
from pyrovae.app.guard import _quiet, drop_closed, guard
from pyrovae.app.latent_map import MapCard
from pyrovae.app.point_card import NeighbourCard, PathCard, PointCard
from pyrovae.app.rows.latest import Latest
from pyrovae.app.sliders_card import SlidersCard
from pyrovae.cli import main
from pyrovae.cli.commands.explore import _code
from pyrovae.errors import InputError
from pyrovae.threads import alone
from tests.support import PROJECT
from tests.support.browser import CHROMIUM, needs_browser, needs_panel, until

pytestmark = pytest.mark.xdist_group("app")  # one server and one browser
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
def test_a_phone_lays_the_page_out_as_wide_as_its_screen(served):
    """Without these words it is 980 pixels wide there, and shrunk."""
    with urllib.request.urlopen(served) as answer:
        head = answer.read().decode().partition("</head>")[0]
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in head


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


@needs_panel
def test_one_ctrl_c_ends_it_while_threads_compute(ex, monkeypatch):
    """Also if the system hands the signal to another thread; none is left to compute when Python ends."""
    latest, begun, ended = Latest(None, None, None), threading.Event(), []

    def work():
        begun.set()
        try:
            for _ in range(10**6):
                torch.ones(9).sum()
        finally:
            ended.append(True)

    def press():
        assert begun.wait(60)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    def bare(scene, title, port):
        from bokeh.server.server import Server

        server = Server({}, port=port)
        latest.ask(work, None)
        server.io_loop.add_callback(threading.Thread(target=press).start)
        return server

    monkeypatch.setattr("pyrovae.app.server._server", bare)
    with pytest.raises(KeyboardInterrupt):
        app.serve(ex, show=False)
    assert ended == [True]
    assert not latest.thread.is_alive()


@needs_panel
def test_one_ctrl_c_ends_it_while_the_page_waits_for_a_thread(ex, monkeypatch):
    latest, begun, whole = Latest(None, None, None), threading.Event(), []

    def work():
        with alone:
            begun.set()
            for _ in range(10**6):
                torch.ones(9).sum()
            whole.append(True)

    def bare(scene, title, port):
        from bokeh.server.server import Server

        server = Server({}, port=port)
        latest.ask(work, None)
        server.io_loop.add_callback(decode)
        return server

    def decode():
        assert begun.wait(60)
        press = partial(signal.pthread_kill, threading.get_ident(), signal.SIGINT)
        threading.Timer(0.1, press).start()
        with alone:
            pass

    monkeypatch.setattr("pyrovae.app.server._server", bare)
    with pytest.raises(KeyboardInterrupt):
        app.serve(ex, show=False)
    assert whole == []
    assert not latest.thread.is_alive()


@needs_panel
def test_ctrl_c_in_a_destructor_ends_it_quietly(ex, monkeypatch):
    """Python prints an exception there and drops it; the loop runs destructors all the time."""
    lost = []

    class Pressed:
        def __del__(self):
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    def bare(scene, title, port):
        from bokeh.server.server import Server

        server = Server({}, port=port)
        server.io_loop.add_callback(Pressed)
        return server

    monkeypatch.setattr("pyrovae.app.server._server", bare)
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    with pytest.raises(KeyboardInterrupt):
        app.serve(ex, show=False)
    assert lost == []


@needs_panel
def test_an_answer_to_a_closed_tab_is_dropped():
    """Panel and Bokeh write to a tab while it closes; that raised, or was logged with a traceback."""
    from bokeh.server.views.ws import WSHandler
    from tornado.iostream import StreamClosedError
    from tornado.locks import Lock
    from tornado.websocket import WebSocketClosedError, WebSocketHandler

    async def late():
        raise WebSocketClosedError

    def closed(message, binary=False):
        if message == "late":
            return asyncio.ensure_future(late())
        raise StreamClosedError

    class Handler(WSHandler):
        def get_websocket_protocol(self):
            return SimpleNamespace(write_message=closed, is_closing=lambda: False)

    async def write():
        quiet = _quiet(Handler)
        handler = object.__new__(quiet)
        handler.write_lock = Lock()
        handler.ws_connection = handler.get_websocket_protocol()
        for message in ("now", "late"):
            await WebSocketHandler.write_message(handler, message)
        handler.ws_connection = None
        await handler.write_message("later")

    asyncio.run(write())


@needs_panel
def test_a_task_that_answers_a_closed_tab_says_nothing(caplog):
    """Panel writes a message in parts; the tab may close between them, and nobody awaits the task."""
    from tornado.websocket import WebSocketClosedError

    async def fails(error):
        raise error

    async def all_fail():
        asyncio.get_running_loop().set_exception_handler(drop_closed)
        for error in (WebSocketClosedError(), ValueError("of another kind")):
            task = asyncio.ensure_future(fails(error))
            await asyncio.wait([task])
            del task
            gc.collect()

    asyncio.run(all_fail())
    (said,) = caplog.records
    assert "of another kind" in str(said.exc_info[1])


def test_without_the_extra_it_says_what_to_install(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "panel", None)  # an import of it fails as when it is not installed
    assert main(["explore", str(run)]) == 2
    assert capsys.readouterr() == (
        "",
        "pyrovae: the app needs the extra `app`: pip install 'pyrovae[app]'\n",
    )


# -------------------------------------------------------------------- the page


@pytest.fixture
def page_of():
    """The page of one tab, without a browser; at the end its threads are done."""
    from pyrovae.app.page import Page

    pages = []

    def opened(ex, **options):
        pages.append(Page(scene.Scene(ex, "", **options)))
        return pages[-1]

    yield opened
    for page in pages:
        for card in (*page.session.retired, *(frame.card for frame in page.session.frames)):
            latest = getattr(getattr(card, "part", card), "latest", None)
            if hasattr(latest, "wait"):
                latest.wait()


quiet = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::PendingDeprecationWarning"
)  # of panel


@needs_panel
@quiet
def test_a_move_that_was_not_answered_yet_does_not_undo_a_later_choice(ex, page_of):
    """The answer to a drag waits for 12 ms; who chooses a component meanwhile must get it."""
    page = page_of(ex)
    mapped, sliders, point = (page.card(kind) for kind in (MapCard, SlidersCard, PointCard))
    for move, answer in (
        (lambda: mapped._drag(SimpleNamespace(x=0.5, y=0.5)), mapped._follow),
        (lambda: sliders._slid(0, SimpleNamespace(new=1.0)), sliders._follow),
    ):
        move()
        page.session.choose_component(2)
        answer()
        assert "the mean of component 2" in point.view.object
        move()
        answer()
        assert "the mean of component 2" not in point.view.object


@needs_panel
@quiet
def test_copied_code_gives_what_the_cards_show(run, ex, page_of):
    """Also after an edit, with the components as they are then."""
    lines = tuple(_code(str(run), {"split": "test", "rows": COUNT, "seed": 0}, None, None))
    page = page_of(ex, run=str(run), preamble=lines)
    page.card(MapCard).go_to(np.array([0.3, -0.2]))
    page.card(PathCard).put(0)
    page.card(MapCard).go_to(np.array([-0.5, 0.4]))
    page.card(PathCard).put(1)
    for edited in (False, True):
        if edited:
            page.session.choose_component(1)
            page.card(ComponentsCard).edit("merge", 3)
            page.card(MapCard).go_to(np.array([0.1, 0.1]))
        point, sliders, near, mapped = (
            page.card(kind) for kind in (PointCard, SlidersCard, NeighbourCard, MapCard)
        )
        got = ran(point.code())
        np.testing.assert_allclose(got["x"], point.x, atol=1e-6)
        assert got["log_pz"] == pytest.approx(point.log_pz())
        np.testing.assert_allclose(
            ran(sliders.code())["x"], page.session.decode(sliders.traversals()), atol=1e-6
        )
        got = ran(near.code())
        for found, name in zip(near._found(), ("of_row", "of_point"), strict=True):
            assert got[name].tolist() == found.tolist()
        got = ran(mapped.code())
        np.testing.assert_allclose(got["points"], mapped.points)
        np.testing.assert_allclose(got["z"], mapped.plane.to_latent(mapped.plane.to_plane(page.session.z)))
        got = ran(page.card(ComponentCard).code())
        np.testing.assert_allclose(got["samples"], page.card(ComponentCard)._sampled(), atol=1e-6)
        assert str(ran(page.card(ComponentsCard).code())["ex"].components) == str(page.session.ex.components)
        if not edited:
            walk = ran(page.card(PathCard).code())["walk"]
            np.testing.assert_allclose(walk.z, page.card(PathCard).walks["density"].z)


def ran(code):
    """The variables after a piece of Python."""
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(code, names)
    return names


@needs_panel
@quiet
def test_an_edit_is_undone_exactly_and_a_refused_one_is_a_sentence(ex, page_of):
    page = page_of(ex)
    before = whole(page)
    page.session.choose_component(0)
    page.card(ComponentsCard).edit("merge", 2)
    assert len(page.session.ex.components) == 3
    assert "per row" in page.session.notice
    assert len(page.session.vae.prior.mixture().component_distribution.mean) == 3
    np.testing.assert_allclose(page.card(MapCard).points, ex.map.to_plane(ex.z))  # no dot moves
    page.session.undo()
    page.session.choose_component(page.session.scene.largest)
    assert whole(page) == before
    assert page.session.ex is ex
    cards = page.card(ComponentsCard)
    page.session.guarded(partial(cards.edit, "merge", page.session.component), cards)
    frame = next(frame for frame in page.session.frames if frame.card is cards)
    assert re.fullmatch("component . cannot be merged with itself: name another one", frame.message.object)
    assert len(page.session.ex.components) == 4


@needs_panel
@quiet
def test_undo_returns_to_the_component_of_before(ex, page_of):
    page = page_of(ex)
    page.session.choose_component(3)
    page.card(ComponentsCard).edit("merge", 1)
    assert page.session.component == 1
    page.session.choose_component(0)
    page.session.undo()
    assert page.session.component == 3
    assert page.card(ComponentsCard).table.selection == [3]
    np.testing.assert_array_equal(page.session.z, ex.components.mean[3])
    assert "Component 3" in page.card(ComponentCard).gallery.view.html


@needs_panel
@quiet
def test_a_slider_moves_the_latent_that_it_names_and_no_other(page_of):
    """Also where only the latents of largest spread have a slider."""
    small = {"encoder": pv.networks.MLP(4), "decoder": pv.networks.MLP(4)}
    vae = pv.VAE((5,), 10, likelihood=pv.likelihoods.Normal(), **small, seed=0)
    ex = pv.explore(vae, torch.randn(20, 5), particles=4)
    page = page_of(ex)
    card, session, spread = page.card(SlidersCard), page.session, ex.z.std(0)
    assert [one.name for one in card.sliders] == [f"z{j}" for j in sorted(np.argsort(-spread)[:8])]
    for i, slider in enumerate(card.sliders):
        latent, before = int(slider.name[1:]), session.z
        slider.value = 1.5  # as the browser sets it
        card._follow()
        want = before.copy()
        want[latent] = ex.z[:, latent].mean() + 1.5 * spread[latent]
        np.testing.assert_allclose(session.z, want, atol=0.06 * spread[latent])  # a slider rounds
        np.testing.assert_allclose(page.card(PointCard).x, ex.decode(session.z))
        moved = card.traversals()[i]
        assert len(np.unique(moved[:, latent])) == 7
        np.testing.assert_array_equal(np.delete(moved, latent, 1), np.delete([session.z] * 7, latent, 1))


def whole(page):
    """The table, the pictures and log p(x)."""
    table = page.card(ComponentsCard).table.value
    return table.to_csv(), page.card(ComponentCard).gallery.view.html, page.session.ex.log_px.tolist()


@needs_panel
@quiet
@pytest.mark.parametrize("kind", ["one-hot", "sphere"])
def test_where_there_are_no_directions_a_click_takes_the_nearest_row(kind, page_of):
    likelihood, small = (
        pv.likelihoods.Normal(),
        {"encoder": pv.networks.MLP(4), "decoder": pv.networks.MLP(4)},
    )
    parts = {
        "one-hot": {"prior": pv.priors.Categorical(3), "guide": pv.guides.Categorical(3)},
        "sphere": {"prior": pv.priors.HypersphericalUniform(), "guide": pv.guides.ProjectedNormal()},
    }[kind]
    vae = pv.VAE((5,), 3, likelihood=likelihood, **small, **parts, seed=0)
    page = page_of(pv.explore(vae, torch.randn(20, 5), particles=4))
    mapped, session = page.card(MapCard), page.session
    mapped.go_to(mapped.points[7] + 1e-9)
    i = session.chosen.index
    assert np.allclose(mapped.points[i], mapped.points[7])
    assert np.array_equal(session.z, session.ex.points[i])
    assert bool(vae.encode(torch.zeros(1, 5)).support.check(torch.as_tensor(session.z)).all())
    assert "not real vectors" in page.card(SlidersCard).view.object
    assert "not real vectors" in page.card(PathCard).note.object
    assert [frame.message.object for frame in session.frames if frame.message.visible] == []


@needs_panel
@quiet
def test_the_context_of_the_chosen_row_is_decoded(page_of):
    small = {
        "encoder": pv.networks.MLP(4),
        "decoder": pv.networks.MLP(4),
        "likelihood": pv.likelihoods.Normal(),
    }
    vae = pv.VAE((5,), 3, prior=pv.priors.Conditional(), context_shape=(2,), **small, seed=0)
    context = torch.eye(2)[torch.arange(20) % 2]
    ex = pv.explore(vae, pv.Rows(torch.randn(20, 5), context), particles=4)
    page = page_of(ex)
    point = page.card(PointCard)
    first, z = point.x, page.session.z
    page.session.choose_row(1)
    assert np.array_equal(page.session.z, z)
    assert not np.allclose(point.x, first)
    np.testing.assert_allclose(point.x, ex.decode(z, row=1))
    assert point.log_pz() == pytest.approx(float(ex.log_pz(z[None], row=1)[0]))
    page.session.choose_rows(ex.rows[:1], "uploaded")
    np.testing.assert_allclose(point.x, first)
    assert set(page.session.scene.colourings) == {"context"}


@needs_panel
@quiet
@pytest.mark.parametrize("kind", ["context", "classes"])
def test_copied_code_of_a_path_gives_the_steps_that_are_shown(kind, page_of):
    """Also if a row of another context, or another class, was chosen since."""
    parts = {
        "context": {"context_shape": (2,)},
        "classes": {"prior": pv.priors.Classes(3), "guide": pv.guides.Classes(3)},
    }[kind]
    small = {"encoder": pv.networks.MLP(4), "decoder": pv.networks.MLP(4)}
    vae = pv.VAE((5,), 2, likelihood=pv.likelihoods.Normal(), **small, **parts, seed=0)
    data = pv.Rows(torch.randn(20, 5), torch.eye(2)[torch.arange(20) % 2] if kind == "context" else None)
    page = page_of(pv.explore(vae, data, particles=4), preamble=("import numpy as np",))
    card = page.card(PathCard)
    for i, place in enumerate(([0.0, 0.0], [1.0, 1.0])):
        page.card(MapCard).go_to(np.array(place))
        card.put(i)
    page.session.choose_row(1)
    if kind == "classes":
        page.session.choose_component((page.session.component + 1) % 3)
    names = {"ex": page.session.ex}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(card.code(), names)
    assert list(card.walks) == ["straight"]
    np.testing.assert_allclose(names["walk"].x, card.walks["straight"].x)


@needs_panel
@quiet
def test_copied_code_of_the_nearest_rows_runs_with_one_row(page_of):
    small = {"encoder": pv.networks.MLP(4), "decoder": pv.networks.MLP(4)}
    vae = pv.VAE((5,), 2, likelihood=pv.likelihoods.Normal(), **small, seed=0)
    page = page_of(pv.explore(vae, torch.zeros(1, 5), particles=4), preamble=("import numpy as np",))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(page.card(NeighbourCard).code(), {"ex": page.session.ex})
    assert said.getvalue() == "[0]\n"


@needs_panel
@quiet
def test_a_picture_that_there_is_not_is_a_sentence(ex, page_of):
    page = page_of(ex)
    frame = next(frame for frame in page.session.frames if isinstance(frame.card, PathCard))
    frame.saving._clicks += 1
    assert frame.message.object == "no path is shown: choose its two ends first"
    assert frame.saving.data is None


@needs_panel
@quiet
def test_no_word_of_the_data_or_of_an_upload_is_html(ex, page_of):
    page, said = page_of(ex), "<img src=x onerror=alert(1)>.pdf is not a file of this model's data"
    frame = page.session.frames[0]
    frame.say(said)
    assert "<img" not in frame.message.object
    assert "&lt;img" in frame.message.object
    legend = page.session.scene._by_value([0, 1], ["<img src=x>", "b"])[1]
    assert "&lt;img" in legend
    assert "<img" not in legend


def test_a_context_is_named_in_the_words_and_units_of_its_column():
    """The data may also have classes, whose names are not those of the context."""
    rng = np.random.default_rng(0)
    frame = {
        "size": rng.normal(size=60),
        "sex": ["male", "female"] * 30,
        "age": rng.integers(20, 80, 60),
        "kind": ["cat", "cow", "dog"] * 20,
    }
    for context, said in (("sex", "female.*male"), ("age", r"^[23]\d\b.* [67]\d[.\d]*$")):
        data = pv.datasets.load(pd.DataFrame(frame), labels="kind", context=context)
        small = {"encoder": pv.networks.MLP(4), "decoder": pv.networks.MLP(4)}
        vae = pv.VAE.suited(data, latent_dim=2, **small)
        vae.schema = data.schema  # as after a fit
        legend = scene.Scene(pv.explore(vae, data, particles=4), "").colourings["context"][1]
        assert re.search(said, legend), legend
        assert not re.search("cat|cow|dog", legend)


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


def is_inside(page, width):
    """Whether nothing is wider than the screen, and every card is on it."""
    page.set_viewport_size({"width": width, "height": 844})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.locator(".card").evaluate_all("all => all.map(one => one.getBoundingClientRect().toJSON())")
    assert len(boxes) > 5
    columns = len({round(box["left"]) for box in boxes})
    assert columns == (1 if width < 900 else 2 if width < 1500 else 3)
    return all(box["left"] >= 0 and box["right"] <= width and box["height"] > 60 for box in boxes)


def place(page, right, down):
    """A place on the map, in shares of its width and height."""
    canvas = page.locator(".bk-Canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    return box["x"] + right * box["width"], box["y"] + down * box["height"]


@needs_browser
@pytest.mark.slow
class TestPage:
    def test_it_opens_whole(self, page):
        assert page.title() == "digits · PyroVAE"
        assert is_inside(page, 1280)
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
        until(page, lambda: handle.get_attribute("aria-valuenow"), lambda at: float(at) == 0.0)
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
            own = ex.observation(i, particles=scene.PARTICLES)
            said = page.locator(".evidence b").first
            until(page, said.inner_text, partial(operator.eq, scene.number(own.log_px)))
            seen.append(
                (*shown(page, "observation"), *shown(page, "reconstruction"), own.log_px, bars.inner_html())
            )
        for one, other in pairwise(seen):
            assert all(a != b for a, b in zip(one, other, strict=True))
        assert re.search(r"−\d+\.\d\d ± \d+\.\d\d nats", page.locator(".evidence").inner_text())

    def test_a_dot_chooses_its_observation(self, page, ex):
        field = page.locator(".number input")
        stage = scene.Scene(ex, "")
        low, high = stage.window("map")
        points = stage.dots("map")
        box = page.locator(".bk-Canvas, canvas").first.bounding_box()
        size = np.array([box["width"], box["height"]])
        scale = max((high - low) / size)
        apart = np.linalg.norm(points[:, None] - points, axis=-1) + 1e9 * np.eye(COUNT)
        inside = (np.abs(points - (low + high) / 2) < 0.4 * scale * size).all(1)
        i = int(np.argmax(np.where(inside, apart.min(1), 0)))  # the dot with the most room around it
        right, up = 0.5 + (points[i] - (low + high) / 2) / scale / size
        changes(page, "observation", lambda: click(page, right, 1 - up))
        until(page, field.input_value, partial(operator.eq, str(i)))

    def test_the_most_doubtful_and_the_farthest(self, page, ex):
        field = page.locator(".number input")
        for name, found in (("Most doubtful", ex.doubtful(2)), ("Farthest", ex.far(2))):
            for i in found:
                changes(page, "observation", page.get_by_role("button", name=name).click)
                until(page, field.input_value, partial(operator.eq, str(i)))

    def test_the_wheel_scrolls_and_with_ctrl_it_zooms_until_a_double_click(self, page):
        _, there = changes(page, "decoded", lambda: click(page, 0.3, 0.7))
        page.mouse.move(*place(page, 0.5, 0.5))
        start = page.evaluate("scrollY")
        page.mouse.wheel(0, 200)
        until(page, lambda: page.evaluate("scrollY"), lambda down: down == start + 200)
        page.evaluate("scrollTo(0, 0)")
        page.mouse.move(*place(page, 0.5, 0.5))
        page.keyboard.down("Control")
        page.mouse.wheel(0, -300)
        page.keyboard.up("Control")
        page.wait_for_timeout(300)
        changes(page, "decoded", lambda: click(page, 0.3, 0.7))  # is another place now
        page.mouse.dblclick(*place(page, 0.6, 0.6))
        page.wait_for_timeout(300)
        changes(page, "decoded", lambda: click(page, 0.3, 0.7))
        assert shown(page, "decoded") == there

    def test_data_are_coloured_by_label(self, page):
        canvas = page.locator(".bk-Canvas, canvas").first
        before = canvas.screenshot()
        page.locator(".colour select").select_option("label")
        until(page, canvas.screenshot, lambda after: after != before)

    def test_a_merge_is_undone(self, page):
        def seen():
            return page.locator(".tabulator-row").all_inner_texts(), shown(page, "component")

        page.locator(".tabulator-row").first.click()
        page.wait_for_selector("h2:has-text('Component 0')")
        before = seen()
        assert page.locator(".undo button").is_disabled()
        page.locator(".merge button").click()
        until(page, lambda: page.locator(".tabulator-row").count(), lambda count: count == 3)
        page.get_by_text("Components 0 and").wait_for()
        page.get_by_text("nats per row").wait_for()
        page.locator(".undo button").click()
        until(page, seen, lambda after: after == before)

    @pytest.mark.parametrize("width", [390, 1280, 1920])
    def test_every_card_is_on_the_screen(self, page, width):
        assert is_inside(page, width)
        page.set_viewport_size({"width": 1280, "height": 800})

    def test_two_tabs_do_not_move_each_other(self, page, served, browser):
        mine = shown(page, "decoded")
        other = browser.new_page()
        other.goto(served)
        other.wait_for_selector("img.decoded")
        changes(other, "decoded", another(other)[0].click)
        assert shown(page, "decoded") == mine
        other.close()


@pytest.fixture(scope="module")
def others():
    """The addresses of two VAEs without components, by the kind of their data."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.app_pages"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=PROJECT)
    ports = process.stdout.readline().split()
    yield dict(zip(("images", "table"), (f"http://127.0.0.1:{port}/" for port in ports), strict=True))
    process.kill()
    process.communicate()


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "table"])
def test_a_vae_without_components_has_a_page(others, browser, kind):
    page, complaints = browser.new_page(viewport={"width": 1280, "height": 800}), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(others[kind])
    page.wait_for_selector(".evidence b")
    for width in (390, 1920, 1280):
        assert is_inside(page, width)
    decoded = page.locator(".decoded")
    handle = page.locator(".axis0 .noUi-handle")
    before = decoded.evaluate("one => one.outerHTML")
    handle.press("ArrowRight")
    until(page, lambda: decoded.evaluate("one => one.outerHTML"), lambda after: after != before)
    handle.press("ArrowLeft")
    until(page, lambda: decoded.evaluate("one => one.outerHTML"), lambda after: after == before)
    page.locator(".endA button").click()
    page.get_by_text("A is moved along").wait_for()
    click(page, 0.6, 0.6)
    page.get_by_text("a place on the map").wait_for()
    page.locator(".endB button").click()
    until(page, lambda: page.locator(".walks button").count(), lambda steps: steps == 9)
    page.locator(".neighbours button").nth(3).click()
    until(page, lambda: page.locator(".number input").input_value(), lambda row: row != "0")
    assert complaints == []
    page.close()


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


def test_components_and_labels_have_different_colours():
    for count in (3, 10, 30):
        assert not set(of_classes(count)) & set(of_labels(count))
        assert len(set(of_labels(count))) == count


def test_sliders_move_by_standard_deviations(ex):
    for k in range(4):
        along = ex.axes(k)
        axes = along.unit * along.sd[:, None]
        np.testing.assert_allclose(axes.T @ axes, ex.components.covariance[k], atol=1e-10)
        np.testing.assert_allclose(along.place(ex.components.mean[k]), 0, atol=1e-10)
