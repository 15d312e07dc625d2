"""A detector over the past: what is compared, what may be set, and stored events that become observations again."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from detectors.alarms import Budget
from detectors.bank import Bank, discover
from detectors.base import DEPLOYMENT
from detectors.types import Finding, Observation
from streams.backtesting.backtest import Trial, budget_of, compare, tally, traced
from streams.backtesting.recollecting import PAGE, Wanted, count, recollect
from streams.backtesting.variants import source_of, variant
from streams.cli import app
from streams.clickhouse import Store
from streams.composing import PATIENCE, make_pipeline
from streams.custody.access import entries
from streams.dlq import Record
from streams.keys import derive
from streams.pipeline import Stored
from streams.plays.traffic import encode, synthetic
from streams.settings import Settings, SettingsError
from tests.chdb_directory import fresh_database
from tests.store_values import FINDING

KEY = "0123456789abcdef" * 4
NOW_S = 1_763_200_000.0
DETECTOR = "latency_shift"


@functools.lru_cache(maxsize=2)
def past(content_mode: str = "full") -> list[Stored]:
    """Calls with a latency step in them, as a worker stores them."""
    settings = Settings(key=KEY, content_mode=content_mode)
    pipeline = make_pipeline(settings, derive(KEY), "topic-1")
    values = encode(synthetic(3, NOW_S, events=4_500).events, per_record=7)  # pages end inside of records
    return pipeline.process(
        Record(topic="inference-logs", partition=0, offset=at, time_s=NOW_S + at, value=value)
        for at, value in enumerate(values)
    ).stored


def said(rows: list[Stored]) -> list[Finding]:
    """What a worker's bank says about them."""
    bank = Bank(DEPLOYMENT, Budget(), {DETECTOR: discover()[DETECTOR]}, patience=PATIENCE, sharers=len(discover()))
    return [finding for at, row in enumerate(rows) for finding in bank.apply(0, at, [row.observation])]


def finding(subject: str, time_s: float) -> Finding:
    return msgspec.structs.replace(FINDING, subject=subject, time_s=time_s, finding_id=f"{subject} {time_s}")


# The difference


def test_findings_are_paired_with_the_nearest_about_the_same_subject() -> None:
    before = [finding("a", 1_000.0), finding("a", 50_000.0), finding("b", 1_000.0), finding("c", 0.0)]
    now = [finding("a", 900.0), finding("a", 50_100.0), finding("b", 1_000.0), finding("d", 1_000.0)]
    changes = {(each.finding.subject, each.finding.time_s): (each.kind, each.after_s) for each in compare(before, now)}
    assert changes == {
        ("a", 900.0): ("earlier", -100.0),
        ("a", 50_100.0): ("later", 100.0),
        ("b", 1_000.0): ("same", 0.0),
        ("c", 0.0): ("gone", None),
        ("d", 1_000.0): ("new", None),
    }
    assert tally(compare(before, now)) == {"new": 1, "gone": 1, "earlier": 1, "later": 1, "same": 1}


def test_findings_more_than_a_day_apart_are_about_two_things() -> None:
    assert tally(compare([finding("a", 0.0)], [finding("a", 86_401.0)])) == {
        "new": 1, "gone": 1, "earlier": 0, "later": 0, "same": 0,
    }  # fmt: skip


def test_a_pair_is_used_once() -> None:
    changes = compare([finding("a", 100.0)], [finding("a", 90.0), finding("a", 101.0)])
    assert [each.kind for each in changes] == ["new", "later"]


# Settings


def test_a_variant_follows_what_is_set_in_its_metadata_too() -> None:
    made = variant("token_volume", source_of("token_volume"), {"warm_days": "3"})
    assert made.metadata.warm_up == 3
    assert discover()["token_volume"].metadata.warm_up == 7
    assert made(share=1.0).lacks == 3


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("mood", "1", "warm_days=7"),
        ("mood", "1", "alarm_budget"),
        ("warm_days", "many", "a whole number"),
        ("calm_spread", "nan", "finite"),
    ],
)
def test_what_cannot_be_set_is_said_with_what_can(key: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        variant("token_volume", source_of("token_volume"), {key: value})


@pytest.mark.parametrize("code", ["def (", "x = 1", "import nothing_of_that_name"])
def test_a_version_that_is_no_detector_is_refused(code: str, tmp_path: Path) -> None:
    path = tmp_path / "version.py"
    path.write_text(code)
    with pytest.raises(SettingsError, match=DETECTOR if "import" in code else "--code"):
        variant(DETECTOR, source_of(DETECTOR, path), {})


def test_the_budget_can_be_set_and_the_share_stays_that_of_one_among_all() -> None:
    budget, numbers = budget_of(Settings(), {"alarm_budget": "20", "expected_deployments": "5", "warm_up": "9"})
    assert (budget, numbers) == (Budget(per_day=20.0, deployments=5), {"warm_up": "9"})
    trial = Trial(DETECTOR, discover()[DETECTOR], budget)
    assert trial.outcome.share == 20.0 / 5 / len(discover())
    with pytest.raises(SettingsError, match="ALARM_BUDGET"):
        budget_of(Settings(), {"alarm_budget": "none"})


# Observations


def test_a_trial_says_what_the_bank_of_a_worker_says_traced_or_not() -> None:
    rows = past()
    expected = said(rows)
    assert expected
    for kind in (discover()[DETECTOR], traced(discover()[DETECTOR], {})):
        trial = Trial(DETECTOR, kind, Budget())
        for row in rows:
            trial.feed([row.observation])
        outcome = trial.finish()
        assert outcome.findings == expected
        assert (outcome.observations, outcome.usable > 4_000) == (len(rows), True)
        assert outcome.per_second > 1_000


def test_a_trace_holds_scores_that_pass_the_threshold_only_where_something_is_said() -> None:
    curves: dict[str, object] = {}
    trial = Trial(DETECTOR, traced(discover()[DETECTOR], curves), Budget())  # type: ignore[arg-type]  # curves
    trial.feed([row.observation for row in past()])
    curve = curves["search-summaries"]
    assert len(curve.times_s) > 300  # type: ignore[attr-defined]  # a Curve
    over = [
        score >= limit
        for score, limit in zip(curve.scores, curve.thresholds, strict=True)  # type: ignore[attr-defined]  # a Curve
    ]
    assert 0 < sum(over) < 0.2 * len(over)


def test_a_detector_that_can_use_nothing_says_which_fields_it_needs() -> None:
    trial = Trial(DETECTOR, discover()[DETECTOR], Budget())
    trial.feed([Observation(event_id=str(at), time_s=NOW_S, deployment="chat") for at in range(10)])
    with pytest.raises(SettingsError, match=r"latency_s.*--from"):
        trial.finish()
    with pytest.raises(SettingsError, match="no event"):
        Trial(DETECTOR, discover()[DETECTOR], Budget()).finish()


# Stored events


@pytest.fixture
def database() -> Iterator[Settings]:
    with fresh_database(KEY) as settings:
        yield settings


ALL = Wanted(since_ms=0, until_ms=int(4e12))


def recalled(settings: Settings, rows: list[Stored], wanted: Wanted = ALL) -> list[Observation]:
    store = Store.connect(settings)
    try:
        store.insert_events(rows)
        store.insert_events(rows[:100])  # a replay after a crash
        found = [each for page in recollect(store, wanted, derive(KEY).hashes) for each in page]
        assert count(store, wanted) == len(found)
        return found
    finally:
        store.close()


def timeless(observed: Observation) -> Observation:
    """Without the time, which is stored in microseconds, and with style as a Float32 holds it."""
    style = observed.style and tuple(float(np.float32(value)) for value in observed.style)
    return msgspec.structs.replace(observed, style=style, time_s=0.0)


def test_observations_come_back_as_they_were_and_in_order(database: Settings) -> None:
    rows = past()
    assert len(rows) > 2 * PAGE
    found = recalled(database, rows)
    assert list(map(timeless, found)) == [timeless(row.observation) for row in rows]
    assert [each.time_s for each in found] == pytest.approx([row.observation.time_s for row in rows], abs=1e-5, rel=0)


def test_only_what_is_wanted_comes_back(database: Settings) -> None:
    rows = past()[:500]
    someone = rows[7].observation.principal
    assert someone is not None
    wanted = msgspec.structs.replace(ALL, principal=someone, since_ms=int(1e3 * rows[7].record_time_s))
    expected = [row.observation.event_id for row in rows[7:] if row.observation.principal == someone]
    assert [each.event_id for each in recalled(database, rows, wanted)] == expected


def test_without_texts_the_numbers_come_back_and_what_needs_texts_is_unknown(database: Settings) -> None:
    rows = past("features")
    found = recalled(database, rows)
    assert all(each.prompt_chars is None for each in found)
    assert [each.prompt_hash for each in found] == [row.observation.prompt_hash for row in rows]
    assert [each.latency_s for each in found] == [row.observation.latency_s for row in rows]
    assert any(each.style for each in found)


# The verb


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    for name, value in {"KEY": KEY, "DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"INFERWATCH_{name}", value)
    return CliRunner()


def test_stored_events_are_compared_with_what_fired_then(
    database: Settings, typed: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = past()
    fired = said(rows)
    store = Store.connect(database)
    store.insert_events(rows)
    store.insert_findings(fired)
    store.close()
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_URL", database.clickhouse_url)
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_DATABASE", database.clickhouse_database)
    asked = ["backtest", "--detector", DETECTOR, "--since", "36500d", "--json", "--why", "INC-7", "--by", "kim"]
    done = typed.invoke(app, asked, catch_exceptions=False)
    assert json.loads(done.stdout)["difference"] == tally(compare(fired, fired))
    strict = typed.invoke(app, [*asked, "--set", "alarm_budget=0.001"], catch_exceptions=False)
    answer = json.loads(strict.stdout)
    counts = answer["difference"]
    assert counts["later"] + counts["gone"] > 0 and counts["new"] + counts["earlier"] == 0
    assert answer["observations"] == len(rows) and answer["events_per_s"] > 1_000
    elsewhere = typed.invoke(app, [*asked, "--deployment", "support-chat"], catch_exceptions=False)
    assert not any(json.loads(elsewhere.stdout)["difference"].values())
    store = Store.connect(database)
    known = [(each.who, each.verb, each.why) for each in entries(store, 0.0, 10)]
    store.close()
    assert known == [("kim", "backtest", "INC-7")] * 3


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "logs.ndjson"
    path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in synthetic(3, NOW_S, events=4_500).events))
    return path


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_file_is_compared_with_the_shipped_detector_and_drawn(
    typed: CliRunner, logs: Path, tmp_path: Path, suffix: str
) -> None:
    picture = tmp_path / f"out.{suffix}"
    asked = ["backtest", "--detector", DETECTOR, "--from", str(logs), "--plot", str(picture)]
    done = typed.invoke(app, [*asked, "--set", "alarm_budget=0.001"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "later by" in done.stdout
    assert "events/s" in done.stdout
    begins = picture.read_bytes()[:300]
    assert begins.startswith(b"\x89PNG") if suffix == "png" else b"<svg" in begins or b"<?xml" in begins


def test_another_version_is_a_file(typed: CliRunner, logs: Path, tmp_path: Path) -> None:
    version = tmp_path / "deaf.py"
    version.write_text(source_of(DETECTOR) + "\n\nLatencyShift.learn = lambda self, observations: iter(())\n")
    done = typed.invoke(
        app, ["backtest", "--detector", DETECTOR, "--from", str(logs), "--code", str(version), "--json"]
    )
    difference = json.loads(done.stdout)["difference"]
    assert difference["gone"] > 0 and sum(difference.values()) == difference["gone"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["--detector", DETECTOR, "--why", " "], "--why: say why"),
        (["--detector", "nothing"], "is no detector"),
        (["--detector", DETECTOR, "--set", "warm_up"], "KEY=VALUE"),
        (["--detector", DETECTOR, "--plot", "x.pdf"], ".svg or .png"),
        (["--detector", DETECTOR, "--plot", "/nowhere/x.png"], "no directory"),
        (["--detector", DETECTOR, "--since", "yesterday"], "--since"),
        (["--detector", DETECTOR, "--until", "yesterday"], "--until"),
    ],
)
def test_what_is_typed_wrongly_is_said_before_any_work(wrong: list[str], says: str, typed: CliRunner) -> None:
    done = typed.invoke(app, ["backtest", "--why", "a test", *wrong])
    assert isinstance(done.exception, SettingsError)
    assert says in str(done.exception)
