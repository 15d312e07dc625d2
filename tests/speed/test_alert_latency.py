"""The parts of the bench that need no servers: what it sends, what it times, what it says."""

from __future__ import annotations

import msgspec

from streams.alerting.alerts import of_incident
from tests.incidents import incident
from tests.speed.alert_latency import SIGN, Given, Measured, Receiver, report
from tests.speed.traffic import BAD, GOOD, Traffic


def weights(record: bytes) -> set[tuple[str, str]]:
    events = msgspec.json.decode(record)
    return {(event["deployment"], event["components"]["weights"]) for event in events}


def test_a_deployment_that_has_tipped_stays_changed_and_no_other_changes() -> None:
    traffic = Traffic(2, seed=1)
    assert {version for _, version in weights(traffic.record(500, 1.0))} == {GOOD}
    assert weights(traffic.tipping_record("tipping-1", 1.0)) == {("tipping-1", BAD)}
    assert {name for name, version in weights(traffic.record(500, 1.0)) if version == BAD} == {"tipping-1"}


def test_only_the_first_alert_about_the_change_is_timed() -> None:
    receiver = Receiver()
    changed = incident(detectors={SIGN: 1})
    for now_s, each in ((1.0, incident()), (2.0, changed), (3.0, changed)):
        receiver.take(msgspec.json.encode(of_incident(each, None)), now_s)
    assert receiver.told_s == {"chat": 2.0}
    assert receiver.alerts == 3


def test_a_missing_alert_is_said_whatever_the_others_took() -> None:
    given = Given(rate=100, seconds=10.0, warm_up_s=1.0, incidents=5, workers=1, per_record=1)
    measured = Measured(
        latencies_s=[1.0, 2.0, 3.0, 4.0],
        missing=1,
        sent_rate=100.0,
        done_rate=99.0,
        most_lag={"findings": 3},
        load=1.0,
        cpu_s=0.5,
        events=1_000,
    )
    text = report(given, measured)
    assert "| from event to alert, median | 2.50 s |" in text
    assert "| within 5 s | NO |" in text
    assert "| within 5 s | yes |" in report(given, msgspec.structs.replace(measured, missing=0))
