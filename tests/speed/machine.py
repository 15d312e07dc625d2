"""What the operating system says: processor time and memory of processes, and what machine this is."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(root: int) -> float:
    """Seconds of processor time that a process and all that it started have taken, ended ones included."""
    return sum(map(_own_cpu_s, family(root)))


def rss_bytes(root: int) -> int:
    """Resident memory of a process and all that it started; what they share counts in each."""
    return sum(_status_kib(each, "VmRSS") for each in family(root)) * 1024


def peak_bytes(root: int) -> int:
    """The most resident memory that each of them ever had, together."""
    return sum(_status_kib(each, "VmHWM") for each in family(root)) * 1024


def family(root: int) -> set[int]:
    """A process and its descendants that live."""
    parents = {
        int(path.name): parent for path in _PROC.iterdir() if path.name.isdecimal() and (parent := _parent(path))
    }
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


class Meter:
    """Processor time of groups of processes since it was made, by name."""

    def __init__(self, groups: Mapping[str, Iterable[int]]) -> None:
        """`groups` are the roots of the processes of each name."""
        self._groups = {name: tuple(roots) for name, roots in groups.items()}
        self._begun = self._now()

    def taken_s(self) -> dict[str, float]:
        """Seconds by name."""
        return {name: now - self._begun[name] for name, now in self._now().items()}

    def _now(self) -> dict[str, float]:
        return {name: sum(map(cpu_s, roots)) for name, roots in self._groups.items()}


def described() -> str:
    """The machine in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in (_PROC / "cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores of {model}, {memory_gib:.0f} GiB, Python {platform.python_version()}"


def _own_cpu_s(process: int) -> float:
    try:
        fields = (_PROC / str(process) / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0  # ended in between; its parent has its time once it is reaped
    return sum(map(int, fields[11:15])) / _TICKS


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _status_kib(process: int, name: str) -> int:
    try:
        lines = (_PROC / str(process) / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
