"""The verbs ``inferwatch alerts ...``: whether a person would be told."""

from __future__ import annotations

import os
import time
from typing import Annotated

import msgspec
import typer

from streams.alerts import a_test
from streams.settings import Settings, SettingsError
from streams.webhook import NotTakenError

app = typer.Typer(help="Who is told of findings.", no_args_is_help=True)

EXIT_FAILED = 1


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What came of telling one target, and after how long."""

    target: str
    kind: str
    severity: str
    taken: bool
    answer: str
    took_s: float


@app.callback()
def _group() -> None:
    """Keep ``test`` a verb of its own: Typer would take the only command for the group."""


@app.command("test", epilog="Example: INFERWATCH_ALERT_TARGETS_FILE=targets.json inferwatch alerts test")
def send_test(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a target for machines.")] = False,  # noqa: FBT002 - Typer's flags are boolean defaults
) -> None:
    """Send a test alert to every target and say what happened; status 1 when one has not taken it."""
    from streams.notify import attempt, receiver, targets_of  # noqa: PLC0415 - it needs a Kafka client, the help does not

    settings = Settings.from_env(os.environ)
    targets = targets_of(settings)
    if not targets:
        raise SettingsError("INFERWATCH_ALERT_TARGETS: not set; a JSON list of targets, best in a file (..._FILE)")
    receivers = [(target, receiver(settings, target)) for target in targets]
    failed = False
    for target, to in receivers:
        began_s = time.monotonic()
        try:
            answer, taken = attempt(to, a_test(time.time())), True
        except NotTakenError as error:
            answer, taken = str(error), False
        failed = failed or not taken
        tried = Tried(
            target=target.name,
            kind=target.kind,
            severity=target.severity.value,
            taken=taken,
            answer=answer,
            took_s=round(time.monotonic() - began_s, 3),
        )
        _say(tried, as_json=as_json)
    raise typer.Exit(EXIT_FAILED if failed else 0)


def _say(tried: Tried, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(tried).decode())
        return
    said = "taken" if tried.taken else "NOT TAKEN"
    typer.echo(
        f"{tried.target} ({tried.kind}, from {tried.severity}): {said} after {tried.took_s:.2f} s: {tried.answer}"
    )
