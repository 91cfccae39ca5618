"""Reward functions: named by path or plug-in, loaded once, called for every completion or for every group."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Protocol

from common.config import ConfigError, RewardFunctionConfig
from common.plugins import PluginError, load_plugin
from common.records import Task, Verdict
from reward_service.async_calls import DeadlineError, results_of


@dataclass(frozen=True)
class Decoding:
    """How a completion was decoded: the tokens of its text, with the one that ends it, and the forward passes."""

    tokens: int
    forwards: int


@dataclass(frozen=True)
class Completion:
    """A completion as reward functions see it.

    ``text``: what the model wrote, up to the end of its text. ``program``: the source that was tested, None where
    the text holds none. ``form``: the format reward, from 0 to 1. ``decoding``: None where it is not known, as of
    a text out of a file.
    """

    text: str
    program: str | None
    verdicts: tuple[Verdict, ...]
    form: float
    decoding: Decoding | None = None


class RewardFunction(Protocol):
    """Returns any finite number, which is weighed and added to the reward; several threads may call it at once.

    It may be ``async``. The task's ``metadata`` has the columns of its row that ``data.metadata`` names.
    """

    def __call__(self, task: Task, completion: Completion, /) -> float | Awaitable[float]: ...


class GroupRewardFunction(Protocol):
    """Returns one finite number for each of a task's completions, in their order; may be ``async``.

    It is not shown the completions that are excluded because the sandbox failed on them.
    """

    def __call__(
        self, task: Task, completions: Sequence[Completion], /
    ) -> Iterable[float] | Awaitable[Iterable[float]]: ...


class RewardFunctionError(ValueError):
    """A reward function raised, was late, or did not return finite numbers; the message names it."""


class UnknownRewardError(Exception):
    """Nothing is known of a completion, through no fault of its own: it is excluded.

    Functions raise it where what they ask, a sandbox or a judge, does not work; one of a group for all of it.
    """


@dataclass(frozen=True)
class NamedReward:
    """A loaded reward function; ``name`` is that of its component.

    ``scope``: whether it is called for every completion or once for a group. ``timeout_s`` of an ``async`` one:
    for all calls of a group, which run at the same time.
    """

    name: str
    weight: float
    function: Callable[[Task, Any], Any]
    scope: Literal["completion", "group"] = "completion"
    timeout_s: float = 60.0

    def value(self, task: Task, completion: Completion) -> float:
        """Return the reward of a completion that is a group by itself.

        Raises RewardFunctionError and UnknownRewardError.
        """
        (value,) = self.values(task, [completion])
        if value is None:
            raise UnknownRewardError(f"{self.name} cannot tell, on task {task.id!r}")
        return value

    def values(self, task: Task, completions: Sequence[Completion]) -> list[float | None]:
        """Return the reward of each completion, None where the function cannot tell.

        Raises RewardFunctionError: a mistake in the function must not count as a reward.
        """
        if not completions:
            return []
        if self.scope == "completion":
            return [self._number(task, answer) for answer in self._answers(task, completions)]
        (answer,) = self._answers(task, [tuple(completions)])
        if isinstance(answer, UnknownRewardError):
            return [None] * len(completions)
        if not isinstance(answer, Iterable):
            raise self._failed(task, f"returned {answer!r}, not a number for each completion")
        try:
            answers = list(answer)  # runs a function that yields
        except UnknownRewardError:
            return [None] * len(completions)
        except Exception as error:  # the function is the user's and may raise anything
            raise self._raised(task, error) from error
        if len(answers) != len(completions):
            raise self._failed(task, f"returned {len(answers)} numbers for {len(completions)} completions")
        return [self._number(task, answer) for answer in answers]

    def _answers(self, task: Task, arguments: Sequence[Completion | tuple[Completion, ...]]) -> list[Any]:
        """Call the function with each of the arguments; an UnknownRewardError is an answer like any other."""
        answers = [self._answer(task, argument) for argument in arguments]
        waited_for = [index for index, answer in enumerate(answers) if inspect.isawaitable(answer)]
        try:
            results = results_of([answers[index] for index in waited_for], self.timeout_s)
        except DeadlineError as error:
            raise self._failed(
                task, f"did not answer within {self.timeout_s:g} s (reward.functions: timeout_seconds)"
            ) from error
        for index, result in zip(waited_for, results, strict=True):
            if isinstance(result, BaseException) and not isinstance(result, UnknownRewardError):
                raise self._raised(task, result) from result
            answers[index] = result
        return answers

    def _answer(self, task: Task, argument: Completion | tuple[Completion, ...]) -> Any:
        try:
            return self.function(task, argument)
        except UnknownRewardError as error:
            return error
        except Exception as error:  # the function is the user's and may raise anything
            raise self._raised(task, error) from error

    def _number(self, task: Task, value: object) -> float | None:
        if isinstance(value, UnknownRewardError):
            return None
        number = math.nan
        if isinstance(value, Real) and not isinstance(value, bool):
            with suppress(OverflowError):  # an integer that no float holds
                number = float(value)
        if not math.isfinite(number):
            raise self._failed(task, f"returned {value!r}, not a finite number")
        return number

    def _raised(self, task: Task, error: BaseException) -> RewardFunctionError:
        return self._failed(task, f"raised {type(error).__name__}: {error}")

    def _failed(self, task: Task, problem: str) -> RewardFunctionError:
        return RewardFunctionError(f"reward.functions: {self.name} {problem}, on task {task.id!r}")


def load_reward_functions(
    settings: Sequence[RewardFunctionConfig], built_in: Mapping[str, RewardFunction] | None = None
) -> tuple[NamedReward, ...]:
    """Import the functions; those of ``built_in`` go by their names.

    Raises ConfigError, naming the field, for one that cannot be used.
    """
    ours = built_in or {}
    return tuple(
        NamedReward(
            setting.name,
            setting.weight,
            ours[setting.path]
            if setting.path in ours
            else _load(f"reward.functions.{index}.path", setting, known=tuple(ours)),
            setting.scope,
            setting.timeout_seconds,
        )
        for index, setting in enumerate(settings)
    )


def _load(field: str, setting: RewardFunctionConfig, known: Sequence[str]) -> Callable[[Task, Any], Any]:
    path = setting.path
    try:
        function = load_plugin("reward", path, known)
    except PluginError as error:
        raise ConfigError(f"{field}: {error}") from error
    if not callable(function):
        raise ConfigError(f"{field}: {path} is {type(function).__name__}; name a function")
    _check_signature(field, setting, function)
    found: Callable[[Task, Any], Any] = function
    return found


def _check_signature(field: str, setting: RewardFunctionConfig, function: Callable[..., object]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some callables written in C do not tell
    wanted = "(task, completion)" if setting.scope == "completion" else "(task, completions)"
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise ConfigError(f"{field}: {setting.path} must take {wanted}, and takes {signature}") from error
