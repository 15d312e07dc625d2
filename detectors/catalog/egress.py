"""Hosts that a deployment never named or connected to before, one at once where its set is stable, else by their rate.

Connections of the serving side, and tool calls, mostly go to the same few hosts for months; answers name hosts as
topics come. So each place has a set of known hosts and learns how often a call brings a new one.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from typing import ClassVar

import msgspec

from detectors import alarms
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.hosts import ANSWER, CONNECTION, MAX_HOST_CHARS, MAX_HOSTS, TOOL
from detectors.occurrences import STREAMS, Occurrences, Walk
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_WARM_UP = 200
_WARM_UP_QUIET = 20
_WARM_UP_S = 86_400.0
"""A place that is named rarely has been learned after a day and 20 calls that named it."""

_MAX_KNOWN = {CONNECTION: 512, TOOL: 512, ANSWER: 2_048}
"""Hosts remembered of each place, those unseen for longest leave; 8-byte hashes: the state stays below 48 KiB."""

_WORDS = {CONNECTION: "connections", TOOL: "tool calls", ANSWER: "answers"}
_CHATTER = 6
_QUIET_COUNT = 10_000
"""After so many single new hosts of a place were said, the next is said only when none came for so many calls."""

_MAX_SHOWN = 4
_MAX_ENTRY_CHARS = max(map(len, _MAX_KNOWN)) + 2 + MAX_HOST_CHARS
_LEAST_LIMIT = alarms.e_limit(alarms.bonferroni(alarms.MIN_ARL, STREAMS * len(_MAX_KNOWN)))


class Place(msgspec.Struct, kw_only=True):
    """The hosts of one place with the call that last named them; `fresh` is how often a call brings a new one."""

    since_s: float
    known: dict[int, int] = {}
    seen: int = 0
    fresh: Occurrences = msgspec.field(default_factory=Occurrences)
    latest: list[str] = []
    learned: bool = False
    said: int = 0
    news_at: int = 0


class Egress(Detector):
    """Says a new host at once where the set was stable, else that new ones come more often."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Hosts never seen for this deployment",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A host in a connection of the serving side or a tool call that was never there before; more new hosts in"
        " answers than there used to be.",
        requires=("hosts",),
        warm_up=_WARM_UP,
        score_unit="nats of evidence for a higher rate; for single hosts the limit itself",
        atlas=("AML.T0025", "AML.T0086", "AML.T0077"),
        owasp=("LLM05:2025", "LLM06:2025", "LLM03:2025"),
        causes=(
            "An injected instruction makes the model or its tools send data to a host of the attacker's.",
            "Code in a model file, package or plug-in of the serving side connects to its author.",
            "A tool, retrieval source or update server was added or moved.",
        ),
        false_positives=(
            "A provider that spreads its service over ever new host names.",
            "A new topic, customer or document collection that brings links of its own.",
            "A batch job that asks for links.",
        ),
        known_gaps=(
            "Data that leaves by a host the deployment already knew, such as a public file store or issue tracker.",
            "Hosts in answers without a scheme such as https://, and in tool arguments of an unusual form.",
            "At most 8 hosts of one call, and 512 (in answers 2,048) of a deployment, are remembered.",
            "Connections have to be reported by the source; most sources report none.",
        ),
        runbook=(
            "Find out who owns the host and since when its name exists; treat a young name as hostile.",
            "Read the call of the finding's event: what was asked, what was retrieved, which tool was called.",
            "If nobody owns it, block the host at the egress proxy and look there for what was sent.",
            "Compare packages, plug-ins and model files with the versions before the onset.",
        ),
        references=(
            "Greshake et al., Not what you've signed up for: indirect prompt injection (2023)",
            "MITRE ATLAS, Exfiltration via AI Agent Tool Invocation (2025)",
            "MITRE ATT&CK, Exfiltration Over Web Service (2018)",
        ),
    )

    pace: alarms.Pace = msgspec.field(default_factory=alarms.Pace)
    count: int = 0
    places: dict[str, Place] = msgspec.field(default_factory=dict)

    def update(self, observation: Observation) -> Detection | None:
        """Compare the hosts of one call with those known; calls that name none count for the rate of those that do."""
        entries = observation.hosts
        if not entries:
            return None
        self.count += 1
        self.pace.see(observation.time_s)
        time_s = observation.time_s if 0.0 <= observation.time_s <= MAX_TIME_S else 0.0
        named: dict[str, list[tuple[str, int]]] = {}
        for entry in entries[:MAX_HOSTS]:
            where, host, name = _read(entry[:_MAX_ENTRY_CHARS])
            if not host:
                continue
            if where in named:
                named[where].append((host, name))
            else:
                named[where] = [(host, name)]
        spoken: Detection | None = None
        for where in _MAX_KNOWN:
            if where in named:
                said = self._compare(where, named[where], observation.principal, time_s, with_tool=TOOL in named)
                spoken = spoken or said
        return spoken

    def _compare(
        self, where: str, hosts: list[tuple[str, int]], principal: str | None, time_s: float, *, with_tool: bool
    ) -> Detection | None:
        """Learn the hosts of one place; what is to be said of those that are new."""
        place = self.places.get(where)
        if place is None:
            place = self.places[where] = Place(since_s=time_s)
        place.seen += 1
        new = []
        for host, name in hosts:
            if name not in place.known:
                new.append(_inert(host))
                _forget_oldest(place.known, _MAX_KNOWN[where])
            place.known[name] = place.seen
        if place.learned and not new:
            return self._pass_over(where, place)
        place.latest = [*place.latest, *new][-_MAX_SHOWN:]
        if not place.learned:
            _learn(place, time_s, new=bool(new))
            return None
        limit = self._limit()
        caller = zlib.crc32(principal.encode("utf-8", "replace")) if principal else None
        walk = place.fresh.step(hit=True, caller=caller, time_s=time_s, limit=limit)
        quiet = place.seen - place.news_at >= _QUIET_COUNT
        place.news_at = place.seen
        if walk is not None:
            detection = self._more(where, place, walk, limit)
            place.fresh.restart()
            return detection
        if where != ANSWER and not place.fresh.hits and (place.said < _CHATTER or quiet):
            place.said += 1
            severity = Severity.HIGH if where == CONNECTION and with_tool else Severity.MEDIUM
            return self._single(where, place, new, severity, limit, time_s)
        return None

    def _pass_over(self, where: str, place: Place) -> Detection | None:
        """Move the rate by a call without a new host: only a limit that has fallen can make it alarm."""
        if place.fresh.pass_over() < _LEAST_LIMIT:
            return None
        limit = self._limit()
        walk = place.fresh.beyond(limit)
        if walk is None:
            return None
        detection = self._more(where, place, walk, limit)
        place.fresh.restart()
        return detection

    def _limit(self) -> float:
        run_length = alarms.average_run_length(self.share, self.pace.per_day)
        return alarms.e_limit(alarms.bonferroni(run_length, STREAMS * len(_MAX_KNOWN)))

    def _single(
        self, where: str, place: Place, shown: list[str], severity: Severity, limit: float, time_s: float
    ) -> Detection:
        return Detection(
            summary=f"A host never seen in {_WORDS[where]} of this deployment; {place.seen - 1} calls named"
            f" {len(place.known) - len(shown)} hosts before.",
            severity=severity,
            score=limit,
            threshold=limit,
            onset_s=time_s,
            evidence=(
                Evidence(name="new hosts", observed=" ".join(shown[:_MAX_SHOWN])),
                Evidence(name="where", observed=where),
                Evidence(name="known hosts", observed=float(len(place.known) - len(shown)), unit="hosts"),
                Evidence(name="calls before that named hosts", observed=float(place.seen - 1), unit="calls"),
            ),
        )

    def _more(self, where: str, place: Place, walk: Walk, limit: float) -> Detection:
        before = place.fresh.hits / max(place.fresh.seen, 1)
        return Detection(
            summary=f"More new hosts than usual in {_WORDS[where]}: in {walk.hits} of the last {walk.seen} calls that"
            f" named any, {before:.1%} before.",
            severity=Severity.LOW if where == ANSWER else Severity.MEDIUM,
            score=walk.level,
            threshold=limit,
            onset_s=walk.since_s,
            evidence=(
                Evidence(name="latest new hosts", observed=" ".join(place.latest)),
                Evidence(name="where", observed=where),
                Evidence(name="share with a new host", observed=walk.hits / walk.seen, expected=before),
                Evidence(name="known hosts", observed=float(len(place.known)), unit="hosts"),
            ),
        )


def _learn(place: Place, time_s: float, *, new: bool) -> None:
    """Count a call of the warm-up, once the usual hosts have been met; the last one ends it."""
    slow = place.seen > _WARM_UP_QUIET and time_s - place.since_s >= _WARM_UP_S
    if place.seen > _WARM_UP // 2 or slow:
        place.fresh.learn(hit=new)
    if place.seen >= _WARM_UP or (slow and place.seen > 2 * _WARM_UP_QUIET):
        place.learned = True
        place.fresh.freeze()


def _forget_oldest(known: dict[int, int], most: int) -> None:
    """Make room for one more."""
    if len(known) >= most:
        for each in sorted(known, key=known.__getitem__)[: most // 8]:
            del known[each]


@functools.lru_cache(maxsize=4_096)
def _read(entry: str) -> tuple[str, str, int]:
    """Place, host and hash of the host; "" for a host where the entry is none."""
    where, _, host = entry.partition(":")
    if where not in _MAX_KNOWN:
        return where, "", 0
    host = host[: MAX_HOST_CHARS + 1]
    return where, host, int.from_bytes(hashlib.blake2b(host.encode("utf-8", "replace"), digest_size=8).digest())


def _inert(host: str) -> str:
    """A host that no terminal or mail program makes a link of."""
    plain = "".join(letter if letter.isascii() and letter.isprintable() and letter != " " else "?" for letter in host)
    return plain.replace(".", "[.]")
