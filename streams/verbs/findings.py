# ruff: noqa: FBT002 - Typer's flags are boolean defaults
"""The verb ``inferwatch findings``: what was found, without a text unless that is asked for and said why."""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from streams import show
from streams.custody.access import Access, Why, because, record
from streams.settings import Settings, SettingsError
from streams.stores import By, person, store_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detectors.types import Finding
    from streams.clickhouse import Store

Json = Annotated[bool, typer.Option("--json", help="One JSON document (or one a line) for machines.")]


def findings(  # noqa: PLR0913, PLR0917 - each is an option of the verb
    severity: Annotated[str, typer.Option(help="At least this: info, low, medium, high, critical.")] = "info",
    detector: Annotated[str, typer.Option(help="Only of this detector.")] = "",
    deployment: Annotated[str, typer.Option(help="Only of this deployment.")] = "",
    since: Annotated[str, typer.Option(help="Event time to look back: 90s, 15m, 24h, 7d.")] = "7d",
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on and print new ones as they come.")] = False,
    as_json: Json = False,
    ocsf: Annotated[
        bool, typer.Option("--ocsf", help="OCSF 1.8 Detection Findings, one JSON document a line, for a SIEM.")
    ] = False,
    with_texts: Annotated[
        bool, typer.Option("--with-texts", help="A trigger as the word it is in stored prompts; its hash without.")
    ] = False,
    why: Why = "",
    by: By = "",
) -> None:
    """List findings, the newest last. With --with-texts prompts are read: say --why, which is recorded."""
    from streams.asking import Filter, follow_findings, list_findings  # noqa: PLC0415 - verbs that need no store start faster

    if why.strip() and not with_texts:
        raise SettingsError("--why: goes with --with-texts; findings alone hold no text")
    chosen = Filter.parse(severity=severity, detector=detector, deployment=deployment, since=since, limit=limit)
    access = None
    if with_texts:
        asked = {"deployment": deployment, "detector": detector, "since": since}
        access = Access(who=person(by), verb="findings", why=because(why), what="words of triggers", parameters=asked)
    with store_of(Settings.from_env(os.environ)) as (settings, store):
        key = None
        if access is not None:
            key = _key(settings)
            record(store, access)
        found = list_findings(store, chosen, time.time())
        printer = show.ocsf_printer(version("inferwatch")) if ocsf else show.finding_printer(Console(), as_json=as_json)
        show.findings(Console(), _named(found, store, key), printer, as_json=as_json or ocsf)
        if follow:
            for finding in follow_findings(store, chosen, found):
                printer(*_named([finding], store, key))


def _key(settings: Settings) -> bytes:
    """What hashes of words were made with. Raises `SettingsError`."""
    from streams.keys import present_keys  # noqa: PLC0415 - as above

    keys = present_keys(settings)
    if keys is None:
        raise SettingsError("--with-texts: INFERWATCH_KEY is needed to find the words of hashes")
    return keys.hashes


def _named(found: Iterable[Finding], store: Store, key: bytes | None) -> list[Finding]:
    """With words in the place of hashes where a key is given; without one no prompt is read."""
    from streams.naming import with_words  # noqa: PLC0415 - as above

    return list(found) if key is None else with_words(found, store, key)
