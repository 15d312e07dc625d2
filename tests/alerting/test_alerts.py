"""What an alert says, to people and to machines, and what a name in it cannot do."""

from __future__ import annotations

import msgspec
import pytest

from detectors.types import Evidence, Severity
from streams.alerting.alerts import Alert, brief, digest, inert, of_incident
from streams.alerting.templates import NAMES, read_template
from streams.cases.incidents import CLOSED, REOPENED, WORSE, Action, Affected, Cause, Incident, LastGood, Plan, Radius
from tests.incidents import NOW_S, incident

HOSTILE = "<!channel> @everyone [pay](http://evil.example) `*x*`\n\x1b[2J\u202e; rm -rf ~ '$(id)' {severity}"
GRAFANA = "https://grafana.example"


def hostile() -> Incident:
    names = dict.fromkeys(("subject", "deployment", "scope", "component", "summary"), HOSTILE)
    cited = msgspec.structs.replace(
        incident().cited[0], detector=HOSTILE, evidence=(Evidence(name=HOSTILE, observed=HOSTILE, unit=HOSTILE),) * 20
    )
    action = Action(kind=HOSTILE, target=HOSTILE, deployment=HOSTILE, component=HOSTILE, version=HOSTILE)
    return incident(
        **names,
        detectors={HOSTILE * each: 1 for each in range(1, 200)},
        cited=(cited,) * 32,
        causes=(Cause(name="x", title=HOSTILE, points=1, share=1, supports=(HOSTILE,) * 6),) * 20,
        plan=Plan(
            affected=(Affected(component=HOSTILE, now=HOSTILE, before=HOSTILE, since_s=-1e300),) * 90,
            last_good=(LastGood(component=HOSTILE, version=HOSTILE, until_s=1e300),) * 90,
            radius=Radius(deployment=HOSTILE, since_s=float(NOW_S), until_s=NOW_S, query=HOSTILE),
            roll_back=(HOSTILE,),
            notify=(HOSTILE,),
            checks=(HOSTILE,) * 3,
            actions=(action,) * 90,
        ),
    )


def read_by_people(alert: Alert) -> str:
    return "\n".join([alert.title, *alert.lines])


def test_an_alert_says_what_since_when_why_and_what_to_do() -> None:
    alert = of_incident(incident(), GRAFANA)
    assert alert.title == "high: The model's weights were modified on chat"
    assert alert.id == incident().news_id
    for said in (
        "Since 2026-09-21 14:03:20Z",
        "Cause 1: The model's weights were modified, 62% of the evidence: weights sha256:b, before sha256:a",
        "First evidence, output_drift: style 1.5",
        "weights is now sha256:b, before sha256:a",
        "Blast radius: all callers of the deployment",
        "Roll back: Serve the last known good weights.",
        "Last known good: weights sha256:a",
        "Check 3: Look at outputs.",
        "Action proposed: pin_component chat weights at sha256:a",
        "Notify: team-a",
        f"Page: inferwatch incidents show {incident().incident_id}",
    ):
        assert said in alert.text
    case, deployment, overview = alert.links
    assert case.startswith(f"{GRAFANA}/d/inferwatch-incident?var-incident={alert.id.partition(':')[0]}&from=")
    assert deployment.startswith(f"{GRAFANA}/d/inferwatch-deployment?var-deployment=chat&from=")
    assert overview.startswith(f"{GRAFANA}/d/inferwatch-overview?from=")
    assert of_incident(incident(), None).links == ()


def test_news_are_told_apart_and_what_has_closed_asks_for_nothing() -> None:
    titles = {news: of_incident(incident(news=news), None).title for news in (WORSE, REOPENED, CLOSED)}
    assert titles[WORSE].startswith("worse, high: ")
    assert titles[REOPENED].startswith("again, high: ")
    assert titles[CLOSED].startswith("closed, was high: ")
    closed = of_incident(incident(news=CLOSED), None)
    assert closed.resolved
    assert "Roll back" not in closed.text
    assert len({of_incident(incident(news=news), None).id for news in (WORSE, CLOSED)}) == 2


def test_a_machine_gets_exact_names_and_actions_in_bounds() -> None:
    about = of_incident(hostile(), None).about
    assert about is not None
    assert about.deployment == HOSTILE
    assert about.actions[0].target == HOSTILE
    assert (len(about.actions), len(about.detectors), len(about.affected)) == (64, 64, 64)
    assert msgspec.json.decode(msgspec.json.encode(of_incident(incident(), None)), type=Alert).about is not None


def test_what_a_sender_wrote_mentions_nobody_and_links_nowhere() -> None:
    alert = of_incident(hostile(), GRAFANA)
    for active in ("<", "@e", "](", "://", "`", "*", "\x1b", "\u202e"):
        assert active not in read_by_people(alert)
    assert all("\n" not in line for line in (alert.title, *alert.lines, *alert.links))
    assert len(alert.text) < 40_000
    assert len(alert.title) <= 250
    assert " " not in alert.links[0]
    assert inert("plain-name_1.2") == "plain-name_1.2"


def test_templates_put_inert_values_into_an_operators_words() -> None:
    title, body = read_template("{{{severity}}} {deployment}"), read_template("{news}\nfor {owner}: {command}\n{link}")
    alert = of_incident(incident(), GRAFANA, (title, body))
    assert alert.title == "{high} chat"
    assert alert.lines[:2] == ("opened", f"for team-a: inferwatch incidents show {incident().incident_id}")
    everything = read_template(" ".join(f"{{{name}}}" for name in NAMES))
    nasty = of_incident(hostile(), None, (everything, everything))
    for active in ("<", "@e", "](", "://", "`", "\x1b"):
        assert active not in read_by_people(nasty)
    assert "{severity}" in nasty.lines[0]  # a name that looks like a placeholder is not filled
    assert of_incident(incident(), None, (None, body)).title == of_incident(incident(), None).title


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "}",
        "{0}",
        "{}",
        "{evil}",
        "{severity.__class__}",
        "{severity[0]}",
        "{severity!r}",
        "{severity:>99999999}",
        "{severity:{severity}}",
        "x" * 4_001,
        "{severity}" * 51,
    ],
)
def test_a_template_that_could_reach_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="template"):
        read_template(text)


def test_a_digest_counts_and_names_what_was_held_back() -> None:
    severities = [Severity.MEDIUM, Severity.HIGH, Severity.MEDIUM]
    held = [brief(incident(number, severity)) for number, severity in enumerate(severities)]
    held += [brief(incident(0, Severity.HIGH, WORSE))]
    alert = digest(held, 2, NOW_S, GRAFANA)
    assert alert.title == "high: digest of 3 incidents"
    assert alert.severity is Severity.HIGH
    assert alert.lines[0].startswith("6 pieces of news were held back since 2026-09-21")
    assert alert.lines[1] == "By severity: high 2, medium 1"
    assert "By deployment: chat 3" in alert.lines
    assert all(any(line.startswith(each.incident_id) for line in alert.lines) for each in held)
    assert alert.links == (f"{GRAFANA}/d/inferwatch-overview",)


def test_a_digest_that_has_grown_is_another_one_and_stays_in_bounds() -> None:
    held = [brief(incident(number, deployment=f"{HOSTILE} {number}")) for number in range(500)]
    alert = digest(held, 0, NOW_S, None)
    assert "and 470 more incidents" in alert.lines
    assert len(alert.text) < 20_000
    assert not any(active in read_by_people(alert) for active in ("<", "@e", "://", "`", "\x1b"))
    assert digest(held, 0, NOW_S, None).id == alert.id
    assert len({alert.id, digest(held[1:], 0, NOW_S, None).id, digest(held, 1, NOW_S, None).id}) == 3
