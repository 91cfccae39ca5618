"""What a reward function's process and the one that asks it tell each other."""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from common.config import RewardFunctionConfig
from common.records import Task
from reward_service.user_rewards import Completion, Failure, Value

_SECONDS = struct.Struct("=d")


@dataclass(frozen=True)
class Load:
    """Ask the process to import a function, which ``field`` of the recipe names."""

    field: str
    setting: RewardFunctionConfig


@dataclass(frozen=True)
class Loaded:
    """Answer :class:`Load`; ``refusal`` says why the function cannot be used, None where it can."""

    refusal: str | None


@dataclass(frozen=True)
class Call:
    """Ask for the rewards of a group's completions."""

    task: Task
    completions: Sequence[Completion]


@dataclass(frozen=True)
class Failed:
    """Answer a :class:`Call` that failed; the fields are those of ``RewardFunctionError``."""

    failure: Failure
    problem: str


#: The answer to a :class:`Call`.
Answer = list[Value] | Failed


class CallClock:
    """Share between the two processes when the call under way began.

    A group's calls need one message in all, and yet each has a deadline of its own. ``descriptor``: an open file
    of :data:`CallClock.BYTES` bytes in memory, closed with the clock.
    """

    BYTES = _SECONDS.size

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._page = mmap.mmap(descriptor, self.BYTES)

    @classmethod
    def create(cls) -> CallClock:
        """Make the clock of a new process, to which ``descriptor`` is handed on."""
        descriptor = os.memfd_create("reward-function-clock")
        os.ftruncate(descriptor, cls.BYTES)
        return cls(descriptor)

    def begin_call(self) -> None:
        """Note that a call begins now."""
        _SECONDS.pack_into(self._page, 0, time.monotonic())

    def began(self) -> float:
        """Return when the call under way began, on the monotonic clock, which all processes share."""
        (seconds,) = _SECONDS.unpack_from(self._page)
        return float(seconds)

    def close(self) -> None:
        self._page.close()
        os.close(self.descriptor)
