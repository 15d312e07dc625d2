-- question: What differs after this moment from before: outputs, latency, refusals, callers?
-- parameter: deployment String -- of which deployment
-- parameter: moment DateTime64(6, 'UTC') -- the moment, such as the onset of an incident or a release
-- parameter: hours Float64 = 24 -- how many hours before it are compared with as many after it
-- parameter: principal String = '' -- only calls of this principal
-- parameter: served_model String = '' -- only answers of this model
-- column: measure String -- what was measured; style_ are features of how outputs are written
-- column: unit String -- its unit; share: 0 to 1
-- column: before Nullable(Float64) -- its value before the moment
-- column: after Nullable(Float64) -- its value since the moment
-- column: change Nullable(Float64) share -- how much it grew, of what it was: 0.5 is half as much more
-- column: shift Nullable(Float64) sd -- of means: by how many standard deviations of the values before
-- column: told_before UInt64 calls -- how many calls told it before
-- column: told_after UInt64 calls -- and how many since then
-- text: no
-- cost: a dozen columns of the calls of one deployment in twice `hours`, merged as they are read
WITH
  toDateTime64({moment:DateTime64(6, 'UTC')}, 6, 'UTC') - toIntervalSecond(toUInt32(least(abs({hours:Float64}), 87600.) * 3600)) AS since,
  toDateTime64({moment:DateTime64(6, 'UTC')}, 6, 'UTC') + toIntervalSecond(toUInt32(least(abs({hours:Float64}), 87600.) * 3600)) AS until,
  ['log_chars', 'log_words', 'word_length', 'uppercase', 'digits', 'punctuation', 'markup', 'non_ascii', 'line_breaks', 'commas', 'sentence_ends', 'entropy', 'repetition', 'list_items', 'code_fences', 'capital_lines'] AS features
SELECT one.1 AS measure, one.2 AS unit, round(anyIf(one.3, NOT later), 6) AS before, round(anyIf(one.3, later), 6) AS after,
  round((after - before) / nullIf(abs(before), 0), 4) AS change,
  round((after - before) / nullIf(anyIf(one.4, NOT later), 0), 4) AS shift,
  maxIf(one.5, NOT later) AS told_before, maxIf(one.5, later) AS told_after
FROM
(
  SELECT compared.later AS later, arrayJoin(arrayConcat(compared.numbers,
    arrayMap((name, mean, spread) -> (concat('style_', name), 'mean', toNullable(mean), toNullable(spread), compared.styled),
      arraySlice(features, 1, length(compared.means)), compared.means, compared.spreads))) AS one
  FROM
  (
    SELECT events_kept.time >= {moment:DateTime64(6, 'UTC')} AS later,
      [
        ('calls', 'calls', toNullable(toFloat64(count())), NULL, count()),
        ('callers', 'callers', toNullable(toFloat64(uniqExact(events_kept.principal))), NULL, count(events_kept.principal)),
        ('sessions', 'sessions', toNullable(toFloat64(uniqExact(events_kept.session))), NULL, count(events_kept.session)),
        ('templates', 'templates', toNullable(toFloat64(uniqExact(events_kept.prompt_template))), NULL, count(events_kept.prompt_template)),
        ('failed', 'share', toFloat64(countIf(events_kept.failed)) / nullIf(count(events_kept.failed), 0), NULL, count(events_kept.failed)),
        ('refused', 'share', toFloat64(countIf(events_kept.refused)) / nullIf(count(events_kept.refused), 0), NULL, count(events_kept.refused)),
        ('finished_length', 'share', toFloat64(countIf(events_kept.finish_reason = 'length')) / nullIf(count(events_kept.finish_reason), 0), NULL, count(events_kept.finish_reason)),
        ('finished_content_filter', 'share', toFloat64(countIf(events_kept.finish_reason = 'content_filter')) / nullIf(count(events_kept.finish_reason), 0), NULL, count(events_kept.finish_reason)),
        ('finished_tool_calls', 'share', toFloat64(countIf(events_kept.finish_reason = 'tool_calls')) / nullIf(count(events_kept.finish_reason), 0), NULL, count(events_kept.finish_reason)),
        ('latency_p50', 's', quantileExactOrNull(0.5)(events_kept.latency_s), NULL, count(events_kept.latency_s)),
        ('latency_p95', 's', quantileExactOrNull(0.95)(events_kept.latency_s), NULL, count(events_kept.latency_s)),
        ('latency_p99', 's', quantileExactOrNull(0.99)(events_kept.latency_s), NULL, count(events_kept.latency_s)),
        ('latency_mean', 's', avgOrNull(events_kept.latency_s), stddevPopOrNull(events_kept.latency_s), count(events_kept.latency_s)),
        ('ttft_p50', 's', quantileExactOrNull(0.5)(events_kept.ttft_s), NULL, count(events_kept.ttft_s)),
        ('ttft_p95', 's', quantileExactOrNull(0.95)(events_kept.ttft_s), NULL, count(events_kept.ttft_s)),
        ('input_tokens_mean', 'tokens', avgOrNull(events_kept.input_tokens), stddevPopOrNull(events_kept.input_tokens), count(events_kept.input_tokens)),
        ('output_tokens_mean', 'tokens', avgOrNull(events_kept.output_tokens), stddevPopOrNull(events_kept.output_tokens), count(events_kept.output_tokens)),
        ('cost_mean', 'USD', avgOrNull(events_kept.cost_usd), stddevPopOrNull(events_kept.cost_usd), count(events_kept.cost_usd))
      ] AS numbers,
      avgForEach(arrayMap(each -> toFloat64(each), arraySlice(events_kept.style, 1, 16))) AS means,
      stddevPopForEach(arrayMap(each -> toFloat64(each), arraySlice(events_kept.style, 1, 16))) AS spreads,
      countIf(notEmpty(events_kept.style)) AS styled
    FROM events_kept
    WHERE events_kept.deployment = {deployment:String}
      AND toStartOfHour(events_kept.time) >= toStartOfHour(since)
      AND toStartOfHour(events_kept.time) <= toStartOfHour(until)
      AND events_kept.time >= since AND events_kept.time < until
      AND ({principal:String} = '' OR events_kept.principal = {principal:String})
      AND ({served_model:String} = '' OR events_kept.served_model = {served_model:String})
    GROUP BY later
  ) AS compared
)
GROUP BY measure, unit
ORDER BY startsWith(measure, 'style_'), unit = 'share' DESC, measure
