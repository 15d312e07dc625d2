"""Targets as operators write them: what is refused, whom they concern, when they are told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from detectors.types import Severity
from streams.alerting.hours import read_hours
from streams.alerting.targets import HOURLY, Target, read_targets
from streams.logs import secrets_of
from streams.settings import Settings, SettingsError
from tests.alerting.test_webhook import SECRET

TOKEN = "a bearer token for a collector"
SLACK = {"name": "a", "apprise": "slack://x"}


def listed(**target: object) -> str:
    """A list of one target as an operator writes it."""
    return json.dumps([target])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "a JSON list of targets"),
        (listed(**SLACK, severity="urgent"), "wrong at `$[0].severity`"),
        (listed(**SLACK, webhook="https://h/"), "a: either `webhook` or `apprise`"),
        (listed(**SLACK, ocsf="topic:x"), "a: either `webhook` or `apprise`"),
        (listed(name="a"), "a: either `webhook` or `apprise`"),
        (listed(name="a", webhook="https://h/"), "`secret` of at least 32"),
        (listed(name="a", webhook="https://u:hunter2@h/", secret=SECRET), "without user and fragment"),
        (listed(name="a", webhook="ftp://h/", secret=SECRET), "https://host/path"),
        (listed(name="a", webhook="https://h/a b", secret=SECRET), "https://host/path"),
        (listed(name="a", apprise="jsons://hunter2"), "for plain HTTP there is `webhook`"),
        (listed(**SLACK, secret=SECRET), "no effect without `webhook`"),
        (json.dumps([SLACK, SLACK]), "a `name` of its own"),
        (json.dumps([{**SLACK, "name": f"n{number}"} for number in range(51)]), "at most 50"),
        (listed(**SLACK, hours="Mon-Fri"), "`hours` are like"),
        (listed(**SLACK, hours="Mon-Fri 08:00-18:00 Europe/Atlantis"), "no such time zone"),
        (listed(**SLACK, hours="Mon-Fri 08:00-18:00 ../../etc/passwd"), "no such time zone"),
        (listed(**SLACK, hours="Mon 09:00-09:00"), "a window has a length"),
        (listed(**SLACK, hours="Mon 09:00-25:00"), "00:00 to 24:00"),
        (listed(**SLACK, hourly=0), "`hourly` is a number from 1"),
        (listed(**SLACK, title="{evil}"), "a template has names in braces"),
        (listed(**SLACK, deployments=[""]), "lists of at most 100 names"),
        (listed(**SLACK, owners=["x"] * 101), "lists of at most 100 names"),
        (listed(**SLACK, token=TOKEN), "a `token` has no effect"),
        (listed(name="a", ocsf="topic:a b"), "topic:NAME"),
        (listed(name="a", ocsf="file:relative"), "file:/path"),
        (listed(name="a", ocsf="file:/dir/"), "file:/path"),
        (listed(name="a", ocsf="syslog:x"), "https://host/path"),
        (listed(name="a", ocsf="https://u:hunter2@h/"), "without user and fragment"),
        (listed(name="a", ocsf="https://h/", token="hunter2"), "at least 16"),
        (listed(name="a", ocsf="topic:x", hourly=3), "no effect with `ocsf`"),
        (listed(name="a", ocsf="topic:x", closed=True), "no effect with `ocsf`"),
    ],
)
def test_targets_that_cannot_be_used_are_refused_without_being_shown(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"INFERWATCH_ALERT_TARGETS": text})
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_targets_show_neither_address_nor_secret_and_are_hidden_in_logs() -> None:
    text = json.dumps(
        [
            {"name": "soc", "webhook": "https://hooks.example/tok", "secret": SECRET},
            {"name": "chat", "apprise": "slack://T1A/B2C/t0ken"},
            {"name": "siem", "ocsf": "https://siem.example/t0ken", "token": TOKEN},
        ]
    )
    settings = Settings(alert_targets=text)
    shown = repr(read_targets(text)) + repr(settings)
    for secret in (SECRET, TOKEN, "hooks.example", "siem.example", "t0ken"):
        assert secret not in shown
    hidden = {SECRET, TOKEN, "https://hooks.example/tok", "slack://T1A/B2C/t0ken", "https://siem.example/t0ken"}
    assert hidden <= set(secrets_of(settings))


def test_what_a_target_does_not_say_depends_on_what_it_is() -> None:
    person, siem = Target(name="a", apprise="slack://x"), Target(name="b", ocsf="file:/var/log/ocsf.json")
    assert (person.least, person.most_hourly, person.open_hours) == (Severity.HIGH, HOURLY, None)
    assert siem.least is Severity.INFO
    kinds = [Target(name="c", ocsf=each).kind for each in ("topic:x", "file:/x", "https://x/")]
    assert kinds == ["ocsf topic", "ocsf file", "ocsf http"]


@pytest.mark.parametrize(
    ("fields", "concerned"),
    [
        ({}, True),
        ({"severity": Severity.CRITICAL}, False),
        ({"deployments": ("mail", "chat-*")}, True),
        ({"deployments": ("mail",)}, False),
        ({"deployments": ("CHAT-*",)}, False),
        ({"owners": ("team-b", "team-a")}, True),
        ({"owners": ("team-b",)}, False),
        ({"deployments": ("chat-*",), "owners": ("team-b",)}, False),
    ],
)
def test_a_target_is_concerned_by_severity_deployment_and_owner(fields: dict[str, object], *, concerned: bool) -> None:
    target = Target(name="a", apprise="slack://x", **fields)  # type: ignore[arg-type]
    assert target.takes(Severity.HIGH, "chat-eu", "team-a") is concerned


def test_without_an_owner_a_target_for_owners_is_not_concerned() -> None:
    assert not Target(name="a", apprise="slack://x", owners=("team-a",)).takes(Severity.HIGH, "chat", None)


@pytest.mark.parametrize(
    ("text", "at", "is_open"),
    [
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-07-06T06:00", True),  # Monday 08:00 in summer
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-07-06T05:59", False),
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-01-05T06:59", False),  # winter: an hour later
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-01-05T07:00", True),
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-07-06T16:00", False),  # the end is outside
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-07-05T10:00", False),  # Sunday
        ("mon-fri 08:00-18:00", "2026-07-06T08:00", True),  # UTC
        ("Mon-Fri 08:00-18:00, Sat 10:00-14:00", "2026-07-04T13:59", True),
        ("Fri 22:00-06:00", "2026-07-04T05:59", True),  # past midnight
        ("Fri 22:00-06:00", "2026-07-03T05:59", False),
        ("Sun 22:00-06:00", "2026-07-06T05:00", True),  # past the end of a week
        ("Sat-Mon 00:00-24:00", "2026-07-06T23:59", True),  # over the end of a week
        ("Sat-Mon 00:00-24:00", "2026-07-07T00:00", False),
    ],
)
def test_hours_are_those_of_the_clock_on_the_wall(text: str, at: str, *, is_open: bool) -> None:
    assert read_hours(text).is_open(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) is is_open


def test_the_targets_of_the_readme_are_accepted() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    block = readme[readme.index('[{"name": "soc"') :].partition("```")[0]
    targets = read_targets(block.replace("at least 32 characters", SECRET))
    assert [target.kind for target in targets] == ["webhook", "apprise", "apprise", "ocsf topic"]
