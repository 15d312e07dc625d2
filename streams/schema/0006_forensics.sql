-- What questions after an incident need: words of answers, who and what by name without a scan, tools that were called,
-- and first and last sights. Which of these, and what each costs, was measured: `python -m tests.speed.schema`.
-- Columns and indexes are built for what is stored already by mutations that nobody waits for; until they end, answers
-- are right and slower. All of it may run again.

ALTER TABLE inference_events
    ADD COLUMN IF NOT EXISTS tools Array(LowCardinality(String)) DEFAULT if(
        position(conversation, '"tool_calls"') = 0, [],
        arrayDistinct(arrayFilter(each -> each != '', arrayFlatten(arrayMap(message -> message.1.1,
            JSONExtract(conversation, 'tool_calls', 'Array(Tuple(tool_calls Array(Tuple(name String))))'))))))
        COMMENT 'names of the tools that the answer called' CODEC(ZSTD(1)) AFTER egress_hosts;

ALTER TABLE inference_events
    ADD INDEX IF NOT EXISTS output_words output TYPE text(tokenizer = splitByNonAlpha, preprocessor = lower(output)),
    ADD INDEX IF NOT EXISTS by_principal principal TYPE bloom_filter GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_session session TYPE bloom_filter GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_prompt_hash prompt_hash TYPE bloom_filter GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_prompt_template prompt_template TYPE bloom_filter GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_egress_host egress_hosts TYPE bloom_filter GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_tool tools TYPE bloom_filter GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_digest mapValues(components) TYPE bloom_filter GRANULARITY 1;

ALTER TABLE inference_events
    MATERIALIZE COLUMN tools,
    MATERIALIZE INDEX output_words,
    MATERIALIZE INDEX by_principal,
    MATERIALIZE INDEX by_session,
    MATERIALIZE INDEX by_prompt_hash,
    MATERIALIZE INDEX by_prompt_template,
    MATERIALIZE INDEX by_egress_host,
    MATERIALIZE INDEX by_tool,
    MATERIALIZE INDEX by_digest;

-- First and last sights: a row for each name, place and month. Hosts and tools of calls, digests of what served them.

CREATE TABLE IF NOT EXISTS sightings
(
    kind LowCardinality(String) COMMENT 'host, digest or tool',
    name String CODEC(ZSTD(1)),
    component LowCardinality(String) COMMENT 'of a digest: of which component',
    deployment LowCardinality(String),
    month Date COMMENT 'of the record''s time',
    first SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    calls SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY month
ORDER BY (kind, name, component, deployment)
TTL month + toIntervalMonth(1) + toIntervalDay({days})
SETTINGS ttl_only_drop_parts = 1;

-- What is stored already is counted anew each time, so that a second run counts nothing twice; calls that a worker
-- stores in these seconds may be.

DROP VIEW IF EXISTS sightings_of_events;

TRUNCATE TABLE IF EXISTS sightings;

CREATE MATERIALIZED VIEW IF NOT EXISTS sightings_of_events TO sightings AS
SELECT told.1 AS kind, told.3 AS name, told.2 AS component, deployment, month, min(earliest) AS first, max(latest) AS last,
    sum(counted) AS calls
FROM
(
    SELECT deployment, toStartOfMonth(record_time) AS month, components, egress_hosts, tools,
        min(time) AS earliest, max(time) AS latest, count() AS counted
    FROM inference_events
    GROUP BY deployment, month, components, egress_hosts, tools
)
ARRAY JOIN arrayConcat(
    arrayMap(each -> ('host', '', each), egress_hosts), arrayMap(each -> ('tool', '', toString(each)), tools),
    arrayMap((part, digest) -> ('digest', toString(part), digest), mapKeys(components), mapValues(components))) AS told
GROUP BY kind, name, component, deployment, month;

INSERT INTO sightings
SELECT told.1 AS kind, told.3 AS name, told.2 AS component, deployment, month, min(earliest) AS first, max(latest) AS last,
    sum(counted) AS calls
FROM
(
    SELECT deployment, toStartOfMonth(record_time) AS month, components, egress_hosts, tools,
        min(time) AS earliest, max(time) AS latest, count() AS counted
    FROM inference_events
    GROUP BY deployment, month, components, egress_hosts, tools
)
ARRAY JOIN arrayConcat(
    arrayMap(each -> ('host', '', each), egress_hosts), arrayMap(each -> ('tool', '', toString(each)), tools),
    arrayMap((part, digest) -> ('digest', toString(part), digest), mapKeys(components), mapValues(components))) AS told
GROUP BY kind, name, component, deployment, month;
