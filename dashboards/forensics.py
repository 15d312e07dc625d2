"""Request forensics: one call by its id, and the calls whose prompts hold certain words."""

from __future__ import annotations

from dashboards.board import dashboard, typed
from dashboards.cells import NEUTRAL, deployment_cell, event_cell, principal_cell, severity_cell, unit, wide
from dashboards.panels import Json, row, stat, table, timeseries
from dashboards.sql import forensics as sql
from dashboards.sql import named

NO_WORDS = "type words at the top"
NOT_FOUND = "no prompt of this time range holds all of these words, or prompts are not stored"
NO_EVENT = "no event of this id is stored"


def forensics() -> Json:
    """The screen of an investigator."""
    return dashboard(
        "inferwatch-forensics",
        "inferwatch / Request forensics",
        "Single calls: all that is stored of one, and those whose prompts hold certain words. Times are UTC.",
        [*_found(), *_event(), *_around(), *_named()],
        variables=[
            typed("words", "Words in prompts", "Whole words, in any order and case; all have to be there."),
            typed("event", "Event id", "As findings and lists of calls name it."),
            typed(
                "sighted", "Host, digest or tool", "Whole, as calls name it; a digest with or without its algorithm."
            ),
            typed("pseudonym", "Data subject", "The pseudonym of a principal, network, user agent or session."),
        ],
    )


def _found() -> list[Json]:
    return [
        stat(
            "Calls with these words",
            sql.FOUND,
            description="In the time range: calls, and how many deployments and callers they are of.",
            unit="short",
            no_value=NO_WORDS,
            steps=NEUTRAL,
            width=12,
        ),
        stat(
            "From, to",
            sql.FIRST_FOUND,
            description="When these words were asked first and last, within the time range.",
            unit="dateTimeAsIso",
            no_value=NO_WORDS,
            steps=NEUTRAL,
            width=12,
        ),
        timeseries(
            "When these words were asked",
            sql.OVER_TIME,
            description="Calls a bucket by deployment, the ten commonest.",
            unit="short",
            no_value=NOT_FOUND,
            width=12,
            stacked=True,
            label="name",
        ),
        table(
            "Who asked them",
            sql.WHO,
            description="The 50 callers that asked most often.",
            no_value=NOT_FOUND,
            width=12,
            height=8,
            overrides=[principal_cell(), deployment_cell()],
        ),
        table(
            "Calls that hold these words",
            sql.CALLS,
            description="The 100 newest of the time range; texts are cut and shown as text. An event leads to all that "
            "is stored of it.",
            no_value=NOT_FOUND,
            width=24,
            height=10,
            overrides=[event_cell(), principal_cell(), deployment_cell(), wide("asked"), wide("answered")],
        ),
    ]


def _event() -> list[Json]:
    return [
        row("One event"),
        table(
            "Texts",
            sql.TEXTS,
            description="The first 20,000 characters of each, as text: characters that are not seen but work are dots.",
            no_value=f"{NO_EVENT}, or texts are not",
            width=12,
            height=12,
            overrides=[wide("part", 90)],
        ),
        table(
            "All that is stored",
            sql.EVENT,
            description="Every field that has a value but the texts, as JSON text; what is empty is left out.",
            no_value=NO_EVENT,
            width=12,
            height=12,
            overrides=[wide("field", 180)],
        ),
        table(
            "Findings that it tipped",
            sql.CITED_BY,
            description="Findings whose last observation was this event.",
            no_value="none",
            width=24,
            height=6,
            overrides=[severity_cell(), principal_cell(), deployment_cell(), wide("what")],
        ),
    ]


def _around() -> list[Json]:
    return [
        row("Around it"),
        table(
            "The same prompt",
            sql.SAME_PROMPT,
            description="Calls of all deployments in the time range with the same prompt but for case and white space, "
            "this one among them: are they answered alike?",
            no_value="no call of this time range",
            width=12,
            height=10,
            overrides=[
                event_cell(),
                unit("latency_s", "s"),
                principal_cell(),
                deployment_cell(),
                wide("answered", 360),
            ],
        ),
        table(
            "The same session",
            sql.SAME_SESSION,
            description="Calls of the same caller and session in the time range, in order.",
            no_value="the source tells no session, or there is no other call",
            width=12,
            height=10,
            overrides=[event_cell(), principal_cell(), deployment_cell(), wide("asked", 300), wide("answered", 300)],
        ),
    ]


def _named() -> list[Json]:
    """Questions of `inferwatch ask` that no text is needed for."""
    return [
        row("Named questions"),
        table(
            "First and last sight",
            named.SIGHTINGS,
            description="Of the host, digest or tool typed at the top: where it was seen, whatever the time range. "
            "`inferwatch ask run sightings` asks the same.",
            no_value="never seen",
            width=24,
            height=7,
            overrides=[deployment_cell(), wide("name", 420)],
        ),
        table(
            "Who first sent its template",
            named.SENDERS,
            description="Callers who sent a prompt of the event's template in the time range, the first on top. "
            "`inferwatch ask run first_sender_of_template` asks the same.",
            no_value="no call of this time range",
            width=12,
            height=8,
            overrides=[event_cell(), principal_cell(), deployment_cell()],
        ),
        table(
            "What is stored about a data subject",
            named.SUBJECT,
            description="How many rows hold the pseudonym typed at the top, and since when, whatever the time range. "
            "`inferwatch ask run subject` asks the same.",
            no_value="nothing",
            width=12,
            height=8,
            overrides=[deployment_cell()],
        ),
    ]
