"""Values that contradict each other, or that are none: each is refused with a message that names it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator

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
    "two containers of one name": (
        {"redis": {"sidecarContainers": [{"name": "redis", "image": "x"}]}},
        "redis: two containers are named redis",
    ),
}

#: Name -> values, and the field that the message must have: by the schema, which Helm asks first.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a password in the values": (
        {"redis": {"enabled": False, "external": {"url": "redis://:word@cache:6379"}}},
        "url",
    ),
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
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_the_templates_refuse_it(name: str) -> None:
    values, message = CONTRADICTIONS[name]
    assert message in refusal_of(values)


@cache
def _schema() -> Draft202012Validator:
    return Draft202012Validator(json.loads((CHART / "values.schema.json").read_text()))


@pytest.mark.parametrize("name", WRONG)
def test_the_schema_refuses_it(name: str) -> None:
    values, field = WRONG[name]
    problems = [f"{error.json_path} {error.message}" for error in _schema().iter_errors(values)]
    assert problems
    assert all(field in problem for problem in problems), problems
