"""What a report knows, as it was read from the store: frozen values, of which pages are made without asking again."""

from __future__ import annotations

import msgspec

from detectors.types import Severity
from streams.cases.case_files import Case, Extent, Precision
from streams.cases.case_provenance import Provenance
from streams.cases.incidents import Verdict


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """From when until when, unix seconds, in buckets of `step_s` whole seconds."""

    since_s: float
    until_s: float
    step_s: int


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A finding, without its evidence."""

    finding_id: str
    detector: str
    scope: str
    subject: str
    deployment: str
    time_s: float
    onset_s: float
    severity: Severity
    summary: str
    score: float | None
    threshold: float | None
    event_id: str


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment in the span; `calls_before` are of as long a span before it. Rates are None where nobody told."""

    deployment: str
    calls: int
    calls_before: int
    principals: int
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    error_rate: float | None = None
    refusal_rate: float | None = None
    last_s: float


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment in one bucket of time."""

    t: int
    deployment: str
    calls: int
    p95_s: float | None = None
    error_rate: float | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many findings of one severity there were in a bucket of time."""

    t: int
    severity: Severity
    findings: int


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector said in the span."""

    detector: str
    findings: int
    severity: Severity
    subjects: int
    last_s: float


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A principal in the span; `severity` is the worst of its findings."""

    principal: str
    calls: int
    tokens: float
    networks: int
    agents: int
    deployments: tuple[str, ...]
    refusal_rate: float | None = None
    findings: int = 0
    severity: Severity | None = None


class Dead(msgspec.Struct, frozen=True, kw_only=True):
    """Why records could not be read, how often, and how one of them begins."""

    reason: str
    letters: int
    letters_before: int
    last_s: float
    example: str


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """Detectors that lack a field in most events of a deployment, with what they lack."""

    deployment: str
    events: int
    blind: tuple[str, ...]


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the installation over a span; `made_s` is when it was asked. `heard` are buckets with events."""

    version: str
    made_s: float
    span: Span
    cases: tuple[Case, ...]
    tallies: tuple[Tally, ...]
    findings_before: int
    detected: tuple[Detected, ...]
    judged: tuple[Precision, ...]
    told: tuple[Told, ...]
    traffic: tuple[Traffic, ...]
    slots: tuple[Slot, ...]
    heard: tuple[int, ...]
    callers: tuple[Caller, ...]
    dead: tuple[Dead, ...]
    sight: tuple[Sight, ...]


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """The affected deployment in one bucket; `style` are the means of `features.STYLE`, None where no text was."""

    t: int
    calls: int
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    ttft_s: float | None = None
    error_rate: float | None = None
    refusal_rate: float | None = None
    style: tuple[float, ...] = ()


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The last answers before the onset: how many, and mean and deviation of each feature of `features.STYLE`."""

    answers: int
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()


class CallerSlot(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one principal in one bucket."""

    t: int
    principal: str
    calls: int


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A combination of models and components that answered around the onset, and when it was first and last seen."""

    model: str | None
    served_model: str | None
    components: dict[str, str]
    calls: int
    first_s: float
    last_s: float


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the sample; `prompt` and `output` are None unless texts were asked for and are stored.

    `prompt_chars` and `output_chars` count what is stored, of which only the beginning is here.
    """

    event_id: str
    time_s: float
    named: bool
    principal: str | None = None
    served_model: str | None = None
    latency_s: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    failed: bool | None = None
    refused: bool | None = None
    finish_reason: str | None = None
    error_type: str | None = None
    prompt: str | None = None
    prompt_chars: int | None = None
    output: str | None = None
    output_chars: int | None = None


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """What events say around an incident. For who may not read events there is none of it."""

    extent: Extent | None
    buckets: tuple[Bucket, ...]
    baseline: Baseline
    callers: tuple[CallerSlot, ...]
    served: tuple[Served, ...]
    calls: tuple[Call, ...]


class CaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One incident and what is known around it; `with_texts` says whether texts of calls were asked for.

    `numbers` and `provenance` are None for who may not read what they come from.
    """

    version: str
    made_s: float
    span: Span
    case: Case
    told: tuple[Told, ...]
    numbers: Numbers | None
    provenance: Provenance | None = None
    history: tuple[Verdict, ...] = ()
    with_texts: bool
