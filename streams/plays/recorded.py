"""Real traffic from a directory of public data, joined into one stream with an incident planted in it.

The directory holds

- ``traces/azure_llm_*_conv.csv.gz`` and ``..._code.csv.gz``: TIMESTAMP, ContextTokens, GeneratedTokens;
- ``traces/llmperf_*_requests.csv.gz``: provider, model, error_code, ttft_s, inter_token_latency_s;
- ``swap/PAIRS.csv`` and ``swap/<model>.jsonl.gz`` {prompt_id, instruction, output}: many models, the same prompts;
- ``queries/systematic_gsm8k_train.jsonl.gz`` {text}.

No two of these measured the same call, so the join is:

1. Arrivals and token counts are the traces', a deployment each, every gap as it was; only the clock is moved.
2. Latency is that of a random measured request of one provider: its time to first token, plus its time per token
   for every further token of the arrival; where it failed, the call fails. The providers are those of median
   steadiness (95 % over 50 % of a typical call) among those that answered nearly always: a step is invisible at
   the least steady ones and trivial at the steadiest. What load does to latency is lost.
3. Texts are the served model's answers to random prompts, so that the mix of prompts stays the same and only the swap
   changes it; a text's length is not what the token count says. (The lengths of the trace drift by themselves.
   Texts chosen by them would drift too, and nobody could say what a finding was about.)
4. Callers are drawn: sessions of some twelve turns, held by a few hundred principals.

The incident: one deployment is answered by the other model of a pair of `PAIRS.csv` that a linear reader can tell
(`linear_auc` >= 0.8), under the old name and to the same prompts; the other deployment becomes slower; and one new
principal sends the systematic queries in order. Its calls come on top of the trace, in a steady rhythm, with the
token counts of random conversations; the answers it gets are to other prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec

from detectors.types import InferenceEvent, Message
from streams.plays._recorded_files import Arrival, Files, Provider, read
from streams.plays.traffic import MIN_EVENTS, Planted, Traffic, TrafficError, incident_times, seeded

SLOWER = 1.15
"""What the latency step multiplies times with."""

SWEEP_SHARE = 0.05
"""Share of all events that the sweep sends."""

CHAT, CODE = "recorded-chat", "recorded-code"
_PRINCIPALS = {CHAT: 600, CODE: 150}
_OPEN_SESSIONS = {CHAT: 220, CODE: 60}
_TURNS = 12.0
_SWEEPER = "acct-systematic"


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call before it is answered; `prompt` is the sweep's own; others get a random one."""

    time_s: float
    deployment: str
    arrival: Arrival
    principal: str
    session: str | None = None
    prompt: str | None = None


def recorded(directory: Path, seed: int, end_s: float, events: int | None = None) -> Traffic:
    """The first `events` calls of the join, or all, moved so that the last arrival is at `end_s`.

    Raises `TrafficError` when a file is missing or is not what it should be. Costs about 100 us an event.
    """
    rng = seeded(seed)
    files = read(directory, rng)
    arrivals = sorted(
        [(each, CHAT) for each in files.conversations] + [(each, CODE) for each in files.code],
        key=lambda pair: pair[0].time_s,
    )
    if events is not None:
        arrivals = arrivals[: max(events - round(SWEEP_SHARE * events), 0)]
    sweep = min(round(len(arrivals) * SWEEP_SHARE / (1.0 - SWEEP_SHARE)), len(files.queries))
    if len(arrivals) + sweep < MIN_EVENTS:
        raise TrafficError(f"expected at least {MIN_EVENTS} events, got {len(arrivals) + sweep} of {directory}")
    shift_s = end_s - arrivals[-1][0].time_s
    swap_s, step_s, sweep_s = incident_times(arrivals[0][0].time_s + shift_s, end_s)
    calls = [*_callers(arrivals, shift_s, rng), *_sweep(files, sweep, sweep_s, end_s, rng)]
    calls.sort(key=lambda call: call.time_s)
    chat = _Endpoint(CHAT, files, files.providers[0], rng, swap_s=swap_s)
    code = _Endpoint(CODE, files, files.providers[1], rng, step_s=step_s)
    answered = [(chat if call.deployment == CHAT else code).serve(call) for call in calls]
    pair = files.pair
    planted = (
        Planted(
            name="silent model swap",
            detectors=("output_drift",),
            scope="deployment",
            subject=CHAT,
            time_s=swap_s,
            description=(
                f"{CHAT} is answered by {pair.swapped} under the name of {pair.base} "
                f"({pair.kind}, linear AUC {pair.linear_auc:g})"
            ),
        ),
        Planted(
            name="latency step",
            detectors=("latency_shift",),
            scope="deployment",
            subject=CODE,
            time_s=step_s,
            description=f"{CODE} takes {SLOWER - 1.0:.0%} longer at equal tokens",
        ),
        Planted(
            name="extracting principal",
            detectors=("extraction", "token_volume"),
            scope="principal",
            subject=_SWEEPER,
            time_s=sweep_s,
            description=(
                f"{sweep} systematic queries in order to {CODE} at temperature 0, one every "
                f"{(end_s - sweep_s) / max(sweep, 1):.1f} s"
            ),
        ),
    )
    description = (
        f"recorded (seed {seed}): {len(arrivals)} arrivals of real traces, answers of {pair.base}, latencies of "
        f"{files.providers[0].name} and {files.providers[1].name}, and a sweep of {sweep} queries"
    )
    return Traffic(answered, planted, description)


def _callers(arrivals: list[tuple[Arrival, str]], shift_s: float, rng: Random) -> Iterator[_Call]:
    """Every arrival is a turn of any open session; the weight of a principal falls with its number."""
    weights = {name: [1.0 / (number + 10.0) for number in range(count)] for name, count in _PRINCIPALS.items()}
    begun = 0

    def begin(deployment: str) -> tuple[str, str]:
        nonlocal begun
        begun += 1
        number = rng.choices(range(_PRINCIPALS[deployment]), weights[deployment])[0]
        return f"acct-{deployment}-{number}", f"session-{begun}"

    sessions = {name: [begin(name) for _ in range(count)] for name, count in _OPEN_SESSIONS.items()}
    for arrival, deployment in arrivals:
        place = rng.randrange(_OPEN_SESSIONS[deployment])
        principal, session = sessions[deployment][place]
        yield _Call(
            time_s=arrival.time_s + shift_s,
            deployment=deployment,
            arrival=arrival,
            principal=principal,
            session=session,
        )
        if rng.random() < 1.0 / _TURNS:
            sessions[deployment][place] = begin(deployment)


def _sweep(files: Files, count: int, start_s: float, end_s: float, rng: Random) -> Iterator[_Call]:
    for place, prompt in enumerate(files.queries[:count]):
        time_s = start_s + (place + 0.5 * rng.random()) * (end_s - start_s) / count
        arrival = rng.choice(files.conversations)
        yield _Call(time_s=time_s, deployment=CODE, arrival=arrival, principal=_SWEEPER, prompt=prompt)


class _Endpoint:
    """One deployment while it answers, and which part of the incident it has."""

    def __init__(
        self,
        name: str,
        files: Files,
        provider: Provider,
        rng: Random,
        *,
        swap_s: float = math.inf,
        step_s: float = math.inf,
    ) -> None:
        self._name = name
        self._pair = files.pair
        self._provider = provider
        self._rng = rng
        self._swap_s = swap_s
        self._step_s = step_s

    def serve(self, call: _Call) -> InferenceEvent:
        """Answer one call."""
        prompt, output, swapped = self._rng.choice(self._pair.answers)
        measured = self._rng.choice(self._provider.requests)
        asked = InferenceEvent(
            deployment=self._name,
            time_s=call.time_s,
            operation="chat",
            input_messages=(Message(role="user", content=call.prompt or prompt),),
            input_tokens=call.arrival.input_tokens,
            temperature=0.0 if call.prompt is not None else None,
            principal=call.principal,
            session=call.session,
            model=self._pair.base,
        )
        if measured.failed is not None:
            return msgspec.structs.replace(asked, error_type="provider_error", http_status=measured.failed or None)
        slower = SLOWER if call.time_s >= self._step_s else 1.0
        further = max(call.arrival.output_tokens - 1, 0)
        return msgspec.structs.replace(
            asked,
            output_messages=(Message(role="assistant", content=swapped if call.time_s >= self._swap_s else output),),
            output_tokens=call.arrival.output_tokens,
            ttft_s=round(slower * measured.ttft_s, 4),
            latency_s=round(slower * (measured.ttft_s + further * measured.per_token_s), 4),
            finish_reasons=("stop",),
            http_status=200,
            served_model=self._pair.base,
        )
