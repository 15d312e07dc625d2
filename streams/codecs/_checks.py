"""What every inference event must satisfy, whichever codec read it; the pipeline applies it to each one.

Here once, so that no codec has to remember it and no detector or sink has to doubt it: a NaN poisons an
online mean for ever, and one count beyond 64 bits fails the whole batch it is inserted with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from detectors.types import MAX_TIME_S, Components, InferenceEvent
from streams.codecs import Reject

MAX_COUNT = 2**63 - 1
"""The largest 64-bit integer: what a column holds."""

MAX_DEPLOYMENT_CHARS = 256
"""A deployment is a key of topics, banks and dashboards. Without a limit a sender that puts a prompt there
makes every key a prompt, and the banks keep them."""

MAX_NAME_CHARS = 256
"""Names and ids are cut to this. They are copied into every observation, and a caller chooses some of them: one
of 2 MB would make a message that Kafka refuses for ever."""

_CUT = (
    "operation",
    "model",
    "served_model",
    "provider",
    "region",
    "error_type",
    "prediction",
    "trace_id",
    "span_id",
    "response_id",
)

_COUNT = (0, MAX_COUNT, "a whole number from 0 to 2^63-1")
_AMOUNT = (0.0, sys.float_info.max, "a finite number >= 0")
_FINITE = (-sys.float_info.max, sys.float_info.max, "a finite number")
_BOUNDS: dict[str, tuple[float, float, str]] = {
    "input_tokens": _COUNT,
    "output_tokens": _COUNT,
    "cached_tokens": _COUNT,
    "reasoning_tokens": _COUNT,
    "latency_s": _AMOUNT,
    "ttft_s": _AMOUNT,
    "cost_usd": _AMOUNT,
    "http_status": (100, 599, "a status from 100 to 599"),
    "time_s": _FINITE,
    "score": _FINITE,
}
"""Lowest and highest value, both allowed; NaN is within none of them."""

_ASKED_FOR: dict[str, tuple[float, float]] = {
    "temperature": (0.0, sys.float_info.max),
    "top_p": (0.0, 1.0),
    "max_tokens": (0, MAX_COUNT),
    "n": (0, MAX_COUNT),
    "top_logprobs": (0, MAX_COUNT),
    "logit_bias": (0, MAX_COUNT),
}
"""What the caller wrote, who must not be able to make its own calls dead letters: out of range is unknown."""

_EMPTIABLE = (
    "event_id",
    "source",
    "operation",
    "system",
    "error_type",
    "prediction",
    "principal",
    "network",
    "user_agent",
    "session",
    "region",
    "model",
    "served_model",
    "provider",
    "trace_id",
    "span_id",
    "response_id",
    "input_messages",
    "output_messages",
    "finish_reasons",
    "features",
)

_RANGES = {name: bounds[:2] for name, bounds in _BOUNDS.items()} | _ASKED_FOR | {"time_s": (0.0, MAX_TIME_S)}
_LONGEST = dict.fromkeys(_CUT, MAX_NAME_CHARS) | {"deployment": MAX_DEPLOYMENT_CHARS}

_EMPTIES: tuple[object, ...] = ("", (), {})

_numbers = attrgetter(*_BOUNDS)
_asked_for = attrgetter(*_ASKED_FOR)
_names = attrgetter(*_CUT)
_emptiable = attrgetter(*_EMPTIABLE)
_digests = attrgetter(*Components.__struct_fields__)


def check(event: InferenceEvent) -> InferenceEvent | Reject:
    """Return `event` with what is empty made unknown, or the reason why it can never be used.

    ``""`` and empty collections become `None`; only a message's own `content` stays ``""``, because an
    empty answer is an answer, and so do empty `documents` and `egress_hosts` (known to be none). A time at or
    before 1970 or beyond `MAX_TIME_S` is a broken clock and becomes `None`: the record's own time stands in.
    A request parameter out of range becomes `None` too, and names and ids are cut to `MAX_NAME_CHARS`.
    Costs about 2 us; an event that needs no change is returned as it is.
    """
    reason = _reason_against(event)
    if reason is not None:
        return Reject(reason)
    changes: dict[str, Components | str | None] = {
        name: None
        for (name, (lowest, highest)), value in zip(_ASKED_FOR.items(), _asked_for(event), strict=True)
        if value is not None and not lowest <= value <= highest
    }
    for name, text in zip(_CUT, _names(event), strict=True):
        if text is not None and len(text) > MAX_NAME_CHARS:
            changes[name] = text[:MAX_NAME_CHARS]
    values = _emptiable(event)
    if "" in values or () in values or {} in values:
        changes.update((name, None) for name, value in zip(_EMPTIABLE, values, strict=True) if value in _EMPTIES)
    if event.time_s is not None and not 0.0 < event.time_s <= MAX_TIME_S:
        changes["time_s"] = None
    if event.components is not None:
        digests = _digests(event.components)
        if not _are_plain(digests):
            changes["components"] = _known(digests)
    return msgspec.structs.replace(event, **changes) if changes else event


def all_checked(events: Sequence[InferenceEvent]) -> Sequence[InferenceEvent | Reject]:
    """`check` of each: all are looked at together, a field at a time, and one by one only where that finds something.

    Costs about 3 us an event of many in which nothing is found.
    """
    return events if not events or _are_sound(events) else list(map(check, events))


def _are_sound(events: Sequence[InferenceEvent]) -> bool:
    """Whether `check` returns each of them as it is."""
    values = zip(*map(msgspec.structs.astuple, events), strict=True)
    columns: dict[str, tuple[Any, ...]] = dict(zip(InferenceEvent.__struct_fields__, values, strict=True))
    return (
        all(columns["deployment"])
        and not any(map(str.isspace, columns["deployment"]))
        and all(_are_within(columns[name], lowest, highest) for name, (lowest, highest) in _RANGES.items())
        and all(time_s > 0.0 for time_s in columns["time_s"] if time_s is not None)
        and not any(_has_empty(columns[name]) for name in _EMPTIABLE)
        and all(max(map(len, filter(None, columns[name])), default=0) <= most for name, most in _LONGEST.items())
        and all(_is_finite(value) for fields in filter(None, columns["features"]) for value in fields.values())
        and all(_is_finite(each.score) for documents in filter(None, columns["documents"]) for each in documents)
        and all(map(_are_plain, set(map(_digests, filter(None, columns["components"])))))
    )


def _are_within(values: Iterable[float | None], lowest: float, highest: float) -> bool:
    return all(lowest <= value <= highest for value in values if value is not None)


def _has_empty(values: tuple[Any, ...]) -> bool:
    """Whether there is one that is empty and not `None`."""
    if all(values) or values.count(None) == len(values):
        return False
    return any(not value for value in values if value is not None)


def _reason_against(event: InferenceEvent) -> str | None:
    deployment = event.deployment
    if not deployment or deployment.isspace():
        return "deployment: expected a name, got an empty text"
    if len(deployment) > MAX_DEPLOYMENT_CHARS:
        return f"deployment: expected at most {MAX_DEPLOYMENT_CHARS} characters, got {len(deployment)}"
    for (name, (lowest, highest, expected)), value in zip(_BOUNDS.items(), _numbers(event), strict=True):
        if value is not None and not lowest <= value <= highest:
            return f"{name}: expected {expected}"
    if event.features is not None and not all(map(_is_finite, event.features.values())):
        return "features: expected every number to be finite"
    if event.documents is not None and not all(_is_finite(document.score) for document in event.documents):
        return "documents: expected every score to be finite"
    return None


def _is_finite(value: object) -> bool:
    return not isinstance(value, int | float) or -sys.float_info.max <= value <= sys.float_info.max


def _are_plain(digests: tuple[str | None, ...]) -> bool:
    """Whether there is one, none is empty and none too long."""
    return "" not in digests and any(digests) and max(map(len, filter(None, digests))) <= MAX_NAME_CHARS


def _known(digests: tuple[str | None, ...]) -> Components | None:
    known = {
        name: digest[:MAX_NAME_CHARS]
        for name, digest in zip(Components.__struct_fields__, digests, strict=True)
        if digest
    }
    return Components(**known) if known else None
