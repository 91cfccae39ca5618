"""Values that contradict each other, or that are none: each is refused with a message that names it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from deploy.generate.chart_values import ChartValues
from tests.deploy.chart_render import CHART, refusal_of

#: Name -> values, and what the message must have: by the templates.
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

#: Name -> values, and the field that the message must have: by the schema, which Helm asks first.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a digest that is none": ({"ray": {"image": {"repository": "train", "digest": "sha256:abc"}}}, "digest"),
    "a name that is too long": ({"fullnameOverride": "a" * 41}, "fullnameOverride"),
    "an amount in words": ({"redis": {"memory": "4 gigabytes"}}, "memory"),
    "a field of another chart": ({"ray": {"learner": {"volumes": []}}}, "volumes"),
    "a negative number of pods": ({"ray": {"rollout": {"minReplicas": -1}}}, "minReplicas"),
    "code that is no module": ({"code": {"files": {"../a.py": ""}}}, "files"),
    "an option of pip among packages": ({"code": {"packages": {"install": ["--index-url=x"]}}}, "install"),
    "a password in an index": (
        {"code": {"packages": {"index": "https://me:word@pypi.example.com/simple"}}},
        "index",
    ),
    "a negative time": ({"job": {"ttlSecondsAfterFinished": -1}}, "ttlSecondsAfterFinished"),
    "a mapping for a number": ({"ray": {"rollout": {"maxReplicas": {"a": 1}}}}, "maxReplicas"),
    "a number for a list": ({"ray": {"head": {"tolerations": 3}}}, "tolerations"),
    "a list for a mapping": ({"ray": {"head": {"nodeSelector": ["gpu"]}}}, "nodeSelector"),
    "a word for a switch": ({"redis": {"enabled": "yes please"}}, "enabled"),
    "a part of a pod": ({"ray": {"learner": {"replicas": 1.5}}}, "replicas"),
    "nothing for an image": ({"ray": {"image": {"repository": ""}}}, "repository"),
    "an image with a space": ({"ray": {"image": {"repository": "my registry/train"}}}, "repository"),
    "no memory": ({"redis": {"memory": ""}}, "memory"),
    "memory below nothing": ({"redis": {"memory": "-1Gi"}}, "memory"),
    "a label that is a number": ({"commonLabels": {"a": 1}}, "commonLabels"),
    "a name in another alphabet": ({"fullnameOverride": "größe"}, "fullnameOverride"),
    "a name with a dot": ({"run": {"id": "run.2"}}, "id"),
    "a name that begins with a digit": ({"run": {"id": "2nd"}}, "id"),
    "a name of ten thousand characters": ({"run": {"id": "a" * 10_000}}, "id"),
    "a folder that is relative": ({"storage": {"mountPath": "runs"}}, "mountPath"),
    "code where two paths would be": ({"code": {"enabled": True, "path": "/a:/b"}}, "path"),
    "a group of workers with a capital": ({"ray": {"extraWorkerGroups": {"Big": {}}}}, "extraWorkerGroups"),
    "a volume without a name": ({"rewards": {"extraVolumes": [{"emptyDir": {}}]}}, "extraVolumes"),
    "a port that is none": ({"redis": {"external": {"port": 70000}}}, "port"),
    "a name with a space": ({"nameOverride": "My Name"}, "nameOverride"),
    "a label with a space": ({"commonLabels": {"owner": "Jane Doe"}}, "owner"),
    "a key with a space": ({"ray": {"head": {"labels": {"a b": "c"}}}}, "labels"),
    "a number for a variable": ({"ray": {"env": [{"name": "OMP_NUM_THREADS", "value": 4}]}}, "env[0].value"),
    "a truth for a variable": (yaml.safe_load("rewards: {env: [{name: A, value: yes}]}"), "env[0].value"),
    "a number for a variable beside": (
        {"redis": {"sidecarContainers": [{"name": "a", "image": "b", "env": [{"name": "A", "value": 1}]}]}},
        "sidecarContainers[0].env[0].value",
    ),
    "a truth for a label of nodes": (
        {"ray": {"head": {"nodeSelector": {"nvidia.com/gpu.present": True}}}},
        "gpu.present",
    ),
    "a variable without a name of one": ({"ray": {"head": {"env": [{"name": "A=B"}]}}}, "env[0].name"),
    "a misspelt field of a variable": ({"ray": {"env": [{"name": "A", "valuefrom": {}}]}}, "valuefrom"),
    "a mount without a path": ({"rewards": {"extraVolumeMounts": [{"name": "a"}]}}, "extraVolumeMounts[0]"),
    "a misspelt field of a container": (
        {"redis": {"initContainers": [{"name": "a", "image": "b", "comand": []}]}},
        "comand",
    ),
    "a misspelt toleration": ({"ray": {"rollout": {"tolerations": [{"keys": "a"}]}}}, "keys"),
    "an effect that is none": ({"redis": {"tolerations": [{"effect": "NoRun"}]}}, "effect"),
    "a misspelt affinity": ({"ray": {"rollout": {"affinity": {"nodeAfinity": {}}}}}, "nodeAfinity"),
    "a misspelt user": ({"redis": {"securityContext": {"runAsuser": 5}}}, "runAsuser"),
    "a misspelt rule": ({"rewards": {"networkPolicy": {"egress": [{"tos": []}]}}}, "tos"),
    "no CPU": ({"ray": {"learner": {"cpu": "0"}}}, "cpu"),
    "CPUs in bytes": ({"ray": {"head": {"cpu": "4Gi"}}}, "cpu"),
    "memory without its unit": ({"redis": {"memory": 4}}, "memory"),
    "memory in thousandths": ({"rewards": {"memory": "500m"}}, "memory"),
    "a tag in the repository": ({"ray": {"image": {"repository": "example.com/train:1.2"}}}, "repository"),
    "a volume that nobody writes": ({"storage": {"accessModes": ["ReadOnlyMany"]}}, "accessModes"),
    "a volume of one pod": ({"storage": {"accessModes": ["ReadWriteOncePod"]}}, "accessModes"),
    "Ray's own names for a resource": (
        {"ray": {"extraWorkerGroups": {"a": {"rayResources": {"CPU": "4"}}}}},
        "rayResources",
    ),
    "no time between two scrapes": ({"monitoring": {"operator": {"interval": "0s"}}}, "interval"),
    "nothing for all of Ray": ({"ray": None}, "ray"),
    "nothing for the head": ({"ray": {"head": None}}, "head"),
    "nothing for a number": ({"rewards": {"slots": None}}, "slots"),
    "nothing for a switch that is on": ({"fixedIds": None}, "fixedIds"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_the_templates_refuse_it(name: str) -> None:
    values, message = CONTRADICTIONS[name]
    assert message in refusal_of(values, release="demo" if values else "2nd.try")


@cache
def _schema() -> Draft202012Validator:
    return Draft202012Validator(json.loads((CHART / "values.schema.json").read_text()))


def _coalesced(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """What Helm asks the schema about: the defaults with the values over them, without what is null."""
    made = dict(defaults)
    for key, value in values.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict) and isinstance(made.get(key), dict):
            made[key] = _coalesced(made[key], value)
        else:
            made[key] = value
    return made


@pytest.mark.parametrize("name", WRONG)
def test_the_schema_refuses_it(name: str) -> None:
    values, field = WRONG[name]
    given = _coalesced(ChartValues().model_dump(mode="json"), values)
    problems = [f"{error.json_path} {error.message}" for error in _schema().iter_errors(given)]
    assert problems
    assert all(field in problem for problem in problems), problems
