"""Reward functions of the user: named by import path, loaded once, called for every completion."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.config import ConfigError, RewardFunctionConfig
from common.records import Task, Verdict


@dataclass(frozen=True)
class Completion:
    """What a reward function may look at.

    ``text``: what the model wrote, up to the end of its text. ``program``: the source that was tested, None where
    the text holds none. ``form``: the format reward, from 0 to 1.
    """

    text: str
    program: str | None
    verdicts: tuple[Verdict, ...]
    form: float


class RewardFunction(Protocol):
    """Any finite number; it is weighed and added to the reward. Several threads may call it at once."""

    def __call__(self, task: Task, completion: Completion, /) -> float: ...


class RewardFunctionError(ValueError):
    """A reward function raised, or did not return a finite number; the message names it."""


@dataclass(frozen=True)
class NamedReward:
    """A loaded reward function; ``name`` is that of its component."""

    name: str
    weight: float
    function: RewardFunction

    def value(self, task: Task, completion: Completion) -> float:
        """Raises RewardFunctionError: a mistake in the function must not count as a reward."""
        try:
            value = self.function(task, completion)
        except Exception as error:  # the function is the user's and may raise anything
            raise self._failed(task, f"raised {type(error).__name__}: {error}") from error
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._failed(task, f"returned {value!r}, not a finite number")
        return float(value)

    def _failed(self, task: Task, problem: str) -> RewardFunctionError:
        return RewardFunctionError(f"reward.functions: {self.name} {problem}, on task {task.id!r}")


def load_reward_functions(settings: Sequence[RewardFunctionConfig]) -> tuple[NamedReward, ...]:
    """Import them. Raises ConfigError, naming the field, for one that cannot be used."""
    return tuple(
        NamedReward(setting.name, setting.weight, _load(f"reward.functions.{index}.path", setting.path))
        for index, setting in enumerate(settings)
    )


def _load(field: str, path: str) -> RewardFunction:
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{field}: cannot import {module_name!r} ({error}); install it where the reward workers run, or add "
            "its folder to PYTHONPATH"
        ) from error
    except Exception as error:  # the module is the user's and may raise anything
        raise ConfigError(f"{field}: importing {module_name!r} raised {type(error).__name__}: {error}") from error
    function = getattr(module, attribute, None)
    if function is None:
        raise ConfigError(f"{field}: {module_name!r} has no {attribute!r}")
    if not callable(function):
        raise ConfigError(f"{field}: {path} is {type(function).__name__}; name a function")
    _check_signature(field, path, function)
    loaded: RewardFunction = function
    return loaded


def _check_signature(field: str, path: str, function: object) -> None:
    try:
        signature = inspect.signature(function)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return  # some callables written in C do not tell
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise ConfigError(f"{field}: {path} must take (task, completion), and takes {signature}") from error
