"""Restrict the server of the app to requests from its own pages, under its own address.

Any site that is open in a browser can send requests to 127.0.0.1. The `Origin` header reveals such
a request. If the site makes its own name resolve to 127.0.0.1, the `Host` header reveals it. The
server also sends no answer that other sites may read, and no traceback, which would show paths of
this machine.

A tab may close while an answer to it is written. That is no error, so such an answer is dropped
without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

__all__ = ["drop_closed", "guard"]


def guard(application: Any, hosts: list[str]) -> None:  # noqa: ANN401
    """Let a Bokeh application answer only under its own address, without tracebacks.

    Arguments:
        application: Tornado's application of a server.
        hosts: the names of the server, with the port.
    """
    find, origins = application.find_handler, [f"http://{host}" for host in hosts]

    def find_handler(request: Any, **options: Any) -> Any:  # noqa: ANN401
        headers = request.headers
        if headers.get("Host", "").lower() in hosts and headers.get("Origin", origins[0]).lower() in origins:
            return find(request, **options)
        from tornado.web import ErrorHandler

        return application.get_handler_delegate(request, ErrorHandler, {"status_code": 403})

    application.find_handler = find_handler
    application.settings["serve_traceback"] = False
    router = application.wildcard_router
    router.rules = [rule for rule in router.rules if not _is_for_other_sites(rule.target)]
    for rule in router.rules:
        rule.target = _quiet(rule.target)


def _is_for_other_sites(target: Any) -> bool:  # noqa: ANN401
    """Whether a handler lets other sites read its answer."""
    from bokeh.server.views.autoload_js_handler import AutoloadJsHandler

    return isinstance(target, type) and issubclass(target, AutoloadJsHandler)


def _quiet(target: Any) -> Any:  # noqa: ANN401
    """A message handler that gives no reason of a failure, and drops answers to a closed tab."""
    from bokeh.server.views.ws import WSHandler

    if not (isinstance(target, type) and issubclass(target, WSHandler)):
        return target

    class Quiet(target):
        async def send_message(self, message: Any) -> None:  # noqa: ANN401
            if message.msgtype == "ERROR":
                message.content = {"text": "the message could not be handled", "traceback": None}
            await super().send_message(message)

        async def write_message(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
            with _to_closed_tab():
                await super().write_message(*args, **options)

        def get_websocket_protocol(self) -> Any:  # noqa: ANN401
            protocol = super().get_websocket_protocol()
            if protocol is not None:  # Panel writes without the method above
                protocol.write_message = _written(protocol.write_message)
            return protocol

    return Quiet


def _written(write: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """As `write`, which writes at once and returns a future, but a closed tab is no error."""

    async def done(future: Awaitable[None] | None) -> None:
        with _to_closed_tab():
            if future is not None:
                await future

    def write_message(*args: Any, **options: Any) -> Awaitable[None]:  # noqa: ANN401
        future = None
        with _to_closed_tab():
            future = write(*args, **options)
        return asyncio.ensure_future(done(future))

    return write_message


def drop_closed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle the errors of tasks in a loop as always, but answers to a closed tab are none.

    Panel writes a message in parts, and a tab may close between them.
    """
    if not isinstance(context.get("exception"), _closed()):
        loop.default_exception_handler(context)


def _to_closed_tab() -> AbstractContextManager[None]:
    return suppress(*_closed())


def _closed() -> tuple[type[Exception], ...]:
    from tornado.iostream import StreamClosedError
    from tornado.websocket import WebSocketClosedError

    return StreamClosedError, WebSocketClosedError
