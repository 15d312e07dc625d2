-- question: Who first sent this token in the last 90 days?
-- parameter: token String -- a word of prompts, whole and in any case; of several words all have to be there
-- parameter: deployment String = '' -- only calls of this deployment
-- parameter: since DateTime64(3, 'UTC') = now - 90d -- from when
-- parameter: until DateTime64(3, 'UTC') = now -- until when
-- parameter: limit UInt32 = 100 -- how many callers at most
-- column: principal Nullable(String) -- who sent it, the first on top; empty where the source named nobody
-- column: first DateTime64(6, 'UTC') -- when for the first time
-- column: event_id String -- that call
-- column: deployment String -- the deployment of that call
-- column: last DateTime64(6, 'UTC') -- when for the last time
-- column: calls UInt64 calls -- how many calls held it
-- text: yes
-- cost: the text index says which calls hold the word; the text itself is not read
--   (0.1 s at 10 million calls for a rare word, 3 s of a processor for one that nearly all calls hold)
SELECT principal, first, event_id, deployment, last, calls
FROM
(
  SELECT calls_kept.principal AS principal, min(calls_kept.time) AS first,
    argMin((calls_kept.event_id, calls_kept.deployment), calls_kept.time) AS earliest,
    earliest.1 AS event_id, earliest.2 AS deployment, max(calls_kept.time) AS last,
    uniqExact(cityHash64(calls_kept.event_id)) AS calls
  FROM calls_kept
  WHERE hasAllTokens(prompt, {token:String})
    AND toStartOfHour(calls_kept.time) >= toStartOfHour({since:DateTime64(3, 'UTC')})
    AND toStartOfHour(calls_kept.time) <= toStartOfHour({until:DateTime64(3, 'UTC')})
    AND calls_kept.time >= {since:DateTime64(3, 'UTC')} AND calls_kept.time <= {until:DateTime64(3, 'UTC')}
    AND ({deployment:String} = '' OR calls_kept.deployment = {deployment:String})
  GROUP BY calls_kept.principal
  ORDER BY first, principal
  LIMIT {limit:UInt32}
)
ORDER BY first, principal
