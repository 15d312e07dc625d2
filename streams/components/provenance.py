"""What people and attestations say of a deployment: approved changes and reports of components, as JSON and as notices.

Pure and total: no bytes make `read` raise. A notice comes to the detectors of its deployment as one observation among
the observations of its calls, so that a worker, a replay and a scenario see both in one order.

A line of a file is a notice where it is an object with a top-level ``"inferwatch"`` of one of `KINDS`:

    {"inferwatch": "change", "deployment": "support-chat", "component": "weights", "new": "sha256:...", "ticket": "C-7"}
    {"inferwatch": "component-report", "deployment": "support-chat", "subject": "model", "components": {"weights": ...}}
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from detectors.types import APPROVED, BASELINE, MAX_TIME_S, REJECTED, REPORT, Components, Notice, Observation
from streams.codecs._checks import MAX_DEPLOYMENT_CHARS, MAX_NAME_CHARS
from streams.dlq import WHOLE_RECORD, DeadLetter, Record, Unreadable, dead_letter, printable
from streams.pipeline import MAX_AHEAD_S

CHANGE, COMPONENT_REPORT = "change", "component-report"
KINDS = (CHANGE, COMPONENT_REPORT)
"""Values of the top-level ``"inferwatch"`` of a notice."""

MAX_BYTES = 1_000_000
"""What is read of one notice: what Kafka's topics take by default."""

NOTICED_RISKS, NOTICED_TOOLS, NOTICED_CHARS = 32, 128, 96
"""How much of a report detectors are told; the table has all of it."""

Deployment: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_DEPLOYMENT_CHARS)]
Word: TypeAlias = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
Digest: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Text: TypeAlias = Annotated[str, Meta(max_length=2_000)]
Time: TypeAlias = Annotated[float, Meta(ge=0, le=MAX_TIME_S)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]

CHANGEABLE = (*Components.__struct_fields__, "served_model")
"""What an approved or a rejected change may be of."""

_NOT_JSON = (msgspec.MsgspecError, UnicodeError, RecursionError)
_MARK = b'"inferwatch"'


class NoticeError(ValueError):
    """Never will: it is no notice. The message is one line that says why."""


class Change(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="inferwatch",
    tag=CHANGE,
):
    """What a person decided of one component of a deployment, or, as ``baseline``, of all it does now.

    `new` and `old` are digests as events carry them, or names of served models. An approval holds from `from_s`
    (`None`: from `decided_s` on) until `until_s` (`None`: without an end). All times are unix seconds UTC; without
    `decided_s` it was decided when Kafka got it.
    """

    deployment: Deployment
    component: Word = ""
    new: Word = ""
    old: Digest | None = None
    state: Literal["approved", "rejected", "baseline"] = "approved"
    who: Word = ""
    ticket: Word = ""
    reason: Text = ""
    from_s: Time | None = None
    until_s: Time | None = None
    decided_s: Time | None = None

    def __post_init__(self) -> None:
        """Refuse what means nothing; raises `NoticeError`."""
        _check_lines(self, ("component", "new", "old", "who", "ticket"))
        if self.state != BASELINE and self.component not in CHANGEABLE:
            raise NoticeError(f"component: expected one of {', '.join(CHANGEABLE)}")
        if self.state != BASELINE and not self.new:
            raise NoticeError("new: expected a digest or the name of a served model")
        if self.from_s is not None and self.until_s is not None and self.until_s <= self.from_s:
            raise NoticeError("until_s: expected a time after from_s")

    @property
    def change_id(self) -> str:
        """The same for every decision on the same thing: the latest one counts."""
        told = msgspec.json.encode([self.deployment, self.component, self.new, self.ticket])
        return f"chg-{hashlib.sha256(told).hexdigest()[:16]}"

    @property
    def said_s(self) -> float | None:
        """When it was said, as far as it says."""
        return self.decided_s

    def notice(self) -> Notice:
        """What detectors are told."""
        return Notice(
            kind={"approved": APPROVED, "rejected": REJECTED, "baseline": BASELINE}[self.state],
            component=self.component,
            version=self.new,
            before=self.old,
            from_s=self.from_s,
            until_s=self.until_s,
            reference=(self.ticket or self.change_id)[:NOTICED_CHARS],
        )


class ComponentReport(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="inferwatch",
    tag=COMPONENT_REPORT,
):
    """What an attestation found on the serving side: digests, alarming concerns as ``kind:place``, tools, abilities.

    `subject` is what was attested (model, packages, tools, code), `source` where, `digest` that of all of it and `None`
    where not all could be read. `tools` are names with a digest each, `abilities` count what code can do by its kind.
    """

    deployment: Deployment
    subject: Word
    source: Text = ""
    attested_s: Time | None = None
    digest: Digest | None = None
    components: dict[str, Digest] = {}
    risks: Annotated[tuple[Word, ...], Meta(max_length=1_000)] = ()
    tools: Annotated[tuple[tuple[Text, Digest], ...], Meta(max_length=2_000)] = ()
    abilities: Annotated[dict[Word, Count], Meta(max_length=32)] = {}

    def __post_init__(self) -> None:
        """Refuse what means nothing; raises `NoticeError`."""
        _check_lines(self, ("subject", "source", "digest"))
        unknown = sorted(self.components.keys() - set(Components.__struct_fields__))
        if unknown:
            raise NoticeError(f"components: expected some of {', '.join(Components.__struct_fields__)}")

    @property
    def report_id(self) -> str:
        """The same for the same findings at the same time."""
        return f"rep-{hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]}"

    @property
    def said_s(self) -> float | None:
        """When it was said, as far as it says."""
        return self.attested_s

    def notice(self) -> Notice:
        """What detectors are told: the tool list in part where it is longer than anybody's."""
        return Notice(
            kind=REPORT,
            version=self.digest or "",
            reference=f"{self.subject} {self.source}".strip()[:NOTICED_CHARS],
            # Names of files and tools are whatever an attacker called them.
            risks=tuple(printable(risk)[:NOTICED_CHARS] for risk in self.risks[:NOTICED_RISKS]),
            tools=tuple((printable(name)[:NOTICED_CHARS], digest) for name, digest in self.tools[:NOTICED_TOOLS]),
        )


Said: TypeAlias = Change | ComponentReport

_DECODERS: dict[str, msgspec.json.Decoder[Change] | msgspec.json.Decoder[ComponentReport]] = {
    CHANGE: msgspec.json.Decoder(Change),
    COMPONENT_REPORT: msgspec.json.Decoder(ComponentReport),
}


class _Marked(msgspec.Struct):
    inferwatch: str = ""


_MARKED = msgspec.json.Decoder(_Marked)


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """A notice with its identity and time: a row of the store and an observation. `event_id` is where it came from."""

    said: Said
    event_id: str
    time_s: float

    @property
    def observation(self) -> Observation:
        """What the detectors of the deployment see of it, among its calls."""
        components = None
        if isinstance(self.said, ComponentReport):
            components = tuple(self.said.components.get(name) for name in Components.__struct_fields__)
        return Observation(
            event_id=self.event_id,
            time_s=self.time_s,
            deployment=self.said.deployment,
            components=components,
            notice=self.said.notice(),
        )


def encode(said: Said) -> bytes:
    """One JSON line, without its end."""
    return msgspec.json.encode(said)


def checked(said: Said) -> bytes:
    """The same, of what every reader takes: a constructor does not check lengths. Raises `NoticeError`."""
    value = encode(said)
    decode(CHANGE if isinstance(said, Change) else COMPONENT_REPORT, value)
    return value


def kind_of(value: bytes) -> str | None:
    """The kind of notice that a line is, `None` for a log record; a record without the word is not parsed."""
    if _MARK not in value:
        return None
    try:
        kind = _MARKED.decode(value).inferwatch
    except _NOT_JSON:
        return None
    return kind if kind in KINDS else None


def decode(kind: str, value: bytes) -> Said:
    """The notice of `kind` that `value` is. Raises `NoticeError`.

    The kind is the topic's: who may only send reports must not be able to approve a change.
    """
    if isinstance(value, Unreadable):
        raise NoticeError(value.reason)
    if len(value) > MAX_BYTES:
        raise NoticeError(f"it has {len(value)} bytes; more than {MAX_BYTES} are no notice")
    try:
        if _MARKED.decode(value).inferwatch != kind:
            raise NoticeError(f'it is no {kind}; expected a JSON object with "inferwatch": "{kind}"')
        return _DECODERS[kind].decode(value)
    except _NOT_JSON as error:
        raise NoticeError(f"{kind}: {error}") from None


def read(kind: str, record: Record, topic_id: str) -> Noted | DeadLetter:
    """The notice that one record of a topic holds, or why it holds none.

    A time that is a broken clock's becomes the record's, as that of an event does.
    """
    try:
        said = decode(kind, record.value)
    except NoticeError as error:
        # No head of it: who wrote it may have put anything there.
        return dead_letter(record, topic_id, str(error), WHOLE_RECORD, lambda _head: "")
    said_s = said.said_s
    told = said_s is not None and 0.0 < said_s <= min(MAX_TIME_S, record.time_s + MAX_AHEAD_S)
    return Noted(
        said=said,
        event_id=f"{topic_id}:{record.partition}:{record.offset}:0",
        time_s=said_s if told and said_s is not None else record.time_s,
    )


def _check_lines(said: Said, names: tuple[str, ...]) -> None:
    """Names and ids are shown in terminals, findings and mails: what is not printable is somebody's trick."""
    if said.deployment.isspace():
        raise NoticeError("deployment: expected a name, got an empty text")
    for name in names:
        text = getattr(said, name)
        if text is not None and not text.isprintable():
            raise NoticeError(f"{name}: expected printable characters on one line")
