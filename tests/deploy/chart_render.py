"""The chart, rendered by a real Helm; each rendering is made once in a session.

``render("helm", "ci/8-gpu-values.yaml", "mode=job")`` gives the documents; ``scrape_config`` a configuration for a
Prometheus on this machine.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import tool

Document = dict[str, Any]


class _Loader(yaml.CSafeLoader):
    """As Kubernetes reads it: no key twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Document:
    pairs: list[tuple[str, Any]] = loader.construct_pairs(node, deep=True)
    assert len(dict(pairs)) == len(pairs), f"a key twice among {[key for key, _ in pairs]}"
    return dict(pairs)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/couplet"
RELEASE = "demo"
KUBERNETES = "1.34.0"
HELMS = ("helm", "helm3")
MODES = ("mode=job", "mode=cluster")
#: Values files by name: what the chart's own CI folder has, no file at all, and everything switched on.
CASES = ("", *sorted(f"ci/{path.name}" for path in (CHART / "ci").iterdir()), "chart_full_values.yaml")


def run_helm(helm: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of Helm on the chart, with folders of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        homes = {f"HELM_{name}_HOME": scratch for name in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [str(tool(helm)), *arguments],
            env={**os.environ, **homes, "KUBECONFIG": "/nonexistent"},
            capture_output=True,
            text=True,
            timeout=60,
        )


def values_arguments(case: str, *settings: str) -> list[str]:
    """Of a case, and ``--set`` for each of ``settings``."""
    folder = CHART if case.startswith("ci/") else Path(__file__).parent
    file = ["--values", str(folder / case)] if case else []
    return [*file, *(argument for setting in settings for argument in ("--set", setting))]


@cache
def render(helm: str, case: str, *settings: str) -> tuple[Document, ...]:
    """The documents, hooks included."""
    done = run_helm(
        helm, "template", RELEASE, str(CHART), "--kube-version", KUBERNETES, *values_arguments(case, *settings)
    )
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.load_all(done.stdout, _Loader) if document)


def render_values(
    values: Document, *, release: str = RELEASE, chart: Path = CHART, settings: tuple[str, ...] = ()
) -> tuple[Document, ...]:
    """The documents of values that are no file; ``settings`` are more arguments for Helm."""
    done = _template(values, release, chart, settings)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.load_all(done.stdout, _Loader) if document)


def refusal(*settings: str, helm: str = "helm") -> str:
    """What Helm says of values that it refuses."""
    done = run_helm(
        helm, "template", RELEASE, str(CHART), "--kube-version", KUBERNETES, *values_arguments("", *settings)
    )
    assert done.returncode != 0, done.stdout
    return done.stderr


def refusal_of(values: Document, *, release: str = RELEASE) -> str:
    """What Helm says of values that are no file, which it refuses."""
    done = _template(values, release, CHART, ())
    assert done.returncode != 0, done.stdout
    return done.stderr


def _template(
    values: Document, release: str, chart: Path, settings: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return run_helm(
            "helm", "template", release, str(chart), "--kube-version", KUBERNETES, "--values", file.name, *settings
        )


def only(documents: tuple[Document, ...], kind: str, name: str = "") -> Document:
    """The one of this kind, whose name ends with ``name``."""
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"].endswith(name)]
    return found


def ray_spec(documents: tuple[Document, ...]) -> Document:
    """The specification of the Ray cluster, in whichever mode."""
    (ray,) = [d for d in documents if d["kind"] in ("RayJob", "RayCluster")]
    spec: Document = ray["spec"]
    return spec["rayClusterSpec"] if ray["kind"] == "RayJob" else spec


def pod_templates(documents: tuple[Document, ...]) -> dict[str, Document]:
    """Every pod that the chart makes, by the name of what makes it: metadata and spec."""
    cluster = ray_spec(documents)
    found: dict[str, Document] = {"head": cluster["headGroupSpec"]["template"]}
    found |= {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet"):
            found[document["metadata"]["name"]] = document["spec"]["template"]
        elif document["kind"] == "Pod":
            found[document["metadata"]["name"]] = document
    return found


def scrape_config(documents: tuple[Document, ...], *, driver: str, rewards: str, ray: list[str]) -> Document:
    """The rendered scrape configuration as a Prometheus on this machine can use it.

    ``driver``, ``rewards`` and ``ray`` are host:port of what the cluster's names and pods stand for.
    """
    config: Document = yaml.safe_load(only(documents, "ConfigMap", "-scrape-config")["data"]["couplet.yaml"])
    targets = {"couplet-rewards": [rewards], "couplet-ray": ray}
    for job in config["scrape_configs"]:
        if job["job_name"] == "couplet-run":
            (discovery,) = job["http_sd_configs"]
            discovery["url"] = f"http://{driver}/{discovery['url'].rpartition('/')[2]}"
        else:
            del job["dns_sd_configs"]
            job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    return config
