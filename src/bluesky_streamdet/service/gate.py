"""Who may do what over HTTP, before anything of a request is read.

Reading is open to this machine; changing anything needs the key, from wherever, and so does reading from another
machine. A page of another site that a browser on this machine shows is kept out by the names in Host and Origin, as it
can make its own name point to this machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bluesky_streamdet.core.errors import StreamdetError, Unauthorised
from bluesky_streamdet.service.keys import VARIABLE, ApiKey
from bluesky_streamdet.service.problems import Refusal, answer, answer_for

LARGEST_BODY = 1 << 20
READING = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
"""Open from other machines too: probes, and what is the same in each service."""
PROTOCOL = "streamdet"
KEY_PROTOCOL = "streamdet.key."
"""A browser can't send headers with a WebSocket: a page asks for the protocol, and for this one with the key at its
end, percent-encoded."""


Admission = Callable[[Scope, Headers], None]
"""Raises `StreamdetError` or `Refusal` for a client that may not do what it asks."""


class WithKey:
    """Reading from this machine for all, everything else for those who have the key."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key

    def __call__(self, scope: Scope, headers: Headers) -> None:
        reading = scope["type"] == "websocket" or scope["method"] in READING
        near = (client := address_of(scope)) is not None and client.is_loopback
        if reading and (near or _own_path(scope) in OPEN_PATHS):
            return
        key = _key_of(headers)
        if key is None or not self._key.fits(key):
            raise Unauthorised(
                "The API key is missing." if key is None else "The API key is not the one of this service.",
                f"Send it as `Authorization: Bearer KEY`; clients take it from {VARIABLE}, or from the file that the "
                "service names at its start.",
            )


class Gate:
    """ASGI middleware.

    admission: who may do what. names: hosts by which clients may call this service, besides plain addresses and
    "localhost".
    """

    def __init__(self, app: ASGIApp, admission: Admission, names: Iterable[str] = ()) -> None:
        self._app = app
        self._admission = admission
        own = {"localhost", socket.gethostname(), socket.getfqdn()}
        self._names = frozenset(name.lower() for name in (*own, *names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope, Headers(scope=scope))
        except Refusal as refusal:
            response = answer(refusal.status_code, refusal.problem)
        except StreamdetError as error:
            response = answer_for(error)
        else:
            await self._app(scope, _Limited(receive) if scope["type"] == "http" else receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await response(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        self._check_names(headers)
        _check_length(headers)
        self._admission(scope, headers)

    def _check_names(self, headers: Headers) -> None:
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if name.lower() not in self._names and not _is_address(name):
            raise Refusal(
                403, "host_not_allowed", f"This service is not called {name!r}.", "Add the name to rest.allowed_hosts."
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refusal(403, "origin_not_allowed", f"A page of {origin} may not use this service.")


class _Limited:
    """Receives a body up to `LARGEST_BODY` bytes, whatever its headers say."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0

    async def __call__(self) -> Message:
        message: MutableMapping[str, Any] = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > LARGEST_BODY:
            raise _too_large()
        return message


def _check_length(headers: Headers) -> None:
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > LARGEST_BODY:
        raise _too_large()


def _too_large() -> Refusal:
    return Refusal(413, "too_large", f"The body is larger than {LARGEST_BODY} bytes.", "Frames do not travel this way.")


def _own_path(scope: Scope) -> str:
    """The path of a request within its application, which may be one of several behind one address."""
    return scope["path"].removeprefix(scope.get("root_path", ""))


def address_of(scope: Scope) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Where the client is; None for one that has no address."""
    client = scope.get("client")
    try:
        address = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _key_of(headers: Headers) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    if "x-api-key" in headers:
        return headers["x-api-key"]
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(KEY_PROTOCOL):
            return unquote(protocol.strip().removeprefix(KEY_PROTOCOL))
    return None
