-- question: What did this principal, or this cohort, do?
-- parameter: principals Array(String) = [] -- pseudonyms, several with commas between them
-- parameter: incident String = '' -- or the id of an incident: all whom it names
-- parameter: deployment String = '' -- only in this deployment
-- parameter: since DateTime64(6, 'UTC') = now - 90d -- from when
-- parameter: until DateTime64(6, 'UTC') = now -- until when
-- parameter: limit UInt32 = 1000 -- how many calls, the earliest first; ask again since the last time for more
-- column: time DateTime64(6, 'UTC') -- when the call was made
-- column: principal String -- by whom
-- column: deployment String -- to which deployment
-- column: session Nullable(String) -- in which session
-- column: operation Nullable(String) -- what was called
-- column: served_model Nullable(String) -- which model answered
-- column: input_tokens Nullable(Int64) tokens -- of the input
-- column: output_tokens Nullable(Int64) tokens -- of the answer
-- column: latency_s Nullable(Float64) s -- until the whole answer was there
-- column: failed Nullable(Bool) -- whether there was an error in place of an answer
-- column: refused Nullable(Bool) -- whether the answer is a refusal
-- column: finish_reason Nullable(String) -- why the answer ended
-- column: template String -- keyed hash of the prompt's template, hexadecimal: equal for prompts of one template
-- column: tools Array(String) -- tools that the answer calls
-- column: hosts Array(String) -- hosts that the call reached
-- column: network Nullable(String) -- from which network
-- column: user_agent Nullable(String) -- with which program
-- column: event_id String -- the call's id
-- text: no
-- cost: who called, of all calls in that time, then the other columns of the granules with the first `limit` calls
WITH
  who AS
  (
    SELECT arrayJoin(arrayConcat({principals:Array(String)}, (
      SELECT groupArrayArray(arrayPushBack(JSONExtract(incidents_kept.body, 'members', 'Array(String)'),
        incidents_kept.subject))
      FROM incidents_kept WHERE incidents_kept.incident_id = {incident:String}
    ))) AS principal
  ),
  (
    SELECT max(early.time) FROM
    (
      SELECT DISTINCT calls_kept.time AS time FROM calls_kept
      WHERE calls_kept.principal IN (SELECT principal FROM who)
        AND ({deployment:String} = '' OR calls_kept.deployment = {deployment:String})
        AND toStartOfHour(calls_kept.time) >= toStartOfHour({since:DateTime64(6, 'UTC')})
        AND toStartOfHour(calls_kept.time) <= toStartOfHour({until:DateTime64(6, 'UTC')})
        AND calls_kept.time >= {since:DateTime64(6, 'UTC')} AND calls_kept.time < {until:DateTime64(6, 'UTC')}
      ORDER BY time LIMIT {limit:UInt32}
    ) AS early
  ) AS latest
SELECT calls_kept.time AS time, assumeNotNull(calls_kept.principal) AS principal,
  toString(calls_kept.deployment) AS deployment, calls_kept.session AS session,
  CAST(calls_kept.operation, 'Nullable(String)') AS operation,
  CAST(calls_kept.served_model, 'Nullable(String)') AS served_model,
  calls_kept.input_tokens AS input_tokens, calls_kept.output_tokens AS output_tokens,
  calls_kept.latency_s AS latency_s, calls_kept.failed AS failed, calls_kept.refused AS refused,
  CAST(calls_kept.finish_reason, 'Nullable(String)') AS finish_reason,
  if(calls_kept.prompt_template IS NULL, '',
    leftPad(lower(hex(assumeNotNull(calls_kept.prompt_template))), 16, '0')) AS template,
  CAST(calls_kept.tools, 'Array(String)') AS tools,
  calls_kept.egress_hosts AS hosts, calls_kept.network AS network,
  calls_kept.user_agent AS user_agent, calls_kept.event_id AS event_id
FROM calls_kept
WHERE calls_kept.principal IN (SELECT principal FROM who)
  AND ({deployment:String} = '' OR calls_kept.deployment = {deployment:String})
  AND toStartOfHour(calls_kept.time) >= toStartOfHour({since:DateTime64(6, 'UTC')})
  AND toStartOfHour(calls_kept.time) <= toStartOfHour(latest)
  AND calls_kept.time >= {since:DateTime64(6, 'UTC')} AND calls_kept.time <= latest
ORDER BY time, event_id
LIMIT 1 BY event_id
LIMIT {limit:UInt32}
