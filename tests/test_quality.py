"""The bench keeps its word on toy tasks: figures, verdicts, pages that merge, honest gaps."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.quality import bench, results
from tests.quality.__main__ import main
from tests.quality.results import FigureError, Series, checked, number, summarize, verdict
from tests.quality.task import OURS, Figure, Target
from tests.quality.toys.coin import TASK as COIN

TOYS = "tests.quality.toys"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The toys' data; while there is some, processes that are started find `tests` however pytest was."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "coins.txt").write_text("x" * 97)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(bench.HERE.parents[1])
        yield folder


def played(data: Path, out: Path, *names: str, seeds: int | None = None) -> tuple[int, str]:
    said = io.StringIO()
    status = bench.Bench(TOYS, data, out, Console(file=said, width=200)).run(names, seeds)
    return status, said.getvalue()


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    status, said = played(data, folder)
    assert status == 0
    assert "stamp: left out, there is no stamps.txt" in said
    return folder


def test_a_page_says_what_is_reached_and_what_is_not(out: Path) -> None:
    page = (out / "RESULTS.md").read_text()
    (delay,) = [line for line in page.splitlines() if line.startswith("| delay | inferwatch |")]
    assert delay.endswith("| ≤ 60 | ≤ 25 | must reached, aim **not reached** |")
    (found,) = [line for line in page.splitlines() if line.startswith("| found | inferwatch |")]
    assert found.endswith("| ≥ 95 |  | must **not reached** |")
    assert "| delay | slow rule | never | 300 to never |  |  |  |" in page
    assert "| found | mute | none | (0 of 6 runs) |  |  |  |" in page
    assert "| found | by size | 97 % |  |  |  |  |" in page
    assert "(6 runs, seeds 0 to 5.)" in page
    assert "](#coins-tossed)" in page
    assert "## Stamps" not in page


def test_the_same_seeds_give_the_same_page_and_picture(data: Path, out: Path, tmp_path: Path) -> None:
    assert played(data, tmp_path)[0] == 0
    for name in ("RESULTS.md", "results/coin.json", "plots/coin.svg"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name
    assert len((out / "plots/coin.svg").read_bytes()) < 60_000


def test_one_task_run_again_rewrites_its_section_alone(data: Path, out: Path, tmp_path: Path) -> None:
    more = tmp_path / "data"
    more.mkdir()
    (more / "stamps.txt").write_text("4")
    target = tmp_path / "out"
    (target / "results").mkdir(parents=True)
    (target / "results/coin.json").write_bytes((out / "results/coin.json").read_bytes())
    (target / "results/gone.json").write_bytes(
        (out / "results/coin.json").read_bytes().replace(b'"coin"', b'"gone"').replace(b"Coins", b"Gone")
    )
    assert played(more, target, "stamp")[0] == 0
    page = (target / "RESULTS.md").read_text()
    assert "## Coins, tossed" in page and "## Stamps" in page
    assert "Gone" not in page


def test_a_task_that_breaks_is_said_and_keeps_what_was_there(data: Path, tmp_path: Path) -> None:
    both = tmp_path / "data"
    both.mkdir()
    (both / "stamps.txt").write_text("many")
    (both / "coins.txt").write_text("x")
    status, said = played(both, tmp_path, "stamp", "coin", seeds=1)
    assert status == 1
    assert "stamp: broke: ValueError" in said
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["coin.json"]


def test_without_data_the_bench_says_so_and_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "absent"), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "left out" in said and "cost" in said, said
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_does_not_exist_is_a_usage_error(data: Path, tmp_path: Path) -> None:
    assert main(["--data", str(data), "--out", str(tmp_path), "--task", "nothing"]) == 2


OURS_FOUND = Figure(contender=OURS, metric="found", value=1.0)
OURS_DELAY = Figure(contender=OURS, metric="delay", value=1.0)


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param([OURS_FOUND, OURS_DELAY, Figure(contender="x", metric="luck", value=1.0)], id="no target"),
        pytest.param([OURS_FOUND, OURS_DELAY, OURS_DELAY], id="twice"),
        pytest.param([OURS_FOUND], id="none of ours"),
        pytest.param([OURS_FOUND, Figure(contender=OURS, metric="delay", value=True)], id="a truth value"),
    ],
)
def test_figures_that_cannot_be_held_against_targets_are_refused(figures: list[Figure]) -> None:
    assert checked(COIN, [OURS_FOUND, OURS_DELAY])
    with pytest.raises(FigureError):
        checked(COIN, figures)


def middle(*values: float, averaged: bool = False) -> results.Summary:
    target = Target(metric="m", unit="", averaged=averaged)
    return summarize(target, Series(contender="c", metric="m", values=values))


def test_medians_and_intervals_bear_infinity_and_nothing() -> None:
    assert middle(1.0, 2.0, math.inf).middle == 2.0
    assert middle(1.0, math.inf).middle == math.inf
    never = middle(math.inf, math.inf)
    assert (never.low, never.high) == (math.inf, math.inf)
    assert math.isnan(middle(math.nan).middle) and middle(math.nan).known == 0
    assert middle(1.0, math.nan, 3.0).middle == 2.0
    spread = middle(*map(float, range(1, 21)))
    assert 5.0 < spread.low < 10.0 < spread.middle == 10.5 < spread.high < 16.0


def test_rare_events_are_averaged_because_their_median_is_nothing() -> None:
    rare = [0.0] * 15 + [1.0] * 5
    assert middle(*rare).middle == 0.0
    mean = middle(*rare, averaged=True)
    assert 0.0 < mean.low < mean.middle == 0.25 < mean.high < 0.6


def test_a_figure_that_is_none_reaches_nothing() -> None:
    target = Target(metric="m", unit="", must=1.0, less_is_better=True)
    assert verdict(target, math.nan, target.must) == "**not reached**"
    assert verdict(target, 1.0, target.must) == "reached"
    assert verdict(target, math.inf, target.must) == "**not reached**"
    assert verdict(target, 1.0, None) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.3, "0.3"), (12.345, "12.3"), (1234.5, "1,234"), (2e-7, "2.00e-07"), (math.inf, "never")],
)
def test_numbers_read_as_a_person_writes_them(value: float, text: str) -> None:
    assert number(value) == text


def test_every_committed_figure_is_of_a_task_that_exists_and_the_page_is_made_of_them() -> None:
    outcomes = results.load(bench.HERE / "results")
    assert {outcome.name for outcome in outcomes} <= set(bench.discover())
    assert (bench.HERE / "RESULTS.md").read_text(encoding="utf-8") == results.page(outcomes)
    for outcome in outcomes:
        assert (bench.HERE / "plots" / f"{outcome.name}.svg").is_file()
        assert outcome.targets == bench.loaded(bench.PACKAGE, outcome.name).targets, f"run {outcome.name} again"
