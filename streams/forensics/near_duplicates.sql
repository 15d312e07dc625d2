-- question: Which prompts are almost the same as this one, who sent them, and since when?
-- parameter: event String = '' -- the id of the call whose prompt is meant
-- parameter: prompt String = '' -- or the prompt, as text
-- parameter: simhash UInt64 = 0 -- computed from `prompt` with the key of the installation
-- parameter: bits UInt8 = 12 -- in how many of 64 bits a sketch may differ, to be looked at
-- parameter: similarity Float64 = 0.5 -- how much of the text has to be the same then, 0 to 1 (runs of four
--   characters)
-- parameter: deployment String = '' -- only calls of this deployment
-- parameter: since DateTime64(3, 'UTC') = now - 90d -- from when
-- parameter: until DateTime64(3, 'UTC') = now -- until when
-- parameter: limit UInt32 = 100 -- how many different prompts are looked at, those with the nearest sketches
-- column: similarity Float64 -- how much of the text is the same, 0 to 1
-- column: bits UInt8 bits -- in how many bits the sketches differ
-- column: calls UInt64 calls -- how many calls had this very prompt
-- column: callers UInt64 callers -- of how many principals
-- column: first DateTime64(6, 'UTC') -- when for the first time
-- column: last DateTime64(6, 'UTC') -- when for the last time
-- column: event_id String -- the first of these calls
-- column: deployment String -- its deployment
-- column: principal Nullable(String) -- who sent it
-- column: text String -- the first 1,000 characters of it
-- text: yes
-- cost: the column of sketches, 8 bytes a call, then the texts of `limit` prompts
--   (0.5 s of a processor at 10 million calls)
WITH
  (
    SELECT (any(calls_kept.prompt_simhash), any(calls_kept.prompt)) FROM calls_kept
    WHERE {event:String} != '' AND calls_kept.event_id = {event:String}
  ) AS meant,
  if({simhash:UInt64} != 0, toNullable({simhash:UInt64}), meant.1) AS sketch,
  substringUTF8(if({prompt:String} != '', {prompt:String}, ifNull(meant.2, '')), 1, 4096) AS wanted,
  (
    SELECT groupArray((distance, found, senders, earliest, latest, place)) FROM
    (
      SELECT assumeNotNull(min(bitCount(bitXor(calls_kept.prompt_simhash, sketch)))) AS distance,
        uniqExact(cityHash64(calls_kept.event_id)) AS found, uniqExact(calls_kept.principal) AS senders,
        min(calls_kept.time) AS earliest, max(calls_kept.time) AS latest,
        argMin((toString(calls_kept.deployment), toStartOfHour(calls_kept.time), calls_kept.event_id),
          (calls_kept.time, calls_kept.event_id)) AS place
      FROM calls_kept
      WHERE bitCount(bitXor(calls_kept.prompt_simhash, sketch)) <= {bits:UInt8}
        AND toStartOfHour(calls_kept.time) >= toStartOfHour({since:DateTime64(3, 'UTC')})
        AND toStartOfHour(calls_kept.time) <= toStartOfHour({until:DateTime64(3, 'UTC')})
        AND calls_kept.time >= {since:DateTime64(3, 'UTC')}
        AND calls_kept.time <= {until:DateTime64(3, 'UTC')}
        AND ({deployment:String} = '' OR calls_kept.deployment = {deployment:String})
      GROUP BY calls_kept.prompt_hash
      ORDER BY distance, earliest, place
      LIMIT {limit:UInt32}
    )
  ) AS near
SELECT
  round(1 - ngramDistanceCaseInsensitiveUTF8(substringUTF8(ifNull(looked.prompt, ''), 1, 4096), wanted), 3)
    AS similarity,
  sketched.near.1 AS bits, sketched.near.2 AS calls, sketched.near.3 AS callers, sketched.near.4 AS first,
  sketched.near.5 AS last, looked.event_id AS event_id, looked.deployment AS deployment,
  looked.principal AS principal, substringUTF8(ifNull(looked.prompt, ''), 1, 1000) AS text
FROM (SELECT arrayJoin(near) AS near, near.6.3 AS event_id) AS sketched
INNER JOIN
(
  SELECT event_id, deployment, principal, prompt FROM calls_kept
  WHERE (deployment, toStartOfHour(time), event_id) IN (SELECT arrayJoin(near).6)
  ORDER BY prompt IS NULL LIMIT 1 BY event_id
) AS looked ON looked.event_id = sketched.event_id
WHERE similarity >= {similarity:Float64}
ORDER BY similarity DESC, bits, first, event_id
