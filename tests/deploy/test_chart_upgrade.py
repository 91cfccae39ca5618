"""An upgrade keeps the passwords that the installation made."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.chart_render import CHART, HELMS, only, render
from tests.deploy.tools import tool

_MADE = {"demo-couplet-redis": {"password": "aGVsZA=="}, "demo-couplet-rewards-token": {"token": "a2VwdA=="}}


_ARGUMENTS = ("--dry-run=server", "--is-upgrade", "--disable-openapi-validation")


@cache
def _discovery() -> dict[str, Any]:
    """Path -> answer, for the kinds that the chart has."""
    kinds: dict[str, set[str]] = {}
    for document in render("helm", "", "mode=job"):
        kinds.setdefault(document["apiVersion"], set()).add(document["kind"])
    groups: list[dict[str, Any]] = []
    known: dict[str, Any] = {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
    }
    for version, names in kinds.items():
        group, _, short = version.rpartition("/")
        resources = [
            {"name": f"{kind.lower()}s", "namespaced": True, "kind": kind, "verbs": ["get"]} for kind in names
        ]
        known[f"/apis/{version}" if group else "/api/v1"] = {
            "kind": "APIResourceList",
            "groupVersion": version,
            "resources": resources,
        }
        if group:
            entry = {"groupVersion": version, "version": short}
            groups.append({"name": group, "versions": [entry], "preferredVersion": entry})
    return known


class _Api(BaseHTTPRequestHandler):
    """As much of a Kubernetes API as Helm's `lookup` asks: what kinds there are, and Secrets by name."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        known = _discovery()
        if path in known:
            self._answer(200, known[path])
        elif name in _MADE:
            metadata = {"name": name, "namespace": "default"}
            self._answer(200, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": _MADE[name]})
        else:
            self._answer(
                404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            )

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def _api(folder: Path) -> Iterator[Path]:
    """Yields a kubeconfig."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    try:
        yield file
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def test_what_the_cluster_holds_wins_over_a_new_password(tmp_path: Path) -> None:
    homes = {f"HELM_{name}_HOME": str(tmp_path) for name in ("CACHE", "CONFIG", "DATA")}
    with _api(tmp_path) as kubeconfig:
        for helm in HELMS:
            done = subprocess.run(
                [str(tool(helm)), "template", "demo", str(CHART), *_ARGUMENTS],
                env={**os.environ, **homes, "KUBECONFIG": str(kubeconfig)},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            documents = tuple(document for document in yaml.safe_load_all(done.stdout) if document)
            for name, data in _MADE.items():
                assert only(documents, "Secret", name)["data"] == data
