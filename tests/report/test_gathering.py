"""Reports out of a store: what is read, what a verb writes, and what stays where it is."""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from detectors.features import STYLE
from detectors.types import Severity
from streams.cases import case_files
from streams.cases.case_files import Asked
from streams.cli import app
from streams.clickhouse import Store
from streams.custody.access import entries
from streams.redaction import Redactor
from streams.reporting.case_gathering import case_facts
from streams.reporting.facts import CaseFacts, Installation
from streams.reporting.gathering import installation
from streams.settings import Settings
from tests.chdb_directory import fresh_database
from tests.report.attacks import ATTACKS
from tests.report.reading import Page
from tests.report.scene import LEAD_S, NOW_S, ONSET_S, SECRET, fill

pytest.importorskip("chdb", reason="the extra `local` is not installed")


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with fresh_database() as settings:
        yield settings


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    store = Store.connect(settings)
    fill(store)
    yield store
    store.close()


@pytest.fixture(scope="module")
def whole(store: Store) -> Installation:
    return installation(store, LEAD_S + 7_200.0, NOW_S, "1.2.3")


@pytest.fixture(scope="module")
def one(store: Store) -> CaseFacts:
    return case_facts(store, serving(store), NOW_S, "1.2.3", Redactor(ips=False).redact)


def serving(store: Store) -> case_files.Case:
    return next(each for each in case_files.listed(store, Asked()) if each.incident.component == "serving")


def test_an_installation_is_read_with_its_traffic_and_what_is_open(whole: Installation) -> None:
    assert {case.incident.severity for case in whole.cases} == {"critical", "medium"}
    traffic = {each.deployment: each for each in whole.traffic}
    assert set(traffic) == {"chat", "search", "silent-one"}
    assert (traffic["chat"].calls, traffic["search"].calls) == (1_080 + len(ATTACKS), 360)
    assert traffic["search"].calls_before == 0
    assert 0.4 < (traffic["chat"].p95_s or 0.0) < 0.8 and traffic["search"].error_rate == 0.0
    assert traffic["silent-one"].last_s < ONSET_S - 7_000.0
    assert sum(each.calls for each in whole.slots) == sum(each.calls for each in whole.traffic)
    assert (whole.detected[0].detector, whole.detected[0].findings) == ("error_shift", 1)
    assert sum(each.findings for each in whole.tallies) == len(whole.told) == 5
    assert whole.callers[0].principal == "p_newcomer" and whole.callers[0].severity == Severity.MEDIUM
    assert [(each.letters, each.letters_before) for each in whole.dead] == [(1, 0)]
    assert {each.detector: each.confirmed for each in whole.judged}["error_shift"] == 1


def test_a_shorter_span_is_compared_with_the_one_before_it(store: Store) -> None:
    last = installation(store, 7_200.0, NOW_S, "1.2.3")
    traffic = {each.deployment: each for each in last.traffic}
    assert traffic["chat"].calls == traffic["chat"].calls_before + len(ATTACKS) == 360 + len(ATTACKS)
    assert (last.findings_before, sum(each.findings for each in last.tallies)) == (0, 5)
    assert len(last.cases) == 2


def test_around_an_incident_the_affected_numbers_step_at_its_onset(one: CaseFacts) -> None:
    assert one.numbers is not None
    before = [each for each in one.numbers.buckets if each.t < ONSET_S - one.span.step_s]
    after = [each for each in one.numbers.buckets if each.t > ONSET_S + 60.0]
    assert max(each.p50_s or 0.0 for each in before) < 0.45 < min(each.p50_s or 0.0 for each in after)
    index = STYLE.index("line_breaks")
    assert one.numbers.baseline.answers == 720
    assert one.numbers.baseline.mean[index] == pytest.approx(0.5, abs=0.02)
    assert sum(each.style[index] for each in after) / len(after) == pytest.approx(0.9, abs=0.02)
    assert one.numbers.extent is not None and one.numbers.extent.events == 360 + len(ATTACKS)
    assert [each.served_model for each in one.numbers.served] == ["m-2024", "m-2025"]
    assert [each.detector for each in one.told] == [
        "served_model_change",
        "latency_shift",
        "output_drift",
        "error_shift",
    ]
    assert {each.principal for each in one.numbers.callers} >= {"p_newcomer", "p_0"}


def test_texts_are_redacted_once_more_whatever_was_stored(one: CaseFacts) -> None:
    assert one.numbers is not None
    prompts = [call.prompt for call in one.numbers.calls]
    assert prompts[0] == "my key is [secret], write to [email]"
    assert ATTACKS["script"] in prompts
    longest = max(one.numbers.calls, key=lambda call: call.prompt_chars or 0)
    assert (longest.prompt_chars, len(longest.prompt or "")) == (1_000_000, 4_000)


def test_without_being_asked_no_text_is_even_read(store: Store) -> None:
    facts = case_facts(store, serving(store), NOW_S, "1.2.3", None)
    assert facts.numbers is not None
    assert {(call.prompt, call.output) for call in facts.numbers.calls} == {(None, None)}
    assert len(facts.numbers.calls) == 20


def run(settings: Settings, *arguments: str, **environ: str) -> str:
    variables = {
        "INFERWATCH_CLICKHOUSE_URL": settings.clickhouse_url,
        "INFERWATCH_CLICKHOUSE_DATABASE": settings.clickhouse_database,
        **environ,
    }
    result = CliRunner().invoke(app, ["report", *arguments], env=variables, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_verb_writes_one_file_for_its_owner(settings: Settings, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "incident.html"
    file.write_text("an older one")
    said = run(settings, serving(store).incident.incident_id[:12], "-o", str(file))
    assert re.search(r"wrote .*incident\.html \([\d,]+ kB\): Most likely: The model's weights were modified", said)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["incident.html"]
    page = Page(file.read_text())
    assert len(page.pictures()) == 12
    assert "--with-texts adds them" in page.text
    assert not any(text in file.read_text() for text in (SECRET, ATTACKS["script"]))


def test_the_verb_shows_texts_only_after_it_recorded_who_sees_them_and_why(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    incident_id = serving(store).incident.incident_id
    file = tmp_path / "texts.html"
    run(settings, incident_id, "-o", str(file), "--with-texts", "--why", "TICKET-9", "--by", "kim")
    (known,) = entries(store, 0.0, 10)
    assert (known.who, known.verb, known.why) == ("kim", "report", "TICKET-9")
    assert known.parameters["incident"] == incident_id
    assert ATTACKS["image"] in Page(file.read_text()).text


def test_the_verb_without_an_incident_writes_the_state_of_the_installation(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "all.html"
    days = int((time.time() - NOW_S) / 86_400.0) + 2
    run(settings, "--since", f"{days}d", "-o", str(file))
    page = Page(file.read_text())
    assert "2 open incidents, the worst critical" in page.text
    assert ATTACKS["script"] in page.text, "a dead letter's reason"


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (["inc-0", "--since", "2h"], {}, "--since: an incident has a time of its own"),
        (["--with-texts"], {}, "only the report of an incident has a sample"),
        (["inc-0", "--with-texts"], {}, "--why: say why"),
        (["inc-0", "--with-texts"], {"INFERWATCH_CONTENT_MODE": "features"}, "no text is to leave"),
        (["-o", "/nowhere/at/all.html"], {}, "there is no directory /nowhere/at"),
        (["x; DROP"], {}, "is no id of an incident"),
    ],
)
def test_a_report_that_cannot_be_is_refused_before_the_work(
    arguments: list[str], environ: dict[str, str], said: str
) -> None:
    result = CliRunner().invoke(app, ["report", *arguments], env=environ)
    assert said in str(result.exception)
