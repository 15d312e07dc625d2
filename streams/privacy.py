"""Who called becomes a keyed pseudonym, what they wrote becomes redacted text, before anything is stored.

Two steps, so that the pipeline can compute features in between: `Privacy.identities` (always) and
`Privacy.text` (as the content mode says). What redaction cannot know stays: names, addresses, secrets
without a recognizable shape.
"""

from __future__ import annotations

import enum
import functools
import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from streams.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.types import Document, InferenceEvent, Message, ToolCall

CACHED_PSEUDONYMS: Final = 65_536
"""Pseudonyms kept per process, about 20 MB. Without a bound a scan through random API keys fills the memory."""


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
        self.pseudonym: Callable[[str, str], str] = functools.lru_cache(maxsize=cached)(self._derive)
        """(kind, value) -> pseudonym, for instance ``p_3f9c...`` for a principal; `kind` is at most 16 bytes."""

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

    def identities(self, event: InferenceEvent) -> InferenceEvent:
        """The event with keyed pseudonyms for principal, network, user agent and session."""
        return msgspec.structs.replace(event, **self._identity_changes(event))

    def text(self, event: InferenceEvent) -> InferenceEvent:
        """The event as it may be stored: as it is, redacted, or without its texts."""
        changes = self._text_changes(event)
        return msgspec.structs.replace(event, **changes) if changes else event

    def apply(self, event: InferenceEvent) -> InferenceEvent:
        """Both steps at once, for a caller that computes no features in between."""
        return msgspec.structs.replace(event, **self._identity_changes(event), **self._text_changes(event))

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

    def _redactions(self, event: InferenceEvent) -> dict[str, object]:
        """Only what changes, so that the usual event without secrets costs one look and no copy."""
        changes: dict[str, object] = {}
        for name in ("input_messages", "output_messages"):
            messages: tuple[Message, ...] | None = getattr(event, name)
            if messages:
                changes[name] = tuple(map(self._message, messages))
        if event.documents:
            changes["documents"] = tuple(map(self._document, event.documents))
        for name in ("system", "error_type", "prediction"):
            text: str | None = getattr(event, name)
            if text:
                changes[name] = self.redact(text)
        if event.features:
            changes["features"] = {
                name: self.redact(value) if isinstance(value, str) else value for name, value in event.features.items()
            }
        return changes

    def _removals(self, event: InferenceEvent) -> dict[str, object]:
        """No texts; what may be a short label (error class, prediction) stays, redacted."""
        changes: dict[str, object] = {"input_messages": None, "output_messages": None, "system": None}
        changes["documents"] = None
        if event.error_type:
            changes["error_type"] = self.redact(event.error_type)
        if event.prediction:
            changes["prediction"] = self.redact(event.prediction)
        if event.features:
            changes["features"] = {
                name: None if isinstance(value, str) else value for name, value in event.features.items()
            }
        return changes

    def _message(self, message: Message) -> Message:
        content = self._optional(message.content)
        name = self._optional(message.name)
        calls = tuple(map(self._tool_call, message.tool_calls)) if message.tool_calls else message.tool_calls
        if content is message.content and name is message.name and not calls:
            return message
        return msgspec.structs.replace(message, content=content, name=name, tool_calls=calls)

    def _tool_call(self, call: ToolCall) -> ToolCall:
        return msgspec.structs.replace(call, name=self._optional(call.name), arguments=self._optional(call.arguments))

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
