"""Who called becomes a keyed pseudonym, what they wrote becomes redacted text, before anything is stored.

Two steps, so that the pipeline can compute features in between: `Privacy.identities` (pseudonyms always, names
and labels redacted unless everything is stored) and `Privacy.text` (as the content mode says). Names and labels
come first because detectors see and remember them, and findings quote them. What redaction cannot know stays:
names of people, addresses, secrets without a recognizable shape.
"""

from __future__ import annotations

import bisect
import enum
import functools
import hashlib
import operator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from detectors.hosts import renamed
from detectors.types import Components
from streams.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from detectors.types import Document, InferenceEvent, Message, Observation, ToolCall

_IDS: Final = ("trace_id", "span_id", "response_id")
"""New with every call: looked at each time, those of a batch together."""

_NAMES: Final = ("deployment", "operation", "model", "served_model", "provider", "region")
_LABELS: Final = ("error_type", "prediction")
"""What should be a word and may be a sentence, with what a person wrote in it."""

_SAID: Final = (*_NAMES, "error_type", "finish_reasons", "egress_hosts", "components")
"""What is the same in call after call: what redaction makes of all of it together is kept. A prediction may be a
number, new with every call."""

_ROLES: Final = frozenset(("system", "user", "assistant", "tool", "developer"))
"""Plain words, with nothing to redact."""

_MAX_LABEL_CHARS: Final = 64

CACHED_NAMES: Final = 65_536
"""Names seen before per process: they come again with every call."""

_MAX_CACHED_CHARS: Final = 256
"""Longer ones are not kept: a sender chooses them, and a cache of megabytes each fills the memory."""

CACHED_PSEUDONYMS: Final = 65_536
"""Pseudonyms kept per process, about 20 MB. Without a bound a scan through random API keys fills the memory."""

CACHED_CALLERS: Final = 2_048
"""Kinds of calls whose names are kept together, at most `_MAX_SAID_CHARS` each: about 10 MB whatever is sent."""

_MAX_SAID_CHARS: Final = 1_024

_NOTHING: Final[Mapping[str, object]] = {}

_ids_of = operator.attrgetter(*_IDS)
_said_of = operator.attrgetter(*_SAID)


def _digests_of(components: Components) -> Iterator[tuple[str, str | None]]:
    return ((name, getattr(components, name)) for name in Components.__struct_fields__)


def _texts_of(event: InferenceEvent) -> Iterator[str | None]:
    """Everything of an event that `Privacy.text` may redact."""
    for messages in (event.input_messages, event.output_messages):
        for message in messages or ():
            if message.role not in _ROLES:
                yield message.role
            yield message.content
            if message.name:
                yield message.name
            for call in message.tool_calls or ():
                yield from (call.name, call.arguments, call.call_id)
    for document in event.documents or ():
        yield from (document.document_id, document.source, document.content)
    if event.system:
        yield event.system
    for name, value in (event.features or {}).items():
        yield name
        if isinstance(value, str):
            yield value


class ContentMode(enum.StrEnum):
    """What is stored of texts."""

    FULL = "full"
    REDACTED = "redacted"
    FEATURES = "features"


class Pseudonymizer:
    """Keyed BLAKE2b, 128 bits, a domain per kind: equal values meet, nobody without the key can guess or link.

    The same text as principal and as user agent gives two unrelated pseudonyms. Raises `ValueError` on an
    empty key: an unkeyed hash of an IP address is reversed in minutes.
    """

    def __init__(self, key: bytes, cached: int = CACHED_PSEUDONYMS) -> None:
        """Keep up to `cached` pseudonyms at hand."""
        if not key:
            raise ValueError("the pseudonym key is empty")
        self._key = key if len(key) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.sha256(key).digest()
        self._cached: Callable[[str, str], str] = functools.lru_cache(maxsize=cached)(self._derive)

    def pseudonym(self, kind: str, value: str) -> str:
        """For instance ``p_3f9c...`` for a principal; `kind` is at most 16 bytes."""
        return self._cached(kind, value) if len(value) <= _MAX_CACHED_CHARS else self._derive(kind, value)

    def _derive(self, kind: str, value: str) -> str:
        text = value.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=16, key=self._key, person=kind.encode())
        return f"{kind[0]}_{digest.hexdigest()}"


class Privacy:
    """The policy of one installation, applied to events.

    `redact_ips` is a setting because addresses are evidence to some and personal data to others.
    """

    def __init__(self, key: bytes, mode: ContentMode = ContentMode.REDACTED, *, redact_ips: bool = False) -> None:
        """Take the key of the installation; another key makes everybody a stranger."""
        self._pseudonym = Pseudonymizer(key).pseudonym
        self._text_changes = {
            ContentMode.FULL: _nothing,
            ContentMode.REDACTED: self._redactions,
            ContentMode.FEATURES: self._removals,
        }[mode]
        self._redactor = Redactor(ips=redact_ips)
        self.redact = self._redactor.redact
        self._cached: Callable[[str], str] = functools.lru_cache(maxsize=CACHED_NAMES)(self.redact)
        self._label = self._word if mode is ContentMode.FEATURES else self._name
        hosts: dict[ContentMode, Callable[[str], str]] = {
            ContentMode.FULL: str,
            ContentMode.REDACTED: self._name,
            ContentMode.FEATURES: functools.partial(self._pseudonym, "host"),
        }
        self._host = hosts[mode]
        self._name_changes = _nothing if mode is ContentMode.FULL else self._redacted_names
        self._said_changes = _Changes(self._redacted_said)
        self._mode = mode

    def identities(self, event: InferenceEvent) -> InferenceEvent:
        """The event with keyed pseudonyms for principal, network, user agent and session, and redacted names."""
        return self.all_identities([event])[0]

    def all_identities(
        self, events: Sequence[InferenceEvent], given: Sequence[Mapping[str, object]] | None = None
    ) -> list[InferenceEvent]:
        """`identities` of each, with the fields that are `given` for it: ids are looked at together."""
        ids = self._redacted_ids(events)
        return [
            msgspec.structs.replace(
                event,
                **self._identity_changes(event),
                **self._name_changes(event),
                **ids.get(index, _NOTHING),
                **(_NOTHING if given is None else given[index]),
            )
            for index, event in enumerate(events)
        ]

    def text(self, event: InferenceEvent) -> InferenceEvent:
        """The event as it may be stored: as it is, redacted, or without its texts."""
        changes = self._text_changes(event)
        return msgspec.structs.replace(event, **changes) if changes else event

    def texts(self, events: Sequence[InferenceEvent]) -> list[InferenceEvent]:
        """`text` of each: redaction looks at all of them together, and then only at those with something in them."""
        if self._mode is not ContentMode.REDACTED:
            return list(map(self.text, events))
        texts: list[str] = []
        ends: list[int] = []
        for event in events:
            texts += filter(None, _texts_of(event))
            ends.append(len(texts))
        suspected = {bisect.bisect_right(ends, place) for place in self._redactor.suspects(texts)}
        return [self.text(event) if index in suspected else event for index, event in enumerate(events)]

    def observation(self, observation: Observation) -> Observation:
        """The observation with the hosts that its texts named redacted, or pseudonyms where no text may be stored."""
        if not observation.hosts:
            return observation
        return msgspec.structs.replace(observation, hosts=renamed(observation.hosts, self._host))

    def apply(self, event: InferenceEvent) -> InferenceEvent:
        """Both steps at once, for a caller that computes no features in between."""
        return self.text(self.identities(event))

    def _identity_changes(self, event: InferenceEvent) -> dict[str, object]:
        pseudonym = self._pseudonym
        principal, network, user_agent, session = event.principal, event.network, event.user_agent, event.session
        return {
            "principal": pseudonym("principal", principal) if principal else None,
            "network": pseudonym("network", network) if network else None,
            "user_agent": pseudonym("user_agent", user_agent) if user_agent else None,
            "session": pseudonym("session", session) if session else None,
        }

    def _redacted_names(self, event: InferenceEvent) -> dict[str, object]:
        """Only what changes, of all but ids: in the usual event that is nothing."""
        changes = self._said_changes[_said_of(event)]
        prediction = event.prediction
        if prediction and (clean := self._label(prediction)) != prediction:
            return {**changes, "prediction": clean}
        return changes

    def _redacted_said(self, said: tuple[Any, ...]) -> dict[str, object]:
        """What changes of the values of `_SAID`."""
        *names, error_type, finish_reasons, egress_hosts, components = said
        changes: dict[str, object] = {
            name: clean
            for name, text in zip(_NAMES, names, strict=True)
            if text and (clean := self._name(text)) != text
        }
        if error_type and (label := self._label(error_type)) != error_type:
            changes["error_type"] = label
        if finish_reasons:
            changes["finish_reasons"] = tuple(map(self._label, finish_reasons))
        if egress_hosts:
            changes["egress_hosts"] = tuple(map(self._name, egress_hosts))
        if components is not None:
            digests = {name: self._name(digest) for name, digest in _digests_of(components) if digest}
            changes["components"] = Components(**digests)
        return changes

    def _redacted_ids(self, events: Sequence[InferenceEvent]) -> dict[int, dict[str, object]]:
        """Only what changes, by the event's place."""
        changes: dict[int, dict[str, object]] = {}
        if self._mode is not ContentMode.FULL:
            ids = [text or "" for event in events for text in _ids_of(event)]
            for place in self._redactor.suspects(ids):
                if (clean := self.redact(ids[place])) != ids[place]:
                    index, name = divmod(place, len(_IDS))
                    changes.setdefault(index, {})[_IDS[name]] = clean
        return changes

    def _name(self, text: str) -> str:
        return self._cached(text) if len(text) <= _MAX_CACHED_CHARS else self.redact(text)

    def _word(self, text: str) -> str:
        """A label where no text may be stored: one word stays, redacted; a sentence becomes a keyed hash of it."""
        is_word = len(text) <= _MAX_LABEL_CHARS and not any(map(str.isspace, text))
        return self._name(text) if is_word else self._pseudonym("text", text)

    def _redactions(self, event: InferenceEvent) -> dict[str, object]:
        """Only what changes, so that the usual event without secrets costs one look and no copy."""
        changes: dict[str, object] = {}
        for name in ("input_messages", "output_messages"):
            messages: tuple[Message, ...] | None = getattr(event, name)
            if messages:
                changes[name] = tuple(map(self._message, messages))
        if event.documents:
            changes["documents"] = tuple(map(self._document, event.documents))
        if event.system:
            changes["system"] = self.redact(event.system)
        if event.features:
            changes["features"] = {
                self._name(name): self.redact(value) if isinstance(value, str) else value
                for name, value in event.features.items()
            }
        return changes

    def _removals(self, event: InferenceEvent) -> dict[str, object]:
        """No texts; of the tabular input only the numbers."""
        changes: dict[str, object] = {"input_messages": None, "output_messages": None, "system": None}
        changes["documents"] = None
        if event.features:
            changes["features"] = {
                self._word(name): None if isinstance(value, str) else value for name, value in event.features.items()
            }
        return changes

    def _message(self, message: Message) -> Message:
        role = self._name(message.role)
        content = self._optional(message.content)
        name = self._optional(message.name)
        calls = tuple(map(self._tool_call, message.tool_calls)) if message.tool_calls else message.tool_calls
        if role == message.role and content is message.content and name is message.name and not calls:
            return message
        return msgspec.structs.replace(message, role=role, content=content, name=name, tool_calls=calls)

    def _tool_call(self, call: ToolCall) -> ToolCall:
        return msgspec.structs.replace(
            call,
            name=self._optional(call.name),
            arguments=self._optional(call.arguments),
            call_id=self._optional(call.call_id),
        )

    def _document(self, document: Document) -> Document:
        return msgspec.structs.replace(
            document,
            document_id=self._optional(document.document_id),
            source=self._optional(document.source),
            content=self._optional(document.content),
        )

    def _optional(self, text: str | None) -> str | None:
        return self.redact(text) if text else text


class _Changes(dict[tuple[Any, ...], "dict[str, object]"]):
    """What changes of values that are looked at together. Bounded whatever is sent: a full cache begins anew."""

    def __init__(self, redacted: Callable[[tuple[Any, ...]], dict[str, object]]) -> None:
        self._redacted = redacted

    def __missing__(self, said: tuple[Any, ...]) -> dict[str, object]:
        changes = self._redacted(said)
        if _is_short(said):
            if len(self) >= CACHED_CALLERS:
                self.clear()
            self[said] = changes
        return changes


def _is_short(said: tuple[Any, ...]) -> bool:
    """Whether the values of `_SAID` may be kept."""
    *names, finish_reasons, egress_hosts, components = said
    chars = sum(map(len, filter(None, names))) + sum(map(len, finish_reasons or ())) + sum(map(len, egress_hosts or ()))
    if components is not None:
        chars += sum(map(len, filter(None, msgspec.structs.astuple(components))))
    return chars <= _MAX_SAID_CHARS


def _nothing(_event: InferenceEvent) -> Mapping[str, object]:
    return _NOTHING
