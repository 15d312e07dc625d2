-- What arrived, per deployment and format, in buckets of five minutes of the record's time: what silence is judged
-- by, and which fields a source delivers. A view that follows inserts counts an event again that a replay stored
-- again: `first` and `last` and which buckets are not empty cannot suffer from that, counts are arrivals, and shares
-- of them are of the same arrivals on both sides.

CREATE TABLE IF NOT EXISTS arrivals
(
    deployment LowCardinality(String),
    source LowCardinality(String) COMMENT 'the format it came in',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)),
    first SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    events SimpleAggregateFunction(sum, UInt64),
    with_latency_s SimpleAggregateFunction(sum, UInt64),
    with_ttft_s SimpleAggregateFunction(sum, UInt64),
    with_principal SimpleAggregateFunction(sum, UInt64),
    with_style SimpleAggregateFunction(sum, UInt64),
    with_prompt_hash SimpleAggregateFunction(sum, UInt64),
    with_prompt_simhash SimpleAggregateFunction(sum, UInt64),
    with_prompt_template SimpleAggregateFunction(sum, UInt64),
    with_input_tokens SimpleAggregateFunction(sum, UInt64),
    with_output_tokens SimpleAggregateFunction(sum, UInt64),
    with_failed SimpleAggregateFunction(sum, UInt64),
    with_refused SimpleAggregateFunction(sum, UInt64),
    with_finish_reason SimpleAggregateFunction(sum, UInt64),
    with_model SimpleAggregateFunction(sum, UInt64),
    with_served_model SimpleAggregateFunction(sum, UInt64),
    with_components SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(bucket)
ORDER BY (deployment, source, bucket)
TTL bucket + toIntervalDay({days})
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS arrivals_of_events TO arrivals AS
SELECT
    deployment, source, toStartOfFiveMinutes(record_time) AS bucket,
    min(record_time) AS first, max(record_time) AS last, count() AS events,
    countIf(latency_s IS NOT NULL) AS with_latency_s,
    countIf(ttft_s IS NOT NULL) AS with_ttft_s,
    countIf(principal IS NOT NULL) AS with_principal,
    countIf(notEmpty(style)) AS with_style,
    countIf(prompt_hash IS NOT NULL) AS with_prompt_hash,
    countIf(prompt_simhash IS NOT NULL) AS with_prompt_simhash,
    countIf(prompt_template IS NOT NULL) AS with_prompt_template,
    countIf(input_tokens IS NOT NULL) AS with_input_tokens,
    countIf(output_tokens IS NOT NULL) AS with_output_tokens,
    countIf(failed IS NOT NULL) AS with_failed,
    countIf(refused IS NOT NULL) AS with_refused,
    countIf(finish_reason IS NOT NULL) AS with_finish_reason,
    countIf(model IS NOT NULL) AS with_model,
    countIf(served_model IS NOT NULL) AS with_served_model,
    countIf(notEmpty(components)) AS with_components
FROM inference_events
GROUP BY deployment, source, bucket;

CREATE VIEW IF NOT EXISTS coverage AS
SELECT
    arrivals.deployment AS deployment, arrivals.source AS source,
    toStartOfHour(arrivals.bucket) AS hour,
    sum(arrivals.events) AS events,
    max(arrivals.last) AS last_event,
    sum(arrivals.with_latency_s) / events AS latency_s,
    sum(arrivals.with_ttft_s) / events AS ttft_s,
    sum(arrivals.with_principal) / events AS principal,
    sum(arrivals.with_style) / events AS style,
    sum(arrivals.with_prompt_hash) / events AS prompt_hash,
    sum(arrivals.with_prompt_simhash) / events AS prompt_simhash,
    sum(arrivals.with_prompt_template) / events AS prompt_template,
    sum(arrivals.with_input_tokens) / events AS input_tokens,
    sum(arrivals.with_output_tokens) / events AS output_tokens,
    sum(arrivals.with_failed) / events AS failed,
    sum(arrivals.with_refused) / events AS refused,
    sum(arrivals.with_finish_reason) / events AS finish_reason,
    sum(arrivals.with_model) / events AS model,
    sum(arrivals.with_served_model) / events AS served_model,
    sum(arrivals.with_components) / events AS components
FROM arrivals
GROUP BY deployment, source, hour;
