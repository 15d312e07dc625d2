"""The log of a process: lines without secrets, whatever a library or a traceback puts into them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable
from typing import TextIO

from streams.redaction import Redactor
from streams.settings import SECRETS, Settings

WORKER_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_QUIET = {
    **dict.fromkeys(("aiokafka", "asyncio", "clickhouse_connect", "faust", "mode", "urllib3"), logging.INFO),
    "kafka": logging.WARNING,
}
"""Below that these write requests, payloads and addresses, thousands of lines a second; our own DEBUG is not that."""


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


def secrets_of(settings: Settings) -> list[str]:
    """The values of all secret settings that are set, and the parts of those that are lists."""
    given = [value for field in SECRETS if (value := getattr(settings, field))]
    return given + [part for value in given for part in value.split(",") if len(part) >= _LEAST_PART_CHARS]


def log_to(stream: TextIO, settings: Settings) -> None:
    """Log to `stream` at the level of `settings`, and nothing more secret than that."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(SafeFormatter(WORKER_FORMAT, secrets_of(settings)))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for library, least in _QUIET.items():
        logging.getLogger(library).setLevel(max(least, logging.getLogger().level))


def clean_traceback(error: BaseException, settings: Settings | None) -> str:
    """The traceback of `error` without what is secret; `settings` are those it happened with, if there were any."""
    formatter = SafeFormatter(WORKER_FORMAT, [] if settings is None else secrets_of(settings))
    return formatter.clean("".join(traceback.format_exception(error)))
