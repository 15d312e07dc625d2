"""Whether two names of models are names of one: aliases, prefixes of providers and dates aside.

``gpt-4o`` and ``openai/gpt-4o-2024-08-06`` are one family, ``gpt-4o`` and ``gpt-4o-mini`` are two.
"""

from __future__ import annotations

import functools
import re

_MAX_CHARS = 128

_DATE = re.compile(r"(?<!\d)(?:20\d\d[-.]?[01]\d[-.]?[0-3]\d|[01]\d-20\d\d)(?!\d)")
_REVISION = re.compile(r":\d+$")
_WORDS = re.compile(r"[^a-z0-9]+")
_SIZE = re.compile(r"\d+(?:x\d+)?[bm]")
_EDITION = re.compile(r"v\d+|\d{3,}|latest|preview|exp|experimental|stable|beta|alpha")
_TIERS = frozenset(
    (
        *("mini", "nano", "micro", "lite", "light", "tiny", "small", "medium", "large", "xl", "xxl", "base"),
        *("flash", "pro", "plus", "ultra", "max", "turbo", "haiku", "sonnet", "opus", "distill", "distilled"),
        *("reasoner", "thinking", "coder", "code", "guard", "embed", "embedding"),
    )
)
"""Words that tell one model of a family of names from another."""


@functools.lru_cache(maxsize=1_024)
def agrees(asked: str, served: str) -> bool:
    """Whether a model of the name `served` may answer for one of the name `asked`."""
    if asked == served:
        return True
    one, other = sorted((_words(asked), _words(served)), key=len)
    if not one:
        return False
    for start in range(len(other) - len(one) + 1):
        if other[start : start + len(one)] == one:
            further = (*other[:start], *other[start + len(one) :])
            return not any(word in _TIERS or _SIZE.fullmatch(word) for word in further)
    return False


def _words(name: str) -> tuple[str, ...]:
    """The words of a name without its path, dates and editions at its end."""
    last = _REVISION.sub("", name[:_MAX_CHARS].casefold().rpartition("/")[2])
    words = [word for word in _WORDS.split(_DATE.sub("", last)) if word]
    while len(words) > 1 and _EDITION.fullmatch(words[-1]):
        words.pop()
    return tuple(words)
