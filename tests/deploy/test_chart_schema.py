"""Values that are none: the schema, which Helm asks first, refuses each with a message that names the field."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from deploy.generate.chart_values import ChartValues
from tests.deploy.chart_render import CHART

#: Name -> values, and the field that the message must have.
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
    "a misspelt source of a variable": (
        {"ray": {"env": [{"name": "A", "valueFrom": {"secretkeyref": {}}}]}},
        "valueFrom",
    ),
    "a misspelt kind of volume": ({"rewards": {"extraVolumes": [{"name": "a", "emptydir": {}}]}}, "emptydir"),
    "a port in words": (
        {"redis": {"sidecarContainers": [{"name": "a", "image": "b", "ports": [{"containerPort": "80"}]}]}},
        "containerPort",
    ),
    "a user in words": ({"ray": {"head": {"podSecurityContext": {"runAsUser": "1000"}}}}, "runAsUser"),
    "no skew": (
        {"redis": {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "b"}]}},
        "topologySpreadConstraints[0]",
    ),
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
