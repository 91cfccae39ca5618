"""What the chart's documents say of each other: selectors, ports, names that are referred to."""

from __future__ import annotations

import json
from importlib.metadata import requires, version
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tests.deploy.chart_render import CASES, CHART, MODES, ROOT, Document, only, pod_templates, ray_spec, render

#: What a user of these values has made beforehand, or KubeRay makes.
_THEIRS = {
    "huggingface",
    "wandb",
    "hf",
    "reward-token",
    "managed-redis",
    "ray-token",
    "gcs-redis",
    "more",
    "registry",
}
_EVERY = pytest.mark.parametrize(("case", "mode"), [(case, mode) for case in CASES for mode in MODES])
#: KubeRay puts these on the pods that it makes.
_OF_KUBERAY = {"ray.io/node-type", "ray.io/is-ray-node"}
_RAY_CONTAINERS = ("ray-head", "ray-worker")
_MEBIBYTE = 1 << 20


@_EVERY
def test_every_selector_finds_pods_and_every_port_is_theirs(case: str, mode: str) -> None:
    documents = render("helm", case, mode)
    pods = pod_templates(documents)
    for document in documents:
        kind, spec = document["kind"], document.get("spec", {})
        if kind == "Service":
            chosen = _selected(pods, spec["selector"])
            for port in spec["ports"]:
                assert port["protocol"] == "TCP"
                assert port["targetPort"] in _ports(chosen), (document["metadata"]["name"], port)
        elif kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert len(_selected(pods, spec["selector"]["matchLabels"])) == 1
        elif kind == "PodMonitor":
            names = {endpoint["port"] for endpoint in spec["podMetricsEndpoints"]}
            chosen = _selected(pods, spec["selector"]["matchLabels"])
            assert names <= _ports(chosen)
        elif kind == "ServiceMonitor":
            services = [d for d in documents if d["kind"] == "Service"]
            labels = spec["selector"]["matchLabels"].items()
            (service,) = [s for s in services if labels <= s["metadata"]["labels"].items()]
            assert spec["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
        elif kind == "NetworkPolicy":
            chosen = _selected(pods, spec["podSelector"]["matchLabels"])
            assert len(chosen) == 1
            _check_peers(pods, chosen, spec)
        elif kind == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            assert "replicas" not in only(documents, target["kind"], target["name"])["spec"]


@_EVERY
def test_whatever_is_referred_to_is_there(case: str, mode: str) -> None:
    documents = render("helm", case, mode)
    there = {(d["kind"], d["metadata"]["name"]) for d in documents}
    theirs = {(kind, name) for kind in ("Secret", "ConfigMap") for name in _THEIRS}
    for name, template in pod_templates(documents).items():
        spec = template["spec"]
        wanted = {("Secret", key["name"]) for key in _found(spec, "secretKeyRef")}
        wanted |= {("Secret", source["name"]) for source in _found(spec, "secretRef")}
        wanted |= {("ConfigMap", source["name"]) for source in _found(spec, "configMap")}
        wanted |= {("Secret", secret["name"]) for secret in spec.get("imagePullSecrets", ())}
        wanted |= {
            ("PersistentVolumeClaim", claim["claimName"]) for claim in _found(spec, "persistentVolumeClaim")
        }
        if "serviceAccountName" in spec:
            wanted.add(("ServiceAccount", spec["serviceAccountName"]))
        assert wanted - there - theirs <= {("PersistentVolumeClaim", "team-storage")}, name
        volumes = {volume["name"] for volume in spec.get("volumes", ())} | {"data"}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes
            names = [variable["name"] for variable in container.get("env", ())]
            assert len(names) == len(set(names))
            assert not container["image"].endswith((":latest", ":"))
            assert all(len(port["name"]) <= 15 for port in container.get("ports", ()))


@_EVERY
def test_secrets_are_referred_to_and_configmaps_fit(case: str, mode: str) -> None:
    for document in render("helm", case, mode):
        if document["kind"] == "ConfigMap":
            assert len(json.dumps(document)) < _MEBIBYTE
        if document["kind"] == "Secret":
            assert document["metadata"]["name"].endswith(("-redis", "-rewards-token"))


def test_the_plain_scrape_configuration_names_services_of_the_release_and_their_ports() -> None:
    documents = render("helm", "", "mode=job")
    config = yaml.safe_load(only(documents, "ConfigMap", "-scrape-config")["data"]["couplet.yaml"])
    addresses = set()
    for job in config["scrape_configs"]:
        addresses |= {url["url"].split("/")[2] for url in job.get("http_sd_configs", ())}
        addresses |= {f"{name}:{sd['port']}" for sd in job.get("dns_sd_configs", ()) for name in sd["names"]}
    services = [d for d in documents if d["kind"] == "Service"]
    offered = {
        f"{s['metadata']['name']}.default.svc:{port['port']}" for s in services for port in s["spec"]["ports"]
    }
    assert addresses <= offered
    assert len(addresses) == 5


def test_every_dashboard_reaches_the_cluster_unchanged() -> None:
    documents = render("helm", "ci/10x8-gpu-values.yaml", "mode=job")
    shipped = {path.name: path.read_text() for path in (CHART / "files/dashboards").glob("*.json")}
    found: dict[str, str] = {}
    for document in documents:
        if document["metadata"]["labels"].get("grafana_dashboard") == "1":
            assert document["metadata"]["namespace"] == "monitoring"
            assert len(document["data"]) == 1
            found |= document["data"]
    assert found == shipped
    assert shipped


def test_ray_is_the_one_that_is_installed_and_allowed() -> None:
    asked = ray_spec(render("helm", "", "mode=job"))["rayVersion"]
    assert asked == version("ray")
    (ray,) = [r for r in map(Requirement, requires("couplet-rl") or ()) if r.name == "ray" and not r.marker]
    assert Version(asked) in ray.specifier
    locked = [line for line in _lock_lines() if line.startswith(("ray[default]==", "ray=="))]
    assert all(line.partition("==")[2].split()[0] == asked for line in locked)


def test_the_chart_has_the_version_of_the_package() -> None:
    deployment = only(render("helm", "", "mode=job"), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"couplet-reward:{version('couplet-rl')}"


def _lock_lines() -> list[str]:
    lock = ROOT / "deploy/docker/train.lock"
    return lock.read_text().splitlines()


def _selected(pods: dict[str, Document], labels: dict[str, str]) -> list[Document]:
    """Pods with these labels; those that KubeRay will put on are taken for given."""
    own = {key: value for key, value in labels.items() if key not in _OF_KUBERAY}
    chosen = [pod for pod in pods.values() if own.items() <= pod["metadata"]["labels"].items()]
    if own != labels:
        names = [f"ray-{labels['ray.io/node-type']}"] if "ray.io/node-type" in labels else _RAY_CONTAINERS
        chosen = [pod for pod in chosen if pod["spec"]["containers"][0]["name"] in names]
    assert chosen, labels
    return chosen


def _ports(pods: list[Document]) -> set[str]:
    """Names that every container of these pods that has ports has."""
    sets = [{port["name"] for c in pod["spec"]["containers"] for port in c.get("ports", ())} for pod in pods]
    return set.intersection(*sets)


def _check_peers(pods: dict[str, Document], chosen: list[Document], spec: Document) -> None:
    for rule in spec["ingress"]:
        assert {port["port"] for port in rule["ports"]} <= _ports(chosen)
        assert all(
            _selected(pods, p["podSelector"]["matchLabels"]) for p in rule.get("from", ()) if "podSelector" in p
        )
    for rule in spec["egress"]:
        for peer in rule.get("to", ()):
            if "podSelector" in peer:
                others = _selected(pods, peer["podSelector"]["matchLabels"])
                assert {port["port"] for port in rule["ports"]} <= _ports(others)


def _found(node: Any, key: str) -> list[dict[str, Any]]:
    """Every mapping under ``key``, at any depth."""
    if isinstance(node, list):
        return [found for item in node for found in _found(item, key)]
    if not isinstance(node, dict):
        return []
    here = [node[key]] if key in node else []
    return here + [found for value in node.values() for found in _found(value, key)]
