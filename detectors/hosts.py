"""Which hosts a call names: in its answer, in the tool calls it asks for, or as connections of the serving side.

Host names in texts are hostile: they come out lower-case, ASCII, printable, at most 96 characters long and few.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable

from detectors.types import InferenceEvent

ANSWER, TOOL, CONNECTION = "answer", "tool", "connection"
"""Where a host was named: how an entry begins, before a colon."""

MAX_HOSTS = 8
MAX_HOST_CHARS = 96
"""A longer name keeps its end, where its owner is; the labels before may be what is smuggled out."""

_MAX_TEXT_CHARS = 65_536
_MAX_LOOKED = 64
"""Hosts looked at in one text: an answer of nothing but links must not stall the batch it is in."""

_URL = re.compile(
    r"(?:https?|wss?|ftp)://([^\s/?#\"'<>()\\\[\]{}|^`*,;]{1,320}|\[[0-9A-Fa-f:.]{2,45}\])", re.IGNORECASE
)
_NAMED = re.compile(
    r"\"(?:host|hostname|domain|server|endpoint)\\?\"\s{0,4}:\s{0,4}\\?\"([A-Za-z0-9._:-]{4,320})\\?\"", re.IGNORECASE
)
_PLAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))+\.?")


def hosts(event: InferenceEvent) -> tuple[str, ...] | None:
    """Distinct entries such as ``tool:api.example.com``, connections first; `None` where nothing could name any."""
    if event.output_messages is None and event.egress_hosts is None:
        return None
    found: dict[str, None] = {}
    for host in (event.egress_hosts or ())[:_MAX_LOOKED]:
        _add(found, CONNECTION, host)
    for message in event.output_messages or ():
        for call in message.tool_calls or ():
            arguments = call.arguments
            if arguments and ("://" in arguments or ":" in arguments):
                _scan(found, TOOL, arguments)
    for message in event.output_messages or ():
        if message.content and "://" in message.content:
            _scan(found, ANSWER, message.content)
    return tuple(found)[:MAX_HOSTS]


def renamed(entries: Iterable[str], rename: Callable[[str], str]) -> tuple[str, ...]:
    """The entries with the hosts replaced that texts named; connections are no text and stay as they are."""
    split = (entry.partition(":") for entry in entries)
    return tuple(f"{place}:{host if place == CONNECTION else rename(host)}" for place, _, host in split)


def clean(host: str) -> str | None:
    """A host as it is compared and shown: no port, no user, IDNA where it is not ASCII; `None` for what is none."""
    name = host.rpartition("@")[2].strip().casefold()[:512]
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return f"~{hashlib.blake2b(name.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"
    if ":" in name or name.replace(".", "").isdigit():
        try:
            return str(ipaddress.ip_address(name))
        except ValueError:
            return None
    name = name.rstrip(".")
    if not _PLAIN.fullmatch(name):
        return None
    if len(name) > MAX_HOST_CHARS:
        return f"~{name[1 - MAX_HOST_CHARS :]}"
    return name


def _scan(found: dict[str, None], place: str, text: str) -> None:
    text = text[:_MAX_TEXT_CHARS]
    if "://" in text:
        for _, match in zip(range(_MAX_LOOKED), _URL.finditer(text), strict=False):
            _add(found, place, match[1])
    if place == TOOL and '"' in text:
        for _, match in zip(range(_MAX_LOOKED), _NAMED.finditer(text), strict=False):
            _add(found, place, match[1])


def _add(found: dict[str, None], place: str, host: str) -> None:
    name = clean(host)
    if name is not None and len(found) < MAX_HOSTS:
        found[f"{place}:{name}"] = None
