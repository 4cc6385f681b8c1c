"""The manifests of deploy/kubernetes, as kustomize builds them: valid by the published schemas, and fit for syncd.

tests/data/servicemonitor.schema.json is the ServiceMonitor of Prometheus Operator 0.80.1, from the models on PyPI
(cloudcoil-models-prometheus-operator 0.80.1.0), without its prose and closed to unknown keys.
"""

from __future__ import annotations

import json  # noqa: TID251  # a schema as any reader takes it
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from syncd.errors import ConfigError
from syncd.http.guard import PROBES
from syncd.settings import Settings, host_of, read

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy/kubernetes"
MONITOR = json.loads((ROOT / "tests/data/servicemonitor.schema.json").read_text())


def built(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    made = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(made.stdout))


def in_older_words(folder: Path) -> None:
    """The example as Debian 12's kubectl 1.20 spells it: its kustomize is of 2019 and says the same otherwise."""
    path = folder / "example/kustomization.yaml"
    words = yaml.safe_load(path.read_text())
    words["resources"].remove("../base")
    words["bases"] = ["../base"]
    words["patchesStrategicMerge"] = [patch["path"] for patch in words.pop("patches")]
    for secret in words["secretGenerator"]:
        (secret["env"],) = secret.pop("envs")
    path.write_text(yaml.safe_dump(words))


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl here")
    folder = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    shutil.copytree(FOLDER, folder)
    told = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=True).stdout
    if "Kustomize Version" not in told:
        in_older_words(folder)
    return built(folder / "example")


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found


def test_each_manifest_is_valid_by_the_published_schema(example: list[dict[str, Any]]) -> None:
    for manifest in example:
        if manifest["kind"] == "ServiceMonitor":
            jsonschema.validate(manifest, MONITOR)
        else:
            kubernetes_validate.validate(manifest, "1.37", strict=True)
    kinds = {manifest["kind"] for manifest in example}
    assert kinds >= {"StatefulSet", "Service", "NetworkPolicy", "PodDisruptionBudget", "Secret", "ConfigMap"}


def test_a_key_that_nobody_knows_is_no_valid_manifest(example: list[dict[str, Any]]) -> None:
    monitor = one(example, "ServiceMonitor")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(monitor | {"spec": monitor["spec"] | {"endpoint": []}}, MONITOR)
    service = one(example, "Service")
    with pytest.raises(jsonschema.ValidationError):
        kubernetes_validate.validate(service | {"spec": service["spec"] | {"clusterIp": "None"}}, "1.37", strict=True)


def settings(example: list[dict[str, Any]], folder: Path, secret: str = "hush", **environ: str) -> Settings:
    """What syncd reads in the pod, once the secrets are filled in."""
    (folder / "secrets").mkdir()
    for name, value in one(example, "Secret")["data"].items():
        assert value == "", "a secret that everybody can read is none"
        (folder / "secrets" / name).write_text(secret)
    (folder / "syncd.toml").write_text(one(example, "ConfigMap")["data"]["syncd.toml"])
    return read(folder / "syncd.toml", environ={"SYNCD_SECRETS_DIR": str(folder / "secrets")} | environ)


def test_the_pod_gives_syncd_what_its_configuration_names(example: list[dict[str, Any]], tmp_path: Path) -> None:
    pod = one(example, "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    written = tomllib.loads(one(example, "ConfigMap")["data"]["syncd.toml"])
    assert (written["data_dir"], written["secrets_dir"]) == (mounted["data"], mounted["secrets"])
    assert mounted["config"] == "/etc/syncd", "where syncd looks by itself"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["config"]["configMap"]["name"] == one(example, "ConfigMap")["metadata"]["name"]
    assert volumes["secrets"]["secret"]["secretName"] == one(example, "Secret")["metadata"]["name"]

    found = settings(example, tmp_path)
    assert found.http.token, "beyond loopback it wants one"
    assert str(found.workers) == container["resources"]["limits"]["cpu"]
    (port,) = container["ports"]
    assert (host_of(found.http.listen), int(found.http.listen.rpartition(":")[2])) == ("0.0.0.0", port["containerPort"])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in PROBES, "a kubelet has no token"
        assert container[probe]["httpGet"]["port"] == port["name"]


def test_syncd_waits_for_secrets_of_your_own(example: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="client_secret") as refused:
        settings(example, tmp_path, secret="")
    assert "http.token" in str(refused.value)


def test_prometheus_shows_the_token_that_syncd_wants(example: list[dict[str, Any]]) -> None:
    (endpoint,) = one(example, "ServiceMonitor")["spec"]["endpoints"]
    shown = endpoint["authorization"]["credentials"]
    assert shown["name"] == one(example, "Secret")["metadata"]["name"]
    assert shown["key"] in one(example, "Secret")["data"]
    assert endpoint["port"] in [port["name"] for port in one(example, "Service")["spec"]["ports"]]


def test_the_words_that_kubernetes_puts_into_the_environment_stay_away(
    example: list[dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="SYNCD_PORT"):
        settings(example, tmp_path, SYNCD_PORT="tcp://10.0.0.1:8600")
    assert one(example, "StatefulSet")["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_the_pod_may_do_next_to_nothing(example: list[dict[str, Any]]) -> None:
    pod = one(example, "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (
        pod["automountServiceAccountToken"] is one(example, "ServiceAccount")["automountServiceAccountToken"] is False
    )
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert one(example, "StatefulSet")["spec"]["replicas"] == 1


def test_the_image_is_named_by_its_digest(example: list[dict[str, Any]]) -> None:
    (container,) = one(example, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert re.fullmatch(r"registry\.example\.com/syncd@sha256:[0-9a-f]{64}", container["image"])
    (base,) = yaml.safe_load((FOLDER / "base/statefulset.yaml").read_text())["spec"]["template"]["spec"]["containers"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert base["image"] == f"syncd:{version}", "what deploy/docker/build makes"
