"""Who called becomes a keyed pseudonym, what they wrote becomes redacted text, before anything is stored.

Two steps, so that the pipeline can compute features in between: `Privacy.identities` (pseudonyms always, names
and labels redacted unless everything is stored) and `Privacy.text` (as the content mode says). Names and labels
come first because detectors see and remember them, and findings quote them. What redaction cannot know stays:
names of people, addresses, secrets without a recognizable shape.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import operator
from typing import TYPE_CHECKING, Final

import msgspec

from detectors.hosts import renamed
from detectors.types import Components
from streams.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from detectors.types import Document, InferenceEvent, Message, Observation, ToolCall

_IDS: Final = ("trace_id", "span_id", "response_id")
"""New with every call: looked at each time."""

_NAMES: Final = ("deployment", "operation", "model", "served_model", "provider", "region")
_LABELS: Final = ("error_type", "prediction")
"""What should be a word and may be a sentence, with what a person wrote in it."""

_MAX_LABEL_CHARS: Final = 64

CACHED_NAMES: Final = 65_536
"""Names seen before per process: they come again with every call."""

_MAX_CACHED_CHARS: Final = 256
"""Longer ones are not kept: a sender chooses them, and a cache of megabytes each fills the memory."""

CACHED_PSEUDONYMS: Final = 65_536
"""Pseudonyms kept per process, about 20 MB. Without a bound a scan through random API keys fills the memory."""


_names_of = operator.attrgetter(*_NAMES, *_LABELS, *_IDS)


def _digests_of(components: Components) -> Iterator[tuple[str, str | None]]:
    return ((name, getattr(components, name)) for name in Components.__struct_fields__)


def _labels_of(event: InferenceEvent) -> Iterator[str]:
    """What may be a sentence, of what the event has."""
    yield from filter(None, (event.error_type, event.prediction))
    yield from event.finish_reasons or ()


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
        self.redact = Redactor(ips=redact_ips).redact
        self._cached: Callable[[str], str] = functools.lru_cache(maxsize=CACHED_NAMES)(self.redact)
        self._label = self._word if mode is ContentMode.FEATURES else self._name
        hosts: dict[ContentMode, Callable[[str], str]] = {
            ContentMode.FULL: str,
            ContentMode.REDACTED: self._name,
            ContentMode.FEATURES: functools.partial(self._pseudonym, "host"),
        }
        self._host = hosts[mode]
        self._name_changes = _nothing if mode is ContentMode.FULL else self._redacted_names

    def identities(self, event: InferenceEvent) -> InferenceEvent:
        """The event with keyed pseudonyms for principal, network, user agent and session, and redacted names."""
        return msgspec.structs.replace(event, **self._identity_changes(event), **self._name_changes(event))

    def text(self, event: InferenceEvent) -> InferenceEvent:
        """The event as it may be stored: as it is, redacted, or without its texts."""
        changes = self._text_changes(event)
        return msgspec.structs.replace(event, **changes) if changes else event

    def observation(self, observation: Observation) -> Observation:
        """The observation with the hosts that its texts named redacted, or pseudonyms where no text may be stored."""
        if not observation.hosts:
            return observation
        return msgspec.structs.replace(observation, hosts=renamed(observation.hosts, self._host))

    def apply(self, event: InferenceEvent) -> InferenceEvent:
        """Both steps at once, for a caller that computes no features in between."""
        return self.text(self.identities(event))

    def _identity_changes(self, event: InferenceEvent) -> dict[str, object]:
        return {
            kind: self._pseudonym(kind, value) if value else None
            for kind, value in (
                ("principal", event.principal),
                ("network", event.network),
                ("user_agent", event.user_agent),
                ("session", event.session),
            )
        }

    def _redacted_names(self, event: InferenceEvent) -> dict[str, object]:
        """Only what changes. In the usual event that is nothing, and one look at all of them together says so."""
        known = [text for text in _names_of(event) if text]
        known += event.finish_reasons or ()
        known += event.egress_hosts or ()
        together = "\n".join(known)
        changes: dict[str, object] = {}
        if event.components is not None:
            digests = {name: self._name(digest) for name, digest in _digests_of(event.components) if digest}
            if (redacted := Components(**digests)) != event.components:
                changes["components"] = redacted
        if self.redact(together) == together and all(self._label(text) == text for text in _labels_of(event)):
            return changes
        for names, redact in ((_NAMES, self._name), (_LABELS, self._label), (_IDS, self.redact)):
            for name in names:
                text: str | None = getattr(event, name)
                if text and (clean := redact(text)) != text:
                    changes[name] = clean
        if event.finish_reasons:
            changes["finish_reasons"] = tuple(map(self._label, event.finish_reasons))
        if event.egress_hosts:
            changes["egress_hosts"] = tuple(map(self._name, event.egress_hosts))
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


def _nothing(_event: InferenceEvent) -> dict[str, object]:
    return {}
