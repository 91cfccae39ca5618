"""The input and output of a sandbox. No expected value occurs here: the judge stays outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from common.errors import UserError
from common.language import Language
from sandbox.cancellation import Cancellation


class SandboxUnavailable(UserError, RuntimeError):  # noqa: N818
    """This machine cannot offer the isolation that was asked for; the message names the remedy."""


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
class Budget:
    """Bound all cases of a program together, so that one that hangs costs no more than a few of them.

    ``timeouts``: cases that may run out of time. ``cpu_s``, ``wall_s``: seconds, set-up not counted.
    ``kept_bytes``: values and output that the host holds of them. Once one is used up, no further case is run: the
    rest ends as ``timeout`` or, of bytes, as ``output``.
    """

    timeouts: int = 3
    cpu_s: float = math.inf
    wall_s: float = math.inf
    kept_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"budget {name} must be positive")


@dataclass(frozen=True, slots=True)
class Case:
    """One question to a program.

    ``call``: the value of an expression over its names. ``stdin``: what it prints. ``script``: whether this test
    source ends without an exception, given the names that the program exports.

    ``changes``, of a script: the arguments that a right solution changes, by place (:mod:`sandbox.inside.places`).
    Where the program changes others too, the script has to pass without seeing that, and with it. None: all are
    seen. ``files`` are in the program's folder when it starts, text by name, and those that ``collected`` names
    are brought back after its end, but not of a ``script``.
    """

    id: str
    kind: Literal["call", "stdin", "script"] = "call"
    call: str = ""
    stdin: str = ""
    script: str = ""
    changes: frozenset[str] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    collected: tuple[str, ...] = ()

    @property
    def has_files(self) -> bool:
        """Whether it needs a folder for itself."""
        return bool(self.files or self.collected)


@dataclass(frozen=True, slots=True)
class Program:
    """Source, in Python unless ``language`` says otherwise, and the cases to run it on.

    Of ``script`` cases: ``test_setup`` runs before them; ``exports`` are the names of the program that they may
    use; ``in_process`` runs them in the program's own process, which then may forge what they say.
    ``own_process`` gives every ``call`` and ``script`` a process of its own; otherwise those of one program share
    one until one of them ends it.
    """

    source: str
    cases: tuple[Case, ...]
    test_setup: str = ""
    exports: tuple[str, ...] = ()
    in_process: bool = False
    own_process: bool = False
    language: Language = "python"


class Outcome(StrEnum):
    """How a case ended, not whether it was right. ``infra`` is the sandbox's failure, never the program's.

    ``skipped``: not run, because ``stop_on`` held for an earlier result.
    """

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"
    CRASH = "crash"
    INFRA = "infra"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CaseRun:
    """The result of one case. The program wrote ``stdout``, ``value`` and ``files``: treat them as hostile.

    ``value`` is an encoded value that :func:`sandbox.inside.values.decode` reads. Only ``call`` and ``script``
    cases that ended ``ok`` have one; a script's is a :class:`sandbox.inside.claims.Claim`, made by the process of
    the tests, which the program cannot reach unless it ran ``in_process``. ``files`` is such a value too: a list
    of the contents of those that were ``collected``, None for one that is not there. The output is kept of
    ``stdin`` cases only; ``exit_code`` is None where a signal or a limit ended the program.
    """

    id: str
    outcome: Outcome
    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int | None = None
    value: bytes | None = None
    files: bytes | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0
    note: str = ""


class Sandbox(Protocol):
    """Runs programs in isolation. Thread-safe: callers block until a slot is free."""

    @property
    def slots(self) -> int:
        """The number of programs that run at the same time."""
        ...

    def run(
        self,
        program: Program,
        limits: Limits,
        *,
        stop_on: Callable[[CaseRun], bool] | None = None,
        budget: Budget | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[CaseRun]:
        """Run every case and return one result per case, in order. Never raises for anything the program does.

        ``budget`` bounds all cases together [default: ``Budget()``]. Once ``stop_on`` is true of a result, no
        further process is started: the remaining cases are ``skipped``. Once it is cancelled, what has not ended
        is ``infra``.
        """
        ...

    def close(self) -> None:
        """End every slot. Runs in progress end as ``infra``. Safe to call twice."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the isolation level, the number of slots and facts about the kernel, as plain data."""
        ...
