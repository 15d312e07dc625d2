-- question: What happened to this deployment, or with this principal, and in which order?
-- parameter: deployment String = '' -- only of this deployment; empty: of all
-- parameter: principal String = '' -- only what concerns this principal; empty: everything
-- parameter: since DateTime64(6, 'UTC') = now - 7d -- from when
-- parameter: until DateTime64(6, 'UTC') = now -- until when
-- parameter: hours UInt16 = 24 -- how many hours a line about traffic sums up; 0: no such lines
-- parameter: limit UInt32 = 1000 -- how many lines, the earliest first
-- column: time DateTime64(6, 'UTC') -- when; of traffic: since when
-- column: kind String -- traffic, first served, first call, onset, incident, closed, finding, verdict, change or report
-- column: deployment String -- where
-- column: severity String -- of incidents and findings
-- column: what String -- in words
-- column: principal String -- whom it concerns, where it is one
-- column: id String -- of the incident, finding, change or report
-- text: no
-- cost: the small tables beside the events, and a rollup of minutes (hours of a principal), no event
WITH
  ({deployment:String}, {principal:String}) AS asked,
  greatest({hours:UInt16}, 1) * 3600 AS step_s,
  counted AS
  (
    SELECT incidents_kept.incident_id AS incident_id, toString(incidents_kept.deployment) AS deployment,
      incidents_kept.onset AS onset, incidents_kept.first AS first, incidents_kept.last AS last,
      toString(incidents_kept.state) AS state, toString(incidents_kept.severity) AS severity,
      toString(incidents_kept.cause) AS cause, incidents_kept.summary AS summary,
      incidents_kept.findings AS findings,
      if(startsWith(incidents_kept.scope, 'principal'), incidents_kept.subject, '') AS principal,
      toNullable(JSONExtract(incidents_kept.body, 'closed_s', 'Nullable(Float64)')) AS closed_s
    FROM incidents_kept
    WHERE (asked.1 = '' OR incidents_kept.deployment = asked.1)
      AND (asked.2 = '' OR incidents_kept.subject = asked.2
        OR has(JSONExtract(incidents_kept.body, 'members', 'Array(String)'), asked.2))
  )
SELECT told.time AS time, told.kind AS kind, told.deployment AS deployment, told.severity AS severity, told.what AS what,
  told.principal AS principal, told.id AS id
FROM
(
  SELECT findings_kept.time AS time, 'finding' AS kind, toString(findings_kept.deployment) AS deployment,
    toString(findings_kept.severity) AS severity,
    concat(findings_kept.detector, ': ', leftUTF8(findings_kept.summary, 300)) AS what,
    ifNull(findings_kept.principal, '') AS principal, findings_kept.finding_id AS id
  FROM findings_kept
  WHERE findings_kept.time >= {since:DateTime64(6, 'UTC')} AND findings_kept.time < {until:DateTime64(6, 'UTC')}
    AND (asked.1 = '' OR findings_kept.deployment = asked.1)
    AND (asked.2 = '' OR findings_kept.principal = asked.2 OR findings_kept.subject = asked.2)
  UNION ALL
  SELECT one.1, one.2, counted.deployment, counted.severity, one.3, counted.principal, counted.incident_id
  FROM counted
  ARRAY JOIN arrayConcat(
    [(counted.onset, 'onset', concat('what an incident is about begins: ', leftUTF8(counted.summary, 300))),
     (counted.first, 'incident', concat('opened, ', toString(counted.findings), ' findings, likeliest cause ',
       counted.cause, ': ', leftUTF8(counted.summary, 300)))],
    if(counted.closed_s IS NULL, [], [(fromUnixTimestamp64Micro(toInt64(1e6 * least(ifNull(counted.closed_s, 0.), 9e9)), 'UTC'), 'closed',
      concat('after its last finding at ', toString(counted.last)))])) AS one
  WHERE one.1 >= {since:DateTime64(6, 'UTC')} AND one.1 < {until:DateTime64(6, 'UTC')}
  UNION ALL
  SELECT verdicts_kept.said_at, 'verdict', counted.deployment, counted.severity,
    concat(verdicts_kept.verdict, if(verdicts_kept.assignee = '', '', concat(' to ', verdicts_kept.assignee)),
      ' by ', verdicts_kept.said_by, ': ', leftUTF8(verdicts_kept.note, 300)),
    counted.principal, counted.incident_id
  FROM verdicts_kept
  INNER JOIN counted ON counted.incident_id = verdicts_kept.incident_id
  WHERE verdicts_kept.said_at >= {since:DateTime64(6, 'UTC')}
    AND verdicts_kept.said_at < {until:DateTime64(6, 'UTC')}
  UNION ALL
  SELECT changes_kept.decided, 'change', toString(changes_kept.deployment), '',
    concat(changes_kept.state, ' ', if(changes_kept.component = '', 'everything', changes_kept.component), ' ',
      leftUTF8(changes_kept.new, 100), ' by ', changes_kept.who,
      if(changes_kept.ticket = '', '', concat(' (', changes_kept.ticket, ')'))), '', changes_kept.change_id
  FROM changes_kept
  WHERE asked.2 = '' AND (asked.1 = '' OR changes_kept.deployment = asked.1)
    AND changes_kept.decided >= {since:DateTime64(6, 'UTC')} AND changes_kept.decided < {until:DateTime64(6, 'UTC')}
  UNION ALL
  SELECT component_reports_kept.attested, 'report', toString(component_reports_kept.deployment), '',
    concat(component_reports_kept.subject, ' ', ifNull(component_reports_kept.digest, ''), ': ',
      if(empty(component_reports_kept.risks), 'no risks', arrayStringConcat(component_reports_kept.risks, ', '))),
    '', component_reports_kept.report_id
  FROM component_reports_kept
  WHERE asked.2 = '' AND (asked.1 = '' OR component_reports_kept.deployment = asked.1)
    AND component_reports_kept.attested >= {since:DateTime64(6, 'UTC')}
    AND component_reports_kept.attested < {until:DateTime64(6, 'UTC')}
  UNION ALL
  SELECT toDateTime64(min(traffic.minute), 6, 'UTC') AS earliest, 'first served', toString(traffic.deployment), '',
    concat('model ', if(traffic.served_model = '', 'not told', traffic.served_model),
      arrayStringConcat(arraySort(arrayMap((part, digest) -> concat(', ', part, ' ', leftUTF8(digest, 24)),
        mapKeys(any(traffic.components)), mapValues(any(traffic.components)))))), '', ''
  FROM traffic
  WHERE asked.2 = '' AND (asked.1 = '' OR traffic.deployment = asked.1)
  GROUP BY traffic.deployment, traffic.served_model, traffic.build
  HAVING earliest >= {since:DateTime64(6, 'UTC')} AND earliest < {until:DateTime64(6, 'UTC')}
  UNION ALL
  SELECT summed.slot, 'traffic', summed.deployment, '',
    concat(toString(summed.calls), ' calls, ', toString(round(100 * summed.failed / greatest(summed.told_failed, 1), 2)),
      ' % failed, ', toString(round(100 * summed.refused / greatest(summed.told_refused, 1), 2)), ' % refused',
      if(empty(summed.latency), '', concat(', p95 ', toString(round(pow(2, mapKeys(summed.latency)[arrayFirst(
        past -> arraySum(arraySlice(mapValues(summed.latency), 1, past)) >= 0.95 * arraySum(mapValues(summed.latency)),
        range(1, length(summed.latency) + 1))] / 16), 3)), ' s'))), '', ''
  FROM
  (
    SELECT toDateTime64(intDiv(toUnixTimestamp(traffic.minute), step_s) * step_s, 6, 'UTC') AS slot,
      toString(traffic.deployment) AS deployment, sum(traffic.calls) AS calls, sum(traffic.failed) AS failed,
      sum(traffic.told_failed) AS told_failed, sum(traffic.refused) AS refused,
      sum(traffic.told_refused) AS told_refused, sumMap(traffic.latency) AS latency
    FROM traffic
    WHERE {hours:UInt16} > 0 AND asked.2 = '' AND (asked.1 = '' OR traffic.deployment = asked.1)
      AND traffic.minute >= toDateTime({since:DateTime64(6, 'UTC')}) AND traffic.minute < {until:DateTime64(6, 'UTC')}
    GROUP BY traffic.deployment, slot
  ) AS summed
  UNION ALL
  SELECT min(callers.first) AS earliest, 'first call', toString(callers.deployment), '',
    'of this principal to this deployment', callers.principal, ''
  FROM callers
  WHERE asked.2 != '' AND callers.principal = asked.2 AND (asked.1 = '' OR callers.deployment = asked.1)
  GROUP BY callers.deployment, callers.principal
  HAVING earliest >= {since:DateTime64(6, 'UTC')} AND earliest < {until:DateTime64(6, 'UTC')}
  UNION ALL
  SELECT toDateTime64(intDiv(toUnixTimestamp(callers.hour), step_s) * step_s, 6, 'UTC') AS slot, 'traffic',
    toString(callers.deployment), '',
    concat(toString(sum(callers.calls)), ' calls, ', toString(sum(callers.input_tokens)), ' tokens in, ',
      toString(sum(callers.output_tokens)), ' out'), callers.principal, ''
  FROM callers
  WHERE {hours:UInt16} > 0 AND asked.2 != '' AND callers.principal = asked.2
    AND (asked.1 = '' OR callers.deployment = asked.1)
    AND callers.hour >= {since:DateTime64(6, 'UTC')} AND callers.hour < {until:DateTime64(6, 'UTC')}
  GROUP BY callers.deployment, callers.principal, slot
) AS told
ORDER BY time, kind, deployment, id, what
LIMIT {limit:UInt32}
