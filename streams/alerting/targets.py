"""Who is alerted: the list of targets as an operator writes it. Pure; values are secrets and are never shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Self
from urllib.parse import SplitResult, urlsplit

import msgspec

from detectors.types import Severity
from streams.alerting.hours import Hours, read_hours
from streams.alerting.templates import Template, read_template

MOST_TARGETS = 50
"""Each target is a consumer of its own: a list of thousands would be thousands of connections to Kafka."""

HOURLY = 20
"""Alerts an hour that a target takes one by one unless it says otherwise; the others come as one digest."""

TOPIC, FILE = "topic:", "file:"

_MIN_SECRET_CHARS = 32
_MIN_TOKEN_CHARS = 16
_MOST_HOURLY = 1_000
_MOST_NAMED = 100
_LONGEST_NAMED_CHARS = 200
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_OWN_HTTP = frozenset({"json", "jsons", "xml", "xmls", "form", "forms", "apprise", "apprises"})
"""Schemes of apprise that post anywhere, unsigned and past the check of addresses: a webhook does that better."""


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One receiver of alerts about incidents, or of everything for a SIEM.

    `webhook` is an address, with the `secret` that signs; `apprise` an address of that library; `ocsf` a topic
    (``topic:NAME``), a file (``file:/path``) or an address for all findings and incidents as OCSF, with a bearer
    `token` if the address wants one. `name` is how it is spoken of, and its place in the stream goes by it: a target
    that is renamed begins anew.

    `severity` is the lowest it is told of; `deployments` are patterns (``chat-*``) and `owners` owners as
    INFERWATCH_OWNERS has them, of which one fits. Outside its `hours`, and beyond `hourly` alerts an hour, news are
    held back for a digest. `closed` asks for the news that an incident has closed. `title` and `body` are templates.
    """

    name: str
    severity: Severity | None = None
    webhook: str | None = None
    secret: str | None = None
    apprise: str | None = None
    ocsf: str | None = None
    token: str | None = None
    deployments: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    hours: str | None = None
    hourly: int | None = None
    closed: bool | None = None
    title: str | None = None
    body: str | None = None

    def __repr__(self) -> str:
        """Without address and secret: both let others speak in our name."""
        return f"Target({self.name!r}, {self.kind}, {self.least.value!r})"

    @property
    def kind(self) -> str:
        """``webhook``, ``apprise``, ``ocsf topic``, ``ocsf file`` or ``ocsf http``."""
        if self.ocsf is not None:
            return f"ocsf {self.ocsf.partition(':')[0] if self.ocsf.startswith((TOPIC, FILE)) else 'http'}"
        return "apprise" if self.webhook is None else "webhook"

    @property
    def least(self) -> Severity:
        """The lowest severity it is told of: a person of what is high, a SIEM of everything, unless it says."""
        return self.severity or (Severity.HIGH if self.ocsf is None else Severity.INFO)

    @property
    def most_hourly(self) -> int:
        """Alerts an hour that it is told one by one."""
        return HOURLY if self.hourly is None else self.hourly

    @property
    def open_hours(self) -> Hours | None:
        """When it is told; always without."""
        return None if self.hours is None else read_hours(self.hours)

    @property
    def templates(self) -> tuple[Template | None, Template | None]:
        """Those of the title and of the body."""
        title, body = (None if text is None else read_template(text) for text in (self.title, self.body))
        return title, body

    @property
    def secrets(self) -> list[str]:
        """What must not be seen of it."""
        address = self.ocsf if self.kind == "ocsf http" else None
        return [each for each in (self.webhook, self.secret, self.apprise, address, self.token) if each is not None]

    def takes(self, severity: Severity, deployment: str, owner: str | None) -> bool:
        """Whether what is so severe in `deployment`, which `owner` owns, concerns it."""
        return (
            severity.rank >= self.least.rank
            and (not self.deployments or any(fnmatchcase(deployment, each) for each in self.deployments))
            and (not self.owners or owner in self.owners)
        )

    def checked(self) -> Self:
        """Itself; raises `ValueError` when it cannot be used."""
        if not _NAME.fullmatch(self.name):
            raise ValueError("each target has a `name` of letters, digits, underscore and hyphen")
        if sum(each is not None for each in (self.webhook, self.apprise, self.ocsf)) != 1:
            raise ValueError(f"{self.name}: either `webhook` or `apprise`, or `ocsf`")
        try:
            problem = next(self._problems(), None)
        except ValueError as error:
            problem = str(error)
        if problem is not None:
            raise ValueError(f"{self.name}: {problem}")
        return self

    def _problems(self) -> Iterator[str]:
        """What is wrong with it; may raise `ValueError` instead."""
        if self.webhook is not None:
            split_address(self.webhook)
            if self.secret is None or len(self.secret) < _MIN_SECRET_CHARS:
                yield f"a webhook has a `secret` of at least {_MIN_SECRET_CHARS} characters"
        elif self.secret is not None:
            yield "a `secret` has no effect without `webhook`"
        if self.apprise is not None:
            scheme, colon, _ = self.apprise.partition("://")
            if not colon or scheme.lower() in _OWN_HTTP:
                yield "`apprise` is scheme://..., and for plain HTTP there is `webhook`"
        yield from self._problems_of_ocsf()
        for names in (self.deployments, self.owners):
            if len(names) > _MOST_NAMED or not all(0 < len(each) <= _LONGEST_NAMED_CHARS for each in names):
                yield f"`deployments` and `owners` are lists of at most {_MOST_NAMED} names"
        if not 0 < self.most_hourly <= _MOST_HOURLY:
            yield f"`hourly` is a number from 1 to {_MOST_HOURLY}"
        _ = self.open_hours, self.templates

    def _problems_of_ocsf(self) -> Iterator[str]:
        if self.token is not None:
            if self.kind != "ocsf http":
                yield "a `token` has no effect without `ocsf` at an address"
            if len(self.token) < _MIN_TOKEN_CHARS or not (self.token.isascii() and self.token.isprintable()):
                yield f"a `token` has at least {_MIN_TOKEN_CHARS} ASCII characters"
        if self.ocsf is None:
            return
        if any(each is not None for each in (self.hours, self.hourly, self.closed, self.title, self.body)):
            yield "`hours`, `hourly`, `closed`, `title` and `body` have no effect with `ocsf`"
        if self.ocsf.startswith(TOPIC):
            if not _TOPIC_NAME.fullmatch(self.ocsf.removeprefix(TOPIC)):
                yield "`ocsf` is topic:NAME, of letters, digits, dot, underscore and hyphen"
        elif self.ocsf.startswith(FILE):
            if not self.ocsf.startswith(f"{FILE}/") or self.ocsf.endswith("/") or not self.ocsf.isprintable():
                yield "`ocsf` is file:/path/of/a/file"
        else:
            split_address(self.ocsf)


def read_targets(text: str) -> tuple[Target, ...]:
    """The targets of a JSON list. Raises `ValueError`, whose message shows no value but names."""
    try:
        targets = msgspec.json.decode(text, type=tuple[Target, ...])
    except msgspec.MsgspecError as error:
        where = str(error).rpartition(" - at ")[2]
        hint = f" at {where}" if where.startswith("`$") else ""
        raise ValueError(
            f"a JSON list of targets with `name` and `webhook`, `apprise` or `ocsf`; wrong{hint}"
        ) from None
    names = [target.checked().name for target in targets]
    if len(set(names)) < len(names):
        raise ValueError("every target has a `name` of its own")
    if len(targets) > MOST_TARGETS:
        raise ValueError(f"at most {MOST_TARGETS} targets")
    return targets


def split_address(address: str) -> SplitResult:
    """The parts of an address that is posted to. Raises `ValueError`."""
    problem = "an address is https://host/path, without user and fragment"
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
