"""The chart in a real Kubernetes API: installed, upgraded, rolled back, applied by the server, uninstalled.

Opt-in, as the API has to be compiled first (docs/kubernetes.md): ``COUPLET_KUBERNETES`` names the folder that
``tests/deploy/build_api_server`` made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.deploy import test_chart_sites as general
from tests.deploy import test_chart_sites_ray as ray_pods
from tests.deploy import test_chart_sites_services as services
from tests.deploy.api_server import ApiServer, for_old_kubernetes
from tests.deploy.chart_render import render_values

_PROGRAMS = os.environ.get("COUPLET_KUBERNETES", "")
pytestmark = pytest.mark.skipif(not _PROGRAMS, reason="COUPLET_KUBERNETES names no API server: opt-in")

#: What Kubernetes 1.20 has not: autoscaling/v2, and user namespaces of pods.
_OLD = ("--set", "rewards.autoscaling.enabled=false,rewards.hostUsers=true")
_STATEFUL = "/apis/apps/v1/namespaces/default/statefulsets/demo-couplet-redis"
_JOB = "/apis/ray.io/v1/namespaces/default/rayjobs/demo-couplet"
_SECRET = "/api/v1/namespaces/default/secrets/demo-couplet-redis"
_REWARDS = "/apis/apps/v1/namespaces/default/deployments/demo-couplet-rewards"
_CLAIM = "/api/v1/namespaces/default/persistentvolumeclaims/{}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(Path(_PROGRAMS), tmp_path_factory.mktemp("api")) as started:
        yield started


@pytest.fixture(params=["helm3", "helm"])
def helm(request: pytest.FixtureRequest, server: ApiServer) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        # Applied by Helm itself, as Helm 3 does: 1.20's server refuses fields that it does not know.
        old = ["--server-side=false"] if request.param == "helm" and arguments[0] in ("install", "upgrade") else []
        return server.helm(*arguments, *old, helm=request.param)

    return run


def test_a_release_from_its_installation_to_its_end(
    server: ApiServer, helm: Callable[..., str], tmp_path: Path
) -> None:
    first, second = for_old_kubernetes(tmp_path), for_old_kubernetes(tmp_path, "0.2.0")
    shown = helm("install", "demo", str(first), *_OLD)
    assert "run demo-couplet, as a RayJob" in shown
    _until(lambda: server.get(_CLAIM.format("data-demo-couplet-redis-0")))
    before = {path: server.get(path) for path in (_STATEFUL, _JOB, _SECRET, _REWARDS)}

    helm("upgrade", "demo", str(second), *_OLD, "--set", "rewards.replicas=3")
    after = {path: server.get(path) for path in before}
    for path in (_STATEFUL, _REWARDS):
        assert after[path]["metadata"]["labels"]["helm.sh/chart"] == "couplet-0.2.0"
    assert _pod(after[_STATEFUL]) == _pod(before[_STATEFUL])
    assert after[_STATEFUL]["status"]["updateRevision"] == before[_STATEFUL]["status"]["currentRevision"]
    assert after[_JOB]["spec"] == before[_JOB]["spec"]
    assert after[_SECRET]["data"] == before[_SECRET]["data"]
    assert after[_REWARDS]["spec"]["replicas"] == 3

    helm("rollback", "demo", "1")
    assert server.get(_REWARDS)["spec"]["replicas"] == 2
    assert _pod(server.get(_STATEFUL)) == _pod(before[_STATEFUL])
    assert server.get(_SECRET)["data"] == before[_SECRET]["data"]

    helm("uninstall", "demo")
    _until(lambda: server.get(_STATEFUL) is None and server.get(_JOB) is None)
    for claim in ("demo-couplet-runs", "data-demo-couplet-redis-0"):
        assert server.get(_CLAIM.format(claim)), "run folders and streams outlive the release"
        server.delete(_CLAIM.format(claim))
    _until(
        lambda: all(
            server.get(_CLAIM.format(c)) is None for c in ("demo-couplet-runs", "data-demo-couplet-redis-0")
        )
    )


def test_the_server_applies_it_twice_without_a_conflict(server: ApiServer, tmp_path: Path) -> None:
    """As Argo CD does, under a manager of its own."""
    chart = for_old_kubernetes(tmp_path)
    rendered = server.helm(
        "template", "applied", str(chart), *_OLD, "--set", "redis.password.name=a,rewards.token.name=b"
    )
    documents = [one for one in yaml.safe_load_all(rendered) if one and "annotations" not in one["metadata"]]
    for _ in range(2):
        for document in documents:
            server.apply(document)
    assert server.get(_JOB.replace("demo", "applied"))
    for document in documents:
        server.delete(server.path(document))


@pytest.mark.parametrize("sites", [general, ray_pods, services])
def test_the_server_takes_what_sites_ask_for(sites: ModuleType, server: ApiServer, tmp_path: Path) -> None:
    """Every document, but for kinds and claims that this server has not, and the hook, which Helm makes alone."""
    chart, refused = for_old_kubernetes(tmp_path), []
    for name, (values, _) in sites.SITES.items():
        for document in render_values(values, chart=chart, settings=_OLD):
            known = "monitoring.coreos.com" not in document["apiVersion"] and document["kind"] != "Pod"
            try:
                if known and document["metadata"].get("namespace", "default") == "default":
                    server.apply(_without_claims(document), dry_run=True)
            except AssertionError as error:
                refused.append((name, document["kind"], str(error)))
    assert not refused


def _without_claims(node: Any) -> Any:
    """What Kubernetes 1.20 knows of a Deployment or StatefulSet; the schema of Ray's kinds is KubeRay's."""
    if isinstance(node, list):
        return [_without_claims(item) for item in node]
    if not isinstance(node, dict) or str(node.get("apiVersion")).startswith("ray.io/"):
        return node
    return {key: _without_claims(value) for key, value in node.items() if key not in ("claims", "resourceClaims")}


def _pod(stateful_set: dict[str, Any]) -> Any:
    return stateful_set["spec"]["template"]


def _until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)
