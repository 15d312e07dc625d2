-- question: Which detectors would have seen this incident, and when?
-- parameter: incident String -- its id, or the beginning of it
-- parameter: events UInt32 = 20000 -- how many calls are played at most: half before the onset, for the warm-up,
--   and half since then
-- parameter: played String = '[]' -- computed: what each detector of the catalog says when the calls are played to it
-- column: detector String -- its id
-- column: scope String -- what it watches: deployment or principal
-- column: answer String -- seen; quiet: it was ready and said nothing; warming: it lacked calls; blind: no call had
--   what it needs
-- column: subject String -- about whom it would have spoken first
-- column: first Nullable(DateTime64(6, 'UTC')) -- when it would have said so for the first time after the onset
-- column: after_s Nullable(Float64) s -- how long after the onset of the incident that is
-- column: severity String -- the highest that it would have given
-- column: findings UInt64 findings -- how often it would have spoken after the onset
-- column: before UInt64 findings -- how often before the onset: false alarms, or something else
-- column: usable UInt64 calls -- how many of the calls had what it needs
-- column: said_then Nullable(DateTime64(6, 'UTC')) -- when it did say so for the first time between onset and end
-- text: yes
-- cost: the calls are read from a few hours of one deployment, then played by this process, some thousands a second
WITH
  (
    SELECT (any(incidents_kept.deployment), any(incidents_kept.onset), any(incidents_kept.last))
    FROM incidents_kept WHERE incidents_kept.incident_id = {incident:String}
  ) AS its
SELECT tried.told.1 AS detector, tried.told.2 AS scope, tried.told.3 AS answer, tried.told.4 AS subject,
  if(tried.told.5 = 0, NULL, toNullable(fromUnixTimestamp64Micro(tried.told.5, 'UTC'))) AS first,
  round(dateDiff('microsecond', its.2, first) / 1000000, 3) AS after_s,
  tried.told.6 AS severity, tried.told.7 AS findings, tried.told.8 AS before, tried.told.9 AS usable,
  nullIf(said.first, toDateTime64(0, 6, 'UTC')) AS said_then
FROM
(
  SELECT arrayJoin(JSONExtract({played:String},
    'Array(Tuple(String, String, String, String, Int64, String, UInt64, UInt64, UInt64))')) AS told
) AS tried
LEFT JOIN
(
  SELECT findings_kept.detector AS detector, min(findings_kept.time) AS first FROM findings_kept
  WHERE findings_kept.deployment = its.1 AND findings_kept.time >= its.2 AND findings_kept.time <= its.3
  GROUP BY findings_kept.detector
) AS said ON said.detector = tried.told.1
WHERE {events:UInt32} > 0
ORDER BY first IS NULL, first, answer, detector
