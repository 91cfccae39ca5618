"""Values that contradict each other: the templates refuse each, with a message that names it and a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.chart_render import refusal_of

#: Name -> values, and what the message must have.
CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "two GPUs for three workers": (
        {"ray": {"rollout": {"gpusPerPod": 2, "workersPerPod": 3}}},
        "3 actors of a pod cannot share 2 GPUs",
    ),
    "root where ids are the cluster's": ({"fixedIds": False}, "set rewards.isolation=namespaces"),
    "two ports of one Redis": (
        {"redis": {"enabled": False, "external": {"url": "redis://cache:6380", "port": 6379}}},
        "redis.external.port: it is read from redis.external.url",
    ),
    "code of two kinds": ({"code": {"files": {"a.py": ""}, "existingConfigMap": "b"}}, "code: give files or"),
    "packages where no index is reached": (
        {"code": {"packages": {"install": ["sacrebleu==2.5.1"]}}},
        "allow one in rewards.networkPolicy.egress, name a folder of wheels in code.packages.wheels",
    ),
    "an option of Ray that is the chart's": (
        {"ray": {"head": {"rayStartParams": {"num-cpus": "8"}}}},
        "rayStartParams: num-cpus is set by the chart",
    ),
    "two volumes of one name": (
        {"ray": {"learner": {"extraVolumes": [{"name": "shm", "emptyDir": {}}]}}},
        "ray.learner: two volumes are named shm",
    ),
    "two mounts at one place": (
        {"rewards": {"extraVolumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}},
        "rewards: two volumes are mounted at /tmp",
    ),
    "two environment variables of one name": (
        {"ray": {"head": {"env": [{"name": "COUPLET_REDIS_URL", "value": "redis://other"}]}}},
        "ray.head: COUPLET_REDIS_URL is set twice",
    ),
    "a name of a release that is none of a Service": ({}, "the release is named 2nd.try"),
    "a label by which the chart finds its pods": (
        {"commonLabels": {"app.kubernetes.io/name": "x"}},
        "labels, commonLabels: app.kubernetes.io/name is set by the chart",
    ),
    "an annotation of the chart's": (
        {"rewards": {"annotations": {"couplet/recipe": "x"}}},
        "annotations: couplet/recipe is set by the chart",
    ),
    "a GPU twice": (
        {"ray": {"learner": {"gpusPerPod": 1, "extraResources": {"nvidia.com/gpu": "1"}}}},
        "ray.learner.extraResources: nvidia.com/gpu is set by the chart",
    ),
    "GPUs from nowhere": (
        {"ray": {"gpuResource": "", "learner": {"gpusPerPod": 1}}},
        "ray.learner.gpusPerPod: nothing brings these GPUs; set ray.gpuResource, or ray.learner.resourceClaims",
    ),
    "a mount of nothing": (
        {"ray": {"learner": {"extraVolumeMounts": [{"name": "none", "mountPath": "/x"}]}}},
        "ray.learner: no volume is named none, which is mounted at /x; add it to extraVolumes",
    ),
    "the volume of a claim, again": (
        {"redis": {"extraVolumes": [{"name": "data", "emptyDir": {}}]}},
        "redis: two volumes are named data",
    ),
    "a container that KubeRay adds": (
        {"ray": {"head": {"sidecarContainers": [{"name": "autoscaler", "image": "x"}]}}},
        "ray.head: two containers are named autoscaler",
    ),
    "two containers at one port": (
        {"rewards": {"sidecarContainers": [{"name": "a", "image": "x", "ports": [{"containerPort": 8080}]}]}},
        "rewards: two containers have the port 8080/TCP",
    ),
    "two ports of one name": (
        {
            "ray": {
                "head": {
                    "sidecarContainers": [
                        {"name": "a", "image": "x", "ports": [{"containerPort": 1, "name": "metrics"}]}
                    ]
                }
            }
        },
        "ray.head: two ports are named metrics",
    ),
    "one claim twice": (
        {"ray": {"learner": {"resourceClaims": [{"name": "a"}, {"name": "a"}]}}},
        "ray.learner: two resourceClaims are named a",
    ),
    "a claim of nothing": (
        {"redis": {"resourceClaims": [{"name": "a"}]}},
        "redis: the resource claim a names no resourceClaimName and no resourceClaimTemplateName",
    ),
    "a variable by two ways": (
        {"ray": {"env": [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {}}}]}},
        "ray.head: A has a value and valueFrom",
    ),
    "root that may not be": (
        {"ray": {"learner": {"podSecurityContext": {"runAsUser": 0}}}},
        "podSecurityContext: runAsUser 0 is root, which runAsNonRoot forbids",
    ),
    "a volume that hides the image": (
        {"storage": {"mountPath": "/opt"}},
        "storage.mountPath: a volume at /opt",
    ),
    "shared memory that the memory cannot hold": (
        {"ray": {"head": {"memory": "2Gi"}}},
        "ray.head.sharedMemory: 2Gi of memory cannot hold 4Gi of it",
    ),
    "shared memory too small for Ray": (
        {"ray": {"learner": {"sharedMemory": "64Mi"}}},
        "ray.learner.sharedMemory: four fifths of 64Mi are too small",
    ),
    "a Redis of theirs beside the chart's": (
        {"redis": {"external": {"url": "redis://cache:6379"}}},
        "redis.external: the release makes a Redis of its own; set redis.enabled to false",
    ),
    "a Redis by two ways": (
        {"redis": {"enabled": False, "external": {"url": "redis://a", "secret": {"name": "b"}}}},
        "redis.external: give url or secret, not both",
    ),
    "a password in the values": (
        {
            "redis": {"enabled": False, "external": {"url": "rediss://me:word@cache:6379"}},
            "rewards": {"networkPolicy": {"enabled": False}},
        },
        "put the whole address into a Secret, and its name into redis.external.secret.name",
    ),
    "an authority without TLS": (
        {"redis": {"enabled": False, "external": {"url": "redis://a", "certificateAuthority": {"name": "b"}}}},
        "redis.external.certificateAuthority: redis.external.url is without TLS",
    ),
    "a port beyond all ports": (
        {"redis": {"enabled": False, "external": {"url": "redis://cache:99999"}}},
        "redis.external.url: 99999 is no port",
    ),
    "a Redis that goes before the run": (
        {"ray": {"stopSeconds": 3600}},
        "redis.drainSeconds: Redis would go after 900 s, and a run has ray.stopSeconds 3600",
    ),
    "gVisor, for what it has not": (
        {"rewards": {"runtimeClassName": "gvisor"}},
        "rewards.runtimeClassName: gVisor has no Landlock",
    ),
    "programs in the node's network": (
        {"rewards": {"hostNetwork": True}},
        "rewards.hostNetwork: with rewards.isolation uid the programs that models wrote would use the node's",
    ),
    "the node's semaphores in a user namespace": (
        {"rewards": {"hostIPC": True, "isolation": "namespaces"}},
        "rewards.hostIPC: Kubernetes refuses it for a pod with a user namespace; set rewards.hostUsers=true",
    ),
    "a policy that would not hold": (
        {"rewards": {"hostNetwork": True, "isolation": "namespaces", "hostUsers": True}},
        "rewards.hostNetwork: no NetworkPolicy holds in the node's network",
    ),
    "turns by an override": (
        {"overrides": ["rollout.placement=shared"]},
        "overrides: rollout.placement is set by the chart",
    ),
    "turns by a recipe": (
        {"recipe": {"model": {"path": "m"}, "data": {"source": "synthetic"}, "rollout": {"placement": "shared"}}},
        "recipe.rollout.placement: the pools are made for ray.placement separate",
    ),
    "turns on a half of a GPU": (
        {"ray": {"placement": "shared", "learner": {"gpusPerPod": 1, "ranksPerPod": 2}}},
        "set ray.learner.gpusPerPod to 2, or to 0 for CPUs",
    ),
    "a group that Redis' Service would find": (
        {"ray": {"extraWorkerGroups": {"redis": {}}}},
        "ray.extraWorkerGroups: redis is a name of the chart's own",
    ),
    "a group that the learner's ranks would find": (
        {"ray": {"extraWorkerGroups": {"mine": {"rayResources": {"learner": "4"}}}}},
        "ray.extraWorkerGroups.mine.rayResources: learner would draw actors",
    ),
    "a run in the folder of the models": ({"run": {"id": "huggingface"}}, "run.id: huggingface is the folder"),
    "code that no ConfigMap holds": ({"code": {"files": {"a.py": "#" * 1_100_000}}}, "code.files: 1100011 bytes"),
    "a command that no shell takes": (
        {"overrides": ["run.about=" + "a" * 200_000]},
        "overrides: the run's command would have 200",
    ),
    "packages from two places": (
        {"code": {"packages": {"install": ["a==1"], "index": "https://x", "wheels": "/w"}}},
        "code.packages: give index or wheels, not both",
    ),
    "two containers of one name": (
        {"redis": {"sidecarContainers": [{"name": "redis", "image": "x"}]}},
        "redis: two containers are named redis",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_the_templates_refuse_it(name: str) -> None:
    values, message = CONTRADICTIONS[name]
    assert message in refusal_of(values, release="demo" if values else "2nd.try")
