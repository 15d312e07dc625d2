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
    detectors Array(LowCardinality(String)),
    news LowCardinality(String) COMMENT 'opened, worse, reopened or closed; empty: nobody was to be told of this revision',
    quiet String COMMENT 'why nobody was told all the same' CODEC(ZSTD(3)),
    body String COMMENT 'JSON: the whole incident, with causes, plan and actions' CODEC(ZSTD(3)),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (deployment, incident_id)
TTL stored_at + toIntervalDay({days});

CREATE TABLE IF NOT EXISTS incident_verdicts
(
    incident_id String,
    verdict LowCardinality(String) COMMENT 'true, false, benign, closed or assigned',
    note String CODEC(ZSTD(3)),
    said_by String,
    assignee String COMMENT 'of assigned: to whom',
    said_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (incident_id, said_at, verdict)
TTL said_at + toIntervalDay({days});

CREATE VIEW IF NOT EXISTS incidents_latest AS
SELECT * FROM incidents FINAL;

-- What people do not want to be told of for a while. The row with an end by hand counts; nothing is ever deleted
-- before its time.

CREATE TABLE IF NOT EXISTS suppressions
(
    suppression_id String,
    deployment LowCardinality(String),
    detector LowCardinality(String),
    subject String,
    cause LowCardinality(String),
    severity Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4) COMMENT 'the highest it covers',
    reason String CODEC(ZSTD(3)),
    made_by String,
    made_at DateTime64(3, 'UTC'),
    until DateTime64(3, 'UTC'),
    ended_by String,
    ended_at DateTime64(3, 'UTC') COMMENT '1970: not ended by hand'
)
ENGINE = ReplacingMergeTree(ended_at)
ORDER BY suppression_id
TTL until + toIntervalDay({days});

-- How often a detector is right, of the incidents it had a part in and people gave a verdict on. Benign ones (real,
-- harmless) are counted beside; low and high are the bounds of Wilson's interval of 95 %.

CREATE VIEW IF NOT EXISTS detector_precision AS
SELECT detector, confirmed, refuted, benign, judged, precision,
       (precision + 1.9208 / judged - spread) / (1 + 3.8416 / judged) AS low,
       (precision + 1.9208 / judged + spread) / (1 + 3.8416 / judged) AS high
FROM
(
    SELECT *, confirmed + refuted AS judged, if(judged = 0, NULL, confirmed / judged) AS precision,
           1.96 * sqrt(precision * (1 - precision) / judged + 0.9604 / pow(judged, 2)) AS spread
    FROM
    (
        SELECT detector, countIf(what = 'true') AS confirmed, countIf(what = 'false') AS refuted,
               countIf(what = 'benign') AS benign
        FROM
        (
            SELECT incident_id, argMax(verdict, said_at) AS what FROM incident_verdicts
            WHERE verdict IN ('true', 'false', 'benign') GROUP BY incident_id
        ) AS said
        INNER JOIN
        (
            SELECT incident_id, arrayJoin(detectors) AS detector FROM incidents FINAL
        ) AS incident ON incident.incident_id = said.incident_id
        GROUP BY detector
    )
);
