"""A real Kubernetes API: etcd, kube-apiserver and kube-controller-manager on the loopback. No pod ever runs.

The only release that Debian has the source of is 1.20, so :func:`for_old_kubernetes` takes from the chart what
that does not know. ``tests/deploy/build_api_server FOLDER`` makes the programs.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from common.processes import die_with_parent
from tests.deploy.chart_render import CHART
from tests.deploy.tools import tool
from tests.outside_data import outside_data
from tests.ray_cluster import free_port
from tests.started import Started

_START_SECONDS = 60.0
_TOKEN = "loopback"
_FLAGS = (
    "--bind-address=127.0.0.1",
    "--authorization-mode=AlwaysAllow",
    "--disable-admission-plugins=ServiceAccount",
    "--endpoint-reconciler-type=none",
    "--service-account-issuer=https://127.0.0.1",
)


def for_old_kubernetes(folder: Path, version: str = "0.1.0") -> Path:
    """A copy of the chart, as its ``version``, without what Kubernetes 1.20 does not know."""
    chart = folder / f"couplet-{version}"
    shutil.copytree(CHART, chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text()) | {"kubeVersion": ">=1.20.0-0", "version": version}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
    for template in (chart / "templates").rglob("*.*"):
        text = template.read_text().replace("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n")
        template.write_text(re.sub(r"\n *persistentVolumeClaimRetentionPolicy:.*", "", text))
    return chart


class ApiServer(Started):
    """The API within the context; ``programs`` is the folder that ``build_api_server`` made."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self.kubeconfig = folder / "kubeconfig"
        self._url = ""

    def close(self) -> None:
        for process in reversed(self._started):
            process.kill()
            process.wait(_START_SECONDS)

    def get(self, path: str) -> Any:
        """The object at a path of the API; None where there is none."""
        answer = self._client.get(path)
        return None if answer.status_code == 404 else answer.raise_for_status().json()

    def delete(self, path: str) -> None:
        """Delete the object at a path, without what protects claims from pods, as none run."""
        self._client.patch(
            path,
            content='{"metadata": {"finalizers": null}}',
            headers={"Content-Type": "application/merge-patch+json"},
        )
        self._client.delete(path)

    def apply(self, document: dict[str, Any], *, dry_run: bool = False) -> None:
        """Apply a document by the server. Raises AssertionError for what it refuses or another manager holds."""
        answer = self._client.patch(
            self.path(document),
            params={"fieldManager": "test"} | ({"dryRun": "All"} if dry_run else {}),
            content=json.dumps(document),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        assert answer.is_success, answer.text

    def path(self, document: dict[str, Any]) -> str:
        """Where the API has a document."""
        group = document["apiVersion"]
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        plural = document["kind"].lower() + "s"
        plural = plural.removesuffix("ys") + "ies" if plural.endswith("ys") else plural
        return f"{root}/namespaces/default/{plural}/{document['metadata']['name']}"

    def helm(self, *arguments: str, helm: str = "helm") -> str:
        """What a command of Helm prints. Raises AssertionError with its errors."""
        with tempfile.TemporaryDirectory() as scratch:
            homes = {f"HELM_{name}_HOME": scratch for name in ("CACHE", "CONFIG", "DATA")}
            done = subprocess.run(
                [str(tool(helm)), *arguments],
                env={**os.environ, **homes, "KUBECONFIG": str(self.kubeconfig)},
                capture_output=True,
                text=True,
                timeout=120,
            )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        """Start the three programs, and define KubeRay's kinds."""
        etcd, peers, api = (free_port("127.0.0.1") for _ in range(3))
        self._url = f"https://127.0.0.1:{api}"
        self._client = httpx.Client(
            base_url=self._url, verify=False, headers={"Authorization": f"Bearer {_TOKEN}"}, timeout=30.0
        )
        (self._folder / "tokens.csv").write_text(f"{_TOKEN},admin,1,system:masters\n")
        key = self._folder / "accounts.key"
        subprocess.run([str(tool("openssl")), "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        self._run(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync",
        )
        self._run(
            "kube-apiserver",
            *_FLAGS,
            f"--secure-port={api}",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--cert-dir={self._folder / 'certificates'}",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}",
        )
        self._write_kubeconfig()
        self._wait("/readyz")
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            "--controllers=statefulset,deployment,replicaset,disruption,garbagecollector,-serviceaccount-token",
            "--port=0",
            f"--secure-port={free_port('127.0.0.1')}",
            f"--cert-dir={self._folder / 'certificates'}",
        )
        for kind in ("rayclusters", "rayjobs"):
            self._client.post(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=_definition(kind)
            ).raise_for_status()
            self._wait(f"/apis/ray.io/v1/namespaces/default/{kind}")

    def _run(self, program: str, *flags: str) -> None:
        with (self._folder / f"{program}.log").open("wb") as log:
            command = [str(self._programs / program), *flags]
            self._started.append(
                subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, preexec_fn=die_with_parent)
            )

    def _wait(self, path: str) -> None:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                if self._client.get(path).is_success:
                    return
            except httpx.TransportError:
                pass
            dead = [process.args for process in self._started if process.poll() is not None]
            assert not dead, dead
            assert time.monotonic() < end, path
            time.sleep(0.2)

    def _write_kubeconfig(self) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self._url, "insecure-skip-tls-verify": True}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": _TOKEN}}],
            "current-context": "c",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))


def _definition(plural: str) -> dict[str, Any]:
    """KubeRay's CustomResourceDefinition, as Kubernetes 1.20 takes it."""
    kind = {"rayclusters": "RayCluster", "rayjobs": "RayJob"}[plural]
    text = gzip.decompress(outside_data("schemas/kuberay-crds-v1.7.0.json.gz").read_bytes())
    schema = _older(json.loads(text)["schemas"][kind])
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.ray.io"},
        "spec": {
            "group": "ray.io",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def _older(node: Any) -> Any:
    """Without rules and defaults that 1.20 does not take, and without keys of lists, which may be optional."""
    if isinstance(node, list):
        return [_older(item) for item in node]
    if not isinstance(node, dict):
        return node
    dropped = {"x-kubernetes-validations", "x-kubernetes-list-map-keys", "x-kubernetes-list-type"}
    return {
        key: _older(value)
        for key, value in node.items()
        if key not in dropped and not (key == "default" and not isinstance(value, dict))
    }
