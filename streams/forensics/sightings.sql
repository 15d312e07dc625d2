-- question: When was this host, digest or tool seen first and last, and where?
-- parameter: name String -- the host, the digest (with or without its algorithm), or the tool
-- parameter: deployment String = '' -- only in this deployment
-- column: kind String -- what it is: host, digest or tool
-- column: component String -- of a digest: of which component
-- column: name String -- as it was told
-- column: deployment String -- where
-- column: first DateTime64(6, 'UTC') -- when for the first time
-- column: last DateTime64(6, 'UTC') -- when for the last time
-- column: calls UInt64 calls -- how many calls told it (0: a report of the serving side did)
-- text: no
-- cost: a few rows of a rollup that is kept by name, what is held, and all reports of components
SELECT seen.kind AS kind, seen.component AS component, seen.name AS name, seen.deployment AS deployment,
  min(seen.first) AS first, max(seen.last) AS last, sum(seen.calls) AS calls
FROM
(
  SELECT counted.kind AS kind, counted.component AS component, counted.name AS name, counted.deployment AS deployment,
    min(counted.first) AS first, max(counted.last) AS last,
    greatest(sumIf(counted.calls, NOT held), sumIf(counted.calls, held)) AS calls
  FROM
  (
    SELECT toString(sightings.kind) AS kind, toString(sightings.component) AS component, sightings.name AS name,
      toString(sightings.deployment) AS deployment, sightings.month AS month,
      toDateTime64(sightings.first, 6, 'UTC') AS first, toDateTime64(sightings.last, 6, 'UTC') AS last, sightings.calls AS calls, false AS held
    FROM sightings
    WHERE sightings.kind IN ('host', 'digest', 'tool')
      AND sightings.name IN ({name:String}, lower({name:String}), concat('sha256:', lower({name:String})))
    UNION ALL
    SELECT told.1, told.2, told.3, toString(deployment), toStartOfMonth(record_time) AS since, min(time), max(time),
      uniqExact(cityHash64(event_id)), true
    FROM held_inference_events
    ARRAY JOIN arrayConcat(
      arrayMap(each -> ('host', '', each), egress_hosts), arrayMap(each -> ('tool', '', toString(each)), tools),
      arrayMap(each -> ('digest', each.1, each.2), CAST(components, 'Array(Tuple(String, String))'))) AS told
    WHERE told.3 IN ({name:String}, lower({name:String}), concat('sha256:', lower({name:String})))
    GROUP BY told, deployment, since
  ) AS counted
  GROUP BY kind, component, name, deployment, month
  UNION ALL
  SELECT told.1, told.2, told.3, toString(component_reports_kept.deployment), attested, attested, toUInt64(0)
  FROM component_reports_kept
  ARRAY JOIN arrayConcat(
    arrayMap(each -> ('digest', each.1, each.2), CAST(components, 'Array(Tuple(String, String))')),
    [('digest', toString(subject), ifNull(digest, ''))],
    arrayFlatten(arrayMap(each -> [('tool', '', each.1), ('digest', concat('tool ', each.1), each.2)],
      JSONExtract(tools, 'Array(Tuple(String, String))')))) AS told
  WHERE told.3 IN ({name:String}, lower({name:String}), concat('sha256:', lower({name:String})))
) AS seen
WHERE {name:String} != '' AND ({deployment:String} = '' OR seen.deployment = {deployment:String})
GROUP BY kind, component, name, deployment
ORDER BY first, kind, component, deployment
LIMIT 1000
