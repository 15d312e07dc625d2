-- question: Who first sent this template in the last 90 days?
-- parameter: event String = '' -- the id of a call whose template is meant
-- parameter: prompt String = '' -- or a prompt of the template, as text
-- parameter: template UInt64 = 0 -- computed from `prompt` with the key of the installation; or the number that
--   events have
-- parameter: deployment String = '' -- only calls of this deployment
-- parameter: since DateTime64(3, 'UTC') = now - 90d -- from when
-- parameter: until DateTime64(3, 'UTC') = now -- until when
-- parameter: limit UInt32 = 100 -- how many callers at most
-- column: principal Nullable(String) -- who sent it, the first on top; empty where the source named nobody
-- column: first DateTime64(6, 'UTC') -- when for the first time
-- column: event_id String -- that call
-- column: deployment String -- the deployment of that call
-- column: last DateTime64(6, 'UTC') -- when for the last time
-- column: calls UInt64 calls -- how many calls were of it
-- column: prompts UInt64 prompts -- how many different prompts they had
-- text: no
-- cost: one column of numbers, skipped by its index where the template is not
SELECT principal, first, event_id, deployment, last, calls, prompts
FROM
(
  SELECT calls_kept.principal AS principal, min(calls_kept.time) AS first,
    argMin((calls_kept.event_id, calls_kept.deployment), calls_kept.time) AS earliest,
    earliest.1 AS event_id, earliest.2 AS deployment, max(calls_kept.time) AS last,
    uniqExact(cityHash64(calls_kept.event_id)) AS calls,
    uniqExact(calls_kept.prompt_hash) AS prompts
  FROM calls_kept
  WHERE prompt_template = if({template:UInt64} != 0, {template:UInt64},
      (SELECT any(prompt_template) FROM calls_kept WHERE {event:String} != '' AND event_id = {event:String}))
    AND ({prompt:String} = '' OR {template:UInt64} != 0)
    AND toStartOfHour(calls_kept.time) >= toStartOfHour({since:DateTime64(3, 'UTC')})
    AND toStartOfHour(calls_kept.time) <= toStartOfHour({until:DateTime64(3, 'UTC')})
    AND calls_kept.time >= {since:DateTime64(3, 'UTC')} AND calls_kept.time <= {until:DateTime64(3, 'UTC')}
    AND ({deployment:String} = '' OR calls_kept.deployment = {deployment:String})
  GROUP BY calls_kept.principal
  ORDER BY first, principal
  LIMIT {limit:UInt32}
)
ORDER BY first, principal
