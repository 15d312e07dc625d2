"""Chromium without a window, spoken to through pipes: no port, no driver, only what the browser itself speaks."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE_S = 60.0
_HIGH = 20
"""Descriptors from here on are out of the way of the two that the browser reads and writes (3 and 4)."""


def find() -> str | None:
    """The browser of this machine."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page of a browser: its errors, dialogs and requests are kept as they come."""

    def __init__(self, path: str) -> None:
        """Start it, with a profile of its own."""
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._profile = tempfile.TemporaryDirectory(prefix="inferwatch-browser-", ignore_cleanup_errors=True)
        self._pid, self._to, self._from = _start(path, self._profile.name)
        self._answers = select.poll()
        self._answers.register(self._from, select.POLLIN | select.POLLHUP)
        self._buffer = b""
        self._number = 0
        self._session = ""
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Security"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        os.waitpid(self._pid, 0)
        os.close(self._from)
        self._profile.cleanup()

    def open(self, file: Path) -> None:
        """Show a file; forgets what went wrong on the one before."""
        self.problems.clear()
        self.requests.clear()
        self._loaded = False
        self.call("Page.navigate", url=file.resolve().as_uri())
        deadline_s = time.monotonic() + _PATIENCE_S
        while not self._loaded:
            self._read(deadline_s)
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """A key on the keyboard."""
        text = "\r" if key == "Enter" else None
        held = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **held, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **held)

    def emulate(self, scheme: str, width: int = 1_280, height: int = 1_000, media: str = "screen") -> None:
        """A light or a dark page of that many pixels, on a screen or on paper (``print``)."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def screenshot(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def printed(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer."""
        number = self._send(method, parameters)
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            answer = self._read(deadline_s)
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def _send(self, method: str, parameters: dict[str, Any]) -> int:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._number

    def _read(self, deadline_s: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            # Not select(): a test process that has lived long has files with numbers beyond what that takes.
            if not self._answers.poll(max(deadline_s - time.monotonic(), 0.0) * 1_000):
                raise AssertionError("the browser does not answer")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise AssertionError("the browser has ended")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"][:60])
        elif event == "Log.entryAdded":
            self.problems.append(f"{told['entry']['level']}: {told['entry']['text']}")
        elif event == "Runtime.consoleAPICalled":
            self.problems.append(f"console.{told['type']}: {told['args']}")
        elif event == "Runtime.exceptionThrown":
            self.problems.append(f"exception: {told['exceptionDetails']['text']}")
        elif event == "Page.javascriptDialogOpening":
            self.problems.append(f"dialog: {told['message']}")
            self._send("Page.handleJavaScriptDialog", {"accept": False})  # it waits for ever for an answer
        elif event in {"Page.windowOpen", "Page.frameAttached"}:
            self.problems.append(f"{event}: {told}")


def _start(path: str, profile: str) -> tuple[int, int, int]:
    """Its process id, where to write to, where to read from."""
    (reads, to), (from_, writes) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _HIGH) for each in (reads, writes)]
    command = [
        *(
            path,
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
        *(f"--user-data-dir={profile}", "about:blank"),
    ]
    quiet = os.open(os.devnull, os.O_RDWR)
    pid = os.posix_spawn(
        path,
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, theirs[0], 3),
            (os.POSIX_SPAWN_DUP2, theirs[1], 4),
            *((os.POSIX_SPAWN_DUP2, quiet, number) for number in (0, 1, 2)),
        ],
    )
    for each in (reads, writes, quiet, *theirs):
        os.close(each)
    return pid, to, from_
