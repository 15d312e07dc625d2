"""Baselines in the store: measured by SQL over events, written by name, read back whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from detectors.features import STYLE
from streams.clickhouse import Store
from streams.components.baselines import Baseline, Number

_MEASURED = {
    **{f"style.{name}": f"if(notEmpty(style), style[{place}], NULL)" for place, name in enumerate(STYLE, 1)},
    **{name: name for name in ("latency_s", "ttft_s", "input_tokens", "output_tokens")},
    **{name: f"toUInt8({name})" for name in ("refused", "failed")},
}
"""Means by name, as SQL expressions that are NULL where an event does not say."""

_QUANTILES = {f"{name}.p{percent}": (name, percent) for name in ("latency_s", "ttft_s") for percent in (50, 95)}
_SHARED = ("finish_reason", "prediction", "served_model")
"""Columns of which the share of each value is kept, of the most frequent ones."""

_MOST_VALUES, _MOST_DIGESTS = 32, 64

# The table and not the view: who may write baselines need not be allowed to read every column of an event.
_WINDOW = """
FROM inference_events FINAL
WHERE deployment = {deployment:String}
  AND time >= fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
  AND time < fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
"""
_SOUGHT = (
    *(
        f"count({sql}) AS n{at}, avg({sql}) AS mean{at}, stddevPop({sql}) AS sd{at}"
        for at, sql in enumerate(_MEASURED.values())
    ),
    *(f"quantile({percent / 100})({name}) AS q{at}" for at, (name, percent) in enumerate(_QUANTILES.values())),
    *(f"count({name}) AS known_{name}" for name in _SHARED),
)
_NUMBERS = f"SELECT count() AS events, uniq(principal) AS principals, {', '.join(_SOUGHT)} {_WINDOW}"
_DIGESTS = f"""
SELECT toString(served.1) AS component, served.2 AS digest, count() AS events
{_WINDOW.replace("FINAL", "FINAL ARRAY JOIN CAST(components, 'Array(Tuple(String, String))') AS served")}
GROUP BY component, digest ORDER BY events DESC, component, digest LIMIT {_MOST_DIGESTS}
"""
_LIST = """
SELECT body FROM baselines_latest
WHERE (name = {name:String} OR {name:String} = '') AND (deployment = {deployment:String} OR {deployment:String} = '')
ORDER BY frozen DESC, name LIMIT {limit:UInt32}
"""


def measured(store: Store, deployment: str, since_s: float, until_s: float, name: str) -> Baseline:
    """The numbers of a deployment's events from `since_s` to `until_s`. Raises `StoreError`."""
    window = {
        "deployment": deployment,
        "since_us": max(int(since_s * 1e6), 0),
        "until_us": max(int(until_s * 1e6), 0),
    }
    (row,) = store.query(_NUMBERS, window)
    numbers = dict(_numbers(row))
    for column in _SHARED:
        numbers |= _shares(store, window, column, row[f"known_{column}"])
    digests: dict[str, dict[str, int]] = {}
    for each in store.query(_DIGESTS, window):
        digests.setdefault(each["component"], {})[each["digest"]] = each["events"]
    return Baseline(
        name=name,
        deployment=deployment,
        since_s=since_s,
        until_s=until_s,
        events=row["events"],
        principals=row["principals"],
        numbers=numbers,
        components=digests,
    )


def kept(store: Store, *, name: str = "", deployment: str = "", limit: int = 1_000) -> list[Baseline]:
    """Stored baselines, the latest last; "" is any. Raises `StoreError`."""
    rows = store.query(_LIST, {"name": name, "deployment": deployment, "limit": limit})
    return [msgspec.json.decode(row["body"], type=Baseline) for row in reversed(rows)]


def _numbers(row: dict[str, Any]) -> Iterator[tuple[str, Number]]:
    spreads: dict[str, tuple[float, int]] = {}
    for at, name in enumerate(_MEASURED):
        count = row[f"n{at}"]
        if count:
            sd = _finite(row[f"sd{at}"])
            spreads[name] = sd, count
            yield name, Number(mean=_finite(row[f"mean{at}"]), sd=sd, count=count)
    for at, (name, (of, _)) in enumerate(_QUANTILES.items()):
        if of in spreads:
            sd, count = spreads[of]
            yield name, Number(mean=_finite(row[f"q{at}"]), sd=sd, count=count)


def _shares(store: Store, window: dict[str, Any], column: str, known: int) -> dict[str, Number]:
    """The share of each of the most frequent values among the events that have one."""
    if not known:
        return {}
    sql = f"""
        SELECT toString({column}) AS value, count() AS events {_WINDOW} AND {column} IS NOT NULL
        GROUP BY value ORDER BY events DESC, value LIMIT {_MOST_VALUES}
    """
    shares = {}
    for row in store.query(sql, window):
        share = row["events"] / known
        shares[f"{column}={row['value']}"] = Number(mean=share, sd=math.sqrt(share * (1.0 - share)), count=known)
    return shares


def _finite(value: float | None) -> float:
    """What JSON can hold: latencies near the largest float have no finite spread."""
    return value if value is not None and math.isfinite(value) else 0.0
