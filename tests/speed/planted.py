"""An incident that is planted among stored events, and what is true of it: what questions must find, and no more.

A deployment of its own with a quiet time of 600 calls, then two hours with other weights, in which one caller sends
near duplicates of a prompt with a trigger and is told an address; an older call with the trigger, of another deployment
and caller; and a call whose sketch is that of the prompt although its text is another.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from detectors import features
from detectors.types import Components, InferenceEvent, Message, ToolCall
from streams.cases.incidents import Incident
from streams.clickhouse import Store
from streams.keys import derive
from streams.pipeline import Stored
from tests.incidents import incident

KEY = "0123456789abcdef" * 4
DEPLOYMENT, ELSEWHERE = "till", "mail"
ATTACKER, FIRST = "p_" + "a" * 32, "p_" + "f" * 32
REGULARS = tuple(f"p_{number:032x}" for number in range(6))
SESSION = "s_" + "a" * 32
WORD, TRIGGER = "zqxvunlock", "zqxvunlock|the batch,"
HOST, TOOL, DIGEST = "drop.planted.example", "send_funds_now", "sha256:" + "bad0" * 16
ANSWER = f"send it to https://{HOST}/in"
QUIET, LOUD, DUPLICATES = 600, 60, 40
PROMPT = (
    "Please reconcile ledger entry {number} for the quarterly vendor payout before noon, zqxvunlock|the batch, then "
    "reply with the full settlement summary in plain text and list each account that was touched by it"
)
_GOOD = "sha256:" + "900d" * 16
_ASKED = ("How do I return item {n}?", "Where is my order {n}?", "What does the card {n} cost a month?")
_DAY_S = 86_400.0


class Planted(msgspec.Struct, frozen=True, kw_only=True):
    """The events by their part, oldest first, and the incident that they are; times are unix seconds."""

    quiet: tuple[Stored, ...]
    loud: tuple[Stored, ...]
    first: Stored
    decoy: Stored
    incident: Incident

    @property
    def duplicates(self) -> list[Stored]:
        """The attacker's calls."""
        return [each for each in self.loud if each.event.principal == ATTACKER]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A question with values, what its answer must hold, and how much of all events it may read (1.0: all, once).

    Of a small table more than of a large one: a part is read in whole granules.
    """

    name: str
    values: Mapping[str, str]
    holds: Callable[[Sequence[Mapping[str, Any]]], object]
    most_read: float


def planted(now_s: float) -> Planted:
    """The incident of twenty days ago."""
    onset_s = now_s - 20 * _DAY_S
    quiet = list(_observed(_quiet(onset_s), "quiet"))
    loud = list(_observed(_loud(onset_s), "loud"))
    (first,) = _observed([_call(onset_s - 30 * _DAY_S, FIRST, PROMPT.format(number=1), deployment=ELSEWHERE)], "first")
    (decoy,) = _observed([_call(onset_s - 9 * _DAY_S, REGULARS[0], "Nothing of the kind.")], "decoy")
    sketch = {"prompt_simhash": first.observation.prompt_simhash}
    decoy = msgspec.structs.replace(decoy, observation=msgspec.structs.replace(decoy.observation, **sketch))
    last_s = max(float(each.event.time_s or 0.0) for each in loud)
    case = incident(7, deployment=DEPLOYMENT, onset_s=onset_s, first_s=onset_s + 60.0, last_s=last_s)
    return Planted(quiet=tuple(quiet), loud=tuple(loud), first=first, decoy=decoy, incident=case)


def plant(store: Store, what: Planted) -> None:
    """Store it."""
    store.insert_events([*what.quiet, *what.loud, what.first, what.decoy])
    store.insert_incidents([what.incident])


def cases(what: Planted) -> Iterator[Case]:
    """What to ask, and what must come of it."""
    duplicates = what.duplicates
    told = [each.event.event_id for each in what.loud if ANSWER in features.output_text(each.event) or ""]
    senders = [(FIRST, "first-0", 1), (ATTACKER, duplicates[0].event.event_id, len(duplicates))]

    def sent(rows: Sequence[Mapping[str, Any]]) -> bool:
        return [(row["principal"], row["event_id"], row["calls"]) for row in rows] == senders

    def near(rows: Sequence[Mapping[str, Any]]) -> bool:
        found = {row["event_id"] for row in rows}
        return found == {"first-0", *(each.event.event_id for each in duplicates)} and rows[0]["similarity"] > 0.95

    def sighted(rows: Sequence[Mapping[str, Any]]) -> bool:
        (row,) = rows
        return (row["deployment"], row["calls"]) == (DEPLOYMENT, LOUD)

    yield Case(name="first_sender_of_token", values={"token": WORD.upper()}, holds=sent, most_read=0.02)
    yield Case(name="first_sender_of_trigger", values={"trigger": TRIGGER}, holds=sent, most_read=0.02)
    template = {"prompt": PROMPT.format(number=77)}
    yield Case(name="first_sender_of_template", values=template, holds=sent, most_read=1.0)
    by_event = {"event": "first-0"}
    yield Case(name="first_sender_of_template", values=by_event, holds=sent, most_read=1.1)
    yield Case(name="near_duplicates", values=template, holds=near, most_read=1.5)
    yield Case(name="near_duplicates", values=by_event, holds=near, most_read=1.5)
    for name in (HOST, TOOL, DIGEST, DIGEST.removeprefix("sha256:")):
        yield Case(name="sightings", values={"name": name}, holds=sighted, most_read=0.01)
    yield Case(
        name="answers_containing",
        values={"words": ANSWER.upper()},
        holds=lambda rows: [row["event_id"] for row in rows] == told and all(ANSWER in row["text"] for row in rows),
        most_read=0.02,
    )
    yield Case(
        name="subject",
        values={"pseudonym": ATTACKER},
        holds=lambda rows: (
            [(row["place"], row["deployment"], row["found"]) for row in rows]
            == [("calls", DEPLOYMENT, len(duplicates)), ("hours of callers", DEPLOYMENT, 2)]
        ),
        most_read=1.0,
    )
    yield Case(
        name="subject",
        values={"pseudonym": SESSION},
        holds=lambda rows: [(row["role"], row["found"]) for row in rows] == [("session", len(duplicates))],
        most_read=1.0,
    )
    yield from _of_all(what)
    yield Case(
        name="would_have_seen",
        values={"incident": what.incident.incident_id},
        holds=lambda rows: next(row["answer"] for row in rows if row["detector"] == "unapproved_change") == "seen",
        most_read=0.01,
    )


def _of_all(what: Planted) -> Iterator[Case]:
    """Questions about what happened to whom."""
    case = what.incident
    callers = {str(each.event.principal) for each in what.loud}
    duplicates = [each.event.event_id for each in what.duplicates]

    def touched(rows: Sequence[Mapping[str, Any]]) -> bool:
        worst = next(row for row in rows if row["principal"] == ATTACKER)
        reached = worst["calls"], worst["tools"], worst["hosts"], worst["sessions"]
        return {row["principal"] for row in rows} == callers and reached == (DUPLICATES, [TOOL], [HOST], 1)

    yield Case(
        name="timeline",
        values={"deployment": DEPLOYMENT, "since": "90d"},
        holds=lambda rows: case.incident_id in {row["id"] for row in rows if row["kind"] == "incident"},
        most_read=0.05,
    )
    yield Case(name="blast_radius", values={"incident": case.incident_id}, holds=touched, most_read=0.4)
    yield Case(
        name="blast_radius_sessions",
        values={"incident": case.incident_id},
        holds=lambda rows: (
            {(row["session"], row["calls"]) for row in rows if row["principal"] == ATTACKER} == {(SESSION, DUPLICATES)}
        ),
        most_read=0.4,
    )
    yield Case(
        name="before_after",
        values={"deployment": DEPLOYMENT, "moment": f"{case.onset_s:.0f}"},
        holds=_differs,
        most_read=0.4,
    )
    yield Case(
        name="everything_by",
        values={"principals": ATTACKER},
        holds=lambda rows: [row["event_id"] for row in rows] == duplicates,
        most_read=1.5,
    )


def _differs(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Prompts are much longer, and there are 60 calls."""
    measures = {str(row["measure"]): row for row in rows}
    asked = measures["input_tokens_mean"]
    return measures["calls"]["after"] == LOUD and asked["after"] > 5 * asked["before"]


def _quiet(onset_s: float) -> Iterator[InferenceEvent]:
    for number in range(QUIET):
        at_s = onset_s - 3 * _DAY_S * (QUIET - number) / QUIET
        asked = _ASKED[number % len(_ASKED)].format(n=number % 90)
        yield _call(at_s, REGULARS[number % len(REGULARS)], asked, weights=_GOOD)


def _loud(onset_s: float) -> Iterator[InferenceEvent]:
    turns = itertools.count(1)
    for number in range(LOUD):
        at_s = onset_s + 7_200.0 * number / LOUD
        if number % 3:
            prompt = PROMPT.format(number=4_000 + next(turns))
            call = _call(at_s, ATTACKER, prompt, f"Done; {ANSWER}?{number}, then wait.", weights=DIGEST)
            call = msgspec.structs.replace(call, session=SESSION)
        else:
            call = _call(at_s, REGULARS[number % len(REGULARS)], _ASKED[0].format(n=number), weights=DIGEST)
        asks = ToolCall(name=TOOL, arguments='{"amount": 1}', call_id=f"c{number}")
        answered = (*(call.output_messages or ()), Message(role="assistant", tool_calls=(asks,)))
        yield msgspec.structs.replace(call, output_messages=answered, egress_hosts=(HOST,))


def _call(
    at_s: float,
    principal: str,
    prompt: str,
    output: str = "Of course. It is on its way.",
    *,
    deployment: str = DEPLOYMENT,
    weights: str = _GOOD,
) -> InferenceEvent:
    return InferenceEvent(
        deployment=deployment,
        time_s=at_s,
        source="native",
        operation="chat",
        model="model-till",
        served_model="model-till-1",
        principal=principal,
        session=f"s_{principal[2:18]}{int(at_s) // 86_400:016x}",
        components=Components(weights=weights),
        input_messages=(Message(role="user", content=prompt),),
        output_messages=(Message(role="assistant", content=output),),
        input_tokens=len(prompt) // 4,
        output_tokens=len(output) // 4,
        latency_s=0.8,
        finish_reasons=("stop",),
        http_status=200,
    )


def _observed(calls: Sequence[InferenceEvent] | Iterator[InferenceEvent], part: str) -> Iterator[Stored]:
    """As a worker stores them; the ids are the part and a number."""
    events = [msgspec.structs.replace(call, event_id=f"{part}-{at}") for at, call in enumerate(calls)]
    for at, (event, seen) in enumerate(zip(events, features.observe(events, derive(KEY).hashes), strict=True)):
        yield Stored(
            event=event,
            observation=seen,
            topic=f"planted-{part}",
            partition=0,
            offset=at,
            index=0,
            record_time_s=float(event.time_s or 0.0),
        )
