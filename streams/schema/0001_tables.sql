-- The tables of inferwatch. Every row has a deterministic identity in its order key, so a replay after a
-- crash replaces rows with themselves. Partitions follow the time of the Kafka record, which a replay
-- repeats, never the time an event claims. {days} is the retention when the migration runs.

CREATE TABLE IF NOT EXISTS inference_events
(
    event_id String CODEC(ZSTD(1)),
    topic LowCardinality(String),
    partition UInt32,
    offset Int64 CODEC(Delta, ZSTD(1)),
    event_index UInt32,
    record_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    source LowCardinality(String),
    operation LowCardinality(Nullable(String)),
    deployment LowCardinality(String),
    model LowCardinality(Nullable(String)),
    served_model LowCardinality(Nullable(String)),
    provider LowCardinality(Nullable(String)),
    components Map(LowCardinality(String), String),
    principal Nullable(String) CODEC(ZSTD(1)),
    network Nullable(String) CODEC(ZSTD(1)),
    user_agent Nullable(String) CODEC(ZSTD(1)),
    session Nullable(String) CODEC(ZSTD(1)),
    region LowCardinality(Nullable(String)),
    input_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    output_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    cached_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    reasoning_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    temperature Nullable(Float64) CODEC(ZSTD(1)),
    top_p Nullable(Float64) CODEC(ZSTD(1)),
    max_tokens Nullable(Int64) CODEC(ZSTD(1)),
    n Nullable(Int64) CODEC(ZSTD(1)),
    logprobs Nullable(Bool) CODEC(ZSTD(1)),
    top_logprobs Nullable(Int64) CODEC(ZSTD(1)),
    logit_bias Nullable(Int64) CODEC(ZSTD(1)),
    stream Nullable(Bool) CODEC(ZSTD(1)),
    latency_s Nullable(Float64) CODEC(ZSTD(1)),
    ttft_s Nullable(Float64) CODEC(ZSTD(1)),
    failed Nullable(Bool) CODEC(ZSTD(1)),
    refused Nullable(Bool) CODEC(ZSTD(1)),
    finish_reason LowCardinality(Nullable(String)),
    error_type LowCardinality(Nullable(String)),
    http_status Nullable(UInt16) CODEC(ZSTD(1)),
    cost_usd Nullable(Float64) CODEC(ZSTD(1)),
    prompt Nullable(String) CODEC(ZSTD(3)),
    output Nullable(String) CODEC(ZSTD(3)),
    system Nullable(String) CODEC(ZSTD(3)),
    conversation String COMMENT 'JSON: input messages before the prompt, tool calls, documents' CODEC(ZSTD(3)),
    features String COMMENT 'JSON: the tabular input of a classic model' CODEC(ZSTD(3)),
    prediction Nullable(String) CODEC(ZSTD(1)),
    score Nullable(Float64) CODEC(ZSTD(1)),
    egress_hosts Array(String) CODEC(ZSTD(1)),
    style Array(Float32) COMMENT 'features.STYLE in order; empty when there was no text' CODEC(ZSTD(1)),
    prompt_hash Nullable(UInt64) CODEC(ZSTD(1)),
    prompt_template Nullable(UInt64) CODEC(ZSTD(1)),
    prompt_simhash Nullable(UInt64) CODEC(ZSTD(1)),
    trace_id Nullable(String) CODEC(ZSTD(1)),
    span_id Nullable(String) CODEC(ZSTD(1)),
    response_id Nullable(String) CODEC(ZSTD(1)),
    INDEX by_event_id event_id TYPE bloom_filter GRANULARITY 1,
    INDEX by_response_id response_id TYPE bloom_filter GRANULARITY 1,
    INDEX by_trace_id trace_id TYPE bloom_filter GRANULARITY 1,
    INDEX prompt_words prompt TYPE text(tokenizer = splitByNonAlpha, preprocessor = lower(prompt))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(record_time)
ORDER BY (deployment, toStartOfHour(time), principal, time, event_id)
TTL record_time + toIntervalDay({days})
SETTINGS ttl_only_drop_parts = 1, allow_nullable_key = 1;

CREATE TABLE IF NOT EXISTS findings
(
    finding_id String CODEC(ZSTD(1)),
    detector LowCardinality(String),
    version UInt16,
    scope LowCardinality(String),
    subject String CODEC(ZSTD(1)),
    deployment LowCardinality(String),
    principal Nullable(String) CODEC(ZSTD(1)),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    onset DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    severity Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4),
    summary String CODEC(ZSTD(3)),
    score Float64,
    threshold Float64,
    budget_share Float64,
    event_id String CODEC(ZSTD(1)),
    evidence String COMMENT 'JSON: [{name, observed, expected, unit}]' CODEC(ZSTD(3)),
    atlas Array(LowCardinality(String)),
    owasp Array(LowCardinality(String)),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (deployment, time, finding_id)
TTL stored_at + toIntervalDay({days});

CREATE TABLE IF NOT EXISTS dead_letters
(
    topic LowCardinality(String),
    partition UInt32,
    offset Int64,
    event_index Int32 COMMENT '-1: the whole record',
    record_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    topic_id LowCardinality(String),
    reason String CODEC(ZSTD(3)),
    content_type LowCardinality(String),
    size_bytes UInt64,
    sha256 String,
    head String COMMENT 'the first bytes, escaped and redacted' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(record_time)
ORDER BY (topic_id, topic, partition, offset, event_index, record_time)
TTL record_time + toIntervalDay({days})
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS detector_snapshots
(
    topic_id LowCardinality(String),
    scope LowCardinality(String),
    topic LowCardinality(String),
    subject String,
    partition UInt32,
    next_offset Int64,
    saved_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    envelope String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(next_offset)
ORDER BY (topic_id, scope, topic, subject)
TTL saved_at + toIntervalDay({days});

CREATE VIEW IF NOT EXISTS events_latest AS
SELECT * FROM inference_events FINAL SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE VIEW IF NOT EXISTS findings_latest AS
SELECT * FROM findings FINAL;

CREATE VIEW IF NOT EXISTS dead_letters_latest AS
SELECT * FROM dead_letters FINAL SETTINGS do_not_merge_across_partitions_select_final = 1;
