"""Values as people and machines read them on a terminal. Text from outside is printed as inert text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detectors import frameworks
from detectors.base import Detector, Metadata
from detectors.types import Finding, Severity
from streams.alerting.ocsf import detection_finding
from streams.dlq import printable

if TYPE_CHECKING:
    from streams.doctor import Check

STYLES = {
    Severity.INFO: "dim",
    Severity.LOW: "cyan",
    Severity.MEDIUM: "yellow",
    Severity.HIGH: "red",
    Severity.CRITICAL: "bold white on red",
}


MOST_CHARS = 1_000
"""Of one text on a terminal: a megabyte that wraps scrolls everything else away, and takes minutes to be laid out."""


MOST_SEEN = 10_000
"""Of what the doctor saw: all detectors that are blind, with the fields they lack."""


def inert(text: str, most: int = MOST_CHARS) -> str:
    """The beginning of a text in printable ASCII, and how long it is where it is cut."""
    if len(text) <= most:
        return printable(text)
    return f"{printable(text[:most])}... (cut here: {len(text):,} characters in all)"


def ascii_json(value: object) -> str:
    """JSON on one line in which every character that a terminal might act on, or turn others about with, is escaped."""
    return json.dumps(msgspec.to_builtins(value), separators=(",", ":"))


def clock(time_s: float) -> str:
    """An event time as people write it, UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def finding_line(finding: Finding) -> Text:
    """One finding on one line."""
    return Text.assemble(
        (clock(finding.time_s), "dim"),
        " ",
        (f"{finding.severity:<8}", STYLES[finding.severity]),
        " ",
        (f"{inert(finding.detector):<20}", "bold"),
        " ",
        f"{inert(finding.subject)}: {inert(finding.summary)}",
    )


def finding_printer(console: Console, *, as_json: bool) -> Callable[[Finding], None]:
    """What prints findings as they come, one a line."""
    if as_json:
        return lambda finding: print(ascii_json(finding), flush=True)
    return lambda finding: console.print(finding_line(finding), soft_wrap=True)


def ocsf_printer(product_version: str) -> Callable[[Finding], None]:
    """What prints findings as OCSF Detection Findings, one JSON document a line."""
    return lambda finding: print(ascii_json(detection_finding(finding, product_version)), flush=True)


def findings(console: Console, found: Iterable[Finding], printer: Callable[[Finding], None], *, as_json: bool) -> None:
    """A list of findings; says so when there are none."""
    rows = list(found)
    for finding in rows:
        printer(finding)
    if not rows and not as_json:
        console.print("no findings match; `inferwatch doctor` says whether anything is watched", style="dim")


def detectors(console: Console, catalog: Mapping[str, type[Detector]], *, as_json: bool) -> None:
    """The catalog as a table."""
    if as_json:
        rows = {name: msgspec.to_builtins(kind.metadata) for name, kind in catalog.items()}
        print(ascii_json(rows))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "scope", "severity", "warm-up", "sees"):
        table.add_column(column, style="bold" if column == "id" else None, overflow="fold")
    for name, kind in catalog.items():
        metadata = kind.metadata
        severity = Text(metadata.severity, STYLES[metadata.severity])
        table.add_row(name, metadata.scope, severity, str(metadata.warm_up), metadata.sees)
    console.print(table)


def detector(console: Console, detector_id: str, metadata: Metadata, *, as_json: bool) -> None:
    """One detector as a page."""
    if as_json:
        print(ascii_json(metadata))
        return
    console.print(Text.assemble((detector_id, "bold"), f"  {metadata.title}  (version {metadata.version})"))
    console.print(metadata.sees, markup=False)
    ids = [f"{each} {frameworks.atlas_name(each)}" for each in metadata.atlas]
    ids += [f"{each} {frameworks.owasp_name(each)}" for each in metadata.owasp]
    facts = (f"per {metadata.scope}", f"severity up to {metadata.severity}", f"warm-up {metadata.warm_up} observations")
    sections: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("Facts", (*facts, f"score in {metadata.score_unit}", _needs(metadata))),
        ("What to do", metadata.runbook),
        ("Possible causes", metadata.causes),
        ("False positives", metadata.false_positives),
        ("Known gaps", metadata.known_gaps),
        ("Maps to", tuple(ids)),
        ("References", metadata.references),
    )
    for title, lines in sections:
        console.print(f"\n{title}", style="bold")
        for number, line in enumerate(lines, 1):
            mark = f"{number}." if title == "What to do" else "-"
            console.print(f"  {mark} {line}", markup=False, highlight=False)


def _needs(metadata: Metadata) -> str:
    needed = [*metadata.requires, *([" or ".join(metadata.any_of)] if metadata.any_of else [])]
    return f"needs {', '.join(needed)}"


def checks(console: Console, found: Iterable[Check], *, as_json: bool) -> None:
    """What the doctor saw, and what to do about it."""
    from streams.doctor import OK  # noqa: PLC0415 - verbs that need no server start faster

    for check in found:
        if as_json:
            print(ascii_json(check))
            continue
        mark = Text(f"{check.status:<4}", {"ok": "green", "warn": "yellow"}.get(check.status, "bold red"))
        console.print(
            Text.assemble(mark, " ", (inert(check.name), "bold"), f": {inert(check.saw, MOST_SEEN)}"), soft_wrap=True
        )
        if check.status != OK and check.advice:
            console.print(Text(f"     {inert(check.advice)}"), soft_wrap=True)
