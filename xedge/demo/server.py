"""The server of a demo's page: only who has the token of its address is answered.

A page of somebody else in the same browser cannot read it: it does not know the token, and a name of its own that it
makes point here (DNS rebinding) is refused by the ``Host`` header.
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

from xedge.codec import to_json
from xedge.demo.page import page, policy
from xedge.demo.show import Show
from xedge.errors import ResourceError, UsageError, parameter

log = logging.getLogger(__name__)
DEFAULT_PORT = 8765
# Between two states that a page is sent, in seconds: a browser shows no more, and pictures take the board's time.
PAUSE_S = 0.1
# After so many seconds without news, a page is sent a sign of life, which also finds out that it was closed.
ALIVE_S = 10.0
# A connection on which nothing comes for so many seconds is closed.
IDLE_S = 60
LONGEST_ACTION = 20


class Server(ThreadingHTTPServer):
    """A server for one show.

    Args:
        host: The name or address to listen on.
        port: The port; 0 takes a free one.
        show: What is shown.
        title: What the page is about, in words.
        facts: What the page says about the bundles and the machine, as JSON.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, show: Show, title: str, facts: dict[str, Any]) -> None:
        self.show, self.title, self.facts = show, title, facts
        self.token = secrets.token_urlsafe(24)
        self.closing = threading.Event()
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.address_family = family
        super().__init__((str(address[0]), port), Handler)
        self.local = ip_address(str(self.server_address[0])).is_loopback

    def server_bind(self) -> None:
        """Bind without asking for the machine's name, which can take seconds without a network."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection, such as a browser that left."""
        del request
        log.debug("%s", client_address, exc_info=True)

    def url(self, host: str) -> str:
        """Return the address of the page.

        Args:
            host: The name or address by which the machine is reached.
        """
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/?token={self.token}"

    @property
    def urls(self) -> list[str]:
        """The addresses of the page: of all addresses that are listened on, the one in the network, and loopback."""
        bound = str(self.server_address[0])
        if not ip_address(bound).is_unspecified:
            return [self.url(bound)]
        loopback = "127.0.0.1" if self.address_family == socket.AF_INET else "::1"
        outside = _outside(self.address_family)
        return [self.url(host) for host in (outside, loopback) if host is not None]

    def is_own(self, host: str | None) -> bool:
        """Whether a ``Host`` header names this machine: an address, or a name that nobody else can give it.

        Args:
            host: The header; None if there is none.
        """
        try:
            name = urlsplit(f"//{host or ''}").hostname or ""
        except ValueError:
            return False
        own = {"localhost"}
        if not self.local:
            own |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
        try:
            address = ip_address(name)
        except ValueError:
            return name in own
        return address.is_loopback or not self.local


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: Server
    server_version, sys_version = "xedge", ""
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S

    def do_GET(self) -> None:
        """Answer the page, or the states as they come."""
        path = self._admitted()
        if path == "/":
            nonce = secrets.token_urlsafe(16)
            text = page(self.server.title, self.server.facts, nonce)
            self._answer(HTTPStatus.OK, text, "text/html", policy(nonce))
        elif path == "/events":
            self._events()
        elif path is not None:
            self._answer(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        """Do what the body asks for: pause, resume, next or previous."""
        path = self._admitted()
        if path is None:
            return
        if path != "/control":
            self._answer(HTTPStatus.NOT_FOUND, "no such page")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LONGEST_ACTION:
            self._answer(HTTPStatus.BAD_REQUEST, "the body is the name of an action")
            return
        try:
            self.server.show.control(self.rfile.read(int(length)).decode(errors="replace"))
        except ValueError as error:
            self._answer(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self._answer(HTTPStatus.OK, "done")

    def _admitted(self) -> str | None:
        """Return the path that is asked for; whoever must not ask is refused, and None returned."""
        asked = urlsplit(self.path)
        token = parse_qs(asked.query).get("token", [""])[0]
        if not self.server.is_own(self.headers.get("Host")):
            self._answer(
                HTTPStatus.FORBIDDEN, "this name is not one of this machine's; use the address that was printed"
            )
        elif not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._answer(HTTPStatus.FORBIDDEN, "the token is missing or wrong; use the whole address that was printed")
        else:
            return asked.path
        return None

    def _events(self) -> None:
        """Send each state that is new, in the form of server-sent events, until the browser leaves."""
        self._head(HTTPStatus.OK, "text/event-stream", policy(""))
        self.send_header("Connection", "close")
        self.end_headers()
        number = -1
        while not self.server.closing.is_set():
            snapshot = self.server.show.after(number, ALIVE_S)
            if snapshot is None:
                self.wfile.write(b": still here\n\n")
                continue
            number = snapshot.number
            document = {**to_json(snapshot.state), "picture": snapshot.picture}
            self.wfile.write(f"data: {json.dumps(document)}\n\n".encode())
            time.sleep(PAUSE_S)

    def _answer(self, status: HTTPStatus, text: str, kind: str = "text/plain", allowed: str | None = None) -> None:
        body = text.encode()
        self._head(status, kind, policy("") if allowed is None else allowed)
        self.send_header("Content-Length", str(len(body)))
        if status != HTTPStatus.OK:
            # The body of a request that is refused is not read.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, allowed: str) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Security-Policy": allowed,
            "Cache-Control": "no-store",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in headers.items():
            self.send_header(name, value)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in http.server
        """Log what was asked for, without the token."""
        log.debug("%s %s", self.command, urlsplit(self.path).path if hasattr(self, "path") else "")
        del format, args


@contextmanager
def serving(show: Show, host: str, port: int | None, title: str, facts: dict[str, Any]) -> Iterator[Server]:
    """Serve the page of a show in threads while the block runs.

    Args:
        show: What is shown.
        host: The name or address to listen on.
        port: The port; None takes ``DEFAULT_PORT``, or a free one if that is taken.
        title: What the page is about, in words.
        facts: What the page says about the bundles and the machine, as JSON.

    Raises:
        UsageError: The host is none of this machine's addresses.
        ResourceError: The port cannot be listened on.
    """
    server = _server(show, host, port, title, facts)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()


def _server(show: Show, host: str, port: int | None, title: str, facts: dict[str, Any]) -> Server:
    try:
        try:
            return Server(host, DEFAULT_PORT if port is None else port, show, title, facts)
        except PermissionError:
            raise
        except OSError:
            if port is not None:
                raise
            return Server(host, 0, show, title, facts)
    except socket.gaierror as error:
        raise UsageError(f"{parameter('host')} {host}: no such name or address ({error.strerror})") from error
    except OSError as error:
        where = f"{parameter('host')} {host}, {parameter('port')} {port if port is not None else DEFAULT_PORT}"
        raise ResourceError(
            f"{where}: cannot be listened on ({error.strerror}); give another port, or an address of this machine"
        ) from error


def _outside(family: int) -> str | None:
    """Return the address by which others in the network reach this machine; None without a network."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the system only says from which address it would send to one of the documentation's.
            probe.connect(("192.0.2.1", 9) if family == socket.AF_INET else ("2001:db8::1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])
