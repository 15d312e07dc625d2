"""What is secret or personal by its shape, replaced by a word in brackets.

It looks for shapes, verified by checksum where there is one, in time linear in the text whatever the text is:
RE2 never backtracks, and no alternative looks far beyond what it takes (an unbounded loop is the last part of
its pattern, or ends at a literal that also begins it).
"""

from __future__ import annotations

import bisect
import functools
import ipaddress
import itertools
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import re2

from detectors.joined import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# From the "@" on; what is before it is found backwards, or each search would read on to the next "@".
_EMAIL_DOMAIN = rb"@[\p{Latin}0-9-]+(?:\.[\p{Latin}0-9-]+)*\.\p{Latin}{2,}"
_EMAIL_LOCAL = rb"[\p{Latin}0-9._%+'-]+\z"
_MAX_EMAIL_LOCAL_BYTES = 128
_URL_PASSWORD = rb"""://[^\s/:@"'\\]+:[^\s/@"'\\]+@"""
_PRIVATE_KEY = rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"
# Prefixes that their issuers chose so that scanners can find them; eyJ is how a JWT begins.
_TOKEN = (
    rb"\b(?:sk-[\w-]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}\b|(?:akia|asia)[0-9a-z]{16}\b|AIza[\w-]{35,}|gh[pousr]_\w{20,}|github_pat_\w{20,}"
    rb"|glpat-[\w-]{20,}|xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}|eyJ[\w-]{17,}(?:\.[\w-]+)*|hf_\w{30,}"
    rb"|[rs]k_(?:live|test)_\w{16,}|SG\.[\w-]{22}\.[\w-]{43}|ya29\.[\w-]{20,})"
)
_BEARER = rb"\b(?i:bearer)\s{1,4}[\w.~+/-]{16,}=*"
# password: hunter2, "api_key": "...", also inside JSON inside JSON; the name stays readable.
_ASSIGNMENT = (
    rb"(?i:passw(?:or)?d|passphrase|(?:api|access|private|secret)[_-]?(?:access[_-]?)?key|(?:client|app)[_-]?secret"
    rb"""|(?:auth|access|refresh|session)[_-]?token)\\?["']?\s{0,4}[:=]\s{0,4}\\?["']?[^\s"'\\,;&<>]{4,}"""
)
_IBAN = rb"(?i:\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b)"
_LONG_NUMBER = rb"[0-9](?:[ -]?[0-9]){12,}"
_PHONE = (
    rb"\+[1-9][0-9]{0,2}[ ./-]?\(?[0-9]{1,4}\)?(?:[ ./-]?[0-9]{2,4}){1,4}\b"
    rb"|\(?\b[2-9][0-9]{2}\)?[ .-]?[2-9][0-9]{2}[ .-][0-9]{4}\b"
    rb"|\b0[0-9]{2,4}[ /-][0-9]{3,4}[ -]?[0-9]{3,5}\b"
)
_IP = rb"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*"

_MIN_PHONE_DIGITS = 9
_MAX_CARD_DIGITS = 19
_SHORTEST_FIRST_GROUP = 4  # cards are printed 4-4-4-4, 4-6-5, 4-6-4

MAX_HITS: Final = 5_000
"""Places looked at in one text before the rest is dropped. Ordinary texts have a handful; without a limit ten
megabytes of nothing but phone numbers hold up the partition for a minute."""

_JOINED_CHARS: Final = 262_144
"""Texts are looked at together up to here: memory is short."""

# A replacer gets the data, where the last hit ended, and the span of a match. It gives what to put instead of
# which span: all of the match, or less of it when that was no hit, because the rest may hold one of another kind.
Replacer: TypeAlias = "Callable[[bytes, int, int, int], tuple[int, bytes, int]]"


@functools.cache
def _compiled(pattern: bytes) -> Any:
    """RE2's own cache takes 10 us to look into."""
    return re2.compile(pattern)


def _whole(word: bytes) -> Replacer:
    return lambda _data, _done, start, end: (start, word, end)


def _email(data: bytes, done: int, start: int, end: int) -> tuple[int, bytes, int]:
    """An "@" with nothing before it is a mention."""
    local = _compiled(_EMAIL_LOCAL).search(data[max(done, start - _MAX_EMAIL_LOCAL_BYTES) : start])
    if local is None:
        return start, data[start:end], end
    return start - len(local.group()), b"[email]", end


def _private_key(data: bytes, _done: int, start: int, end: int) -> tuple[int, bytes, int]:
    """Up to the end of the block; of an unterminated one everything after the head is taken for key."""
    tail = data.find(b"-----END", end)
    closing = data.find(b"-----", tail + 8) if tail >= 0 else -1
    return start, b"[secret]", closing + 5 if closing >= 0 else len(data)


def _bearer(data: bytes, _done: int, start: int, end: int) -> tuple[int, bytes, int]:
    """A token has a digit, "bearer responsibilities" have none."""
    word_end = start + len(b"bearer")
    if any(byte in b"0123456789" for byte in data[word_end:end]):
        return start, data[start:word_end] + b" [secret]", end
    return start, data[start:word_end], word_end


def _assignment(data: bytes, _done: int, start: int, end: int) -> tuple[int, bytes, int]:
    """Keeps the name. Prose ("your password: everyone forgets it") has neither quote nor "=" nor a digit."""
    matched = data[start:end]
    at = min(found for found in (matched.find(b"="), matched.find(b":")) if found >= 0)
    value_at = at + 1
    while matched[value_at] in b" \t\r\n\f\v\\\"'":
        value_at += 1
    is_prose = matched[at:value_at].strip() == b":" and matched[value_at:].rstrip(b".!?").isalpha()
    if is_prose:
        return start, matched[:value_at], start + value_at
    return start, matched[:value_at] + b"[secret]", end


# Characters of an account number by country, from the SWIFT registry of IBAN formats.
_IBAN_CHARS: Final = {
    country: chars
    for chars, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL",
        19: "MK SI",
        20: "AT BA EE KZ LT LU XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU",
        31: "MT SC",
        32: "LC",
    }.items()
    for country in countries.encode().split()
}


def _iban(data: bytes, _done: int, start: int, end: int) -> tuple[int, bytes, int]:
    """As long as its country has it, with the checksum of ISO 13616; the match may go on into what follows."""
    account = b""
    chars = _IBAN_CHARS.get(data[start : start + 2].upper(), 0)
    for at in range(start, end if chars else start):
        if data[at : at + 1] != b" ":
            account += data[at : at + 1].upper()
        if len(account) == chars:
            is_whole = not data[at + 1 : at + 2].isalnum()
            turned = account[4:] + account[:4]
            if is_whole and int("".join(str(int(chr(char), 36)) for char in turned)) % 97 == 1:
                return start, b"[iban]", at + 1
            break
    return start, data[start : start + 4], start + 4


def _long_number(data: bytes, _done: int, start: int, end: int) -> tuple[int, bytes, int]:
    """Cards in a run of digit groups; between them there may be phone numbers. One long group stays one."""
    groups: list[tuple[int, int]] = []
    at = start
    for at_end in range(start, end + 1):
        if at_end == end or data[at_end] in b" -":
            groups.append((at, at_end))
            at = at_end + 1
    pieces: list[bytes] = []
    done = start
    for index, (group_start, group_end) in enumerate(groups):
        if group_start < done or group_end - group_start < _SHORTEST_FIRST_GROUP:
            continue
        card_end = _card_end(data, groups, index)
        if card_end is not None:
            pieces += (_phones(data, done, group_start), b"[card]")
            done = card_end
    pieces.append(_phones(data, done, end))
    return start, b"".join(pieces), end


def _card_end(data: bytes, groups: list[tuple[int, int]], first: int) -> int | None:
    """Where the longest card number that begins with this group ends; groups are whole or not at all."""
    digits = b""
    found = None
    for group_start, group_end in groups[first : first + _MAX_CARD_DIGITS]:
        if len(digits) + group_end - group_start > _MAX_CARD_DIGITS:
            break
        digits += data[group_start:group_end]
        if len(digits) in _CARD_DIGITS.get(digits[:4], ()) and _has_luhn(digits):
            found = group_end
    return found


# First four digits (from, to) and numbers of digits that card schemes issue. The checksum alone is not enough:
# one order number in ten has it.
_CARD_DIGITS: Final = {
    str(prefix).encode(): digits
    for low, high, digits in (
        (2221, 2720, {16}),
        (3000, 3059, {14}),
        (3400, 3499, {15}),
        (3528, 3589, {16, 17, 18, 19}),
        (3600, 3699, {14}),
        (3700, 3799, {15}),
        (3800, 3999, {14}),
        (4000, 4999, {13, 16, 19}),
        (5018, 5038, {16, 18, 19}),
        (5100, 5599, {16}),
        (5893, 5893, {16, 18, 19}),
        (6011, 6011, {16, 17, 18, 19}),
        (6200, 6299, {16, 17, 18, 19}),
        (6304, 6304, {16, 18, 19}),
        (6440, 6599, {16, 17, 18, 19}),
        (6759, 6763, {16, 18, 19}),
    )
    for prefix in range(low, high + 1)
}
_VALUES: Final = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))


def _has_luhn(digits: bytes) -> bool:
    """ISO/IEC 7812-1, annex B."""
    return (sum(digits[::-1][::2].translate(_VALUES)) + sum(digits[::-1][1::2].translate(_DOUBLED))) % 10 == 0


def _phones(data: bytes, start: int, end: int) -> bytes:
    """Replace the phone numbers in the part of a digit run that is no card."""
    pieces: list[bytes] = []
    pattern = _compiled(_PHONE)
    while (match := pattern.search(data, start, end)) is not None:
        _, replacement, after = _phone(data, start, *match.span())
        pieces += (data[start : match.start()], replacement)
        start = after
    pieces.append(data[start:end])
    return b"".join(pieces)


def _phone(data: bytes, _done: int, start: int, end: int) -> tuple[int, bytes, int]:
    """Not part of a longer name or number, as in `ORD-415-555-0132` or `1.0123 4567`."""
    before = data[start - 1 : start]
    after = data[end : end + 2]
    is_part = before.isalnum() or before in {b"-", b".", b"_", b"$", b"/", b"#", b"=", b"+"}
    is_part = is_part or (after[:1] in {b"-", b".", b"/"} and after[1:].isdigit())
    # A number without country code is not told from the middle of a longer one in groups.
    is_grouped = before in {b" ", b".", b"/", b"-"} and data[max(start - 2, 0) : start - 1].isdigit()
    is_part = is_part or (data[start : start + 1] == b"0" and is_grouped)
    if is_part or sum(byte in b"0123456789" for byte in data[start:end]) < _MIN_PHONE_DIGITS:
        return start, data[start:end], end
    return start, b"[phone]", end


def _ip(data: bytes, _done: int, start: int, end: int) -> tuple[int, bytes, int]:
    """An address as RFC 4291 has it; times of day, C++ names and five-part versions only look like one."""
    matched = data[start:end]
    candidate = matched.rstrip(b".") if matched.endswith(b"::") else matched.rstrip(b".:")
    is_part = data[start - 1 : start].isalnum() or data[start - 1 : start] == b"." or data[end : end + 1].isalnum()
    is_part = is_part or (data[end : end + 1] == b"." and data[end + 1 : end + 2].isdigit())
    if is_part or not any(byte in b"0123456789" for byte in candidate):
        return start, matched, end
    try:
        ipaddress.ip_address(candidate.decode())
    except ValueError:
        return start, matched, end
    return start, b"[ip]", start + len(candidate)


_FIELD_NAME = rb"""\\?"[A-Za-z_][\w.-]{0,63}\\?"\s{0,4}:"""
_MASK: Final = bytes(
    byte if byte in b" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\t\r\n" else b"x0"[byte in b"0123456789"]
    for byte in range(256)
)


def masked(text: str) -> str:
    """What a text looks like without what it says: letters are x, digits 0; the names of JSON fields stay."""
    data = text.encode("utf-8", "surrogatepass")
    pieces: list[bytes] = []
    done = 0
    for match in _compiled(_FIELD_NAME).finditer(data):
        start, end = match.span()
        pieces += (data[done:start].translate(_MASK), data[start:end])
        done = end
    pieces.append(data[done:].translate(_MASK))
    return b"".join(pieces).decode("ascii")


class Redactor:
    """Replaces e-mail addresses, phone, card and account numbers, keys and tokens by a word in brackets.

    Cost: about 4 us for 1.6 kB in which nothing is found, 10-15 us with a few hits. Works on UTF-8 bytes:
    RE2 speaks bytes, and with text its binding recounts every offset.
    """

    def __init__(self, *, ips: bool) -> None:
        """Compile all kinds into one pattern, of IP addresses only if asked."""
        kinds = [
            (_PRIVATE_KEY, _private_key),
            (_URL_PASSWORD, _whole(b"://[secret]@")),
            (_TOKEN, _whole(b"[secret]")),
            (_BEARER, _bearer),
            (_ASSIGNMENT, _assignment),
            (_EMAIL_DOMAIN, _email),
            (_IBAN, _iban),
            (_LONG_NUMBER, _long_number),
            (_PHONE, _phone),
        ]
        if ips:
            kinds.insert(-2, (_IP, _ip))
        self._pattern = re2.compile(b"|".join(b"(" + pattern + b")" for pattern, _ in kinds))
        # The same without groups, which make RE2 run another, slower engine over each match.
        self._any = re2.compile(b"|".join(b"(?:" + pattern + b")" for pattern, _ in kinds))
        self._replacers = [replacer for _, replacer in kinds]

    def suspects(self, texts: Sequence[str]) -> set[int]:
        """Places of the texts in which there is something to look at; `redact` leaves all others as they are."""
        found: set[int] = set()
        for start, end in _stretches(texts):
            found.update(start + index for index in places(self._any, texts[start:end]))
        return found

    def redact(self, text: str) -> str:
        """The text itself when nothing was found."""
        data = text.encode("utf-8", "surrogatepass")
        match = self._pattern.search(data)
        if match is None:
            return text
        pieces: list[bytes] = []
        done = 0
        for _ in range(MAX_HITS):
            start, replacement, end = self._replacers[match.lastindex - 1](data, done, *match.span())
            pieces += (data[done:start], replacement)
            done = end
            match = self._pattern.search(data, done)
            if match is None:
                pieces.append(data[done:])
                break
        else:
            pieces.append(b"[dropped]")
        return b"".join(pieces).decode("utf-8", "surrogatepass")


def _stretches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where stretches of texts begin and end that are looked at together."""
    ends = list(itertools.accumulate(map(len, texts)))
    start = before = 0
    while start < len(texts):
        # One text is looked at however long it is, and empty ones before it with it.
        first = bisect.bisect_right(ends, before, start)
        end = max(bisect.bisect_right(ends, before + _JOINED_CHARS, start), min(first + 1, len(texts)))
        yield start, end
        start, before = end, ends[end - 1]
