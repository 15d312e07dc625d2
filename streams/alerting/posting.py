"""Requests to an address that an operator named, over connections to addresses that were checked."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping

from streams.alerting.addresses import AddressRefusedError, Resolve, checked, is_inside
from streams.alerting.targets import split_address

_TIMEOUT_S = 10.0
"""For each step, from connecting to the first line of the answer."""

_LONGEST_S = 20.0
"""For all of it: a receiver that sends a byte every nine seconds is cut off."""


class NotTakenError(Exception):
    """The receiver has not taken something now; the message is one line without secrets."""


class Post:
    """One address. It is used by one thread at a time."""

    def __init__(self, address: str, *, private: bool, resolve: Resolve) -> None:
        """`private` allows addresses of one's own networks."""
        self._parts = split_address(address)
        self._private = private
        self._resolve = resolve
        self._context = ssl.create_default_context() if self._parts.scheme == "https" else None

    def send(self, body: bytes, headers: Mapping[str, str]) -> str:
        """Return what was answered when `body` was taken; raises `NotTakenError`. May take half a minute."""
        try:
            status = self._status(body, headers)
        except AddressRefusedError as error:
            raise NotTakenError(str(error)) from None
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, ssl.SSLError) and error.reason else type(error).__name__
            raise NotTakenError(f"no answer: {reason}") from None
        if 200 <= status < 300:  # noqa: PLR2004 - HTTP's success
            return f"status {status}"
        redirect = ", a redirect, which is not followed" if 300 <= status < 400 else ""  # noqa: PLR2004 - as above
        raise NotTakenError(f"status {status}{redirect}")

    def _status(self, body: bytes, headers: Mapping[str, str]) -> int:
        host, port = self._parts.hostname or "", self._parts.port or (443 if self._context else 80)
        addresses = checked(host, self._resolve(host, port), private=self._private)
        if self._context is None and not all(map(is_inside, addresses)):
            raise AddressRefusedError(f"{host} is outside, and http:// would show it to everybody between")
        path = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        connection = _Connection(host, port, addresses, self._context)
        cut = threading.Timer(_LONGEST_S, connection.cut)
        cut.daemon = True
        cut.start()
        try:
            connection.request("POST", path, body, {"User-Agent": "inferwatch", **headers})
            return connection.getresponse().status
        finally:
            cut.cancel()
            connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection to addresses that were checked; the certificate is checked against the name."""

    def __init__(self, host: str, port: int, addresses: list[str], context: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=_TIMEOUT_S)
        if context is not None:
            self.default_port = http.client.HTTPS_PORT
        self._addresses = addresses
        self._context = context

    def connect(self) -> None:
        """To the first of the addresses that answers."""
        raw = self._connected()
        # Kept at once: a handshake that never ends can be cut.
        self.sock = raw
        if self._context is not None:
            self.sock = self._context.wrap_socket(raw, server_hostname=self.host)

    def cut(self) -> None:
        """End what hangs, from another thread."""
        sock = self.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def _connected(self) -> socket.socket:
        *others, last = self._addresses
        for address in others:
            try:
                return socket.create_connection((address, self.port), _TIMEOUT_S)
            except OSError:
                continue
        return socket.create_connection((last, self.port), _TIMEOUT_S)
