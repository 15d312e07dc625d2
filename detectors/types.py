"""The only schema: what one model call is, what a detector sees of it, and what it says.

Unknown is always ``None``, never ``0`` or ``""``. Times are unix seconds UTC, durations seconds,
money US dollars. Field names follow OpenTelemetry ``gen_ai.*`` where one exists; the name is given
in brackets. Values are frozen: a step of the pipeline makes a new one with `msgspec.structs.replace`.
"""

from __future__ import annotations

import enum

import msgspec

MAX_TIME_S = 4_102_444_800.0
"""2100-01-01: an event time beyond it is a broken clock, and the record's own time is used instead."""


CANARY = "canary"
"""The `operation` of a call that asks a known prompt again, of its own accord and on a schedule."""

APPROVED = "approved"
REJECTED = "rejected"
REPORT = "report"
BASELINE = "baseline"
NOTICES = (APPROVED, REJECTED, REPORT, BASELINE)
"""The kinds of `Notice`."""


class Severity(enum.StrEnum):
    """How soon a person must look, from a note to a page."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info up to 4 for critical: the number to compare and to store."""
        return list(Severity).index(self)


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool that a model asked for.

    `arguments` is the JSON text exactly as the model wrote it (it may not parse).
    """

    name: str | None = None
    arguments: str | None = None
    call_id: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation; `content` joins all text parts with a newline."""

    role: str
    content: str | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A retrieved document that was put before the model [gen_ai.retrieval.documents].

    `score` is the retriever's, in its own unit.
    """

    document_id: str | None = None
    source: str | None = None
    content: str | None = None
    score: float | None = None


class Components(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Digests of what served a call, as ``algorithm:hex`` or any stable version string.

    Only equality is ever looked at. `None` means the source did not say.
    """

    weights: str | None = None
    adapter: str | None = None
    tokenizer: str | None = None
    prompt_template: str | None = None
    image: str | None = None
    tool_list: str | None = None
    package_set: str | None = None
    guardrail: str | None = None
    retrieval_index: str | None = None


class InferenceEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model call, of an LLM or of a classic model, in our canonical shape.

    What: `operation` is ``chat``, ``text_completion``, ``embeddings``, ``predict``, ...
    [gen_ai.operation.name]. `deployment` is the monitored unit, a served model behind one endpoint
    [service.name, or the provider's endpoint].

    Texts: `input_messages` and `output_messages` [gen_ai.input.messages, gen_ai.output.messages],
    `system` [gen_ai.system_instructions], `documents`; any of them is `None` when the source does
    not deliver content.

    Tokens: `input_tokens`, `output_tokens`, `cached_tokens` (part of the input) and `reasoning_tokens`
    (part of the output) are counts >= 0 [gen_ai.usage.input_tokens, .output_tokens,
    .cache_read.input_tokens, .reasoning.output_tokens].

    Asked for: `temperature` >= 0, 0 <= `top_p` <= 1, `max_tokens` (output tokens), `n` (choices),
    `logprobs`, `top_logprobs` (count), `logit_bias` (number of biased tokens), `stream`
    [gen_ai.request.temperature, .top_p, .max_tokens, .choice.count, .stream].

    Timing: `time_s` is when the call began, unix seconds UTC; `latency_s` the whole call and
    `ttft_s` the time to the first token, both seconds >= 0 [span duration,
    gen_ai.server.time_to_first_token].

    Outcome: `finish_reasons` one per choice [gen_ai.response.finish_reasons]; `error_type` a short
    class of error [error.type]; `http_status` 100-599 [http.response.status_code]; `cost_usd`.

    Classic models: `features` (tabular input), `prediction` (label or number as text), `score`
    (confidence, or the regression value).

    Who: `principal` (API key hash, account, IAM identity) [enduser.id, user.id]; a keyed
    pseudonym in anything stored. `network` (client address or network) [client.address],
    `user_agent` [user_agent.original], `session` [gen_ai.conversation.id, session.id],
    `region` [cloud.region].

    What served: `model` as asked for [gen_ai.request.model], `served_model` as answered
    [gen_ai.response.model], `provider` [gen_ai.provider.name], `components`; `egress_hosts` are
    hosts the serving side was seen to connect to, if known.

    Trace: `trace_id`, `span_id` lowercase hex; `response_id` [gen_ai.response.id].

    `source` is the codec that decoded it; `event_id` is given by the pipeline
    (``topic id:partition:offset:index``), never by a sender.
    """

    deployment: str
    time_s: float | None = None
    event_id: str | None = None
    source: str | None = None
    operation: str | None = None

    input_messages: tuple[Message, ...] | None = None
    output_messages: tuple[Message, ...] | None = None
    system: str | None = None
    documents: tuple[Document, ...] | None = None

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: int | None = None
    stream: bool | None = None

    latency_s: float | None = None
    ttft_s: float | None = None

    finish_reasons: tuple[str, ...] | None = None
    error_type: str | None = None
    http_status: int | None = None
    cost_usd: float | None = None

    features: dict[str, float | str | bool | None] | None = None
    prediction: str | None = None
    score: float | None = None

    principal: str | None = None
    network: str | None = None
    user_agent: str | None = None
    session: str | None = None
    region: str | None = None

    model: str | None = None
    served_model: str | None = None
    provider: str | None = None
    components: Components | None = None
    egress_hosts: tuple[str, ...] | None = None

    trace_id: str | None = None
    span_id: str | None = None
    response_id: str | None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What a person or an attestation says of a deployment, among its calls.

    `kind` is one of `NOTICES`: a change a person ``approved`` or ``rejected``, a ``report`` of what was found on the
    serving side's disks, or that what the deployment does now is its new ``baseline``. `component` is the name of a
    field of `Components` or ``served_model`` ("" of a report and a baseline), `version` the digest it is about ("" of
    a baseline), `before` the one it takes the place of. An approval holds from `from_s` (`None`: from its own time
    on) until `until_s` (`None`: without an end), unix seconds UTC. `reference` is the change's id or ticket, cut at 96
    characters.

    Of a report only: `risks` are its concerns of level alarm as ``kind:place`` (at most 32 of 96 characters), `tools`
    the names of a tool list's tools with a digest each (at most 128).
    """

    kind: str
    component: str = ""
    version: str = ""
    before: str | None = None
    from_s: float | None = None
    until_s: float | None = None
    reference: str = ""
    risks: tuple[str, ...] = ()
    tools: tuple[tuple[str, str], ...] = ()


class Observation(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A compact, text-free row of features of one event; what detectors see.

    A field that is named as one of `InferenceEvent` means the same. `components` are in the order of
    `Components`; `prediction`, `error_type` and `finish_reason` (of the first choice) are cut at 64
    characters.

    Hashes are 64-bit, keyed, stable while the key is; `principal`, `network`, `user_agent` and
    `session` are keyed pseudonyms. `style` holds `features.STYLE` in that order, every value finite
    and within its documented domain. Counts come from the source where it gave them. `refused` is
    whether the output reads as a refusal; `failed` whether the call ended in an error.

    The `prompt_*` fields describe the last user message: `prompt_chars` its length, `prompt_hash` all of it
    but case and white space, `prompt_template` the skeleton of its first words with numbers, quotations and
    names taken out, `prompt_simhash` its first 64 words (near duplicates differ in few bits),
    `prompt_attack` whether its wording is that of an attack; `prompt_head` and `prompt_tail` are its first three
    and its last words, `prompt_place` is where its writing lies among people's (`prompt_space`, 13 signed bytes).

    `features` are the values of a tabular input as `tabular` makes them (numbers as floats, categories as hashes,
    at most 32, in the order of sorted names), `features_schema` the hash of all their names.

    `layout` holds `layouts.LAYOUT` of the output, `output_sketch` is a set of bits of how the output begins
    (`sketches`); `canary` is whether the call was made by `inferwatch canary run` to ask a known prompt again.

    `prompt_tokens` are hashes of words of the last user message (`tokens`), `output_opening` of the first words of
    the output. `hosts` are named by the output, by tool calls or by the serving side (`hosts`; pseudonyms where no
    text may be stored), `leaks` the kinds of secrets and of exfiltration in the output (`leaks`).

    An observation with a `notice` is no call: it tells what somebody said of the deployment at that point of its
    calls, and has nothing else but `components`, the digests that a report found.
    """

    event_id: str
    time_s: float
    deployment: str
    principal: str | None = None
    model: str | None = None
    served_model: str | None = None
    components: tuple[str | None, ...] | None = None
    network: str | None = None
    user_agent: str | None = None
    session: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    failed: bool | None = None
    error_type: str | None = None
    refused: bool | None = None
    finish_reason: str | None = None
    style: tuple[float, ...] | None = None
    prompt_chars: int | None = None
    prompt_hash: int | None = None
    prompt_template: int | None = None
    prompt_simhash: int | None = None
    temperature: float | None = None
    n: int | None = None
    top_logprobs: int | None = None
    logprobs: bool | None = None
    logit_bias: int | None = None
    cost_usd: float | None = None
    prediction: str | None = None
    score: float | None = None
    features: tuple[float | int | None, ...] | None = None
    features_schema: int | None = None
    output_sketch: bytes | None = None
    canary: bool | None = None
    region: str | None = None
    prompt_attack: bool | None = None
    prompt_tokens: bytes | None = None
    output_opening: int | None = None
    hosts: tuple[str, ...] | None = None
    leaks: tuple[str, ...] | None = None
    prompt_head: int | None = None
    prompt_tail: int | None = None
    prompt_place: bytes | None = None
    layout: tuple[float, ...] | None = None
    notice: Notice | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One measured fact behind a detection: `observed` against `expected`, in `unit`."""

    name: str
    observed: float | str
    expected: float | str | None = None
    unit: str = ""


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """What one detector saw in one observation.

    `score` and `threshold` share the detector's own unit (its metadata names it) and
    ``score >= threshold``. `onset_s` is the event time at which the change is estimated to have begun. `subject`
    names the cohort it is about where that is not the subject the detector was made for. `rebaselines` asks that
    what compares how the deployment answers with its past begins afresh: the past is of no use from here on. `fact`
    names what is said by a detector that says each thing but once and rations that itself: it has a cool-down of its
    own, so that what is said first does not swallow the next.
    """

    summary: str
    severity: Severity
    score: float
    threshold: float
    onset_s: float
    evidence: tuple[Evidence, ...] = ()
    subject: str | None = None
    rebaselines: bool = False
    fact: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A detection with identity: the stored row.

    `finding_id` is a hash of detector, version, subject and `event_id`, so a replay writes the
    same row. `scope` is ``deployment``, ``principal`` or ``cohort`` (``topic`` for findings of the pipeline about a
    topic), `subject` the one it is about; `event_id` is "" where a clock, not an event, tipped it.
    `time_s` is the time of the event that tipped it; `budget_share` the false alarms per day this
    detector was allowed for this subject when the threshold was cut.
    """

    finding_id: str
    detector: str
    version: int
    scope: str
    subject: str
    deployment: str
    time_s: float
    onset_s: float
    severity: Severity
    summary: str
    score: float
    threshold: float
    budget_share: float
    event_id: str
    principal: str | None = None
    evidence: tuple[Evidence, ...] = ()
    atlas: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()
