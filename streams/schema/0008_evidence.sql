-- Evidence: every revision of an incident, where the table of incidents keeps the latest only. A revision that is written
-- again replaces itself, so what is exported of an incident does not depend on when parts were merged.

CREATE TABLE IF NOT EXISTS incident_revisions
(
    incident_id String CODEC(ZSTD(1)),
    revision UInt64,
    deployment LowCardinality(String),
    scope LowCardinality(String),
    subject String CODEC(ZSTD(1)),
    component LowCardinality(String),
    state LowCardinality(String),
    severity LowCardinality(String),
    cause LowCardinality(String),
    summary String CODEC(ZSTD(3)),
    onset DateTime64(6, 'UTC'),
    first DateTime64(6, 'UTC'),
    last DateTime64(6, 'UTC'),
    findings UInt64,
    detectors Array(LowCardinality(String)),
    news LowCardinality(String),
    quiet String CODEC(ZSTD(3)),
    body String COMMENT 'JSON: the whole incident as it was then' CODEC(ZSTD(3)),
    stored_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (incident_id, revision)
TTL stored_at + toIntervalDay({days});

CREATE MATERIALIZED VIEW IF NOT EXISTS revisions_of_incidents TO incident_revisions AS
SELECT incident_id, revision, deployment, scope, subject, component, toString(incidents.state) AS state,
       toString(incidents.severity) AS severity, cause, summary, onset, first, last, findings, detectors, news, quiet,
       body, stored_at
FROM incidents;

INSERT INTO incident_revisions
SELECT incident_id, revision, deployment, scope, subject, component, toString(incidents.state) AS state,
       toString(incidents.severity) AS severity, cause, summary, onset, first, last, findings, detectors, news, quiet,
       body, stored_at
FROM incidents AS incidents;
