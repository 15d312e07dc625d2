-- Small tables that dashboards read instead of millions of events. Views that follow inserts fill them, so an event
-- that a replay stores again is counted again: figures are of arrivals, and shares and percentiles hardly move.
-- Buckets follow the time that an event claims; partitions and retention follow the record's time, as in the table of
-- events: an event that claims another century must neither open a partition of its own nor stay for ever. Sums are
-- floats, because a sender may claim any number of tokens. Durations are counted in buckets that are 4.4 % wide, from
-- 0.1 ms to 10^6 s and cut there: percentiles and heatmaps come out of the same few numbers, on every build of ClickHouse.

CREATE TABLE IF NOT EXISTS traffic
(
    deployment LowCardinality(String),
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    model LowCardinality(String) COMMENT 'empty: not told',
    served_model LowCardinality(String) COMMENT 'empty: not told',
    build UInt64 COMMENT 'a hash of the components',
    month Date COMMENT 'of the record''s time',
    components SimpleAggregateFunction(any, Map(String, String)) CODEC(ZSTD(1)),
    calls SimpleAggregateFunction(sum, UInt64),
    told_failed SimpleAggregateFunction(sum, UInt64),
    failed SimpleAggregateFunction(sum, UInt64),
    told_refused SimpleAggregateFunction(sum, UInt64),
    refused SimpleAggregateFunction(sum, UInt64),
    told_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'of the input or of the output',
    input_tokens SimpleAggregateFunction(sum, Float64),
    output_tokens SimpleAggregateFunction(sum, Float64),
    told_cost SimpleAggregateFunction(sum, UInt64),
    cost_usd SimpleAggregateFunction(sum, Float64),
    told_style SimpleAggregateFunction(sum, UInt64),
    style AggregateFunction(sumForEach, Array(Float64)) COMMENT 'features.STYLE in order',
    latency SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) COMMENT 'calls by ceil(16 * log2(seconds))',
    ttft SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) COMMENT 'as latency'
)
ENGINE = AggregatingMergeTree
PARTITION BY month
ORDER BY (deployment, minute, model, served_model, build)
TTL month + toIntervalMonth(1) + toIntervalDay({days})
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS traffic_of_events TO traffic AS
SELECT
    deployment, toStartOfMinute(time) AS minute, ifNull(inference_events.model, '') AS model,
    ifNull(inference_events.served_model, '') AS served_model,
    sipHash64(inference_events.components) AS build, toStartOfMonth(record_time) AS month,
    any(inference_events.components) AS components,
    count() AS calls,
    count(inference_events.failed) AS told_failed, countIf(inference_events.failed) AS failed,
    count(inference_events.refused) AS told_refused, countIf(inference_events.refused) AS refused,
    countIf(inference_events.input_tokens IS NOT NULL OR inference_events.output_tokens IS NOT NULL) AS told_tokens,
    sum(toFloat64(ifNull(inference_events.input_tokens, 0))) AS input_tokens,
    sum(toFloat64(ifNull(inference_events.output_tokens, 0))) AS output_tokens,
    count(inference_events.cost_usd) AS told_cost, sum(ifNull(inference_events.cost_usd, 0)) AS cost_usd,
    countIf(notEmpty(inference_events.style)) AS told_style,
    sumForEachState(arrayMap(each -> toFloat64(each), inference_events.style)) AS style,
    sumMapIf(map(toInt16(ceil(16 * log2(least(greatest(ifNull(latency_s, 1), 0.0001), 1000000)))), toUInt64(1)),
        latency_s IS NOT NULL) AS latency,
    sumMapIf(map(toInt16(ceil(16 * log2(least(greatest(ifNull(ttft_s, 1), 0.0001), 1000000)))), toUInt64(1)),
        ttft_s IS NOT NULL) AS ttft
FROM inference_events
GROUP BY deployment, minute, model, served_model, build, month;

CREATE TABLE IF NOT EXISTS callers
(
    deployment LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    principal String CODEC(ZSTD(1)),
    month Date COMMENT 'of the record''s time',
    calls SimpleAggregateFunction(sum, UInt64),
    input_tokens SimpleAggregateFunction(sum, Float64),
    output_tokens SimpleAggregateFunction(sum, Float64),
    cost_usd SimpleAggregateFunction(sum, Float64),
    first SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
PARTITION BY month
ORDER BY (deployment, hour, principal)
TTL month + toIntervalMonth(1) + toIntervalDay({days})
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS callers_of_events TO callers AS
SELECT
    deployment, toStartOfHour(time) AS hour, assumeNotNull(inference_events.principal) AS principal,
    toStartOfMonth(record_time) AS month,
    count() AS calls,
    sum(toFloat64(ifNull(inference_events.input_tokens, 0))) AS input_tokens,
    sum(toFloat64(ifNull(inference_events.output_tokens, 0))) AS output_tokens,
    sum(ifNull(inference_events.cost_usd, 0)) AS cost_usd,
    min(time) AS first, max(time) AS last
FROM inference_events
WHERE inference_events.principal IS NOT NULL
GROUP BY deployment, hour, principal, month;

-- What a worker says of itself every few seconds, one row each time; the names are those of its page /metrics.

CREATE TABLE IF NOT EXISTS worker_metrics
(
    worker LowCardinality(String) COMMENT 'host and process',
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    numbers Map(LowCardinality(String), Float64) CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, worker)
TTL toDateTime(time) + toIntervalDay({days})
SETTINGS ttl_only_drop_parts = 1;
