"""Titles and texts of alerts in an operator's own words: names in braces, and nothing that a name could do. Pure.

``{severity}: {cause} on {deployment}``; a brace is written twice. A name stands for an inert text: no attributes, no
indexes, no formats, so a template reaches nothing but these texts, and one that is wrong is refused at the start.
"""

from __future__ import annotations

import string
from collections.abc import Mapping

import msgspec

NAMES = (
    "severity",
    "news",
    "cause",
    "deployment",
    "component",
    "subject",
    "summary",
    "incident",
    "since",
    "latest",
    "findings",
    "owner",
    "roll_back",
    "checks",
    "actions",
    "command",
    "link",
)
"""What a template may name."""

_LONGEST_CHARS = 4_000
_MOST_NAMES = 50


class Template(msgspec.Struct, frozen=True):
    """Texts, each with the name that follows it; an empty name is none."""

    parts: tuple[tuple[str, str], ...]

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with `values` in the places of their names; what is in a value is never a name."""
        return "".join(text + (values[name] if name else "") for text, name in self.parts)


def read_template(text: str) -> Template:
    """What an operator wrote. Raises `ValueError`."""
    problem = f"a template has names in braces, of {', '.join(NAMES)}; a brace itself is written twice"
    if not text.strip() or len(text) > _LONGEST_CHARS:
        raise ValueError(f"a template has at most {_LONGEST_CHARS} characters, and one at least")
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError:
        raise ValueError(problem) from None
    if any(name is not None and (name not in NAMES or form or conversion) for _, name, form, conversion in parsed):
        raise ValueError(problem)
    if len(parsed) > _MOST_NAMES:
        raise ValueError(f"a template has at most {_MOST_NAMES} names")
    return Template(tuple((literal, name or "") for literal, name, _, _ in parsed))
