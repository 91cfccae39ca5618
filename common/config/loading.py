"""From a recipe and overrides to a configuration, and back to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError

from common.config.algorithms import PLUGIN_TAG
from common.config.base import ConfigError, Section
from common.config.learner import MOVED_FIELDS
from common.config.stages import Stage, StageConfig
from common.config.tree import Config
from common.config.yaml_text import YamlTextError, read_yaml
from common.presets import PRESETS, REWARD_PRESETS

_SHOWN_BITS, _SHOWN_CHARS = 128, 200
_Tree = TypeVar("_Tree", Config, StageConfig)


def load_config(recipe: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe of a run of reinforcement learning and apply ``a.b=value`` overrides (values are YAML).

    Raises :class:`ConfigError`.
    """
    raw = _read(recipe)
    if "stage" in raw:
        raise ConfigError(
            f"recipe {recipe}: is for a supervised stage; run it with `couplet {raw['stage']}`, "
            "or give a recipe of `couplet train` here, with model.path=FOLDER/model for what a stage wrote"
        )
    return _validated(Config, recipe, raw, overrides)


def load_stage_config(recipe: Path, stage: Stage, overrides: Sequence[str] = ()) -> StageConfig:
    """Read a recipe of a supervised stage, as :func:`load_config` does. Raises :class:`ConfigError`."""
    raw = _read(recipe)
    if raw.get("stage") != stage:
        command = f"couplet {raw['stage']}" if "stage" in raw else "couplet train"
        raise ConfigError(f"recipe {recipe}: is not for {stage}; run it with `{command}`, or set stage: {stage}")
    return _validated(StageConfig, recipe, raw, overrides)


def _read(recipe: Path) -> dict[str, Any]:
    try:
        raw = read_yaml(recipe.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"recipe {recipe}: no such file; see the recipes/ folder") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {recipe}: cannot be read: {error}") from error
    except YamlTextError as error:
        raise ConfigError(f"recipe {recipe}: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"recipe {recipe}: expected a mapping of sections")
    return raw


def _validated(tree: type[_Tree], recipe: Path, raw: dict[str, Any], overrides: Sequence[str]) -> _Tree:
    for override in overrides:
        field, _, text = override.partition("=")
        if field in _PRESETS_OF:
            name = _value_of(override, text)
            preset = _PRESETS_OF[field].get(name) if isinstance(name, str) else None
            _clear_for_preset(raw, field.partition(".")[0], preset or {})
    for override in overrides:
        _clear_for_kind(raw, override)
    _clear_for_length(raw, overrides)
    # A kind comes before its options, wherever it is said.
    for override in sorted(overrides, key=lambda override: override.partition("=")[0] not in _SECTIONS_OF_A_KIND):
        _apply(raw, override)
    try:
        return tree.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_explain(tree, recipe, error)) from error


def dump_config(config: Config | StageConfig) -> str:
    """The resolved configuration as YAML that :func:`load_config` reads back; a Redis password is left out."""
    tree = config.model_dump(mode="json")
    if isinstance(config, Config):
        tree["streams"]["url"] = without_password(config.streams.url)
    text: str = yaml.safe_dump(tree, sort_keys=False)
    return text


def without_password(url: str) -> str:
    """An address fit for files and messages."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _apply(raw: dict[str, Any], override: str) -> None:
    path, sign, text = override.partition("=")
    if not sign or not path:
        raise ConfigError(f"override {override!r}: write it as section.field=value")
    *sections, field = path.split(".")
    node = raw
    for depth, section in enumerate(sections, start=1):
        child = node.setdefault(section, {})
        if isinstance(child, str) and ".".join(sections[:depth]) in _SECTIONS_OF_A_KIND:
            child = node[section] = {"kind": child}
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {section} is a value, not a section")
        node = child
    node[field] = _value_of(override, text)


def _value_of(override: str, text: str) -> Any:
    try:
        value = read_yaml(text)
    except YamlTextError as error:
        raise ConfigError(f"override {override!r}: {error}") from error
    # YAML 1.1 reads 1e-6 as text; a learning rate written so is a number to everybody else.
    return float(value) if isinstance(value, str) and _is_number(value) else value


_PRESETS_OF = {"learner.preset": PRESETS, "reward.preset": REWARD_PRESETS}


def _clear_for_preset(raw: dict[str, Any], section: str, preset: Mapping[str, Any]) -> None:
    """A preset asked for beside a recipe replaces what the recipe says of its fields, not the other way round."""
    fields = raw.get(section)
    if isinstance(fields, dict):
        for field in preset:
            fields.pop(field, None)


#: Sections whose keys depend on their ``kind``.
_SECTIONS_OF_A_KIND = ("learner.estimator", "learner.objective", "rollout.backend")


def _clear_for_kind(raw: dict[str, Any], override: str) -> None:
    """Drop the options of the recipe's kind where an override names another."""
    path, _, text = override.partition("=")
    for section in _SECTIONS_OF_A_KIND:
        outer, _, field = section.partition(".")
        fields = raw.get(outer)
        if path == f"{section}.kind" and isinstance(fields, dict):
            stated = fields.get(field)
            if not (isinstance(stated, dict) and stated.get("kind") == _value_of(override, text)):
                fields.pop(field, None)


def _clear_for_length(raw: dict[str, Any], overrides: Sequence[str]) -> None:
    """Drop the recipe's length of the run where an override gives it in the other unit."""
    run = raw.get("run")
    for field, other in (("steps", "epochs"), ("epochs", "steps")):
        if isinstance(run, dict) and any(override.startswith(f"run.{field}=") for override in overrides):
            run.pop(other, None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _explain(tree: type[Section], recipe: Path, error: ValidationError) -> str:
    lines = []
    problems = error.errors()
    inner = {problem["loc"][:size] for problem in problems for size in range(len(problem["loc"]))}
    for problem in problems:
        if problem["type"] == "too_short" and problem["loc"] in inner:
            continue  # pydantic counts a list without the items that are wrong, which are told by themselves
        where, section = _locate(tree, problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            moved = _MOVED.get(where)
            message = (
                f"now {moved}"
                if moved
                else f"unknown key{_of_kind(section)}; known keys here: {', '.join(section.model_fields)}"
            )
        elif problem["type"] != "missing" and not isinstance(problem["input"], dict):
            message = f"{message} (got {_shown(problem['input'])})"
        lines.append(f"  {where}: {message}" if where else f"  {message}")
    return f"recipe {recipe} is not valid:\n" + "\n".join(lines)


def _shown(value: object) -> str:
    """Write a value down for a message. Python refuses to write the longest whole numbers in decimal."""
    text = hex(value) if isinstance(value, int) and value.bit_length() > _SHOWN_BITS else repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _of_kind(section: type[Section]) -> str:
    kind = section.model_fields.get("kind")
    return f" of kind {kind.default}" if kind is not None else ""


_MOVED = {f"learner.{old}": f"learner.{new}" for old, new in MOVED_FIELDS.items()}


def _locate(tree: type[Section], location: tuple[int | str, ...]) -> tuple[str, type[Section]]:
    """Return the dotted name of a place, which leaves out the kinds that pydantic counts in, and its section."""
    names: list[str] = []
    section: type[Section] = tree
    annotation: Any = tree
    for part in location:
        sections = sections_in(annotation)
        if len(sections) > 1 and part in sections:
            annotation = sections[str(part)]
            continue
        names.append(str(part))
        if isinstance(part, str) and sections:
            section = next(iter(sections.values()))
            field = section.model_fields.get(part)
            annotation = field.annotation if field is not None else None
    return ".".join(names), section


def sections_in(annotation: Any) -> dict[str, type[Section]]:
    """Return the sections of an annotation such as ``Section | None`` or ``tuple[Section, ...]``.

    The keys are the kinds where the annotation is a choice of kinds.
    """
    if isinstance(annotation, type) and issubclass(annotation, Section):
        kind = annotation.model_fields.get("kind")
        return {str(kind.default if kind is not None and not kind.is_required() else PLUGIN_TAG): annotation}
    return {kind: found for part in get_args(annotation) for kind, found in sections_in(part).items()}
