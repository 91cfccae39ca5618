"""What every section of the configuration is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from common.errors import UserError
from common.numbers import LARGEST_COUNT, LARGEST_NUMBER, LARGEST_SEED, not_a_boolean


class ConfigError(UserError, ValueError):
    """A recipe or override that cannot be used; the message names the field and the remedy."""


class Section(BaseModel):
    """Base of all sections: frozen, closed, documented by the docstrings under its fields.

    Numbers are finite, and none is ``true`` or ``false``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        if _takes_numbers_alone(cls, str(info.field_name)):
            for item in value if isinstance(value, list | tuple) else (value,):
                not_a_boolean(item)
        return value


@cache
def _takes_numbers_alone(section: type[Section], field: str) -> bool:
    """Return whether a field holds numbers, and no boolean."""
    types = set(_types_in(section.model_fields[field].annotation))
    return bool(types & {int, float}) and bool not in types


def _types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _types_in(part)


def with_kind(value: Any, default: str) -> Any:
    """Return a section with its kind written out: a kind alone is a section, and no kind is the default."""
    if isinstance(value, str):
        return {"kind": value}
    return {"kind": default, **value} if isinstance(value, Mapping) else value


def kind_of(value: Any) -> str | None:
    """Return the kind that a section names, read or not yet read; None where it names none."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else None


#: Ray counts in ten-thousandths.
_SMALLEST_PART = 1e-4


def _whole_or_part(gpus: float) -> float:
    if gpus > 1 and not gpus.is_integer():
        raise ValueError("an actor has whole GPUs, or a part of one: Ray gives it no parts of several")
    if 0 < gpus < _SMALLEST_PART:
        raise ValueError(f"Ray counts no part of a GPU below {_SMALLEST_PART:g}; set it higher, or to 0")
    return gpus


def _custom_resource(name: str) -> str:
    if name in ("CPU", "GPU", "memory", "object_store_memory"):
        raise ValueError(
            f"{name} is counted by Ray itself; name a custom resource that the pool's nodes offer, such as "
            "pool for nodes of `ray start --resources='{\"pool\": 8}'`"
        )
    return name


Positive = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
NonNegative = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Rate = Annotated[float, Field(gt=0, le=LARGEST_NUMBER)]
#: Not less than nothing, as a weight is.
Amount = Annotated[float, Field(ge=0, le=LARGEST_NUMBER)]
Share = Annotated[float, Field(ge=0, le=1)]
#: What a run or its id may be called: it becomes a folder, a label and a part of Redis keys.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
#: GPUs of an actor, as Ray can give them.
Gpus = Annotated[float, Field(ge=0, le=LARGEST_NUMBER), AfterValidator(_whole_or_part)]
RayResource = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._/-]*$"), AfterValidator(_custom_resource)]
