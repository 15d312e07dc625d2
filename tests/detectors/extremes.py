"""Calls whose every field is an extreme of its type: what a sender who means harm can make detectors see."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from typing import Any

import msgspec

from detectors.features import STYLE
from detectors.layouts import LAYOUT
from detectors.types import NOTICES, Components, Notice, Observation

START_S = 1_763_000_000.0

_TIMES = (0.0, -1.0, 4e9, START_S, START_S - 1e6, math.nan, math.inf, -math.inf, 1e308, START_S + 1.0)
_FLOATS = (math.nan, math.inf, -math.inf, 1e308, -1.0, 5e-324, 0.0, 1.0)
_COUNTS = (2**63 - 1, -1, 0, 1, -(2**63), 7)
_TEXTS = (
    "",
    "a",
    "\x00\n\u202e" * 40,
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "x" * 100_000,
)


@functools.lru_cache(maxsize=8)
def hostile(count: int, seed: int) -> tuple[Observation, ...]:
    """`count` calls whose every field is an extreme of its type, or unknown; times are absurd and run backwards."""
    draw = random.Random(seed)
    kinds = {field.name: str(field.type) for field in msgspec.structs.fields(Observation)[3:]}
    return tuple(
        Observation(
            event_id=str(index),
            time_s=draw.choice(_TIMES),
            deployment="chat",
            **{name: _extreme(name, kind, index, draw) for name, kind in kinds.items()},
        )
        for index in range(count)
    )


_SHAPES: dict[str, Callable[[random.Random, int], Any]] = {
    "style": lambda draw, _: tuple(draw.choices((0.0, 40.0, 17.0, 1.0), k=len(STYLE))),
    "layout": lambda draw, _: tuple(draw.choices((0.0, 12.0, 1.0), k=len(LAYOUT))),
    "features": lambda draw, _: tuple(draw.choices((*_FLOATS, *_COUNTS, None), k=8)),
    "prompt_place": lambda draw, _: draw.randbytes(13),
    "prompt_tokens": lambda draw, _: draw.choice(
        (b"", b"x", b"\x00" * 191, draw.randbytes(192), draw.randbytes(10_000))
    ),
    "components": lambda draw, index: tuple(
        draw.choice((f"{index}-{place}", None)) for place in range(len(Components.__struct_fields__))
    ),
    **dict.fromkeys(
        ("hosts", "leaks"),
        lambda draw, index: draw.choice(
            ((), (draw.choice(_TEXTS),) * 9, (f"answer:{index}.x", f"tool:{index}"), ("private_key",))
        ),
    ),
}
"""Fields that are more than one number or text."""

_NOTICE_SHARE = 0.1
"""Few of the calls: what a notice is with goes to few detectors."""


def _notice(index: int, draw: random.Random) -> Notice:
    return Notice(
        kind=draw.choice((*NOTICES, "", "junk")),
        component=draw.choice((*Components.__struct_fields__, "served_model", "", "junk\n", "x" * 100_000)),
        version=draw.choice((*_TEXTS, f"{index}-{draw.randrange(9)}")),
        before=draw.choice((None, *_TEXTS)),
        from_s=draw.choice((None, *_TIMES)),
        until_s=draw.choice((None, *_TIMES)),
        reference=draw.choice(_TEXTS),
        risks=draw.choice(((), (draw.choice(_TEXTS),) * 100, (f"risk:{index}",))),
        tools=draw.choice(((), ((draw.choice(_TEXTS), f"{index}"),) * 500, ((f"tool-{index}", "a"),))),
    )


def _extreme(name: str, kind: str, index: int, draw: random.Random) -> Any:
    pick = draw.randrange(1_000)
    if name == "notice":
        return _notice(index, draw) if pick < 1_000 * _NOTICE_SHARE else None
    if pick < 200:
        return None
    if name in _SHAPES:
        return _SHAPES[name](draw, index)
    if "bytes" in kind:
        return draw.randbytes(draw.choice((0, 1, 64, 1_000)))
    for part, values in (("bool", (True, False)), ("int", _COUNTS), ("float", _FLOATS)):
        if part in kind:
            return draw.choice(values)
    return draw.choice(_TEXTS) if pick % 2 else f"{name}-{index}"
