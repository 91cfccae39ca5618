"""What every section of the configuration is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from common.errors import UserError


class ConfigError(UserError, ValueError):
    """A recipe or override that cannot be used; the message names the field and the remedy."""


class Section(BaseModel):
    """Base of all sections: frozen, closed, documented by the docstrings under its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def with_kind(value: Any, default: str) -> Any:
    """Return a section with its kind written out: a kind alone is a section, and no kind is the default."""
    if isinstance(value, str):
        return {"kind": value}
    return {"kind": default, **value} if isinstance(value, Mapping) else value


def kind_of(value: Any) -> str | None:
    """Return the kind that a section names, read or not yet read; None where it names none."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else None


def _custom_resource(name: str) -> str:
    if name in ("CPU", "GPU", "memory", "object_store_memory"):
        raise ValueError(
            f"{name} is counted by Ray itself; name a custom resource that the pool's nodes offer, such as "
            "pool for nodes of `ray start --resources='{\"pool\": 8}'`"
        )
    return name


Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
#: What a run or its id may be called: it becomes a folder, a label and a part of Redis keys.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
RayResource = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._/-]*$"), AfterValidator(_custom_resource)]
