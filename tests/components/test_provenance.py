"""Changes and reports of components: what is read, what is refused and why, and where a line of a file goes."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detectors.alarms import Budget
from detectors.bank import Bank
from detectors.base import DEPLOYMENT, PRINCIPAL
from detectors.types import APPROVED, BASELINE, REJECTED, REPORT, Components, Observation
from streams import sending
from streams.attesting.models import attest_model
from streams.attesting.report import Attestation
from streams.attesting.risks import report_of
from streams.attesting.tool_lists import attest_tools
from streams.attesting.walking import survey
from streams.components.provenance import (
    CHANGE,
    COMPONENT_REPORT,
    KINDS,
    MAX_BYTES,
    Change,
    ComponentReport,
    Noted,
    NoticeError,
    checked,
    decode,
    encode,
    kind_of,
    read,
)
from streams.dlq import DeadLetter, Record, Unreadable
from streams.pipeline import Pipeline
from streams.privacy import ContentMode, Privacy
from streams.replay import TOPIC, observed, replay, summed
from streams.sending import records, send_record
from streams.settings import Settings

NOW_S = 1_750_000_000.0
KEY = b"k" * 32
APPROVAL = Change(
    deployment="chat",
    component="weights",
    new="sha256:2",
    old="sha256:1",
    who="ana",
    ticket="CHG-1",
    reason="retrained\non June's data",
    from_s=NOW_S,
    until_s=NOW_S + 3_600.0,
    decided_s=NOW_S - 5.0,
)
REPORTED = ComponentReport(
    deployment="chat",
    subject="model",
    source="models/chat",
    attested_s=NOW_S,
    digest="sha256:7",
    components={"weights": "sha256:2", "tokenizer": "sha256:3"},
    risks=("unsafe_pickle:model.bin",),
    tools=(("search", "sha256:9"),),
    abilities={"process": 2},
)
PLAIN: dict[str, Any] = {"inferwatch": "change", "deployment": "chat", "component": "weights", "new": "sha256:2"}


def record(value: bytes, offset: int = 7) -> Record:
    return Record(topic="changes", partition=3, offset=offset, time_s=NOW_S, value=value)


def noted(value: bytes, kind: str = CHANGE) -> Noted:
    found = read(kind, record(value), "t" * 32)
    assert isinstance(found, Noted), found.reason
    return found


def line(**fields: Any) -> bytes:
    return json.dumps({**PLAIN, **fields}).encode()


@pytest.mark.parametrize("said", [APPROVAL, REPORTED], ids=["a change", "a report"])
def test_what_is_encoded_is_one_line_that_reads_back_as_it_was(said: Change | ComponentReport) -> None:
    value = encode(said)
    assert b"\n" not in value
    kind = kind_of(value)
    assert kind is not None
    assert decode(kind, value) == said
    assert checked(said) == value


def test_a_change_is_told_to_detectors_with_window_digests_and_ticket() -> None:
    seen = noted(encode(APPROVAL)).observation
    assert (seen.event_id, seen.time_s, seen.deployment) == (f"{'t' * 32}:3:7:0", NOW_S - 5.0, "chat")
    notice = seen.notice
    assert notice is not None
    assert (notice.kind, notice.component, notice.version, notice.before) == (
        APPROVED,
        "weights",
        "sha256:2",
        "sha256:1",
    )
    assert (notice.from_s, notice.until_s, notice.reference) == (NOW_S, NOW_S + 3_600.0, "CHG-1")
    assert seen.principal is None


def test_a_report_is_told_with_the_digests_in_the_order_of_components() -> None:
    seen = noted(encode(REPORTED), COMPONENT_REPORT).observation
    assert seen.components == tuple(REPORTED.components.get(name) for name in Components.__struct_fields__)
    assert seen.notice is not None
    assert (seen.notice.kind, seen.notice.version) == (REPORT, "sha256:7")
    assert seen.notice.risks == REPORTED.risks
    assert seen.notice.tools == REPORTED.tools


@pytest.mark.parametrize(
    ("state", "kind"), [("approved", APPROVED), ("rejected", REJECTED), ("baseline", BASELINE)], ids=lambda each: each
)
def test_every_state_is_a_kind_of_notice(state: str, kind: str) -> None:
    notice = noted(line(state=state)).observation.notice
    assert notice is not None
    assert notice.kind == kind


def test_a_baseline_needs_neither_component_nor_digest() -> None:
    assert noted(b'{"inferwatch":"change","deployment":"chat","state":"baseline"}').said.deployment == "chat"


def test_another_decision_on_the_same_thing_has_its_id_and_one_on_another_thing_has_not() -> None:
    again = msgspec.structs.replace(APPROVAL, state="rejected", who="bo", decided_s=NOW_S, until_s=None, reason="")
    assert again.change_id == APPROVAL.change_id
    others = [{"new": "sha256:3"}, {"deployment": "b"}, {"component": "image"}, {"ticket": "CHG-2"}]
    ids = {msgspec.structs.replace(APPROVAL, **each).change_id for each in others}
    assert len(ids | {APPROVAL.change_id}) == 5


@pytest.mark.parametrize("decided_s", [None, NOW_S + 90_000.0], ids=["says none", "is days ahead"])
def test_a_notice_whose_clock_is_broken_happened_when_kafka_got_it(decided_s: float | None) -> None:
    assert noted(line(decided_s=decided_s) if decided_s else line()).time_s == NOW_S


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"deployment": ""}, "change: Expected `str` of length >= 1 - at `$.deployment`"),
        ({"deployment": " "}, "change: deployment: expected a name, got an empty text"),
        ({"deployment": "d" * 257}, "change: Expected `str` of length <= 256 - at `$.deployment`"),
        ({"deployment": 1}, "change: Expected `str`, got `int` - at `$.deployment`"),
        ({"component": "wieghts"}, "change: component: expected one of weights, adapter"),
        ({"component": "weights\x1b[2J"}, "change: component: expected printable characters on one line"),
        ({"new": ""}, "change: new: expected a digest or the name of a served model"),
        ({"new": "sha256:\u202e2"}, "change: new: expected printable characters on one line"),
        ({"new": "x" * 257}, "change: Expected `str` of length <= 256"),
        ({"who": "a\nb"}, "change: who: expected printable characters on one line"),
        ({"ticket": "\x00"}, "change: ticket: expected printable characters on one line"),
        ({"reason": "x" * 2_001}, "change: Expected `str` of length <= 2000"),
        ({"state": "maybe"}, "change: Invalid enum value 'maybe'"),
        ({"until_s": -1}, "change: Expected `float` >= 0.0"),
        ({"until_s": 5e9}, "change: Expected `float` <= 4102444800.0"),
        ({"from_s": NOW_S, "until_s": NOW_S}, "change: until_s: expected a time after from_s"),
        ({"from_s": "now"}, "change: Expected `float | null`, got `str`"),
        ({"tikcet": "CHG-1"}, "change: Object contains unknown field `tikcet`"),
        ({"inferwatch": "component-report"}, "it is no change; expected a JSON object with"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_means_nothing_is_a_dead_letter_that_says_why(fields: dict[str, Any], reason: str) -> None:
    letter = read(CHANGE, record(line(**fields)), "t" * 32)
    assert isinstance(letter, DeadLetter)
    assert letter.reason.startswith(reason)
    assert (letter.partition, letter.offset, letter.event_index, letter.head) == (3, 7, -1, "")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"components": {"weigths": "x"}}, "components: expected some of weights, adapter"),
        ({"components": {"weights": ""}}, "Expected `str` of length >= 1"),
        ({"risks": ["x"] * 1_001}, "Expected `array` of length <= 1000"),
        ({"tools": [["a"]]}, "Expected `array` of length 2"),
        ({"tools": [["a", "b"]] * 2_001}, "Expected `array` of length <= 2000"),
        ({"abilities": {"a": -1}}, "Expected `int` >= 0"),
        ({"abilities": {"a": 2**60}}, "Expected `int` <= "),
        ({"source": "a\x1b"}, "source: expected printable characters on one line"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_report_beyond_its_limits_is_a_dead_letter(fields: dict[str, Any], reason: str) -> None:
    value = json.dumps({"inferwatch": "component-report", "deployment": "d", "subject": "model", **fields}).encode()
    letter = read(COMPONENT_REPORT, record(value), "t" * 32)
    assert isinstance(letter, DeadLetter)
    assert letter.reason.startswith(f"component-report: {reason}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"inferwatch":"change","a":' + b"[" * 100_000,
        b'{"inferwatch":"change","deployment":"d","component":"weights","new":"\\ud800a"}',
        b'{"inferwatch":"change","deployment":"d","component":"weights","new":"x","from_s":1e999}',
        b'{"inferwatch":"change","deployment":"d","component":"weights","new":"x","from_s":NaN}',
        b'{"inferwatch":["change"]}',
        b'{"inferwatch":"change"}{"inferwatch":"change"}',
        b"x" * (MAX_BYTES + 1),
        Unreadable(b"x", "it was packed by an unknown compression"),
    ],
    ids=lambda each: repr(bytes(each)[:30]) if isinstance(each, bytes) else each,
)
def test_no_bytes_make_the_reading_fail(kind: str, value: bytes) -> None:
    assert isinstance(read(kind, record(value), "t" * 32), DeadLetter)


def test_notices_with_bytes_changed_at_random_are_notices_or_dead_letters() -> None:
    rng = random.Random(5)
    for value, kind in ((encode(APPROVAL), CHANGE), (encode(REPORTED), COMPONENT_REPORT)):
        for _ in range(3_000):
            broken = bytearray(value)
            for _ in range(rng.randint(1, 4)):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            found = read(kind, record(bytes(broken)), "t" * 32)
            if isinstance(found, Noted):
                msgspec.msgpack.encode(found.observation)


def test_who_may_only_report_cannot_approve() -> None:
    assert isinstance(read(COMPONENT_REPORT, record(encode(APPROVAL)), "t" * 32), DeadLetter)


def test_detectors_are_told_a_bounded_part_in_inert_text() -> None:
    names = [f"tool {number}\x1b[2J" + "x" * 200 for number in range(300)]
    report = msgspec.structs.replace(
        REPORTED, tools=tuple((name, "sha256:9") for name in names), risks=tuple(f"r:{name}"[:256] for name in names)
    )
    notice = noted(encode(report), COMPONENT_REPORT).observation.notice
    assert notice is not None
    assert (len(notice.tools), len(notice.risks)) == (128, 32)
    texts = [name for name, _ in notice.tools] + list(notice.risks)
    assert all(len(text) <= 96 and text.isprintable() for text in texts)


@pytest.mark.parametrize(
    "value",
    [
        b'{"deployment":"chat","input_messages":[{"role":"user","content":"say \\"inferwatch\\": \\"change\\""}]}',
        b'{"deployment":"chat","metadata":{"inferwatch":"change"}}',
        b'{"deployment":"chat","inferwatch":"something"}',
        b'{"deployment":"chat","inferwatch":1}',
        b'[{"inferwatch":"change"}]',
        b'{"inferwatch":"change"',
    ],
    ids=["in a text", "deeper", "another kind", "no text", "in a list", "cut off"],
)
def test_what_only_looks_like_a_notice_is_a_log_record(value: bytes) -> None:
    assert kind_of(value) is None


def test_a_caller_cannot_have_a_change_approved_through_what_the_application_logs() -> None:
    prompt = {"deployment": "chat", "input_messages": [{"role": "user", "content": encode(APPROVAL).decode()}]}
    value = json.dumps(prompt).encode()
    assert kind_of(value) is None
    assert [kind_of(each) for each in records("-", io.BytesIO(value))] == [None]


def test_a_notice_is_a_record_of_its_own_at_its_place_in_a_file() -> None:
    calls = [b'{"deployment":"chat","n":%d}\n' % number for number in range(6)]
    content = b"".join([*calls[:2], encode(APPROVAL) + b"\n", encode(REPORTED) + b"\n", *calls[2:]])
    read_back = list(records("-", io.BytesIO(content)))
    assert [kind_of(each) for each in read_back] == [None, CHANGE, COMPONENT_REPORT, None]
    assert b"".join(read_back) == content


class ListProducer:
    """Kafka as a list."""

    def __init__(self) -> None:
        self.sent: list[tuple[str | None, bytes | None, str | None]] = []

    def send(self, _value: bytes, content_type: str | None = None, **to: Any) -> None:
        self.sent.append((to.get("topic"), to.get("key"), content_type))


def test_a_notice_goes_to_its_own_topic_by_deployment_and_a_log_to_the_topic_of_logs() -> None:
    producer: Any = ListProducer()
    settings = Settings(topic_prefix="test-")
    values = [encode(APPROVAL), encode(REPORTED), b'{"deployment":"chat"}', b'{"inferwatch":"change"}']
    sent = [send_record(settings, producer, value, "application/json", b"a.jsonl") for value in values]
    assert sent == [True, True, False, True]
    assert producer.sent == [
        ("test-changes", b"chat", None),
        ("test-component-reports", b"chat", None),
        (None, b"a.jsonl", "application/json"),  # a file's logs share a partition, and so their order
        ("test-changes", None, None),  # no change; the worker makes it a dead letter that says why
    ]


def test_the_pace_of_a_file_knows_when_a_notice_was_said() -> None:
    assert sending.first_time_s({}, "", encode(APPROVAL)) == NOW_S - 5.0


class Listening(Bank):
    """A bank that notes what it is given."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope, Budget(per_day=2.0, deployments=1, principals=10), {})
        self.seen: list[tuple[int, Observation]] = []

    def apply(self, partition: int, offset: int, observations: Any) -> Any:
        self.seen += [(offset, each) for each in observations]
        return super().apply(partition, offset, observations)


def test_a_replay_shows_notices_to_detectors_in_the_order_of_the_file() -> None:
    mode = ContentMode.REDACTED
    pipeline = Pipeline(topic_id=TOPIC, privacy=Privacy(KEY, mode), mode=mode, hash_key=KEY)
    call = b'{"deployment":"chat","served_model":"m"}\n'
    content = call + encode(APPROVAL) + b"\n" + call + line(component="x") + b"\n" + call
    values = list(records("-", io.BytesIO(content)))
    bank = Listening(DEPLOYMENT)
    totals = summed(replay(values, NOW_S, pipeline, [bank, Listening(PRINCIPAL)]), lambda _finding: None)
    assert (totals.events, totals.notices, totals.dead_letters) == (3, 1, 1)
    assert [(offset, each.notice is not None) for offset, each in bank.seen] == [
        (0, False),
        (1, True),
        (2, False),
        (4, False),
    ]
    assert [each.event_id for _, each in bank.seen][1] == f"{TOPIC}:0:1:0"
    assert [len(each) for each in observed(values, NOW_S, pipeline)] == [1, 1, 1, 0, 1]


def attested(directory: Path) -> Attestation:
    return attest_model(directory, survey(directory), lambda _size: None)


def test_a_report_of_an_attestation_tells_a_pickle_that_runs_code_from_other_alarms(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    (tmp_path / "weights.safetensors").write_bytes(b"\xff" * 16)
    (tmp_path / "config.json").write_text("{}")
    report = report_of(attested(tmp_path), "chat", NOW_S)
    assert report.risks == ("unsafe_file:weights.safetensors", "unsafe_pickle:model.bin")
    assert report.components.keys() <= set(Components.__struct_fields__)
    assert report.components["weights"].startswith("sha256:")
    assert decode(COMPONENT_REPORT, checked(report)) == report


def test_a_report_of_a_hostile_tool_list_is_taken_by_every_worker() -> None:
    listed = [{"name": f"t{number}\x1b[2J", "description": "\u200bhidden"} for number in range(3_000)]
    report = report_of(attest_tools("tools\x1b.json", json.dumps(listed).encode()), "chat", NOW_S)
    assert len(report.tools) == 2_000
    assert len(report.risks) == 1_000
    assert report.components["tool_list"] == report.digest
    assert decode(COMPONENT_REPORT, checked(report)) == report


def test_a_notice_that_no_worker_takes_is_refused_before_it_is_sent() -> None:
    with pytest.raises(NoticeError, match="length <= 256"):
        checked(msgspec.structs.replace(APPROVAL, ticket="x" * 300))
