"""Reward functions of the user: named by path or plug-in, loaded once, called for every completion."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from common.config import ConfigError, RewardFunctionConfig
from common.plugins import PluginError, load_plugin
from common.records import Task, Verdict


@dataclass(frozen=True)
class Completion:
    """A completion as reward functions see it.

    ``text``: what the model wrote, up to the end of its text. ``program``: the source that was tested, None where
    the text holds none. ``form``: the format reward, from 0 to 1.
    """

    text: str
    program: str | None
    verdicts: tuple[Verdict, ...]
    form: float


class RewardFunction(Protocol):
    """Returns any finite number, which is weighed and added to the reward; several threads may call it at once."""

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
        """Call the function. Raises RewardFunctionError: a mistake in the function must not count as a reward."""
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
    """Import the functions. Raises ConfigError, naming the field, for one that cannot be used."""
    return tuple(
        NamedReward(setting.name, setting.weight, _load(f"reward.functions.{index}.path", setting.path))
        for index, setting in enumerate(settings)
    )


def _load(field: str, path: str) -> RewardFunction:
    try:
        function = load_plugin("reward", path)
    except PluginError as error:
        raise ConfigError(f"{field}: {error}") from error
    if not callable(function):
        raise ConfigError(f"{field}: {path} is {type(function).__name__}; name a function")
    _check_signature(field, path, function)
    return cast("RewardFunction", function)


def _check_signature(field: str, path: str, function: Callable[..., object]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some callables written in C do not tell
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise ConfigError(f"{field}: {path} must take (task, completion), and takes {signature}") from error
