"""Parts from outside this project: named ``module:attribute``, or by an entry point of an installed package.

A package offers parts in the group ``couplet.plugins``; the name of an entry point is the part's kind, a dot, and
the name that recipes give it::

    [project.entry-points."couplet.plugins"]
    "objective.hinge" = "my_package.losses:HingeObjective"

Every process that needs a part loads it by that name, so it must be importable where the process runs: installed
there, on its ``PYTHONPATH``, or in the working directory of a submitted job.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import entry_points
from typing import Any, Literal, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from common.errors import UserError

GROUP = "couplet.plugins"
Kind = Literal["decoder", "estimator", "model_family", "objective", "reward", "task_format"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_NAME = r"[A-Za-z_]\w*"
#: ``package.module:attribute``.
IMPORT_PATH = rf"^{_NAME}(\.{_NAME})*:{_NAME}$"


class PluginError(UserError, ValueError):
    """A part that cannot be found or imported; the message says where it was sought and what to do."""


@dataclass(frozen=True)
class Plugin:
    """A part that an installed package offers; ``path`` is its ``module:attribute``."""

    kind: Kind
    name: str
    path: str
    package: str


def installed_plugins() -> tuple[Plugin, ...]:
    """List what the packages in this environment offer, by kind and name.

    Raises PluginError for an entry point of no known kind, and for two of one kind and name.
    """
    found: dict[tuple[str, str], Plugin] = {}
    for point in entry_points(group=GROUP):
        package = point.dist.name if point.dist is not None else "an unnamed package"
        kind = next((kind for kind in KINDS if point.name.startswith(f"{kind}.")), None)
        if kind is None:
            raise PluginError(
                f"{package}: the entry point {point.name!r} in {GROUP} must be named KIND.NAME; "
                f"the kinds are {', '.join(KINDS)}"
            )
        plugin = Plugin(kind, point.name.removeprefix(f"{kind}."), point.value, package)
        known = found.setdefault((kind, plugin.name), plugin)
        if known.path != plugin.path:
            raise PluginError(
                f"two packages offer the {kind} {plugin.name!r}: {known.package} and {package}; uninstall one, "
                f"or name the part by its path, {known.path} or {plugin.path}"
            )
    return tuple(found[key] for key in sorted(found))


def load_plugin(kind: Kind, name: str, known: Collection[str] = ()) -> Any:
    """Import the part that ``name`` means: a ``module:attribute``, or the name of an installed plugin.

    ``known`` are the names of our own parts of this kind, for the message. Raises PluginError.
    """
    return import_path(plugin_path(kind, name, known))


def make_plugin(kind: Kind, name: str, options: Mapping[str, Any], needs: Collection[str]) -> Any:
    """Make the part of the user's that ``name`` means with the options that a recipe gives it.

    Its class is a dataclass or a pydantic model, whose fields are the options, or anything else that takes them as
    keyword arguments. ``needs`` are the attributes that a part of this kind has. Raises PluginError.
    """
    make = load_plugin(kind, name)
    where = f"{kind} {name!r}"
    if not callable(make):
        raise PluginError(f"{where}: is no class or function that makes one, but {make!r}")
    try:
        known = _fields_of(make)
        unknown = sorted(options.keys() - known) if known is not None else []
        if unknown:
            raise PluginError(
                f"{where}: {unknown[0]}: unknown key; known keys here: {', '.join(sorted(known or ())) or 'none'}"
            )
        made = TypeAdapter(make).validate_python(dict(options)) if known is not None else make(**options)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        raise PluginError(f"{where}: {'; '.join(problems)}") from error
    except TypeError as error:
        raise PluginError(f"{where}: {error}; its options are {', '.join(options) or 'none'}") from error
    missing = [attribute for attribute in needs if not hasattr(made, attribute)]
    if missing:
        raise PluginError(f"{where}: lacks {', '.join(missing)}; docs/extending.md says what it needs")
    return made


def _fields_of(make: Any) -> set[str] | None:
    """Return the options of a dataclass or a pydantic model; None for anything else."""
    if isinstance(make, type) and issubclass(make, BaseModel):
        return set(make.model_fields)
    return {field.name for field in fields(make)} if is_dataclass(make) else None


def plugin_path(kind: Kind, name: str, known: Collection[str] = ()) -> str:
    """Return the ``module:attribute`` of a part without importing it. Raises PluginError."""
    if re.fullmatch(IMPORT_PATH, name):
        return name
    plugins = [plugin for plugin in installed_plugins() if plugin.kind == kind]
    for plugin in plugins:
        if plugin.name == name:
            return plugin.path
    names = ", ".join([*known, *(plugin.name for plugin in plugins)])
    raise PluginError(
        f"{name!r} is no {kind.replace('_', ' ')} known here; choose one of {names or 'those that you install'}, "
        "or name one as module:attribute"
    )


def import_path(path: str) -> Any:
    """Import a ``module:attribute``. Raises PluginError."""
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise PluginError(
            f"cannot import {module_name!r} ({error}); install it where this runs, or add its folder to PYTHONPATH"
        ) from error
    except Exception as error:  # the module is the user's and may raise anything
        raise PluginError(f"importing {module_name!r} raised {type(error).__name__}: {error}") from error
    part = getattr(module, attribute, None)
    if part is None:
        raise PluginError(f"{module_name!r} has no {attribute!r}")
    return part
