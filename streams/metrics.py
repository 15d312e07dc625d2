"""Numbers about a worker for Prometheus. No label ever holds what a sender wrote: neither a name nor a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from detectors.types import Finding
from streams.pipeline import Processed
from streams.readiness import Readiness

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

Lag = Callable[[], Iterable[tuple[str, int, int]]]
"""Gives topic, partition and how many records of it are not committed."""


class Metrics:
    """The numbers of one worker."""

    def __init__(self, readiness: Readiness) -> None:
        """Begin at zero."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._events = self._counter("inferwatch_events", "Events stored.")
        self._dead_letters = self._counter("inferwatch_dead_letters", "Records and events that became dead letters.")
        self._ignored = self._counter("inferwatch_ignored", "Parts of records that are no model calls.")
        self._findings = self._counter("inferwatch_findings", "Findings stored, by detector.", "detector", "severity")
        self._alerts = self._counter("inferwatch_alerts", "Attempts to tell a target of an alert.", "target", "outcome")
        self._batches = Histogram(
            "inferwatch_batch_seconds",
            "From taking a batch to having done with it.",
            ("role",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._last_event = self._gauge("inferwatch_last_event_timestamp_seconds", "Time of the newest event stored.")
        self._live = self._gauge("inferwatch_live_subjects", "Subjects whose detectors are in memory.", "scope")
        self._saved = self._gauge("inferwatch_snapshot_timestamp_seconds", "When state was last durable.", "scope")
        self._share = self._gauge("inferwatch_alarm_share", "False alarms a day for one detector and subject.", "scope")
        self._newest_s = 0.0
        self._registry.register(_Reasons(readiness))
        ProcessCollector(namespace="inferwatch", registry=self._registry)

    def ingested(self, processed: Processed) -> None:
        """A batch is durable."""
        self._events.inc(len(processed.stored))
        self._dead_letters.inc(len(processed.dead_letters))
        self._ignored.inc(processed.ignored)
        self._newest_s = max([self._newest_s, *(row.event.time_s or 0.0 for row in processed.stored)])
        self._last_event.set(self._newest_s)

    def found(self, findings: Iterable[Finding]) -> None:
        """Findings are durable; after a crash some are counted again."""
        for finding in findings:
            self._findings.labels(finding.detector, finding.severity.value).inc()

    def alerted(self, target: str, outcome: str) -> None:
        """A target, by the name that its operator gave it, was told: ``taken``, ``failed`` or ``held``."""
        self._alerts.labels(target, outcome).inc()

    def watch_bank(self, scope: str, live: Callable[[], int], saved_s: Callable[[], float]) -> None:
        """Ask for the number of live subjects of `scope`, and for when its state was last durable, from now on."""
        self._live.labels(scope).set_function(live)
        self._saved.labels(scope).set_function(saved_s)

    def watch_detectors(self, scope: str, share: float, warming: Callable[[], Mapping[str, int]]) -> None:
        """Say what one detector may cost, and ask for how many live subjects each still warms up from now on."""
        self._share.labels(scope).set(share)
        self._registry.register(_Warming(scope, warming))

    def watch_lag(self, lag: Lag) -> None:
        """Ask `lag` how far behind the worker is from now on."""
        self._registry.register(_Lag(lag))

    @contextmanager
    def batch(self, role: str) -> Iterator[None]:
        """Time one batch of `role`."""
        with self._batches.labels(role).time():
            yield

    def exposition(self) -> bytes:
        """All numbers in Prometheus' text format."""
        return generate_latest(self._registry)

    def numbers(self) -> dict[str, float]:
        """All numbers by name, with labels as ``name{label=value}``; of histograms the number and the sum."""
        return {
            _named(sample.name, sample.labels): sample.value
            for family in self._registry.collect()
            for sample in family.samples
            if not sample.name.endswith(("_bucket", "_created"))
        }

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self._registry)


class _Reasons(Collector):
    """Whether the worker is ready, and what was tried again; the texts of the reasons are in ``/readyz``."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def collect(self) -> Iterator[Metric]:
        """As asked now."""
        reasons = len(self._readiness.reasons())
        yield GaugeMetricFamily("inferwatch_ready", "1 when nothing is waited for.", value=float(not reasons))
        yield GaugeMetricFamily("inferwatch_not_ready_reasons", "Things that are waited for.", value=float(reasons))
        retries = CounterMetricFamily(
            "inferwatch_retries", "Attempts that failed and were made again, by sink.", labels=("sink",)
        )
        for sink, count in self._readiness.retries.items():
            retries.add_metric((sink,), float(count))
        yield retries


class _Warming(Collector):
    """Live subjects of one scope that a detector still warms up for."""

    def __init__(self, scope: str, warming: Callable[[], Mapping[str, int]]) -> None:
        self._scope = scope
        self._warming = warming

    def collect(self) -> Iterator[Metric]:
        """As asked now."""
        family = GaugeMetricFamily(
            f"inferwatch_warming_{self._scope}s",
            f"Live {self._scope}s that a detector still warms up for.",
            labels=("detector",),
        )
        for detector, subjects in self._warming().items():
            family.add_metric((detector,), float(subjects))
        yield family


class _Lag(Collector):
    """Records that are not committed yet, by topic and partition."""

    def __init__(self, lag: Lag) -> None:
        self._lag = lag

    def collect(self) -> Iterator[Metric]:
        """As asked now."""
        family = GaugeMetricFamily(
            "inferwatch_lag_records", "Records that are not committed yet.", labels=("topic", "partition")
        )
        for topic, partition, records in self._lag():
            family.add_metric((topic, str(partition)), float(records))
        yield family


def _named(name: str, labels: Mapping[str, str]) -> str:
    return f"{name}{{{','.join(f'{label}={value}' for label, value in labels.items())}}}" if labels else name
