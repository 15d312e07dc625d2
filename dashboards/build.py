"""Everything Grafana is provisioned with, as text: the same text on every run and machine."""

from __future__ import annotations

import json
from pathlib import Path

from dashboards.alerts import FOLDER, alert_rules, contact_points, mute_timings, policies
from dashboards.cost import cost
from dashboards.deployment import deployment
from dashboards.forensics import forensics
from dashboards.health import health
from dashboards.incident import incident
from dashboards.overview import overview
from dashboards.panels import DATASOURCE_UID, TEXTS_UID, Json
from dashboards.principal import principal
from dashboards.quality import quality

PROVISIONING = Path(__file__).parent / "provisioning"
DASHBOARDS_IN_GRAFANA = "/var/lib/grafana/dashboards"

TEXTS_NAME = "inferwatch texts"

_HEADING = "# Built by `python -m dashboards build`; edit the Python beside this directory, not this file.\n"


def provisioning_files() -> dict[str, str]:
    """Content by path under `PROVISIONING`."""
    return {
        "alerting/contact-points.yaml": _yaml(contact_points()),
        "alerting/mute-timings.yaml": _yaml(mute_timings()),
        "alerting/policies.yaml": _yaml(policies()),
        "alerting/rules.yaml": _yaml(alert_rules()),
        "dashboards.yaml": _yaml(_dashboard_provider()),
        **{f"dashboards/{name}.json": _json(board) for name, board in screens().items()},
        "datasource.yaml": _yaml(_datasource()),
        "datasource-texts.yaml": _yaml(_no_texts_datasource()),
        "datasource-texts-on.yaml": _yaml(_texts_datasource()),
    }


def screens() -> dict[str, Json]:
    """All dashboards by the name of their file."""
    return {
        "cost": cost(),
        "deployment": deployment(),
        "forensics": forensics(),
        "health": health(),
        "incident": incident(),
        "overview": overview(),
        "principal": principal(),
        "quality": quality(),
    }


def stale(directory: Path) -> list[str]:
    """Paths under `directory` that differ from a fresh build, are missing, or that no build writes."""
    fresh = provisioning_files()
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    differing = {name for name in fresh.keys() & found if (directory / name).read_text(encoding="utf-8") != fresh[name]}
    return sorted(differing | (fresh.keys() ^ found))


def write(directory: Path) -> list[str]:
    """Make `directory` equal to a fresh build; returns the paths that were written or removed."""
    fresh = provisioning_files()
    changed = stale(directory)
    for name in changed:
        path = directory / name
        if name in fresh:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fresh[name], encoding="utf-8")
        else:
            path.unlink()
    return changed


def _datasource() -> Json:
    """The password comes from a file that only Grafana reads; the user behind it may only read, and no texts."""
    source = _source("inferwatch", DATASOURCE_UID, "grafana", "clickhouse_grafana_password")
    return {"apiVersion": 1, "datasources": [source | {"isDefault": True}]}


def _texts_datasource() -> Json:
    """For who may see texts in Grafana: everybody who may sign in there may then ask it anything."""
    source = _source(TEXTS_NAME, TEXTS_UID, "grafana_texts", "grafana_texts_password")
    return {"apiVersion": 1, "datasources": [source | {"isDefault": False}]}


def _no_texts_datasource() -> Json:
    """Grafana keeps a data source whose file is gone: where texts are not to be seen any more, it is told so."""
    return {"apiVersion": 1, "deleteDatasources": [{"name": TEXTS_NAME, "orgId": 1}], "datasources": []}


def _source(name: str, uid: str, user: str, secret: str) -> Json:
    return {
        "name": name,
        "uid": uid,
        "type": "grafana-clickhouse-datasource",
        "access": "proxy",
        "orgId": 1,
        "editable": False,
        "jsonData": {
            "host": "clickhouse",
            "port": 9000,
            "protocol": "native",
            "secure": False,
            "username": user,
            "defaultDatabase": "inferwatch",
            "dialTimeout": "10",
            "queryTimeout": "60",
        },
        "secureJsonData": {"password": f"$__file{{/run/secrets/{secret}}}"},
    }


def _dashboard_provider() -> Json:
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "inferwatch",
                "orgId": 1,
                "folder": FOLDER,
                "folderUid": "inferwatch",
                "type": "file",
                "disableDeletion": True,
                "allowUiUpdates": False,
                "updateIntervalSeconds": 30,
                "options": {"path": DASHBOARDS_IN_GRAFANA, "foldersFromFilesStructure": False},
            }
        ],
    }


def _json(value: Json) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def _yaml(value: Json) -> str:
    """JSON under a comment: every YAML reader takes it, and no YAML writer is needed to make it."""
    return _HEADING + _json(value)
