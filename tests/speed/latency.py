"""From the record that caused it to the finding that can be read, and to the webhook that is told, under load."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from statistics import quantiles

import msgspec

from streams import topics
from streams.producer import RecordProducer
from tests.speed import drain
from tests.speed.alert_latency import SIGN, Receiver
from tests.speed.load import GOOD, JSON, Load
from tests.speed.looking import looking
from tests.speed.rig import Installation, Rig
from tests.speed.task import Cell, Figures, Target, figure

TITLE = "From produce to finding and to webhook"
NOTE = """
Two workers with all roles. Deployments are learned from a backlog, which gives the capacity of this run; then calls
come at a share of it, 10 a record, and again and again the weights behind a deployment change, which one call tells.
Time begins when that call is handed to the producer. A finding is visible when a reader that asks ten times a second
has it; a webhook is told once for each deployment (what follows there belongs to the same incident), so it has fewer
samples. What sends runs on the same two cores here and costs what `sender` says.
"""
SHARES = {"10 % load": 0.1, "50 % load": 0.5, "80 % load": 0.8}
TARGETS = tuple(
    Target(f"p99 to a visible finding, {cell}", figure(cell, "finding p99 s"), 2.0, at_most=True, unit="s")
    for cell in SHARES
)

WORKERS = 2
_SECRET = "a secret for a receiver on this machine"
_PER_RECORD = 10
_TO_LEARN = 320
_ORDINARY = 20
_READ_EVERY_S = 0.1
_TICK_S = 0.005
_PATIENCE_S = 90.0
_SEEN = """
    SELECT deployment, extract(evidence, '"observed":"(sha256:[0-9a-f]{64})"') AS weights FROM findings
    WHERE detector = {sign:String} AND stored_at > now64(3) - 60
"""


class Place:
    """An installation that has learned what is usual."""

    def __init__(self, installation: Installation, receiver: Receiver, load: Load, *, quick: bool) -> None:
        """`learn` comes first."""
        self.installation = installation
        self.receiver = receiver
        self.load = load
        self.seconds = 15.0 if quick else 60.0
        self.tips = 60 if quick else 240
        self.capacity = 0.0

    def learn(self, rig: Rig) -> None:
        """Drain a backlog with enough of every deployment; how fast that went is the capacity."""
        events = len(self.load.deployments) * _TO_LEARN
        self.installation.produce(self.load.records(events, _PER_RECORD, time.time()), JSON)
        drained = drain.ours(rig, self.installation, events, WORKERS)
        self.capacity = drained.events / drained.wall_s

    def tipping(self, cell: str) -> list[str]:
        """The deployments that change under one load."""
        names = self.load.deployments[_ORDINARY:]
        size = len(names) // len(SHARES)
        first = list(SHARES).index(cell) * size
        return names[first : first + size]


class Reader:
    """Asks the store for findings again and again, and remembers when each was first there."""

    def __init__(self, installation: Installation) -> None:
        """Begin with `reading`."""
        self.seen_s: dict[tuple[str, str], float] = {}
        self._store = installation.stack.store

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Ask until the end."""
        return looking(self._read, _READ_EVERY_S)

    def _read(self) -> None:
        for row in self._store.query(_SEEN, {"sign": SIGN}):
            self.seen_s.setdefault((row["deployment"], row["weights"]), time.time())


@contextlib.contextmanager
def opened(*, quick: bool) -> Iterator[Place]:
    """An installation with workers, a receiver and what they have learned."""
    load = Load(seed=2, deployments=_ORDINARY + len(SHARES) * (12 if quick else 40))
    receiver = Receiver()
    with Rig.running() as rig, receiver.listening() as address:
        target = {"name": "bench", "severity": "info", "hourly": 1_000, "webhook": address, "secret": _SECRET}
        targets = msgspec.json.encode([target]).decode()
        with rig.installation(alert_targets=targets, alert_private_addresses=True) as installation:
            place = Place(installation, receiver, load, quick=quick)
            place.learn(rig)
            yield place


def repeats(*, quick: bool) -> int:
    """Once: a deployment learns the weights that came with it, and an incident is told once."""
    return 1


def cells(*, quick: bool) -> list[Cell]:
    """One for each load."""
    return [Cell(cell, functools.partial(_measure, cell=cell)) for cell in SHARES]


def _measure(place: Place, cell: str) -> Figures:
    rate = place.capacity * SHARES[cell]
    names, load, reader = place.tipping(cell), place.load, Reader(place.installation)
    settings = place.installation.settings
    weights = dict.fromkeys(load.deployments, GOOD)
    tips: dict[tuple[str, str], float] = {}
    first_tip: dict[str, float] = {}
    sender_s, sent = time.thread_time(), 0
    topic = topics.full_name(settings, topics.INFERENCE_LOGS)
    with contextlib.closing(RecordProducer(settings.kafka_brokers, topic)) as producer, reader.reading():
        began_s = time.time()
        while (now_s := time.time()) < began_s + place.seconds:
            elapsed_s = now_s - began_s
            while sent < elapsed_s * rate:
                calls = [load.event(time.time()) for _ in range(_PER_RECORD)]
                for call in calls:
                    call["components"]["weights"] = weights[call["deployment"]]
                producer.send(msgspec.json.encode(calls), JSON)
                sent += _PER_RECORD
            if len(tips) < elapsed_s / place.seconds * place.tips:
                name = names[len(tips) % len(names)]
                weights[name] = f"sha256:{len(tips) + 1:064x}"
                at_s = time.time()
                tips[name, weights[name]] = at_s
                first_tip.setdefault(name, at_s)
                producer.send(msgspec.json.encode(load.event(at_s, name, weights[name])), JSON)
            time.sleep(_TICK_S)
        sent_s, sender_s = time.time() - began_s, time.thread_time() - sender_s
        until_s = time.time() + _PATIENCE_S
        told_s = place.receiver.told_s
        while time.time() < until_s and not (tips.keys() <= reader.seen_s.keys() and first_tip.keys() <= told_s.keys()):
            time.sleep(_READ_EVERY_S)
    found = [reader.seen_s[tip] - at_s for tip, at_s in tips.items() if tip in reader.seen_s]
    told = [told_s[name] - at_s for name, at_s in first_tip.items() if name in told_s]
    return {
        **_percentiles("finding", found),
        **_percentiles("webhook", told),
        "findings": float(len(tips)),
        "findings missing": float(len(tips) - len(found)),
        "webhooks": float(len(first_tip)),
        "webhooks missing": float(len(first_tip) - len(told)),
        "events/s sent": sent / sent_s,
        "capacity events/s": place.capacity,
        "sender us/event": sender_s / max(sent, 1) * 1e6,
    }


def _percentiles(of: str, seconds: list[float]) -> Figures:
    """p50, p95 and p99; infinite where too little came to say one."""
    if len(seconds) < 2:
        return {f"{of} p{share} s": float("inf") for share in (50, 95, 99)}
    cuts = quantiles(seconds, n=100, method="inclusive")
    return {f"{of} p{share} s": cuts[share - 1] for share in (50, 95, 99)}
