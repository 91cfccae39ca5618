"""``values.yaml`` of the Helm chart and the table of its values in the chart's README."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from inspect import get_annotations
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deploy.generate.chart_values import ChartValues
from deploy.generate.values_schema import CHART

_WIDTH = 118
_TEXT = Path(__file__).parent / "chart_readme.md"
_MARK = "<!-- values -->\n"


def files() -> dict[Path, str]:
    """Path in the repository -> text."""
    readme = _TEXT.read_text(encoding="utf-8").replace(_MARK, _table())
    return {CHART / "values.yaml": _values_yaml(), CHART / "README.md": readme}


def _values_yaml() -> str:
    lines = [
        "# Values of the Couplet chart, made by `python -m deploy.generate` from deploy/generate/chart_values.py."
    ]
    for name, field in _fields(ChartValues):
        lines += ["", *_written(name, field, field.default, "")]
    return "\n".join(lines) + "\n"


def _written(name: str, field: FieldInfo, value: Any, indent: str) -> Iterator[str]:
    """Comment and value of one field, nested ones below it."""
    if text := _meaning(field, value):
        yield from textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    if isinstance(value, BaseModel):
        yield f"{indent}{name}:"
        for inner, inner_field in _fields(type(value)):
            yield from _written(inner, inner_field, getattr(value, inner), indent + "  ")
    else:
        yield f"{indent}{name}: {_inline(value)}"


def _table() -> str:
    rows = ["| value | type | default | meaning |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{path}` | {kind} | `{default}` | {text} |" for path, kind, default, text in _rows(ChartValues(), "")
    ]
    return "\n".join(rows) + "\n"


def _rows(part: BaseModel, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Path, type, default and meaning of every value."""
    for name, field in _fields(type(part)):
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            meaning = _meaning(field, value).replace("|", "\\|")
            yield f"{prefix}{name}", _kind(field.annotation).replace("|", "\\|"), _inline(value), meaning


def _fields(kind: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """A class's own fields before those that it inherits."""
    names = dict.fromkeys(name for base in kind.__mro__ for name in get_annotations(base))
    return [(name, kind.model_fields[name]) for name in names if name in kind.model_fields]


def _meaning(field: FieldInfo, value: Any) -> str:
    text = field.description or (type(value).__doc__ if isinstance(value, BaseModel) else "") or ""
    return " ".join(text.split())


def _inline(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _kind(annotation: Any) -> str:
    """What the table calls a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(argument) for argument in arguments))
    if hasattr(annotation, "__metadata__"):
        return _kind(arguments[0])
    named = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    if annotation in named:
        return named[annotation]
    return "list" if origin is list else "mapping"
