"""Nothing is lost, nothing is told: every event of every record is accounted for once, and no secret leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.types import Components, Document, InferenceEvent, Message, ToolCall
from streams.dlq import WHOLE_RECORD, Record
from streams.pipeline import Pipeline, Processed
from streams.privacy import ContentMode, Privacy
from streams.rows import DEAD_LETTERS, EVENTS, columns

KEY = b"k" * 32
NOW_S = 1_750_000_000.0
LIMIT_BYTES = 4_000
WHO = {"principal": "acct-7731-zeta", "network": "203.0.113.77", "user_agent": "probe/9.1", "session": "sess-44-q"}
SECRETS = ("mallory@example.com", "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z", "4111 1111 1111 1111")


def pipeline(mode: ContentMode = ContentMode.REDACTED) -> Pipeline:
    return Pipeline(topic_id="t", privacy=Privacy(KEY, mode), mode=mode, hash_key=KEY, max_record_bytes=LIMIT_BYTES)


def record(value: bytes, offset: int = 0) -> Record:
    return Record(topic="inference-logs", partition=0, offset=offset, time_s=NOW_S, value=value)


texts = st.text(max_size=40)
counts = st.none() | st.integers(-1, 2**63)
amounts = st.none() | st.floats() | st.just("12")
events = st.fixed_dictionaries(
    {"deployment": st.sampled_from(["a", "b", "", "ü\x00"])},
    optional={
        "time_s": amounts,
        "latency_s": amounts,
        "input_tokens": counts,
        "principal": texts,
        "prediction": texts,
        "features": st.dictionaries(texts, amounts | texts, max_size=3),
        "input_messages": st.lists(st.fixed_dictionaries({"role": texts}, optional={"content": texts}), max_size=3),
        "output_messages": st.lists(st.fixed_dictionaries({"role": texts}, optional={"content": texts}), max_size=3),
        "unheard_of": texts,
    },
)


def as_json(batch: list[dict[str, object]]) -> bytes:
    return b"[" + b",".join(msgspec.json.encode(event) for event in batch) + b"]"


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A batch with some of its bytes written over, or cut."""
    value = bytearray(as_json(draw(st.lists(events, min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        value[draw(st.integers(0, len(value) - 1))] = draw(st.integers(0, 255))
    return bytes(value[: draw(st.integers(0, len(value)))])


batches = st.lists(events, min_size=1, max_size=5)
values = st.one_of(
    batches.map(as_json),
    damaged(),
    st.binary(max_size=64),
    st.sampled_from([b"", b" ", b"null", b"[]", b"x" * (LIMIT_BYTES + 1), b"[" * LIMIT_BYTES, b'{"deployment":NaN}']),
)


def ledger(processed: Processed) -> Counter[tuple[int, int]]:
    places = [(row.offset, row.index) for row in processed.stored]
    return Counter(places + [(letter.offset, letter.event_index) for letter in processed.dead_letters])


@settings(max_examples=150)
@given(st.lists(values, max_size=6))
def test_every_event_of_every_record_is_stored_once_or_dead_once(arbitrary: list[bytes]) -> None:
    processed = pipeline().process([record(value, offset) for offset, value in enumerate(arbitrary)])
    places = ledger(processed)
    assert not places or max(places.values()) == 1
    for offset, value in enumerate(arbitrary):
        indexes = sorted(index for at, index in places if at == offset)
        assert indexes in ([WHOLE_RECORD], list(range(len(indexes)))), value
        if not indexes:
            assert value == b"[]" or processed.ignored
    columns(EVENTS, processed.stored)
    columns(DEAD_LETTERS, processed.dead_letters)
    assert msgspec.msgpack.encode([row.observation for row in processed.stored])


@settings(max_examples=60)
@given(st.lists(batches, min_size=1, max_size=4))
def test_each_element_of_an_array_has_its_own_place(arrays: list[list[dict[str, object]]]) -> None:
    encoded = [as_json(batch) for batch in arrays]
    used = Pipeline(
        topic_id="t",
        privacy=Privacy(KEY, ContentMode.FULL),
        mode=ContentMode.FULL,
        hash_key=KEY,
        input_format="native",
    )
    processed = used.process([record(value, offset) for offset, value in enumerate(encoded)])
    expected = {(offset, index) for offset, batch in enumerate(arrays) for index in range(len(batch))}
    assert set(ledger(processed)) == expected
    assert ledger(processed).total() == len(expected)


def everything(secret: str) -> InferenceEvent:
    """An event with the secret in every text that is somebody's words."""
    said = f"my secret is {secret} ok"
    return InferenceEvent(
        deployment="chat",
        model="gpt-4o",
        system=said,
        input_messages=(
            Message(role="system", content=said),
            Message(role="user", content=said, name=secret),
            Message(role="tool", content=said),
        ),
        output_messages=(
            Message(
                role="assistant", content=said, tool_calls=(ToolCall(name="mail", arguments=f'{{"to":"{said}"}}'),)
            ),
        ),
        documents=(Document(document_id="d", source=f"file of {secret}", content=said, score=0.5),),
        error_type=f"refused {secret}",
        prediction=said,
        features={"contact": said, "age": 41.0},
        components=Components(weights="sha256:00"),
        **WHO,
    )


def stored_bytes(processed: Processed) -> bytes:
    """All that goes to tables for a batch of records."""
    rows = [columns(EVENTS, processed.stored), columns(DEAD_LETTERS, processed.dead_letters)]
    return msgspec.json.encode(rows)


def broken_records(secret: str) -> Sequence[bytes]:
    """Records that are dead letters, with the secret where a reason or a head might repeat it."""
    return (
        f'{{"deployment":"d","latency_s":"{secret}"}}'.encode(),
        f'{{"deployment":"d","features":{{"{secret}":[1]}}}}'.encode(),
        f'{{"unknown":"{secret}"}}'.encode(),
        f'{{"deployment":"d","{secret}'.encode(),
        f"mail from {secret}: hello".encode(),
        f'{{"deployment":"d","input_messages":[{{"role":"user","content":"{secret}"}}],"latency_s":-1}}'.encode(),
        f'{{"schema_version":"{secret}","deployment":"d"}}'.encode(),
        b"\xff " + secret.encode(),
    )


@pytest.mark.parametrize("mode", [ContentMode.REDACTED, ContentMode.FEATURES])
@pytest.mark.parametrize("secret", SECRETS)
def test_no_planted_secret_reaches_a_table(secret: str, mode: ContentMode) -> None:
    values = (msgspec.json.encode(everything(secret)), *broken_records(secret))
    processed = pipeline(mode).process([record(value, offset) for offset, value in enumerate(values)])
    assert len(processed.stored) == 1
    assert len(processed.dead_letters) == len(broken_records(secret))
    assert secret.encode() not in stored_bytes(processed)


@pytest.mark.parametrize("secret", SECRETS)
def test_the_full_mode_keeps_what_was_said_which_shows_that_the_search_can_find_it(secret: str) -> None:
    processed = pipeline(ContentMode.FULL).process([record(msgspec.json.encode(everything(secret)))])
    assert stored_bytes(processed).count(secret.encode()) >= 10


@pytest.mark.parametrize("mode", ContentMode)
def test_who_called_is_a_pseudonym_wherever_it_is_written(mode: ContentMode) -> None:
    processed = pipeline(mode).process([record(msgspec.json.encode(everything("x")))])
    (row,) = processed.stored
    written = stored_bytes(processed) + msgspec.msgpack.encode(row.observation) + msgspec.json.encode(row.event)
    for name, raw in WHO.items():
        pseudonym = getattr(row.event, name)
        assert pseudonym == getattr(row.observation, name)
        assert pseudonym.startswith(f"{name[0]}_") and len(pseudonym) == 34
        assert raw.encode() not in written


def test_the_features_mode_stores_numbers_and_no_words() -> None:
    processed = pipeline(ContentMode.FEATURES).process([record(msgspec.json.encode(everything("x"))), record(b"{", 1)])
    written = stored_bytes(processed)
    assert b"my secret" not in written.replace(b'"my secret is x ok"', b"", 1), "only the prediction is a label"
    (row,) = processed.stored
    assert row.event.input_messages is None and row.event.output_messages is None
    assert row.event.system is None and row.event.documents is None
    assert row.event.features == {"contact": None, "age": 41.0}
    assert row.observation.style is not None and row.observation.prompt_hash is not None
    assert [letter.head for letter in processed.dead_letters] == [""]
