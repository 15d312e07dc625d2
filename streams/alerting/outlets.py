"""Where OCSF events go: a topic, a file, an address. A batch is taken whole and durably, or it is not taken."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.alerting.addresses import Resolve
from streams.alerting.asides import aside
from streams.alerting.posting import NotTakenError, Post
from streams.alerting.targets import FILE, TOPIC, Target
from streams.security import kafka_python_options
from streams.settings import Settings, SettingsError
from streams.topics import ALL, MAX_MESSAGE_BYTES, full_name

_TIMEOUT_MS = 10_000
_REOPENS = 3
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Line(msgspec.Struct, frozen=True):
    """One event as JSON, and the deployment it is about."""

    deployment: str
    value: bytes


class Outlet(Protocol):
    """One place."""

    async def take(self, lines: Sequence[Line]) -> str:
        """Return what was answered once all are durable there; raise `NotTakenError` when not."""

    async def close(self) -> None:
        """Let go of connections."""


class TopicOutlet:
    """A topic of the same Kafka, keyed by deployment, acknowledged by all replicas.

    Not an idempotent producer, which not every broker allows: an event that comes twice has the same uid.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        """Connects with the first events. Raises `SettingsError` for a topic that inferwatch itself reads."""
        if name in {full_name(settings, each) for each in ALL}:
            raise SettingsError(f"INFERWATCH_ALERT_TARGETS: {TOPIC}{name} is a topic of inferwatch itself")
        self._settings = settings
        self._name = name
        self._producer: Any = None

    async def take(self, lines: Sequence[Line]) -> str:
        """Through one producer, in order."""
        try:
            producer = await self._started()
            sent = [
                await producer.send(self._name, line.value, key=line.deployment.encode("utf-8", "replace"))
                for line in lines
            ]
            await asyncio.gather(*sent)
        except (KafkaError, OSError) as error:
            await self.close()
            raise NotTakenError(f"Kafka: {type(error).__name__}; is there a topic {self._name}?") from None
        return f"{len(lines)} to topic {self._name}"

    async def close(self) -> None:
        """The next events connect anew."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _started(self) -> Any:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._settings.kafka_brokers,
                client_id="inferwatch-ocsf",
                acks="all",
                max_request_size=2 * MAX_MESSAGE_BYTES,
                request_timeout_ms=_TIMEOUT_MS,
                **kafka_python_options(self._settings),
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer


class FileOutlet:
    """A file of one event a line, for this user only; opened for each batch, so whoever rotates it may rename it.

    A link is not followed, and a file that others can write, or that has another name too, is not written to. Under a
    lock, so that several workers may share it; a batch that could not be written whole is cut off again, and a line
    that a crash left torn is ended before the next.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self._path = path

    async def take(self, lines: Sequence[Line]) -> str:
        """In a thread: a disk may hang."""
        return await aside(lambda: self._append(b"".join(line.value + b"\n" for line in lines), len(lines)))

    async def close(self) -> None:
        """Nothing is open."""

    def _append(self, data: bytes, count: int) -> str:
        try:
            descriptor = self._locked()
            try:
                _write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise NotTakenError(f"the file: {error.strerror or type(error).__name__}") from None
        return f"{count} to the file"

    def _locked(self) -> int:
        """The file, locked, and still the one of that name. Raises `NotTakenError`, `OSError`."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        for _ in range(_REOPENS):
            descriptor = os.open(self._path, flags, 0o600)
            try:
                status = os.fstat(descriptor)
                _check(status)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_still(self._path, status):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        raise NotTakenError("the file is exchanged all the time")


class HttpOutlet:
    """An address that takes a JSON list of events, with a bearer token where it wants one."""

    def __init__(self, target: Target, *, private: bool, resolve: Resolve) -> None:
        """Addresses are checked as those of webhooks are."""
        self._post = Post(target.ocsf or "", private=private, resolve=resolve)
        self._headers = {"Content-Type": "application/json"}
        if target.token is not None:
            self._headers["Authorization"] = f"Bearer {target.token}"

    async def take(self, lines: Sequence[Line]) -> str:
        """In a thread: an answer may take half a minute."""
        body = b"[" + b",".join(line.value for line in lines) + b"]"
        return await aside(lambda: self._post.send(body, self._headers))

    async def close(self) -> None:
        """Every batch has a connection of its own."""


def outlet(settings: Settings, target: Target, resolver: Resolve) -> Outlet:
    """What stands for a target with `ocsf`. Raises `SettingsError`."""
    where = target.ocsf or ""
    if where.startswith(TOPIC):
        return TopicOutlet(settings, where.removeprefix(TOPIC))
    if where.startswith(FILE):
        return FileOutlet(Path(where.removeprefix(FILE)))
    return HttpOutlet(target, private=settings.alert_private_addresses, resolve=resolver)


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotTakenError("the file is no plain file")
    if status.st_uid != os.geteuid() or status.st_nlink != 1 or status.st_mode & _OTHERS_WRITE:
        raise NotTakenError("the file belongs to another user, has another name too, or others can write it")


def _is_still(path: Path, status: os.stat_result) -> bool:
    """Whether nobody renamed the file while its lock was waited for."""
    try:
        now = path.lstat()
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino)


def _write(descriptor: int, data: bytes) -> None:
    end = os.fstat(descriptor).st_size
    torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
    rest = memoryview(b"\n" + data if torn else data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, end)
        raise
