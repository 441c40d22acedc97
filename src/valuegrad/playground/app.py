"""The playground's server.

It listens on this computer alone unless told otherwise, keeps nothing on disk, sets no cookies, and sends its pages
everything they need: no request leaves the computer.

Where to start reading: ``serve``.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from fastapi import Request
from nicegui import Client, app, ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from valuegrad.errors import PlaygroundError
from valuegrad.playground.frame import STYLE, frame
from valuegrad.playground.pages import PAGES, Page
from valuegrad.playground.state import PageState, Playground
from valuegrad.playground.theme import message_of, text

__all__ = ["free_port", "is_loopback", "serve"]

RECONNECTS_WITHIN = 5.0  # seconds; a tab that is not back by then counts as closed
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1d5fae"/>'
    '<text x="16" y="24" font-size="24" font-family="serif" text-anchor="middle" fill="#fff">∂</text></svg>'
)


def serve(
    host: str = "127.0.0.1",
    port: int = 8137,
    *,
    browser: bool = False,
    started: Callable[[str], object] | None = None,
) -> None:
    """Serve the playground until it is interrupted.

    Args:
        host: the address to listen on; only this computer's own reach a loopback address.
        port: the port to listen on; 0 for any that is free.
        browser: open the page in the browser.
        started: called with the page's address once it can be opened.

    Raises:
        PlaygroundError: the port is taken or not allowed, or the host is none of this computer's.
    """
    port = free_port(host, port)
    playground = Playground()
    for page in PAGES:
        _register(page, playground)
    ui.add_head_html(f"<style>{STYLE}</style>", shared=True)
    if is_loopback(host):
        # A page from elsewhere must not reach us under a name of its own (DNS rebinding).
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[", "::1", host])
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/"
    if started is not None:
        app.on_startup(lambda: started(address))
    app.on_shutdown(playground.close)
    ui.run(
        host=host,
        port=port,
        title="valuegrad",
        favicon=FAVICON,
        dark=None,
        language="en-US",
        show=browser,
        reload=False,
        tailwind=False,
        reconnect_timeout=RECONNECTS_WITHIN,
        show_welcome_message=False,
        uvicorn_logging_level="warning",
    )


def free_port(host: str, port: int) -> int:
    """The port, if one can listen on it; of 0 one that is free.

    Raises:
        PlaygroundError: it is taken or not allowed, or the host is none of this computer's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
            return int(trial.getsockname()[1])
    except socket.gaierror:
        raise PlaygroundError(f"host {host!r} is unknown; give an address of this computer, as in 127.0.0.1") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PlaygroundError(
                f"port {port} is in use, perhaps by another playground; give another one, or --port 0 for a free one"
            ) from None
        reason = error.strerror or error
        raise PlaygroundError(f"cannot listen on {host}, port {port}: {reason}; give another host or port") from None


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach the host.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _register(page: Page, playground: Playground) -> None:
    """Tell NiceGUI of a page."""

    def show(request: Request, client: Client) -> None:
        state = PageState(playground, client, page.path, request.query_params)
        with frame(page, state):
            try:
                page.build(state)
            except Exception as error:
                app.handle_exception(error)
                text(message_of(error), "p", "vg-status vg-bad")

    decorate: Any = ui.page(page.path, title=f"{page.title} · valuegrad")
    decorate(show)
