"""The harness itself: what it sends, what it reads from the kernel, how it keeps and says figures. No servers."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from streams.codecs import native, otlp
from tests.speed import bench, drain, machine, sizing
from tests.speed.bench import ASKED_FOR, TASKS, Bench, task_of
from tests.speed.load import OTLP_SPANS, Load
from tests.speed.results import Measured, Outcome, load, number, page, verdicts
from tests.speed.staged_worker import STAGES, Stopwatch
from tests.speed.task import Cell, Target, UnmeasuredError, figure, quotient


def test_an_event_has_about_1600_bytes_and_is_the_same_for_the_same_seed() -> None:
    values = list(Load(seed=1).records(500, 1, 1e9))
    assert 1_500 < sum(map(len, values)) / len(values) < 1_700
    assert values == list(Load(seed=1).records(500, 1, 1e9)) != list(Load(seed=2).records(500, 1, 1e9))


def test_records_and_requests_hold_the_events_they_say() -> None:
    assert [len(native.decode(each).items) for each in Load(1).records(250, 100, 1e9)] == [100, 100, 50]
    (request,) = Load(1).requests(OTLP_SPANS, 1e9)
    spans = otlp.decode(request).items
    assert len(spans) == OTLP_SPANS
    assert all(getattr(each, "input_messages", None) and getattr(each, "principal", None) for each in spans)


def test_every_stage_names_functions_that_are_there() -> None:
    for places in STAGES.values():
        for place in places:
            module, _, path = place.partition(":")
            owner = importlib.import_module(module)
            for name in path.split("."):
                owner = getattr(owner, name)
            assert callable(owner)


def test_a_stage_counts_what_it_takes_less_what_stages_within_it_take() -> None:
    watch = Stopwatch()
    inner = watch.wrap("features", lambda: _burn(0.02))
    outer = watch.wrap("decode", lambda: (inner(), _burn(0.04)))
    outer()
    taken = watch.totals()
    assert taken["features"] == pytest.approx(0.02, rel=0.3)
    assert taken["decode"] == pytest.approx(0.04, rel=0.3)


def test_a_stage_that_was_never_called_stops_the_bench() -> None:
    drained = drain.Drained(10, 1.0, {drain.WORKER: 1.0}, {"decode": 0.5, "features": 0.0, "triage": 0.0})
    with pytest.raises(AssertionError, match="features"):
        drained.figures()


def test_processor_time_and_memory_of_children_count() -> None:
    spin = "import time\nx = bytearray(1) * 40_000_000\nwhile time.process_time() < 0.3: pass\n"
    command = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin + 'time.sleep(60)'!r}])"
    with subprocess.Popen([sys.executable, "-c", command]) as parent:
        try:
            until_s = time.monotonic() + 30.0
            while machine.cpu_s(parent.pid) < 0.3 and time.monotonic() < until_s:
                time.sleep(0.05)
            assert machine.cpu_s(parent.pid) >= 0.3
            assert len(machine.family(parent.pid)) == 2
            assert machine.rss_bytes(parent.pid) > 40_000_000
        finally:
            for process in machine.family(parent.pid):
                os.kill(process, 9)


def outcome(**cells: list[float]) -> Outcome:
    measured = {name: Measured(runs=[{"events/s": value} for value in values]) for name, values in cells.items()}
    return Outcome(task="t", date="2026-11-22", machine="one", load=0.1, quick=False, source="s", cells=measured)


TASK = SimpleNamespace(
    TITLE="Speed",
    NOTE="Of two.",
    TARGETS=(
        Target("twice", quotient("ours", "theirs", "events/s"), 2.0),
        Target("least", figure("ours", "events/s"), 500.0, at_most=True, unit="s"),
        Target("other", figure("nobody", "events/s"), 1.0),
    ),
)


def test_a_page_has_medians_with_their_spread_and_says_what_was_reached() -> None:
    found = outcome(ours=[300.0, 100.0, 200.0], theirs=[100.0])
    text = page({"t": TASK}, [found])
    assert "| ours | 3 | 200 (100 to 300) |" in text
    assert "| theirs | 1 | 100 |" in text
    assert verdicts(TASK, found) == [
        "| twice | at least 2 | 2 | reached |",
        "| least | at most 500 s | 200 s | reached |",
        "| other | at least 1 | not measured |  |",
    ]
    slower = outcome(ours=[190.0], theirs=[100.0])
    assert verdicts(TASK, slower)[0] == "| twice | at least 2 | 1.9 | **not reached** |"


@pytest.mark.parametrize(
    ("value", "text"), [(12_345.6, "12,346"), (0.01234, "0.0123"), (2.0, "2"), (0.0, "0"), (math.nan, "not measured")]
)
def test_a_number_has_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


class Toy:
    """A task that breaks where it is told to."""

    TITLE, NOTE, TARGETS = "Toy", "", ()

    def __init__(self) -> None:
        self.measured: list[str] = []
        self.breaks = True

    @contextlib.contextmanager
    def opened(self, *, quick: bool) -> Iterator[None]:
        yield None

    def repeats(self, *, quick: bool) -> int:
        return 2

    def cells(self, *, quick: bool) -> list[Cell]:
        return [
            Cell("a", lambda _: self.take("a")),
            Cell("b", lambda _: self.take("b")),
            Cell("c", self.refuse),
            Cell("d", self.fail),
        ]

    def take(self, name: str) -> dict[str, float]:
        self.measured.append(name)
        if self.breaks and self.measured == ["a", "b", "a", "b"]:
            raise KeyboardInterrupt
        return {"events/s": float(len(self.measured))}

    def refuse(self, _: object) -> dict[str, float]:
        raise UnmeasuredError("it cannot be had here")

    def fail(self, _: object) -> dict[str, float]:
        raise AssertionError("a worker has ended:\nlast words")


def test_a_run_that_was_cut_short_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy()
    monkeypatch.setattr(bench, "task_of", lambda _: toy)
    monkeypatch.setattr(bench, "measured_code", lambda: "same")
    runner = Bench(quick=False, out=tmp_path, kept=tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        runner.run(TASKS[0])
    toy.breaks = False
    done = runner.run(TASKS[0])
    assert toy.measured == ["a", "b", "a", "b", "b"]
    assert [len(done.cells[name].runs) for name in "abcd"] == [2, 2, 0, 0]
    assert done.cells["c"].unmeasured == "it cannot be had here"
    assert done.cells["d"].unmeasured == "it failed: AssertionError: a worker has ended:"
    assert set(runner.failed) == {"d"}
    assert load(tmp_path / "results" / f"{TASKS[0]}.json") == done
    assert "c: not measured, it cannot be had here" in (tmp_path / "RESULTS.md").read_text()
    assert not list((tmp_path / "kept").iterdir())


def test_what_was_measured_of_other_code_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy()
    monkeypatch.setattr(bench, "task_of", lambda _: toy)
    codes = iter(["one", "another"])
    monkeypatch.setattr(bench, "measured_code", lambda: next(codes))
    runner = Bench(quick=False, out=tmp_path, kept=tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        runner.run(TASKS[0])
    toy.breaks = False
    runner.run(TASKS[0])
    assert toy.measured == ["a", "b", "a", "b", "a", "b", "a", "b"]


@pytest.mark.parametrize("name", [*TASKS, *ASKED_FOR])
def test_every_target_is_about_a_cell_that_is_measured(name: str) -> None:
    task = task_of(name)
    names = [cell.name for cell in task.cells(quick=False)]
    assert len(set(names)) == len(names)
    figures = _Any(names)
    assert all(not math.isnan(target.value(figures)) for target in task.TARGETS)
    assert task.repeats(quick=True) <= task.repeats(quick=False)


class _Any(dict[str, dict[str, float]]):
    """Every figure of cells that there are."""

    def __init__(self, names: list[str]) -> None:
        super().__init__({name: _One() for name in names})


class _One(dict[str, float]):
    def get(self, _name: str, _default: float = 0.0) -> float:  # type: ignore[override]
        return 1.0


def test_results_that_are_committed_can_be_read_and_are_on_the_page() -> None:
    for path in (bench.HERE / "results").glob("*.json"):
        found = load(path)
        assert msgspec.json.decode(path.read_bytes())["task"] == found.task == path.stem
        text = (bench.HERE / "RESULTS.md").read_text()
        assert all(line in text for line in verdicts(task_of(found.task), found))


def test_the_page_about_scaling_has_the_figures_that_are_committed() -> None:
    paths = [bench.HERE / "results" / f"{name}.json" for name in TASKS]
    assert sizing.block([load(path) for path in paths if path.exists()]) in sizing.PAGE.read_text(encoding="utf-8")


def test_there_are_twice_as_many_partitions_as_workers_at_least() -> None:
    assert [sizing.partitions(workers) for workers in (1, 2, 4, 5, 100)] == [8, 8, 8, 16, 256]


def _burn(seconds: float) -> None:
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass
