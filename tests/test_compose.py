"""docker-compose.yml is valid, refuses defaults, stays on loopback, and means what the rest of the repository means.

No Docker engine is needed. Where the compose plugin is installed, `docker compose config` has the first word.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from dashboards.panels import PLUGIN_VERSION
from streams.settings import SECRETS, Settings

REPOSITORY = Path(__file__).resolve().parents[1]
COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
EXAMPLE = (REPOSITORY / ".env.example").read_text()
NAMES = re.findall(r"^(\w+)=", EXAMPLE, re.MULTILINE)
OPTIONAL = {"GRAFANA_ALERT_WEBHOOK_URL", "GRAFANA_TEXTS_PASSWORD"}
"""What may be left empty: without it Grafana starts all the same, and shows no texts."""


IMAGE = re.compile(r"[a-z0-9./_-]+:(?!latest$)[0-9][\w.-]*")
LOOPBACK_PORT = re.compile(r"127\.0\.0\.1:\d+:\d+")
INTERPOLATION = re.compile(r"\$\{(\w+)([^}]*)\}")

Compose = dict[str, Any]


def problems(compose: Compose) -> list[str]:
    """What is wrong with a compose file that its schema allows."""
    found = [problem for name, service in compose["services"].items() for problem in _of_service(name, service)]
    found += [f"{name}: {problem}" for name, problem in _of_interpolation(str(compose))]
    given = {secret.get("environment") for secret in compose["secrets"].values()}
    needed = {name for name, _ in INTERPOLATION.findall(str(compose))}
    found += [f"{name}: a secret that may be missing" for name in sorted(given - needed)]
    return found


def _of_service(name: str, service: dict[str, Any]) -> Iterator[str]:
    if not IMAGE.fullmatch(service.get("image", "")):
        yield f"{name}: image without a fixed tag"
    for port in service.get("ports", []):
        if not LOOPBACK_PORT.fullmatch(str(port)):
            yield f"{name}: port {port} is not bound to loopback"
    yield from (f"{name}: {problem}" for problem in _of_running(service))
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield f"{name}: may gain privileges"
    if service.get("read_only") and service.get("secrets"):
        yield f"{name}: compose cannot copy secrets into a read-only container"
    for key in service.get("environment", {}):
        if key.startswith("INFERWATCH_"):
            yield from (f"{name}: {problem}" for problem in _of_setting(key))


def _of_running(service: dict[str, Any]) -> Iterator[str]:
    one_shot = service.get("restart") == "no"
    if not one_shot and "healthcheck" not in service:
        yield "nobody sees whether it is well"
    if service.get("restart") not in {"no", "unless-stopped"}:
        yield "no restart policy"
    if "mem_limit" not in service:
        yield "no memory limit"


def _of_setting(variable: str) -> Iterator[str]:
    fields = set(Settings.__struct_fields__)
    name = variable.removeprefix("INFERWATCH_").lower()
    if name not in fields and name.removesuffix("_file") not in fields:
        yield f"{variable} is no setting"
    if name in SECRETS:
        yield f"{variable} is a secret in the environment"


def _of_interpolation(text: str) -> Iterator[tuple[str, str]]:
    for name, rest in INTERPOLATION.findall(text):
        if name in OPTIONAL:
            if not rest.startswith((":-", ":+")):
                yield name, "has no default for those who leave it empty"
        elif not rest.startswith(":?"):
            yield name, "may be missing or has a default"


def schema_complaints(file: Path) -> str:
    """What the Compose Specification's own JSON schema says; empty for a valid file."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def compose_plugin() -> str | None:
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return docker
    return None


def configured(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    docker = compose_plugin()
    if docker is None:
        pytest.skip("docker compose is not installed: the schema and our own checks stand in for it")
    command = [docker, "compose", "-f", str(COMPOSE_FILE), "--env-file", os.devnull, "config", "--quiet"]
    path = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=path | environment)


def test_compose_itself_accepts_the_file_when_every_name_has_a_value() -> None:
    done = configured(dict.fromkeys(NAMES, "0123456789abcdef0123456789abcdef"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OPTIONAL])
def test_compose_itself_refuses_while_a_name_is_empty(name: str) -> None:
    done = configured(dict.fromkeys(NAMES, "0123456789abcdef0123456789abcdef") | {name: ""})
    assert done.returncode != 0
    assert f"{name} is missing a value" in done.stderr


def test_the_file_follows_the_compose_specification() -> None:
    assert schema_complaints(COMPOSE_FILE) == ""


def test_the_schema_check_sees_a_key_that_does_not_exist(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE_FILE.read_text().replace("mem_limit: 2g", "memory_limit: 2g"))
    assert "memory_limit" in schema_complaints(broken)


def test_the_file_keeps_our_rules() -> None:
    assert problems(COMPOSE) == []


def service(name: str, **changes: object) -> Callable[[Compose], object]:
    return lambda compose: compose["services"][name].update(changes)


def environment(name: str, **changes: str) -> Callable[[Compose], object]:
    return lambda compose: compose["services"][name]["environment"].update(changes)


MUTATIONS: dict[str, tuple[Callable[[Compose], object], str]] = {
    "an image without a tag": (service("kafka", image="apache/kafka"), "image without a fixed tag"),
    "an image that moves": (service("kafka", image="apache/kafka:latest"), "image without a fixed tag"),
    "a port open to the network": (service("kafka", ports=["9092:9092"]), "not bound to loopback"),
    "a port open to every address": (service("grafana", ports=["0.0.0.0:3000:3000"]), "not bound to loopback"),
    "a service without a health check": (lambda c: c["services"]["grafana"].pop("healthcheck"), "nobody sees"),
    "a service without a memory limit": (lambda c: c["services"]["clickhouse"].pop("mem_limit"), "no memory limit"),
    "a default password": (
        environment("clickhouse", CLICKHOUSE_PASSWORD="${CLICKHOUSE_PASSWORD:-secret}"),
        "has a default",
    ),
    "a password that may be empty": (
        environment("clickhouse", CLICKHOUSE_PASSWORD="${CLICKHOUSE_PASSWORD?set it}"),
        "may be missing",
    ),
    "a secret that nothing asks for": (
        lambda compose: compose["secrets"].update(extra={"environment": "EXTRA"}),
        "EXTRA: a secret that may be missing",
    ),
    "an address that has to be given": (
        environment("grafana", GRAFANA_ALERT_WEBHOOK_URL="${GRAFANA_ALERT_WEBHOOK_URL}"),
        "has no default for those who leave it empty",
    ),
    "a setting that does not exist": (environment("worker", INFERWATCH_BROKERS="kafka:9092"), "is no setting"),
    "a key in the environment": (environment("worker", INFERWATCH_KEY="k"), "is a secret in the environment"),
    "secrets in a read-only container": (service("worker", read_only=True), "cannot copy secrets"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_our_rules_see(mutation: str) -> None:
    change, complaint = MUTATIONS[mutation]
    compose = copy.deepcopy(COMPOSE)
    change(compose)
    assert any(complaint in problem for problem in problems(compose)), problems(compose)


def test_the_example_names_every_value_that_is_needed_and_gives_none() -> None:
    assert set(NAMES) == {name for name, _ in INTERPOLATION.findall(COMPOSE_FILE.read_text())}
    assert re.findall(r"^\w+=.+$", EXAMPLE, re.MULTILINE) == []


def test_the_settings_of_the_worker_are_accepted(tmp_path: Path) -> None:
    """With the secrets in files that only their owner reads, as compose mounts them."""
    variables = dict(COMPOSE["services"]["worker"]["environment"])
    for name in [name for name in variables if name.endswith("_FILE")]:
        secret = tmp_path / Path(variables[name]).name
        secret.write_text("[]" if secret.name == "alert_targets" else "0123456789abcdef0123456789abcdef")
        secret.chmod(0o400)
        variables[name] = str(secret)
    variables["INFERWATCH_OWNERS"] = "*=on-call"
    settings = Settings.from_env(variables)
    assert (settings.clickhouse_user, settings.kafka_brokers) == ("inferwatch", "kafka:19092")
    assert (settings.alert_targets, settings.dashboard_url) == ("[]", "http://127.0.0.1:3000")


@pytest.mark.parametrize("name", ["worker", "migrate", "topics", "grafana"])
def test_a_secret_is_mounted_where_it_is_looked_for_and_only_its_reader_may_read_it(name: str) -> None:
    reader = COMPOSE["services"][name]
    mounted = {f"/run/secrets/{secret['source']}" for secret in reader["secrets"]}
    wanted = {value for value in reader["environment"].values() if str(value).startswith("/run/secrets/")}
    sources = (REPOSITORY / "dashboards/provisioning").glob("datasource*.yaml")
    provisioned = re.findall(r"\$__file\{([^}]+)\}", "".join(file.read_text() for file in sources))
    assert mounted == wanted | (set(provisioned) if name == "grafana" else set())
    user, group = reader["user"].split(":")
    assert {(secret["uid"], secret["gid"], secret["mode"]) for secret in reader["secrets"]} == {(user, group, "0400")}


def test_the_worker_starts_after_schema_and_topics_are_there() -> None:
    waits = {name: condition["condition"] for name, condition in COMPOSE["services"]["worker"]["depends_on"].items()}
    assert waits == {
        "kafka": "service_healthy",
        "clickhouse": "service_healthy",
        "migrate": "service_completed_successfully",
        "topics": "service_completed_successfully",
    }


def test_every_file_that_is_mounted_exists() -> None:
    for name, each in COMPOSE["services"].items():
        for volume in each.get("volumes", []):
            for source in _sources(volume):
                assert not source.startswith(".") or (REPOSITORY / source).exists(), f"{name}: {source}"
                assert source.startswith(".") or source in COMPOSE["volumes"], f"{name}: {source}"


def _sources(volume: str) -> set[str]:
    """What a mount takes, with an optional name set and not set."""
    chosen = re.compile(r"\$\{\w+:\+([^}]*)\}")
    return {chosen.sub(way, volume).split(":")[0] for way in (r"\1", "")}


def test_texts_are_shown_in_grafana_only_where_their_password_is_set() -> None:
    (volume,) = (each for each in COMPOSE["services"]["grafana"]["volumes"] if "texts" in each)
    assert _sources(volume) == {
        *("./dashboards/provisioning/datasource-texts.yaml", "./dashboards/provisioning/datasource-texts-on.yaml")
    }
    assert "${GRAFANA_TEXTS_PASSWORD:+-on}" in volume


def test_versions_agree_with_what_is_built_and_tested() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pom = (REPOSITORY / "tests/integration/kafka-dist/pom.xml").read_text()
    services = COMPOSE["services"]
    assert services["worker"]["image"] == f"{project['name']}:{project['version']}"
    tested_kafka = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)", pom)
    assert tested_kafka
    assert services["kafka"]["image"] == f"apache/kafka:{tested_kafka.group(1)}"
    plugin = services["grafana"]["environment"]["GF_PLUGINS_PREINSTALL_SYNC"]
    assert plugin == f"grafana-clickhouse-datasource@{PLUGIN_VERSION}"


def test_the_wheel_is_built_with_the_locked_setuptools() -> None:
    def hashes(path: str) -> set[str]:
        block = re.search(
            r"^setuptools==[^\n]*\n(?:    --hash[^\n]*\n?)+", (REPOSITORY / path).read_text(), re.MULTILINE
        )
        assert block, path
        return set(re.findall(r"==[^ ]+|sha256:\w+", block.group()))

    assert hashes("docker/build.lock") == hashes("requirements-dev.lock")


def test_everything_the_image_copies_is_let_into_its_build_context() -> None:
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (REPOSITORY / "docker/Dockerfile").read_text(), re.MULTILINE)
    allowed = re.findall(r"^!(.+)$", (REPOSITORY / "docker/Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == set(allowed)
    assert [name for name in allowed if not (REPOSITORY / name).exists()] == []


def test_clickhouse_has_a_user_for_each_thing_that_is_done_and_no_default() -> None:
    users = ET.parse(REPOSITORY / "docker/clickhouse/users.xml").find("users")  # noqa: S314 - our own file
    assert users is not None
    assert [user.tag for user in users if "remove" not in user.attrib] == [
        *("migrator", "inferwatch", "grafana", "grafana_texts", "analyst", "responder", "investigator", "custodian")
    ]
    assert [user.tag for user in users if "remove" in user.attrib] == ["default"]
    passwords = {user.find("password").attrib["from_env"] for user in users if user.find("password") is not None}  # type: ignore[union-attr]
    given = COMPOSE["services"]["clickhouse"]["environment"]
    assert passwords == {name for name in given if name.endswith("PASSWORD")}
    assert len(passwords) == 8


def test_only_the_migration_knows_the_password_of_the_owner() -> None:
    knowing = {
        name
        for name, each in COMPOSE["services"].items()
        if "clickhouse_migrator_password" in {secret["source"] for secret in each.get("secrets", [])}
    }
    assert knowing == {"migrate"}
    assert COMPOSE["services"]["migrate"]["environment"]["INFERWATCH_CLICKHOUSE_USER"] == "migrator"
