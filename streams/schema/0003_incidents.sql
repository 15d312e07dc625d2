-- Incidents: what `triage` makes of findings. A revision depends on the findings alone, so whoever writes it again
-- writes the same row; the highest one counts. What people say of an incident is in a table of its own, because
-- triage never reads it.

CREATE TABLE IF NOT EXISTS incidents
(
    incident_id String CODEC(ZSTD(1)),
    revision UInt64,
    deployment LowCardinality(String),
    scope LowCardinality(String),
    subject String CODEC(ZSTD(1)),
    component LowCardinality(String) COMMENT 'serving, monitoring or callers',
    state Enum8('open' = 0, 'closed' = 1, 'merged' = 2),
    severity Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4),
    cause LowCardinality(String) COMMENT 'the likeliest',
    summary String CODEC(ZSTD(3)),
    onset DateTime64(6, 'UTC'),
    first DateTime64(6, 'UTC'),
    last DateTime64(6, 'UTC'),
    findings UInt64,
    body String COMMENT 'JSON: the whole incident, with causes, plan and actions' CODEC(ZSTD(3)),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (deployment, incident_id)
TTL stored_at + toIntervalDay({days});

CREATE TABLE IF NOT EXISTS incident_verdicts
(
    incident_id String,
    verdict LowCardinality(String) COMMENT 'true, false, benign, or closed',
    note String CODEC(ZSTD(3)),
    said_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (incident_id, said_at, verdict)
TTL said_at + toIntervalDay({days});

CREATE VIEW IF NOT EXISTS incidents_latest AS
SELECT * FROM incidents FINAL;
