"""A server as a child process that a test may start, stop, kill, pause and start again where it was."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

HOST = "127.0.0.1"
TETHERED = Path(__file__).with_name("tethered.py")

START_TIMEOUT_S = 90.0
"""Generous: a broker that takes 4 s alone takes far longer on a busy machine with two cores."""

STOP_TIMEOUT_S = 30.0
POLL_S = 0.05
LAST_LINES = 25

PORTS = range(20_000, 32_000)
"""Below what the kernel hands to outgoing connections. A client that retries a dead loopback port inside that
range may end up connected to itself, which takes the port from the server that restarts."""


class ServerFailedError(Exception):
    """A server that was there to start did not; the message ends with the last lines of its log."""


def free_port() -> int:
    """A loopback port that nobody listens on; random, so that runs side by side rarely choose the same."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port


class Server(ABC):
    """One server, its data directory and its ports, which stay the same over restarts.

    The process dies with the thread that started it, so start it in one that lives as long as the tests
    do. It is a session of its own: Ctrl-C reaches the tests, and they stop the server.
    """

    name: ClassVar[str]

    def __init__(self, data_dir: Path) -> None:
        """Choose the ports; start nothing."""
        self.data_dir = data_dir
        self.log_path = data_dir / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> list[str]:
        """Fetch and configure what is needed and return the command; called before every start."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves clients now."""

    @property
    def pid(self) -> int:
        """The process id, for a test that measures or harms it."""
        if self._process is None:
            raise ServerFailedError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists, serving or paused."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until it serves.

        Raises:
            UnavailableError: this machine has not what it takes.
            ServerFailedError: it ended, or did not serve within START_TIMEOUT_S.

        """
        if self.running:
            return
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = self.prepare()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(TETHERED), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                start_new_session=True,
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if not self.running:
                raise ServerFailedError(f"{self.name} ended while starting; {self._last_lines()}")
            if time.monotonic() > deadline_s:
                self.kill()
                raise ServerFailedError(
                    f"{self.name} did not serve within {START_TIMEOUT_S:.0f} s; {self._last_lines()}"
                )
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Ask it to end, as an operator would; kill it if it has not after STOP_TIMEOUT_S."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once, with no chance to write anything (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nobody answers. Returns when it is frozen."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on where it was frozen (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same ports and data."""
        self.stop()
        self.start()

    def revive(self) -> None:
        """Bring it back if a test left it dead or frozen, so that the next test starts from a serving one."""
        if self.running:
            self.resume()
        self.start()

    def _last_lines(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join([f"last lines of {self.log_path}:", *lines])
