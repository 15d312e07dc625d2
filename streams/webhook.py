"""Alerts as signed HTTP requests.

A request has the alert as JSON in its body and four headers: ``Idempotency-Key`` (the alert's id, the same however
often it is sent), ``X-Inferwatch-Timestamp`` (unix seconds), ``X-Inferwatch-Nonce`` (new for each request) and
``X-Inferwatch-Signature`` (``v1=`` and the hexadecimal HMAC-SHA256, keyed with the target's secret, of
``v1.<timestamp>.<nonce>.<body>``). `verify` is what a receiver does with them.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import math
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from urllib.parse import SplitResult

import msgspec

from streams.addresses import AddressRefusedError, Resolve, checked, is_inside
from streams.alerts import Alert
from streams.targets import split_address

IDEMPOTENCY_KEY = "Idempotency-Key"
TIMESTAMP = "X-Inferwatch-Timestamp"
NONCE = "X-Inferwatch-Nonce"
SIGNATURE = "X-Inferwatch-Signature"
TOLERANCE_S = 300.0

_TIMEOUT_S = 10.0
"""For each step, from connecting to the first line of the answer."""

_LONGEST_S = 20.0
"""For all of it: a receiver that sends a byte every nine seconds is cut off."""


class NotTakenError(Exception):
    """The receiver has not taken an alert now; the message is one line without secrets."""


class SignatureError(Exception):
    """A request was not signed by who knows the secret, or is too old."""


def sign(secret: str, timestamp: str, nonce: str, body: bytes) -> str:
    """The value of the header `SIGNATURE`."""
    signed = f"v1.{timestamp}.{nonce}.".encode() + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def verify(secret: str, headers: Mapping[str, str], body: bytes, now_s: float) -> str:
    """The nonce of a request that is genuine and not older than `TOLERANCE_S`; raises `SignatureError`.

    A receiver remembers nonces for that long, and refuses one that it knows.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    timestamp, nonce, signature = (lower.get(name.lower(), "") for name in (TIMESTAMP, NONCE, SIGNATURE))
    if not hmac.compare_digest(sign(secret, timestamp, nonce, body).encode(), signature.encode()):
        raise SignatureError("the signature is not right")
    sent_s = float(timestamp) if timestamp.isascii() and timestamp.isdecimal() else math.inf
    if not abs(now_s - sent_s) <= TOLERANCE_S:
        raise SignatureError("the request is too old, or from the future")
    return nonce


class Webhook:
    """One address. It is told of alerts by one thread at a time."""

    def __init__(
        self, address: str, secret: str, *, private: bool, resolve: Resolve, clock: Callable[[], float]
    ) -> None:
        """`private` allows addresses of one's own networks; `clock` gives unix seconds."""
        self._parts: SplitResult = split_address(address, "webhook")
        self._secret = secret
        self._private = private
        self._resolve = resolve
        self._clock = clock
        self._context = ssl.create_default_context() if self._parts.scheme == "https" else None

    def tell(self, alert: Alert) -> str:
        """Return what was answered when the receiver has taken `alert`; raises `NotTakenError`."""
        try:
            status = self._post(msgspec.json.encode(alert), alert.id)
        except AddressRefusedError as error:
            raise NotTakenError(str(error)) from None
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, ssl.SSLError) and error.reason else type(error).__name__
            raise NotTakenError(f"no answer: {reason}") from None
        if 200 <= status < 300:  # noqa: PLR2004 - HTTP's success
            return f"status {status}"
        redirect = ", a redirect, which is not followed" if 300 <= status < 400 else ""  # noqa: PLR2004 - as above
        raise NotTakenError(f"status {status}{redirect}")

    def _post(self, body: bytes, identity: str) -> int:
        host, port = self._parts.hostname or "", self._parts.port or (443 if self._context else 80)
        addresses = checked(host, self._resolve(host, port), private=self._private)
        if self._context is None and not all(map(is_inside, addresses)):
            raise AddressRefusedError(f"{host} is outside, and http:// would show the alert to everybody between")
        timestamp, nonce = str(int(self._clock())), secrets.token_hex(16)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "inferwatch",
            IDEMPOTENCY_KEY: identity,
            TIMESTAMP: timestamp,
            NONCE: nonce,
            SIGNATURE: sign(self._secret, timestamp, nonce, body),
        }
        path = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        connection = _Connection(host, port, addresses, self._context)
        cut = threading.Timer(_LONGEST_S, connection.cut)
        cut.daemon = True
        cut.start()
        try:
            connection.request("POST", path, body, headers)
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
