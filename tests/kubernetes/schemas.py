"""Schemas of Kubernetes and of KEDA, as packages ship them: fetched once, checked against a pinned hash.

Kubernetes' are JSON schemas made from its own API, in their strict form, which refuses names that it does not know.
KEDA's are functions generated from its own resource definitions; what they take from other packages (object metadata,
formats, the behavior of an autoscaler) is replaced here: metadata by nothing, the behavior by Kubernetes' schema.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.integration.pinned import TamperedError, fetched_once, run_client, sha256, tool

KUBERNETES = "kubernetes-validate==1.37.0"
KUBERNETES_SHA256 = "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9"
RELEASES = ("1.30.0", "1.37.0")
"""The oldest and the newest release of Kubernetes whose schemas are asked."""

KEDA = "@kubernetes-models/keda@2.0.0"
KEDA_SHA256 = "825e7b45dfd9da8dfdfd838a6d31e2e180c8491c8e493c3822f9123e49ceffef"

_TAKES_ALL = "export const validate = () => true;"
_INT32 = "{validate: (n) => Number.isInteger(n) && Math.abs(n) < 2 ** 31}"
_STUBS = {
    "@kubernetes-models/validate": f"export const formats = {{int32: {_INT32}}};",
    "@kubernetes-models/apimachinery": _TAKES_ALL,
    "kubernetes-models": _TAKES_ALL,
}
_ASK = """
const [folder, kind] = process.argv.slice(-2);
const name = `ComGithubKedacoreKedaV2ApisKedaV1alpha1${kind}`;
const { validate } = await import(`${folder}/package/_schemas/${name}.js`);
let text = "";
for await (const part of process.stdin) text += part;
const said = (error) => `${error.instancePath}: ${error.keyword} ${JSON.stringify(error.params)}`;
console.log(JSON.stringify(validate(JSON.parse(text)) ? [] : validate.errors.map(said)));
"""

Manifest = dict[str, Any]


def kubernetes_problems(manifest: Manifest, release: str) -> list[str]:
    """What a release of Kubernetes does not take."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    parts = (manifest["kind"], group.partition(".")[0], version)
    return against("-".join(filter(None, parts)).lower(), manifest, release)


def against(name: str, value: object, release: str) -> list[str]:
    """What a schema of Kubernetes does not take of a value, by the name of its file."""
    folder = _kubernetes() / f"v{release}-local-strict"

    def retrieve(uri: str) -> Resource[Any]:
        return DRAFT202012.create_resource(json.loads((folder / Path(uri).name).read_text(encoding="utf-8")))

    path = folder / f"{name}.json"
    if not path.exists():
        return [f"Kubernetes {release} has no {name}"]
    schema = json.loads(path.read_text(encoding="utf-8"))
    registry: Registry[Any] = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    found = jsonschema.Draft202012Validator(schema, registry=registry).iter_errors(value)
    return [f"{'/'.join(map(str, each.absolute_path))}: {each.message}" for each in found]


def keda_problems(manifest: Manifest) -> list[str]:
    """What KEDA does not take, and names that it does not know."""
    folder = _keda()
    asked = subprocess.run(
        [tool("node"), str(folder / "ask.mjs"), str(folder), manifest["kind"]],
        input=json.dumps(manifest),
        capture_output=True,
        text=True,
        check=True,
    )
    problems: list[str] = json.loads(asked.stdout)
    known = {
        name
        for path in (folder / "package" / "keda.sh" / "v1alpha1").glob("*.d.ts")
        for name in re.findall(r'^ +"(\w+)"\??:', path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    return problems + [f"{name}: KEDA does not know it" for name in sorted(_names(manifest["spec"]) - known)]


def _names(value: object) -> set[str]:
    """Names of fields; not within what KEDA leaves to each trigger or to Kubernetes."""
    if isinstance(value, list):
        return {name for each in value for name in _names(each)}
    if not isinstance(value, dict):
        return set()
    deeper = (each for name, each in value.items() if name not in {"metadata", "behavior"} or isinstance(each, str))
    return set(value).union(*map(_names, deeper))


def _kubernetes() -> Path:
    def fetch(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        run_client([*pip, "--dest", str(folder), KUBERNETES], cwd=folder)
        wheel = next(folder.glob("*.whl"))
        _check(wheel, KUBERNETES, KUBERNETES_SHA256)
        with zipfile.ZipFile(wheel) as archive:
            for release in RELEASES:
                inside = f"kubernetes_validate/kubernetes-json-schema/v{release}-local-strict/"
                for name in (each for each in archive.namelist() if each.startswith(inside) and each.endswith(".json")):
                    target = folder / f"v{release}-local-strict" / Path(name).name
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(archive.read(name))
        wheel.unlink()

    return fetched_once(f"kubernetes-schemas-{KUBERNETES_SHA256[:16]}", fetch)


def _keda() -> Path:
    def fetch(folder: Path) -> None:
        run_client([tool("npm"), "pack", "--loglevel=error", "--ignore-scripts", KEDA], cwd=folder)
        archive = next(folder.glob("*.tgz"))
        _check(archive, KEDA, KEDA_SHA256)
        with tarfile.open(archive) as package:
            package.extractall(folder, filter="data")
        archive.unlink()
        for name, source in _STUBS.items():
            stub = folder / "node_modules" / name
            stub.mkdir(parents=True)
            exports = {".": "./stub.js", "./_schemas/*": "./stub.js"}
            (stub / "package.json").write_text(json.dumps({"name": name, "type": "module", "exports": exports}))
            (stub / "stub.js").write_text(source)
        (folder / "ask.mjs").write_text(_ASK)

    return fetched_once(f"keda-schemas-{sha256(Path(__file__))[:8]}-{KEDA_SHA256[:16]}", fetch)


def _check(file: Path, name: str, pinned: str) -> None:
    if sha256(file) != pinned:
        raise TamperedError(f"{name} is not as pinned: its SHA-256 is {sha256(file)}")
