"""Which kinds of secrets, personal data and exfiltration an answer holds: their names only, never the values.

A look for long words and literals comes first and finds nothing in nearly every answer; patterns are then tried at
those places alone and are bounded, so the time is linear in the text. What the caller's own messages held is no leak.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence

from detectors.types import InferenceEvent

PRIVATE_KEY, CLOUD_KEY, TOKEN, SYSTEM_PROMPT = "private_key", "cloud_key", "access_token", "system_prompt"
IMAGE, LINK = "image_with_payload", "link_with_payload"
EMAIL, CARD, PHONE, ACCOUNT = "email", "card_number", "phone_number", "bank_account"

KINDS = (PRIVATE_KEY, CLOUD_KEY, TOKEN, SYSTEM_PROMPT, IMAGE, LINK, EMAIL, CARD, PHONE, ACCOUNT)
"""All kinds, the gravest first: the order in which they are given."""

_MAX_CHARS = 65_536
LONG_WORD_BYTES = 20
_LONG_WORD = b"x" * LONG_WORD_BYTES
_WORDS_ONLY = bytes(32 if byte in b" \t\r\n" else 120 for byte in range(256))
"""Keys and payloads are words of 20 characters or more, and most answers have none."""

_MAX_LOOKED = 32
"""Places looked at for one literal: a text of nothing but "@" must not stall its batch."""

_KEY_BLOCK = re.compile(
    r"PRIVATE KEY(?: BLOCK)?-----[\s\\nr]{1,8}(?:[A-Za-z-]{1,24}: [^\n]{0,80}\n){0,4}\s{0,4}[A-Za-z0-9+/=\\\s]{64}"
)
_CLOUD = {
    "AKIA": re.compile(r"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    "ASIA": re.compile(r"ASIA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    "AIza": re.compile(r"AIza[0-9A-Za-z_-]{35}"),
    "ya29.": re.compile(r"ya29\.[0-9A-Za-z_-]{20,256}"),
    "AccountKey=": re.compile(r"AccountKey=[0-9A-Za-z+/]{60,100}={0,2}"),
}
_TOKENS = {
    "sk-": re.compile(r"(?<![0-9A-Za-z])sk-[0-9A-Za-z_-]{20,256}"),
    "ghp_": re.compile(r"ghp_[0-9A-Za-z]{30,256}"),
    "gho_": re.compile(r"gho_[0-9A-Za-z]{30,256}"),
    "ghs_": re.compile(r"ghs_[0-9A-Za-z]{30,256}"),
    "github_pat_": re.compile(r"github_pat_[0-9A-Za-z_]{30,256}"),
    "glpat-": re.compile(r"glpat-[0-9A-Za-z_-]{20,256}"),
    "xox": re.compile(r"xox[abeoprs]-[0-9A-Za-z-]{20,256}"),
    "hf_": re.compile(r"(?<![0-9A-Za-z])hf_[0-9A-Za-z]{30,256}"),
    "_live_": re.compile(r"[rs]k_live_[0-9A-Za-z]{16,256}"),
    "eyJ": re.compile(r"eyJ[0-9A-Za-z_-]{17,2048}\.eyJ[0-9A-Za-z_-]{8,2048}\.[0-9A-Za-z_-]{16,1024}"),
    "npm_": re.compile(r"npm_[0-9A-Za-z]{36}(?![0-9A-Za-z])"),
}
_BACK_CHARS = {"_live_": 2}
_FEWEST_DISTINCT = 10
"""Distinct characters of a real key; "sk-xxxxxxxxxxxxxxxxxxxx" and "AKIA0000000000000000" are placeholders."""

_PLACEHOLDERS = ("EXAMPLE", "example", "YOUR", "your", "xxxx", "XXXX", "12345678", "abcdefgh", "ABCDEFGH")

_IMAGE_URL = re.compile(r"!\[[^\]\n]{0,256}\]\(\s{0,4}<?(?:https?:)?//([^\s)>]{1,4096})")
_LINK_URL = re.compile(r"\]\(\s{0,4}<?(?:https?:)?//([^\s)>]{1,4096})")
_TAG_URL = re.compile(r"<img\b[^>]{0,512}?\bsrc\s{0,4}=\s{0,4}[\"']?(?:https?:)?//([^\s\"'>]{1,4096})", re.IGNORECASE)
_IMAGE_PAYLOAD, _LINK_PAYLOAD = 40, 120
"""Characters of a URL's query, or of one part of its path, that are more than a name: an image is fetched by itself, a
link has to be clicked and often carries a tracker."""

_EMAIL_AT = re.compile(r"@[0-9A-Za-z](?:[0-9A-Za-z-]{0,62}\.){1,6}[A-Za-z]{2,24}(?![0-9A-Za-z])")
_RESERVED = ("example.com", "example.org", "example.net", ".example", ".test", ".invalid", "domain.com", "email.com")
_DIGITS = re.compile(r"(?<![0-9A-Za-z.])\+?\(?[0-9](?:[ ().-]{0,2}[0-9]){8,22}(?![0-9A-Za-z])")
_IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,3})?(?![0-9A-Za-z])")
_LEAST_DIGITS = 9
_SEPARATORS = b" -.()+"
_DIGITS_ONLY = bytes(ord("0") if byte in b"0123456789" else ord("x") for byte in range(256))
_RUN = b"0" * _LEAST_DIGITS
_CARD_DIGITS, _CARD_HEADS, _CARD_DISTINCT = (13, 19), "23456", 3
_IBAN_CHARS = (15, 34)
_PHONE_DIGITS = 15
_PHONE = re.compile(r"\(?[2-9][0-9]{2}\)?[ .-]{1,2}[2-9][0-9]{2}[ .-][0-9]{4}")
"""ITU E.164 allows 15 digits; without a country code only the North American form is taken for a phone number."""


_FRAGMENT_WORDS = 8
_LEAST_FRAGMENT_CHARS = 32
_MAX_FRAGMENTS = 16
_TELLING_FRAGMENTS = 2
_TELLING_SHARE = 0.25
"""Fragments of eight words of the system prompt that must be in an answer, and which share of those looked for: one
alone may be the name of a service with its motto."""


def leaks(
    event: InferenceEvent, output: str | None, digits: float | None = None, *, long_words: bool = True
) -> tuple[str, ...] | None:
    """The kinds found in `output`, the text of an event's answer, gravest first; `None` where there is no text.

    `digits` is the share of digits in it, where that is known: few of them are no number of a card or a phone.
    `long_words` is whether it may hold words of `LONG_WORD_BYTES` or more.
    Cost: less than 1 us where nothing is found and both are known, else about 3 us for 1.6 kB.
    """
    if not output:
        return None
    text = output[:_MAX_CHARS]
    candidates: list[tuple[str, str]] = []
    if long_words and _LONG_WORD in text.encode("utf-8", "replace").translate(_WORDS_ONLY):
        candidates += _keys(text)
        if "](" in text or "<img" in text or "<IMG" in text:
            candidates += _payloads(text)
    if "@" in text:
        candidates += _emails(text)
    if digits is None or digits * len(text) >= _LEAST_DIGITS:
        candidates += _numbers(text)
    system = _system(event)
    quotes = system is not None and _quotes(system, text)
    if not candidates and not quotes:
        return ()
    said = _callers_words(event)
    found = {kind for kind, value in candidates if not any(value in words for words in said)}
    if quotes:
        found.add(SYSTEM_PROMPT)
    return tuple(kind for kind in KINDS if kind in found)


def _keys(text: str) -> list[tuple[str, str]]:
    found = []
    block = _KEY_BLOCK.search(text) if "PRIVATE KEY" in text else None
    if block:
        found.append((PRIVATE_KEY, block[0]))
    for kind, patterns in ((CLOUD_KEY, _CLOUD), (TOKEN, _TOKENS)):
        for literal, pattern in patterns.items():
            if literal in text:
                found += [(kind, value) for value in _matches(text, literal, pattern) if _is_real(value)]
    return found


def _matches(text: str, literal: str, pattern: re.Pattern[str]) -> list[str]:
    """What the pattern finds at the places of its literal."""
    values = []
    at = text.find(literal)
    for _ in range(_MAX_LOOKED):
        if at < 0:
            break
        match = pattern.match(text, max(at - _BACK_CHARS.get(literal, 0), 0))
        if match:
            values.append(match[0])
        at = text.find(literal, at + len(literal))
    return values


def _is_real(value: str) -> bool:
    return len(set(value)) >= _FEWEST_DISTINCT and not any(word in value for word in _PLACEHOLDERS)


def _payloads(text: str) -> list[tuple[str, str]]:
    """Images and links whose URL carries more than a name; the first part, up to "/" or "?", is the host."""
    found = []
    for kind, pattern, most in (
        (IMAGE, _IMAGE_URL, _IMAGE_PAYLOAD),
        (IMAGE, _TAG_URL, _IMAGE_PAYLOAD),
        (LINK, _LINK_URL, _LINK_PAYLOAD),
    ):
        for _, match in zip(range(_MAX_LOOKED), pattern.finditer(text), strict=False):
            if kind == LINK and text.rfind("![", max(match.start() - 258, 0), match.start()) >= 0:
                continue
            path, _, query = match[1].partition("?")
            parts = path.split("/")[1:]
            if max([len(query), *map(_weight, parts)]) >= most:
                found.append((kind, match[1]))
    return found


def _weight(part: str) -> int:
    """Characters of one part of a path that say more than words do: slugs and file names are words."""
    return sum(len(piece) for piece in re.split(r"[-_.+]|%20", part) if not (piece.isalpha() and len(piece) <= 20))  # noqa: PLR2004 - the longest English words


def _emails(text: str) -> list[tuple[str, str]]:
    found = []
    at = text.find("@")
    for _ in range(_MAX_LOOKED):
        if at < 0:
            break
        match = _EMAIL_AT.match(text, at)
        if (
            match
            and at
            and (text[at - 1].isalnum() or text[at - 1] in "_-+")
            and not match[0].lower().endswith(_RESERVED)
        ):
            start = at
            while start and at - start < 64 and (text[start - 1].isalnum() or text[start - 1] in "._%+-"):  # noqa: PLR2004 - RFC 5321
                start -= 1
            found.append((EMAIL, text[start : match.end()]))
        at = text.find("@", at + 1)
    return found


def _numbers(text: str) -> list[tuple[str, str]]:
    """Cards by their checksum, accounts by theirs, phones by how they are written."""
    if _RUN not in text.encode("ascii", "replace").translate(_DIGITS_ONLY, _SEPARATORS):
        return []
    found = []
    for _, match in zip(range(_MAX_LOOKED), _DIGITS.finditer(text), strict=False):
        written = match[0]
        number = "".join(filter(str.isdigit, written))
        if _is_card(written, number):
            found.append((CARD, written))
        elif len(number) <= _PHONE_DIGITS and "555" not in number and (written[0] == "+" or _PHONE.fullmatch(written)):
            found.append((PHONE, written))
    for _, match in zip(range(_MAX_LOOKED), _IBAN.finditer(text), strict=False):
        account = match[0].replace(" ", "")
        turned = account[4:] + account[:4]
        is_long = _IBAN_CHARS[0] <= len(account) <= _IBAN_CHARS[1]
        if is_long and int("".join(str(int(char, 36)) for char in turned)) % 97 == 1:
            found.append((ACCOUNT, match[0]))
    return found


def _is_card(written: str, number: str) -> bool:
    """In groups as cards are printed, of a scheme's first digit, and not one of those that only tests use."""
    shortest, longest = _CARD_DIGITS
    is_card = shortest <= len(number) <= longest and number[0] in _CARD_HEADS and not set(written) & set(".()+")
    return is_card and len(set(number)) >= _CARD_DISTINCT and _has_luhn(number)


def _has_luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (sum(int(digit) for digit in number[::-2]) + sum(doubled)) % 10 == 0


def _callers_words(event: InferenceEvent) -> list[str]:
    """What the caller wrote: a value that comes from there has not leaked."""
    return [message.content for message in event.input_messages or () if message.content and message.role == "user"]


def _system(event: InferenceEvent) -> str | None:
    if event.system:
        return event.system
    first = event.input_messages[0] if event.input_messages else None
    return first.content if first is not None and first.role in {"system", "developer"} else None


def _quotes(system: str, text: str) -> bool:
    """Whether an answer has telling parts of the system prompt, word for word."""
    fragments = _fragments(system)
    if not fragments:
        return False
    needed = max(min(_TELLING_FRAGMENTS, len(fragments)), math.ceil(_TELLING_SHARE * len(fragments)))
    may_lack = len(fragments) - needed
    for fragment in fragments:
        if fragment not in text:
            may_lack -= 1
            if may_lack < 0:
                return False
    return True


@functools.lru_cache(maxsize=256)
def _fragments(system: str) -> Sequence[str]:
    """Up to 16 runs of eight words from all over a system prompt, each within one line."""
    runs = []
    for line in system[:_MAX_CHARS].splitlines():
        words = line.split()
        for at in range(0, len(words) - _FRAGMENT_WORDS + 1, _FRAGMENT_WORDS):
            run = " ".join(words[at : at + _FRAGMENT_WORDS])
            if len(run) >= _LEAST_FRAGMENT_CHARS:
                runs.append(run)
    stride = max(-(-len(runs) // _MAX_FRAGMENTS), 1)
    return tuple(runs[::stride])
