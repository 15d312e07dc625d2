"""A running Grafana asked what a person would ask of it: is it up, may I in, and does every panel get an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dashboards.build import provisioning_files
from dashboards.grafana import Grafana, GrafanaError, plain
from dashboards.panels import DATASOURCE, DATASOURCE_UID, TEXTS_UID, Json

VARIABLE = re.compile(r"\$\{(\w+):percentencode\}")
MOST_POINTS = 1_000
INTERVAL_MS = 60_000


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was tried: `wrong` says why it did not work, and is empty where it did."""

    what: str
    wrong: str = ""


def smoke(grafana: Grafana, hours: int = 6) -> Iterator[Tried]:
    """Every try in turn; those that need one that failed fail too, and say so themselves."""
    yield _tried("health", lambda: _health(grafana))
    yield _tried("sign in", lambda: _signed_in(grafana))
    yield _tried("data source", lambda: _data_source(grafana))
    shows_texts = not _tried("texts", lambda: _data_source(grafana, TEXTS_UID)).wrong
    for name, board in _boards().items():
        yield _tried(f"{name}: is there", lambda board=board: _is_there(grafana, board))
        chosen: dict[str, str] = {}
        for variable in board["templating"]["list"]:
            yield _tried(
                f"{name}: variable {variable['name']}", lambda v=variable, c=chosen: _choose(grafana, v, c, hours)
            )
        for panel in _panels(board):
            if panel["datasource"]["uid"] == TEXTS_UID and not shows_texts:
                yield Tried(f"{name}: {panel['title']} (left out: texts are not to be seen in this Grafana)")
                continue
            yield _tried(f"{name}: {panel['title']}", lambda p=panel, c=chosen: _panel(grafana, p, c, hours))
    yield _tried("alert rules", lambda: _rules(grafana))


def _boards() -> dict[str, Json]:
    files = provisioning_files()
    return {path: json.loads(text) for path, text in files.items() if path.startswith("dashboards/")}


def _panels(board: Json) -> Iterator[Json]:
    for panel in board["panels"]:
        if panel.get("targets"):
            yield panel
        yield from (inner for inner in panel.get("panels", []) if inner.get("targets"))


def _tried(what: str, work: Any) -> Tried:
    try:
        work()
    except GrafanaError as error:
        return Tried(what, str(error))
    return Tried(what)


def _health(grafana: Grafana) -> None:
    if (grafana.get("/health") or {}).get("database") != "ok":
        raise GrafanaError("Grafana says that its database is not ok")


def _signed_in(grafana: Grafana) -> None:
    if grafana.get("/org") is None:
        raise GrafanaError("Grafana shows no organization to this token or user")


def _data_source(grafana: Grafana, uid: str = DATASOURCE_UID) -> None:
    found = grafana.get(f"/datasources/uid/{uid}/health")
    if found is None:
        raise GrafanaError(f"there is no data source {uid}")
    if found.get("status") != "OK":
        raise GrafanaError(f"the data source says {plain(str(found.get('message')))}")


def _is_there(grafana: Grafana, board: Json) -> None:
    if grafana.get(f"/dashboards/uid/{board['uid']}") is None:
        raise GrafanaError(f"there is no dashboard {board['uid']}")


def _choose(grafana: Grafana, variable: Json, chosen: dict[str, str], hours: int) -> None:
    """Fill `chosen` with the first choice that a person would get."""
    if variable["type"] == "query":
        target = {"refId": "A"} | variable["query"] | {"queryType": "table", "format": 1}
        columns = [column for frame in _asked(grafana, [target], chosen, hours) for column in frame["data"]["values"]]
        chosen[variable["name"]] = str(columns[0][0]) if columns and columns[0] else ""
    else:
        chosen[variable["name"]] = str(variable["query"]).split(",")[0].strip()


def _panel(grafana: Grafana, panel: Json, chosen: Mapping[str, str], hours: int) -> None:
    if not _asked(grafana, panel["targets"], chosen, hours):
        raise GrafanaError("an answer without a frame")


def _asked(grafana: Grafana, targets: list[Json], chosen: Mapping[str, str], hours: int) -> list[Json]:
    """The frames that Grafana returns for `targets`, with the variables filled in as a browser would."""
    queries = [
        {"datasource": DATASOURCE}
        | target
        | {
            "rawSql": VARIABLE.sub(lambda found: quote(chosen.get(found.group(1), ""), safe="-_.~"), target["rawSql"]),
            "intervalMs": INTERVAL_MS,
            "maxDataPoints": MOST_POINTS,
        }
        for target in targets
    ]
    body = {"queries": queries, "from": f"now-{hours}h", "to": "now"}
    answer = grafana.call(grafana.api.client.POST, "/ds/query", json=body)
    frames = []
    for target in targets:
        result = answer.get("results", {}).get(target["refId"], {"error": "no result"})
        if "error" in result:
            raise GrafanaError(plain(str(result["error"])))
        frames += result.get("frames", [])
    return frames


def _rules(grafana: Grafana) -> None:
    groups = (grafana.get("/prometheus/grafana/api/v1/rules") or {}).get("data", {}).get("groups", [])
    rules = [rule for group in groups for rule in group.get("rules", [])]
    ours = {
        rule["title"].replace("$$", "$")
        for path, text in provisioning_files().items()
        if path.startswith("alerting/")
        for group in json.loads("\n".join(line for line in text.splitlines() if line[:1] != "#")).get("groups", [])
        for rule in group["rules"]
    }
    if missing := sorted(ours - {str(rule.get("name")) for rule in rules}):
        raise GrafanaError(f"there is no rule {plain(missing[0])}")
    for rule in rules:
        if rule.get("name") in ours and rule.get("health") == "error":
            raise GrafanaError(f"the rule {plain(rule['name'])} says {plain(str(rule.get('lastError')))}")
