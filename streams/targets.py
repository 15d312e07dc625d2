"""Who is alerted: the list of targets as an operator writes it. Pure; values are secrets and are never shown."""

from __future__ import annotations

import re
from typing import Self
from urllib.parse import SplitResult, urlsplit

import msgspec

from detectors.types import Severity

MOST_TARGETS = 50
"""Each target is a consumer of its own: a list of thousands would be thousands of connections to Kafka."""

_MIN_SECRET_CHARS = 32
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_OWN_HTTP = frozenset({"json", "jsons", "xml", "xmls", "form", "forms", "apprise", "apprises"})
"""Schemes of apprise that post anywhere, unsigned and past the check of addresses: a webhook does that better."""


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One receiver: `webhook` (an address) with the `secret` that signs, or `apprise` (an address of that library).

    `name` is how it is spoken of, and its place in the stream of findings goes by it: a target that is renamed
    begins anew. `severity` is the lowest it is told of.
    """

    name: str
    severity: Severity = Severity.HIGH
    webhook: str | None = None
    secret: str | None = None
    apprise: str | None = None

    def __repr__(self) -> str:
        """Without address and secret: both let others speak in our name."""
        return f"Target({self.name!r}, {self.kind}, {self.severity.value!r})"

    @property
    def kind(self) -> str:
        """``webhook`` or ``apprise``."""
        return "apprise" if self.webhook is None else "webhook"

    @property
    def secrets(self) -> list[str]:
        """What must not be seen of it."""
        return [each for each in (self.webhook, self.secret, self.apprise) if each is not None]

    def checked(self) -> Self:
        """Itself; raises `ValueError` when it cannot be used."""
        if not _NAME.fullmatch(self.name):
            raise ValueError("each target has a `name` of letters, digits, underscore and hyphen")
        if (self.webhook is None) == (self.apprise is None):
            raise ValueError(f"{self.name}: either `webhook` or `apprise`")
        if self.webhook is not None:
            split_address(self.webhook, self.name)
            if self.secret is None or len(self.secret) < _MIN_SECRET_CHARS:
                raise ValueError(f"{self.name}: a webhook has a `secret` of at least {_MIN_SECRET_CHARS} characters")
        elif self.secret is not None:
            raise ValueError(f"{self.name}: a `secret` has no effect with `apprise`")
        elif "://" not in (self.apprise or "") or (self.apprise or "").partition("://")[0].lower() in _OWN_HTTP:
            raise ValueError(f"{self.name}: `apprise` is scheme://..., and for plain HTTP there is `webhook`")
        return self


def read_targets(text: str) -> tuple[Target, ...]:
    """The targets of a JSON list. Raises `ValueError`, whose message shows no value but names."""
    try:
        targets = msgspec.json.decode(text, type=tuple[Target, ...])
    except msgspec.MsgspecError as error:
        where = str(error).rpartition(" - at ")[2]
        hint = f" at {where}" if where.startswith("`$") else ""
        raise ValueError(f"a JSON list of targets with `name` and `webhook` or `apprise`; wrong{hint}") from None
    names = [target.checked().name for target in targets]
    if len(set(names)) < len(names):
        raise ValueError("every target has a `name` of its own")
    if len(targets) > MOST_TARGETS:
        raise ValueError(f"at most {MOST_TARGETS} targets")
    return targets


def split_address(address: str, name: str) -> SplitResult:
    """The parts of a webhook's address. Raises `ValueError`."""
    problem = f"{name}: `webhook` is https://host/path, without user and fragment"
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(problem) from None
    if not usable or parts.username is not None or parts.fragment or not address.isascii() or not address.isprintable():
        raise ValueError(problem)
    if " " in address:
        raise ValueError(problem)
    return parts
