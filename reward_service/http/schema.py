"""The OpenAPI description of bodies that handlers parse themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_REFERENCE = "#/components/schemas/{model}"


def describe_bodies(api: FastAPI, bodies: Mapping[str, type[BaseModel]]) -> None:
    """Say what ``POST`` takes, by path. To be called once all routes are there."""
    _, found = models_json_schema([(body, "validation") for body in bodies.values()], ref_template=_REFERENCE)
    described = get_openapi(title=api.title, version=api.version, routes=api.routes)
    described.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])
    for path, body in bodies.items():
        content: dict[str, Any] = {"schema": {"$ref": _REFERENCE.format(model=body.__name__)}}
        described["paths"][path]["post"]["requestBody"] = {
            "required": True,
            "content": {"application/json": content},
        }
    api.openapi = lambda: described  # type: ignore[method-assign]
