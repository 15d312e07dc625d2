"""Each pure stage as one would write it first: event by event, with the standard library. The ratchet's yardstick.

It does roughly what our own stage does and never changes, so that a quotient of the two says how our own changes,
whatever the machine. Nothing here may be made faster, or better, without measuring the floors anew.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from river import anomaly, compose, drift, preprocessing

_KEY = b"k" * 32
_WHO = ("principal", "network", "user_agent", "session")
_PATTERNS = [
    re.compile(pattern)
    for pattern in (
        r"[\w.+-]+@[\w-]+\.[\w.]+",
        r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"\bsk-[A-Za-z0-9_-]{20,}",
        r"\beyJ[\w-]+\.[\w-]+\.[\w-]+",
        r"(?i)\b(?:password|passwd|pwd|secret|token)\s*[=:]\s*\S+",
        r"\+\d{1,3}(?:[ -]?\d){6,12}",
        r"\b(?:\d[ -]?){13,19}\b",
        r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}\b",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    )
]
_NUMBERS = ("time_s", "latency_s", "ttft_s", "input_tokens", "output_tokens", "temperature", "max_tokens")

Event = dict[str, Any]


def decode(record: bytes) -> list[Event]:
    """JSON, then every field looked at."""
    events = json.loads(record)
    for event in events:
        if not isinstance(event.get("deployment"), str):
            raise TypeError("deployment")
        for name in _NUMBERS:
            value = event.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
                raise TypeError(name)
        for message in (*event.get("input_messages", ()), *event.get("output_messages", ())):
            if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
                raise TypeError("message")
    return list(events)


def privacy(events: Iterable[Event]) -> list[Event]:
    """A keyed hash of who called, and one pattern after the other over every text."""
    kept = []
    for event in events:
        changed = dict(event)
        for name in _WHO:
            if changed.get(name):
                changed[name] = hmac.new(_KEY, changed[name].encode(), hashlib.sha256).hexdigest()[:32]
        for name in ("input_messages", "output_messages"):
            changed[name] = [{**each, "content": _redacted(each["content"])} for each in changed.get(name, ())]
        kept.append(changed)
    return kept


def features(events: Iterable[Event]) -> list[dict[str, float]]:
    """Some numbers of what was asked and answered, word by word and character by character."""
    rows = []
    for event in events:
        prompt = event["input_messages"][-1]["content"]
        answer = event["output_messages"][-1]["content"]
        row: dict[str, float] = {"prompt": float(_hashed(prompt) % 2**32)}
        votes = [0] * 64
        for word in re.findall(r"\w+", prompt.lower()):
            bits = _hashed(word)
            for at in range(64):
                votes[at] += 1 if bits >> at & 1 else -1
        row["near"] = float(sum(1 << at for at in range(64) if votes[at] > 0) % 2**32)
        kinds = Counter("u" if each.isupper() else "d" if each.isdigit() else "p" for each in answer if each != " ")
        words = answer.split()
        row |= {
            "chars": float(len(answer)),
            "words": float(len(words)),
            "upper": kinds["u"] / (1 + len(answer)),
            "digits": kinds["d"] / (1 + len(answer)),
            "distinct": len(set(words)) / (1 + len(words)),
            "longest": float(max(map(len, words), default=0)),
        }
        rows.append(row)
    return rows


class Detectors:
    """An anomaly detector and four drift detectors of one deployment, record by record."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._anomaly = compose.Pipeline(preprocessing.StandardScaler(), anomaly.HalfSpaceTrees(seed=1))
        self._drifts = {name: drift.ADWIN() for name in ("latency_s", "input_tokens", "output_tokens", "ttft_s")}

    def learn(self, events: Iterable[Event]) -> int:
        """How many of them told something."""
        told = 0
        for event in events:
            numbers = {name: float(event[name]) for name in self._drifts}
            told += self._anomaly.score_one(numbers) > 0.99
            self._anomaly.learn_one(numbers)
            for name, detector in self._drifts.items():
                detector.update(numbers[name])
                told += detector.drift_detected
        return told


def rows(events: Sequence[Event]) -> bytes:
    """One line of JSON for each row, as ClickHouse takes them too."""
    lines = []
    for event in events:
        row = {**event, "prompt": event["input_messages"][-1]["content"]}
        row["output"] = event["output_messages"][-1]["content"]
        row["conversation"] = json.dumps({"input": row.pop("input_messages"), "output": row.pop("output_messages")})
        lines.append(json.dumps(row))
    return "\n".join(lines).encode()


def _redacted(text: str) -> str:
    for pattern in _PATTERNS:
        text = pattern.sub("[redacted]", text)
    return text


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=_KEY).digest(), "little")
