"""Outcomes: turns the answer of a slot into one :class:`CaseRun` per case. Pure functions."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace

from sandbox.account import time_note
from sandbox.inside import protocol
from sandbox.inside.claims import NOT_PASSED
from sandbox.link import Answer
from sandbox.types import Budget, Case, CaseRun, Limits, Outcome

_NEAR_LIMIT = 0.9


def script_run(case: Case, answer: Answer, limits: Limits, budget: Budget) -> CaseRun:
    """Say what became of a ``stdin`` case."""
    end = answer.end
    outcome, note = _how_it_ended(end, limits, budget)
    if outcome is None:
        outcome = {0: Outcome.OK, protocol.MEMORY_EXIT: Outcome.MEMORY}.get(end.status, Outcome.ERROR)
        note = "" if outcome is Outcome.OK else _last_line(answer.stderr) or f"exit code {end.status}"
    setup_cpu, setup_wall = _clock(end, 0)
    if case.collected and end.cpu - setup_cpu > limits.cpu_s:  # whoever reports files has the clocks start anew
        outcome, note = Outcome.TIMEOUT, f"more than {limits.cpu_s} s of CPU time"
    return CaseRun(
        id=case.id,
        outcome=outcome,
        stdout=answer.stdout,
        stderr=answer.stderr,
        exit_code=_exit_code(end),
        files=_files(case, answer.results[1:]),
        cpu_s=end.cpu - setup_cpu,
        wall_s=end.wall - setup_wall,
        note=note,
    )


def call_runs(cases: Sequence[Case], answer: Answer, limits: Limits, budget: Budget) -> list[CaseRun]:
    """Say what became of the first one or more of ``cases``; the others need another fork."""
    end = answer.end
    ended, note = _how_it_ended(end, limits, budget)
    if ended is None:
        ended, note = Outcome.ERROR, f"the program ended with exit code {end.status}"
    results = answer.results[1:]  # the first is READY
    if not results or results[0][0] != protocol.LOADED:
        if results:
            ended, note = _failure(*results[0])
        cpu, wall = _clock(end, 1)
        return [CaseRun(case.id, ended, cpu_s=cpu, wall_s=wall, note=note) for case in cases]
    runs = []
    for index, (case, (tag, body)) in enumerate(zip(cases, results[1:], strict=False)):
        cpu, wall = _clock(end, index + 2)
        if tag == protocol.VALUE and len(body) <= limits.out_bytes:
            runs.append(CaseRun(case.id, Outcome.OK, value=body, cpu_s=cpu, wall_s=wall))
        elif tag == protocol.DENIED and case.kind == "script":
            note = body[: protocol.NOTE_BYTES].decode(errors="replace")
            runs.append(CaseRun(case.id, Outcome.OK, value=NOT_PASSED, cpu_s=cpu, wall_s=wall, note=note))
        else:
            outcome, text = _failure(tag, body)
            runs.append(CaseRun(case.id, outcome, cpu_s=cpu, wall_s=wall, note=text))
    if cases[0].collected and runs:  # then it is the only one
        runs[0] = replace(runs[0], files=_files(cases[0], results[2:]))
    if len(runs) < len(cases):
        cpu, wall = end.cpu - _sum(end, 0), end.wall - _sum(end, 1)
        runs.append(CaseRun(cases[len(runs)].id, ended, cpu_s=cpu, wall_s=wall, note=note))
    return runs


def _files(case: Case, results: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """Return the report of the files that were collected, which comes first in ``results`` if it is there."""
    return results[0][1] if case.collected and results and results[0][0] == protocol.FILES else None


def _failure(tag: bytes, body: bytes) -> tuple[Outcome, str]:
    if tag == protocol.NO_MEMORY:
        return Outcome.MEMORY, "MemoryError"
    if tag == protocol.FAILED:
        return Outcome.ERROR, body[: protocol.NOTE_BYTES].decode(errors="replace")
    return Outcome.ERROR, "malformed result"


def _how_it_ended(end: protocol.End, limits: Limits, budget: Budget) -> tuple[Outcome | None, str]:
    """Return the outcome of a fork that did not exit by itself, or None, and a note."""
    match end.why:
        case "cpu":
            return Outcome.TIMEOUT, f"more than {limits.cpu_s} s of CPU time"
        case "wall":
            return Outcome.TIMEOUT, f"more than {limits.wall_s} s"
        case "output":
            return Outcome.OUTPUT, f"more than {limits.out_bytes} bytes of output"
        case protocol.BUDGET_TIME:
            return Outcome.TIMEOUT, time_note(budget)
        case protocol.BUDGET_BYTES:
            return Outcome.OUTPUT, f"more than {budget.kept_bytes} bytes in all tests together"
    status = end.status
    if status >= 0:
        return None, ""
    if -status == signal.SIGXCPU:
        return Outcome.TIMEOUT, f"more than {limits.cpu_s} s of CPU time"
    if end.peak_kb >= _NEAR_LIMIT * limits.memory_mb * 1024:
        return Outcome.MEMORY, f"more than {limits.memory_mb} MiB"
    return Outcome.CRASH, f"killed by signal {-status}"


def _exit_code(end: protocol.End) -> int | None:
    ended = end.why == "exit" and end.status >= 0
    code = 1 if end.status == protocol.MEMORY_EXIT else int(end.status)
    return code if ended else None


def _clock(end: protocol.End, index: int) -> tuple[float, float]:
    marks = end.marks
    return marks[index] if index < len(marks) else (0.0, 0.0)


def _sum(end: protocol.End, part: int) -> float:
    return float(sum(mark[part] for mark in end.marks))


def _last_line(stderr: bytes) -> str:
    lines = stderr[-4 * protocol.NOTE_BYTES :].decode(errors="replace").strip().splitlines()
    return lines[-1][: protocol.NOTE_BYTES] if lines else ""
