"""What a setting accepts: a function from its text to its value, whose `ValueError` says what is accepted."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from streams import codecs

MOST_DAYS = 10_000
"""Of a time to live: the database counts it in seconds until 2106, and what would live longer is gone at once."""

_MAX_PORT = 65_535
_ADDRESSES = "http://host:port, https://host:port or chdb:///directory"


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return read


def number(low: float, high: float) -> Callable[[str], float]:
    """A number within bounds."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return value

    return read


def one_of(*choices: str) -> Callable[[str], str]:
    """One of these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return read


def switch(text: str) -> bool:
    """Yes or no."""
    if text.lower() not in {"0", "1", "false", "true", "no", "yes"}:
        raise ValueError("one of 0, 1, false, true, no, yes")
    return text.lower() in {"1", "true", "yes"}


def word(text: str) -> str:
    """A name without anything that means something to a file system, a broker or SQL."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    if not text or not set(text) <= allowed:
        raise ValueError("letters, digits, dot, underscore and hyphen, at least one")
    return text


def input_format(text: str) -> str:
    """The name of a codec, or auto."""
    formats = [module.name for module in pkgutil.iter_modules(codecs.__path__) if not module.name.startswith("_")]
    return one_of("auto", *sorted(formats))(text)


def brokers(text: str) -> str:
    """Addresses of brokers."""
    for part in text.split(","):
        host, _, port = part.strip().rpartition(":")
        if not host or not (port.isdecimal() and 0 < int(port) <= _MAX_PORT):
            raise ValueError("host:port, several separated by commas")
    return text


def clickhouse_url(text: str) -> str:
    """Where ClickHouse is, without credentials."""
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(_ADDRESSES) from None
    if parts.scheme == "chdb" and parts.path:
        return text
    if not is_address:
        raise ValueError(_ADDRESSES)
    if parts.username is not None:
        raise ValueError(
            "no user or password in the address; set INFERWATCH_CLICKHOUSE_USER and INFERWATCH_CLICKHOUSE_PASSWORD "
            "or ..._PASSWORD_FILE"
        )
    return text


def secret(text: str) -> str:
    """Something that is not empty."""
    if not text.strip():
        raise ValueError("it is empty")
    return text.strip()


def header(text: str) -> str:
    """What fits into a header of HTTP."""
    if (said := text.strip()) and said.isascii() and said.isprintable():
        return said
    raise ValueError("ASCII characters on one line, at least one")


def token(text: str) -> str:
    """What a client has to show."""
    if len(text.strip()) < 16 or not text.strip().isascii():  # noqa: PLR2004 - nobody guesses that over a network
        raise ValueError("at least 16 ASCII characters")
    return text.strip()


def passed(check: Callable[[str], object]) -> Callable[[str], str]:
    """What `check` does not refuse."""

    def read(text: str) -> str:
        check(text)
        return text.strip()

    return read


def web_address(text: str) -> str:
    """Where people or verbs reach a server."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment or not text.isprintable():
        raise ValueError("https://host/path, without user, query and fragment")
    return text.rstrip("/")


def existing_file(text: str) -> Path:
    """A file that is there."""
    path = Path(text)
    if not path.is_file():
        raise ValueError("a file that exists")
    return path


def listen_address(text: str) -> str:
    """Where to listen, or nothing."""
    host, _, port = text.rpartition(":")
    if text and (not host or not (port.isdecimal() and 0 < int(port) <= _MAX_PORT)):
        raise ValueError("host:port, or nothing for off")
    return text


def key(text: str) -> str:
    """Enough for 128 bits."""
    if len(text.strip()) < 32:  # noqa: PLR2004 - 128 bits as hex
        raise ValueError("at least 32 characters")
    return text.strip()


def keys(text: str) -> str:
    """Several of them."""
    parts = text.replace(",", "\n").split()
    if not parts or any(len(part) < 32 for part in parts):  # noqa: PLR2004 - as for the key
        raise ValueError("keys of at least 32 characters each, several separated by commas or lines")
    return ",".join(parts)
