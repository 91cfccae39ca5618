"""Reward functions: named by path or plug-in, loaded once, called for every completion or for every group.

Here a function is called in the process that asks. :mod:`reward_service.isolation` calls those of the user's in
processes of their own.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from common.config import ConfigError, RewardFunctionConfig
from common.plugins import PluginError, load_plugin
from common.records import Task, Verdict
from reward_service.async_calls import DeadlineError, results_of
from reward_service.numbers import NotANumberError, finite_number, shown


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
    """Returns any finite number, which is weighed and added to the reward.

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


class Failure(StrEnum):
    """Name how a reward function failed; also the ``reason`` label of the metric ``scoring_lost``."""

    RAISED = "function_raised"
    LATE = "function_late"
    DIED = "function_died"
    NO_NUMBER = "function_no_number"


class RewardFunctionError(ValueError):
    """A reward function raised, was late, ended its process, or did not return finite numbers.

    ``reason`` is the message without the task: the same text for the same mistake on many tasks. ``problem``: what
    the function did.
    """

    def __init__(self, name: str, failure: Failure, problem: str, task_id: str) -> None:
        self.reason = f"reward.functions: {name} {problem}"
        super().__init__(f"{self.reason}, on task {task_id!r}")
        self.failure = failure
        self.problem = problem


class UnknownRewardError(Exception):
    """Nothing is known of a completion, through no fault of its own: it is excluded.

    Functions raise it where what they ask, a sandbox or a judge, does not work; one of a group for all of it.
    """


#: A reward, or why none is known.
Value = float | UnknownRewardError


class Reward(Protocol):
    """A component of the reward: a function that can be called, wherever it runs.

    ``scope``: whether it is called for every completion or once for a group.
    """

    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def scope(self) -> Literal["completion", "group"]: ...

    def values(self, task: Task, completions: Sequence[Completion]) -> list[Value]:
        """Return the reward of each completion, or why it is not known. Raises RewardFunctionError."""

    def longest_seconds(self, completions: int) -> float:
        """Return how long the rewards of so many completions may take, within all deadlines."""

    def close(self) -> None:
        """End what runs for it; calls under way fail."""


@dataclass(frozen=True)
class NamedReward:
    """A loaded reward function, called in this process; ``name`` is that of its component.

    ``timeout_s`` bounds the calls of an ``async`` function on a group, which run at the same time; one that is not
    ``async`` cannot be ended from here.
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
        if isinstance(value, UnknownRewardError):
            raise value
        return value

    def values(
        self,
        task: Task,
        completions: Sequence[Completion],
        on_call: Callable[[], None] = lambda: None,
    ) -> list[Value]:
        """Return the reward of each completion, or why the function cannot tell.

        ``on_call`` is called before each call of the function. Raises RewardFunctionError: a mistake in the
        function must not count as a reward.
        """
        if not completions:
            return []
        if self.scope == "completion":
            answers = self._answers(task, completions, on_call)
            return [self._number(task, answer) for answer in answers]
        (answer,) = self._answers(task, [tuple(completions)], on_call)
        if isinstance(answer, UnknownRewardError):
            return [answer] * len(completions)
        if not isinstance(answer, Iterable) or isinstance(answer, str | Mapping | Set):
            problem = f"returned {shown(answer)}, not a number for each completion"
            raise self._failed(task, Failure.NO_NUMBER, problem)
        try:
            answers = list(answer)  # runs a function that yields
        except UnknownRewardError as error:
            return [error] * len(completions)
        except (Exception, SystemExit) as error:  # the function is the user's and may raise anything
            raise self._raised(task, error) from error
        if len(answers) != len(completions):
            problem = f"returned {len(answers)} numbers for {len(completions)} completions"
            raise self._failed(task, Failure.NO_NUMBER, problem)
        return [self._number(task, answer) for answer in answers]

    def longest_seconds(self, completions: int) -> float:
        """Return how long the rewards may take; of a function that is not ``async`` this is what they should."""
        return self.timeout_s * (completions if self.scope == "completion" else 1)

    def close(self) -> None:
        """Nothing of it runs once a call has returned."""

    def _answers(
        self,
        task: Task,
        arguments: Sequence[Completion | tuple[Completion, ...]],
        on_call: Callable[[], None],
    ) -> list[Any]:
        """Call the function with each of the arguments; an UnknownRewardError is an answer like any other."""
        answers = []
        for argument in arguments:
            on_call()
            answers.append(self._answer(task, argument))
        waited_for = [index for index, answer in enumerate(answers) if inspect.isawaitable(answer)]
        try:
            results = results_of([answers[index] for index in waited_for], self.timeout_s)
        except DeadlineError as error:
            raise self._failed(task, Failure.LATE, late(self.timeout_s)) from error
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
        except (Exception, SystemExit) as error:  # the function is the user's and may raise anything
            raise self._raised(task, error) from error

    def _number(self, task: Task, value: object) -> Value:
        if isinstance(value, UnknownRewardError):
            return value
        try:
            return finite_number(value)
        except NotANumberError as error:
            raise self._failed(task, Failure.NO_NUMBER, str(error)) from error

    def _raised(self, task: Task, error: BaseException) -> RewardFunctionError:
        return self._failed(task, Failure.RAISED, f"raised {type(error).__name__}: {error}")

    def _failed(self, task: Task, failure: Failure, problem: str) -> RewardFunctionError:
        return RewardFunctionError(self.name, failure, problem, task.id)


def late(timeout_s: float) -> str:
    """Say that a function did not answer in time."""
    return f"did not answer within {timeout_s:g} s (reward.functions: timeout_seconds)"


def load_reward_functions(
    settings: Sequence[RewardFunctionConfig], built_in: Mapping[str, RewardFunction] | None = None
) -> tuple[NamedReward, ...]:
    """Import the functions into this process; those of ``built_in`` go by their names.

    Raises ConfigError, naming the field, for one that cannot be used.
    """
    return tuple(
        load_reward_function(field_of(index), setting, built_in or {}) for index, setting in enumerate(settings)
    )


def load_reward_function(
    field: str, setting: RewardFunctionConfig, built_in: Mapping[str, RewardFunction]
) -> NamedReward:
    """Import one function, which ``field`` of the recipe names. Raises ConfigError."""
    ours = setting.path in built_in
    function = built_in[setting.path] if ours else _load(field, setting, known=tuple(built_in))
    return NamedReward(setting.name, setting.weight, function, setting.scope, setting.timeout_seconds)


def field_of(index: int) -> str:
    """Return the field of the recipe that names a reward function."""
    return f"reward.functions.{index}.path"


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
