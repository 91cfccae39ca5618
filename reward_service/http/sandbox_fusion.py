"""SandboxFusion's ``/run_code``, so that its clients (verl and others) can use this sandbox. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator

from common.language import Language
from sandbox.types import Case, CaseRun, Limits, Outcome, Program

#: Languages by their names.
LANGUAGES: Mapping[str, Language] = {"python": "python", "nodejs": "javascript"}
#: Wall-clock time beside the CPU time, so that load on the machine does not turn into a verdict.
WALL_SLACK_S = 2.0
SHORTEST_RUN_S, LONGEST_RUN_S = 0.01, 300.0
_SMALLEST_MB, _LARGEST_MB = 16, 65_536


class RunCode(BaseModel):
    """A program to run. Fields that this service does not know are ignored, as theirs does.

    ``run_timeout`` seconds of CPU time; Python compiles nothing, so ``compile_timeout`` is not used.
    ``memory_limit_MB`` in MiB, -1 for the service's own limit.
    """

    code: str
    language: str
    stdin: str | None = None
    compile_timeout: float = 10.0
    run_timeout: Annotated[float, Field(ge=SHORTEST_RUN_S, le=LONGEST_RUN_S)] = 10.0
    memory_limit_MB: Annotated[int, Field(le=_LARGEST_MB)] = -1  # noqa: N815 - their name
    files: dict[str, Any] = {}
    fetch_files: list[str] = []

    @field_validator("memory_limit_MB")
    @classmethod
    def _memory_is_enough_to_start(cls, value: int) -> int:
        if value not in (-1, 0) and value < _SMALLEST_MB:
            raise ValueError(f"is {value}; give {_SMALLEST_MB} at least, or -1 for the service's own limit")
        return value


class RunResult(BaseModel):
    """``Error``: a limit or a signal ended the program, and ``return_code`` may be None."""

    status: Literal["Finished", "Error", "TimeLimitExceeded"]
    execution_time: float
    return_code: int | None
    stdout: str
    stderr: str


class RunAnswer(BaseModel):
    """``SandboxError`` means that nothing is known of the program. ``message`` says in a line what went wrong."""

    status: Literal["Success", "Failed", "SandboxError"]
    message: str = ""
    compile_result: None = None
    run_result: RunResult | None = None
    executor_pod_name: None = None
    files: dict[str, str] = {}


def refusal(request: RunCode, offered: Collection[Language]) -> RunAnswer | None:
    """Say why this service, whose sandbox runs the languages ``offered``, will not run it; None when it will."""
    known = [theirs for theirs, ours in LANGUAGES.items() if ours in offered]
    if request.language not in known:
        return _sandbox_error(
            f"language: {request.language!r} is not supported here; these are: {', '.join(known)}"
        )
    if request.files:
        return _sandbox_error("files: not supported here; leave it empty and put the data into the code or stdin")
    if request.fetch_files:
        return _sandbox_error("fetch_files: not supported here; leave it empty and print what is needed")
    return None


def program_of(request: RunCode) -> Program:
    """Return the program as the sandbox takes it."""
    case = Case("run", "stdin", stdin=request.stdin or "")
    return Program(request.code, (case,), language=LANGUAGES[request.language])


def limits_of(request: RunCode, defaults: Limits) -> Limits:
    """Return the limits that a request asks for, and ``defaults`` for the others."""
    memory = request.memory_limit_MB if request.memory_limit_MB > 0 else defaults.memory_mb
    return Limits(
        cpu_s=request.run_timeout,
        wall_s=request.run_timeout + WALL_SLACK_S,
        memory_mb=memory,
        out_bytes=defaults.out_bytes,
        file_mb=defaults.file_mb,
        files=defaults.files,
    )


def answer_of(run: CaseRun) -> RunAnswer:
    """Tell how a program ended, in their shape."""
    if run.outcome in (Outcome.INFRA, Outcome.SKIPPED):
        return _sandbox_error(run.note or "the sandbox failed")
    result = RunResult(
        status=_status(run),
        execution_time=run.wall_s,
        return_code=run.exit_code,
        stdout=run.stdout.decode("utf-8", "replace"),
        stderr=run.stderr.decode("utf-8", "replace"),
    )
    return RunAnswer(
        status="Success" if run.outcome is Outcome.OK else "Failed", message=run.note, run_result=result
    )


def _status(run: CaseRun) -> Literal["Finished", "Error", "TimeLimitExceeded"]:
    if run.outcome is Outcome.TIMEOUT:
        return "TimeLimitExceeded"
    return "Finished" if run.outcome in (Outcome.OK, Outcome.ERROR) else "Error"


def _sandbox_error(message: str) -> RunAnswer:
    return RunAnswer(status="SandboxError", message=message)
