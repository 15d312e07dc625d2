"""What every test may ask for, and the count of what was left out at the end of a run.

Two things may be missing on a machine: servers for the integration tests, which a run with ``CI=true``
must have, and the data set beside the repository, which nobody must have. Both are skips with a reason,
and the run ends by naming each test that was left out.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

LeaveOut = Callable[[str], NoReturn]
"""Ends the test and says why: as a skip, or where that may not be, as a failure."""

INTEGRATION = "integration test left out: "
SHARED_DATA = "shared data absent: left out"
SKIPPED = "Skipped: "


@pytest.fixture(scope="session")
def leave_out_integration() -> LeaveOut:
    """For a test whose server this machine cannot start; with ``CI=true`` the test fails."""

    def leave_out(reason: str) -> NoReturn:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"CI=true and {INTEGRATION}{reason}", pytrace=False)
        pytest.skip(INTEGRATION + reason)

    return leave_out


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of real traces and outputs beside the repository; its tests are left out where it is absent."""
    directory = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not directory.is_dir():
        pytest.skip(SHARED_DATA)
    return directory


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count and name what was left out, by reason: a green run must not hide what it did not try."""
    left_out: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.getreports("skipped"):
        if isinstance(report.longrepr, tuple):
            left_out[report.longrepr[2].removeprefix(SKIPPED)].append(report.nodeid)
    for reason, tests in sorted(left_out.items()):
        if reason.startswith(INTEGRATION):
            headline = f"{len(tests)} integration tests left out: {reason.removeprefix(INTEGRATION)}"
        elif reason == SHARED_DATA:
            headline = f"{len(tests)} tests left out: shared data absent"
        else:
            continue
        terminalreporter.write_line(headline, yellow=True)
        for test in tests:
            terminalreporter.write_line(f"  {test}")
