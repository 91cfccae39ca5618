"""``values.schema.json`` of the Helm chart, from the typed values and the typed configuration of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.config.algorithms import ESTIMATORS, OBJECTIVES
from common.config.backends import BACKENDS
from deploy.generate.chart_pods import Part
from deploy.generate.chart_values import ChartValues

CHART = Path("deploy/helm/couplet")
#: What every Helm can read: 3.17 knows no newer one.
_DRAFT = "http://json-schema.org/draft-07/schema#"


def schema() -> dict[str, Any]:
    """JSON Schema (draft 7) of the chart's values; a key that is not in it is refused."""
    made = _simplified(ChartValues.model_json_schema())
    for name, needed in _needed(ChartValues()).items():
        part = made if name == ChartValues.__name__ else made["$defs"][name]
        part["required"] = sorted({*part.get("required", ()), *needed})
    # Two alternatives would be reported as "anyOf failed"; this way the error names the wrong key of the recipe.
    name, mapping = made["properties"]["recipe"].pop("anyOf")
    made["properties"]["recipe"] |= {"if": {"type": "object"}, "then": mapping, "else": name}
    # Helm hands the values of a parent chart's `global` to every chart.
    made["properties"]["global"] = {"type": "object"}
    return {"$schema": _DRAFT, **made}


def _needed(part: Part) -> dict[str, set[str]]:
    """Name of a part's class -> values of it that ``null`` may not take away. Helm fills in the defaults before it
    asks the schema, so these are missing only then; what is empty by default may be."""
    found: dict[str, set[str]] = {}
    for name, value in part:
        if isinstance(value, Part):
            found |= _needed(value)
        if isinstance(value, Part) or value or (isinstance(value, int) and value is not False):
            found.setdefault(type(part).__name__, set()).add(name)
    return found


def files() -> dict[Path, str]:
    """Path in the repository -> text."""
    return {CHART / "values.schema.json": json.dumps(schema(), indent=1) + "\n"}


def _simplified(node: Any) -> Any:
    """Draft 7 and short messages: no titles, choices by ``kind``, ``X or null`` as a type, tuples of draft 7."""
    if isinstance(node, list):
        return [_simplified(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {
        key: _simplified(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))
    }
    if "patternProperties" in made:
        made["additionalProperties"] = False
    if "oneOf" in made:
        made |= _choice(made.pop("oneOf"))
    if "prefixItems" in made:
        made["items"] = made.pop("prefixItems")
    options = made.get("anyOf", [])
    if len(options) == 2 and options[1] == {"type": "null"} and isinstance(options[0].get("type"), str):
        del made["anyOf"]
        made |= options[0]
        made["type"] = [options[0]["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made


def _choice(references: list[dict[str, str]]) -> dict[str, Any]:
    """A section whose keys depend on its kind, or the kind alone. ``oneOf`` would be reported as such; this way
    the error names the wrong key. Without a kind, which a preset may give, only the run can tell."""
    known = {**ESTIMATORS, **OBJECTIVES, **BACKENDS}.items()
    ours = {f"#/$defs/{section.__name__}": kind for kind, section in known}
    kinds = [ours[each["$ref"]] for each in references if each["$ref"] in ours]
    others = {"not": {"enum": kinds}}
    cases = [
        {
            "if": {"required": ["kind"], "properties": {"kind": {"const": ours[ref]} if ref in ours else others}},
            "then": {"$ref": ref},
        }
        for ref in (each["$ref"] for each in references)
    ]
    return {"if": {"type": "string"}, "else": {"type": "object", "allOf": cases}}
