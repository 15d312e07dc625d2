"""The log of a process: lines without secrets, whatever a library or a traceback puts into them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable
from typing import TextIO

from streams.alerting.targets import read_targets
from streams.redaction import Redactor
from streams.settings import SECRETS, Settings

WORKER_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_QUIET = {
    **dict.fromkeys(("aiokafka", "asyncio", "clickhouse_connect", "faust", "mode", "urllib3"), logging.INFO),
    "kafka": logging.CRITICAL,
    "oauthlib": logging.WARNING,
    "requests_oauthlib": logging.WARNING,
}
"""Below that these write requests, payloads and addresses, thousands of lines a second; our own DEBUG is not that.
What kafka-python says of a broker that is away is said by our own errors too, in one line."""

_REPEATED_S = 10.0
_MAX_KINDS = 1_000


_LEAST_PART_CHARS = 8


class SafeFormatter(logging.Formatter):
    """Formats a record, traceback included, and takes out what is secret by shape or known to be."""

    def __init__(self, layout: str, secrets: Iterable[str]) -> None:
        """`secrets` are taken out exactly as they are, the longest first."""
        super().__init__(layout)
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._redact = Redactor(ips=False).redact

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines of `record`."""
        return self.clean(super().format(record))

    def clean(self, text: str) -> str:
        """`text` without what is secret."""
        for secret in self._secrets:
            text = text.replace(secret, "(hidden)")
        return self._redact(text)


class Once(logging.Filter):
    """Lets what a library says again and again through once in ten seconds: a broker that is away is no flood.

    The same is what was said by the same line of code. What inferwatch itself says is never held back.
    """

    def __init__(self) -> None:
        """Nothing was said yet."""
        super().__init__()
        self._said_s: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is to be written."""
        if record.name.startswith(("streams", "detectors")):
            return True
        where = (record.pathname, record.lineno)
        if record.created - self._said_s.get(where, -_REPEATED_S) < _REPEATED_S:
            return False
        if len(self._said_s) >= _MAX_KINDS:
            self._said_s.clear()
        self._said_s[where] = record.created
        return True


def secrets_of(settings: Settings) -> list[str]:
    """The values of all secret settings that are set, and the parts of those that are lists."""
    given = [value for field in SECRETS - {"alert_targets"} if (value := getattr(settings, field))]
    targets = [secret for target in read_targets(settings.alert_targets or "[]") for secret in target.secrets]
    return given + targets + [part for value in given for part in value.split(",") if len(part) >= _LEAST_PART_CHARS]


def log_to(stream: TextIO, settings: Settings) -> None:
    """Log to `stream` at the level of `settings`, and nothing more secret than that."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(SafeFormatter(WORKER_FORMAT, secrets_of(settings)))
    handler.addFilter(Once())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for library, least in _QUIET.items():
        logging.getLogger(library).setLevel(max(least, logging.getLogger().level))


def clean_traceback(error: BaseException, settings: Settings | None) -> str:
    """The traceback of `error` without what is secret; `settings` are those it happened with, if there were any."""
    formatter = SafeFormatter(WORKER_FORMAT, [] if settings is None else secrets_of(settings))
    return formatter.clean("".join(traceback.format_exception(error)))
