"""What goes into a sandbox and what comes out. No expected value exists here: the judge is outside."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol


class SandboxUnavailable(RuntimeError):  # noqa: N818
    """This machine offers no isolation level that is good enough; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one case. CPU time decides; wall time is the back-stop for programs that sleep.

    Seconds for ``*_s``, mebibytes for ``*_mb``, bytes for ``out_bytes`` (stdout and stderr together, or one
    encoded return value). ``file_mb`` bounds one file and, with namespaces, everything written to ``/tmp``;
    ``files`` bounds their number.
    """

    cpu_s: float = 4.0
    wall_s: float = 12.0
    memory_mb: int = 512
    out_bytes: int = 1 << 20
    file_mb: int = 16
    files: int = 2048

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"limit {name} must be positive")


@dataclass(frozen=True, slots=True)
class Case:
    """One question to a program: the value of the expression ``call``, or what it prints for ``stdin``."""

    id: str
    kind: Literal["call", "stdin"] = "call"
    call: str = ""
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """Python source and the cases to run it on."""

    source: str
    cases: tuple[Case, ...]


class Outcome(StrEnum):
    """What happened, not whether it was right. ``infra`` is our failure, never the program's."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"
    CRASH = "crash"
    INFRA = "infra"


@dataclass(frozen=True, slots=True)
class CaseRun:
    """What one case did. ``stdout`` and ``value`` were written by the program: treat them as hostile.

    ``value`` is the returned value as :func:`sandbox.values.decode` reads it; only ``call`` cases that ended
    ``ok`` have one.
    """

    id: str
    outcome: Outcome
    stdout: bytes = b""
    value: bytes | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0
    note: str = ""


class Sandbox(Protocol):
    """Runs programs in isolation. Thread-safe: callers block until a slot is free."""

    @property
    def slots(self) -> int:
        """How many programs run at the same time."""
        ...

    def run(self, program: Program, limits: Limits) -> list[CaseRun]:
        """One result per case, in order. Never raises for anything the program does."""
        ...

    def close(self) -> None:
        """End every slot. Runs in progress end as ``infra``. Safe to call twice."""
        ...

    def describe(self) -> dict[str, Any]:
        """Isolation level, number of slots and kernel facts, as plain data."""
        ...
