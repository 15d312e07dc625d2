"""`inferwatch report`: one HTML file about the installation or an incident, to read anywhere and attach to a ticket."""

from __future__ import annotations

import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from streams.asking import span_s
from streams.custody.access import Access, Why, because, record
from streams.privacy import ContentMode
from streams.redaction import Redactor
from streams.settings import Settings, SettingsError
from streams.stores import By, person, store_of
from streams.verbs.incidents import beginning_of, one_case
from streams.writing import check_place, write_whole

if TYPE_CHECKING:
    from streams.clickhouse import Store
    from streams.reporting.blocks import Document

STANDARD_OUTPUT = "-"
_DAY = "24h"


def report(
    incident_id: Annotated[
        str, typer.Argument(metavar="[INCIDENT]", help="As `incidents list` prints it; without one: the installation.")
    ] = "",
    since: Annotated[
        str,
        typer.Option(help=f"Event time to look back, of the installation: 90s, 15m, {_DAY}, 7d.", show_default=_DAY),
    ] = "",
    file: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; - for standard output.")
    ] = "inferwatch-report.html",
    with_texts: Annotated[  # noqa: FBT002 - Typer's flags are boolean defaults
        bool,
        typer.Option("--with-texts", help="Prompts and outputs of the sample too, redacted; needs --why."),
    ] = False,
    why: Why = "",
    by: By = "",
) -> None:
    """Write one self-contained HTML file: what is wrong, where, since when, and what to do."""
    from streams.reporting.drawing import INSTALL, can_draw  # noqa: PLC0415 - verbs that draw nothing start faster
    from streams.reporting.page import rendered  # noqa: PLC0415 - as above

    settings = Settings.from_env(os.environ)
    if with_texts and not incident_id:
        raise SettingsError("--with-texts: only the report of an incident has a sample of calls")
    if with_texts and settings.content_mode == ContentMode.FEATURES:
        raise SettingsError("--with-texts: INFERWATCH_CONTENT_MODE is features: no text is to leave")
    if incident_id and since:
        raise SettingsError("--since: an incident has a time of its own; leave one of them out")
    access = Access(who=person(by), verb="report", why=because(why)) if with_texts else None
    beginning = beginning_of(incident_id) if incident_id else ""
    since_s = span_s("--since", since or _DAY)
    if file != STANDARD_OUTPUT:
        check_place(Path(file))
    with store_of(settings) as (here, store):
        document = _case(store, beginning, here, access) if beginning else _overview(store, since_s)
    page = rendered(document, charts=can_draw()).encode("utf-8", "backslashreplace")
    if file == STANDARD_OUTPUT:
        sys.stdout.buffer.write(page)
        return
    write_whole(Path(file), [page])
    typer.echo(f"wrote {file} ({len(page) / 1_000:,.0f} kB): {document.verdict.split('. ')[0]}", err=True)
    if not can_draw():
        typer.echo(f"tables in place of charts: matplotlib is missing; install {INSTALL}", err=True)


def _overview(store: Store, since_s: float) -> Document:
    from streams.reporting.gathering import installation  # noqa: PLC0415 - as above
    from streams.reporting.overview import overview  # noqa: PLC0415 - as above

    return overview(installation(store, since_s, time.time(), version("inferwatch")))


def _case(store: Store, beginning: str, settings: Settings, access: Access | None) -> Document:
    """The report of an incident; with texts where that is an `access`, which is recorded first."""
    from streams.reporting.case_gathering import case_facts  # noqa: PLC0415 - as above
    from streams.reporting.case_page import case_page  # noqa: PLC0415 - as above

    case = one_case(store, beginning)
    if access is not None:
        asked = {"incident": case.incident.incident_id, "deployment": case.incident.deployment}
        record(store, msgspec.structs.replace(access, what="texts of a sample of calls", parameters=asked))
    redact = Redactor(ips=settings.redact_ips).redact if access is not None else None
    return case_page(case_facts(store, case, time.time(), version("inferwatch"), redact))
