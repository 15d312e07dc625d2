"""From the event that caused it to the webhook that is told: ``python -m tests.speed.alert_latency --help``.

Apache Kafka, a listening ClickHouse, workers with all roles and the full catalog, and a receiver, all on this machine
as processes of their own. Deployments change their weights one after the other under load, which one call tells. What
is measured begins when the record with that call is handed to the producer and ends when the receiver has the alert.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import quantiles

import msgspec

from streams import topics
from streams.alerting.alerts import Alert
from streams.producer import RecordProducer
from streams.settings import Settings
from tests.integration.apache_kafka import KafkaServer
from tests.integration.clickhouse_server import ClickHouseServer
from tests.integration.stack import Stack
from tests.speed.looking import looking
from tests.speed.traffic import CALLS_TO_LEARN, ORDINARY, Traffic

RESULTS = Path(__file__).with_name("RESULTS-alerts.md")
SIGN = "unapproved_change"
WITHIN_S = 5.0

_SECRET = "a secret for a receiver on this machine"
_JOINED_S = 60.0
_PATIENCE_S = 120.0
_SAMPLE_S = 5.0
_TICK_S = 0.01
_WATCHED = (topics.INFERENCE_LOGS, topics.BY_DEPLOYMENT, topics.BY_PRINCIPAL, topics.FINDINGS)


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; rates are events per second."""

    rate: int
    seconds: float
    warm_up_s: float
    incidents: int
    workers: int
    per_record: int


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What came out: seconds from cause to alert, events per second that were sent and done, records that waited.

    `cpu_s` are the seconds of processor time that the workers took for all `events`.
    """

    latencies_s: list[float]
    missing: int
    sent_rate: float
    done_rate: float
    most_lag: dict[str, int]
    load: float
    cpu_s: float
    events: int

    def percentile(self, share: float) -> float:
        """The latency that `share` of the alerts do not exceed."""
        if len(self.latencies_s) < 2:
            return self.latencies_s[0] if self.latencies_s else float("nan")
        return quantiles(self.latencies_s, n=100, method="inclusive")[round(share * 100) - 1]


class Receiver:
    """Takes alerts and remembers when the first about the sign of each deployment came."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self.told_s: dict[str, float] = {}
        self.alerts = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        """Its address, while it listens."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                now_s = time.time()
                self.send_response(204)
                self.send_header("Content-Length", "0")
                self.end_headers()
                receiver.take(body, now_s)

            def log_message(self, *_: object) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}/"
            server.shutdown()
            thread.join()

    def take(self, body: bytes, now_s: float) -> None:
        """An alert that came at `now_s`."""
        self.alerts += 1
        about = msgspec.json.decode(body, type=Alert).about
        if about is not None and SIGN in about.detectors:
            self.told_s.setdefault(about.deployment, now_s)


class Lag:
    """How many records wait, looked at every few seconds."""

    def __init__(self, settings: Settings) -> None:
        """Begin with `watching`."""
        self._settings = settings
        self.most: dict[str, int] = dict.fromkeys(_WATCHED, 0)

    def watching(self) -> contextlib.AbstractContextManager[None]:
        """Look until the end."""
        return looking(self._look, _SAMPLE_S)

    def now(self, topic: str) -> int:
        """Records of a topic that are not done."""
        return sum(end - done for end, done in topics.progress(self._settings, topic).values())

    def _look(self) -> None:
        for topic in _WATCHED:
            self.most[topic] = max(self.most[topic], self.now(topic))


def measure(given: Given) -> Measured:
    """One run, over servers of its own."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka, clickhouse = KafkaServer(folder / "kafka"), ClickHouseServer(folder / "clickhouse")
        for server in (kafka, clickhouse):
            stack.callback(server.stop)
            server.start()
        receiver = Receiver()
        address = stack.enter_context(receiver.listening())
        target = {"name": "bench", "severity": "info", "hourly": 1_000, "webhook": address, "secret": _SECRET}
        settings = Settings(
            kafka_brokers=kafka.brokers,
            clickhouse_url=clickhouse.url,
            topic_prefix=f"speed-{uuid.uuid4().hex[:8]}-",
            data_dir=folder,
            health_address="",
            key=uuid.uuid4().hex,
            alert_targets=msgspec.json.encode([target]).decode(),
            alert_private_addresses=True,
        )
        running = Stack(settings, folder / "worker.log")
        stack.callback(running.close)
        workers = [running.start_worker().pid for _ in range(given.workers)]
        return _run(given, settings, running, receiver, workers)


def _run(given: Given, settings: Settings, running: Stack, receiver: Receiver, workers: Sequence[int]) -> Measured:
    traffic, lag = Traffic(given.incidents, seed=1), Lag(settings)
    tipped: dict[str, float] = {}
    with contextlib.closing(RecordProducer(settings.kafka_brokers, _topic(settings))) as producer:
        producer.send(traffic.record(1, time.time()))
        producer.flush()
        running.wait_for("the workers have joined", lambda: len(running.stored()) > 0, _JOINED_S)
        say(f"warms up for {given.warm_up_s:.0f} s, then {given.seconds:.0f} s at {given.rate} events/s")
        cpu_s = sum(map(_cpu_s, workers))
        with lag.watching():
            began_s, sent = time.time(), 0
            each_s = given.seconds / max(given.incidents, 1)
            while (elapsed_s := time.time() - began_s) < given.warm_up_s + given.seconds:
                while sent < elapsed_s * given.rate:
                    producer.send(traffic.record(given.per_record, time.time()))
                    sent += given.per_record
                place = int((elapsed_s - given.warm_up_s) // each_s) if elapsed_s >= given.warm_up_s else -1
                if 0 <= place < given.incidents and len(tipped) <= place:
                    now_s = time.time()
                    tipped[traffic.tipping[len(tipped)]] = now_s
                    producer.send(traffic.tipping_record(traffic.tipping[len(tipped) - 1], now_s))
                time.sleep(_TICK_S)
            sent_s = time.time() - began_s
            load = os.getloadavg()[0]
            until_s = time.time() + _PATIENCE_S
            while (lag.now(topics.INFERENCE_LOGS) or set(tipped) - set(receiver.told_s)) and time.time() < until_s:
                time.sleep(0.2)
            done_s = time.time() - began_s
        cpu_s = sum(map(_cpu_s, workers)) - cpu_s
    latencies = sorted(receiver.told_s[name] - at_s for name, at_s in tipped.items() if name in receiver.told_s)
    say(f"{receiver.alerts} alerts came, {len(latencies)} of them about the {len(tipped)} changes")
    return Measured(
        latencies_s=latencies,
        missing=len(tipped) - len(latencies),
        sent_rate=sent / sent_s,
        done_rate=sent / done_s,
        most_lag=lag.most,
        load=load,
        cpu_s=cpu_s,
        events=sent,
    )


def _cpu_s(process: int) -> float:
    """Seconds of processor time that a process has taken; its own ones, not those of children."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _topic(settings: Settings) -> str:
    return topics.full_name(settings, topics.INFERENCE_LOGS)


def report(given: Given, measured: Measured) -> str:
    """The run as Markdown."""
    p50, p95 = measured.percentile(0.5), measured.percentile(0.95)
    most = max(measured.latencies_s, default=float("nan"))
    kept = "yes" if measured.missing == 0 and most <= WITHIN_S else "NO"
    lag = ", ".join(f"{topic} {records:,}" for topic, records in measured.most_lag.items())
    rows = [
        ("from event to alert, median", f"{p50:.2f} s"),
        ("95th percentile", f"{p95:.2f} s"),
        ("longest", f"{most:.2f} s"),
        ("incidents planted, not told", f"{given.incidents}, {measured.missing}"),
        ("within 5 s", kept),
        ("events sent per second", f"{measured.sent_rate:,.0f}"),
        ("events done per second, up to the last", f"{measured.done_rate:,.0f}"),
        ("processor time of workers for 1,000 events", f"{measured.cpu_s / max(measured.events, 1) * 1e3:.2f} s"),
        ("records waiting, at most", lag),
        ("workers, calls per record", f"{given.workers}, {given.per_record}"),
        ("cores, load at the end", f"{os.cpu_count()} ({platform.machine()}), {measured.load:.1f}"),
    ]
    lines = [
        "# From the event that caused it to the alert",
        "",
        f"{given.rate:,} events/s for {given.seconds:.0f} s.",
        "",
    ]
    lines += ["| figure | value |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]
    asked = f"--rate {given.rate} --seconds {given.seconds:.0f} --workers {given.workers}"
    return "\n".join([*lines, "", f"`python -m tests.speed.alert_latency {asked} --write`", ""])


def say(text: str) -> None:
    """To whoever waits."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Status 1 when an alert was missing or later than `WITHIN_S`."""
    parser = argparse.ArgumentParser(prog="python -m tests.speed.alert_latency", description=__doc__)
    parser.add_argument("--rate", type=int, default=5_000, help="events per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring")
    parser.add_argument(
        "--warm-up", type=float, default=20.0, help="seconds of load before the first incident, at least"
    )
    parser.add_argument("--incidents", type=int, default=20, help="to plant, evenly over the time")
    parser.add_argument("--workers", type=int, default=1, help="processes with all roles")
    parser.add_argument("--per-record", type=int, default=10, help="events in one Kafka record")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {RESULTS.name}")
    asked = parser.parse_args(arguments)
    given = Given(
        rate=asked.rate,
        seconds=asked.seconds,
        warm_up_s=max(asked.warm_up, CALLS_TO_LEARN * (ORDINARY + asked.incidents) / asked.rate),
        incidents=asked.incidents,
        workers=asked.workers,
        per_record=asked.per_record,
    )
    measured = measure(given)
    text = report(given, measured)
    sys.stdout.write(text)
    if asked.write:
        RESULTS.write_text(text, encoding="utf-8")
    return int(measured.missing > 0 or max(measured.latencies_s, default=WITHIN_S + 1) > WITHIN_S)


if __name__ == "__main__":
    raise SystemExit(main())
