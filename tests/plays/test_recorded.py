from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from detectors import features
from detectors.types import InferenceEvent
from streams.codecs import Reject
from streams.codecs._checks import check
from streams.plays.recorded import CHAT, CODE, recorded
from streams.plays.traffic import Planted, Traffic, TrafficError

END_S = 1_800_000_000.0


def compress(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def trace(requests: int, gap_s: float, tokens: int) -> list[str]:
    rows = [
        f"2023-11-16 18:{int(at // 60):02d}:{at % 60:010.7f},{100 + number % 50},{tokens + number % 40}"
        for number, at in ((number, number * gap_s) for number in range(requests))
    ]
    return ["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A directory of the documented layout, with 1,200 arrivals in 20 minutes and ten prompts."""
    compress(tmp_path / "traces/azure_llm_2023_conv.csv.gz", trace(800, 1.5, 60))
    compress(tmp_path / "traces/azure_llm_2023_code.csv.gz", trace(400, 3.0, 10))
    measured = [
        f"{provider},llama,{number},,,{0.4 + 0.001 * number},{per_token},9.9,50,100,151"
        for provider, per_token in (("east", 0.02), ("west", 0.03))
        for number in range(80)
    ]
    unusable = [f"broken,llama,{number},429.0,too many,,,,,," for number in range(80)]
    header = (
        "provider,model,seq,error_code,error_msg,ttft_s,inter_token_latency_s,end_to_end_latency_s,"
        "request_output_throughput_token_per_s,number_input_tokens,number_output_tokens"
    )
    compress(tmp_path / "traces/llmperf_2023_requests.csv.gz", [header, *measured, *unusable])
    for model in ("plain", "ornate", "twin"):
        answers = [
            {"prompt_id": number, "instruction": f"What is {number}?", "output": f"{model} answer {number}"}
            for number in range(10)
        ]
        compress(tmp_path / f"swap/{model}.jsonl.gz", [json.dumps(each) for each in answers])
    (tmp_path / "swap/PAIRS.csv").write_text(
        "kind,base,swapped,linear_auc\nsize,plain,twin,0.52\nfine-tune,plain,ornate,0.9\nfine-tune,plain,absent,0.99\n"
    )
    queries = [json.dumps({"id": f"q{number}", "text": f"How many are {number}?"}) for number in range(500)]
    compress(tmp_path / "queries/systematic_gsm8k_train.jsonl.gz", queries)
    return tmp_path


def part(traffic: Traffic, name: str) -> Planted:
    (found,) = [each for each in traffic.planted if each.name == name]
    return found


def split(traffic: Traffic, name: str) -> tuple[list[InferenceEvent], list[InferenceEvent]]:
    """Answered calls to the deployment of one part of the incident, before and after it begins."""
    planted = part(traffic, name)
    events = [each for each in traffic.events if each.deployment == planted.subject and each.output_messages]
    before = [each for each in events if (each.time_s or 0.0) < planted.time_s]
    return before, [each for each in events if (each.time_s or 0.0) >= planted.time_s]


def test_arrivals_keep_their_gaps_and_tokens_and_end_at_the_given_time(tiny: Path) -> None:
    traffic = recorded(tiny, seed=1, end_s=END_S)
    chat = [each for each in traffic.events if each.deployment == CHAT]
    assert len(chat) == 800
    times = [each.time_s or 0.0 for each in traffic.events]
    assert times == sorted(times) and times[-1] == pytest.approx(END_S, abs=3.1)
    gaps = [(later.time_s or 0.0) - (earlier.time_s or 0.0) for earlier, later in pairwise(chat)]
    assert gaps == pytest.approx([1.5] * 799, abs=1e-3)
    assert [each.input_tokens for each in chat] == [100 + number % 50 for number in range(800)]


def test_the_swap_answers_the_same_prompts_under_the_old_name(tiny: Path) -> None:
    before, after = split(recorded(tiny, seed=1, end_s=END_S), "silent model swap")
    assert {(features.output_text(each) or "").split()[0] for each in before} == {"plain"}
    assert {(features.output_text(each) or "").split()[0] for each in after} == {"ornate"}
    assert {each.served_model for each in before + after} == {"plain"}
    for each in before + after:
        assert (features.prompt_text(each) or "")[8:-1] == (features.output_text(each) or "").split()[-1]


def test_latency_is_a_measured_first_token_and_its_time_per_further_token(tiny: Path) -> None:
    before, after = split(recorded(tiny, seed=1, end_s=END_S), "latency step")
    for events, slower in ((before, 1.0), (after, 1.15)):
        for each in events:
            assert each.latency_s is not None and each.ttft_s is not None and each.output_tokens is not None
            assert 0.4 * slower - 1e-4 <= each.ttft_s <= 0.48 * slower + 1e-4
            per_token_s = (each.latency_s - each.ttft_s) / (each.output_tokens - 1) / slower
            assert min(abs(per_token_s - 0.02), abs(per_token_s - 0.03)) < 1e-3


def test_the_sweeper_sends_the_queries_in_order(tiny: Path) -> None:
    traffic = recorded(tiny, seed=1, end_s=END_S)
    planted = part(traffic, "extracting principal")
    prompts = [features.prompt_text(each) for each in traffic.events if each.principal == planted.subject]
    assert prompts == [f"How many are {number}?" for number in range(len(prompts))]
    assert len(prompts) == 63
    assert all((each.time_s or 0.0) >= planted.time_s for each in traffic.events if each.principal == planted.subject)


def test_the_pair_is_one_that_can_be_told_and_is_named_with_its_kind(tiny: Path) -> None:
    for seed in range(5):
        description = part(recorded(tiny, seed, END_S), "silent model swap").description
        assert "ornate under the name of plain (fine-tune, linear AUC 0.9)" in description


def test_the_same_seed_gives_the_same_stream_and_a_limit_is_kept(tiny: Path) -> None:
    assert recorded(tiny, seed=4, end_s=END_S) == recorded(tiny, seed=4, end_s=END_S)
    assert recorded(tiny, seed=4, end_s=END_S) != recorded(tiny, seed=5, end_s=END_S)
    limited = recorded(tiny, seed=4, end_s=END_S, events=1_000)
    assert len(limited.events) == 1_000
    assert all(not isinstance(check(each), Reject) for each in limited.events)


def edit(name: str, lines: list[str]) -> Callable[[Path], None]:
    return lambda directory: compress(directory / name, lines)


CONV = "traces/azure_llm_2023_conv.csv.gz"
LLMPERF = "traces/llmperf_2023_requests.csv.gz"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda directory: (directory / CONV).unlink(), r"_conv\.csv\.gz: no such file", id="missing file"),
        pytest.param(
            lambda directory: (directory / CONV).write_bytes(b"no gzip"), r"_conv\.csv\.gz: Not a gzipped", id="no gzip"
        ),
        pytest.param(
            lambda directory: (directory / CONV).write_bytes((directory / CONV).read_bytes()[:-30]),
            r"_conv\.csv\.gz: Compressed file ended",
            id="a file cut off",
        ),
        pytest.param(
            edit(CONV, ["TIMESTAMP,ContextTokens", "2023-11-16 18:00:00,1"]), "no column", id="missing column"
        ),
        pytest.param(
            edit(CONV, ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:00:00,1,2", "yesterday,1,2"]),
            "row 2: ",
            id="a time that is none",
        ),
        pytest.param(
            edit(CONV, ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:00:00,-1,2"]),
            "token counts below 0",
            id="a negative count",
        ),
        pytest.param(
            edit(CONV, ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:00:00,1"]),
            "row 1: ",
            id="a short row",
        ),
        pytest.param(edit(CONV, []), "expected at least one row", id="empty file"),
        pytest.param(
            edit(CONV, ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:00:00,1,2"]),
            "expected at least 1000 events",
            id="too few arrivals",
        ),
        pytest.param(
            edit(LLMPERF, ["provider,model,error_code,ttft_s,inter_token_latency_s", "east,llama,,nan,0.1"]),
            "expected times >= 0",
            id="a latency that is not a number",
        ),
        pytest.param(
            edit(LLMPERF, ["provider,model,error_code,ttft_s,inter_token_latency_s", "east,llama,,0.3,0.1"]),
            "expected a provider with 50 requests",
            id="too few measured requests",
        ),
        pytest.param(
            lambda directory: (directory / "swap/ornate.jsonl.gz").unlink(),
            "expected a pair with linear_auc >= 0.8",
            id="no model to swap to",
        ),
        pytest.param(
            edit("swap/ornate.jsonl.gz", ['{"prompt_id": 1, "instruction": "x"}']),
            "row 1: .*`output`",
            id="an answer without output",
        ),
        pytest.param(
            edit("swap/ornate.jsonl.gz", ['{"prompt_id": 99, "instruction": "x", "output": "y"}']),
            "share no prompt_id",
            id="answers to other prompts",
        ),
        pytest.param(
            edit("queries/systematic_gsm8k_train.jsonl.gz", ['{"text": "a"}', "{"]), "row 2: ", id="a broken line"
        ),
    ],
)
def test_a_damaged_directory_is_one_clear_line(tiny: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(tiny)
    with pytest.raises(TrafficError, match=message) as refused:
        recorded(tiny, seed=1, end_s=END_S)
    assert "\n" not in str(refused.value)
    assert str(tiny) in str(refused.value)


def test_a_directory_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TrafficError, match="nowhere: no such directory"):
        recorded(tmp_path / "nowhere", seed=1, end_s=END_S)


def test_the_shared_data_make_one_stream_with_the_incident_inside(shared_data: Path) -> None:
    traffic = recorded(shared_data, seed=1, end_s=END_S)
    times = [each.time_s or 0.0 for each in traffic.events]
    assert len(times) > 28_000
    assert times == sorted(times)
    assert times[0] > END_S - 3_700.0 and times[-1] <= END_S
    assert all(not isinstance(check(each), Reject) for each in traffic.events)
    before, after = split(traffic, "latency step")
    sweeper = part(traffic, "extracting principal").subject
    firsts = [[each.ttft_s or 0.0 for each in events if each.principal != sweeper] for events in (before, after)]
    assert median(firsts[1]) / median(firsts[0]) == pytest.approx(1.15, abs=0.03)
    before, after = split(traffic, "silent model swap")
    old = features.style([features.output_text(each) or "" for each in before])
    new = features.style([features.output_text(each) or "" for each in after])
    assert abs((new.mean(axis=0) - old.mean(axis=0)) / old.std(axis=0)).max() > 0.3
    assert {each.served_model for each in before + after} == {before[0].model}
    assert {each.deployment for each in traffic.events} == {CHAT, CODE}
