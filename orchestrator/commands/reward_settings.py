"""The rewards that a command was asked for: a recipe's, or the defaults, with overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from common.config import ConfigError, DeadlinesConfig, RewardConfig, StreamsConfig, load_config
from common.config.yaml_text import YamlTextError, read_yaml
from orchestrator.commands.recipes import find_recipe

_SECTION = "reward."


@dataclass(frozen=True)
class RewardSettings:
    """The sections of a run's configuration that scoring reads."""

    reward: RewardConfig
    streams: StreamsConfig
    deadlines: DeadlinesConfig


def reward_settings(arguments: Sequence[str]) -> RewardSettings:
    """Of ``[RECIPE] [section.field=value]...``; without a recipe only ``reward.`` fields. Raises ConfigError."""
    if arguments and "=" not in arguments[0]:
        config = load_config(find_recipe(Path(arguments[0])), arguments[1:])
        return RewardSettings(config.reward, config.streams, config.deadlines)
    fields: dict[str, Any] = {}
    for override in arguments:
        path, sign, text = override.partition("=")
        field = path.removeprefix(_SECTION)
        if not sign or not path.startswith(_SECTION) or "." in field:
            raise ConfigError(f"override {override!r}: without a recipe, write reward.field=value")
        try:
            fields[field] = read_yaml(text)
        except YamlTextError as error:
            raise ConfigError(f"override {override!r}: {error}") from error
    try:
        reward = RewardConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from error
    return RewardSettings(reward, StreamsConfig(), DeadlinesConfig())


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown field; known are: " + ", ".join(RewardConfig.model_fields)
    return _SECTION + ".".join(map(str, first["loc"])) + f": {message}" if first["loc"] else _SECTION + message
