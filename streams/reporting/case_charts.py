"""The charts of an incident: its findings over time, and the numbers they are about, the onset marked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from detectors.features import STYLE
from streams.reporting.charts import Chart, Dot, Frame, Line, Mark, Timeline
from streams.reporting.facts import Bucket, CaseFacts, Numbers
from streams.reporting.overview import buckets, gaps

_MOST_FEATURES = 6
_LEAST_ANSWERS = 30
"""Fewer answers before the onset make no baseline."""

_LEAST_DEVIATION = 1e-9
_ABOUT = {
    "latency": ("latency_shift", "tail_latency"),
    "outputs": ("output_drift", "canary", "repetition_loop", "backdoor_trigger", "served_model_change"),
    "outcomes": ("error_shift", "refusal_shift", "finish_reason_shift", "probing", "backdoor_trigger"),
    "callers": ("extraction", "coordinated_extraction", "cost_harvesting", "token_volume", "probing", "new_context"),
    "traffic": ("load_anomaly", "source_thinned", "source_blind", "pipeline.source_silent"),
}
"""Which detectors' findings a chart is about: those charts come first."""


def timeline(facts: CaseFacts) -> Timeline:
    """The findings, a row for each detector."""
    return Timeline(
        title="Findings over time",
        frame=_frame(facts, ()),
        dots=tuple(Dot(row=each.detector, time_s=each.time_s, severity=each.severity) for each in facts.told),
        note="Shapes by severity: ● info, ◆ low, ▲ medium, ■ high, ★ critical.",
    )


def charts(facts: CaseFacts, numbers: Numbers) -> Iterator[Chart]:
    """The affected numbers first; none of what was not measured."""
    made = {
        "latency": _latency(facts, numbers),
        "outputs": _outputs(facts, numbers),
        "outcomes": _outcomes(facts, numbers),
        "callers": _callers(facts, numbers),
        "traffic": _traffic(facts, numbers),
    }
    said = facts.case.incident.detectors
    for name in sorted(made, key=lambda name: -sum(said.get(each, 0) for each in _ABOUT[name])):
        chart = made[name]
        if any(value is not None for line in chart.lines for value in line.values):
            yield chart


def _frame(facts: CaseFacts, heard: tuple[int, ...]) -> Frame:
    incident, span = facts.case.incident, facts.span
    marks = [Mark(time_s=incident.onset_s, label="began")]
    if incident.first_s - incident.onset_s > (span.until_s - span.since_s) / 40.0:
        marks.append(Mark(time_s=incident.first_s, label="found"))
    blind = gaps(heard, span.since_s, span.until_s, span.step_s) if heard else ()
    return Frame(since_s=span.since_s, until_s=span.until_s, step_s=float(span.step_s), marks=tuple(marks), blind=blind)


def _made(
    facts: CaseFacts,
    numbers: Numbers,
    title: str,
    unit: str,
    measures: dict[str, Callable[[Bucket], float | None]],
    note: str = "",
) -> Chart:
    span = facts.span
    found = {each.t: each for each in numbers.buckets}
    times = buckets(span.since_s, span.until_s, span.step_s)
    return Chart(
        title=title,
        unit=unit,
        frame=_frame(facts, tuple(found)),
        times_s=tuple(t + span.step_s / 2.0 for t in times),
        lines=tuple(
            Line(name=name, values=tuple(measure(found[t]) if t in found else None for t in times))
            for name, measure in measures.items()
        ),
        note=note,
    )


def _latency(facts: CaseFacts, numbers: Numbers) -> Chart:
    measures: dict[str, Callable[[Bucket], float | None]] = {
        "p50": lambda bucket: bucket.p50_s,
        "p95": lambda bucket: bucket.p95_s,
        "p99": lambda bucket: bucket.p99_s,
        "p50 to the first token": lambda bucket: bucket.ttft_s,
    }
    note = "As measured; detectors compare at equal tokens, model and load."
    return _made(facts, numbers, "Latency", "seconds", measures, note)


def _outcomes(facts: CaseFacts, numbers: Numbers) -> Chart:
    measures: dict[str, Callable[[Bucket], float | None]] = {
        "failed": lambda bucket: bucket.error_rate,
        "refused": lambda bucket: bucket.refusal_rate,
    }
    return _made(facts, numbers, "Failed and refused calls", "share of calls", measures)


def _traffic(facts: CaseFacts, numbers: Numbers) -> Chart:
    return _made(facts, numbers, "Calls", "calls", {"calls": lambda bucket: float(bucket.calls)})


def _outputs(facts: CaseFacts, numbers: Numbers) -> Chart:
    """The features of outputs that moved most after the onset, in deviations of what they were before it."""
    baseline = numbers.baseline
    known = baseline.answers >= _LEAST_ANSWERS and len(baseline.mean) == len(baseline.deviation) == len(STYLE)
    moved = _moved(facts, numbers) if known else []
    measures = {STYLE[index]: _shift(numbers, index) for index in moved}
    note = f"The {len(moved)} of {len(STYLE)} features that moved most, against {baseline.answers:,} outputs before."
    return _made(facts, numbers, "Outputs against their baseline", "deviations of one output", measures, note)


def _moved(facts: CaseFacts, numbers: Numbers) -> list[int]:
    onset_s = facts.case.incident.onset_s
    after = [bucket for bucket in numbers.buckets if bucket.t >= onset_s and bucket.style]
    weights = sum(bucket.calls for bucket in after) or 1
    shifts = {
        index: abs(sum((_shift(numbers, index)(bucket) or 0.0) * bucket.calls for bucket in after) / weights)
        for index in range(len(STYLE))
    }
    return sorted(shifts, key=lambda index: -shifts[index])[:_MOST_FEATURES]


def _shift(numbers: Numbers, index: int) -> Callable[[Bucket], float | None]:
    mean, deviation = numbers.baseline.mean[index], numbers.baseline.deviation[index]

    def shift(bucket: Bucket) -> float | None:
        if index >= len(bucket.style) or deviation < _LEAST_DEVIATION:
            return None
        return (bucket.style[index] - mean) / deviation

    return shift


def _callers(facts: CaseFacts, numbers: Numbers) -> Chart:
    span = facts.span
    counts = {(each.t, each.principal): float(each.calls) for each in numbers.callers}
    names = list(dict.fromkeys(each.principal for each in numbers.callers))
    heard = {each.t for each in numbers.buckets}
    times = buckets(span.since_s, span.until_s, span.step_s)
    return Chart(
        title="Calls by principal",
        unit="calls",
        frame=_frame(facts, tuple(heard)),
        times_s=tuple(t + span.step_s / 2.0 for t in times),
        lines=tuple(
            Line(name=name, values=tuple(counts.get((t, name), 0.0 if t in heard else None) for t in times))
            for name in names
        ),
        note="Those the incident names, then those with most calls since the onset.",
    )
