"""Events a second end to end, by size of the records, beside what else one could run on the same two cores."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import msgspec

from streams import topics
from tests.integration.pinned import UnavailableError
from tests.integration.servers import TETHERED
from tests.speed import drain
from tests.speed.contenders.given import Given
from tests.speed.contenders.packages import quix
from tests.speed.load import JSON, OTLP_SPANS, PROTOBUF, Load
from tests.speed.rig import Installation, Rig
from tests.speed.staged_worker import FILE_VARIABLE
from tests.speed.task import Cell, Figures, Target, UnmeasuredError, figure, quotient

TITLE = "Events a second, end to end"
NOTE = """
Full catalog, everything durable, two workers with all roles on the same two cores as the broker and the database.
Events of 1.6 kB in a backlog that is drained: what sends is elsewhere in an installation, so nothing sends here while
it is measured. `us/event` is processor time from the operating system; the shares by stage are those of workers whose
functions are wrapped by the bench, in a run of their own.
"""
WORKERS = 2
OURS = "inferwatch, {}"
BARE, NAIVE, QUIX, LIMIT = "bare Faust agent, {}", "naive build, {}", "Quix Streams, {}", "ClickHouse alone"
STAGES = "inferwatch by stage, 10 a record"
FORMS = {"1 a record": 1, "10 a record": 10, "100 a record": 100, "OTLP, 200 spans": OTLP_SPANS}

_RATE = "events/s"
_ONE, _TEN, _HUNDRED = list(FORMS)[:3]
_GUESSES = {BARE: 8_000.0, NAIVE: 200.0, QUIX: 2_000.0, LIMIT: 20_000.0, OURS: 3_000.0}
_SEED = 1

TARGETS = (
    Target("10,000 events/s end to end (10 a record)", figure(OURS.format(_TEN), _RATE), 10_000),
    Target("10,000 events/s end to end (100 a record)", figure(OURS.format(_HUNDRED), _RATE), 10_000),
    Target("the aim of 20,000 (100 a record)", figure(OURS.format(_HUNDRED), _RATE), 20_000),
    Target(
        "1.5 times a bare Faust agent that gets one event a record; we, 10 a record",
        quotient(OURS.format(_TEN), BARE.format(_ONE), _RATE),
        1.5,
    ),
    Target(
        "1.5 times a bare Faust agent, both with one event a record",
        quotient(OURS.format(_ONE), BARE.format(_ONE), _RATE),
        1.5,
    ),
    Target("10 times the naive build, both with one", quotient(OURS.format(_ONE), NAIVE.format(_ONE), _RATE), 10.0),
    Target("twice Quix Streams, both with one", quotient(OURS.format(_ONE), QUIX.format(_ONE), _RATE), 2.0),
    Target("twice Quix Streams, both with 10", quotient(OURS.format(_TEN), QUIX.format(_TEN), _RATE), 2.0),
    Target("40 % of ClickHouse alone (100 a record)", quotient(OURS.format(_HUNDRED), LIMIT, _RATE), 0.4),
)


class Place:
    """The servers, and how fast each cell was last: a backlog is as long as it takes to measure for so long."""

    def __init__(self, rig: Rig, seconds: float) -> None:
        """`seconds` are what a backlog should last."""
        self.rig = rig
        self._seconds = seconds
        self._rates: dict[str, float] = {}

    def events(self, cell: str, kind: str) -> int:
        """How long the backlog of a cell is to be, in whole requests."""
        rate = self._rates.get(cell, _GUESSES[kind])
        return max(round(rate * self._seconds / (1.0 - drain.WARM_UP) / OTLP_SPANS), 5) * OTLP_SPANS

    def took(self, cell: str, figures: Figures) -> Figures:
        """Remember for the next time."""
        self._rates[cell] = figures[_RATE]
        return figures

    def backlog(self, installation: Installation, form: str, events: int) -> None:
        """Make it durable."""
        load, end_s = Load(_SEED), time.time()
        is_otlp = form.startswith("OTLP")
        values = load.requests(events, end_s) if is_otlp else load.records(events, FORMS[form], end_s)
        installation.produce(values, PROTOBUF if is_otlp else JSON)


@contextlib.contextmanager
def opened(*, quick: bool) -> Iterator[Place]:
    """Over servers that stay up."""
    with Rig.running() as rig:
        yield Place(rig, 10.0 if quick else 30.0)


def repeats(*, quick: bool) -> int:
    """How often each cell is measured, in turn with the others."""
    return 1 if quick else 3


def cells(*, quick: bool) -> list[Cell]:
    """Ours and the others."""
    return [
        *(Cell(OURS.format(form), functools.partial(_ours, form=form)) for form in FORMS),
        Cell(STAGES, functools.partial(_ours, form=_TEN, is_staged=True)),
        *(_contender(BARE, "bare_agent", form) for form in (_ONE, *(() if quick else (_TEN, _HUNDRED)))),
        _contender(NAIVE, "naive_build", _ONE),
        *(_contender(QUIX, "quix_app", form) for form in (_ONE, _TEN, *(() if quick else (_HUNDRED,)))),
        _contender(LIMIT, "ingest_limit", ""),
    ]


def _ours(place: Place, form: str, *, is_staged: bool = False) -> Figures:
    cell = OURS.format(form)
    events = place.events(cell, OURS)
    with place.rig.installation() as installation:
        place.backlog(installation, form, events)
        folder = installation.settings.data_dir
        with patch.dict(os.environ, {FILE_VARIABLE: str(folder / "stages-{pid}.json")} if is_staged else {}):
            drained = drain.ours(place.rig, installation, events, WORKERS, folder if is_staged else None)
    return place.took(cell, drained.figures())


def _contender(kind: str, module: str, form: str) -> Cell:
    name = kind.format(form)
    return Cell(name, functools.partial(_theirs, kind=kind, name=name, module=module, form=form))


def _theirs(place: Place, kind: str, name: str, module: str, form: str) -> Figures:
    try:
        packages = str(quix()) if kind == QUIX else ""
    except UnavailableError as error:
        raise UnmeasuredError(str(error)) from error
    events = place.events(name, kind)
    with place.rig.installation() as installation:
        settings = installation.settings
        if form:
            place.backlog(installation, form, events)
        progress = settings.data_dir / "done"
        given = Given(
            brokers=settings.kafka_brokers,
            topic=topics.full_name(settings, topics.INFERENCE_LOGS),
            group=settings.consumer_group,
            url=settings.clickhouse_url,
            database=settings.clickhouse_database,
            folder=str(settings.data_dir),
            progress=str(progress),
            events=events,
            packages=packages,
        )
        log = settings.data_dir / "contender.log"
        with _running(module, given, log) as process:
            drained = drain.measured(
                place.rig, [process.pid], events, lambda: _done(process, progress, log), lambda: True
            )
    return place.took(name, drained.figures())


@contextlib.contextmanager
def _running(module: str, given: Given, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        str(TETHERED),
        str(os.getpid()),
        sys.executable,
        "-m",
        f"tests.speed.contenders.{module}",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, msgspec.json.encode(given).decode()], stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _done(process: subprocess.Popen[bytes], progress: Path, log: Path) -> int:
    if process.poll() is not None:
        raise AssertionError(f"it ended: {log.read_text(errors='replace')[-2_000:]}")
    return int(progress.read_text(encoding="ascii")) if progress.exists() else 0
