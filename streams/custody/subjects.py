"""A data subject: the pseudonyms that stand for somebody, and words that name them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from streams.dlq import printable
from streams.keys import derive, present_keys
from streams.privacy import Pseudonymizer
from streams.settings import Settings, SettingsError

PSEUDONYM: Final = re.compile(r"[a-z]_[0-9a-f]{32}")
KINDS: Final = ("principal", "session", "network", "user_agent")

_SHORTEST_TEXT = 4
"""Characters: to take three letters out of every text would take the texts of everybody."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Who is looked for: `pseudonyms` as they are stored, `texts` as a person writes them."""

    pseudonyms: tuple[str, ...]
    texts: tuple[str, ...] = ()

    @property
    def forms(self) -> list[str]:
        """The texts as they stand in plain columns, in JSON, in addresses, made inert, and where a quote is escaped."""
        found: dict[str, None] = {}
        for text in (unicodedata.normalize(form, each) for each in self.texts for form in ("NFC", "NFD")):
            in_json = json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
            for form in (text, *in_json, quote(text, ""), printable(text)):
                found |= {form: None, form.replace("\\", "\\\\").replace("'", "\\'"): None}
        return list(found)

    def taken_out(self, text: str) -> str:
        """A text of somebody else without the words that name the subject."""
        for form in self.forms:
            text = re.sub(re.escape(form), "(the subject)", text, flags=re.IGNORECASE)
        return text


def pseudonym_of(text: str) -> Subject:
    """The subject of a pseudonym. Raises `SettingsError`, which does not repeat what may be an identity."""
    if PSEUDONYM.fullmatch(text) is None:
        raise SettingsError(
            "SUBJECT: expected a pseudonym such as p_0f3a..., or - to be asked for the identity (arguments of a "
            "command can be read by others on this machine), or --identity-file"
        )
    return Subject(pseudonyms=(text,))


def identified(settings: Settings, kind: str, identity: str) -> Subject:
    """The subject of an identity as events carried it: its pseudonyms with every key of this installation."""
    if kind not in KINDS:
        raise SettingsError(f"--kind: {kind[:40]!r} is not accepted; one of {', '.join(KINDS)}")
    identity = identity.strip("\r\n")
    if len(identity) < _SHORTEST_TEXT:
        raise SettingsError(f"the identity has fewer than {_SHORTEST_TEXT} characters; give the pseudonym instead")
    keys = present_keys(settings)
    if keys is None:
        raise SettingsError("no key to make pseudonyms with; set INFERWATCH_KEY, or give the pseudonym")
    previous = [key for key in (settings.previous_keys or "").split(",") if key]
    all_keys = [keys.pseudonyms, *(derive(key).pseudonyms for key in previous)]
    found = dict.fromkeys(Pseudonymizer(key).pseudonym(kind, identity) for key in all_keys)
    return Subject(pseudonyms=tuple(found), texts=(identity,))


def also_named(subject: Subject, texts: Sequence[str]) -> Subject:
    """The subject with further words that name them, such as their name or address. Raises `SettingsError`."""
    more = [text.strip() for text in texts if text.strip()]
    if any(len(text) < _SHORTEST_TEXT for text in more):
        raise SettingsError(f"--texts-file: a line has fewer than {_SHORTEST_TEXT} characters")
    return msgspec.structs.replace(subject, texts=tuple(dict.fromkeys((*subject.texts, *more))))
