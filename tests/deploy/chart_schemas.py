"""What a Kubernetes with KubeRay and the Prometheus operator would say of a document, without one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from tests.outside_data import outside_data

_MONITORS = "monitoring.coreos.com/"
_KUBERNETES = "1.34"


def validate(document: dict[str, Any]) -> str:
    """The name of the one judge that knows this kind. Raises AssertionError with what it objects to."""
    return _validate(json.dumps(document, sort_keys=True))


@cache
def _validate(text: str) -> str:
    """Most documents are the same in both modes."""
    document = json.loads(text)
    version = document["apiVersion"]
    if version.startswith("ray.io/"):
        problems = [
            f"{error.json_path}: {error.message}" for error in _ray(document["kind"]).iter_errors(document)
        ]
        assert not problems, problems
        return "KubeRay"
    if version.startswith(_MONITORS):
        _validate_monitor(document)
        return "Prometheus operator"
    try:
        kubernetes_validate.validate(document, _KUBERNETES, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        raise AssertionError(f"{document['kind']}: {error}") from error
    return "Kubernetes"


def _validate_monitor(document: dict[str, Any]) -> None:
    """The models pass over a field that they do not know; it is then missing from what they give back."""
    from cloudcoil.models.prometheus_operator import v1, v1alpha1

    models = v1alpha1 if document["apiVersion"].endswith("alpha1") else v1
    try:
        model = getattr(models, document["kind"]).model_validate(document)
    except ValidationError as error:
        raise AssertionError(f"{document['kind']}: {error}") from error
    unknown = list(
        _lost(document, model.model_dump(mode="json", by_alias=True, exclude_unset=True), document["kind"])
    )
    assert not unknown, unknown


def _lost(given: Any, understood: Any, path: str) -> Iterator[str]:
    if isinstance(given, dict) and isinstance(understood, dict):
        for key, value in given.items():
            if key in understood:
                yield from _lost(value, understood[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(given, list) and isinstance(understood, list):
        for number, pair in enumerate(zip(given, understood, strict=True)):
            yield from _lost(*pair, f"{path}[{number}]")


@cache
def _ray(kind: str) -> Draft202012Validator:
    text = gzip.decompress(outside_data("schemas/kuberay-crds-v1.7.0.json.gz").read_bytes())
    return Draft202012Validator(_converted(json.loads(text)["schemas"][kind]))


def _converted(node: Any) -> Any:
    """From the schema of a custom resource to a closed JSON Schema; what has a default need not be given."""
    if isinstance(node, list):
        return [_converted(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _converted(value) for key, value in node.items() if not key.startswith("x-kubernetes")}
    if node.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    if str(made.get("format", "")).startswith("int"):
        made.pop("format")
    if made.pop("nullable", False) is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    properties = made.get("properties")
    if isinstance(properties, dict) and made.get("type") == "object":
        if not node.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in made:
            made["additionalProperties"] = False
        required = [name for name in made.pop("required", ()) if "default" not in properties.get(name, {})]
        made |= {"required": required} if required else {}
    return made
