"""What questions answer, whatever is in their parameters, and what happens to one that runs away."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("chdb", reason="the extra `local` is not installed")

from streams.cli import app
from streams.clickhouse import Store, migrate
from streams.forensics.asking import Answer, CutError, Limits, ask, ask_as
from streams.forensics.questions import Question, parse, questions
from streams.settings import Settings
from tests.chdb_directory import chdb_url
from tests.forensics.asked import CALLS, CASE, CONTAINED_S, EARLY, GUEST, LATE, ONSET_S, THIEF, plant
from tests.speed.planted import KEY

DATABASE = "asked"
RADIUS = {"incident": CASE.incident_id, "contained": str(int(CONTAINED_S))}


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    settings = Settings(clickhouse_url=chdb_url(), clickhouse_database=DATABASE)
    migrate(settings)
    opened = Store.connect(settings)
    plant(opened)
    yield opened
    opened.close()


def answered(store: Store, name: str, values: dict[str, str]) -> list[dict[str, Any]]:
    answer = ask(store, questions()[name], values)
    return [dict(zip([each.name for each in answer.columns], row, strict=True)) for row in answer.rows]


def test_the_blast_radius_is_who_got_answers_between_onset_and_containment(store: Store) -> None:
    rows = answered(store, "blast_radius", RADIUS)
    assert [(row["principal"], row["named"], row["calls"], row["answers"], row["refused"]) for row in rows] == [
        (THIEF, True, 10, 10, 0),
        (GUEST, False, 3, 2, 1),
        (None, False, 1, 1, 0),
    ]
    assert [row["sessions"] for row in rows] == [2, 1, 0]
    assert [row["tools"] for row in rows] == [[], ["delete_all", "mail"], []]
    assert rows[1]["hosts"] == ["evil.example"]


def test_its_sessions_are_listed_with_the_tools_that_were_called_in_them(store: Store) -> None:
    rows = answered(store, "blast_radius_sessions", RADIUS)
    assert [(row["session"], row["principal"], row["calls"], row["tools"]) for row in rows] == [
        ("s_thief0", THIEF, 5, []),
        ("s_thief1", THIEF, 5, []),
        ("s_guest", GUEST, 3, ["delete_all", "mail"]),
        (None, None, 1, []),
    ]


def test_without_containment_everything_since_the_onset_counts(store: Store) -> None:
    assert LATE in [row["principal"] for row in answered(store, "blast_radius", {"incident": CASE.incident_id})]


def test_a_deployment_and_a_time_do_in_place_of_an_incident(store: Store) -> None:
    place = {"deployment": "chat", "onset": str(int(ONSET_S)), "contained": str(int(CONTAINED_S))}
    rows = answered(store, "blast_radius", place)
    assert [(row["principal"], row["named"]) for row in rows] == [(THIEF, False), (GUEST, False), (None, False)]


def test_before_and_after_are_compared(store: Store) -> None:
    values = {"deployment": "chat", "moment": str(int(ONSET_S)), "hours": "2"}
    rows = {row["measure"]: row for row in answered(store, "before_after", values)}
    assert (rows["calls"]["before"], rows["calls"]["after"], rows["calls"]["change"]) == (20, 14, -0.3)
    assert (rows["refused"]["before"], rows["refused"]["after"]) == (0, round(1 / 14, 6))
    assert (rows["failed"]["told_before"], rows["failed"]["told_after"]) == (20, 14)
    assert (rows["latency_p50"]["before"], rows["latency_p50"]["after"]) == (1, 3)
    style = rows["style_entropy"]
    assert (style["before"], style["shift"]) == (1.5, round((style["after"] - 1.5) / 0.5, 4))
    assert rows["ttft_p50"]["before"] is None  # nobody told it
    of_guest = {row["measure"]: row["after"] for row in answered(store, "before_after", {**values, "principal": GUEST})}
    assert of_guest["calls"] == 3


def test_everything_that_a_principal_did_comes_in_order_and_once(store: Store) -> None:
    rows = answered(store, "everything_by", {"principals": f"{GUEST},{LATE}"})
    assert [row["event_id"] for row in rows] == [f"t:0:{number}:0" for number in (200, 201, 202, 301, 300)]
    assert (rows[0]["tools"], rows[0]["hosts"], rows[0]["template"]) == (
        ["mail", "delete_all"],
        ["evil.example"],
        "0" * 15 + "7",
    )
    only = answered(store, "everything_by", {"principals": LATE, "deployment": "search"})
    assert [row["deployment"] for row in only] == ["search"]


def test_a_cohort_is_whom_an_incident_names(store: Store) -> None:
    rows = answered(store, "everything_by", {"incident": CASE.incident_id})
    assert {row["principal"] for row in rows} == {THIEF} and len(rows) == 10


def test_a_limit_keeps_the_earliest_calls_and_no_duplicate_takes_a_place(store: Store) -> None:
    rows = answered(store, "everything_by", {"principals": EARLY, "limit": "3"})
    assert [row["event_id"] for row in rows] == ["t:0:0:0", "t:0:1:0", "t:0:2:0"]


def test_a_timeline_has_all_that_happened_to_a_deployment(store: Store) -> None:
    rows = answered(store, "timeline", {"deployment": "chat"})
    assert {row["kind"] for row in rows} == {"traffic", "first served", "onset", "incident", "finding", "verdict"}
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert {row["deployment"] for row in rows} == {"chat"}
    served = [row["what"] for row in rows if row["kind"] == "first served"]
    assert served == ["model m-1, weights sha256:old", "model m-1, weights sha256:new"]
    assert "true by ann: it is" in [row["what"] for row in rows]
    assert "traffic" not in {row["kind"] for row in answered(store, "timeline", {"deployment": "chat", "hours": "0"})}


def test_a_timeline_of_a_principal_has_what_concerns_them(store: Store) -> None:
    rows = answered(store, "timeline", {"principal": THIEF})
    assert {row["kind"] for row in rows} == {"first call", "traffic", "onset", "incident", "finding", "verdict"}
    assert {row["kind"] for row in answered(store, "timeline", {"principal": GUEST})} == {"first call", "traffic"}


@pytest.mark.parametrize("name", questions())
def test_an_answer_has_the_columns_and_types_that_the_header_says(store: Store, name: str) -> None:
    answer = ask(store, questions()[name], given(questions()[name]))
    said = [(each.name, plain(each.kind)) for each in questions()[name].columns]
    assert [(each.name, plain(each.kind)) for each in answer.columns] == said


ATTACKS = (
    "' OR 1=1 --",
    "x') UNION ALL SELECT prompt FROM inference_events --",
    "\\' OR 1=1; DROP TABLE inference_events; --",
    "{deployment:String}'%\x00\n\t\u202e",
)


@pytest.mark.parametrize("name", questions())
def test_no_parameter_of_any_question_is_read_as_sql(store: Store, name: str) -> None:
    question = questions()[name]
    base = given(question)
    for parameter in question.parameters:
        if "String" not in parameter.kind or parameter.name == "played":  # computed, and JSON
            continue
        as_list = parameter.kind == "Array(String)"
        nobody = outcome(store, question, {**base, parameter.name: "nobody-of-this-name"})
        for attack in ATTACKS:
            value = json.dumps([attack]) if as_list else attack
            assert outcome(store, question, {**base, parameter.name: value}) == nobody, (parameter.name, attack)
    assert store.query("SELECT uniqExact(event_id) AS n FROM inference_events")[0]["n"] == len(CALLS)


@pytest.mark.parametrize("name", questions())
def test_the_same_question_gets_the_same_bytes_twice(store: Store, name: str) -> None:
    question = questions()[name]
    values = given(question) | (
        {"until": "2090-01-01"} if "until" in {each.name for each in question.parameters} else {}
    )
    first, second = (b"".join(ask_as(store, question, values, "Parquet")) for _ in range(2))
    assert first == second
    assert first[:4] == b"PAR1"


RUNAWAY = parse(
    "runaway",
    "-- question: How long?\n-- parameter: since DateTime64(3, 'UTC') = 1h -- s\n"
    "-- column: n UInt64 -- n\n-- text: no\n"
    "-- cost: all of it\nSELECT count() AS n FROM numbers(400000000000) WHERE sipHash64(number) = "
    "toUnixTimestamp({since:DateTime64(3, 'UTC')})",
)
MANY = parse(
    "many",
    "-- question: How many?\n-- column: number UInt64 -- n\n-- text: no\n-- cost: none\n"
    "SELECT number FROM numbers(1000) ORDER BY sipHash64(number)",
)

LARGE = parse(
    "large",
    "-- question: How much?\n-- column: n UInt64 -- n\n-- text: no\n-- cost: memory\n"
    "SELECT length(groupArray(number)) AS n FROM numbers(20000000)",
)


@pytest.mark.parametrize(
    ("question", "limits", "says"),
    [
        (RUNAWAY, Limits(seconds=1, rows=10**15, size_bytes=10**15), "longer than 1 s; ask for a shorter time"),
        (RUNAWAY, Limits(), "more than 1,000,000,000 rows"),
        (RUNAWAY, Limits(rows=10**15, size_bytes=1_000_000), "more than 1,000,000 bytes"),
        (MANY, Limits(answer_rows=10), "its answer has more than 10 rows"),
        (LARGE, Limits(memory_bytes=50_000_000), "more memory than 50,000,000 bytes"),
    ],
    ids=["time", "rows", "bytes", "answer", "memory"],
)
def test_a_question_that_runs_away_is_cut_and_says_why(
    store: Store, question: Question, limits: Limits, says: str
) -> None:
    for asked in (
        lambda: ask(store, question, {}, limits=limits),
        lambda: [*ask_as(store, question, {}, "JSON", limits=limits)],
    ):
        with pytest.raises(CutError) as caught:
            asked()
        assert f"{question.name} was cut: " in str(caught.value) and says in str(caught.value)
        assert ask(store, COUNTED, {}).rows == ((7,),)  # and nothing of the cut answer


COUNTED = parse(
    "counted",
    "-- question: How many?\n-- column: n UInt64 -- n\n-- text: no\n-- cost: none\nSELECT count() AS n FROM numbers(7)",
)


def test_a_question_cannot_change_anything(store: Store) -> None:
    sneaky = Question(
        name="x", question="?", parameters=(), columns=(), texts=False, cost="", sql="DROP TABLE findings"
    )
    with pytest.raises(Exception, match=r"SYNTAX_ERROR|READONLY"):
        ask(store, sneaky, {})
    assert store.query("EXISTS TABLE findings")[0]["result"] == 1


def test_progress_and_the_rows_that_were_read_are_told(store: Store) -> None:
    heard: list[Any] = []
    answer: Answer = ask(store, questions()["everything_by"], {"principals": THIEF}, told=heard.append)
    assert heard[-1].rows_read == answer.rows_read >= 2 * len(CALLS)
    assert answer.bytes_read > 0 and answer.elapsed_s > 0


def run(*arguments: str, **environ: str) -> Any:
    known = {"INFERWATCH_CLICKHOUSE_URL": chdb_url(), "INFERWATCH_CLICKHOUSE_DATABASE": DATABASE, "COLUMNS": "200"}
    return CliRunner(env={**known, **environ}).invoke(app, ["ask", *arguments])


def test_the_verb_prints_a_table_and_what_it_cost(store: Store) -> None:
    result = run("run", "blast_radius", "-p", f"incident={CASE.incident_id[:9]}", "-p", f"contained={int(CONTAINED_S)}")
    assert result.exit_code == 0, result.output
    assert THIEF in result.stdout and "delete_all" in result.stdout
    assert result.stderr.startswith("3 rows; read ") and " MB in " in result.stderr


def test_the_verb_prints_json_for_machines_and_no_control_character(store: Store) -> None:
    result = run("run", "timeline", "-p", "deployment=chat", "--format", "json")
    said = json.loads(result.stdout)
    assert {row["kind"] for row in said["rows"]} >= {"incident", "finding"}
    assert said["columns"][0] == {"name": "time", "type": "DateTime64(6, 'UTC')", "unit": ""}
    assert said["rows_read"] > 0 and said["parameters"]["deployment"] == "chat"
    assert result.stdout.rstrip("\n").isprintable() and result.stdout.isascii()
    table = run("run", "timeline", "-p", "deployment=chat").stdout
    assert "\x1b[31m" not in table and "\\x1b[31m" in table


def test_the_verb_writes_csv_that_no_spreadsheet_runs(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    result = run("run", "everything_by", "-p", f"principals={GUEST}", "-o", str(file))
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [row["user_agent"] for row in rows] == ["'=curl"] * 3
    assert ',10,20,1,"false","true","' in file.read_text()  # a number is none of a spreadsheet's texts
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"wrote {file}" in result.stderr


def test_the_verb_writes_parquet(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "calls.parquet"
    assert run("run", "everything_by", "-p", f"principals={GUEST}", "-o", str(file)).exit_code == 0
    assert file.read_bytes()[:4] == file.read_bytes()[-4:] == b"PAR1"
    read = store.query(f"SELECT event_id FROM file('{file}', Parquet) ORDER BY 1")  # noqa: S608 - a path of this test
    assert [row["event_id"] for row in read] == ["t:0:200:0", "t:0:201:0", "t:0:202:0"]


def test_a_file_stays_as_it_was_where_a_question_fails(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    file.write_text("before")
    assert run("run", "timeline", "-p", "since=later", "-o", str(file)).exit_code != 0
    assert file.read_text() == "before" and os.listdir(tmp_path) == ["kept.json"]  # noqa: PTH208 - names are compared


def test_explain_prints_the_sql_and_its_values_and_asks_nothing() -> None:
    result = run(
        "run", "timeline", "-p", "deployment=a'; --\n", "--explain", INFERWATCH_CLICKHOUSE_URL="http://127.0.0.1:1"
    )
    assert result.exit_code == 0
    assert questions()["timeline"].sql in result.stdout
    assert '-- --param_deployment="a\'; --\\n"' in result.stdout


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("answers_containing", "words=ok"),
        ("first_sender_of_token", "token=secret"),
        ("first_sender_of_trigger", "trigger=secret prompt"),
        ("would_have_seen", f"incident={CASE.incident_id}"),
    ],
)
def test_a_question_that_reads_texts_needs_a_reason_and_is_recorded(store: Store, name: str, given: str) -> None:
    assert "--why" in str(run("run", name, "-p", given).exception)
    why = f"CASE-7 {name}"
    said = run("run", name, "-p", given, "--why", why, "--by", "ann", "--format", "json", INFERWATCH_KEY=KEY)
    assert said.exit_code == 0, (said.output, said.exception)
    assert json.loads(said.stdout)["rows"]
    log = store.query(
        "SELECT who, verb, what, parameters, outcome FROM access_log WHERE why = {why:String} ORDER BY time",
        {"why": why},
    )
    assert [row["outcome"] for row in log] == ["begun", "done"]
    assert {(row["who"], row["verb"], row["what"]) for row in log} == {("ann", "ask", name)}
    assert "secret" not in str(log) and "played" not in str(log)


def test_what_is_played_is_recorded_before_it_is_read(store: Store) -> None:
    refused = run("run", "would_have_seen", "-p", f"incident={CASE.incident_id}", "--why", "CASE-8", "-p", "events=0")
    assert "--param events" in str(refused.exception)
    log = store.query("SELECT outcome FROM access_log WHERE why = 'CASE-8' ORDER BY time")
    assert [row["outcome"] for row in log] == ["begun", "failed"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "nothing"), "one of "),
        (("run", "timeline", "-p", "since"), "name=value"),
        (("run", "timeline", "-p", "since=1h", "-p", "since=2h"), "given 2 times"),
        (("run", "timeline", "--format", "xml"), "one of table, json, csv, parquet"),
        (("run", "timeline", "-o", "/nowhere/at/all.csv"), "there is no directory"),
        (("run", "timeline", "-o", "/dev/null"), "a directory or a device"),
        (("run", "blast_radius"), "needs one of --param incident=..., --param deployment=..."),
        (("run", "blast_radius", "-p", "deployment=chat"), "needs --param onset=..."),
        (("run", "blast_radius", "-p", "incident=inc-ffffffffffff"), "no incident"),
        (("run", "everything_by"), "needs one of"),
        (("run", "before_after", "-p", "deployment=a"), "needs --param moment=..."),
        (("run", "timeline", "--param-file", "principal=/nowhere"), "cannot read"),
    ],
    ids=lambda each: " ".join(each)[:60] if isinstance(each, tuple) else "",
)
def test_what_cannot_be_asked_is_said_in_one_line(store: Store, arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code != 0 and result.exception is not None
    assert says in str(result.exception) and "\n" not in str(result.exception)


def test_a_value_may_come_from_a_file_and_stay_out_of_the_history_of_the_shell(store: Store, tmp_path: Path) -> None:
    (tmp_path / "who").write_text(f"{GUEST}\n")
    result = run("run", "everything_by", "--param-file", f"principals={tmp_path / 'who'}", "--format", "json")
    assert [row["principal"] for row in json.loads(result.stdout)["rows"]] == [GUEST] * 3


def given(question: Question) -> dict[str, str]:
    """Values for what a question must be given."""
    known = {"incident": CASE.incident_id, "deployment": "chat", "moment": str(int(ONSET_S)), "pseudonym": THIEF}
    texts = {"String": "words", "Array(String)": "words"}
    needed = [each for each in question.parameters if each.default is None]
    return {each.name: known.get(each.name, texts.get(each.kind, "1")) for each in needed}


def outcome(store: Store, question: Question, values: dict[str, str]) -> int:
    """How many rows come back."""
    return len(ask(store, question, values).rows)


def plain(kind: str) -> str:
    """A type without what does not matter to who reads a table."""
    for wrapper in ("LowCardinality(", "Nullable(", "SimpleAggregateFunction(min, ", "SimpleAggregateFunction(max, "):
        while wrapper in kind:
            start = kind.index(wrapper)
            depth, end = 1, start + len(wrapper)
            while depth:
                depth += {"(": 1, ")": -1}.get(kind[end], 0)
                end += 1
            kind = kind[:start] + kind[start + len(wrapper) : end - 1] + kind[end:]
    return kind
