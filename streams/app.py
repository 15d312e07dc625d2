"""The composition root: settings become a Faust app with its agents. Only here are the parts named."""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import faust
import mode
from aiokafka.errors import KafkaError
from faust.exceptions import FaustError

from detectors.base import DEPLOYMENT, PRINCIPAL
from streams import batches, topics
from streams.agents import Ingest, Triage, Watch
from streams.cases.casework import Casework
from streams.clickhouse import Store
from streams.components.notices import Notices
from streams.composing import make_bank, make_cases, make_pipeline
from streams.consuming import Event, Handler, ask_before_partitions_go, consume, keep
from streams.dlq import LimitPolicy
from streams.filling import Filling
from streams.health import HealthServer, Pages
from streams.keys import load_keys, snapshot_keys
from streams.lookout import Lookout
from streams.metrics import Metrics
from streams.notify import readers
from streams.readiness import NOT_ASSIGNED, Readiness
from streams.security import kafka_context, kafka_login
from streams.sending import NOTICE_TOPICS
from streams.settings import Settings
from streams.sinks import DeadLetters, Message, Sender, Writer
from streams.stalls import Stalls
from streams.topics import BrokerError, Topic
from streams.vitals import Diary

_log = logging.getLogger(__name__)

ROLES = ("ingest", "provenance", "watch-deployments", "watch-principals", "triage", "notify")
"""What a worker may do; one process may do all of it."""

_BUFFERED_EVENTS = 128
_POLLED_RECORDS = 1_000
"""What the consumer hands over at once; unlimited, a batch of empty records would be millions of objects."""

_PRODUCER_TIMEOUT_S = 30.0

_FINISH_S = 5.0
"""For what has begun, when partitions are taken away or the worker is to end. A rebalance waits for every member; one
whose store is away must not keep the others waiting, nor be killed for taking too long to end."""


def libraries() -> dict[str, str]:
    """The versions that decide what saved state means."""
    return {name: importlib.metadata.version(name) for name in ("river", "numpy", "msgspec")} | {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}"
    }


class _Outlet:
    """Faust's producer."""

    def __init__(self, app: faust.App) -> None:
        self._app = app

    async def send(self, topic: str, message: Message) -> None:
        try:
            producer = await self._app.maybe_start_producer()
            await producer.send_and_wait(
                topic, message.key, message.value, message.partition, None, list(message.headers)
            )
        except (KafkaError, FaustError) as error:
            raise BrokerError(f"Kafka: {type(error).__name__} while sending to {topic}") from error


class _Timed:
    """A handler whose batches are timed."""

    def __init__(self, handler: Handler, metrics: Metrics, role: str) -> None:
        self._handler = handler
        self._metrics = metrics
        self._role = role

    async def handle(self, events: Sequence[Event]) -> None:
        with self._metrics.batch(self._role):
            await self._handler.handle(events)


class _HealthService(faust.Service):
    """The health pages, up before the app starts and for as long as it runs."""

    def __init__(self, server: HealthServer) -> None:
        super().__init__()
        self._server = server

    async def on_start(self) -> None:
        await self._server.start()

    async def on_stop(self) -> None:
        await self._server.stop()


class _NotifyService(faust.Service):
    """The readers of alert targets: not of Faust's consumer group, for each target has a place of its own."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        super().__init__()
        self._readers = readers(settings, metrics.alerted)

    async def on_start(self) -> None:
        for reader in self._readers:
            self.add_future(keep(reader.run))


class _DiaryService(faust.Service):
    """The worker's own numbers, written down for as long as the app runs."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        super().__init__()
        self._diary = Diary(lambda: Store.connect(settings), metrics.numbers)

    async def on_start(self) -> None:
        self.add_future(keep(self._diary.write_regularly))


class Worker:
    """A Faust app with the agents of some roles."""

    def __init__(self, settings: Settings, roles: Iterable[str] = ROLES) -> None:
        """Connect, check that topics and schema are there, and register the agents.

        Raises `BrokerError`, `StoreError`.
        """
        self._settings = settings
        self._found = _existing_topics(settings)
        self._keys = load_keys(settings)
        batches.install(topics.largest_batch_bytes(settings), settings.max_record_bytes)
        self.app = _faust_app(settings)
        self._outlet = _Outlet(self.app)
        self._readiness = Readiness()
        self._metrics = Metrics(self._readiness)
        self._metrics.watch_lag(self._lag)
        makers: dict[str, Callable[[], Sequence[tuple[Topic, Handler]]]] = {
            "ingest": lambda: [self._ingest()],
            "provenance": lambda: [self._notices(*each) for each in NOTICE_TOPICS.items()],
            "watch-deployments": lambda: [self._watch(DEPLOYMENT, topics.BY_DEPLOYMENT)],
            "watch-principals": lambda: [self._watch(PRINCIPAL, topics.BY_PRINCIPAL)],
            "triage": lambda: [self._triage()],
        }
        self._agents = [role for role in roles if role in makers]
        self._moving = False
        self._begun: list[Callable[[], Awaitable[None]]] = []
        self._services: list[faust.Service] = [_DiaryService(settings, self._metrics)]
        if "notify" in roles:
            self._services.append(_NotifyService(settings, self._metrics))
        if self._agents:
            self._follow_assignment()
            self.app.task()(self._end_when_stalled)
        for role in self._agents:
            for topic, handler in makers[role]():
                self._register(role, topic, handler)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; the process ends with the worker's exit status."""
        pages = Pages(self._readiness, self._metrics, self._settings.metrics_token)
        health = _HealthService(HealthServer(pages, self._settings.health_address))
        services = (health, *self._services)
        # Without agents Faust would wait for partitions that nobody gives it.
        make = functools.partial(faust.Worker, self.app) if self._agents else mode.Worker
        make(
            *services,
            loglevel=self._settings.log_level,
            redirect_stdouts=False,
            override_logging=False,
            quiet=True,
        ).execute_from_commandline()

    def _register(self, role: str, topic: Topic, handler: Handler) -> None:
        timed = _Timed(handler, self._metrics, role)
        source = self.app.topic(
            topic.name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

        async def agent(stream: Any) -> None:
            settings = self._settings
            await consume(stream, timed, self._is_current, Filling(settings.batch_records), settings.batch_wait_s)

        # Faust knows agents by their name: a role may have several, each with a topic of its own.
        self.app.agent(source, concurrency=1, name=f"{role}:{topic.name}")(agent)

    def _generation(self) -> int:
        """Of the assignment that holds now."""
        return int(self.app.consumer_generation_id)

    def _is_current(self, event: Event) -> bool:
        return not self._moving and event.message.generation_id == self._generation()

    def _follow_assignment(self) -> None:
        """Not ready while partitions are on their way; nothing begins then, and what has begun is finished first."""

        async def lost(*_: Any, **_partitions: Any) -> None:
            self._readiness.wait("partitions", NOT_ASSIGNED)

        async def given(*_: Any, **_partitions: Any) -> None:
            self._moving = False
            self._readiness.go_on("partitions")

        async def ended(*_: Any, **_nothing: Any) -> None:
            await self._finish()

        self._readiness.wait("partitions", NOT_ASSIGNED)
        self.app.on_partitions_revoked.connect(lost, weak=False)
        self.app.on_partitions_assigned.connect(given, weak=False)
        self.app.on_before_shutdown.connect(ended, weak=False)
        ask_before_partitions_go(self.app, self._finish)

    async def _finish(self) -> None:
        """Have durable and committed what has begun, as far as there is time: the rest comes again, to whomever."""
        self._moving = True

        async def finish() -> None:
            await asyncio.gather(*(each() for each in self._begun))
            await self.app.consumer.commit()

        _, waiting = await asyncio.wait([asyncio.ensure_future(keep(finish))], timeout=_FINISH_S)
        if waiting:
            _log.warning("partitions go while something is not durable yet; it comes again")

    async def _end_when_stalled(self) -> None:
        held: list[tuple[str, int]] = []

        def assigned() -> Sequence[tuple[str, int]]:
            """While partitions move, those that were held before: a move that never ends is what is looked for."""
            now = self.app.consumer.assignment()
            if now or NOT_ASSIGNED not in self._readiness.reasons():
                prefix = self._settings.topic_prefix
                held[:] = [(each.topic.removeprefix(prefix), each.partition) for each in now]
            return held

        stalls = Stalls(
            functools.partial(topics.progress, self._settings),
            assigned,
            waits=lambda: any(reason != NOT_ASSIGNED for reason in self._readiness.reasons()),
            patience_s=self._settings.stall_s,
            clock=time.monotonic,
        )
        await keep(stalls.watch)

    def _lag(self) -> Iterable[tuple[str, int, int]]:
        """By topic and partition, what is on the broker and not committed; only what is known by now."""
        if not self._agents:
            return
        consumer, committed = self.app.consumer, self.app.monitor.tp_committed_offsets
        for partition in consumer.assignment():
            end = consumer.highwater(partition)
            if partition in committed and end is not None:
                yield partition.topic, partition.partition, max(end - committed[partition], 0)

    def _ingest(self) -> tuple[Topic, Handler]:
        source = self._found[topics.INFERENCE_LOGS]
        pipeline = make_pipeline(self._settings, self._keys, source.topic_id)
        writer = self._writer()
        keyings = [
            (self._sender(topics.BY_DEPLOYMENT), lambda observation: observation.deployment),
            (self._sender(topics.BY_PRINCIPAL), lambda observation: observation.principal),
        ]
        limit = LimitPolicy(ratio=self._settings.dead_letter_ratio, run=self._settings.dead_letter_run)
        dead_letters = self._dead_letters(writer)
        ingest = Ingest(pipeline, writer, dead_letters, keyings, self._metrics, limit, self._generation)
        self._begun.append(ingest.finish)
        return source, ingest

    def _notices(self, kind: str, name: str) -> tuple[Topic, Handler]:
        writer, source = self._writer(), self._found[name]
        return source, Notices(kind, source, writer, self._dead_letters(writer), self._sender(topics.BY_DEPLOYMENT))

    def _watch(self, scope: str, name: str) -> tuple[Topic, Handler]:
        source = self._found[name]
        writer = self._writer()
        bank = make_bank(self._settings, scope)
        watch = Watch(
            bank=bank,
            writer=writer,
            findings=self._sender(topics.FINDINGS),
            dead_letters=self._dead_letters(writer),
            source=source,
            snapshot_keys=snapshot_keys(self._settings, self._keys),
            libraries=libraries(),
            snapshot_interval_s=self._settings.snapshot_interval_s,
        )
        self._metrics.watch_bank(scope, lambda: len(bank), lambda: watch.saved_s)
        self._metrics.watch_detectors(scope, bank.share, bank.warming_subjects)

        async def save() -> None:
            await keep(watch.save_regularly)

        async def leave(*_: Any, **_partitions: Any) -> None:
            watch.leave()

        async def enter(*_: Any, **_partitions: Any) -> None:
            watch.enter()

        self._begun.append(watch.save)
        self.app.task()(save)
        self.app.on_partitions_revoked.connect(leave, weak=False)
        self.app.on_partitions_assigned.connect(enter, weak=False)
        return source, watch

    def _triage(self) -> tuple[Topic, Handler]:
        writer = self._writer()
        source = self._found[topics.FINDINGS]
        lookout = Lookout(
            # Not one that readiness follows: a look that fails must not take a worker out that works.
            writer=Writer(Store.connect(self._settings)),
            findings=self._sender(topics.FINDINGS),
            source=self._found[topics.INFERENCE_LOGS].name,
            progress=lambda: topics.progress(self._settings, topics.INFERENCE_LOGS),
            minimum_s=self._settings.silence_minimum_s,
            clock=time.time,
        )
        first = faust.types.TP(source.name, 0)

        async def look() -> None:
            await keep(lambda: lookout.look_regularly(lambda: first in self.app.consumer.assignment()))

        casework = Casework(make_cases(self._settings), writer, self._sender(topics.INCIDENTS))

        async def close() -> None:
            await keep(lambda: casework.close_regularly(lambda: first in self.app.consumer.assignment()))

        async def forget(*_: Any, **_partitions: Any) -> None:
            casework.forget()

        self.app.task()(look)
        self.app.task()(close)
        self.app.on_partitions_revoked.connect(forget, weak=False)
        self.app.on_partitions_assigned.connect(forget, weak=False)
        return source, Triage(writer, self._dead_letters(writer), source, self._metrics, casework)

    def _writer(self) -> Writer:
        return Writer(Store.connect(self._settings), self._readiness)

    def _sender(self, name: str) -> Sender:
        return Sender(self._outlet, self._found[name], self._readiness)

    def _dead_letters(self, writer: Writer) -> DeadLetters:
        return DeadLetters(writer, self._sender(topics.DEAD_LETTERS))


def _existing_topics(settings: Settings) -> dict[str, Topic]:
    found = topics.describe(settings)
    missing = [topics.full_name(settings, topic) for topic in topics.ALL if topic not in found]
    if missing:
        raise BrokerError(f"topics are missing: {', '.join(missing)}; run `inferwatch topics create`")
    return found


def _credentials(settings: Settings) -> faust.auth.Credentials | None:
    context, login = kafka_context(settings), kafka_login(settings)
    if login is not None:
        return faust.SASLCredentials(
            username=login.user, password=login.password, mechanism=login.mechanism, ssl_context=context
        )
    return None if context is None else faust.SSLCredentials(context)


def _faust_app(settings: Settings) -> faust.App:
    """Faust as FAUST-safe as its settings go: raw bytes, nothing declared, nothing acked for us, no web pages."""
    return faust.App(
        settings.consumer_group,
        broker=[f"kafka://{broker.strip()}" for broker in settings.kafka_brokers.split(",")],
        autodiscover=False,
        broker_credentials=_credentials(settings),
        broker_commit_interval=1.0,
        broker_max_poll_records=_POLLED_RECORDS,
        broker_heartbeat_interval=settings.session_timeout_s / 5,
        broker_session_timeout=settings.session_timeout_s,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=max(settings.max_record_bytes + 100_000, 1_048_576),
        datadir=str(settings.data_dir / "faust"),
        key_serializer="raw",
        producer_acks=-1,
        producer_max_request_size=settings.max_record_bytes + 200_000,
        producer_request_timeout=_PRODUCER_TIMEOUT_S,
        stream_buffer_maxsize=_BUFFERED_EVENTS,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        value_serializer="raw",
        web_enabled=False,
    )
