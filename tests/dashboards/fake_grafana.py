"""A Grafana as far as this program asks of one, over real HTTP: it is strict about method, path, body and who asks.

What it knows of Grafana's answers is from Grafana's documentation of its HTTP API. It keeps what it is given, adds
what Grafana adds on its own, and remembers every request.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]
Answer = tuple[int, Any]

TOKEN = "glsa_token"
USER, PASSWORD = "ada", "sesame:open"
AUTHORIZED = {f"Bearer {TOKEN}", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class FakeGrafana:
    """`failures` are answers given instead of the next ones; `mistakes` what a real one would not have understood."""

    folders: dict[str, Json] = field(default_factory=dict)
    boards: dict[str, Json] = field(default_factory=dict)
    groups: dict[tuple[str, str], Json] = field(default_factory=dict)
    annotations: dict[int, Json] = field(default_factory=dict)
    sources: set[str] = field(default_factory=lambda: {"inferwatch-clickhouse"})
    requests: list[Request] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    broken_sql: str = "no such text in any query"
    broken_status: int = 400
    prefix: str = ""
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self._server.server_port}{self.prefix}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def writes(self) -> list[Request]:
        """Requests that were meant to change something."""
        return [each for each in self.requests if each.method != "GET" and each.path != "/ds/query"]

    def saved_by_hand(self, uid: str, who: str = "mallory", **changes: Any) -> None:
        """Somebody saves a dashboard in Grafana's pages."""
        board = self.boards[uid]
        board["dashboard"] |= changes | {"version": board["dashboard"]["version"] + 1}
        board["versions"].append({"version": board["dashboard"]["version"], "message": "", "createdBy": who})

    def answer(self, request: Request) -> Answer:
        if self.failures:
            status = self.failures.pop(0)
            if status:
                return status, {"message": "\x1b[31mnot \u202enow"}
        if request.path == "/health":
            return 200, {"database": "ok", "version": "13.2.3"}
        if request.headers.get("authorization") not in AUTHORIZED:
            return 401, {"message": "Invalid username or password"}
        for method, pattern, work in self._routes():
            found = re.fullmatch(pattern, unquote(request.path))
            if found and method == request.method:
                return work(request, *found.groups())
        self.mistakes.append(f"{request.method} {request.path}")
        return 404, {"message": "Not found"}

    def _routes(self) -> list[tuple[str, str, Callable[..., Answer]]]:
        uid = r"([\w-]+)"
        return [
            ("GET", "/org", lambda _: (200, {"id": 1})),
            ("GET", f"/folders/{uid}", lambda _, name: _found(self.folders.get(name))),
            ("POST", "/folders", self._new_folder),
            ("PUT", f"/folders/{uid}", self._rename),
            ("GET", f"/dashboards/uid/{uid}", lambda _, name: _found(self._shown(name))),
            ("GET", f"/dashboards/uid/{uid}/versions", self._versions),
            ("POST", "/dashboards/db", self._save),
            ("GET", "/search", self._search),
            ("GET", f"/v1/provisioning/folder/{uid}/rule-groups/([^/]+)", self._group),
            ("PUT", f"/v1/provisioning/folder/{uid}/rule-groups/([^/]+)", self._save_group),
            ("GET", "/annotations", self._find),
            ("POST", "/annotations", self._add),
            ("PUT", r"/annotations/(\d+)", self._change),
            ("DELETE", r"/annotations/(\d+)", self._remove),
            ("GET", f"/datasources/uid/{uid}", lambda _, name: _found({"uid": name} if name in self.sources else None)),
            ("GET", f"/datasources/uid/{uid}/health", self._source_health),
            ("POST", "/ds/query", self._query),
            ("GET", "/prometheus/grafana/api/v1/rules", self._rules),
        ]

    def _wants(self, request: Request, *keys: str) -> None:
        """Note a body that has other keys, as Grafana would pass over them or refuse."""
        if not isinstance(request.body, dict) or set(request.body) != set(keys):
            self.mistakes.append(f"{request.method} {request.path} with {sorted(request.body or {})}")

    def _new_folder(self, request: Request) -> Answer:
        self._wants(request, "uid", "title")
        self.folders[request.body["uid"]] = {"id": 1, "version": 1, **request.body}
        return 200, self.folders[request.body["uid"]]

    def _rename(self, request: Request, uid: str) -> Answer:
        self._wants(request, "title", "overwrite")
        self.folders[uid] |= {"title": request.body["title"]}
        return 200, self.folders[uid]

    def _shown(self, uid: str) -> Json | None:
        board = self.boards.get(uid)
        return board and {"dashboard": board["dashboard"], "meta": board["meta"]}

    def _versions(self, request: Request, uid: str) -> Answer:
        return _found({"versions": self.boards[uid]["versions"]} if uid in self.boards else None)

    def _save(self, request: Request) -> Answer:
        self._wants(request, "dashboard", "folderUid", "message", "overwrite")
        given, uid = request.body["dashboard"], request.body["dashboard"]["uid"]
        before = self.boards.get(uid, {"dashboard": {"version": 0, "id": len(self.boards) + 1}, "versions": []})
        if request.body["folderUid"] not in self.folders:
            return 400, {"message": "folder not found"}
        if given.get("version", 0) != before["dashboard"]["version"]:
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        version = before["dashboard"]["version"] + 1
        added = {"id": before["dashboard"]["id"], "version": version, "preload": False, "gnetId": None}
        panels = [panel | {"transparent": False} for panel in given["panels"]]
        self.boards[uid] = {
            "dashboard": given | added | {"panels": panels, "schemaVersion": given["schemaVersion"] + 1},
            "meta": {"folderUid": request.body["folderUid"], "provisioned": False, "updatedBy": "push"},
            "versions": [
                *before["versions"],
                {"version": version, "message": request.body["message"], "createdBy": "push"},
            ],
        }
        return 200, {"uid": uid, "version": version, "status": "success"}

    def _search(self, request: Request) -> Answer:
        if not {"type", "folderUIDs"} <= set(request.query):
            self.mistakes.append(f"search without {request.query}")
        folders = request.query["folderUIDs"]
        return 200, [{"uid": uid} for uid, board in self.boards.items() if board["meta"]["folderUid"] in folders]

    def _group(self, request: Request, folder: str, name: str) -> Answer:
        return _found(self.groups.get((folder, name)))

    def _save_group(self, request: Request, folder: str, name: str) -> Answer:
        self._wants(request, "title", "folderUid", "interval", "rules")
        if not isinstance(request.body["interval"], int) or request.body["folderUid"] != folder:
            self.mistakes.append(f"a group {request.body['title']} of {request.body['interval']}")
        for rule in request.body["rules"]:
            if "$$" in json.dumps(rule) or rule["folderUID"] != folder or rule["ruleGroup"] != name:
                self.mistakes.append(f"a rule {rule['title']}")
        provenance = "" if request.headers.get("x-disable-provenance") == "true" else "api"
        added = {"id": 1, "updated": "2026-01-01T00:00:00Z", "provenance": provenance, "keep_firing_for": "0s"}
        rules = [rule | added | {"for": rule["for"].replace("0s", "0h0s")} for rule in request.body["rules"]]
        self.groups[folder, name] = request.body | {"rules": rules}
        return 200, self.groups[folder, name]

    def _find(self, request: Request) -> Answer:
        tags = set(request.query.get("tags", []))
        if not tags:
            self.mistakes.append("annotations of everybody")
        return 200, [{"id": number, **each} for number, each in self.annotations.items() if tags <= set(each["tags"])]

    def _add(self, request: Request) -> Answer:
        self._wants(request, "panelId", "time", "timeEnd", "tags", "text")
        number = len(self.requests)
        self.annotations[number] = {key: request.body[key] for key in ("time", "timeEnd", "tags", "text")}
        return 200, {"id": number}

    def _change(self, request: Request, number: str) -> Answer:
        self._wants(request, "time", "timeEnd", "tags", "text")
        self.annotations[int(number)] |= request.body
        return 200, {"message": "Annotation updated"}

    def _remove(self, request: Request, number: str) -> Answer:
        del self.annotations[int(number)]
        return 200, {"message": "Annotation deleted"}

    def _source_health(self, request: Request, uid: str) -> Answer:
        return _found({"status": "OK"} if uid in self.sources else None)

    def _query(self, request: Request) -> Answer:
        self._wants(request, "queries", "from", "to")
        results: Json = {}
        for query in request.body["queries"]:
            if (
                "${" in query["rawSql"]
                or query["datasource"]["uid"] not in self.sources
                or query["format"] not in {0, 1}
            ):
                self.mistakes.append(f"a query {query['refId']}")
            if self.broken_sql in query["rawSql"]:
                wrong = {"results": {query["refId"]: {"status": 400, "error": "code: 47"}}, "message": "code: 47"}
                return self.broken_status, wrong
            results[query["refId"]] = {"status": 200, "frames": [{"schema": {}, "data": {"values": [["chat"]]}}]}
        return 200, {"results": results}

    def _rules(self, request: Request) -> Answer:
        rules = [{"name": rule["title"], "health": "ok"} for group in self.groups.values() for rule in group["rules"]]
        return 200, {"data": {"groups": [{"rules": rules}]}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        grafana = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65_536
            disable_nagle_algorithm = True

            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                address = urlsplit(self.path)
                request = Request(
                    self.command,
                    address.path.removeprefix(f"{grafana.prefix}/api"),
                    parse_qs(address.query),
                    {name.lower(): value for name, value in self.headers.items()},
                    json.loads(body) if body else None,
                )
                grafana.requests.append(request)
                status, answer = grafana.answer(request)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815 - the names that the library looks for

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        return Handler


def _found(value: Any) -> Answer:
    return (404, {"message": "Not found"}) if value is None else (200, value)
