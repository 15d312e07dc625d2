"""Valid payloads of every codec, and what a hostile sender makes of them. Seeded: a run can be repeated."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Sequence

import msgspec

from streams.pipeline import discover_codecs
from tests.codecs.instrumented import CHAT, Application
from tests.codecs.test_fixtures import CASES

HUGE = 10_000
NUMBERS = (
    *(b"NaN", b"Infinity", b"-Infinity", b"nan", b"1e308", b"-1e308", b"1.7976931348623157e308", b"1e309", b"-1e400"),
    *(b"5e-324", b"-0.0", b"-1", b"-5", b"0", b"1e18", b"9007199254740993", b"9223372036854775807"),
    *(b"9223372036854775808", b"-9223372036854775808", b"-9223372036854775809", b"18446744073709551615"),
    *(b"18446744073709551616", b"9" * 5_000, b"-" + b"9" * 5_000, b"0." + b"0" * 5_000 + b"1", b"1e-400", b"1E+400"),
    *(b"4102444800", b"4102444801", b"253402300799", b"253402300800", b"-62135596801", b"1e17", b"4294967296"),
)
TEXTS = (
    *(b'"\\ud800"', b'"\\udfff\\ud800"', b'"x\\ud83d"', b'"\\u0000"', b'"\\u001b[2J\\u001b]0;owned\\u0007"'),
    *('"\u202egnp.exe\u2066\u2069"'.encode(), '"\u200b\ufeff\uffff"'.encode(), '"\U0010ffff\U0001f600"'.encode()),
    *(b'"NaN"', b'"Infinity"', b'"-1"', b'"1e999"', b'"' + b"9" * 5_000 + b'"', b'"0x10"', b'"1_000"', b'""'),
    *(b'" "', b'"\\n\\t"', b'"\\\\"', b'"{\\"a\\": [1]}"', b'"[[[["', b'"{\\"a\\":NaN}"', b'"' + b"x" * 70_000 + b'"'),
    *(b'"9999-12-31T23:59:59Z"', b'"0001-01-01T00:00:00+23:59"', b'"2026-13-45T99:99:99"', b'"inf"', b'"\xff\xfe"'),
    *(b'"\xed\xa0\x80"', b'"true"', b'"None"', b'"\'; DROP TABLE inference_events --"', b'"%s{}\\u0000\\\\N"'),
)
SHAPES = (
    *(
        b"null",
        b"true",
        b"false",
        b"[]",
        b"{}",
        b"[null]",
        b"[[]]",
        b"[{}]",
        b'{"":""}',
        b'{"role":7}',
        b'[1,"a",null]',
    ),
    *(
        b'{"a":1,"a":2}',
        b'{"stringValue":1}',
        b'{"intValue":"x"}',
        b'{"arrayValue":{"values":7}}',
        b"[" * 40 + b"]" * 40,
    ),
    *(b'{"kvlistValue":{"values":[{"key":1}]}}', b'{"bytesValue":"!!!"}', b"[" * 99 + b"]" * 99, b'{"type":"text"}'),
    *(b'{"a":' * 101 + b"1" + b"}" * 101, b"[" * HUGE + b"]" * HUGE, b'{"a":' * HUGE + b"1" + b"}" * HUGE),
)
NASTY = NUMBERS + TEXTS + SHAPES
_LIGHT = tuple(each for each in NASTY if len(each) < 400)
"""The heavy ones take their share as well, but not half of the time of a run."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|[\[\]{}:,]', re.DOTALL)
_OPENING, _CLOSING = b"[{", b"]}"

Span = tuple[int, int]


class Payload(msgspec.Struct, frozen=True):
    """A valid record: its bytes, its codec, and where in it values and keys are (none where it is no JSON)."""

    format: str
    value: bytes
    values: Sequence[Span]
    keys: Sequence[Span]


def payload(name: str, value: bytes) -> Payload:
    """Find the spans of all values, containers too, and of all keys."""
    if value[:1] not in {b"{", b"["}:
        return Payload(name, value, (), ())
    values: list[Span] = []
    keys: list[Span] = []
    opened: list[int] = []
    tokens = list(_TOKEN.finditer(value))
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        start, end = token.span()
        first = value[start : start + 1]
        if first in _OPENING:
            opened.append(start)
        elif first in _CLOSING:
            values.append((opened.pop(), end))
        elif following is not None and following[0] == b":":
            keys.append((start, end))
        elif first not in b":,":
            values.append((start, end))
    return Payload(name, value, tuple(values), tuple(keys))


@functools.cache
def corpus() -> tuple[Payload, ...]:
    """Every fixture, whole and line by line, and generated payloads that no fixture is like."""
    found: list[tuple[str, bytes]] = []
    for path in CASES:
        value = path.read_bytes().strip() if path.suffix != ".pb" else path.read_bytes()
        lines = value.splitlines() if path.suffix == ".ndjson" else [value]
        found += [(path.parent.name, line) for line in lines if line[:1] in {b"{", b"["} or path.suffix == ".pb"]
        if len(lines) > 1 and len(value) < 3_000:
            found.append((path.parent.name, value))
    found += [("otlp", _exported(calls)) for calls in (1, 3)]
    found += [("native", msgspec.json.encode([_event(number) for number in range(count)])) for count in (1, 4)]
    return tuple(payload(name, value) for name, value in found)


def _exported(calls: int) -> bytes:
    application = Application(service_name="shop", inferwatch_component_weights="sha256:1")
    for call in range(calls):
        application.call({**CHAT, "gen_ai.usage.input_tokens": 10 + call, "user.id": f"u{call}"})
    return application.request()


def _event(number: int) -> dict[str, object]:
    return {
        "deployment": f"d{number % 2}",
        "time_s": 1_750_000_000.0 + number,
        "principal": f"p{number}",
        "model": "m",
        "served_model": "m-1",
        "input_messages": [{"role": "user", "content": f"where is order {number}?"}],
        "output_messages": [{"role": "assistant", "content": "On its way.", "tool_calls": [{"name": "f"}]}],
        "documents": [{"document_id": "d", "score": 0.5}],
        "input_tokens": 5,
        "output_tokens": 7,
        "latency_s": 0.5,
        "ttft_s": 0.1,
        "cost_usd": 0.001,
        "http_status": 200,
        "finish_reasons": ["stop"],
        "features": {"age": 41.5, "city": "x", "member": True},
        "prediction": "yes",
        "score": 0.5,
        "components": {"weights": "sha256:1"},
        "egress_hosts": ["a.example"],
    }


Mutation = Callable[[random.Random, Payload], bytes]


def bit_flips(draw: random.Random, whole: Payload) -> bytes:
    value = bytearray(whole.value)
    for _ in range(draw.randint(1, 8)):
        value[draw.randrange(len(value))] ^= 1 << draw.randrange(8)
    return bytes(value)


def overwritten(draw: random.Random, whole: Payload) -> bytes:
    value = bytearray(whole.value)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(value))
        value[at : at + draw.randint(0, 8)] = draw.choice(
            (b"\xff" * 10, b"\x80\x80\x80\x01", b"\x00", draw.randbytes(3))
        )
    return bytes(value)


def cut(draw: random.Random, whole: Payload) -> bytes:
    at = draw.randrange(len(whole.value))
    return whole.value[:at] if draw.random() < 0.7 else whole.value[at:]


def other_types(draw: random.Random, whole: Payload) -> bytes:
    """One to three values become another type, an extreme number, a text no terminal survives, a deep nest."""
    count = draw.choice((1, 1, 1, 2, 3))
    return _replaced(whole, [(draw.choice(whole.values), _nasty(draw)) for _ in range(count)])


def extreme_numbers(draw: random.Random, whole: Payload) -> bytes:
    numbers = [span for span in whole.values if whole.value[span[0]] in b"-0123456789"] or whole.values
    return _replaced(whole, [(span, draw.choice(NUMBERS)) for span in draw.choices(numbers, k=draw.randint(1, 3))])


def twisted_texts(draw: random.Random, whole: Payload) -> bytes:
    """Half a surrogate, a bidi override or an escape sequence within a text."""
    texts = [span for span in whole.values if whole.value[span[0] : span[0] + 1] == b'"'] or whole.values
    changes = []
    for start, end in draw.choices(texts, k=draw.randint(1, 3)):
        at = draw.randint(start + 1, max(end - 1, start + 1))
        changes.append(((at, at), draw.choice(TEXTS)[1:-1]))
    return _replaced(whole, changes)


def keys_twice(draw: random.Random, whole: Payload) -> bytes:
    """A key once more, before or under another's name, with a value of its own."""
    changes = []
    for start, end in draw.choices(whole.keys, k=draw.randint(1, 3)):
        if draw.random() < 0.7:
            changes.append(((start, start), whole.value[start:end] + b":" + _nasty(draw) + b","))
        else:
            other = draw.choice(whole.keys)
            changes.append(((start, end), whole.value[other[0] : other[1]]))
    return _replaced(whole, changes)


def nested(draw: random.Random, whole: Payload) -> bytes:
    start, end = draw.choice(whole.values)
    depth = draw.choice((1, 2, 3, 50, 98, 99, 100, 101, 200, 200, HUGE if draw.random() < 0.2 else 5))
    opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return _replaced(whole, [((start, end), opening * depth + whole.value[start:end] + closing * depth)])


def taken_out(draw: random.Random, whole: Payload) -> bytes:
    return _replaced(whole, [(draw.choice(whole.values), b"") for _ in range(draw.randint(1, 2))])


def spliced(draw: random.Random, whole: Payload) -> bytes:
    """A value, or the second half, of another payload, of any codec."""
    other = draw.choice(corpus())
    if whole.values and other.values and draw.random() < 0.7:
        start, end = draw.choice(other.values)
        return _replaced(whole, [(draw.choice(whole.values), other.value[start:end])])
    return whole.value[: draw.randrange(len(whole.value))] + other.value[draw.randrange(len(other.value)) :]


def several(draw: random.Random, whole: Payload) -> bytes:
    """Lines or elements that do not belong together."""
    parts = [whole.value, other_types(draw, whole) if whole.values else b"{}", draw.choice(_LIGHT)]
    draw.shuffle(parts)
    return b"\n".join(parts) if draw.random() < 0.5 else b"[" + b",".join(parts) + b"]"


def untouched(_draw: random.Random, whole: Payload) -> bytes:
    return whole.value


ANY: tuple[Mutation, ...] = (bit_flips, overwritten, cut, spliced, several, untouched)
JSON_ONLY: tuple[Mutation, ...] = (
    *(other_types, other_types, extreme_numbers, extreme_numbers, twisted_texts, keys_twice, nested, taken_out),
)
_SAID = tuple(sorted({min(codec.CONTENT_TYPES) for codec in discover_codecs().values()}))


def mutated(draw: random.Random) -> tuple[bytes, str | None]:
    """One record and the content type it claims: mostly its own, sometimes none, another's or nonsense."""
    whole = draw.choice(corpus())
    value = draw.choice(ANY + JSON_ONLY if whole.values and whole.keys else ANY)(draw, whole)
    claim = draw.random()
    if claim < 0.75:
        return value, min(discover_codecs_once()[whole.format].CONTENT_TYPES)
    if claim < 0.9:
        return value, None
    return value, draw.choice((*_SAID, "application/json", "gzip", "\x1b[2J", "a/b; c=\ud800", "x" * 5_000))


discover_codecs_once = functools.cache(discover_codecs)


def _nasty(draw: random.Random) -> bytes:
    return draw.choice(NASTY if draw.random() < 0.1 else _LIGHT)


def _replaced(whole: Payload, changes: Sequence[tuple[Span, bytes]]) -> bytes:
    """The payload with spans replaced, from the end; a span within one that went is left out."""
    value, border = whole.value, len(whole.value)
    for (start, end), new in sorted(changes, reverse=True):
        if end <= border:
            value, border = value[:start] + new + value[end:], start
    return value
