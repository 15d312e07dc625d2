r"""Text from outside as HTML that shows what is in it, and does nothing.

Markup is escaped like everywhere; and characters that nobody sees, or that move others about, are written as
escapes (``\x1b``, ``\u202e``) in a box of their own: what a prompt hides is what a responder has to see. Letters of
all scripts stay, each text in an isolation of its own, so that one written from right to left turns nothing beside it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import groupby

from markupsafe import Markup, escape

MOST_CHARS = 2_000
"""Of one text on a page: a prompt of 1 MB would make a page that no ticket system takes."""

_ODD = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks by their category that show nothing."""

_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_MOST_MARKS = 2
"""Marks on one letter; a heap of them paints over the lines above and below."""


def inert(text: str, most: int = MOST_CHARS) -> Markup:
    """`text` in one element, its first `most` characters, with a note of how many there are where it is cut."""
    shown = Markup("").join(
        Markup('<span class="odd">{}</span>').format("".join(map(_escaped, part))) if odd else escape("".join(part))
        for odd, part in _parts(text[:most])
    )
    if len(text) > most:
        shown += Markup('<span class="cut"> … cut here: {} characters in all</span>').format(f"{len(text):,}")
    return Markup("<bdi>{}</bdi>").format(shown)


def plain(text: str, most: int = 200) -> str:
    """The same for places that hold no elements, such as the title of a window."""
    return "".join("".join(map(_escaped, part) if odd else part) for odd, part in _parts(text[:most]))


def _parts(text: str) -> Iterator[tuple[bool, list[str]]]:
    marks = 0
    found = []
    for each in text:
        marks = marks + 1 if unicodedata.combining(each) else 0
        found.append((marks > _MOST_MARKS or _is_odd(each), each))
    for odd, part in groupby(found, key=lambda pair: pair[0]):
        yield odd, [each for _, each in part]


def _is_odd(each: str) -> bool:
    if " " <= each <= "~":
        return False
    kind = unicodedata.category(each)
    return kind in _ODD or kind == "Zs" or each in _BLANK or any(ord(each) in selectors for selectors in _SELECTORS)


def _escaped(each: str) -> str:
    return each.encode("unicode_escape").decode("ascii")
