"""Reward functions that run in processes of their own: each call has a deadline, and costs nothing but itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from common.config import ConfigError, RewardFunctionConfig
from common.records import Task
from reward_service.isolation.calls import Answer, Call, Failed, Load
from reward_service.isolation.process import GRACE_SECONDS, FunctionProcess, LateError, LostError
from reward_service.user_rewards import (
    Completion,
    Failure,
    Reward,
    RewardFunction,
    RewardFunctionError,
    Value,
    field_of,
    load_reward_function,
)

#: A module may load a model when it is imported.
_LOAD_SECONDS = 600.0
#: A process that ends in a call may have been killed for what others did.
_ATTEMPTS = 2
_log = logging.getLogger(__name__)


class IsolatedReward:
    """Call a reward function in up to ``setting.processes`` processes; thread-safe.

    The first process starts with this object, others when all are busy, and one in place of any that was ended: by
    a call that is late, by itself, from outside, or because it held too much memory. A call whose process was lost
    is made once more in another. ``output``: the folder of files to which they print, None for this process's
    standard error; ``note`` is told of what the caller does not see.
    """

    def __init__(
        self, field: str, setting: RewardFunctionConfig, output: Path | None, note: Callable[[str], None]
    ) -> None:
        self._setting = setting
        self._load = Load(field, setting)
        self._output = None if output is None else _appendable(output / f"{setting.name}.log", note)
        self._note = note
        self._turns = threading.BoundedSemaphore(setting.processes)
        self._lock = threading.Lock()
        self._closed = False
        self._first: FunctionProcess | None = FunctionProcess(self._load, self._output)
        self._idle: list[FunctionProcess] = []
        self._alive = {self._first}

    @property
    def name(self) -> str:
        return self._setting.name

    @property
    def weight(self) -> float:
        return self._setting.weight

    @property
    def scope(self) -> Literal["completion", "group"]:
        return self._setting.scope

    def wait_loaded(self) -> None:
        """Wait until the first process has imported the function. Raises ConfigError where it cannot be used."""
        with self._turns:
            try:
                process = self._take()
            except LostError as error:
                problem = f"{error}{self._see('what it wrote')}"
                raise ConfigError(f"{self._load.field}: {self._setting.path} {problem}") from error
            with self._lock:
                self._idle.append(process)

    def values(self, task: Task, completions: Sequence[Completion]) -> list[Value]:
        """Return the reward of each completion, or why it is not known. Raises RewardFunctionError."""
        if not completions:
            return []
        call = Call(task, tuple(completions))
        with self._turns:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    answer = self._ask(call)
                except LateError as error:
                    raise self._failed(task, Failure.LATE, f"{error}{self._see('its stack')}") from error
                except LostError as error:
                    problem = f"{error}{self._see('what it wrote')}"
                    if attempt == _ATTEMPTS or self._closed:
                        raise self._failed(task, Failure.DIED, problem) from error
                    self._note(f"reward.functions: {self.name} {problem}; another process repeats the call")
                else:
                    break
        if isinstance(answer, Failed):
            traceback = self._see("the traceback") if answer.failure is Failure.RAISED else ""
            raise self._failed(task, answer.failure, answer.problem + traceback)
        return answer

    def longest_seconds(self, completions: int) -> float:
        """Return how long the rewards may take, once their turn has come."""
        calls = completions if self.scope == "completion" else 1
        return _ATTEMPTS * (_LOAD_SECONDS + calls * (self._setting.timeout_seconds + GRACE_SECONDS))

    def close(self) -> None:
        """Kill the processes; calls under way fail."""
        with self._lock:
            self._closed = True
            spare = {process for process in (*self._idle, self._first) if process is not None}
            busy = self._alive - spare
            self._idle, self._first = [], None
        for process in busy:
            process.kill()  # whoever waits for it closes it
        for process in spare:
            self._end(process)

    def _ask(self, call: Call) -> Answer:
        """Have an idle process answer, or a new one. Raises LateError, LostError."""
        try:
            process = self._take()
        except ConfigError as error:
            raise LostError(f"could not be imported once more ({error})") from error
        kept = False
        try:
            answer = process.ask(call)
            kept = self._keep(process, answer)
        finally:
            if not kept:
                self._end(process)
        return answer

    def _keep(self, process: FunctionProcess, answer: Answer) -> bool:
        """Keep a process that has answered for the next call; tell whether it is fit for one."""
        if isinstance(answer, Failed) and answer.failure is Failure.LATE:
            return False  # a coroutine may hold its event loop up
        if excess := process.excess():
            self._note(f"reward.functions: {self.name} {excess}; its process was replaced")
            return False
        with self._lock:
            if not self._closed:
                self._idle.append(process)
            return not self._closed

    def _take(self) -> FunctionProcess:
        """Return a process that has loaded the function and has nothing to do. Raises ConfigError, LostError."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            process, self._first = self._first, None
        process = process or FunctionProcess(self._load, self._output)
        with self._lock:
            self._alive.add(process)
            closed = self._closed
        try:
            if closed:
                raise LostError("was ended with the process that asked it")
            process.wait_loaded(_LOAD_SECONDS)
        except (ConfigError, LostError):
            self._end(process)
            raise
        return process

    def _end(self, process: FunctionProcess) -> None:
        process.close()
        with self._lock:
            self._alive.discard(process)

    def _failed(self, task: Task, failure: Failure, problem: str) -> RewardFunctionError:
        return RewardFunctionError(self.name, failure, problem, task.id)

    def _see(self, what: str) -> str:
        return "" if self._output is None else f"; {what} is in {self._output.parent.name}/{self._output.name}"


def _appendable(file: Path, note: Callable[[str], None]) -> Path | None:
    """Return the file, None where it cannot be written on this machine."""
    try:
        file.parent.mkdir(exist_ok=True)  # the folder of the run is there, unless it is on no disk of this machine
        file.open("a").close()
    except OSError as error:
        note(f"what reward functions print goes to standard error, as {file} cannot be written: {error}")
        return None
    return file


def start_reward_functions(
    settings: Sequence[RewardFunctionConfig],
    built_in: Mapping[str, RewardFunction],
    output: Path | None = None,
    note: Callable[[str], None] = _log.warning,
) -> tuple[Reward, ...]:
    """Start the functions' processes and wait until all are imported; those of ``built_in`` run in this process.

    ``output`` and ``note`` are as for :class:`IsolatedReward`. Whoever asks closes the functions. Raises
    ConfigError, naming the field, for one that cannot be used.
    """
    with ExitStack() as failed:
        functions: list[Reward] = []
        for index, setting in enumerate(settings):
            field = field_of(index)
            if setting.path in built_in:
                functions.append(load_reward_function(field, setting, built_in))
                continue
            isolated = IsolatedReward(field, setting, output, note)
            failed.callback(isolated.close)
            functions.append(isolated)
        for function in functions:
            if isinstance(function, IsolatedReward):
                function.wait_loaded()
        failed.pop_all()
    return tuple(functions)
