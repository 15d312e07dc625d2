"""The build put into a Grafana that is not provisioned from files: compared first, and written where it differs.

What is ours there: one folder, the dashboards in it, and the groups of alert rules. Contact points, notification
policies and mute timings stay with the files and with whoever runs Grafana: the tree of policies is one for a whole
organization, and to write it would be to take alerts away from others.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from dashboards.build import provisioning_files
from dashboards.comparing import as_ours, difference
from dashboards.grafana import CHANGED_MEANWHILE, Grafana, GrafanaError, plain
from dashboards.panels import DATASOURCE_UID, Json

MARK = "inferwatch build "
"""Begins the message of every version that is written here; a newest version without it was saved by somebody else."""

State = Literal["fresh", "missing", "stale", "edited"]

OF_A_BOARD = frozenset({"id", "version", "gnetId", "iteration"})
OF_A_RULE = frozenset(
    {"id", "guid", "updated", "version", "provenance", "orgID", "folderUID", "ruleGroup", "keep_firing_for", "record"}
    | {"intervalMs", "maxDataPoints", "datasource", "hide", "queryType", "isPaused"}
)
"""Keys that Grafana keeps for itself, or fills in."""

_UNITS_S = {"s": 1, "m": 60, "h": 3_600}


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that the build makes, and what the server has in its place.

    `theirs` is None where it has nothing. `who` saved it last where that was not this program, `from_files` says that
    it is provisioned from files, which the API cannot change.
    """

    kind: Literal["folder", "dashboard", "alert rules"]
    uid: str
    ours: Json
    theirs: Json | None
    state: State
    who: str = ""
    from_files: bool = False
    version: int = 0

    @property
    def name(self) -> str:
        """For a person and for a diff."""
        return f"{self.kind} {self.uid}"

    def diff(self) -> str:
        """From the server's to ours; empty where it is fresh."""
        return "" if self.state == "fresh" else difference(self.theirs, self.ours, self.name)


def things(grafana: Grafana) -> Iterator[Thing]:
    """Everything that the build makes, compared with the server, in the order in which it has to be written."""
    folder = _folder()
    yield _compared_folder(grafana, folder)
    for board in _files("dashboards/").values():
        yield _compared_board(grafana, board, folder["uid"])
    for file in _files("alerting/").values():
        for group in file.get("groups", []):
            yield _compared_group(grafana, group, folder["uid"])


def write(grafana: Grafana, thing: Thing, *, overwrite: bool = False, editable: bool = False) -> bool:
    """Make the server's thing ours; whether anything was written.

    `overwrite` writes over what somebody else saved. `editable` leaves alert rules open to changes in Grafana's pages
    (``X-Disable-Provenance``). Raises `GrafanaError` for what cannot or may not be written.
    """
    if thing.state == "fresh":
        return False
    if thing.from_files:
        raise GrafanaError(f"{thing.name} is provisioned from files: change the files where Grafana reads them")
    if thing.state == "edited" and not overwrite:
        raise GrafanaError(
            f"{thing.name} was saved by {thing.who or 'somebody'}: see `inferwatch dashboards pull-diff`, then push "
            "again with --overwrite or save it elsewhere"
        )
    if thing.kind == "folder":
        _write_folder(grafana, thing)
    elif thing.kind == "dashboard":
        _write_board(grafana, thing)
    else:
        grafana.call(
            grafana.api.alertingprovisioning.update_rule_group,
            thing.ours["folderUid"],
            quote(thing.uid, safe=""),
            thing.ours,
            disable_provenance=editable,
        )
    return True


def strays(grafana: Grafana) -> list[str]:
    """Dashboards in our folder that the build does not make: what an older version left, or what others put there."""
    known = {board["uid"] for board in _files("dashboards/").values()}
    found = grafana.get("/search", type="dash-db", folderUIDs=_folder()["uid"], limit=1_000) or []
    return sorted(plain(str(each["uid"])) for each in found if each["uid"] not in known)


def has_data_source(grafana: Grafana) -> bool:
    """Whether the data source is there that every query asks. It holds a password and is never written here."""
    return grafana.get(f"/datasources/uid/{DATASOURCE_UID}") is not None


@functools.cache
def _files(directory: str) -> dict[str, Json]:
    """The build's files under `directory`, by name, as Grafana would read them: JSON below a comment."""
    return {
        path.removeprefix(directory): json.loads("\n".join(line for line in text.splitlines() if line[:1] != "#"))
        for path, text in provisioning_files().items()
        if path.startswith(directory)
    }


def _folder() -> Json:
    provider = _files("dashboards.yaml")[""]["providers"][0]
    return {"uid": provider["folderUid"], "title": provider["folder"]}


def _compared_folder(grafana: Grafana, ours: Json) -> Thing:
    found = grafana.get(f"/folders/{ours['uid']}")
    theirs = None if found is None else {"uid": found["uid"], "title": found["title"]}
    state: State = "missing" if theirs is None else "fresh" if theirs == ours else "stale"
    return Thing("folder", ours["uid"], ours, theirs, state)


def _compared_board(grafana: Grafana, ours: Json, folder_uid: str) -> Thing:
    found = grafana.get(f"/dashboards/uid/{ours['uid']}")
    whole = {"dashboard": ours, "folderUid": folder_uid}
    if found is None:
        return Thing("dashboard", ours["uid"], whole, None, "missing")
    meta = found["meta"]
    theirs = {"dashboard": as_ours(found["dashboard"], ours, OF_A_BOARD), "folderUid": meta.get("folderUid", "")}
    fresh: tuple[State, str] = ("fresh", "")
    state, who = fresh if theirs == whole else _saved_by(grafana, ours["uid"], meta)
    version = int(found["dashboard"].get("version", 0))
    return Thing(
        "dashboard", ours["uid"], whole, theirs, state, who, from_files=bool(meta.get("provisioned")), version=version
    )


def _saved_by(grafana: Grafana, uid: str, meta: Json) -> tuple[State, str]:
    """Whether the newest version is one of ours, and otherwise whose it is."""
    answer = grafana.get(f"/dashboards/uid/{uid}/versions") or []
    versions = answer.get("versions", []) if isinstance(answer, dict) else answer
    newest: Json = max(versions, key=lambda each: int(each.get("version", 0)), default={})
    if str(newest.get("message", "")).startswith(MARK):
        return "stale", ""
    return "edited", plain(str(newest.get("createdBy") or meta.get("updatedBy") or ""))


def _compared_group(grafana: Grafana, group: Json, folder_uid: str) -> Thing:
    ours = {
        "title": group["name"],
        "folderUid": folder_uid,
        "interval": int(group["interval"][:-1]) * _UNITS_S[group["interval"][-1]],
        "rules": [_rule(rule, group, folder_uid) for rule in group["rules"]],
    }
    found = grafana.get(f"/v1/provisioning/folder/{folder_uid}/rule-groups/{quote(group['name'], safe='')}")
    if found is None or not found.get("rules"):
        return Thing("alert rules", group["name"], ours, None, "missing")
    theirs = as_ours(found, ours, OF_A_RULE)
    provenances = {rule.get("provenance", "") for rule in found["rules"]}
    state: State = "fresh" if theirs == ours else "stale" if provenances == {"api"} else "edited"
    return Thing("alert rules", group["name"], ours, theirs, state, from_files="file" in provenances)


def _rule(rule: Json, group: Json, folder_uid: str) -> Json:
    """A rule of a file as the API wants it: what a file writes with two dollars has one here."""
    return rule | {
        "title": rule["title"].replace("$$", "$"),
        "labels": {key: value.replace("$$", "$") for key, value in rule["labels"].items()},
        "orgID": group["orgId"],
        "folderUID": folder_uid,
        "ruleGroup": group["name"],
    }


def _write_folder(grafana: Grafana, thing: Thing) -> None:
    if thing.theirs is None:
        grafana.call(grafana.api.folder.create_folder, thing.ours["title"], uid=thing.uid)
    else:
        grafana.call(grafana.api.folder.update_folder, thing.uid, title=thing.ours["title"], overwrite=True)


def _write_board(grafana: Grafana, thing: Thing) -> None:
    """With the version that was compared: Grafana refuses when somebody saved in between."""
    board = thing.ours["dashboard"]
    digest = hashlib.sha256(json.dumps(board, sort_keys=True).encode()).hexdigest()
    try:
        grafana.call(
            grafana.api.dashboard.update_dashboard,
            {
                "dashboard": board | ({"version": thing.version} if thing.version else {}),
                "folderUid": thing.ours["folderUid"],
                "message": f"{MARK}{digest[:12]}",
                "overwrite": False,
            },
        )
    except GrafanaError as error:
        if error.status != CHANGED_MEANWHILE or not _is_ours_now(grafana, thing):
            raise


def _is_ours_now(grafana: Grafana, thing: Thing) -> bool:
    """Whether it was this very write that came first: its answer was lost, and it was made again."""
    return _compared_board(grafana, thing.ours["dashboard"], thing.ours["folderUid"]).state == "fresh"
