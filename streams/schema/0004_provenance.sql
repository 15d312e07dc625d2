-- Provenance: what people decided of components, what attestations found, and the reference numbers that people keep.
-- A decision is known by what it is about, and the latest one counts; a repeated notice replaces itself.

CREATE TABLE IF NOT EXISTS changes
(
    change_id String,
    deployment LowCardinality(String),
    component LowCardinality(String) COMMENT 'a name of Components, served_model, or nothing for all of it',
    state LowCardinality(String) COMMENT 'approved, rejected, or baseline',
    new String CODEC(ZSTD(1)),
    old Nullable(String) CODEC(ZSTD(1)),
    who String,
    ticket String,
    reason String CODEC(ZSTD(3)),
    holds_from Nullable(DateTime64(6, 'UTC')),
    holds_until Nullable(DateTime64(6, 'UTC')),
    decided DateTime64(6, 'UTC'),
    event_id String CODEC(ZSTD(1)),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(decided)
ORDER BY (deployment, change_id)
TTL stored_at + toIntervalDay({days});

CREATE TABLE IF NOT EXISTS component_reports
(
    report_id String,
    deployment LowCardinality(String),
    subject LowCardinality(String) COMMENT 'model, packages, tools or code',
    source String CODEC(ZSTD(1)),
    attested DateTime64(6, 'UTC'),
    digest Nullable(String) CODEC(ZSTD(1)),
    components Map(LowCardinality(String), String),
    risks Array(String) CODEC(ZSTD(1)),
    tools String COMMENT 'JSON: names with their digests' CODEC(ZSTD(3)),
    abilities Map(LowCardinality(String), UInt64),
    event_id String CODEC(ZSTD(1)),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(attested)
ORDER BY (deployment, report_id)
TTL stored_at + toIntervalDay({days});

CREATE TABLE IF NOT EXISTS baselines
(
    name String,
    deployment LowCardinality(String),
    since DateTime64(6, 'UTC'),
    until DateTime64(6, 'UTC'),
    events UInt64,
    who String,
    frozen DateTime64(6, 'UTC'),
    approved Nullable(DateTime64(6, 'UTC')),
    body String COMMENT 'JSON: the whole baseline, with its numbers' CODEC(ZSTD(3)),
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY name
TTL stored_at + toIntervalDay({days});

CREATE VIEW IF NOT EXISTS changes_latest AS
SELECT * FROM changes FINAL;

CREATE VIEW IF NOT EXISTS component_reports_latest AS
SELECT * FROM component_reports FINAL;

CREATE VIEW IF NOT EXISTS baselines_latest AS
SELECT * FROM baselines FINAL;
