"""What sites ask of the chart: values that render right."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import Config, load_config
from tests.deploy.chart_render import (
    CHART,
    ROOT,
    Document,
    only,
    pod_templates,
    ray_spec,
    render_values,
)
from tests.deploy.chart_schemas import validate

Documents = tuple[Document, ...]
_BLEU = "sacrebleu==2.5.1"
_INDEX = {"to": [{"ipBlock": {"cidr": "10.0.0.7/32"}}]}
_WORKERS = ("learner", "rollout", "rewards")
_DIGEST = "sha256:" + "0123456789abcdef" * 4


def _pod(documents: Documents, name: str) -> dict[str, Any]:
    (pod,) = [pod for key, pod in pod_templates(documents).items() if key == name or key.endswith(f"-{name}")]
    spec: dict[str, Any] = pod["spec"]
    return spec


def _container(documents: Documents, name: str) -> dict[str, Any]:
    container: dict[str, Any] = _pod(documents, name)["containers"][0]
    return container


def _env(documents: Documents, name: str) -> dict[str, Any]:
    return {variable["name"]: variable for variable in _container(documents, name)["env"]}


def _no_ids(documents: Documents) -> bool:
    """Whether no pod asks for a user or a group: the cluster chooses them."""
    contexts = [pod["spec"]["securityContext"] for pod in pod_templates(documents).values()]
    return all(not {"runAsUser", "runAsGroup", "fsGroup"} & set(context) for context in contexts)


def _egress_ports(documents: Documents) -> set[object]:
    policy = only(documents, "NetworkPolicy", "-rewards")["spec"]
    return {port["port"] for rule in policy["egress"] for port in rule["ports"]}


def _settings(documents: Documents) -> Config:
    """The run's, as its command has them."""
    _, _, recipe, *overrides = shlex.split(only(documents, "RayJob")["spec"]["entrypoint"])[:-3]
    return load_config(ROOT / "recipes" / Path(recipe).name, overrides)


def _start(documents: Documents, group: int) -> dict[str, str]:
    parameters: dict[str, str] = ray_spec(documents)["workerGroupSpecs"][group]["rayStartParams"]
    return parameters


def _packages(documents: Documents, name: str) -> dict[str, Any]:
    """The init container that installs packages."""
    (found,) = [one for one in _pod(documents, name)["initContainers"] if one["name"] == "packages"]
    return dict(found)


def _ending(documents: Documents) -> tuple[bool, int]:
    spec = only(documents, "RayJob")["spec"]
    return spec["shutdownAfterJobFinishes"], spec["ttlSecondsAfterFinished"]


_EVERYWHERE: dict[str, Any] = {
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


def _has_all(documents: Documents, name: str) -> bool:
    """Whether a workload has all that ``_EVERYWHERE`` says."""
    pod, container = _pod(documents, name), _container(documents, name)
    names = {variable["name"] for variable in container["env"]}
    return (
        all(
            pod[key] == _EVERYWHERE[key] for key in ("priorityClassName", "runtimeClassName", "serviceAccountName")
        )
        and pod["securityContext"]["supplementalGroups"] == [4000]
        and "IPC_LOCK" in container["securityContext"]["capabilities"]["add"]
        and container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        and pod["resourceClaims"] == _EVERYWHERE["resourceClaims"]
        and container["resources"]["claims"] == [{"name": "gpu"}]
        and "SITE" in names
        and container["envFrom"] == _EVERYWHERE["envFrom"]
        and pod["initContainers"][-1]["name"] == "before"
        and pod["containers"][-1]["name"] == "beside"
        and "more" in {volume["name"] for volume in pod["volumes"]}
        and "/more" in {mount["mountPath"] for mount in container["volumeMounts"]}
        and pod["topologySpreadConstraints"] == _EVERYWHERE["topologySpreadConstraints"]
    )


#: Name -> values, and what must hold of the documents.
RENDERED: dict[str, tuple[dict[str, Any], Callable[[Documents], object]]] = {
    "nothing at all": ({}, lambda d: only(d, "RayJob")),
    "a long name": (
        {"fullnameOverride": "a" * 40},
        lambda d: all(len(one["metadata"]["name"]) <= 63 for one in d),
    ),
    "OpenShift, whose namespaces have ids of their own": (
        {"fixedIds": False, "rewards": {"isolation": "namespaces"}},
        _no_ids,
    ),
    "an arbitrary high uid": (
        {"ray": {"learner": {"podSecurityContext": {"runAsUser": 1000650000, "runAsGroup": 0}}}},
        lambda d: (
            _pod(d, "learner")["securityContext"]["runAsUser"] == 1000650000
            and _pod(d, "head")["securityContext"]["runAsUser"] == 10001
        ),
    ),
    "Kueue, which suspends jobs itself": (
        {"kueue": {"queueName": "gpus"}},
        lambda d: "suspend" not in only(d, "RayJob")["spec"],
    ),
    "Kueue and a cluster": (
        {"mode": "cluster", "kueue": {"queueName": "gpus"}},
        lambda d: "suspend" not in only(d, "RayCluster")["spec"],
    ),
    "an autoscaler, which owns the number of pods": (
        {"ray": {"rollout": {"minReplicas": 1, "maxReplicas": 4}}},
        lambda d: (
            "replicas" not in ray_spec(d)["workerGroupSpecs"][1]
            and ray_spec(d)["workerGroupSpecs"][0]["replicas"] == 1
        ),
    ),
    "no autoscaler": (
        {"ray": {"autoscaling": {"enabled": False}}},
        lambda d: ray_spec(d)["workerGroupSpecs"][1]["replicas"] == 2,
    ),
    "gVisor": (
        {"rewards": {"runtimeClassName": "gvisor", "isolation": "namespaces"}},
        lambda d: _pod(d, "rewards")["runtimeClassName"] == "gvisor",
    ),
    "an image by its digest": (
        {"ray": {"image": {"repository": "registry.example.com/train", "digest": _DIGEST}}},
        lambda d: _container(d, "head")["image"] == f"registry.example.com/train@{_DIGEST}",
    ),
    "a registry without a way out": (
        {
            "imagePullSecrets": [{"name": "mirror"}],
            "ray": {"image": {"repository": "mirror.example.com:5000/couplet-train"}},
            "rewards": {"image": {"repository": "mirror.example.com:5000/couplet-reward"}},
            "redis": {
                "image": {"repository": "mirror.example.com:5000/valkey"},
                "exporter": {"enabled": True, "image": {"repository": "mirror.example.com:5000/redis_exporter"}},
            },
        },
        lambda d: all(
            container["image"].startswith("mirror.example.com:5000/")
            for pod in pod_templates(d).values()
            for container in pod["spec"]["containers"]
        ),
    ),
    "a Redis with TLS, whose address is in a Secret": (
        {
            "redis": {
                "enabled": False,
                "external": {"secret": {"name": "managed"}, "port": 6380, "certificateAuthority": {"name": "ca"}},
            }
        },
        lambda d: (
            _env(d, "head")["COUPLET_REDIS_URL"]["value"]
            == "$(COUPLET_REDIS_ADDRESS)?ssl_ca_certs=/etc/couplet-redis/ca.crt"
            and {"secretName": "ca"} in [v.get("secret") for v in _pod(d, "rewards")["volumes"]]
            and 6380 in _egress_ports(d)
        ),
    ),
    "a Redis with TLS by its address": (
        {
            "redis": {
                "enabled": False,
                "external": {"url": "rediss://cache.example.com:6390/2", "certificateAuthority": {"name": "ca"}},
            }
        },
        lambda d: (
            _env(d, "rewards")["COUPLET_REDIS_URL"]["value"]
            == "rediss://cache.example.com:6390/2?ssl_ca_certs=/etc/couplet-redis/ca.crt"
            and 6390 in _egress_ports(d)
        ),
    ),
    "a Redis without a port": (
        {"redis": {"enabled": False, "external": {"url": "redis://cache.example.com"}}},
        lambda d: 6379 in _egress_ports(d),
    ),
    "a Redis by its IPv6 address": (
        {"redis": {"enabled": False, "external": {"url": "redis://[fd00::7]:6400/0"}}},
        lambda d: 6400 in _egress_ports(d),
    ),
    "a small Redis": (
        {"redis": {"memory": "512Mi"}},
        lambda d: str(512 * 2**20 * 70 // 100) in _container(d, "redis")["args"],
    ),
    "memory in other units": (
        {"redis": {"memory": "1.5G"}, "ray": {"learner": {"sharedMemory": 2000000000}}},
        lambda d: (
            "1050000000" in _container(d, "redis")["args"] and _start(d, 0)["object-store-memory"] == "1600000000"
        ),
    ),
    "an object store that fits into /dev/shm": (
        {"ray": {"rollout": {"sharedMemory": "10Gi"}}},
        lambda d: _start(d, 1)["object-store-memory"] == str(8 * 2**30),
    ),
    "an exporter of Redis": (
        {"redis": {"exporter": {"enabled": True}}, "monitoring": {"operator": {"enabled": True}}},
        lambda d: only(d, "PodMonitor", "-redis")["spec"]["podMetricsEndpoints"][0]["port"] == "metrics",
    ),
    "InfiniBand": (
        {
            "ray": {
                "learner": {
                    "hostNetwork": True,
                    "hostIPC": True,
                    "extraResources": {"rdma/hca": "1"},
                    "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
                }
            }
        },
        lambda d: (
            _pod(d, "learner")["hostNetwork"]
            and _pod(d, "learner")["hostIPC"]
            and _pod(d, "learner")["dnsPolicy"] == "ClusterFirstWithHostNet"
            and _container(d, "learner")["securityContext"]["capabilities"]
            == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
        ),
    ),
    "slices of a GPU": (
        {"ray": {"gpuResource": "nvidia.com/mig-3g.40gb", "learner": {"gpusPerPod": 1}}},
        lambda d: (
            _container(d, "learner")["resources"]["limits"]["nvidia.com/mig-3g.40gb"] == "1"
            and ray_spec(d)["workerGroupSpecs"][0]["resources"] == {"GPU": "1", "learner": "1"}
        ),
    ),
    "two GPUs by a claim": (
        {
            "ray": {
                "gpuResource": "",
                "learner": {"gpusPerPod": 2, "ranksPerPod": 2, "resourceClaims": [{"name": "gpus"}]},
            }
        },
        lambda d: (
            set(_container(d, "learner")["resources"]["limits"]) == {"cpu", "memory"}
            and ray_spec(d)["workerGroupSpecs"][0]["resources"] == {"GPU": "2", "learner": "2"}
            and "learner.gpus_per_rank=1" in only(d, "RayJob")["spec"]["entrypoint"]
        ),
    ),
    "learner and rollouts in turns on the same GPUs": (
        {"ray": {"placement": "shared", "learner": {"replicas": 2, "gpusPerPod": 4, "ranksPerPod": 4}}},
        lambda d: (
            [group["groupName"] for group in ray_spec(d)["workerGroupSpecs"]] == ["learner"]
            and _settings(d).takes_turns
            and _settings(d).rollout.workers == _settings(d).learner.ranks == 8
        ),
    ),
    "nulls for what may be empty": (
        {
            "overrides": None,
            "commonLabels": None,
            "ray": {"extraWorkerGroups": None, "learner": {"tolerations": None, "podSecurityContext": None}},
        },
        lambda d: "tolerations" not in _pod(d, "learner"),
    ),
    "a label of all objects, and another one of a pod": (
        {
            "commonLabels": {"team": "a", "release": "a"},
            "ray": {"head": {"labels": {"team": "b"}}},
            "redis": {"annotations": {"karpenter.sh/do-not-disrupt": "false"}},
            "monitoring": {"operator": {"enabled": True, "labels": {"release": "prometheus"}}},
        },
        lambda d: (
            pod_templates(d)["head"]["metadata"]["labels"]["team"] == "b"
            and only(d, "ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"
            and pod_templates(d)["demo-couplet-redis"]["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"]
            == "false"
        ),
    ),
    "a Redis with options of its own and TLS": (
        {
            "redis": {
                "enabled": False,
                "external": {"url": "rediss://cache/0?socket_timeout=5", "certificateAuthority": {"name": "ca"}},
            }
        },
        lambda d: (
            _env(d, "head")["COUPLET_REDIS_URL"]["value"]
            == "rediss://cache/0?socket_timeout=5&ssl_ca_certs=/etc/couplet-redis/ca.crt"
        ),
    ),
    "a small autoscaler": (
        {"ray": {"autoscaling": {"cpu": "100m"}}},
        lambda d: ray_spec(d)["autoscalerOptions"]["resources"]["requests"]["cpu"] == "25m",
    ),
    "dashboards of two teams in one place": (
        {"monitoring": {"dashboards": {"enabled": True, "namespace": "grafana"}}},
        lambda d: only(d, "ConfigMap", "demo-couplet-default-run-dashboard"),
    ),
    "three workers on one GPU": (
        {"ray": {"rollout": {"gpusPerPod": 1, "workersPerPod": 3}}},
        lambda d: "rollout.gpus_per_worker=0.33" in only(d, "RayJob")["spec"]["entrypoint"],
    ),
    "four workers on two GPUs": (
        {"ray": {"rollout": {"gpusPerPod": 2, "workersPerPod": 4}}},
        lambda d: "rollout.gpus_per_worker=0.5" in only(d, "RayJob")["spec"]["entrypoint"],
    ),
    "one user for all storage": (
        {"ray": {"head": {"podSecurityContext": {"fsGroup": 5000}}}},
        lambda d: _pod(d, "head")["securityContext"]["fsGroup"] == 5000,
    ),
    "no privilege to keep programs in, and a profile": (
        {
            "rewards": {
                "isolation": "namespaces",
                "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/reward.json"},
            }
        },
        lambda d: _pod(d, "rewards")["securityContext"]["seccompProfile"]["type"] == "Localhost",
    ),
    "a head on a node of its own": (
        {"ray": {"head": {"nodeSelector": {"pool": "cpu"}}}},
        lambda d: _pod(d, "head")["nodeSelector"] == {"pool": "cpu"},
    ),
    "no budget for the reward service": (
        {"rewards": {"disruptionBudget": {"enabled": False}}},
        lambda d: len([one for one in d if one["kind"] == "PodDisruptionBudget"]) == 3,
    ),
    "reward functions of their own": (
        {"code": {"files": {"mine.py": "def short(task, completion):\n    return 1.0\n"}}},
        lambda d: (
            all(
                _env(d, name)["PYTHONPATH"]["value"] == "/opt/couplet-code"
                and {"name": "demo-couplet-code"}
                in [volume.get("configMap") for volume in _pod(d, name)["volumes"]]
                for name in ("head", "learner", "rewards")
            )
            and "mine.py" in only(d, "ConfigMap", "-code")["data"]
        ),
    ),
    "code that git-sync brings": (
        {
            "code": {"enabled": True, "path": "/code/current"},
            "rewards": {
                "extraVolumes": [{"name": "git", "emptyDir": {}}],
                "extraVolumeMounts": [{"name": "git", "mountPath": "/code"}],
                "initContainers": [{"name": "git-sync", "image": "git-sync:v4.4.0"}],
            },
        },
        lambda d: _env(d, "rewards")["PYTHONPATH"]["value"] == "/code/current",
    ),
    "code that a git-sync beside each container brings": (
        {
            "code": {"enabled": True, "path": "/code/current"},
            **{
                part: {
                    "extraVolumes": [{"name": "git", "emptyDir": {}}],
                    "extraVolumeMounts": [{"name": "git", "mountPath": "/code"}],
                    "initContainers": [{"name": "git-sync", "image": "git-sync:v4.4.0", "args": ["--one-time"]}],
                }
                for part in ("ray", "rewards")
            },
        },
        lambda d: all(
            _pod(d, name)["initContainers"][0]["name"] == "git-sync" for name in ("head", "rollout", "rewards")
        ),
    ),
    "packages from a mirror": (
        {
            "code": {
                "files": {"mine.py": ""},
                "packages": {"install": ["sacrebleu==2.5.1"], "index": "https://pypi.example.com/simple"},
            },
            "rewards": {"networkPolicy": {"egress": [_INDEX]}},
        },
        lambda d: (
            all(
                _packages(d, name)["command"][-3:] == ["--index-url=https://pypi.example.com/simple", "--", _BLEU]
                and _env(d, name)["PYTHONPATH"]["value"] == "/opt/couplet-code:/opt/couplet-packages"
                for name in ("head", "learner", "rollout", "rewards")
            )
            and _INDEX in only(d, "NetworkPolicy", "-rewards")["spec"]["egress"]
        ),
    ),
    "packages without a network, from wheels on a volume": (
        {
            "code": {"packages": {"install": [_BLEU], "wheels": "/wheels"}},
            **{
                part: {
                    "extraVolumes": [{"name": "wheels", "persistentVolumeClaim": {"claimName": "wheels"}}],
                    "extraVolumeMounts": [{"name": "wheels", "mountPath": "/wheels"}],
                }
                for part in ("ray", "rewards")
            },
        },
        lambda d: all(
            {"--no-index", "--find-links=/wheels"} <= set(_packages(d, name)["command"])
            and "/wheels" in {mount["mountPath"] for mount in _packages(d, name)["volumeMounts"]}
            for name in ("head", "rewards")
        ),
    ),
    "GPUs, which no job that has ended holds": (
        {"ray": {"learner": {"gpusPerPod": 8, "ranksPerPod": 8}}},
        lambda d: _ending(d) == (True, 0),
    ),
    "GPUs of a further group": (
        {"ray": {"extraWorkerGroups": {"rerank": {"gpusPerPod": 1}}}},
        lambda d: _ending(d) == (True, 0),
    ),
    "GPUs by claims": (
        {"ray": {"rollout": {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one"}]}}},
        lambda d: _ending(d) == (True, 0),
    ),
    "no GPUs, and time for a look": ({}, lambda d: _ending(d) == (True, 600)),
    "GPUs, and time for a look": (
        {"job": {"ttlSecondsAfterFinished": 60}, "ray": {"learner": {"gpusPerPod": 1}}},
        lambda d: _ending(d) == (True, 60),
    ),
    "no time for a look": ({"job": {"ttlSecondsAfterFinished": 0}}, lambda d: _ending(d) == (True, 0)),
    "settings in another alphabet, with quotes and dollars": (
        {"overrides": ["run.about=größer 'als' \"zuvor\" $HOME `x` \\ 模型"]},
        lambda d: "größer" in only(d, "RayJob")["spec"]["entrypoint"],
    ),
    "a setting of ten thousand characters": (
        {"overrides": ["run.about=" + "a" * 10_000]},
        lambda d: "a" * 10_000 in only(d, "RayJob")["spec"]["entrypoint"],
    ),
    "labels and selectors with dots and slashes": (
        {
            "commonLabels": {"team.example.com/cost-centre": "a.b"},
            "ray": {"head": {"nodeSelector": {"node.kubernetes.io/instance-type": "p5.48xlarge"}}},
        },
        lambda d: all(one["metadata"]["labels"]["team.example.com/cost-centre"] == "a.b" for one in d),
    ),
    "numbers in the form that people write them": (
        {"ray": {"head": {"cpu": 1.5, "memory": "6.5Gi"}, "rollout": {"cpu": "250m"}}},
        lambda d: _container(d, "head")["resources"]["limits"] == {"cpu": "1.5", "memory": "6.5Gi"},
    ),
    "name servers, options of Ray, annotations and a larger autoscaler": (
        {
            "ray": {
                "annotations": {"kueue.x-k8s.io/podset-required-topology": "block"},
                "autoscaling": {"memory": "4Gi"},
                "learner": {
                    "dnsConfig": {"searches": ["team.svc"]},
                    "rayStartParams": {"min-worker-port": "10002", "max-worker-port": "10999"},
                },
            }
        },
        lambda d: (
            only(d, "RayJob")["metadata"]["annotations"] == {"kueue.x-k8s.io/podset-required-topology": "block"}
            and ray_spec(d)["autoscalerOptions"]["resources"]["limits"]["memory"] == "4Gi"
            and _pod(d, "learner")["dnsConfig"] == {"searches": ["team.svc"]}
            and _start(d, 0)["min-worker-port"] == "10002"
        ),
    ),
    "a run of its own name": (
        {"run": {"id": "second-try"}},
        lambda d: only(d, "RayJob")["metadata"]["name"] == "second-try",
    ),
    "an account of a cloud for every kind of pod": (
        {
            "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/head"}},
            "ray": {name: {"serviceAccountName": "bucket"} for name in ("learner", "rollout")},
            "rewards": {"serviceAccountName": "rewards"},
        },
        lambda d: (
            [_pod(d, name)["serviceAccountName"] for name in _WORKERS] == ["bucket", "bucket", "rewards"]
            and not any(_pod(d, name)["automountServiceAccountToken"] for name in _WORKERS)
            and "eks.amazonaws.com/role-arn" in only(d, "ServiceAccount")["metadata"]["annotations"]
        ),
    ),
    "objects of the site's own": (
        {"extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "site"}}]},
        lambda d: only(d, "ConfigMap", "site"),
    ),
    "one node": (
        {"storage": {"accessModes": ["ReadWriteOnce"]}},
        lambda d: only(d, "PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteOnce"],
    ),
    **{
        f"everything in {where}": (
            {"ray": {where: _EVERYWHERE}} if where in ("head", "learner", "rollout") else {where: _EVERYWHERE},
            lambda d, where=where: _has_all(d, where),  # type: ignore[misc]
        )
        for where in ("head", "learner", "rollout", "rewards", "redis")
    },
}


@pytest.mark.parametrize("name", RENDERED)
def test_it_renders_right(name: str) -> None:
    values, holds = RENDERED[name]
    documents = render_values(values)
    assert holds(documents)
    for document in documents:
        validate(document)


def test_two_releases_of_a_namespace_share_no_name() -> None:
    """Nor do those whose long names differ at their ends alone."""
    long = "team-a-experiment-with-a-rather-long-name-number-{}".format
    documents = [one for number in (1, 2) for one in render_values({}, release=long(number))]
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names))


def test_another_version_of_the_chart_is_the_same_pods_but_for_their_images(tmp_path: Path) -> None:
    """A changed template of a pod restarts it, Redis' under a run."""
    chart = tmp_path / "couplet"
    shutil.copytree(CHART, chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about | {"version": "9.9.9", "appVersion": "9.9.9"}))
    images = {part: {"image": {"tag": "1"}} for part in ("ray", "rewards", "redis")}
    before, after = (pod_templates(render_values(images, chart=one)) for one in (CHART, chart))
    hook = "demo-couplet-test-score"
    assert before.keys() == after.keys()
    assert {name: pod for name, pod in before.items() if name != hook} == {
        name: pod for name, pod in after.items() if name != hook
    }
