"""The verb ``inferwatch backtest``: what would a detector have said, in another version or setting."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from detectors.alarms import Budget
from detectors.bank import discover
from detectors.types import Finding, Observation, Severity
from streams.asking import Filter, span_s
from streams.backtesting import curves
from streams.backtesting.backtest import EAGER_PER_DAY, Change, Curve, Outcome, Trial, budget_of, compare, tally, traced
from streams.backtesting.variants import source_of, variant
from streams.custody.access import Access, Why, because, record
from streams.settings import Settings, SettingsError
from streams.show import finding_line
from streams.stores import By, person, store_of

_FIRED_LIMIT = 100_000
_KINDS = {"new": "red", "gone": "magenta", "earlier": "green", "later": "yellow", "same": "dim"}

Batches = Iterable[Sequence[Observation]]


def backtest(  # noqa: PLR0913 - one parameter an option
    *,
    detector: Annotated[str, typer.Option(help="The id of the detector; `inferwatch detectors list` has them.")],
    since: Annotated[str, typer.Option(help="How far back to begin: 90s, 15m, 24h, 7d.")] = "7d",
    until: Annotated[str, typer.Option(help="How far back to end; 0s: now.")] = "0s",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A number of the detector, or of the budget; may be repeated."),
    ] = None,
    code: Annotated[Path | None, typer.Option(help="Another version of the detector: its file.")] = None,
    file: Annotated[str, typer.Option("--from", help="Logs to play instead of stored events; - for stdin.")] = "",
    deployment: Annotated[str, typer.Option(help="Only events of this deployment.")] = "",
    principal: Annotated[str, typer.Option(help="Only events of this principal (its pseudonym).")] = "",
    why: Why = "",
    by: By = "",
    plot: Annotated[Path | None, typer.Option(help="Draw score and threshold over time: a .svg or .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document for machines.")] = False,
) -> None:
    """Run a detector version or setting over stored events, and say what it would have said otherwise.

    It shows no text, and reads those of stored calls to see what the detector saw: say --why, which is recorded.
    """
    settings = Settings.from_env(os.environ)
    reason = "" if file else because(why)
    asked = dict(_pair(each) for each in changes or ())
    budget, numbers = budget_of(settings, asked)
    candidate = variant(detector, source_of(detector, code), numbers)
    if plot is not None:
        curves.check(plot)
    drawn: dict[str, Curve] = {}
    eager: dict[str, Curve] = {}
    trial = Trial(detector, traced(candidate, drawn) if plot else candidate, budget)
    trials = [trial]
    if plot is not None:
        trials.append(Trial(detector, traced(candidate, eager, only_said=True), Budget(per_day=EAGER_PER_DAY)))
    if file:
        shipped = Trial(detector, discover()[detector], budget_of(settings, {})[0])
        _play(settings, file, lambda seen: _only(seen, deployment, principal), [*trials, shipped])
        fired, against = shipped.finish().findings, "what the shipped detector says about the same events"
    else:
        access = Access(
            who=person(by),
            verb="backtest",
            why=reason,
            what=f"texts played to {detector}, none shown",
            parameters={"deployment": deployment, "detector": detector, "since": since, "until": until},
            subjects=[principal] if principal else (),
        )
        fired = _recall(detector, (since, until), (deployment, principal), trials, access)
        against = "what was said then"
    outcome = trial.finish()
    found = compare(fired, outcome.findings)
    if plot is not None:
        curves.draw(plot, f"{detector} {' '.join(changes or ())}".strip(), drawn, eager, found)
    if as_json:
        typer.echo(msgspec.json.encode(_document(outcome, found)))
    else:
        _show(Console(), outcome, found, against)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise SettingsError(f"--set: {text[:80]!r} is not accepted; KEY=VALUE, such as alarm_budget=0.5")
    return key.strip(), value.strip()


def _only(observations: Sequence[Observation], deployment: str, principal: str) -> list[Observation]:
    return [each for each in observations if deployment in {"", each.deployment} and principal in {"", each.principal}]


def _progress() -> Progress:
    columns = (TextColumn("{task.completed} events"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _play(
    settings: Settings, file: str, chosen: Callable[[Sequence[Observation]], list[Observation]], trials: Sequence[Trial]
) -> None:
    """A file through the same pipeline as a worker's, and into the trials."""
    from streams.composing import make_pipeline  # noqa: PLC0415 - verbs that need no codecs start faster
    from streams.keys import load_keys  # noqa: PLC0415 - as above
    from streams.replay import TOPIC, observed  # noqa: PLC0415 - as above
    from streams.sending import records  # noqa: PLC0415 - as above

    pipeline = make_pipeline(settings, load_keys(settings), TOPIC)
    with _progress() as shown:
        task = shown.add_task("backtest", total=None)
        for observations in observed(records(file, sys.stdin.buffer), time.time(), pipeline):
            for trial in trials:
                trial.feed(chosen(observations))
            shown.advance(task, len(observations))


def _recall(
    detector: str, span: tuple[str, str], whose: tuple[str, str], trials: Sequence[Trial], access: Access
) -> list[Finding]:
    """Stored events of a deployment and principal into the trials; what was said about them then."""
    from streams.asking import list_findings  # noqa: PLC0415 - as above
    from streams.backtesting.recollecting import Wanted, count, recollect  # noqa: PLC0415 - as above
    from streams.keys import load_keys  # noqa: PLC0415 - as above

    now_s = time.time()
    deployment, principal = whose
    since_s, until_s = span_s("--since", span[0]), span_s("--until", span[1])
    wanted = Wanted(
        since_ms=max(int((now_s - since_s) * 1_000), 0),
        until_ms=int((now_s - until_s) * 1_000) + (until_s == 0.0),
        deployment=deployment,
        principal=principal,
    )
    with store_of(Settings.from_env(os.environ)) as (settings, store):
        record(store, access)
        with _progress() as shown:
            task = shown.add_task("backtest", total=count(store, wanted))
            first_s, last_s = float("inf"), float("-inf")
            for observations in recollect(store, wanted, load_keys(settings).hashes):
                for trial in trials:
                    trial.feed(observations)
                times = [each.time_s for each in observations]
                first_s, last_s = min(first_s, *times), max(last_s, *times)
                shown.advance(task, len(observations))
        everything = Filter(
            severity=Severity.INFO, detector=detector, deployment=deployment, since_s=now_s, limit=_FIRED_LIMIT
        )
        fired = list_findings(store, everything, now_s)
    return [
        finding for finding in fired if first_s <= finding.time_s <= last_s and principal in {"", finding.principal}
    ]


def _document(outcome: Outcome, found: Sequence[Change]) -> dict[str, object]:
    return {
        "detector": outcome.detector,
        "budget_share": outcome.share,
        "observations": outcome.observations,
        "usable": outcome.usable,
        "events_per_s": outcome.per_second,
        "warming": outcome.warming,
        "difference": tally(found),
        "findings": [msgspec.to_builtins(change) for change in found],
    }


def _show(console: Console, outcome: Outcome, found: Sequence[Change], against: str) -> None:
    for change in found:
        apart = "" if not change.after_s else f" by {abs(change.after_s):.0f} s"
        said = Text.assemble((f"{change.kind + apart:<18}", _KINDS[change.kind]), finding_line(change.finding))
        console.print(said, soft_wrap=True)
    counts = ", ".join(f"{count} {kind}" for kind, count in tally(found).items())
    console.print(f"{counts}; against {against}", soft_wrap=True)
    console.print(
        f"{outcome.observations} events, {outcome.usable} with what {outcome.detector} needs: "
        f"{outcome.per_second:,.0f} events/s of CPU, at {outcome.share:.3g} false alarms a day per {outcome.scope}",
        soft_wrap=True,
    )
    if outcome.warming:
        most = max(outcome.warming.values())
        console.print(
            f"{len(outcome.warming)} {outcome.scope}s were still warming up at the end and lack up to {most} events; "
            "it began cold, so what fired in the warm-up is gone: begin earlier with --since",
            style="yellow",
            soft_wrap=True,
        )
