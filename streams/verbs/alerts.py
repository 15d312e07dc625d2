"""The verbs ``inferwatch alerts ...``: whether a person would be told."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
import typer

from streams.alerting.alerts import a_test
from streams.alerting.ocsf import a_test_event
from streams.alerting.posting import NotTakenError
from streams.alerting.targets import Target
from streams.settings import Settings, SettingsError
from streams.show import ascii_json

app = typer.Typer(help="Who is told of incidents.", no_args_is_help=True)

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
    """Send every target a test alert, or an OCSF event of a test, and say what happened; status 1 when one failed."""
    from streams.alerting.receivers import targets_of  # noqa: PLC0415 - verbs that tell nobody start faster

    settings = Settings.from_env(os.environ)
    targets = targets_of(settings)
    if not targets:
        raise SettingsError("INFERWATCH_ALERT_TARGETS: not set; a JSON list of targets, best in a file (..._FILE)")
    ways = [(target, _way(settings, target)) for target in targets]
    failed = False
    for target, way in ways:
        began_s = time.monotonic()
        try:
            answer, taken = way(), True
        except NotTakenError as error:
            answer, taken = str(error), False
        failed = failed or not taken
        tried = Tried(
            target=target.name,
            kind=target.kind,
            severity=target.least.value,
            taken=taken,
            answer=answer,
            took_s=round(time.monotonic() - began_s, 3),
        )
        _say(tried, as_json=as_json)
    raise typer.Exit(EXIT_FAILED if failed else 0)


def _way(settings: Settings, target: Target) -> Callable[[], str]:
    """How to send `target` a test; raises `SettingsError`, and what is returned `NotTakenError`."""
    from streams.alerting.addresses import resolve  # noqa: PLC0415 - as above
    from streams.alerting.receivers import attempt, receiver  # noqa: PLC0415 - as above

    if target.ocsf is None:
        to = receiver(settings, target)
        return lambda: attempt(to, a_test(time.time()))
    from streams.alerting.outlets import outlet  # noqa: PLC0415 - it needs a Kafka client

    outlet(settings, target, resolve)  # one that cannot be used is said before anybody is told
    return lambda: asyncio.run(_send_event(settings, target))


async def _send_event(settings: Settings, target: Target) -> str:
    from streams.alerting.addresses import resolve  # noqa: PLC0415 - as above
    from streams.alerting.outlets import Line, outlet  # noqa: PLC0415 - as above

    out = outlet(settings, target, resolve)
    event = a_test_event(time.time(), importlib.metadata.version("inferwatch"))
    try:
        return await out.take([Line("inferwatch-test", msgspec.json.encode(event))])
    finally:
        await out.close()


def _say(tried: Tried, *, as_json: bool) -> None:
    if as_json:
        typer.echo(ascii_json(tried))
        return
    said = "taken" if tried.taken else "NOT TAKEN"
    typer.echo(
        f"{tried.target} ({tried.kind}, from {tried.severity}): {said} after {tried.took_s:.2f} s: {tried.answer}"
    )
