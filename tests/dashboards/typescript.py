"""Dashboards as TypeScript constants, checked by Grafana's own compiler settings against Grafana's own types.

`TYPES` says what the JSON of each kind of panel is, in terms of `@grafana/schema`. An enumeration is written as its
text in JSON, and a plugin's options may leave out what has a default. What the data source asks of a query is ours.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.pinned import TamperedError, fetched_once, run_client, sha256, tool

PACKAGES = {
    "@grafana/schema@13.2.3": "f492f0ec5b0212cbf7f098d5d54b4a540371c262c6b78e9016ee2d26add9e559",
    "typescript@5.9.3": "10e108c9cf7d5f2879053dff18515fb405abf2ccef63eaaf017d9c571687a1d3",
}
"""With the SHA-256 of what npm packs. The first as in the Grafana that compose starts."""

PACK_OPTIONS = ["--loglevel=error", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
TIMEOUT_S = 120
COMPLAINT = re.compile(r"^(\w+)\.ts\(\d+,\d+\): error (TS\d+: .*)$")

OPTIONS = {
    "barchart": "barchart",
    "bargauge": "bargauge",
    "gauge": "gauge",
    "heatmap": "heatmap",
    "histogram": "histogram",
    "logs": "logs",
    "nodeGraph": "nodegraph",
    "piechart": "piechart",
    "stat": "stat",
    "state-timeline": "statetimeline",
    "status-history": "statushistory",
    "table": "table",
    "text": "text",
    "timeseries": "timeseries",
}
"""Kinds of panels, and the directory their options are declared in."""

WITHOUT_FIELD_CONFIG = {"bargauge", "gauge", "logs", "nodegraph", "stat", "text", "table"}
"""Panels whose fields have no `custom` properties of their own, or common ones."""

COMPOSABLE = "./node_modules/@grafana/schema/dist/types/raw/composable"

TYPES = """\
import type {{ AnnotationQuery, Dashboard, FieldConfig, Panel, RowPanel, VariableModel, TableFieldOptions }}
  from '@grafana/schema';
{imports}

type Json<T> = unknown extends T ? T
  : T extends string ? `${{T}}`
  : T extends Array<infer E> ? Array<Json<E>>
  : T extends object ? {{ [K in keyof T]: Json<T[K]> }} : T;

type Uid = 'inferwatch-clickhouse' | 'inferwatch-clickhouse-texts';
interface Source {{ type: 'grafana-clickhouse-datasource'; uid: Uid; }}
interface Asked {{
  refId: string; datasource: Source; editorType: 'sql'; pluginVersion: string; rawSql: string;
}}
type Query = Asked & ({{ queryType: 'timeseries'; format: 0 }} | {{ queryType: 'table'; format: 1 }});

interface Fields<F> {{
  defaults: Omit<Json<FieldConfig>, 'custom' | 'unit' | 'noValue' | 'thresholds'>
    & Required<Pick<Json<FieldConfig>, 'unit' | 'noValue' | 'thresholds'>> & {{ custom?: Partial<Json<F>> }};
  overrides: NonNullable<Json<Panel>['fieldConfig']>['overrides'];
}}
type Of<K extends string, O, F> = Omit<Json<Panel>, 'datasource' | 'fieldConfig' | 'options' | 'targets' | 'type'>
  & Required<Pick<Json<Panel>, 'description' | 'gridPos' | 'id' | 'title'>>
  & {{ type: K; datasource: Source; fieldConfig: Fields<F>; options: Partial<Json<O>>; targets: Query[]; }};
type None = Record<string, never>;
type Drawn = {panels};
type Row = Omit<Json<RowPanel>, 'panels'> & {{ panels: Drawn[] }};

interface Variable extends Omit<Json<VariableModel>, 'query'> {{
  query?: string | {{ refId: string; editorType: 'sql'; queryType: 'sql'; rawSql: string }};
}}
interface Marks extends Omit<Json<AnnotationQuery>, 'target'> {{ target?: Query | Record<string, unknown>; }}
export interface Board
  extends Omit<Json<Dashboard>, 'annotations' | 'panels' | 'templating' | 'uid' | 'title' | 'schemaVersion'> {{
  uid: string; title: string; schemaVersion: 41 | 42;
  panels: Array<Drawn | Row>;
  annotations: {{ list: Marks[] }};
  templating: {{ list: Variable[] }};
}}
"""


def declarations() -> str:
    """The types that a dashboard is checked against."""
    imports, panels = [], []
    for kind, directory in OPTIONS.items():
        imports.append(f"import type * as {directory} from '{COMPOSABLE}/{directory}/panelcfg/x/types.gen';")
        fields = "TableFieldOptions" if directory == "table" else f"{directory}.FieldConfig"
        if directory in WITHOUT_FIELD_CONFIG - {"table"}:
            fields = "None"
        panels.append(f"Of<'{kind}', {directory}.Options, {fields}>")
    return TYPES.format(imports="\n".join(imports), panels="\n  | ".join(panels))


def complaints(boards: Mapping[str, Any], directory: Path) -> dict[str, list[str]]:
    """What the compiler says of each of `boards`, which it reads in `directory`; empty lists where it is content.

    Raises:
        UnavailableError: this machine has no node, no npm, or no way to the packages.

    """
    node = tool("node")
    packages = fetched_once(f"grafana-schema-{PACKAGES['@grafana/schema@13.2.3'][:16]}", fetch)
    (directory / "node_modules").symlink_to(packages / "node_modules")
    (directory / "types.ts").write_text(declarations())
    for name, board in boards.items():
        text = json.dumps(board, indent=1)
        (directory / f"{name}.ts").write_text(
            f"import type {{ Board }} from './types';\nexport const board: Board = {text};\n"
        )
    names = ["types.ts", *(f"{name}.ts" for name in boards)]
    options = [
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--target",
        "es2022",
        "--module",
        "esnext",
        "--pretty",
        "false",
    ]
    done = subprocess.run(
        [node, str(packages / "node_modules/typescript/lib/tsc.js"), *options, "--moduleResolution", "bundler", *names],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    said: dict[str, list[str]] = {name: [] for name in boards}
    for line in done.stdout.replace("\n ", " ").splitlines():
        found = COMPLAINT.match(line)
        if found is None:
            continue
        if found.group(1) not in said:
            raise AssertionError(line)
        said[found.group(1)].append(found.group(2))
    if (done.returncode == 0) == any(said.values()):
        raise AssertionError(f"the compiler ended with {done.returncode}: {done.stdout[:400]}{done.stderr[:400]}")
    return said


def fetch(directory: Path) -> None:
    """Have npm fetch the packages, check them, and unpack them into `directory`."""
    npm = tool("npm")
    for package, pinned in PACKAGES.items():
        run_client([npm, "pack", *PACK_OPTIONS, package], cwd=directory)
        archive = next(directory.glob("*.tgz"))
        if sha256(archive) != pinned:
            raise TamperedError(f"{package} is not as pinned: its SHA-256 is {sha256(archive)}")
        with tarfile.open(archive) as packed:
            packed.extractall(directory, filter="data")
        archive.unlink()
        place = directory / "node_modules" / package.rpartition("@")[0]
        place.parent.mkdir(parents=True, exist_ok=True)
        (directory / "package").rename(place)
