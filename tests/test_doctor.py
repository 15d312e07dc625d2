"""The doctor says what is wrong and what to do, and never falls ill itself."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest

from detectors.bank import discover
from detectors.types import Components, InferenceEvent, Message, Observation
from streams import doctor
from streams.clickhouse import Store, migrate
from streams.doctor import Check, examine
from streams.pipeline import Stored
from streams.settings import Settings
from tests.chdb_directory import chdb_url

NOBODY = "127.0.0.1:1"
FULL, BARE, OLD = "sees-all", "sees-little", "of-yesteryear"


def seen(deployment: str, number: int, now_s: float) -> Stored:
    """An event of a deployment; the bare one has a latency and nothing else, the full one everything."""
    event_id = f"t:0:{number}:{deployment}"
    event = InferenceEvent(deployment=deployment, time_s=now_s, event_id=event_id, latency_s=1.0)
    observation = Observation(event_id=event_id, time_s=now_s, deployment=deployment)
    if deployment == FULL:
        event = msgspec.structs.replace(
            event,
            ttft_s=0.1,
            principal="p_1",
            input_tokens=1,
            output_tokens=1,
            model="m",
            served_model="m-1",
            components=Components(weights="sha256:00"),
            input_messages=(Message(role="user", content="hi"),),
            output_messages=(Message(role="assistant", content="hello"),),
        )
        observation = msgspec.structs.replace(
            observation,
            failed=False,
            refused=False,
            finish_reason="stop",
            style=(0.0,) * 16,
            prompt_hash=1,
            prompt_simhash=1,
            prompt_template=1,
        )
    return Stored(
        event=event,
        observation=observation,
        topic="inference-logs",
        partition=0,
        offset=number,
        index=0,
        record_time_s=now_s,
    )


@pytest.fixture(scope="module")
def checks() -> Iterator[dict[str, Check]]:
    """What the doctor says, by name, of a store with three deployments and no Kafka."""
    pytest.importorskip("chdb", reason="the extra `local` is not installed")
    settings = Settings(clickhouse_url=chdb_url(), clickhouse_database="test_doctor", kafka_brokers=NOBODY)
    migrate(settings)
    now_s = time.time()
    store = Store.connect(settings)
    rows = [seen(deployment, number, now_s) for deployment in (FULL, BARE) for number in range(4)]
    store.insert_events([*rows, seen(OLD, 9, now_s - 3 * 86_400.0)])
    yield {check.name: check for check in examine(settings, time.time)}
    store._client.command("DROP DATABASE test_doctor")
    store.close()


def test_without_any_server_each_check_fails_with_advice() -> None:
    settings = Settings(kafka_brokers=NOBODY, clickhouse_url=f"http://{NOBODY}", clickhouse_password="hunter2")
    found = list(examine(settings, time.time))
    assert [(check.name, check.status) for check in found] == [("Kafka", "fail"), ("ClickHouse", "fail")]
    assert "INFERWATCH_KAFKA_BROKERS" in found[0].advice
    assert "inferwatch migrate" in found[1].advice
    assert "hunter2" not in str(found)


def test_an_empty_engine_is_told_to_be_migrated() -> None:
    pytest.importorskip("chdb", reason="the extra `local` is not installed")
    settings = Settings(clickhouse_url=chdb_url(), clickhouse_database="never_made", kafka_brokers=NOBODY)
    found = list(examine(settings, time.time))
    assert found[-1].status == "fail"
    assert "inferwatch migrate" in found[-1].saw + found[-1].advice


def test_a_broker_that_is_down_does_not_hide_what_the_store_says(checks: dict[str, Check]) -> None:
    assert checks["Kafka"].status == "fail"
    assert checks["ClickHouse"].status == checks["clocks"].status == checks["schema"].status == "ok"


def test_stored_events_and_dead_letters_are_counted(checks: dict[str, Check]) -> None:
    assert checks["traffic"].status == "ok"
    assert checks["traffic"].saw.startswith("9 events stored")
    assert checks["dead letters"].status == "ok"


def test_a_deployment_whose_source_delivers_everything_is_seen_by_all_detectors(checks: dict[str, Check]) -> None:
    check = checks[f"sight of {FULL}"]
    assert (check.status, check.saw) == ("ok", f"all {len(discover())} detectors see 4 events")


def test_a_deployment_with_missing_fields_names_the_blind_detectors_and_the_fields(checks: dict[str, Check]) -> None:
    check = checks[f"sight of {BARE}"]
    assert check.status == "warn"
    assert "output_drift (no style)" in check.saw
    assert "extraction (no principal" in check.saw
    assert check.advice


def test_a_deployment_that_is_silent_since_days_is_not_called_blind(checks: dict[str, Check]) -> None:
    assert f"sight of {OLD}" not in checks


def test_a_deployment_says_which_detectors_warm_up_and_what_they_lack(checks: dict[str, Check]) -> None:
    check = checks[f"warm-up of {FULL}"]
    lacks = discover()["latency_shift"].metadata.warm_up - 4
    assert check.status == "warn"
    assert f"latency_shift lacks {lacks}" in check.saw
    assert "token_volume" not in check.saw, "that one learns each principal for itself"
    bare = checks[f"warm-up of {BARE}"]
    assert "output_drift" not in bare.saw, "blind, and so not on its way"
    assert f"warm-up of {OLD}" not in checks


def test_a_deployment_that_has_sent_enough_is_not_warming_up() -> None:
    row = {"deployment": "d", "arrived": 10_000, **{f"share_{field}": 1.0 for field in doctor.FIELDS}}
    thin = {**row, "share_style": 0.01}

    class Answering:
        def query(self, sql: str, parameters: object) -> list[dict[str, object]]:
            return [thin if parameters == {"since_s": 0} else row]

    (check,) = doctor._warm_up(Answering(), time.time())  # type: ignore[arg-type]  # it only asks
    assert (check.status, check.saw) == ("ok", "no detector that can see is warming up")
    thin["share_style"], thin["arrived"] = 0.6, 400
    (check,) = doctor._warm_up(Answering(), time.time())  # type: ignore[arg-type]  # as above
    assert f"output_drift lacks {discover()['output_drift'].metadata.warm_up - 240}" in check.saw


def test_every_field_that_a_detector_needs_is_looked_at() -> None:
    for name, kind in discover().items():
        for field in (*kind.metadata.requires, *kind.metadata.any_of):
            assert field in doctor.FIELDS, f"{name} needs {field} and the doctor does not look for it"
