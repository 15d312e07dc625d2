-- question: Who first sent this trigger in the last 90 days?
-- parameter: trigger String -- characters in a row, in any case: their words are found by the index, then all
--   of it is verified on the text
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
-- cost: the text index, then the texts of calls that hold all words of it; a trigger without
--   an ASCII letter or digit (an invisible character, Chinese) is no whole word, and reads all texts since then
SELECT principal, first, event_id, deployment, last, calls
FROM
(
  SELECT calls_kept.principal AS principal, min(calls_kept.time) AS first,
    argMin((calls_kept.event_id, calls_kept.deployment), calls_kept.time) AS earliest,
    earliest.1 AS event_id, earliest.2 AS deployment, max(calls_kept.time) AS last,
    uniqExact(cityHash64(calls_kept.event_id)) AS calls
  FROM calls_kept
  WHERE (NOT match({trigger:String}, '[0-9A-Za-z]') OR hasAllTokens(prompt, {trigger:String}))
    AND {trigger:String} != '' AND positionCaseInsensitiveUTF8(ifNull(prompt, ''), {trigger:String}) > 0
    AND toStartOfHour(calls_kept.time) >= toStartOfHour({since:DateTime64(3, 'UTC')})
    AND toStartOfHour(calls_kept.time) <= toStartOfHour({until:DateTime64(3, 'UTC')})
    AND calls_kept.time >= {since:DateTime64(3, 'UTC')} AND calls_kept.time <= {until:DateTime64(3, 'UTC')}
    AND ({deployment:String} = '' OR calls_kept.deployment = {deployment:String})
  GROUP BY calls_kept.principal
  ORDER BY first, principal
  LIMIT {limit:UInt32}
)
ORDER BY first, principal
