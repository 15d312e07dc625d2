"""Alerts on their way out: each target reads the findings for itself, so that one that is down holds up nobody.

A target's courier is a consumer group of its own over the topic `findings`. The log is the outbox:

    1. take findings in the order of their partitions; those below the target's severity are done;
    2. tell the receiver of the first that is not;
    3. when it has taken it, commit the offset behind it.
    A receiver that is down, or a crash before 3: the same alert is told again, with the same id, later and later up to
    once a minute, for as long as it takes or the topic keeps it. A target that is new begins `LOOK_BACK_S` ago.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from detectors.types import Finding, Severity
from streams.addresses import Resolve, resolve
from streams.alerts import Alert, of_finding
from streams.security import kafka_context, kafka_login
from streams.settings import Settings, SettingsError
from streams.targets import Target, read_targets
from streams.topics import FINDINGS, full_name
from streams.webhook import NotTakenError, Webhook

_log = logging.getLogger(__name__)

LOOK_BACK_S = 3_600.0
"""What a target that is new hears of: enough to see that it works, not a week of what everybody knows."""

_SHORTEST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_POLL_MS = 500
_AT_ONCE = 50

Told = Callable[[str, str], None]
"""Is told a target's name, and ``taken`` or ``failed``, at each attempt."""


class Receiver(Protocol):
    """Where alerts go."""

    def tell(self, alert: Alert) -> str:
        """Return what was answered when `alert` was taken; raise `NotTakenError` when not. May take half a minute."""


class Apprise:
    """One address of the library apprise: a chat, a pager, a mailbox."""

    def __init__(self, target: Target) -> None:
        """Raises `SettingsError` for an address that apprise does not know."""
        import apprise  # noqa: PLC0415 - half a second that only who alerts that way waits

        # What it logs can name addresses, which are secrets; what went wrong is said by us.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._types = apprise.NotifyType
        self._apprise = apprise.Apprise(asset=apprise.AppriseAsset(app_id="inferwatch", secure_logging=True))
        if not self._apprise.add(target.apprise or "") or len(self._apprise) != 1:
            raise SettingsError(f"INFERWATCH_ALERT_TARGETS: {target.name}: not one address that apprise knows")

    def tell(self, alert: Alert) -> str:
        """As plain text."""
        kind = self._types.WARNING if alert.severity.rank < Severity.HIGH.rank else self._types.FAILURE
        if alert.severity is Severity.INFO:
            kind = self._types.INFO
        if not self._apprise.notify(
            body=alert.text or alert.title, title=alert.title, notify_type=kind, body_format="text"
        ):
            raise NotTakenError("apprise could not deliver it")
        return "delivered"


def targets_of(settings: Settings) -> tuple[Target, ...]:
    """The targets that are set."""
    return () if settings.alert_targets is None else read_targets(settings.alert_targets)


def receiver(settings: Settings, target: Target, resolver: Resolve = resolve) -> Receiver:
    """What stands for `target`. Raises `SettingsError`."""
    if target.webhook is None or target.secret is None:
        return Apprise(target)
    private = settings.alert_private_addresses
    return Webhook(target.webhook, target.secret, private=private, resolve=resolver, clock=time.time)


def attempt(to: Receiver, alert: Alert) -> str:
    """Tell once. Raises `NotTakenError`, whatever a library may raise: its texts can hold addresses."""
    try:
        return to.tell(alert)
    except NotTakenError:
        raise
    except Exception as error:  # noqa: BLE001 - a receiver's library must not end the watch
        raise NotTakenError(f"{type(error).__name__} while telling it") from None


class Courier:
    """Brings one target what it is to know."""

    def __init__(self, settings: Settings, target: Target, to: Receiver, told: Told) -> None:
        """Findings that concern `target` go to `to`."""
        self._settings = settings
        self._target = target
        self._to = to
        self._told = told
        self._failures = 0

    async def run(self) -> None:
        """For ever; Kafka may come and go."""
        while True:
            try:
                await self._consume()
            except (KafkaError, OSError) as error:
                _log.warning("alerts for %s wait for Kafka: %s", self._target.name, type(error).__name__)
                await asyncio.sleep(_SHORTEST_PAUSE_S)

    async def _consume(self) -> None:
        consumer = self._consumer()
        try:
            await consumer.start()
            consumer.subscribe([full_name(self._settings, FINDINGS)], listener=_Beginning(consumer))
            while True:
                records = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
                for partition, values in records.items():
                    await self._deliver(consumer, partition, values)
                if self._failures:
                    await asyncio.sleep(self._pause_s())
        finally:
            await consumer.stop()

    async def _deliver(self, consumer: Any, partition: TopicPartition, records: Iterable[Any]) -> None:
        """Steps 2 and 3, until one is not taken; the rest is fetched again."""
        done: int | None = None
        for record in records:
            alert = self._alert(record.value)
            if alert is not None and not await self._taken(alert):
                _go_back(consumer, partition, record.offset)
                break
            done = record.offset + 1
            if alert is not None:
                await consumer.commit({partition: done})
                done = None
        if done is not None:
            await consumer.commit({partition: done})

    def _alert(self, value: bytes | None) -> Alert | None:
        """What the target is told of a record; nothing of what is no finding, which `triage` buries."""
        try:
            finding = msgspec.json.decode(value or b"", type=Finding)
        except msgspec.MsgspecError:
            return None
        if finding.severity.rank < self._target.severity.rank:
            return None
        return of_finding(finding, self._settings.dashboard_url)

    async def _taken(self, alert: Alert) -> bool:
        try:
            await _aside(lambda: attempt(self._to, alert))
        except NotTakenError as error:
            self._failures += 1
            self._told(self._target.name, "failed")
            _log.warning(
                "%s has not taken alert %s, attempt %d, next in %.0f s: %s",
                *(self._target.name, alert.id, self._failures, self._pause_s(), error),
            )
            return False
        self._failures = 0
        self._told(self._target.name, "taken")
        return True

    def _pause_s(self) -> float:
        return float(min(_SHORTEST_PAUSE_S * 2 ** min(self._failures - 1, 16), _LONGEST_PAUSE_S))

    def _consumer(self) -> Any:
        settings, login = self._settings, kafka_login(self._settings)
        sasl: dict[str, Any] = {}
        if login is not None:
            sasl["sasl_mechanism"] = login.mechanism
            sasl["sasl_plain_username"] = login.user
            sasl["sasl_plain_password"] = login.password
        return AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_brokers,
            group_id=f"{settings.consumer_group}-notify-{self._target.name}",
            client_id="inferwatch-notify",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(settings.session_timeout_s * 1_000),
            heartbeat_interval_ms=int(settings.session_timeout_s * 200),
            security_protocol=settings.kafka_security,
            ssl_context=kafka_context(settings),
            **sasl,
        )


class _Beginning(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """Where a partition begins that this target never committed."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing: what was not committed comes again elsewhere."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Commit the beginning too, or a crash before the first alert would move it."""
        since_ms = round((time.time() - LOOK_BACK_S) * 1_000)
        for partition in assigned:
            if await self._consumer.committed(partition) is None:
                found = (await self._consumer.offsets_for_times({partition: since_ms}))[partition]
                ends = await self._consumer.end_offsets([partition])
                offset = ends[partition] if found is None else found.offset
                self._consumer.seek(partition, offset)
                await self._consumer.commit({partition: offset})


async def _aside(call: Callable[[], str]) -> str:
    """What `call` gives, in a thread that nobody waits for at the end: a receiver that hangs must not hold a worker.

    Raises `NotTakenError`.
    """
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[str] = loop.create_future()

    def settle(answer: str, error: NotTakenError | None) -> None:
        if not answered.done():
            answered.set_result(answer) if error is None else answered.set_exception(error)

    def run() -> None:
        answer, error = "", None
        try:
            answer = call()
        except NotTakenError as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has ended
            loop.call_soon_threadsafe(settle, answer, error)

    threading.Thread(target=run, name="notify", daemon=True).start()
    return await answered


def _go_back(consumer: Any, partition: TopicPartition, offset: int) -> None:
    try:
        consumer.seek(partition, offset)
    except IllegalStateError:
        _log.info("a partition of findings has moved; another worker goes on with its alerts")


def couriers(settings: Settings, told: Told) -> list[Courier]:
    """One for each target that is set. Raises `SettingsError`."""
    return [Courier(settings, target, receiver(settings, target), told) for target in targets_of(settings)]
