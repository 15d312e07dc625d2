-- Custody: the log of access, holds with copies of what they keep, exports, and erasures.

-- Who read texts, held, exported or erased what, when and why. Only ever added to, and without a time to live: it
-- outlives what it is about, and holds neither texts nor pseudonyms.

CREATE TABLE IF NOT EXISTS access_log
(
    time DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    access_id String COMMENT 'the same when it begins and when it has ended',
    who String,
    verb LowCardinality(String),
    why String CODEC(ZSTD(3)),
    what String CODEC(ZSTD(3)),
    parameters Map(LowCardinality(String), String) COMMENT 'of what may be a text, the length' CODEC(ZSTD(3)),
    subjects Array(String) COMMENT 'fingerprints of pseudonyms',
    rows Nullable(UInt64),
    outcome LowCardinality(String) COMMENT 'begun, done or failed'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, access_id);

-- What is kept beyond its time to live for an incident, why and by whom; the latest row of a hold counts. A copy of
-- each row is in a table of the same shape without a time to live, one partition for each hold: to release one drops
-- its partition, and what another hold keeps too stays in that one's.

CREATE TABLE IF NOT EXISTS holds
(
    hold_id String,
    incident_id String,
    deployment LowCardinality(String),
    reason String CODEC(ZSTD(3)),
    made_by String,
    made_at DateTime64(3, 'UTC'),
    copied_at DateTime64(3, 'UTC') COMMENT '1970: the copying has not ended',
    rows Map(LowCardinality(String), UInt64) COMMENT 'by table',
    released_by String,
    release_reason String CODEC(ZSTD(3)),
    released_at DateTime64(3, 'UTC') COMMENT '1970: it holds',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY hold_id;

CREATE TABLE IF NOT EXISTS held_inference_events
(
    hold_id String,
    event_id String,
    topic LowCardinality(String),
    partition UInt32,
    offset Int64,
    event_index UInt32,
    record_time DateTime64(3, 'UTC'),
    time DateTime64(6, 'UTC'),
    source LowCardinality(String),
    operation LowCardinality(Nullable(String)),
    deployment LowCardinality(String),
    model LowCardinality(Nullable(String)),
    served_model LowCardinality(Nullable(String)),
    provider LowCardinality(Nullable(String)),
    components Map(LowCardinality(String), String),
    principal Nullable(String),
    network Nullable(String),
    user_agent Nullable(String),
    session Nullable(String),
    region LowCardinality(Nullable(String)),
    input_tokens Nullable(Int64),
    output_tokens Nullable(Int64),
    cached_tokens Nullable(Int64),
    reasoning_tokens Nullable(Int64),
    temperature Nullable(Float64),
    top_p Nullable(Float64),
    max_tokens Nullable(Int64),
    n Nullable(Int64),
    logprobs Nullable(Bool),
    top_logprobs Nullable(Int64),
    logit_bias Nullable(Int64),
    stream Nullable(Bool),
    latency_s Nullable(Float64),
    ttft_s Nullable(Float64),
    failed Nullable(Bool),
    refused Nullable(Bool),
    finish_reason LowCardinality(Nullable(String)),
    error_type LowCardinality(Nullable(String)),
    http_status Nullable(UInt16),
    cost_usd Nullable(Float64),
    prompt Nullable(String) CODEC(ZSTD(3)),
    output Nullable(String) CODEC(ZSTD(3)),
    system Nullable(String) CODEC(ZSTD(3)),
    conversation String CODEC(ZSTD(3)),
    features String CODEC(ZSTD(3)),
    prediction Nullable(String),
    score Nullable(Float64),
    egress_hosts Array(String),
    style Array(Float32),
    prompt_hash Nullable(UInt64),
    prompt_template Nullable(UInt64),
    prompt_simhash Nullable(UInt64),
    trace_id Nullable(String),
    span_id Nullable(String),
    response_id Nullable(String),
    tools Array(LowCardinality(String)),
    INDEX prompt_words prompt TYPE text(tokenizer = splitByNonAlpha, preprocessor = lower(prompt)),
    INDEX output_words output TYPE text(tokenizer = splitByNonAlpha, preprocessor = lower(output))
)
ENGINE = ReplacingMergeTree
PARTITION BY hold_id
ORDER BY (deployment, toStartOfHour(time), event_id);

CREATE TABLE IF NOT EXISTS held_findings
(
    hold_id String,
    finding_id String,
    detector LowCardinality(String),
    version UInt16,
    scope LowCardinality(String),
    subject String,
    deployment LowCardinality(String),
    principal Nullable(String),
    time DateTime64(6, 'UTC'),
    onset DateTime64(6, 'UTC'),
    severity Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4),
    summary String CODEC(ZSTD(3)),
    score Float64,
    threshold Float64,
    budget_share Float64,
    event_id String,
    evidence String CODEC(ZSTD(3)),
    atlas Array(LowCardinality(String)),
    owasp Array(LowCardinality(String)),
    stored_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY hold_id
ORDER BY (deployment, time, finding_id);

CREATE TABLE IF NOT EXISTS held_incidents
(
    hold_id String,
    incident_id String,
    revision UInt64,
    deployment LowCardinality(String),
    scope LowCardinality(String),
    subject String,
    component LowCardinality(String),
    state Enum8('open' = 0, 'closed' = 1, 'merged' = 2),
    severity Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4),
    cause LowCardinality(String),
    summary String CODEC(ZSTD(3)),
    onset DateTime64(6, 'UTC'),
    first DateTime64(6, 'UTC'),
    last DateTime64(6, 'UTC'),
    findings UInt64,
    detectors Array(LowCardinality(String)),
    news LowCardinality(String),
    quiet String,
    body String CODEC(ZSTD(3)),
    stored_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY hold_id
ORDER BY (incident_id, revision);

CREATE TABLE IF NOT EXISTS held_incident_verdicts
(
    hold_id String,
    incident_id String,
    verdict LowCardinality(String),
    note String CODEC(ZSTD(3)),
    said_by String,
    assignee String,
    said_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY hold_id
ORDER BY (incident_id, said_at, verdict);

CREATE TABLE IF NOT EXISTS held_changes
(
    hold_id String,
    change_id String,
    deployment LowCardinality(String),
    component LowCardinality(String),
    state LowCardinality(String),
    new String,
    old Nullable(String),
    who String,
    ticket String,
    reason String CODEC(ZSTD(3)),
    holds_from Nullable(DateTime64(6, 'UTC')),
    holds_until Nullable(DateTime64(6, 'UTC')),
    decided DateTime64(6, 'UTC'),
    event_id String,
    stored_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY hold_id
ORDER BY (deployment, change_id);

CREATE TABLE IF NOT EXISTS held_component_reports
(
    hold_id String,
    report_id String,
    deployment LowCardinality(String),
    subject LowCardinality(String),
    source String,
    attested DateTime64(6, 'UTC'),
    digest Nullable(String),
    components Map(LowCardinality(String), String),
    risks Array(String),
    tools String CODEC(ZSTD(3)),
    abilities Map(LowCardinality(String), UInt64),
    event_id String,
    stored_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY hold_id
ORDER BY (deployment, report_id);

CREATE TABLE IF NOT EXISTS held_suppressions
(
    hold_id String,
    suppression_id String,
    deployment LowCardinality(String),
    detector LowCardinality(String),
    subject String,
    cause LowCardinality(String),
    severity Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4),
    reason String CODEC(ZSTD(3)),
    made_by String,
    made_at DateTime64(3, 'UTC'),
    until DateTime64(3, 'UTC'),
    ended_by String,
    ended_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(ended_at)
PARTITION BY hold_id
ORDER BY suppression_id;

CREATE TABLE IF NOT EXISTS held_baselines
(
    hold_id String,
    name String,
    deployment LowCardinality(String),
    since DateTime64(6, 'UTC'),
    until DateTime64(6, 'UTC'),
    events UInt64,
    who String,
    frozen DateTime64(6, 'UTC'),
    approved Nullable(DateTime64(6, 'UTC')),
    body String CODEC(ZSTD(3)),
    stored_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(stored_at)
PARTITION BY hold_id
ORDER BY name;

-- What is there, whether it stands in its own table or is held. A held row goes before the other, whose texts may have
-- been taken out. As long as nothing is held the condition is a constant, and nothing more is read than before.

CREATE VIEW IF NOT EXISTS events_kept AS
SELECT * EXCEPT (tools), tools FROM inference_events FINAL
WHERE (SELECT count() FROM held_inference_events) = 0
   OR event_id NOT IN (SELECT event_id FROM held_inference_events)
UNION ALL
SELECT * EXCEPT (hold_id) FROM held_inference_events FINAL;

-- The same for named questions, which count a call once however often it is there: nothing is merged as it is read, so
-- order key, indexes and projections of columns serve through it as they serve the tables, and held rows are added, not
-- put in the place of others. A call may be there more than once, and once without its texts.

CREATE VIEW IF NOT EXISTS calls_kept AS
SELECT * EXCEPT (tools), tools FROM inference_events
UNION ALL
SELECT * EXCEPT (hold_id) FROM held_inference_events;

CREATE VIEW IF NOT EXISTS findings_kept AS
SELECT * FROM findings FINAL
WHERE finding_id NOT IN (SELECT finding_id FROM held_findings)
UNION ALL
SELECT * EXCEPT (hold_id) FROM held_findings FINAL;

CREATE VIEW IF NOT EXISTS incidents_kept AS
SELECT * FROM
(
    SELECT * FROM incidents FINAL
    UNION ALL
    SELECT * EXCEPT (hold_id) FROM held_incidents FINAL
)
ORDER BY revision DESC LIMIT 1 BY incident_id;

CREATE VIEW IF NOT EXISTS verdicts_kept AS
SELECT * FROM incident_verdicts FINAL
WHERE (incident_id, said_at, verdict) NOT IN (SELECT incident_id, said_at, verdict FROM held_incident_verdicts)
UNION ALL
SELECT * EXCEPT (hold_id) FROM held_incident_verdicts FINAL;

CREATE VIEW IF NOT EXISTS changes_kept AS
SELECT * FROM changes FINAL
WHERE change_id NOT IN (SELECT change_id FROM held_changes)
UNION ALL
SELECT * EXCEPT (hold_id) FROM held_changes FINAL;

CREATE VIEW IF NOT EXISTS component_reports_kept AS
SELECT * FROM component_reports FINAL
WHERE report_id NOT IN (SELECT report_id FROM held_component_reports)
UNION ALL
SELECT * EXCEPT (hold_id) FROM held_component_reports FINAL;

CREATE VIEW IF NOT EXISTS suppressions_kept AS
SELECT * FROM
(
    SELECT * FROM suppressions FINAL
    UNION ALL
    SELECT * EXCEPT (hold_id) FROM held_suppressions FINAL
)
ORDER BY ended_at DESC LIMIT 1 BY suppression_id;

CREATE VIEW IF NOT EXISTS baselines_kept AS
SELECT * FROM
(
    SELECT * FROM baselines FINAL
    UNION ALL
    SELECT * EXCEPT (hold_id) FROM held_baselines FINAL
)
ORDER BY stored_at DESC LIMIT 1 BY name;

-- Files that were made of what is stored: where they are, and whom they are about, by fingerprint.

CREATE TABLE IF NOT EXISTS exports
(
    export_id String,
    made_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    kind LowCardinality(String) COMMENT 'subject or evidence',
    incident_id String,
    subjects Array(String) COMMENT 'fingerprints of pseudonyms',
    machine String,
    path String,
    sha256 String COMMENT 'of the file, of a directory of its manifest',
    made_by String,
    erased_at DateTime64(3, 'UTC') COMMENT '1970: it is there as far as is known',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY export_id;
