"""Alerts and OCSF events on their way out: what a target's reader (`reading`) does with the records it takes."""

from __future__ import annotations

import functools
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import TopicPartition

from detectors.bank import discover
from detectors.types import Finding
from streams.alerting.addresses import resolve
from streams.alerting.alerts import Alert, of_incident
from streams.alerting.asides import aside
from streams.alerting.holding import Docket
from streams.alerting.ocsf import detection_finding, encoded
from streams.alerting.ocsf_incidents import incident_finding
from streams.alerting.outlets import Line, Outlet, outlet
from streams.alerting.owners import EVERYBODY, owners_of
from streams.alerting.reading import Attempts, Commit, Reader, Told
from streams.alerting.receivers import Receiver, receiver, targets_of
from streams.alerting.targets import Target
from streams.cases.incidents import Incident
from streams.settings import Settings
from streams.topics import FINDINGS, INCIDENTS, MAX_MESSAGE_BYTES, full_name

_MOST_LINES = 100


class Courier:
    """Brings one target the news of incidents, as alerts."""

    def __init__(
        self, settings: Settings, target: Target, to: Receiver, told: Told, clock: Callable[[], float] = time.time
    ) -> None:
        """News that concern `target` go to `to`; `clock` gives unix seconds."""
        self.attempts = Attempts(target.name, told)
        self._owners = owners_of(settings.owners) if settings.owners else {}
        self._dashboard_url = settings.dashboard_url
        self._docket = Docket(target, settings.dashboard_url)
        self._templates = target.templates
        self._to = to
        self._clock = clock
        self._topic = full_name(settings, INCIDENTS)

    def begin(self, notes: Mapping[TopicPartition, str]) -> None:
        """What was held back comes again from the log."""
        self._docket.forget()
        for place, note in notes.items():
            self._docket.begin(place.partition, note)

    async def take(self, place: TopicPartition, records: Sequence[Any], commit: Commit) -> int | None:
        """Tell, hold back or pass over each, in order; what is told is committed before the next."""
        docket, partition = self._docket, place.partition
        for record in records:
            incident, now_s = _read(record.value, Incident), self._clock()
            if incident is None or not docket.wants(partition, incident, self._owner(incident)):
                docket.passed(partition, record.offset)
            elif docket.is_held(incident, now_s):
                docket.hold(partition, record.offset, incident, now_s)
                self.attempts.held()
            elif await self._taken(of_incident(incident, self._dashboard_url, self._templates)):
                docket.told(partition, record.offset, incident, now_s)
                await commit()
            else:
                return int(record.offset)
        return None

    async def turn(self) -> None:
        """The digest, when it is due."""
        alert = self._docket.digest(self._clock())
        if alert is not None and await self._taken(alert):
            self._docket.digested()

    def commits(self) -> Mapping[TopicPartition, tuple[int, str]]:
        """Never behind what is held back."""
        return {TopicPartition(self._topic, partition): at for partition, at in self._docket.commits().items()}

    async def end(self) -> None:
        """Nothing is open."""

    async def _taken(self, alert: Alert) -> bool:
        return await self.attempts.made(f"alert {alert.id}", lambda: aside(lambda: self._to.tell(alert)))

    def _owner(self, incident: Incident) -> str | None:
        return self._owners.get(incident.deployment) or self._owners.get(EVERYBODY)


class Feed:
    """Brings one target all findings and incidents that concern it, as OCSF events."""

    def __init__(self, settings: Settings, target: Target, to: Outlet, told: Told) -> None:
        """Events go to `to`."""
        self.attempts = Attempts(target.name, told)
        self._target = target
        self._owners = owners_of(settings.owners) if settings.owners else {}
        self._to = to
        self._findings = full_name(settings, FINDINGS)
        self._version = importlib.metadata.version("inferwatch")
        self._catalog = {name: kind.metadata for name, kind in discover().items()}
        self._at_once = _MOST_LINES
        self._done: dict[TopicPartition, int] = {}

    def begin(self, notes: Mapping[TopicPartition, str]) -> None:  # noqa: ARG002 - a feed leaves none
        """Nothing is remembered."""
        self._done.clear()

    async def take(self, place: TopicPartition, records: Sequence[Any], commit: Commit) -> int | None:
        """In batches; a batch that is refused is tried again in halves, for it may be too large."""
        rest = list(records)
        while rest:
            batch, rest = rest[: self._at_once], rest[self._at_once :]
            lines = [line for record in batch for line in self._lines(place.topic, record.value)]
            bring = functools.partial(self._to.take, lines)
            if lines and not await self.attempts.made(f"{len(lines)} OCSF events", bring):
                self._at_once = max(self._at_once // 2, 1)
                return int(batch[0].offset)
            self._at_once = min(self._at_once * 2, _MOST_LINES)
            self._done[place] = batch[-1].offset + 1
            await commit()
        return None

    async def turn(self) -> None:
        """Nothing is held back."""

    def commits(self) -> Mapping[TopicPartition, tuple[int, str]]:
        """What was taken since the last time."""
        done, self._done = self._done, {}
        return {place: (offset, "") for place, offset in done.items()}

    async def end(self) -> None:
        """Let go of connections."""
        await self._to.close()

    def _lines(self, topic: str, value: bytes | None) -> Iterator[Line]:
        """The event of a record; nothing of what cannot be read, which `triage` buries, or does not concern it."""
        about: Finding | Incident | None
        about = _read(value, Finding) if topic == self._findings else _read(value, Incident)
        if about is None:
            return
        owner = self._owners.get(about.deployment) or self._owners.get(EVERYBODY)
        if self._target.takes(about.severity, about.deployment, owner):
            if isinstance(about, Finding):
                event = detection_finding(about, self._version)
            else:
                event = incident_finding(about, self._version, self._catalog)
            yield Line(about.deployment, encoded(event, MAX_MESSAGE_BYTES))


def readers(settings: Settings, told: Told) -> list[Reader]:
    """One for each target that is set. Raises `SettingsError`."""
    return [_reader(settings, target, told) for target in targets_of(settings)]


def _reader(settings: Settings, target: Target, told: Told) -> Reader:
    if target.ocsf is not None:
        feed = Feed(settings, target, outlet(settings, target, resolve), told)
        return Reader(settings, target.name, (FINDINGS, INCIDENTS), feed, alone=False)
    courier = Courier(settings, target, receiver(settings, target), told)
    return Reader(settings, target.name, (INCIDENTS,), courier, alone=True)


def _read(value: bytes | None, kind: Any) -> Any:
    try:
        return msgspec.json.decode(value or b"", type=kind)
    except msgspec.MsgspecError:
        return None
