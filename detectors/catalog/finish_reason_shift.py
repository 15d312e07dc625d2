"""How answers end (stop, length, tool calls, content filter, error, other) against the frozen baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from detectors import alarms
from detectors.base import DEPLOYMENT, Metadata
from detectors.crowd import Crowd
from detectors.paced import Paced
from detectors.rate_shift import Rate, Rates, Shifted
from detectors.types import Detection, Evidence, Observation, Severity

WARM_UP = 400
FINISHES = ("stop", "length", "tool calls", "content filter", "error", "other")

_STOP, _LENGTH, _TOOLS, _FILTER, _ERROR, _OTHER = ((index,) for index in range(len(FINISHES)))
_REASONS = {
    "stop": _STOP,
    "stop_sequence": _STOP,
    "end_turn": _STOP,
    "eos": _STOP,
    "complete": _STOP,
    "length": _LENGTH,
    "max_tokens": _LENGTH,
    "model_length": _LENGTH,
    "tool_calls": _TOOLS,
    "tool_call": _TOOLS,
    "tool_use": _TOOLS,
    "function_call": _TOOLS,
    "content_filter": _FILTER,
    "content_filtered": _FILTER,
    "guardrail_intervened": _FILTER,
    "safety": _FILTER,
    "refusal": _FILTER,
    "error": _ERROR,
    "abort": _ERROR,
}
_MAX_REASON_CHARS = 32
_GRAVE = frozenset(("content filter", "error"))


class FinishReasonShift(Paced, kw_only=True):
    """Likelihood-ratio CUSUMs of each way to end; no principal of several is more than a part of what they see."""

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Answers end otherwise than they used to",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees="A lasting change of how often answers end by stop, length, tool calls, content filter or error",
        requires=("finish_reason",),
        warm_up=WARM_UP,
        score_unit="log-likelihood ratio, nats",
        atlas=("AML.T0031", "AML.T0029", "AML.T0054", "AML.T0018"),
        owasp=("LLM10:2025", "LLM04:2025", "LLM06:2025"),
        causes=(
            "Filtered answers fell: a guardrail was removed; they rose: a new one, or a sweep of harmful prompts.",
            "Answers cut by length rose: prompts made to run on, a lower token limit, or a repetition loop.",
            "Tool calls rose or fell: the tool list or the prompt template was changed, or the model.",
        ),
        false_positives=(
            "A new application with another mix of prompts or token limits on the same deployment.",
            "A planned change of model, guardrail, tools or token limits.",
        ),
        known_gaps=(
            "Shares are of the whole deployment: a shift of one of many routed models is diluted.",
            "Only the first choice of a call counts.",
            "A gateway that renames reasons looks like a shift to 'other'.",
            "What was already wrong during the warm-up is part of the baseline.",
        ),
        runbook=(
            "Group the calls since the onset by finish reason, principal and served model.",
            "For filtered answers: compare guardrail versions; replay a few prompts that were filtered before.",
            "For answers cut by length: read a few endings, look for loops, compare token limits.",
            "For tool calls: compare tool list and prompt template versions.",
            "If the change was planned, approve it and learn a new baseline.",
        ),
        references=(
            "Lorden, Procedures for reacting to a change in distribution (1971)",
            "Wilson, Probable inference, the law of succession, and statistical inference (1927)",
        ),
        rebaselined=True,  # another version ends its answers otherwise
    )

    crowd: Crowd = msgspec.field(default_factory=Crowd)
    rates: Rates = msgspec.field(default_factory=lambda: Rates(warm_up=WARM_UP, rates=[Rate() for _ in FINISHES]))

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        """Learn how answers ended."""
        arriving, admits, rates = alarms.Arriving(self.pace), self.crowd.admits, self.rates
        for observation in observations:
            reason = observation.finish_reason
            if reason is None:
                continue
            time_s = self.time_of(observation)
            arriving.see(time_s)
            if not admits(observation.principal):
                continue
            ended = _REASONS.get(reason) or _REASONS.get(reason[:_MAX_REASON_CHARS].lower(), _OTHER)
            shifted = rates.see(ended, time_s, self.share, arriving)
            if shifted is not None:
                yield _detection(shifted)
        arriving.settle()


def _detection(shifted: Shifted) -> Detection:
    name = FINISHES[shifted.index]
    severity = Severity.MEDIUM if name in _GRAVE else Severity.LOW
    if name == "content filter" and not shifted.rose:
        severity = Severity.HIGH
    return Detection(
        summary=f"The share of answers that finished with {name!r} {'rose' if shifted.rose else 'fell'} from "
        f"{shifted.before:.1%} (frozen baseline of {WARM_UP} answers) to {shifted.now:.1%} over the last "
        f"{shifted.calls} answers.",
        severity=severity,
        score=shifted.score,
        threshold=shifted.threshold,
        onset_s=shifted.since_s,
        evidence=(
            Evidence(
                name=f"answers that finished with {name!r}",
                observed=100.0 * shifted.now,
                expected=100.0 * shifted.before,
                unit="%",
            ),
            Evidence(name="answers since onset", observed=float(shifted.calls), unit="answers"),
        ),
    )
