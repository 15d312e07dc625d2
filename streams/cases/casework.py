"""Incidents as a worker keeps them: recalled before findings are taken, durable before findings are acked.

The order for a batch of findings that are stored:
    1. recall the incidents of deployments that are not remembered here, and what people have suppressed;
    2. take the findings in order (`triage.Cases`, pure);
    3. send what changed, and all that is news, to the topic of incidents, and wait until it is durable;
    4. insert what changed, in one insert.
A crash before the batch is acked repeats it: findings that an incident knows change nothing, and the others give the
same revisions as the first time. Sent before inserted: once it is stored, a repeated batch would not send it again.
Who reads the topic may see a revision twice.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

import msgspec

from detectors.types import Finding
from streams.cases import case_files, suppression_files
from streams.cases.incidents import Incident, closed
from streams.dlq import printable
from streams.pipeline import partition_of
from streams.sinks import Message, Sender, Writer
from streams.topics import MAX_MESSAGE_BYTES
from streams.triage import Cases

_log = logging.getLogger(__name__)

_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S = 60.0, 0.5
_HEEDED_S = 5.0
"""How long ago suppressions may have been read."""


class Casework:
    """Findings to stored incidents."""

    def __init__(self, cases: Cases, writer: Writer, sender: Sender, clock: Callable[[], float] = time.time) -> None:
        """Keep `cases` in step with the store behind `writer`, and tell the topic of `sender`."""
        self._cases = cases
        self._writer = writer
        self._sender = sender
        self._clock = clock
        self._heeded_s = -math.inf
        self._assignment = 0

    async def take(self, findings: Sequence[Finding]) -> bool:
        """Steps 1 to 4; False where partitions moved meanwhile: the findings are another's, or come again."""
        assignment = self._assignment
        lacking = self._cases.lacks(finding.deployment for finding in findings)
        if lacking:
            recalled = await self._writer.run(lambda store: case_files.recalled(store, lacking))
            if assignment != self._assignment:
                return False
            for deployment, incidents in recalled.items():
                self._cases.recall(deployment, incidents)
        await self._heed()
        if assignment != self._assignment:
            return False
        revisions: list[Incident] = []
        for finding in findings:
            for incident in self._cases.take(finding):
                if incident.news_id is not None:
                    _log.warning("%s incident %s, %s: %s", incident.severity, *_said(incident))
                revisions.append(incident)
        await self._keep(revisions)
        return assignment == self._assignment

    def forget(self) -> None:
        """Partitions have moved."""
        self._assignment += 1
        self._cases.forget()

    async def close_regularly(self, is_ours: Callable[[], bool]) -> None:
        """Write for ever that incidents have closed, while `is_ours` says that it is this worker's turn."""
        while True:
            await asyncio.sleep(min(max(self._cases.quiet_s / 4.0, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S))
            if is_ours():
                await self.close_quiet(time.time())

    async def close_quiet(self, now_s: float) -> None:
        """Close what is quiet; a finding that comes at the same time has the higher revision and wins."""
        quiet_s = self._cases.quiet_s
        overdue = await self._writer.run(lambda store: case_files.overdue(store, now_s, quiet_s))
        await self._keep([closed(incident, quiet_s) for incident in overdue])

    async def _heed(self) -> None:
        """Read what is suppressed, unless that was a moment ago."""
        now_s = self._clock()
        if abs(now_s - self._heeded_s) >= _HEEDED_S:
            self._cases.heed(await self._writer.run(lambda store: suppression_files.active(store, now_s)))
            self._heeded_s = now_s

    async def _keep(self, revisions: Sequence[Incident]) -> None:
        """Steps 3 and 4: of each incident the last revision, and to the topic those before it that are news."""
        last = {incident.incident_id: incident for incident in revisions}
        told = [each for each in revisions if each.news_id is not None or each is last[each.incident_id]]
        await self._sender.send(map(self._message, told))
        await self._writer.run(lambda store: store.insert_incidents(list(last.values())))

    def _message(self, incident: Incident) -> Message:
        value = msgspec.json.encode(incident)
        if len(value) > MAX_MESSAGE_BYTES:
            # Kafka would refuse it for ever; what was quoted is in the store.
            value = msgspec.json.encode(msgspec.structs.replace(incident, cited=(), known=()))
        return Message(
            partition=partition_of(incident.deployment, self._sender.topic.partitions),
            key=incident.deployment.encode(),
            value=value,
        )


def _said(incident: Incident) -> tuple[str, str | None, str]:
    return incident.incident_id, incident.news, printable(f"{incident.deployment}: {incident.summary}")
