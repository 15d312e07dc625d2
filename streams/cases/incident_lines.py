"""Incidents and what verdicts say of detectors, one line each; and how counts and durations are written."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.cases.case_files import Case, Precision
from streams.show import STYLES, clock, inert

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def line(case: Case) -> Text:
    """One incident on one line."""
    incident = case.incident
    said = f" [{inert(case.verdict)}]" if case.verdict else ""
    who = f" ({inert(case.assignee)})" if case.assignee else ""
    return Text.assemble(
        (clock(incident.last_s), "dim"),
        " ",
        (f"{incident.severity:<8}", STYLES[incident.severity]),
        " ",
        (inert(incident.incident_id), "bold"),
        f" {inert(case.state):<6} {inert(incident.deployment)}: {inert(incident.summary)}{said}{who}",
        (f" [{inert(incident.quiet)}]" if incident.quiet else "", "dim"),
    )


def precisions(console: Console, found: Sequence[Precision], *, as_json: bool) -> None:
    """How often each detector was right, as a table."""
    if as_json:
        for each in found:
            typer.echo(msgspec.json.encode(each))
        return
    if not found:
        console.print("no verdicts yet; `inferwatch incidents verdict ID true|false|benign` gives one", style="dim")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("detector", "right", "between", "of", "true", "false", "benign (not counted)"):
        table.add_column(column, justify="left" if column == "detector" else "right")
    for each in found:
        shares = ["-", "-"]
        if each.precision is not None and each.low is not None and each.high is not None:
            shares = [f"{each.precision:.0%}", f"{each.low:.0%} and {each.high:.0%}"]
        counts = map(str, (each.confirmed + each.refuted, each.confirmed, each.refuted, each.benign))
        table.add_row(inert(each.detector), *shares, *counts)
    console.print(table)


def number(count: int, what: str) -> str:
    """A count with its noun."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def span(seconds: float) -> str:
    """A duration as people say it, its two largest units: ``3 h 20 min``."""
    left, parts = round(max(seconds, 0.0)), []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
