"""The server of the app: on this machine only, until Ctrl-C.

It listens on 127.0.0.1 and answers only its own pages (`guard`). A page loads nothing from other
servers.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pyrovae.app.guard import drop_closed, guard
from pyrovae.app.look import PAGE
from pyrovae.app.page import Page
from pyrovae.app.rows.latest import end
from pyrovae.app.rows.latest import stop as stop_threads
from pyrovae.app.scene import Scene
from pyrovae.checks import whole
from pyrovae.errors import InputError, visible
from pyrovae.extras import require
from pyrovae.interrupts import Presses

if TYPE_CHECKING:
    from pyrovae.exploring import Exploration

__all__ = ["HOST", "check_extra", "serve"]

HOST = "127.0.0.1"
TICK = 200  # milliseconds
# Without it, a phone lays the page out 980 pixels wide and shrinks it.
HEAD = (
    '{% block postamble %}<meta name="viewport" content="width=device-width, initial-scale=1">{% endblock %}'
)


def check_extra() -> None:
    """Check that Panel, which draws the page, is installed.

    Raises:
        InputError: if it is missing; the message names the extra to install.
    """
    require("panel", "app", "the app")


def serve(
    ex: Exploration,
    title: str = "run",
    *,
    port: int | None = None,
    show: bool = True,
    run: str = "",
    code: Sequence[str] = (),
) -> None:
    """Serve the app until the process is interrupted.

    Arguments:
        ex: the result of `pv.explore`.
        title: the name of the run, shown on top of the page.
        port: the port to listen on; a free one by default.
        show: open a browser.
        run: the run folder or model file, for the code that a card copies.
        code: lines of Python that make `vae` and `ex` again, for the same purpose.

    Raises:
        InputError: when Panel is missing, or the port is taken.
        KeyboardInterrupt: after Ctrl-C, when everything is closed.
    """
    check_extra()
    port = _free(port)
    server = _server(Scene(ex, title, run, tuple(code)), title, port)
    address = f"http://{HOST}:{port}/"
    print(f"exploring {visible(title)} at {address} (Ctrl-C stops it)", flush=True)
    if show:
        server.io_loop.add_callback(_open, address)
    with _interrupts(server.io_loop) as stopped:
        try:
            server.io_loop.start()
        finally:
            server.stop()
            end()
    if stopped:
        raise KeyboardInterrupt


@contextmanager
def _interrupts(loop: Any) -> Iterator[list[int]]:  # noqa: ANN401
    """Turn Ctrl-C into a request to stop the loop; yields the list of the requests.

    Python would drop an exception in a destructor. Threads end at once. What the loop computes
    is finished first; a second Ctrl-C interrupts it.
    """
    before, presses, stopped = signal.getsignal(signal.SIGINT), Presses(), list[int]()
    handler = before if callable(before) else signal.default_int_handler

    def stop(number: int, frame: Any) -> None:  # noqa: ANN401
        if not presses.is_new():
            return
        stopped.append(number)
        if len(stopped) > 1:
            handler(number, frame)
        stop_threads()  # for the page may wait for them
        loop.asyncio_loop.call_soon_threadsafe(loop.stop)

    signal.signal(signal.SIGINT, stop)  # Panel's own handler ends without a message
    ticks = _ticks()
    ticks.start()
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
        ticks.stop()


def _ticks() -> Any:  # noqa: ANN401
    """Ticks at which Python looks for a signal.

    A signal that the system hands to another thread does not wake a loop that waits.
    """
    from tornado.ioloop import PeriodicCallback

    return PeriodicCallback(lambda: None, TICK)


def _server(scene: Scene, title: str, port: int) -> Any:  # noqa: ANN401
    import panel as pn

    pn.extension("tabulator")
    pn.config.global_css = [PAGE]
    origins = [f"{HOST}:{port}", f"localhost:{port}"]
    server = pn.io.server.get_server(
        lambda: _opened(scene),
        port=port,
        address=HOST,
        websocket_origin=origins,
        title=f"{title} · PyroVAE",
        warm=True,  # the first page is imported and compiled before it is requested
    )
    guard(server._tornado, origins)
    server.io_loop.asyncio_loop.set_exception_handler(drop_closed)  # type: ignore[attr-defined]
    server.start()
    return server


def _opened(scene: Scene) -> Any:  # noqa: ANN401
    """The page of a new tab."""
    page = Page(scene)
    page.session.document.template = HEAD  # type: ignore[assignment]  # the setter makes a template of it
    return page.view()


def _free(port: int | None) -> int:
    """Return the port, or a free one for None."""
    port = 0 if port is None else whole("port", port, 1, 65535)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(
                f"port {port} cannot be used ({error.strerror}): name another, or leave --port out"
            ) from None
        return int(probe.getsockname()[1])


def _open(address: str) -> None:
    import webbrowser

    webbrowser.open(address)
