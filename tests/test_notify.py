"""Who is told of what, and what happens when a receiver is away; the log is a list, the receivers are real."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from typer.testing import CliRunner

from detectors.types import Evidence, Finding, Severity
from streams import notify
from streams.alerts import Alert, inert, of_finding
from streams.cli import app
from streams.logs import secrets_of
from streams.notify import Courier, couriers, receiver
from streams.settings import Settings, SettingsError
from streams.targets import Target, read_targets
from streams.webhook import NotTakenError
from tests.test_webhook import SECRET, listening

FINDING = Finding(
    finding_id="f0",
    detector="output_drift",
    version=1,
    scope="deployment",
    subject="support-chat",
    deployment="support-chat",
    time_s=1_790_000_000.0,
    onset_s=1_789_999_000.0,
    severity=Severity.HIGH,
    summary="Outputs changed style",
    score=2.0,
    threshold=1.0,
    budget_share=0.1,
    event_id="e",
    evidence=(Evidence(name="style", observed=1.5, expected=0.1, unit="sd"),),
)
PLACE = TopicPartition("findings", 0)
HOSTILE = "<!channel> @everyone [pay](http://evil.example) `*x*`\n\x1b[2J\u202e; rm -rf ~ '$(id)'"


class Log:
    """A consumer of one partition, as far as a courier knows it."""

    def __init__(self, values: list[bytes]) -> None:
        self.values = values
        self.position = 0
        self.committed_to: list[int] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def subscribe(self, topics: list[str], listener: object) -> None: ...

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        taken = list(enumerate(self.values))[self.position : self.position + max_records]
        self.position += len(taken)
        record = lambda offset, value: type("Record", (), {"offset": offset, "value": value})  # noqa: E731 - a row
        return {PLACE: [record(*each) for each in taken]} if taken else {}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.position = offset

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.committed_to.append(offsets[PLACE])


class Refusing:
    """A receiver that is away for the first so many attempts, and then takes everything."""

    def __init__(self, attempts: int, error: Exception | None = None) -> None:
        self.told: list[str] = []
        self._attempts = attempts
        self._error = error or NotTakenError("away")

    def tell(self, alert: Alert) -> str:
        if self._attempts:
            self._attempts -= 1
            raise self._error
        self.told.append(alert.id)
        return "taken"


def value(number: int, severity: Severity = Severity.HIGH) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(FINDING, finding_id=f"f{number}", severity=severity))


def carry(
    values: list[bytes], to: Any, until: Callable[[Log], bool], monkeypatch: pytest.MonkeyPatch
) -> tuple[Log, list[tuple[str, str]]]:
    """Run a courier over a log until something is reached."""
    monkeypatch.setattr(notify, "_SHORTEST_PAUSE_S", 0.001)
    monkeypatch.setattr(notify, "_LONGEST_PAUSE_S", 0.002)
    log, told = Log(values), []
    target = Target(name="soc", severity=Severity.MEDIUM, apprise="slack://x")
    courier = Courier(Settings(), target, to, lambda name, outcome: told.append((name, outcome)))
    monkeypatch.setattr(courier, "_consumer", lambda: log)

    async def run() -> None:
        task = asyncio.create_task(courier.run())
        async with asyncio.timeout(10):
            while not until(log):
                await asyncio.sleep(0.001)
                assert not task.done()
        task.cancel()

    asyncio.run(run())
    return log, told


def test_an_offset_is_committed_only_behind_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    to = Refusing(3)
    log, told = carry([value(0), value(1)], to, lambda log: 2 in log.committed_to, monkeypatch)
    assert to.told == ["f0", "f1"]
    assert log.committed_to == [1, 2]
    assert told == [("soc", "failed")] * 3 + [("soc", "taken")] * 2


def test_findings_below_the_severity_and_what_is_no_finding_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    to = Refusing(0)
    values = [value(0, Severity.LOW), b"\xff", value(1, Severity.MEDIUM), b"{}", value(2, Severity.INFO)]
    log, _ = carry(values, to, lambda log: 5 in log.committed_to, monkeypatch)
    assert to.told == ["f1"]
    assert log.committed_to == [3, 5]


def test_whatever_a_library_raises_is_tried_again_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    to = Refusing(1, RuntimeError(f"https://hooks.example/{SECRET}"))
    carry([value(0)], to, lambda log: 1 in log.committed_to, monkeypatch)
    assert to.told == ["f0"]
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


def test_pauses_grow_up_to_a_minute() -> None:
    courier = Courier(Settings(), Target(name="a", apprise="slack://x"), Refusing(0), lambda *_: None)
    pauses = []
    for failures in (1, 2, 3, 7, 10_000):
        courier._failures = failures
        pauses.append(courier._pause_s())
    assert pauses == [1.0, 2.0, 4.0, 60.0, 60.0]


def test_an_alert_says_what_since_when_and_where_to_look() -> None:
    alert = of_finding(FINDING, "https://grafana.example")
    assert alert.title == "high: output_drift on support-chat"
    assert "Since 2026-09-21 " in alert.text
    assert "style: 1.5, expected 0.1 sd" in alert.lines
    assert "inferwatch detectors show output_drift" in alert.text
    (link,) = alert.links
    assert link.startswith("https://grafana.example/d/inferwatch-deployment?var-deployment=support-chat&from=")
    assert of_finding(FINDING, None).links == ()


def test_what_a_sender_wrote_mentions_nobody_and_links_nowhere() -> None:
    finding = msgspec.structs.replace(
        FINDING,
        **dict.fromkeys(("subject", "deployment", "summary", "detector"), HOSTILE),
        evidence=(Evidence(name=HOSTILE, observed=HOSTILE, unit=HOSTILE),) * 20,
    )
    alert = of_finding(finding, "https://grafana.example")
    text = "\n".join([alert.title, *alert.lines])
    for active in ("<", "@e", "](", "://", "`", "*", "\x1b", "\u202e"):
        assert active not in text
    assert all("\n" not in line for line in (alert.title, *alert.lines, *alert.links))
    assert len(alert.text) < 20_000
    assert " " not in alert.links[0]
    assert inert("plain-name_1.2") == "plain-name_1.2"


def listed(**target: str) -> str:
    """A list of one target as an operator writes it."""
    return json.dumps([target])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "a JSON list of targets"),
        ('[{"name": "a", "severity": "urgent", "apprise": "slack://x"}]', "wrong at `$[0].severity`"),
        ('[{"name": "a", "webhook": "https://h/", "apprise": "slack://x"}]', "a: either `webhook` or `apprise`"),
        ('[{"name": "a", "webhook": "https://h/"}]', "`secret` of at least 32"),
        (listed(name="a", webhook="https://u:hunter2@h/", secret=SECRET), "without user and fragment"),
        (listed(name="a", webhook="ftp://h/", secret=SECRET), "https://host/path"),
        (listed(name="a", webhook="https://h/a b", secret=SECRET), "https://host/path"),
        ('[{"name": "a", "apprise": "jsons://hunter2"}]', "for plain HTTP there is `webhook`"),
        ('[{"name": "a", "apprise": "slack://x"}, {"name": "a", "apprise": "slack://x"}]', "a `name` of its own"),
        (json.dumps([{"name": f"n{number}", "apprise": "slack://x"} for number in range(51)]), "at most 50"),
    ],
)
def test_targets_that_cannot_be_used_are_refused_without_being_shown(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"INFERWATCH_ALERT_TARGETS": text})
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_targets_show_neither_address_nor_secret_and_are_hidden_in_logs() -> None:
    webhook = {"name": "soc", "webhook": "https://hooks.example/tok", "secret": SECRET}
    text = json.dumps([webhook, {"name": "chat", "apprise": "slack://T1A/B2C/t0ken"}])
    settings = Settings(alert_targets=text)
    shown = repr(read_targets(text)) + repr(settings)
    assert SECRET not in shown
    assert "hooks.example" not in shown
    assert "t0ken" not in shown
    assert {SECRET, "https://hooks.example/tok", "slack://T1A/B2C/t0ken"} <= set(secrets_of(settings))


def test_an_address_that_apprise_does_not_know_is_refused_when_the_worker_starts() -> None:
    with pytest.raises(SettingsError, match="a: not one address that apprise knows") as caught:
        couriers(Settings(alert_targets='[{"name": "a", "apprise": "nosuch://hunter2"}]'), lambda *_: None)
    assert "hunter2" not in str(caught.value)


def test_apprise_is_given_plain_text_and_what_it_cannot_deliver_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    to = receiver(Settings(), Target(name="a", apprise="gotify://127.0.0.1:1/hunter2"))
    with pytest.raises(NotTakenError, match="apprise could not deliver it"):
        to.tell(of_finding(FINDING, None))
    assert "hunter2" not in caplog.text


def test_the_verb_tells_each_target_and_says_what_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as there:
        both = [
            {"name": "soc", "severity": "low", "webhook": there.url, "secret": SECRET},
            {"name": "gone", "webhook": "http://127.0.0.1:1/t0ken", "secret": SECRET},
        ]
        monkeypatch.setenv("INFERWATCH_ALERT_TARGETS", json.dumps(both))
        refused = CliRunner().invoke(app, ["alerts", "test"])
        assert refused.exit_code == 1
        assert "soc (webhook, from low): NOT TAKEN" in refused.output
        assert not there.requests
        monkeypatch.setenv("INFERWATCH_ALERT_PRIVATE_ADDRESSES", "yes")
        result = CliRunner().invoke(app, ["alerts", "test", "--json"])
    assert result.exit_code == 1
    soc, gone = (msgspec.json.decode(line) for line in result.output.splitlines())
    assert (soc["target"], soc["taken"], soc["answer"]) == ("soc", True, "status 204")
    assert (gone["taken"], gone["answer"]) == (False, "no answer: ConnectionRefusedError")
    assert SECRET not in result.output
    assert "t0ken" not in result.output
    assert b"inferwatch test alert" in there.requests[0][2]


def test_the_verb_says_that_nobody_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFERWATCH_ALERT_TARGETS", raising=False)
    result = CliRunner().invoke(app, ["alerts", "test"])
    assert isinstance(result.exception, SettingsError)
    assert "INFERWATCH_ALERT_TARGETS: not set" in str(result.exception)
