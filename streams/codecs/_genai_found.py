"""Where the fields of one span or log record stand, under whichever of their names the sender uses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from streams.codecs._genai_messages import structured
from streams.codecs._genai_names import ASKED, FLATTENED, RESOURCE, SPAN
from streams.codecs._json import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.codecs._otlp_parts import Attributes

Value = TypeVar("Value")


class Spot(NamedTuple):
    """Where a field was found, in the order that the readers of `_json` take."""

    fields: Mapping[str, object]
    key: str
    at: str = ""


Slots = dict[str, tuple[str, int]]
"""An attribute's name to the field that it means and to its rank there, 0 being the best."""


def _slots(table: Mapping[str, tuple[str, ...]]) -> Slots:
    """Turn a table of names around, for one look-up an attribute instead of one a name."""
    return {name: (field, rank) for field, names in table.items() for rank, name in enumerate(names)}


def _locate(fields: Mapping[str, object], table: Slots, at: str = "") -> dict[str, Spot]:
    """Return where each field stands under its best name; what is null or "" stands nowhere."""
    spots: dict[str, Spot] = {}
    ranks: dict[str, int] = {}
    for key, value in fields.items():
        slot = table.get(key)
        if slot is None or value is None or value == "":
            continue
        field, rank = slot
        if field not in ranks or rank < ranks[field]:
            ranks[field] = rank
            spots[field] = Spot(fields, key, at)
    return spots


def gather(fields: Mapping[str, object]) -> dict[str, list[tuple[str, object]]]:
    """Return, by field, what stands under flattened names, with their beginnings taken off.

    Of two conventions in one span, the one that the table names first is taken, never a mixture.
    """
    found: dict[str, list[tuple[str, object]]] = {}
    beginnings: dict[str, int] = {}
    for key, value in fields.items():
        beginning = _BEGINNING.match(key)
        if beginning is None:
            continue
        field, rank = _MARKS[beginning[0]]
        if rank < beginnings.setdefault(field, rank) or field not in found:
            beginnings[field] = rank
            found[field] = []
        if rank == beginnings[field]:
            found[field].append((key[beginning.end() :], value))
    return found


_MARKS = {
    beginning: (field, rank) for field, beginnings in FLATTENED.items() for rank, beginning in enumerate(beginnings)
}
_BEGINNING = re.compile("|".join(map(re.escape, _MARKS)))
_SPAN_SLOTS, _RESOURCE_SLOTS, _ASKED_SLOTS = _slots(SPAN), _slots(RESOURCE), _slots(ASKED)


class Found:
    """The fields of one part, found under whatever name; a call reads one, or gives None."""

    __slots__ = ("flat", "spots")

    def __init__(self, attributes: Attributes, resource: Attributes) -> None:
        """Look once at every attribute; a span's word goes before the resource's."""
        self.spots: dict[str, Spot] = {**_locate(resource, _RESOURCE_SLOTS), **_locate(attributes, _SPAN_SLOTS)}
        self.flat = gather(attributes)
        asked = self.spots.get("asked")
        if asked is not None:
            parameters = asked.fields[asked.key]
            parameters = structured(parameters) if isinstance(parameters, str) else parameters
            if isinstance(parameters, dict):
                self.spots = {**_locate(parameters, _ASKED_SLOTS, asked.key), **self.spots}

    def __call__(self, read: Callable[[Mapping[str, object], str, str], Value | None], field: str) -> Value | None:
        """Read `field` with a typed reader; raises its `FieldError`."""
        spot = self.spots.get(field)
        return None if spot is None else read(*spot)

    def asked(self, read: Callable[[Mapping[str, object], str, str], Value | None], field: str) -> Value | None:
        """Read what the caller wrote, who must not be able to make its own calls dead letters: odd is unknown."""
        spot = self.spots.get(field)
        if spot is None:
            return None
        try:
            return read(*spot)
        except FieldError:
            return None

    def raw(self, field: str) -> object:
        """Return the value of `field` as it stands."""
        spot = self.spots.get(field)
        return None if spot is None else spot.fields[spot.key]
