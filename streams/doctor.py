"""Is anything watched, and if not, why: each check says what it saw and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from detectors.bank import discover
from detectors.base import DEPLOYMENT, PRINCIPAL, Metadata
from streams import topics
from streams.clickhouse import Store, StoreError
from streams.settings import Settings
from streams.topics import BrokerError

OK, WARN, FAIL = "ok", "warn", "fail"

_CLOCK_S = 2.0
_QUIET_S = 900.0

FIELDS = {
    **{
        name: name
        for name in (
            "latency_s",
            "ttft_s",
            "principal",
            "style",
            "prompt_hash",
            "prompt_simhash",
            "prompt_template",
            "input_tokens",
            "output_tokens",
            "failed",
            "refused",
            "finish_reason",
            "model",
            "served_model",
            "components",
        )
    },
    **dict.fromkeys(
        ("prompt_chars", "prompt_tokens", "prompt_head", "prompt_tail", "prompt_place", "prompt_attack"),
        "prompt_template",
    ),
    **dict.fromkeys(("output_sketch", "output_opening", "hosts", "leaks"), "style"),
    **dict.fromkeys(("time_s", "canary", "features", "features_schema", "prediction", "score", "cost_usd"), "1.0"),
    **dict.fromkeys(("network", "user_agent", "session", "region", "error_type"), "1.0"),
    **dict.fromkeys(("temperature", "n", "logprobs", "top_logprobs", "logit_bias"), "1.0"),
    "notice": "0.0",
}
"""Observation fields by the column of `coverage` that says which share of the events has them.

Features of texts are there where their text is. What only some kinds of models, sources or calls have is never
missing (1.0): a chat deployment is not blind for having no tabular input. A notice is no part of a call (0.0), and a
detector that sees nothing else is not blind without one.
"""

_COVERAGE = f"""
SELECT deployment, sum(coverage.events) AS arrived,
       {", ".join(f"sum({column} * coverage.events) / arrived AS share_{field}" for field, column in FIELDS.items())}
FROM coverage
WHERE hour >= fromUnixTimestamp({{since_s:Int64}})
GROUP BY deployment ORDER BY arrived DESC LIMIT 50
"""  # noqa: S608 - constants of this file
_LOOK_BACK_S = 86_400.0
_BLIND_SHARE = 0.5


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at: what was seen, and what to do if it is not well.

    `status` is ``ok``, ``warn`` (it works, but sees less than it could) or ``fail``.
    """

    name: str
    status: str
    saw: str
    advice: str = ""


def examine(settings: Settings, clock: Callable[[], float]) -> Iterator[Check]:
    """All checks, in the order in which to mend them; never raises for a server that is down."""
    yield _broker(settings)
    try:
        store = Store.connect(settings)
    except StoreError as error:
        yield Check(name="ClickHouse", status=FAIL, saw=str(error), advice="start it, then run `inferwatch migrate`")
        return
    looks: tuple[Callable[[Store, float], Iterator[Check]], ...] = (_server, _schema, _traffic, _blindness, _warm_up)
    try:
        for look in looks:
            yield from look(store, clock())
    except StoreError as error:
        yield Check(name="ClickHouse", status=FAIL, saw=str(error), advice="run `inferwatch migrate`")
    finally:
        store.close()


def _broker(settings: Settings) -> Check:
    try:
        found = topics.describe(settings)
    except BrokerError as error:
        return Check(name="Kafka", status=FAIL, saw=str(error), advice="start it or set INFERWATCH_KAFKA_BROKERS")
    missing = [topics.full_name(settings, topic) for topic in topics.ALL if topic not in found]
    if missing:
        saw = f"topics are missing: {', '.join(missing)}"
        return Check(name="Kafka", status=FAIL, saw=saw, advice="run `inferwatch topics create`")
    sizes = ", ".join(f"{topic.name} {topic.partitions}" for topic in found.values())
    return Check(name="Kafka", status=OK, saw=f"{settings.kafka_brokers} answers; partitions: {sizes}")


def _server(store: Store, now_s: float) -> Iterator[Check]:
    row = store.query("SELECT version() AS version, toFloat64(now64(3)) AS now_s")[0]
    yield Check(name="ClickHouse", status=OK, saw=f"version {row['version']} answers")
    skew_s = row["now_s"] - now_s
    yield Check(
        name="clocks",
        status=OK if abs(skew_s) < _CLOCK_S else WARN,
        saw=f"ClickHouse is {skew_s:+.1f} s from this machine",
        advice="synchronize the clocks (NTP): event times and retention depend on them",
    )


def _schema(store: Store, _now_s: float) -> Iterator[Check]:
    pending = store.pending()
    saw = f"{len(pending)} migrations are not applied" if pending else "up to date"
    yield Check(name="schema", status=FAIL if pending else OK, saw=saw, advice="run `inferwatch migrate`")


def _traffic(store: Store, now_s: float) -> Iterator[Check]:
    row = store.query("SELECT count() AS events, toFloat64(max(record_time)) AS last_s FROM inference_events")[0]
    if not row["events"]:
        advice = "send some (`inferwatch send FILE`) and see that a worker runs (`inferwatch worker`)"
        yield Check(name="traffic", status=WARN, saw="no event was ever stored", advice=advice)
        return
    age_s = max(now_s - row["last_s"], 0.0)
    saw = f"{row['events']} events stored, the last one arrived {age_s:.0f} s ago"
    advice = "nothing arrives: check the source, the worker and the dead letters"
    yield Check(name="traffic", status=OK if age_s < _QUIET_S else WARN, saw=saw, advice=advice)
    dead = store.query("SELECT count() AS found FROM dead_letters_latest WHERE record_time > now() - INTERVAL 1 DAY")
    count = dead[0]["found"]
    yield Check(
        name="dead letters",
        status=WARN if count else OK,
        saw=f"{count} in the last day",
        advice="read `SELECT reason, count() FROM dead_letters_latest GROUP BY reason`",
    )


def blind_detectors(store: Store, now_s: float) -> Iterator[tuple[str, int, list[str]]]:
    """Per deployment of the last day, how many events arrived and which detectors lack a field in most of them."""
    catalog = discover()
    for row in store.query(_COVERAGE, {"since_s": int(now_s - _LOOK_BACK_S)}):
        blind = [
            f"{name} (no {', '.join(lacking)})"
            for name, kind in catalog.items()
            if (lacking := _lacking(kind.metadata, row))
        ]
        yield row["deployment"], row["arrived"], blind


def _blindness(store: Store, now_s: float) -> Iterator[Check]:
    for deployment, arrived, blind in blind_detectors(store, now_s):
        yield Check(
            name=f"sight of {deployment}",
            status=WARN if blind else OK,
            saw=f"blind: {'; '.join(blind)}" if blind else f"all {len(discover())} detectors see {arrived} events",
            advice="have the source deliver these fields; README says where each format carries them",
        )


def _warm_up(store: Store, now_s: float) -> Iterator[Check]:
    """Per deployment of the last day, the detectors that were sent less than they need, of all that is stored."""
    recent = {row["deployment"] for row in store.query(_COVERAGE, {"since_s": int(now_s - _LOOK_BACK_S)})}
    kinds = {name: kind.metadata for name, kind in discover().items() if kind.metadata.scope == DEPLOYMENT}
    for row in store.query(_COVERAGE, {"since_s": 0}):
        if row["deployment"] not in recent:
            continue
        lacks = {
            name: missing
            for name, metadata in kinds.items()
            if not _lacking(metadata, row) and (missing := metadata.warm_up - _usable(metadata, row)) > 0
        }
        needs = ", ".join(f"{name} lacks {missing}" for name, missing in sorted(lacks.items()))
        yield Check(
            name=f"warm-up of {row['deployment']}",
            status=WARN if lacks else OK,
            saw=f"warming: {needs} observations" if lacks else "no detector that can see is warming up",
            advice="wait: a detector says nothing before it knows what is usual",
        )


def _usable(metadata: Metadata, row: dict[str, Any]) -> int:
    """About how many of a deployment's events a detector could use."""
    shares = [row[f"share_{field}"] for field in metadata.requires]
    if metadata.any_of:
        shares.append(max(row[f"share_{field}"] for field in metadata.any_of))
    return int(row["arrived"] * min(shares, default=1.0))


def _lacking(metadata: Metadata, row: dict[str, Any]) -> list[str]:
    """The fields a detector misses in a deployment's events; none when it can see."""
    needed = (PRINCIPAL, *metadata.requires) if metadata.scope == PRINCIPAL else metadata.requires
    lacking = [field for field in needed if field != "notice" and _is_rare(row, field)]
    if metadata.any_of and all(_is_rare(row, field) for field in metadata.any_of):
        lacking.append(" or ".join(metadata.any_of))
    return lacking


def _is_rare(row: dict[str, Any], field: str) -> bool:
    return bool(row[f"share_{field}"] < _BLIND_SHARE)
