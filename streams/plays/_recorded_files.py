"""Reads the files that `recorded` joins; whatever is wrong with one is a `TrafficError` that names it."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TextIO, TypeVar

import msgspec

from streams.plays.traffic import TrafficError

MIN_LINEAR_AUC = 0.8
"""A pair that a linear reader of the text cannot tell would plant something nobody can see."""

_MIN_ANSWERED, _MIN_ANSWERED_SHARE = 50, 0.95
_TYPICAL_TOKENS = 150
_HTTP_STATUSES = range(400, 600)

Parsed = TypeVar("Parsed")


class Arrival(msgspec.Struct, frozen=True):
    """One request of a trace."""

    time_s: float
    input_tokens: int
    output_tokens: int


class Measured(msgspec.Struct, frozen=True):
    """One measured request, seconds; or the status it failed with, 0 when there was none."""

    ttft_s: float
    per_token_s: float
    failed: int | None = None


class Provider(msgspec.Struct, frozen=True):
    """The measured requests of one model at one provider."""

    name: str
    requests: list[Measured]


class Answer(msgspec.Struct, frozen=True):
    """One answer of a model."""

    prompt_id: int
    instruction: str
    output: str


class Query(msgspec.Struct, frozen=True):
    """One query of the sweep."""

    text: str


class Pair(msgspec.Struct, frozen=True):
    """What replaces what: `answers` hold prompt, base model's and swapped model's answer."""

    kind: str
    base: str
    swapped: str
    linear_auc: float
    answers: list[tuple[str, str, str]] = []


class Files(msgspec.Struct, frozen=True):
    """All that is read. `providers` serve conversations and code."""

    conversations: list[Arrival]
    code: list[Arrival]
    providers: tuple[Provider, Provider]
    pair: Pair
    queries: list[str]


def read(directory: Path, rng: Random) -> Files:
    """Everything the join needs; `rng` chooses the pair."""
    if not directory.is_dir():
        raise TrafficError(f"{directory}: no such directory")
    return Files(
        conversations=_arrivals(_one(directory, "traces/azure_llm_*_conv.csv.gz")),
        code=_arrivals(_one(directory, "traces/azure_llm_*_code.csv.gz")),
        providers=_providers(_one(directory, "traces/llmperf_*_requests.csv.gz")),
        pair=_pair(directory / "swap", rng),
        queries=[query.text for query in _lines(_one(directory, "queries/systematic_gsm8k_train.jsonl.gz"), Query)],
    )


def _one(directory: Path, pattern: str) -> Path:
    found = sorted(directory.glob(pattern))
    if not found:
        raise TrafficError(f"{directory / pattern}: no such file")
    return found[0]


def _read(path: Path, parse: Callable[[TextIO], Iterator[Parsed]]) -> list[Parsed]:
    """What `parse` makes of an opened file: at least one thing."""
    rows: list[Parsed] = []
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
        rows.extend(parse(io.StringIO(text, newline="")))
    except (OSError, EOFError, zlib.error) as error:
        raise TrafficError(f"{path}: {error}") from None
    except KeyError as error:
        raise TrafficError(f"{path}: no column {error}") from None
    except (ValueError, TypeError, csv.Error) as error:
        raise TrafficError(f"{path}: row {len(rows) + 1}: {error}") from None
    if not rows:
        raise TrafficError(f"{path}: expected at least one row")
    return rows


def _lines(path: Path, kind: type[Parsed]) -> list[Parsed]:
    decoder = msgspec.json.Decoder(kind)
    return _read(path, lambda text: (decoder.decode(line) for line in text if line.strip()))


def _arrivals(path: Path) -> list[Arrival]:
    """A trace in order of time."""
    return sorted(_read(path, lambda text: map(_arrival, csv.DictReader(text))), key=lambda arrival: arrival.time_s)


def _arrival(row: dict[str, str]) -> Arrival:
    moment = datetime.fromisoformat(row["TIMESTAMP"]).replace(tzinfo=UTC)
    arrival = Arrival(moment.timestamp(), int(row["ContextTokens"]), int(row["GeneratedTokens"]))
    if min(arrival.input_tokens, arrival.output_tokens) < 0:
        raise ValueError("token counts below 0")
    return arrival


def _providers(path: Path) -> tuple[Provider, Provider]:
    """The two of median steadiness, conversations' first; the same one twice where there is no other."""
    grouped: dict[str, list[Measured]] = defaultdict(list)
    for name, measured in _read(path, lambda text: map(_measured, csv.DictReader(text))):
        grouped[name].append(measured)
    ordered = sorted((_unsteadiness(requests), name) for name, requests in grouped.items())
    usable = [Provider(name, grouped[name]) for unsteadiness, name in ordered if math.isfinite(unsteadiness)]
    if not usable:
        raise TrafficError(
            f"{path}: expected a provider with {_MIN_ANSWERED} requests, {_MIN_ANSWERED_SHARE:.0%} of them answered"
        )
    middle = len(usable) // 2
    return usable[max(middle - 1, 0)], usable[middle]


def _measured(row: dict[str, str]) -> tuple[str, Measured]:
    name = f"{row['provider']} {row['model']}"
    if row["error_code"]:
        status = int(float(row["error_code"]))
        return name, Measured(0.0, 0.0, failed=status if status in _HTTP_STATUSES else 0)
    measured = Measured(float(row["ttft_s"]), float(row["inter_token_latency_s"]))
    if not (0.0 <= measured.ttft_s < math.inf and 0.0 <= measured.per_token_s < math.inf):
        raise ValueError("expected times >= 0")
    return name, measured


def _unsteadiness(requests: list[Measured]) -> float:
    """95 % over 50 % of a typical call's duration; infinite for a provider that answers too seldom."""
    answered = [each for each in requests if each.failed is None]
    if len(answered) < max(_MIN_ANSWERED, _MIN_ANSWERED_SHARE * len(requests)):
        return math.inf
    durations = sorted(each.ttft_s + _TYPICAL_TOKENS * each.per_token_s for each in answered)
    middle = durations[len(durations) // 2]
    return durations[int(0.95 * len(durations))] / middle if middle > 0.0 else math.inf


def _pair(directory: Path, rng: Random) -> Pair:
    """One of the pairs that can be told apart and whose answers are there."""
    path = directory / "PAIRS.csv"
    pairs = [
        pair
        for pair in _read(path, lambda text: map(_row_of_pairs, csv.DictReader(text)))
        if pair.linear_auc >= MIN_LINEAR_AUC
        and all(_answers(directory, name).is_file() for name in (pair.base, pair.swapped))
    ]
    if not pairs:
        raise TrafficError(f"{path}: expected a pair with linear_auc >= {MIN_LINEAR_AUC} whose answers are in files")
    pair = rng.choice(pairs)
    base, swapped = (
        {answer.prompt_id: answer for answer in _lines(_answers(directory, name), Answer)}
        for name in (pair.base, pair.swapped)
    )
    answers = [
        (base[prompt].instruction, base[prompt].output, swapped[prompt].output)
        for prompt in sorted(base.keys() & swapped.keys())
    ]
    if not answers:
        raise TrafficError(f"{directory}: {pair.base} and {pair.swapped} share no prompt_id")
    return msgspec.structs.replace(pair, answers=answers)


def _row_of_pairs(row: dict[str, str]) -> Pair:
    return Pair(row["kind"], row["base"], row["swapped"], float(row["linear_auc"]))


def _answers(directory: Path, model: str) -> Path:
    return directory / f"{Path(model).name}.jsonl.gz"
