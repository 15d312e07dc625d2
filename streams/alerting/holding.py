"""What one target was told of incidents, what is held back for its digest, and how far it has come. Pure.

What is held back is nowhere but here and in the log: the offset that may be committed stays before the first piece of
news that is held, so after a crash it is read again. What was told all the same behind that offset, and how much was
told in this hour, goes along as a note with the committed offset; so nobody is told twice and the hour's limit holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from detectors.types import Severity
from streams.alerting.alerts import Alert, Brief, brief, digest
from streams.alerting.targets import Target
from streams.cases.incidents import CLOSED, Incident

HOUR_S = 3_600

MOST_HELD = 10_000
"""Pieces of news that a digest knows by name; of more only the number is kept, and their offsets."""

_MOST_TOLD = 200
"""Identities that a note has: Kafka keeps 4,096 bytes with an offset."""

_TOLD_BYTES = 6


class Note(msgspec.Struct, array_like=True):
    """What is committed with an offset: the hour that was last told in, how much in it, and what was told last."""

    hour: int = 0
    count: int = 0
    told: tuple[str, ...] = ()


class _Place(msgspec.Struct):
    """Where a partition stands: the offset behind what was looked at, and the first one held back."""

    note: Note
    done: int | None = None
    held: int | None = None
    committed: tuple[int, Note] | None = None


class Docket:
    """The news for one target."""

    def __init__(self, target: Target, dashboard_url: str | None) -> None:
        """Begin with no partitions; see `begin`."""
        self._target = target
        self._hours = target.open_hours
        self._dashboard_url = dashboard_url
        self._places: dict[int, _Place] = {}
        self._held: dict[str, Brief] = {}
        self._left_out = 0
        self._since_s = 0.0
        self._until_hour = 0

    def begin(self, partition: int, note: str) -> None:
        """A partition is read from its committed offset on, with the `note` that was committed there."""
        try:
            known = msgspec.json.decode(note, type=Note) if note else Note()
        except msgspec.MsgspecError:
            known = Note()
        self._places[partition] = _Place(known)

    def forget(self) -> None:
        """Partitions have moved: what is held comes again, here or elsewhere."""
        self._places.clear()
        self._held.clear()
        self._left_out = 0

    def wants(self, partition: int, incident: Incident, owner: str | None) -> bool:
        """Whether a revision is news for the target, and not known to it."""
        identity = incident.news_id
        if identity is None or (incident.news == CLOSED and not self._target.closed):
            return False
        if not self._target.takes(incident.severity, incident.deployment, owner):
            return False
        return _short(identity) not in self._places[partition].note.told and identity not in self._held

    def is_held(self, incident: Incident, now_s: float) -> bool:
        """Whether it is for the digest: outside the hours, or beyond the hour's limit and not critical."""
        if self._hours is not None and not self._hours.is_open(now_s):
            return True
        return incident.severity is not Severity.CRITICAL and self._count(now_s) >= self._target.most_hourly

    def hold(self, partition: int, offset: int, incident: Incident, now_s: float) -> None:
        """Keep it for the digest, which comes when the hour ends or when the next hours begin."""
        if not self._held:
            self._since_s = now_s
            self._until_hour = _hour(now_s) + (self._count(now_s) >= self._target.most_hourly)
        place = self._places[partition]
        place.held = offset if place.held is None else place.held
        place.done = offset + 1
        if len(self._held) < MOST_HELD:
            told = brief(incident)
            self._held[told.news_id] = told
        else:
            self._left_out += 1

    def told(self, partition: int, offset: int, incident: Incident, now_s: float) -> None:
        """The target has taken the alert."""
        place = self._places[partition]
        hour = _hour(now_s)
        count = place.note.count if place.note.hour == hour else 0
        place.note = Note(hour, count + 1, _remembered(place.note.told, [incident.news_id or ""]))
        place.done = offset + 1

    def passed(self, partition: int, offset: int) -> None:
        """Nothing was to be told."""
        self._places[partition].done = offset + 1

    def digest(self, now_s: float) -> Alert | None:
        """The digest that is due, if one is."""
        if not self._held or _hour(now_s) < self._until_hour:
            return None
        if self._hours is not None and not self._hours.is_open(now_s):
            return None
        return digest(list(self._held.values()), self._left_out, self._since_s, self._dashboard_url)

    def digested(self) -> None:
        """The target has taken the digest."""
        for place in self._places.values():
            if place.held is not None:
                place.note = Note(place.note.hour, place.note.count, _remembered(place.note.told, self._held))
                place.held = None
        self._held.clear()
        self._left_out = 0

    def commits(self) -> dict[int, tuple[int, str]]:
        """By partition the offset and the note to commit, where they are not what was committed last."""
        found = {}
        for partition, place in self._places.items():
            if place.done is None:
                continue
            value = (place.done if place.held is None else place.held, place.note)
            if value != place.committed:
                place.committed = value
                found[partition] = (value[0], msgspec.json.encode(place.note).decode())
        return found

    def _count(self, now_s: float) -> int:
        hour = _hour(now_s)
        return sum(place.note.count for place in self._places.values() if place.note.hour == hour)


def _hour(now_s: float) -> int:
    return int(now_s // HOUR_S)


def _short(identity: str) -> str:
    return hashlib.blake2b(identity.encode("utf-8", "replace"), digest_size=_TOLD_BYTES).hexdigest()


def _remembered(before: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*before, *map(_short, more)]))[-_MOST_TOLD:]
