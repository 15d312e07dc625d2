"""Alerts as signed HTTP requests.

A request has the alert as JSON in its body and four headers: ``Idempotency-Key`` (the alert's id, the same however
often it is sent), ``X-Inferwatch-Timestamp`` (unix seconds), ``X-Inferwatch-Nonce`` (new for each request) and
``X-Inferwatch-Signature`` (``v1=`` and the hexadecimal HMAC-SHA256, keyed with the target's secret, of
``v1.<timestamp>.<nonce>.<body>``). `verify` is what a receiver does with them.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Callable, Mapping

import msgspec

from streams.alerting.addresses import Resolve
from streams.alerting.alerts import Alert
from streams.alerting.posting import Post

IDEMPOTENCY_KEY = "Idempotency-Key"
TIMESTAMP = "X-Inferwatch-Timestamp"
NONCE = "X-Inferwatch-Nonce"
SIGNATURE = "X-Inferwatch-Signature"
TOLERANCE_S = 300.0


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
        self._post = Post(address, private=private, resolve=resolve)
        self._secret = secret
        self._clock = clock

    def tell(self, alert: Alert) -> str:
        """Return what was answered when the receiver has taken `alert`; raises `NotTakenError`."""
        body = msgspec.json.encode(alert)
        timestamp, nonce = str(int(self._clock())), secrets.token_hex(16)
        return self._post.send(
            body,
            {
                "Content-Type": "application/json",
                IDEMPOTENCY_KEY: alert.id,
                TIMESTAMP: timestamp,
                NONCE: nonce,
                SIGNATURE: sign(self._secret, timestamp, nonce, body),
            },
        )
