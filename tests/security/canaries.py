"""Secrets and personal data to plant, in every text of every fixture, one text at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

FIXTURES = Path(__file__).parents[1] / "fixtures"

# Put together here, so that no scanner takes this file for a leak.
CANARIES = {
    "e-mail address": "canary.bird@canary-mail.example",
    "API key": "sk-proj-" + "cAnArY0cAnArY1cAnArY2cAnArY3",
    "access key": "AKIA" + "CANARYCANARYCANA",
    "password": "Canary-Hunter-2",
    "card number": "4111 1111 1111 1111",
    "phone number": "+49 30 90182345",
    "account number": "DE89 3704 0044 0532 0130 00",
    "IP address": "203.0.113.77",
}
"""What has a shape, and is found by it."""

ALL = (
    f"{CANARIES['e-mail address']} {CANARIES['API key']} {CANARIES['access key']} "
    f"password: {CANARIES['password']} {CANARIES['card number']}, {CANARIES['phone number']}, "
    f"{CANARIES['account number']}; {CANARIES['IP address']}."
)


def leaked(data: bytes) -> list[str]:
    """The kinds of canary that are in `data`, also when it was folded to lower case or lost its spaces."""
    folded = data.lower()
    packed = folded.replace(b" ", b"")
    return [
        kind
        for kind, canary in CANARIES.items()
        if canary.lower().encode() in folded or canary.lower().replace(" ", "").encode() in packed
    ]


class Planted:
    """Every fixture of a format as often as it has texts, each time with `plant` applied to one of them."""

    def __init__(self, plant: Callable[[str, int], str]) -> None:
        """`plant` gives the new text for a text and its number, which counts through all fixtures."""
        self._plant = plant
        self._number = 0

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Format and value of each record."""
        for path in sorted(FIXTURES.glob("*/*.input.*")):
            name = path.parent.name
            if path.suffix == ".pb":
                yield from ((name, value) for value in self._in_protobuf(path))
            elif path.suffix == ".ndjson":
                for line in path.read_text("utf-8").splitlines():
                    yield from ((name, value) for value in self._in_document(line))
            else:
                yield from ((name, value) for value in self._in_document(path.read_text("utf-8")))

    def _in_document(self, text: str) -> Iterator[bytes]:
        try:
            document = json.loads(text)
        except ValueError:
            yield self._planted(text).encode()  # a line that is broken on purpose
            return
        for variant in self._variants(document):
            yield json.dumps(variant).encode()

    def _variants(self, value: Any) -> Iterator[Any]:
        """`value` with one text changed, for each text: names of free fields and JSON inside of texts are texts too."""
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from ({**value, name: changed} for changed in self._variants(inner))
                yield {(self._planted(each) if each == name else each): kept for each, kept in value.items()}
        elif isinstance(value, list):
            for at, inner in enumerate(value):
                yield from ([*value[:at], changed, *value[at + 1 :]] for changed in self._variants(inner))
        elif isinstance(value, str):
            yield self._planted(value)
            if value[:1] in {"{", "["}:
                yield from map(json.dumps, self._inside(value))

    def _inside(self, text: str) -> Iterator[Any]:
        try:
            yield from self._variants(json.loads(text))
        except ValueError:
            return

    def _in_protobuf(self, path: Path) -> Iterator[bytes]:
        kind: Any = ExportLogsServiceRequest if "log" in path.name else ExportTraceServiceRequest
        request = kind.FromString(path.read_bytes())
        for message, field in list(texts_of(request)):
            before = getattr(message, field)
            setattr(message, field, self._planted(before))
            yield request.SerializeToString()
            setattr(message, field, before)

    def _planted(self, text: str) -> str:
        self._number += 1
        return self._plant(text, self._number)


def texts_of(message: Any) -> Iterator[tuple[Any, str]]:
    """The messages inside of a protobuf message that have a text set, and the name of its field."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            yield message, field.name
        elif field.type == field.TYPE_MESSAGE:
            for inner in value if isinstance(value, Sequence) else (value,):
                yield from texts_of(inner)


def malformed() -> Iterator[bytes]:
    """Records that never decode, full of canaries."""
    yield ALL.encode()
    yield ("{" + ALL).encode()
    yield json.dumps({"deployment": ALL * 3, "latency_s": ALL}).encode()
    yield json.dumps({"deployment": "d", "input_tokens": ALL}).encode()
    yield json.dumps({"deployment": "d", "schema_version": ALL}).encode()
    yield json.dumps({"deployment": "d", "features": {ALL: [ALL]}}).encode()
    yield json.dumps([{"deployment": "d", "components": {"weights": [ALL]}}, ALL, [ALL]]).encode()
    yield (" " * 200 + ALL + " " * 5_000 + ALL).encode()
    yield b"\xff\xfe" + ALL.encode()
