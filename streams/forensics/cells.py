"""Tables as CSV that a spreadsheet shows and never runs. Pure.

Whoever sends a prompt writes into our exports, and a spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or
``@``. Such a cell gets an apostrophe in front, as the OWASP advises, and every text is quoted. A spreadsheet of a
country with decimal commas splits lines at semicolons, whatever is quoted, so what stands behind a separator of any
kind is treated as the beginning of a cell too. Numbers stay numbers. Who needs the texts unchanged takes Parquet.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

_RUN: Final = frozenset("=+-@")
_MINUS_SIGNS: Final = frozenset("\u2212\u2010\u2011\u2012\u2013")
_SEPARATED = re.compile(r"([;|\t\r\n\v\f\x85\u2028\u2029][\s\"'\ufeff\u200b]*)(\S)")
_SKIPPED: Final = frozenset('\ufeff\u200b\u200c\u200d\u2060"')
_FIRST_CHARS = ("\t", "\r", "\n")


def neutral(text: str) -> str:
    """`text` as a cell that no spreadsheet runs; unchanged where it is harmless."""
    text = text.replace("\x00", "\\x00")
    begins = text[:1] in _FIRST_CHARS or _runs(_first(text))
    text = _SEPARATED.sub(lambda found: f"{found[1]}'{found[2]}" if _runs(found[2]) else found[0], text)
    return f"'{text}" if text and begins else text


def cell(value: Any) -> str | int | float:
    """A value of an answer as a cell: numbers as they are, everything else as a harmless text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    return neutral(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def csv_of(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """A header and rows as CSV in UTF-8, a line each; texts are quoted, numbers are not."""
    for row in (names, *rows):
        line = io.StringIO()
        csv.writer(line, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n").writerow([cell(each) for each in row])
        yield line.getvalue().encode("utf-8", "backslashreplace")


def _first(text: str) -> str:
    """The first character that counts: blanks, and what nobody sees, are skipped by one program or another."""
    for character in text:
        if (
            not character.isspace()
            and character not in _SKIPPED
            and unicodedata.category(character) not in {"Cc", "Cf"}
        ):
            return character
    return ""


def _runs(character: str) -> bool:
    return bool(character) and (unicodedata.normalize("NFKC", character)[:1] in _RUN or character in _MINUS_SIGNS)
