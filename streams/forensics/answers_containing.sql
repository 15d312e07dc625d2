-- question: Which answers contain this?
-- parameter: words String -- what to find, in any case: its words are found by the index, then all of
--   it is verified on the text, in this order
-- parameter: deployment String = '' -- only calls of this deployment
-- parameter: principal String = '' -- only calls of this principal (its pseudonym)
-- parameter: since DateTime64(3, 'UTC') = now - 90d -- from when
-- parameter: until DateTime64(3, 'UTC') = now -- until when
-- parameter: limit UInt32 = 200 -- how many answers at most, the first ones
-- column: time DateTime64(6, 'UTC') -- when
-- column: event_id String -- the call
-- column: deployment String -- who answered
-- column: served_model Nullable(String) -- with what
-- column: principal Nullable(String) -- who got the answer
-- column: session Nullable(String) -- in which session
-- column: place UInt64 characters -- where in the answer it stands, the first being 1
-- column: text String -- the answer around it, 100 characters on both sides
-- text: yes
-- cost: the text index, then the texts of answers that hold all words of it: of words that most answers hold, most
--   texts, which takes longer than a question may; ask for a shorter time, or with a rarer word
SELECT calls_kept.time AS time, calls_kept.event_id AS event_id, calls_kept.deployment AS deployment,
  calls_kept.served_model AS served_model, calls_kept.principal AS principal,
  calls_kept.session AS session,
  positionCaseInsensitiveUTF8(ifNull(calls_kept.output, ''), {words:String}) AS place,
  substringUTF8(ifNull(calls_kept.output, ''), greatest(toInt64(place) - 100, 1),
    least(toInt64(place) - 1, 100) + lengthUTF8({words:String}) + 100) AS text
FROM calls_kept
WHERE hasAllTokens(output, {words:String})
  AND positionCaseInsensitiveUTF8(ifNull(calls_kept.output, ''), {words:String}) > 0
  AND toStartOfHour(calls_kept.time) >= toStartOfHour({since:DateTime64(3, 'UTC')})
  AND toStartOfHour(calls_kept.time) <= toStartOfHour({until:DateTime64(3, 'UTC')})
  AND calls_kept.time >= {since:DateTime64(3, 'UTC')} AND calls_kept.time <= {until:DateTime64(3, 'UTC')}
  AND ({deployment:String} = '' OR calls_kept.deployment = {deployment:String})
  AND ({principal:String} = '' OR calls_kept.principal = {principal:String})
ORDER BY calls_kept.time, calls_kept.event_id
LIMIT 1 BY calls_kept.event_id
LIMIT {limit:UInt32}
