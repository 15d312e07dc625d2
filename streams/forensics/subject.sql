-- question: What rows are stored about this data subject, and where? (Not: what detectors have learned.)
-- parameter: pseudonym String -- of a principal, network, user agent or session, such as p_3f9c...
-- column: place String -- what kind of row it stands in
-- column: deployment String -- of which deployment; empty where the row is of none
-- column: role String -- as what it stands there
-- column: found UInt64 rows -- how many
-- column: first DateTime64(6, 'UTC') -- the oldest of them
-- column: last DateTime64(6, 'UTC') -- the newest of them
-- text: no
-- cost: a column of pseudonyms of all calls, skipped by its index where there is one; findings, incidents
WITH {pseudonym:String} AS wanted
SELECT place, deployment, role, found, first, last
FROM
(
  SELECT 'calls' AS place, toString(deployment) AS deployment, 'principal' AS role,
    uniqExact(cityHash64(event_id)) AS found, min(time) AS first, max(time) AS last
  FROM calls_kept WHERE startsWith(wanted, 'p_') AND principal = wanted GROUP BY deployment
  UNION ALL
  SELECT 'calls', toString(deployment), 'session', uniqExact(cityHash64(event_id)), min(time), max(time)
  FROM calls_kept WHERE startsWith(wanted, 's_') AND session = wanted GROUP BY deployment
  UNION ALL
  SELECT 'calls', toString(deployment), 'network', uniqExact(cityHash64(event_id)), min(time), max(time)
  FROM calls_kept WHERE startsWith(wanted, 'n_') AND network = wanted GROUP BY deployment
  UNION ALL
  SELECT 'calls', toString(deployment), 'user_agent', uniqExact(cityHash64(event_id)), min(time), max(time)
  FROM calls_kept WHERE startsWith(wanted, 'u_') AND user_agent = wanted GROUP BY deployment
  UNION ALL
  SELECT 'findings', toString(deployment),
    multiIf(principal = wanted, 'principal', subject = wanted, 'subject', 'quoted'), count(), min(time), max(time)
  FROM findings_kept
  WHERE principal = wanted OR subject = wanted OR position(evidence, wanted) > 0 OR position(summary, wanted) > 0
  GROUP BY 2, 3
  UNION ALL
  SELECT 'incidents', toString(deployment), if(subject = wanted, 'subject', 'quoted'), count(), min(first),
    max(last)
  FROM incidents_kept WHERE subject = wanted OR position(body, wanted) > 0 GROUP BY 2, 3
  UNION ALL
  SELECT 'hours of callers', toString(deployment), 'principal', uniqExact(hour),
    min(toDateTime64(callers.first, 6, 'UTC')), max(toDateTime64(callers.last, 6, 'UTC'))
  FROM callers WHERE startsWith(wanted, 'p_') AND principal = wanted GROUP BY deployment
  UNION ALL
  SELECT 'suppressions', toString(deployment), 'subject', count(), toDateTime64(min(made_at), 6, 'UTC'),
    toDateTime64(max(made_at), 6, 'UTC')
  FROM suppressions FINAL WHERE subject = wanted GROUP BY deployment
)
ORDER BY place, deployment, role
