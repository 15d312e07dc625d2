"""Who calls the synthetic deployments, when, and with which prompts.

People come in sessions with pauses, applications fill one template in bursts or steadily, a batch job runs
once, an evaluation repeats its prompts, and late in the span one account begins to walk through a family of
exercises. Shares of all calls: `SHARES`.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random

import msgspec

from streams.plays._traffic_texts import exercise, question
from streams.plays._traffic_words import CODE, SEARCH, SUPPORT, Topic


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One synthetic endpoint.

    `chars` is the median length of an answer, `context_tokens` the median of what is put before a prompt;
    `ttft_s` and `per_token_s` hold for an idle endpoint.
    """

    name: str
    model: str
    topics: tuple[Topic, ...]
    chars: int
    code_share: float
    context_tokens: int
    ttft_s: float
    per_token_s: float


CHAT = Deployment(
    name="support-chat",
    model="meridian-chat-2",
    topics=SUPPORT,
    chars=520,
    code_share=0.0,
    context_tokens=420,
    ttft_s=0.38,
    per_token_s=0.018,
)
ASSISTANT = Deployment(
    name="code-assistant",
    model="meridian-code-1",
    topics=CODE,
    chars=640,
    code_share=0.45,
    context_tokens=1_300,
    ttft_s=0.44,
    per_token_s=0.014,
)
SUMMARIES = Deployment(
    name="search-summaries",
    model="meridian-mini-3",
    topics=SEARCH,
    chars=380,
    code_share=0.0,
    context_tokens=2_100,
    ttft_s=0.34,
    per_token_s=0.011,
)
DEPLOYMENTS = (CHAT, ASSISTANT, SUMMARIES)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """One principal and the parameters it always sends; `None` leaves one to the server."""

    principal: str
    deployment: Deployment
    network: str
    user_agent: str
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stream: bool = False
    region: str | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call that will be made; `turn` counts those before it in the session."""

    time_s: float
    caller: Caller
    topic: Topic
    prompt: str
    session: str | None = None
    turn: int = 0
    top_logprobs: int | None = None


class Span(msgspec.Struct, frozen=True):
    """The time that is filled, unix seconds, and when the sweep begins."""

    start_s: float
    end_s: float
    sweep_s: float

    def at(self, share: float) -> float:
        """The time when `share` of the span has passed."""
        return self.start_s + share * (self.end_s - self.start_s)


class Plan(msgspec.Struct, frozen=True):
    """All calls in order of time, and the principal that sweeps ("" where none does)."""

    calls: list[Call]
    sweeper: str


_PEOPLE = {CHAT: 320, ASSISTANT: 160, SUMMARIES: 40}
SHARES: Mapping[str, Mapping[Deployment, float]] = {
    "people": {CHAT: 0.33, ASSISTANT: 0.16, SUMMARIES: 0.05},
    "steady": {CHAT: 0.06, ASSISTANT: 0.05, SUMMARIES: 0.08},
    "bursty": {CHAT: 0.04, ASSISTANT: 0.05, SUMMARIES: 0.03},
    "batch": {SUMMARIES: 0.05},
    "evaluation": {ASSISTANT: 0.02},
    "sweep": {ASSISTANT: 0.08},
}
_BROWSERS = ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (Macintosh)", "shop-app/5.12 (Android 14)")
_TEMPLATES = {
    CHAT: "You sort messages for a shop. Read the message and answer it in a friendly way. Message {n}: {text}",
    ASSISTANT: "Review this change request and say what to look at before it is merged. Request {n}: {text}",
    SUMMARIES: "Summarize the passages for a reader who searched for the following. Search {n}: {text}",
}
_EVALUATION_PROMPTS, _EVALUATION_ROUNDS = 40, 6
_BINS = 30


def plan(
    rng: Random,
    span: Span,
    events: int,
    shares_of: Mapping[str, Mapping[Deployment, float]] = SHARES,
    busy: Sequence[float] = (),
) -> Plan:
    """`events` calls of all kinds of callers.

    `busy` are the weights of equal parts of the span, drawn where there are none.
    """
    wanted: list[tuple[str, Deployment, float]] = []
    for kind, shares in shares_of.items():
        for deployment, share in shares.items():
            if kind == "people":
                activity = [rng.lognormvariate(0.0, 0.5) for _ in range(_PEOPLE[deployment])]
                wanted += [(kind, deployment, share * one / sum(activity)) for one in activity]
            else:
                wanted.append((kind, deployment, share))
    busy = busy or [rng.lognormvariate(0.0, 0.3) for _ in range(_BINS)]
    borders = [round(each * events) for each in accumulate(share for _, _, share in wanted)]
    borders[-1] = events
    calls: list[Call] = []
    sweeper = ""
    for (kind, deployment, _), before, after in zip(wanted, [0, *borders], borders, strict=False):
        caller = _caller(rng, kind, deployment)
        if kind == "sweep":
            sweeper = caller.principal
        calls += _KINDS[kind](rng, span, caller, after - before, busy)
    calls.sort(key=lambda call: call.time_s)
    return Plan(calls, sweeper)


def _caller(rng: Random, kind: str, deployment: Deployment) -> Caller:
    """A new principal; its addresses are of the ranges kept for documentation (RFC 5737)."""
    principal = f"acct-{rng.getrandbits(32):08x}"
    if kind == "people":
        network = f"{rng.choice(('192.0.2', '198.51.100'))}.{rng.randint(1, 254)}"
        agent = rng.choice(_BROWSERS)
        return Caller(principal=principal, deployment=deployment, network=network, user_agent=agent, stream=True)
    return Caller(
        principal=principal,
        deployment=deployment,
        network=f"203.0.113.{rng.randint(1, 254)}",
        user_agent=rng.choice(("python-httpx/0.28", "okhttp/4.12", "Go-http-client/2.0")),
        temperature=0.7 if kind == "bursty" else 0.0,
        top_p=0.95 if kind == "bursty" else None,
        max_tokens=400 if kind in {"steady", "batch"} else 1_024,
        stream=kind == "bursty",
    )


def _moment(rng: Random, span: Span, busy: Sequence[float]) -> float:
    """A time within the span, likelier in its busy parts."""
    cumulated = list(accumulate(busy))
    place = min(bisect(cumulated, rng.random() * cumulated[-1]), len(busy) - 1)
    return span.at((place + rng.random()) / len(busy))


def _people(rng: Random, span: Span, caller: Caller, count: int, busy: Sequence[float]) -> list[Call]:
    """Sessions of about eight turns on one topic; between turns somebody reads and types."""
    calls: list[Call] = []
    while len(calls) < count:
        turns = min(1 + int(rng.expovariate(1 / 7.5)), count - len(calls))
        gaps = [rng.lognormvariate(math.log(45.0), 0.9) for _ in range(turns - 1)]
        first_s = max(min(_moment(rng, span, busy), span.end_s - sum(gaps)), span.start_s)
        session, topic = f"s-{rng.getrandbits(40):010x}", rng.choice(caller.deployment.topics)
        calls += [
            Call(
                time_s=min(first_s + after_s, span.end_s),
                caller=caller,
                topic=topic,
                prompt=question(rng, topic),
                session=session,
                turn=turn,
            )
            for turn, after_s in enumerate([0.0, *accumulate(gaps)])
        ]
    return calls


def _templated(rng: Random, caller: Caller, time_s: float) -> Call:
    topic = rng.choice(caller.deployment.topics)
    prompt = _TEMPLATES[caller.deployment].format(n=rng.randint(10_000, 99_999), text=question(rng, topic))
    return Call(time_s=time_s, caller=caller, topic=topic, prompt=prompt)


def _steady(rng: Random, span: Span, caller: Caller, count: int, busy: Sequence[float]) -> list[Call]:
    """An application whose own users come and go: Poisson arrivals."""
    return [_templated(rng, caller, _moment(rng, span, busy)) for _ in range(count)]


def _bursty(rng: Random, span: Span, caller: Caller, count: int, busy: Sequence[float]) -> list[Call]:
    """An application that works off queues: some 25 calls within seconds, then nothing for minutes."""
    times: list[float] = []
    while len(times) < count:
        first_s = _moment(rng, span, busy)
        gaps = (rng.expovariate(1 / 0.8) for _ in range(1 + int(rng.expovariate(1 / 24))))
        times += [min(first_s + after_s, span.end_s) for after_s in accumulate(gaps)]
    return [_templated(rng, caller, time_s) for time_s in times[:count]]


def _batch(rng: Random, span: Span, caller: Caller, count: int, _: Sequence[float]) -> list[Call]:
    """A job that runs once, from 20 % to 40 % of the span, one call after the other."""
    return [_templated(rng, caller, span.at(0.2 + 0.2 * (place + rng.random()) / count)) for place in range(count)]


def _evaluation(rng: Random, span: Span, caller: Caller, count: int, _: Sequence[float]) -> list[Call]:
    """The same prompts again in every round: machine-like, and no extraction."""
    topics = [rng.choice(caller.deployment.topics) for _ in range(_EVALUATION_PROMPTS)]
    prompts = [question(rng, topic) for topic in topics]
    a_round = math.ceil(count / _EVALUATION_ROUNDS)
    calls = []
    for place in range(count):
        number, within = divmod(place, a_round)
        time_s = min(span.at((number + 0.5) / _EVALUATION_ROUNDS) + 2.5 * within + rng.random(), span.end_s)
        prompt = within % _EVALUATION_PROMPTS
        calls.append(Call(time_s=time_s, caller=caller, topic=topics[prompt], prompt=prompts[prompt]))
    return calls


def _sweep(rng: Random, span: Span, caller: Caller, count: int, busy: Sequence[float]) -> list[Call]:
    """A little ordinary use, then exercises in a steady rhythm, log-probabilities asked for in a third of them."""
    ordinary = _people(rng, Span(span.start_s, span.sweep_s, span.sweep_s), caller, count // 50, busy)
    count -= len(ordinary)
    gap_s = (span.end_s - span.sweep_s) / count
    return ordinary + [
        Call(
            time_s=span.sweep_s + (place + 0.6 * rng.random()) * gap_s,
            caller=caller,
            topic=rng.choice(caller.deployment.topics),
            prompt=exercise(rng),
            top_logprobs=None if place % 3 else 5,
        )
        for place in range(count)
    ]


_KINDS = {
    "people": _people,
    "steady": _steady,
    "bursty": _bursty,
    "batch": _batch,
    "evaluation": _evaluation,
    "sweep": _sweep,
}
