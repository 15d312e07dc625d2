"""No canary comes out of the pure half: rows, observations, dead letters, findings and saved state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import pytest

from detectors.bank import Bank
from detectors.base import DEPLOYMENT, PRINCIPAL
from detectors.types import InferenceEvent
from streams.codecs import UndecodableError
from streams.composing import make_bank, make_pipeline
from streams.dlq import Record
from streams.keys import derive
from streams.pipeline import Processed, discover_codecs
from streams.rows import DEAD_LETTERS, EVENTS, FINDINGS, columns
from streams.settings import Settings
from tests.security.canaries import ALL, CANARIES, Planted, leaked, malformed

KEY = "0123456789abcdef" * 4
TIME_S = 1_790_000_000.0
IDENTITIES = ("principal", "network", "user_agent", "session")
CODECS = discover_codecs()
_MOST_OBSERVED = 1_000
"""Each planted observation is another subject with detectors of its own: all of them take half a minute."""


def record(value: bytes, offset: int, input_format: str = "", content_type: str = "") -> Record:
    named = content_type or (min(CODECS[input_format].CONTENT_TYPES) if input_format else "")
    return Record(
        topic="inference-logs",
        partition=0,
        offset=offset,
        time_s=TIME_S,
        value=value,
        key=ALL.encode(),
        headers=(("content-type", named.encode()), (ALL, ALL.encode())),
    )


def processed(mode: str, records: Iterable[Record]) -> Processed:
    settings = Settings(content_mode=mode, redact_ips=True, key=KEY)
    return make_pipeline(settings, derive(KEY), "replay").process(records)


def sinks(done: Processed, banks: Sequence[Bank] = ()) -> dict[str, bytes]:
    """What goes to each sink, as bytes that can be searched."""
    observations = [row.observation for row in done.stored]
    some = observations[:: max(len(observations) // _MOST_OBSERVED, 1)]
    findings = [finding for bank in banks for finding in bank.apply(0, 0, some)]
    return {
        "inference_events": repr(columns(EVENTS, done.stored)).encode(),
        "observations": msgspec.msgpack.encode(observations),
        "dead_letters": repr(columns(DEAD_LETTERS, done.dead_letters)).encode(),
        "findings": repr(columns(FINDINGS, findings)).encode(),
        "findings topic": msgspec.json.encode(findings),
        "snapshots": repr([bank.take_changed() for bank in banks]).encode(),
    }


def planted_everywhere() -> list[Record]:
    planted = Planted(lambda text, _number: f"{text} {ALL}")
    return [record(value, offset, name) for offset, (name, value) in enumerate(planted.records())]


@pytest.fixture(scope="module")
def everywhere() -> list[Record]:
    records = planted_everywhere()
    assert len(records) > 500
    assert {each.content_type for each in records} == {min(codec.CONTENT_TYPES) for codec in CODECS.values()}
    return records


@pytest.mark.parametrize("mode", ["redacted", "features"])
def test_a_canary_in_any_text_of_any_format_goes_nowhere(mode: str, everywhere: list[Record]) -> None:
    settings = Settings(key=KEY)
    done = processed(mode, everywhere)
    assert len(done.stored) > 500 and done.dead_letters
    for sink, data in sinks(done, [make_bank(settings, scope) for scope in (DEPLOYMENT, PRINCIPAL)]).items():
        assert not leaked(data), sink
    assert "[card]" in repr(done.stored) or mode == "features", "the canaries were read and replaced"


def test_the_search_for_canaries_finds_them_where_everything_is_stored(everywhere: list[Record]) -> None:
    assert set(leaked(sinks(processed("full", everywhere))["inference_events"])) == set(CANARIES)


@pytest.mark.parametrize("mode", ["redacted", "features"])
def test_a_canary_in_what_never_decodes_goes_nowhere(mode: str) -> None:
    broken = [record(value, offset, content_type=f"text/{ALL}") for offset, value in enumerate(malformed())]
    broken += [record(value, 100 + offset, "native") for offset, value in enumerate(malformed())]
    done = processed(mode, broken)
    assert len(done.dead_letters) >= len(broken)
    for sink, data in sinks(done).items():
        assert not leaked(data), sink


@pytest.mark.parametrize("mode", ["full", "redacted", "features"])
def test_who_called_goes_nowhere_in_any_mode(mode: str) -> None:
    """A principal, an address, a user agent and a session have no shape: they are known by their field alone."""
    tagged = Planted(lambda text, number: f"{text}zq{number}qz")
    records = [record(value, offset, name) for offset, (name, value) in enumerate(tagged.records())]
    callers = {tag for each in records for tag in identities(each)}
    assert len(callers) > 20
    data = b"".join(sinks(processed(mode, records)).values())
    assert not [caller for caller in callers if caller.encode() in data]


def identities(each: Record) -> set[str]:
    """The tags that a codec read as who called."""
    codec = next(codec for codec in CODECS.values() if each.content_type in codec.CONTENT_TYPES)
    try:
        events = [item for item in codec.decode(each.value).items if isinstance(item, InferenceEvent)]
    except UndecodableError:
        return set()
    said = [str(getattr(event, name)) for event in events for name in IDENTITIES if getattr(event, name)]
    return {text[text.rindex("zq", 0, text.rindex("qz")) :] for text in said if text.endswith("qz")}
