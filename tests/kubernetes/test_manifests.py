"""The manifests are what Kubernetes and KEDA take, and mean what the worker and compose mean.

What is proven: every document fits the schema of the API it names, in the oldest and the newest release asked, with no
unknown name; KEDA's fit KEDA's. Not proven: that a cluster runs them. No cluster is here.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams import topics
from streams.settings import SECRETS, Settings
from tests.integration.pinned import UnavailableError
from tests.kubernetes.schemas import RELEASES, against, keda_problems, kubernetes_problems

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker" / "kubernetes"
Manifest = dict[str, Any]


def read(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


KUSTOMIZATION = read("kustomization.yaml")[0]
MANIFESTS = {f"{name}:{each['kind']}": each for name in KUSTOMIZATION["resources"] for each in read(name)}
OF_KEDA = [name for name, each in MANIFESTS.items() if each["apiVersion"].startswith("keda.sh/")]
OF_KUBERNETES = [name for name in MANIFESTS if name not in OF_KEDA]
SETTINGS = MANIFESTS["settings.yaml:ConfigMap"]["data"]
WORKER = MANIFESTS["worker.yaml:Deployment"]["spec"]["template"]["spec"]
SCALED = MANIFESTS["autoscaling.yaml:ScaledObject"]["spec"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PODS = [WORKER, MANIFESTS["setup.yaml:Job"]["spec"]["template"]["spec"]]
CONTAINERS = [each for pod in PODS for each in (*pod["containers"], *pod.get("initContainers", ()))]


def problems(manifest: Manifest, release: str) -> list[str]:
    try:
        return kubernetes_problems(manifest, release)
    except UnavailableError as error:
        pytest.skip(str(error))


def of_keda(manifest: Manifest) -> list[str]:
    try:
        return keda_problems(manifest)
    except UnavailableError as error:
        pytest.skip(str(error))


def test_every_file_is_in_the_kustomization() -> None:
    assert {path.name for path in FOLDER.glob("*.yaml")} == {"kustomization.yaml", *KUSTOMIZATION["resources"]}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", OF_KUBERNETES)
def test_kubernetes_takes_it(name: str, release: str) -> None:
    assert problems(MANIFESTS[name], release) == []


@pytest.mark.parametrize("name", OF_KEDA)
def test_keda_takes_it(name: str) -> None:
    assert of_keda(MANIFESTS[name]) == []


@pytest.mark.parametrize("release", RELEASES)
def test_kubernetes_takes_how_keda_is_to_grow_and_shrink(release: str) -> None:
    behavior = SCALED["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    try:
        assert against("horizontalpodautoscalerbehavior-autoscaling-v2", behavior, release) == []
    except UnavailableError as error:
        pytest.skip(str(error))


def test_a_wrong_manifest_is_refused() -> None:
    broken = copy.deepcopy(MANIFESTS["worker.yaml:Deployment"])
    container = broken["spec"]["template"]["spec"]["containers"][0]
    container["livenessProbes"] = container.pop("livenessProbe")
    container["ports"][0]["containerPort"] = "health"
    found = problems(broken, RELEASES[-1])
    assert any("livenessProbes" in each for each in found)
    assert any("containerPort" in each for each in found)


def test_a_wrong_manifest_for_keda_is_refused() -> None:
    broken = copy.deepcopy(MANIFESTS["autoscaling.yaml:ScaledObject"])
    broken["spec"]["maxReplicas"] = broken["spec"].pop("maxReplicaCount")
    del broken["spec"]["triggers"][0]["type"]
    found = of_keda(broken)
    assert any("maxReplicas" in each for each in found)
    assert any("/spec/triggers/0" in each for each in found)


def test_the_worker_takes_the_settings() -> None:
    secrets = {"INFERWATCH_KEY": "k" * 32, "INFERWATCH_METRICS_TOKEN": "t" * 16, "INFERWATCH_KAFKA_PASSWORD": "p"}
    Settings.from_env({**SETTINGS, **secrets})


def test_every_name_in_the_environment_is_a_setting_and_secrets_come_by_reference() -> None:
    known = {f"INFERWATCH_{name.upper()}" for name in Settings.__struct_fields__}
    for container in CONTAINERS:
        for each in container["env"]:
            assert each["name"] in known
            is_secret = each["name"].removeprefix("INFERWATCH_").lower() in SECRETS
            assert ("secretKeyRef" in each.get("valueFrom", {})) == is_secret
    assert not {f"INFERWATCH_{name.upper()}" for name in SECRETS} & SETTINGS.keys()


def test_nobody_has_rights_that_are_not_needed() -> None:
    for pod in PODS:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
    for container in CONTAINERS:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}


def test_user_image_and_patience_are_those_of_compose() -> None:
    compose = COMPOSE["services"]["worker"]
    image = KUSTOMIZATION["images"][0]
    assert f"{image['newName']}:{image['newTag']}" == compose["image"]
    assert {container["image"] for container in CONTAINERS} == {image["name"]}
    assert compose["user"] == f"{WORKER['securityContext']['runAsUser']}:{WORKER['securityContext']['runAsGroup']}"
    assert compose["stop_grace_period"] == f"{WORKER['terminationGracePeriodSeconds']}s"
    assert WORKER["containers"][0]["resources"]["limits"]["memory"].removesuffix("i").lower() == compose["mem_limit"]


def test_probes_ask_the_pages_there_are_and_leave_the_worker_its_patience() -> None:
    (worker,) = WORKER["containers"]
    port = int(SETTINGS["INFERWATCH_HEALTH_ADDRESS"].rpartition(":")[2])
    assert worker["ports"] == [{"name": "health", "containerPort": port}]
    startup, liveness = worker["startupProbe"], worker["livenessProbe"]
    assert startup["httpGet"] == liveness["httpGet"] == {"path": "/livez", "port": "health"}
    assert startup["periodSeconds"] * startup["failureThreshold"] > Settings().start_patience_s
    script = worker["readinessProbe"]["exec"]["command"][-1]
    compile(script, "probe", "exec")
    assert f"127.0.0.1:{port}/readyz" in script
    assert "INFERWATCH_METRICS_TOKEN" in script


def test_it_grows_by_what_waits_in_topics_that_workers_read_and_not_beyond_the_partitions() -> None:
    read_by_all = {topics.INFERENCE_LOGS, topics.BY_DEPLOYMENT, topics.BY_PRINCIPAL}
    told = [trigger["metadata"] for trigger in SCALED["triggers"]]
    assert {each["topic"] for each in told} == read_by_all
    assert {each["consumerGroup"] for each in told} == {Settings().consumer_group}
    assert {each["bootstrapServers"] for each in told} == {SETTINGS["INFERWATCH_KAFKA_BROKERS"]}
    assert SCALED["maxReplicaCount"] <= int(SETTINGS["INFERWATCH_PARTITIONS"])
    assert SCALED["scaleTargetRef"]["name"] == MANIFESTS["worker.yaml:Deployment"]["metadata"]["name"]
    assert "replicas" not in MANIFESTS["worker.yaml:Deployment"]["spec"]


def test_a_worker_may_reach_what_it_is_told_to() -> None:
    egress = MANIFESTS["network.yaml:NetworkPolicy"]["spec"]["egress"]
    ports = {each["port"] for rule in egress for each in rule["ports"]}
    for name in ("INFERWATCH_KAFKA_BROKERS", "INFERWATCH_CLICKHOUSE_URL"):
        assert int(re.findall(r":(\d+)", SETTINGS[name])[-1]) in ports
