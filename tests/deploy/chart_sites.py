"""What the tests of sites' values ask of a rendered chart."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.config import Config, load_config
from tests.deploy.chart_render import ROOT, Document, only, pod_templates, ray_spec, render_values
from tests.deploy.chart_schemas import validate

Documents = tuple[Document, ...]
BLEU = "sacrebleu==2.5.1"
INDEX = {"to": [{"ipBlock": {"cidr": "10.0.0.7/32"}}]}
WORKERS = ("learner", "rollout", "rewards")
DIGEST = "sha256:" + "0123456789abcdef" * 4


def pod(documents: Documents, name: str) -> dict[str, Any]:
    (pod,) = [pod for key, pod in pod_templates(documents).items() if key == name or key.endswith(f"-{name}")]
    spec: dict[str, Any] = pod["spec"]
    return spec


def container(documents: Documents, name: str) -> dict[str, Any]:
    container: dict[str, Any] = pod(documents, name)["containers"][0]
    return container


def env(documents: Documents, name: str) -> dict[str, Any]:
    return {variable["name"]: variable for variable in container(documents, name)["env"]}


def no_ids(documents: Documents) -> bool:
    """Whether no pod asks for a user or a group: the cluster chooses them."""
    contexts = [pod["spec"]["securityContext"] for pod in pod_templates(documents).values()]
    return all(not {"runAsUser", "runAsGroup", "fsGroup"} & set(context) for context in contexts)


def egress_ports(documents: Documents) -> set[object]:
    policy = only(documents, "NetworkPolicy", "-rewards")["spec"]
    return {port["port"] for rule in policy["egress"] for port in rule["ports"]}


def settings(documents: Documents) -> Config:
    """The run's, as its command has them."""
    _, _, recipe, *overrides = shlex.split(only(documents, "RayJob")["spec"]["entrypoint"])[:-3]
    return load_config(ROOT / "recipes" / Path(recipe).name, overrides)


def start(documents: Documents, group: int) -> dict[str, str]:
    parameters: dict[str, str] = ray_spec(documents)["workerGroupSpecs"][group]["rayStartParams"]
    return parameters


def packages(documents: Documents, name: str) -> dict[str, Any]:
    """The init container that installs packages."""
    (found,) = [one for one in pod(documents, name)["initContainers"] if one["name"] == "packages"]
    return dict(found)


def ending(documents: Documents) -> tuple[bool, int]:
    spec = only(documents, "RayJob")["spec"]
    return spec["shutdownAfterJobFinishes"], spec["ttlSecondsAfterFinished"]


EVERYWHERE: dict[str, Any] = {
    "hostNetwork": True,
    "hostIPC": True,
    "priorityClassName": "high",
    "runtimeClassName": "kata",
    "serviceAccountName": "reads-buckets",
    "podSecurityContext": {"supplementalGroups": [4000]},
    "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
    "env": [{"name": "SITE", "value": "a"}],
    "envFrom": [{"configMapRef": {"name": "site"}}],
    "initContainers": [{"name": "before", "image": "busybox:1.36"}],
    "sidecarContainers": [{"name": "beside", "image": "busybox:1.36"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
    ],
}
_AS_GIVEN = (
    "priorityClassName",
    "runtimeClassName",
    "serviceAccountName",
    "resourceClaims",
    "topologySpreadConstraints",
    "hostNetwork",
    "hostIPC",
)


def has_all(documents: Documents, name: str) -> bool:
    """Whether a workload has all that ``EVERYWHERE`` says."""
    spec, main = pod(documents, name), container(documents, name)
    names = {variable["name"] for variable in main["env"]}
    return (
        all(spec[key] == EVERYWHERE[key] for key in _AS_GIVEN)
        and spec["dnsPolicy"] == "ClusterFirstWithHostNet"
        and spec["securityContext"]["supplementalGroups"] == [4000]
        and "IPC_LOCK" in main["securityContext"]["capabilities"]["add"]
        and main["securityContext"]["capabilities"]["drop"] == ["ALL"]
        and main["resources"]["claims"] == [{"name": "gpu"}]
        and "SITE" in names
        and main["envFrom"] == EVERYWHERE["envFrom"]
        and spec["initContainers"][-1]["name"] == "before"
        and spec["containers"][-1]["name"] == "beside"
        and "more" in {volume["name"] for volume in spec["volumes"]}
        and "/more" in {mount["mountPath"] for mount in main["volumeMounts"]}
    )


#: Name -> values, and what must hold of the documents.
Sites = dict[str, tuple[dict[str, Any], Callable[[Documents], object]]]


def check_site(values: dict[str, Any], holds: Callable[[Documents], object]) -> None:
    """Render the values; every document has to be valid, and ``holds`` to hold."""
    documents = render_values(values)
    assert holds(documents)
    for document in documents:
        validate(document)
